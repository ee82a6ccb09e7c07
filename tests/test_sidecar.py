"""Starting, reloading and stopping a whole graph, in order and without losing anything."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from spanledger.processor.batch import decode, finish
from spanledger.processor.component import ComponentConfig, Host, Registration, Registry
from spanledger.service import process
from spanledger.service.config import Config, load
from spanledger.service.graph import CannotStart
from spanledger.service.sidecar import Sidecar
from tests.fakes import Clock, FakeSink, Numbers, request, span

TWO_PIPELINES = """
receivers: {source: {}}
processors: {stage: {}}
exporters: {sink/a: {}, sink/b: {}}
extensions: {watch: {}}
service:
  extensions: [watch]
  pipelines:
    traces: {receivers: [source], processors: [stage], exporters: [sink/a, sink/b]}
    traces/more: {receivers: [source], processors: [stage], exporters: [sink/b]}
"""


class FakeConfig(ComponentConfig):
    """What the tests vary."""

    colour: str = "blue"
    broken: bool = False
    port: int = 0
    """Only one running fake can have it."""
    key_file: str = ""


@dataclass
class Stage:
    """Every fake that was built, and what happened to them, in order."""

    events: list[str] = field(default_factory=list)
    built: list[Any] = field(default_factory=list)
    lost: dict[str, int] = field(default_factory=dict)
    ports: set[int] = field(default_factory=set)

    def named(self, name: str) -> Any:
        """Return the last fake that was built under this id."""
        return [fake for fake in self.built if str(fake.host.id) == name][-1]


def fakes(stage: Stage) -> Registry:
    """Return a registry of fakes that report to `stage`."""

    class Fake(FakeSink):
        def __init__(self, config: FakeConfig, host: Host) -> None:
            super().__init__()
            self.config, self.host = config, host
            self.consumers: Mapping[str, Any] = {}
            stage.built.append(self)

        async def start(self) -> None:
            if self.config.broken or self.config.port in stage.ports:
                raise OSError("port is taken")
            stage.ports |= {self.config.port} - {0}
            stage.events.append(f"start {self.host.id}")

        async def shutdown(self, deadline: float) -> int:
            stage.events.append(f"stop {self.host.id}")
            stage.ports.discard(self.config.port)
            return stage.lost.get(str(self.host.id), 0)

        def process(self, batch: object) -> None:
            """Leave the batch as it is."""

    registry = Registry()
    for kind, name in (("receiver", "source"), ("processor", "stage"), ("exporter", "sink"), ("extension", "watch")):
        signals = () if kind == "extension" else ("traces",)
        registry.add(Registration(kind, FakeConfig, name, Fake, signals, "stable", ""))  # type: ignore[arg-type]
    return registry


def configured(stage: Stage, *more: str) -> Config:
    """Return the configuration of the tests, with YAML merged over it."""
    return load([f"yaml:{TWO_PIPELINES}", *(f"yaml:{text}" for text in more)], [], {}, fakes(stage))


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("spanledger.service.sidecar.SWITCH_S", 0.001)


@pytest.fixture
def stage() -> Stage:
    """Return an empty stage."""
    return Stage()


@pytest.fixture
async def sidecar(stage: Stage) -> AsyncIterator[Sidecar]:
    """Yield a running sidecar of fakes."""
    clock = Clock()
    made = Sidecar(configured(stage), Numbers(), clock_ns=clock.time_ns, monotonic=clock.monotonic)  # type: ignore[arg-type]
    await made.start()
    yield made
    await made.stop(0)


async def send(stage: Stage, number: int = 1) -> None:
    """Give one span to the receiver."""
    batch = finish(decode("traces", request(span(number)).SerializeToString(), 1))
    await stage.named("source").consumers["traces"](batch)


async def test_starts_downstream_first_and_stops_upstream_first(sidecar: Sidecar, stage: Stage) -> None:
    """The health check speaks from the first moment to the last."""
    assert sidecar.ready()

    assert await sidecar.stop(1) == 0

    started, stopped = stage.events[:6], stage.events[6:]
    assert started == ["start watch", "start sink/a", "start sink/b", "start stage", "start stage", "start source"]
    assert [event.split()[1] for event in stopped] == ["source", "stage", "stage", "sink/a", "sink/b", "watch"]
    assert not sidecar.ready()


async def test_each_pipeline_has_processors_of_its_own(sidecar: Sidecar) -> None:
    """As in the Collector: state of one pipeline is not seen by another."""
    assert [name for name in sidecar.statuses() if name.startswith("processor")] == [
        "processor:stage@traces",
        "processor:stage@traces/more",
    ]


async def test_readiness_falls_before_anything_stops(sidecar: Sidecar, stage: Stage) -> None:
    """A load balancer has time to look elsewhere."""
    seen: list[bool] = []
    watched = stage.named("source")
    stop_source = watched.shutdown

    async def shutdown(deadline: float) -> int:
        seen.append(sidecar.ready())
        return await stop_source(deadline)  # type: ignore[no-any-return]

    watched.shutdown = shutdown
    await sidecar.stop(1)

    assert seen == [False]


async def test_what_is_lost_is_said(sidecar: Sidecar, stage: Stage) -> None:
    """The exit code depends on it."""
    stage.lost["sink/b"] = 7

    assert await sidecar.stop(1) == 7


async def test_failed_start_stops_what_had_started_and_names_the_culprit(stage: Stage) -> None:
    """Nothing is left running."""
    config = configured(stage, "receivers: {source: {broken: true}}")
    broken = Sidecar(config, Numbers())  # type: ignore[arg-type]

    with pytest.raises(CannotStart, match="cannot start receiver source: port is taken"):
        await broken.start()

    assert sorted(event.split()[1] for event in stage.events if event.startswith("stop")) == [
        "sink/a", "sink/b", "stage", "stage", "watch",
    ]  # fmt: skip
    assert not broken.ready()


async def test_reload_keeps_every_component_whose_configuration_is_the_same(sidecar: Sidecar, stage: Stage) -> None:
    """Queues and numbers of the others go on."""
    kept, replaced = stage.named("sink/a"), stage.named("sink/b")
    stage.events.clear()

    await sidecar.reload(configured(stage, "exporters: {sink/b: {colour: red}}"))
    await send(stage)

    assert stage.events == ["start sink/b", "stop sink/b"]
    assert len(kept.taken) == 1
    assert replaced.taken == []
    assert stage.named("sink/b").config.colour == "red"
    # Both pipelines end in sink/b.
    assert len(stage.named("sink/b").taken) == 2


async def test_reload_takes_a_changed_file_although_its_name_is_the_same(
    sidecar: Sidecar, stage: Stage, tmp_path: Path
) -> None:
    """Certificates and price lists are renewed in place."""
    key = tmp_path / "key.pem"
    key.write_text("old")
    more = f"exporters: {{sink/b: {{key_file: {key}}}}}"
    await sidecar.reload(configured(stage, more))
    stage.events.clear()
    await sidecar.reload(configured(stage, more))
    assert stage.events == []
    key.write_text("renewed")

    await sidecar.reload(configured(stage, more))

    assert stage.events == ["start sink/b", "stop sink/b"]


async def test_what_a_replaced_exporter_loses_counts_at_the_end(sidecar: Sidecar, stage: Stage) -> None:
    """The exit code must not be 0."""
    stage.lost["sink/b"] = 3
    await sidecar.reload(configured(stage, "exporters: {sink/b: {colour: red}}"))
    stage.lost.clear()

    assert await sidecar.stop(1) == 3


async def test_not_ready_without_a_running_receiver(sidecar: Sidecar) -> None:
    """Whatever the reason."""
    for node in sidecar._graph.nodes.values():
        if node.kind == "receiver":
            node.started = False

    assert not sidecar.ready()


async def test_start_names_everything_that_did_not_start_and_takes_nothing(stage: Stage) -> None:
    """One run per busy port would be a nuisance."""
    config = configured(stage, "{exporters: {sink/a: {broken: true}}, extensions: {watch: {broken: true}}}")
    broken = Sidecar(config, Numbers())  # type: ignore[arg-type]

    with pytest.raises(
        CannotStart, match=r"not started, 2 errors:\n  .*extension watch: .*\n  cannot start exporter sink/a: "
    ):
        await broken.start()

    assert "start source" not in stage.events


async def test_reload_stops_first_what_holds_the_port_of_its_successor(sidecar: Sidecar, stage: Stage) -> None:
    """Everything else starts beside what it replaces."""
    await sidecar.reload(configured(stage, "exporters: {sink/b: {port: 9464}}"))
    stage.events.clear()

    await sidecar.reload(configured(stage, "exporters: {sink/b: {port: 9464, colour: red}}"))

    assert stage.events == ["stop sink/b", "start sink/b"]
    assert sidecar.ready()


async def test_new_component_that_cannot_start_stops_nothing(sidecar: Sidecar, stage: Stage) -> None:
    """Nothing that leaves could be in its way."""
    stage.events.clear()
    more = "{exporters: {sink/c: {broken: true}}, service: {pipelines: {traces: {exporters: [sink/c]}}}}"
    one = "service: {pipelines: {traces/more: {exporters: [sink/a, sink/b]}}}"

    with pytest.raises(CannotStart, match="exporter sink/c"):
        await sidecar.reload(configured(stage, more, one))

    assert stage.events == []


async def test_reload_that_cannot_start_leaves_the_old_configuration_running(sidecar: Sidecar, stage: Stage) -> None:
    """The replaced component is built and started again as it was."""
    with pytest.raises(CannotStart, match="cannot start"):
        await sidecar.reload(configured(stage, "exporters: {sink/b: {broken: true}}"))
    await send(stage)

    assert stage.named("sink/b").config == FakeConfig()
    assert len(stage.named("sink/b").taken) == 2
    assert sidecar.ready()
    assert {status for status, _, _ in sidecar.statuses().values()} == {"ok"}


async def test_failed_reload_says_once_that_the_old_configuration_runs_on(
    sidecar: Sidecar, stage: Stage, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """And why, in the same record of the log."""
    monkeypatch.setattr(logging.getLogger("spanledger"), "propagate", True)
    broken = configured(stage, "exporters: {sink/b: {broken: true}}")
    monkeypatch.setattr(process, "load", lambda *_: broken)

    assert not await process._reload(sidecar, [], [])

    said = caplog.text
    assert said.count("runs on") == 1
    assert "cannot start exporter sink/b" in said


async def test_reload_that_can_never_start_is_given_up_soon(
    sidecar: Sidecar, stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A port that is another's stays so: nothing is taken while it is tried, so that is a second, not ten."""
    pauses: list[float] = []
    monkeypatch.setattr("spanledger.service.sidecar.SWITCH_S", 1.0)

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)

    monkeypatch.setattr("spanledger.service.sidecar.asyncio.sleep", sleep)
    stage.ports.add(7)
    with pytest.raises(CannotStart, match="cannot start"):
        await sidecar.reload(configured(stage, "receivers: {source: {port: 7}}"))

    assert 0 < sum(pauses) <= 1.0
    assert sidecar.ready()


async def test_what_still_ends_as_a_reload_fails_is_started_again(sidecar: Sidecar, stage: Stage) -> None:
    """It would be taken for something that runs, and refuse everything from then on."""
    first = stage.named("sink/b")
    ended = asyncio.Event()

    async def slow(deadline: float) -> int:
        await ended.wait()
        return 0

    first.shutdown = slow
    reloading = asyncio.create_task(sidecar.reload(configured(stage, "exporters: {sink/b: {broken: true}}")))
    asyncio.get_running_loop().call_later(0.1, ended.set)
    with pytest.raises(CannotStart, match="cannot start"):
        await reloading
    await send(stage)
    assert stage.named("sink/b") is not first
    assert len(stage.named("sink/b").taken) == 2


async def test_component_that_hangs_at_shutdown_is_cut_off(
    sidecar: Sidecar, stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And counts as a loss, for nobody knows."""
    monkeypatch.setattr("spanledger.service.sidecar.SAY_EVERY_S", 0.001)

    async def hang(deadline: float) -> int:
        await asyncio.Event().wait()
        return 0

    stage.named("sink/a").shutdown = hang
    clock = sidecar._surroundings.monotonic.__self__  # type: ignore[attr-defined]
    clock.now_s += 0
    stopping = asyncio.create_task(sidecar.stop(0))
    while not stopping.done():
        clock.now_s += 1
        await asyncio.sleep(0)

    assert stopping.result() == 1

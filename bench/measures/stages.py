"""What each stage of a request costs, in CPU time: the components of the default pipeline, in this process.

The sum of the stages is what the pipeline costs without gRPC, the event loop and the threads of the exporters.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from bench.bed import Bed
from bench.measures.throughput import MAIN
from bench.wires import Wire, tag, wires
from spanledger.conventions.step import Bridge, Step, make_step
from spanledger.exporters.queue import QueueConfig
from spanledger.exporters.retry import RetryConfig
from spanledger.exporters.sender import Sender
from spanledger.extensions.file_storage import FileStorage, FileStorageConfig
from spanledger.processor.batch import Batch, Delivery, decode, finish
from spanledger.processor.component import ComponentId, Processor
from spanledger.processor.genai_metrics import GenAIMetrics, GenAIMetricsConfig
from spanledger.processor.genai_normalizer import GenaiNormalizer, GenaiNormalizerConfig
from spanledger.processor.genai_pricing import GenaiPricing, GenaiPricingConfig
from spanledger.processor.metric_store import MetricTable
from spanledger.processor.redaction import Redaction, RedactionConfig
from spanledger.processor.trajectory.config import TrajectoryConfig
from spanledger.processor.trajectory.connector import Trajectory
from spanledger.service.garbage import settle
from tests.fakes import Clock, host

SPANS_PER_S: Final = 2000
"""The load that the stages believe in: what is kept for some seconds is kept for so many spans."""
SETTLED_S: Final = 10.0
"""After so long without a span every run that has a root is closed."""
ACQUAINTED: Final = 2
"""Rounds before those that count: what spans have in common is remembered from the second of them on."""


class Stopwatch:
    """CPU time of this process by stage."""

    def __init__(self) -> None:
        self.spent_ns: Counter[str] = Counter()

    @contextlib.contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Add the time of the block to a stage."""
        began = time.process_time_ns()
        yield
        self.spent_ns[name] += time.process_time_ns() - began


class Nowhere(Sender):
    """An exporter whose peer is always there at once."""

    async def push(self, delivery: Delivery) -> None:
        """Be done."""


class Components:
    """Those of the default pipeline, with redaction and a queue on disk."""

    def __init__(self, directory: Path) -> None:
        self.clock = Clock(time.time())
        shared = host("bench", self.clock, MetricTable())  # type: ignore[arg-type]
        self.processors: dict[str, Processor] = {
            "redact": Redaction(RedactionConfig(allow_all_keys=True, detect=["secrets", "emails", "cards"]), shared),
            "normalise": GenaiNormalizer(GenaiNormalizerConfig(), shared),
            "price": GenaiPricing(GenaiPricingConfig(), shared),
        }
        self.metrics = GenAIMetrics(GenAIMetricsConfig(), shared)
        # What is told is sent on in the stage that told it.
        self.trajectory = Trajectory(TrajectoryConfig(), shared, sleep=lambda _: asyncio.sleep(0))
        self.documents = 0
        self.trajectory.consumers = {"logs": self._take}
        storage = ComponentId.parse("file_storage")
        disk = FileStorage(FileStorageConfig(directory=str(directory)), shared)
        on_disk = host("disk", self.clock, MetricTable(), extensions={storage: disk})  # type: ignore[arg-type]
        self.queue = Nowhere(shared, QueueConfig(), RetryConfig(), 5.0)
        self.wal = Nowhere(on_disk, QueueConfig(storage=storage), RetryConfig(), 5.0)

    @property
    def all(self) -> tuple[Any, ...]:
        """Return everything that has a life."""
        return (*self.processors.values(), self.metrics, self.trajectory, self.queue, self.wal)

    async def _take(self, batch: Batch) -> None:
        self.documents += batch.count


def stages(bed: Bed) -> dict[str, Any]:
    """Take the requests of the corpus through all stages, some times; the fastest round of each counts."""
    return asyncio.run(_stages(wires(MAIN), bed.directory / "stages", 1 if bed.quick else 4))


async def _stages(requests: Sequence[Wire], directory: Path, rounds: int) -> dict[str, Any]:
    components = Components(directory)
    for component in components.all:
        await component.start()
    best: dict[str, int] = {}
    for number in range(ACQUAINTED + rounds):
        watch = Stopwatch()
        settle()  # as the sidecar does once it runs
        for request in requests:
            await _pass(components, request.fresh(tag(number), components.clock.time_ns()), watch)
            components.clock.now_s += request.spans / SPANS_PER_S
        components.clock.now_s += SETTLED_S
        with watch.stage("trajectory: close"):
            await _until_quiet(components)
        if number >= ACQUAINTED:
            best = {name: min(spent, best.get(name, spent)) for name, spent in watch.spent_ns.items()}
    for component in components.all:
        await component.shutdown(components.clock.monotonic() + 10)
    spans = sum(request.spans for request in requests)
    return {"us_per_span": {name: spent / spans / 1e3 for name, spent in best.items()}, "runs": components.documents}


async def _pass(components: Components, wire: bytes, watch: Stopwatch) -> None:
    """Take one request through, as service/flow.py does."""
    with watch.stage("decode"):
        batch = finish(decode("traces", wire, components.clock.time_ns()))
    for name, processor in components.processors.items():
        with watch.stage(name):
            if (work := processor.process(batch)) is not None:
                finish(work)
    with watch.stage("details"):
        details = [
            components.trajectory.detail(span, reading, group.resource) if reading is not None else None
            for group in batch.work
            for span, reading in zip(group.items, group.readings, strict=True)
        ]
    steps: list[Step] = []
    bridges: list[Bridge] = []
    with watch.stage("step"):
        found = iter(details)
        for group in batch.work:
            service, attributes = group.resource.service_name, group.resource.attributes
            for span, reading in zip(group.items, group.readings, strict=True):
                detail = next(found)
                if reading is not None:
                    steps.append(make_step(span, service, reading, attributes, detail, group.scope.name))
    with watch.stage("trajectory: annotate roots"):
        finish(components.trajectory.annotate(batch, steps, bridges))
    with watch.stage("serialise"):
        data = finish(batch.serialize())
    delivery = Delivery("traces", data, len(steps), components.clock.time_ns(), tuple(steps))
    with watch.stage("metrics"):
        components.metrics.reserve(delivery)
        components.metrics.commit(delivery)
        await asyncio.sleep(0)
    with watch.stage("queue"):
        components.queue.reserve(delivery)
        components.queue.commit(delivery)
        while components.queue.statistics()["waiting_requests"]:  # noqa: ASYNC110
            await asyncio.sleep(0)
    with watch.stage("queue on disk"):
        components.wal.reserve(delivery)
        await components.wal.keep(delivery)
        components.wal.commit(delivery)
        while components.wal.statistics()["waiting_requests"]:  # noqa: ASYNC110
            await asyncio.sleep(0)
    with watch.stage("trajectory: take"):
        components.trajectory.commit(delivery)
        while components.trajectory.assembly.waiting_spans:  # noqa: ASYNC110
            await asyncio.sleep(0)
    with watch.stage("trajectory: close"):
        await _until_quiet(components)


async def _until_quiet(components: Components) -> None:
    """Let the runs close."""
    while (wait_s := await components.trajectory.work()) is not None and wait_s <= 0:
        pass

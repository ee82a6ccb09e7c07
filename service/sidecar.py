"""The running sidecar: start, reload, stop.

Its states::

    new --start()--> running --reload()--> running --stop()--> stopped
           |                     (a configuration that cannot start leaves the old one running)
           +-- failure: what had started is stopped again, the error is raised
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Collection, Container, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from spanledger.processor.component import Status, Successor
from spanledger.service.graph import START_ORDER, CannotStart, Graph, Node, Surroundings, build
from spanledger.service.premises import busy, ports, unreadable
from spanledger.service.telemetry import Vitals

if TYPE_CHECKING:
    from spanledger.conventions.step import Step
    from spanledger.processor.metric_store import MetricStore
    from spanledger.service.config import Config

log = logging.getLogger("spanledger.service")

SWITCH_TRIES = 5
"""Tries, within a second, after all that is replaced has ended: what it held is free by then, or is another's."""

PUT_BACK_TRIES = 50
"""Tries, within ten seconds, to start again what a failed reload had stopped: giving up leaves it stopped."""

SAY_EVERY_S = 5.0
"""Seconds between two lines on what a shutdown still waits for."""


SWITCH_S = 1.0
"""Seconds a reload waits for what it replaces before it starts the new, beside the old."""


class Sidecar:
    """One configuration at a time, running. All methods belong to one event loop."""

    def __init__(
        self,
        config: Config,
        metrics: MetricStore,
        *,
        clock_ns: Callable[[], int] = time.time_ns,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.started_ns = clock_ns()
        self._ready = False
        self._surroundings = Surroundings(metrics, self, clock_ns, monotonic)
        self._graph = build(config, self._surroundings)
        self._vitals = Vitals(metrics, monotonic)
        self._changing = asyncio.Lock()
        self._drains: set[asyncio.Task[int]] = set()
        self._lost = 0

    # -- what extensions see (ServiceView) --

    def ready(self) -> bool:
        """Tell whether requests are taken; false from the first moment of a shutdown."""
        receiving = any(node.started for node in self._graph.nodes.values() if node.kind == "receiver")
        return self._ready and receiving and self._vitals.lag_s < 5.0

    def statuses(self) -> Mapping[str, tuple[Status, str, int]]:
        """Return `kind:id` -> (status, why, since), in starting order."""
        return {
            str(node): (node.health.status, node.health.why, node.health.since_ns)
            for node in self._graph.nodes.values()
        }

    def pipelines(self) -> Mapping[str, Mapping[str, Any]]:
        """Return pipeline id -> its receivers, processors and exporters by id."""
        return {
            str(pipeline_id): {
                "receivers": [str(id_) for id_ in pipeline.receivers],
                "processors": [str(id_) for id_ in pipeline.processors],
                "exporters": [str(id_) for id_ in pipeline.exporters],
            }
            for pipeline_id, pipeline in self._graph.config.pipelines.items()
        }

    def statistics(self) -> Mapping[str, Mapping[str, Any]]:
        """Return `kind:id` -> the component's statistics."""
        return {str(node): node.component.statistics() for node in self._graph.nodes.values()}

    def recent(self) -> Sequence[Step]:
        """Return the last GenAI steps that were acknowledged, oldest first."""
        return tuple(self._surroundings.recent)

    # -- life --

    async def start(self) -> None:
        """Start every component, downstream first. Raises `CannotStart` with nothing left running.

        It names everything that did not start. Receivers are only tried when all else runs, for what they
        take is acknowledged; what would have kept them from starting is named as far as it can be found.
        """
        self._graph.connect(self._surroundings)
        failures: list[str] = []
        for node in self._graph.nodes.values():
            if node.kind == "receiver" and failures:
                failures += (_cannot_start(node, why) for _, why in await _lacks(node))
                continue
            try:
                await _start(node)
            except CannotStart as error:
                # A component names the first that it cannot have, and not by its whole key.
                lacks = await _lacks(node)
                if not any(what in str(error) for what, _ in lacks):
                    failures.append(str(error))
                failures += (_cannot_start(node, why) for _, why in lacks)
        if failures:
            await self._shutdown(self._graph.nodes.values(), time_left_s=SWITCH_S)
            raise CannotStart(_report(list(dict.fromkeys(failures))))
        self._vitals.start()
        self._ready = True
        log.info("ready: %s", ", ".join(_listening(self.statistics())))

    async def reload(self, config: Config) -> None:
        """Change to `config`, keeping every component whose own configuration is the same.

        What comes is started beside what it replaces where that is possible, so that no request is refused
        meanwhile; what needs the same port or file starts after its predecessor. If something does not
        start, the old graph is put back and `CannotStart` is raised.
        """
        async with self._changing:
            old = self._graph
            new = build(config, self._surroundings, old)
            leaving = [node for key, node in old.nodes.items() if new.nodes.get(key) is not node]
            coming = [node for key, node in new.nodes.items() if old.nodes.get(key) is not node]
            await _refuse_in_vain(coming, leaving)
            started: list[Node] = []
            try:
                waiting = await self._start_beside(coming, leaving, started)
                handing_over = [
                    node.component.take_over(old.nodes[node.key].component)
                    for node in coming
                    if isinstance(node.component, Successor) and node.key in old.nodes
                ]
                new.connect(self._surroundings)
                for handover in handing_over:
                    await handover
                # An exporter with a slow backend goes on sending what it had accepted, beside its successor.
                deadline = self._surroundings.monotonic() + config.service.shutdown_timeout
                stopping = asyncio.create_task(self._shutdown_together(leaving, deadline))
                self._drains.add(stopping)
                stopping.add_done_callback(self._drained)
                await asyncio.wait({stopping}, timeout=SWITCH_S)
                for node in waiting:
                    await _start_again(node, stopping)
                    started.append(node)
            except CannotStart:
                await self._shutdown(started, time_left_s=SWITCH_S)
                # What still ends would be taken for something that runs.
                if self._drains:
                    await asyncio.wait(self._drains)
                await self._put_back(old)
                raise
            self._graph = new
            kept = len(new.nodes) - len(coming)
            log.info("reloaded: %d kept; started %s; stopped %s", kept, _named(coming), _named(leaving))

    def _drained(self, drain: asyncio.Task[int]) -> None:
        self._drains.discard(drain)
        self._lost += drain.result()

    async def _start_beside(
        self, coming: Sequence[Node], leaving: Sequence[Node], started: list[Node]
    ) -> Sequence[Node]:
        """Start what can run beside what it replaces, noting it in `started`; return what has to wait."""
        waiting = [node for node in coming if node.kind in {"receiver", "extension"}]
        for node in coming:
            if node in waiting:
                continue
            try:
                await _start(node)
                started.append(node)
            except CannotStart:
                # It may want what a predecessor of its type still holds.
                if not any((gone.kind, gone.id.type) == (node.kind, node.id.type) for gone in leaving):
                    raise
                waiting.append(node)
        return sorted(waiting, key=lambda node: START_ORDER.index(node.kind))

    async def _put_back(self, old: Graph) -> None:
        """Build and start again what a failed reload had stopped."""
        for node in tuple(old.nodes.values()):
            if not node.started:
                del old.nodes[node.key]
        self._graph = build(old.config, self._surroundings, old)
        self._graph.connect(self._surroundings)
        for node in self._graph.nodes.values():
            if not node.started:
                await _start_again(node, tries=PUT_BACK_TRIES)

    async def stop(self, timeout_s: float | None = None) -> int:
        """Stop taking, send what is accepted within the timeout; return the number of items lost."""
        async with self._changing:
            self._ready = False
            if timeout_s is None:
                timeout_s = self._graph.config.service.shutdown_timeout
            begun = self._surroundings.monotonic()
            # Awaited first: a drain that ends meanwhile adds to the sum.
            lost = await self._shutdown(self._graph.nodes.values(), timeout_s)
            self._lost += lost
            if self._drains:
                await asyncio.wait(self._drains)
            await self._vitals.stop()
            took_s = self._surroundings.monotonic() - begun
            log.info("stopped after %.1f s, %d items lost", took_s, self._lost)
            return self._lost

    async def _shutdown(self, nodes: Collection[Node], time_left_s: float) -> int:
        """Stop sources first and exporters after them; return the items lost."""
        deadline = self._surroundings.monotonic() + time_left_s
        lost = 0
        for kind in reversed(START_ORDER):
            lost += await self._shutdown_together([node for node in nodes if node.kind == kind], deadline)
        return lost

    async def _shutdown_together(self, nodes: Iterable[Node], deadline: float) -> int:
        running = [node for node in nodes if node.started]
        return sum(await asyncio.gather(*(_shutdown_one(node, deadline, self._surroundings) for node in running)))


async def _shutdown_one(node: Node, deadline: float, surroundings: Surroundings) -> int:
    node.health.status = "stopping"
    task = asyncio.ensure_future(node.component.shutdown(deadline))
    while not (await asyncio.wait({task}, timeout=SAY_EVERY_S))[0]:
        left = deadline - surroundings.monotonic()
        log.info("waiting for %s, %.0f s left%s", node, max(0.0, left), _unfinished(node))
        if left < -SAY_EVERY_S:
            log.error("%s did not end by itself and is cut off", node)
            task.cancel()
    lost = 0
    if task.cancelled():
        lost = 1
    elif (error := task.exception()) is not None:
        log.error("%s failed while shutting down: %s", node, error, exc_info=error)
        lost = 1
    else:
        lost = task.result()
    node.started = False
    node.health.status = "stopped"
    if lost:
        log.error("%s: %d items that were accepted could not be delivered and are lost", node, lost)
    return lost


async def _start_again(node: Node, predecessors: asyncio.Future[int] | None = None, tries: int = SWITCH_TRIES) -> None:
    """Start a component whose predecessor may hold a port or a file until it has ended, and a moment more."""
    while True:
        try:
            await _start(node)
        except CannotStart:
            if predecessors is None or predecessors.done():
                tries -= 1
            if not tries:
                raise
            await asyncio.sleep(SWITCH_S / 5)
        else:
            return


def _named(nodes: Iterable[Node]) -> str:
    return ", ".join(map(str, nodes)) or "none"


def _listening(statistics: Mapping[str, Mapping[str, Any]]) -> Iterable[str]:
    """Yield what listens where."""
    for component, numbers in statistics.items():
        for key, value in numbers.items():
            if key.endswith("addresses") and value:
                yield f"{component} {key.removesuffix('addresses').replace('_', ' ')}on {', '.join(value)}"


def _unfinished(node: Node) -> str:
    """Return what a component says it still has to do, and its trouble if it has any."""
    statistics = node.component.statistics()
    doing = [
        f"{name.replace('_', ' ')} {statistics[name]}"
        for name in ("waiting_requests", "waiting_items", "in_flight_requests", "waiting_deliveries")
        if statistics.get(name)
    ]
    if (failing_s := statistics.get("failing_for_s")) is not None:
        doing.append(f"failing for {failing_s:.0f} s")
    if statistics.get("last_error"):
        doing.append(str(statistics["last_error"]))
    return ": " + ", ".join(doing) if doing else ""


def _cannot_start(node: Node, why: str) -> str:
    return f"cannot start {node.kind} {node.id}: {why}"


def _report(failures: Sequence[str]) -> str:
    """Return what failed as one message: in a line when it is one, else a line each, as `validate` says it."""
    return failures[0] if len(failures) == 1 else "\n  ".join((f"not started, {len(failures)} errors:", *failures))


async def _refuse_in_vain(coming: Iterable[Node], leaving: Iterable[Node]) -> None:
    """Raise `CannotStart` if what comes cannot have its files and ports, even when what leaves has let go of its own.

    Asked before anything changes hands: open runs would end, and requests be refused, for nothing.
    """
    ours = {port for node in leaving for port in ports(node.config)}
    failures = [_cannot_start(node, why) for node in coming for _, why in await _lacks(node, ours)]
    if failures:
        raise CannotStart(_report(failures))


async def _lacks(node: Node, ours: Container[str] = ()) -> list[tuple[str, str]]:
    """Return the files and ports that a component which does not run cannot have, and why."""
    path = (f"{node.kind}s", str(node.id))
    files = [(lack.name, str(lack)) for lack in unreadable(node.config, path)]
    return files + await busy(node.config, path, ours)


async def _start(node: Node) -> None:
    try:
        await node.component.start()
    except Exception as error:
        # Python's own text of an OSError begins with the number of the error.
        why = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        node.health.status, node.health.why = "permanent_error", why
        raise CannotStart(_cannot_start(node, why)) from error
    node.started = True
    if node.health.status == "starting":
        node.health.status = "ok"

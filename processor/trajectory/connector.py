"""The connector that puts spans together to runs: its life, and what goes in."""

from __future__ import annotations

import asyncio
import secrets
from collections import deque
from collections.abc import Awaitable, Callable, Generator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from spanledger import __version__
from spanledger.conventions.details import Details
from spanledger.conventions.trajectory import Judgement
from spanledger.processor.batch import decode
from spanledger.processor.component import Host, Refused, paced, register
from spanledger.processor.trajectory.annotation import annotate
from spanledger.processor.trajectory.assembly import SLICE_S, Assembly
from spanledger.processor.trajectory.carried_context import carried_context
from spanledger.processor.trajectory.config import TrajectoryConfig
from spanledger.processor.trajectory.journal import Journal
from spanledger.processor.trajectory.outbox import Outbox
from spanledger.processor.trajectory.reports import compose

if TYPE_CHECKING:
    from opentelemetry.proto.trace.v1.trace_pb2 import Span

    from spanledger.conventions.detail import Detail, Evaluation
    from spanledger.conventions.reading import Reading
    from spanledger.conventions.step import Bridge, Step
    from spanledger.processor.batch import Batch, Delivery, Resource, Signal
    from spanledger.processor.component import Consume

MAX_WAITING: Final = 100_000
"""Spans and log records that may wait to be put together; a request that finds so many is refused."""

_WORTH_READING: Final = (b"gen_ai.",)
"""A logs request without these bytes has nothing for a run."""


@register("connector", "trajectory", config=TrajectoryConfig, signals=("traces", "logs"), feeds=("logs", "metrics"))
class Trajectory:
    """Puts the spans of agents together to runs: documents, findings, metrics, and roll-ups on the roots."""

    def __init__(
        self, config: TrajectoryConfig, host: Host, *, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    ) -> None:
        self.consumers: Mapping[Signal, Consume] = {}
        self._config = config
        self._host = host
        self._outbox = Outbox(host, "spanledger.trajectory", __version__, sleep)
        self._journal = (
            Journal(config.storage, host, config.late.remember + config.late.forget, sleep=sleep)
            if config.storage
            else None
        )
        self.assembly = Assembly(config, host, self._outbox, self._journal)
        self._details = self._details_with(secrets.token_bytes(32))
        self._unannotated = host.metrics.counter("spanledger_unannotated_roots_total")
        self._logs: deque[Delivery] = deque()
        self._waiting_logs = 0
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=str(host.id))
        self._wake = asyncio.Event()
        self._wakes_s = 0.0
        self._ending = False
        self._heir: Trajectory | None = None
        """Who goes on with the runs; what is still on its way here is theirs."""
        self._task: asyncio.Task[None] | None = None

    def _details_with(self, key: bytes) -> Details:
        self._key, config = key, self._config
        return Details(config.content, key, config.dimension_sources(), config.max_content_bytes)

    # -- life --

    async def start(self) -> None:
        """Take up what a former life of the process left, and begin."""
        self._outbox.consume = self.consumers.get("logs")
        if self._journal is not None:
            key, remembered = await self._journal.open()
            # The same key as before: what was said then has to look the same now.
            self._details = self._details_with(key)
            await paced(self.assembly.restore(remembered), SLICE_S, self._host.monotonic)
        self._task = asyncio.create_task(self._run(), name=str(self._host.id))

    def take_over(self, predecessor: Trajectory) -> Awaitable[None]:
        """Go on with the runs of another one, from the next span on; with `storage`, the file hands them over."""
        if self._journal is not None or predecessor._journal is not None:
            return asyncio.sleep(0)
        self._details = self._details_with(predecessor._key)
        return self._take_over(predecessor)

    async def _take_over(self, predecessor: Trajectory) -> None:
        await predecessor._read_logs()
        predecessor._heir = self
        restoring = self.assembly.restore(predecessor.assembly.give_up())
        await paced(restoring, SLICE_S, self._host.monotonic)
        self._wake.set()

    async def shutdown(self, deadline: float) -> int:
        """Close every open run with the reason `shutdown` and hand them on until `deadline`; return what is lost."""
        self._ending = True
        self._wake.set()
        if self._task is not None:
            await self._task
        await self.work()
        self.assembly.close_all()
        more = True
        while more:
            more = await self.work() == 0
            await asyncio.sleep(0)
        self.assembly.governance.end()
        lost = await self._outbox.close(deadline)
        if self._journal is not None:
            await self._journal.close()
        self._thread.shutdown(wait=False)
        return lost

    def statistics(self) -> Mapping[str, Any]:
        """Return the sizes of what is remembered, and what waits."""
        return {
            **self.assembly.store.statistics(),
            "waiting_spans": self.assembly.waiting_spans,
            "waiting_events": len(self._outbox),
            "waiting_log_records": self._waiting_logs,
            **(self._journal.statistics() if self._journal is not None else {}),
        }

    # -- the sink --

    def reserve(self, delivery: Delivery) -> None:
        """Hold nothing, for spans are taken faster than they are decoded; refuse if that should not be so."""
        waiting = self.assembly.waiting_spans + self._waiting_logs
        if waiting > MAX_WAITING:
            raise Refused(f"connector {self._host.id} has {waiting} spans and log records waiting")

    def release(self, delivery: Delivery) -> None:
        """Do nothing."""

    def commit(self, delivery: Delivery) -> None:
        """Take the spans of `delivery`, those that its log records stand for, and what these say of spans."""
        if self._heir is not None:
            self._heir.commit(delivery)
            return
        if delivery.steps or delivery.bridges:
            self.assembly.take((*delivery.steps, *delivery.bridges))
        for judgement in delivery.judgements:
            self.assembly.judge(judgement)
        if delivery.signal == "logs" and any(mark in delivery.data for mark in _WORTH_READING):
            self._logs.append(delivery)
            self._waiting_logs += delivery.items
        at = self.assembly.next_turn()
        if self._logs or (at is not None and at < self._wakes_s):
            self._wake.set()

    # -- before the spans leave --

    def detail(self, span: Span, reading: Reading, resource: Resource) -> Detail:
        """Return what joins this step to others."""
        detail = self._details.read(span, reading, resource.attributes)
        if "mcp" in self._config.stitch and (context := carried_context(reading.attributes)) is not None:
            return replace(detail, context=context)
        return detail

    def judgements(self, span: Span) -> Sequence[Judgement]:
        """Return what a span that is no GenAI work says of others."""
        return [_judgement(one, span.trace_id, span.span_id) for one in self._details.evaluations_on(span)]

    def annotate(self, batch: Batch, steps: Sequence[Step], bridges: Sequence[Bridge]) -> Generator[None, None, None]:
        """Write the roll-up of a run onto its root, as far as the run is known by then, and mark what loops."""
        skipped = yield from annotate(batch, steps, bridges, self.assembly)
        if skipped:
            self._unannotated.add((), skipped)

    # -- the task --

    async def work(self) -> float | None:
        """Do what is due, for a slice of time. Return the seconds until more is, None when nothing is to come."""
        self._outbox.consume = self.consumers.get("logs")
        await self._read_logs()
        wait_s = self.assembly.turn()
        while self.assembly.large:
            # Documents of large runs are made in a thread, so that requests go on meanwhile.
            group, reason = self.assembly.large.popleft()
            snapshot = self.assembly.snapshot(group, reason)
            changes = await asyncio.get_running_loop().run_in_executor(self._thread, compose, snapshot)
            self.assembly.publish(group, reason, snapshot, changes)
        return wait_s

    async def _run(self) -> None:
        while not self._ending:
            wait_s = await self.work()
            if wait_s == 0:
                await asyncio.sleep(0)
                continue
            self._wakes_s = float("inf") if wait_s is None else self._host.monotonic() + wait_s
            try:
                async with asyncio.timeout(wait_s):
                    await self._wake.wait()
            except TimeoutError:
                pass
            self._wake.clear()
            self._wakes_s = 0.0

    async def _read_logs(self) -> None:
        while self._logs:
            delivery = self._logs.popleft()
            self._waiting_logs -= delivery.items
            batch = await paced(decode("logs", delivery.data, delivery.received_ns), SLICE_S, self._host.monotonic)
            for group in batch.groups:
                for record in group.items:
                    if record is not None and (said := self._details.detail_of_log(record)) is not None:
                        self._hear(*said)
                await asyncio.sleep(0)

    def _hear(self, trace_id: bytes, span_id: bytes, detail: Detail) -> None:
        for evaluation in detail.evaluations:
            self.assembly.judge(_judgement(evaluation, trace_id, span_id))
        if trace_id and span_id and not detail.evaluations:
            self.assembly.hear(trace_id, span_id, detail)


def _judgement(evaluation: Evaluation, trace_id: bytes, span_id: bytes) -> Judgement:
    return Judgement(evaluation, trace_id, span_id, evaluation.conversation_id)

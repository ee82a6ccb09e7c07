"""The connector that puts spans together to runs: its life, and what goes in."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import sqlite3
import threading
from collections import deque
from collections.abc import Awaitable, Callable, Generator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from spanledger import __version__
from spanledger.conventions.details import Details
from spanledger.conventions.trajectory import Judgement
from spanledger.processor.batch import Delivery, decode
from spanledger.processor.component import Host, Refused, register
from spanledger.processor.trajectory.annotation import annotate
from spanledger.processor.trajectory.assembly import SLICE_S, Assembly
from spanledger.processor.trajectory.carried_context import carried_context
from spanledger.processor.trajectory.config import TrajectoryConfig
from spanledger.processor.trajectory.heard import Heard
from spanledger.processor.trajectory.journal import RETRY_S, Journal
from spanledger.processor.trajectory.journal_file import JournalFile
from spanledger.processor.trajectory.outbox import Outbox
from spanledger.processor.trajectory.reports import composing
from spanledger.processor.trajectory.resting import resting
from spanledger.processor.turns import Beside, paced

if TYPE_CHECKING:
    from opentelemetry.proto.trace.v1.trace_pb2 import Span

    from spanledger.conventions.detail import Detail, Evaluation
    from spanledger.conventions.reading import Reading
    from spanledger.conventions.span_attributes import Keys
    from spanledger.conventions.step import Bridge, Step
    from spanledger.processor.batch import Batch, Resource, Signal
    from spanledger.processor.component import Consume
    from spanledger.processor.trajectory.group import Group
    from spanledger.processor.trajectory.records import Record
    from spanledger.processor.trajectory.store import Reason

AFTER_FAULT_S: Final = 1.0
"""Pause after a turn that a fault of ours ended: the next may meet it again."""
MAX_WAITING: Final = 20_000
"""Spans and log records that may wait to be put together. A request that finds more is refused, and so are others until
nothing waits any more: no run is told while spans wait that may be part of it."""

MAX_LEAVING: Final = 1_000
"""Runs that were closed to make room and may wait to be told of; then the same."""

TELL_SHARE: Final = 0.8
"""Of the seconds that a shutdown has for telling of runs; the others are for those who store what was told."""

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
        self._journal: Journal | None = None
        if config.storage:
            forget_s = config.late.remember + config.late.forget
            file = JournalFile(config.storage, forget_s, host.clock_ns, fsync=config.storage_fsync)
            self._journal = Journal(file, host, told=self._outbox.progress, sleep=sleep)
        self.assembly = Assembly(config, host, self._outbox, self._journal)
        self.durable = self._journal is not None
        """Whether what is taken is on disk before it is acknowledged."""
        self._kept: dict[int, int] = {}
        """The numbers of requests that are on disk and not committed, by the identity of the delivery."""
        self._opening = asyncio.Lock()
        self._tried_s = float("-inf")
        self._disk_fails = False
        self._details = self._details_with(secrets.token_bytes(32))
        self._unannotated = host.metrics.counter("spanledger_unannotated_roots_total")
        self._logs: deque[tuple[Delivery, int]] = deque()
        self._waiting_logs = 0
        self._heard = Heard()
        self._is_behind = False
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=str(host.id))
        self._wake = asyncio.Event()
        self._wakes_s = 0.0
        self._beside = Beside(SLICE_S, host.monotonic, host.working)
        self._ending = threading.Event()
        self._tell_until_s = float("inf")
        self._is_followed = False
        """Whether another one finds the open runs in the file."""
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
            # A disk that fails is no reason not to start.
            with contextlib.suppress(Refused):
                await self._open()
        self._task = asyncio.create_task(self._run(), name=str(self._host.id))

    async def _open(self) -> None:
        """Take up what a former life left. While the disk is at fault, requests are refused and it is tried again."""
        # To its end, even when the client that tries it goes away: what was half taken up would be so for good.
        await asyncio.shield(self._take_up())

    async def _take_up(self) -> None:
        assert self._journal is not None
        async with self._opening:
            if self._journal.is_open:
                return
            if self._ending.is_set() or self._host.monotonic() - self._tried_s < RETRY_S:
                raise self._journal.refusal("the disk fails")
            self._tried_s = self._host.monotonic()
            try:
                key, remembered = await self._journal.open()
            except (OSError, sqlite3.Error) as error:
                if not self._disk_fails:
                    self._disk_fails = True
                    self._host.report("recoverable_error", f"storage: {error}")
                    self._host.log.error(
                        "storage: cannot use %s: %s; requests are refused until it works", self._config.storage, error
                    )
                raise self._journal.refusal(error) from error
            except ValueError as error:
                if self._task is not None:
                    raise self._journal.refusal(error) from error
                # Another one has the file: in a reload the predecessor, for a while. The service tries again at once.
                self._tried_s = float("-inf")
                raise
            if self._disk_fails:
                self._disk_fails = False
                self._host.report("ok", "")
            # The same key as before: what was said then has to look the same now.
            self._details = self._details_with(key)
            # A disk that damaged a row may have left JSON: no reason not to start.
            with self.assembly.surviving():
                await paced(self.assembly.restore(remembered), SLICE_S, self._host.monotonic)
            for judgement in remembered.arrived_judgements:
                self.assembly.judge(judgement)
            self.assembly.take(remembered.arrived, remembered.left)
            logs = remembered.arrived_logs
            for number, data in enumerate(logs, 1):
                self._logs.append((Delivery("logs", data, 0, 0), -remembered.left if number == len(logs) else 0))
            self._wake.set()

    def take_over(self, predecessor: Trajectory) -> Awaitable[None]:
        """Go on with the runs of another one, from the next span on; with `storage`, the file hands them over."""
        self._heard = predecessor._heard
        self.assembly.governance.replace(predecessor.assembly.governance)
        if self._journal is not None or predecessor._journal is not None:
            predecessor._is_followed = self._config.storage == predecessor._config.storage
            return asyncio.sleep(0)
        self._details = self._details_with(predecessor._key)
        return self._take_over(predecessor)

    async def _take_over(self, predecessor: Trajectory) -> None:
        while predecessor._logs:
            await predecessor._read_logs()
        predecessor._heir = self
        restoring = self.assembly.restore(predecessor.assembly.give_up())
        # What it still tells of is charged where it counts from now on.
        predecessor.assembly.governance = self.assembly.governance
        await paced(restoring, SLICE_S, self._host.monotonic)
        self._wake.set()

    async def shutdown(self, deadline: float) -> int:
        """Close every open run with the reason `shutdown` and hand them on until `deadline`; return what is lost."""
        now_s = self._host.monotonic()
        self._tell_until_s = now_s + TELL_SHARE * (deadline - now_s)
        self._ending.set()
        self._wake.set()
        if self._task is not None:
            await self._task
        async with self._opening:
            pass  # whoever was opening the file is done, so that it is closed below
        await self.work()
        if not self._is_followed:
            self.assembly.close_all()
        while await self.work() == 0 and not self._is_late():  # noqa: ASYNC110 - others use the loop meanwhile
            await asyncio.sleep(0)
        if self._heir is None:
            self.assembly.governance.end()
        untold = self.assembly.store.leaving_groups + len(self.assembly.large)
        lost = await self._outbox.close(deadline, untold=untold, kept=self._journal is not None)
        if self._journal is not None:
            await self._journal.close()
        self._thread.shutdown(wait=False)
        return lost

    def _is_late(self) -> bool:
        return self._host.monotonic() > self._tell_until_s

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
        leaving = self.assembly.store.leaving_groups + len(self.assembly.large)
        self._is_behind |= waiting > MAX_WAITING or leaving > MAX_LEAVING
        if self._is_behind:
            raise Refused(
                f"connector {self._host.id} has {waiting} spans and log records and {leaving} closed runs waiting"
            )

    async def keep(self, delivery: Delivery) -> None:
        """Write what a run may need of `delivery` to disk. Raises `Refused` when that is not possible now."""
        if self._journal is None:
            return
        if self._task is None:
            # In a reload, requests come before the predecessor has given the file up.
            raise Refused(f"connector {self._host.id} is starting", reason="not_ready")
        if not self._journal.is_open:
            await self._open()
        logs = delivery.data if _is_worth_reading(delivery) else None
        records: list[Record | Judgement] = [*delivery.steps, *delivery.bridges, *delivery.judgements]
        if records or logs is not None:
            self._kept[id(delivery)] = await self._journal.keep(records, logs)

    def release(self, delivery: Delivery) -> None:
        """Forget what was kept."""
        if self._journal is not None and (number := self._kept.pop(id(delivery), 0)):
            self._journal.settled(number)
            self._journal.settled(-number)

    def commit(self, delivery: Delivery) -> None:
        """Take the spans of `delivery`, those that its log records stand for, and what these say of spans."""
        if self._heir is not None:
            self._heir.commit(delivery)
            return
        number = self._kept.pop(id(delivery), 0)
        if delivery.steps or delivery.bridges or number:
            self.assembly.take((*delivery.steps, *delivery.bridges), number)
        # After the spans that they are about: what finds nobody waits for a turn, and then puts off the end of a run.
        for judgement in delivery.judgements:
            self.assembly.judge(judgement)
        if _is_worth_reading(delivery):
            self._logs.append((delivery, -number))
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

    def judgements(self, span: Span, keys: Keys | None = None) -> Sequence[Judgement]:
        """Return what a span that is no GenAI work says of others."""
        return [_judgement(one, span.trace_id, span.span_id) for one in self._details.evaluations_on(span, keys)]

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
        wait_s = self.assembly.turn(self._beside.turn_s)
        while self.assembly.large and not self._is_late():
            with self.assembly.surviving():
                await self._tell_large(*self.assembly.large.popleft())
        if self._logs:
            return 0.0
        self._is_behind &= wait_s == 0
        return wait_s

    async def _tell_large(self, group: Group, reason: Reason) -> None:
        """Make the documents of a large run in a thread, so that requests go on meanwhile."""
        snapshot = self.assembly.snapshot(group, reason)

        def rest(took_s: float) -> None:
            # Not while others wait for the thread: under full load they would pile up.
            if not self.assembly.large:
                self._ending.wait(took_s)

        changes = await asyncio.get_running_loop().run_in_executor(
            self._thread, resting, composing(snapshot), self._host.monotonic, rest
        )
        # Meanwhile an heir may have taken all groups but those that are gone: it tells of them.
        if self._heir is None or group.state == "gone":
            self.assembly.publish(group, reason, snapshot, changes)

    async def _run(self) -> None:
        while not self._ending.is_set():
            if self.assembly.waiting_spans or self._logs:
                # The root that comes next tells of them.
                await self._beside.others()
            else:
                await self._beside.requests()
            wait_s: float | None = AFTER_FAULT_S
            with self.assembly.surviving():
                wait_s = await self.work()
            if wait_s == 0:
                continue
            self._beside.done()
            if self._journal is not None and not self._journal.is_open:
                # What is in it is told even when no request comes that would try.
                with contextlib.suppress(Refused):
                    await self._open()
                wait_s = RETRY_S
            self._wakes_s = float("inf") if wait_s is None else self._host.monotonic() + wait_s
            try:
                async with asyncio.timeout(wait_s):
                    await self._wake.wait()
            except TimeoutError:
                pass
            self._wake.clear()
            self._wakes_s = 0.0

    async def _read_logs(self) -> None:
        # Those that come meanwhile wait: spans have their turn, too.
        for _ in range(len(self._logs)):
            delivery, number = self._logs.popleft()
            self._waiting_logs -= delivery.items
            batch = await paced(decode("logs", delivery.data, delivery.received_ns), SLICE_S, self._host.monotonic)
            for group in batch.groups:
                for record in group.items:
                    if record is None or (said := self._details.detail_of_log(record)) is None:
                        continue
                    if not said[2].single or not self._heard.before(record):
                        self._hear(*said)
                await asyncio.sleep(0)
            if number and self._journal is not None:
                self._journal.settled(number)

    def _hear(self, trace_id: bytes, span_id: bytes, detail: Detail) -> None:
        # There may be an heir since this request is being read.
        assembly = (self._heir or self).assembly
        for evaluation in detail.evaluations:
            assembly.judge(_judgement(evaluation, trace_id, span_id))
        if trace_id and span_id and not detail.evaluations:
            assembly.hear(trace_id, span_id, detail)


def _is_worth_reading(delivery: Delivery) -> bool:
    return delivery.signal == "logs" and any(mark in delivery.data for mark in _WORTH_READING)


def _judgement(evaluation: Evaluation, trace_id: bytes, span_id: bytes) -> Judgement:
    return Judgement(evaluation, trace_id, span_id, evaluation.conversation_id)

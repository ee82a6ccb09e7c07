"""From spans to runs that are told of: the store, and what follows when it closes a group.

Everything here runs in the event loop and in short turns; only the documents of large runs are made in a
thread, from a snapshot.
"""

from __future__ import annotations

import contextlib
from collections import Counter, OrderedDict, deque
from collections.abc import Generator, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from spanledger.conventions.details import merged
from spanledger.conventions.step import Step
from spanledger.conventions.trajectory import Judgement
from spanledger.processor.trajectory.gauges import Gauges
from spanledger.processor.trajectory.governance import Governance
from spanledger.processor.trajectory.histories import Histories, usual_of
from spanledger.processor.trajectory.loops import Loops
from spanledger.processor.trajectory.records import key_of
from spanledger.processor.trajectory.remembered import Remembered
from spanledger.processor.trajectory.reports import Built, Snapshot, completeness_of, compose
from spanledger.processor.trajectory.store import Store
from spanledger.processor.trajectory.telling import Telling

if TYPE_CHECKING:
    from spanledger.conventions.detail import Detail
    from spanledger.conventions.evaluator import Usual
    from spanledger.processor.component import Host
    from spanledger.processor.trajectory.config import TrajectoryConfig
    from spanledger.processor.trajectory.emitted import Change
    from spanledger.processor.trajectory.group import Group, Label
    from spanledger.processor.trajectory.journal import Journal
    from spanledger.processor.trajectory.outbox import Outbox
    from spanledger.processor.trajectory.records import Record
    from spanledger.processor.trajectory.store import Disposition, Reason

SLICE_S: Final = 0.002
"""Seconds of work in one turn."""

LARGE: Final = 64
"""Records of a group whose documents are made in a thread."""

MAX_BUILT: Final = 512
MAX_BUILT_SPANS: Final = 20_000
"""Of all runs that were built in passing: some are of a thousand."""
CHECK_EVERY: Final = 8
MAX_EARLY: Final = 2_000
"""Log records that are kept for spans that have not come, and evaluations that are about nothing known."""


class Assembly:
    """Owns everything that is known of runs. No method waits."""

    def __init__(self, config: TrajectoryConfig, host: Host, outbox: Outbox, journal: Journal | None) -> None:
        self.store = Store(config)
        self.large: deque[tuple[Group, Reason]] = deque()
        """Closed groups whose documents are to be made elsewhere: `snapshot`, `compose`, `publish`."""
        self._config = config
        self._host = host
        self._journal = journal
        self._gauges = Gauges(host.metrics)
        self.recipe = config.recipe()
        self._telling = Telling(host, outbox, journal, self.recipe.evaluators)
        self.governance = Governance(config, self.recipe, host, outbox, journal)
        self._histories = Histories()
        self.loops = Loops(self.recipe.rules, self._histories) if self.recipe.rules is not None else None
        self._became = host.metrics.counter("spanledger_trajectory_spans_total")
        self._late = host.metrics.counter("spanledger_late_spans_total")
        self._lost = host.metrics.counter("spanledger_trajectory_log_records_dropped_total")
        self._unrelated = host.metrics.counter("spanledger_trajectory_unrelated_spans_total")
        self._faults = host.metrics.counter("spanledger_trajectory_faults_total")
        self._faults.add((), 0)
        self._waiting: deque[tuple[Iterator[Record], int]] = deque()
        self._said: OrderedDict[bytes, Detail] = OrderedDict()
        self._unplaced: OrderedDict[Judgement, float] = OrderedDict()
        """Evaluations of runs that have not come -> since when they wait."""
        self._spare: set[Judgement] = set()
        """Those of them that are part of the run they came in, if they find no other."""
        self._fresh: dict[int, tuple[Group, list[Step]]] = {}
        """Open groups that got steps which no rule has looked at."""
        self._built: OrderedDict[bytes, Built] = OrderedDict()
        self._built_spans = 0
        self.waiting_spans = 0

    # -- what comes in --

    def take(self, records: Sequence[Record], number: int = 0) -> None:
        """Take spans; what does not fit into a slice waits for `turn`. `number` is what they have in the journal."""
        self.waiting_spans += len(records)
        self._waiting.append((iter(records), number))
        if len(self._waiting) == 1:
            self._take_waiting(self._host.monotonic())

    def judge(self, judgement: Judgement) -> None:
        """Take an evaluation that came by itself."""
        now_s = self._host.monotonic()
        if not self._place(judgement, now_s):
            self._wait(judgement, now_s)
            if self._journal is not None:
                self._journal.judge(judgement, b"", self._host.clock_ns())

    def hear(self, trace_id: bytes, span_id: bytes, detail: Detail) -> None:
        """Take what a log record says of a span, which comes before or after it."""
        key = trace_id + span_id
        if self.store.hear(trace_id, span_id, detail, self._host.monotonic()):
            self._keep(key)
            return
        known = self._said.get(key)
        self._said[key] = detail if known is None else merged(known, detail, self._config.max_content_bytes)
        if len(self._said) > MAX_EARLY:
            self._said.popitem(last=False)
            self._lost.add(("unknown",))

    def restore(self, remembered: Remembered) -> Generator[None, None, None]:
        """Take what a former life of the process knew, with pauses."""
        now_s, now_ns = self._host.monotonic(), self._host.clock_ns()

        def then(at_ns: int) -> float:
            return now_s - max(0, now_ns - at_ns) / 1e9

        for count, (arrived_ns, record) in enumerate(remembered.records):
            self.store.add(record, then(arrived_ns))
            if (group := self.store.group_of(record.trace_id)) is not None:
                self.governance.recall(group, record)
            if count % CHECK_EVERY == 0:
                yield
        for traces in remembered.together:
            self.store.reunite(traces, now_s)
        for arrived_ns, judgement in remembered.judgements:
            if (about := self.store.judged(judgement)) is not None:
                self.store.judge(about, judgement, then(arrived_ns))
            else:
                self._wait(judgement, then(arrived_ns))
        for trace_id, run_id, said in remembered.runs:
            self.store.report(trace_id, run_id, said)
        for trace_id, at_ns in remembered.closed.items():
            self.store.was_closed(trace_id, then(at_ns), now_s)
        for arrived_ns, judgement, is_spare in remembered.unplaced:
            if is_spare:
                self._spare.add(judgement)
            self._wait(judgement, then(arrived_ns))
        self._said.update(remembered.said)
        self.governance.restore(remembered, self.store.open_ones())
        self._gauges.show(self.store, now_s)

    def give_up(self) -> Remembered:
        """Return what `restore` of another assembly takes, and know nothing more of it.

        Runs that were closed to make room and are not told of yet are in nobody's memory any more: they are told here.
        """
        now_s, now_ns = self._host.monotonic(), self._host.clock_ns()
        while self._take_waiting(now_s):
            pass

        def when(at_s: float) -> int:
            return now_ns - int(max(0.0, now_s - at_s) * 1e9)

        groups, ended = self.store.everything()
        self.store = self.store.only_leaving()
        self.large = deque((group, reason) for group, reason in self.large if group.state == "gone")
        self._fresh.clear()
        unplaced = [(when(came_s), one, one in self._spare) for one, came_s in self._unplaced.items()]
        said = {**self._said}
        for given in (self._unplaced, self._spare, self._said):
            given.clear()
        closed = {trace_id: when(at_s) for trace_id, at_s in ended.items()}
        spent, breaches = self.governance.give_up()
        told = (group for group in groups if group.state != "open" and not group.leaving)
        closed |= {trace_id: when(group.touched_s) for group in told for trace_id in group.traces}
        return Remembered(
            records=_records([(when(group.touched_s), group) for group in groups]),
            together=[group.traces for group in groups if len(group.traces) > 1],
            judgements=[(when(group.touched_s), one) for group in groups for one in group.judgements or ()],
            unplaced=unplaced,
            said=said,
            spent=spent,
            breaches=breaches,
            runs=[(group.traces[0], *said) for group in groups for said in (group.emitted or {}).items()],
            closed=closed,
        )

    def _judge_others(self, judge: Step, now_s: float) -> None:
        """Take what a judge's span says of a run in another trace. Of its own, it is part."""
        if judge.kind != "evaluation" or judge.detail is None:
            return
        for evaluation in judge.detail.evaluations:
            judgement = Judgement(evaluation, conversation_id=evaluation.conversation_id)
            if (evaluation.response_id or evaluation.conversation_id) and not self._place(judgement, now_s):
                self._spare.add(judgement)
                self._wait(judgement, now_s)

    def _wait(self, judgement: Judgement, now_s: float) -> None:
        self._unplaced[judgement] = now_s
        if len(self._unplaced) > MAX_EARLY:
            self._give_up(self._unplaced.popitem(last=False)[0])

    def _give_up(self, judgement: Judgement) -> None:
        if judgement in self._spare:
            self._spare.discard(judgement)
            return
        self._lost.add(("unknown",))
        if self._journal is not None:
            self._journal.forget_judgement(judgement)

    def _place(self, judgement: Judgement, now_s: float) -> bool:
        group = self.store.judged(judgement)
        if group is None:
            return False
        placed = self.store.judge(group, judgement, now_s)
        if placed == "full":
            self._lost.add(("too_many",))
        elif placed == "joined" and self._journal is not None:
            self._journal.judge(judgement, group.traces[0], self._host.clock_ns())
        return True

    def _take_waiting(self, now_s: float, slice_s: float = SLICE_S) -> bool:
        """Add what waits until it is all or the slice is used up; tell whether something is left."""
        until = self._host.monotonic() + slice_s
        became: Counter[Disposition] = Counter()
        try:
            while self._waiting:
                records, number = self._waiting[0]
                for record in records:
                    self.waiting_spans -= 1  # also when a fault of ours ends here: the next turn goes on behind it
                    became[self._add(record, now_s)] += 1
                    if self._host.monotonic() >= until:
                        return True
                self._waiting.popleft()
                if number and self._journal is not None:
                    self._journal.settled(number)
            return False
        finally:
            self._count(became)

    def _add(self, record: Record, now_s: float) -> Disposition:
        if isinstance(record, Step):
            if record.agent_name:
                self._telling.see((record.service_name, record.agent_name))
                self.governance.see((record.service_name, record.agent_name))
            if self._said and (said := self._said.pop(key_of(record), None)) is not None:
                known = record.detail
                record = replace(record, detail=said if known is None else merged(known, said))
        became = self.store.add(record, now_s)
        if became in ("new", "late", "better"):
            if self._journal is not None:
                self._journal.add(record, self._host.clock_ns())
            if isinstance(record, Step) and (group := self.store.group_of(record.trace_id)) is not None:
                self._judge_others(record, now_s)
                self._gauges.grew(group, now_s)
                if self.loops is not None and record.kind != "other" and group.state == "open":
                    self._fresh.setdefault(group.number, (group, []))[1].append(record)
        if became in ("new", "late") and (group := self.store.group_of(record.trace_id)) is not None:
            self.governance.note(group, record)
        if became in ("late", "too_late"):
            self._late.add((record.service_name,))
        if became in ("over_limit", "too_late") and isinstance(record, Step):
            self.governance.lost(record)
        return became

    def _keep(self, key: bytes) -> None:
        group = self.store.group_of(key[:16])
        if self._journal is not None and group is not None and (record := group.record(key)) is not None:
            self._journal.add(record, self._host.clock_ns())

    def _count(self, became: Counter[Disposition]) -> None:
        for disposition, count in became.items():
            self._became.add(("duplicate" if disposition == "better" else disposition,), count)

    # -- turns --

    def turn(self, slice_s: float = SLICE_S) -> float | None:
        """Do what is due, for one slice. Return the seconds until the next turn, None when nothing is to come."""
        now_s = self._host.monotonic()
        self._host.metrics.tick(self._host.clock_ns())
        until = now_s + slice_s
        more = self._take_waiting(now_s, slice_s) or self._host.monotonic() >= until
        self._place_waiting(now_s)
        while self._fresh and not more:
            self._look(*self._fresh.pop(next(iter(self._fresh))))
            more = self._host.monotonic() >= until
        while not more:
            due = self.store.due(now_s, 1)
            if not due:
                break
            for group, reason in due:
                with self.surviving():
                    self._settle(group, reason, now_s)
            more = self._host.monotonic() >= until
        self._tidy(now_s)
        if more:
            return 0.0
        at = self.next_turn()
        return None if at is None else max(0.0, at - now_s)

    def next_turn(self) -> float | None:
        """Return when something is due; None when nothing is to come."""
        if self._waiting or self._fresh:
            return 0.0
        looks = (self.store.next_deadline(), self._gauges.next_look(), self.governance.next_look())
        nexts = [at for at in looks if at is not None]
        return min(nexts, default=None)

    def close_all(self) -> None:
        """Make everything due, for the process is about to end."""
        while self._take_waiting(self._host.monotonic()):
            pass
        self.store.close_all(self._host.monotonic())

    def snapshot(self, group: Group, reason: Reason) -> Snapshot:
        """Return what the runs of a group follow from."""
        return Snapshot(
            self.recipe,
            group.kept(),
            group.changes,
            tuple(group.judgements or ()),
            group.emitted or {},
            completeness_of(group, reason),
            tuple((group.told or {}).values()),
            self._histories.successes(),
            self._take_built(group.traces[0]),
        )

    def usual(self, label: Label) -> Usual | None:
        """Return what the successful runs of an agent were like until now."""
        return usual_of(self._histories.successes().get(label, ()))

    def remember(self, trace_id: bytes, built: Built) -> None:
        """Keep runs that were built in passing, for a while. They follow from their records and nothing else."""
        self._take_built(trace_id)
        self._built[trace_id] = built
        self._built_spans += len(built.keys)
        while len(self._built) > MAX_BUILT or self._built_spans > MAX_BUILT_SPANS:
            self._take_built(next(iter(self._built)))

    def _take_built(self, trace_id: bytes) -> Built | None:
        built = self._built.pop(trace_id, None)
        self._built_spans -= len(built.keys) if built is not None else 0
        return built

    def built_at(self, trace_id: bytes) -> int:
        """Return how many records the group with this first trace had when its runs were built in passing, or 0."""
        built = self._built.get(trace_id)
        return len(built.keys) if built is not None else 0

    def publish(self, group: Group, reason: Reason, snapshot: Snapshot, changes: list[Change]) -> None:
        """Tell of the runs of a closed group."""
        try:
            self._telling.runs(group, reason, snapshot, changes)
            unfinished = snapshot.completeness == "shutdown" and self._journal is not None
            self.governance.close(group, changes, unfinished=unfinished)
            for change in changes:
                if not change.before:
                    self._histories.add(change.run)
        finally:
            self.store.left(group)

    @contextlib.contextmanager
    def surviving(self) -> Iterator[None]:
        """Let a fault of ours end the work on one run, and nothing else: the others are still to be told."""
        try:
            yield
        except Exception:
            self._faults.add(())
            self._host.log.exception("a run could not be told; spanledger_trajectory_faults_total goes on")

    def _place_waiting(self, now_s: float) -> None:
        for judgement in tuple(self._unplaced)[:CHECK_EVERY]:
            came_s = self._unplaced.pop(judgement)
            if now_s - came_s >= self._config.late.remember:
                self._give_up(judgement)
            elif not self._place(judgement, now_s):
                self._unplaced[judgement] = came_s
            else:
                self._spare.discard(judgement)

    def _look(self, group: Group, steps: list[Step]) -> None:
        now = group.living()
        if self.loops is None or now is None or now.state != "open":
            return
        if now.number in self._fresh:  # it became part of one that is yet to be looked at
            self._fresh[now.number][1].extend(steps)
            return
        for found in self.loops.look(now, steps):
            self._telling.loop(now, found)

    def _settle(self, group: Group, reason: Reason, now_s: float) -> None:
        if group.merged_into is not None:
            return  # it goes on as part of another
        self._gauges.ended(group, now_s)
        if self.loops is not None:
            self.loops.forget(group)
        if len(group) > LARGE:
            self.large.append((group, reason))
            return
        snapshot = self.snapshot(group, reason)
        self.publish(group, reason, snapshot, compose(snapshot))

    def _tidy(self, now_s: float) -> None:
        if self.store.unrelated_spans:
            self._unrelated.add((), self.store.unrelated_spans)
            self.store.unrelated_spans = 0
        if self.store.forgotten_traces:
            if self._journal is not None:
                self._journal.forget(self.store.forgotten_traces)
            self.governance.forget(self.store.forgotten_traces)
            self.store.forgotten_traces = []
        self._gauges.show(self.store, now_s)
        self.governance.show()


def _records(groups: list[tuple[int, Group]]) -> Iterator[tuple[int, Record]]:
    """Yield the records of groups, and give up each group after its own."""
    while groups:
        at_ns, group = groups.pop()
        yield from ((at_ns, record) for record in group.records().values())

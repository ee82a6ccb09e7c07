"""The runs that are under way: groups of spans that belong together, until nothing more is to come.

A group is a connected set of traces. Its life::

                    root ended, nothing known to be open
    (none) ──> open ───────────────┐
                │ ▲                ▼
                │ └── a span ── closing, quiet for `settle`
                │                  │
                ▼                  ▼
             closed {root | idle | span_limit | evicted_count | evicted_bytes | max_duration | shutdown}
                │ ▲
     late span  ▼ │ quiet for `settle`: the next revision of the same runs
             revised                        after `late.remember`, or to make room
                        closed ──> remembered by its trace ids only ──> forgotten

*Closing* is not stored: a deadline is pulled in while the spans say that nothing is open, and put back
when they no longer do. Two groups become one when a span joins them, the small one goes into the large.
A late span never makes a second run: it revises the closed one, or is counted where that is
remembered by its trace ids only. A group without GenAI spans is kept the same way, for they may follow
(children are sent first); when its time is over it vanishes, for it was no run.

One owner, no locks, no clock: time comes with each call.
"""

from __future__ import annotations

import heapq
from collections import OrderedDict, deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import count, islice
from typing import TYPE_CHECKING, Final, Literal

from spanledger.conventions.details import merged
from spanledger.conventions.step import Step
from spanledger.processor.trajectory.group import JUDGEMENT_BYTES, Group, Label
from spanledger.processor.trajectory.joins import Joins
from spanledger.processor.trajectory.origins import Origins
from spanledger.processor.trajectory.records import key_of

if TYPE_CHECKING:
    from spanledger.conventions.detail import Detail
    from spanledger.conventions.trajectory import Judgement
    from spanledger.processor.trajectory.config import TrajectoryConfig
    from spanledger.processor.trajectory.emitted import Emitted
    from spanledger.processor.trajectory.records import Record

Disposition = Literal["new", "late", "duplicate", "better", "too_late", "over_limit"]
"""What became of a span: part of an open run, part of a closed one, known already (`better`: but not as much of it),
of a run that is remembered by its ids only, of a run that has all the spans it may have."""

Reason = Literal[
    "root", "idle", "span_limit", "evicted_count", "evicted_bytes", "max_duration", "shutdown", "late",
]  # fmt: skip
"""Why a group is to be looked at; `late`: spans came after it was closed."""

MAX_SUMMARIES: Final = 100_000
MAX_HOT: Final = 8_192
"""Records that are not packed: while they are few, that would only take time, and some milliseconds of it when all
garbage is looked for."""

MAX_JUDGEMENTS: Final = 256
"""Evaluations of one group that came by themselves."""

_SPARE_DEADLINES: Final = 1_024
"""Entries of the queue of deadlines that nothing hangs on, before they are looked for."""
_OLDEST: Final = 16
"""To make room, the largest of this many that were silent longest is closed."""


@dataclass(frozen=True, slots=True)
class Summary:
    """What remains of a closed group."""

    label: Label
    until_s: float


class Store:
    """See the module docstring."""

    def __init__(self, config: TrajectoryConfig) -> None:
        self._config = config
        self._max_bytes = config.memory.limit_mib * 1024 * 1024
        self._joins = Joins(config.stitch, config.stitch_window, 4 * config.memory.max_runs)
        self._patience: dict[str, float] = {
            "running": config.idle_timeout,
            "waiting": config.idle_timeout,
            "remote": min(config.settle_remote, config.idle_timeout),
            "joinable": min(max(config.stitch_window, config.settle), config.idle_timeout),
            "ended": min(config.settle, config.idle_timeout),
            "alone": min(config.settle, config.idle_timeout) / 2,
        }
        self._traces: dict[bytes, Group] = {}
        self._open: OrderedDict[int, Group] = OrderedDict()
        """With GenAI spans; the one that was silent longest first."""
        self._plain: OrderedDict[int, Group] = OrderedDict()
        """Open, without GenAI spans."""
        self._closed: OrderedDict[int, Group] = OrderedDict()
        self._summaries: OrderedDict[bytes, Summary] = OrderedDict()
        self._deadlines: list[tuple[float, int, Group]] = []
        self._leaving: deque[tuple[Group, Reason]] = deque()
        self._numbers = count(1)
        self._bytes = 0
        self._origins = Origins()
        self._hot: OrderedDict[int, Group] = OrderedDict()
        """Those with records that are not packed; the one that nothing came for longest first."""
        self._hot_records = 0
        self.unrelated_spans = 0
        """Spans of groups that turned out to be no run."""
        self.forgotten_traces: list[bytes] = []
        """Traces whose records are no longer held, for the journal; whoever reads it empties it."""

    # -- what is there --

    @property
    def size_bytes(self) -> int:
        """Estimated size of everything kept."""
        return self._bytes

    @property
    def open_groups(self) -> int:
        """Groups with GenAI spans that are not closed."""
        return len(self._open)

    @property
    def leaving_groups(self) -> int:
        """Groups that were closed to make room and wait to be told of: in no limit any more, and still held."""
        return len(self._leaving)

    def open_ones(self) -> Iterator[Group]:
        """Yield the open groups with GenAI spans."""
        return iter(self._open.values())

    def group_of(self, trace_id: bytes) -> Group | None:
        """Return the group that a trace is in, closed ones included."""
        return self._traces.get(trace_id)

    def statistics(self) -> dict[str, int]:
        """Return the state in numbers."""
        return {
            "open": len(self._open),
            "open_without_genai": len(self._plain),
            "closed": len(self._closed),
            "remembered_traces": len(self._summaries),
            "bytes": self._bytes,
            "deadlines": len(self._deadlines),
            **self._joins.statistics(),
        }

    # -- what comes in --

    def add(self, record: Record, now_s: float) -> Disposition:
        """Put a span where it belongs. What is to be closed to make room is then waiting in `due`."""
        trace_id = record.trace_id
        group = self._traces.get(trace_id)
        if group is None:
            if trace_id in self._summaries:
                return "too_late"
            group = self._begin(trace_id, now_s)
        key = key_of(record)
        if (known := group.record(key)) is not None:
            if known.start_ns != record.start_ns:  # an id that was used twice
                key += record.start_ns.to_bytes(8, "big")
            if key in group:
                return self._again(group, key, record, now_s)
        if len(group) >= self._config.memory.max_spans_per_run:
            return "over_limit"
        late = group.state != "open"
        before = group.size_bytes
        group.put(key, record)
        self._bytes += group.size_bytes - before
        self._warm(group, 1)
        group = self._join(group, record, now_s)
        self._touch(group, now_s)
        if len(group) >= self._config.memory.max_spans_per_run and group.state == "open":
            self._close(group, "span_limit", now_s)
        self._make_room(group, now_s)
        return "late" if late else "new"

    def judged(self, judgement: Judgement) -> Group | None:
        """Return the group that an evaluation is about; None where it is not known."""
        # A judge may be at work in a trace of its own.
        return (
            self._joins.answered(judgement.evaluation.response_id)
            or self._traces.get(judgement.trace_id)
            or self._joins.conversing(judgement.conversation_id)
        )

    def judge(self, group: Group, judgement: Judgement, now_s: float) -> Literal["joined", "known", "full"]:
        """Give an evaluation to the group it is about; it may have enough of them."""
        if judgement in (group.judgements or ()):
            return "known"
        if len(group.judgements or ()) >= MAX_JUDGEMENTS:
            return "full"
        group.judgements = [*(group.judgements or ()), judgement]
        group.size_bytes += JUDGEMENT_BYTES
        self._bytes += JUDGEMENT_BYTES
        self._touch(group, now_s)
        return "joined"

    def hear(self, trace_id: bytes, span_id: bytes, detail: Detail, now_s: float) -> bool:
        """Complete a span by what a log record says of it; tell whether the span is there."""
        group = self._traces.get(trace_id)
        kept = group.record(trace_id + span_id) if group is not None else None
        if group is None or not isinstance(kept, Step):
            return False
        known = replace(kept, detail=merged(kept.detail, detail) if kept.detail is not None else detail)
        before, hot = group.size_bytes, len(group.hot or ())
        group.exchange(trace_id + span_id, known)
        self._bytes += group.size_bytes - before
        self._warm(group, len(group.hot or ()) - hot)
        self._touch(self._join(group, known, now_s, kept), now_s)
        return True

    def everything(self) -> tuple[list[Group], dict[bytes, float]]:
        """Return all groups, and when those were closed of which only the traces are known."""
        groups = [*self._open.values(), *self._plain.values(), *self._closed.values()]
        kept_s = self._config.late.remember + self._config.late.forget
        return groups, {trace_id: summary.until_s - kept_s for trace_id, summary in self._summaries.items()}

    def only_leaving(self) -> Store:
        """Return a store that knows nothing but the groups that `everything` leaves out: they are to be told of yet."""
        other = Store(self._config)
        other._leaving.extend((group, reason) for group, reason in self._leaving if group.state == "gone")
        return other

    def report(self, trace_id: bytes, run_id: str, said: Emitted) -> None:
        """Remember what was said of a run in a former life of the process."""
        # What only time had joined is not joined again: the run is where its first step is.
        group = self._traces.get(bytes.fromhex(said.anchor[:32])) or self._traces.get(trace_id)
        if group is not None:
            group.emitted = {**(group.emitted or {}), run_id: said}
            group.completeness = "idle" if said.completeness == "rootless" else said.completeness

    def reunite(self, traces: Sequence[bytes], now_s: float) -> None:
        """Make one group of traces that were one in a former life of the process."""
        whole: Group | None = None
        for trace_id in traces:
            if (group := self._traces.get(trace_id)) is not None:
                whole = group if whole is None else self._merge(whole, group, now_s)

    def was_closed(self, trace_id: bytes, closed_s: float, now_s: float) -> None:
        """Remember that a group was closed in a former life of the process; call it after its spans were added."""
        group = self._traces.get(trace_id)
        if group is None:
            until_s = closed_s + self._config.late.remember + self._config.late.forget
            if until_s > now_s:
                self._summarise((trace_id,), Summary(("", ""), until_s))
        elif group.state == "open" and group.steps:
            self._open.pop(group.number, None)
            # A span may have come after it was closed. What was told of nothing was told as part of another group.
            group.state = "revised" if group.emitted else "closed"
            group.touched_s = now_s
            group.queued_s = float("inf")
            self._closed[group.number] = group
            self._schedule(group, now_s)

    def _begin(self, trace_id: bytes, now_s: float) -> Group:
        group = Group(next(self._numbers), now_s, now_s, (trace_id,))
        self._traces[trace_id] = group
        self._plain[group.number] = group
        self._bytes += group.size_bytes
        expecting = self._joins.expected(trace_id)
        return group if expecting is None else self._merge(group, expecting, now_s)

    def _again(self, group: Group, key: bytes, record: Record, now_s: float) -> Disposition:
        before, hot = group.size_bytes, len(group.hot or ())
        if group.replace(key, record):
            self._bytes += group.size_bytes - before
            self._warm(group, len(group.hot or ()) - hot)
            if group.state != "open":
                self._touch(group, now_s)
            return "better"
        return "duplicate"

    def _join(self, group: Group, record: Record, now_s: float, heard: Step | None = None) -> Group:
        for trace_id in self._joins.linked_traces(record):
            linked = self._traces.get(trace_id)
            if linked is not None:
                group = self._merge(group, linked, now_s)
            elif trace_id not in self._summaries:
                self._joins.await_trace(trace_id, group)
        if isinstance(record, Step):
            for partner in self._joins.partners(record, group, now_s, heard):
                # An earlier merge may have taken it already.
                if partner is not None and (other := partner.living()) is not None:
                    group = self._merge(group, other, now_s)
            self._joins.remember(record, group)
        return group

    def _merge(self, group: Group, other: Group, now_s: float) -> Group:
        """Make one group of two; where that would be too large they stay apart."""
        if other is group or len(group) + len(other) > self._config.memory.max_spans_per_run:
            return group
        large, small = (group, other) if len(group) >= len(other) else (other, group)
        for trace_id in small.traces:
            self._traces[trace_id] = large
        for line in (self._open, self._plain, self._closed):
            line.pop(small.number, None)
            line.pop(large.number, None)
        # Both closed: late spans join them. One open: the runs of the other go on.
        state = "revised" if small.state != "open" and large.state != "open" else "open"
        small.state, large.state = "gone", state  # type: ignore[assignment]
        before, hot = large.size_bytes + small.size_bytes, len(large.hot or ()) + len(small.hot or ())
        large.absorb(small)
        self._bytes += large.size_bytes - before
        self._hot.pop(small.number, None)
        self._warm(large, len(large.hot or ()) - hot)
        large.queued_s = float("inf")
        self._line_of(large)[large.number] = large
        self._schedule(large, now_s)
        return large

    def _warm(self, group: Group, more: int) -> None:
        """Note that records of a group came; what is too much then is packed."""
        self._hot[group.number] = group
        self._hot.move_to_end(group.number)
        self._hot_records += more
        while self._hot_records > MAX_HOT:
            self._cool()

    def _cool(self) -> None:
        """Pack some records of the group that nothing came for longest."""
        coldest = next(iter(self._hot.values()))
        before, hot = coldest.size_bytes, len(coldest.hot or ())
        coldest.pack(self._origins)
        self._hot_records += len(coldest.hot or ()) - hot
        self._bytes += coldest.size_bytes - before
        if not coldest.hot:
            del self._hot[coldest.number]

    def _line_of(self, group: Group) -> OrderedDict[int, Group]:
        if group.state != "open":
            return self._closed
        return self._open if group.steps else self._plain

    # -- time --

    def next_deadline(self) -> float | None:
        """Return when `due` has something to say, at the latest; None when nothing waits."""
        if self._leaving:
            return float("-inf")
        return self._deadlines[0][0] if self._deadlines else None

    def due(self, now_s: float, at_most: int) -> list[tuple[Group, Reason]]:
        """Return groups whose time has come, closed by now, and why; their records are still there."""
        found: list[tuple[Group, Reason]] = []
        while len(found) < at_most:
            if self._leaving:
                found.append(self._leaving.popleft())
            elif not self._deadlines or self._deadlines[0][0] > now_s:
                break
            else:
                _, _, group = heapq.heappop(self._deadlines)
                if group.merged_into is None and group.state != "gone":
                    group.queued_s = float("inf")
                    self._due(group, now_s)
        while self._summaries and next(iter(self._summaries.values())).until_s <= now_s:
            self._summaries.popitem(last=False)
        return found

    def close_all(self, now_s: float) -> None:
        """Close every open group, and look at those with late spans; they are then waiting in `due`."""
        for group in [*self._plain.values()]:
            self._vanish(group)
        for group in [*self._open.values()]:
            self._close(group, "shutdown", now_s)
        for group in [*self._closed.values()]:
            if group.state == "revised":
                self._revise(group, now_s)

    def _due(self, group: Group, now_s: float) -> None:
        if group.due_s > now_s:
            self._enqueue(group)  # it was put off since
        elif group.state == "closed":
            self._forget(group, now_s)
        elif group.state == "revised":
            self._revise(group, now_s)
        elif not group.steps:
            self._vanish(group)
        elif now_s >= group.opened_s + self._config.max_duration:
            self._close(group, "max_duration", now_s)
        elif group.phase() == "alone" and self._find_place(group, now_s):
            pass
        else:
            self._close(group, "idle" if group.phase() in ("running", "waiting") else "root", now_s)

    def _find_place(self, group: Group, now_s: float) -> bool:
        """Join a group with the one it is work of by its time, or put it off: that one ends, and comes, later."""
        records = group.records().values()
        found = (self._joins.around(step) for step in records if isinstance(step, Step))
        around = next((other for other in found if other is not None and other is not group), None)
        if around is not None:
            self._merge(group, around, now_s)
        elif now_s < group.touched_s + self._patience["remote" if group.served else "ended"]:
            group.due_s = now_s + self._patience["alone"]
            self._enqueue(group)
        else:
            return False
        return True

    def _touch(self, group: Group, now_s: float) -> None:
        group.touched_s = now_s
        if group.state == "open":
            if group.number in self._plain and group.steps:
                del self._plain[group.number]
            line = self._line_of(group)
            line[group.number] = group
            line.move_to_end(group.number)
        elif group.state == "closed":
            group.state = "revised"
        self._schedule(group, now_s)

    def _schedule(self, group: Group, now_s: float) -> None:
        if group.state == "open":
            quiet = group.touched_s + self._patience[group.phase()]
            group.due_s = min(quiet, group.opened_s + self._config.max_duration)
        else:
            # What spans come for again and again is not revised for ever.
            latest = group.opened_s + self._config.max_duration + self._config.late.remember
            wait = (
                group.touched_s + self._config.settle
                if group.state == "revised"
                else now_s + self._config.late.remember
            )
            group.due_s = min(wait, latest)
        self._enqueue(group)

    def _enqueue(self, group: Group) -> None:
        # An entry that is too early is looked at then and put back: a span costs no entry.
        if group.due_s < group.queued_s:
            group.queued_s = group.due_s
            heapq.heappush(self._deadlines, (group.due_s, group.number, group))
            if len(self._deadlines) > 2 * self._groups() + _SPARE_DEADLINES:
                self._thin()

    def _groups(self) -> int:
        return len(self._open) + len(self._plain) + len(self._closed)

    def _thin(self) -> None:
        """Give up the deadlines of groups that are gone, and those that an earlier one was set before.

        Some are a day ahead, and without end there may be as many as groups in a day.
        """
        self._deadlines = [
            entry for entry in self._deadlines if entry[0] == entry[2].queued_s and entry[2].living() is entry[2]
        ]
        heapq.heapify(self._deadlines)

    # -- the end --

    def _close(self, group: Group, reason: Reason, now_s: float) -> None:
        self._open.pop(group.number, None)
        group.state = "closed"
        self._closed[group.number] = group
        group.queued_s = float("inf")
        self._schedule(group, now_s)
        self._leave(group, reason)

    def _revise(self, group: Group, now_s: float) -> None:
        group.state = "closed"
        self._closed.move_to_end(group.number)
        self._schedule(group, now_s)
        self._leave(group, "late")

    def _leave(self, group: Group, reason: Reason) -> None:
        group.leaving += 1
        self._leaving.append((group, reason))

    def left(self, group: Group) -> None:
        """Note that a group was told of."""
        group.leaving -= 1
        if group.state == "gone" and not group.leaving:
            self._bury(group)

    def _forget(self, group: Group, now_s: float) -> None:
        """Keep only the trace ids. Whoever still holds the group to look at it has its records."""
        self._closed.pop(group.number, None)
        for trace_id in group.traces:
            self._traces.pop(trace_id, None)
        self._summarise(group.traces, Summary(group.label, now_s + self._config.late.forget))
        self._let_go(group)

    def _summarise(self, traces: Sequence[bytes], summary: Summary) -> None:
        for trace_id in traces:
            self._summaries[trace_id] = summary
        while len(self._summaries) > MAX_SUMMARIES:
            self._summaries.popitem(last=False)

    def _vanish(self, group: Group) -> None:
        self._plain.pop(group.number, None)
        self.unrelated_spans += len(group)
        for trace_id in group.traces:
            self._traces.pop(trace_id, None)
        self._let_go(group)

    def _let_go(self, group: Group) -> None:
        group.state = "gone"
        self._bytes -= group.size_bytes
        if self._hot.pop(group.number, None) is not None:
            self._hot_records -= len(group.hot or ())
        if not group.leaving:
            self._bury(group)

    def _bury(self, group: Group) -> None:
        """Let the journal forget a group, and not before it was told of; what became part of another goes on there."""
        if group.merged_into is None:
            self.forgotten_traces += group.traces
        group.clear()

    # -- limits --

    def _make_room(self, newest: Group, now_s: float) -> None:
        limit = self._config.memory.max_runs
        while len(self._open) > limit:
            self._close(self._quietest(self._open, newest, 1), "evicted_count", now_s)
        while len(self._plain) > limit:
            self._vanish(self._quietest(self._plain, newest, 1))
        while len(self._closed) > limit:
            self._forget_closed(now_s)
        while self._bytes > self._max_bytes and len(self._traces) > 1:
            if self._hot:
                self._cool()
            elif self._closed:
                self._forget_closed(now_s)
            elif len(self._plain) > len(self._open):
                self._vanish(self._quietest(self._plain, newest, 1))
            else:
                group = self._quietest(self._open, newest, _OLDEST)
                self._close(group, "evicted_bytes", now_s)
                self._forget(group, now_s)

    def _forget_closed(self, now_s: float) -> None:
        group = next(iter(self._closed.values()))
        if group.state == "revised":
            self._leave(group, "late")
        self._forget(group, now_s)

    def _quietest(self, line: OrderedDict[int, Group], newest: Group, among: int) -> Group:
        """Return the largest of those that were silent longest, and the newest only if it is alone."""
        oldest = [group for group in islice(line.values(), among + 1) if group is not newest][:among]
        return max(oldest, key=lambda group: group.size_bytes) if oldest else newest

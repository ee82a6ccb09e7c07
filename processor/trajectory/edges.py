"""Which span goes on with the work of a span in another trace. Pure: a function of the records of one group."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Collection, Sequence
from operator import attrgetter, itemgetter
from typing import TYPE_CHECKING

from spanledger.conventions.step import Step
from spanledger.conventions.trajectory.edges import Edge
from spanledger.conventions.trajectory.tree import distinct
from spanledger.processor.trajectory.group import is_loose
from spanledger.processor.trajectory.joins import MIN_ID_CHARS, asked_first, continues, teller_of
from spanledger.processor.trajectory.overlaps import (
    Likeness,
    Work,
    holder,
    is_work,
    likeness,
    runners_around,
    running,
    work_of,
)
from spanledger.processor.trajectory.packing import HISTORY
from spanledger.processor.trajectory.seams import MAX_ENDS, TOLERANCE_NS

if TYPE_CHECKING:
    from spanledger.conventions.run import EdgeBasis
    from spanledger.processor.trajectory.records import Record


def edges(records: Collection[Record], stitch: Collection[str], window_s: float) -> tuple[Edge, ...]:
    """Return the joins between traces that no link says, each span by the first rule of `stitch` that holds."""
    if len({record.trace_id for record in records if isinstance(record, Step)}) < 2:
        return ()
    # Of a span that came twice, or whose id was used twice, the same one in whichever order they came.
    steps = sorted((record for record in distinct(records) if isinstance(record, Step)), key=_rank)
    between = _Between(steps, window_s)
    rules = [rule for name, rule in between.rules if name in stitch]
    found = []
    for step in steps:
        edge = next(filter(None, (rule(step) for rule in rules)), None)
        if edge is not None:
            found.append(edge)
    return tuple(found)


def _rank(step: Step) -> tuple[int, int, bytes, bytes]:
    return step.start_ns, step.end_ns, step.trace_id, step.span_id


class _Between:
    def __init__(self, steps: list[Step], window_s: float) -> None:
        self._window_ns = int(window_s * 1e9)
        self._requested: dict[str, list[Step]] = {}
        self._after: dict[int, list[Step]] = {}
        self._free_ns: dict[tuple[str, int], float] = {}
        """From when on there is what one goes on from by a rule: when its last attempt failed; never, once it is."""
        self._conversations: dict[str, list[Step]] = {}
        self._turns: dict[bytes, Step] = {}
        self._alike: dict[Likeness | None, list[Work]] = {}
        self._busy = {step.trace_id for step in steps if is_work(step)}
        self._given: dict[int, list[Step]] = {}
        for step in steps:
            for like in (likeness(step), None if is_loose(step) else running(step)):
                if like is not None:
                    self._alike.setdefault(like, []).append(work_of(step))
            if step.detail is not None:
                for request in step.detail.requests:
                    self._requested.setdefault(request.id, []).append(step)
                    for text in request.texts:
                        self._given.setdefault(text, []).append(step)
                if step.detail.after is not None:
                    self._after.setdefault(step.detail.after, []).append(step)
            if step.turn:
                self._turns.setdefault(step.turn, step)
            if is_loose(step) and step.conversation_id:
                self._conversations.setdefault(step.conversation_id, []).append(step)
        self.rules = (
            ("tool_call_id", self._by_tool_call),
            ("mcp", self._by_context),
            ("conversation", self._by_turn),
            ("conversation", self._by_conversation),
            ("history", self._by_history),
            ("history", self._by_arguments),
            ("time", self._by_time),
        )

    def _by_tool_call(self, step: Step) -> Edge | None:
        if step.kind == "tool":
            asked = self._requested.get(_long(step.tool_call_id), ())
            return self._edge(step, self._source(step, asked, "tool"), "tool_call_id")
        if step.detail is None or not step.detail.answered or not continues(step):
            return None
        asked = self._requested.get(_long(step.detail.answered[-1]), ())
        return self._edge(step, self._source(step, asked, "read"), "history")

    def _by_context(self, step: Step) -> Edge | None:
        if step.detail is None or step.detail.context is None:
            return None
        return Edge(step.trace_id, step.span_id, *step.detail.context, "mcp")

    def _by_turn(self, step: Step) -> Edge | None:
        return self._edge(step, self._turns[step.turn], "conversation") if step.turn else None

    def _by_conversation(self, step: Step) -> Edge | None:
        if not continues(step):
            return None
        before: Step | None = None
        for other in self._conversations.get(step.conversation_id, ()):
            if other is step:
                break
            before = other
        if before is None or step.start_ns - before.end_ns > self._window_ns:
            return None
        return self._edge(step, before, "conversation")

    def _by_history(self, step: Step) -> Edge | None:
        if step.detail is None or not continues(step):
            return None
        for digest in reversed(step.detail.history[-HISTORY:]):
            earlier = _before(self._after.get(digest, ()), step.start_ns)
            if edge := self._edge(step, self._source(step, earlier, "said"), "history"):
                return edge
        return None

    def _by_arguments(self, step: Step) -> Edge | None:
        asked = asked_first(step)
        given = _before(self._given.get(asked, ()), step.start_ns + 1) if asked is not None else ()
        before = [other for other in given if 0 <= step.start_ns - other.end_ns <= self._window_ns]
        return self._edge(step, self._source(step, before, "given"), "arguments")

    def _source(self, step: Step, leads: Sequence[Step], rule: str) -> Step | None:
        """Return which of those that lead to `step` it goes on from, see `seams`."""
        if len(leads) > MAX_ENDS:
            leads = _before(leads, step.start_ns)
        if not leads or any(lead.trace_id == step.trace_id for lead in leads):
            return None  # which lies in its own trace already
        told = Counter(teller for teller, _ in {(teller_of(lead), lead.trace_id) for lead in leads})
        if max(told.values()) == 1:
            return leads[0] if rule in ("tool", "read") else leads[-1]
        free = [(self._free_ns.get((rule, id(lead)), lead.end_ns), lead) for lead in leads]
        before = [one for one in free if one[0] <= step.start_ns + TOLERANCE_NS]
        if not before:
            return None
        _, source = max(before, key=itemgetter(0))
        self._free_ns[rule, id(source)] = step.end_ns if step.status == "error" else float("inf")
        return source

    def _by_time(self, step: Step) -> Edge | None:
        if not is_loose(step):
            return None
        work = work_of(step)
        source = holder(work, self._alike.get(likeness(step), ()))
        if source is None:
            around = runners_around(work, self._alike.get(running(step), ()))
            empty = [other for other in around if other.trace_id not in self._busy]
            source = empty[0] if len(empty) == 1 else None
        return (
            Edge(step.trace_id, step.span_id, source.trace_id, source.span_id, "time") if source is not None else None
        )

    def _edge(self, step: Step, source: Step | None, basis: EdgeBasis) -> Edge | None:
        if source is None or source is step or source.trace_id == step.trace_id:
            return None
        return Edge(step.trace_id, step.span_id, source.trace_id, source.span_id, basis)


def _before(steps: Sequence[Step], start_ns: int) -> Sequence[Step]:
    """Return those that began earlier, the last of them: of steps in order of their beginning."""
    place = bisect_left(steps, start_ns, key=attrgetter("start_ns"))
    return steps[max(0, place - MAX_ENDS) : place]


def _long(id_: str) -> str:
    return id_ if len(id_) >= MIN_ID_CHARS else ""

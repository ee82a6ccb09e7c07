"""Which span goes on with the work of a span in another trace. Pure: a function of the records of one group."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING

from spanledger.conventions.step import Step
from spanledger.conventions.trajectory.edges import Edge
from spanledger.conventions.trajectory.tree import distinct
from spanledger.processor.trajectory.group import is_loose
from spanledger.processor.trajectory.joins import MIN_ID_CHARS, asked_first, continues
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

if TYPE_CHECKING:
    from spanledger.conventions.run import EdgeBasis
    from spanledger.processor.trajectory.records import Record


def edges(records: Iterable[Record], stitch: Collection[str], window_s: float) -> tuple[Edge, ...]:
    """Return the joins between traces that no link says, each span by the first rule of `stitch` that holds."""
    # Of a span that came twice, or whose id was used twice, the same one in whichever order they came.
    steps = sorted((record for record in distinct(records) if isinstance(record, Step)), key=_rank)
    if len({step.trace_id for step in steps}) < 2:
        return ()
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
        self._requested: dict[str, Step] = {}
        self._after: dict[int, list[Step]] = {}
        self._continued: set[int] = set()
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
                    self._requested.setdefault(request.id, step)
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
            return self._edge(step, self._requested.get(_long(step.tool_call_id)), "tool_call_id")
        if step.detail is None or not step.detail.answered or not continues(step):
            return None
        return self._edge(step, self._requested.get(_long(step.detail.answered[-1])), "history")

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
            earlier = [other for other in self._after.get(digest, ()) if other.start_ns < step.start_ns]
            if earlier:
                # Runs that say the very same, word for word, each go on once.
                source = next((other for other in earlier if id(other) not in self._continued), earlier[-1])
                self._continued.add(id(source))
                if edge := self._edge(step, source, "history"):
                    return edge
        return None

    def _by_arguments(self, step: Step) -> Edge | None:
        asked = asked_first(step)
        given = self._given.get(asked, ()) if asked is not None else ()
        before = [other for other in given if 0 <= step.start_ns - other.end_ns <= self._window_ns]
        return self._edge(step, before[-1], "arguments") if before else None

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


def _long(id_: str) -> str:
    return id_ if len(id_) >= MIN_ID_CHARS else ""

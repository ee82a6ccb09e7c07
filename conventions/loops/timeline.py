"""What a run did, in order: tool calls as acts, model calls between them, each piece of work once.

Tool calls come from spans where there are any of that tool, else from what the model asked for: stacks that
instrument only the client have no others. A framework and the library below it both report a call; the second
report begins within the first and says the same, so it is left out. `round` counts model calls: calls that one
answer asked for are no repeats of each other. `turn` counts what a person said in between: doing a thing again
because somebody asks for it again is no loop.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from spanledger.conventions.detail import Detail, Print
from spanledger.conventions.loops.rules import WINDOW
from spanledger.conventions.trajectory.twins import bare

if TYPE_CHECKING:
    from spanledger.conventions.step import Step

TOOLS: Final = frozenset({"tool", "retrieval"})
LOOKED_AT: Final = TOOLS | {"llm"}

_NOTHING: Final = Detail()

Signature = tuple[str, int | None]
"""Tool name and digest of its arguments."""


@dataclass(slots=True, eq=False)
class Act:
    """One tool call, seen or only asked for."""

    step: Step
    """The tool's span, or that of the model call that asked for it."""
    tool: str
    arguments: Print | None
    result: Print | None
    round: int
    turn: int
    call_id: str = ""
    asked: bool = False
    """Nothing but the request was seen."""

    @property
    def failed(self) -> bool:
        """Tell whether the tool said that it failed."""
        return not self.asked and self.step.status == "error"

    @property
    def signature(self) -> Signature:
        """What makes two calls the same."""
        return self.tool, self.arguments.digest if self.arguments is not None else None

    @property
    def outcome(self) -> tuple[str, int | None] | None:
        """What came of it; None where that is not seen."""
        if self.failed:
            return self.step.error_type, self.result.digest if self.result is not None else None
        return ("", self.result.digest) if self.result is not None else None


@dataclass(slots=True, eq=False)
class Call:
    """One model call."""

    step: Step
    detail: Detail
    round: int
    turn: int


@dataclass(frozen=True, slots=True)
class Timeline:
    """Acts and calls in the order of their beginnings."""

    events: tuple[Act | Call, ...]
    spending: tuple[Call, ...]
    """Model calls by round, twins included: which of two reports has the usage is not said by their order."""
    output_tokens: Mapping[int, int]
    """Round -> length of the answer, where known: all that tells two requests apart where content is not seen."""


def key(step: Step) -> tuple[int, int, bytes, bytes]:
    """Return what orders steps: time first, and nothing left to chance."""
    return step.start_ns, step.end_ns, step.trace_id, step.span_id


def looked_at(steps: Iterable[Step]) -> list[Step]:
    """Return the steps that rules look at, in order, each span once, the last `WINDOW` of them."""
    spans: dict[bytes, Step] = {}
    for step in steps:
        if step.kind in LOOKED_AT:
            name = step.trace_id + step.span_id
            known = spans.get(name)
            spans[name] = step if known is None else better(known, step)
    return sorted(spans.values(), key=key)[-WINDOW:]


def better(one: Step, other: Step) -> Step:
    """Return the report of a span that counts, the same in whichever order they came."""
    return other if other is not one and _rank(other) > _rank(one) else one


def _rank(step: Step) -> tuple[int, int, str]:
    return step.end_ns, len(step.detail.requests) if step.detail is not None else -1, repr(step)


def timeline(steps: Sequence[Step]) -> Timeline:
    """Return what the ordered `steps` did."""
    seen = {_name(step) for step in steps if step.kind in TOOLS}
    any_calls = any(step.kind == "llm" for step in steps)
    events: list[Act | Call] = []
    spending: list[Call] = []
    ends: dict[int, int] = {}
    """Digest of a conversation after an answer -> acts before it."""
    last_call: Call | None = None
    recent: dict[str, Act] = {}
    """Tool -> its last act, which a twin begins within."""
    until = acts = turn = number = 0
    for step in steps:
        if step.kind == "llm":
            call = Call(step, step.detail or _NOTHING, number, turn)
            if last_call is not None and _same_call(last_call, call):
                spending.append(call)
                _complete(last_call, call)
                continue
            if _user_spoke(call.detail, ends, acts):
                turn += 1
            number += 1
            call.round, call.turn = number, turn
            events.append(call)
            spending.append(call)
            last_call = call
            for act in _requested(call, seen):
                events.append(act)
                acts += 1
            if call.detail.after is not None:
                ends[call.detail.after] = acts
        else:
            act = _act(step, number, turn)
            before = recent.get(act.tool)
            if before is not None and _same_act(before, act):
                before.arguments = before.arguments or act.arguments
                before.result = before.result or act.result
                continue
            if not any_calls and step.start_ns >= until:
                # Nothing says which calls one answer asked for; those that overlap in time may be.
                number += 1
                act.round = number
            until = max(until, step.end_ns)
            recent[act.tool] = act
            events.append(act)
            acts += 1
    return Timeline(tuple(events), tuple(spending), _output_tokens(spending))


def _output_tokens(calls: Iterable[Call]) -> dict[int, int]:
    return {
        call.round: call.step.usage.output
        for call in calls
        if call.step.usage is not None and call.step.usage.output is not None
    }


def asked_alike(acts: Sequence[Act], line: Timeline, tolerance: float) -> bool:
    """Tell whether the answers that asked for these were about equally long; True where that is not known."""
    lengths = [line.output_tokens[act.round] for act in acts if act.round in line.output_tokens]
    return not lengths or max(lengths) - min(lengths) <= max(2, tolerance * max(lengths))


def _name(step: Step) -> str:
    return bare(step.tool_name or step.name)


def _act(step: Step, number: int, turn: int) -> Act:
    detail = step.detail or _NOTHING
    return Act(step, _name(step), detail.arguments, detail.result, number, turn, step.tool_call_id)


def _requested(call: Call, seen: set[str]) -> list[Act]:
    """Return the tool calls that an answer asks for and no span will tell of."""
    return [
        Act(call.step, name, None if asked.arguments is None else Print(asked.arguments), None, call.round, call.turn,
            asked.id, asked=True)
        for asked in call.detail.requests
        if (name := bare(asked.name)) and name not in seen
    ]  # fmt: skip


def _user_spoke(detail: Detail, ends: dict[int, int], acts: int) -> bool:
    """Tell whether a person spoke after an answer: one without tools since, whose texts may be their results."""
    return detail.asks_user and any(ends.get(link) == acts for link in detail.history)


def _same_call(one: Call, other: Call) -> bool:
    """Tell whether two spans report one model call."""
    first, second = one.step, other.step
    if first.response_id and second.response_id:
        return first.response_id == second.response_id
    if second.start_ns >= first.end_ns:
        return False
    if second.parent_span_id == first.span_id and second.trace_id == first.trace_id:
        return True
    before, after = one.detail, other.detail
    if before.requests or after.requests:
        return [(r.id, r.name) for r in before.requests] == [(r.id, r.name) for r in after.requests]
    if before.output is not None and after.output is not None:
        return before.output.digest == after.output.digest
    return False


def _complete(call: Call, twin: Call) -> None:
    """Let the call that stands for both know what only its twin says."""
    if call.detail is _NOTHING:
        call.detail = twin.detail


def _same_act(one: Act, other: Act) -> bool:
    """Tell whether two spans report one tool call: the second begins within the first and says nothing else."""
    if other.step.start_ns >= one.step.end_ns or other.step.end_ns > one.step.end_ns + _SLACK_NS:
        return False
    if one.call_id and other.call_id:
        return one.call_id == other.call_id
    nested = other.step.parent_span_id == one.step.span_id and other.step.trace_id == one.step.trace_id
    if one.arguments is None or other.arguments is None or nested:
        return True
    return one.arguments.digest == other.arguments.digest


_SLACK_NS: Final = 50_000_000
"""How much longer a span may last than the one that reports the same: frameworks end theirs in any order."""

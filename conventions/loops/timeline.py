"""What a run did, in order: tool calls as acts, model calls between them, each piece of work once.

Tool calls come from spans where there are any of that tool, else from what the model asked for: stacks that
instrument only the client have no others. A framework and the library below it both report a call; the second
report begins within the first and says the same, so it is left out. `round` counts model calls: calls that one
answer asked for are no repeats of each other. Each agent has rounds of its own, as agents that work side by side
each have to look at the same things. `turn` counts what a person said in between: doing a thing again
because somebody asks for it again is no loop.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from spanledger.conventions.detail import Detail, Print
from spanledger.conventions.same_tool import bare

if TYPE_CHECKING:
    from spanledger.conventions.step import Step

TOOLS: Final = frozenset({"tool", "retrieval"})
LOOKED_AT: Final = TOOLS | {"llm"}

_MAX_BACK: Final = 8
"""Model calls that a twin is looked for among."""
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
    agent: str
    round: int
    turn: int
    call_id: str = ""
    asked: bool = False
    """No span tells of it: only the request was seen, and its result where the next request has it."""

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
    agent: str
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

    def by_agent(self) -> Iterable[list[tuple[int, Act | Call]]]:
        """Return for each agent its events and their places."""
        found: dict[str, list[tuple[int, Act | Call]]] = {}
        for place, event in enumerate(self.events):
            found.setdefault(event.agent, []).append((place, event))
        return found.values()


def key(step: Step) -> tuple[int, int, bytes, bytes]:
    """Return what orders steps: time first, and nothing left to chance."""
    return step.start_ns, step.end_ns, step.trace_id, step.span_id


def looked_at(steps: Iterable[Step]) -> list[Step]:
    """Return the steps that rules look at, in order, each span once."""
    spans: dict[bytes, Step] = {}
    for step in steps:
        if step.kind in LOOKED_AT:
            name = step.trace_id + step.span_id
            known = spans.get(name)
            spans[name] = step if known is None else better(known, step)
    return sorted(spans.values(), key=key)


def better(one: Step, other: Step) -> Step:
    """Return the report of a span that counts, the same in whichever order they came."""
    return other if other is not one and _rank(other) > _rank(one) else one


def _rank(step: Step) -> tuple[int, int, str]:
    return step.end_ns, len(step.detail.requests) if step.detail is not None else -1, repr(step)


def timeline(steps: Sequence[Step]) -> Timeline:
    """Return what the ordered `steps` did."""
    seen = {_name(step) for step in steps if step.kind in TOOLS}
    agents = Agents(steps)
    events: list[Act | Call] = []
    spending: list[Call] = []
    ends: dict[int, int] = {}
    """Digest of a conversation after an answer -> acts before it."""
    calls: deque[Call] = deque(maxlen=_MAX_BACK)
    last_act: dict[str, Act] = {}
    """By tool: a twin begins within it."""
    asking: dict[str, Call] = {}
    """Agent -> its last model call."""
    rounds: dict[str, int] = {}
    """Agent -> the round it is in."""
    asked: dict[str, list[Act]] = {}
    """Agent -> what its last answer asks for and no span tells of."""
    until = acts = turn = number = 0
    for step in steps:
        agent = agents.of(step)
        if step.kind == "llm":
            call = Call(step, step.detail or _NOTHING, agent, number, turn)
            twin = next((one for one in reversed(calls) if _same_call(one, call)), None)
            _come_back(call.detail, asked.get(agent, ()))
            if twin is not None:
                call.round = twin.round
                spending.append(call)
                if twin.detail is _NOTHING:
                    twin.detail = call.detail
                continue
            if _user_spoke(call.detail, ends, acts):
                turn += 1
            number += 1
            call.round, call.turn = number, turn
            asking[agent], rounds[agent] = call, number
            calls.append(call)
            spending.append(call)
            requested = _requested(call, seen)
            if requested:
                asked[agent] = requested
            events += [call, *requested]
            acts += len(requested)
            if call.detail.after is not None:
                ends[call.detail.after] = acts
        else:
            act = _act(step, agent, rounds.get(agent, number), turn)
            before = last_act.get(act.tool)
            if before is not None and _same_act(before, act):
                before.arguments = before.arguments or act.arguments
                before.result = before.result or act.result
                continue
            if step.start_ns >= until and _nobody_asked(step, asking.get(agent), agents, until):
                number += 1
                act.round = rounds[agent] = number
            until = max(until, step.end_ns)
            last_act[act.tool] = act
            events.append(act)
            acts += 1
    return Timeline(tuple(events), tuple(spending), _output_tokens(spending))


def _nobody_asked(step: Step, call: Call | None, agents: Agents, until: int) -> bool:
    """Tell whether a tool call is a round of its own if it does not overlap with the one before (to `until`).

    So it is where no model calls are seen, and within one that lasts over several tools: some stacks report a
    conversation as one call.
    """
    if call is None:
        return not agents.callers
    return call.step.start_ns < until and step.end_ns <= call.step.end_ns


class Agents:
    """Says whose a step is: as the span says, or the model call that asked for it, or the only agent there is."""

    def __init__(self, steps: Iterable[Step]) -> None:
        calls = [step for step in steps if step.kind == "llm"]
        named = {step.agent_name for step in calls} - {""}
        self.callers = named or {step.agent_name for step in calls}
        """Agents with model calls."""
        self._asked = {
            request.id: step.agent_name
            for step in calls
            if step.detail is not None and step.agent_name
            for request in step.detail.requests
            if request.id
        }

    def of(self, step: Step) -> str:
        """Return the name of a step's agent; "" if nothing says it."""
        name = step.agent_name or self._asked.get(step.tool_call_id, "")
        return next(iter(self.callers)) if name not in self.callers and len(self.callers) == 1 else name


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


def _act(step: Step, agent: str, number: int, turn: int) -> Act:
    detail = step.detail or _NOTHING
    return Act(step, _name(step), detail.arguments, detail.result, agent, number, turn, step.tool_call_id)


def _requested(call: Call, seen: set[str]) -> list[Act]:
    """Return the tool calls that an answer asks for and no span will tell of."""
    return [
        Act(
            call.step, name, None if asked.arguments is None else Print(asked.arguments), None, call.agent,
            call.round, call.turn, asked.id, asked=True,
        )
        for asked in call.detail.requests
        if (name := bare(asked.name)) and name not in seen
    ]  # fmt: skip


def _come_back(detail: Detail, asked: Sequence[Act]) -> None:
    """Give calls that no span tells of the results that the next call of the model was given: by id, or in order."""
    results = {name: (digest, size) for name, digest, size in detail.results if name}
    known = [act for act in asked if act.call_id in results]
    for act in known:
        act.result = act.result or Print(results[act.call_id][0], size=results[act.call_id][1])
    if not known and len(asked) == len(detail.results):
        for act, (_, digest, size) in zip(asked, detail.results, strict=True):
            act.result = act.result or Print(digest, size=size)


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
    if one.agent != other.agent:
        return False
    before, after = one.detail, other.detail
    if before.requests or after.requests:
        return [(r.id, r.name) for r in before.requests] == [(r.id, r.name) for r in after.requests]
    if before.output is not None and after.output is not None:
        return before.output.digest == after.output.digest
    return False


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

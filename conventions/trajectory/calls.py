"""Who asked for a tool, who read its result, and which call is another attempt at the one before.

A tool call is joined by its id where messages or spans name it, else by order and name: the last model call of
the same agent before it asked for it, the next one after it read it.

An attempt follows a failed one below the same parent: a model call directly, with the same messages or, where
content is not seen, with the same model; a tool with the same call id or the same arguments, before the model
is asked again. What a model decides after it has read of a failure is a new step, not another attempt.
Requests below a model call that an HTTP client shows one after the other are attempts too.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from spanledger.conventions.same_tool import same_tool
from spanledger.conventions.step import Bridge

if TYPE_CHECKING:
    from collections.abc import Sequence

    from spanledger.conventions.trajectory.order import Placed
    from spanledger.conventions.trajectory.tree import Node

_CLIENT: Final = 3
_MAX_ATTEMPTS: Final = 1000
_MAX_BACK: Final = 16


@dataclass(frozen=True, slots=True)
class Joins:
    """For each tool step, by index."""

    requested_by: dict[int, int]
    by_id: frozenset[int]
    """Tools whose request was found by id."""
    read_by: dict[int, int]

    def basis(self, tool: int) -> Literal["tool_call_id", "order_and_name"] | None:
        """Return how the request of a tool was found."""
        if tool not in self.requested_by:
            return None
        return "tool_call_id" if tool in self.by_id else "order_and_name"


def join(steps: Sequence[Placed]) -> Joins:
    """Join each tool to the model call that asked for it and to the first that read its result."""
    requests: dict[str, list[int]] = {}
    readers: dict[str, list[int]] = {}
    calls_of: dict[int | None, list[int]] = {}
    for step in steps:
        if not step.is_call or step.step.kind != "llm":
            continue
        calls_of.setdefault(step.scope, []).append(step.index)
        if step.detail is not None:
            for request in step.detail.requests:
                requests.setdefault(request.id, []).append(step.index)
            for name in step.detail.answered:
                readers.setdefault(name, []).append(step.index)
    requested_by: dict[int, int] = {}
    read_by: dict[int, int] = {}
    by_id = set()
    for step in steps:
        if step.step.kind != "tool":
            continue
        name = step.step.tool_call_id
        asked = requests.get(name, ()) if name else ()
        # Some servers count their ids anew with each call: the last one before the tool is meant.
        if asked and (before := bisect_left(asked, step.index)):
            requested_by[step.index] = asked[before - 1]
            by_id.add(step.index)
        elif (found := _asked_before(step, calls_of.get(step.scope, ()), steps)) is not None:
            requested_by[step.index] = found
        answers = readers.get(name, ()) if name else ()
        place = bisect_right(answers, step.index) if answers else 0
        if answers and place < len(answers):
            read_by[step.index] = answers[place]
        elif (found := _read_after(step, calls_of.get(step.scope, ()), steps)) is not None:
            read_by[step.index] = found
    return Joins(requested_by, frozenset(by_id), read_by)


def _asked_before(tool: Placed, calls: Sequence[int], steps: Sequence[Placed]) -> int | None:
    before = bisect_left(calls, tool.index)
    for index in reversed(calls[max(0, before - _MAX_BACK) : before]):
        call = steps[index]
        if call.step.status == "error":
            continue
        detail = call.detail
        if detail is None or (not detail.requests and detail.after is None):
            return index
        if any(not request.name or same_tool(request.name, tool.step.tool_name) for request in detail.requests):
            return index
        if detail.requests:
            return None  # it asked for others
    return None


def _read_after(tool: Placed, calls: Sequence[int], steps: Sequence[Placed]) -> int | None:
    after = bisect_right(calls, tool.index)
    for index in calls[after : after + _MAX_BACK]:
        if steps[index].start >= tool.end:
            return index
    return None


@dataclass(frozen=True, slots=True)
class Attempts:
    """Attempts by index of the step."""

    number: dict[int, int]
    """Which attempt a step is; 1 for those that are not listed."""
    follows: dict[int, int]
    """The attempt before, for steps that repeat another."""
    hidden: int
    """Attempts that no step stands for."""

    @property
    def retries(self) -> int:
        """Return the attempts beyond the first ones."""
        return len(self.follows) + self.hidden


def count_attempts(steps: Sequence[Placed]) -> Attempts:
    """Return the number of each attempt, and what it repeats."""
    number: dict[int, int] = {}
    follows: dict[int, int] = {}
    hidden = 0
    last: dict[int | None, Placed] = {}
    failed: dict[int | None, dict[tuple[str, str | int], Placed]] = {}
    for step in steps:
        previous: Placed | None = None
        sent = 1
        if step.is_call:
            failed.pop(step.parent, None)
            before = last.get(step.parent)
            if before is not None and _again(before, step):
                previous = before
            sent = _sent(step.node)
        elif step.step.kind == "tool" and (request := _request(step)) is not None:
            same = failed.setdefault(step.parent, {})
            previous = same.pop((step.step.tool_name, request), None)
            if previous is not None and previous.end > step.start:
                previous = None
            if step.step.status == "error":
                same[step.step.tool_name, request] = step
        done = 0
        if previous is not None:
            follows[step.index] = previous.index
            done = number.get(previous.index, 1)
        # Some applications number their attempts themselves.
        attempt = min(max(step.step.attempt, done + sent), _MAX_ATTEMPTS)
        hidden += attempt - done - 1
        if attempt > 1:
            number[step.index] = attempt
        last[step.parent] = step
    return Attempts(number, follows, hidden)


def _again(before: Placed, step: Placed) -> bool:
    one, other = before.step, step.step
    if (
        not before.is_call
        or one.status != "error"
        or one.kind != other.kind
        or before.agent != step.agent
        or before.end > step.start
    ):
        return False
    said = before.detail.history if before.detail is not None else ()
    says = step.detail.history if step.detail is not None else ()
    if said and says:
        return said[-1] == says[-1]
    return (one.request_model or one.model) == (other.request_model or other.model)


def _request(tool: Placed) -> str | int | None:
    """Return what makes two tool calls the same; None where nothing says."""
    if tool.step.tool_call_id:
        return tool.step.tool_call_id
    detail = tool.detail
    return detail.arguments.digest if detail is not None and detail.arguments is not None else None


def _sent(call: Node) -> int:
    """Return how often a call was sent, as the HTTP client below it shows: one after the other, at least once."""
    sent, until = 0, 0
    spans = [
        child for node in (call, *call.twins) for child in node.children
        if isinstance(child.record, Bridge) and child.record.kind == _CLIENT
    ]  # fmt: skip
    for span in sorted(spans, key=lambda node: node.rank):
        if span.record.start_ns >= until:
            sent += 1
            until = span.record.end_ns
    return max(1, sent)

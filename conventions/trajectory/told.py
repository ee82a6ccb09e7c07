"""Tools that ran without a span of their own: what the messages of model calls tell of them.

An instrumentation of a model's SDK sees no tools, yet the answer that asks for one and the later call that is given
its result say that it ran, in which order, and between which moments. Such a tool becomes a step (basis `messages`)
below what its asking call lies below; nobody knows how long it took. What was asked for and never answered did not
run as far as anyone knows: it stays among what the call `asks` for.

A span that is not known as a tool's, but is named after the one that was asked for and lies where it should, is that
tool: an application's own `tool get_weather`. It has a place, times and a status of its own.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from spanledger.conventions.detail import Detail, Print
from spanledger.conventions.details.delegates import delegate_of
from spanledger.conventions.details.history import extends
from spanledger.conventions.same_tool import same_tool
from spanledger.conventions.step import Bridge, Step, altered
from spanledger.conventions.trajectory.tree import RUNNERS, Node, walk
from spanledger.conventions.trajectory.twins import resolve

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from spanledger.conventions.detail import ToolRequest
    from spanledger.conventions.trajectory.runs import Draft
    from spanledger.conventions.trajectory.tree import Key

TOLERANCE_NS: Final = 1_000_000
"""How much earlier than the end of the asking call a tool may begin: both clocks are read a little late."""
_MAX_AFTER: Final = 64
"""Calls that are looked at for the one that read a result."""
_MAX_TOLD: Final = 2_000
"""Tools without a span in one run."""
_LAST_WORD: Final = re.compile(r"[^\s/:]{1,200}$")
_BETWEEN_WORDS: Final = re.compile(r"[\W_]+")

_Asked = tuple[Node, "ToolRequest"]


def add_told_tools(draft: Draft) -> None:
    """Add to a run the tools that only messages, or spans of another kind, tell of."""
    calls = sorted((node for node in draft.nodes if _is_call(node)), key=lambda node: node.rank)
    asked = _asked(calls)
    left = _without_span(draft, asked) if asked else []
    if not left:
        return
    around = draft.tops if draft.root is None else [draft.root, *draft.tops]
    structure = [node for node in dict.fromkeys(walk(around)) if node.same_as is None and _is_structure(node)]
    place = {call: number for number, call in enumerate(calls)}
    present = set(draft.nodes)
    for call, request in left[:_MAX_TOLD]:
        after = place[call] + 1
        reader = next((one for one in calls[after : after + _MAX_AFTER] if _reads(one, call, request)), None)
        tool = _span_of(call, request, reader, structure)
        if tool is not None:
            structure.remove(tool)
            tool.step = _of_span(tool, call, request)
        elif reader is not None:
            tool = _between(call, request, reader)
        if tool is not None:
            _adopt(draft, call, tool)
            if tool not in present:
                draft.nodes.append(tool)


def _adopt(draft: Draft, call: Node, tool: Node) -> None:
    """Put below a tool the calls of other traces that were asked what the tool was given, and those that go on."""
    below: set[Key] = set()
    for node, edge in sorted(draft.joined.items(), key=lambda item: item[0].rank):
        source = edge.from_trace_id, edge.from_span_id
        begins = edge.basis == "arguments" and source == call.key and tool.start <= node.start < tool.end
        if node.parent is None and (begins or source in below) and node not in tool.ancestors():
            node.parent, node.basis = tool, edge.basis
            below.add(node.key)


def _is_call(node: Node) -> bool:
    return node.step is not None and node.step.kind == "llm" and not node.hidden


def _is_structure(node: Node) -> bool:
    return node.step is None or node.step.kind == "other"


def _asked(calls: Sequence[Node]) -> list[_Asked]:
    """Return the requests of each call, where its answer tells none as the next call's history has them."""
    found: dict[Node, Sequence[ToolRequest]] = {}
    for place, call in enumerate(calls):
        detail = call.step.detail if call.step is not None else None
        if detail is None:
            continue
        asker = calls[place - 1] if place else None
        if detail.given and asker is not None and not found.get(asker) and _goes_on(call, asker):
            found[asker] = detail.given
        found[call] = detail.requests
    return [(call, request) for call in calls for request in found.get(call, ()) if request.name]


def _goes_on(later: Node, earlier: Node) -> bool:
    """Tell whether a call follows from one whose answer is not fully told."""
    given = later.step.detail if later.step is not None else None
    said = earlier.step.detail if earlier.step is not None else None
    if given is None or earlier.step is None or earlier.step.status == "error" or _above(later) is not _above(earlier):
        return False
    return said is None or said.after is None or extends(given, said)


def _without_span(draft: Draft, asked: Sequence[_Asked]) -> list[_Asked]:
    """Return the requests that no tool span answers to, nor an agent that was handed the work.

    By id, and for what has none in common by name: the last such request before the tool.
    """
    left = list(asked)
    work = sorted(draft.nodes, key=lambda node: node.rank)
    tools = [node for node in work if node.step is not None and node.step.kind == "tool"]
    unmatched = [tool for tool in tools if not _take(left, tool, _has_its_id)]
    for tool in unmatched:
        _take(left, tool, _has_its_name)
    for node in work if left else ():
        if node.step is not None and node.step.kind in RUNNERS and node.step.agent_name and not _within_tool(node):
            _take(left, node, _names_agent)
    return left


def _take(left: list[_Asked], node: Node, answers: Callable[[Step, ToolRequest], bool]) -> bool:
    """Take the last request before a node that it answers to out of the list; tell whether there was one."""
    assert node.step is not None
    for place in range(len(left) - 1, -1, -1):
        call, request = left[place]
        if call.start <= node.start + TOLERANCE_NS and answers(node.step, request):
            del left[place]
            return True
    return False


def _has_its_id(tool: Step, request: ToolRequest) -> bool:
    return bool(request.id) and request.id == tool.tool_call_id


def _has_its_name(tool: Step, request: ToolRequest) -> bool:
    return same_tool(request.name, tool.tool_name)


def _names_agent(agent: Step, request: ToolRequest) -> bool:
    """Tell whether a request hands work to an agent: `transfer_to_billing_agent`, `Billing Agent`."""
    return _plain(agent.agent_name) in _plain(request.name)


def _plain(name: str) -> str:
    return _BETWEEN_WORDS.sub("", name).lower()


def _within_tool(node: Node) -> bool:
    return any(above.step is not None and above.step.kind == "tool" for above in node.ancestors())


def _reads(later: Node, call: Node, request: ToolRequest) -> bool:
    """Tell whether a later call was given the result of a request."""
    given = later.step.detail if later.step is not None else None
    said = call.step.detail if call.step is not None else None
    if given is None:
        return False
    if request.id and given.answered:
        return request.id in given.answered or _is_given(request, given)
    # Where calls have no ids, all were answered if anything but the user's next word follows the asking answer.
    return said is not None and extends(given, said) and not given.asks_user and given.history[-1] != said.after


def _is_given(request: ToolRequest, later: Detail) -> bool:
    """Tell whether a later call has the request under another id: an answer's item has one, and the call in it."""
    return any(
        (one.name, one.arguments) == (request.name, request.arguments) and one.id in later.answered
        for one in later.given
    )


def _span_of(call: Node, request: ToolRequest, reader: Node | None, structure: Sequence[Node]) -> Node | None:
    """Return the outermost of the spans that are named after a tool and lie between its request and its result."""
    above = set(call.ancestors())
    for node in structure:
        if node in above:
            continue
        word = _LAST_WORD.search(node.record.name)
        if (
            word is not None
            and same_tool(request.name, word[0])
            and (node.start >= call.end - TOLERANCE_NS or call in node.ancestors())
            and (reader is None or node.end <= reader.start + TOLERANCE_NS)
        ):
            return node
    return None


def _of_span(node: Node, call: Node, request: ToolRequest) -> Step:
    record = node.record
    failed = record.failed if isinstance(record, Bridge) else record.status == "error"
    error_type = record.error_type if isinstance(record, Step) else ""
    return altered(
        _tool(call, request),
        trace_id=record.trace_id,
        span_id=record.span_id,
        parent_span_id=record.parent_span_id,
        name=record.name,
        start_ns=record.start_ns,
        end_ns=record.end_ns,
        service_name=record.service_name,
        status="error" if failed else "ok",
        error_type=error_type or ("_OTHER" if failed else ""),
    )


def _between(call: Node, request: ToolRequest, reader: Node) -> Node:
    start = min(call.end, reader.start)  # the span of a stream may end late
    step = altered(_tool(call, request), span_id=b"", name=request.name, start_ns=start, end_ns=0)
    return Node(step, step, start, reader.start, _above(call), "messages")


def _above(call: Node) -> Node | None:
    """Return what a call lies below, other reports of the same call left out."""
    above = call.parent
    while above is not None and resolve(above) is call:
        above = above.parent
    return above


def _tool(call: Node, request: ToolRequest) -> Step:
    """Return the step of a tool as far as its request tells it."""
    assert call.step is not None
    arguments = Print(request.arguments) if request.arguments is not None else None
    return altered(
        call.step,
        kind="tool",
        operation="execute_tool",
        status="ok",
        error_type="",
        provider="",
        model="",
        request_model="",
        response_model="",
        response_id="",
        tool_name=request.name,
        tool_call_id=request.id,
        attempt=1,
        usage=None,
        cost=None,
        time_to_first_chunk_s=None,
        detail=Detail(arguments=arguments, delegate=delegate_of(request.name, None)),
    )

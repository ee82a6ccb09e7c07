"""Several spans that report one piece of work become one step.

Frameworks and the libraries below them both report a model call, tools are reported by the caller and by
the server, agents by the framework twice. `conventions.ledger` has said of each model call whether it counts;
here the tree is whole, and the report that is best placed stands for all:

* a model call with exactly one model call below it, one of them a roll-up of the other, is that call; with
  several below it, it is no call but holds them together;
* a roll-up that is a twin of a counted call elsewhere (as the ledger says; same response id, or same tokens within
  its time) is that call, and stays where an agent is above it;
* a tool below a tool of the same name is that tool, and so is a lone one of another trace within its time, and one
  that another dialect tells of at the same time: two callbacks of one framework;
* the log record of a call is the span of that call;
* an agent directly below an agent of the same name is that agent.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from spanledger.conventions.detail import Detail
from spanledger.conventions.safety.reading import distinct
from spanledger.conventions.same_tool import bare, ids_agree, part_of, same_tool, told_by_both
from spanledger.conventions.step import altered
from spanledger.conventions.trajectory import retold
from spanledger.conventions.trajectory.tree import CALLS, RUNNERS, walk
from spanledger.conventions.verdicts import NO_CALL

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from spanledger.conventions.reading import StepKind
    from spanledger.conventions.step import Step
    from spanledger.conventions.trajectory.tree import Node

_CALLS_OF_THEIR_OWN: Final = frozenset({"counts", "only_copy"})

_MAX_BACK: Final = 64


def merge(roots: Sequence[Node]) -> list[Node]:
    """Let one node stand for all reports of the same work (`Node.same_as`), and give it what they know.

    Return the roots that are left: a report from another trace goes below the node that stands for it.
    """
    nodes = list(walk(roots))
    above = _work_above(nodes)
    for span, report in retold.pairs(nodes):
        _stand_for(span, report)
        span.step = united(span)  # from here on it has the cost of the one that counts
        if above[report] is None:
            _move_below(span, report)
    _nested_calls(nodes, above)
    _nested_tools_and_agents(nodes, above)
    _apart_calls(nodes, above)
    _apart_tools(nodes, above)
    for node in nodes:
        if node.twins:
            node.step = united(node)
    return [root for root in roots if root.parent is None]


def resolve(node: Node) -> Node:
    """Return the node that stands for `node`."""
    while node.same_as is not None:
        node = node.same_as
    return node


def _work_above(nodes: Iterable[Node]) -> dict[Node, Node | None]:
    """Return for each node the nearest above it that is GenAI work and more than structure."""
    above: dict[Node, Node | None] = {}
    for node in nodes:  # parents come first
        parent = node.parent
        above[node] = None if parent is None else parent if _works(parent) else above[parent]
    return above


def _works(node: Node) -> bool:
    return node.step is not None and node.step.kind != "other"


def _kind(node: Node) -> StepKind | None:
    return node.step.kind if node.step is not None else None


def rolled_up(node: Node) -> bool:
    """Tell whether the call that a span tells of is that of another span."""
    if node.report is not None and node.report.call is not None:
        return node.report.verdict not in _CALLS_OF_THEIR_OWN
    return node.step is not None and node.step.cost is not None and node.step.cost.status == "rollup"


def _stand_for(keeper: Node, twin: Node) -> None:
    twin.same_as = keeper
    keeper.twins += [twin, *twin.twins]
    twin.twins = []


def _move_below(keeper: Node, twin: Node) -> None:
    """Take a report that has no agent above to the node that stands for it, with all that is below it."""
    if twin.record.trace_id == keeper.record.trace_id:
        return
    if twin.parent is not None:
        twin.parent.children.remove(twin)
    twin.parent, twin.basis = keeper, "time"
    keeper.children.append(twin)


def _nested_calls(nodes: Sequence[Node], above: dict[Node, Node | None]) -> None:
    inner: dict[Node, list[Node]] = {}
    for node in nodes:
        outer = above[node]
        if outer is not None and _kind(node) in CALLS and _kind(outer) == _kind(node):
            inner.setdefault(outer, []).append(node)
    for outer in reversed(nodes):  # the innermost first
        below = inner.get(outer)
        if below is None:
            continue
        if not rolled_up(outer):
            for node in below:
                if rolled_up(node) and node.same_as is None:
                    _stand_for(outer, node)
        elif len(below) == 1 or _is_billed(outer):
            # The last of several attempts is the one that was answered.
            keeper = next((one for one in map(resolve, reversed(below)) if not one.hidden), outer)
            if keeper is not outer:
                _stand_for(keeper, outer)
        else:
            outer.hidden = True


def _is_billed(node: Node) -> bool:
    return node.bill.tokens or node.bill.money


def _tokens(node: Node) -> tuple[int, int] | None:
    usage = node.step.usage if node.step is not None else None
    return None if usage is None else (usage.input or 0, usage.output or 0)


def _nested_tools_and_agents(nodes: Sequence[Node], above: dict[Node, Node | None]) -> None:
    for node in nodes:
        outer = above[node]
        if outer is None or node.step is None or outer.step is None or outer.step.kind != node.step.kind:
            continue
        if node.step.kind == "tool":
            if part_of(node.step, outer.step):
                _stand_for(resolve(outer), node)
        elif node.step.kind in RUNNERS and node.step.agent_name and node.step.agent_name == outer.step.agent_name:
            _stand_for(resolve(outer), node)


def _apart_calls(nodes: Sequence[Node], above: dict[Node, Node | None]) -> None:
    counted: dict[str | tuple[int, int], list[Node]] = {}
    by_report = {node.report: node for node in nodes if node.report is not None and _kind(node) in CALLS}
    for node in nodes:
        if _kind(node) in CALLS and node.same_as is None and not rolled_up(node) and not node.hidden:
            for name in _names(node):
                counted.setdefault(name, []).append(node)
    for node in nodes:
        if _kind(node) not in CALLS or node.same_as is not None or node.hidden or not rolled_up(node):
            continue
        twin_of = node.report.twin_of if node.report is not None else None
        found = by_report.get(twin_of) if twin_of is not None else None
        if found is not None and resolve(found) is node:
            continue  # it stands for the counted one already
        if found is None or found.same_as is not None or found.hidden:
            found = next(
                (
                    other
                    for name in _names(node)
                    for other in counted.get(name, ())[:_MAX_BACK]
                    if other.same_as is None and other is not node and (isinstance(name, str) or _nests(other, node))
                ),
                None,
            )
        if found is None:
            continue
        # The numbers come from whoever counts.
        keeper, twin = (node, found) if _has_its_place(node, found, above) else (found, node)
        _stand_for(keeper, twin)
        if above[twin] is None:
            _move_below(keeper, twin)


def _has_its_place(node: Node, other: Node, above: dict[Node, Node | None]) -> bool:
    """Tell whether a call belongs where this report of it is: below an agent, or below what called it, if anything."""
    if above[node] is not None or above[other] is not None:
        return above[other] is None
    if node.parent is None or node.parent.step is None or other.parent is not None:
        return False
    # Where the other's parent is not told of: LangSmith's spans have other ids than the context that it calls with.
    return bool(other.missing) and node.record.service_name == other.record.service_name


def _names(node: Node) -> list[str | tuple[int, int]]:
    names: list[str | tuple[int, int]] = []
    if node.step is not None and node.step.response_id:
        names.append(node.step.response_id)
    if (tokens := _tokens(node)) is not None:
        names.append(tokens)
    elif node.step is not None and node.step.status == "error":
        names.append((-1, -1))
    return names


def _nests(one: Node, other: Node) -> bool:
    """Tell whether one of two recorded times lies within the other."""
    a, b = one.record, other.record
    return (a.start_ns <= b.start_ns and b.end_ns <= a.end_ns) or (b.start_ns <= a.start_ns and a.end_ns <= b.end_ns)


def _apart_tools(nodes: Sequence[Node], above: dict[Node, Node | None]) -> None:
    by_name: dict[str, list[Node]] = {}
    for node in nodes:
        if node.step is not None and node.step.kind == "tool" and node.same_as is None and node.step.tool_name:
            by_name.setdefault(bare(node.step.tool_name), []).append(node)
    for tools in by_name.values():
        names = {tool.step.tool_name for tool in tools if tool.step is not None}
        dialects = {tool.step.dialect for tool in tools if tool.step is not None}
        if len(names) == len(dialects) == 1 and all(above[tool] is not None for tool in tools):
            continue
        tools.sort(key=lambda node: (node.record.start_ns, node.rank))
        for place, node in enumerate(tools):
            for tool in reversed(tools[max(0, place - _MAX_BACK) : place]):
                if tool.same_as is None and (_serves(node, tool, above) or _tells_too(node, tool)):
                    _stand_for(tool, node)
                    _move_below(tool, node)
                    break


def _tells_too(node: Node, tool: Node) -> bool:
    """Tell whether a tool span is what another dialect, which has told nothing of it yet, says of a call."""
    told = {one.step.dialect for one in (tool, *tool.twins) if one.step is not None}
    return (
        node.step is not None
        and tool.step is not None
        and node.step.dialect not in told
        and told_by_both(node.step, tool.step)
    )


def _serves(node: Node, tool: Node, above: dict[Node, Node | None]) -> bool:
    """Tell whether a tool span is what the server says of a call that lies around it in time, with a caller above."""
    assert node.step is not None
    assert tool.step is not None
    name, other = node.step.tool_name, tool.step.tool_name
    lone = above[node] is None and node.record.trace_id != tool.record.trace_id
    return (
        (lone or name != other)
        and above[tool] is not None
        and same_tool(name, other)
        and node.record.end_ns <= tool.record.end_ns
        and ids_agree(tool.step, node.step)
    )


def united(node: Node) -> Step:
    """Return the step of a node with what its twins know and it does not; its own words come first."""
    assert node.step is not None
    step = node.step
    steps = [twin.step for twin in node.twins if twin.step is not None]
    counted = [one for one in (step, *steps) if one.cost is not None and one.cost.status != "rollup"]
    counting = next((one for one in counted if one.usage is not None), counted[0] if counted else step)
    priced = next((one.cost for one in counted if one.cost is not None and one.cost.total is not None), counting.cost)
    failed = next((one for one in (step, *steps) if one.status == "error"), step)
    if step.kind in CALLS and counted:
        failed = next((one for one in counted if one.cost is not None and one.cost.reason not in NO_CALL), counting)

    def first(text: Callable[[Step], str]) -> str:
        return text(step) or next((found for one in steps if (found := text(one))), "")

    return altered(
        step,
        agent_name=first(lambda one: one.agent_name),
        provider=first(lambda one: one.provider),
        model=first(lambda one: one.model),
        request_model=first(lambda one: one.request_model),
        response_model=first(lambda one: one.response_model),
        response_id=first(lambda one: one.response_id),
        tool_call_id=first(lambda one: one.tool_call_id),
        workflow_name=first(lambda one: one.workflow_name),
        conversation_id=first(lambda one: one.conversation_id),
        user_id=first(lambda one: one.user_id),
        status=failed.status,
        error_type=failed.error_type,
        attempt=max(one.attempt for one in (step, *steps)),
        usage=counting.usage or step.usage or next((one.usage for one in steps if one.usage is not None), None),
        cost=priced,
        detail=_united_detail([one.detail for one in (step, *steps) if one.detail is not None]),
    )


def _united_detail(details: Sequence[Detail]) -> Detail | None:
    if len(details) < 2:
        return details[0] if details else None
    merged = {
        name: next((value for detail in details if (value := getattr(detail, name))), getattr(details[0], name))
        for name in Detail.__dataclass_fields__
    }
    merged["evaluations"] = tuple(dict.fromkeys(one for detail in details for one in detail.evaluations))
    merged["concerns"] = distinct(one for detail in details for one in detail.concerns)
    merged["dimensions"] = {name: text for detail in reversed(details) for name, text in detail.dimensions.items()}
    return Detail(**merged)

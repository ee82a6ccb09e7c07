"""The totals of a run that needs no judgement, added up without building it.

Most runs are plain: one trace, one agent above all, every parent there, nothing failed, nothing told twice, no tool
that only messages tell of. What stands on their root follows from sums. `totals_of` says nothing where it is not sure
of that; where it speaks, it says what `build` says, and a property test holds it to that.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from operator import le
from typing import TYPE_CHECKING, Final

from spanledger.conventions.run import RunTotals
from spanledger.conventions.same_tool import bare
from spanledger.conventions.step import Bridge, Step
from spanledger.conventions.trajectory.tree import CALLS, RUNNERS

if TYPE_CHECKING:
    from spanledger.conventions.run import Outcome

_CLIENT: Final = 3
_ODD: Final = frozenset({"evaluation", "human"})

Totals = tuple[Step, RunTotals]
"""The root of a run that is complete and a success, and its sums, without steps and depth."""


def totals_of(records: Collection[Step | Bridge], terminal_tools: Mapping[str, Outcome]) -> Totals | None:
    """Return the totals of the one plain run that the records of a group are; None if they are anything else."""
    by_id = {record.span_id: record for record in records}
    roots = [record for record in records if not record.parent_span_id]
    if len(by_id) != len(records) or len(roots) != 1:
        return None
    (root,) = roots
    if not isinstance(root, Step) or root.kind not in RUNNERS:
        return None
    steps = [record for record in records if isinstance(record, Step)]
    calls = [step for step in steps if step.kind in CALLS]
    tools = [step for step in steps if step.kind == "tool"]
    if (
        all(map(_is_plain, steps))
        and _is_tree(root, records, by_id)
        and _sent_once(records, by_id)
        and _all_told(calls, tools, terminal_tools)
    ):
        return root, _totals(calls, tools)
    return None


def _is_plain(step: Step) -> bool:
    detail = step.detail
    if step.status != "ok" or step.attempt != 1 or step.kind in _ODD or step.report:
        return False
    if detail is not None and (detail.links or detail.evaluations or detail.context or detail.concerns):
        return False
    if step.kind in RUNNERS and detail is not None and detail.outcome:
        return False
    if step.kind in CALLS:
        return step.cost is None or step.cost.status != "rollup"
    return (step.usage is None and step.cost is None) or (step.cost is not None and step.cost.status == "rollup")


def _is_tree(root: Step, records: Collection[Step | Bridge], by_id: Mapping[bytes, Step | Bridge]) -> bool:
    """Tell whether all is below the root, no call below a call and no tool below a tool."""
    above: dict[bytes, frozenset[str]] = {root.span_id: frozenset()}
    for record in records:
        path: list[Step | Bridge] = []
        current: Step | Bridge | None = record
        while current is not None and current.span_id not in above and len(path) < len(records):
            path.append(current)
            current = by_id.get(current.parent_span_id)
        if current is None or current.span_id not in above or record.trace_id != root.trace_id:
            return False
        kinds = above[current.span_id] | _marks(current)
        for one in reversed(path):
            mine = _marks(one)
            if mine & kinds:
                return False
            above[one.span_id] = kinds
            kinds |= mine
    return True


def _marks(record: Step | Bridge) -> frozenset[str]:
    if isinstance(record, Bridge):
        return frozenset()
    return _CALL if record.kind in CALLS else _TOOL if record.kind == "tool" else frozenset()


_CALL: Final = frozenset({"call"})
_TOOL: Final = frozenset({"tool"})


def _sent_once(records: Collection[Step | Bridge], by_id: Mapping[bytes, Step | Bridge]) -> bool:
    """Tell whether no HTTP client shows that a call was sent again, and no link leads elsewhere."""
    seen: set[bytes] = set()
    for record in records:
        if not isinstance(record, Bridge):
            continue
        if record.links or record.parent_span_id in seen:
            return False
        parent = by_id.get(record.parent_span_id)
        if record.kind == _CLIENT and isinstance(parent, Step) and parent.kind in CALLS:
            seen.add(record.parent_span_id)
    return True


def _all_told(calls: Sequence[Step], tools: Sequence[Step], terminal_tools: Mapping[str, Outcome]) -> bool:
    """Tell whether each tool that was asked for has a span, under one name, and none of them means an end."""
    names = {tool.tool_name for tool in tools}
    if len({tool.dialect for tool in tools}) > 1:  # one may tell what the other does
        return False
    if len(set(map(bare, names))) != len(names) or not names.isdisjoint(terminal_tools):
        return False
    details = [(call.start_ns, call.detail) for call in calls if call.detail is not None]
    asked = {request.id: (start, request.name) for start, detail in details for request in detail.requests}
    if len(asked) != sum(len(detail.requests) for _, detail in details):
        return False  # what has no id of its own
    if not all(request.id in asked for _, detail in details for request in detail.given):
        return False
    for tool in tools:
        asked.pop(tool.tool_call_id, None)
    return not asked or _told_by_name(asked.values(), tools)


def _told_by_name(asked: Iterable[tuple[int, str]], tools: Sequence[Step]) -> bool:
    """Tell whether as many tools followed each request as there were, where spans do not say whose they are."""
    starts: dict[str, list[int]] = {}
    for tool in tools:
        if tool.tool_call_id or tool.service_name != tools[0].service_name:
            return False  # clocks may disagree
        starts.setdefault(tool.tool_name, []).append(tool.start_ns)
    requests: dict[str, list[int]] = {}
    for start, name in asked:
        requests.setdefault(name, []).append(start)
    return requests.keys() == starts.keys() and all(
        len(requests[name]) == len(ran) and all(map(le, sorted(requests[name]), sorted(ran)))
        for name, ran in starts.items()
    )


def _totals(calls: Sequence[Step], tools: Sequence[Step]) -> RunTotals:
    used = [call.usage for call in calls if call.usage is not None]
    costs = [call.cost.total for call in calls if call.cost is not None and call.cost.total is not None]
    return RunTotals(
        llm_calls=len(calls),
        tool_calls=len(tools),
        input_tokens=sum(usage.input or 0 for usage in used),
        output_tokens=sum(usage.output or 0 for usage in used),
        cost_pico_usd=sum(costs) if costs else None,
    )

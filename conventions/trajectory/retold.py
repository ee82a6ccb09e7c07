"""Calls that a run has twice, as a span and as the log record of it.

Which of the two has the numbers was decided before (`conventions.ledger`); here they are found to be one step. The
span keeps its place, for the record has none of its own.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from spanledger.conventions.same_call import MAX_APART_NS
from spanledger.conventions.same_tool import ids_agree
from spanledger.conventions.trajectory.tree import CALLS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from spanledger.conventions.trajectory.tree import Node


def pairs(nodes: Iterable[Node]) -> Iterator[tuple[Node, Node]]:
    """Yield spans with the log records that report the same work, each at most once."""
    told = [node for node in nodes if node.step is not None and node.step.retold]
    if any(node.step is not None and node.step.report for node in told):
        told.sort(key=lambda node: node.rank)
        yield from _calls([node for node in told if node.step is not None and node.step.kind in CALLS])
        yield from _tools([node for node in told if node.step is not None and node.step.kind == "tool"])


def _calls(told: Sequence[Node]) -> Iterator[tuple[Node, Node]]:
    by_report = {node.report: node for node in told}
    for node in told:
        other = by_report.get(node.report.twin_of) if node.report is not None else None
        if other is None or node.step is None or other.step is None:
            continue
        if bool(node.step.report) != bool(other.step.report):
            yield (other, node) if node.step.report else (node, other)


def _tools(told: Sequence[Node]) -> Iterator[tuple[Node, Node]]:
    """Join tools by their call's id, or where one of them says none by name and time."""
    spans: dict[tuple[str, str], list[Node]] = defaultdict(list)
    for node in told:
        if node.step is not None and not node.step.report:
            spans[node.step.dialect, node.step.tool_name].append(node)
            if node.step.tool_call_id:
                spans[node.step.dialect, "\0" + node.step.tool_call_id].append(node)
    taken: set[int] = set()
    for node in told:
        step = node.step
        if step is None or not step.report:
            continue
        by_id = spans.get((step.dialect, "\0" + step.tool_call_id), ()) if step.tool_call_id else ()
        by_name = (one for one in spans.get((step.dialect, step.tool_name), ()) if _may_be(one, node))
        for one in (*by_id, *by_name):
            if id(one) not in taken:
                taken.add(id(one))
                yield one, node
                break


def _may_be(span: Node, report: Node) -> bool:
    """Tell whether two are at one time, and not known to be two calls."""
    assert span.step is not None
    assert report.step is not None
    apart = abs(span.record.end_ns - report.record.end_ns)
    return apart <= MAX_APART_NS and ids_agree(span.step, report.step)

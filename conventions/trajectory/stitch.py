"""Trees of several traces sewn together: what was called over a border that no parent link crosses.

A tree goes below the span that it follows from when that is still open at its beginning, when it is a
message or a tool call (a queue may deliver after the sender has ended), or when both name one tool call.
A link to the root of an agent run that is over (the next turn of a conversation) makes no call of it.
What was asked, word for word, what a model asked of a tool goes below that tool, or beside the model's call.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from spanledger.conventions.step import Bridge
from spanledger.conventions.trajectory.edges import Edge
from spanledger.conventions.trajectory.tree import RUNNERS

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from spanledger.conventions.trajectory.tree import Key, Node

_ORDER: Final = ("link", "tool_call_id", "mcp", "arguments", "time")
_CALLS: Final = frozenset(_ORDER)
_SENDS: Final = frozenset({3, 4})
"""Span kinds client and producer."""


def edges_of(nodes: Iterable[Node], given: Sequence[Edge]) -> list[Edge]:
    """Return the given edges and those that the spans' own links say, each once, in a fixed order."""
    edges = set(given)
    for node in nodes:
        record = node.record
        told = record if isinstance(record, Bridge) else record.detail
        links = told.links if told is not None else ()
        edges.update(Edge(*node.key, trace_id, span_id, "link") for trace_id, span_id in links)
    return sorted(edges, key=lambda edge: (_rank(edge), edge))


def _rank(edge: Edge) -> int:
    return _ORDER.index(edge.basis) if edge.basis in _CALLS else len(_ORDER)


def attach(roots: list[Node], by_key: dict[Key, Node], edges: Iterable[Edge]) -> list[Node]:
    """Put trees below what they were called from; return the roots that are left."""
    for edge in edges:
        called = by_key.get((edge.trace_id, edge.span_id))
        caller = by_key.get((edge.from_trace_id, edge.from_span_id))
        if edge.basis not in _CALLS or called is None or caller is None:
            continue
        root = called
        for above in called.ancestors():
            if above.step is not None or (root.step is not None and edge.basis != "arguments"):
                break  # work of its own lies between: not the tree was called, but something within it
            root = above
        if root.parent is not None or not _calls(caller, root, edge):
            continue
        place = _tool_around(root, caller) if edge.basis == "arguments" else caller
        if place is not None and not _is_below(place, root):
            root.parent, root.basis = place, edge.basis
            place.children.append(root)
    return [root for root in roots if root.parent is None]


def _calls(caller: Node, called: Node, edge: Edge) -> bool:
    if edge.basis != "link" or caller.start <= called.start < caller.end:
        return True
    if caller.step is not None and caller.step.kind in RUNNERS:
        return False
    if not isinstance(caller.record, Bridge) or caller.record.kind in _SENDS:
        return True
    return any(above.start <= called.start < above.end for above in caller.ancestors())


def _tool_around(called: Node, asker: Node) -> Node | None:
    """Return the tool beside an asking call that lies around what was called, else what both lie below."""
    above = asker.parent
    beside = above.children if above is not None else ()
    tools = (node for node in beside if node.step is not None and node.step.kind == "tool")
    return next((tool for tool in tools if tool.start <= called.start < tool.end), above)


def _is_below(node: Node, other: Node) -> bool:
    return node is other or any(above is other for above in node.ancestors())

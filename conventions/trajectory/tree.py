"""From records to trees: one node a span, each below its parent, whatever came twice, late or not at all.

* A record that is there twice is one; of two with the same id and start the fuller one stays. A span id
  that was used again (another start) is another span; children go to the one whose time they lie in.
* A parent that is not there: all its children go below the smallest span of their trace that contains
  them in time (`inferred_parent`), or stay at the top and remember whom they miss.
* Parents that lead in a circle: the circle is cut above its earliest span.
* Clocks of services that disagree are set right for ordering, see `skew`.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from spanledger.conventions.ledger import NO_BILL
from spanledger.conventions.step import Bridge, Step

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from spanledger.conventions.ledger import Bill, Report
    from spanledger.conventions.run import EdgeBasis

Key = tuple[bytes, bytes]
"""(trace id, span id)."""

CALLS: Final = frozenset({"llm", "embedding"})
RUNNERS: Final = frozenset({"agent", "workflow"})
LEAVES: Final = CALLS | {"evaluation"}
"""Kinds that nothing is inferred to lie below."""

MAX_DEPTH: Final = 10_000
"""Ancestors that are followed; what is deeper counts as lying at the top."""

_MAX_CONTAINERS: Final = 64
"""Spans that are looked at for a parent that is missing, the nearest before it in time first."""


@dataclass(slots=True, eq=False)
class Node:
    """A span in its tree. Mutable while the tree is made, owned by one `build`."""

    record: Step | Bridge
    step: Step | None
    """The record, if it is GenAI work; with what its twins know besides."""
    start: int
    """As the clock of the tree's root would say, never before the parent's."""
    end: int
    parent: Node | None = None
    basis: EdgeBasis = "root"
    missing: bytes = b""
    """The parent's id when that is not known."""
    children: list[Node] = field(default_factory=list)
    twins: list[Node] = field(default_factory=list)
    """Other reports of the same work."""
    same_as: Node | None = None
    """The node that stands for this one."""
    report: Report | None = None
    """What it tells of calls; filled in by `once.bill`."""
    bill: Bill = NO_BILL
    """What it is billed for; likewise."""
    hidden: bool = False
    """It holds the tree together and is no step of a run."""

    @property
    def key(self) -> Key:
        """Return what it is named by."""
        return self.record.trace_id, self.record.span_id

    @property
    def rank(self) -> tuple[int, int, bytes, bytes]:
        """Return its place among others: by time, then by id; the same in every build."""
        return self.start, self.end, self.record.trace_id, self.record.span_id

    def ancestors(self) -> Iterator[Node]:
        """Yield the nodes above, the nearest first."""
        node = self.parent
        for _ in range(MAX_DEPTH):
            if node is None:
                return
            yield node
            node = node.parent


def walk(roots: Iterable[Node]) -> Iterator[Node]:
    """Yield nodes and all below them, parents first, siblings in their order."""
    waiting = list(roots)[::-1]
    while waiting:
        node = waiting.pop()
        yield node
        waiting.extend(reversed(node.children))


def plant(records: Iterable[Step | Bridge]) -> list[Node]:
    """Return the roots of the trees, in order of time. Depends on nothing but the set of records."""
    nodes = [
        Node(record, record if isinstance(record, Step) else None, record.start_ns, max(record.start_ns, record.end_ns))
        for record in distinct(records)
    ]
    nodes.sort(key=lambda node: node.rank)
    by_key: dict[Key, list[Node]] = {}
    for node in nodes:
        by_key.setdefault(node.key, []).append(node)
    for node in nodes:
        _find_parent(node, by_key)
    _cut_circles(nodes)
    _infer_parents(nodes)
    for node in nodes:
        if node.parent is not None:
            node.parent.children.append(node)
    return [node for node in nodes if node.parent is None]


def distinct(records: Iterable[Step | Bridge]) -> list[Step | Bridge]:
    """Return each span once, in no particular order."""
    found: dict[tuple[bytes, bytes, int], Step | Bridge] = {}
    for record in records:
        key = record.trace_id, record.span_id, record.start_ns
        known = found.get(key)
        if known is None or (known is not record and known != record and _fuller(record, known)):
            found[key] = record
    return list(found.values())


def _fuller(one: Step | Bridge, other: Step | Bridge) -> bool:
    """Tell whether `one` knows more of the span; of records that know the same, any total order does."""
    mine, its = fullness(one), fullness(other)
    return mine > its if mine != its else repr(one) > repr(other)


def fullness(record: Step | Bridge) -> tuple[bool, int, int, bool, bool]:
    """Return what tells which of two reports of a span knows more: it is read, counted by pricing, finished."""
    if isinstance(record, Bridge):
        return False, 0, record.end_ns, False, False
    cost = record.cost
    money = 0 if cost is None else 1 if cost.status == "rollup" else 2
    return True, money, record.end_ns, record.usage is not None, record.detail is not None


def _find_parent(node: Node, by_key: dict[Key, list[Node]]) -> None:
    parent_id = node.record.parent_span_id
    if not parent_id or parent_id == node.record.span_id:
        return
    candidates = [one for one in by_key.get((node.record.trace_id, parent_id), ()) if one is not node]
    if not candidates:
        node.missing = parent_id
        return
    containing = [one for one in candidates if one.start <= node.start <= one.end]
    node.parent = (containing or candidates)[-1 if containing else 0]
    node.basis = "parent"


def _cut_circles(nodes: Sequence[Node]) -> None:
    """Make the earliest span of each circle a root."""
    clear: set[int] = set()
    for node in nodes:
        path: dict[int, Node] = {}
        current: Node | None = node
        while current is not None and id(current) not in clear:
            if id(current) in path:
                circle = [current]
                while circle[-1].parent is not None and circle[-1].parent is not current:
                    circle.append(circle[-1].parent)
                first = min(circle, key=lambda one: one.rank)
                first.parent, first.basis = None, "root"
                break
            path[id(current)] = current
            current = current.parent
        clear.update(path)


def _smallest(containers: Sequence[Node]) -> Node:
    """Return the shortest span, of those below the shortest that sums calls up, if one does.

    It has the tokens of what is put below it, which would count twice elsewhere; `processor.accounts` does the same.
    """

    def length(node: Node) -> tuple[int, tuple[int, int, bytes, bytes]]:
        return node.end - node.start, node.rank

    sums = [node for node in containers if _sums_up(node)]
    if sums:
        shortest = min(sums, key=length)
        containers = [node for node in containers if node is shortest or any(up is shortest for up in node.ancestors())]
    return min(containers, key=length)


def _sums_up(node: Node) -> bool:
    usage = node.step.usage if node.step is not None else None
    return usage is not None and bool(usage.input or usage.output)


def _infer_parents(nodes: Sequence[Node]) -> None:
    """Put the children of each missing parent below the smallest span that contains them all in time."""
    orphans: dict[Key, list[Node]] = {}
    for node in nodes:
        if node.missing:
            orphans.setdefault((node.record.trace_id, node.missing), []).append(node)
    if not orphans:
        return
    traces = {trace_id for trace_id, _ in orphans}
    holders: dict[bytes, list[Node]] = {trace_id: [] for trace_id in traces}
    for node in nodes:
        if node.record.trace_id in traces and (node.step is None or node.step.kind not in LEAVES):
            holders[node.record.trace_id].append(node)
    starts = {trace_id: [node.start for node in held] for trace_id, held in holders.items()}
    for (trace_id, _), children in orphans.items():
        start, end = min(node.start for node in children), max(node.end for node in children)
        held = holders[trace_id]
        last = bisect_right(starts[trace_id], start)
        nearest = held[max(0, last - _MAX_CONTAINERS) : last] + held[: min(_MAX_CONTAINERS, last - _MAX_CONTAINERS)]
        own = {id(node) for node in children}
        containers = [
            node
            for node in nearest
            if start > 0
            and node.end >= end
            and id(node) not in own
            and not any(id(up) in own for up in node.ancestors())
        ]
        if containers:
            parent = _smallest(containers)
            for node in children:
                node.parent, node.basis = parent, "inferred_parent"

"""The steps of a run in their order: by time, and no effect before its cause.

Times decide, as `skew` has set them right; a parent comes before its children, a model call before the tools
it asked for by id, a tool before the first call that names its result. Equal times are ordered by depth, then
by id, so that the order is the same in every build.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from spanledger.conventions.trajectory.tree import CALLS, RUNNERS
from spanledger.conventions.trajectory.twins import resolve

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from spanledger.conventions.detail import Detail
    from spanledger.conventions.run import AgentBasis, EdgeBasis
    from spanledger.conventions.step import Step
    from spanledger.conventions.trajectory.runs import Draft
    from spanledger.conventions.trajectory.tree import Node

_Key = tuple[int, int, int, int, bytes, bytes, int]
"""What orders steps; at the end the number of the step."""


@dataclass(slots=True, eq=False)
class Placed:
    """A step with its place in its run."""

    index: int
    node: Node
    step: Step
    parent: int | None
    basis: EdgeBasis
    start: int
    end: int
    scope: int | None
    """The nearest agent or workflow above."""
    depth: int
    """Agents and workflows above."""
    agent: str = ""
    """Who does it, see `agents`; "" where nothing says."""
    agent_basis: AgentBasis | None = None
    detail: Detail | None = field(init=False)
    """What joins it to others."""
    is_call: bool = field(init=False)
    """It is a call of a model."""
    is_runner: bool = field(init=False)
    """It is an agent or a workflow."""

    def __post_init__(self) -> None:
        self.detail, kind = self.step.detail, self.step.kind
        self.is_call, self.is_runner = kind in CALLS, kind in RUNNERS


def arrange(draft: Draft) -> list[Placed]:
    """Return the steps of a run in order, with their parents among each other."""
    nodes = sorted(draft.nodes, key=lambda node: node.rank)
    parents = _parents(nodes)
    places = _places(nodes, parents)
    order = _sort(nodes, parents, places)
    at = {nodes[position]: index for index, position in enumerate(order)}
    placed: list[Placed] = []
    for index, position in enumerate(order):
        node, parent = nodes[position], parents[position]
        assert node.step is not None
        above = placed[at[parent]] if parent is not None else None
        scope = None if above is None else above.index if above.is_runner else above.scope
        basis = node.basis if parent is None else _basis(node, parent)
        if above is None and basis != "messages":
            edge = draft.joined.get(node)
            basis = "root" if edge is None else edge.basis
        depth = 0 if above is None else above.depth + above.is_runner
        placed.append(
            Placed(
                index, node, node.step, None if above is None else above.index, basis, places[node][0],
                max(places[node][0], node.end), scope, depth,
            )
        )  # fmt: skip
    return placed


def _parents(nodes: Sequence[Node]) -> list[Node | None]:
    """Return the nearest step above each."""
    kept = set(nodes)
    nearest: dict[Node, Node | None] = {}
    parents: list[Node | None] = []
    for node in nodes:
        path: list[Node] = []
        current = node.parent
        found: Node | None = None
        while current is not None:
            if current in nearest:
                found = nearest[current]
                break
            path.append(current)
            stands = resolve(current)
            if stands in kept:
                found = stands
                break
            current = current.parent
        for above in path:
            nearest[above] = found
        around = found is not None and bool(found.twins) and _lies_below(found, node)
        parents.append(_above_itself(node, kept) if around else found)
    return parents


def _lies_below(node: Node, above: Node) -> bool:
    """Tell whether a node is another's, or below it: a call may stand for one around what lies between them."""
    return node is above or any(one is above for one in node.ancestors())


def _basis(node: Node, parent: Node) -> EdgeBasis:
    """Return why a step lies below another: where spans between them were joined otherwise, by what these were."""
    for between in (node, *node.ancestors()):
        if between.basis != "parent" or between is parent:
            return "parent" if between is parent else between.basis
    return "parent"


def _above_itself(node: Node, kept: set[Node]) -> Node | None:
    """Return the nearest step above a node whose own twin is what comes first above it."""
    for above in node.ancestors():
        stands = resolve(above)
        if stands in kept and not _lies_below(stands, node):
            return stands
    return None


def _places(nodes: Sequence[Node], parents: Sequence[Node | None]) -> dict[Node, tuple[int, int]]:
    """Return the start of each step, never before its parent's, and its depth in the tree of steps."""
    up = dict(zip(nodes, parents, strict=True))
    places: dict[Node, tuple[int, int]] = {}
    for node in nodes:
        path: list[Node] = []
        current: Node | None = node
        while current is not None and current not in places and len(path) <= len(nodes):
            path.append(current)
            current = up[current]
        start, depth = places[current] if current is not None and current in places else (0, -1)
        for above in reversed(path):
            start, depth = max(start, above.start), depth + 1
            places[above] = start, depth
    return places


def _sort(nodes: Sequence[Node], parents: Sequence[Node | None], places: dict[Node, tuple[int, int]]) -> list[int]:
    """Return the order of time, in which nothing comes before its causes."""
    position = {node: number for number, node in enumerate(nodes)}
    turns = _turns(nodes)

    def key(number: int) -> _Key:
        node = nodes[number]
        turn = turns.get(node.step.tool_call_id, 0) if turns and node.step is not None else 0
        return *places[node], turn, node.end, node.record.trace_id, node.record.span_id, number

    by_time = sorted(map(key, range(len(nodes))))
    order = [one[-1] for one in by_time]
    place = {number: at for at, number in enumerate(order)}
    causes = [*_causes(nodes, parents, position)]
    if all(place[cause] < place[effect] for cause, effect in causes):
        return order
    return _sort_by_causes([*map(key, range(len(nodes)))], by_time, causes)


def _sort_by_causes(keys: Sequence[_Key], by_time: Iterable[_Key], causes: Iterable[tuple[int, int]]) -> list[int]:
    after: list[list[int]] = [[] for _ in keys]
    waits = [0] * len(keys)
    for cause, effect in causes:
        after[cause].append(effect)
        waits[effect] += 1
    ready = [key for key in keys if not waits[key[-1]]]
    heapq.heapify(ready)
    order: list[int] = []
    done = [False] * len(keys)
    left = iter(by_time)
    while len(order) < len(keys):
        if not ready:
            # Ids that contradict each other make a circle; time cuts it.
            heapq.heappush(ready, next(one for one in left if not done[one[-1]]))
        number = heapq.heappop(ready)[-1]
        if done[number]:
            continue
        done[number] = True
        order.append(number)
        for effect in after[number]:
            waits[effect] -= 1
            if waits[effect] == 0 and not done[effect]:
                heapq.heappush(ready, keys[effect])
    return order


def _turns(nodes: Sequence[Node]) -> dict[str, int]:
    """Return tool call -> its place among those that were asked for with it: what begins at once has this order."""
    details = (node.step.detail for node in nodes if node.step is not None and node.step.detail is not None)
    return {request.id: place for detail in details for place, request in enumerate(detail.requests) if request.id}


def _causes(
    nodes: Sequence[Node], parents: Sequence[Node | None], position: dict[Node, int]
) -> Iterator[tuple[int, int]]:
    """Yield (cause, effect): parents, and who asked for a tool and who read it, where ids say so."""
    for number, parent in enumerate(parents):
        if parent is not None:
            yield position[parent], number
    tools: dict[str, int] = {}
    for number, node in enumerate(nodes):
        if node.step is not None and node.step.kind == "tool" and node.step.tool_call_id:
            # Some servers count their ids anew with each call: what names several tools orders none.
            tools[node.step.tool_call_id] = -1 if node.step.tool_call_id in tools else number
    tools = {name: number for name, number in tools.items() if number >= 0}
    if not tools:
        return
    read: set[str] = set()
    for number, node in enumerate(nodes):  # by time
        detail = node.step.detail if node.step is not None else None
        if detail is None:
            continue
        for request in detail.requests:
            if request.id in tools and node.start <= nodes[tools[request.id]].start + _TOLERANCE_NS:
                yield number, tools[request.id]
        for name in detail.answered:
            if name in tools and name not in read:
                read.add(name)
                if nodes[tools[name]].start <= node.start + _TOLERANCE_NS:
                    yield tools[name], number


_TOLERANCE_NS = 5_000_000_000
"""How much later a cause may seem to begin than its effect and still be believed: clocks that no parent ties."""

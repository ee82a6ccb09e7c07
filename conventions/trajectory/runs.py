"""Where one run ends and another begins.

* The work under an outermost agent or workflow is a run. Bridges above it (HTTP, queues, the application)
  belong to nobody, so a trace may hold several runs. An agent that a message of another trace brought to work,
  sent from where an agent had been at work before, goes on with the run of that one.
* GenAI structure above (a chain, a graph) makes one run of all that is under it. Its root is the only
  agent in it where that has done everything, else the structure.
* Calls with no agent above are a run of their trace, and agents that lie below such a call belong to it.
  Several such traces are one run where a call goes on with the work of another: until a new turn begins,
  which is when an answer without tool calls is followed by a message of the user.
* What misses the same parent is one run if calls are among it: the parent was an agent that is yet to come.
* Structure without any work (an agent that is constructed, a server that is asked for its tools) is no run, and
  neither is what only judges others.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from spanledger.conventions.ledger import NO_BILL
from spanledger.conventions.trajectory.edges import Edge
from spanledger.conventions.trajectory.tree import RUNNERS, walk
from spanledger.conventions.trajectory.twins import resolve

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from spanledger.conventions.trajectory.tree import Key, Node

_CONTINUES: Final = frozenset({
    "history", "conversation", "tool_call_id", "time", "response_id", "link", "mcp", "arguments",
})  # fmt: skip
_SEWN: Final = frozenset({"link", "mcp", "tool_call_id"})
"""How a tree of another trace comes to lie below what called it."""


@dataclass(slots=True, eq=False)
class Draft:
    """A run in the making."""

    tops: list[Node]
    """What it consists of: these nodes and all below them."""
    root: Node | None = None
    name: str = ""
    """What makes its id, unless it was published under another."""
    rootless: bool = False
    """Spans above it are known to be missing."""
    nodes: list[Node] = field(default_factory=list)
    """Its steps; filled by `collect`."""
    joined: dict[Node, Edge] = field(default_factory=dict)
    """Tops that an edge joined to the run."""


def divide(roots: Sequence[Node], by_key: dict[Key, Node], edges: Iterable[Edge]) -> list[Draft]:
    """Return the runs of a forest, in order of time."""
    alone: list[Draft] = []
    loose: dict[bytes, list[Node]] = {}
    for unit in _units(roots):
        works = [node for node in walk([unit]) if node.same_as is None and is_work(node)]
        if all(node.step is not None and node.step.kind == "evaluation" for node in works):
            continue
        runner = _runner(unit, works)
        if runner is None:
            loose.setdefault(unit.record.trace_id, []).append(unit)
        else:
            alone.append(Draft([runner], runner, _name(runner), awaits(runner)))
    alone = _relayed(alone)
    _adopt(alone, loose)
    drafts = alone + _loose_runs(alone, loose, by_key, edges)
    for draft in drafts:
        collect(draft)
    drafts = [draft for draft in drafts if draft.nodes]
    drafts.sort(key=lambda draft: min(node.rank for node in draft.nodes))
    names: set[str] = set()
    for draft in drafts:
        if draft.name in names:  # the root's span id was used again
            draft.name += f"-{min(node.record.start_ns for node in draft.nodes):x}"
        names.add(draft.name)
    return drafts


def is_work(node: Node) -> bool:
    """Tell whether a node is a step by its kind: GenAI work and more than structure."""
    return node.step is not None and node.step.kind != "other" and not node.hidden


def collect(draft: Draft) -> None:
    """Fill in the steps: all work, the root, and structure that failed by itself, was judged or is billed."""
    nodes = list(walk(draft.tops))
    failing: set[Node] = set()
    for node in reversed(nodes):  # children come before their parents
        failed = node.step is not None and node.step.status == "error"
        if (failed or node in failing) and node.parent is not None:
            failing.add(node.parent)
    for node in nodes:
        step = node.step
        if step is None or node.same_as is not None:
            continue
        judged = step.detail is not None and bool(step.detail.evaluations)
        broke = step.status == "error" and node not in failing
        bills = node.bill != NO_BILL
        if is_work(node) or node is draft.root or (step.kind == "other" and (judged or broke or bills)):
            draft.nodes.append(node)


def _units(roots: Sequence[Node]) -> list[Node]:
    """Return the topmost GenAI spans that are more than construction and plumbing of their own."""
    units = []
    waiting = list(reversed(roots))
    while waiting:
        node = waiting.pop()
        if node.step is None or (node.step.kind == "other" and node.step.operation == "create_agent"):
            waiting.extend(reversed(node.children))
        else:
            units.append(node)
    return units


def _runner(unit: Node, works: Sequence[Node]) -> Node | None:
    """Return the root of the run that a unit is, or None if its calls have no agent above."""
    if unit.step is None:
        return None
    if unit.step.kind in RUNNERS:
        return resolve(unit)
    if unit.step.kind not in ("other", "evaluation"):  # what is evaluated may lie below
        return None
    outermost = []
    waiting = [unit]
    outside = False
    while waiting:
        node = waiting.pop()
        if node.step is not None and node.step.kind in RUNNERS:
            outermost.append(resolve(node))
            continue
        outside = outside or (node.same_as is None and is_work(node))
        waiting.extend(node.children)
    if not outermost:
        return None
    return outermost[0] if len(outermost) == 1 and not outside else unit


def awaits(node: Node) -> bool:
    """Tell whether a node's parent is missing and of the same process, so that it should still come."""
    return bool(node.missing) and node.parent is None and not node.record.remote_parent


def _name(root: Node) -> str:
    return f"{root.record.trace_id.hex()}-{root.record.span_id.hex()}"


def _relayed(alone: list[Draft]) -> list[Draft]:
    """Give agents that got their work by a message to the run of the agent where it was sent from."""
    first: dict[Node, Draft] = {}
    """Span above agents -> the run of the earliest of them."""
    kept = []
    for draft in sorted(alone, key=lambda draft: draft.tops[0].rank):
        top = draft.tops[0]
        sewn = False
        source: Draft | None = None
        for node in (top, *top.ancestors()):
            if sewn and node in first:
                source = first[node]
                break
            sewn = sewn or node.basis in _SEWN
        if source is None:
            kept.append(draft)
            source = draft
        else:
            source.tops.append(top)
            source.root = _common_root(source.tops)
            source.joined[top] = Edge(*top.key, *source.tops[0].key, "link")
        for above in top.ancestors():
            first.setdefault(above, source)
    return kept


def _adopt(alone: list[Draft], loose: dict[bytes, list[Node]]) -> None:
    """Give agents that miss the same parent as loose calls to these: the parent was theirs too."""
    missing = {(trace_id, unit.missing) for trace_id, units in loose.items() for unit in units if awaits(unit)}
    for draft in list(alone):
        root = draft.tops[0]
        if awaits(root) and (root.record.trace_id, root.missing) in missing:
            loose[root.record.trace_id].append(root)
            alone.remove(draft)


def _loose_runs(
    alone: Sequence[Draft], loose: dict[bytes, list[Node]], by_key: dict[Key, Node], edges: Iterable[Edge]
) -> list[Draft]:
    """Return the runs of calls without an agent: by trace, joined where one goes on with another.

    Those that go on with the work of an agent are added to its run.
    """
    runs = {number.to_bytes(4, "big"): draft for number, draft in enumerate(alone)}  # shorter than trace ids
    leader = {name: name for name in (*runs, *loose)}

    def find(name: bytes) -> bytes:
        while leader[name] != name:
            leader[name] = leader[leader[name]]
            name = leader[name]
        return name

    tops = {id(top): trace_id for trace_id, units in loose.items() for top in units}
    tops |= {id(top): name for name, draft in runs.items() for top in draft.tops}
    joins: dict[Node, Edge] = {}
    for edge in edges:
        before, after = by_key.get((edge.from_trace_id, edge.from_span_id)), by_key.get((edge.trace_id, edge.span_id))
        if before is None or after is None or edge.basis not in _CONTINUES:
            continue
        one, other = _top(before, tops), _top(after, tops)
        if one is None or other is None or not goes_on(before, after, edge):
            continue
        if other.record.trace_id != one.record.trace_id and tops[id(other)] not in runs:
            joins.setdefault(other, edge)
            a, b = sorted((find(tops[id(one)]), find(tops[id(other)])), key=lambda name: (name not in runs, name))
            leader[b] = a
    groups: dict[bytes, list[Node]] = {}
    for trace_id in sorted(loose):
        groups.setdefault(find(trace_id), []).extend(loose[trace_id])
    for name, draft in runs.items():
        for unit in sorted(groups.pop(name, ()), key=lambda node: node.rank):
            _add(draft, unit, joins.get(unit), by_key)
    return [_loose_run(units, joins) for units in groups.values()]


def _add(draft: Draft, unit: Node, edge: Edge | None, by_key: dict[Key, Node]) -> None:
    """Add a call to the run of an agent, beside the one whose work it goes on with."""
    before = by_key.get((edge.from_trace_id, edge.from_span_id)) if edge is not None else None
    above = resolve(before).parent if before is not None else None
    if edge is not None and above is not None and unit.parent is None:
        unit.parent, unit.basis = above, edge.basis
        above.children.append(unit)
        return
    draft.tops.append(unit)
    if edge is not None:
        draft.joined[unit] = edge


def _top(node: Node, tops: dict[int, bytes]) -> Node | None:
    node = resolve(node)
    if id(node) in tops:
        return node
    return next((above for above in node.ancestors() if id(above) in tops), None)


def goes_on(before: Node, after: Node, edge: Edge) -> bool:
    """Tell whether the call `after` belongs to the turn of `before`, which it follows."""
    one, other = resolve(before).step, resolve(after).step
    if edge.basis not in {"history", "conversation"} or one is None or other is None or _is_one_turn(before, after):
        return True
    said, asked = one.detail, other.detail
    if one.status == "error":
        # The same again is another attempt; what asks something else begins anew.
        return said is None or asked is None or said.history[-1:] == asked.history[-1:]
    if said is None or asked is None or said.after is None:
        return True
    return bool(said.requests) or not asked.asks_user


def _is_one_turn(before: Node, after: Node) -> bool:
    one, other = before.step, after.step
    return one is not None and other is not None and one.turn != b"" and one.turn == other.turn


def _loose_run(units: list[Node], joins: dict[Node, Edge]) -> Draft:
    units.sort(key=lambda node: node.rank)
    missing = {(unit.record.trace_id, unit.missing) for unit in units if awaits(unit)}
    joined = {unit: joins[unit] for unit in units if unit in joins}
    if len(missing) == 1 and all(map(awaits, units)):
        trace_id, parent_id = next(iter(missing))
        return Draft(units, None, f"{trace_id.hex()}-{parent_id.hex()}", True, joined=joined)
    name = min(unit.record.trace_id for unit in units).hex()
    return Draft(units, _common_root(units), name, bool(missing), joined=joined)


def _common_root(units: Sequence[Node]) -> Node | None:
    """Return the span that a run of loose calls is the work of: the only call, or what is above all of them."""
    if len(units) == 1 and units[0].parent is None and not units[0].missing:
        return resolve(units[0])
    common: list[Node] | None = None
    for unit in units:
        path = list(unit.ancestors())
        above = set(path)
        common = path if common is None else [node for node in common if node in above]
    return common[0] if common else None

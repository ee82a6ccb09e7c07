"""Counts each billed call once, although frameworks, SDKs and agents all report it.

What is known of a span is the spans below it that were settled before: SDKs export children first, and
within one request deeper spans are settled first. The rules, for a span that reports tokens:

* a span seen before is the same span again;
* an inference span whose tokens are those of the calls below it, or that tells none, is a wrapper of them;
* an inference span that another instrumentation reported too (same response id, or the same tokens or a
  failure in a span strictly inside the other's time) is a twin; the first one settled counts;
* a call that its dialect tells as a span and as a log record counts once, by the richer report (`retold`);
* a roll-up (agent, workflow, tool) counts only when nothing below it was seen;
* a call below a span that was counted with its tokens, having come before it, is counted in that.

Anything else is a call of its own, a second attempt among them. A wrapper that says other numbers than
the calls below it has a generation of its own (an agent as a tool, sampling through MCP): both count.

State is bounded by number and age; what falls out is forgotten, which can only make a wrapper count.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, Literal

from spanledger.conventions.retold import Retold, Told, richer, same_model

Verdict = Literal["counts", "only_copy", "leaf_unpriced", "supersedes", "wraps", "twin", "in_parent", "none"]
"""The first four count: a call; a roll-up without a call below it; a wrapper of calls without a price; a report that
says more than one of the same call that counted before, whose numbers it replaces."""

COUNTED: Final = frozenset({"counts", "only_copy", "leaf_unpriced", "supersedes"})

MAX_SPANS: Final = 32_768
MAX_AGE_S: Final = 600.0
_MAX_BELOW: Final = 32
"""Calls remembered one by one below a span; their sums go on beyond that."""
_MAX_UP: Final = 64
_PAUSE_EVERY: Final = 64
_MAX_TWINS: Final = 8


@dataclass(frozen=True, slots=True)
class Call:
    """A span's own report of a model call, or of the tokens of several."""

    inference: bool
    """A model call by its operation; False for roll-ups."""
    scope: str
    """Which instrumentation says it."""
    service: str = ""
    response_id: str = ""
    family: str = ""
    """The model without dates and prefixes; "" where the span does not say."""
    asked: str = ""
    """The same of the model that was asked for, where another one answered: a deployment's name, an alias."""
    input: int = 0
    output: int = 0
    failed: bool = False
    echo: bool = False
    """It repeats the call of the span around it, and is settled after that."""
    detail: int = 0
    """How many kinds of tokens are told apart: of two equals the richer one is settled first."""
    pico_usd: int | None = None
    """Its price; None when it has none."""
    kin: str = ""
    """The dialect, where that tells a call as a span and as a log record; "" elsewhere."""
    report: str = ""
    """The log event that says it; "" for spans."""
    request_id: str = ""
    session: str = ""
    reasoning: int = 0

    @property
    def tells_tokens(self) -> bool:
        """Tell whether there is anything to count; a failed call and many streams tell nothing."""
        return self.input > 0 or self.output > 0


@dataclass(frozen=True, slots=True)
class Place:
    """A span in its trace. `call` is None for spans that are no model call and report no tokens."""

    trace_id: bytes
    span_id: bytes
    parent_id: bytes
    start_ns: int = 0
    end_ns: int = 0
    call: Call | None = None


@dataclass(frozen=True, slots=True)
class Decision:
    """What became of one span."""

    verdict: Verdict
    below_pico_usd: int = 0
    """Priced calls below it, as far as they were seen."""
    below_calls: int = 0
    repeated: bool = False
    """The span was settled and acknowledged before: its numbers are in the totals already."""
    supersedes: bytes = b""
    """Trace id and span id of the report that this one replaces."""


_NOTHING: Final = Decision("none")


@dataclass(slots=True)
class _Node:
    """A span that was seen, or whose children were."""

    touched_s: float
    place: Place | None = None
    decision: Decision | None = None
    request: int = 0
    """The `settle` that decided."""
    acknowledged: bool = False
    pico_usd: int = 0
    calls: int = 0
    priced: int = 0
    input: int = 0
    output: int = 0
    """Calls that tell tokens, those with a price, and the tokens of all."""
    below: list[Call] = field(default_factory=list)
    """Calls one by one, those that tell no tokens among them."""
    left_input: int = 0
    left_output: int = 0
    """Tokens of a counted roll-up that no late call below it has claimed yet."""


@dataclass(slots=True)
class _Counted:
    """A counted inference call, for its twins to find."""

    place: Place
    call: Call
    scopes: tuple[str, ...] = ()
    """Instrumentations that were recognised as saying the same."""


class Ledger:
    """The memory of what was counted. One owner; time comes with each call."""

    def __init__(self, max_spans: int = MAX_SPANS, max_age_s: float = MAX_AGE_S) -> None:
        self._max_spans = max_spans
        self._max_age_s = max_age_s
        self._nodes: OrderedDict[bytes, _Node] = OrderedDict()
        self._responses: OrderedDict[str, list[_Counted]] = OrderedDict()
        self._shapes: OrderedDict[tuple[str, int, int], list[_Counted]] = OrderedDict()
        self._retold = Retold(max_spans)
        self._request = 0
        self.late_children = 0
        """Calls that came after a span above them was counted with their tokens."""

    def statistics(self) -> dict[str, int]:
        """Return the sizes of the memory."""
        return {
            "spans": len(self._nodes),
            "responses": len(self._responses),
            "shapes": len(self._shapes),
            "retold": len(self._retold),
            "late_children": self.late_children,
        }

    def settle(self, places: Sequence[Place], now_s: float) -> Generator[None, None, list[Decision]]:
        """Decide for all spans of one request; the result has one decision a place, in their order.

        Yields now and then. Nothing is final until `acknowledge`: a request that is refused comes again,
        and then the same spans get the same decisions.
        """
        self._request += 1
        request = self._request
        decisions: list[Decision] = [_NOTHING] * len(places)
        order = yield from _deepest_first(places)
        for count, index in enumerate(order, 1):
            decisions[index] = self._settle_one(places[index], now_s, request)
            if count % _PAUSE_EVERY == 0:
                yield
        self._forget(now_s)
        return decisions

    def acknowledge(self, places: Sequence[Place]) -> None:
        """Make the decisions about these spans final: whoever sends them again repeats them."""
        for place in places:
            if (node := self._nodes.get(place.trace_id + place.span_id)) is not None:
                node.acknowledged = True

    def _settle_one(self, place: Place, now_s: float, request: int) -> Decision:
        key = place.trace_id + place.span_id
        node = self._nodes.get(key)
        if node is not None and node.decision is not None:
            node.touched_s = now_s
            self._nodes.move_to_end(key)
            was = node.decision
            return replace(was, repeated=node.acknowledged or node.request == request)
        call = place.call
        if node is None:
            if call is None and place.trace_id + place.parent_id not in self._nodes:
                return _NOTHING  # nothing above, in or below it: not worth remembering
            node = self._nodes[key] = _Node(now_s)
        node.place = place
        node.request = request
        node.touched_s = now_s
        self._nodes.move_to_end(key)
        told = self._retold.find(place, call) if call is not None and call.kin else None
        if call is not None and told is not None:
            node.decision = _told_again(place, call, told, node)
            if node.below:
                self._pass_up(place, node, now_s)
            return node.decision
        verdict: Verdict = "none" if call is None else self._judge(place, call, node)
        node.decision = Decision(verdict, node.pico_usd, node.calls)
        if call is not None and verdict in COUNTED:
            if verdict == "only_copy":
                node.left_input, node.left_output = call.input, call.output
            self._pass_up(place, [call], now_s)
            if call.inference:
                self._remember(place, call)
        elif call is not None and call.kin and call.inference:
            self._retold.remember(place, call, counts=False)
        if node.below:
            self._pass_up(place, node, now_s)
        return node.decision

    def _judge(self, place: Place, call: Call, node: _Node) -> Verdict:
        if call.inference:
            if node.below and _explained(call, node):
                # Money before tokens: a wrapper with a price beats calls without one.
                return "wraps" if node.priced or call.pico_usd is None else "leaf_unpriced"
            if self._is_twin(place, call):
                return "twin"
            return self._claimed_above(place, call) or "counts"
        if node.calls:
            return "wraps" if node.priced or call.pico_usd is None else "leaf_unpriced"
        return self._claimed_above(place, call) or "only_copy"

    def _pass_up(self, place: Place, what: _Node | list[Call], now_s: float) -> None:
        """Tell the span above, and those above it that were settled already, of calls below them."""
        for _ in range(_MAX_UP):
            if not place.parent_id or place.parent_id == place.span_id:
                return
            key = place.trace_id + place.parent_id
            parent = self._nodes.get(key)
            if parent is None:
                parent = self._nodes[key] = _Node(now_s)
            parent.touched_s = now_s
            _add(parent, what)
            if parent.place is None:
                return  # it passes everything on when it comes
            place = parent.place

    def _claimed_above(self, place: Place, call: Call) -> Verdict | None:
        """Say what this call is to a span above that was counted with its tokens, having come before it.

        None for nothing: no such span is known. The same call is its twin; in a sum it is one of several.
        """
        for _ in range(_MAX_UP):
            node = self._nodes.get(place.trace_id + place.parent_id) if place.parent_id else None
            if node is None or node.place is None or node.decision is None:
                return None
            above = node.place.call
            verdict = node.decision.verdict
            if above is not None and above.inference and verdict not in ("wraps", "none") and _same_call(above, call):
                self.late_children += not call.echo
                return "twin"
            if above is not None and verdict == "only_copy" and call.tells_tokens:
                self.late_children += 1
                if call.input <= node.left_input and call.output <= node.left_output:
                    node.left_input -= call.input
                    node.left_output -= call.output
                    return "in_parent"
            if node.place.parent_id == place.parent_id:
                return None
            place = node.place
        return None

    def _is_twin(self, place: Place, call: Call) -> bool:
        for counted in self._responses.get(call.response_id, ()) if call.response_id else ():
            # Own servers repeat ids (Ollama has a thousand). One instrumentation that says an id again speaks
            # of one response only within a trace.
            if (counted.call.scope != call.scope or counted.place.trace_id == place.trace_id) and (
                _overlap(counted.place, place) or (counted.call.input, counted.call.output) == (call.input, call.output)
            ):
                return True
        if not (call.input and call.output) and not call.failed:
            return False
        for counted in self._shapes.get((call.service, call.input, call.output), ()):
            other = counted.call
            if (
                other.scope != call.scope
                and (call.tells_tokens or other.failed == call.failed)
                and call.scope not in counted.scopes
                and len(counted.scopes) < _MAX_TWINS
                and not (other.response_id and call.response_id)
                and same_model(other, call)
                and (_inside(counted.place, place) or _inside(place, counted.place))
            ):
                counted.scopes += (call.scope,)
                return True
        return False

    def _remember(self, place: Place, call: Call) -> None:
        if call.kin:
            self._retold.remember(place, call)
        counted = _Counted(place, call)
        if call.response_id:
            self._responses.setdefault(call.response_id, []).append(counted)
            self._responses.move_to_end(call.response_id)
            del self._responses[call.response_id][:-_MAX_TWINS]
        shape = (call.service, call.input, call.output)
        self._shapes.setdefault(shape, []).append(counted)
        self._shapes.move_to_end(shape)
        del self._shapes[shape][:-_MAX_TWINS]

    def _forget(self, now_s: float) -> None:
        """Drop what is too old or too much, the oldest first."""
        nodes = self._nodes
        while nodes:
            key, node = next(iter(nodes.items()))
            if len(nodes) <= self._max_spans and now_s - node.touched_s <= self._max_age_s:
                break
            del nodes[key]
        while len(self._responses) > self._max_spans:
            self._responses.popitem(last=False)
        while len(self._shapes) > self._max_spans:
            self._shapes.popitem(last=False)


def _told_again(place: Place, call: Call, told: Told, node: _Node) -> Decision:
    """Decide about another report of a call that counts; the richer one has the numbers from now on."""
    if not told.counts or not richer(call, told.call):
        return Decision("twin", node.pico_usd, node.calls)
    superseded = told.key
    told.place, told.call = place, call
    return Decision("supersedes", node.pico_usd, node.calls, supersedes=superseded)


def _add(parent: _Node, what: _Node | list[Call]) -> None:
    if isinstance(what, _Node):
        parent.pico_usd += what.pico_usd
        parent.calls += what.calls
        parent.priced += what.priced
        parent.input += what.input
        parent.output += what.output
        calls = what.below
    else:
        calls = what
        for call in calls:
            parent.calls += call.tells_tokens
            parent.input += call.input
            parent.output += call.output
            if call.pico_usd is not None:
                parent.priced += 1
                parent.pico_usd += call.pico_usd
    parent.below.extend(calls[: _MAX_BELOW - len(parent.below)])


def _explained(call: Call, node: _Node) -> bool:
    """Tell whether the calls below a span are what it reports: their sum, or the last of them."""
    if not call.tells_tokens:
        return True
    if call.response_id and any(below.response_id == call.response_id for below in node.below):
        return True
    related = any(same_model(call, below) for below in node.below)
    if related and _near(call.input, node.input) and _near(call.output, node.output):
        return True
    return any(
        (below.input, below.output) == (call.input, call.output) and same_model(call, below) for below in node.below
    )


def _same_call(above: Call, below: Call) -> bool:
    if above.response_id and above.response_id == below.response_id:
        return True
    return same_model(above, below) and _near(above.input, below.input) and _near(above.output, below.output)


def _near(one: int, other: int) -> bool:
    """Tell whether two counts are within 1 % of each other."""
    return abs(one - other) * 100 <= max(one, other)


def _overlap(one: Place, other: Place) -> bool:
    return one.start_ns < other.end_ns and other.start_ns < one.end_ns


def _inside(inner: Place, outer: Place) -> bool:
    return 0 < outer.start_ns < inner.start_ns <= inner.end_ns < outer.end_ns


def _deepest_first(places: Sequence[Place]) -> Generator[None, None, list[int]]:
    """Return indexes such that children come before parents and, at one depth, rich reports before poor ones."""
    index: dict[bytes, int] = {}
    for position, place in enumerate(places):
        index[place.trace_id + place.span_id] = position
        if position % (_PAUSE_EVERY * 4) == 0:
            yield
    depths = [-1] * len(places)
    shelves: dict[tuple[int, int], list[int]] = {}
    for position, place in enumerate(places):
        path: list[int] = []
        current: int | None = position
        # A negative depth is unknown, -2 is on the path: parents that lead in a circle end there.
        while current is not None and depths[current] == -1:
            depths[current] = -2
            path.append(current)
            above = places[current]
            current = index.get(above.trace_id + above.parent_id) if above.parent_id else None
        depth = depths[current] if current is not None else -1
        for step in reversed(path):
            depth = max(depth, -1) + 1
            depths[step] = depth
        call = place.call
        # An echo comes right after the span around it.
        shelf = (depths[position], call.detail if call is not None else 0)
        if call is not None and call.echo:
            shelf = (depths[position] - 1, -1)
        shelves.setdefault(shelf, []).append(position)
        if position % (_PAUSE_EVERY * 4) == 0:
            yield
    return [position for shelf in sorted(shelves, reverse=True) for position in shelves[shelf]]

"""What was decided about a span, so that it holds for others that are the same in all that mattered.

An instrumentation writes the same keys again and again, and most values with them. What the keys alone say is
worked out once for each `Shape`. Where the values that anything depended on are the same too, so is the `Decision`;
only what merely passes through, such as ids and counts, is read anew. That nothing else mattered is not assumed but
seen: the first time, `witness` notes what was looked at. Memory is bounded: what was not used for long goes.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias, cast

from opentelemetry.proto.trace.v1.trace_pb2 import Span

from spanledger.conventions.dialect import (
    CONVERSATION_ID,
    COST,
    REQUEST_ID,
    RESPONSE_ID,
    TIME_TO_FIRST_CHUNK,
    TOOL_CALL_ID,
    USER_ID,
    SpanAttributes,
    decode,
    plain,
)
from spanledger.conventions.lookup import NOTHING, Lookup, Slot
from spanledger.conventions.reading import Reading
from spanledger.conventions.values import key_value
from spanledger.conventions.witness import EVENTS, MAX_EVENTS, NAME, PARENT, WatchedDict, WatchedSpan

if TYPE_CHECKING:
    from opentelemetry.proto.common.v1.common_pb2 import KeyValue

    from spanledger.conventions.counting import Counting
    from spanledger.conventions.dialect import Facts, Finds
    from spanledger.conventions.reading import StepKind
    from spanledger.conventions.values import Value

MAX_BYTES: Final = 16 * 1024 * 1024
"""Size of what is remembered, as far as it can be told; twice this while it is renewed."""

MAX_KEYS: Final = 512
"""Spans with more attributes are not remembered."""

MAX_CHARS: Final = 4096
"""A longer value is content, which does not come again: decisions that depend on one are not remembered."""

MAX_DECISIONS: Final = 1024
"""Decisions of one shape."""

MAX_MISSES: Final = 64
"""Decisions of a shape that may be made before one has to come again; those that cannot be remembered count as 16."""

PASSED: Final[Mapping[str, tuple[str, bool]]] = {
    RESPONSE_ID: ("response_id", False),
    TOOL_CALL_ID: ("tool_call_id", False),
    CONVERSATION_ID: ("conversation_id", False),
    USER_ID: ("user_id", False),
    REQUEST_ID: ("request_id", False),
    COST: ("reported_cost_usd", True),
    TIME_TO_FIRST_CHUNK: ("time_to_first_chunk_s", True),
}
"""Targets that go into a field of the reading and differ from span to span -> that field, and whether it is
`measured`."""

_ASKED: Final[Mapping[str, Callable[[Span], Any]]] = {
    NAME: lambda span: span.name,
    PARENT: lambda span: not span.parent_span_id,
    EVENTS: lambda span: tuple([event.name for event in span.events[: MAX_EVENTS + 1]]),
}
"""Fields of a span that a decision may depend on and still be remembered, and what of them matters."""

_FIELDS: Final = tuple(slot.name for slot in fields(Reading))
_MAX_CREDIT: Final = 256
_SHAPE_BYTES: Final = 800
_KEY_BYTES: Final = 120
_DECISION_BYTES: Final = 3500

Key: TypeAlias = tuple[Any, ...]
Read: TypeAlias = "tuple[str, Callable[[Value], Any]]"
"""Key of an attribute, and how it is read."""
Places: TypeAlias = Mapping[str, int]
"""Target -> where its fact stands in the list of facts that pass through."""


def measured(value: object) -> float | None:
    """Return a measurement, which is not negative; None for anything else."""
    return value if isinstance(value, float) and value >= 0 else None


class Seen:
    """What a decision depended on."""

    def __init__(self) -> None:
        self.keys: set[str] = set()
        """Attributes."""
        self.targets: set[str] = set()
        """Facts."""
        self.fields: set[str] = set()
        """Fields of the span."""
        self._kept: frozenset[str] = frozenset()

    def watch(self, facts: Facts, *, named: bool) -> None:
        """Note from here on what is looked at; `named`: the span's name was already."""
        if named:
            self.fields.add(NAME)
        facts.span = cast("Span", WatchedSpan(facts.span, self.fields))
        facts.attributes = SpanAttributes(WatchedDict(facts.attributes.pairs, self.keys), {})
        facts.values = WatchedDict(facts.values, self.targets)

    def spare(self, targets: Iterable[str] = ()) -> None:
        """Take back that these facts were looked at since the last time: they were only passed on."""
        self.targets -= set(targets) - self._kept
        self._kept = frozenset(self.targets)


@dataclass(slots=True, eq=False)
class Decision:
    """All that is to be said of a span, with places where its own facts go in."""

    kind: StepKind
    dialect: str
    edits: Mapping[str, Value]
    fields: tuple[Any, ...]
    """Of the reading, in order."""
    passed: Sequence[tuple[str, int, bool]]
    """Fields of the reading to fill in: name, place, whether it is measured."""
    filled: Sequence[tuple[str, int]]
    """Attributes to write: name, place."""
    counts: Sequence[tuple[str, Value, int | None]]
    """Token counts by their names in `tokens.COUNTS`: value, or else place."""
    counting: Counting | None
    """None where no tokens are counted."""
    counts_moved: bool
    aggregate: bool
    content: bool
    """Its content is to be read."""
    tells_reasons: bool
    """It is said elsewhere than in the content why the model stopped, or it is no model."""
    unnamed: bool
    """What it gives for its operation is none, and has to go."""
    facts: Facts | None
    """Only where originals are removed, and for this one span."""
    ready: Span | None
    """The first of the edits as attributes of a span that has nothing else."""

    @classmethod
    def of(
        cls,
        reading: Reading,
        places: Places,
        *,
        filled: Sequence[tuple[str, str]],
        counts: Mapping[str, tuple[Value, int | None]],
        present: Collection[str],
        **others: Any,
    ) -> Decision:
        """Take a reading apart into what holds for all and what is filled in at `places`."""
        open_names = {name: places[target] for name, target in filled if target in places}
        return cls(
            kind=reading.kind,
            dialect=reading.dialect,
            edits=reading.edits,
            fields=tuple(getattr(reading, name) for name in _FIELDS),
            passed=tuple(
                (name, places[target], is_measured)
                for target, (name, is_measured) in PASSED.items()
                if target in places and (is_measured or getattr(reading, name) is not None)
            ),
            filled=tuple(open_names.items()),
            counts=tuple((name, *told) for name, told in counts.items()),
            ready=_ready(reading.edits, {*present, *open_names}) if places else None,
            **others,
        )

    def reading(self, attributes: SpanAttributes, told: Sequence[Value]) -> Reading:
        """Return the reading of a span with these attributes, whose own facts are `told`."""
        reading = Reading(*self.fields)
        reading.attributes = attributes
        reading.edits = dict(self.edits)
        reading.removals, reading.echo_edits = [], {}
        reading.ready = self.ready
        for name, at, is_measured in self.passed:
            setattr(reading, name, measured(told[at]) if is_measured else told[at])
        return reading


def _ready(edits: Mapping[str, Value], special: Collection[str]) -> Span | None:
    made = Span()
    for name, value in edits.items():
        if name in special:
            break
        made.attributes.append(key_value(name, value))
    return made if made.attributes else None


class Source(NamedTuple):
    """An attribute that facts are read out of."""

    at: int
    """Its position among the attributes."""
    key: str
    slots: tuple[Slot, ...]


@dataclass(slots=True, eq=False)
class Shape:
    """The keys of a span under one scope, and what is known of such spans."""

    keys: tuple[str, ...]
    claims: int
    """Bit set of the dialects that the keys are evidence of."""
    by_kind: int
    """The bit of the scope's own dialect, if one of the keys says a kind there."""
    holds_content: bool
    named: bool
    """In this scope the name of a span may say what it is."""
    sources: tuple[Source, ...]
    secrets: tuple[str, ...]
    """Keys that are taken off, whatever they say."""
    bytes: int
    watched: tuple[int, ...] = ()
    """Positions of the attributes whose values matter."""
    asked: tuple[str, ...] = ()
    """Fields of the span that matter."""
    found: tuple[tuple[int, Callable[[Value], Any]], ...] = ()
    """Positions of the attributes of which only a part matters, and how that is read."""
    free: tuple[tuple[int, tuple[Callable[[Value], Any], ...]], ...] = ()
    """Positions of the attributes whose facts pass through, and how they are read."""
    offered: tuple[tuple[int, Callable[[Value], Any]], ...] = ()
    """Those of `free` that a dialect's code reads."""
    decisions: dict[Key, Decision] = field(default_factory=dict)
    came: bool = False
    credit: int = MAX_MISSES
    """How much more may be tried in vain."""

    def is_remembered(self) -> bool:
        """Tell whether to look for a decision: the shape came before, and looking was not in vain too often."""
        came, self.came = self.came, True
        return came and self.credit > 0

    def key(self, span: Span, pairs: Sequence[KeyValue]) -> tuple[Key, list[Value]]:
        """Return all that matters about a span of this shape, and the facts that pass through."""
        parts: list[Any] = [span.status.code, not span.events]
        parts += [_ASKED[field](span) for field in self.asked]
        for at in self.watched:
            message = pairs[at].value
            # What is neither text nor a whole number is the same where its bytes are.
            parts.append(message.string_value or message.int_value or message.SerializeToString())
        parts += [read(decode(pairs[at].value)) for at, read in self.found]
        told: list[Value] = []
        for at, reads in self.free:
            message = pairs[at].value
            value = message.string_value or message.int_value or plain(message)
            for read in reads:
                fact = read(value)
                told.append(fact)
                # Nothing, the value itself, or another one: that matters even of a fact that passes through.
                parts.append(None if fact is None else fact is value)
        return tuple(parts), told

    def recall(self, key: Key) -> Decision | None:
        """Return what was decided about a span that is the same in all that matters."""
        decision = self.decisions.get(key)
        self.credit = min(self.credit + 2, _MAX_CREDIT) if decision is not None else self.credit - 1
        return decision

    def learn(self, seen: Seen, origins: Mapping[str, Read], finds: Finds) -> Places:
        """Take note of what mattered this time. Return the places of the facts that pass through.

        `origins` says where facts are from, `finds` what code of dialects found.
        """
        keys = {self.keys[at] for at in self.watched} | seen.keys
        keys.update(source.key for source in self.sources if any(slot.target in seen.targets for slot in source.slots))
        offered = {target: read for target, read in finds.offered.items() if target not in seen.targets}
        decisive = [*finds.decisive, *(read for target, read in finds.offered.items() if target not in offered)]
        self.watch(keys, seen.fields & _ASKED.keys(), decisive, offered.values())
        reads = [(self.keys[at], read) for at, each in self.free for read in each]
        places = {read: at for at, read in enumerate(reads)}
        return {target: places[read] for target, read in {**origins, **offered}.items() if read in places}

    def watch(
        self,
        keys: Collection[str],
        asked: Iterable[str] = (),
        decisive: Iterable[Read] = (),
        offered: Iterable[Read] = (),
    ) -> None:
        """Heed these too, and forget what was decided without."""
        positions = {key: at for at, key in enumerate(self.keys)}
        found = dict.fromkeys((*self.found, *((positions[key], read) for key, read in decisive)))
        passing = dict.fromkeys((*self.offered, *((positions[key], read) for key, read in offered)))
        free = {s.at: tuple(slot.read for slot in s.slots) for s in self.sources if s.key not in keys}
        for at, read in passing:
            if (at, read) in found:
                continue
            free[at] = (*free.get(at, ()), read)
        self.offered = tuple(passing)
        heeded = (
            tuple(at for at, key in enumerate(self.keys) if key in keys),
            tuple(sorted({*self.asked, *asked})),
            tuple(found),
            tuple(free.items()),
        )
        if heeded != (self.watched, self.asked, self.found, self.free):
            self.watched, self.asked, self.found, self.free = heeded
            self.decisions.clear()


class Shapes:
    """The shapes of spans by scope, version and keys; those that were not used for long are forgotten."""

    def __init__(self, lookup: Lookup, max_bytes: int = MAX_BYTES) -> None:
        self._lookup = lookup
        self._max_bytes = max_bytes
        self._young: dict[Key, Shape] = {}
        self._old: dict[Key, Shape] = {}
        self._bytes = 0

    def statistics(self) -> dict[str, int]:
        """Return the sizes."""
        shapes = [*self._young.values(), *self._old.values()]
        return {"shapes": len(shapes), "decisions": sum(len(shape.decisions) for shape in shapes)}

    def of(self, scope: str, version: str, keys: tuple[str, ...]) -> Shape:
        """Return the shape of a span."""
        key = (scope, version, keys)
        shape = self._young.get(key)
        if shape is None:
            shape = self._old.pop(key, None) or self._make(scope, keys)
            if len(keys) <= MAX_KEYS:
                self._young[key] = shape
                self._grow(shape.bytes)
        return shape

    def keep(self, shape: Shape, key: Key, decision: Decision, seen: Seen) -> None:
        """Remember a decision, unless it depends on what does not come again."""
        texts = [
            text
            for part in key
            for text in (part if isinstance(part, tuple) else (part,))
            if isinstance(text, str | bytes)
        ]
        if not seen.fields <= _ASKED.keys() or any(len(text) > MAX_CHARS for text in texts):
            shape.credit -= 15
            return
        if len(shape.decisions) >= MAX_DECISIONS:
            shape.decisions.clear()
        shape.decisions[key] = decision
        size = _DECISION_BYTES + sum(map(len, texts))
        shape.bytes += size
        self._grow(size)

    def _grow(self, size: int) -> None:
        self._bytes += size
        if self._bytes > self._max_bytes:
            self._old, self._young, self._bytes = self._young, {}, 0

    def _make(self, scope: str, keys: tuple[str, ...]) -> Shape:
        positions = {key: at for at, key in enumerate(keys)}  # of duplicate keys the last counts
        claims = 0
        holds_content = False
        sources: list[Source] = []
        for key, at in positions.items():
            entry = self._lookup.entry(key)
            if entry is NOTHING:
                continue
            claims |= entry.claims
            holds_content = holds_content or bool(entry.content)
            if entry.slots:
                sources.append(Source(at, key, entry.slots))
        own = self._lookup.dialect_of(scope)
        by_kind = self._lookup.claims_by_kind(scope, positions)
        shape = Shape(
            keys,
            claims,
            by_kind,
            holds_content,
            named=own is not None and bool(own.names or own.any_name),
            sources=tuple(sources),
            secrets=tuple(filter(self._lookup.is_secret, positions)),
            bytes=_SHAPE_BYTES + _KEY_BYTES * len(keys) + sum(map(len, keys)),
        )
        shape.watch(())
        return shape

"""What spans with the same keys have in common, and what was decided about them.

What the keys alone say is worked out once: which dialects they are evidence of, which facts they are sources of,
whether they hold content. Beyond that a `Shape` knows which values mattered so far, and what was decided for each
combination of them. Memory is bounded: what was not used for long is forgotten, and what never comes again is
not remembered in the first place.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias

from spanledger.conventions.lookup import NOTHING, Lookup, Slot
from spanledger.conventions.span_attributes import Keys, decode, plain
from spanledger.conventions.witness import EVENTS, MAX_EVENTS, NAME, PARENT

if TYPE_CHECKING:
    from opentelemetry.proto.common.v1.common_pb2 import KeyValue
    from opentelemetry.proto.trace.v1.trace_pb2 import Span

    from spanledger.conventions.decision import Decision, Places, Seen
    from spanledger.conventions.dialect import Finds, Read
    from spanledger.conventions.values import Value

MAX_BYTES: Final = 16 * 1024 * 1024
"""Size of what is remembered, as far as it can be told; twice this while it is renewed."""

MAX_KEYS: Final = 512
"""Spans with more attributes are not remembered."""

MAX_CHARS: Final = 4096
"""Of a longer value only a digest is kept. It may be content, which does not come again."""

MAX_DECISIONS: Final = 1024
"""Decisions of one shape."""

MAX_MISSES: Final = 1024
"""Decisions of a shape that may be made before one has to come again. One that cannot be remembered counts as 256, one
that depends on a long value as 64."""

_ASKED: Final[Mapping[str, Callable[[Span], Any]]] = {
    NAME: lambda span: span.name,
    PARENT: lambda span: not span.parent_span_id,
    EVENTS: lambda span: tuple([event.name for event in span.events[: MAX_EVENTS + 1]]),
}
"""Fields of a span that a decision may depend on and still be remembered, and what of them matters."""

_MAX_CREDIT: Final = 2 * MAX_MISSES
_WASTE: Final = MAX_MISSES // 4
_LONG_WASTE: Final = MAX_MISSES // 16
_MAX_KEY_CHARS: Final = 32 * 1024
_SHAPE_BYTES: Final = 800
_KEY_BYTES: Final = 250
_DECISION_BYTES: Final = 2600

Key: TypeAlias = tuple[Any, ...]

Place: TypeAlias = "tuple[int, Callable[[Any], Any]]"
"""Position of an attribute, `SPAN` for the span as a whole, and how it is read."""
SPAN: Final = -1


class _Digest(NamedTuple):
    size: int
    digest: bytes


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
    common: Keys
    """The keys for the attributes of all its spans."""
    bytes: int
    watched: tuple[int, ...] = ()
    """Positions of the attributes whose values matter."""
    asked: tuple[str, ...] = ()
    """Fields of the span that matter."""
    free: tuple[tuple[int, tuple[Callable[[Value], Any], ...]], ...] = ()
    """Positions of the attributes whose facts pass through, and how they are read."""
    found: tuple[Place, ...] = ()
    """Of what only a part matters."""
    offered: tuple[Place, ...] = ()
    """Further facts that pass through: those that code of dialects found."""
    compared: tuple[tuple[Place, Place], ...] = ()
    """Of what it only matters whether it is the same."""
    looked_into: tuple[int, ...] = ()
    """Positions of the last three."""
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
            part = message.string_value or message.int_value or message.SerializeToString()
            parts.append(part if isinstance(part, int) or len(part) <= MAX_CHARS else _digest(part))
        told: list[Value] = []
        for at, reads in self.free:
            message = pairs[at].value
            value = message.string_value or message.int_value or plain(message)
            for read in reads:
                fact = read(value)
                told.append(fact)
                # Nothing, the value itself, or another one: that matters even of a fact that passes through.
                parts.append(None if fact is None else fact is value)
        if self.looked_into:
            whole: dict[int, Any] = {at: decode(pairs[at].value) for at in self.looked_into if at != SPAN}
            whole[SPAN] = span
            found = [read(whole[at]) for at, read in self.found]
            # True is 1 and 1.0, but not here; and a value may be a tree, whatever an instrumentation has there.
            parts += [part if part is None or isinstance(part, str | tuple) else (repr(part),) for part in found]
            facts = [read(whole[at]) for at, read in self.offered]
            parts += [fact is None for fact in facts]
            parts += [one(whole[at]) == other(whole[also]) for (at, one), (also, other) in self.compared]
            told += facts
        return tuple(parts), told

    def recall(self, key: Key) -> Decision | None:
        """Return what was decided about a span that is the same in all that matters."""
        decision = self.decisions.get(key)
        if decision is not None:
            self.credit = min(self.credit + 2, _MAX_CREDIT)
        else:
            self.credit -= _LONG_WASTE if any(isinstance(part, _Digest) for part in key) else 1
        return decision

    def learn(self, seen: Seen, finds: Finds) -> Places:
        """Take note of what mattered this time. Return the places of the facts that pass through.

        `finds` says where facts are from, and what code of dialects read.
        """
        keys = {self.keys[at] for at in self.watched} | seen.keys
        keys.update(source.key for source in self.sources if any(slot.target in seen.targets for slot in source.slots))
        decisive = [*finds.decisive, *(read for target, read in finds.offered if target in seen.targets)]
        offered = [read for target, read in finds.offered if target not in seen.targets]
        self.watch(keys, seen.fields & _ASKED.keys(), decisive, offered, finds.compared)
        reads = [(at, read) for at, each in self.free for read in each]
        places = {place: number for number, place in enumerate((*reads, *self.offered))}
        known = {target: self._place(read) for target, read in finds.origins.items()}
        return {target: places[place] for target, place in known.items() if place in places}

    def watch(
        self,
        keys: Collection[str],
        asked: Iterable[str] = (),
        decisive: Iterable[Read] = (),
        offered: Iterable[Read] = (),
        compared: Iterable[tuple[Read, Read]] = (),
    ) -> None:
        """Heed these too, and forget what was decided without."""
        found = self._places(self.found, decisive)
        passing = [place for place in self._places(self.offered, offered) if place not in found]
        pairs = ((self._place(one), self._place(other)) for one, other in compared)
        heeded = (
            tuple(at for at, key in enumerate(self.keys) if key in keys),
            tuple(sorted({*self.asked, *asked})),
            tuple((s.at, tuple(slot.read for slot in s.slots)) for s in self.sources if s.key not in keys),
            tuple(found),
            tuple(passing),
            tuple(dict.fromkeys((*self.compared, *pairs))),
        )
        if heeded != (self.watched, self.asked, self.free, self.found, self.offered, self.compared):
            self.watched, self.asked, self.free, self.found, self.offered, self.compared = heeded
            both = (place for pair in self.compared for place in pair)
            self.looked_into = tuple(dict.fromkeys(at for at, _ in (*found, *passing, *both)))
            self.decisions.clear()

    def _place(self, read: Read) -> Place:
        key, function = read
        # Of duplicate keys the last counts.
        return (SPAN if key is None else len(self.keys) - 1 - self.keys[::-1].index(key)), function

    def _places(self, known: Sequence[Place], more: Iterable[Read]) -> dict[Place, None]:
        return dict.fromkeys((*known, *map(self._place, more)))


def _digest(part: str | bytes) -> _Digest:
    kind, whole = (b"text", part.encode()) if isinstance(part, str) else (b"other", part)
    return _Digest(len(whole), hashlib.blake2b(whole, digest_size=16, person=kind).digest())


def _chars(part: object) -> int:
    if isinstance(part, tuple):
        return sum(map(_chars, part))
    return len(part) if isinstance(part, str | bytes) else 0


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
        if not seen.fields <= _ASKED.keys():
            shape.credit -= _WASTE
            return
        size = _DECISION_BYTES + sum(_chars(part) for part in key)
        if size > _DECISION_BYTES + _MAX_KEY_CHARS:
            return
        if len(shape.decisions) >= MAX_DECISIONS:
            shape.decisions.clear()
        shape.decisions[key] = decision
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
            common=Keys(positions),
            bytes=_SHAPE_BYTES + _KEY_BYTES * len(keys) + sum(map(len, keys)),
        )
        shape.watch(())
        return shape

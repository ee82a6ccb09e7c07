"""What spans with the same keys have in common, and what was decided about them.

What the keys alone say is worked out once: which dialects they are evidence of, which facts they are sources of,
whether they hold content. Beyond that a `Shape` knows which values mattered so far, and what was decided for each
combination of them. Memory is bounded: what was not used for long is forgotten, and what never comes again is
not remembered in the first place.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias

from spanledger.conventions.dialect import decode, plain
from spanledger.conventions.lookup import NOTHING, Lookup, Slot
from spanledger.conventions.witness import EVENTS, MAX_EVENTS, NAME, PARENT

if TYPE_CHECKING:
    from opentelemetry.proto.common.v1.common_pb2 import KeyValue
    from opentelemetry.proto.trace.v1.trace_pb2 import Span

    from spanledger.conventions.decision import Decision, Places, Read, Seen
    from spanledger.conventions.dialect import Finds
    from spanledger.conventions.values import Value

MAX_BYTES: Final = 16 * 1024 * 1024
"""Size of what is remembered, as far as it can be told; twice this while it is renewed."""

MAX_KEYS: Final = 512
"""Spans with more attributes are not remembered."""

MAX_CHARS: Final = 4096
"""A longer value is content, which does not come again: decisions that depend on one are not remembered."""

MAX_DECISIONS: Final = 1024
"""Decisions of one shape."""

MAX_MISSES: Final = 1024
"""Decisions of a shape that may be made before one has to come again. One that cannot be remembered counts as 256."""

_ASKED: Final[Mapping[str, Callable[[Span], Any]]] = {
    NAME: lambda span: span.name,
    PARENT: lambda span: not span.parent_span_id,
    EVENTS: lambda span: tuple([event.name for event in span.events[: MAX_EVENTS + 1]]),
}
"""Fields of a span that a decision may depend on and still be remembered, and what of them matters."""

_MAX_CREDIT: Final = 2 * MAX_MISSES
_WASTE: Final = MAX_MISSES // 4
_MAX_KEY_CHARS: Final = 32 * 1024
_SHAPE_BYTES: Final = 800
_KEY_BYTES: Final = 120
_DECISION_BYTES: Final = 3500

Key: TypeAlias = tuple[Any, ...]


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

    def key(self, span: Span, pairs: Sequence[KeyValue]) -> tuple[Key | None, list[Value]]:
        """Return all that matters about a span of this shape, and the facts that pass through.

        The former is None where it is too much to be remembered.
        """
        repeats = True
        parts: list[Any] = [span.status.code, not span.events]
        parts += [_ASKED[field](span) for field in self.asked]
        for at in self.watched:
            message = pairs[at].value
            # What is neither text nor a whole number is the same where its bytes are.
            part = message.string_value or message.int_value or message.SerializeToString()
            if not isinstance(part, int) and len(part) > MAX_CHARS:
                repeats = False
            else:
                parts.append(part)
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
        return tuple(parts) if repeats else None, told

    def recall(self, key: Key | None) -> Decision | None:
        """Return what was decided about a span that is the same in all that matters."""
        decision = None if key is None else self.decisions.get(key)
        if decision is not None:
            self.credit = min(self.credit + 2, _MAX_CREDIT)
        else:
            self.credit -= 1 if key is not None else _WASTE
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

    def keep(self, shape: Shape, key: Key | None, decision: Decision, seen: Seen) -> None:
        """Remember a decision, unless it depends on what does not come again."""
        if key is None or not seen.fields <= _ASKED.keys():
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
            bytes=_SHAPE_BYTES + _KEY_BYTES * len(keys) + sum(map(len, keys)),
        )
        shape.watch(())
        return shape

"""The tables of all dialects, compiled into what one attribute key means."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from spanledger.conventions import coerce, semconv
from spanledger.conventions.coerce import Coerce, coercion_of
from spanledger.conventions.content import places_of
from spanledger.conventions.dialect import (
    COST,
    HTTP_STATUS,
    PROVIDER,
    REGION,
    REPORT,
    RESENDS,
    SERVICE_TIER,
    SPEED,
    TIME_TO_FIRST_CHUNK,
    USAGE,
    Choose,
    Dialect,
    Kinded,
)
from spanledger.conventions.emitters import at_boundary
from spanledger.conventions.profile import Profile
from spanledger.conventions.providers import provider_of
from spanledger.conventions.units import TARGETS
from spanledger.conventions.values import Value

DIALECT: Final = "spanledger.dialect"
STEP_KIND: Final = "spanledger.step.kind"
BASIS: Final = "spanledger.usage.basis"
CONFLICTS: Final = "spanledger.usage.conflicts"
ORIGINAL: Final = "spanledger.original."
CONTENT_MARKS: Final = "spanledger.content.marks"
"""What is not whole about the content that was converted: `cut`, `gap`, `limit`, `redacted`, `unparsable`."""

CONTENT: Final[Mapping[str, str]] = {
    "input_messages": "gen_ai.input.messages",
    "output_messages": "gen_ai.output.messages",
    "system_instructions": "gen_ai.system_instructions",
    "tool_definitions": "gen_ai.tool.definitions",
    "tool_arguments": "gen_ai.tool.call.arguments",
    "tool_result": "gen_ai.tool.call.result",
    "retrieval_documents": "gen_ai.retrieval.documents",
    "retrieval_query": "gen_ai.retrieval.query.text",
}
"""Fields of `Content` -> targets."""
_CONTENT: Final = frozenset(CONTENT.values())

MAX_LEARNED: Final = 16_384
"""Keys and scopes outside the tables that are remembered; more are looked at anew each time."""

_MAX_KEY_CHARS: Final = 256


@dataclass(frozen=True, slots=True)
class Tuning:
    """What an operator changes about one dialect."""

    remove_originals: bool = False
    """Delete attributes whose fact now stands under its current name."""
    overwrite: bool = False
    """Prefer this dialect's attributes to current ones that are present too."""
    mappings: Mapping[str, str] = field(default_factory=dict)
    """Further key -> target."""
    values: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """Further target -> value -> value."""


class Slot(NamedTuple):
    """One target that a key is a source of."""

    target: str
    rank: int
    """The lowest present wins: 0 is the current name, then older OTel names, then dialects."""
    read: Coerce
    own: bool
    """The key is the very name that the profile writes."""


class Entry(NamedTuple):
    """What a key means."""

    claims: int
    """Bit set of the dialects that it is evidence of."""
    slots: tuple[Slot, ...]
    content: tuple[str, ...]
    """Targets that it may hold content for."""
    owners: int
    """Bit set of the dialects whose name it is."""


NOTHING: Final = Entry(0, (), (), 0)


class Lookup:
    """Key -> `Entry`, scope -> dialect. Immutable but for a bounded memo of what it was asked."""

    def __init__(self, dialects: Sequence[Dialect], profile: Profile, tunings: Mapping[str, Tuning]) -> None:
        """Compile. The first dialect is the one for spans that show no other."""
        self.dialects = tuple(dialects)
        self.by_name = {dialect.name: dialect for dialect in dialects}
        self.operations: Mapping[str, Kinded] = {
            value: kinded for dialect in reversed(self.dialects) for value, kinded in dialect.operations.items()
        }
        """Values of `gen_ai.operation.name` that some dialect uses and the conventions do not have."""
        self._tunings = tuple(tunings.get(dialect.name, Tuning()) for dialect in dialects)
        self.removing = _bits(tuning.remove_originals for tuning in self._tunings)
        """Bit set of the dialects whose originals are to be deleted."""
        self._order = {dialect.name: order for order, dialect in enumerate(dialects)}
        self._told = {
            dialect.name: told
            for dialect, tuning in zip(self.dialects, self._tunings, strict=True)
            if (told := {key: target for key, target in tuning.mappings.items() if target in _CONTENT})
        }
        self.places = {name: places_of(name, told) for name, told in self._told.items()}
        """Where dialects keep content of which an operator said so."""
        self.names: dict[str, str | None] = {}
        """Target -> the name that the profile writes, None for none."""
        self._evidence = tuple(_prefixes(dialect.evidence) for dialect in dialects)
        self._context = tuple(prefix for dialect in dialects for prefix in _prefixes(dialect.context))
        self._content = tuple({prefix: None for dialect in dialects for prefix in _prefixes(dialect.content)})
        self._prefixes = (*(prefix for known in self._evidence for prefix in known), *self._context, *self._content)
        self._whole_context = frozenset(key for dialect in dialects for key in dialect.context)
        self._whole_evidence: dict[str, int] = {}
        self._contents: dict[str, list[tuple[int, tuple[str, ...]]]] = {}
        """Key, or prefix, that holds content -> dialect and targets."""
        for order, dialect in enumerate(dialects):
            for key in dialect.evidence:
                self._whole_evidence[key] = self._whole_evidence.get(key, 0) | 1 << order
            for key, targets in dialect.content.items():
                self._contents.setdefault(key, []).append((order, targets))
        self.entries = self._compile(profile)
        self._fixed = len(self.entries)
        self._bits_of = {dialect.name: 1 << order for order, dialect in enumerate(dialects)}
        self.placeholders = tuple(pair for dialect in dialects for pair in dialect.placeholders.items())
        """Attribute and value of spans that only announce another."""
        secrets = tuple(secret for dialect in dialects for secret in dialect.secrets)
        self._secrets = frozenset(secrets), _prefixes(secrets)
        self._claiming: dict[int, Entry] = {}
        self._scopes: dict[str, int] = {}

    def learn(self, key: str) -> Entry:
        """Return the entry of a key that is not in `entries`, and remember it there."""
        entry = NOTHING
        if key.startswith(self._prefixes):  # every key that counts as a whole is in `entries` already
            claims = self._claims(key)
            if key.startswith(self._content):
                entry = Entry(claims, (), *self._content_of(key))
            elif claims:
                entry = self._claiming.setdefault(claims, Entry(claims, (), (), 0))
        if len(self.entries) - self._fixed < MAX_LEARNED and len(key) <= _MAX_KEY_CHARS:
            self.entries[key] = entry
        return entry

    def entry(self, key: str) -> Entry:
        """Return what a key means."""
        return self.entries.get(key) or self.learn(key)

    def dialect_of(self, scope: str, claims: int = 0) -> Dialect | None:
        """Return the dialect of a span: by its scope, else by the evidence that it showed."""
        order = self._scopes.get(scope)
        if order is None:
            order = self._order_of(scope)
            if len(self._scopes) < MAX_LEARNED and len(scope) <= _MAX_KEY_CHARS:
                self._scopes[scope] = order
        if order < 0:
            if not claims:
                return None
            others = claims & ~1
            order = (others & -others).bit_length() - 1 if others else 0
        return self.dialects[order]

    def by_name_of(self, scope: str, name: str) -> tuple[Kinded | Choose, int] | None:
        """Return what a span is by its scope and name, and the bit of the dialect that says so."""
        dialect = self.dialect_of(scope)
        if dialect is None or not (dialect.names or dialect.any_name):
            return None
        found: Kinded | Choose | None = dialect.names.get(name)
        if found is None:
            # "invoke_agent planner" is listed as "invoke_agent ".
            starts = (start for start in dialect.names if start[-1] in " ." and name.startswith(start))
            found = next((dialect.names[start] for start in starts), dialect.any_name)
        return None if found is None else (found, self.bit_of(dialect.name))

    def claims_by_kind(self, scope: str, keys: Container[str]) -> int:
        """Return the bit of a scope's dialect if one of `keys` is where that says the kind of a span, else 0.

        So a word as common as `span.type` is evidence from those who are known to mean it.
        """
        dialect = self.dialect_of(scope)
        if dialect is None or not any(key in keys for key in dialect.kinds):
            return 0
        return self.bit_of(dialect.name)

    def is_secret(self, key: str) -> bool:
        """Tell whether an attribute has to be taken off a GenAI span."""
        exact, prefixes = self._secrets
        return key in exact or key.startswith(prefixes)

    def bit_of(self, name: str) -> int:
        """Return the bit that stands for a dialect in sets of them."""
        return self._bits_of[name]

    def claimed(self, claims: int) -> Iterable[Dialect]:
        """Yield the dialects of a bit set."""
        return (dialect for order, dialect in enumerate(self.dialects) if claims >> order & 1)

    def _order_of(self, scope: str) -> int:
        best, length = -1, -1
        for order, dialect in enumerate(self.dialects):
            for prefix in dialect.scopes:
                if len(prefix) > length and at_boundary(scope, prefix):
                    best, length = order, len(prefix)
        return best

    def _compile(self, profile: Profile) -> dict[str, Entry]:
        ranked = self._ranked_sources()
        for target in (*ranked, *CONTENT.values()):
            self.names[target] = None if target.startswith("@") else profile.name_of(target)
        slots: dict[str, list[Slot]] = {}
        owners: dict[str, int] = {}
        for target, sources in ranked.items():
            for rank, key, read, owner in sources:
                slots.setdefault(key, []).append(Slot(target, rank, read, key == self.names[target]))
                owners[key] = owners.get(key, 0) | (1 << owner)
        keys = {*slots, *(key for dialect in self.dialects for key in _exact_keys(dialect)), DIALECT}
        keys.update(key for told in self._told.values() for key in told)
        return {key: self._entry(key, tuple(slots.get(key, ())), owners.get(key, 0)) for key in keys}

    def _ranked_sources(self) -> dict[str, list[tuple[int, str, Coerce, int]]]:
        """Return target -> (rank, key, coercion, owning dialect)."""
        ranked: dict[str, list[tuple[int, str, Coerce, int]]] = {}
        for target, types in semconv.TYPES.items():
            if not types.get("latest", "any").startswith(("any", "template")):
                ranked[target] = [(0, target, self._coercion(target), 0)]
        for order, (dialect, tuning) in enumerate(zip(self.dialects, self._tunings, strict=True)):
            first = -1000 * (len(self.dialects) - order) if tuning.overwrite else 1000 * order + 1
            extra: dict[str, list[str]] = {}
            for key, target in tuning.mappings.items():
                if target in _CONTENT:
                    continue
                extra.setdefault(semconv.RENAMED.get(target, target), []).append(key)
            for target in {**dialect.sources, **extra}:
                known = ranked.setdefault(target, [])
                if not known and not target.startswith("@"):
                    known.append((0, target, self._coercion(target), 0))
                sources = (*extra.get(target, ()), *dialect.sources.get(target, ()))
                for rank, source in enumerate(sources, first):
                    key, read = source if isinstance(source, tuple) else (source, self._coercion(target))
                    if all(key != other for _, other, _, _ in known):
                        known.append((rank, key, read, order))
        return ranked

    def _coercion(self, target: str) -> Coerce:
        read = _COERCIONS.get(target) or (coerce.count if target in USAGE else coercion_of(target))
        mapped: dict[str, str] = {}
        for dialect, tuning in zip(self.dialects, self._tunings, strict=True):
            mapped |= {**dialect.values.get(target, {}), **tuning.values.get(target, {})}
        return _mapping(mapped, read) if mapped else read

    def _entry(self, key: str, slots: tuple[Slot, ...], owners: int) -> Entry:
        content, keepers = self._content_of(key)
        return Entry(self._claims(key), slots, content, owners | keepers)

    def _claims(self, key: str) -> int:
        if key == DIALECT:
            return 1
        if key in self._whole_context or key.startswith(self._context):
            return 0
        return self._whole_evidence.get(key, 0) | _bits(key.startswith(known) for known in self._evidence)

    def _content_of(self, key: str) -> tuple[tuple[str, ...], int]:
        """Return the targets that a key may hold content for, and the dialects that say so."""
        found: list[tuple[int, tuple[str, ...]]] = [
            (self._order[name], (mapped[key],)) for name, mapped in self._told.items() if key in mapped
        ]
        found += self._contents.get(key, ())
        if key.startswith(self._content):
            for prefix in self._content:
                # A prefix stands before an index: `gen_ai.prompt.0.role`, but not `gen_ai.prompt.name`.
                if key.startswith(prefix) and key[len(prefix) :][:1].isdigit():
                    found += self._contents[prefix]
        return tuple(target for _, targets in found for target in targets), _bits_at(order for order, _ in found)


def _provider(value: Value) -> str | None:
    known = coerce.text(value)
    return None if known is None else provider_of(known)


_COERCIONS: Final[Mapping[str, Coerce]] = {
    PROVIDER: _provider,
    COST: coerce.number,
    TIME_TO_FIRST_CHUNK: coerce.number,
    RESENDS: coerce.integer,
    HTTP_STATUS: coerce.integer,
    SERVICE_TIER: coerce.text,
    SPEED: coerce.text,
    REGION: coerce.text,
    **dict.fromkeys(TARGETS, coerce.integer),
    REPORT: coerce.text,
}


def _mapping(mapped: Mapping[str, str], read: Coerce) -> Coerce:
    return lambda value: read(mapped.get(value, value) if isinstance(value, str) else value)


def _bits(flags: Iterable[bool]) -> int:
    return sum(1 << order for order, flag in enumerate(flags) if flag)


def _bits_at(orders: Iterable[int]) -> int:
    bits = 0
    for order in orders:
        bits |= 1 << order
    return bits


def _prefixes(patterns: Iterable[str]) -> tuple[str, ...]:
    return tuple(pattern for pattern in patterns if pattern.endswith("."))


def _exact_keys(dialect: Dialect) -> list[str]:
    patterns = (*dialect.evidence, *dialect.context, *dialect.kinds, *dialect.content)
    return [pattern for pattern in patterns if not pattern.endswith(".")]

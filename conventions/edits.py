"""What has to be written into a span so that it says what was read, and what may then go.

An attribute is written when it is absent or says something else. What it said before is kept under
`spanledger.original.<name>`, so nothing is lost by normalising. A source is deleted only if asked for, and
only when the very fact it held stands under its current name.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Sequence
from operator import attrgetter
from typing import Final

from spanledger.conventions import coerce
from spanledger.conventions.content import Content
from spanledger.conventions.dialect import FINISH_REASONS, OPERATION, PROMPT_VARIABLE, USAGE, Facts
from spanledger.conventions.finish_reasons import normalize
from spanledger.conventions.lookup import (
    BASIS,
    CONFLICTS,
    CONTENT,
    CONTENT_MARKS,
    DIALECT,
    ORIGINAL,
    STEP_KIND,
    Entry,
    Lookup,
)
from spanledger.conventions.profile import Profile
from spanledger.conventions.reading import Reading
from spanledger.conventions.usage import Usage
from spanledger.conventions.values import Value

# Written by a rule of their own, not as a copy of the best source.
_BY_RULE: Final = frozenset({OPERATION, FINISH_REASONS, *USAGE})
_WRITTEN_COUNTS: Final = tuple((target, name) for target, name in USAGE.items() if not target.startswith("@"))
_counts_of: Final[Callable[[Usage], tuple[int | None, ...]]] = attrgetter(*(name for _, name in _WRITTEN_COUNTS))
_MODAL: Final = frozenset({
    "audio_input", "audio_output", "audio_cache_read", "image_input", "image_output", "image_cache_read",
})  # fmt: skip
_AS_IT_CAME: Final = frozenset({"spec", "emitter_inclusive"})


# What was read as JSON holds no circle.
_ENCODER: Final = json.JSONEncoder(ensure_ascii=False, check_circular=False, separators=(",", ":"))


class Editor:
    """Writes for one profile."""

    def __init__(self, lookup: Lookup, profile: Profile) -> None:
        self._lookup = lookup
        self._names = lookup.names
        self._profile = profile
        self._written = frozenset(name for name in lookup.names.values() if name is not None)

    def edit(self, reading: Reading, facts: Facts, origins: Collection[str]) -> list[tuple[str, str]]:
        """Fill `reading.edits` with all but usage and content.

        Returns those attributes, with their targets, that are there for a fact of its own alone: one of `origins`,
        written as it was read.
        """
        names = self._names
        present = facts.attributes.at
        filled: list[tuple[str, str]] = []
        for target in facts.moved:
            if target in _BY_RULE:
                continue
            name = names.get(target)
            if name is None and target.startswith(PROMPT_VARIABLE):
                name = self._profile.name_of(target)
            if name is None:
                continue
            if target in origins and name not in present:
                filled.append((name, target))
            else:
                self._write(reading, name, facts.values[target])
        if facts.values.get(OPERATION) != reading.operation or OPERATION in facts.moved:
            self._write(reading, OPERATION, reading.operation)
        reasons = facts.values.get(FINISH_REASONS)
        if isinstance(reasons, list):
            self.add_reasons(reading, reasons)
        for name, value in ((DIALECT, reading.dialect), (STEP_KIND, reading.kind)):
            if name not in present or facts.attributes[name] != value:
                reading.edits[name] = value
        # Last, so that what is the same on many spans comes first: see `Reading.ready`.
        for name, target in filled:
            self._write(reading, name, facts.values[target])
        return filled

    def add_reasons(self, reading: Reading, reasons: Sequence[Value]) -> None:
        """Write why the model stopped."""
        self._write(reading, FINISH_REASONS, normalize(reasons) or None)

    def add_usage(self, reading: Reading, usage: Usage, *, moved: bool) -> None:
        """Write the basis of the counts, what contradicts itself in them and, where they are not as they came, them.

        `moved`: they stand elsewhere or otherwise than they should. The counts of a sum of calls are only read: a
        backend that adds up what it finds under the current names would count them twice.
        """
        self._write(reading, BASIS, usage.basis)
        if usage.conflicts:
            self._write(reading, CONFLICTS, list(usage.conflicts))
        if reading.aggregate or (usage.basis in _AS_IT_CAME and not moved):
            return
        attributes = reading.attributes
        for (target, count), value in zip(_WRITTEN_COUNTS, _counts_of(usage), strict=True):
            if value is None:
                continue
            name = self._names[target]
            # Nearly every call has 0 audio and image tokens: not worth their bytes unless they are there.
            if name is not None and (value or count not in _MODAL or name in attributes):
                self._write(reading, name, value)

    def add_content(self, reading: Reading, said: Content) -> None:
        """Write content in its current form, where that is not there."""
        for field, target in CONTENT.items():
            if (value := getattr(said, field)) is None:
                continue
            name = self._names[target]
            if name is None or coerce.present(reading.attributes.get(name)) is not None:
                continue
            self._write(reading, name, value if isinstance(value, str) else _json(value))
        if said.marks:
            reading.edits[CONTENT_MARKS] = list(said.marks)

    def unname(self, reading: Reading) -> None:
        """Take away an operation that is none: a backend that goes by it would take the span for one."""
        if ORIGINAL + OPERATION not in reading.attributes:
            reading.edits[ORIGINAL + OPERATION] = reading.attributes[OPERATION]
        reading.removals.append(OPERATION)

    def finish(self, reading: Reading, facts: Facts | None, *, whole: bool) -> None:
        """Hold back what an echo has to say; else delete what is not needed, where that is asked for.

        `facts` are needed for the latter. `whole`: the content that was written is all there was.
        """
        if reading.echo:
            own = {key: value for key, value in reading.edits.items() if key in (DIALECT, STEP_KIND)}
            reading.echo_edits, reading.edits = reading.edits, own
            reading.ready = None
        elif facts is not None:
            self._remove(reading, facts, whole=whole)

    def spelled(self, name: str, value: Value) -> Value:
        """Return a value as the profile has it under `name`."""
        if isinstance(value, str):
            if name in self._profile.values:
                return self._profile.values[name].get(value, value)
        elif type(value) is int and self._profile.types.get(name) == "double":
            return float(value)
        return value

    def _write(self, reading: Reading, name: str, value: Value) -> None:
        if value is None:
            return
        value = self.spelled(name, value)
        if name in reading.edits:
            reading.ready = None
        attributes = reading.attributes
        if name in attributes:
            present = attributes[name]
            if type(present) is type(value) and present == value:
                return
            # The first of several values is the one to keep.
            if not name.startswith("spanledger.") and ORIGINAL + name not in attributes:
                reading.edits[ORIGINAL + name] = present
        reading.edits[name] = value

    def _remove(self, reading: Reading, facts: Facts, *, whole: bool) -> None:
        own = self._lookup.bit_of(reading.dialect)
        # What has no attribute of its own (a service tier, the lifetime of a cache) stands nowhere but there.
        only = {key for target, key in facts.moved.items() if self._names.get(target) is None}
        for key in reading.attributes:
            if key in only:
                continue
            entry = self._lookup.entry(key)
            if "." not in key and not entry.owners & own:
                continue  # a word as common as `events` is this dialect's only on its own spans
            # Content that was not converted whole stands nowhere else.
            if (
                entry.owners & self._lookup.removing
                and (whole or entry.slots)
                and self._stands_elsewhere(key, entry, reading, facts)
            ):
                reading.removals.append(key)
        if reading.operation is not None and not reading.unbilled:  # for a kind may be what says that
            for dialect in self._lookup.claimed(self._lookup.removing):
                reading.removals += [key for key in dialect.kinds if key in reading.attributes and key not in only]

    def _stands_elsewhere(self, key: str, entry: Entry, reading: Reading, facts: Facts) -> bool:
        """Tell whether all that `key` says is under another name now; keep its wording if that differs."""
        if not entry.slots:
            return any(self._names.get(target) in reading.edits for target in entry.content)
        raw = reading.attributes[key]
        kept: dict[str, Value] = {}
        for slot in entry.slots:
            name = self._names[slot.target]
            if name is None or name == key or (key in self._written and slot.target != key):
                return False
            if slot.target not in facts.values or slot.read(raw) != facts.values[slot.target]:
                return False
            if slot.target in USAGE and reading.usage is not None and reading.usage.conflicts:
                return False  # counts that contradict each other are judged by those who can see all of them
            now = reading.edits[name] if name in reading.edits else reading.attributes.get(name)
            if now is None:
                return False
            if now != raw or type(now) is not type(raw):
                kept[ORIGINAL + name] = raw
        for name, value in kept.items():
            if name not in reading.attributes:
                reading.edits.setdefault(name, value)
        return True


def _json(value: object) -> str:
    return _ENCODER.encode(value)

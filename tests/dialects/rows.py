"""One span a row: what it says in, what is read of it out."""

from __future__ import annotations

import json
from dataclasses import fields
from typing import TYPE_CHECKING, Any, NamedTuple

from spanledger.conventions.dialects import read
from spanledger.conventions.reading import Reading
from spanledger.conventions.tokens import COUNTS
from spanledger.conventions.values import key_value
from spanledger.processor.batch import Resource, Scope
from tests.fakes import span

if TYPE_CHECKING:
    from collections.abc import Mapping

    from spanledger.conventions.values import Value

_FIELDS = frozenset(field.name for field in fields(Reading))


class Row(NamedTuple):
    """A span with these attributes, and what is read."""

    scope: str
    attributes: Mapping[str, Value]
    expected: Mapping[str, Any]
    """Field of `Reading`, count of `Usage`, or attribute -> its value once the edits are written."""
    name: str = "a span"
    version: str = ""
    parent: int = 0

    def __str__(self) -> str:
        return f"{self.scope or '-'} {self.name}: {', '.join(self.expected)}"


def reading_of(row: Row) -> Reading | None:
    """Read the row's span."""
    made = span(name=row.name, parent=row.parent)
    made.attributes.extend(key_value(key, value) for key, value in row.attributes.items())
    return read(Scope(row.scope, row.version), Resource({}, "shop"), made)


def found(row: Row) -> dict[str, Any]:
    """Return what is read for each name that the row expects something of."""
    reading = reading_of(row)
    return {name: _like(expected, _found(reading, name)) for name, expected in row.expected.items()}


def _like(expected: Any, value: Any) -> Any:
    """Decode a JSON text where something else than text is expected."""
    return json.loads(value) if isinstance(value, str) and isinstance(expected, list | dict) else value


def _found(reading: Reading | None, name: str) -> Any:
    if reading is None:
        return "not read"
    if name in COUNTS:
        return getattr(reading.usage, name, None)
    if name in ("basis", "conflicts"):
        return getattr(reading.usage, name, None)
    return getattr(reading, name) if name in _FIELDS else None if name in reading.removals else reading.says(name)

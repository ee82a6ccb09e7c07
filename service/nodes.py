"""Configuration values that know where they were written, and the errors that say so."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeAlias

Path: TypeAlias = tuple[str, ...]
"""The keys down to a value; list positions are keys too."""

Scalar: TypeAlias = "str | bool | int | float | None"

MAX_DEPTH = 64
"""Levels of nesting in a configuration; deeper ones are a mistake or an attack."""

MAX_SHOWN = 100
"""Errors in one report."""

MAX_SIZE = 8 * 1024 * 1024
"""Characters of a whole configuration after aliases and references are written out."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a value was written. Lines and columns count from 1; 0 where a source has none."""

    source: str
    line: int = 0
    column: int = 0

    def __str__(self) -> str:
        return f"{self.source}:{self.line}:{self.column}" if self.line else self.source


@dataclass(frozen=True, slots=True)
class Node:
    """A value with its place. Nodes are shared freely and never changed."""

    value: Scalar | dict[str, Node] | tuple[Node, ...]
    place: Place
    key: Place | None = field(default=None, compare=False)
    """Where the key stands, for a value in a map."""
    text: str | None = field(default=None, compare=False)
    """What a reference stood for, word for word, where YAML read it as something else than a string.

    A string field takes this: `0123` from the environment is the string "0123" there and 83 elsewhere.
    """

    @property
    def where(self) -> Place:
        """The place to show for trouble with the value as a whole: its key if it has one."""
        return self.key or self.place

    def under(self, key: Place | None) -> Node:
        """Return the same value as the value of a key written at `key`."""
        return replace(self, key=key)

    def child(self, name: str) -> Node | None:
        """Return the value of a key or of a list position, None where there is none."""
        if isinstance(self.value, dict):
            return self.value.get(name)
        if isinstance(self.value, tuple) and name.isdecimal() and int(name) < len(self.value):
            return self.value[int(name)]
        return None

    def at(self, path: Path) -> tuple[Node, Path]:
        """Go down `path` as far as it exists; return the last node and the path to it."""
        node = self
        for depth, name in enumerate(path):
            found = node.child(name)
            if found is None:
                return node, path[:depth]
            node = found
        return node, path

    def trouble(self, path: Path, message: str, suggestion: str = "", below: Path = ()) -> ConfigError:
        """Return what is to be said of the value at `path`, with its place; `below` leads on to what is shown of it."""
        node, found = self.at((*path, *below))
        return ConfigError(path, node.where if found else self.place, message, suggestion)

    def strings(self, path: Path = ()) -> Iterator[tuple[Path, str]]:
        """Yield every string at or below this node, and the texts that string fields would take."""
        if isinstance(self.value, dict):
            for name, child in self.value.items():
                yield from child.strings((*path, name))
        elif isinstance(self.value, tuple):
            for position, child in enumerate(self.value):
                yield from child.strings((*path, str(position)))
        elif isinstance(self.value, str):
            yield path, self.value
        if self.text is not None:
            yield path, self.text


class ConfigError(Exception):
    """One thing that is wrong with a configuration: what, where, and what to do about it."""

    def __init__(self, path: Path, place: Place, message: str, suggestion: str = "") -> None:
        super().__init__(path, place, message, suggestion)
        self.keys = path
        self.place = place
        self.message = message
        self.suggestion = suggestion

    @property
    def path(self) -> str:
        """The keys joined as the Collector joins them: `service::pipelines::traces`."""
        return "::".join(self.keys)

    @property
    def source(self) -> str:
        """The file, `--set …`, `env:NAME` or `yaml:`."""
        return self.place.source

    @property
    def line(self) -> int:
        """Line in the source, from 1; 0 where it has none."""
        return self.place.line

    @property
    def column(self) -> int:
        """Column in the line, from 1; 0 where it has none."""
        return self.place.column

    def __str__(self) -> str:
        parts = [str(self.place)] if self.place.source else []
        parts += [self.path] if self.keys else []
        text = ": ".join([*parts, self.message])
        return f"{text} ({self.suggestion})" if self.suggestion else text


class InvalidConfig(Exception):  # noqa: N818 - it is a state, as in the Collector's words
    """A configuration that cannot be used. `str()` of it is the whole report, one line an error."""

    def __init__(self, errors: Sequence[ConfigError], warnings: Sequence[str] = ()) -> None:
        super().__init__(errors, warnings)
        self.errors = tuple(errors)
        self.warnings = tuple(warnings)

    def __str__(self) -> str:
        count = len(self.errors)
        lines = [f"invalid configuration, {count} error{'s' if count != 1 else ''}:"]
        lines += [f"  {error}" for error in self.errors[:MAX_SHOWN]]
        if count > MAX_SHOWN:
            lines.append(f"  … and {count - MAX_SHOWN} more")
        lines += [f"  warning: {warning}" for warning in self.warnings]
        return "\n".join(lines)

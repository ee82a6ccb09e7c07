"""JSON objects read strictly: what is wrong is said with its place and with what was found."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from math import isfinite
from typing import Any, Final, TypeVar, get_args

_PICO: Final = 10**12
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_T = TypeVar("_T")


class BadDocument(ValueError):  # noqa: N818 - reads as the condition it is
    """A document is not of this schema. The message says where and what was found."""


class Object:
    """A JSON object that knows where it stands. Each reader raises `BadDocument` for what it does not accept."""

    __slots__ = ("data", "path")

    def __init__(self, data: Any, path: str) -> None:
        if not isinstance(data, Mapping):
            raise BadDocument(f"{path or 'the document'} is {_found(data)}, and an object is expected")
        self.data = data
        self.path = path

    def _at(self, key: str) -> str:
        return f"{self.path}.{key}" if self.path else key

    def _bad(self, key: str, expected: str) -> BadDocument:
        found = _found(self.data[key]) if key in self.data else "missing"
        return BadDocument(f"{self._at(key)} is {found}, and {expected} is expected")

    def _read(self, key: str, accept: Callable[[Any], bool], expected: str, default: _T | None = None) -> Any:
        if key not in self.data and default is not None:
            return default
        value = self.data.get(key)
        if key not in self.data or not accept(value):
            raise self._bad(key, expected)
        return value

    def text(self, key: str) -> str:
        """Return a text."""
        read: str = self._read(key, lambda value: isinstance(value, str), "a text")
        return read

    def maybe_text(self, key: str) -> str | None:
        """Return a text, or None for null and for a key that is not there."""
        return self.text(key) if self.data.get(key) is not None else None

    def count(self, key: str, default: int | None = None) -> int:
        """Return a whole number, not negative."""
        read: int = self._read(key, _is_count, "a count", default)
        return read

    def maybe_count(self, key: str) -> int | None:
        """Return a count or None."""
        return self.count(key) if self.data.get(key) is not None else None

    def flag(self, key: str) -> bool:
        """Return true or false; false where the key is missing."""
        return bool(self._read(key, lambda value: isinstance(value, bool), "true or false", default=False))

    def maybe_number(self, key: str) -> float | None:
        """Return a finite number or None."""
        if self.data.get(key) is None:
            return None
        return float(self._read(key, _is_number, "a number"))

    def pico(self, key: str) -> int | None:
        """Return dollars as pico-dollars, or None."""
        number = self.maybe_number(key)
        # The shortest decimal of the float is the amount that was written.
        return None if number is None else int((Decimal(repr(number)) * _PICO).to_integral_value())

    def time(self, key: str) -> int:
        """Return a time as nanoseconds since the epoch."""
        text = self.text(key)
        moment, dot, rest = text.removesuffix("Z").partition(".")
        try:
            if not text.endswith("Z") or not dot or len(rest) != 9:
                raise ValueError(text)
            seconds = (datetime.strptime(moment + "Z", "%Y-%m-%dT%H:%M:%S%z") - _EPOCH).total_seconds()
            return int(seconds) * 10**9 + int(rest)
        except ValueError:
            raise self._bad(key, "a time like 2026-11-20T08:00:00.000000000Z") from None

    def index(self, key: str, count: int) -> int:
        """Return the place of a step before `count`."""
        read: int = self._read(key, lambda value: _is_count(value) and value < count, f"a step before {count}")
        return read

    def maybe_index(self, key: str, count: int) -> int | None:
        """Return the place of a step, or None."""
        return self.index(key, count) if self.data.get(key) is not None else None

    def word(self, key: str, words: Any, default: str | None = None) -> Any:
        """Return one of the words of a Literal."""
        allowed = get_args(words)
        return self._read(key, lambda value: value in allowed, f"one of {', '.join(allowed)}", default)

    def maybe_word(self, key: str, words: Any) -> Any:
        """Return one of the words of a Literal, or None."""
        return self.word(key, words) if self.data.get(key) is not None else None

    def object(self, key: str, default: Mapping[str, Any] | None = None) -> Object:
        """Return an object."""
        return Object(self._read(key, lambda value: isinstance(value, Mapping), "an object", default), self._at(key))

    def list(self, key: str, default: Sequence[Any] | None = None) -> Sequence[Any]:
        """Return a list."""
        read: Sequence[Any] = self._read(key, lambda value: isinstance(value, (list, tuple)), "a list", default)
        return read

    def objects(self, key: str, default: Sequence[Any] | None = None) -> Sequence[Object]:
        """Return a list of objects."""
        return [Object(one, f"{self._at(key)}[{place}]") for place, one in enumerate(self.list(key, default))]

    def texts(self, key: str, default: Sequence[str] | None = None) -> tuple[str, ...]:
        """Return a list of texts."""
        read = self.list(key, default)
        if not all(isinstance(one, str) for one in read):
            raise self._bad(key, "a list of texts")
        return tuple(read)

    def indexes(self, key: str, count: int, default: Sequence[int] | None = None) -> tuple[int, ...]:
        """Return a list of places of steps."""
        read = self.list(key, default)
        if not all(_is_count(one) and one < count for one in read):
            raise self._bad(key, f"a list of steps before {count}")
        return tuple(read)

    def text_map(self, key: str) -> dict[str, str]:
        """Return an object of texts; empty where the key is missing."""
        held = self.object(key, {})
        return {name: held.text(name) for name in held.data}

    def lists_of_objects(self) -> Sequence[tuple[str, Sequence[Object]]]:
        """Return the keys of this object, each with its list of objects."""
        return [(name, self.objects(name)) for name in self.data]


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and isfinite(value)


def _found(value: Any) -> str:
    return f"{value!r:.60}" if isinstance(value, (str, int, float, bool, type(None))) else type(value).__name__

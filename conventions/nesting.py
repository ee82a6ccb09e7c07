"""JSON of others, nested no deeper than we can follow it: as deep on every Python.

How deep `json.loads` reads is an accident of the interpreter: 990 levels in Python 3.11, 9,998 in 3.12 and 3.13,
as many as the stack holds in 3.14. Whoever walks what it returns has a thousand frames in all of them.
"""

from __future__ import annotations

import json
from typing import Any, Final

MAX_NESTING: Final = 200
"""Levels of lists and objects. OTLP holds at most 100 messages within each other, which are 150 levels of its JSON."""

_NESTING: Final = frozenset((dict, list))
"""Types looked up, not `isinstance`, which takes three times as long: run documents have a hundred thousand values."""


class TooDeep(ValueError):  # noqa: N818 - reads as the condition it is
    """JSON is nested deeper than `MAX_NESTING`."""


def loads(text: str | bytes, **options: Any) -> Any:
    """Return `json.loads(text, **options)`. Raises ValueError where that is no JSON, `TooDeep` where it is."""
    if isinstance(text, bytes):
        text = text.decode(json.detect_encoding(text), "surrogatepass")
    try:
        value = json.loads(text, **options)
    except RecursionError:
        raise TooDeep("nested too deep") from None
    if is_too_deep(value, text):
        raise TooDeep("nested too deep")
    return value


def is_too_deep(value: Any, text: str, start: int = 0, end: int | None = None) -> bool:
    """Tell whether what was read from `text[start:end]` is nested deeper than `MAX_NESTING`."""
    return text.count("[", start, end) + text.count("{", start, end) > MAX_NESTING and is_deeper(value, MAX_NESTING)


def is_deeper(value: Any, levels: int) -> bool:
    """Tell whether lists and objects, as `json.loads` makes them, are nested in each other more than `levels` deep."""
    found = [value] if type(value) in _NESTING else []
    for _ in range(levels):
        found = [
            inner
            for outer in found
            for inner in (outer.values() if type(outer) is dict else outer)
            if type(inner) in _NESTING
        ]
        if not found:
            return False
    return bool(found)

"""Regular expressions from a configuration. Python's can take for ever: those that might are refused.

The Collector's are RE2's, which know no look-around and no references back, so such patterns are refused too: what
works here works there. What is left takes at most time in the square of the text, and texts are searched in pieces.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from re import _constants, _parser  # type: ignore[attr-defined]
from typing import Any, Final

PIECE: Final = 4_096
"""Characters that a pattern is searched in at once."""
OVERLAP: Final = 512
"""What two pieces have in common: a longer match may be cut at the end of a piece."""

_REPEATS: Final = frozenset({"MAX_REPEAT", "MIN_REPEAT", "POSSESSIVE_REPEAT"})
_MANY: Final = 64
"""A repeat beyond this is as good as unlimited."""


def compiled(pattern: str) -> re.Pattern[str]:
    """Compile a pattern. Raises ValueError with what to do about one that is wrong or could take for ever."""
    try:
        parsed = _parser.parse(pattern)
        made = re.compile(pattern)
    except (re.error, OverflowError, RecursionError) as error:
        raise ValueError(f"{pattern[:80]!r} is no regular expression: {error}") from None
    for name in _names(parsed):
        if name in ("ASSERT", "ASSERT_NOT", "GROUPREF", "GROUPREF_EXISTS"):
            raise ValueError(f"{pattern[:80]!r}: look-around and references back are not supported")
    if _nested(parsed, inside=False):
        raise ValueError(
            f"{pattern[:80]!r} could take for ever: a repeat or an alternative is repeated without a limit; give the "
            "inner or the outer one a limit, such as {1,20}"
        )
    if made.match(""):
        raise ValueError(f"{pattern[:80]!r} matches nothing at all: it would be found everywhere")
    return made


def spans(pattern: re.Pattern[str], text: str) -> Iterator[tuple[int, int]]:
    """Yield where a pattern is in a text, piece by piece; matches of two pieces may overlap."""
    for start in range(0, max(1, len(text)), PIECE - OVERLAP):
        for match in pattern.finditer(text, start, start + PIECE):
            yield match.span()
        if start + PIECE >= len(text):
            return


def _names(node: Any) -> Iterator[str]:
    for operation, argument in node:
        yield str(operation)
        for below in _below(argument):
            yield from _names(below)


def _nested(node: Any, *, inside: bool) -> bool:
    for operation, argument in node:
        name = str(operation)
        if name in _REPEATS:
            unlimited = argument[1] == _constants.MAXREPEAT or argument[1] > _MANY
            if (unlimited and inside) or _nested(argument[2], inside=inside or unlimited):
                return True
        elif (name == "BRANCH" and inside) or any(_nested(below, inside=inside) for below in _below(argument)):
            return True
    return False


def _below(argument: Any) -> Iterator[Any]:
    """Yield the patterns within an operation."""
    if isinstance(argument, _parser.SubPattern):
        yield argument
    elif isinstance(argument, list | tuple):
        for one in argument:
            yield from _below(one)

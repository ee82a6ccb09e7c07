"""What the terminal can show: how wide it is, which characters it has, whether it has colours."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Final, Literal, TextIO

from spanledger.exporters.text import printable
from spanledger.service.runs.amounts import money

Style = Literal["", "bold", "dim", "good", "bad", "warn", "mark"]

NARROWEST: Final = 60
WIDTH_ELSEWHERE: Final = 120
"""Columns where there is no terminal: a pipe, a file."""

_CODES: Final[Mapping[Style, str]] = {
    "bold": "1", "dim": "2", "good": "32", "bad": "31", "warn": "33", "mark": "36",
}  # fmt: skip

_GLYPHS: Final = {
    "error": ("✗", "x"),
    "retry": ("↻", "r"),
    "parallel": ("∥", "="),
    "critical": ("★", "*"),
    "finding": ("⚠", "!"),
    "success": ("✓", "+"),
    "arrow": ("→", ">"),
    "cut": ("…", "~"),
    "dot": ("·", "-"),
    "none": ("–", "-"),
    "branch": ("├─ ", "|- "),
    "last": ("└─ ", "`- "),
    "line": ("│  ", "|  "),
    "bar": ("━", "="),
    "rule": ("│", "|"),
    "here": ("◀", "<"),
    "minus": ("−", "-"),
}


@dataclass(frozen=True, slots=True)
class Terminal:
    """Where lines are written to."""

    width: int = WIDTH_ELSEWHERE
    unicode: bool = True
    """Whether it can show more than ASCII."""
    colour: bool = False
    currency: str = "USD"
    rate: Decimal = Decimal(1)
    """Of a dollar, in the currency that its reader wants."""

    def glyph(self, name: str) -> str:
        """Return a sign, or the ASCII character that stands for it."""
        return _GLYPHS[name][0 if self.unicode else 1]

    def paint(self, text: str, style: Style) -> str:
        """Return `text` in a style, if there are any."""
        return f"\x1b[{_CODES[style]}m{text}\x1b[0m" if self.colour and style and text else text

    def money(self, pico: int | None) -> str:
        """Return pico-dollars in the reader's currency."""
        return money(pico, self.currency, self.rate)

    def safe(self, text: str, limit: int = 200) -> str:
        """Return text of others on one line, without anything that would steer the terminal."""
        shown = printable(text, limit)
        return shown if self.unicode or shown.isascii() else shown.encode("ascii", "backslashreplace").decode()

    def fit(self, text: str, width: int) -> str:
        """Return `text` cut to `width` cells."""
        if cells(text) <= width:
            return text
        cut = self.glyph("cut")
        kept, used = "", cells(cut)
        for c in text:
            used += cells(c)
            if used > width:
                break
            kept += c
        return kept + cut if width > 0 else ""


def cells(text: str) -> int:
    """Return how many columns a terminal takes for `text`: two for a wide character, none for an accent."""
    if text.isascii():
        return len(text)
    return sum(0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


def pieces(text: str, width: int) -> Iterator[str]:
    """Yield `text` in lines of at most `width` cells; one empty line when there is nothing."""
    start = used = 0
    for i, c in enumerate(text):
        used += (wide := cells(c))
        if used > width:
            yield text[start:i]
            start, used = i, wide
    yield text[start:]


def terminal(stream: TextIO, environ: Mapping[str, str], *, ascii_only: bool = False) -> Terminal:
    """Return what `stream` can show. Colours need a terminal and no `NO_COLOR` (https://no-color.org)."""
    is_terminal = stream.isatty()
    width = int(environ["COLUMNS"]) if environ.get("COLUMNS", "").isdigit() else 0
    if not width and is_terminal:
        try:
            width = os.get_terminal_size(stream.fileno()).columns
        except (OSError, ValueError):
            width = 0
    signs = "".join(sign for sign, _ in _GLYPHS.values())
    try:
        signs.encode(stream.encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        ascii_only = True
    colour = is_terminal and not environ.get("NO_COLOR") and environ.get("TERM", "") not in {"", "dumb"}
    return Terminal(max(width or WIDTH_ELSEWHERE, NARROWEST), not ascii_only, colour)

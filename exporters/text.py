"""Text of others, made fit for our own lines: a peer's message, a span's name."""

from __future__ import annotations


def printable(text: str, limit: int = 200) -> str:
    """Return at most `limit` characters of `text` on one line, with everything that does not print escaped.

    Line breaks, terminal escapes and direction marks could forge a log line; letters of any language stay.
    """
    kept = text[:limit]
    if not kept.isprintable():
        kept = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in kept)
    return kept if len(text) <= limit else kept + "…"


def counted(number: int, noun: str) -> str:
    """Return `1 attempt`, `2 attempts`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"

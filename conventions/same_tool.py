"""Which tool spans are of one call: of one above the other, and of those that two callbacks of one framework tell."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final, NamedTuple, Protocol

_BETWEEN_WORDS: Final = re.compile(r"[\W_]+")
_PREFIX: Final = re.compile(r".*(?:__|[-.:/ ])(?=[^-.:/ ])")


class Named(Protocol):
    """What tells tool calls apart."""

    @property
    def tool_name(self) -> str:
        """What was called."""

    @property
    def tool_call_id(self) -> str:
        """Which call it was; "" where that is not told."""


class Telling(Named, Protocol):
    """What a report of a tool call says of it; a `Step` does."""

    @property
    def dialect(self) -> str:
        """Who tells it."""

    @property
    def trace_id(self) -> bytes:
        """Its trace."""

    @property
    def start_ns(self) -> int:
        """Begin of the span."""

    @property
    def end_ns(self) -> int:
        """End of the span."""


class ToolReport(NamedTuple):
    """A `Telling` without the arguments and results that a step may have with it."""

    dialect: str
    trace_id: bytes
    tool_name: str
    tool_call_id: str
    start_ns: int
    end_ns: int


def report_of(tool: Telling) -> ToolReport:
    """Return what is kept of a report."""
    return ToolReport(tool.dialect, tool.trace_id, tool.tool_name, tool.tool_call_id, tool.start_ns, tool.end_ns)


@lru_cache(maxsize=4096)
def bare(tool_name: str) -> str:
    """Return a tool's name without its server or plugin: `mcp__travel__get_weather` is `get_weather`."""
    return _PREFIX.sub("", tool_name)


@lru_cache(maxsize=4096)
def _spelled(tool_name: str) -> str:
    """Return a name as it is when models may not have blanks, dots or capital letters in it."""
    return _BETWEEN_WORDS.sub("", tool_name).lower()


def same_tool(one: str, other: str) -> bool:
    """Tell whether two names may be one tool: one of them with a prefix, or spelled for a model.

    `Search the Web` and `searchTheWeb` are offered to models as `search_the_web`.
    """
    if one == other or (bare(one) == bare(other) and (one == bare(one) or other == bare(other))):
        return True
    return _spelled(one) == _spelled(other) != ""


def ids_agree(one: Named, other: Named) -> bool:
    """Tell whether two reports do not name two calls; many name none."""
    return len({one.tool_call_id, other.tool_call_id} - {""}) < 2


def part_of(inner: Named, around: Named) -> bool:
    """Tell whether two tool spans, one above the other, are of one call: by its id, else by the tool's name."""
    if inner.tool_call_id and around.tool_call_id:
        return inner.tool_call_id == around.tool_call_id
    return inner.tool_name != "" and same_tool(inner.tool_name, around.tool_name)


def told_by_both(one: Telling, other: Telling) -> bool:
    """Tell whether two dialects tell of one call: of that tool, at the same time, in one trace."""
    return (
        one.dialect != other.dialect
        and one.trace_id == other.trace_id
        and one.tool_name == other.tool_name
        and ids_agree(one, other)
        and one.start_ns < other.end_ns
        and other.start_ns < one.end_ns
    )

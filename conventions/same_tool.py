"""Which tool spans are of one call, though neither lies below the other: two callbacks of one framework tell it."""

from __future__ import annotations

from typing import NamedTuple, Protocol


class Telling(Protocol):
    """What a report of a tool call says of it; a `Step` does."""

    @property
    def dialect(self) -> str:
        """Who tells it."""

    @property
    def trace_id(self) -> bytes:
        """Its trace."""

    @property
    def tool_name(self) -> str:
        """What was called."""

    @property
    def tool_call_id(self) -> str:
        """Which call it was; "" where that is not told."""

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


def told_by_both(one: Telling, other: Telling) -> bool:
    """Tell whether two dialects tell of one call: of that tool, at the same time, in one trace."""
    return (
        one.dialect != other.dialect
        and one.trace_id == other.trace_id
        and one.tool_name == other.tool_name
        and len({one.tool_call_id, other.tool_call_id} - {""}) < 2
        and one.start_ns < other.end_ns
        and other.start_ns < one.end_ns
    )

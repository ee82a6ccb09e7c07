"""What stands above a step: the agent it works for, the tool call it is part of.

An SDK sends a span when it has ended, so that those above it come with it or later, and now and then before it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple, TypeAlias

from spanledger.conventions.same_tool import part_of
from spanledger.conventions.step import Bridge, Step

MAX_ABOVE: Final = 64
"""Spans above a step that are looked at."""

GENERATION: Final = 8_192
"""Spans that are remembered for sure. At most it is twice as many, and what single requests had beyond that."""

_Key: TypeAlias = tuple[bytes, bytes]
_Known: TypeAlias = tuple[bytes, str, str, bool]
"""Of a span: its parent, the agent that it names, its service, and whether the parent is in another process."""


Above: TypeAlias = tuple[str, str, bytes]
"""The agent that the nearest of the spans above names, or "", and its service; and the span that has to come before
more is known, b"" where nothing more will be."""

_NOBODY: Final = ("", "", b"")


class Ancestry:
    """The parents of spans, those of a request and of the last ones before it."""

    def __init__(self) -> None:
        self._spans: dict[_Key, _Known] = {}
        self._older: dict[_Key, _Known] = {}

    def learn(self, steps: Sequence[Step], bridges: Sequence[Bridge]) -> None:
        """Take the spans of a request."""
        if len(self._spans) >= GENERATION:
            self._older, self._spans = self._spans, {}
        spans = self._spans
        for bridge in bridges:
            spans[bridge.trace_id, bridge.span_id] = (bridge.parent_span_id, "", "", bridge.remote_parent)
        for step in steps:
            spans[step.trace_id, step.span_id] = (
                step.parent_span_id, step.agent_name, step.service_name, step.remote_parent
            )  # fmt: skip

    def above(self, record: Step | Bridge) -> Above:
        """Return the agent that the nearest span above names, or the span that has to come first.

        A parent in another process is not waited for: it may be one that nobody reports here.
        """
        trace_id, parent_id, is_remote = record.trace_id, record.parent_span_id, record.remote_parent
        for _ in range(MAX_ABOVE):
            if not parent_id:
                break
            known = self._spans.get((trace_id, parent_id)) or self._older.get((trace_id, parent_id))
            if known is None:
                return _NOBODY if is_remote else ("", "", parent_id)
            parent_id, agent, service_name, is_remote = known
            if agent:
                return agent, service_name, b""
        return _NOBODY

    def tool_around(self, step: Step, tools: Mapping[_Key, Step]) -> Step | None:
        """Return the one of `tools` that a tool's span is part of (an MCP client's or server's side of it)."""
        trace_id, parent_id = step.trace_id, step.parent_span_id
        for _ in range(MAX_ABOVE if len(tools) > 1 else 0):
            key = trace_id, parent_id
            tool = tools.get(key)
            if tool is step:
                break
            if tool is not None and part_of(step, tool):
                return tool
            known = self._spans.get(key) or self._older.get(key)
            if known is None:
                break
            parent_id = known[0]
        return None


def whose(step: Step, agent: str, service_name: str) -> str:
    """Return the agent of a service, which is above a step, if the step is its work; in another service it is not."""
    return agent if step.service_name in (service_name, "") else ""


def tools_of(steps: Iterable[Step]) -> dict[_Key, Step]:
    """Return the tool calls among the steps of a request, by trace and span id."""
    return {(step.trace_id, step.span_id): step for step in steps if step.kind == "tool"}


class Called(NamedTuple):
    """What tells tool calls apart. A whole step may have its arguments and results with it."""

    tool_call_id: str
    tool_name: str

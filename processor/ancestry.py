"""What stands above a step in the same request: the agent it works for, the tool call it is part of."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from spanledger.conventions.same_tool import part_of
from spanledger.conventions.step import Bridge, Step, altered

MAX_ABOVE: Final = 64
"""Spans above a step that are looked at."""

MAX_BRIDGES: Final = 20_000
"""Other spans of a request that are known; what is above through more of them stays unknown."""


class Ancestry:
    """The parents of the spans of one request. Spans that come in other requests are not waited for."""

    def __init__(self, steps: Sequence[Step], bridges: Sequence[Bridge]) -> None:
        self._spans: dict[tuple[bytes, bytes], Step | Bridge] = {}
        for bridge in bridges[:MAX_BRIDGES]:
            self._spans[bridge.trace_id, bridge.span_id] = bridge
        for step in steps:
            self._spans[step.trace_id, step.span_id] = step

    def with_agent(self, step: Step) -> Step:
        """Return the step, with the name of the nearest agent above it where it names none itself."""
        if step.agent_name or step.kind == "workflow":
            return step
        agent = self._nearest(step, _is_named_agent)
        return step if agent is None else altered(step, agent_name=agent.agent_name)

    def tool_around(self, step: Step) -> Step | None:
        """Return the tool call that a tool's span is part of (an MCP client's or server's side of it)."""
        return self._nearest(step, lambda above: above.kind == "tool" and part_of(step, above))

    def _nearest(self, step: Step, wanted: Callable[[Step], bool]) -> Step | None:
        above: Step | Bridge = step
        for _ in range(MAX_ABOVE):
            found = self._spans.get((above.trace_id, above.parent_span_id))
            if found is None or found is step:
                return None
            if isinstance(found, Step) and wanted(found):
                return found
            above = found
        return None


def _is_named_agent(step: Step) -> bool:
    return step.kind == "agent" and bool(step.agent_name)


class Called(NamedTuple):
    """What tells tool calls apart. A whole step may have its arguments and results with it."""

    tool_call_id: str
    tool_name: str

"""Pydantic AI 0.x to 2.68, in its instrumentation formats 1 to 6.

Since format 3 it speaks the conventions. Before, spans were named by what was done and tools had words of their own;
format 1 keeps messages as events in one JSON attribute. Agents repeat the usage of their calls under the very same
names until format 5, which has `gen_ai.aggregated_usage.*` for that.
"""

from __future__ import annotations

from typing import Final

from spanledger.conventions.dialect import (
    AGENT_NAME,
    FINISH_REASONS,
    MODEL_CALLS,
    PROVIDER,
    REQUEST_MODEL,
    STRUCTURAL,
    TOOL_NAME,
    Dialect,
    Facts,
    Kinded,
)

_TOOL: Final = Kinded("tool", "execute_tool")
_RUNNING: Final = "running tool: "
_STREAMED: Final = "gen_ai.response.time_to_first_chunk"
_TELL_EARLY: Final = ("anthropic", "gcp.")
"""Whose streams tell some of their output before the end, and there why they ended."""


def _is_broken_off(facts: Facts) -> bool:
    """Tell whether a stream came to no end."""
    ends = _STREAMED not in facts.values or FINISH_REASONS in facts.values
    return not ends and (facts.text(PROVIDER) or "").startswith(_TELL_EARLY)


def _complete(facts: Facts) -> None:
    if facts.kind == "tool" and facts.span.name.startswith(_RUNNING):
        facts.offer(TOOL_NAME, "", facts.span.name[len(_RUNNING) :][:128] or None)
    if facts.kind in MODEL_CALLS and _is_broken_off(facts):
        facts.forget_beginning()


DIALECT: Final = Dialect(
    name="pydantic_ai",
    source="https://github.com/pydantic/pydantic-ai",
    scopes=("pydantic-ai",),
    evidence=("pydantic_ai.", "gen_ai.aggregated_usage.", "all_messages_events", "model_request_parameters"),
    names={
        "agent run": Kinded("agent", "invoke_agent"),
        "running tool": _TOOL,
        "running output function": _TOOL,
        _RUNNING: _TOOL,
        # "running 3 tools", around them
        "running ": STRUCTURAL,
        "model request": STRUCTURAL,
        "model request attempt ": Kinded("llm", "chat"),  # one that failed, below the call that another model answered
    },
    sources_by_kind={"agent": {AGENT_NAME: ("agent_name",), REQUEST_MODEL: ("model_name",)}},
    content={
        "events": ("gen_ai.input.messages", "gen_ai.output.messages"),
        "tool_arguments": ("gen_ai.tool.call.arguments",),
        "tool_response": ("gen_ai.tool.call.result",),
    },
    complete=_complete,
)

"""Which agent a tool hands work to, where its arguments name one."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from spanledger.conventions.dialect import MAX_NAME_CHARS

if TYPE_CHECKING:
    from spanledger.conventions.content.parse import Json

_TOOLS: Final = re.compile(r"delegate|hand_?off|transfer|coworker|^(?:task|agent|run_subagent)$", re.IGNORECASE)
_NAMES_AGENT: Final = re.compile(r"(?:(?:delegate|hand_?off)_?to_(\w+)|transfer_?to_(\w+agent))", re.IGNORECASE)
_HANDS_OVER: Final = re.compile(r"hand_?off|transfer", re.IGNORECASE)
_ANYBODY: Final = frozenset({"agent", "coworker", "human", "member", "user"})
_AGENTS: Final = (
    "coworker", "to_agent", "agent_name", "target_agent", "subagent_type", "subagent_name", "agent_type", "member_id",
    "agent",
)  # fmt: skip
"""Arguments of crewAI, LlamaIndex, Google ADK, Claude Code, deepagents and Agno, and what others use."""


def delegate_of(tool_name: str, arguments: Json) -> str:
    """Return the agent that a call of a tool hands work to; "" for tools that do their work themselves."""
    if not _TOOLS.search(tool_name):
        return ""
    if isinstance(arguments, dict):
        inner = arguments.get("kwargs")
        said = inner if isinstance(inner, dict) else arguments
        named = (said.get(key) for key in _AGENTS)
        found = next((name for name in named if isinstance(name, str) and 0 < len(name) <= MAX_NAME_CHARS), "")
        if found:
            return found
    within = _NAMES_AGENT.fullmatch(tool_name)
    name = within[1] or within[2] if within else ""
    return name if name.lower() not in _ANYBODY else ""


def hands_over(tool_name: str) -> bool:
    """Tell whether a tool gives its caller's place to another agent, instead of waiting for the result."""
    return _HANDS_OVER.search(tool_name) is not None

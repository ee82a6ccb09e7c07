"""Which agent a tool hands work to, where its arguments name one."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from spanledger.conventions.dialect import MAX_NAME_CHARS

if TYPE_CHECKING:
    from spanledger.conventions.content.parse import Json

_TOOLS: Final = re.compile(r"delegate|hand_?off|transfer|coworker|^(?:task|agent|run_subagent)$", re.IGNORECASE)
_AGENTS: Final = (
    "coworker", "to_agent", "agent_name", "target_agent", "subagent_type", "subagent_name", "agent_type", "agent",
)  # fmt: skip
"""Arguments of crewAI, LlamaIndex, Google ADK, Claude Code and deepagents, in that order, and what others use."""


def delegate_of(tool_name: str, arguments: Json) -> str:
    """Return the agent that a call of a tool hands work to; "" for tools that do their work themselves."""
    if not isinstance(arguments, dict) or not _TOOLS.search(tool_name):
        return ""
    named = (arguments.get(key) for key in _AGENTS)
    return next((name for name in named if isinstance(name, str) and 0 < len(name) <= MAX_NAME_CHARS), "")

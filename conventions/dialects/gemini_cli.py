"""Gemini CLI 0.61 (spans).

Its operations have names of their own. Output counts leave the thoughts out and only its logs tell them. Messages are
Gemini's contents under the conventions' names, cut at a length: they stay as they are.
"""

from __future__ import annotations

from typing import Final

from spanledger.conventions.dialect import STRUCTURAL, Dialect, Kinded

DIALECT: Final = Dialect(
    name="gemini_cli",
    scopes=("gemini-cli",),
    operations={
        "llm_call": Kinded("llm", "generate_content"),
        "tool_call": Kinded("tool", "execute_tool"),
        "agent_call": Kinded("agent", "invoke_agent"),
        "user_prompt": Kinded("agent", "invoke_agent"),
        "system_prompt": STRUCTURAL,
        "schedule_tool_calls": STRUCTURAL,
    },
)

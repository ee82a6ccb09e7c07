"""AutoGen 0.4 to 0.7.5. It speaks the conventions, and says nothing about model calls or tokens.

The spans of its message runtime (`autogen publish ...`) are structure.
"""

from __future__ import annotations

from typing import Final

from spanledger.conventions.dialect import STRUCTURAL, Dialect

DIALECT: Final = Dialect(
    name="autogen",
    source="https://github.com/microsoft/autogen",
    scopes=("autogen-core", "autogen-agentchat", "autogen"),
    evidence=("recipient_agent_type", "sender_agent_type"),
    names={f"autogen {verb} ": STRUCTURAL for verb in ("ack", "create", "process", "publish", "receive", "send")},
)

"""Sentry's SDKs, whose OTel-based ones (Node, Next.js) share their spans with any exporter: `gen_ai.*` of their own.

The conventions' attributes, with messages under older names and every list in JSON. What a span is stands in
`sentry.op`, which spans of everything else have too. Input includes what is cached, by their own rule.
"""

from __future__ import annotations

from typing import Final

from spanledger.conventions.dialect import STRUCTURAL, Dialect, Kinded

_CHAT: Final = Kinded("llm", "chat")

DIALECT: Final = Dialect(
    name="sentry",
    source="https://develop.sentry.dev/sdk/telemetry/traces/modules/ai-agents",
    evidence=("gen_ai.request.messages", "gen_ai.response.text", "gen_ai.request.available_tools"),
    operations={
        "messages": _CHAT,
        "generate_text": _CHAT,
        "stream_text": _CHAT,
        "handoff": STRUCTURAL,
    },
    kinds={
        "sentry.op": {
            "gen_ai.chat": _CHAT,
            "gen_ai.responses": _CHAT,
            "gen_ai.messages": _CHAT,
            "gen_ai.generate_text": _CHAT,
            "gen_ai.generate_content": Kinded("llm", "generate_content"),
            "gen_ai.embeddings": Kinded("embedding", "embeddings"),
            "gen_ai.invoke_agent": Kinded("agent", "invoke_agent"),
            "gen_ai.execute_tool": Kinded("tool", "execute_tool"),
        }
    },
    content={
        "gen_ai.request.messages": ("gen_ai.input.messages", "gen_ai.system_instructions"),
        "gen_ai.response.text": ("gen_ai.output.messages",),
        "gen_ai.response.tool_calls": ("gen_ai.output.messages",),
        "gen_ai.request.available_tools": ("gen_ai.tool.definitions",),
    },
)

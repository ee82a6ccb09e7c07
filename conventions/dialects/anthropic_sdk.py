"""Anthropic's own spans: of its SDKs (Python from 2.0, TypeScript from 0.137) and of the Claude API's servers.

They are on as soon as an application has a tracer provider, so that every other instrumentation of these clients has
them below its own spans. They speak nearly the current names, input and cache writes included. Only the names of spans
are no one else's, and what the answer says of its end is the API's own word.
"""

from __future__ import annotations

from typing import Final

from spanledger.conventions.dialect import CONVERSATION_ID, FINISH_REASONS, TOOL_NAME, Dialect, Facts, Kinded

_TOOL: Final = Kinded("tool", "execute_tool")
_SDK: Final = "com.anthropic.sdk."
_ANSWERED: Final = frozenset({
    "http.response.status_code", "gen_ai.response.id", "gen_ai.response.model", "gen_ai.usage.input_tokens",
    "gen_ai.usage.output_tokens",
})  # fmt: skip
"""What the SDK notes as soon as anything was answered."""
_TOOLS: Final = ("anthropic.tool_use ", "anthropic.custom_tool_use ", "anthropic.mcp_tool_use ")


def _complete(facts: Facts) -> None:
    name = facts.span.name
    if facts.kind == "tool" and name.startswith(_TOOLS):
        facts.offer(TOOL_NAME, "", name.partition(" ")[2][:128] or None)
    if facts.kind == "llm" and facts.scope.startswith(_SDK) and _ANSWERED.isdisjoint(facts.attributes.at):
        facts.failed = True  # what the application cancels before there is an answer has no status


DIALECT: Final = Dialect(
    name="anthropic_sdk",
    source="https://github.com/anthropics/anthropic-sdk-python",
    scopes=("com.anthropic.sdk", "com.anthropic.claude-platform"),
    evidence=("anthropic.message.", "anthropic.usage."),
    names={
        "anthropic.messages.create": Kinded("llm", "chat"),
        "anthropic.messages.stream": Kinded("llm", "chat"),
        "anthropic.completions.create": Kinded("llm", "text_completion"),
        "anthropic.messages.tool_runner": Kinded("agent", "invoke_agent"),
        **dict.fromkeys(_TOOLS, _TOOL),
    },
    sources={
        FINISH_REASONS: ("anthropic.message.stop_reason",),
        CONVERSATION_ID: ("anthropic.session.id",),
        "@cache_write_5m": ("anthropic.usage.cache_creation.ephemeral_5m_input_tokens",),
        "@cache_write_1h": ("anthropic.usage.cache_creation.ephemeral_1h_input_tokens",),
    },
    complete=_complete,
)

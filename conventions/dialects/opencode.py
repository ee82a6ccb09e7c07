"""opencode, as its plugins for OpenTelemetry tell of it (`opencode-plugin-otel` and its forks, scope `com.opencode`).

Their log events are Claude Code's, with the time at which the work began. Tokens are apart: input without the cache,
output without reasoning. Their spans are OpenInference's and are read as such; so are those of opencode itself
(`experimental.openTelemetry`), which are the Vercel AI SDK's.
"""

from __future__ import annotations

from typing import Final

from spanledger.conventions import coerce
from spanledger.conventions.dialect import (
    AGENT_NAME,
    CONVERSATION_ID,
    COST,
    PROVIDER,
    REQUEST_MODEL,
    Dialect,
    Facts,
    Kinded,
    LogEvent,
    named,
)
from spanledger.conventions.providers import provider_of

_CALL: Final = Kinded("llm", "chat")
_EVENTS: Final = {
    "opencode.user_prompt": LogEvent(opens="turn"),
    "opencode.api_request": LogEvent(reports=_CALL, at_start=True),
    "opencode.api_error": LogEvent(reports=_CALL, at_start=True, failed=True),
    "opencode.tool_result": LogEvent(reports=Kinded("tool", "execute_tool"), at_start=True),
}


def _complete(facts: Facts) -> None:
    if not facts.report:
        return
    attributes = facts.attributes
    facts.offer_found(CONVERSATION_ID, "session.id", coerce.text)
    for key in ("agent.name", "agent"):
        facts.offer_found(AGENT_NAME, key, coerce.text)
    if coerce.flag(attributes.get("success")) is False:
        facts.failed = True
    if facts.kind != "llm":
        return
    facts.emitter = "opencode"
    provider = coerce.text(attributes.get("provider"))
    facts.offer(PROVIDER, "provider", provider_of(provider) if provider is not None else None)
    facts.offer_found(COST, "cost_usd", coerce.number)


DIALECT: Final = Dialect(
    name="opencode",
    source="https://github.com/sst/opencode",
    scopes=("com.opencode",),
    names=named(_EVENTS),
    events=_EVENTS,
    run_keys=("session.id",),
    sources_by_kind={
        "llm": {
            REQUEST_MODEL: ("model",),
            "gen_ai.usage.input_tokens": ("input_tokens",),
            "gen_ai.usage.output_tokens": ("output_tokens",),
            "gen_ai.usage.reasoning.output_tokens": ("reasoning_tokens",),
            "gen_ai.usage.cache_read.input_tokens": ("cache_read_tokens",),
            "gen_ai.usage.cache_write.input_tokens": ("cache_creation_tokens",),
        },
        "tool": {"gen_ai.tool.name": ("tool_name",)},
    },
    complete=_complete,
)

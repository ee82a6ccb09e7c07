"""Claude Code 2.1 (spans with `CLAUDE_CODE_ENHANCED_TELEMETRY_BETA`, log events without) and Claude's Agent SDK.

A model call names no operation and leaves cached tokens out of its input. What it has in `gen_ai.response.id` is the
id of the HTTP request, no provider's response; spans and log records of one call have it in common. `session.id` is
the conversation everywhere; a sub-agent's spans have the sub-agent's id in `gen_ai.conversation.id`. Waiting for a
person, hooks and a tool's inner spans are structure.

The log event of a call says more than its span: the model that answered, the lifetimes of cache writes, the cost.
`prompt.id` names the turn.
"""

from __future__ import annotations

from typing import Final

from spanledger.conventions import coerce
from spanledger.conventions.dialect import (
    CONVERSATION_ID,
    COST,
    ERROR_TYPE,
    FINISH_REASONS,
    HTTP_STATUS,
    MODEL_CALLS,
    PROVIDER,
    REQUEST_ID,
    REQUEST_MODEL,
    RESENDS,
    RESPONSE_ID,
    RESPONSE_MODEL,
    SERVICE_TIER,
    TIME_TO_FIRST_CHUNK,
    Choose,
    Dialect,
    Facts,
    Kinded,
    LogEvent,
    named,
)
from spanledger.conventions.providers import provider_of

_SCOPE: Final = "com.anthropic.claude_code"
_CALL: Final = Kinded("llm", "chat")
_TOOL: Final = Kinded("tool", "execute_tool")
_KINDS: Final[dict[str, Kinded | Choose]] = {
    "llm_request": _CALL,
    "interaction": Kinded("agent", "invoke_agent"),
    "tool": _TOOL,
}
_EVENTS: Final = {
    "claude_code.api_request": LogEvent(reports=_CALL),
    "claude_code.api_error": LogEvent(reports=_CALL, failed=True),
    "claude_code.tool_result": LogEvent(reports=_TOOL),
}


def _complete(facts: Facts) -> None:
    attributes = facts.attributes
    facts.correct_found(CONVERSATION_ID, "session.id", coerce.text)
    if coerce.flag(attributes.get("success")) is False:
        facts.failed = True
        facts.offer_found(ERROR_TYPE, "error_class", coerce.text)
    if facts.kind not in MODEL_CALLS:
        return
    if facts.report:
        _complete_report(facts)
    facts.forget(RESPONSE_ID)
    for key in ("request_id", "client_request_id"):
        facts.offer_found(REQUEST_ID, key, coerce.text)
    attempt = coerce.integer(attributes.get("attempt"))
    if attempt is not None and attempt > 1:
        facts.offer(RESENDS, "attempt", attempt - 1)
    if attributes.get("speed") == "fast":
        facts.offer(SERVICE_TIER, "speed", "fast")
    facts.offer_found(HTTP_STATUS, "status_code", coerce.integer)
    for key in ("ttft_ms", "first_content_ms"):
        facts.offer_found(TIME_TO_FIRST_CHUNK, key, coerce.milliseconds)


def _complete_report(facts: Facts) -> None:
    """Add what only log events say."""
    attributes = facts.attributes
    if facts.report == "claude_code.api_request":
        facts.forget(REQUEST_MODEL)
        facts.offer_found(RESPONSE_MODEL, "model", coerce.text)
    provider = coerce.text(attributes.get("anthropic.provider"))
    facts.offer(PROVIDER, "anthropic.provider", provider_of(provider) if provider is not None else None)
    facts.offer_found(COST, "cost_usd", coerce.number)
    facts.offer_found("@cache_write_5m", "cache_creation_5m_tokens", coerce.count)
    facts.offer_found("@cache_write_1h", "cache_creation_1h_tokens", coerce.count)


DIALECT: Final = Dialect(
    name="claude_code",
    source="https://code.claude.com/docs/en/monitoring-usage",
    scopes=(_SCOPE,),
    evidence=("llm_request.context", "interaction.sequence"),
    kinds={
        "span.type": {**_KINDS, **{f"claude_code.{name}": kinded for name, kinded in _KINDS.items()}},
    },
    names={**{f"claude_code.{name}": kinded for name, kinded in _KINDS.items()}, **named(_EVENTS)},
    events=_EVENTS,
    run_keys=("session.id", "prompt.id"),
    sources_by_kind={
        "llm": {
            REQUEST_MODEL: ("model",),
            FINISH_REASONS: ("stop_reason",),
            "gen_ai.request.reasoning.level": ("effort",),
            "gen_ai.usage.input_tokens": ("input_tokens",),
            "gen_ai.usage.output_tokens": ("output_tokens",),
            "gen_ai.usage.cache_read.input_tokens": ("cache_read_tokens",),
            "gen_ai.usage.cache_write.input_tokens": ("cache_creation_tokens",),
        },
        "tool": {
            "gen_ai.tool.name": ("tool_name",),
            "gen_ai.tool.call.id": ("tool_use_id",),
            "gen_ai.skill.name": ("skill_name",),
        },
    },
    content={
        "new_context": ("gen_ai.input.messages",),
        "response.model_output": ("gen_ai.output.messages",),
        "tool_input": ("gen_ai.tool.call.arguments",),
        "full_command": ("gen_ai.tool.call.arguments",),
    },
    complete=_complete,
)

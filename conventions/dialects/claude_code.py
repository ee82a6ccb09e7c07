"""Claude Code 2.1 (spans, `CLAUDE_CODE_ENHANCED_TELEMETRY_BETA`).

A model call names no operation and leaves cached tokens out of its input. What it has in `gen_ai.response.id` is the
id of the HTTP request, no provider's response. `session.id` is the conversation everywhere; a sub-agent's spans have
the sub-agent's id in `gen_ai.conversation.id`. Waiting for a person, hooks and a tool's inner spans are structure.
"""

from __future__ import annotations

from typing import Final

from spanledger.conventions import coerce
from spanledger.conventions.dialect import (
    CONVERSATION_ID,
    ERROR_TYPE,
    FINISH_REASONS,
    HTTP_STATUS,
    MODEL_CALLS,
    REQUEST_MODEL,
    RESENDS,
    RESPONSE_ID,
    SERVICE_TIER,
    TIME_TO_FIRST_CHUNK,
    Choose,
    Dialect,
    Facts,
    Kinded,
)

_SCOPE: Final = "com.anthropic.claude_code"
_KINDS: Final[dict[str, Kinded | Choose]] = {
    "llm_request": Kinded("llm", "chat"),
    "interaction": Kinded("agent", "invoke_agent"),
    "tool": Kinded("tool", "execute_tool"),
}


def _complete(facts: Facts) -> None:
    attributes = facts.attributes
    facts.correct(CONVERSATION_ID, "session.id", coerce.text(attributes.get("session.id")))
    if attributes.get("success") is False:
        facts.failed = True
        facts.offer(ERROR_TYPE, "error_class", coerce.text(attributes.get("error_class")))
    if facts.kind not in MODEL_CALLS:
        return
    facts.forget(RESPONSE_ID)
    attempt = coerce.integer(attributes.get("attempt"))
    if attempt is not None and attempt > 1:
        facts.offer(RESENDS, "attempt", attempt - 1)
    if attributes.get("speed") == "fast":
        facts.offer(SERVICE_TIER, "speed", "fast")
    facts.offer(HTTP_STATUS, "status_code", coerce.integer(attributes.get("status_code")))
    facts.offer(TIME_TO_FIRST_CHUNK, "ttft_ms", coerce.milliseconds(attributes.get("ttft_ms")))


DIALECT: Final = Dialect(
    name="claude_code",
    scopes=(_SCOPE,),
    evidence=("llm_request.context", "interaction.sequence"),
    kinds={
        "span.type": {**_KINDS, **{f"claude_code.{name}": kinded for name, kinded in _KINDS.items()}},
    },
    names={f"claude_code.{name}": kinded for name, kinded in _KINDS.items()},
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

"""Why a model stopped, in the words of the output message schema."""

from __future__ import annotations

from typing import Final

_SPELLINGS: Final = {
    "stop": (
        "stop", "end_turn", "stop_sequence", "stop-sequence", "complete", "completed", "eos", "eos_token", "finish",
    ),
    "length": ("length", "max_tokens", "max_output_tokens", "model_context_window_exceeded", "model_length"),
    "content_filter": (
        "content_filter", "content-filter", "content_filtered", "guardrail_intervened", "refusal", "safety",
        "recitation", "blocklist", "prohibited_content", "spii", "image_safety", "error_toxic",
    ),
    "tool_call": ("tool_call", "tool_calls", "tool-calls", "tool_use", "function_call", "function_calls"),
    "compaction": ("compaction",),
    "error": ("error", "failed", "cancelled", "malformed_function_call", "unexpected_tool_call"),
}  # fmt: skip
_REASONS: Final = {spelling: reason for reason, spellings in _SPELLINGS.items() for spelling in spellings}


def schema_reason(spelled: str) -> str:
    """Return the schema's word for a provider's finish reason; one without an equivalent stays as it is.

    The enum is `FinishReason` of gen-ai-output-messages.json; `gen_ai.response.finish_reasons` is open
    and keeps what the provider said.
    """
    return _REASONS.get(spelled.lower(), spelled) if len(spelled) < 64 else spelled

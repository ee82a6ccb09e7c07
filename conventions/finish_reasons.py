"""Why a model stopped, in the words of the message schema of the OTel GenAI conventions."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from spanledger.conventions.values import Value

_SPELLINGS: Final[dict[str, tuple[str, ...]]] = {
    "stop": (
        "end_turn", "stop_sequence", "complete", "completed", "eos", "eos_token", "finish", "stop-sequence",
        "endturn", "stopsequence",
    ),
    "length": (
        "max_tokens", "max_output_tokens", "model_context_window_exceeded", "model_length", "maxtokens",
        "modelcontextwindowexceeded",
    ),
    "content_filter": (
        "content-filter", "content_filtered", "guardrail_intervened", "refusal", "safety", "recitation",
        "blocklist", "prohibited_content", "spii", "image_safety", "error_toxic", "guardrailintervened",
        "contentfiltered",
    ),
    "tool_call": ("tool_calls", "tool_use", "tool-calls", "function_call", "function_calls", "tooluse"),
    "compaction": (),
    "error": ("failed", "cancelled", "malformed_function_call", "unexpected_tool_call"),
}  # fmt: skip

_CANONICAL: Final[dict[str, str]] = {
    **{spelling: reason for reason, spellings in _SPELLINGS.items() for spelling in spellings},
    **{reason: reason for reason in _SPELLINGS},
}

_ENUMERATION: Final = "FinishReason."

MAX_REASONS: Final = 128
"""More choices than any request has; what is beyond stays as it came."""


def normalize(reasons: Iterable[Value]) -> list[Value]:
    """Return the reasons, one for each choice, each in its well-known spelling if it has one.

    A reason that is not known keeps its spelling: the attribute is open, only the message schema is not.
    """
    result: list[Value] = []
    for reason in reasons:
        if isinstance(reason, str) and reason in _CANONICAL and len(result) < MAX_REASONS:
            result.append(_CANONICAL[reason])
            continue
        parts = reason.split(",") if isinstance(reason, str) and "," in reason else [reason]
        for part in parts:
            if isinstance(part, str) and part.strip() and len(result) < MAX_REASONS:
                said = part.strip()
                # "FinishReason.STOP" is what Python's enumerations become as text.
                result.append(_CANONICAL.get(said.removeprefix(_ENUMERATION).lower(), said))
    return result

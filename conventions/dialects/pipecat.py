"""Pipecat (0.0.9x to 1.x), voice agents: a conversation, its turns, and in each what was heard, thought and said.

Only `llm` spans are calls of a language model; for work on speech the conventions have no word.
Bare names such as `input` mean this in its scopes only.
"""

from __future__ import annotations

from typing import Final

from spanledger.conventions import coerce
from spanledger.conventions.dialect import (
    CONVERSATION_ID,
    MODEL_CALLS,
    STRUCTURAL,
    TIME_TO_FIRST_CHUNK,
    TOOL_CALL_ID,
    TOOL_NAME,
    WORKFLOW_NAME,
    Dialect,
    Facts,
    Kinded,
)
from spanledger.conventions.emitters import at_boundary

_SCOPE: Final = "pipecat"
_TTFB: Final = "metrics.ttfb"
_CONVERSATION: Final = "conversation.id"


def _complete(facts: Facts) -> None:
    if facts.kind in MODEL_CALLS and at_boundary(facts.scope, _SCOPE):
        facts.offer_found(TIME_TO_FIRST_CHUNK, _TTFB, coerce.number)


DIALECT: Final = Dialect(
    name="pipecat",
    source="https://github.com/pipecat-ai/pipecat/tree/main/src/pipecat/utils/tracing",
    scopes=(_SCOPE,),
    operations={
        "stt": STRUCTURAL,
        "tts": STRUCTURAL,
        "llm_tool_call": Kinded("tool", "execute_tool"),
        "llm_tool_result": STRUCTURAL,
    },
    names={
        "conversation": Kinded("workflow", "invoke_workflow"),
        "turn": STRUCTURAL,
        "stt": STRUCTURAL,
        "tts": STRUCTURAL,
        "llm": Kinded("llm", "chat"),
        "llm_tool_call": Kinded("tool", "execute_tool"),
        "llm_tool_result": STRUCTURAL,
    },
    sources_by_kind={
        "workflow": {CONVERSATION_ID: (_CONVERSATION,), WORKFLOW_NAME: ("conversation.type",)},
        "llm": {CONVERSATION_ID: (_CONVERSATION,)},
        "tool": {
            CONVERSATION_ID: (_CONVERSATION,),
            TOOL_NAME: ("tool.function_name", "function.name"),
            TOOL_CALL_ID: ("tool.call_id", "function.call_id"),
        },
    },
    complete=_complete,
)

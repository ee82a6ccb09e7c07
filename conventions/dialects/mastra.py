"""Mastra 1.x: `@mastra/otel-exporter` 1.4 and `@mastra/otel-bridge` 1.0.

A `model_generation` goes through `model_step`s, each with one `model_inference`. Only one of these levels has usage
and is named `chat`: with the exporter the inference, with the bridge the generation, which there is the sum of all
its calls. A call that failed ends well, with `error` for its finish reason.
"""

from __future__ import annotations

from typing import Final

from spanledger.conventions.dialect import (
    CONVERSATION_ID,
    FINISH_REASONS,
    STRUCTURAL,
    TIME_TO_FIRST_CHUNK,
    USER_ID,
    Dialect,
    Facts,
    Kinded,
    SecondsUntil,
)

_TYPE: Final = "mastra.span.type"
_METADATA: Final = "mastra.metadata."
_STARTED: Final = "mastra.completion_start_time"
_FIRST_CHUNK: Final = SecondsUntil(_STARTED)

_TOOL: Final = Kinded("tool", "execute_tool")


def _complete(facts: Facts) -> None:
    if facts.kind != "llm":
        return
    if facts.values.get(FINISH_REASONS) == ["error"]:
        facts.failed = True
    if _STARTED in facts.attributes:
        facts.offer_found_in_span(TIME_TO_FIRST_CHUNK, _STARTED, _FIRST_CHUNK)


DIALECT: Final = Dialect(
    name="mastra",
    source="https://github.com/mastra-ai/mastra/tree/main/observability",
    scopes=("@mastra/",),
    evidence=(_TYPE,),
    kinds={
        _TYPE: {
            "agent_run": Kinded("agent", "invoke_agent"),
            "workflow_run": Kinded("workflow", "invoke_workflow"),
            "model_inference": STRUCTURAL,
            "model_generation": STRUCTURAL,
            "model_step": STRUCTURAL,
            "rag_embedding": Kinded("embedding", "embeddings"),
            "tool_call": _TOOL,
            "mcp_tool_call": _TOOL,
            "provider_tool_call": _TOOL,
        }
    },
    operations={"agent_step": STRUCTURAL},
    sources={
        CONVERSATION_ID: (_METADATA + "threadId", _METADATA + "sessionId"),
        USER_ID: (_METADATA + "userId",),
    },
    complete=_complete,
)

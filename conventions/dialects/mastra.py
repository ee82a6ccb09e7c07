"""Mastra 1.x: `@mastra/otel-exporter` 1.4, `@mastra/otel-bridge` 1.0 and `@mastra/arize` 1.3.

A `model_generation` goes through `model_step`s, each with one `model_inference`. Only one of these levels has usage
and is named `chat`: with the exporter the inference, with the others the generation, which there is the sum of all
its calls. A call that failed ends well, with `error` for its finish reason. `@mastra/arize` says all this in
OpenInference's words, by which steps and chunks are model calls too.

Before 1.0 both exporters had the scope `@mastra/otel`, the generation was the sum, and an agent's name stood in that
of its span only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from spanledger.conventions.dialect import (
    AGENT_NAME,
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

if TYPE_CHECKING:
    from opentelemetry.proto.trace.v1.trace_pb2 import Span

_TYPE: Final = "mastra.span.type"
_METADATA: Final = "mastra.metadata."
_STARTED: Final = "mastra.completion_start_time"
_FIRST_CHUNK: Final = SecondsUntil(_STARTED)

_AGENT: Final = Kinded("agent", "invoke_agent")
_TOOL: Final = Kinded("tool", "execute_tool")
_OLD_AGENT: Final = "agent."


def _generation(facts: Facts) -> Kinded:
    """Tell the call, by OpenInference's word for its model, from what is around one and within."""
    return Kinded("llm", "chat") if "llm.model_name" in facts.attributes else STRUCTURAL


def _named(span: Span) -> str | None:
    return span.name.removeprefix(_OLD_AGENT) if span.name.startswith(_OLD_AGENT) else None


def _complete(facts: Facts) -> None:
    if facts.kind == "agent":
        facts.offer_found_in_span(AGENT_NAME, "", _named)
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
            "agent_run": _AGENT,
            "workflow_run": Kinded("workflow", "invoke_workflow"),
            "model_inference": STRUCTURAL,
            "model_generation": _generation,
            "model_step": STRUCTURAL,
            "rag_embedding": Kinded("embedding", "embeddings"),
            "tool_call": _TOOL,
            "mcp_tool_call": _TOOL,
            "provider_tool_call": _TOOL,
        },
        "openinference.span.kind": {
            "AGENT": _AGENT,
            "CHAIN": STRUCTURAL,
            "LLM": _generation,
            "TOOL": _TOOL,
        },
    },
    operations={"agent_step": STRUCTURAL},
    sources={
        CONVERSATION_ID: (_METADATA + "threadId", _METADATA + "sessionId"),
        USER_ID: (_METADATA + "userId",),
    },
    complete=_complete,
)

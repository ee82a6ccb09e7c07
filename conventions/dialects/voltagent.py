"""VoltAgent 2.x (`@voltagent/core`).

One model span stands for all calls of a turn and has the counts of the last; the agent's span has their sum. Who a
span is about is in `entity.*`, but on a sub-agent's spans that is its parent and `subagent.*` is the sub-agent, whose
conversation is its own, too.
"""

from __future__ import annotations

from typing import Final

from spanledger.conventions import coerce
from spanledger.conventions.dialect import (
    AGENT_NAME,
    CONVERSATION_ID,
    FINISH_REASONS,
    REQUEST_MODEL,
    TOOL_CALL_ID,
    TOOL_NAME,
    WORKFLOW_NAME,
    Dialect,
    Facts,
    Kinded,
)

_SCOPE: Final = "@voltagent"
_CONVERSATIONS: Final = ("voltagent.conversation_id", "conversation.id")
_COUNTS: Final = {
    "gen_ai.usage.input_tokens": "prompt_tokens",
    "gen_ai.usage.output_tokens": "completion_tokens",
    "gen_ai.usage.cache_read.input_tokens": "cached_tokens",
    "gen_ai.usage.reasoning.output_tokens": "reasoning_tokens",
    "@total_tokens": "total_tokens",
}


def _complete(facts: Facts) -> None:
    attributes = facts.attributes
    if "entity.type" not in attributes:
        return
    if attributes.get("voltagent.is_subagent") is not True:
        for key in _CONVERSATIONS:
            facts.offer_found(CONVERSATION_ID, key, coerce.text)
    facts.offer_found(AGENT_NAME, "subagent.name", coerce.text)
    if attributes["entity.type"] == "agent":
        facts.offer_found(AGENT_NAME, "entity.name", coerce.text)
    elif facts.kind == "workflow":
        facts.offer_found(WORKFLOW_NAME, "entity.name", coerce.text)


DIALECT: Final = Dialect(
    name="voltagent",
    source="https://github.com/VoltAgent/voltagent",
    scopes=(_SCOPE,),
    evidence=("voltagent.", "span.label", "llm.model_index"),
    kinds={
        "span.type": {
            "llm": Kinded("llm", "chat"),
            "tool": Kinded("tool", "execute_tool"),
            "agent": Kinded("agent", "invoke_agent"),
            "workflow": Kinded("workflow", "invoke_workflow"),
            "retriever": Kinded("retrieval", "retrieval"),
            "embedding": Kinded("embedding", "embeddings"),
            "memory": Kinded("memory"),
            "guardrail": Kinded("guardrail"),
        },
        "entity.type": {
            "agent": Kinded("agent", "invoke_agent"),
            "tool": Kinded("tool", "execute_tool"),
            "llm": Kinded("llm", "chat"),
            "workflow": Kinded("workflow", "invoke_workflow"),
            "memory": Kinded("memory"),
        },
    },
    sources_by_kind={
        "llm": {
            REQUEST_MODEL: ("llm.model",),
            FINISH_REASONS: ("llm.finish_reason",),
            "gen_ai.request.stream": ("llm.stream",),
            **{target: (f"llm.usage.{name}",) for target, name in _COUNTS.items()},
        },
        "agent": {
            REQUEST_MODEL: ("ai.model.name",),
            **{target: (f"usage.{name}",) for target, name in _COUNTS.items()},
        },
        "tool": {TOOL_NAME: ("tool.name",), TOOL_CALL_ID: ("tool.call.id",)},
    },
    content={
        "llm.messages": ("gen_ai.input.messages",),
        "input": ("gen_ai.tool.call.arguments", "gen_ai.retrieval.query.text"),
        "output": ("gen_ai.output.messages", "gen_ai.tool.call.result", "gen_ai.retrieval.documents"),
    },
    complete=_complete,
)

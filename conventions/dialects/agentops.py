"""AgentOps 0.4.

Model calls are flattened as OpenLLMetry's are, with the older OTel names for tokens. Anthropic's input leaves the
cache out and the cache is not told: what is missing cannot be made up. `agent.id` names one run of an agent.
"""

from __future__ import annotations

from typing import Final

from spanledger.conventions.dialect import (
    AGENT_NAME,
    CONVERSATION_ID,
    TOOL_NAME,
    WORKFLOW_NAME,
    Dialect,
    Facts,
    Kinded,
)

_KIND: Final = "agentops.span.kind"
_TYPES: Final = ("gen_ai.request.type", "llm.request.type")
# No sets: what is said may be a list.
_EMBEDDINGS: Final = ("embedding", "embeddings")
_FAILED: Final = ("failed", "error")


def _model_call(facts: Facts) -> Kinded:
    asked = next((facts.attributes[key] for key in _TYPES if key in facts.attributes), None)
    if asked in _EMBEDDINGS:
        return Kinded("embedding", "embeddings")
    return Kinded("llm", "text_completion" if asked == "completion" else "chat")


def _complete(facts: Facts) -> None:
    if facts.kind == "tool" and facts.attributes.get("tool.status") in _FAILED:
        facts.failed = True


DIALECT: Final = Dialect(
    name="agentops",
    source="https://github.com/AgentOps-AI/agentops",
    scopes=("agentops",),
    evidence=("agentops.",),
    context=("agentops.tags",),
    kinds={
        _KIND: {
            "llm": _model_call,
            "agent": Kinded("agent", "invoke_agent"),
            "tool": Kinded("tool", "execute_tool"),
            "workflow": Kinded("workflow", "invoke_workflow"),
            "session": Kinded("workflow", "invoke_workflow"),
            "guardrail": Kinded("guardrail"),
        }
    },
    sources={CONVERSATION_ID: ("gen_ai.thread.id",)},
    sources_by_kind={
        "agent": {AGENT_NAME: ("agent.name", "operation.name", "agentops.entity.name")},
        "tool": {TOOL_NAME: ("tool.name", "operation.name", "agentops.entity.name")},
        "workflow": {WORKFLOW_NAME: ("workflow.name", "operation.name", "agentops.entity.name")},
    },
    content={
        "tool.parameters": ("gen_ai.tool.call.arguments",),
        "tool.result": ("gen_ai.tool.call.result",),
        "agentops.entity.input": ("gen_ai.tool.call.arguments",),
        "agentops.entity.output": ("gen_ai.tool.call.result",),
        "agentops.tool.input": ("gen_ai.tool.call.arguments",),
        "agentops.tool.output": ("gen_ai.tool.call.result",),
    },
    complete=_complete,
)

"""CrewAI 1.15 (native spans). Its anonymous product telemetry (`crewai.telemetry`) has no word of this and is no work.

Span names are fixed phrases. An agent's `gen_ai.agent.name` is a hash of it; people know it by its role. On model
calls `gen_ai.conversation.id` is the id of a task, an agent or a kickoff. A call without usage has zeros for it.
Anthropic's and Bedrock's input counts are passed on without the cache.
"""

from __future__ import annotations

from typing import Final

from spanledger.conventions import coerce
from spanledger.conventions.dialect import (
    AGENT_NAME,
    CONVERSATION_ID,
    ERROR_TYPE,
    MODEL_CALLS,
    STRUCTURAL,
    TOOL_NAME,
    USAGE,
    WORKFLOW_NAME,
    Dialect,
    Facts,
    Kinded,
)

_EVENT: Final = "crewai.event_name"
_ROLE: Final = "crewai.agent.role"
_FAILURE: Final = "crewai.tool.failure.code"
_COUNTED: Final = ("gen_ai.usage.input_tokens", "gen_ai.usage.output_tokens")


def _complete(facts: Facts) -> None:
    if _EVENT not in facts.attributes:
        return
    if facts.kind == "agent":
        facts.correct(AGENT_NAME, _ROLE, coerce.text(facts.attributes.get(_ROLE)))
    elif facts.kind == "tool" and _FAILURE in facts.attributes:
        facts.failed = True
        facts.offer(ERROR_TYPE, _FAILURE, coerce.text(facts.attributes[_FAILURE]))
    elif facts.kind in MODEL_CALLS:
        facts.forget(CONVERSATION_ID)
        facts.offer_found(CONVERSATION_ID, "session.id", coerce.text)
        if all(facts.values.get(target) == 0 for target in _COUNTED):
            for target in USAGE:
                facts.forget(target)


DIALECT: Final = Dialect(
    name="crewai",
    source="https://github.com/crewAIInc/crewAI",
    scopes=("crewai",),
    evidence=(_EVENT,),
    operations={"execute_task": STRUCTURAL, "execute_method": STRUCTURAL},
    names={
        "execute crew": Kinded("workflow", "invoke_workflow"),
        "execute flow": Kinded("workflow", "invoke_workflow"),
        "execute agent": Kinded("agent", "invoke_agent"),
        "a2a delegate": Kinded("agent", "invoke_agent"),
        "call tool": Kinded("tool", "execute_tool"),
        "call llm": Kinded("llm", "chat"),
        "agent reasoning": Kinded("plan", "plan"),
        "query memory": Kinded("memory", "search_memory"),
        "retrieve memory": Kinded("memory", "search_memory"),
        "save memory": Kinded("memory", "create_memory"),
        "query knowledge": Kinded("retrieval", "retrieval"),
        "search knowledge": Kinded("retrieval", "retrieval"),
        "evaluate guardrail": Kinded("guardrail"),
        "request human feedback": Kinded("human"),
        "receive human feedback": Kinded("human"),
    },
    sources={ERROR_TYPE: ("crewai.mcp.error_type",), "gen_ai.skill.name": ("crewai.skill.name",)},
    sources_by_kind={
        "workflow": {WORKFLOW_NAME: ("crewai.crew.name", "crewai.flow.name")},
        "agent": {"gen_ai.agent.description": ("crewai.agent.goal",)},
        "tool": {TOOL_NAME: ("crewai.mcp.tool_name",)},
    },
    complete=_complete,
)

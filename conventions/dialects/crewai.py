"""CrewAI 1.15 (native spans). Its anonymous product telemetry (`crewai.telemetry`) has no word of this and is no work.

Span names are fixed phrases. An agent's `gen_ai.agent.name` is a hash of it; people know it by its role. On model
calls `gen_ai.conversation.id` is the id of a task, an agent or a kickoff, and the model that answered is the one that
was asked. A call without usage has zeros for it, one of Gemini has zero for its input, one of Bedrock has nothing, and
one through LiteLLM that asked for a tool ends with the run. A tool that failed has, beside its span or that of its
flow, a second one without time; a tool of an MCP server has one below it, under the server's name for it.
"""

from __future__ import annotations

from typing import Final

from spanledger.conventions import coerce
from spanledger.conventions.dialect import (
    AGENT_NAME,
    CONVERSATION_ID,
    ERROR_TYPE,
    MODEL_CALLS,
    SPARED,
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
_FAILURES: Final = ("crewai.tool.failure.code", "crewai.tool.failure.reason")
_REPEATS: Final = ("tool failure", "execute mcp tool")


def _complete(facts: Facts) -> None:
    if _EVENT not in facts.attributes:
        return
    if facts.kind == "agent":
        facts.correct(AGENT_NAME, _ROLE, coerce.text(facts.attributes.get(_ROLE)))
    elif facts.span.name in _REPEATS:
        facts.kind, facts.operation = STRUCTURAL
        facts.forget(TOOL_NAME)
    elif facts.kind == "tool":
        for key in _FAILURES:
            if key in facts.attributes:
                facts.failed = True
                if facts.values.get(ERROR_TYPE) in (None, "_OTHER"):
                    facts.correct(ERROR_TYPE, key, coerce.text(facts.attributes[key]))
    elif facts.kind in MODEL_CALLS:
        facts.forget(CONVERSATION_ID)
        facts.offer_found(CONVERSATION_ID, "session.id", coerce.text)
        if facts.attributes[_EVENT] == "llm_call_started":  # whose end never came, which is called an error
            facts.offer(SPARED, _EVENT, True)
        if facts.values.get("gen_ai.usage.input_tokens") == 0:
            for target in USAGE:  # what the output cost would pass for the whole
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

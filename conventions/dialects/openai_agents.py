"""The spans of OpenAI's own Agents SDK (Python 0.1 to 0.24, JavaScript to 0.20), as bridges carry them to OTLP.

The SDK has spans, and no OpenTelemetry: a processor of somebody's turns each into one, its type, name and trace under
`openai_agents.*`. OpenInference, OpenLLMetry, Logfire and OTel's own instrumentation have bridges with dialects of
their own. The group of a trace is its conversation.
"""

from __future__ import annotations

from typing import Final

from spanledger.conventions.dialect import (
    AGENT_NAME,
    CONVERSATION_ID,
    MODEL_CALLS,
    REQUEST_MODEL,
    RESPONSE_ID,
    TOOL_NAME,
    WORKFLOW_NAME,
    Dialect,
    Facts,
    Kinded,
)
from spanledger.conventions.provider_usage import offer_usage_found

_PREFIX: Final = "openai_agents."
_TYPE: Final = _PREFIX + "span_type"
_CHAT: Final = Kinded("llm", "chat")


def _complete(facts: Facts) -> None:
    if facts.kind in MODEL_CALLS:
        offer_usage_found(facts, _PREFIX + "usage")


DIALECT: Final = Dialect(
    name="openai_agents",
    source="https://github.com/openai/openai-agents-python/tree/main/src/agents/tracing",
    scopes=("openai-agents", "openai_agents", "@openai/agents"),
    evidence=(_PREFIX,),
    kinds={
        _TYPE: {
            "agent": Kinded("agent", "invoke_agent"),
            "function": Kinded("tool", "execute_tool"),
            "generation": _CHAT,
            "response": _CHAT,
            "trace": Kinded("workflow", "invoke_workflow"),
            "guardrail": Kinded("guardrail"),
        }
    },
    sources={CONVERSATION_ID: (_PREFIX + "group_id",)},
    sources_by_kind={
        "llm": {REQUEST_MODEL: (_PREFIX + "model",), RESPONSE_ID: (_PREFIX + "response_id",)},
        "agent": {AGENT_NAME: (_PREFIX + "name", _PREFIX + "agent_name")},
        "tool": {TOOL_NAME: (_PREFIX + "name", _PREFIX + "tool_name")},
        "workflow": {WORKFLOW_NAME: (_PREFIX + "workflow_name", _PREFIX + "name")},
    },
    content={
        _PREFIX + "input": ("gen_ai.input.messages", "gen_ai.tool.call.arguments"),
        _PREFIX + "output": ("gen_ai.output.messages", "gen_ai.tool.call.result"),
    },
    complete=_complete,
)

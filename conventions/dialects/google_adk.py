"""Google's Agent Development Kit: Python 1.x to 2.13 (telemetry schemas 1 and 2), JavaScript to 2.0, Java 1.8.

Schema 2 speaks the conventions. In schema 1 `call_llm` is the model call where it is alone: in JavaScript and in
Python before 1.24. Later it wraps a `generate_content` and is only structure. The model's own answer stands in
`llm_response` and has what the attributes leave out. `gcp.vertex.agent` is the framework, never the provider.
"""

from __future__ import annotations

import re
from typing import Final

from spanledger.conventions import coerce
from spanledger.conventions.dialect import (
    AGENT_NAME,
    CONVERSATION_ID,
    FINISH_REASONS,
    MODEL_CALLS,
    PROVIDER,
    RESPONSE_MODEL,
    STRUCTURAL,
    TOOL_CALL_ID,
    TOOL_NAME,
    Dialect,
    Facts,
    Kinded,
)
from spanledger.conventions.provider_usage import offer_usage_found, usage_within
from spanledger.conventions.values import Value

_REQUEST: Final = "gcp.vertex.agent.llm_request"
_RESPONSE: Final = "gcp.vertex.agent.llm_response"
_CALL: Final = "call_llm"
_TOOL: Final = "execute_tool "
_MERGED: Final = ("execute_tool (merged)", "(merged tools)")
_SOURCE: Final = "adk.experimental.response.source"

_GENERATES_CONTENT: Final = (1, 24)
"""Python's first version with spans of its own for `generate_content`."""
_TELLS_THE_END: Final = (2, 13)
"""Python's first version known to write pieces of streams, too: those have no reason why the answer ended."""
_model_version: Final = coerce.matching(re.compile(r'"model_?[vV]ersion": ?"([\w.:/@-]{1,256})"'))
_SPACED: Final = re.compile(r'\{"\w+": ')


def _call_llm(facts: Facts) -> Kinded:
    # JavaScript writes JSON without spaces, and nothing at all on a call that failed.
    python = facts.find(_REQUEST, _is_spaced) or (facts.find(_REQUEST, _is_empty) and AGENT_NAME not in facts.values)
    return STRUCTURAL if python and _version(facts) >= _GENERATES_CONTENT else Kinded("llm", "generate_content")


def _version(facts: Facts) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d{1,4}", facts.version[:32])[:2])


def _is_spaced(request: Value) -> bool:
    return isinstance(request, str) and _SPACED.match(request) is not None


def _is_empty(request: Value) -> bool:
    return request == "{}"


def _is_broken_off(facts: Facts) -> bool:
    """Tell whether a stream of Gemini came to no end; what it tells of the output until then grows."""
    ends = FINISH_REASONS in facts.values or _version(facts) < _TELLS_THE_END
    return not ends and (facts.text(PROVIDER) or "").startswith("gcp.")


def _complete(facts: Facts) -> None:
    attributes = facts.attributes
    if facts.span.name == _MERGED[0] or facts.text(TOOL_NAME) == _MERGED[1]:
        facts.kind, facts.operation = STRUCTURAL  # sums up calls that have spans of their own
        facts.forget(TOOL_NAME)
        facts.forget(TOOL_CALL_ID)
    elif facts.kind == "tool" and facts.span.name.startswith(_TOOL):  # all that a tool which threw has in JavaScript
        facts.offer(TOOL_NAME, "", facts.span.name[len(_TOOL) :][:128] or None)
    elif facts.kind == "agent" and facts.span.name.startswith("agent_run ["):
        facts.offer(AGENT_NAME, "", facts.span.name[len("agent_run [") :].rstrip("]")[:128] or None)
    elif facts.kind in MODEL_CALLS:
        if facts.span.name == _CALL and _RESPONSE not in attributes and "gcp.vertex.agent.event_id" not in attributes:
            facts.failed = True  # everything is written when the answer is there
        facts.offer_found(RESPONSE_MODEL, _RESPONSE, _model_version)
        offer_usage_found(facts, _RESPONSE, usage_within)
        if attributes.get(_SOURCE) == "callback":
            facts.unbilled = "callback"
        elif _is_broken_off(facts):
            facts.forget_beginning()


DIALECT: Final = Dialect(
    name="google_adk",
    source="https://github.com/google/adk-python/tree/main/src/google/adk/telemetry",
    scopes=("gcp.vertex.agent",),
    evidence=("gcp.vertex.agent.", "adk."),
    operations={
        "compact_events": STRUCTURAL,
        "handle_context_caching": STRUCTURAL,
        "create_cache": STRUCTURAL,
        "send_data": STRUCTURAL,
        "managed_agent_interaction": Kinded("agent", "invoke_agent"),
    },
    names={
        "invocation": Kinded("workflow", "invoke_workflow"),
        "agent_run ": Kinded("agent", "invoke_agent"),
        _TOOL: Kinded("tool", "execute_tool"),
        _CALL: _call_llm,
        "compact_events": STRUCTURAL,
        "handle_context_caching": STRUCTURAL,
        "create_cache": STRUCTURAL,
        "send_data": STRUCTURAL,
        "managed_agent_interaction": Kinded("agent", "invoke_agent"),
    },
    sources={
        CONVERSATION_ID: ("gcp.vertex.agent.session_id",),
        TOOL_CALL_ID: ("gen_ai.tool_call.id",),  # Java
        "gen_ai.usage.reasoning.output_tokens": ("gen_ai.usage.experimental.reasoning_tokens",),
        "gen_ai.skill.name": ("adk.skill.name", "adk.experimental.skill.name"),
    },
    content={
        _REQUEST: ("gen_ai.input.messages", "gen_ai.system_instructions", "gen_ai.tool.definitions"),
        _RESPONSE: ("gen_ai.output.messages",),
        "gcp.vertex.agent.tool_call_args": ("gen_ai.tool.call.arguments",),
        "gcp.vertex.agent.tool_response": ("gen_ai.tool.call.result",),
    },
    complete=_complete,
)

"""Logfire's own integrations: of the clients of OpenAI and Anthropic, and of the OpenAI Agents SDK; 2.x to 5.4.

A stream is two spans: one around the request, which ends before there is an answer, and a log of no length that
has the answer. The log is the call. A span is also announced by a `pending_span` when it begins, whatever made it;
with Logfire's exporter that happens to the spans of all other dialects too. Span names are templates.
"""

from __future__ import annotations

import re
from typing import Final

from spanledger.conventions import coerce
from spanledger.conventions.dialect import (
    AGENT_NAME,
    CONVERSATION_ID,
    MODEL_CALLS,
    REQUEST_MODEL,
    RESPONSE_ID,
    STRUCTURAL,
    TOOL_NAME,
    WORKFLOW_NAME,
    Dialect,
    Facts,
    Kinded,
)
from spanledger.conventions.provider_usage import offer_usage_found, usage_within
from spanledger.conventions.values import Value

_RAW: Final = "gen_ai.usage.raw"
_MESSAGES: Final = "gen_ai.output.messages"
_ANSWERS: Final = ("response_data", "response")
_ANSWERED: Final = (
    *_ANSWERS, _RAW, "gen_ai.usage.input_tokens", _MESSAGES, "gen_ai.response.id",
    "gen_ai.response.finish_reasons",
)  # fmt: skip
_STREAM: Final = "streaming response from "
_ANTHROPIC: Final = "logfire.anthropic"
_REQUESTS: Final = ("logfire.openai", _ANTHROPIC)
_AGENTS: Final = "logfire.openai_agents"
_STATUS_ERROR: Final = 2
_id_in: Final = coerce.matching(re.compile(r'^\{"id": ?"([\w.:-]{1,256})"'))
_model_in: Final = coerce.matching(re.compile(r'"model": ?"([\w.:/@-]{1,256})"'))

_CHAT: Final = Kinded("llm", "chat")


def _complete(facts: Facts) -> None:
    attributes = facts.attributes
    if facts.scope == _AGENTS and "error" in attributes:
        facts.failed = True
    if facts.kind not in MODEL_CALLS:
        return
    if facts.scope in _REQUESTS and _opens_stream(facts):
        facts.kind, facts.operation = STRUCTURAL
        return
    facts.offer_found(REQUEST_MODEL, "request_data", _model_in)
    offer_usage_found(facts, _RAW)
    if facts.scope == _AGENTS:
        offer_usage_found(facts, "usage")
    for key in _ANSWERS:
        offer_usage_found(facts, key, usage_within)
        facts.offer_found(RESPONSE_ID, key, _id_in)
    if facts.scope == _ANTHROPIC and facts.span.name.startswith(_STREAM) and facts.find(_MESSAGES, _is_unfinished):
        facts.forget_beginning()


def _is_unfinished(answer: Value) -> bool:
    """Tell whether a stream of Anthropic broke off: it says why it ended with the last of its tokens."""
    return isinstance(answer, str) and '"finish_reason"' not in answer


def _opens_stream(facts: Facts) -> bool:
    """Tell whether this is the request of a stream, whose answer is another span."""
    if facts.span.name.startswith(_STREAM) or facts.span.status.code == _STATUS_ERROR:
        return False
    return not any(key in facts.attributes for key in _ANSWERED)


DIALECT: Final = Dialect(
    name="logfire",
    source="https://github.com/pydantic/logfire",
    scopes=(*_REQUESTS, _AGENTS),
    evidence=(_RAW,),
    placeholders={"logfire.span_type": "pending_span"},
    names={
        "Chat Completion with ": _CHAT,
        "Responses API": _CHAT,
        "Responses API with ": _CHAT,
        "Message with ": _CHAT,
        _STREAM: _CHAT,
        "Completion with ": Kinded("llm", "text_completion"),
        "Embedding Creation with ": Kinded("embedding", "embeddings"),
        "OpenAI Agents trace: ": Kinded("workflow", "invoke_workflow"),
        "Agent run: ": Kinded("agent", "invoke_agent"),
        "Function: ": Kinded("tool", "execute_tool"),
        "Chat completion with ": _CHAT,
        "Guardrail ": Kinded("guardrail"),
        "Handoff: ": STRUCTURAL,
        "Turn ": STRUCTURAL,
        "Task: ": STRUCTURAL,
    },
    sources_by_kind={
        "workflow": {WORKFLOW_NAME: ("name",), CONVERSATION_ID: ("group_id",)},
        "agent": {AGENT_NAME: ("name",)},
        "tool": {
            TOOL_NAME: ("name",),
            "gen_ai.tool.call.arguments": ("input",),
            "gen_ai.tool.call.result": ("output",),
        },
    },
    content={
        "request_data": ("gen_ai.input.messages", "gen_ai.system_instructions", "gen_ai.tool.definitions"),
        "response_data": ("gen_ai.output.messages",),
        "events": ("gen_ai.input.messages", "gen_ai.output.messages"),
    },
    complete=_complete,
)

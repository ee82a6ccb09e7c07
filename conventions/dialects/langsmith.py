"""LangSmith in its OpenTelemetry mode: SDK 0.3 to 0.14.17 for Python and 0.3 to 0.10.5 for JavaScript.

Its own `gen_ai.operation.name` is not to be trusted: retrievers say `embeddings` and prompt templates `chat`, so
`langsmith.span.kind` decides. `gen_ai.system` is guessed from the model's name; `ls_provider` is known. The
breakdown of the tokens stands in `usage_metadata` and, as JSON or as Python's `repr`, in the token details.
`langsmith.trace.session_*` is a project and no conversation.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from spanledger.conventions import coerce
from spanledger.conventions.answers import offer_who_answered
from spanledger.conventions.dialect import (
    AGENT_NAME,
    CONVERSATION_ID,
    COST,
    ERROR_TYPE,
    MODEL_CALLS,
    PROVIDER,
    REQUEST_MODEL,
    STRUCTURAL,
    TOOL_NAME,
    USER_ID,
    WORKFLOW_NAME,
    Dialect,
    Facts,
    Kinded,
)
from spanledger.conventions.langchain import is_from_cache
from spanledger.conventions.provider_usage import offer_usage, offer_usage_found, usage_object, usage_within
from spanledger.conventions.providers import provider_of
from spanledger.conventions.tool_results import is_failed_result
from spanledger.conventions.values import Value, attributes_of

if TYPE_CHECKING:
    from opentelemetry.proto.trace.v1.trace_pb2 import Span

_KIND: Final = "langsmith.span.kind"
_METADATA: Final = "langsmith.metadata."
_INTEGRATION: Final = _METADATA + "ls_integration"
_USAGE: Final = ("langsmith.usage_metadata", _METADATA + "usage_metadata")
_DETAILS: Final = ("input_token_details", "output_token_details")
_ANSWER: Final = "gen_ai.completion"
_PARAMETERS: Final = _METADATA + "ls_invocation_params"

# "InternalServerError('Error code: 500 ...": the exception's own type is always `Exception`.
_EXCEPTION: Final = re.compile(r"([A-Za-z_][\w.]{0,100})(?:\(|: )")
_EVENTS: Final = 64


def _chain(facts: Facts) -> Kinded:
    agent = facts.text(AGENT_NAME)
    # The parts of an agent of LangChain name it too; what is outermost is the agent, whatever it is called.
    if agent is not None and (agent == facts.span.name or not facts.span.parent_span_id):
        return Kinded("agent", "invoke_agent")
    is_graph = facts.span.name == "LangGraph" or facts.attributes.get(_INTEGRATION) == "langgraph"
    if is_graph and not facts.span.parent_span_id:
        return Kinded("workflow", "invoke_workflow")
    return STRUCTURAL


_KINDS: Final[Mapping[str, Kinded]] = {
    "llm": Kinded("llm", "chat"),
    "embedding": Kinded("embedding", "embeddings"),
    "retriever": Kinded("retrieval", "retrieval"),
    "tool": Kinded("tool", "execute_tool"),
    "prompt": STRUCTURAL,
    "parser": STRUCTURAL,
}


def _complete(facts: Facts) -> None:
    said = facts.attributes.get(_KIND)
    if not isinstance(said, str):
        return
    facts.kind, facts.operation = _chain(facts) if said == "chain" else _KINDS.get(said, STRUCTURAL)
    served = coerce.text(facts.attributes.get(_METADATA + "ls_provider"))
    if served is not None and PROVIDER not in facts.attributes:
        facts.correct(PROVIDER, _METADATA + "ls_provider", provider_of(served))
    if facts.kind == "tool":
        facts.offer_span_name(TOOL_NAME)
        if facts.find(_ANSWER, is_failed_result):
            facts.failed = True
    elif facts.kind == "workflow":
        facts.offer_span_name(WORKFLOW_NAME)
    elif facts.kind in MODEL_CALLS:
        _read_usage(facts)
        offer_who_answered(facts, _ANSWER)
        if facts.find(_USAGE[1], _is_free) or facts.find(_ANSWER, is_from_cache):
            facts.unbilled = "cache_hit"
        parameters = usage_object(facts.attributes.get(_PARAMETERS))
        if parameters is not None:
            facts.offer("gen_ai.request.reasoning.level", _PARAMETERS, coerce.text(parameters.get("reasoning_effort")))
    _read_exception(facts)


def _read_usage(facts: Facts) -> None:
    attributes = facts.attributes
    for key in _USAGE:
        if offer_usage_found(facts, key):
            facts.offer_found(COST, key, _cost)
            return
    usage = {name: facts.values.get(f"gen_ai.usage.{name}") for name in ("input_tokens", "output_tokens")}
    for name in _DETAILS:
        usage[name] = usage_object(attributes.get(f"gen_ai.usage.{name}"))
    offer_usage(facts, f"gen_ai.usage.{_DETAILS[0]}", usage)
    offer_usage_found(facts, _ANSWER, usage_within)  # what LangChain before 1.0 tells of a cache stands there only


def _is_free(usage: Value) -> bool:
    """Tell whether an answer came out of LangChain's own cache, which says so among the tokens.

    It writes the total alone, and no fraction. Who knows what a model of one's own costs says what made that up, too.
    """
    told = usage_object(usage) or {}
    total = told.get("total_cost")
    return type(total) is int and total == 0 and "input_cost" not in told and "output_cost" not in told


def _cost(usage: Value) -> float | None:
    return coerce.number((usage_object(usage) or {}).get("total_cost"))


def _read_exception(facts: Facts) -> None:
    """See a failure in an exception event, for the status says OK."""
    for event in facts.span.events[:_EVENTS]:
        if event.name != "exception":
            continue
        facts.failed = True
        facts.offer(ERROR_TYPE, "", facts.find_in_span(_error_in_message))
        return


def _error_in_message(span: Span) -> str | None:
    for event in span.events[:_EVENTS]:
        if event.name == "exception":
            message = attributes_of(event.attributes).get("exception.message")
            found = _EXCEPTION.match(message) if isinstance(message, str) else None
            return None if found is None else found[1]
    return None


DIALECT: Final = Dialect(
    name="langsmith",
    source="https://github.com/langchain-ai/langsmith-sdk",
    secrets=("langsmith.request.headers",),
    scopes=("langsmith",),
    evidence=(_KIND, *_USAGE),
    kinds={_KIND: {**_KINDS, "chain": _chain}},
    operations={"chain": STRUCTURAL, "parser": STRUCTURAL},
    sources={
        REQUEST_MODEL: (_METADATA + "ls_model_name",),
        "gen_ai.request.temperature": (_METADATA + "ls_temperature",),
        "gen_ai.request.max_tokens": (_METADATA + "ls_max_tokens",),
        "gen_ai.request.stop_sequences": (_METADATA + "ls_stop",),
        "gen_ai.request.stream": ("langsmith.request.streaming",),
        CONVERSATION_ID: tuple(_METADATA + name for name in ("session_id", "conversation_id", "thread_id")),
        USER_ID: (_METADATA + "user_id",),
        AGENT_NAME: (_METADATA + "lc_agent_name",),
    },
    complete=_complete,
)

"""Firebase Genkit 1.x.

There is no `gen_ai.*` at all: everything stands in JSON. A model's name has its plugin in front, its answer the
provider's own (`raw`, or `custom` from Google's plugin), which says more about tokens than Genkit's `usage`. The
`generate` around each turn repeats the last answer and is structure.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Final

from spanledger.conventions import coerce
from spanledger.conventions.coerce import Coerce
from spanledger.conventions.dialect import (
    CONVERSATION_ID,
    FINISH_REASONS,
    MODEL_CALLS,
    PROVIDER,
    REQUEST_MODEL,
    RESPONSE_ID,
    RESPONSE_MODEL,
    SERVICE_TIER,
    TOOL_NAME,
    WORKFLOW_NAME,
    Dialect,
    Facts,
    Kinded,
)
from spanledger.conventions.provider_usage import offer_usage_found, searches_charged
from spanledger.conventions.providers import provider_of
from spanledger.conventions.values import Value

_SUBTYPE: Final = "genkit:metadata:subtype"
_NAME: Final = "genkit:name"
_INPUT: Final = "genkit:input"
_OUTPUT: Final = "genkit:output"
_CONTEXT: Final = "genkit:metadata:context"
_PLUGINS: Final[Mapping[str, str]] = {"googleai": "gcp.gemini", "vertexai": "gcp.vertex_ai"}


def _complete(facts: Facts) -> None:
    attributes = facts.attributes
    if attributes.get("genkit:state") == "error":
        facts.failed = True
    if _CONTEXT in attributes:
        facts.offer_found(CONVERSATION_ID, _CONTEXT, _session)
    if facts.kind in MODEL_CALLS:
        _read_model(facts)
        if _OUTPUT in attributes:
            _read_answer(facts)


def _read_model(facts: Facts) -> None:
    name = coerce.text(facts.attributes.get(_NAME))
    if name is None:
        return
    plugin, _, model = name.partition("/")
    if model:
        facts.offer(PROVIDER, _NAME, _PLUGINS.get(plugin) or provider_of(plugin))
    facts.offer(REQUEST_MODEL, _NAME, model or name)


def _read_answer(facts: Facts) -> None:
    for within in (_own_usage, _own_metadata, _usage):
        offer_usage_found(facts, _OUTPUT, within)
    for target, read in _ANSWERED.items():
        facts.offer_found(target, _OUTPUT, read)
    if queries := facts.find(_OUTPUT, _queries):
        model = facts.text(RESPONSE_MODEL) or facts.text(REQUEST_MODEL)
        facts.offer("@web_search", _OUTPUT, searches_charged(model, queries))


def _session(context: Value) -> str | None:
    return coerce.text(_object(coerce.parse_json(context)).get("sessionId"))


def _own_usage(answer: Value) -> Value:
    return _usage_of(_own(answer).get("usage"))


def _own_metadata(answer: Value) -> Value:
    return _usage_of(_own(answer).get("usageMetadata"))


def _usage(answer: Value) -> Value:
    return _usage_of(_answer(answer).get("usage"))


def _usage_of(value: Value) -> Value:
    return value if isinstance(value, dict) else None


def _model(answer: Value) -> str | None:
    own = _own(answer)
    return coerce.text(own.get("model")) or coerce.text(own.get("modelVersion"))


def _id(answer: Value) -> str | None:
    own = _own(answer)
    return coerce.text(own.get("id")) or coerce.text(own.get("responseId"))


def _tier(answer: Value) -> str | None:
    return coerce.text(_own(answer).get("service_tier"))


def _queries(answer: Value) -> int:
    """Return how many searches an answer of Gemini is grounded on."""
    candidates = _own(answer).get("candidates")
    told = (
        [_object(_object(one).get("groundingMetadata")) for one in candidates] if isinstance(candidates, list) else []
    )
    return sum(len(queries) for one in told if isinstance(queries := one.get("webSearchQueries"), list))


def _finish_reasons(answer: Value) -> list[Value] | None:
    # Genkit says "stop" for a call of a tool, the provider does not.
    own, whole = _own(answer), _answer(answer)
    reasons = _reasons(own.get("choices"), "finish_reason") or _reasons(whole.get("candidates"), "finishReason")
    said = coerce.text(own.get("stop_reason")) or coerce.text(whole.get("finishReason"))
    return reasons or (None if said is None else [said])


_ANSWERED: Final[Mapping[str, Coerce]] = {
    RESPONSE_MODEL: _model,
    RESPONSE_ID: _id,
    SERVICE_TIER: _tier,
    FINISH_REASONS: _finish_reasons,
}


def _own(answer: Value) -> Mapping[str, Value]:
    """Return the provider's own answer."""
    whole = _answer(answer)
    return _object(whole.get("raw")) or _object(whole.get("custom"))


def _answer(answer: Value) -> Mapping[str, Value]:
    return _last_answer(answer) if isinstance(answer, str) and len(answer) <= coerce.MAX_JSON_CHARS else {}


@lru_cache(maxsize=1)
def _last_answer(answer: str) -> Mapping[str, Value]:
    """Several facts are read from an answer one after another."""
    return _object(coerce.parse_json(answer))


def _reasons(choices: Value, key: str) -> list[Value]:
    if not isinstance(choices, list):
        return []
    found = [coerce.text(choice.get(key)) for choice in choices if isinstance(choice, dict)]
    return [reason for reason in found if reason is not None]


def _object(value: Value) -> dict[str, Value]:
    return value if isinstance(value, dict) else {}


DIALECT: Final = Dialect(
    name="genkit",
    source="https://github.com/genkit-ai/genkit",
    scopes=("genkit-tracer",),
    evidence=("genkit:type", "genkit:path", _NAME, _SUBTYPE),
    kinds={
        _SUBTYPE: {
            "model": Kinded("llm", "chat"),
            "background-model": Kinded("llm", "chat"),
            "embedder": Kinded("embedding", "embeddings"),
            "retriever": Kinded("retrieval", "retrieval"),
            "tool": Kinded("tool", "execute_tool"),
            "tool.v2": Kinded("tool", "execute_tool"),
            "flow": Kinded("workflow", "invoke_workflow"),
            "evaluator": Kinded("evaluation"),
        },
        "genkit:type": {"flow": Kinded("workflow", "invoke_workflow")},
    },
    sources_by_kind={"tool": {TOOL_NAME: (_NAME,)}, "workflow": {WORKFLOW_NAME: (_NAME,)}},
    content={
        _INPUT: (
            "gen_ai.input.messages", "gen_ai.tool.definitions", "gen_ai.tool.call.arguments",
            "gen_ai.retrieval.query.text",
        ),
        _OUTPUT: ("gen_ai.output.messages", "gen_ai.tool.call.result", "gen_ai.retrieval.documents"),
    },
    complete=_complete,
)  # fmt: skip

"""traceAI of Future AGI (1.x), and others that name the kind of a span in `gen_ai.span.kind` (Alibaba's LoongSuite).

OpenInference's shapes under names of the conventions: `gen_ai.input.messages.0.message.role`. Older releases write
OpenInference's own names, with a kind of their own. The model in the request's place is the one that answered, where
there is an answer; the one that was asked stands among the parameters.
"""

from __future__ import annotations

from typing import Final

from spanledger.conventions import coerce
from spanledger.conventions.dialect import (
    CONVERSATION_ID,
    COST,
    MODEL_CALLS,
    PROVIDER,
    REQUEST_MODEL,
    RESPONSE_MODEL,
    STRUCTURAL,
    TOOL_NAME,
    USER_ID,
    Dialect,
    Facts,
    Kinded,
)
from spanledger.conventions.emitters import ANSWER
from spanledger.conventions.provider_usage import offer_usage_found, usage_within
from spanledger.conventions.providers import provider_of

_PARAMETERS: Final = "gen_ai.request.parameters"
_KINDS: Final = ("fi.span.kind", "gen_ai.span.kind", "gen_ai.span_kind_name")
_REQUESTED: Final = {
    "gen_ai.request.max_tokens": ("max_tokens", "max_completion_tokens", "max_output_tokens"),
    "gen_ai.request.temperature": ("temperature",),
    "gen_ai.request.top_p": ("top_p",),
    "gen_ai.request.seed": ("seed",),
    "gen_ai.request.stream": ("stream",),
    "gen_ai.request.reasoning.level": ("reasoning_effort",),
}


def _complete(facts: Facts) -> None:
    attributes = facts.attributes
    if facts.kind == "tool":
        facts.offer_span_name(TOOL_NAME)
    if facts.kind not in MODEL_CALLS:
        return
    if PROVIDER not in facts.values:
        served = coerce.text(attributes.get("llm.provider")) or coerce.text(attributes.get("llm.system"))
        facts.offer(PROVIDER, "llm.provider", None if served is None else provider_of(served))
    if offer_usage_found(facts, "output.value", usage_within):
        facts.emitter = ANSWER
    parameters = coerce.parse_json(attributes.get(_PARAMETERS))
    if not isinstance(parameters, dict):
        return
    asked, named = coerce.text(parameters.get("model")), facts.text(REQUEST_MODEL)
    if asked is not None and asked != named:
        facts.offer(RESPONSE_MODEL, REQUEST_MODEL, named)
        facts.correct(REQUEST_MODEL, _PARAMETERS, asked)
    for target, names in _REQUESTED.items():
        for name in names:
            if name in parameters:
                facts.offer(target, _PARAMETERS, coerce.coercion_of(target)(parameters[name]))


_TABLE: Final = {
    "LLM": Kinded("llm", "chat"),
    "EMBEDDING": Kinded("embedding", "embeddings"),
    "RETRIEVER": Kinded("retrieval", "retrieval"),
    "TOOL": Kinded("tool", "execute_tool"),
    "AGENT": Kinded("agent", "invoke_agent"),
    "A2A_CLIENT": Kinded("agent", "invoke_agent"),
    "GUARDRAIL": Kinded("guardrail"),
    "EVALUATOR": Kinded("evaluation"),
    "ENTRY": STRUCTURAL,
}

DIALECT: Final = Dialect(
    name="trace_ai",
    source="https://github.com/future-agi/traceAI",
    evidence=_KINDS,
    kinds=dict.fromkeys(_KINDS, _TABLE),
    sources={
        REQUEST_MODEL: ("llm.model",),
        "gen_ai.usage.cache_read.input_tokens": (
            "gen_ai.usage.input_tokens.cache_read", "gen_ai.usage.cache_read_tokens",
        ),
        "gen_ai.usage.audio.input_tokens": ("gen_ai.usage.input_tokens.audio",),
        "gen_ai.usage.audio.output_tokens": ("gen_ai.usage.output_tokens.audio",),
        CONVERSATION_ID: ("gen_ai.session.id",),
        USER_ID: ("gen_ai.user.id",),
        COST: ("gen_ai.cost.total",),
        "gen_ai.prompt.name": ("gen_ai.prompt.template.name",),
        "gen_ai.prompt.version": ("gen_ai.prompt.template.version",),
    },
    content={
        "gen_ai.input.messages.": ("gen_ai.input.messages",),
        "gen_ai.output.messages.": ("gen_ai.output.messages",),
        "gen_ai.tool.definitions.": ("gen_ai.tool.definitions",),
        "gen_ai.retrieval.query": ("gen_ai.retrieval.query.text",),
    },
    complete=_complete,
)  # fmt: skip

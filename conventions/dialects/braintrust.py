"""Braintrust's SDKs for Go, Java, Ruby, .NET and OpenTelemetry (2026): all they say is JSON under `braintrust.*`.

The type of a span is a field of `braintrust.span_attributes`; who sends OTLP by hand writes the fields as attributes
of their own (`braintrust.metrics.prompt_tokens`). An experiment's cases are structure, its scores are evaluations.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from spanledger.conventions import coerce
from spanledger.conventions.dialect import (
    COST,
    MODEL_CALLS,
    PROVIDER,
    REQUEST_MODEL,
    STRUCTURAL,
    TIME_TO_FIRST_CHUNK,
    TOOL_NAME,
    Dialect,
    Facts,
    Kinded,
)
from spanledger.conventions.providers import provider_of
from spanledger.conventions.values import Value

_PREFIX: Final = "braintrust."
_TYPE: Final = _PREFIX + "span_attributes.type"
_METRICS: Final[Mapping[str, str]] = {
    "prompt_tokens": "gen_ai.usage.input_tokens",
    "completion_tokens": "gen_ai.usage.output_tokens",
    "tokens": "@total_tokens",
    "prompt_cached_tokens": "gen_ai.usage.cache_read.input_tokens",
    "prompt_cache_creation_tokens": "gen_ai.usage.cache_write.input_tokens",
    "completion_reasoning_tokens": "gen_ai.usage.reasoning.output_tokens",
}
_TYPES: Final = {
    "llm": Kinded("llm", "chat"),
    "tool": Kinded("tool", "execute_tool"),
    "score": Kinded("evaluation"),
    "SCORE": Kinded("evaluation"),
}


def _fields(facts: Facts, name: str) -> tuple[str, Mapping[str, Value]]:
    """Return an object by its attribute, and the attribute's key."""
    key = _PREFIX + name
    known = coerce.parse_json(facts.attributes.get(key))
    return key, known if isinstance(known, dict) else {}


def _complete(facts: Facts) -> None:
    if not facts.told:
        said = coerce.text(_fields(facts, "span_attributes")[1].get("type"))
        if said is not None:
            facts.kind, facts.operation = _TYPES.get(said, STRUCTURAL)
    if facts.kind == "tool":
        facts.offer_span_name(TOOL_NAME)
    if facts.kind not in MODEL_CALLS:
        return
    if facts.operation == "chat" and facts.span.name.lower().startswith("embed"):
        facts.kind, facts.operation = Kinded("embedding", "embeddings")
    key, metadata = _fields(facts, "metadata")
    served = coerce.text(metadata.get("provider"))
    facts.offer(PROVIDER, key, None if served is None else provider_of(served))
    facts.offer(REQUEST_MODEL, key, coerce.text(metadata.get("model")))
    key, metrics = _fields(facts, "metrics")
    for name, target in _METRICS.items():
        facts.offer(target, key, coerce.integer(metrics.get(name)))
    facts.offer(TIME_TO_FIRST_CHUNK, key, coerce.number(metrics.get("time_to_first_token")))
    facts.offer(COST, key, coerce.number(metrics.get("estimated_cost")))


DIALECT: Final = Dialect(
    name="braintrust",
    source="https://github.com/braintrustdata/braintrust-sdk-java",
    scopes=("braintrust",),
    evidence=tuple(
        _PREFIX + name for name in ("span_attributes", "span_attributes.", "metadata", "metrics", "metrics.")
    ),
    # Put on every span by Braintrust's processor.
    context=(_PREFIX + "parent", _PREFIX + "org", _PREFIX + "app_url"),
    kinds={_TYPE: _TYPES},
    sources={
        REQUEST_MODEL: (_PREFIX + "metadata.model",),
        PROVIDER: (_PREFIX + "metadata.provider",),
        **{target: (f"{_PREFIX}metrics.{name}",) for name, target in _METRICS.items()},
    },
    content={
        _PREFIX + "input_json": ("gen_ai.input.messages", "gen_ai.tool.call.arguments"),
        _PREFIX + "input": ("gen_ai.input.messages", "gen_ai.tool.call.arguments"),
        _PREFIX + "output_json": ("gen_ai.output.messages", "gen_ai.tool.call.result"),
        _PREFIX + "output": ("gen_ai.output.messages", "gen_ai.tool.call.result"),
    },
    complete=_complete,
)

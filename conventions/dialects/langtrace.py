"""Langtrace's SDKs for Python and TypeScript (1.x to 3.x).

Since 2.0 calls are told by the conventions; before, `llm.*` of their own with counts and messages in JSON. What a span
is says `langtrace.service.type`; the spans of frameworks around calls are structure.
"""

from __future__ import annotations

from typing import Final

from spanledger.conventions import coerce
from spanledger.conventions.dialect import (
    MODEL_CALLS,
    PROVIDER,
    REQUEST_MODEL,
    STRUCTURAL,
    Dialect,
    Facts,
    Kinded,
)
from spanledger.conventions.provider_usage import offer_usage_found
from spanledger.conventions.providers import provider_of

_SERVICE: Final = "langtrace.service."
_COUNTS: Final = "llm.token.counts"
_READS: Final = ("query", "search", "get", "similarity_search")  # no set: it may be a list


def _call(facts: Facts) -> Kinded:
    where = (coerce.text(facts.attributes.get(key)) or "" for key in ("llm.api", "url.path"))
    if any("embed" in path for path in where):
        return Kinded("embedding", "embeddings")
    return Kinded("llm", "chat") if facts.text(REQUEST_MODEL) is not None else STRUCTURAL


def _store(facts: Facts) -> Kinded:
    return Kinded("retrieval", "retrieval") if facts.attributes.get("db.operation") in _READS else STRUCTURAL


def _complete(facts: Facts) -> None:
    if facts.kind in MODEL_CALLS:
        served = coerce.text(facts.attributes.get(_SERVICE + "name"))
        facts.offer(PROVIDER, _SERVICE + "name", None if served is None else provider_of(served))
        offer_usage_found(facts, _COUNTS)


DIALECT: Final = Dialect(
    name="langtrace",
    source="https://github.com/Scale3-Labs/langtrace-python-sdk",
    scopes=("langtrace-python-sdk", "@langtrase/typescript-sdk"),
    evidence=(_SERVICE,),
    # Set by the application for all spans of a request.
    context=("langtrace.testId", "langtrace.sdk.name", "langtrace.version"),
    kinds={_SERVICE + "type": {"llm": _call, "vectordb": _store, "framework": STRUCTURAL}},
    sources={REQUEST_MODEL: ("llm.model",)},
    content={
        "llm.prompts": ("gen_ai.input.messages", "gen_ai.system_instructions"),
        "llm.responses": ("gen_ai.output.messages",),
    },
    complete=_complete,
)

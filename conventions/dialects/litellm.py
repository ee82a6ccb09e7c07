"""LiteLLM: the OpenTelemetry integration of SDK and proxy 1.40 to 1.109, and the new package of 1.10x.

One call can be on two spans: `litellm_request` has what LiteLLM made of it, its bill included, and the child
`raw_gen_ai_request` what the provider said. Where another span is active LiteLLM writes the first onto *that*
one, each call over the last, and then only the raw ones are whole.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from spanledger.conventions import coerce
from spanledger.conventions.content.reading import RAW_PROVIDERS
from spanledger.conventions.dialect import (
    CONVERSATION_ID,
    COST,
    ERROR_TYPE,
    MODEL_CALLS,
    OPERATION,
    PROVIDER,
    REQUEST_MODEL,
    RESPONSE_ID,
    RESPONSE_MODEL,
    SERVICE_TIER,
    STRUCTURAL,
    USER_ID,
    Dialect,
    Facts,
    Kinded,
)
from spanledger.conventions.provider_usage import offer_usage_found
from spanledger.conventions.providers import provider_of, provider_of_model

_RAW: Final = "raw_gen_ai_request"
_USAGE: Final = "metadata.usage_object"
_PROVIDER_MODEL: Final = "litellm.provider.model"
_CALL_ID: Final = "litellm.call_id"
_RAW_USAGE: Final = re.compile(r"llm\.([a-z0-9_-]{1,40})\.usage")

_RAW_CONTENT: Final[Mapping[str, tuple[str, ...]]] = {
    "messages": ("gen_ai.input.messages", "gen_ai.system_instructions"),
    "choices": ("gen_ai.output.messages",),
    "tools": ("gen_ai.tool.definitions",),
}

_CHAT: Final = Kinded("llm", "chat")
_COMPLETION: Final = Kinded("llm", "text_completion")
_EMBEDDING: Final = Kinded("embedding", "embeddings")
_CALL_TYPES: Final = {
    "acompletion": _CHAT,
    "completion": _CHAT,
    "anthropic_messages": _CHAT,
    "responses": _CHAT,
    "aresponses": _CHAT,
    "text_completion": _COMPLETION,
    "atext_completion": _COMPLETION,
    "embedding": _EMBEDDING,
    "aembedding": _EMBEDDING,
}
"""What LiteLLM calls what it was asked for. `completion` is its name for chat."""


def _raw(facts: Facts) -> Kinded:
    # Streams leave only the request: nothing that could count.
    return _CHAT if any(map(_RAW_USAGE.fullmatch, facts.attributes)) else STRUCTURAL


def _complete(facts: Facts) -> None:
    if facts.span.name == _RAW:
        _read_raw(facts)
        return
    attributes = facts.attributes
    called = attributes.get(OPERATION)
    if isinstance(called, str) and called in _CALL_TYPES and _CALL_ID in attributes:
        facts.kind, facts.operation = _CALL_TYPES[called]
    if facts.kind not in MODEL_CALLS:
        return
    offer_usage_found(facts, _USAGE)
    if coerce.flag(_lower(attributes.get("litellm.cache_hit"))):
        facts.unbilled = "cache_hit"
    if facts.is_found(RESPONSE_ID, _CALL_ID, coerce.text):
        facts.forget(RESPONSE_ID)  # a call that failed has LiteLLM's own id there
    model = coerce.text(attributes.get(_PROVIDER_MODEL))
    if model is not None and "/" in model:
        facts.offer(PROVIDER, _PROVIDER_MODEL, provider_of_model(model) or provider_of(model.partition("/")[0]))


def _read_raw(facts: Facts) -> None:
    """Read what the provider answered, under `llm.<provider>.*`."""
    for key in facts.attributes:
        if (found := _RAW_USAGE.fullmatch(key)) is None:
            continue
        answer = f"llm.{found[1]}."
        facts.kind, facts.operation = _CHAT
        facts.echo = True
        facts.offer(PROVIDER, key, provider_of(found[1]))
        facts.offer_found(RESPONSE_MODEL, answer + "model", coerce.text)
        facts.offer_found(RESPONSE_ID, answer + "id", coerce.text)
        facts.offer_found(SERVICE_TIER, answer + "service_tier", coerce.text)
        offer_usage_found(facts, key)
        return


def _lower(value: object) -> str | None:
    return str(value).lower() if isinstance(value, str | bool) else None


DIALECT: Final = Dialect(
    name="litellm",
    source="https://github.com/BerriAI/litellm/tree/main/litellm/integrations",
    scopes=("litellm",),
    evidence=("litellm.", _USAGE),
    kinds={"llm.request.type": _CALL_TYPES},
    operations=_CALL_TYPES,
    names={_RAW: _raw, "execute_guardrail ": Kinded("guardrail")},
    sources={
        COST: ("gen_ai.cost.total_cost",),
        ERROR_TYPE: ("litellm.provider.error.code",),
        REQUEST_MODEL: (_PROVIDER_MODEL,),
        USER_ID: ("litellm.end_user.id", "metadata.user_api_key_end_user_id"),
        CONVERSATION_ID: ("litellm.metadata.session_id", "metadata.session_id"),
        "gen_ai.request.stream": ("litellm.request.streaming",),
    },
    content={f"llm.{provider}.{key}": targets for provider in RAW_PROVIDERS for key, targets in _RAW_CONTENT.items()},
    complete=_complete,
)

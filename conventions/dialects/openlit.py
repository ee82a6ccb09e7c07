"""OpenLIT: 1.45 for Python, 1.15 for JavaScript.

It speaks nearly the current names, with a great many of its own beside them. A cost of 0 is that of a model which
is not in its price list. Nodes of LangGraph are agents here, those of LangChain's own agents, too. On model calls
`gen_ai.tool.*` holds the calls that were asked for, joined by commas.
"""

from __future__ import annotations

from typing import Final

from spanledger.conventions import coerce
from spanledger.conventions.dialect import (
    AGENT_NAME,
    CONVERSATION_ID,
    COST,
    DATA_SOURCES,
    FINISH_REASONS,
    MAX_NAME_CHARS,
    MODEL_CALLS,
    OPERATION,
    PROVIDER,
    REQUEST_MODEL,
    STRUCTURAL,
    TIME_TO_FIRST_CHUNK,
    USAGE,
    Dialect,
    Facts,
    Kinded,
)
from spanledger.conventions.values import Value

_OPENAI: Final = "openlit.instrumentation.openai"
_FIRST_CHUNK: Final = "gen_ai.server.time_to_first_token"
_DB_OPERATION: Final = "db.operation.name"
_OUTPUT: Final = "gen_ai.output.type"
_OUTPUTS: Final = {"image": "image", "audio": "speech", "text_to_speech": "speech"}
_HEARD: Final = frozenset({"audio", "speech_to_text", "speech_to_text_translate"})
_SECONDS_HEARD: Final = ("gen_ai.response.audio.duration", "gen_ai.request.audio_duration")
_IMAGES: Final = "gen_ai.response.image"
_MAX_IMAGES: Final = 64
"""No call makes more: a longer list is of something else, or nonsense."""
_NODES: Final = frozenset({"agent", "model", "tools"})
"""Of which LangChain makes an agent: none is one by itself."""
_QUERIES: Final = frozenset({"fetch", "get", "query", "search", "select"})


def _is_zero(cost: Value) -> bool:
    return cost == 0


def _milliseconds(value: Value) -> int | None:
    seconds = coerce.number(value)
    return None if seconds is None or not 0 < seconds < 10**6 else round(seconds * 1000)


def _length(value: Value) -> int | None:
    return len(value) if isinstance(value, list) and 0 < len(value) <= _MAX_IMAGES else None


def _made_up(facts: Facts) -> bool:
    """Tell whether OpenLIT may have counted the texts: it was told nothing of the cache, so perhaps no tokens at all.

    From 1.45 on that is certain. Before, the counts of all streams of chat completions look like this. The Responses
    API ends a stream with its tokens, of whose cache OpenLIT before 1.40 has no word.
    """
    return (
        facts.scope == _OPENAI
        and facts.values.get("gen_ai.request.stream") is True
        and "gen_ai.usage.cache_read.input_tokens" not in facts.attributes
        and facts.values.get(FINISH_REASONS) != ["completed"]
    )


def _complete(facts: Facts) -> None:
    if facts.find_known(COST, _is_zero):
        facts.forget(COST)
    if facts.text(AGENT_NAME) in _NODES and facts.attributes.get(PROVIDER) == "langgraph":
        facts.forget(AGENT_NAME)
        if facts.kind == "agent":
            facts.kind, facts.operation = STRUCTURAL
    # Seconds, where others have milliseconds there. Without a stream it is the time of the whole answer.
    if facts.kind == "llm" and facts.values.get("gen_ai.request.stream") is True:
        facts.offer_found(TIME_TO_FIRST_CHUNK, _FIRST_CHUNK, coerce.number)
    called = facts.attributes.get(OPERATION)
    if facts.kind == "llm" and _made_up(facts):
        for target in (*USAGE, COST):
            facts.forget(target)
    if called is None and facts.kind in MODEL_CALLS:  # of one that failed Anthropic's and Gemini's tell the name only
        facts.offer(REQUEST_MODEL, "", facts.span.name.partition(" ")[2][:MAX_NAME_CHARS] or None)
    if isinstance(called, str) and called in _HEARD:  # what was heard is paid for by its length
        for key in _SECONDS_HEARD:
            facts.offer_found("@audio_input_ms", key, _milliseconds)
    if isinstance(called, str) and called in _OUTPUTS and "@audio_input_ms" not in facts.values:
        if facts.text(_OUTPUT) not in ("text", "json"):  # ElevenLabs' is the format of a file
            facts.correct(_OUTPUT, OPERATION, _OUTPUTS[called])
        facts.offer_found("@image", _IMAGES, _length)
    elif called == "vectordb":
        done = coerce.text(facts.attributes.get(_DB_OPERATION))
        if done is not None and done.lower() in _QUERIES:
            facts.kind, facts.operation = "retrieval", "retrieval"
            for key in DATA_SOURCES:
                facts.offer_found("gen_ai.data_source.id", key, coerce.text)


DIALECT: Final = Dialect(
    name="openlit",
    source="https://github.com/openlit/openlit/tree/main/sdk",
    scopes=("openlit", "@openlit/"),
    evidence=("gen_ai.client.token.usage", "openlit."),
    names={"chat ": Kinded("llm", "chat"), "embeddings ": Kinded("embedding", "embeddings")},
    operations={
        "agent": Kinded("agent", "invoke_agent"),
        "audio": Kinded("llm", "generate_content"),
        "image": Kinded("llm", "generate_content"),
        "speech_to_text": Kinded("llm", "generate_content"),
        "speech_to_text_translate": Kinded("llm", "generate_content"),
        "text_to_speech": Kinded("llm", "generate_content"),
        "memory": Kinded("memory"),
        "memory_add": Kinded("memory", "create_memory"),
        "memory_delete": Kinded("memory", "delete_memory"),
        "memory_search": Kinded("memory", "search_memory"),
        "memory_update": Kinded("memory", "update_memory"),
        "execute_task": STRUCTURAL,
        "framework": STRUCTURAL,
        "rerank": STRUCTURAL,
        "vectordb": STRUCTURAL,
    },
    sources={
        CONVERSATION_ID: ("gen_ai.session.id",),
        "deployment.environment.name": ("gen_ai.environment",),
    },
    complete=_complete,
)

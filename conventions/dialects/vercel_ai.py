"""Vercel's AI SDK: its own telemetry of 4.0 to 6.0, and `@ai-sdk/otel` 1.0 of 7.0.

Of the former the span of a whole `generateText` repeats what the `doGenerate` of each step says, prompts and
tokens included. What a provider tells beyond the SDK's own words is one JSON document, and until 5.0 cached
tokens were told only there, and Anthropic's were left out of the input. The package of 7.0 speaks the current
names; its steps are no work of their own.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from spanledger.conventions import coerce
from spanledger.conventions.dialect import (
    AGENT_NAME,
    CONVERSATION_ID,
    COST,
    FINISH_REASONS,
    MODEL_CALLS,
    PROVIDER,
    REGION,
    REQUEST_MODEL,
    RESPONSE_ID,
    RESPONSE_MODEL,
    SERVICE_TIER,
    SPARED,
    SPEED,
    STRUCTURAL,
    TIME_TO_FIRST_CHUNK,
    TOOL_CALL_ID,
    TOOL_NAME,
    USAGE,
    USER_ID,
    Dialect,
    Facts,
    Kinded,
)
from spanledger.conventions.provider_usage import searches_charged
from spanledger.conventions.values import Value

if TYPE_CHECKING:
    from opentelemetry.proto.trace.v1.trace_pb2 import Span

_OPERATION_ID: Final = "ai.operationId"
_METADATA: Final = "ai.response.providerMetadata"
_TOLD_APART: Final = ("ai.usage.inputTokenDetails.noCacheTokens", "ai.usage.inputTokenDetails.cacheReadTokens")
_AGENT_HEADER: Final = "ai.request.headers.user-agent"
_PROPERTIES: Final = "ai.telemetry.metadata."

_INPUT: Final = "gen_ai.usage.input_tokens"
_INPUTS: Final = ("input_tokens", "cache_read_input_tokens", "cache_creation_input_tokens")
_LEFT_OUT: Final = ("anthropic", "bedrock")
"""Whose models' cache is not in the input until 5.0; Anthropic's on Vertex AI count as Anthropic's."""

_OPENINFERENCE: Final = "openinference.span.kind"
_STATUS_ERROR: Final = 2

_DOLLARS: Final = ("gateway", "openrouter")
"""Who tells what it charged."""

_AGENT: Final = Kinded("agent", "invoke_agent")
_CHAT: Final = Kinded("llm", "chat")
_SOUND: Final = Kinded("llm", "generate_content")

_TOLD: Final[Mapping[str, tuple[tuple[str, ...], ...]]] = {
    "gen_ai.usage.cache_read.input_tokens": (
        ("cachedPromptTokens",),
        ("cacheReadInputTokens",),
        ("usage", "cacheReadInputTokens"),
        ("usage", "cache_read_input_tokens"),
        ("usage", "promptTokensDetails", "cachedTokens"),
        ("usageMetadata", "cachedContentTokenCount"),
    ),
    "gen_ai.usage.cache_write.input_tokens": (
        ("cacheCreationInputTokens",),
        ("usage", "cacheWriteInputTokens"),
        ("usage", "cacheWriteTokens"),
        ("usage", "cache_creation_input_tokens"),
    ),
    "@cache_write_5m": (("usage", "cache_creation", "ephemeral_5m_input_tokens"),),
    "@cache_write_1h": (("usage", "cache_creation", "ephemeral_1h_input_tokens"),),
    "gen_ai.usage.reasoning.output_tokens": (
        ("reasoningTokens",),
        ("usage", "completionTokensDetails", "reasoningTokens"),
        ("usage", "output_tokens_details", "thinking_tokens"),
        ("usageMetadata", "thoughtsTokenCount"),
    ),
    SERVICE_TIER: (("serviceTier",), ("usage", "service_tier"), ("usageMetadata", "trafficType")),
    SPEED: (("usage", "speed"),),
    REGION: (("usage", "inference_geo"),),
    "@web_search": (("usage", "server_tool_use", "web_search_requests"),),
    COST: (("usage", "cost"), ("cost",)),
}
"""Target -> where providers say it, OpenAI, Anthropic, Bedrock, Gemini, OpenRouter and Vercel's gateway."""

_READ: Final = {**dict.fromkeys((SERVICE_TIER, SPEED, REGION), coerce.text), "@web_search": coerce.integer}
_ANSWER: Final = "gen_ai.output.messages"
_OPENAIS: Final = "ws_"
_ANTHROPICS: Final = "srvtoolu_"
_FREE: Final = frozenset({"openPage", "findInPage"})
"""What a call of OpenAI's web search may do beside searching."""
_QUERIES: Final = ("groundingMetadata", "webSearchQueries")
_COUNTS_ALL: Final = re.compile(r"ai/(?:[6-9]|\d\d)")
"""Versions that count a cache to the input, whoever's model it is."""


def _complete(facts: Facts) -> None:
    for target in USAGE:
        if facts.find_known(target, _is_nan):
            facts.forget(target)  # how 4.0 says that it does not know
    attributes = facts.attributes
    if facts.is_found(_INPUT, _METADATA, _whole_input):
        facts.emitter = "ai@6"
    elif facts.is_found(_INPUT, _METADATA, _bare_input):  # 6.0 takes providers made for 5.0, too
        facts.emitter = "ai@5 anthropic"
    elif any(key in attributes for key in _TOLD_APART) or facts.find(_AGENT_HEADER, _counts_all):
        facts.emitter = "ai@6"
    elif facts.find(_METADATA, _leaves_out):
        facts.emitter = "ai@5 anthropic"
    if facts.values.get(FINISH_REASONS) == ["error"]:
        facts.failed = True  # a stream that broke off: until 7.0 nothing else on its spans tells so
    elif _OPENINFERENCE in attributes and facts.find_in_span(_has_status_of_another):
        facts.offer(SPARED, _OPENINFERENCE, True)
    if facts.kind not in MODEL_CALLS:
        return  # the document is that of the last call only
    called = attributes.get(_OPERATION_ID)
    if isinstance(called, str) and called.endswith(".doStream"):
        facts.offer("gen_ai.request.stream", _OPERATION_ID, True)
    for target in facts.find(_METADATA, _targets) or ():
        facts.offer_found(target, _METADATA, _Fact(target))
    if queries := facts.find(_METADATA, _queries):
        facts.offer("@web_search", _METADATA, searches_charged(facts.text(REQUEST_MODEL), queries))
    facts.offer_found("@web_search", _ANSWER, _searches)  # OpenAI's are in no document


def _has_status_of_another(span: Span) -> bool:
    """Tell the first error of a trace, which OpenInference's processor gives to all that ends after it, from one's own.

    It means to give it to the root only, and takes every span of OpenTelemetry's SDK 2 for one. Where the SDK of
    Vercel has words for an error, it records an exception with them.
    """
    status = span.status
    return status.code == _STATUS_ERROR and bool(status.message) and all(one.name != "exception" for one in span.events)


def _counts_all(user_agent: Value) -> bool:
    return isinstance(user_agent, str) and _COUNTS_ALL.match(user_agent) is not None


def _whole_input(metadata: Value) -> int | None:
    """Return all input as Anthropic's own words have it."""
    counts = _inputs(metadata)
    return sum(counts) if counts else None


def _bare_input(metadata: Value) -> int | None:
    """Return Anthropic's input without the cache."""
    counts = _inputs(metadata)
    return counts[0] if counts else None


def _inputs(metadata: Value) -> tuple[int, ...]:
    said = _providers(metadata).get("anthropic")
    usage = said.get("usage") if isinstance(said, dict) else None
    counts = [coerce.count(usage.get(key)) for key in _INPUTS] if isinstance(usage, dict) else [None]
    return tuple(count if isinstance(count, int) else 0 for count in counts) if isinstance(counts[0], int) else ()


def _is_nan(count: Value) -> bool:
    return isinstance(count, float) and math.isnan(count)


@dataclass(frozen=True, slots=True)
class _Fact:
    """Reads what providers say for a target."""

    target: str

    def __call__(self, metadata: Value) -> Value:
        return _facts(metadata).get(self.target)


def _targets(metadata: Value) -> tuple[str, ...]:
    return tuple(_facts(metadata))


def _facts(metadata: Value) -> Mapping[str, Value]:
    found: dict[str, Value] = {}
    for name, said in _providers(metadata).items():
        for target, value in _told_by(name, said):
            if value is not None:
                found.setdefault(target, value)
    return found


def _leaves_out(metadata: Value) -> bool:
    return any(name in _providers(metadata) for name in _LEFT_OUT)


def _queries(metadata: Value) -> int:
    counts = (_listed_at(said, _QUERIES) for said in _providers(metadata).values())
    return next((count for count in counts if count), 0)


def _searches(answer: Value) -> int | None:
    """Return how many searches of OpenAI's and Anthropic's are charged; None where the answer tells of none.

    What the application calls their tool is its own matter: ids and results tell them.
    """
    told = isinstance(answer, str) and any(f'"{prefix}' in answer for prefix in (_OPENAIS, _ANTHROPICS))
    said = coerce.parse_json(answer) if told else None
    messages = [one.get("parts") for one in said if isinstance(one, dict)] if isinstance(said, list) else []
    parts = [part for one in messages if isinstance(one, list) for part in one if isinstance(part, dict)]
    results = [
        (str(part.get("id")), part.get("response")) for part in parts if part.get("type") == "tool_call_response"
    ]
    found = [_is_charged(call_id, result) for call_id, result in results]
    charged = [one for one in found if one is not None]
    return sum(charged) if charged else None


def _is_charged(call_id: str, result: Value) -> bool | None:
    """Tell whether a result is of a search that is charged; None for those of other tools."""
    if call_id.startswith(_OPENAIS):
        action = result.get("action") if isinstance(result, dict) else None
        return not (isinstance(action, dict) and action.get("type") in _FREE)
    if call_id.startswith(_ANTHROPICS) and isinstance(result, list) and result:
        return (isinstance(result[0], dict) and result[0].get("type") == "web_search_result") or None
    return None


def _providers(metadata: Value) -> Mapping[str, Value]:
    if not isinstance(metadata, str) or len(metadata) > coerce.MAX_JSON_CHARS:
        return {}
    return _last_providers(metadata)


@lru_cache(maxsize=1)
def _last_providers(metadata: str) -> Mapping[str, Value]:
    """Several facts are read from it one after another."""
    told = coerce.parse_json(metadata)
    return told if isinstance(told, dict) else {}


def _listed_at(value: Value, path: tuple[str, ...]) -> int:
    """Return how many items the list at `path` has; 0 where there is none."""
    for key in path:
        value = value.get(key) if isinstance(value, dict) else None
    return len(value) if isinstance(value, list) else 0


def _told_by(name: str, provider: Value) -> Iterator[tuple[str, Value]]:
    for target, paths in _TOLD.items():
        if target == COST and name not in _DOLLARS:
            continue
        for path in paths:
            value = provider
            for key in path:
                value = value.get(key) if isinstance(value, dict) else None
            if value is not None:
                yield target, (coerce.count if target in USAGE else _READ.get(target, coerce.number))(value)


DIALECT: Final = Dialect(
    name="vercel_ai",
    source="https://github.com/vercel/ai",
    secrets=("ai.request.headers.",),
    scopes=("ai", "gen_ai"),
    evidence=(_OPERATION_ID, "ai.model.", "ai.response.", "ai.usage.", "ai.toolCall."),
    kinds={
        _OPERATION_ID: {
            "ai.generateText": _AGENT,
            "ai.streamText": _AGENT,
            "ai.generateObject": _AGENT,
            "ai.streamObject": _AGENT,
            "ai.generateText.doGenerate": _CHAT,
            "ai.streamText.doStream": _CHAT,
            "ai.generateObject.doGenerate": _CHAT,
            "ai.streamObject.doStream": _CHAT,
            "ai.embed.doEmbed": Kinded("embedding", "embeddings"),
            "ai.embedMany.doEmbed": Kinded("embedding", "embeddings"),
            "ai.toolCall": Kinded("tool", "execute_tool"),
        }
    },
    operations={
        "agent_step": STRUCTURAL,
        "ai.generatespeech": _SOUND,
        "ai.transcribe": _SOUND,
        "ai.streamtranscribe": _SOUND,
    },
    sources={
        PROVIDER: ("ai.model.provider",),
        REQUEST_MODEL: ("ai.model.id",),
        RESPONSE_MODEL: ("ai.response.model",),
        RESPONSE_ID: ("ai.response.id",),
        FINISH_REASONS: ("ai.response.finishReason", "ai.finishReason"),
        TIME_TO_FIRST_CHUNK: (
            ("ai.response.msToFirstChunk", coerce.milliseconds),
            ("ai.stream.msToFirstChunk", coerce.milliseconds),
        ),
        "gen_ai.request.max_tokens": ("ai.settings.maxOutputTokens", "ai.settings.maxTokens"),
        "gen_ai.request.temperature": ("ai.settings.temperature",),
        "gen_ai.request.top_p": ("ai.settings.topP",),
        "gen_ai.request.top_k": ("ai.settings.topK",),
        "gen_ai.request.seed": ("ai.settings.seed",),
        "gen_ai.request.frequency_penalty": ("ai.settings.frequencyPenalty",),
        "gen_ai.request.presence_penalty": ("ai.settings.presencePenalty",),
        "gen_ai.request.stop_sequences": ("ai.settings.stopSequences",),
        "gen_ai.usage.input_tokens": ("ai.usage.inputTokens", "ai.usage.promptTokens", "ai.usage.tokens"),
        "gen_ai.usage.output_tokens": ("ai.usage.outputTokens", "ai.usage.completionTokens"),
        "gen_ai.usage.cache_read.input_tokens": (
            "ai.usage.inputTokenDetails.cacheReadTokens",
            "ai.usage.cachedInputTokens",
        ),
        "gen_ai.usage.cache_write.input_tokens": ("ai.usage.inputTokenDetails.cacheWriteTokens",),
        "gen_ai.usage.reasoning.output_tokens": (
            "ai.usage.outputTokenDetails.reasoningTokens",
            "ai.usage.reasoningTokens",
        ),
        "@total_tokens": ("ai.usage.totalTokens",),
        TOOL_NAME: ("ai.toolCall.name",),
        TOOL_CALL_ID: ("ai.toolCall.id",),
        CONVERSATION_ID: (
            *(_PROPERTIES + name for name in ("sessionId", "conversationId", "threadId", "chatId")),
            "ai.settings.context.sessionId",
        ),
        USER_ID: (_PROPERTIES + "userId", "ai.settings.context.userId"),
    },
    sources_by_kind={"agent": {AGENT_NAME: ("ai.telemetry.functionId", "resource.name")}},
    content={
        "ai.prompt.messages": ("gen_ai.input.messages", "gen_ai.system_instructions"),
        "ai.prompt.tools": ("gen_ai.tool.definitions",),
        "ai.response.reasoning": ("gen_ai.output.messages",),
        "ai.response.text": ("gen_ai.output.messages",),
        "ai.response.object": ("gen_ai.output.messages",),
        "ai.response.toolCalls": ("gen_ai.output.messages",),
        "ai.toolCall.args": ("gen_ai.tool.call.arguments",),
        "ai.toolCall.result": ("gen_ai.tool.call.result",),
    },
    complete=_complete,
)

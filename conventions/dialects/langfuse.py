"""Langfuse: SDKs for Python 3.x to 5.0.4 and JavaScript 4.x to 5.11.1, with their OpenAI and LangChain integrations.

Nearly every value is JSON in a string. `usage_details` is either what the model's API said, or disjoint buckets:
then `input` is what neither a cache nor audio accounts for, and all buckets of a side add up to its total.
Failures show in `level`; the status of the span stays unset.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from spanledger.conventions import coerce
from spanledger.conventions.dialect import (
    AGENT_NAME,
    CONVERSATION_ID,
    COST,
    FINISH_REASONS,
    HTTP_STATUS,
    MAX_NAME_CHARS,
    MODEL_CALLS,
    PROVIDER,
    REQUEST_MODEL,
    RESPONSE_MODEL,
    SERVICE_TIER,
    STRUCTURAL,
    TIME_TO_FIRST_CHUNK,
    TOOL_CALL_ID,
    TOOL_NAME,
    USAGE,
    USER_ID,
    WORKFLOW_NAME,
    Dialect,
    Facts,
    Kinded,
    SecondsUntil,
)
from spanledger.conventions.langchain import named_node
from spanledger.conventions.lookup import BASIS
from spanledger.conventions.provider_usage import MAX_CHARS, offer_usage_found, usage_object
from spanledger.conventions.providers import provider_of
from spanledger.conventions.values import Value

_OBSERVATION: Final = "langfuse.observation."
_METADATA: Final = "langfuse.observation.metadata."
_USAGE: Final = "langfuse.observation.usage_details"
_TARGETS: Final[Mapping[str, str]] = {name: target for target, name in USAGE.items()}
_MODEL: Final = "langfuse.observation.model.name"
_PARAMETERS: Final = "langfuse.observation.model.parameters"
_STARTED: Final = "langfuse.observation.completion_start_time"
_LASTING: Final = ("cache_write_5m", "cache_write_1h")
_FIRST_CHUNK: Final = SecondsUntil(_STARTED)
_PATH: Final = _METADATA + "langgraph_checkpoint_ns"
_FREE: Final = re.compile(r'"total_cost": ?0[,}]')
_STATUS_MESSAGE: Final = "langfuse.observation.status_message"

# "Error code: 500 - ...", "Error: 400 ...", "429 You exceeded ..."
_HTTP_STATUS: Final = re.compile(r"(?:[A-Za-z.]{0,64}Error:? ?)?(?:code: ?)?([45][0-9]{2})\b")

_REQUEST: Final[Mapping[str, tuple[str, ...]]] = {
    "gen_ai.request.max_tokens": ("max_tokens", "max_completion_tokens", "max_output_tokens"),
    "gen_ai.request.temperature": ("temperature",),
    "gen_ai.request.top_p": ("top_p",),
    "gen_ai.request.seed": ("seed",),
    "gen_ai.request.frequency_penalty": ("frequency_penalty",),
    "gen_ai.request.presence_penalty": ("presence_penalty",),
    "gen_ai.request.stop_sequences": ("stop",),
    "gen_ai.request.stream": ("stream",),
    "gen_ai.request.reasoning.level": ("reasoning_effort",),
    SERVICE_TIER: ("service_tier",),
}


def _generation(facts: Facts) -> Kinded:
    # The JavaScript integration calls every request a generation and names it by its API.
    if facts.span.name.endswith(".embeddings"):
        return Kinded("embedding", "embeddings")
    return Kinded("llm", "chat")


def _chain(facts: Facts) -> Kinded:
    # The parts of an agent of LangChain name it too, and those of a graph say that they are of one.
    if facts.text(AGENT_NAME) == facts.span.name:
        return Kinded("agent", "invoke_agent")
    is_root = coerce.flag(facts.attributes.get(_METADATA + "is_langchain_root"))
    if is_root and coerce.unquoted(facts.attributes.get(_METADATA + "ls_integration")) == "langgraph":
        return Kinded("workflow", "invoke_workflow")
    return STRUCTURAL


def _agent(facts: Facts) -> Kinded:
    # Whatever has `agent` in its name is one to the integration of LangChain, a function that finds one too.
    if AGENT_NAME not in facts.values and facts.find(_PATH, _is_plumbing):
        return STRUCTURAL
    facts.offer_found(AGENT_NAME, _PATH, _node)
    return Kinded("agent", "invoke_agent")


def _is_plumbing(path: Value) -> bool:
    return _node(path) is None


def _node(path: Value) -> str | None:
    return named_node(coerce.unquoted(path) or "", MAX_NAME_CHARS)


def _complete(facts: Facts) -> None:
    attributes = facts.attributes
    if attributes.get(_OBSERVATION + "level") == "ERROR":
        facts.failed = True
        message = attributes.get(_STATUS_MESSAGE)
        if isinstance(message, str) and (found := _HTTP_STATUS.match(message)):
            facts.offer(HTTP_STATUS, _STATUS_MESSAGE, int(found[1]))
    if facts.kind == "tool":
        facts.offer_span_name(TOOL_NAME)
    elif facts.kind == "agent":
        facts.offer_span_name(AGENT_NAME)
    elif facts.kind == "workflow":
        facts.offer_span_name(WORKFLOW_NAME)
    if facts.kind not in MODEL_CALLS:
        return
    _read_models(facts)
    if _PARAMETERS in attributes and isinstance(parameters := coerce.parse_json(attributes[_PARAMETERS]), dict):
        for target, names in _REQUEST.items():
            for name in names:
                if name in parameters:
                    facts.offer(target, _PARAMETERS, coerce.coercion_of(target)(parameters[name]))
    if facts.find(_USAGE, _is_free):
        facts.unbilled = "cache_hit"
    # Counts under current names are another instrumentation's, or were made of these by a sidecar before this one.
    if _USAGE in attributes and ("gen_ai.usage.input_tokens" not in facts.values or BASIS in attributes):
        _read_usage(facts)
    if _STARTED in attributes:
        facts.offer_found_in_span(TIME_TO_FIRST_CHUNK, _STARTED, _FIRST_CHUNK)


def _read_models(facts: Facts) -> None:
    named = coerce.text(facts.attributes.get(_MODEL))
    asked = coerce.unquoted(facts.attributes.get(_METADATA + "ls_model_name"))
    # The name of the request until there is an answer, then that of the answer; LangChain keeps the former too.
    facts.offer(REQUEST_MODEL, _METADATA + "ls_model_name", asked)
    facts.offer(REQUEST_MODEL, _MODEL, named)
    if named != facts.text(REQUEST_MODEL):
        facts.offer(RESPONSE_MODEL, _MODEL, named)
    served = coerce.unquoted(facts.attributes.get(_METADATA + "ls_provider"))
    if served is not None:
        facts.offer(PROVIDER, _METADATA + "ls_provider", provider_of(served))


def _is_free(details: Value) -> bool:
    """Tell whether an answer came out of LangChain's own cache, which says so among the tokens."""
    return isinstance(details, str) and _FREE.search(details) is not None


@dataclass(frozen=True, slots=True)
class _Count:
    """Reads a count out of the buckets."""

    name: str

    def __call__(self, details: Value) -> Value:
        return _buckets(details).get(self.name)


def _read_usage(facts: Facts) -> None:
    if offer_usage_found(facts, _USAGE, _as_providers_have_it):
        return
    for name in facts.find(_USAGE, _names) or ():
        facts.offer_found(_TARGETS[name], _USAGE, _Count(name))


def _names(details: Value) -> tuple[str, ...]:
    return tuple(_buckets(details))


def _buckets(details: Value) -> Mapping[str, int]:
    if isinstance(details, str) and len(details) <= MAX_CHARS:
        return _last_buckets(details)
    return buckets(usage_object(details) or {})


@lru_cache(maxsize=1)
def _last_buckets(details: str) -> Mapping[str, int]:
    """Several counts are read one after another."""
    return buckets(usage_object(details) or {})


def _as_providers_have_it(details: Value) -> Value:
    usage = usage_object(details)
    return usage if usage is not None and ("prompt_tokens" in usage or "input_tokens" in usage) else None


def buckets(usage: Mapping[str, Value]) -> dict[str, int]:
    """Return name in `tokens.COUNTS` -> count out of buckets that each are a part of the input or of the output.

    Where a total is given and says so, `input` or `output` is the whole already.
    """
    sides: dict[str, dict[str, int]] = {"input": {}, "output": {}}
    parts: dict[str, int] = {}
    for name, value in usage.items():
        side = next((side for side in sides if side in name), None)
        if side is None or type(value) is not int or not 0 <= value <= coerce.MAX_EXACT or "priority" in name:
            continue
        sides[side][name] = value
        if (part := _part(side, name)) is not None:
            parts[part] = parts.get(part, 0) + value
    written = parts.get("cache_write_5m", 0) + parts.get("cache_write_1h", 0)
    if written and parts.get("cache_write") == written:  # Anthropic's own object, flattened: for how long is no part
        for name in [name for name in sides["input"] if _part("input", name) in _LASTING]:
            del sides["input"][name]
    elif written:
        parts["cache_write"] = parts.get("cache_write", 0) + written
    total = usage.get("total")
    sums = {side: sum(of_side.values()) for side, of_side in sides.items()}
    plain = {side: of_side.get(side, sums[side]) for side, of_side in sides.items()}
    inputs, outputs = sums["input"], sums["output"]
    for one, other in ((sums, sums), (plain, plain), (plain, sums), (sums, plain)):
        if one["input"] + other["output"] == total:
            inputs, outputs = one["input"], other["output"]
            break
    if type(total) is int and plain["input"] == 0 and total > inputs + outputs:
        inputs = total - outputs  # the cache was taken off an input that had left it out already
    known = {side: count for side, count in (("input", inputs), ("output", outputs)) if sides[side]}
    return known | {part: count for part, count in parts.items() if count or "audio" not in part}


def _part(side: str, name: str) -> str | None:
    if side == "output":
        return "reasoning" if "reasoning" in name else "audio_output" if "audio" in name else None
    if "ephemeral_5m" in name or name.endswith("_5m"):
        return "cache_write_5m"
    if "ephemeral_1h" in name or name.endswith("_1h"):
        return "cache_write_1h"
    if "creation" in name or "cache_write" in name:
        return "cache_write"
    if "cache" in name:
        return "cache_read"
    return "audio_input" if "audio" in name else None


def _finish_reasons(value: Value) -> Value:
    reason = coerce.unquoted(value)
    return None if reason is None else [reason]


def _cost(value: Value) -> Value:
    """Read the total of a cost object, or the sum of its parts."""
    details = usage_object(value)
    if details is None:
        return None
    if "total" in details:
        return coerce.number(details["total"])
    known = [cost for cost in map(coerce.number, details.values()) if cost is not None]
    return sum(known) if known else None


DIALECT: Final = Dialect(
    name="langfuse",
    source="https://github.com/langfuse/langfuse-python",
    scopes=("langfuse-sdk",),
    evidence=(_OBSERVATION + "type", _USAGE, _MODEL),
    # The SDK's processor stamps these on the spans of other instrumentations too.
    context=("langfuse.trace.", "langfuse.session.id", "langfuse.user.id"),
    kinds={
        _OBSERVATION + "type": {
            "generation": _generation,
            "embedding": Kinded("embedding", "embeddings"),
            "retriever": Kinded("retrieval", "retrieval"),
            "tool": Kinded("tool", "execute_tool"),
            "agent": _agent,
            "chain": _chain,
            "guardrail": Kinded("guardrail"),
            "evaluator": Kinded("evaluation"),
        }
    },
    sources={
        FINISH_REASONS: ((_METADATA + "finish_reason", _finish_reasons),),
        COST: ((_OBSERVATION + "cost_details", _cost),),
        "gen_ai.request.previous_response.id": (_METADATA + "previous_response_id",),
        "gen_ai.prompt.name": (_OBSERVATION + "prompt.name",),
        "gen_ai.prompt.version": (_OBSERVATION + "prompt.version",),
        "deployment.environment.name": ("langfuse.environment",),
        AGENT_NAME: ((_METADATA + "lc_agent_name", coerce.unquoted),),
        TOOL_CALL_ID: ((_METADATA + "tool_call_id", coerce.unquoted),),
        CONVERSATION_ID: (
            "langfuse.session.id", *((_METADATA + name, coerce.unquoted) for name in ("thread_id", "session_id")),
        ),
        USER_ID: ("langfuse.user.id",),
    },
    content={
        _OBSERVATION + "input": (
            "gen_ai.input.messages", "gen_ai.system_instructions", "gen_ai.tool.definitions",
            "gen_ai.tool.call.arguments", "gen_ai.retrieval.query.text",
        ),
        _OBSERVATION + "output": ("gen_ai.output.messages", "gen_ai.tool.call.result"),
    },
    complete=_complete,
)  # fmt: skip

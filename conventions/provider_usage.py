"""Token counts out of the usage object of a model API, which many instrumentations pass on as JSON.

Recognised by shape: OpenAI's two APIs, Anthropic, Gemini, Bedrock, LangChain's `usage_metadata` and LiteLLM's
mixture. The counts come out as the conventions want them: input with the cache, output with reasoning.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from spanledger.conventions import coerce
from spanledger.conventions.coerce import MAX_EXACT, parse_json
from spanledger.conventions.content import python_repr
from spanledger.conventions.dialect import COST, REGION, SERVICE_TIER, SPEED, USAGE
from spanledger.conventions.nesting import is_too_deep

if TYPE_CHECKING:
    from spanledger.conventions.dialect import Facts
    from spanledger.conventions.values import Value

_BY_PROMPT: Final = re.compile(r"(?:.*/)?gemini-[12]\b")
"""Models of which a grounded answer costs the same however often it searched; later ones pay for each query."""
MAX_CHARS: Final = 16_384
"""A longer text is no usage object."""

_TARGETS: Final[Mapping[str, str]] = {name: target for target, name in USAGE.items()}

_NAMES: Final[Mapping[str, tuple[str, ...]]] = {
    "input": ("input_tokens", "prompt_tokens", "prompt_token_count", "promptTokenCount", "inputTokens"),
    "output": ("output_tokens", "completion_tokens", "candidates_token_count", "candidatesTokenCount", "outputTokens"),
    "total": ("total_tokens", "total_token_count", "totalTokenCount", "totalTokens"),
    "cache_read": (
        "cache_read_input_tokens", "cached_content_token_count", "cachedContentTokenCount", "cacheReadInputTokens",
        "cachedContentTokens",
    ),
    "cache_write": ("cache_creation_input_tokens", "cacheWriteInputTokens"),
    "cache_write_1h": ("cache_creation_input_tokens_above_1hr",),
    "thoughts": ("thoughts_token_count", "thoughtsTokenCount", "thoughtsTokens"),
    "tool_results": ("tool_use_prompt_token_count", "toolUsePromptTokenCount"),
}  # fmt: skip

_REPR_OF_USAGE: Final = re.compile(r"usage=\w{1,64}\(")
_REPR_OF_ANSWER: Final = re.compile(r"\w{1,64}\(\w{1,64}=")
_MEMBER_OF_REPR: Final = re.compile(
    r"(?P<name>\b\w{1,64})=(?:(?P<count>\d{1,15})(?=[,)])|(?P<object>\w{1,64}\())|(?P<end>\))"
)
_MAX_MODALITIES: Final = 16
_AREAS: Final = ("us", "eu", "global")  # no set: it may be a list
_TICKS: Final = "cost_in_usd_ticks"
BILLED: Final = "#billed"
"""Ends the key of a cost that was found in a usage object: the seller's own."""

_INPUT_DETAILS: Final = ("prompt_tokens_details", "input_tokens_details", "input_token_details")
_OUTPUT_DETAILS: Final = ("completion_tokens_details", "output_tokens_details", "output_token_details")
_WRITE_DETAILS: Final = ("cache_creation", "cache_creation_token_details")
_OF_INPUT: Final[Mapping[str, tuple[str, ...]]] = {
    "cache_read": ("cached_tokens", "cache_read"),
    "cache_write": ("cache_write_tokens", "cache_creation_tokens", "cache_creation"),
    "audio_input": ("audio_tokens", "audio"),
    "image_input": ("image_tokens",),
}
_OF_OUTPUT: Final[Mapping[str, tuple[str, ...]]] = {
    "reasoning": ("reasoning_tokens", "reasoning", "thinking_tokens"),
    "audio_output": ("audio_tokens", "audio"),
    "image_output": ("image_tokens",),
}
_PROMPTED: Final = {"AUDIO": "audio_input", "IMAGE": "image_input"}
_MADE: Final = {"AUDIO": "audio_output", "IMAGE": "image_output"}
_MODALITIES: Final[Mapping[str, Mapping[str, str]]] = {
    "prompt_tokens_details": _PROMPTED, "promptTokensDetails": _PROMPTED,
    "candidates_tokens_details": _MADE, "candidatesTokensDetails": _MADE,
}  # fmt: skip
"""Where Gemini lists its tokens by what they are."""
_TRAFFIC: Final[Mapping[str, str]] = {"ON_DEMAND_FLEX": "flex", "ON_DEMAND_PRIORITY": "priority"}
_OF_WRITES: Final[Mapping[str, tuple[str, ...]]] = {
    "cache_write_5m": ("ephemeral_5m_input_tokens",),
    "cache_write_1h": ("ephemeral_1h_input_tokens",),
}


def offer_usage(facts: Facts, key: str, usage: Value) -> None:
    """Give what a usage object in attribute `key` says: an object, or the JSON or Python `repr` of one.

    Counts that the span already says stay, but where it says the very number that the object has without the
    cache, or without reasoning, the whole one takes its place.
    """
    found = usage_object(usage)
    if found is None:
        return
    for target, value in _billing(found):
        facts.offer(target, key, value)
    facts.offer(COST, f"{key}.{_TICKS}", coerce.ticks(found.get(_TICKS)))
    facts.offer(COST, key + BILLED, _billed(found))
    raw = {name: _first(found, names) for name, names in _NAMES.items()}
    for name, count in counts_of(found).items():
        target = _TARGETS[name]
        if name in ("input", "output") and raw[name] is not None and facts.values.get(target) == raw[name]:
            facts.correct(target, key, count)
        else:
            facts.offer(target, key, count)


def offer_usage_found(facts: Facts, key: str, within: Callable[[Value], Value] | None = None) -> bool:
    """Give what the usage object in attribute `key` says, as `offer_usage` does; tell whether there is one.

    `within` finds it in the attribute, where that is not the object itself: a function as `Facts.find` wants it. What
    is decided depends on which counts there are, and not on how much they are.
    """
    told = facts.find(key, _Told(within))
    if told is None:
        return False
    said, counts = told
    for target, value in said:
        facts.offer(target, key, value)
    facts.offer_found(COST, key, _Ticks(within), f"{key}.{_TICKS}")
    facts.offer_found(COST, key, _Billed(within), key + BILLED)
    for name, is_bare in counts:
        read = _Count(within, name)
        if is_bare and _TARGETS[name] in facts.values:
            facts.correct_found(_TARGETS[name], key, read, instead=_Bare(within, name))
        else:
            facts.offer_found(_TARGETS[name], key, read)
    return True


@dataclass(frozen=True, slots=True)
class _Told:
    """Reads what a usage object says: facts beside its counts, and of each count whether its own is another."""

    within: Callable[[Value], Value] | None

    def __call__(self, value: Value) -> Any:
        found, counts, bare = _usage_in(self.within, value)
        if found is None:
            return None
        said = tuple((target, fact) for target, fact in _billing(found) if fact is not None)
        return said, tuple((name, bare.get(name, count) != count) for name, count in counts.items())


@dataclass(frozen=True, slots=True)
class _Ticks:
    """Reads xAI's bill."""

    within: Callable[[Value], Value] | None

    def __call__(self, value: Value) -> Value:
        return coerce.ticks((_usage_in(self.within, value)[0] or {}).get(_TICKS))


@dataclass(frozen=True, slots=True)
class _Billed:
    """Reads the bill of OpenRouter or Perplexity."""

    within: Callable[[Value], Value] | None

    def __call__(self, value: Value) -> Value:
        return _billed(_usage_in(self.within, value)[0] or {})


@dataclass(frozen=True, slots=True)
class _Count:
    """Reads a count as the conventions want it."""

    within: Callable[[Value], Value] | None
    name: str

    def __call__(self, value: Value) -> Value:
        return _usage_in(self.within, value)[1].get(self.name)


@dataclass(frozen=True, slots=True)
class _Bare:
    """Reads a count as the object has it, without the cache or without reasoning."""

    within: Callable[[Value], Value] | None
    name: str

    def __call__(self, value: Value) -> Value:
        return _usage_in(self.within, value)[2].get(self.name)


_Usage: TypeAlias = "tuple[dict[str, Value] | None, dict[str, int], dict[str, int]]"


def _usage_in(within: Callable[[Value], Value] | None, value: Value) -> _Usage:
    """Return a usage object, its counts and, of input and output, what the object itself has for them."""
    if isinstance(value, str) and len(value) <= coerce.MAX_JSON_CHARS:
        return _last_usage_in(within, value)
    return _find_usage(within, value)


def _find_usage(within: Callable[[Value], Value] | None, value: Value) -> _Usage:
    found = usage_object(value if within is None else within(value))
    if found is None:
        return None, {}, {}
    bare = {name: count for name in ("input", "output") if (count := _first(found, _NAMES[name])) is not None}
    return found, counts_of(found), bare


_last_usage_in = lru_cache(maxsize=4)(_find_usage)
"""Several facts are read from one object after another."""


def _billing(usage: Mapping[str, Value]) -> Iterator[tuple[str, Value]]:
    """Yield what a usage object says of prices beside its counts: Anthropic's speed and area, searches."""
    yield SPEED, coerce.text(usage.get("speed"))
    yield SERVICE_TIER, _TRAFFIC.get(str(usage.get("traffic_type") or usage.get("trafficType")))
    if usage.get("inference_geo") in _AREAS:
        yield REGION, coerce.text(usage["inference_geo"])
    for inner in _objects(usage, ("server_tool_use", "billed_units")):
        yield "@web_search", _first(inner, ("web_search_requests",))
        yield "@rerank_search", _first(inner, ("search_units",))


def _billed(usage: Mapping[str, Value]) -> float | None:
    """Return what was charged, by OpenRouter or Perplexity.

    OpenRouter's `cost` is only its fee where the key was the user's own. Perplexity's total has searches and citations,
    which no count tells.
    """
    cost = usage.get("cost")
    if isinstance(cost, dict):
        cost = cost.get("total_cost")
    return None if usage.get("is_byok") is True else coerce.number(cost)


def usage_object(value: Value) -> dict[str, Value] | None:
    """Return the object that a text or a structured attribute holds; None when it holds none."""
    if isinstance(value, str):
        if value[:1] != "{" or len(value) > MAX_CHARS:
            return None
        parsed = parse_json(value)
        if parsed is None and (rewritten := python_repr.to_json(value)) is not None:
            parsed = parse_json(rewritten)
        value = parsed
    return value if isinstance(value, dict) else None


def usage_within(text: Value, keys: tuple[str, ...] = ("usage", "usage_metadata", "usageMetadata")) -> Value:
    """Return the last usage object inside a whole answer, in JSON or as the `repr` of an SDK's; None without one.

    Texts within cannot be taken for it: their quotes are escaped, in a `repr` they come before it, and they are none.
    """
    if not isinstance(text, str):
        return None
    for key in keys:
        at = text.rfind(f'"{key}"')
        if at <= 0 or text[at - 1] == "\\":
            continue
        start = text.find("{", at, at + len(key) + 8)
        if start < 0:
            continue
        try:
            found, end = json.JSONDecoder().raw_decode(text[start : start + MAX_CHARS])
        except (ValueError, RecursionError):
            continue
        if not is_too_deep(found, text, start, start + end):
            return found  # type: ignore[no-any-return]
    return _usage_in_repr(text)


def _usage_in_repr(text: str) -> dict[str, Value] | None:
    """Read `usage=CompletionUsage(prompt_tokens=9, prompt_tokens_details=Details(cached_tokens=4))`."""
    begin = _REPR_OF_USAGE.match(text, text.rfind(" usage=") + 1)
    if begin is None or _REPR_OF_ANSWER.match(text, _start_of_text(text, begin.start())) is None:
        return None
    found: dict[str, Value] = {}
    open_objects = [found]
    for member in _MEMBER_OF_REPR.finditer(text, begin.end(), begin.end() + MAX_CHARS):
        if member["end"]:
            open_objects.pop()
            if not open_objects:
                return found if text[member.end() : member.end() + 1] in (",", ")") else None  # else within a text
        elif member["object"]:
            inner: dict[str, Value] = {}
            open_objects[-1][member["name"]] = inner
            open_objects.append(inner)
        elif member["count"]:
            open_objects[-1][member["name"]] = int(member["count"])
    return None


def _start_of_text(text: str, at: int) -> int:
    """Return where the JSON text begins that a place lies in; 0 if it lies in none."""
    return text[:at].replace('\\"', "  ").rfind('"') + 1


def counts_of(usage: Mapping[str, Value]) -> dict[str, int]:
    """Return name in `tokens.COUNTS` -> count, inclusive. The total served to decide that, and is left out."""
    counts = {name: count for name, names in _NAMES.items() if (count := _first(usage, names)) is not None}
    detailed = "prompt_tokens" in usage and "input_tokens" not in usage
    for keys, names in ((_INPUT_DETAILS, {**_OF_INPUT, **_OF_WRITES}), (_OUTPUT_DETAILS, _OF_OUTPUT)):
        for inner in _objects(usage, keys):
            detailed = True
            for nested in (inner, *_objects(inner, _WRITE_DETAILS)):
                _take(counts, nested, names)
    for inner in _objects(usage, _WRITE_DETAILS):
        _take(counts, inner, _OF_WRITES)
    _take_modalities(counts, usage)
    if not counts.get("cache_write"):
        split = counts.get("cache_write_5m", 0) + counts.get("cache_write_1h", 0)
        if split:
            counts["cache_write"] = split
    total, thoughts, results = (counts.pop(name, None) for name in ("total", "thoughts", "tool_results"))
    if "input" in counts:
        counts["input"] += results or 0
        if _leaves_cache_out(counts, total, plain=not detailed):
            counts["input"] += counts.get("cache_read", 0) + counts.get("cache_write", 0)
    if thoughts is not None:
        counts["reasoning"] = thoughts
        if "output" in counts and not _has_thoughts(counts, total):
            counts["output"] += thoughts
    return {name: count for name, count in counts.items() if count or not name.startswith(("audio", "image"))}


def _leaves_cache_out(counts: Mapping[str, int], total: int | None, *, plain: bool) -> bool:
    """Tell whether the input is only what was not cached.

    Anthropic says no total, Bedrock one with the cache; who says details of its input includes them, and so does who
    speaks OpenAI's words, such as Haystack's generator for Anthropic since its 5.16.
    """
    cached = counts.get("cache_read", 0) + counts.get("cache_write", 0)
    if not cached:
        return False
    if cached > counts["input"]:
        return True
    if total is not None:
        return total == counts["input"] + counts.get("output", 0) + cached
    return plain


def _has_thoughts(counts: Mapping[str, int], total: int | None) -> bool:
    """Tell whether the output includes reasoning under Gemini's word for it, as Genkit for Go has it of OpenAI."""
    output = counts["output"]
    return total is not None and counts["reasoning"] <= output and total == counts.get("input", 0) + output


def _take(counts: dict[str, int], source: Mapping[str, Value], names: Mapping[str, tuple[str, ...]]) -> None:
    for name, keys in names.items():
        count = _first(source, keys)
        if count is not None and not counts.get(name):
            counts[name] = count


def _take_modalities(counts: dict[str, int], usage: Mapping[str, Value]) -> None:
    for key, names in _MODALITIES.items():
        listed = usage.get(key)
        for item in listed[:_MAX_MODALITIES] if isinstance(listed, list) else ():
            if isinstance(item, dict) and (name := names.get(str(item.get("modality")))) is not None:
                _take(counts, item, {name: ("token_count", "tokenCount")})


def _first(source: Mapping[str, Value], keys: tuple[str, ...]) -> int | None:
    """Return the first count under any of the names that is not 0, for some fill in the names of others with it."""
    found: int | None = None
    for key in keys:
        value = source.get(key)
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if type(value) is int and 0 <= value <= MAX_EXACT:
            found = value
            if value:
                break
    return found


def _objects(source: Mapping[str, Value], keys: tuple[str, ...]) -> list[Mapping[str, Value]]:
    return [inner for key in keys if isinstance(inner := source.get(key), dict)]


def searches_charged(model: str | None, queries: int) -> int:
    """Return how many searches are charged for an answer of Gemini that is grounded on `queries` of them."""
    return 1 if _BY_PROMPT.match(model or "") else queries

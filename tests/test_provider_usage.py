"""Usage objects of model APIs become counts that include the cache and reasoning, whichever API it was."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from spanledger.conventions.dialect import Facts
from spanledger.conventions.dialects.langfuse import buckets
from spanledger.conventions.provider_usage import MAX_CHARS, counts_of, offer_usage, usage_object, usage_within
from spanledger.conventions.span_attributes import Keys, SpanAttributes
from spanledger.conventions.values import Value

INPUT = "gen_ai.usage.input_tokens"
OUTPUT = "gen_ai.usage.output_tokens"
CACHE_READ = "gen_ai.usage.cache_read.input_tokens"

OPENAI = {
    "prompt_tokens": 1500,
    "completion_tokens": 300,
    "total_tokens": 1800,
    "prompt_tokens_details": {"cached_tokens": 1024, "cache_write_tokens": 256, "audio_tokens": 0},
    "completion_tokens_details": {"reasoning_tokens": 128},
}
WHOLE = {"input": 1500, "output": 300, "cache_read": 1024, "cache_write": 256, "reasoning": 128}


def facts(**values: Value) -> Facts:
    """Return the facts of an empty span that says these counts."""
    said = {f"gen_ai.usage.{name}": value for name, value in values.items()}
    return Facts("scope", Span(), SpanAttributes(Keys({}), []), said, {})


@pytest.mark.parametrize(
    ("usage", "counts"),
    [
        pytest.param(OPENAI, WHOLE, id="openai chat"),
        pytest.param(
            {
                "input_tokens": 1500,
                "output_tokens": 300,
                "input_tokens_details": {"cached_tokens": 1024, "cache_write_tokens": 256},
                "output_tokens_details": {"reasoning_tokens": 128},
            },
            WHOLE,
            id="openai responses",
        ),
        pytest.param(
            {
                "input_tokens": 50,
                "output_tokens": 4160,
                "input_tokens_details": {"image_tokens": 40, "text_tokens": 10},
                "output_tokens_details": {"image_tokens": 4100, "text_tokens": 60},
            },
            {"input": 50, "output": 4160, "image_input": 40, "image_output": 4100},
            id="openai images",
        ),
        pytest.param(
            {
                "input_tokens": 1500,
                "output_tokens": 300,
                "total_tokens": 1800,
                "input_token_details": {"cache_read": 1024, "cache_creation": 256},
                "output_token_details": {"reasoning": 128},
            },
            WHOLE,
            id="langchain",
        ),
        pytest.param(
            {
                "input_tokens": 1500,
                "output_tokens": 300,
                "input_token_details": {"cache_read": 1024, "cache_creation": 0, "ephemeral_1h_input_tokens": 256},
                "output_token_details": {"reasoning": 128},
            },
            WHOLE | {"cache_write_1h": 256},
            id="langchain with lifetimes",
        ),
        pytest.param(
            {
                "input_tokens": 220,
                "output_tokens": 300,
                "cache_read_input_tokens": 1024,
                "cache_creation_input_tokens": 256,
                "cache_creation": {"ephemeral_5m_input_tokens": 200, "ephemeral_1h_input_tokens": 56},
            },
            {
                "input": 1500,
                "output": 300,
                "cache_read": 1024,
                "cache_write": 256,
                "cache_write_5m": 200,
                "cache_write_1h": 56,
            },
            id="anthropic leaves the cache out",
        ),
        pytest.param(
            {"input_tokens": 900, "output_tokens": 10, "cache_read_input_tokens": 100},
            {"input": 1000, "output": 10, "cache_read": 100},
            id="anthropic with a small cache",
        ),
        pytest.param(
            {"prompt_tokens": 1000, "completion_tokens": 10, "cache_read_input_tokens": 100},
            {"input": 1000, "output": 10, "cache_read": 100},
            id="anthropic in openai's words, as haystack has it",
        ),
        pytest.param(
            {"prompt_tokens": 90, "completion_tokens": 10, "cache_read_input_tokens": 100},
            {"input": 190, "output": 10, "cache_read": 100},
            id="haystack before it added the cache",
        ),
        pytest.param(
            {"input_tokens": 1000, "output_tokens": 10, "total_tokens": 1010, "cache_read_input_tokens": 100},
            {"input": 1000, "output": 10, "cache_read": 100},
            id="mlflow's total says that it is in",
        ),
        pytest.param(
            {"inputTokens": 900, "outputTokens": 10, "totalTokens": 1010, "cacheReadInputTokens": 100},
            {"input": 1000, "output": 10, "cache_read": 100},
            id="bedrock's total says that it is out",
        ),
        pytest.param(
            {
                "promptTokenCount": 1400,
                "toolUsePromptTokenCount": 100,
                "candidatesTokenCount": 172,
                "thoughtsTokenCount": 128,
                "cachedContentTokenCount": 1024,
                "totalTokenCount": 1800,
            },
            {"input": 1500, "output": 300, "cache_read": 1024, "reasoning": 128},
            id="gemini leaves thoughts and tool results out",
        ),
        pytest.param(
            {"inputTokens": 202, "outputTokens": 208, "thoughtsTokens": 192, "totalTokens": 410},
            {"input": 202, "output": 208, "reasoning": 192},
            id="genkit's total says that thoughts are in",
        ),
        pytest.param(
            OPENAI
            | {
                "prompt_tokens_details": {"cached_tokens": 1024, "cache_write_tokens": 0, "cache_creation_tokens": 256},
                "cache_creation_input_tokens": 256,
                "cache_read_input_tokens": 1024,
            },
            WHOLE,
            id="litellm's mixture",
        ),
        pytest.param({"input_tokens": "many", "output_tokens": -1}, {}, id="no counts"),
    ],
)
def test_every_api_gives_the_same_counts(usage: dict[str, Value], counts: dict[str, int]) -> None:
    """Input with the cache, output with reasoning."""
    assert counts_of(usage) == counts


def test_counts_of_the_span_stay_unless_they_are_the_bare_ones() -> None:
    """A span that says what the object says, without the cache, is corrected; any other number is not."""
    anthropic: dict[str, Value] = {"input_tokens": 100, "output_tokens": 10, "cache_read_input_tokens": 1000}
    bare, other = facts(input_tokens=100), facts(input_tokens=101)
    offer_usage(bare, "raw", anthropic)
    offer_usage(other, "raw", anthropic)

    assert (bare.values[INPUT], bare.values[CACHE_READ], bare.values[OUTPUT]) == (1100, 1000, 10)
    assert other.values[INPUT] == 101


@pytest.mark.parametrize(
    "text",
    [json.dumps(OPENAI), repr(OPENAI), repr(OPENAI | {"service_tier": None})],
    ids=["json", "repr", "repr with None"],
)
def test_objects_are_read_out_of_text(text: str) -> None:
    """As JSON, or as Python prints it."""
    assert counts_of(usage_object(text) or {}) == WHOLE


@pytest.mark.parametrize("text", ["", "5", "[1]", "{", "{'a': __import__('os')}", "{" * 500, " " * (MAX_CHARS + 1)])
def test_what_is_no_object_is_none(text: str) -> None:
    """Nothing of it raises."""
    assert usage_object(text) is None


def test_the_usage_in_an_answer_is_not_taken_from_its_texts() -> None:
    """A model that speaks of usage objects does not change its bill."""
    spoof = 'here: "usage": {"prompt_tokens": 1}'
    answer = json.dumps({"id": "x", "usage": OPENAI, "choices": [{"message": {"content": spoof}}]})

    assert usage_within(answer) == OPENAI
    assert usage_within(json.dumps({"content": spoof})) is None


@given(
    st.dictionaries(
        st.sampled_from([*OPENAI, "input_tokens", "cache_creation", "thoughtsTokenCount", "input_token_details"]),
        st.recursive(
            st.none() | st.integers() | st.floats() | st.text(max_size=4),
            lambda inner: st.dictionaries(st.sampled_from(["cached_tokens", "cache_read", "ephemeral_5m"]), inner),
            max_leaves=4,
        ),
    )
)
def test_any_object_gives_counts_or_nothing(usage: dict[str, Any]) -> None:
    """Every count is a whole number that a token count can be."""
    assert all(type(count) is int and count >= 0 for count in counts_of(usage).values())


@pytest.mark.parametrize(
    ("usage", "counts"),
    [
        pytest.param(
            {"input": 55, "output": 9, "total": 384, "input_cached_tokens": 0, "output_reasoning_tokens": 320},
            {"input": 55, "output": 329, "cache_read": 0, "reasoning": 320},
            id="disjoint",
        ),
        pytest.param(
            {"input": 100, "output": 40, "input_cached_tokens": 60, "total": 140},
            {"input": 100, "output": 40, "cache_read": 60},
            id="the total says that input is whole",
        ),
        pytest.param(
            {"input": 10, "input_cache_creation_5m": 3, "input_cache_creation_1h": 4},
            {"input": 17, "cache_write": 7, "cache_write_5m": 3, "cache_write_1h": 4},
            id="lifetimes",
        ),
        pytest.param(
            {"input": 10, "input_priority": 10, "output": 1},
            {"input": 10, "output": 1},
            id="tiers are no buckets of their own",
        ),
        pytest.param({"requests": 3, "input": True}, {}, id="nothing of tokens"),
    ],
)
def test_buckets_of_langfuse_add_up(usage: dict[str, Value], counts: dict[str, int]) -> None:
    """All buckets of a side are parts of it, unless the total says otherwise."""
    assert buckets(usage) == counts


def test_usage_in_the_repr_of_an_answer() -> None:
    """Smolagents passes on the SDK's object as text; what the model wrote comes before its usage."""
    answer = (
        "ChatCompletion(id='1', choices=[Choice(message=Message(content='usage=CompletionUsage(prompt_tokens=9)'))], "
        "usage=CompletionUsage(completion_tokens=20, prompt_tokens=100, total_tokens=120, completion_tokens_details="
        "Details(audio_tokens=None, reasoning_tokens=5), prompt_tokens_details=Details(cached_tokens=64)))"
    )
    found = usage_within(json.dumps({"raw": answer}))

    assert isinstance(found, dict)
    assert counts_of(found) == {"input": 100, "output": 20, "cache_read": 64, "reasoning": 5}
    assert usage_within(answer[:-21]) is None
    assert usage_within(json.dumps({"content": "it has usage=CompletionUsage(prompt_tokens=9)"})) is None
    assert usage_within("Message(id='1', content='it has usage=CompletionUsage(prompt_tokens=9)')") is None


@pytest.mark.parametrize("text", ["usage=", " usage=Usage(", " usage=Usage(a=1", " usage=Usage(a=B(", " usage=)", ""])
def test_a_broken_repr_has_no_usage(text: str) -> None:
    """It was cut, or is no such thing."""
    assert usage_within("x" + text) is None

"""What calls that do not go the usual way say: broken off, cancelled, at another tier, with searches."""

from __future__ import annotations

import json
from typing import Any, Final

import pytest

from spanledger.conventions.call import Call
from spanledger.conventions.dialects import read
from spanledger.conventions.same_call import Knows, knows_more
from spanledger.conventions.values import key_value
from spanledger.processor.batch import Resource, Scope
from tests.fakes import span

OI: Final = "openinference.instrumentation."
SDK: Final = "com.anthropic.sdk.python"
GENAI: Final = "opentelemetry.instrumentation.genai."
MODEL: Final = {"gen_ai.operation.name": "chat", "gen_ai.request.model": "claude-sonnet-4-5"}
LLM: Final = {"openinference.span.kind": "LLM", "llm.token_count.prompt": 65, "llm.token_count.completion": 1}


def _read(scope: str, attributes: dict[str, Any], name: str = "a call") -> Any:
    made = span(name=name)
    made.attributes.extend(key_value(key, value) for key, value in attributes.items())
    return read(Scope(scope, ""), Resource({}, "shop"), made)


@pytest.mark.parametrize(("reasons", "output"), [({}, None), ({"gen_ai.response.finish_reasons": ["stop"]}, 1)])
def test_an_output_of_anthropic_without_an_end_is_that_of_its_beginning(
    reasons: dict[str, Any], output: int | None
) -> None:
    """The first event of a stream tells one token of output; the others are told with why it stopped."""
    counted = {"gen_ai.usage.input_tokens": 65, "gen_ai.usage.output_tokens": 1, "gen_ai.request.stream": True}

    usage = _read(GENAI + "anthropic", MODEL | counted | reasons).usage

    assert (usage.input, usage.output) == (65, output)


@pytest.mark.parametrize(
    ("scope", "answer", "output"),
    [
        ("anthropic", {"stop_reason": None, "usage": {"cache_read_input_tokens": 0}}, None),
        ("anthropic", {"stop_reason": "end_turn", "usage": {"cache_read_input_tokens": 0}}, 1),
        ("google_genai", {"candidates": [{"index": 0}], "usage_metadata": {"candidates_token_count": 1}}, None),
        (
            "google_genai",
            {"candidates": [{"finish_reason": "STOP"}], "usage_metadata": {"candidates_token_count": 1}},
            1,
        ),
    ],
)
def test_an_answer_that_broke_off_tells_no_output(scope: str, answer: dict[str, Any], output: int | None) -> None:
    """What was told of it until then is not what was billed."""
    usage = _read(OI + scope, LLM | {"llm.token_count.total": 66, "output.value": json.dumps(answer)}).usage

    assert (usage.input, usage.output) == (65, output)


@pytest.mark.parametrize(
    ("attributes", "error"),
    [({}, "_OTHER"), ({"http.response.status_code": 200}, None), ({"gen_ai.usage.output_tokens": 9}, None)],
)
def test_a_call_of_anthropic_s_sdk_that_nothing_answered_failed(attributes: dict[str, Any], error: str | None) -> None:
    """What the application cancels has no status."""
    assert _read(SDK, MODEL | attributes, "anthropic.messages.create").error_type == error


@pytest.mark.parametrize(
    ("given", "expected"), [("default", None), ("priority", "priority"), ("flex", "flex"), (None, "priority")]
)
def test_the_tier_that_was_given_comes_before_the_one_asked_for(given: str | None, expected: str | None) -> None:
    """OpenAI answers at the usual tier, and price, where there is no room in the priority one."""
    answer = {"id": "chatcmpl-1", **({"service_tier": given} if given else {})}
    said = {"llm.invocation_parameters": '{"service_tier": "priority"}', "output.value": json.dumps(answer)}

    assert _read(OI + "openai", LLM | said).service_tier == expected


def test_searches_that_openai_ran_are_charged_and_ask_nobody_for_anything() -> None:
    """OpenInference lists them among the calls of tools; opening a page is free."""
    output = [
        {"type": "web_search_call", "action": {"type": "search", "query": 'a "type": "web_search_call"'}},
        {"type": "web_search_call", "action": {"type": "open_page", "url": "https://a.example"}},
        {"type": "file_search_call", "queries": ["a"]},
    ]
    calls = "llm.output_messages.0.message.tool_calls.0.tool_call."
    listed = {calls + "id": "ws_1", calls + "function.name": "web_search_call"}

    reading = _read(OI + "openai", LLM | listed | {"output.value": json.dumps({"output": output})})

    assert reading.units == (("web_search", 1), ("file_search", 1))
    assert '"server_tool_call"' in reading.says("gen_ai.output.messages")


@pytest.mark.parametrize(("model", "searches"), [("gemini-2.5-flash", 1), ("gemini-3-pro", 2)])
def test_an_answer_of_gemini_that_searched_is_charged(model: str, searches: int) -> None:
    """Older models by the answer, newer ones by the query."""
    grounded = {"candidates": [{"finish_reason": "STOP", "grounding": {"web_search_queries": ["a, [b]", 'c"d']}}]}

    reading = _read(OI + "google_genai", LLM | {"llm.model_name": model, "output.value": json.dumps(grounded)})

    assert reading.units == (("web_search", searches),)


def test_images_that_gemini_made_and_its_tier_stand_in_its_answer() -> None:
    """They cost twelve times as much as text."""
    usage = {"traffic_type": "ON_DEMAND_FLEX", "candidates_token_count": 1290}
    details = [{"modality": "IMAGE", "token_count": 1290}, "nonsense", {"modality": ["IMAGE"]}]
    answer = {
        "candidates": [{"finish_reason": "STOP"}],
        "usage_metadata": usage | {"candidates_tokens_details": details},
    }

    reading = _read(OI + "google_genai", LLM | {"llm.token_count.completion": 1290, "output.value": json.dumps(answer)})

    assert (reading.usage.output, reading.usage.image_output, reading.service_tier) == (1290, 1290, "flex")


def test_who_knows_of_searches_stands_for_a_call_of_which_only_the_lifetime_of_no_cache_is_told() -> None:
    """Anthropic's SDK tells how long what was written lives even where nothing was, and no searches."""
    inner = Call(True, SDK, input=9, output=2, knows=Knows.LIFETIME | Knows.TIER, pico_usd=1)
    around = Call(True, GENAI + "anthropic", input=9, output=2, knows=Knows.UNITS, pico_usd=3)
    wrote = Call(True, SDK, input=9, output=2, cached=5, knows=Knows.LIFETIME | Knows.TIER, pico_usd=1)

    assert knows_more(around, inner)
    assert not knows_more(around, wrote)

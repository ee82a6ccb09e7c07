"""What calls that do not go the usual way say: broken off, cancelled, at another tier, with searches."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any, Final

import pytest

from spanledger.conventions.call import Call, Place
from spanledger.conventions.dialects import read
from spanledger.conventions.prices.calls import call_of
from spanledger.conventions.reading import Cost, Reading
from spanledger.conventions.same_call import knows_more, same_numbers, twins
from spanledger.conventions.usage import Usage
from spanledger.conventions.values import key_value
from spanledger.processor.batch import Resource, Scope
from spanledger.processor.genai_pricing import report
from tests.fakes import span

OI: Final = "openinference.instrumentation."
SDK: Final = "com.anthropic.sdk.python"
GENAI: Final = "opentelemetry.instrumentation.genai."
BOTOCORE: Final = "opentelemetry.instrumentation.botocore.bedrock-runtime"
AWS_SDK: Final = "@opentelemetry/instrumentation-aws-sdk"
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
    ("scope", "command", "model", "counts"),
    [
        # a sixth of the characters, which no tokenizer counted
        (BOTOCORE, "InvokeModel", "mistral.mistral-large-2402-v1:0", (None, None)),
        (AWS_SDK, "InvokeModel", "cohere.command-r-v1:0", (None, None)),
        (AWS_SDK, "InvokeModelWithResponseStream", "us.mistral.pixtral-large-2502-v1:0", (None, None)),
        (AWS_SDK, "Converse", "mistral.mistral-large-2402-v1:0", (65, 1)),
        # the first event of a stream, and not the last
        (AWS_SDK, "InvokeModelWithResponseStream", "us.anthropic.claude-sonnet-4-5-20250929-v1:0", (65, None)),
        (BOTOCORE, "InvokeModelWithResponseStream", "anthropic.claude-3-haiku-20240307-v1:0", (65, 1)),
        (AWS_SDK, "InvokeModel", "anthropic.claude-3-haiku-20240307-v1:0", (65, 1)),
        (AWS_SDK, "InvokeModelWithResponseStream", "amazon.nova-lite-v1:0", (65, 1)),
        ("app", "InvokeModel", "mistral.mistral-large-2402-v1:0", (65, 1)),
    ],
)
def test_tokens_that_bedrock_did_not_count_are_unknown(
    scope: str, command: str, model: str, counts: tuple[int | None, int | None]
) -> None:
    """AWS's instrumentations make some up from the length of texts."""
    said = {"rpc.method": command, "gen_ai.system": "aws.bedrock", "gen_ai.request.model": model}
    counted = {"gen_ai.usage.input_tokens": 65, "gen_ai.usage.output_tokens": 1}

    usage = _read(scope, said | counted, f"BedrockRuntime.{command}").usage or Usage()

    assert (usage.input, usage.output) == counts


@pytest.mark.parametrize(
    ("scope", "answer", "output"),
    [
        ("anthropic", {"stop_reason": None, "usage": {"cache_read_input_tokens": 0}}, None),
        ("anthropic", {"stop_reason": "end_turn", "usage": {"cache_read_input_tokens": 0}}, 1),
        (
            "anthropic",
            [
                {"message": {"stop_reason": None, "usage": {"cache_read_input_tokens": 0}}},
                {"delta": {"stop_reason": "end_turn"}},
            ],
            1,
        ),
        (
            "anthropic",
            {
                "content": [{"type": "tool_use", "input": {"stop_reason": None}}],
                "stop_reason": "tool_use",
                "usage": {"cache_read_input_tokens": 0},
            },
            1,
        ),
        (
            "litellm",
            {
                "choices": [{"finish_reason": "stop", "stop_reason": None}],  # vLLM says both
                "usage": {"cache_read_input_tokens": 0},
            },
            1,
        ),
        ("google_genai", {"candidates": [{"index": 0}], "usage_metadata": {"candidates_token_count": 1}}, None),
        (
            "google_genai",
            {"candidates": [{"finish_reason": "STOP"}], "usage_metadata": {"candidates_token_count": 1}},
            1,
        ),
    ],
)
def test_an_answer_that_broke_off_tells_no_output(scope: str, answer: Any, output: int | None) -> None:
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


@pytest.mark.parametrize(
    ("output", "units"),
    [
        # A stream's events tell of one search again and again.
        (
            [
                {"type": "response.output_item.added", "item": {"type": "web_search_call", "id": "ws_1"}},
                {"type": "response.completed", "response": {"output": [{"type": "web_search_call", "id": "ws_1"}]}},
            ],
            (("web_search", 1),),
        ),
        # What another call did is not taken off, and what a text says is no call.
        ([{"type": "web_search_call", "id": "ws_1"}, {"type": "computer_call", "action": {"type": "find"}}],
         (("web_search", 1),)),
        ([{"type": "message", "content": "web_search_call"}, {"type": "x", "action": {"type": "open"}}], None),
        ([{"type": "web_search_call", "id": ["ws_1"], "action": {"type": ["open_page"]}}], (("web_search", 1),)),
        ([{"type": ["web_search_call"]}, [[["web_search_call"]]]], None),
    ],
)  # fmt: skip
def test_each_search_of_openai_is_charged_once(output: list[Any], units: Any) -> None:
    """Whatever the answer looks like in which they stand."""
    reading = _read(OI + "openai", LLM | {"output.value": json.dumps(output)})

    assert reading.units == units


@pytest.mark.parametrize("action", ["open_page", "find_in_page"])
def test_an_answer_of_openai_that_only_opened_pages_is_charged_no_search(action: str) -> None:
    """Its messages show the tool, which OpenInference lists without what it did."""
    call = "llm.output_messages.0.message.tool_calls.0.tool_call."
    listed = {call + "id": "ws_1", call + "function.name": "web_search_call"}
    answer = {"output": [{"type": "web_search_call", "id": "ws_1", "action": {"type": action}}]}

    shown = call_of(_read(OI + "openai", LLM | listed), 0, None, "5m")
    told = call_of(_read(OI + "openai", LLM | listed | {"output.value": json.dumps(answer)}), 0, None, "5m")

    assert (shown.units, told.units) == ((("web_search", 1),), ())


@pytest.mark.parametrize(
    ("model", "searches"),
    [
        ("gemini-2.5-flash", 1),
        ("google/gemini-2.5-flash", 1),
        ("publishers/google/models/gemini-2.5-flash", 1),
        ("gemini-3-pro", 2),
        ("google/gemini-3-pro", 2),
    ],
)
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


@pytest.mark.parametrize(
    ("other", "same"),
    [
        (Call(True, SDK, input=904, output=2, cached=900), True),
        (Call(True, SDK, input=4, output=2), True),
        (Call(True, SDK, input=1904, output=2, cached=1900, written=100), False),
        (Call(True, SDK, input=1504, output=2, cached=1500), False),
    ],
)
def test_only_what_was_written_to_the_cache_may_be_left_out_beside_what_was_read(other: Call, same: bool) -> None:
    """Where nearly all is cached, the same few tokens are left over of many calls."""
    whole = Call(True, GENAI + "anthropic", input=1004, output=2, cached=1000, written=100)

    assert same_numbers(whole, other) is same_numbers(other, whole) is same


def _told(scope: str, cost: int, *, units: bool = False, **usage: int) -> Call:
    reading = Reading("otel", "llm", usage=Usage(9, 2, **usage))
    return report(reading, scope, Resource({}, "shop"), Cost("priced", total=cost), failed=False, units=units)


def test_who_knows_of_searches_stands_for_a_call_of_which_only_the_lifetime_of_no_cache_is_told() -> None:
    """Anthropic's SDK tells how long what was written lives even where nothing was, and no searches."""
    around = _told(GENAI + "anthropic", 3, units=True)

    assert knows_more(around, _told(SDK, 1, cache_write=0, cache_write_1h=0))
    assert knows_more(around, _told(SDK, 1, cache_read=5, cache_write=0, cache_write_1h=0))
    assert not knows_more(around, _told(SDK, 1, cache_write=5, cache_write_1h=0))


def test_of_two_reports_beside_each_other_the_one_that_knows_of_searches_stands() -> None:
    """A lifetime of nothing decides nothing."""
    places = [
        Place(b"t", b"1", b"", 10, 20, replace(_told(SDK, 1, cache_write_1h=0), response_id="msg_1")),
        Place(b"t", b"2", b"", 11, 19, replace(_told(GENAI, 3, units=True), response_id="msg_1")),
    ]

    assert twins(places) == {places[0]: places[1]}

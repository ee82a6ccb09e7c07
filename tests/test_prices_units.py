"""What is billed beside tokens, where it stands on spans, and which facts decide a price."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from spanledger.conventions.dialects import DIALECTS
from spanledger.conventions.prices.calls import call_of, home_of
from spanledger.conventions.prices.catalogue import shipped_catalogue
from spanledger.conventions.prices.engine import PricedCall, PriceEngine
from spanledger.conventions.prices.override_file import BadPrices, read_book
from spanledger.conventions.prices.overrides import ServiceFacts
from spanledger.conventions.prices.reported import is_bill, weigh
from spanledger.conventions.reader import Reader
from spanledger.conventions.reading import Cost, Reading
from spanledger.conventions.units import UNITS, Units, units_of
from spanledger.conventions.usage import Usage
from spanledger.conventions.values import Value, key_value

CATALOGUE = shipped_catalogue()
ENGINE = PriceEngine(CATALOGUE)
READER = Reader(DIALECTS)
NOON = int(datetime(2026, 11, 18, 12, tzinfo=UTC).timestamp()) * 10**9
USAGE = Usage(input=1000, output=1000)


def said(scope: str = "app", **attributes: Value) -> Reading:
    """Return what is read on a call of a model with these attributes; `__` stands for a dot."""
    span = Span(name="chat", trace_id=b"t" * 16, span_id=b"s" * 8, start_time_unix_nano=1, end_time_unix_nano=2)
    known: dict[str, Value] = {"gen_ai.operation.name": "chat", "gen_ai.request.model": "m"}
    for key, value in {**known, **{name.replace("__", "."): value for name, value in attributes.items()}}.items():
        span.attributes.append(key_value(key, value))
    reading = READER.read(scope, "", span)
    assert reading is not None
    return reading


def priced(
    model: str, provider: str, units: Units = (), usage: Usage | None = USAGE, book: str = "", **more: Any
) -> Cost:
    """Return the cost of a call by what comes with spanledger and an override file."""
    engine = PriceEngine(CATALOGUE, (read_book(book, "own.yaml"),)) if book else ENGINE
    return engine.price(PricedCall(usage, provider, model, units=units, **more), NOON)


@pytest.mark.parametrize(
    ("attributes", "units"),
    [
        ({"anthropic.usage.server_tool_use.web_search_requests": 2}, (("web_search", 2),)),
        ({"gen_ai.usage.server_tool_use.web_search_requests": "3"}, (("web_search", 3),)),
        ({"gen_ai.usage.details.web_search_requests": 1}, (("web_search", 1),)),
        ({"gen_ai.usage.search_units": 2}, (("rerank_search", 2),)),
        ({"gen_ai.usage.web_search_requests": 0}, ()),
        ({"gen_ai.usage.web_search_requests": -3}, None),
        ({"gen_ai.usage.web_search_requests": 10**12}, None),
        ({"gen_ai.usage.web_search_requests": [1]}, None),
        ({}, None),
    ],
)
def test_searches_are_read_where_emitters_put_them(attributes: dict[str, Value], units: Units | None) -> None:
    """And nothing that cannot be a count. No search is not the same as nothing said."""
    assert said(**attributes).units == units


def test_a_usage_object_tells_searches_speed_and_area() -> None:
    """Anthropic's own words, passed on as JSON."""
    usage = {
        "input_tokens": 10, "output_tokens": 5, "service_tier": "standard", "speed": "fast", "inference_geo": "us",
        "server_tool_use": {"web_search_requests": 2, "web_fetch_requests": 9},
    }  # fmt: skip
    reading = said("litellm", **{"metadata.usage_object": json.dumps(usage)})
    assert (reading.units, reading.service_tier, reading.region) == ((("web_search", 2),), "fast", "us")


def test_what_xai_says_it_charged_is_a_bill() -> None:
    """10^10 ticks are a dollar: docs.x.ai/developers/cost-tracking has 37756000 for $0.0038."""
    reading = said(**{"gen_ai.usage.cost_in_usd_ticks": 37_756_000})
    assert reading.reported_cost_usd == 0.0037756
    assert is_bill(reading)


@pytest.mark.parametrize(
    ("usage", "billed"),
    [
        ({"cost": 0.0021}, 0.0021),  # OpenRouter
        ({"cost": 0.0021, "is_byok": True}, None),  # its fee on a key of the user's own
        ({"cost": {"input_tokens_cost": 0.0, "total_cost": 0.742}}, 0.742),  # Perplexity, searches and citations in it
        ({"cost": {"total_cost": {"x": 1}}}, None),
    ],
)
def test_what_a_usage_object_says_was_charged_is_a_bill(usage: dict[str, Value], billed: float | None) -> None:
    """openrouter.ai/docs, "usage accounting"; docs.perplexity.ai, "usage" of an answer."""
    counts = {"prompt_tokens": 33, "completion_tokens": 100}
    reading = said("litellm", **{"metadata.usage_object": json.dumps(counts | usage)})

    assert reading.reported_cost_usd == billed
    assert is_bill(reading) is (billed is not None)


def test_grounding_counts_by_prompt_until_gemini_2_and_by_query_from_3() -> None:
    """ai.google.dev: 2.5 pays for the grounded prompt, 3 for each query that the model made."""
    metadata = json.dumps({"google": {"groundingMetadata": {"webSearchQueries": ["a", "b", "c"]}}})
    for model, count in (("gemini-2.5-flash", 1), ("gemini-3-flash-preview", 3)):
        call = {"ai.operationId": "ai.generateText.doGenerate", "ai.model.id": model}
        span = Span(name="ai.generateText.doGenerate", trace_id=b"t" * 16, span_id=b"s" * 8)
        for key, value in {**call, "ai.response.providerMetadata": metadata}.items():
            span.attributes.append(key_value(key, value))
        reading = READER.read("ai", "", span)
        assert reading is not None
        assert reading.units == (("web_search", count),)


def test_tools_that_the_provider_ran_are_counted_in_the_answer() -> None:
    """Searches and file searches; what a search tool does without searching, and code, cost nothing by the call."""
    parts = [
        {"type": "server_tool_call", "name": "web_search", "server_tool_call": {"type": "web_search"}},
        {"type": "server_tool_call", "name": "web_search_call", "server_tool_call": {"action": {"type": "open_page"}}},
        {"type": "server_tool_call", "name": "web_search_call", "server_tool_call": {"action": {"type": "search"}}},
        {"type": "server_tool_call", "name": "file_search_call", "server_tool_call": {"type": "x"}},
        {"type": "server_tool_call", "name": "code_interpreter", "server_tool_call": {"type": "x"}},
        {"type": "text", "content": "done"},
    ]
    messages = json.dumps([{"role": "assistant", "parts": parts}])
    call = call_of(said(**{"gen_ai.output.messages": messages}), 0, None, "5m")
    assert call.units == (("web_search", 2), ("file_search", 1))
    told = said(**{"gen_ai.output.messages": messages, "gen_ai.usage.web_search_requests": 7})
    assert call_of(told, 0, None, "5m").units == (("web_search", 7),)  # the provider's own count comes first
    failed = said(**{"gen_ai.output.messages": messages, "gen_ai.usage.web_search_requests": 0})
    assert call_of(failed, 0, None, "5m").units == ()  # Anthropic charges no search that failed


KEYS = st.sampled_from(["type", "parts", "name", "server_tool_call", "action"])
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8) | st.just("server_tool_call"),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=12,
)


@given(ANYTHING)
def test_no_answer_breaks_the_count(messages: Any) -> None:
    """Whatever stands there: counts, or nothing."""
    reading = Reading("otel", "llm", attributes={"gen_ai.output.messages": json.dumps([messages, "server_tool_call"])})
    assert all(count > 0 for _, count in call_of(reading, 0, None, "5m").units)


def test_images_without_tokens_are_counted_by_what_was_asked_for() -> None:
    """A request that does not say how many gets one; one that tells tokens is priced by them."""
    image: dict[str, Value] = {"gen_ai.output.type": "image"}
    assert call_of(said(**image), 0, None, "5m").units == (("image", 1),)
    assert call_of(said(**image, **{"gen_ai.request.choice.count": 3}), 0, None, "5m").units == (("image", 3),)
    assert call_of(said(**image, **{"gen_ai.usage.output_tokens": 9}), 0, None, "5m").units == ()


def spoken(text: str, **attributes: Value) -> Units:
    """Return what is billed of a call that makes speech of a text."""
    messages = json.dumps([{"role": "user", "parts": [{"type": "text", "content": text}]}])
    known: dict[str, Value] = {"gen_ai.output.type": "speech", "gen_ai.input.messages": messages}
    return call_of(said(**known, **attributes), 0, None, "5m").units


def test_speech_without_tokens_is_counted_by_the_characters_that_were_spoken() -> None:
    """As tts-1 is sold; a text that was cut does not tell how long it was."""
    assert spoken("x" * 1000) == (("character", 1000),)
    assert priced("tts-1", "openai", spoken("x" * 1000), None).total == 15_000_000_000
    assert spoken("x" * 1000, **{"gen_ai.usage.input_tokens": 250}) == ()
    assert spoken("") == ()
    assert call_of(said(**{"gen_ai.output.type": "speech", "gen_ai.input.messages": "[[1"}), 0, None, "5m").units == ()


@pytest.mark.parametrize(
    ("attributes", "units"),
    [
        (
            {"gen_ai.operation.name": "speech_to_text", "gen_ai.response.audio.duration": 60.5},
            {"audio_input_ms": 60_500},
        ),
        ({"gen_ai.operation.name": "audio", "gen_ai.request.audio_duration": 3600}, {"audio_input_ms": 3_600_000}),
        ({"gen_ai.operation.name": "speech_to_text", "gen_ai.response.audio.duration": -1.0}, {}),
        ({"gen_ai.operation.name": "chat", "gen_ai.response.audio.duration": 60.5}, {}),
        ({"gen_ai.operation.name": "image", "gen_ai.response.image": ["a", "b"]}, {"image": 2}),
        ({"gen_ai.operation.name": "image", "gen_ai.response.image": ["a"] * 65}, {}),
    ],
)
def test_openlit_tells_the_length_of_sound_and_the_images(attributes: dict[str, Value], units: dict[str, int]) -> None:
    """Whisper and AssemblyAI are paid for by the minute of what was heard."""
    assert dict(said("openlit.instrumentation.openai", **attributes).units or ()) == units


@pytest.mark.parametrize(
    ("currency", "counts"), [("USD", True), ("usd", True), ("", True), ("EUR", False), (["USD"], False)]
)
@pytest.mark.parametrize("said_in", ["gen_ai.usage.cost.currency", "gen_ai.cost.currency", "llm.cost.currency"])
def test_only_dollars_are_taken_for_dollars(currency: Value, counts: bool, said_in: str) -> None:
    """An amount in another currency is none that could be compared or counted."""
    reading = said(**{"gen_ai.usage.cost.amount": 0.009, said_in: currency})
    cost, _ = weigh(Cost("unpriced", "unknown_model"), reading, "prefer")
    assert cost.total == (9_000_000_000 if counts else None)


@pytest.mark.parametrize(
    ("attribute", "value", "region"),
    [
        ("cloud.region", "eu-west-1", "eu-west-1"),
        ("anthropic.usage.inference_geo", "us", "us"),
        ("gen_ai.request.inference_geo", "eu", "eu"),
    ],
)
def test_a_span_says_where_the_model_ran(attribute: str, value: str, region: str) -> None:
    """The response's word before the request's."""
    assert said(**{attribute: value}).region == region


def test_the_resource_says_where_bedrock_is_called_and_nothing_else() -> None:
    """Where an application stands is not where Anthropic or OpenAI run its calls."""
    home = home_of({"cloud.provider": "aws", "cloud.region": "us-gov-west-1"})
    assert home == "us-gov-west-1"
    assert home_of({"cloud.provider": "gcp", "cloud.region": "us-east1"}) == ""
    assert home_of({"cloud.region": 7}) == ""
    model = "amazon.nova-pro-v1:0"
    at_home = call_of(
        Reading("otel", "llm", provider="aws.bedrock", request_model=model, usage=USAGE), 0, None, "5m", home
    )
    assert ENGINE.price(at_home, NOON).total == 4_800_000_000  # 0.96 + 3.84
    elsewhere = call_of(
        Reading("otel", "llm", provider="openai", request_model="gpt-5.4", usage=USAGE), 0, None, "5m", home
    )
    assert ENGINE.price(elsewhere, NOON).total == 17_500_000_000  # 2.5 + 15, no uplift
    elsewhere = replace(elsewhere, region="us-east-1")  # some copy it to every span: no area of OpenAI's
    assert ENGINE.price(elsewhere, NOON).total == 17_500_000_000
    assert ENGINE.price(replace(elsewhere, region="eu"), NOON).total == 19_250_000_000


def test_what_the_span_says_comes_before_what_is_said_of_its_service() -> None:
    """Region and tier; the speed, which the tier of an answer does not tell, is added."""
    facts = ServiceFacts(match={}, tier="flex", region="us", speed="fast")
    plain = Reading("otel", "llm", provider="anthropic", request_model="claude-opus-5")
    assert call_of(plain, 0, facts, "5m").assumed_region == "us"
    assert call_of(plain, 0, facts, "5m").tier == "flex"
    told = Reading("otel", "llm", provider="anthropic", request_model="m", service_tier="standard", region="eu")
    assert (call_of(told, 0, facts, "5m").region, call_of(told, 0, facts, "5m").tier) == ("eu", "fast")
    told.service_tier = "batch"
    assert call_of(told, 0, facts, "5m").tier == "batch"


def test_fees_are_added_to_tokens_and_take_no_part_in_their_multipliers() -> None:
    """A batch halves tokens and not searches; a contract's discount is on all that is charged."""
    plain = priced("claude-sonnet-4-6", "anthropic", (("web_search", 3),))
    assert plain.total == 18_000_000_000 + 30_000_000_000
    batch = priced("claude-sonnet-4-6", "anthropic", (("web_search", 3),), tier="batch")
    assert batch.total == 9_000_000_000 + 30_000_000_000
    american = priced("claude-sonnet-4-6", "anthropic", (("web_search", 3),), region="us")
    assert american.total == 19_800_000_000 + 30_000_000_000
    contract = "adjust: [{provider: anthropic, multiply: 0.9, reason: contract}]"
    cost = priced("claude-sonnet-4-6", "anthropic", (("web_search", 3),), book=contract)
    assert cost.total == 43_200_000_000


def test_a_fee_that_nobody_knows_is_named() -> None:
    """The rest is priced: a part of the whole, and it says so."""
    cost = priced("claude-sonnet-4-6", "anthropic", (("web_search", 1), ("code_execution", 2)))
    assert (cost.status, cost.reason, cost.total) == ("priced", "fee_unknown", 28_000_000_000)
    own = "fees: [{provider: anthropic, code_execution: 0.002}]"
    cost = priced("claude-sonnet-4-6", "anthropic", (("web_search", 1), ("code_execution", 2)), book=own)
    assert (cost.reason, cost.total) == ("", 32_000_000_000)


@pytest.mark.parametrize(
    ("model", "provider", "units", "usage", "status", "reason", "total"),
    [
        ("whisper-1", "openai", (("audio_input_ms", 60_000),), None, "priced", "", 6_000_000_000),
        ("whisper-1", "openai", (), None, "no_usage", "", None),
        ("whisper-1", "openai", (), USAGE, "unpriced", "not_priced_by_token", None),
        ("whisper-1", "openai", (("image", 1),), None, "unpriced", "not_priced_by_unit", None),
        ("rerank-v3.5", "cohere", (("rerank_search", 1),), None, "priced", "", 2_000_000_000),
        ("rerank-2.5", "voyageai", (), Usage(input=10**6), "priced", "", 50_000_000_000),
        ("omni-moderation-latest", "openai", (), Usage(input=10), "priced", "", 0),
        ("dall-e-3", "openai", (("image", 1),), None, "unpriced", "unknown_model", None),
        ("gpt-4o", "openai", (("web_search", 1),), None, "priced", "tokens_unknown", 10_000_000_000),
    ],
)
def test_calls_are_priced_by_what_they_are_sold_by(
    model: str, provider: str, units: Units, usage: Usage | None, status: str, reason: str, total: int | None
) -> None:
    """Speech by the minute, reranking by the search, images by the piece; or unpriced with a reason, never 0."""
    cost = priced(model, provider, units, usage)
    assert (cost.status, cost.reason, cost.total) == (status, reason, total)


@pytest.mark.parametrize(
    ("model", "provider", "usage", "reason", "total"),
    [
        # $0.30 a million, $2.50 of text, $30 of images: what nobody told may be either
        ("gemini-2.5-flash-image", "gcp.gemini", Usage(input=1000, output=1000), "image_not_told", 2_800_000_000),
        ("gemini-2.5-flash-image", "gcp.gemini", Usage(input=1000, output=1000, image_output=1000), "", 30_300_000_000),
        ("gemini-2.5-flash-image", "gcp.gemini", Usage(input=1000, output=1000, image_output=0), "", 2_800_000_000),
        ("gemini-2.5-flash-image", "gcp.gemini", Usage(input=1000, output=0), "", 300_000_000),
        # $5 and $38, and no price of text: all of it is images
        ("mai-image-2.6", "azure.ai.inference", Usage(input=1000, output=1000), "", 43_000_000_000),
        ("gpt-4o", "openai", Usage(input=1000, output=1000), "", 12_500_000_000),
    ],
)
def test_images_are_never_silently_text_nor_free(
    model: str, provider: str, usage: Usage, reason: str, total: int
) -> None:
    """They cost many times as much."""
    cost = priced(model, provider, usage=usage)

    assert (cost.status, cost.reason, cost.total) == ("priced", reason, total)


@pytest.mark.parametrize(
    ("usage", "units", "tier", "reason"),
    [
        (Usage(input=9), (), "platinum", "output_unknown"),
        (Usage(input=9, conflicts=("output_not_a_count",)), (), "", "output_unknown"),
        (Usage(input=0, output=9), (), "platinum", "input_unknown"),  # no call has an input of nothing
        (Usage(input=9, output=9, conflicts=("total_not_a_count",)), (("code_execution", 1),), "", "fee_unknown"),
        (Usage(input=9, output=9), (("code_execution", 1),), "platinum", "fee_unknown"),
        (None, (("web_search", 1),), "platinum", "tokens_unknown"),
        (Usage(input=9, output=9, conflicts=("total_not_a_count",)), (), "platinum", "tier_at_list_price"),
    ],
)
def test_that_a_part_is_missing_is_said_before_anything_else(
    usage: Usage | None, units: Units, tier: str, reason: str
) -> None:
    """There is room for one reason, and only those of parts are counted."""
    cost = priced("gpt-4o", "openai", units, usage, tier=tier)

    assert (cost.status, cost.reason, cost.is_partial) == ("priced", reason, reason != "tier_at_list_price")


def test_an_operator_prices_a_model_that_is_sold_by_the_piece() -> None:
    """`fees` alone are enough; a fee for all models of a provider makes none of them known."""
    own = "fees: [{provider: openai, model: dall-e-3, image: 0.04}, {provider: acme, page: 0.01}]"
    cost = priced("dall-e-3", "openai", (("image", 2),), None, own)
    assert (cost.total, cost.price_ref) == (80_000_000_000, "overrides#openai/dall-e-3")
    assert priced("other", "acme", (("page", 2),), None, own).status == "unpriced"
    minute = "fees: [{provider: acme, model: stt, audio_input_minute: 0.0043}]"
    assert priced("stt", "acme", (("audio_input_ms", 60_000),), None, minute).total == 4_300_000_000


@pytest.mark.parametrize(
    "row",
    [
        "{provider: a, model: b}", "{provider: a, image: -1}", "{provider: a, image: .inf}", "{provider: a, video: 1}",
        "{provider: a, image: 1, from: 2026-01-01}",
    ],
)  # fmt: skip
def test_a_fee_row_that_says_nothing_or_nonsense_is_refused(row: str) -> None:
    """At start, with the place."""
    with pytest.raises(BadPrices, match="fees::0"):
        read_book(f"fees: [{row}]", "f.yaml")


def test_capacity_paid_by_the_hour_has_no_price_by_the_call() -> None:
    """Vertex AI says so in the traffic type, Bedrock in the ARN; the operator can say that a call costs nothing."""
    arn = "arn:aws:bedrock:us-east-1:123456789012:provisioned-model/abc"
    for cost in (
        priced("gemini-2.5-pro", "gcp.vertex_ai", tier="PROVISIONED_THROUGHPUT"),
        priced(arn, "aws.bedrock"),
    ):
        assert (cost.status, cost.reason) == ("unpriced", "provisioned")
    own = f'prices: [{{provider: aws, model: "{arn}", input: 0, output: 0}}]'
    assert priced(arn, "aws.bedrock", book=own).total == 0
    paid = "adjust: [{provider: google, model: 'gemini-2.5-*', billing: provisioned}]"
    assert priced("gemini-2.5-pro", "gcp.vertex_ai", tier="PROVISIONED_THROUGHPUT", book=paid).total == 0
    assert priced("gemini-2.5-pro", "gcp.vertex_ai", tier="ON_DEMAND").total == 11_250_000_000


@pytest.mark.parametrize(
    ("provider", "model", "more"),
    [
        ("dashscope", "qwen-max", {"server_address": "dashscope.aliyuncs.com"}),
        ("azure", "gpt-4.1", {"server_address": "contoso.openai.azure.cn"}),
        ("aws.bedrock", "arn:aws-cn:bedrock:cn-north-1::foundation-model/amazon.nova-lite-v1:0", {}),
    ],
)
def test_what_is_sold_in_china_has_another_price(provider: str, model: str, more: dict[str, str]) -> None:
    """That of elsewhere is none of it. An address abroad, or an application there, changes nothing."""
    assert priced(model, provider, **more).reason == "no_price_for_region"
    abroad = priced("qwen-max", "dashscope", server_address="dashscope-intl.aliyuncs.com")
    assert abroad == priced("qwen-max", "dashscope")
    assert priced("gpt-4.1", "openai", region="cn-hangzhou").status == "priced"


def test_govcloud_has_prices_of_its_own_or_none() -> None:
    """20 % over the commercial regions for Claude; what has no price there is not given that of elsewhere."""
    host = "bedrock-runtime.us-gov-west-1.amazonaws.com"
    model = "anthropic.claude-sonnet-4-5-20250929-v1:0"
    assert priced(model, "aws.bedrock", server_address=host).total == 21_600_000_000  # 3.6 + 18
    assert priced(f"us-gov.{model}", "aws.bedrock").total == 21_600_000_000
    cost = priced("us-gov.anthropic.claude-3-haiku-20240307-v1:0", "aws.bedrock")
    assert (cost.status, cost.reason) == ("unpriced", "no_price_for_region")


@given(
    st.lists(st.tuples(st.sampled_from(UNITS), st.integers(1, 10**6)), unique_by=lambda pair: pair[0], max_size=4),
    st.integers(0, 10**6), st.integers(0, 10**6),
)  # fmt: skip
def test_a_price_is_the_exact_sum_of_its_parts(units: list[Any], tokens_in: int, tokens_out: int) -> None:
    """Linear in each unit and each token kind, to the pico-dollar, and never less for more."""
    own = (
        "prices: [{provider: acme, model: m, input: 1.1, output: 3.3}]\n"
        "fees: [{provider: acme, model: m, web_search: 0.01, file_search: 0.0025, map_search: 0.014, image: 0.04, "
        "social_search: 0.005, code_execution: 0.03, rerank_search: 0.002, page: 0.001, character: 0.000015, "
        "audio_input_minute: 0.006, audio_output_minute: 0.024}]"
    )
    engine = PriceEngine(CATALOGUE, (read_book(own, "own.yaml"),))
    usage = Usage(input=tokens_in + 1, output=tokens_out)

    def total(*wanted: Any) -> int:
        cost = engine.price(PricedCall(usage, "acme", "m", units=wanted), NOON)
        assert cost.total is not None
        return cost.total

    tokens = total()
    assert tokens == (tokens_in + 1) * 1_100_000 + tokens_out * 3_300_000
    assert total(*units) == tokens + sum(total(unit) - tokens for unit in units)
    assert total(*units) >= tokens


def spellings(uncached: int, read: int, write: int, output: int) -> dict[str, dict[str, Value]]:
    """Return one call of Claude as instrumentations say it, by scope: with the cache in the input, and without."""
    whole = uncached + read + write
    current: dict[str, Value] = {
        "gen_ai.usage.cache_read.input_tokens": read, "gen_ai.usage.cache_creation.input_tokens": write,
        "gen_ai.usage.output_tokens": output,
    }  # fmt: skip
    flat: dict[str, Value] = {
        "gen_ai.usage.cache_read_input_tokens": read, "gen_ai.usage.cache_creation_input_tokens": write,
    }  # fmt: skip
    return {
        "opentelemetry.instrumentation.genai.anthropic": {**current, "gen_ai.usage.input_tokens": whole},
        "com.anthropic.sdk.python": {**current, "gen_ai.usage.input_tokens": whole},
        "openlit.instrumentation.anthropic": {**current, "gen_ai.usage.input_tokens": uncached},
        "crewai": {**current, "gen_ai.usage.input_tokens": whole},
        "agent_framework": {**current, "gen_ai.usage.input_tokens": uncached},
        "pydantic-ai": {**current, "gen_ai.usage.input_tokens": whole},
        "opentelemetry.instrumentation.anthropic": {
            **flat, "gen_ai.usage.prompt_tokens": whole, "gen_ai.usage.completion_tokens": output,
        },
        "openinference.instrumentation.anthropic": {
            "openinference.span.kind": "LLM", "llm.token_count.prompt": whole, "llm.token_count.completion": output,
            "llm.token_count.prompt_details.cache_read": read, "llm.token_count.prompt_details.cache_write": write,
        },
        "langfuse-sdk": {
            "langfuse.observation.type": "generation", "langfuse.observation.usage_details": json.dumps({
                "input": uncached, "output": output,
                "cache_read_input_tokens": read, "cache_creation_input_tokens": write,
            }),
        },
        "langsmith": {
            "langsmith.span.kind": "llm", "langsmith.usage_metadata": json.dumps({
                "input_tokens": whole, "output_tokens": output,
                "input_token_details": {"cache_read": read, "cache_creation": write},
            }),
        },
        "com.anthropic.claude_code.tracing": {
            "span.type": "llm_request", "llm_request.context": "tool", "model": "claude-sonnet-4-5",
            "input_tokens": uncached, "output_tokens": output,
            "cache_read_tokens": read, "cache_creation_tokens": write,
        },
        "org.springframework.boot": {
            "spring.ai.kind": "chat",
            "gen_ai.usage.input_tokens": str(uncached), "gen_ai.usage.output_tokens": str(output),
            "gen_ai.usage.cache_read_input_tokens": str(read), "gen_ai.usage.cache_creation_input_tokens": str(write),
        },
    }  # fmt: skip


@given(*(st.integers(low, 50_000) for low in (1, 0, 0, 1)))
def test_a_call_costs_the_same_in_whatever_words(uncached: int, read: int, write: int, output: int) -> None:
    """$3, $0.30, $3.75 and $15 a million: exclusive and inclusive, flat, nested and as text."""
    exact = (uncached * 3_000_000 + read * 300_000 + write * 3_750_000 + output * 15_000_000,)
    model: dict[str, Value] = {"gen_ai.provider.name": "anthropic", "gen_ai.request.model": "claude-sonnet-4-5"}
    for scope, attributes in spellings(uncached, read, write, output).items():
        reading = said(scope, **model, **attributes)
        cost = ENGINE.price(call_of(reading, 0, None, "5m"), NOON)
        assert (cost.total,) == exact, scope


def test_units_are_frozen_and_in_order() -> None:
    """Whatever the order of facts."""
    known = {"@page": 2, "@web_search": 1, "@image": True, "@character": 0}
    assert units_of(known) == (("web_search", 1), ("page", 2))

"""The operator's own prices: precedence, dates, aliases, contracts, own machines, and errors that help."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from spanledger.conventions.prices.catalogue import shipped_catalogue
from spanledger.conventions.prices.engine import PricedCall, PriceEngine
from spanledger.conventions.prices.override_file import BadPrices, read_book
from spanledger.conventions.prices.price_lists import shipped_corrections
from spanledger.conventions.usage import Usage

CATALOGUE = shipped_catalogue()
USAGE = Usage(input=1_000_000, output=1_000_000)


def ns(text: str) -> int:
    """Return a day as nanoseconds."""
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * 10**9


def engine(*files: str) -> PriceEngine:
    """Return an engine with these override files."""
    return PriceEngine(CATALOGUE, tuple(read_book(text, f"file{number}.yaml") for number, text in enumerate(files)))


def usd(
    priced: PriceEngine, model: str, provider: str | None = None, day: str = "2026-11-18", **more: object
) -> float | None:
    """Return the price of a million tokens each way."""
    return priced.price(PricedCall(USAGE, provider, model, **more), ns(day)).total_usd  # type: ignore[arg-type]


def test_own_prices_come_before_every_list() -> None:
    """The first file wins, the first row in it wins, and the rest is as listed."""
    first = """
        prices:
          - {provider: openai, model: gpt-4o, input: 1, output: 2}
          - {provider: openai, model: "gpt-4o*", input: 7, output: 7}
        """
    second = "prices: [{provider: openai, model: gpt-4o, input: 50, output: 50}]"

    assert usd(engine(first, second), "gpt-4o", "openai") == 3
    assert usd(engine(second, first), "gpt-4o", "openai") == 100
    assert usd(engine(first), "gpt-4o-audio-preview", "openai") == 14
    assert usd(engine(first), "gpt-4.1", "openai") == 10
    assert engine(first).price(PricedCall(USAGE, "openai", "gpt-4o"), 0).price_ref == "overrides#openai/gpt-4o"


def test_a_row_may_name_the_provider_in_any_spelling_or_not_at_all() -> None:
    """`azure` covers `az.ai.openai`, and no provider covers all."""
    azure = engine("prices: [{provider: azure, model: prod-*, input: 1, output: 1}]")
    assert usd(azure, "prod-chat", "az.ai.openai") == 2
    assert usd(azure, "prod-chat", "openai") is None
    anyone = engine("prices: [{model: [chat-a, chat-b], input: 1, output: 1}]")
    assert usd(anyone, "chat-b", "acme") == usd(anyone, "Chat-A ", None) == 2


def test_rows_are_dated_and_have_context_tiers_and_fees() -> None:
    """Outside its dates a row is not there; a long input costs the tier's rates."""
    book = engine(
        """
        version: 1
        prices:
          - {provider: acme, model: "chat-*", from: 2026-10-01, until: 2027-01-01, input: 1.5, cache_read: 0.15,
             output: 6, tiers: [{above_input: 200000, input: 3, output: 9}], per_request: 0.005}
        """
    )
    short = Usage(input=100_000, output=100_000, cache_read=50_000)
    assert usd(book, "chat-1", "acme") == 12.005
    price = book.price(PricedCall(short, "acme", "chat-1"), ns("2026-11-18"))
    assert price.total_usd == pytest.approx(0.05 * 1.5 + 0.05 * 0.15 + 0.6 + 0.005)
    assert price.price_ref == "overrides#acme/chat-1@2026-10-01"
    for tokens, expected in ((200_000, 0.3), (200_001, 0.600003)):  # the tier is for what is longer
        told = book.price(PricedCall(Usage(tokens), "acme", "chat-1"), ns("2026-11-18"))
        assert told.total_usd == pytest.approx(expected + 0.005)
    assert usd(book, "chat-1", "acme", "2026-09-30") is None
    assert usd(book, "chat-1", "acme", "2027-01-01") is None


def test_aliases_name_what_only_the_operator_knows() -> None:
    """Deployments, application profiles and routers are priced as what they stand for, in their region."""
    book = engine(
        """
        aliases:
          - {provider: azure, model: "prod-chat-*", use: azure/gpt-4.1, region: eu-datazone}
          - {model: "arn:aws:bedrock:*:application-inference-profile/abc", use: aws/us.amazon.nova-pro-v1:0}
          - {model: my-router, use: openrouter/anthropic/claude-sonnet-4}
          - {model: loop, use: acme/loop}
        """
    )
    assert usd(book, "prod-chat-7", "azure.ai.openai") == pytest.approx(11)
    assert usd(book, "prod-chat-7", "azure.ai.openai", server_address="10.0.0.1") == pytest.approx(11)
    assert usd(book, "arn:aws:bedrock:us-east-1:1:application-inference-profile/abc", "aws.bedrock") == 4
    assert usd(book, "my-router", "litellm") == 18
    assert usd(book, "loop", "acme") is None


@pytest.mark.parametrize(
    ("answered", "expected"),
    [
        ("gpt-4.1-2025-04-14", 0.5 * 1.1 * 10),  # whose batch and data zone the deployment is
        ("gpt-4o-mini-2024-07-18", 0.75),  # it was given another model since: nothing is known of that one
    ],
)
def test_what_is_said_of_a_deployment_holds_for_the_model_that_answers(answered: str, expected: float) -> None:
    """Azure names the model in its answer; where it is and at which tier, only the alias of what was asked says."""
    book = engine(
        "aliases: [{provider: azure, model: prod-chat, use: azure/gpt-4.1, region: eu-datazone, tier: batch}]"
    )
    assert usd(book, answered, "azure.ai.openai", request_model="prod-chat") == pytest.approx(expected)


def test_contracts_multiply_list_prices_only() -> None:
    """Discounts stack on list prices within their dates; own prices are what they say."""
    book = engine(
        """
        prices: [{provider: anthropic, model: claude-sonnet-5, input: 1, output: 1}]
        adjust:
          - {provider: anthropic, multiply: 0.88, from: 2026-07-01, reason: contract-4711}
          - {provider: anthropic, region: "!global", model: "claude-opus-*", multiply: 1.5}
          - {provider: azure, model: gpt-4.1, billing: provisioned}
        """
    )
    assert usd(book, "claude-sonnet-4-6", "anthropic") == pytest.approx(18 * 0.88)
    assert usd(book, "claude-sonnet-4-6", "anthropic", "2026-06-30") == pytest.approx(18)
    assert usd(book, "claude-sonnet-5", "anthropic") == 2
    assert usd(book, "claude-opus-4-5", "anthropic", region="eu") == pytest.approx(30 * 0.88 * 1.5)
    assert usd(book, "claude-opus-4-5", "anthropic", region="global") == pytest.approx(30 * 0.88)
    provisioned = book.price(PricedCall(USAGE, "azure", "gpt-4.1"), ns("2026-11-18"))
    assert (provisioned.status, provisioned.total) == ("priced", 0)


def test_own_machines_are_priced_by_token_or_by_the_hour() -> None:
    """An hour of four GPUs at 2.10 shared by sixteen calls; the first row that matches counts."""
    book = engine(
        """
        self_hosted:
          - {match: {server.address: "10.*", model: "llama-3.3-70b*"}, input: 0.20, output: 0.20}
          - {match: {provider: vllm}, gpu_hour_usd: 2.10, gpus: 4, concurrency: 16}
        """
    )
    assert usd(book, "llama-3.3-70b-instruct", "openai", server_address="10.1.1.1") == 0.4
    assert usd(book, "llama-3.3-70b-instruct", "openai", server_address="11.1.1.1") is None
    minute = PricedCall(None, "vllm", "anything", duration_ns=60 * 10**9)
    cost = book.price(minute, ns("2026-11-18"))
    assert cost.total_usd == pytest.approx(2.10 * 4 * 60 / 3600 / 16, rel=1e-6)
    assert (cost.status, cost.reason, cost.input) == ("priced", "allocated", None)


def test_facts_of_services_are_found_by_resource() -> None:
    """The first that matches counts; every attribute must."""
    book = engine(
        """
        services:
          - {match: {service.name: "nightly-*", deployment.environment: prod}, tier: batch}
          - {match: {service.name: eu-api}, region: eu, speed: standard, cache_write_ttl: 1h}
        """
    )
    found = book.facts({"service.name": "nightly-7", "deployment.environment": "prod"})
    assert found is not None
    assert found.tier == "batch"
    assert book.facts({"service.name": "nightly-7"}) is None
    assert book.facts({}) is None


def test_tiers_have_prices_of_their_own() -> None:
    """An own batch price is used for batches only, an own rule for models without one."""
    book = engine(
        """
        prices:
          - {provider: acme, model: chat, tier: batch, input: 1, output: 1}
          - {provider: acme, model: chat, input: 3, output: 3}
        tiers: [{provider: acme, tier: flex, multiply: 0.25}]
        """
    )
    assert usd(book, "chat", "acme") == 6
    assert usd(book, "chat", "acme", tier="batch") == 2
    assert usd(book, "chat", "acme", tier="priority") == 6


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("prices:\n  - {model: a, imput: 1, output: 1}", "f.yaml:2: prices::0::imput: unknown key; did you mean input"),
        ("price: []", "f.yaml:1: price: unknown key; did you mean prices?"),
        ("prices:\n  - model: a\n    input: cheap", "f.yaml:3: prices::0::input: 'cheap' is not a number"),
        ("prices:\n  - {model: a, input: -1, output: 1}", "-1 is not a price"),
        ("prices:\n  - {model: a, input: .nan, output: 1}", "NaN is not a price"),
        ("prices:\n  - {model: a}", "the row has no price"),
        ("prices:\n  - {input: 1}", "prices::0::model: Field required"),
        ("prices:\n  - {model: a, input: 1, from: soon}", "'soon' is not a date"),
        ("prices:\n  - {model: a, input: 1, hours: all}", "'all' is not a span of hours"),
        ("aliases: [{model: a, use: gpt-4}]", "'gpt-4' is not provider/model"),
        ("adjust: [{provider: a}]", "give either multiply or billing"),
        ("self_hosted: [{match: {model: a}}]", "give either prices per million tokens or gpu_hour_usd"),
        ("self_hosted: [{match: {modle: a}, input: 1}]", "self_hosted::0::match::modle"),
        ("currency: EUR", "currency: give the rate too: {code: EUR, rate: 0.92}"),
        ("version: 2", "version: Input should be 1"),
        ("defaults: {unknown: zero}", "Input should be 'unpriced'"),
        ("[1, 2]", "not a list of prices"),
        ("a: [", "not valid YAML"),
        ("a: " + "[" * 3000, "not valid YAML"),
    ],
)  # fmt: skip
def test_a_bad_file_says_where_and_what(text: str, complaint: str) -> None:
    """File, line, path and remedy; every error at once."""
    with pytest.raises(BadPrices) as raised:
        read_book(text, "f.yaml")
    assert complaint in str(raised.value)


@pytest.mark.parametrize(
    ("row", "complaint"),
    [
        ("model: 3", "f.yaml:3: prices::0::model: must be a list"),
        ("model: m, provider: 5", "f.yaml:3: prices::0::provider: must be a text: put it in quotes"),
        ("model: m, from: 20", "f.yaml:3: prices::0::from: must be a time such as 2026-10-01"),
        ("model: m, until: 2026-11-31", "2026-11-31 is no day or time: day is out of range for month"),
        ("model: m, until: 2026-11-31", "line 3"),
    ],
)
def test_a_value_of_another_kind_is_told_in_words_of_the_file(row: str, complaint: str) -> None:
    """Nobody who fills in prices knows what a tuple is."""
    with pytest.raises(BadPrices) as error:
        read_book(f"version: 1\nprices:\n  - {{{row}, input: 1, output: 2}}\n", "f.yaml")
    assert complaint in str(error.value)


def test_every_error_is_reported_together() -> None:
    """One line each."""
    with pytest.raises(BadPrices) as raised:
        read_book("prices:\n  - {model: a, imput: 1, output: 1}\n  - {model: b, input: x}", "f.yaml")
    assert len(str(raised.value).splitlines()) == 2


def test_an_empty_file_is_no_prices() -> None:
    """An operator may start with comments only."""
    assert read_book("# nothing yet\n", "f.yaml").prices == ()


def test_every_shipped_correction_names_its_source() -> None:
    """And is about a seller that the catalogue has."""
    book = shipped_corrections()
    sellers = {seller for seller, _ in CATALOGUE.models()}
    for row in (*book.prices, *book.adjust, *book.tiers):
        assert row.source
        assert row.provider in sellers

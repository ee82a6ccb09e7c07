"""Prices: hand-checked costs, the spellings of names, and what must stay unpriced."""

from __future__ import annotations

import csv
from datetime import UTC, datetime
from pathlib import Path

import pytest

from spanledger.conventions.prices.catalogue import Catalogue, shipped_catalogue
from spanledger.conventions.prices.engine import MEMO_SIZE, PricedCall, PriceEngine
from spanledger.conventions.prices.genai_cut import installed
from spanledger.conventions.prices.hosts import host_of, is_own, region_of
from spanledger.conventions.prices.resolve import family, read_model
from spanledger.conventions.prices.sellers import role_of
from spanledger.conventions.usage import Usage

CASES = Path(__file__).parent / "fixtures" / "pricing" / "cases.csv"
NOON = int(datetime(2026, 11, 18, 12, tzinfo=UTC).timestamp()) * 10**9
"""A Wednesday, outside every peak hour."""


@pytest.fixture(scope="module")
def engine() -> PriceEngine:
    """List prices and shipped corrections."""
    return PriceEngine(shipped_catalogue())


def call(
    model: str | None, provider: str | None = None, tokens: tuple[int, int] = (1000, 1000), **more: str
) -> PricedCall:
    """Return a call of a thousand tokens each way."""
    return PricedCall(Usage(input=tokens[0], output=tokens[1]), provider, model, **more)  # type: ignore[arg-type]


def ns(text: str) -> int:
    """Return a time as nanoseconds."""
    return int(datetime.fromisoformat(text).timestamp()) * 10**9


def rows() -> list[dict[str, str]]:
    """Return the hand-checked cases."""
    with CASES.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("row", rows(), ids=lambda row: row["id"])
def test_a_hand_checked_case_costs_what_it_should(engine: PriceEngine, row: dict[str, str]) -> None:
    """Every case that can be known is right to a millionth; what must stay unpriced stays so."""

    def count(name: str) -> int:
        return int(row[name] or 0)

    usage = Usage(
        input=count("input_tokens"),
        output=count("output_tokens"),
        cache_read=count("cache_read_tokens"),
        cache_write=count("cache_write_tokens"),
        cache_write_1h=count("cache_write_1h"),
        reasoning=count("reasoning_tokens"),
        audio_input=count("audio_in"),
        audio_output=count("audio_out"),
    )
    address = row["extra"].partition("server.address=")[2] or None
    asked = PricedCall(usage, row["provider"], row["model"], None, address, row["region"], row["tier"])

    cost = engine.price(asked, ns(row["timestamp"]))

    if row["status"] == "unpriced":
        assert (cost.status, cost.total) == ("unpriced", None)
    elif row["status"] == "ok":
        assert cost.status == "priced"
        assert cost.total is not None
        assert cost.total_usd == pytest.approx(float(row["expected_usd"]), rel=1e-6)
        assert cost.price_ref


SAME = [
    # (provider, spelling) that must cost what (provider, plain name) costs
    ("anthropic", "claude-sonnet-4-5", [
        ("anthropic", "  claude-sonnet-4-5 "), ("Anthropic", "CLAUDE-SONNET-4-5"),
        ("anthropic", "claude-sonnet-4-5-20250929"),
        ("anthropic", "claude-sonnet-4-5@20250929"), ("anthropic", "claude-sonnet-4-5-latest"),
        ("anthropic", "claude-sonnet-4-5[1m]"), ("anthropic", "anthropic/claude-sonnet-4-5"),
        ("anthropic", "anthropic:claude-sonnet-4-5"), ("litellm", "anthropic/claude-sonnet-4-5"),
        ("langchain", "claude-sonnet-4-5"), (None, "claude-sonnet-4-5"), ("ChatAnthropic", "claude-sonnet-4-5"),
        ("anthropic.messages", "claude-sonnet-4-5"),
        ("portkey", "@anthropic/claude-sonnet-4-5"), ("my-application", "claude-sonnet-4-5"),
    ]),
    ("aws.bedrock", "us.anthropic.claude-haiku-4-5-20251001-v1:0", [
        ("bedrock", "bedrock/us.anthropic.claude-haiku-4-5-20251001-v1:0"),
        ("AWS", "bedrock/converse/us.anthropic.claude-haiku-4-5-20251001-v1:0"),
        ("bedrock_converse", "eu.anthropic.claude-haiku-4-5-20251001-v1:0"),
        ("aws.bedrock", "arn:aws:bedrock:us-east-1:12:inference-profile/us.anthropic.claude-haiku-4-5-20251001-v1:0"),
        (None, "us.anthropic.claude-haiku-4-5-20251001-v1:0"),
        ("litellm", "bedrock/us.anthropic.claude-haiku-4-5-20251001-v1:0"),
    ]),
    ("aws.bedrock", "amazon.nova-lite-v1:0", [
        ("aws.bedrock", "nova-lite-v1:0"), ("aws.bedrock", "us.amazon.nova-lite-v1:0"),
        ("aws", "arn:aws:bedrock:us-east-1::foundation-model/amazon.nova-lite-v1:0"),
    ]),
    ("azure.ai.openai", "gpt-4.1", [
        ("azure", "azure/gpt-4.1"), ("az.ai.openai", "gpt-4.1-2025-04-14"),
        ("AzureOpenAI", "azure/global-standard/gpt-4.1"),
        ("litellm", "azure/gpt-4.1"), ("azure_openai", "openai/gpt-4.1"),
    ]),
    ("gcp.vertex_ai", "gemini-2.5-flash", [
        ("gcp.vertex_ai", "gemini-2.5-flash@001"), ("gcp.vertex_ai", "gemini-2.5-flash-002"),
        ("gcp.vertex_ai", "publishers/google/models/gemini-2.5-flash@default"),
    ]),
    ("gcp.vertex_ai", "gemini-2.5-pro", [
        ("vertex_ai", "vertex_ai/gemini-2.5-pro"), ("gcp.gen_ai", "models/gemini-2.5-pro"),
        ("gemini", "gemini/gemini-2.5-pro"), ("google_genai", "google/gemini-2.5-pro"),
        ("google", "projects/p/locations/global/publishers/google/models/gemini-2.5-pro"),
        (None, "gemini-2.5-pro-preview-05-06"), ("GCP.VERTEX_AI", "publishers/google/models/gemini-2.5-pro"),
    ]),
    ("openrouter", "anthropic/claude-sonnet-4", [
        ("openrouter", "openrouter/anthropic/claude-sonnet-4"), ("openrouter", "anthropic/claude-sonnet-4:beta"),
        ("openrouter", "anthropic/claude-sonnet-4:nitro"), ("openrouter", "anthropic/claude-sonnet-4:thinking"),
        ("litellm", "openrouter/anthropic/claude-sonnet-4"),
    ]),
    ("x_ai", "grok-4.5", [
        ("xai", "xai/grok-4.5"), ("x-ai", "grok-4.5-latest"), ("xAI", "grok-4.5-20260901"), (None, "grok-4.5"),
    ]),
    ("openai", "gpt-4o-mini", [
        ("openai", "gpt-4o-mini-2024-07-18"), ("openai.responses", "gpt-4o-mini"), ("ChatOpenAI", "gpt-4o-mini"),
        ("openai", "openai/gpt-4o-mini"), ("crewai", "openai/gpt-4o-mini"), ("openai", '"gpt-4o-mini"'),
    ]),
    ("fireworks", "accounts/fireworks/models/kimi-k2p5", [
        ("fireworks_ai", "fireworks_ai/accounts/fireworks/models/kimi-k2p5"), ("Fireworks AI", "kimi-k2p5"),
    ]),
    ("groq", "openai/gpt-oss-120b", [("groq", "groq/openai/gpt-oss-120b"), ("groq", "gpt-oss-120b")]),
]  # fmt: skip


@pytest.mark.parametrize(
    ("plain", "other"),
    [((provider, name), other) for provider, name, others in SAME for other in others],
    ids=lambda pair: f"{pair[0]}:{pair[1]}",
)
def test_a_model_costs_the_same_in_every_spelling(
    engine: PriceEngine, plain: tuple[str, str], other: tuple[str | None, str]
) -> None:
    """Prefixes, paths, dates, variants, case and blanks are not part of a name."""
    expected = engine.price(call(plain[1], plain[0]), NOON)
    cost = engine.price(call(other[1], other[0]), NOON)

    assert cost.status == "priced"
    assert expected.total == cost.total


@pytest.mark.parametrize(
    ("provider", "model", "reason"),
    [
        ("anthropic", "claude-sonnet-4-9", "unknown_model"),
        ("anthropic", "claude-opus-4-10", "unknown_model"),
        ("anthropic", "claude-opus-4-8-fast", "unknown_model"),
        ("anthropic", "claude-haiku-4-5-mini", "unknown_model"),
        ("openai", "gpt-4.1-max", "unknown_model"),
        ("openai", "gpt-99", "unknown_model"),
        ("openai", "gpt-4o-2", "unknown_model"),
        ("openai", "ft:gpt-9:acme::id", "unknown_model"),
        ("openai", "gpt-oss-120b", "unknown_model"),
        ("openai", "openai/gpt-oss-20b", "unknown_model"),
        ("azure.ai.openai", "prod-chat-eu", "unknown_model"),
        ("gcp.gemini", "gemini-1.5-flash-8b", "unknown_model"),
        ("gcp.gemini", "tunedModels/mine-abc", "unknown_model"),
        ("gcp.vertex_ai", "projects/p/locations/us-central1/endpoints/123", "unknown_model"),
        ("aws.bedrock", "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/abc123", "unknown_model"),
        ("aws.bedrock", "arn:aws:bedrock:us-east-1:123456789012:custom-model/amazon.nova-lite-v1:0/x", "unknown_model"),
        ("deepseek", "deepseek-r1-distill-llama-70b", "unknown_model"),
        ("meta", "llama-3.3-70b", "unknown_model"),
        ("openrouter", "anthropic/claude-sonnet-4-99", "unknown_model"),
        ("litellm", "meta-llama/llama-3.3-70b", "unknown_model"),
        ("ollama", "gpt-4o", "self_hosted"),
        ("vllm", "meta-llama/Llama-3.3-70B-Instruct", "self_hosted"),
        ("lm_studio", "qwen3-32b", "self_hosted"),
        ("sagemaker", "anything", "self_hosted"),
        ("acme.ai", "deepseek-chat", "unknown_provider"),
        ("acme.ai", "gpt-oss-120b", "unknown_provider"),
        ("acme.ai", "gpt-99", "unknown_provider"),
        ("ibm.watsonx.ai", "mistral-huge", "unknown_model"),
        ("openai", "whisper-1", "not_priced_by_token"),
        ("openai", "", "no_model"),
        (None, "   ", "no_model"),
    ],
)
def test_what_is_not_known_stays_unpriced(engine: PriceEngine, provider: str | None, model: str, reason: str) -> None:
    """No price is guessed from a neighbour, a lab that does not sell the model, or a deployment's name."""
    cost = engine.price(call(model, provider), NOON)

    assert ("unpriced", reason, None) == (cost.status, cost.reason, cost.total)


@pytest.mark.parametrize(
    ("provider", "model", "address", "status"),
    [
        ("openai", "gpt-oss-120b", "localhost", "unpriced"),
        ("openai", "qwen3-32b", "10.1.2.3", "unpriced"),
        ("openai", "deepseek-chat", "llm.models.svc", "unpriced"),
        (None, "mistral-large-2512", "gpu-box", "unpriced"),
        ("openai", "gpt-4o", "http://127.0.0.1:4000/v1", "priced"),
        ("openai", "claude-sonnet-4-5", "llm-proxy.internal", "priced"),
        ("anthropic", "claude-sonnet-4-5", "127.0.0.1", "priced"),
        ("openai", "llama-3.3-70b-versatile", "api.groq.com", "priced"),
        ("openai", "deepseek-chat", "https://api.deepseek.com/v1", "priced"),
        ("openai", "gemini-2.5-flash", "generativelanguage.googleapis.com", "priced"),
        ("openai", "anthropic/claude-sonnet-4", "openrouter.ai", "priced"),
    ],
)
def test_where_the_call_went_says_who_was_paid(
    engine: PriceEngine, provider: str | None, model: str, address: str, status: str
) -> None:
    """An OpenAI client talks to anyone: the host decides, and a private one is no seller of open weights."""
    cost = engine.price(call(model, provider, server_address=address), NOON)

    assert status == cost.status
    assert status == "priced" or cost.reason == "self_hosted"


def test_private_hosts_can_be_declared_own_machines() -> None:
    """`own_hosts: self_hosted` prices nothing that a private address answered."""
    engine = PriceEngine(shipped_catalogue(), own_hosts="self_hosted")

    assert engine.price(call("gpt-4o", "openai", server_address="127.0.0.1"), NOON).reason == "self_hosted"
    assert engine.price(call("gpt-4o", "openai", server_address="api.openai.com"), NOON).status == "priced"


def test_the_request_model_prices_what_the_response_model_cannot(engine: PriceEngine) -> None:
    """The answer names the model; where that name is unknown, the one asked for is used."""
    both = PricedCall(Usage(input=1000, output=1000), "azure", "gpt-4o-mini-2024-07-18", "my-deployment")
    swapped = PricedCall(Usage(input=1000, output=1000), "azure", "my-deployment", "gpt-4o-mini")

    assert engine.price(both, NOON).total == engine.price(swapped, NOON).total == 750_000_000  # 1000 x 0.15 + 0.6


def test_a_region_in_the_name_or_the_host_counts(engine: PriceEngine) -> None:
    """Vertex regions cost 10 % more for newer Claude models, OpenAI's residency for newer models."""
    plain = engine.price(call("claude-sonnet-4-5@20250929", "gcp.vertex_ai"), NOON).total
    path = "projects/p/locations/us-east5/publishers/anthropic/models/claude-sonnet-4-5@20250929"
    assert plain == 18_000_000_000

    assert engine.price(call(path, "gcp.vertex_ai"), NOON).total == 19_800_000_000
    host = "us-east5-aiplatform.googleapis.com"
    assert engine.price(call("claude-sonnet-4-5", "gcp.vertex_ai", server_address=host), NOON).total == 19_800_000_000
    assert (
        engine.price(call("claude-3-haiku", "gcp.vertex_ai", region="us-east5"), NOON).total
        == engine.price(call("claude-3-haiku", "gcp.vertex_ai"), NOON).total
    )
    assert engine.price(call("gpt-4.1", "openai", server_address="eu.api.openai.com"), NOON).total == 10_000_000_000
    assert engine.price(call("gpt-6-sol", "openai", server_address="eu.api.openai.com"), NOON).price_ref.endswith(
        "/x1.1"
    )


def test_a_batch_costs_half_where_no_list_says_otherwise(engine: PriceEngine) -> None:
    """A tier's own price comes first, then the tier's rule, then the list price with a note."""
    before_listing = ns("2026-06-01T00:00:00Z")
    assert (
        engine.price(call("gpt-4.1-mini", "openai", tier="batch"), before_listing).total == 1_000_000_000
    )  # half of 2
    assert engine.price(call("gpt-4", "openai", tier="batch"), NOON).total == 45_000_000_000  # half of 30 + 60
    noted = engine.price(call("sonar", "perplexity", tier="priority"), NOON)
    assert noted.reason == "tier_at_list_price"
    for standard in ("", "default", "auto", "standard", "on_demand"):
        assert engine.price(call("gpt-4.1-mini", "openai", tier=standard), NOON).total == 2_000_000_000


@pytest.mark.parametrize(
    ("at", "usd"),
    [
        ("2026-08-01T02:00:00Z", 0.42),  # flat until 2026-08-16 16:00
        ("2026-08-18T02:00:00Z", 1.76),  # Tuesday, peak
        ("2026-08-18T12:00:00Z", 0.88),
        ("2026-08-22T02:00:00Z", 1.76),  # a Saturday before weekends were off-peak
        ("2026-08-29T02:00:00Z", 0.88),  # a Saturday after
        ("2026-09-14T02:00:00Z", 1.50),
        ("2026-09-14T12:00:00Z", 0.75),
    ],
)
def test_hours_days_and_dates_choose_the_price_together(engine: PriceEngine, at: str, usd: float) -> None:
    """DeepSeek V4 Flash over its history; one million tokens each way."""
    assert engine.price(call("deepseek-v4-flash", "deepseek", (10**6, 10**6)), ns(at)).total_usd == pytest.approx(usd)


def test_free_variants_are_free_and_known_to_be(engine: PriceEngine) -> None:
    """`:free` is a price of 0, not an unknown one, and only where it is sold."""
    for model in ("meta-llama/llama-3.3-70b-instruct:free", "someone/new-model:free"):
        cost = engine.price(call(model, "openrouter"), NOON)
        assert (cost.status, cost.total) == ("priced", 0)
    assert engine.price(call("someone/new-model:free", "openai"), NOON).status == "unpriced"


def test_a_tier_is_never_taken_from_after_a_change_of_price(engine: PriceEngine) -> None:
    """The list knows the tiers of today's price only; before it was cut, flex cost half of what was paid then."""
    before = ns("2026-08-20T12:00:00+00:00")
    usual = engine.price(call("gpt-5.6-sol", "openai"), before).total
    flex = engine.price(call("gpt-5.6-sol", "openai", tier="flex"), before)
    assert usual is not None
    assert flex.total == usual // 2
    assert engine.price(call("gpt-5.6-sol", "openai"), NOON).total != usual


def test_unknown_usage_is_not_zero(engine: PriceEngine) -> None:
    """Without counts there is no cost; with one side known that side is priced."""
    for usage in (None, Usage(), Usage(input=0, output=0), Usage(cache_read=5)):
        cost = engine.price(PricedCall(usage, "openai", "gpt-4o"), NOON)
        assert (cost.status, cost.total) == ("no_usage", None)
    embedded = engine.price(PricedCall(Usage(input=1000), "openai", "text-embedding-3-small"), NOON)
    assert (embedded.total, embedded.reason) == (20_000_000, "")
    asked = engine.price(PricedCall(Usage(input=1000), "openai", "gpt-4o"), NOON)
    assert (asked.total, asked.output, asked.reason) == (2_500_000_000, None, "output_unknown")
    half = engine.price(PricedCall(Usage(output=1000), "openai", "gpt-4o"), NOON)
    assert (half.total, half.input, half.reason) == (10_000_000_000, None, "input_unknown")


def test_counts_that_contradict_each_other_are_not_priced(engine: PriceEngine) -> None:
    """A part larger than its whole is nobody's bill."""
    for usage in (
        Usage(input=10, output=1, cache_read=20),
        Usage(input=10, output=1, reasoning=2),
        Usage(input=10, output=1, cache_write=2, cache_write_1h=3),
        Usage(input=10, output=1, audio_input=11),
    ):
        assert engine.price(PricedCall(usage, "openai", "gpt-4o"), NOON).reason == "inconsistent"


def test_audio_read_from_a_cache_is_not_counted_twice(engine: PriceEngine) -> None:
    """Cached and audio tokens overlap as far as the total demands: all-audio input is cached audio."""
    all_audio = Usage(input=1000, output=0, audio_input=1000, cache_read=400)
    # gpt-realtime: 600 x 32 + 400 x 0.4
    assert engine.price(PricedCall(all_audio, "openai", "gpt-realtime"), NOON).total == 19_360_000_000
    some = Usage(input=1000, output=0, audio_input=300, cache_read=400)
    # 300 x 4 + 400 x 0.4 + 300 x 32
    assert engine.price(PricedCall(some, "openai", "gpt-realtime"), NOON).total == 10_960_000_000


def test_images_read_from_a_cache_have_their_own_price(engine: PriceEngine) -> None:
    """A thousand tokens, half of them images that were all in the cache: 500 at $4, 500 at $0.50 a million."""
    usage = Usage(input=1000, output=0, cache_read=500, image_input=500, image_cache_read=500)

    cost = engine.price(PricedCall(usage, "openai", "gpt-realtime"), NOON)

    assert cost.total == 500 * 4_000_000 + 500 * 500_000


@pytest.mark.parametrize(
    ("model", "usd"),
    [
        # 6000 text and 4000 audio in, 400 text and 600 audio out
        ("gpt-4o-audio-preview", (6000 * 2.5 + 4000 * 40 + 400 * 10 + 600 * 80) / 1e6),
        ("gpt-4o-audio-preview-2024-12-17", (6000 * 2.5 + 4000 * 40 + 400 * 10 + 600 * 80) / 1e6),
        ("gpt-4o-mini-audio-preview", (6000 * 0.15 + 4000 * 10 + 400 * 0.6 + 600 * 20) / 1e6),
    ],
)
@pytest.mark.parametrize("provider", ["openai", "azure.ai.openai"])
def test_audio_is_not_priced_as_text(engine: PriceEngine, provider: str, model: str, usd: float) -> None:
    """Sound costs many times what text does, also where the catalogue has the price of text only."""
    usage = Usage(input=10_000, output=1000, audio_input=4000, audio_output=600)

    cost = engine.price(PricedCall(usage, provider, model), NOON)

    assert (cost.total_usd, cost.reason) == (pytest.approx(usd), "")


@pytest.mark.parametrize(
    ("model", "usage", "status", "reason"),
    [
        # made for sound, and the list has no price of sound
        ("deepseek-audio", Usage(100, 10, audio_input=60), "unpriced", "no_audio_price"),
        ("deepseek-audio", Usage(100, 10, audio_input=0), "priced", ""),
        ("deepseek-audio", Usage(100, 10), "priced", "audio_not_told"),
        # not made for sound: some such models do take it at the price of text
        ("deepseek-chat", Usage(100, 10, audio_input=60), "priced", "audio_at_text_price"),
        ("deepseek-chat", Usage(100, 10), "priced", ""),
    ],
)
def test_audio_without_a_price_is_never_silently_text(model: str, usage: Usage, status: str, reason: str) -> None:
    """Either there is no cost, or the cost says what it leaves out."""
    about, models = installed()
    sold = next(row for row in models["deepseek"] if row["id"] == "deepseek-chat")
    models["deepseek"].append({**sold, "id": "deepseek-audio", "match": {"equals": "deepseek-audio"}})
    engine = PriceEngine(Catalogue(about, models))

    cost = engine.price(PricedCall(usage, "deepseek", model), NOON)

    assert (cost.status, cost.reason) == (status, reason)


def test_a_cost_that_no_call_can_have_is_none(engine: PriceEngine) -> None:
    """Ten billion tokens are a broken counter, whatever they would cost."""
    usage = Usage(input=10**10, output=10**10)

    cost = engine.price(PricedCall(usage, "openai", "gpt-5-pro"), NOON)

    assert (cost.status, cost.reason, cost.total) == ("no_usage", "bad_usage", None)


def test_old_models_and_routes_have_their_seller_s_price(engine: PriceEngine) -> None:
    """Claude 2.1 costs what Claude 2 cost; `perplexity/sonar` is a router's word for `sonar`, fee included."""
    for provider, model in (("anthropic", "claude-2.1"), ("aws.bedrock", "anthropic.claude-v2:1")):
        assert engine.price(call(model, provider), NOON).total_usd == pytest.approx((1000 * 8 + 1000 * 24) / 1e6)
    for model in ("sonar", "perplexity/sonar"):
        assert engine.price(call(model, "perplexity"), NOON).total_usd == pytest.approx(0.002 + 0.005)


def test_cache_writes_of_unknown_lifetime_follow_the_configuration(engine: PriceEngine) -> None:
    """Sonnet 4.5: 3.75 for five minutes, 6 for an hour."""
    usage = Usage(input=1000, output=1, cache_write=1000)
    short = engine.price(PricedCall(usage, "anthropic", "claude-sonnet-4-5"), NOON)
    long = engine.price(PricedCall(usage, "anthropic", "claude-sonnet-4-5", one_hour_cache=True), NOON)
    told = Usage(input=1000, output=1, cache_write=1000, cache_write_1h=0)
    assert (short.input, long.input) == (3_750_000_000, 6_000_000_000)
    assert (
        engine.price(PricedCall(told, "anthropic", "claude-sonnet-4-5", one_hour_cache=True), NOON).input
        == 3_750_000_000
    )


def test_hostile_names_neither_raise_nor_fill_the_memo(engine: PriceEngine) -> None:
    """Very long names are not remembered; many different ones push each other out."""
    engine = PriceEngine(engine.catalogue)
    for name in (
        "x" * 1_000_000,
        "/" * 400,
        "arn:" * 100,
        "\x00\ud800",
        "🜁" * 100,
        "a/b/c/d/e/f/g/h",
        "models/",
        ":",
        "@",
        "arn:aws",
    ):
        for provider in (None, "openai", "aws", "azure", "google", "openrouter", "litellm", name):
            assert engine.price(call(name, provider), NOON).total is None
    assert max(len(text or "") for key in engine._memo for text in key) <= 512
    for number in range(MEMO_SIZE + 50):
        engine.price(call(f"m{number}", "acme"), NOON)
    assert engine.memo_entries == MEMO_SIZE


def test_every_model_of_the_catalogue_resolves_to_itself(engine: PriceEngine) -> None:
    """Label-free: each id in the data, asked of its seller, finds itself."""
    catalogue = engine.catalogue
    names = {"aws": "aws.bedrock", "azure": "azure.ai.openai", "google": "gcp.gemini", "mistral": "mistral_ai",
             "moonshotai": "moonshot_ai", "x-ai": "x_ai"}  # fmt: skip
    lost = []
    for seller, model in catalogue.models():
        if seller in {"openai", "google", "meta"} and model.id.startswith(("gpt-oss", "gemma", "llama")):
            continue  # not the lab's to sell
        if seller == "openai-decisions":
            continue  # another price list of OpenAI, under names that its own list has too
        found = engine.tariff(PricedCall(None, names.get(seller, seller), model.id))
        if (found.seller, found.name) != (seller, model.id):
            lost.append((seller, model.id, found.seller, found.name))
    assert lost == []


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("azure.ai.openai", ("seller", "azure")),
        ("GCP.Vertex_AI", ("seller", "google")),
        ("google.vertex.anthropic.messages", ("seller", "google")),
        ("x-ai", ("seller", "x-ai")),
        ("xAI", ("seller", "x-ai")),
        ("litellm_proxy", ("gateway", "")),
        ("strands-agents", ("framework", "")),
        ("LM Studio", ("local", "")),
        ("notopenai", ("unknown", "")),
        (None, ("framework", "")),
    ],
)
def test_providers_are_known_by_their_names_not_by_what_they_contain(
    name: str | None, expected: tuple[str, str]
) -> None:
    """`azure.ai.openai` is Azure."""
    assert expected == role_of(name)


@pytest.mark.parametrize(
    ("address", "own"),
    [
        ("localhost:8000", True), ("127.0.0.1", True), ("http://10.0.0.7:80/v1", True), ("[::1]:8000", True),
        ("gpu-box", True), ("vllm.ml.svc.cluster.local", True), ("x.internal", True), ("192.168.1.1", True),
        ("169.254.169.254", True), ("api.openai.com", False), ("https://user:pw@api.x.ai/v1", False),
        ("8.8.8.8", False), ("", False), (None, False),
    ],
)  # fmt: skip
def test_own_hosts_are_told_from_public_ones(address: str | None, own: bool) -> None:
    """Private, loopback, cluster-internal and single-label hosts are one's own."""
    assert own == is_own(host_of(address))


def test_hosts_tell_regions() -> None:
    """Only where the address has one."""
    assert region_of("us-east5-aiplatform.googleapis.com") == "us-east5"
    assert region_of("eu.api.openai.com") == "eu"
    assert region_of("api.openai.com") == ""


def test_families_join_the_spellings_of_one_model() -> None:
    """For telling whether a wrapper and a call mean the same model."""
    one = {
        family(name)
        for name in (
            "claude-sonnet-4-5", "claude-sonnet-4-5-20250929", "anthropic/claude-sonnet-4.5",
            "us.anthropic.claude-sonnet-4-5-20250929-v1:0", "claude-sonnet-4-5@20250929",
        )
    }  # fmt: skip
    assert len(one) == 1
    assert family("gpt-4o") != family("gpt-5")
    assert family(None) == ""


def test_opaque_strings_name_no_model() -> None:
    """What only the operator can know is not read at all."""
    assert read_model("arn:aws:bedrock:us-east-1:1:application-inference-profile/x").forms == ()
    assert read_model("accounts/acme/models/mine", "fireworks", firm=True).forms == ()
    assert read_model("x" * 600).forms == ()

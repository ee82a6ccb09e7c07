"""What holds of every price: never negative, more tokens never cost less, and the same as the data's own arithmetic."""

from __future__ import annotations

import random
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from itertools import pairwise

import pytest
from genai_prices.data import providers as bundled
from genai_prices.types import Usage as OtherUsage
from hypothesis import given, settings
from hypothesis import strategies as st

from spanledger.conventions.prices.catalogue import shipped_catalogue
from spanledger.conventions.prices.engine import PricedCall, PriceEngine
from spanledger.conventions.prices.matching import names, suggests
from spanledger.conventions.prices.tariff import Window, dot, pico_per_token, split
from spanledger.conventions.usage import Usage

ENGINE = PriceEngine(shipped_catalogue())
SOURCE = [(provider, model) for provider in bundled for model in provider.models]
"""The models as the package has them, in the order of ours."""
MODELS = sorted({(seller, model.id) for seller, model in ENGINE.catalogue.models()})
NOW = int(datetime(2026, 11, 18, 12, tzinfo=UTC).timestamp()) * 10**9

counts = st.integers(min_value=0, max_value=2_000_000)


@st.composite
def usages(draw: st.DrawFn) -> Usage:
    """Return counts that fit together: parts within their wholes."""
    text, read, short, long = draw(counts), draw(counts), draw(counts), draw(counts)
    audio, image, said, thought, spoken = draw(counts), draw(counts), draw(counts), draw(counts), draw(counts)
    return Usage(
        input=text + read + short + long + audio + image,
        output=said + thought + spoken,
        cache_read=read,
        cache_write=short + long,
        cache_write_1h=long,
        reasoning=thought,
        audio_input=audio,
        audio_cache_read=0,
        image_input=image,
        audio_output=spoken,
    )


def cost(usage: Usage, model: tuple[str, str], at_ns: int = NOW, tier: str = "") -> int | None:
    """Return the price in pico-dollars."""
    return ENGINE.price(PricedCall(usage, model[0], model[1], tier=tier), at_ns).total


@given(usages(), st.sampled_from(MODELS), st.sampled_from(["", "batch", "flex", "priority", "fast"]))
def test_a_price_is_never_negative_and_adds_up(usage: Usage, model: tuple[str, str], tier: str) -> None:
    """Total is input, output and the fee of the request."""
    priced = ENGINE.price(PricedCall(usage, model[0], model[1], tier=tier), NOW)
    if priced.total is not None:
        assert priced.input is not None
        assert priced.output is not None
        assert 0 <= priced.input + priced.output <= priced.total


@given(
    usages(),
    st.sampled_from(MODELS),
    st.sampled_from(["output", "input", "cache_read", "audio_input", "reasoning"]),
    counts,
)
def test_more_tokens_never_cost_less(usage: Usage, model: tuple[str, str], bucket: str, more: int) -> None:
    """Adding tokens of any one kind, and to the total they are part of, raises the price or leaves it."""
    before = cost(usage, model)
    whole = "output" if bucket in {"output", "reasoning"} else "input"
    grown = {whole: getattr(usage, whole) + more}
    if bucket != whole:
        grown[bucket] = getattr(usage, bucket) + more
    after = cost(replace(usage, **grown), model)
    if before is not None:
        assert after is not None
        assert after >= before or _cheaper_above(model)


def _cheaper_above(model: tuple[str, str]) -> bool:
    """Tell whether the data says that a longer context costs less a token: then the rule is the seller's."""
    rows = [choice.rows for choice in ENGINE.tariff(PricedCall(None, *model)).choices]
    return any(
        high < low for found in rows for one, other in pairwise(found)
        for low, high in zip(one.input + one.output, other.input + other.output, strict=True)
    )  # fmt: skip


@given(usages())
def test_buckets_hold_every_token_once(usage: Usage) -> None:
    """What was split adds up to what was reported."""
    parts = split(usage)
    assert parts is not None
    assert (usage.input, usage.output) == (sum(parts[0]), sum(parts[1]))


@given(counts, counts, counts, counts)
def test_a_breakdown_that_may_overlap_still_adds_up(total: int, read: int, audio: int, image: int) -> None:
    """Whatever the counts, either they contradict each other or each token is in one bucket."""
    parts = split(Usage(input=total, output=0, cache_read=read, audio_input=audio, image_input=image))
    assert parts is None or (sum(parts[0]) == total and min(parts[0]) >= 0)
    if max(read, audio, image) > total:
        assert parts is None
    if read + audio + image <= total:
        assert parts is not None


@given(usages(), st.sampled_from(MODELS), st.integers(0, 2**62))
def test_the_memo_changes_nothing(usage: Usage, model: tuple[str, str], at_ns: int) -> None:
    """A warm engine and a cold one agree at any time."""
    cold = PriceEngine(ENGINE.catalogue)
    call = PricedCall(usage, *model)
    assert ENGINE.price(call, at_ns) == cold.price(call, at_ns) == ENGINE.price(call, at_ns)


@settings(max_examples=200)
@given(st.text(max_size=60), st.text(max_size=60) | st.none(), st.text(max_size=30), st.text(max_size=10))
def test_no_text_raises(model: str, provider: str | None, address: str, tier: str) -> None:
    """Names are hostile."""
    priced = ENGINE.price(PricedCall(Usage(input=1, output=1), provider, model, None, address, "", tier), NOW)
    assert priced.status in {"priced", "unpriced"}


@given(st.integers(0, 86_399), st.integers(0, 86_399), st.integers(0, 10**9))
def test_hours_cover_the_day_once(first: int, last: int, second: int) -> None:
    """A span of hours and the span of the rest of the day never both hold."""
    at_ns = second * 10**9
    inside, outside = Window(from_s=first, to_s=last).active(at_ns), Window(from_s=last, to_s=first).active(at_ns)
    assert inside != outside if first != last else inside


def test_dot_and_rates_are_exact() -> None:
    """$0.003625 a million is 3625 pico-dollars a token, and halves round up."""
    assert pico_per_token(Decimal("0.003625")) == 3625
    assert pico_per_token(Decimal("0.0000005")) == 1
    assert dot((2, 3), (5, 7)) == 31


def test_arithmetic_agrees_with_the_source_of_the_prices() -> None:
    """Differential: shapes that `calc_price` supports, over a sample of all models, to the rounding of its data."""
    draw = random.Random(20261118)
    at = datetime(2026, 11, 18, 12, tzinfo=UTC)
    compared = 0
    for (provider, model), (seller, ours) in draw.sample([*zip(SOURCE, ENGINE.catalogue.models(), strict=True)], 600):
        found = ENGINE.catalogue.find(seller, (model.id.lower(),))
        if found is None or found.model != ours:
            continue
        read, write, text, out = (draw.randrange(200_000) for _ in range(4))
        try:
            theirs = model.calc_price(
                OtherUsage(
                    input_tokens=read + write + text,
                    cache_read_tokens=read,
                    cache_write_tokens=write,
                    output_tokens=out,
                ),
                provider,
                genai_request_timestamp=at,
            ).total_price
        except ValueError:
            continue  # prices by the hour or the page need other counts
        choices = [choice for choice, _ in found.choices() if choice.rows and choice.window.active(NOW)]
        parts = split(Usage(input=read + write + text, output=out, cache_read=read, cache_write=write))
        assert parts is not None
        if not choices:
            continue
        row = choices[0].row(read + write + text)
        made = dot(row.input, parts[0]) + dot(row.output, parts[1]) + choices[0].per_request
        assert made / 1e12 == pytest.approx(float(theirs), rel=5e-6), (seller, model.id)
        compared += 1
    assert compared > 500


def test_matching_is_never_looser_than_the_source() -> None:
    """A name we accept for a model, the data accepts too: strictness only takes away."""
    draw = random.Random(7)
    for (_, source), (_, model) in draw.sample([*zip(SOURCE, ENGINE.catalogue.models(), strict=True)], 500):
        for form in (model.id.lower(), model.id.lower() + "-mini", model.id.lower() + "0", "x" + model.id.lower()):
            if names(model, form) and form != model.id.lower():
                assert source.is_match(form)


def test_suggestions_are_those_of_the_source() -> None:
    """A clause says the same of a name whether the package reads it or we do."""
    draw = random.Random(8)
    forms = [model.id.lower() for _, model in draw.sample(SOURCE, 100)]
    for (_, source), (_, model) in draw.sample([*zip(SOURCE, ENGINE.catalogue.models(), strict=True)], 500):
        for form in (*forms, model.id.lower(), model.id.lower() + "-mini"):
            assert suggests(model.match, form) == source.match.is_match(form), (model.id, form)

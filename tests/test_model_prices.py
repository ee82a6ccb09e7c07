"""What tokens of the models in use cost, as a dashboard compares them."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from spanledger.conventions.prices.catalogue import shipped_catalogue
from spanledger.conventions.prices.engine import PricedCall, PriceEngine
from spanledger.conventions.usage import Usage
from spanledger.processor.metric_store import MetricTable
from spanledger.processor.model_prices import ModelPrices, token_prices

NOON = int(datetime(2026, 11, 18, 12, tzinfo=UTC).timestamp()) * 10**9
DAY_NS = 86_400 * 10**9
CALL = PricedCall(Usage(input=500_000, output=10), "openai", "gpt-4o-mini", "gpt-4o-mini")


@pytest.fixture(scope="module")
def engine() -> PriceEngine:
    """Return an engine on the list that comes with spanledger."""
    return PriceEngine(shipped_catalogue())


def shown(table: MetricTable) -> dict[tuple[str, ...], float]:
    """Return the prices by their labels."""
    (family,) = (one for one in table.families() if one.metric.name == "spanledger_model_price_usd")
    return {labels: cell.value for labels, cell in family._cells.items()}  # type: ignore[union-attr]


def test_each_kind_of_token_has_the_price_that_a_call_pays(engine: PriceEngine) -> None:
    """gpt-4o-mini: 0.15, cached 0.075, output 0.60 dollars for a million; writing to its cache costs as input does."""
    assert token_prices(engine, CALL, NOON) == {
        "input": 0.15e-6, "cache_read": 0.075e-6, "cache_write": 0.15e-6, "output": 0.60e-6, "reasoning": 0.60e-6,
    }  # fmt: skip


def test_tiers_and_the_length_of_a_call_do_not_matter(engine: PriceEngine) -> None:
    """It is the price of a plain, short call, so that models can be compared."""
    long = PricedCall(Usage(input=900_000, output=10), "google", "gemini-2.5-pro", "gemini-2.5-pro", tier="batch")

    prices = token_prices(engine, long, NOON)

    assert (prices["input"], prices["output"]) == (1.25e-6, 10e-6)


def test_a_model_without_a_price_has_none(engine: PriceEngine) -> None:
    """Unknown is not 0."""
    assert token_prices(engine, PricedCall(None, "openai", "house-model", "house-model"), NOON) == {}


def test_prices_are_looked_up_once_a_day_and_when_they_change(engine: PriceEngine) -> None:
    """A busy model costs nothing more; tomorrow's price may be another one."""
    table = MetricTable()
    prices = ModelPrices(table)
    for _ in range(3):
        prices.show(engine, CALL, ("openai", "gpt-4o-mini"), NOON)
    assert shown(table)["openai", "gpt-4o-mini", "output"] == 0.60e-6

    misses = engine.misses
    prices.show(PriceEngine(shipped_catalogue()), CALL, ("openai", "gpt-4o-mini"), NOON)
    prices.show(engine, CALL, ("openai", "gpt-4o-mini"), NOON + DAY_NS)

    assert engine.misses == misses
    assert len(shown(table)) == 5

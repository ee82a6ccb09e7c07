"""Costs worked out by hand from prices that are public; each row of the table names where they are written."""

from __future__ import annotations

import csv
from datetime import datetime
from decimal import Decimal
from pathlib import Path

import pytest

from spanledger.conventions.prices.catalogue import shipped_catalogue
from spanledger.conventions.prices.engine import PricedCall, PriceEngine
from spanledger.conventions.usage import Usage

CASES = Path(__file__).parent / "fixtures" / "pricing" / "public.csv"


@pytest.fixture(scope="module")
def engine() -> PriceEngine:
    """Return what comes with spanledger."""
    return PriceEngine(shipped_catalogue())


def rows() -> list[dict[str, str]]:
    """Return the table."""
    with CASES.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def counts(text: str) -> dict[str, int]:
    """Read `name=count name=count`."""
    return {name: int(count) for name, _, count in (pair.partition("=") for pair in text.split())}


def by_hand(terms: str) -> Decimal:
    """Work out `tokens x dollars per million; +dollars`."""
    total = Decimal(0)
    for term in terms.split(";"):
        tokens, times, rate = term.strip().partition("x")
        total += Decimal(tokens) * Decimal(rate) / 10**6 if times else Decimal(tokens)
    return total


@pytest.mark.parametrize("row", rows(), ids=lambda row: row["id"])
def test_a_call_costs_what_its_sellers_page_says(engine: PriceEngine, row: dict[str, str]) -> None:
    """To the pico-dollar: nothing is rounded on the way."""
    usage = Usage(**counts(row["usage"])) if row["usage"] else None
    units = tuple(counts(row["units"]).items())
    call = PricedCall(
        usage, row["provider"], row["model"], region=row["region"], tier=row["tier"], units=units  # type: ignore[arg-type]
    )  # fmt: skip

    cost = engine.price(call, int(datetime.fromisoformat(row["at"]).timestamp()) * 10**9)

    assert (cost.status, cost.reason) == ("priced", "")
    assert cost.total == by_hand(row["terms"]) * 10**12
    assert row["link"].startswith("https://")

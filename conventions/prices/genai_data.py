"""The data of `genai-prices`, as much of it as is asked for, in plain values.

The package itself reads what it publishes (`genai_cut`), which takes a tenth of a second and 9 MiB; what it read is
cut down to this, and of the release that spanledger was made with the cut is kept in `genai_prices.zip`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Any, TypeAlias

Clause: TypeAlias = Mapping[str, Any]
"""One key: `equals`, `starts_with`, `ends_with`, `contains` or `regex` with a text, `or` or `and` with clauses."""


@dataclass(frozen=True, slots=True)
class Tiered:
    """A price by the length of the input, in dollars."""

    base: Decimal
    steps: tuple[tuple[int, Decimal], ...]
    """Tokens from which another price holds, the fewest first."""


Rates: TypeAlias = Mapping[str, Decimal | Tiered]
"""Price key of genai-prices -> dollars for as many units as the key says."""


@dataclass(frozen=True, slots=True)
class Dated:
    """Prices, and when they hold."""

    rates: Rates
    start: date | None = None
    hours: tuple[int, int] | None = None
    """Seconds of the day, UTC, from and to."""


@dataclass(frozen=True, slots=True)
class Variant:
    """Prices of a service tier, in place of the standard ones."""

    when: Mapping[str, str]
    rates: Rates
    start: date | None


@dataclass(frozen=True, slots=True)
class Model:
    """A model that a seller has a price for."""

    id: str
    match: Clause
    prices: tuple[Dated, ...]
    """The first holds whenever no later one does."""
    variants: tuple[Variant, ...] = ()


@dataclass(frozen=True, slots=True)
class Seller:
    """Who sells models, without them."""

    id: str
    address: str
    """Regular expression for the beginning of its URLs."""
    models: Clause | None
    """Names of models that suggest this seller."""
    labs: tuple[str, ...]
    """Sellers whose models it sells at their price."""


def seller_of(raw: Mapping[str, Any]) -> Seller:
    """Read a seller as it is kept."""
    return Seller(raw["id"], raw["address"], raw.get("models"), tuple(raw.get("labs", ())))


def model_of(raw: Mapping[str, Any]) -> Model:
    """Read a model as it is kept."""
    return Model(
        raw["id"],
        raw["match"],
        tuple(
            Dated(_rates(row["rates"]), _day(row), tuple(row["hours"]) if "hours" in row else None)
            for row in raw["prices"]
        ),
        tuple(Variant(row["when"], _rates(row["rates"]), _day(row)) for row in raw.get("variants", ())),
    )


def _rates(raw: Mapping[str, Any]) -> Rates:
    return {key: _price(price) for key, price in raw.items()}


def _price(raw: Any) -> Decimal | Tiered:
    if isinstance(raw, str):
        return Decimal(raw)
    base, *steps = raw
    return Tiered(Decimal(base), tuple((start, Decimal(price)) for start, price in steps))


def _day(raw: Mapping[str, Any]) -> date | None:
    return date.fromisoformat(raw["start"]) if "start" in raw else None

"""What is taken out of the `genai-prices` package: of its data, and of a file of its project that the package reads.

    python -m spanledger.conventions.prices.genai_cut

writes `genai_prices.zip` anew, of the package that is installed. Importing the package takes a tenth of a second and
9 MiB, so that nothing does it that need not.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, time
from decimal import Decimal
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from genai_prices import types

from spanledger.conventions.prices.archive import packed
from spanledger.conventions.prices.catalogue import FILE
from spanledger.conventions.prices.override_file import BadPrices

_MAX_USD: Final = 1_000_000
"""For as many units as a price is for; none comes near."""
_ANY: Final[Mapping[str, Any]] = {}


def main() -> int:
    """Write the file."""
    about, rows = installed()
    Path(__file__).with_name(FILE).write_bytes(packed(about, rows))
    return 0


def installed() -> tuple[dict[str, Any], dict[str, Any]]:
    """Return what the installed package has: what the list is, and the models by seller."""
    from genai_prices.data import providers

    return cut(providers, version("genai_prices"))


def read(data: bytes, name: str, release: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Read `data.json` of the project (its `prices/new_data/v2/`). Raises `BadPrices`."""
    try:
        # The one way in that the package has; it is what its own updates go through.
        from genai_prices.types import _providers_from_raw

        about, models = cut(_providers_from_raw(json.loads(data)), release)
        _check(about, models)
        return about, models
    except ImportError as error:
        raise BadPrices(f"{name}: this release of genai-prices cannot read its data from a file") from error
    except (ValueError, TypeError, KeyError, RecursionError, re.error) as error:
        raise BadPrices(f"{name}: not the data of genai-prices: {' '.join(str(error).split())[:200]}") from error


def cut(providers: Iterable[types.Provider], release: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the sellers, the days on which prices change, and the models of each seller."""
    sellers, models = [], {}
    days: set[str] = set()
    for provider in providers:
        seller: dict[str, Any] = {"id": provider.id, "address": provider.api_pattern}
        if provider.model_match is not None:
            seller["models"] = _clause(provider.model_match)
        if provider.fallback_model_providers:
            seller["labs"] = provider.fallback_model_providers
        sellers.append(seller)
        models[provider.id] = [_model(model) for model in provider.models]
    for rows in models.values():
        for row in rows:
            days.update(dated["start"] for dated in (*row["prices"], *row.get("variants", ())) if "start" in dated)
    return {"release": release, "sellers": sellers, "days": sorted(days)}, models


def _check(about: Mapping[str, Any], models: Mapping[str, Sequence[Mapping[str, Any]]]) -> None:
    """Raise ValueError or `re.error` for what the package takes and nobody can price by."""
    for seller in about["sellers"]:
        re.compile(seller["address"])
        _check_clause(seller.get("models", _ANY))
    for model in (model for rows in models.values() for model in rows):
        _check_clause(model["match"])
        for row in (*model["prices"], *model.get("variants", ())):
            for price in row["rates"].values():
                base, *steps = (price,) if isinstance(price, str) else price
                if not all(0 <= Decimal(amount) < _MAX_USD for amount in (base, *(step[1] for step in steps))):
                    raise ValueError(f"a price of {model['id']} is negative, or no price")


def _check_clause(clause: Mapping[str, Any]) -> None:
    for kind, wanted in clause.items():
        if kind in ("or", "and"):
            for part in wanted:
                _check_clause(part)
        elif not wanted:
            raise ValueError("a name to match has no characters")
        elif kind == "regex":
            re.compile(wanted)


def _model(model: types.ModelInfo) -> dict[str, Any]:
    prices = model.prices if isinstance(model.prices, list) else [types.ConditionalPrice(prices=model.prices)]
    row: dict[str, Any] = {
        "id": model.id,
        "match": _clause(model.match),
        "prices": [{"rates": _rates(dated.prices), **_when(dated.constraint)} for dated in prices],
    }
    if model.price_variants:
        row["variants"] = [
            {"when": dict(variant.when), "rates": _rates(variant.prices), **_when(variant.constraint)}
            for variant in model.price_variants
        ]
    return row


def _clause(clause: types.MatchLogic) -> dict[str, Any]:
    if isinstance(clause, types.ClauseOr):
        return {"or": [_clause(part) for part in clause.or_]}
    if isinstance(clause, types.ClauseAnd):
        return {"and": [_clause(part) for part in clause.and_]}
    return dict(vars(clause))


def _rates(prices: types.ModelPrice) -> dict[str, Any]:
    return {key: _price(price) for key, price in vars(prices).items() if price is not None}


def _price(price: object) -> Any:
    if isinstance(price, types.TieredPrices):
        return [str(price.base), *([tier.start, str(tier.price)] for tier in price.tiers)]
    return str(price)


def _when(constraint: types.StartDateConstraint | types.TimeOfDateConstraint | None) -> dict[str, Any]:
    if isinstance(constraint, types.StartDateConstraint):
        return {"start": constraint.start_date.isoformat()}
    if isinstance(constraint, types.TimeOfDateConstraint):
        return {"hours": [_seconds(constraint.start_time), _seconds(constraint.end_time)]}
    return {}


def _seconds(value: time) -> int:
    """Return a time of day as seconds, UTC; a time without a zone is UTC."""
    from_midnight = datetime.combine(datetime(2000, 1, 2), value)  # noqa: DTZ001
    if from_midnight.tzinfo is not None:
        from_midnight = from_midnight.astimezone(UTC)
    return from_midnight.hour * 3600 + from_midnight.minute * 60 + from_midnight.second


if __name__ == "__main__":
    sys.exit(main())

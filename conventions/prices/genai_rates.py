"""The prices of one model of `genai-prices`, compiled: dated, by the hour, by context length, by service tier."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Final

from genai_prices import types as source

from spanledger.conventions.prices.tariff import ALWAYS, Choice, Fee, Row, Window, make_row, pico

if TYPE_CHECKING:
    from spanledger.conventions.units import Unit

_BUCKET_OF: Final = {
    "input_mtok": "input",
    "cache_read_mtok": "cache_read",
    "cache_write_mtok": "cache_write",
    "cache_write_5m_mtok": "cache_write",
    "cache_write_1h_mtok": "cache_write_1h",
    "input_audio_mtok": "audio_input",
    "cache_audio_read_mtok": "audio_cache_read",
    "input_image_mtok": "image_input",
    "cache_image_read_mtok": "image_cache_read",
    "output_mtok": "output",
    "output_reasoning_mtok": "reasoning",
    "output_audio_mtok": "audio_output",
    "output_image_mtok": "image_output",
}
_FEE_OF: Final[Mapping[str, tuple[Unit, int]]] = {
    "web_searches_kcount": ("web_search", 1000),
    "storage_searches_kcount": ("file_search", 1000),
    "social_searches_kcount": ("social_search", 1000),
    "code_executions_kcount": ("code_execution", 1000),
    "rerank_searches_kcount": ("rerank_search", 1000),
    "input_document_kpages": ("page", 1000),
    "input_mchars": ("character", 1_000_000),
    "input_audio_hours": ("audio_input_ms", 3_600_000),
    "output_audio_hours": ("audio_output_ms", 3_600_000),
}
"""Price key -> our unit, and how many of them the price is for."""

_AUDIO: Final = ("input_audio_mtok", "output_audio_mtok")
_REQUESTS: Final = "requests_kcount"

_TIERS: Final[Mapping[str, Mapping[str, str]]] = {
    "batch": {"processing": "batch"},
    "flex": {"service_tier": "flex"},
    "priority": {"service_tier": "priority"},
    "fast": {"service_tier": "fast", "speed": "fast"},
}


def choices_of(model: source.ModelInfo, ref: str, tier: str) -> Iterator[tuple[Choice, bool]]:
    """Yield the prices of a model, those that win first, each with whether it is `tier`'s own price."""
    prices = model.prices if isinstance(model.prices, list) else [source.ConditionalPrice(prices=model.prices)]
    context = _TIERS.get(tier, {})
    for position, conditional in reversed(list(enumerate(prices))):
        constraint = conditional.constraint
        started = constraint.start_date.isoformat() if isinstance(constraint, source.StartDateConstraint) else ""
        rates = dict(conditional.prices.__dict__)
        special = _overlay(model, rates, context, _replaced_on(prices, position))
        rows, fees = _rows(rates), tuple(_fees(rates))
        if rows or fees:
            dated = f"@{started}" if started else ""
            yield (
                Choice(
                    rows,
                    ref + dated + (f"/tier={tier}" if special else ""),
                    # The first of several prices is the one for all times that no other claims.
                    ALWAYS if position == 0 else _window(constraint),
                    per_request=pico(_base(rates.get(_REQUESTS)) or Decimal(0), 1000),
                    fees=fees,
                    prices_audio=any(rates.get(key) is not None for key in _AUDIO),
                ),
                special,
            )


def _replaced_on(prices: list[source.ConditionalPrice], position: int) -> datetime | None:
    """Return when the next dated price took the place of `prices[position]`, None if none did."""
    for later in prices[position + 1 :]:
        if isinstance(later.constraint, source.StartDateConstraint):
            start = later.constraint.start_date
            return datetime(start.year, start.month, start.day, tzinfo=UTC)
    return None


def _overlay(
    model: source.ModelInfo, rates: dict[str, object], context: Mapping[str, str], replaced: datetime | None
) -> bool:
    """Put the tier's prices over the standard ones; tell whether there are any.

    The data dates a tier from the day somebody checked it. It holds before that day too, as long as the
    standard price it belongs to was the same then.
    """
    taken: dict[str, object] = {}
    special = False
    for variant in model.price_variants or ():
        if not all(context.get(key) == value for key, value in variant.when.items()):
            continue
        if isinstance(variant.constraint, source.StartDateConstraint) and replaced is not None:
            start = variant.constraint.start_date
            if datetime(start.year, start.month, start.day, tzinfo=UTC) >= replaced:
                continue
        special = True
        for key, price in variant.prices.__dict__.items():
            if price is not None:
                taken.setdefault(key, price)
    rates.update(taken)
    return special


def _base(price: object) -> Decimal | None:
    if isinstance(price, source.TieredPrices):
        return price.base
    return price if isinstance(price, Decimal) else None


def _fees(rates: Mapping[str, object]) -> Iterator[Fee]:
    for key, (unit, count) in _FEE_OF.items():
        price = _base(rates.get(key))
        if price is not None:
            yield Fee(unit, pico(price), count)


def _rows(rates: Mapping[str, object]) -> tuple[Row, ...]:
    """Compile prices to one row a context threshold; () when nothing is priced by the token."""
    known = {bucket: rates[key] for key, bucket in _BUCKET_OF.items() if rates.get(key) is not None}
    if "input" not in known and "output" not in known:
        return ()
    starts = {tier.start for price in known.values() if isinstance(price, source.TieredPrices) for tier in price.tiers}
    starts.add(0)
    return tuple(
        make_row(start, {bucket: _at(price, start) for bucket, price in known.items()}) for start in sorted(starts)
    )


def _at(price: object, start: int) -> Decimal:
    """Return the price of a request whose input exceeds `start` but no higher threshold."""
    if isinstance(price, source.TieredPrices):
        return next((tier.price for tier in reversed(price.tiers) if start >= tier.start), price.base)
    assert isinstance(price, Decimal)
    return price


def _window(constraint: object) -> Window:
    if isinstance(constraint, source.StartDateConstraint):
        start = constraint.start_date
        at = datetime(start.year, start.month, start.day, tzinfo=UTC)
        return Window(start_ns=int(at.timestamp()) * 10**9)
    if isinstance(constraint, source.TimeOfDateConstraint):
        first, last = constraint.start_time, constraint.end_time
        return Window(from_s=_seconds(first), to_s=_seconds(last))
    return ALWAYS


def _seconds(value: object) -> int:
    """Return a time of day as seconds, UTC; a time without a zone is UTC."""
    from_midnight = datetime.combine(datetime(2000, 1, 2), value)  # type: ignore[arg-type]  # noqa: DTZ001
    if from_midnight.tzinfo is not None:
        from_midnight = from_midnight.astimezone(UTC)
    return from_midnight.hour * 3600 + from_midnight.minute * 60 + from_midnight.second

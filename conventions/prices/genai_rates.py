"""The prices of one model of `genai-prices`, compiled: dated, by the hour, by context length, by service tier."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Final

from spanledger.conventions.prices.genai_data import Dated, Model, Tiered
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


def choices_of(model: Model, ref: str, tier: str) -> Iterator[tuple[Choice, bool]]:
    """Yield the prices of a model, those that win first, each with whether it is `tier`'s own price."""
    context = _TIERS.get(tier, {})
    for position, dated in reversed(list(enumerate(model.prices))):
        rates = dict(dated.rates)
        special = _overlay(model, rates, context, _replaced_on(model.prices, position))
        rows, fees = _rows(rates), tuple(_fees(rates))
        if rows or fees:
            since = f"@{dated.start.isoformat()}" if dated.start else ""
            yield (
                Choice(
                    rows,
                    ref + since + (f"/tier={tier}" if special else ""),
                    # The first of several prices is the one for all times that no other claims.
                    ALWAYS if position == 0 else _window(dated),
                    per_request=pico(_base(rates.get(_REQUESTS)) or Decimal(0), 1000),
                    fees=fees,
                    prices_audio=any(key in rates for key in _AUDIO),
                ),
                special,
            )


def _replaced_on(prices: Sequence[Dated], position: int) -> date | None:
    """Return when the next dated price took the place of `prices[position]`, None if none did."""
    return next((later.start for later in prices[position + 1 :] if later.start), None)


def _overlay(
    model: Model, rates: dict[str, Decimal | Tiered], context: Mapping[str, str], replaced: date | None
) -> bool:
    """Put the tier's prices over the standard ones; tell whether there are any.

    The data dates a tier from the day somebody checked it. It holds before that day too, as long as the
    standard price it belongs to was the same then.
    """
    taken: dict[str, Decimal | Tiered] = {}
    special = False
    for variant in model.variants:
        if not all(context.get(key) == value for key, value in variant.when.items()):
            continue
        if variant.start and replaced and variant.start >= replaced:
            continue
        special = True
        for key, price in variant.rates.items():
            taken.setdefault(key, price)
    rates.update(taken)
    return special


def _base(price: Decimal | Tiered | None) -> Decimal | None:
    return price.base if isinstance(price, Tiered) else price


def _fees(rates: Mapping[str, Decimal | Tiered]) -> Iterator[Fee]:
    for key, (unit, count) in _FEE_OF.items():
        price = _base(rates.get(key))
        if price is not None:
            yield Fee(unit, pico(price), count)


def _rows(rates: Mapping[str, Decimal | Tiered]) -> tuple[Row, ...]:
    """Compile prices to one row a context threshold; () when nothing is priced by the token."""
    known = {bucket: rates[key] for key, bucket in _BUCKET_OF.items() if key in rates}
    if "input" not in known and "output" not in known:
        return ()
    starts = {0, *(start for price in known.values() if isinstance(price, Tiered) for start, _ in price.steps)}
    return tuple(
        make_row(start, {bucket: _at(price, start) for bucket, price in known.items()}) for start in sorted(starts)
    )


def _at(price: Decimal | Tiered, start: int) -> Decimal:
    """Return the price of a request whose input exceeds `start` but no higher threshold."""
    if isinstance(price, Tiered):
        return next((there for above, there in reversed(price.steps) if start >= above), price.base)
    return price


def _window(dated: Dated) -> Window:
    if dated.start:
        at = datetime(dated.start.year, dated.start.month, dated.start.day, tzinfo=UTC)
        return Window(start_ns=int(at.timestamp()) * 10**9)
    if dated.hours:
        return Window(from_s=dated.hours[0], to_s=dated.hours[1])
    return ALWAYS

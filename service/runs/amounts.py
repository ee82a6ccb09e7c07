"""Numbers and times as people read them."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import ROUND_HALF_UP, Context, Decimal
from typing import Final

PICO: Final = 10**12

_NONE: Final = "-"
_EXACT: Final = Context(prec=400)
"""Digits for whatever a float may be, in pico-dollars."""


def usd(pico: int | None) -> str:
    """Return pico-dollars as dollars: cents for amounts above ten dollars, else three digits that count.

    Exact, and halves are rounded away from 0, as on a bill.
    """
    if pico is None:
        return _NONE
    if pico == 0:
        return "$0"
    dollars = Decimal(abs(pico)).scaleb(-12, _EXACT)
    digits = 2 if dollars >= 10 else min(12, max(2, 2 - dollars.adjusted()))
    if digits > 2 and _rounded(dollars, digits) >= Decimal(1000).scaleb(-digits):
        digits -= 1  # 0.9996 is 1.00 and not 1.000
    return f"{'-' if pico < 0 else ''}${_rounded(dollars, digits):,f}"


def _rounded(amount: Decimal, digits: int) -> Decimal:
    return amount.quantize(Decimal(1).scaleb(-digits), ROUND_HALF_UP, _EXACT)


def money(pico: int | None, code: str, rate: Decimal) -> str:
    """Return pico-dollars in another currency, of which a dollar is `rate`: `0.0097 EUR`."""
    return usd(pico) if pico is None or code == "USD" else f"{usd(round(pico * rate)).replace('$', '')} {code}"


def pico(dollars: float | None) -> int | None:
    """Return dollars, as documents have them, as an exact number of pico-dollars."""
    return None if dollars is None else round(dollars * PICO)


def count(number: int | None) -> str:
    """Return a number with its thousands apart."""
    return _NONE if number is None else f"{number:,}"


def many(number: int, noun: str) -> str:
    """Return `1 step`, `2 steps`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def seconds(duration_s: float | None) -> str:
    """Return a duration in about three digits."""
    if duration_s is None:
        return _NONE
    if duration_s < 0.9995:
        return f"{duration_s * 1000:.0f}ms"
    if duration_s < 59.95:
        return f"{duration_s:.{2 if duration_s < 9.995 else 1}f}s"
    minutes, rest = divmod(round(duration_s), 60)
    if minutes < 60:
        return f"{minutes}m{rest:02d}s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes:02d}m" if hours < 24 else f"{hours // 24}d{hours % 24:02d}h"


def moment(at_ns: int | None) -> str:
    """Return a time, UTC, to the second."""
    if at_ns is None or at_ns <= 0:
        return _NONE
    return f"{datetime.fromtimestamp(at_ns // 10**9, UTC):%Y-%m-%d %H:%M:%S}"

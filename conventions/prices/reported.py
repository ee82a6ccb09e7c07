"""A cost that a span came with: which amount counts, and whether the two agree.

A gateway's or a provider's own bill is better than any price list. What an SDK or an instrumentation
worked out by itself is an estimate like ours, made with an older list; it is kept for comparison.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Final, Literal

from spanledger.conventions.prices.attributes import COST
from spanledger.conventions.prices.sellers import role_of
from spanledger.conventions.provider_usage import BILLED
from spanledger.conventions.reading import Cost

if TYPE_CHECKING:
    from spanledger.conventions.reading import Reading

Policy = Literal["prefer", "verify", "ignore"]

MAX_USD: Final = 1_000_000.0
"""A larger cost of one call is a mistake."""

_TOLERANCE_PERCENT: Final = 5
_TOLERANCE_PICO: Final = 100_000_000
"""$0.0001: smaller differences are rounding."""

_CURRENCIES: Final = ("gen_ai.usage.cost.currency", "gen_ai.cost.currency", "llm.cost.currency")
_BILLS: Final = ("litellm.", "gen_ai.cost.", "openrouter.", "gateway.", "ai.response.providerMetadata")


_TICKS: Final = "cost_in_usd_ticks"
"""How xAI says what it charged."""


def weigh(cost: Cost, reading: Reading, policy: Policy) -> tuple[Cost, int | None]:
    """Return the cost that counts, and our own amount where it is not that one.

    Zero is no price: tools write it for models they do not know. Where backends read it, it is a conflict.
    """
    usd = reading.reported_cost_usd
    if policy == "ignore" or usd is None or impossible(usd):
        return cost, None
    if usd == 0 and (cost.total is None or reading.reported_cost_key != COST):
        return cost, None
    if not all(_in_dollars(reading.attributes.get(key, "")) for key in _CURRENCIES):
        return cost, None
    reported = round(usd * 10**12)
    if cost.total is None:
        if policy == "verify":
            return cost, None
        reason = "reported" if is_bill(reading) else "reported_estimate"
        return Cost("priced", reason, reported, price_ref=f"reported#{reading.reported_cost_key}"), None
    differs = differ(cost.total, reported)
    if policy == "prefer" and reported and is_bill(reading):
        ref = f"reported#{reading.reported_cost_key}"
        return Cost("conflict" if differs else "priced", "reported", reported, price_ref=ref), cost.total
    if differs:
        return replace(cost, status="conflict", reason="reported_differs"), cost.total
    return cost, None


def _in_dollars(currency: object) -> bool:
    return isinstance(currency, str) and currency.strip().upper() in ("USD", "")


def impossible(value: object) -> bool:
    """Tell whether a value that a span has for its cost cannot be one."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        return True
    return not math.isfinite(value) or not 0 <= value <= MAX_USD


def differ(ours: int, reported: int) -> bool:
    """Tell whether two amounts, in pico-dollars, are further apart than rounding explains."""
    gap = abs(ours - reported)
    return gap > _TOLERANCE_PICO and gap * 100 > _TOLERANCE_PERCENT * max(ours, reported)


def is_bill(reading: Reading) -> bool:
    """Tell whether the reported cost is what somebody charged, and not an estimate."""
    if reading.reported_cost_key.startswith(_BILLS) or reading.reported_cost_key.endswith((_TICKS, BILLED)):
        return True
    if reading.attributes.get("gen_ai.usage.cost.source") == "provider":
        return True
    role, seller = role_of(reading.provider)
    return seller == "openrouter" or (role == "gateway" and bool(reading.provider))

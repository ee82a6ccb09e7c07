"""From a price and a verdict of the ledger to the cost that a span is given."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from spanledger.conventions.ledger import MONEY
from spanledger.conventions.reading import Cost

if TYPE_CHECKING:
    from spanledger.conventions.ledger import Verdict

REASONS: Final[Mapping[str, str]] = {
    "only_copy": "rollup_only_copy",
    "tells": "calls_below_tell_none",
    "prices": "leaf_unpriced",
    "wraps": "wraps_calls",
    "twin": "twin_of_counted_call",
    "in_parent": "counted_in_parent",
}
"""Why a cost is not simply that of a call."""

ONLY_MONEY: Final = REASONS["prices"]
"""Of a wrapper whose price is that of calls which have none: they have the tokens."""

NO_CALL: Final = frozenset({ONLY_MONEY, REASONS["tells"]})
"""Of wrappers that are billed, though the calls are below them."""

FETCHED: Final = Cost("rollup", "fetched_again")
"""Of an answer that was asked for again: its tokens are those of the call that made it."""

SUM_OF_CALLS: Final = Cost("rollup", "sum_of_calls_below")
"""Of an agent or workflow with calls below it that reports nothing itself."""


def decided(price: Cost, verdict: Verdict) -> Cost:
    """Return what a span costs whose own price is `price`, now that it is known what it is."""
    if verdict not in REASONS:
        return price
    if verdict not in MONEY:
        return Cost("rollup", REASONS[verdict])
    return price if price.reason else replace(price, reason=REASONS[verdict])

"""From a price and a verdict of the ledger to the cost that a span is given."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from spanledger.conventions.ledger import COUNTED
from spanledger.conventions.reading import Cost

if TYPE_CHECKING:
    from spanledger.conventions.ledger import Verdict

REASONS: Final[Mapping[Verdict, str]] = {
    "only_copy": "rollup_only_copy",
    "leaf_unpriced": "leaf_unpriced",
    "supersedes": "richer_report",
    "wraps": "wraps_calls",
    "twin": "twin_of_counted_call",
    "in_parent": "counted_in_parent",
}
"""Why a cost is not simply that of a call."""

SUPERSEDED: Final = Cost("rollup", "superseded_by_richer_report")
"""Of a report of a call that a richer one replaces."""

SUM_OF_CALLS: Final = Cost("rollup", "sum_of_calls_below")
"""Of an agent or workflow with calls below it that reports nothing itself."""


def decided(price: Cost, verdict: Verdict) -> Cost:
    """Return what a span costs whose own price is `price`, now that it is known whether it counts."""
    if verdict not in REASONS:
        return price
    if verdict not in COUNTED:
        return Cost("rollup", REASONS[verdict])
    return price if price.reason else replace(price, reason=REASONS[verdict])

"""Whether a newly read price list may take the place of the one in use.

A list is refused when it looks like an accident: a file cut short, another unit, somebody's experiment. What an
operator writes into an override file is not judged here; that is meant.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from spanledger.conventions.prices.engine import PriceEngine
    from spanledger.conventions.prices.lookup import Tariff

KEPT_SHARE: Final = 0.9
"""Of the models of the old list, at least so many must be in the new one."""

MAX_MOVE: Final = 5
"""No price of a model in use may rise or fall by more than this factor, unless the list dates it."""

MAX_LOOKED_AT: Final = 512
"""Models in use that are compared; they are also what the new engine then knows already."""


def shrunken(old: Collection[object], new: Collection[object]) -> str:
    """Say that a list has lost too many models; "" if it has not."""
    known = set(new)
    kept = sum(model in known for model in old)
    if kept >= KEPT_SHARE * len(old):
        return ""
    return f"has {kept} of the {len(old)} models of the list in use, and less than nine in ten is an accident"


def moved(old: PriceEngine, new: PriceEngine, at_ns: int) -> str:
    """Say which price of a model in use is another by more than `MAX_MOVE`; "" if none is."""
    for names in old.names_in_use()[-MAX_LOOKED_AT:]:
        before, after = _rates(old.tariff_of(names), at_ns), _rates(new.tariff_of(names), at_ns)
        if before is None or after is None or after[2] != before[2]:
            continue  # new, gone, or dated: then the list says that it is meant
        for side, was, now in (("input", before[0], after[0]), ("output", before[1], after[1])):
            if max(was, now) > MAX_MOVE * min(was, now):
                model = names[1] or names[2]
                return (
                    f"changes the {side} price of {str(model)[:80]!r} from {was / 1e6:g} to {now / 1e6:g} dollars a "
                    "million tokens without a date; if that is right, say so in an override file"
                )
    return ""


def _rates(tariff: Tariff, at_ns: int) -> tuple[int, int, int | None] | None:
    """Return the rates of input and output at that moment and since when they hold; None where there are none."""
    choice = tariff.at(at_ns)
    if choice is None or not choice.rows or choice.ref.startswith("overrides#"):
        return None
    row = choice.rows[0]
    return row.input[0], row.output[0], choice.window.start_ns

"""The arithmetic of the benchmarks: percentiles, medians, and how cost grows."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence


def percentile(values: Sequence[float], share: float) -> float | None:
    """Return the smallest value that `share` (0 to 1) of all are not above (nearest rank); None of nothing."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)] if ordered else None


def median(values: Sequence[float | None]) -> float | None:
    """Return the median of what is known, None when nothing is."""
    known = [value for value in values if value is not None]
    return statistics.median(known) if known else None


def exponent(sizes: Sequence[float], costs: Sequence[float]) -> float | None:
    """Return the b of the `cost = a * size ** b` that fits best: 0 is constant, 1 linear, 2 quadratic.

    None with less than two sizes, or with a cost that is not positive (too small to be measured).
    """
    if len(sizes) < 2 or min(costs) <= 0:
        return None
    return statistics.linear_regression([math.log(size) for size in sizes], [math.log(cost) for cost in costs]).slope


def waiting(turns_s: Sequence[float], all_s: float, share: float) -> float:
    """Return what `share` of those wait at the most who come at any moment of `all_s` seconds with turns in them.

    Who comes in a turn waits for what is left of it: longer than x is the wait for `turn - x` seconds of each turn.
    """
    least, most = 0.0, max(turns_s, default=0.0)
    while most - least > 1e-6:
        middle = (least + most) / 2
        if sum(turn - middle for turn in turns_s if turn > middle) > (1 - share) * all_s:
            least = middle
        else:
            most = middle
    return most


def corrected(late_s: Sequence[float], every_s: float) -> list[float]:
    """Return what a look each `every_s` would have seen, of looks that each began when the last had ended.

    Something that holds the loop up for 100 ms is seen once by who sleeps in that loop, and would have been met, at
    100, 99, 98 ... ms, by everything that was due meanwhile (the correction of HdrHistogram).
    """
    seen: list[float] = []
    for late in late_s:
        seen.append(late)
        seen += [late - step * every_s for step in range(1, int(late / every_s) + 1)]
    return seen

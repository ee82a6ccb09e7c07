"""PromQL for panels, written from the table of metrics: a name that is not there is a KeyError at once.

A selector follows every variable of the dashboards that its metric has a label for. Windows are `$__rate_interval`
in graphs and `$__range` in numbers about the whole time range. What has a series for each value that data chose is
shown for the largest few, by `top`.
"""

from __future__ import annotations

from typing import Final

from spanledger.conventions.metrics import METRICS
from spanledger.service.assets.first_event import born
from spanledger.service.assets.recording import GROUPS
from spanledger.service.assets.rule import BY, Recording

ROWS: Final = {metric.name: metric for metric in METRICS}
RECORDED: Final = {rule.record: rule for group in GROUPS for rule in group.rules if isinstance(rule, Recording)}

CASCADE: Final = ("service_name", "agent_name", "provider", "model")
"""Labels that are variables of the dashboards, each one narrowed by those before it."""
BY_AGENT: Final = BY
BY_MODEL: Final = "provider, model"
BY_TOOL: Final = "tool_name"

INTERVAL: Final = "$__rate_interval"
RANGE: Final = "$__range"
TOP: Final = 10
"""Series of a graph that has one for each agent, model or tool."""
ROWS_OF_A_TABLE: Final = 50


def select(name: str, matchers: str = "", suffix: str = "") -> str:
    """Return the selector of a metric or a recorded series, narrowed by the variables and by `matchers`.

    `suffix` is that of a histogram: `_bucket`, `_count`, `_sum`.
    """
    labels = _labels(name)
    follows = [f'{label}=~"${label}"' for label in CASCADE if label in labels]
    return f"{name}{suffix}{_braces(*follows, matchers)}"


def own(name: str, matchers: str = "", suffix: str = "") -> str:
    """Return the selector of a metric about the sidecar itself, narrowed to the chosen instances."""
    _ = ROWS[name]
    instance = 'instance=~"$instance"'
    return f"{name}{suffix}{_braces(instance, matchers)}"


def _braces(*matchers: str) -> str:
    inside = ", ".join(filter(None, matchers))
    return f"{{{inside}}}" if inside else ""


def _labels(name: str) -> tuple[str, ...]:
    """Return the labels of a metric, or of a recorded series that are told by the first part of its name."""
    if ":" not in name:
        return ROWS[name].label_names
    level = RECORDED[name].record.partition(":")[0]
    return {"agent_model": CASCADE, "budget": (), "fleet": ()}.get(level, CASCADE[:2])


def added(selector: str, by: str = "", window: str = RANGE) -> str:
    """Return by how much counters grew within `window`, summed by labels."""
    return _sum(f"increase({selector}[{window}])", by)


def happened(selector: str, by: str = "") -> str:
    """Return how often something rare happened within the time range, summed by labels.

    As `added`, and with those series that were born within it: what an alert pages for is no 0 on its dashboard.
    """
    return _sum(f"{born(selector, RANGE, f'{RANGE}_s')}\n  or increase({selector}[{RANGE}])", by)


def speed(selector: str, by: str = "", per_s: int = 1, window: str = INTERVAL) -> str:
    """Return how fast counters grew, in `per_s` seconds, summed by labels.

    Graphs draw this and no sums: what was added in a window that moves by less than itself is seen more than once.
    """
    rate = _sum(f"rate({selector}[{window}])", by)
    return rate if per_s == 1 else f"{per_s} * {rate}"


def _sum(expr: str, by: str) -> str:
    return f"sum by ({by}) ({expr})" if by else f"sum({expr})"


def share(part: str, whole: str, *, absent_is_zero: bool = False) -> str:
    """Return a ratio that is there only while there is a whole.

    `absent_is_zero`: a part that has no series yet is none of a whole that is there; `whole` must have no labels then.
    """
    if absent_is_zero:
        part = f"({part} or vector(0))"
    return f"{part}\n/ ({whole} > 0)"


def mean(name: str, by: str = "", window: str = INTERVAL, matchers: str = "") -> str:
    """Return the mean of what a histogram saw within `window`."""
    total, count = (speed(select(name, matchers, suffix), by, window=window) for suffix in ("_sum", "_count"))
    return share(total, count)


def quantile(q: float, name: str, by: str = "", window: str = INTERVAL, matchers: str = "") -> str:
    """Return a quantile of what a histogram saw within `window`, as exact as its buckets; nothing if it saw nothing."""
    buckets = speed(select(name, matchers, "_bucket"), f"{by}, le" if by else "le", window=window)
    return f"histogram_quantile({q}, {buckets}) >= 0"  # not NaN


def top(expr: str, by: str, rank: str, most: int = TOP) -> str:
    """Return those series of `expr` whose labels `by` have the largest `rank`.

    The same few series over the whole time range: `topk` around a graph's query would choose anew at every step, and
    draw many more than it names. So `rank` is asked once, for the end of the range.
    """
    return f"{expr}\nand on ({by}) topk({most}, {rank} > 0)"


def ranked(selector: str, by: str) -> str:
    """Return the rank of `top` by what counters added over the time range."""
    return f"sum by ({by}) (increase({selector}[$__range] @ end()))"


def largest(selector: str, by: str, per_s: int = 60, most: int = TOP) -> str:
    """Return how fast counters grew, in `per_s` seconds, of those that grew most over the time range."""
    return top(speed(selector, by, per_s), by, ranked(selector, by), most)


def table(selector: str, by: str) -> str:
    """Return a query for one moment: the largest of what counters added over the time range."""
    return f"topk({ROWS_OF_A_TABLE}, {added(selector, by)} > 0)"


def rare_table(selector: str, by: str) -> str:
    """Return the same for `happened`."""
    return f"topk({ROWS_OF_A_TABLE}, {happened(selector, by)} > 0)"

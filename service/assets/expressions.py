"""PromQL that recording rules are made of."""

from __future__ import annotations

from spanledger.service.assets.rule import BY


def increase(metric: str, window: str, by: str = BY) -> str:
    """Return by how much counters grew within a window."""
    return f"sum by ({by}) (increase({metric}[{window}]))"


def average(metric: str, window: str, by: str = BY) -> str:
    """Return the mean of what a histogram saw within a window."""
    return ratio(increase(f"{metric}_sum", window, by), increase(f"{metric}_count", window, by))


def ratio(part: str, whole: str) -> str:
    """Return a ratio that is there only while there is a whole."""
    return f"{part}\n/ ({whole} > 0)"


def quantile(q: float, metric: str, by: str = BY) -> str:
    """Return a quantile of what a histogram saw in 15 minutes."""
    return f"histogram_quantile({q}, sum by ({by}, le) (rate({metric}_bucket[15m])))"


def named(label: str, parts: dict[str, str]) -> str:
    """Return the union of `parts`, told apart by `label`."""
    return "\nor\n".join(f'label_replace({expr}, "{label}", "{name}", "", "")' for name, expr in parts.items())

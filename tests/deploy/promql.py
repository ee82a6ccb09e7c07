"""What can be said of a PromQL expression without asking a server."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, TypeAlias

import promql_parser as promql

from spanledger.conventions.metrics import METRICS
from spanledger.service.assets.dashboards.series import RECORDED

Expr: TypeAlias = "promql.Expr"

_ROWS: Final = {metric.name: metric for metric in METRICS}
_HISTOGRAMS: Final = {
    f"{row.name}{suffix}": row for row in METRICS if row.type == "histogram" for suffix in ("_bucket", "_sum", "_count")
}
_LIMITING: Final = frozenset({"topk", "bottomk"})
OF_PROMETHEUS: Final = frozenset({"ALERTS", "up"})
"""Series that the server makes itself."""


def parse(expr: str) -> Expr:
    """Return the syntax tree of an expression. Raises ValueError for what is none."""
    return promql.parse(expr)


def below(node: Expr) -> Iterator[Expr]:
    """Yield a node and all below it."""
    yield node
    for child in _children(node):
        yield from below(child)


def _children(node: Expr) -> list[Expr]:
    if isinstance(node, promql.BinaryExpr):
        return [node.lhs, node.rhs]
    if isinstance(node, promql.Call):
        return list(node.args)
    if isinstance(node, promql.MatrixSelector):
        return [node.vector_selector]
    return [node.expr] if hasattr(node, "expr") else []


def is_made(name: str) -> bool:
    """Tell whether something makes a series of this name."""
    return name in _ROWS or name in _HISTOGRAMS or name in RECORDED or name in OF_PROMETHEUS


def is_counter(name: str) -> bool:
    """Tell whether a series only grows."""
    return name in _HISTOGRAMS or (name in _ROWS and _ROWS[name].type == "counter")


def bare_counters(node: Expr, within_rate: bool = False) -> Iterator[str]:
    """Yield the counters of an expression that are looked at outside of rate() and increase().

    Those that were not there before are counters that began at 0: `a unless a offset 5m`.
    """
    if isinstance(node, promql.BinaryExpr) and str(node.op) == "unless" and _is_born(node):
        return
    if isinstance(node, promql.VectorSelector) and is_counter(node.name) and not within_rate:
        yield node.name
    rate = within_rate or (isinstance(node, promql.Call) and node.func.name in {"rate", "increase"})
    for child in _children(node):
        yield from bare_counters(child, rate)


def _is_born(node: promql.BinaryExpr) -> bool:
    sides = (node.lhs, node.rhs)
    if not all(isinstance(side, promql.VectorSelector) for side in sides):
        return False
    return node.lhs.name == node.rhs.name and node.rhs.offset is not None


def is_bounded(node: Expr) -> bool:
    """Tell whether an expression has only as many series as it says, or as somebody configured.

    What has a series for each value of a label that data chose is not; `topk`, and a match with it, make it so.
    """
    if isinstance(node, promql.AggregateExpr):
        if str(node.op) in _LIMITING or is_bounded(node.expr):
            return True
        labels = node.modifier.labels if node.modifier else []
        return all(_is_closed(label, node) for label in labels)
    if isinstance(node, promql.BinaryExpr):
        left, right = is_bounded(node.lhs), is_bounded(node.rhs)
        if str(node.op) == "or":
            return left and right
        if str(node.op) == "unless":
            return left
        if node.modifier and "ManyToOne" in str(node.modifier.card):
            return left
        return left or right
    if isinstance(node, promql.VectorSelector):
        return _open_labels(node) <= {matcher.name for matcher in node.matchers.matchers if "Equal" in str(matcher.op)}
    return all(is_bounded(child) for child in _children(node))


def _is_closed(label: str, node: Expr) -> bool:
    """Tell whether no selector below a node has values of `label` that data chose."""
    return not any(isinstance(one, promql.VectorSelector) and label in _open_labels(one) for one in below(node))


def _open_labels(selector: Expr) -> set[str]:
    row = _ROWS.get(selector.name) or _HISTOGRAMS.get(selector.name)
    if row is not None:
        return {label.name for label in row.labels if label.from_data}
    if selector.name in RECORDED:
        level = selector.name.partition(":")[0]
        return set() if level in {"fleet", "budget"} else {"service_name", "agent_name"}
    return {"alertname"}

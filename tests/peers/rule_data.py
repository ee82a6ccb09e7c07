"""What rules look at, one selector at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import promql_parser as promql

from tests.deploy.promql import below, parse

if TYPE_CHECKING:
    from collections.abc import Iterator

_SIGNS: Final = {"MatchOp.Equal": "=", "MatchOp.NotEqual": "!=", "MatchOp.Re": "=~", "MatchOp.NotRe": "!~"}

ONLY_IF_BROKEN: Final = {
    "spanledger_normalizer_errors_total": "a fault of ours, which no input is known to cause",
    "spanledger_price_refresh_ok": "no file of prices is configured in this story; tests/test_price_source.py has one",
    "spanledger_orphan_spans_total": "somebody on the way who drops spans; its story is in tests/deploy/alert_cases.py",
    "spanledger_series_overflow_total": "a label with too many values; tests/test_metric_store.py has one",
}
"""Selectors of alerts that have no series on a good day -> what makes one. Their alerts fire in tests/deploy."""


def selectors(expr: str) -> Iterator[str]:
    """Yield what an expression reads, as it is now: without windows and offsets."""
    for node in below(parse(expr)):
        if isinstance(node, promql.VectorSelector):
            matchers = ", ".join(f'{m.name}{_SIGNS[str(m.op)]}"{m.value}"' for m in node.matchers.matchers)
            yield f"{node.name}{{{matchers}}}" if matchers else node.name

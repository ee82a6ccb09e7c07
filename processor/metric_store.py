"""Every number the sidecar shows: one table, owned by the event loop.

Writers ask for a family once (`store.counter("otelcol_receiver_accepted_spans_total")`) and keep it;
adding to a series is then a dict look-up and an addition. The families are the rows of
`spanledger.conventions.metrics`: a name that is not there is a KeyError at start, not a lost number.
"""

from __future__ import annotations

from typing import Protocol

Labels = tuple[str, ...]
"""Label values in the order of the metric's row."""


class CounterFamily(Protocol):
    """A counter: it only grows, and starts at 0 with the process."""

    def add(self, labels: Labels, value: float = 1, trace_id: bytes | None = None) -> None:
        """Add `value` >= 0; 0 creates the series. `trace_id` makes an exemplar."""
        ...


class GaugeFamily(Protocol):
    """A value of this moment."""

    def set(self, labels: Labels, value: float) -> None:
        """Replace the value of one series."""
        ...


class HistogramFamily(Protocol):
    """A distribution over the row's buckets."""

    def observe(self, labels: Labels, value: float, trace_id: bytes | None = None) -> None:
        """Count `value` into its bucket. `trace_id` makes an exemplar."""
        ...


class MetricStore(Protocol):
    """The table; the implementation follows below."""

    def counter(self, name: str) -> CounterFamily:
        """Return the counter of that row. Raises KeyError."""
        ...

    def gauge(self, name: str) -> GaugeFamily:
        """Return the gauge of that row. Raises KeyError."""
        ...

    def histogram(self, name: str) -> HistogramFamily:
        """Return the histogram of that row. Raises KeyError."""
        ...

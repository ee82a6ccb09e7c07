"""Families of series as text, in Prometheus' format 0.0.4 and in OpenMetrics 1.0.0.

Written here and not by prometheus-client because it is forty times as fast: a series keeps its labels
as text, so that only its value is formatted at a scrape. `bench/metrics.py` compares the two.

The formats: prometheus.io/docs/instrumenting/exposition_formats and
github.com/prometheus/OpenMetrics/blob/main/specification/OpenMetrics.md.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from prometheus_client.utils import floatToGoString

from spanledger.conventions.metrics import METRICS
from spanledger.processor.metric_store import Exemplar, HistogramFamily, escape

if TYPE_CHECKING:
    from spanledger.conventions.metrics import Metric
    from spanledger.processor.metric_store import AnyFamily, Cell, Distribution

CHUNK_LINES: Final = 1000
"""Lines written between two pauses: about a millisecond."""

_SUFFIXES: Final = {"counter": ("_total",), "gauge": ("",), "histogram": ("_bucket", "_sum", "_count")}


@dataclass(frozen=True, slots=True)
class Style:
    """How one exporter shows the table."""

    namespace: str = ""
    """Put before every name, with an underscore."""
    const_labels: Mapping[str, str] = field(default_factory=dict)
    """Put on every series, before its own labels."""

    def name(self, name: str) -> str:
        """Return a metric's name as shown."""
        return f"{self.namespace}_{name}" if self.namespace else name


UNTYPED: Final = frozenset(
    row.name for row in METRICS if row.type == "counter" and any(row.name == f"{other.name}_total" for other in METRICS)
)
"""Counters beside a histogram of the same quantity. OpenMetrics, which names a counter's family without
`_total`, has no name for them; there they are samples of unknown type, which Prometheus takes as well."""


def render(
    families: Iterable[AnyFamily], style: Style, *, openmetrics: bool, since_ns: int = 0, only: Collection[str] = ()
) -> Iterator[str]:
    """Write the families that have series, in pieces of about `CHUNK_LINES` lines, without the `# EOF`.

    Series that are stale since `since_ns` are left out. `only` are names of families or of their
    samples, as shown; empty for all. Between two pieces the table may change: which series there are
    is looked at when a family's turn comes, and their values when their piece is written, so that
    buckets, sum and count of a histogram always agree.
    """
    constant = ",".join(f'{name}="{escape(value)}"' for name, value in style.const_labels.items())
    for family in families:
        row = family.metric
        name = style.name(row.name)
        if only and _names(name, row).isdisjoint(only):
            continue
        labels = f"{constant}," if constant and row.labels else constant
        if isinstance(family, HistogramFamily):
            lines = _histogram(name, labels, family.bounds, family.cells(since_ns), openmetrics)
        else:
            lines = _values(name, labels, family.cells(since_ns), openmetrics and row.name not in UNTYPED)
        head = _head(name, row, openmetrics)
        for piece in lines:
            yield head + piece
            head = ""


def _names(name: str, row: Metric) -> set[str]:
    base = name.removesuffix("_total") if row.type == "counter" else name
    return {name, base, *(base + suffix for suffix in _SUFFIXES[row.type])}


def _head(name: str, row: Metric, openmetrics: bool) -> str:
    help_ = row.help.replace("\\", r"\\").replace("\n", r"\n")
    if not openmetrics:
        return f"# HELP {name} {help_}\n# TYPE {name} {row.type}\n"
    if row.name in UNTYPED:
        return f"# HELP {name} {help_}\n# TYPE {name} unknown\n"
    # OpenMetrics names a counter's family without the `_total` of its samples.
    base = name.removesuffix("_total") if row.type == "counter" else name
    unit = f"# UNIT {base} {row.unit}\n" if row.unit else ""
    return f"# HELP {base} {help_}\n# TYPE {base} {row.type}\n{unit}"


def _braces(name: str, labels: str, cell: Cell) -> tuple[str, str]:
    """Return what stands before and behind a series' own labels; no braces around none."""
    return (f"{name}{{{labels}", "} ") if labels or cell.text else (name, " ")


def _values(name: str, labels: str, cells: Sequence[Cell], openmetrics: bool) -> Iterator[str]:
    for at in range(0, len(cells), CHUNK_LINES):
        start, end = _braces(name, labels, cells[at])
        some = cells[at : at + CHUNK_LINES]
        if openmetrics:
            yield "".join([f"{start}{cell.text}{end}{cell.value!r}{_exemplar(cell.exemplar)}\n" for cell in some])
        else:
            yield "".join([f"{start}{cell.text}{end}{cell.value!r}\n" for cell in some])


def _histogram(
    name: str, labels: str, bounds: Sequence[float], cells: Sequence[Distribution], openmetrics: bool
) -> Iterator[str]:
    step = max(1, CHUNK_LINES // (len(bounds) + 3))
    for at in range(0, len(cells), step):
        count, end = _braces(f"{name}_count", labels, cells[at])
        sum_, _ = _braces(f"{name}_sum", labels, cells[at])
        comma = "," if labels or cells[at].text else ""
        ends = [f'{comma}le="{bound}"}} ' for bound in (*map(floatToGoString, bounds), "+Inf")]
        lines: list[str] = []
        for cell in cells[at : at + step]:
            total = _buckets(lines, f"{name}_bucket{{{labels}{cell.text}", ends, cell, openmetrics)
            lines.append(f"{count}{cell.text}{end}{total}\n{sum_}{cell.text}{end}{cell.value!r}\n")
        yield "".join(lines)


def _buckets(lines: list[str], start: str, ends: list[str], cell: Distribution, openmetrics: bool) -> int:
    total = 0
    if openmetrics and cell.exemplars:
        for end, count, exemplar in zip(ends, cell.counts, cell.exemplars, strict=True):
            total += count
            lines.append(f"{start}{end}{total}{_exemplar(exemplar)}\n")
    else:
        for end, count in zip(ends, cell.counts, strict=True):
            total += count
            lines.append(f"{start}{end}{total}\n")
    return total


def _exemplar(exemplar: Exemplar | None) -> str:
    if exemplar is None:
        return ""
    trace_id, value, time_ns = exemplar
    return f' # {{trace_id="{trace_id.hex()}"}} {value!r} {time_ns / 1e9:.3f}'

"""Every number the sidecar shows: one table, owned by the event loop.

Writers ask for a family once (`store.counter("otelcol_receiver_accepted_spans_total")`) and keep it;
adding to a series is then a dict look-up and an addition. The families are the rows of
`spanledger.conventions.metrics`: a name that is not there is a KeyError at start, not a lost number.

Labels from data are hostile. A new label set is cleaned once, when its series is made. A service may
have `max_series` series of a metric, and never more than half of what the other services leave of twice
as many: the first with too many ids in its labels takes no room from the second. In the same way it may have half
of what the others leave of `max_lines`, which is what a scrape may bring into Prometheus of all metrics together.
Further ones are counted under `__other__`, so that sums stay right, and the log says which metric, label and service.

Series go stale together. What belongs to one service and agent has one *owner*, and as long as any of
it changes all of it is shown: an error counter must not vanish while there are no errors, for a
counter that is born with its first increment is invisible to `increase()`. What has gone stale keeps
its value for its return; it is forgotten only to make room, when it was silent for an hour and for
as long as any exporter shows it.
"""

from __future__ import annotations

import functools
import itertools
import logging
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Generic, TypeAlias, TypeVar

from spanledger.conventions.metrics import METRICS, OTHER, Metric

log = logging.getLogger("spanledger.metrics")

Labels: TypeAlias = tuple[str, ...]
"""Label values in the order of the metric's row."""

Exemplar: TypeAlias = tuple[bytes, float, int]
"""(trace id, value, time in ns since the epoch)."""

MAX_SERIES: Final = 2000
"""Label sets of one metric and service before `__other__`: the cardinality limit of the OpenTelemetry SDKs."""

MAX_LINES: Final = 50_000
"""Series of all metrics as Prometheus counts them, each bucket of a histogram one."""

MAX_LABEL_CHARS: Final = 128

MAX_MERGED: Final = 1024
"""What was told by a gauge, as it was told, that is remembered."""

MAX_CLEANED: Final = 1024
MAX_CLEANED_CHARS: Final = 512
"""Label sets that had to be cleaned, of at most so many characters, of which it is remembered how they read then."""

MAX_VALUE: Final = 2**53
"""Up to here a float64, which is what Prometheus keeps, counts by ones. A larger value is no measurement."""

FORGET_AFTER_NS: Final = 3600 * 10**9
SWEEP_EVERY_NS: Final = 10 * 10**9
SAY_AGAIN_NS: Final = 3600 * 10**9
"""Between two lines in the log on one metric that overflows."""

_CUT: Final = "…"
# Control characters, and marks that turn the direction of text: a name must not read as another one.
_CONTROL: Final = dict.fromkeys((*range(32), *range(127, 160), *range(0x202A, 0x202F), *range(0x2066, 0x206A)))
_OWNING: Final = ("service_name", "agent_name")


def clean(value: str) -> str:
    """Return a label value of valid UTF-8 and at most 128 characters, without control and direction marks."""
    if len(value) <= MAX_LABEL_CHARS and value.isascii() and value.isprintable():
        return value
    # Far more than can remain is never looked at: a client may send megabytes.
    value = value[: 2 * MAX_LABEL_CHARS].translate(_CONTROL)
    value = value.encode("utf-8", "replace").decode("utf-8")
    return value if len(value) <= MAX_LABEL_CHARS else value[: MAX_LABEL_CHARS - 1] + _CUT


def cleaned(labels: Labels) -> Labels:
    """Return clean label values. Nearly always they are."""
    together = "".join(labels)
    if len(together) <= MAX_LABEL_CHARS and together.isascii() and together.isprintable():
        return labels
    return _cleaned(labels) if len(together) <= MAX_CLEANED_CHARS else tuple(map(clean, labels))


@functools.lru_cache(MAX_CLEANED)
def _cleaned(labels: Labels) -> Labels:
    return tuple(map(clean, labels))


def escape(value: str) -> str:
    """Return a label value as both exposition formats write it between quotes."""
    return value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")


@dataclass(slots=True, eq=False)
class Owner:
    """Who series are about, and when any of them last changed."""

    seen_ns: int
    series: dict[tuple[Family[Any], Labels], None] = field(default_factory=dict)
    """A set that keeps its order."""


@dataclass(slots=True, eq=False)
class Cell:
    """One series of a counter or gauge."""

    text: str
    """The labels as the expositions write them, made once: `a="x",b="y"`."""
    owner: Owner
    value: float = 0
    exemplar: Exemplar | None = None
    shown: float = 0
    """What whoever looked last may have seen."""
    shown_at: int = 0
    """`_Shared.readings` when it last changed."""
    owed: float = 0
    """What was taken back after it had been shown: it is kept from what is added next."""


@dataclass(slots=True, eq=False)
class Distribution(Cell):
    """One series of a histogram; `value` is the sum."""

    counts: list[int] = field(default_factory=list)
    """Observations in each bucket, not cumulated; the last is +Inf."""
    exemplars: list[Exemplar | None] = field(default_factory=list)
    """Empty until the first one, then one place for each bucket."""
    shown_counts: list[int] = field(default_factory=list)


@dataclass(slots=True, eq=False)
class _Shared:
    """What the families of one table have in common."""

    max_series: int
    max_lines: int
    lines: Counter[str] = field(default_factory=Counter)
    """Lines of limited metrics, by service."""
    all_lines: int = 0
    now_ns: int = 0
    readings: int = 1
    """How often anybody has looked at series."""
    removals: int = 0
    """How many series were dropped."""
    say_at_ns: int = 0
    forget_after_ns: int | None = FORGET_AFTER_NS
    """None for never."""
    owners: dict[tuple[str | None, ...], Owner] = field(default_factory=dict)
    next_sweep_ns: int = 0
    overflow: CounterFamily | None = None
    refused: CounterFamily | None = None

    def sweep(self) -> bool:
        """Forget what nobody has added to for long; not again for ten seconds, for it looks at all. Tell if it did."""
        if self.now_ns < self.next_sweep_ns or self.forget_after_ns is None:
            return False
        self.next_sweep_ns = self.now_ns + SWEEP_EVERY_NS
        oldest = self.now_ns - self.forget_after_ns
        for key in [key for key, owner in self.owners.items() if owner.seen_ns < oldest]:
            for family, labels in tuple(self.owners.pop(key).series):
                family.remove(labels)
        return True


_C = TypeVar("_C", bound=Cell)


class Family(Generic[_C]):
    """The series of one row."""

    __slots__ = (
        "_cells", "_counts", "_from_data", "_limited", "_owner_at", "_permanent", "_shared", "metric", "say_at_ns",
    )  # fmt: skip

    def __init__(self, metric: Metric, shared: _Shared) -> None:
        self.metric = metric
        self._shared = shared
        self._cells: dict[Labels, _C] = {}
        self._counts: Counter[str] = Counter()
        """Series by service."""
        self.say_at_ns = 0
        names = metric.label_names
        self._from_data = [label.from_data for label in metric.labels]
        self._limited = any(self._from_data)
        self._owner_at = [names.index(name) if name in names else None for name in _OWNING]
        self._permanent = Owner(0) if self._owner_at == [None, None] else None
        """The owner of series that are about the sidecar itself: they do not go stale."""

    def __len__(self) -> int:
        return len(self._cells)

    def get(self, labels: Labels) -> _C | None:
        """Return the series of these labels."""
        return self._cells.get(labels)

    def cells(self, since_ns: int = 0) -> list[_C]:
        """Return the series of this moment, oldest first, without those that are stale since then."""
        self._shared.readings += 1
        if self._permanent is not None or not since_ns:
            return list(self._cells.values())
        return [cell for cell in self._cells.values() if cell.owner.seen_ns >= since_ns]

    def remove(self, labels: Labels) -> None:
        """Drop one series, such as the gauge of an exporter that is no more."""
        cell = self._cells.pop(labels, None)
        if cell is not None:
            cell.owner.series.pop((self, labels), None)
            self._count(labels, -1)
            self._shared.removals += 1

    def _count(self, labels: Labels, by: int) -> None:
        if not self._limited:
            return
        service, lines = self._service(labels), by * self._lines()
        self._shared.all_lines += lines
        for counts, more in ((self._counts, by), (self._shared.lines, lines)):
            counts[service] += more
            if not counts[service]:
                del counts[service]

    def _lines(self) -> int:
        """Return the lines that a series of this metric has in a scrape."""
        return 1

    def _make(self, text: str, owner: Owner) -> _C:
        raise NotImplementedError

    def _find(self, told: Labels, weight: float) -> _C:
        """Return the series of labels that are not known as they are: after cleaning, new, or `__other__`.

        `weight` is what will be added: only what counts counts as overflow.
        """
        if len(told) != len(self._from_data):
            raise ValueError(f"{self.metric.name} takes {self.metric.label_names}, not {len(told)} values")
        labels = cleaned(told)
        if (known := self._cells.get(labels)) is not None:
            return known
        service = self._service(labels)
        full = self._full_for(service)
        if full is not None and self._shared.sweep():
            full = self._full_for(service)
        if full is None:
            return self._new(labels)
        # "" stays: it says that nothing is known, and is only one value.
        folds = zip(labels, self._from_data, strict=True)
        other = tuple([OTHER if value and from_data else value for value, from_data in folds])
        cell = self._cells.get(other) or self._new(other)
        if weight:
            self._overflow(service, full)
        return cell

    def _new(self, labels: Labels) -> _C:
        pairs = zip(self.metric.label_names, labels, strict=True)
        text = ",".join([f'{name}="{escape(value)}"' for name, value in pairs])
        owner = self._permanent
        if owner is None:
            key = tuple(None if at is None else labels[at] for at in self._owner_at)
            owner = self._shared.owners.get(key)
            if owner is None:
                owner = self._shared.owners[key] = Owner(self._shared.now_ns)
            owner.series[self, labels] = None
        self._count(labels, 1)
        cell = self._cells[labels] = self._make(text, owner)
        return cell

    def _service(self, labels: Labels) -> str:
        at = self._owner_at[0]
        return "" if at is None else labels[at]

    def _full_for(self, service: str) -> Family[Any] | _Shared | None:
        """Return what has no room for one more series of a service: at most half of what the others leave of it."""
        if not self._limited:
            return None
        shared, own = self._shared, self._counts.get(service, 0)
        if 2 * (own + 1) > 2 * shared.max_series - (len(self._cells) - own):
            return self
        lines = shared.lines.get(service, 0)
        return shared if 2 * (lines + self._lines()) > shared.max_lines - (shared.all_lines - lines) else None

    def _overflow(self, service: str, full: Family[Any] | _Shared) -> None:
        """Count a value that finds no series of its own; say once in a while where they all come from."""
        if self._shared.overflow is not None:
            self._shared.overflow.add((self.metric.name,))
        if self._shared.now_ns < full.say_at_ns:
            return
        full.say_at_ns = self._shared.now_ns + SAY_AGAIN_NS
        known = [cell_labels for cell_labels in self._cells if self._service(cell_labels) == service] or [*self._cells]
        values = {
            name: len({cell_labels[at] for cell_labels in known})
            for at, name in enumerate(self.metric.label_names)
            if self._from_data[at]
        }
        worst = max(values, key=values.__getitem__)
        log.warning(
            "metric %s: service %r has %d series of it and %d lines of all metrics, its whole share; further ones are "
            "counted as %s. The label with the most values is %s (%d): name kinds of things there, not single ones, or "
            "raise series_limit or total_series_limit",
            self.metric.name, service, self._counts[service], self._shared.lines[service], OTHER, worst, values[worst],
        )  # fmt: skip

    def _refuse(self) -> None:
        if self._shared.refused is not None:
            self._shared.refused.add((self.metric.name,))


class CounterFamily(Family[Cell]):
    """A counter: it only grows, and starts at 0 with the process."""

    __slots__ = ()

    def add(self, labels: Labels, value: float = 1, trace_id: bytes | None = None) -> None:
        """Add `value` >= 0; 0 creates the series. `trace_id` makes an exemplar."""
        if not 0 <= value <= MAX_VALUE:
            self._refuse()
            return
        cell = self._cells.get(labels) or self._find(labels, value)
        if cell.shown_at != self._shared.readings:
            cell.shown, cell.shown_at = cell.value, self._shared.readings
        if cell.owed:
            paid = min(value, cell.owed)
            cell.owed -= paid
            value -= paid
        cell.value += value
        now_ns = cell.owner.seen_ns = self._shared.now_ns
        if trace_id and value:
            cell.exemplar = (trace_id, value, now_ns)

    def take_back(self, labels: Labels, value: float) -> None:
        """Take `value` off again, as never added.

        A counter must not be seen to fall: what has been shown of it is kept from what is added next.
        """
        cell = self._cells.get(labels) or self._find(labels, 0)
        if cell.shown_at != self._shared.readings:
            cell.shown, cell.shown_at = cell.value, self._shared.readings
        left = cell.value - value
        if left < cell.shown:
            cell.owed += cell.shown - left
        cell.value = max(left, cell.shown)

    def zeros(self, **known: str) -> None:
        """Create the series of these label values, with every combination of the closed sets among the others."""
        choices = [label.values or (known[label.name],) for label in self.metric.labels]
        for labels in itertools.product(*choices):
            self.add(labels, 0)

    def _make(self, text: str, owner: Owner) -> Cell:
        return Cell(text, owner)


class GaugeFamily(Family[Cell]):
    """A value of this moment."""

    __slots__ = ("_merged", "_told")

    def __init__(self, metric: Metric, shared: _Shared) -> None:
        super().__init__(metric, shared)
        self._told: dict[Labels, Labels] = {}
        """Service and agent -> the labels of the one series that tells of it."""
        self._merged: dict[tuple[Labels, bool], Labels] = {}
        """What was told -> the labels that this made, or left; telling it of these again changes nothing."""

    def tell(self, labels: Labels, *, surely: bool = True) -> None:
        """Set 1 on the only series of this service and agent, which says what is known of it besides.

        What is known stays where `labels` has "", and where it is not told `surely`. When something else is told, the
        series that said otherwise goes.
        """
        known = self._told.get(labels[:2])
        if known == labels:
            self.set(labels, 1)
            return
        told, shown = (labels, surely), self._merged.get((labels, surely))
        if shown is not None and self._told.get(shown[:2]) == shown:
            self.set(shown, 1)
            return
        labels = cleaned(labels)
        known = self._told.get(labels[:2])
        if known is not None and known in self._cells:
            pairs = zip(labels, known, strict=True)
            labels = tuple([new or old if surely else old or new for new, old in pairs])
            if labels != known:
                self.remove(known)
        self.set(labels, 1)
        if labels in self._cells:
            self._told[labels[:2]] = labels
            if len(self._merged) >= MAX_MERGED:
                self._merged.clear()
            self._merged[told] = labels

    def remove(self, labels: Labels) -> None:
        """Drop one series."""
        super().remove(labels)
        if self._told.get(labels[:2]) == labels:
            del self._told[labels[:2]]

    def set(self, labels: Labels, value: float) -> None:
        """Replace the value of one series."""
        if not -MAX_VALUE <= value <= MAX_VALUE:
            self._refuse()
            return
        cell = self._cells.get(labels) or self._find(labels, 1)
        cell.value = value
        cell.owner.seen_ns = self._shared.now_ns

    def _make(self, text: str, owner: Owner) -> Cell:
        return Cell(text, owner)


class HistogramFamily(Family[Distribution]):
    """A distribution over the row's buckets."""

    __slots__ = ("bounds",)

    def __init__(self, metric: Metric, shared: _Shared) -> None:
        super().__init__(metric, shared)
        self.bounds: Sequence[float] = metric.buckets

    def observe(self, labels: Labels, value: float, trace_id: bytes | None = None) -> None:
        """Count `value` >= 0 into its bucket. `trace_id` makes an exemplar."""
        if not 0 <= value <= MAX_VALUE:
            self._refuse()
            return
        cell = self._cells.get(labels) or self._find(labels, 1)
        if cell.shown_at != self._shared.readings:
            cell.shown, cell.shown_counts, cell.shown_at = cell.value, cell.counts[:], self._shared.readings
        bucket = bisect_left(self.bounds, value)
        cell.counts[bucket] += 1
        cell.value += value
        now_ns = cell.owner.seen_ns = self._shared.now_ns
        if trace_id:
            if not cell.exemplars:
                cell.exemplars = [None] * len(cell.counts)
            cell.exemplars[bucket] = (trace_id, value, now_ns)

    def take_back(self, labels: Labels, value: float) -> None:
        """Take an observation back, if nobody has seen it: what has been shown of a distribution stays."""
        cell = self._cells.get(labels)
        if cell is None or cell.shown_at != self._shared.readings:
            return
        bucket = bisect_left(self.bounds, value)
        if cell.counts[bucket] > cell.shown_counts[bucket]:
            cell.counts[bucket] -= 1
            cell.value = max(cell.value - value, cell.shown)

    def set_bounds(self, bounds: Sequence[float]) -> None:
        """Change the buckets. What was counted into other buckets is dropped: to readers, a restart."""
        if tuple(bounds) != tuple(self.bounds):
            for labels in tuple(self._cells):
                self.remove(labels)
            self.bounds = tuple(bounds)

    def _lines(self) -> int:
        return len(self.bounds) + 3  # +Inf, the sum, the count

    def _make(self, text: str, owner: Owner) -> Distribution:
        return Distribution(text, owner, counts=[0] * (len(self.bounds) + 1))


AnyFamily: TypeAlias = CounterFamily | GaugeFamily | HistogramFamily


class MetricTable:
    """All families. One event loop owns it: no method waits, none is safe from another thread."""

    def __init__(
        self, rows: Iterable[Metric] = METRICS, max_series: int = MAX_SERIES, max_lines: int = MAX_LINES
    ) -> None:
        self._shared = _Shared(max_series, max_lines)
        self._families: dict[str, AnyFamily] = {}
        self._counters: dict[str, CounterFamily] = {}
        self._gauges: dict[str, GaugeFamily] = {}
        self._histograms: dict[str, HistogramFamily] = {}
        for row in rows:
            self._add(row)
        self._shared.overflow = self._counters.get("spanledger_series_overflow_total")
        self._shared.refused = self._counters.get("spanledger_refused_values_total")

    def _add(self, row: Metric) -> None:
        if row.name in self._families:
            raise ValueError(f"metric {row.name} has two rows")
        if row.type == "counter":
            counter = self._families[row.name] = self._counters[row.name] = CounterFamily(row, self._shared)
            if all(label.values for label in row.labels):
                counter.zeros()
        elif row.type == "gauge":
            self._families[row.name] = self._gauges[row.name] = GaugeFamily(row, self._shared)
        else:
            self._families[row.name] = self._histograms[row.name] = HistogramFamily(row, self._shared)

    def counter(self, name: str) -> CounterFamily:
        """Return the counter of that row. Raises KeyError."""
        return self._counters[name]

    def gauge(self, name: str) -> GaugeFamily:
        """Return the gauge of that row. Raises KeyError."""
        return self._gauges[name]

    def histogram(self, name: str) -> HistogramFamily:
        """Return the histogram of that row. Raises KeyError."""
        return self._histograms[name]

    @property
    def removals(self) -> int:
        """How many series were dropped so far: while this is the same, what was there still is."""
        return self._shared.removals

    def families(self) -> Iterable[AnyFamily]:
        """Return every family, in the order of the table."""
        return self._families.values()

    def tick(self, now_ns: int) -> None:
        """Tell the time (ns since the epoch) of what is added next: of its exemplars, and of its owners."""
        self._shared.now_ns = now_ns

    def set_limits(self, max_series: int, max_lines: int) -> None:
        """Change how much a service may have of a metric, and all of all metrics; what is there stays."""
        self._shared.max_series = max_series
        self._shared.max_lines = max_lines

    def keep(self, shown_ns: int) -> None:
        """Forget nothing that was silent for less than `shown_ns`; 0 for never. The longest ever asked for holds."""
        if not shown_ns:
            self._shared.forget_after_ns = None
        elif self._shared.forget_after_ns is not None:
            self._shared.forget_after_ns = max(self._shared.forget_after_ns, shown_ns)


MetricStore: TypeAlias = MetricTable
"""What components are given as `host.metrics`."""

"""The connector that turns steps into numbers."""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import pydantic

from spanledger.conventions.call import Place
from spanledger.conventions.ledger import Bill
from spanledger.conventions.metrics import METRICS
from spanledger.conventions.step import Bridge, Step, altered
from spanledger.processor.accounts import Accounts
from spanledger.processor.ancestry import Ancestry
from spanledger.processor.component import Beside, ComponentConfig, Host, Refused, register
from spanledger.processor.metric_store import MAX_LINES, MAX_SERIES
from spanledger.processor.settings import Duration
from spanledger.processor.step_metrics import Entry, SemconvMetrics, StepMetrics, bill_of

if TYPE_CHECKING:
    from spanledger.conventions.ledger import Report
    from spanledger.processor.batch import Delivery

SLICE_S: Final = 0.002
"""Seconds of counting in one go, some 50 steps; the rest of a large delivery takes turns with other work."""

MAX_WAITING: Final = 20_000
"""Spans that may wait to be counted; a request that finds so many is refused."""

CHECK_EVERY: Final = 4
"""Steps between two looks at the clock."""

_HISTOGRAMS: Final = frozenset(row.name for row in METRICS if row.type == "histogram")


class GenAIMetricsConfig(ComponentConfig):
    """Configuration of `genai_metrics`."""

    settle: Duration = 5.0
    """How long after its end the tokens of an agent or workflow without model calls below it are held back: they may
    be the sum of calls that are yet to come. Calls themselves count at once."""

    series_limit: int = pydantic.Field(default=MAX_SERIES, ge=10, le=1_000_000)
    """Label sets of one metric and service. Further ones count with `__other__` in place of what clients chose."""
    total_series_limit: int = pydantic.Field(default=MAX_LINES, ge=1000, le=10_000_000)
    """Series of all metrics as Prometheus counts them, each bucket one; a service has at most half of what the others
    leave. Further ones count with `__other__` as well."""
    exemplars: bool = True
    """Keep a trace id with counters and buckets; shown in OpenMetrics only."""
    buckets: dict[str, list[float]] = pydantic.Field(default_factory=dict)
    """Upper bounds by the name of a histogram, where the usual ones do not hold your objectives."""

    @pydantic.field_validator("buckets")
    @classmethod
    def _sound(cls, buckets: dict[str, list[float]]) -> dict[str, list[float]]:
        for name, bounds in buckets.items():
            if name not in _HISTOGRAMS:
                raise ValueError(f"{name[:100]!r} is no histogram of ours; docs/metrics.md lists them")
            if not 1 <= len(bounds) <= 60 or bounds != sorted(set(bounds)) or not 0 < bounds[0] <= bounds[-1] < 1e15:
                raise ValueError(f"{name}: bounds are 1 to 60 numbers above 0, each larger than the one before")
        return buckets


@register("connector", "genai_metrics", config=GenAIMetricsConfig, signals=("traces", "logs"), feeds=("metrics",))
class GenAIMetrics:
    """Counts model calls, tokens, cost, tools, agents and spans into the metrics of docs/metrics.md."""

    def __init__(self, config: GenAIMetricsConfig, host: Host) -> None:
        self._config = config
        self._host = host
        self._step_metrics = StepMetrics(host.metrics, config.exemplars)
        self._semconv_metrics = SemconvMetrics(host.metrics, config.exemplars)
        self._uncounted = host.metrics.counter("spanledger_uncounted_steps_total")
        self._counted = 0
        self._failed = 0
        self._waiting: deque[tuple[Iterator[_Related], int]] = deque()
        """Each with the number of its spans."""
        self._waiting_spans = 0
        self._task: asyncio.Task[None] | None = None
        self._accounts = Accounts()
        self._held: OrderedDict[bytes, tuple[float, dict[Report, None]]] = OrderedDict()
        """Trace id -> until when, and the sums of calls in it."""
        self._timer: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Give the table its limits and buckets."""
        self._host.metrics.set_limits(self._config.series_limit, self._config.total_series_limit)
        for name in _HISTOGRAMS:
            family = self._host.metrics.histogram(name)
            family.set_bounds(self._config.buckets.get(name, family.metric.buckets))

    async def shutdown(self, deadline: float) -> int:
        """Count what waits and what is held."""
        if self._task is not None:
            await self._task
        if self._timer is not None:
            self._timer.cancel()
        for trace_id in tuple(self._held):
            self._release(trace_id)
        return 0

    def statistics(self) -> Mapping[str, Any]:
        """Return the steps that were counted, that could not be counted, what waits, and what is remembered."""
        return {
            "counted": self._counted,
            "failed": self._failed,
            "waiting_deliveries": len(self._waiting),
            "waiting_spans": self._waiting_spans,
            "held_traces": len(self._held),
            **self._accounts.statistics(),
        }

    def reserve(self, delivery: Delivery) -> None:
        """Hold nothing, for counting is faster than decoding; refuse if that should not be so."""
        if self._waiting_spans > MAX_WAITING:
            raise Refused(f"connector {self._host.id} has {self._waiting_spans} spans waiting to be counted")

    def release(self, delivery: Delivery) -> None:
        """Do nothing."""

    def commit(self, delivery: Delivery) -> None:
        """Count the steps of `delivery`: at once, but for those of a huge one."""
        self._host.metrics.tick(delivery.received_ns)
        if delivery.bridges:
            self._step_metrics.count_bridges(len(delivery.bridges))
        steps = _related(delivery.steps, delivery.bridges)
        if not self._waiting and self._count(steps, SLICE_S):
            return
        count = len(delivery.steps) + len(delivery.bridges)
        self._waiting.append((steps, count))
        self._waiting_spans += count
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._count_waiting(), name="genai_metrics")

    async def _count_waiting(self) -> None:
        beside = Beside(SLICE_S, self._host.monotonic)
        while self._waiting:
            # Others run here; they may have appended deliveries.
            await beside.others()
            left_s = beside.turn_s
            while self._waiting and left_s > 0:
                began_s = self._host.monotonic()
                steps, count = self._waiting[0]
                if self._count(steps, left_s):
                    self._waiting.popleft()
                    self._waiting_spans -= count
                left_s -= self._host.monotonic() - began_s

    def _count(self, records: Iterator[_Related], slice_s: float) -> bool:
        """Count until the records or the slice are used up; tell whether all is counted."""
        now_s = self._host.monotonic()
        until = now_s + slice_s
        done = True
        for record, tool_around in records:
            if isinstance(record, Bridge):
                self._accounts.add(_place(record), now_s)
            else:
                self._guarded(self._count_step, record, tool_around, now_s)
            self._counted += 1
            if self._counted % CHECK_EVERY == 0 and self._host.monotonic() >= until:
                done = False
                break
        self._settle(now_s)
        return done

    def _guarded(self, work: Callable[..., None], *given: Any) -> None:
        try:
            work(*given)
        except Exception:
            # A fault of ours. Its neighbours still count, and the request was acknowledged already.
            if not self._failed:
                self._host.log.exception("a step could not be counted; spanledger_uncounted_steps_total goes on")
            self._failed += 1
            self._uncounted.add(())

    def _count_step(self, step: Step, tool_around: Step | None, now_s: float) -> None:
        added = self._accounts.add(_place(step), now_s)
        if step.call is None or added is None:
            if not self._step_metrics.count(step, tool_around):
                return
            self._semconv_metrics.count(step)
            self._bill(Entry(step), bill_of(step))
            return
        report, is_news = added
        if not is_news:
            self._step_metrics.count_again(step)
            return
        if isinstance(report.kept, Entry):
            self._bill(report.kept, Bill())  # it says more now than before
        self._step_metrics.count(step)
        self._semconv_metrics.count(step)
        report.kept = Entry(altered(step, detail=None, resource={}))

    # -- what counts --

    def _settle(self, now_s: float) -> None:
        """Count calls as far as they are known, and hold sums of calls until no more of them come."""
        for report in self._accounts.changed():
            self._look(report)
        for report in self._accounts.sums():
            hold_s = 0.0 if _is_billed(report) else self._hold_s(report)
            if hold_s <= 0:
                self._look(report)
            elif report.place is not None:
                _, sums = self._held.setdefault(report.place.trace_id, (now_s + hold_s, {}))
                sums[report] = None
        for trace_id in self._accounts.outgrown(now_s):
            self._release(trace_id)
        self._release_due(now_s)

    def _hold_s(self, report: Report) -> float:
        """Return how long to wait for calls below a sum: they ended before it, and were sent as soon as it was."""
        if report.place is None or not self._config.settle:
            return 0.0
        return self._config.settle - max(0, self._host.clock_ns() - report.place.end_ns) / 1e9

    def _look(self, report: Report) -> None:
        if isinstance(report.kept, Entry):
            self._guarded(self._bill, report.kept, report.bill)

    def _bill(self, entry: Entry, bill: Bill) -> None:
        if bill != entry.bill:
            self._semconv_metrics.bill(entry.step, entry.bill, bill)
            self._step_metrics.bill(entry, bill)

    def _release(self, trace_id: bytes) -> None:
        _, sums = self._held.pop(trace_id, (0.0, {}))
        for report in sums:
            self._look(report)

    def _release_due(self, now_s: float) -> None:
        """Count the sums that were held for long enough; come back for the others."""
        while self._held:
            trace_id, (due_s, _) = next(iter(self._held.items()))
            if due_s > now_s:
                break
            self._release(trace_id)
        if self._held and (self._timer is None or self._timer.done()):
            self._timer = asyncio.get_running_loop().create_task(self._wait(), name="genai_metrics settle")

    async def _wait(self) -> None:
        while self._held:
            due_s, _ = next(iter(self._held.values()))
            await asyncio.sleep(max(0.0, due_s - self._host.monotonic()))
            # Others ran here: what was due first may be gone.
            self._host.metrics.tick(self._host.clock_ns())
            self._release_due(self._host.monotonic())


def _is_billed(report: Report) -> bool:
    return isinstance(report.kept, Entry) and report.kept.bill != Bill()


_Related = tuple[Step | Bridge, Step | None]


def _related(steps: Sequence[Step], bridges: Sequence[Bridge]) -> Iterator[_Related]:
    """Yield what holds calls together, then each step with its agent's name, and for tools the call it is part of."""
    if not steps:
        yield from ((bridge, None) for bridge in bridges)
        return
    ancestry = Ancestry(steps, bridges)
    yield from ((bridge, None) for bridge in bridges)
    for step in steps:
        yield ancestry.with_agent(step), ancestry.tool_around(step) if step.kind == "tool" else None


def _place(record: Step | Bridge) -> Place:
    call = record.call if isinstance(record, Step) else None
    return Place(record.trace_id, record.span_id, record.parent_span_id, record.start_ns, record.end_ns, call)

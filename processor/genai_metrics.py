"""The connector that turns steps into numbers."""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from itertools import chain, islice
from typing import TYPE_CHECKING, Any, Final, TypeAlias, TypeVar

import pydantic

from spanledger.conventions.call import Place
from spanledger.conventions.ledger import Bill
from spanledger.conventions.metrics import METRICS
from spanledger.conventions.step import Bridge, Step, altered
from spanledger.processor.accounts import Accounts
from spanledger.processor.ancestry import Ancestry, tools_of, whose
from spanledger.processor.component import ComponentConfig, Host, Refused, register
from spanledger.processor.metric_store import MAX_LINES, MAX_SERIES
from spanledger.processor.nameless import Nameless, Waiting
from spanledger.processor.settings import Duration
from spanledger.processor.step_metrics import Entry, SemconvMetrics, StepMetrics, bill_of, counts
from spanledger.processor.turns import Beside

if TYPE_CHECKING:
    from spanledger.conventions.ledger import Report
    from spanledger.processor.batch import Delivery
    from spanledger.processor.nameless import Ending

_T = TypeVar("_T")

SLICE_S: Final = 0.002
"""Seconds of counting in one go, some 20 steps; the rest of a large delivery takes turns with other work."""

COUNTING: Final = 0.4
"""Share of that in which steps are looked at. The rest is for bills that they change, which are settled together."""

MAX_WAITING: Final = 20_000
"""Spans that may wait to be counted; a request that finds so many is refused."""

CHECK_EVERY: Final = 4
"""Steps between two looks at the clock."""

_HISTOGRAMS: Final = frozenset(row.name for row in METRICS if row.type == "histogram")


class GenAIMetricsConfig(ComponentConfig):
    """Configuration of `genai_metrics`."""

    settle: Duration = 5.0
    """How long after its end the tokens of an agent or workflow without model calls below it are held back: they may
    be the sum of calls that are yet to come. Calls themselves do not wait for that."""
    agent_wait: Duration = 10.0
    """How long a call, tool or agent that names no agent waits to be counted until the spans above it have come: they
    end after it, and are sent when they end. What is above by then says whose it is; else `agent_name` is "". Two
    schedules of the SDKs' batch processor; set it to how long your agents run, or 0 to count at once: metrics of calls
    are late by as much where the spans above them do not come, those of runs and budgets are not."""

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
        self._waiting: deque[tuple[Iterator[_Record], int]] = deque()
        """Each with the number of its spans."""
        self._waiting_spans = 0
        self._task: asyncio.Task[None] | None = None
        self._accounts = Accounts()
        self._held: OrderedDict[bytes, tuple[float, dict[Report, None]]] = OrderedDict()
        """Trace id -> until when, and the sums of calls in it."""
        self._ancestry = Ancestry()
        self._nameless = Waiting(config.agent_wait)
        self._waits = host.metrics.counter("spanledger_agent_waits_total")
        self._alarm: asyncio.TimerHandle | None = None
        self._alarm_s = 0.0
        """When it rings."""
        self._heir: GenAIMetrics | None = None
        """Who goes on counting; what is still on its way here is theirs."""

    async def start(self) -> None:
        """Give the table its limits and buckets."""
        self._host.metrics.set_limits(self._config.series_limit, self._config.total_series_limit)
        for name in _HISTOGRAMS:
            family = self._host.metrics.histogram(name)
            family.set_bounds(self._config.buckets.get(name, family.metric.buckets))

    def take_over(self, predecessor: GenAIMetrics) -> Awaitable[None]:
        """Go on with all that another one remembers: what waits goes on waiting, what was counted is known."""
        self._accounts, self._ancestry = predecessor._accounts, predecessor._ancestry
        self._held, self._nameless = predecessor._held, predecessor._nameless
        self._nameless.wait_for(self._config.agent_wait)
        self._step_metrics.take_over(predecessor._step_metrics)
        self._waiting, predecessor._waiting = predecessor._waiting, deque()
        self._waiting_spans, predecessor._waiting_spans = predecessor._waiting_spans, 0
        predecessor._heir = self
        predecessor._silence()
        if self._waiting:
            self._count_later()
        self._set_alarm()
        return asyncio.sleep(0)

    async def shutdown(self, deadline: float) -> int:
        """Count what waits and what is held, unless another one goes on with it."""
        if self._task is not None:
            await self._task
        if self._heir is not None:
            return 0
        self._silence()
        now_s = self._host.monotonic()
        self._nameless.wait_for(0.0)
        until = now_s + SLICE_S
        for nameless in self._nameless.take_all():
            self._guarded(self._end_wait, nameless, "shutdown", now_s)
            if self._host.monotonic() >= until:
                # In a reload requests go on beside this.
                await asyncio.sleep(0)
                until = self._host.monotonic() + SLICE_S
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
            "nameless_steps": len(self._nameless),
            "nameless_bytes": self._nameless.size_bytes,
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
        if self._heir is not None:
            self._heir.commit(delivery)
            return
        self._host.metrics.tick(delivery.received_ns)
        if delivery.bridges:
            self._step_metrics.count_bridges(len(delivery.bridges))
        steps = self._records(delivery.steps, delivery.bridges)
        if not self._waiting and self._guarded(self._count, steps, SLICE_S) is not False:
            return
        count = len(delivery.steps) + len(delivery.bridges)
        self._waiting.append((steps, count))
        self._waiting_spans += count
        self._count_later()

    def _count_later(self) -> None:
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._count_waiting(), name="genai_metrics")

    async def _count_waiting(self) -> None:
        beside = Beside(SLICE_S, self._host.monotonic, self._host.working)
        while self._waiting:
            # Others run here; they may have appended deliveries.
            await beside.others()
            left_s = beside.turn_s
            while self._waiting and left_s > 0:
                began_s = self._host.monotonic()
                steps, count = self._waiting[0]
                # After a fault the rest of a delivery is given up: it would meet the fault again, and others wait.
                if self._guarded(self._count, steps, left_s) is not False:
                    self._waiting.popleft()
                    self._waiting_spans -= count
                left_s -= self._host.monotonic() - began_s

    def _records(self, steps: Sequence[Step], bridges: Sequence[Bridge]) -> Iterator[_Record]:
        """Yield what holds calls together, then each step, and then those that waited for one of these spans."""
        self._ancestry.learn(steps, bridges)
        yield from ((bridge, None) for bridge in bridges)
        tools = tools_of(steps)
        for step in steps:
            yield step, self._ancestry.tool_around(step, tools) if step.kind == "tool" else None
        for record in self._nameless.awaited(chain(bridges, steps)) if self._nameless else ():
            if isinstance(record, Step) and record.agent_name:
                agent, service_name, missing = record.agent_name, record.service_name, b""
            else:
                agent, service_name, missing = self._ancestry.above(record)
            if missing:
                self._nameless.move(record.trace_id, record.span_id, missing)
                continue
            for nameless in self._nameless.take(record.trace_id, record.span_id):
                nameless.agent = whose(nameless.step, agent, service_name)
                yield nameless, None

    def _count(self, records: Iterator[_Record], slice_s: float) -> bool:
        """Count until the records or the slice are used up; tell whether all is counted."""
        now_s = self._host.monotonic()
        until = now_s + slice_s * COUNTING
        done = True
        try:
            for looked, (record, tool_around) in enumerate(records, 1):
                if isinstance(record, Bridge):
                    self._counted += 1
                    self._accounts.add(_place(record), now_s)
                elif isinstance(record, Step):
                    self._counted += 1
                    self._guarded(self._count_step, record, tool_around, now_s)
                else:
                    self._guarded(self._end_wait, record, "found" if record.agent else "none", now_s)
                if looked % CHECK_EVERY == 0 and self._host.monotonic() >= until:
                    done = False
                    break
        finally:
            self._settle(now_s)
        return done

    def _guarded(self, work: Callable[..., _T], *given: Any) -> _T | None:
        try:
            return work(*given)
        except Exception:
            # A fault of ours. Its neighbours still count, and the request was acknowledged already.
            if not self._failed:
                self._host.log.exception("a step could not be counted; spanledger_uncounted_steps_total goes on")
            self._failed += 1
            self._uncounted.add(())
            return None

    def _count_step(self, step: Step, tool_around: Step | None, now_s: float) -> None:
        added = self._accounts.add(_place(step), now_s)
        report: Report | None = None
        if step.call is not None and added is not None:
            report, is_news = added
            if not is_news:
                self._step_metrics.count_again(step)
                return
            if isinstance(report.kept, Entry):
                self._bill(report.kept, Bill())  # it says more now than before
        missing = b""
        if not step.agent_name and step.kind != "workflow":
            above, service_name, missing = self._ancestry.above(step)
            if above and (agent := whose(step, above, service_name)):
                step = _slim(step, agent)
        is_work = self._step_metrics.count(step, tool_around)
        if missing and self._nameless.is_open and (report is not None or (is_work and counts(step))):
            self._let_wait(step, is_work, report, missing, now_s)
            return
        if is_work:
            self._count_work(step)
        elif report is None:
            return
        if report is None:
            self._bill(Entry(step), bill_of(step))
        else:
            report.kept = Entry(_slim(step))

    def _count_work(self, step: Step) -> None:
        if step.kind == "tool":
            self._step_metrics.count_tool(step)
        self._semconv_metrics.count(step)

    # -- steps that do not say whose they are --

    def _let_wait(self, step: Step, is_work: bool, report: Report | None, missing: bytes, now_s: float) -> None:
        nameless = self._nameless.add(step, is_work, report, missing, now_s)
        if report is not None:
            report.kept = nameless
        for oldest in self._nameless.take_surplus():
            self._guarded(self._end_wait, oldest, "full", now_s)

    def _end_wait(self, nameless: Nameless, ending: Ending, now_s: float) -> None:
        """Count a step that does not wait any more."""
        step, report = nameless.step, nameless.report
        if self._waits.get((step.service_name, ending)) is None:
            self._waits.zeros(service_name=step.service_name)
        self._waits.add((step.service_name, ending))
        if nameless.agent:
            step = _slim(step, nameless.agent)
            self._step_metrics.tell_agent(step)
        if nameless.is_work:
            self._count_work(step)
        if report is None:
            self._bill(Entry(step), nameless.bill or bill_of(step))
        elif report.kept is nameless:  # and its span was not told again by one that says more
            report.kept = Entry(step)
            self._consider(report, now_s)

    def _decide(self, nameless: Nameless) -> None:
        """Note what is counted of a step that the ledger is about to forget: it may wait for much longer."""
        report, nameless.report = nameless.report, None
        if report is not None:
            nameless.bill = report.bill if report.kept is nameless else Bill()

    # -- what counts --

    def _settle(self, now_s: float) -> None:
        """Count calls as far as they are known, and hold sums of calls until no more of them come."""
        for report in self._accounts.changed():
            self._look(report)
        for report in self._accounts.sums():
            self._consider(report, now_s)
        for trace_id in self._accounts.outgrown(now_s):
            for nameless in self._nameless.of(trace_id):
                self._guarded(self._decide, nameless)
            self._release(trace_id)
        self._release_due(now_s)

    def _consider(self, report: Report, now_s: float) -> None:
        """Count a call as far as it is known; hold a sum of calls until no more of them come."""
        hold_s = self._hold_s(report) if _is_sum(report) and not _is_billed(report) else 0.0
        if hold_s <= 0:
            self._look(report)
        elif report.place is not None:
            _, sums = self._held.setdefault(report.place.trace_id, (now_s + hold_s, {}))
            sums[report] = None

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
        """Count what was held for long enough; come back for the rest."""
        until = self._host.monotonic() + SLICE_S
        for nameless in self._nameless.take_due(now_s):
            self._guarded(self._end_wait, nameless, "timeout", now_s)
            if self._host.monotonic() >= until:
                break
        while self._held:
            trace_id, (due_s, _) = next(iter(self._held.items()))
            if due_s > now_s:
                break
            self._release(trace_id)
        self._set_alarm()

    def _set_alarm(self) -> None:
        """See to it that somebody comes back when the first of what is held is due."""
        dues_s = [due_s for due_s, _ in islice(self._held.values(), 1)]
        if (due_s := self._nameless.next_due_s()) is not None:
            dues_s.append(due_s)
        if not dues_s or (self._alarm is not None and self._alarm_s <= min(dues_s)):
            return
        self._silence()
        self._alarm_s = min(dues_s)
        delay_s = max(0.0, self._alarm_s - self._host.monotonic())
        self._alarm = asyncio.get_running_loop().call_later(delay_s, self._ring)

    def _silence(self) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None

    def _ring(self) -> None:
        self._alarm = None
        self._host.metrics.tick(self._host.clock_ns())
        self._release_due(self._host.monotonic())


_Record: TypeAlias = tuple[Step | Bridge | Nameless, Step | None]
"""With the tool call that a tool's span is part of."""


def _is_billed(report: Report) -> bool:
    return isinstance(report.kept, Entry) and report.kept.bill != Bill()


def _is_sum(report: Report) -> bool:
    return report.call is not None and not report.call.inference


def _slim(step: Step, agent: str = "") -> Step:
    """Return a step of this agent without what counting does not need."""
    if agent:
        return altered(step, agent_name=agent, detail=None, resource={})
    return altered(step, detail=None, resource={}) if step.detail is not None or step.resource else step


def _place(record: Step | Bridge) -> Place:
    call = record.call if isinstance(record, Step) else None
    return Place(record.trace_id, record.span_id, record.parent_span_id, record.start_ns, record.end_ns, call)

"""What comes of requests of spans and log records: numbers and runs, as in the running sidecar but for the sockets."""

from __future__ import annotations

import asyncio
import functools
import json
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from spanledger.conventions.dialects import DIALECTS
from spanledger.conventions.lending import Lending
from spanledger.conventions.log_reports import LogReports
from spanledger.conventions.values import attributes_of
from spanledger.processor.batch import decode, finish
from spanledger.processor.genai_metrics import GenAIMetrics, GenAIMetricsConfig
from spanledger.processor.genai_normalizer import GenaiNormalizer, GenaiNormalizerConfig
from spanledger.processor.genai_pricing import GenaiPricing, GenaiPricingConfig
from spanledger.processor.metric_store import MetricTable
from spanledger.processor.trajectory.config import TrajectoryConfig
from spanledger.processor.trajectory.connector import Trajectory
from spanledger.service.flow import Intake, Pipeline, Stage
from tests.fakes import Clock, host

if TYPE_CHECKING:
    from collections.abc import Callable

    from spanledger.processor.batch import Batch, Signal

Sent = tuple["Signal", bytes]
"""An export request of a signal."""

_LONG_S = 3_000.0
"""Longer than any run is waited for."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What was counted and told."""

    calls: int
    failed: int
    tokens: Counter[str]
    """By token type."""
    pico_usd: int
    tools: Counter[str]
    """Calls by name."""
    runs: list[dict[str, Any]]
    """Documents, the last revision of each run, by time."""
    passed: list[bytes]
    """What left the pipelines."""
    table: MetricTable

    @property
    def input(self) -> int:
        """All input tokens, cached ones included."""
        return self.tokens["input"] + self.tokens["cache_read"] + self.tokens["cache_write"]

    @property
    def output(self) -> int:
        """All output tokens, reasoning included."""
        return self.tokens["output"] + self.tokens["reasoning"]

    def totals(self, name: str) -> int:
        """Return a total over all runs."""
        return sum(run["totals"][name] or 0 for run in self.runs)


class _Told:
    """The logs pipeline of runs."""

    def __init__(self) -> None:
        self.final: dict[str, Any] = {}

    async def __call__(self, batch: Batch) -> None:
        for group in batch.groups:
            for record in group.items:
                said = attributes_of(record.attributes)
                if record.event_name == "spanledger.run.closed":
                    self.final[str(said["spanledger.run.id"])] = json.loads(record.body.string_value)
                elif record.event_name == "spanledger.run.replaced":
                    del self.final[str(said["spanledger.run.id"])]


class _Passed:
    """A sink that keeps what is sent on."""

    def __init__(self) -> None:
        self.data: list[bytes] = []

    def reserve(self, delivery: Any) -> None:
        """Hold nothing."""

    release = reserve

    def commit(self, delivery: Any) -> None:
        """Keep."""
        self.data.append(delivery.data)


def play(sent: Sequence[Sent], *, pause_s: float = 0.0, read_between: bool = False, **trajectory: Any) -> Outcome:
    """Send requests, one after the other, and wait until all runs are closed.

    `read_between`: the metrics are read after each request, as by a scrape.
    """
    return asyncio.run(_play(sent, pause_s, read_between, TrajectoryConfig(content="full", **trajectory)))


@functools.cache
def _normalizer() -> GenaiNormalizer:
    """Return a normaliser; compiling the tables of all dialects takes most of the time of a play."""
    return GenaiNormalizer(GenaiNormalizerConfig(), host("genai_normalizer"))


async def _play(sent: Sequence[Sent], pause_s: float, read_between: bool, config: TrajectoryConfig) -> Outcome:
    clock, table, told, passed = Clock(), MetricTable(), _Told(), _Passed()
    shared: dict[str, Any] = {}

    def together(name: str) -> Callable[[Callable[[], Any]], Any]:
        def share(make: Callable[[], Any]) -> Any:
            if name not in shared:
                shared[name] = make()
            return shared[name]

        return share

    def lent(name: str) -> Any:
        return host(name, clock=clock, numbers=table, shared=together(name))

    connector = Trajectory(config, lent("trajectory"))
    connector.consumers = {"logs": told}  # type: ignore[dict-item]
    metrics = GenAIMetrics(GenAIMetricsConfig(), lent("genai_metrics"))
    await metrics.start()
    normalizer = _normalizer()
    normalizer._reports, normalizer._lending = LogReports(DIALECTS), Lending()  # which remember
    intakes: dict[Signal, Intake] = {}
    prices: list[GenaiPricing] = []
    for signal in ("traces", "logs"):
        pricing = GenaiPricing(GenaiPricingConfig(), lent("genai_pricing"))
        await pricing.start()
        prices.append(pricing)
        stages = tuple(Stage(one, lambda _n: None, lambda _n: None) for one in (normalizer, pricing))
        pipeline = Pipeline(signal, signal, stages, (metrics, connector, passed), connector)  # type: ignore[arg-type]
        intakes[signal] = Intake((pipeline,), deque(maxlen=1), clock.monotonic)  # type: ignore[index]
    for signal, data in sent:
        await intakes[signal](finish(decode(signal, data, clock.time_ns())))
        if read_between:
            for family in table.families():
                family.cells()
        clock.now_s += pause_s
        while await connector.work() == 0:
            pass
    clock.now_s += _LONG_S
    while await connector.work() == 0:
        pass
    assert await connector.shutdown(clock.now_s + 60) == 0
    for component in (metrics, *prices):
        await component.shutdown(clock.now_s + 60)
    runs = sorted(told.final.values(), key=lambda run: (run["started_at"], run["run_id"]))
    return _outcome(table, runs, passed.data)


def _outcome(table: MetricTable, runs: list[dict[str, Any]], passed: list[bytes]) -> Outcome:
    calls: Counter[str] = Counter()
    tokens: Counter[str] = Counter()
    tools: Counter[str] = Counter()
    for found, name, label in (
        (calls, "spanledger_llm_calls_total", "status"),
        (tokens, "spanledger_llm_tokens_total", "token_type"),
        (tools, "spanledger_tool_calls_total", "tool_name"),
    ):
        family = table.counter(name)
        at = family.metric.label_names.index(label)
        for labels, cell in family._cells.items():
            found[labels[at]] += int(cell.value - cell.owed)
    cost = sum(cell.value - cell.owed for cell in table.counter("spanledger_llm_cost_usd_total").cells())
    return Outcome(calls["ok"], calls["error"], +tokens, round(cost * 1e12), +tools, runs, passed, table)

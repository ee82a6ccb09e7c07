"""The connector that turns steps into numbers."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import pydantic

from spanledger.conventions.dialect import MODEL_CALLS
from spanledger.conventions.metrics import METRICS
from spanledger.conventions.verdicts import SUPERSEDED
from spanledger.processor.ancestry import Ancestry
from spanledger.processor.component import ComponentConfig, Host, register
from spanledger.processor.metric_store import MAX_SERIES
from spanledger.processor.retold import Waiting
from spanledger.processor.step_metrics import SemconvMetrics, StepMetrics, counts

if TYPE_CHECKING:
    from spanledger.conventions.step import Step
    from spanledger.processor.batch import Delivery

SLICE_S: Final = 0.01
"""Seconds of counting in one go, some 700 steps; the rest of a huge delivery takes turns with other work."""

CHECK_EVERY: Final = 16
"""Steps between two looks at the clock."""

_HISTOGRAMS: Final = frozenset(row.name for row in METRICS if row.type == "histogram")


class GenAIMetricsConfig(ComponentConfig):
    """Configuration of `genai_metrics`."""

    series_limit: int = pydantic.Field(default=MAX_SERIES, ge=10, le=1_000_000)
    """Label sets of one metric and service. Further ones count with `__other__` in place of what clients chose."""
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
        self._waiting: deque[Iterator[tuple[Step, Step | None]]] = deque()
        self._retold = Waiting()
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Give the table its limits and buckets."""
        self._host.metrics.set_max_series(self._config.series_limit)
        for name in _HISTOGRAMS:
            family = self._host.metrics.histogram(name)
            family.set_bounds(self._config.buckets.get(name, family.metric.buckets))
        self._host.metrics.before_reading.append(self._release)

    async def shutdown(self, deadline: float) -> int:
        """Count what waits."""
        if self._task is not None:
            await self._task
        self._release()
        if self._release in self._host.metrics.before_reading:
            self._host.metrics.before_reading.remove(self._release)
        return 0

    def _release(self) -> None:
        """Count the calls that wait for a richer report, for the metrics are about to be read."""
        for step in self._retold.release():
            self._count_one(step, None)

    def statistics(self) -> Mapping[str, Any]:
        """Return the steps that were counted, that could not be counted, and the deliveries that wait."""
        return {"counted": self._counted, "failed": self._failed, "waiting_deliveries": len(self._waiting)}

    def reserve(self, delivery: Delivery) -> None:
        """Hold nothing: counting is faster than decoding, so what waits cannot pile up."""

    def release(self, delivery: Delivery) -> None:
        """Do nothing."""

    def commit(self, delivery: Delivery) -> None:
        """Count the steps of `delivery`: at once, but for those of a huge one."""
        self._host.metrics.tick(delivery.received_ns)
        if delivery.bridges:
            self._step_metrics.count_bridges(len(delivery.bridges))
        steps = _related(delivery)
        if not self._waiting and self._count(steps):
            return
        self._waiting.append(steps)
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._count_waiting(), name="genai_metrics")

    async def _count_waiting(self) -> None:
        while self._waiting:
            # Others run here; they may have appended deliveries.
            await asyncio.sleep(0)
            if self._count(self._waiting[0]):
                self._waiting.popleft()

    def _count(self, steps: Iterator[tuple[Step, Step | None]]) -> bool:
        """Count until the steps or the slice are used up; tell whether all is counted."""
        until = self._host.monotonic() + SLICE_S
        for step, tool_around in steps:
            if step.retold and step.kind in MODEL_CALLS and counts(step):
                self._count_retold(step)
            else:
                self._count_one(step, tool_around)
            self._counted += 1
            if self._counted % CHECK_EVERY == 0 and self._host.monotonic() >= until:
                return False
        return True


    def _count_retold(self, step: Step) -> None:
        """Count a call that may be told again, or was told before with less."""
        if not step.supersedes:
            if (first := self._retold.hold(step)) is not None:
                self._count_one(first, None)
        elif (poorer := self._retold.replaced(step)) is not None:
            self._count_one(replace(poorer, cost=SUPERSEDED), None)
            fuller = replace(step, agent_name=step.agent_name or poorer.agent_name, supersedes=b"")
            if (first := self._retold.hold(fuller)) is not None:
                self._count_one(first, None)
        else:
            self._step_metrics.count_more(step, self._retold.shown(step))

    def _count_one(self, step: Step, tool_around: Step | None) -> None:
        try:
            if self._step_metrics.count(step, tool_around):
                self._semconv_metrics.count(step)
        except Exception:
            # A fault of ours. Its neighbours still count, and the request was acknowledged already.
            if not self._failed:
                self._host.log.exception("a step could not be counted; spanledger_uncounted_steps_total goes on")
            self._failed += 1
            self._uncounted.add(())


def _related(delivery: Delivery) -> Iterator[tuple[Step, Step | None]]:
    """Yield each step with its agent's name, and for tools the call that it is part of."""
    if not delivery.steps:
        return
    ancestry = Ancestry(delivery.steps, delivery.bridges)
    for step in delivery.steps:
        yield ancestry.with_agent(step), ancestry.tool_around(step) if step.kind == "tool" else None

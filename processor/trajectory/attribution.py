"""What closed runs add to counters by dimension, tool and kind; of a revision the difference."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Final

import pydantic

from spanledger.conventions.metrics import OTHER
from spanledger.conventions.tallies import (
    APPROVALS,
    BUDGET,
    BY_DIMENSION,
    HANDOFFS,
    MONEY,
    RETRIES,
    SAFETY,
    TOOL_RETRIES,
    TOOLS,
)
from spanledger.processor.component import Settings
from spanledger.processor.trajectory.unsafe import Unsafe

if TYPE_CHECKING:
    from spanledger.conventions.tallies import Key
    from spanledger.processor.metric_store import MetricStore
    from spanledger.processor.trajectory.emitted import Change
    from spanledger.processor.trajectory.group import Label

LIMIT: Final = 50
_COUNTERS: Final = (BY_DIMENSION, RETRIES, TOOL_RETRIES, TOOLS, HANDOFFS, APPROVALS, SAFETY)


class DimensionConfig(Settings):
    """A dimension with a name of its own, or another limit."""

    name: str = pydantic.Field(min_length=1, max_length=128)
    """What it is called in runs and metrics, such as `team`."""
    source: str = pydantic.Field(default="", alias="from", max_length=256)
    """Attribute that it is read from: `resource.NAME`, `span.NAME`, or `NAME` for either, the span's first. By default
    `name`."""
    limit: int = pydantic.Field(default=LIMIT, ge=1, le=10_000)
    """Values that the metric tells apart, the first ones that come; the others are `__other__`."""


def added(change: Change) -> Iterator[tuple[Key, int]]:
    """Yield what a run adds to each of its tallies; less than 0 where a revision says less than before.

    What a former life of the process told of a run when it ended was not counted then.
    """
    before: dict[Key, int] = {}
    for known in change.before:
        if known.completeness != "shutdown":
            for key, amount in known.tallies:
                before[key] = before.get(key, 0) + amount
    now = dict(change.now.tallies)
    for key in {**now, **before}:
        if amount := now.get(key, 0) - before.get(key, 0):
            yield key, amount


class Attribution:
    """Counts the tallies of runs."""

    def __init__(self, table: MetricStore, limits: Mapping[str, int]) -> None:
        self._limits = limits
        """Dimension -> how many of its values are told apart."""
        self._values: dict[str, set[str]] = {name: set() for name in limits}
        self._counters = {name: table.counter(name) for name in _COUNTERS}
        self._corrections = table.counter("spanledger_run_corrections_total")
        self.unsafe = Unsafe(table)

    def see(self, label: Label) -> None:
        """Create the series of an agent whose labels are closed sets."""
        service_name, agent_name = label
        self._counters[RETRIES].add(label, 0)
        self._counters[TOOL_RETRIES].add(label, 0)
        self._counters[APPROVALS].zeros(service_name=service_name, agent_name=agent_name)
        for name in self._limits:
            self._counters[BY_DIMENSION].add((*label, name, ""), 0)

    def count(self, change: Change) -> None:
        """Count a run, or what a revision of it adds."""
        trace_id = bytes.fromhex(change.run.trace_ids[0]) if change.run.trace_ids else None
        for key, amount in added(change):
            name, *labels = key
            if name == BUDGET:
                continue
            if amount < 0:
                self._corrections.add(("cost",) if name in MONEY else ("runs",))
                continue
            if name == BY_DIMENSION:
                labels[3] = self._shown(labels[2], labels[3])
            left = self.unsafe.left(change.run, labels, amount) if name == SAFETY else amount
            self._counters[name].add(tuple(labels), left / 1e12 if name in MONEY else left, trace_id)

    def _shown(self, dimension: str, value: str) -> str:
        known = self._values.setdefault(dimension, set())
        if value in known or not value:
            return value
        if len(known) >= self._limits.get(dimension, LIMIT):
            return OTHER
        known.add(value)
        return value

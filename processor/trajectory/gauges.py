"""The runs under way as gauges: how many, and the worst of each agent."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from spanledger.processor.metric_store import MetricStore
    from spanledger.processor.trajectory.group import Group, Label
    from spanledger.processor.trajectory.store import Store

LOOK_EVERY_S: Final = 1.0
"""Seconds between two looks at all open runs for the worst of them, after one that was it has ended."""


class Gauges:
    """Follows the store. A run that grows is shown at once, a worst run that ended within a second."""

    def __init__(self, table: MetricStore) -> None:
        self._open = table.gauge("spanledger_runs_open")
        self._cost = table.gauge("spanledger_open_run_cost_usd_max")
        self._steps = table.gauge("spanledger_open_run_steps_max")
        self._bytes = table.gauge("spanledger_trace_store_bytes")
        self._closed = table.gauge("spanledger_traces_closed")
        self._worst: dict[Label, tuple[int, int]] = {}
        """Label -> (cost in pico-dollars, steps)."""
        self._look_s: float | None = None

    def next_look(self) -> float | None:
        """Return when `show` has to look at all open runs; None when it need not."""
        return self._look_s

    def grew(self, group: Group, now_s: float) -> None:
        """Show a group that got a step."""
        if group.state != "open":
            return
        if group.shown != group.label:
            if group.shown is not None:
                self._look_s = self._look_s if self._look_s is not None else now_s
            group.shown = group.label
        worst = self._worst.get(group.label, (0, 0))
        now = (max(worst[0], group.cost_pico_usd), max(worst[1], group.steps))
        if now != worst:
            self._worst[group.label] = now
            self._cost.set(group.label, now[0] / 1e12)
            self._steps.set(group.label, now[1])

    def ended(self, group: Group, now_s: float) -> None:
        """Note that a group is no longer open."""
        worst = self._worst.get(group.label)
        if worst is not None and (group.cost_pico_usd >= worst[0] or group.steps >= worst[1]) and self._look_s is None:
            self._look_s = now_s + LOOK_EVERY_S

    def show(self, store: Store, now_s: float) -> None:
        """Write the gauges, and look at all open runs when that is due."""
        statistics = store.statistics()
        self._open.set((), store.open_groups)
        self._bytes.set((), store.size_bytes)
        self._closed.set((), statistics["closed"])
        if self._look_s is not None and now_s >= self._look_s:
            self._look_s = None
            self._look(store.open_ones())

    def _look(self, groups: Iterable[Group]) -> None:
        found: dict[Label, tuple[int, int]] = {}
        for group in groups:
            cost, steps = found.get(group.label, (0, 0))
            found[group.label] = (max(cost, group.cost_pico_usd), max(steps, group.steps))
        for label in self._worst.keys() | found.keys():
            cost, steps = found.get(label, (0, 0))
            if self._worst.get(label) != (cost, steps):
                self._cost.set(label, cost / 1e12)
                self._steps.set(label, steps)
        self._worst = found

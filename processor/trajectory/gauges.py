"""The runs under way as gauges: how many, and the worst of each agent.

A run that grows can only raise the worst. After a worst one has ended all are looked at again, once a second at most
and some at a time: there may be a hundred thousand.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

    from spanledger.processor.metric_store import MetricStore
    from spanledger.processor.trajectory.group import Group, Label
    from spanledger.processor.trajectory.store import Store

LOOK_EVERY_S: Final = 1.0
"""Seconds between two looks at all open runs for the worst of them, after one that was it has ended."""
_AT_ONCE: Final = 1_000
"""Runs that are looked at in one turn."""


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
        self._left: Iterator[Group] | None = None
        """Runs that a look under way has not come to."""
        self._seen: dict[Label, tuple[int, int]] = {}
        """The worst of the others."""

    def next_look(self) -> float | None:
        """Return when `show` has to look at all open runs; None when it need not."""
        return self._look_s if self._left is None else float("-inf")

    def grew(self, group: Group, now_s: float) -> None:
        """Show a group that got a step."""
        if group.state != "open":
            return
        if group.shown != group.label:
            if group.shown is not None:
                self._look_again(now_s)
            group.shown = group.label
        if self._left is not None:
            self._seen[group.label] = _worse(self._seen, group)
        now = _worse(self._worst, group)
        if now != self._worst.get(group.label):
            self._worst[group.label] = now
            self._cost.set(group.label, now[0] / 1e12)
            self._steps.set(group.label, now[1])

    def ended(self, group: Group, now_s: float) -> None:
        """Note that a group is no longer open."""
        worst = self._worst.get(group.label)
        if self._left is not None:
            self._look_again(now_s)  # it may have been seen already
        elif worst is not None and (group.cost_pico_usd >= worst[0] or group.steps >= worst[1]):
            self._look_again(now_s)

    def show(self, store: Store, now_s: float) -> None:
        """Write the gauges, and look at all open runs when that is due."""
        statistics = store.statistics()
        self._open.set((), store.open_groups)
        self._bytes.set((), store.size_bytes)
        self._closed.set((), statistics["closed"])
        if self._look_s is not None and now_s >= self._look_s:
            self._look_s = None
            self._left, self._seen = iter([*store.open_ones()]), {}
        if self._left is not None:
            self._look(self._left)

    def _look_again(self, now_s: float) -> None:
        if self._look_s is None:
            self._look_s = now_s + LOOK_EVERY_S

    def _look(self, groups: Iterator[Group]) -> None:
        count = 0
        for group in islice(groups, _AT_ONCE):
            count += 1
            if group.state == "open":
                self._seen[group.label] = _worse(self._seen, group)
        if count == _AT_ONCE:
            return
        for label in self._worst.keys() | self._seen.keys():
            cost, steps = self._seen.get(label, (0, 0))
            if self._worst.get(label) != (cost, steps):
                self._cost.set(label, cost / 1e12)
                self._steps.set(label, steps)
        self._worst, self._left = self._seen, None


def _worse(known: dict[Label, tuple[int, int]], group: Group) -> tuple[int, int]:
    """Return the worst of an agent with one more run."""
    cost, steps = known.get(group.label, (0, 0))
    return max(cost, group.cost_pico_usd), max(steps, group.steps)

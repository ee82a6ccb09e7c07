"""Budgets, policies and objectives beside the assembly of runs: one place that is told what it is told."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Final

from spanledger.conventions.step import Step
from spanledger.processor.trajectory.attribution import Attribution
from spanledger.processor.trajectory.budgets import Ledger
from spanledger.processor.trajectory.policies import Compliance
from spanledger.processor.trajectory.slo import Objectives

if TYPE_CHECKING:
    from spanledger.processor.component import Host
    from spanledger.processor.trajectory.config import TrajectoryConfig
    from spanledger.processor.trajectory.emitted import Change
    from spanledger.processor.trajectory.group import Group, Label
    from spanledger.processor.trajectory.journal import Journal
    from spanledger.processor.trajectory.outbox import Outbox
    from spanledger.processor.trajectory.recipe import Recipe
    from spanledger.processor.trajectory.records import Record
    from spanledger.processor.trajectory.remembered import Remembered

_MAX_SEEN: Final = 10_000


class Governance:
    """Whatever is configured of it; without any, only closed runs are attributed."""

    def __init__(
        self, config: TrajectoryConfig, recipe: Recipe, host: Host, outbox: Outbox, journal: Journal | None
    ) -> None:
        self._seen: set[Label] = set()
        self._attribution = Attribution(host.metrics, config.dimension_limits())
        self._objectives = Objectives(config.slo, host.metrics)
        self._ledger = Ledger(recipe.budgets, host, outbox, journal) if recipe.budgets else None
        self._compliance = Compliance(recipe.policies, host, outbox) if recipe.policies else None

    def see(self, label: Label) -> None:
        """Create the series of an agent that is seen."""
        if label in self._seen:
            return
        if len(self._seen) >= _MAX_SEEN:
            self._seen.clear()
        self._seen.add(label)
        self._show(label)

    def _show(self, label: Label) -> None:
        self._attribution.see(label)
        self._objectives.see(label)
        if self._compliance is not None:
            self._compliance.see(label)

    def restore(self, remembered: Remembered, groups: Iterable[Group]) -> None:
        """Take up what a former life of the process knew; `groups` are those that are still open."""
        # What closed runs come to is counted; what comes late is counted with their next revision.
        self._attribution.unsafe.forget(remembered.closed)
        if self._ledger is not None:
            self._ledger.restore(remembered.spent, remembered.breaches)
            for group in groups:
                for record in group.records().values():
                    if isinstance(record, Step):
                        self._ledger.note(group, record, quiet=True)
            self._ledger.show()

    def give_up(self) -> tuple[dict[tuple[str, str], int], list[tuple[str, str, str, bytes]]]:
        """Return what was spent and told of, for `restore` of another one."""
        return self._ledger.remembered() if self._ledger is not None else ({}, [])

    def recall(self, group: Group, record: Record) -> None:
        """Take a span that a former life of the process knew, as they came and before `restore`."""
        if isinstance(record, Step):
            self._attribution.unsafe.note(group, record, quiet=True)
        if self._compliance is not None:
            self._compliance.note(record, quiet=True)

    def note(self, group: Group, record: Record) -> None:
        """Take a span that is new."""
        if isinstance(record, Step):
            self._attribution.unsafe.note(group, record)
            if self._ledger is not None:
                self._ledger.note(group, record)
        if self._compliance is not None:
            self._compliance.note(record)

    def lost(self, step: Step) -> None:
        """Take a step that will be in no run."""
        if self._ledger is not None:
            self._ledger.charge(step)

    def close(self, group: Group, changes: Sequence[Change], *, unfinished: bool) -> None:
        """Take the runs of a closed group that are new or different; `unfinished` ones go on after a restart."""
        if not unfinished:
            for change in changes:
                # Anew with each run: series that nobody adds to are taken away after a while.
                self._show((change.run.service_name, change.run.agent_name))
                self._attribution.count(change)
                if self._compliance is not None:
                    self._compliance.close(change.run)
        if self._ledger is not None:
            self._ledger.settle(group, changes, unfinished=unfinished)

    def forget(self, traces: Sequence[bytes]) -> None:
        """Give up what is known of traces that are gone."""
        self._attribution.unsafe.forget(traces)
        if self._ledger is not None:
            self._ledger.forget(traces)
        if self._compliance is not None:
            self._compliance.forget(traces)

    def show(self) -> None:
        """Write the gauges."""
        if self._ledger is not None:
            self._ledger.show()

    def next_look(self) -> float | None:
        """Return when `show` has something new to say although nothing comes."""
        return self._ledger.next_look() if self._ledger is not None else None

    def replace(self, predecessor: Governance) -> None:
        """Write the gauges from now on that another one wrote."""
        predecessor.end()
        if self._ledger is not None:
            self._ledger.show_anew()

    def end(self) -> None:
        """Take away what the next configuration may not have."""
        if self._ledger is not None:
            self._ledger.close()

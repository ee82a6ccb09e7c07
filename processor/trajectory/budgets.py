"""Budgets: what is spent of them, and who is told when that is too much.

A closed run is charged exactly, by what its document says; of a revision the difference. Until then each step
counts as far as it says itself what it cost and whose it is, so that a budget is told of while runs are under way.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Annotated, Final

import pydantic

from spanledger.conventions.budgets import (
    KIND,
    LEVELS,
    Budget,
    Level,
    Per,
    Spent,
    detail,
    findings,
    period_end_ns,
    period_length_s,
    period_of,
)
from spanledger.conventions.run import Finding
from spanledger.conventions.step import Step
from spanledger.conventions.subject import Subject, subject_under_way
from spanledger.conventions.tallies import BUDGET
from spanledger.processor.component import Settings
from spanledger.processor.trajectory import events
from spanledger.processor.trajectory.attribution import added
from spanledger.processor.trajectory.group import cost_of
from spanledger.processor.trajectory.recipe import runs_of

if TYPE_CHECKING:
    from spanledger.conventions.run import Run, Severity
    from spanledger.processor.component import Host
    from spanledger.processor.trajectory.emitted import Change
    from spanledger.processor.trajectory.group import Group
    from spanledger.processor.trajectory.journal import Journal
    from spanledger.processor.trajectory.outbox import Outbox

MAX_BUDGETS: Final = 200
PERIODS_KEPT: Final[Mapping[Per, int]] = {"run": 0, "hour": 48, "day": 35, "month": 3}
"""Of each budget, for spans and revisions that come late."""
SMALL: Final = 200
"""Records of a group up to which it is taken apart into its runs at once."""
_MAX_TOLD: Final = 100_000
_MAX_AGENTS: Final = 64

_Usd = Annotated[float, pydantic.Field(gt=0, le=1e9, allow_inf_nan=False)]
_Count = Annotated[int, pydantic.Field(gt=0)]


class BudgetConfig(Settings):
    """How much some agents, users or teams may spend."""

    name: str = pydantic.Field(min_length=1, max_length=128)
    """What it is called in metrics and events."""
    match: dict[str, str] = pydantic.Field(default_factory=dict, max_length=16)
    """Globs that all have to fit, by `agent_name` (who does it, or whose run it is), `service_name`, `user_id`,
    `provider`, `model`, a dimension, or any attribute of spans and resources, such as `team`. Empty for everything."""
    per: Per
    """What the limits are for. Hours, days and months are those of UTC, and a step is charged to that in which it
    ended."""
    soft_usd: _Usd | None = None
    """US dollars from which on a warning is given."""
    hard_usd: _Usd | None = None
    """US dollars from which on the budget is spent."""
    steps: _Count | None = None
    """Steps that a run may have, with `per: run`."""
    tool_calls: _Count | None = None
    """Tool calls that a run may have, with `per: run`."""

    @pydantic.model_validator(mode="after")
    def _limited(self) -> BudgetConfig:
        if not any((self.soft_usd, self.hard_usd, self.steps, self.tool_calls)):
            raise ValueError(f"budget {self.name!r} has no limit: give it soft_usd or hard_usd")
        if self.per != "run" and (self.steps or self.tool_calls):
            raise ValueError(f"budget {self.name!r}: steps and tool_calls are limits of a run, so set per: run")
        if self.soft_usd and self.hard_usd and self.soft_usd > self.hard_usd:
            raise ValueError(f"budget {self.name!r}: soft_usd is above hard_usd")
        return self

    def budget(self) -> Budget:
        """Return the budget, its money in pico-dollars."""
        return Budget(
            self.name, self.match, self.per, _pico(self.soft_usd), _pico(self.hard_usd), self.steps, self.tool_calls
        )


def _pico(usd: float | None) -> int | None:
    return None if usd is None else round(usd * 1e12)


@dataclass(slots=True)
class _Trace:
    """What is known of one trace of a run under way."""

    spent: Spent = field(default_factory=Spent)
    agents: set[str] = field(default_factory=set)
    periods: dict[tuple[str, str], int] = field(default_factory=dict)
    """(budget, period) -> pico-dollars."""
    of: set[str] = field(default_factory=set)
    """Budgets per run that it is one of."""

    def take(self, spent: Spent, agent_name: str) -> None:
        """Add a step."""
        self.spent = self.spent.plus(spent)
        if agent_name and len(self.agents) < _MAX_AGENTS:
            self.agents.add(agent_name)


class Ledger:
    """What is spent of each budget. One owner; `restore` before anything else."""

    def __init__(self, budgets: Sequence[Budget], host: Host, outbox: Outbox, journal: Journal | None) -> None:
        self._budgets = budgets
        self._host = host
        self._outbox = outbox
        self._journal = journal
        self._settled: dict[tuple[str, str], int] = {}
        """(budget, period) -> pico-dollars of closed runs."""
        self._traces: dict[bytes, _Trace] = {}
        """Of runs under way: what their steps say."""
        self._under_way: dict[tuple[str, str], int] = {}
        """The sum of it for each budget and period."""
        self._dearest: dict[str, int] = {}
        """Budget per run -> what the dearest run under way has spent; found anew when that has ended."""
        self._breached: set[tuple[str, str, Level]] = set()
        self._told: OrderedDict[bytes, dict[tuple[str, Level], bytes]] = OrderedDict()
        """Trace -> limits per run that were told of, with the span that did it."""
        self._limit = host.metrics.gauge("spanledger_budget_limit_usd")
        self._spent = host.metrics.gauge("spanledger_budget_spent_usd")
        self._period_s = host.metrics.gauge("spanledger_budget_period_seconds")
        self._breaches = host.metrics.counter("spanledger_budget_breaches_total")
        self._shown: dict[str, str] = {}
        """Budget -> the period that its gauge is of."""
        for budget in budgets:
            if budget.limit_pico_usd is not None:
                self._limit.set((budget.name,), budget.limit_pico_usd / 1e12)
            for level in LEVELS:
                self._breaches.add((budget.name, level), 0)
        self.show()

    # -- what comes in --

    def restore(self, spent: Mapping[tuple[str, str], int], told: Iterable[tuple[str, str, str, bytes]]) -> None:
        """Take up what a former life of the process had settled and told of."""
        names = {budget.name for budget in self._budgets}
        self._settled = {key: pico for key, pico in spent.items() if key[0] in names}
        for name, period, level, span in told:
            if level in LEVELS and name in names:
                self._remember(name, period, level, span)
        self.show()

    def note(self, group: Group, step: Step, *, quiet: bool = False) -> None:
        """Take a step of a run under way, or one that came late. `quiet`: it was told of before."""
        trace = self._traces.get(step.trace_id)
        if trace is None:
            trace = self._traces[step.trace_id] = _Trace()
        cost = cost_of(step)
        subject = subject_under_way(step, group.label[1])
        trace.take(Spent(cost, int(step.kind != "other"), int(step.kind == "tool")), step.agent_name)
        for budget in self._budgets:
            if budget.per == "run":
                self._look_at_run(budget, group, step, subject, quiet=quiet)
            elif cost and subject.fits(budget.match):
                key = budget.name, period_of(budget.per, step.end_ns)
                trace.periods[key] = trace.periods.get(key, 0) + cost
                self._under_way[key] = self._under_way.get(key, 0) + cost
                self._look(budget, key[1], step, quiet=quiet)

    def charge(self, step: Step) -> None:
        """Take a step that is in no run: it came after its run was forgotten, or its run has all that it may have."""
        cost = cost_of(step)
        for budget in self._budgets if cost else ():
            if budget.per != "run" and subject_under_way(step, "").fits(budget.match):
                self._charge((budget.name, period_of(budget.per, step.end_ns)), cost, step)

    def settle(self, group: Group, changes: Sequence[Change], *, unfinished: bool) -> None:
        """Charge closed runs in place of what their steps said."""
        for trace_id in group.traces:
            trace = self._traces.pop(trace_id, None)
            for key, pico in trace.periods.items() if trace is not None else ():
                self._under_way[key] -= pico
                if not self._under_way[key]:
                    del self._under_way[key]
            for name in trace.of if trace is not None else ():
                self._dearest.pop(name, None)
        if unfinished:  # it goes on after a restart, and is charged then
            return
        for change in changes:
            for tally, pico in added(change):
                if tally[0] == BUDGET:
                    self._charge((tally[1], tally[2]), pico, change.run)
            for finding in change.run.findings:
                if finding.kind == KIND:
                    self._tell_run(change.run, finding)

    def forget(self, traces: Iterable[bytes]) -> None:
        """Give up what is known of traces that are gone."""
        for trace_id in traces:
            if self._told.pop(trace_id, None) is not None and self._journal is not None:
                self._journal.forget_breaches(trace_id)

    # -- time --

    def next_look(self) -> float | None:
        """Return when a period ends that a gauge shows something of; None when there is none."""
        now_ns = self._host.clock_ns()
        ends = [
            period_end_ns(budget.per, now_ns)
            for budget in self._budgets
            if budget.per != "run" and self._total(budget.name, self._shown.get(budget.name, ""))
        ]
        return self._host.monotonic() + (min(ends) - now_ns) / 1e9 if ends else None

    def show(self) -> None:
        """Show what is spent in the periods of this moment."""
        now_ns = self._host.clock_ns()
        for budget in self._budgets:
            if budget.limit_pico_usd is None:
                continue
            period = period_of(budget.per, now_ns)
            if self._shown.get(budget.name) != period:
                self._shown[budget.name] = period
                if period:
                    self._period_s.set((budget.name,), period_length_s(budget.per, now_ns))
                self._prune(budget)
            pico = self._total(budget.name, period) if period else self._find_dearest(budget.name)
            self._spent.set((budget.name,), max(0, pico) / 1e12)

    def close(self) -> None:
        """Take the gauges away: with another configuration there may be other budgets."""
        for budget in self._budgets:
            self._limit.remove((budget.name,))
            self._spent.remove((budget.name,))
            self._period_s.remove((budget.name,))

    # -- sums --

    def _total(self, name: str, period: str) -> int:
        return self._settled.get((name, period), 0) + self._under_way.get((name, period), 0)

    def _find_dearest(self, name: str) -> int:
        if name not in self._dearest:
            spent = [one.spent.pico_usd for one in self._traces.values() if name in one.of]
            self._dearest[name] = max(spent, default=0)
        return self._dearest[name]

    def _charge(self, key: tuple[str, str], pico: int, cause: Step | Run) -> None:
        self._settled[key] = self._settled.get(key, 0) + pico
        if self._journal is not None:
            self._journal.spend(*key, self._settled[key])
        budget = next((one for one in self._budgets if one.name == key[0]), None)
        if budget is not None and pico > 0:
            self._look(budget, key[1], cause)

    def _prune(self, budget: Budget) -> None:
        kept = sorted(period for name, period in self._settled if name == budget.name)[: -PERIODS_KEPT[budget.per]]
        for period in kept if budget.per != "run" else ():
            del self._settled[budget.name, period]
            for level in LEVELS:
                self._breached.discard((budget.name, period, level))
            if self._journal is not None:
                self._journal.forget_period(budget.name, period)

    # -- breaches --

    def _look(self, budget: Budget, period: str, cause: Step | Run, *, quiet: bool = False) -> None:
        """Tell of the limits of a period that are reached, each once."""
        spent = Spent(self._total(budget.name, period))
        for level, limit in budget.passed(spent).items():
            if (budget.name, period, level) in self._breached:
                continue
            self._remember(budget.name, period, level, b"")
            if quiet:
                continue
            finding = Finding(KIND, limit, _severity(level), (), detail(budget, level, spent, period))
            if isinstance(cause, Step):
                place, service, run_id = (cause.trace_id, cause.span_id), cause.service_name, ""
            else:
                place, service, run_id = events.place_of(cause), cause.service_name, cause.run_id
            self._tell(service, finding, run_id, place)

    def _look_at_run(self, budget: Budget, group: Group, step: Step, subject: Subject, *, quiet: bool) -> None:
        """Tell of the limits of a run under way that are reached, each once."""
        traces = [(one, self._traces[one]) for one in group.traces if one in self._traces]
        if not subject.fits(budget.match) or not _is_surely(budget, group, [one for _, one in traces]):
            return
        spent = Spent()
        for _, trace in traces:
            spent = spent.plus(trace.spent)
            trace.of.add(budget.name)
        self._dearest[budget.name] = max(self._find_dearest(budget.name), spent.pico_usd)
        levels = budget.passed(spent)
        if not levels or quiet or all(self._is_told(group, budget.name, level) for level in levels):
            return
        if len(group) > SMALL and group.tops + len(group.missing or ()) > 1:
            return  # it may be several runs, and to take it apart takes too long now
        for run, _ in runs_of(group.records().values()) if len(group) <= SMALL else ((None, None),):
            for finding in findings([budget], run) if run is not None else _findings_of(budget, spent):
                level = finding.detail["level"]
                if not self._is_told(group, budget.name, level):
                    place = (
                        events.place_of(run, finding.steps[-1]) if run is not None else (step.trace_id, step.span_id)
                    )
                    self._remember(budget.name, "", level, place[0] + place[1])
                    self._tell(step.service_name, finding, run.run_id if run is not None else "", place)

    def _is_told(self, group: Group, name: str, level: Level) -> bool:
        return any((name, level) in self._told.get(trace_id, {}) for trace_id in group.traces)

    def _tell_run(self, run: Run, finding: Finding) -> None:
        """Tell of a limit that a closed run has reached, unless that was told while it was under way."""
        name, level = str(finding.detail["budget"]), finding.detail["level"]
        for span in _spans(run):
            if self._told.get(span[:16], {}).get((name, level)) == span:
                return
        place = events.place_of(run, finding.steps[-1] if finding.steps else None)
        self._remember(name, "", level, place[0] + place[1])
        self._tell(run.service_name, finding, run.run_id, place)

    def _remember(self, name: str, period: str, level: Level, span: bytes) -> None:
        if span:
            self._told.setdefault(span[:16], {})[name, level] = span
            if len(self._told) > _MAX_TOLD:
                self._told.popitem(last=False)
        else:
            self._breached.add((name, period, level))
        if self._journal is not None:
            self._journal.breach(name, period, level, span)

    def _tell(self, service_name: str, finding: Finding, run_id: str, place: tuple[bytes, bytes]) -> None:
        self._breaches.add((str(finding.detail["budget"]), str(finding.detail["level"])), 1, place[0])
        self._outbox.put(service_name, events.breached(finding, run_id, self._host.clock_ns(), place))


def _severity(level: Level) -> Severity:
    return "critical" if level == "hard" else "warning"


def _findings_of(budget: Budget, spent: Spent) -> list[Finding]:
    """Return the limits per run that are reached by what is known to be one run."""
    return [
        Finding(KIND, limit, _severity(level), (), detail(budget, level, spent))
        for level, limit in budget.passed(spent).items()
    ]


def _is_surely(budget: Budget, group: Group, traces: Sequence[_Trace]) -> bool:
    """Tell whether a run under way is one of those that a budget is for: its outermost agent ends, and comes, last.

    Until then it is only if all the agents that are at work would be.
    """
    glob = budget.match.get("agent_name", "*")
    if not group.missing:
        return True
    agents = {name for trace in traces for name in trace.agents}
    return glob == "*" or (bool(agents) and all(fnmatchcase(name, glob) for name in agents))


def _spans(run: Run) -> Iterator[bytes]:
    for step in run.steps:
        for span_id in (step.span_id, *step.twins):
            yield bytes.fromhex(step.trace_id) + bytes.fromhex(span_id)

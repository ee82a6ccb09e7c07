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
    finding_of,
    findings,
    period_end_ns,
    period_length_s,
    period_of,
)
from spanledger.conventions.step import Step
from spanledger.conventions.subject import subject_under_way
from spanledger.conventions.tallies import BUDGET
from spanledger.processor.component import Settings
from spanledger.processor.trajectory import events
from spanledger.processor.trajectory.attribution import added
from spanledger.processor.trajectory.group import cost_of
from spanledger.processor.trajectory.matching import Match
from spanledger.processor.trajectory.recipe import runs_of

if TYPE_CHECKING:
    from spanledger.conventions.run import Finding, Run
    from spanledger.processor.component import Host
    from spanledger.processor.trajectory.emitted import Change
    from spanledger.processor.trajectory.group import Group
    from spanledger.processor.trajectory.journal import Journal
    from spanledger.processor.trajectory.outbox import Outbox

MAX_BUDGETS: Final = 200
_HOUR_NS: Final = 3_600 * 10**9
REMEMBERED_NS: Final[Mapping[Per, int]] = {
    "run": 0, "hour": 48 * _HOUR_NS, "day": 35 * 24 * _HOUR_NS, "month": 100 * 24 * _HOUR_NS,
}  # fmt: skip
"""For how long what was spent in a period is known, for spans and revisions that come late."""
_AHEAD_NS: Final = 24 * _HOUR_NS
"""How far the clocks of clients may be ahead of ours."""
SMALL: Final = 200
"""Records of a group up to which it is taken apart into its runs at once."""
_MAX_TOLD: Final = 100_000

_Usd = Annotated[float, pydantic.Field(gt=0, le=1e9, allow_inf_nan=False)]
_Count = Annotated[int, pydantic.Field(gt=0)]


class BudgetConfig(Settings):
    """How much some agents, users or teams may spend."""

    name: str = pydantic.Field(min_length=1, max_length=128)
    """What it is called in metrics and events."""
    match: Match = pydantic.Field(default_factory=dict)
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

    periods: dict[tuple[str, str], int] = field(default_factory=dict)
    """(budget, period) -> pico-dollars."""
    own: dict[str, Spent] = field(default_factory=dict)
    """Budget per run -> what agents spent that it is for."""
    others: dict[str, Spent] = field(default_factory=dict)
    """What others did, or who is not known: it counts too if the run turns out to be one that the budget is for."""
    under_way: dict[str, int] = field(default_factory=dict)
    """Budget per run -> what was said of it last, in pico-dollars."""


class Ledger:
    """What is spent of each budget. One owner; `restore` before anything else."""

    def __init__(self, budgets: Sequence[Budget], host: Host, outbox: Outbox, journal: Journal | None) -> None:
        self._budgets = budgets
        self._by_name = {budget.name: budget for budget in budgets}
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
        self._gauged = [(budget, budget.limit_pico_usd) for budget in budgets if budget.limit_pico_usd is not None]
        for budget in budgets:
            for level in LEVELS:
                self._breaches.add((budget.name, level), 0)
        self.show()

    # -- what comes in --

    def restore(self, spent: Mapping[tuple[str, str], int], told: Iterable[tuple[str, str, str, bytes]]) -> None:
        """Take up what a former life of the process, or another ledger, had settled and told of.

        What is known of runs under way is forgotten: their steps are to be noted anew, quietly.
        """
        for known in (self._traces, self._under_way, self._dearest):
            known.clear()
        for key, pico in spent.items():
            if key[0] in self._by_name:
                self._settled[key] = self._settled.get(key, 0) + pico
        for name, period, level, span in told:
            if level in LEVELS and name in self._by_name:
                self._remember(name, period, level, span)

    def remembered(self) -> tuple[dict[tuple[str, str], int], list[tuple[str, str, str, bytes]]]:
        """Return what `restore` takes."""
        told = [(name, period, str(level), b"") for name, period, level in self._breached]
        told += [(name, "", level, span) for limits in self._told.values() for (name, level), span in limits.items()]
        return dict(self._settled), told

    def note(self, group: Group, step: Step, *, quiet: bool = False) -> None:
        """Take a step of a run under way, or one that came late. `quiet`: no news; the next one tells of limits."""
        trace = self._traces.get(step.trace_id)
        if trace is None:
            trace = self._traces[step.trace_id] = _Trace()
        cost = cost_of(step)
        subject = subject_under_way(step, group.label[1])
        for budget in self._budgets:
            if budget.per == "run":
                self._take(budget, trace, step, cost)
                self._look_at_run(budget, group, step, quiet=quiet)
            elif (
                cost
                and subject.fits(budget.match)
                and (period := self._kept(budget, period_of(budget.per, step.end_ns)))
            ):
                key = budget.name, period
                trace.periods[key] = trace.periods.get(key, 0) + cost
                self._under_way[key] = self._under_way.get(key, 0) + cost
                if not quiet:
                    self._look(budget, key[1], step)

    def charge(self, step: Step) -> None:
        """Take a step that is in no run: it came after its run was forgotten, or its run has all that it may have."""
        cost = cost_of(step)
        for budget in self._budgets if cost else ():
            if budget.per != "run" and subject_under_way(step, "").fits(budget.match):
                self._charge(budget, period_of(budget.per, step.end_ns), cost, step)

    def settle(self, group: Group, changes: Sequence[Change], *, unfinished: bool) -> None:
        """Charge closed runs in place of what their steps said."""
        for trace_id in group.traces:
            self._end(trace_id)
        if unfinished:  # it goes on after a restart, and is charged then
            return
        for change in changes:
            for tally, pico in added(change):
                if tally[0] == BUDGET and tally[1] in self._by_name:
                    self._charge(self._by_name[tally[1]], tally[2], pico, change.run)
            for finding in change.run.findings:
                if finding.kind == KIND:
                    self._tell_run(change.run, finding)

    def forget(self, traces: Iterable[bytes]) -> None:
        """Give up what is known of traces that are gone."""
        for trace_id in traces:
            self._end(trace_id)  # a fault of ours may have kept it from being settled
            if self._told.pop(trace_id, None) is not None and self._journal is not None:
                self._journal.forget_breaches(trace_id)

    def _end(self, trace_id: bytes) -> None:
        """Forget what the steps of a trace said while it was under way."""
        trace = self._traces.pop(trace_id, None)
        if trace is None:
            return
        for key, pico in trace.periods.items():
            self._under_way[key] -= pico
            if not self._under_way[key]:
                del self._under_way[key]
        for name in trace.under_way:
            self._dearest.pop(name, None)

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
        for budget, limit_pico_usd in self._gauged:
            period = period_of(budget.per, now_ns)
            if self._shown.get(budget.name) != period:
                self._shown[budget.name] = period
                self._limit.set((budget.name,), limit_pico_usd / 1e12)
                if period:
                    self._period_s.set((budget.name,), period_length_s(budget.per, now_ns))
                self._prune(budget)
            pico = self._total(budget.name, period) if period else self._find_dearest(budget.name)
            self._spent.set((budget.name,), max(0, pico) / 1e12)

    def show_anew(self) -> None:
        """Write all gauges, which somebody took away."""
        self._shown.clear()
        self.show()

    def close(self) -> None:
        """Take the gauges away, once: with another configuration there may be other budgets."""
        for budget, _ in self._gauged:
            self._limit.remove((budget.name,))
            self._spent.remove((budget.name,))
            self._period_s.remove((budget.name,))
        self._gauged = []

    # -- sums --

    def _total(self, name: str, period: str) -> int:
        return self._settled.get((name, period), 0) + self._under_way.get((name, period), 0)

    def _find_dearest(self, name: str) -> int:
        if name not in self._dearest:
            self._dearest[name] = max((one.under_way.get(name, 0) for one in self._traces.values()), default=0)
        return self._dearest[name]

    def _charge(self, budget: Budget, said: str, pico: int, cause: Step | Run) -> None:
        if not (period := self._kept(budget, said)):
            return
        key = budget.name, period
        self._settled[key] = self._settled.get(key, 0) + pico
        if self._journal is not None:
            self._journal.spend(*key, self._settled[key])
        if pico > 0:
            self._look(budget, period, cause)

    def _kept(self, budget: Budget, period: str) -> str:
        """Return the period to charge: clients set the clocks of spans, so one yet to come is this; "" if long over."""
        now_ns = self._host.clock_ns()
        if period > period_of(budget.per, now_ns + _AHEAD_NS):
            return period_of(budget.per, now_ns)
        return period if period >= period_of(budget.per, now_ns - REMEMBERED_NS[budget.per]) else ""

    def _prune(self, budget: Budget) -> None:
        """Forget periods that are long over."""
        oldest = period_of(budget.per, self._host.clock_ns() - REMEMBERED_NS[budget.per])
        periods = {period for name, period in self._settled if name == budget.name}
        periods |= {period for name, period, _ in self._breached if name == budget.name}
        for period in [one for one in periods if one < oldest]:
            self._settled.pop((budget.name, period), None)
            for level in LEVELS:
                self._breached.discard((budget.name, period, level))
            if self._journal is not None:
                self._journal.forget_period(budget.name, period)

    # -- breaches --

    def _look(self, budget: Budget, period: str, cause: Step | Run) -> None:
        """Tell of the limits of a period that are reached, each once."""
        spent = Spent(self._total(budget.name, period))
        for level, limit in budget.passed(spent).items():
            if (budget.name, period, level) in self._breached:
                continue
            self._remember(budget.name, period, level, b"")
            finding = finding_of(budget, level, limit, spent, period=period)
            if isinstance(cause, Step):
                place, service, run_id = (cause.trace_id, cause.span_id), cause.service_name, ""
            else:
                place, service, run_id = events.place_of(cause), cause.service_name, cause.run_id
            self._tell(service, finding, run_id, place)

    def _take(self, budget: Budget, trace: _Trace, step: Step, cost: int) -> None:
        """Add a step of a run under way to what is known of it, by whether the budget is for its agent."""
        subject = subject_under_way(step, step.agent_name)
        if subject.fits(budget.match):
            into = trace.own
        elif subject.fits({name: glob for name, glob in budget.match.items() if name != "agent_name"}):
            into = trace.others
        else:
            return
        spent = Spent(cost, int(step.kind != "other" and step.attempt == 1), int(step.kind == "tool"))
        into[budget.name] = into.get(budget.name, Spent()).plus(spent)

    def _look_at_run(self, budget: Budget, group: Group, step: Step, *, quiet: bool) -> None:
        """Tell of the limits of a run under way that are reached, each once."""
        traces = [self._traces[one] for one in group.traces if one in self._traces]
        spent = _spent(budget, group, traces)
        for trace in traces:
            trace.under_way[budget.name] = spent.pico_usd
        self._dearest[budget.name] = max(self._find_dearest(budget.name), spent.pico_usd)
        levels = budget.passed(spent)
        if not levels or quiet or all(self._is_told(group, budget.name, level) for level in levels):
            return
        if group.tops + len(group.missing or ()) == 1:  # one run
            for level, limit in levels.items():
                place = step.trace_id, step.span_id
                self._tell_open(group, finding_of(budget, level, limit, spent), step.service_name, "", place)
        elif len(group) <= SMALL:  # of a larger one its documents say it
            for run, _ in runs_of(group.records().values()):
                for finding in findings([budget], run):
                    place = events.place_of(run, finding.steps[-1])
                    self._tell_open(group, finding, run.service_name, run.run_id, place)

    def _tell_open(
        self, group: Group, finding: Finding, service_name: str, run_id: str, place: tuple[bytes, bytes]
    ) -> None:
        name, level = finding.detail["budget"], finding.detail["level"]
        if not self._is_told(group, name, level):
            self._remember(name, "", level, place[0] + place[1])
            self._tell(service_name, finding, run_id, place)

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


def _spent(budget: Budget, group: Group, traces: Sequence[_Trace]) -> Spent:
    """Return what a run under way has spent of a budget, as far as it is sure.

    Whose run it is, is known when the span of its outermost agent comes, last: then all of it may count. Until then
    the steps do that name their agent themselves.
    """
    is_run = not group.missing and fnmatchcase(group.label[1], budget.match.get("agent_name", "*"))
    spent = Spent()
    for trace in traces:
        spent = spent.plus(trace.own.get(budget.name, Spent()))
        if is_run:
            spent = spent.plus(trace.others.get(budget.name, Spent()))
    return spent


def _spans(run: Run) -> Iterator[bytes]:
    for step in run.steps:
        for span_id in (step.span_id, *step.twins):
            yield bytes.fromhex(step.trace_id) + bytes.fromhex(span_id)

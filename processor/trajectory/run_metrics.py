"""Runs as numbers. A run is counted once, when it is closed; what a later revision adds is added, no more.

Counters only grow and histograms take nothing back. So what a revision makes less or different (an outcome
that changed, a cost that fell, a score of ours, two runs that turned out to be one) stays as it was counted, and is
counted in `spanledger_run_corrections_total`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final

from spanledger.conventions.evaluator import PREFIX
from spanledger.processor.trajectory.emitted import name_of

if TYPE_CHECKING:
    from spanledger.conventions.evaluator import Evaluator
    from spanledger.conventions.run import Run
    from spanledger.processor.metric_store import MetricStore
    from spanledger.processor.trajectory.emitted import Change, Emitted
    from spanledger.processor.trajectory.group import Label

_MAX_SEEN: Final = 10_000
_MAX_JUDGED: Final = 1_000
"""Services of which judges are remembered, and of each at most so many:"""
_MAX_JUDGES: Final = 64


class RunMetrics:
    """Counts runs into the `spanledger_run*` metrics."""

    def __init__(self, table: MetricStore, evaluators: Mapping[str, Evaluator]) -> None:
        self._seen: set[Label] = set()
        self._judges: dict[str, set[str]] = {}
        """Service -> names of evaluations from outside: what is judged of one agent may be judged of the others."""
        self._evaluators = evaluators
        self._runs = table.counter("spanledger_runs_total")
        self._cost_total = table.counter("spanledger_run_cost_usd_total")
        self._corrections = table.counter("spanledger_run_corrections_total")
        self._duration = table.histogram("spanledger_run_duration_seconds")
        self._cost = table.histogram("spanledger_run_cost_usd")
        self._steps = table.histogram("spanledger_run_steps")
        self._llm_calls = table.histogram("spanledger_run_llm_calls")
        self._tool_calls = table.histogram("spanledger_run_tool_calls")
        self._depth = table.histogram("spanledger_run_depth")
        self._evaluations = table.counter("spanledger_evaluations_total")
        self._evaluated = table.counter("spanledger_runs_evaluated_total")
        self._evaluated_by = table.counter("spanledger_runs_evaluated_by_name_total")
        self._loops = table.counter("spanledger_loops_total")
        self._wasted = table.counter("spanledger_loop_wasted_cost_usd_total")
        self._score = table.histogram("spanledger_evaluation_score")

    def see(self, label: Label) -> None:
        """Create the series of an agent, so that its first run is an increase."""
        if label in self._seen:
            return
        if len(self._seen) >= _MAX_SEEN:
            self._seen.clear()
        self._seen.add(label)
        service_name, agent_name = label
        self._runs.zeros(service_name=service_name, agent_name=agent_name)
        self._cost_total.zeros(service_name=service_name, agent_name=agent_name)
        self._evaluated.add(label, 0)
        for name in self._judges.get(service_name, ()):
            self._evaluated_by.add((*label, name), 0)
        for name, evaluator in self._evaluators.items():
            for verdict in evaluator.labels:
                self._evaluations.add((*label, PREFIX + name, verdict), 0)

    def count(self, change: Change) -> None:
        """Count a run, or what a revision of it adds."""
        run = change.run
        label = (run.service_name, run.agent_name)
        self.see(label)
        # What a former life of the process told when it ended was not counted then.
        before = [known for known in change.before if known.completeness != "shutdown"]
        if before:
            self._correct(change, before)
        else:
            self._runs.add((*label, run.outcome, run.completeness), 1, _exemplar(run))
            self._observe(run, label)
        cost = (run.totals.cost_pico_usd or 0) - sum(known.cost_pico_usd for known in before)
        if run.totals.cost_pico_usd is not None and cost >= 0:
            self._cost_total.add((*label, run.outcome), cost / 1e12, _exemplar(run))
        elif cost < 0:
            self._corrections.add(("cost",))
        self._count_evaluations(run, change.now, before)

    def count_loop(self, label: Label, rule: str, *, new: bool, wasted_usd: float) -> None:
        """Count a loop that is new, or what it wasted since it was told."""
        self._loops.add((*label, rule), int(new))
        self._wasted.add((*label, rule), max(0.0, wasted_usd))

    def _count_evaluations(self, run: Run, now: Emitted, before: Sequence[Emitted]) -> None:
        """Count each evaluation once, and the run once for each judge from outside."""
        label = (run.service_name, run.agent_name)
        known = {name for told in before for name in told.evaluations}
        scored = {said[0] for told in before for said in told.scores}
        for judged in run.evaluations:
            evaluation = judged.evaluation
            if evaluation.name in scored if judged.basis == "builtin" else name_of(judged) in known:
                continue
            labels = (*label, evaluation.name, evaluation.label or "")
            self._evaluations.add(labels, 1, _exemplar(run))
            if evaluation.score is not None:
                self._score.observe(labels, evaluation.score, _exemplar(run))
        judges = {name for told in before for name in told.judged}
        self._evaluated.add(label, int(bool(now.judged) and not judges), _exemplar(run))
        for name in set(now.judged) - judges:
            self._see_judge(run.service_name, name)
            self._evaluated_by.add((*label, name), 1, _exemplar(run))

    def _see_judge(self, service_name: str, name: str) -> None:
        """Create the series of an evaluation for every agent of its service."""
        if len(self._judges) >= _MAX_JUDGED and service_name not in self._judges:
            self._judges.clear()
        known = self._judges.setdefault(service_name, set())
        if name in known or len(known) >= _MAX_JUDGES:
            return
        known.add(name)
        for label in self._seen:
            if label[0] == service_name:
                self._evaluated_by.add((*label, name), 0)

    def _correct(self, change: Change, before: Sequence[Emitted]) -> None:
        run, first = change.run, before[0]
        if first.outcome != run.outcome:
            self._corrections.add(("outcome",))
        if first.completeness != run.completeness:
            self._corrections.add(("completeness",))
        if first.scores != change.now.scores:
            self._corrections.add(("evaluations",))
        if (first.service_name, first.agent_name) != (run.service_name, run.agent_name):
            self._corrections.add(("agent",))
        self._corrections.add(("runs",), len(before) - 1)

    def _observe(self, run: Run, label: Label) -> None:
        exemplar = _exemplar(run)
        if run.duration_s is not None:
            self._duration.observe(label, run.duration_s, exemplar)
        if run.totals.cost_pico_usd is not None:
            self._cost.observe(label, run.totals.cost_pico_usd / 1e12, exemplar)
        self._steps.observe(label, run.totals.steps, exemplar)
        self._llm_calls.observe(label, run.totals.llm_calls, exemplar)
        self._tool_calls.observe(label, run.totals.tool_calls, exemplar)
        self._depth.observe(label, run.totals.max_depth, exemplar)


def _exemplar(run: Run) -> bytes | None:
    return bytes.fromhex(run.trace_ids[0]) if run.trace_ids else None

"""From the records of a group to its runs as they are told: built, searched for loops, and judged. Pure."""

from __future__ import annotations

from collections.abc import Callable, Collection, Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from spanledger.conventions import budgets, policies
from spanledger.conventions.evaluator import Course, evaluate
from spanledger.conventions.loops import LoopRules, ceilings, find, progress_of
from spanledger.conventions.loops.timeline import better
from spanledger.conventions.safety import findings as safety
from spanledger.conventions.step import Step
from spanledger.conventions.tallies import tallies
from spanledger.conventions.trajectory import build
from spanledger.conventions.trajectory.assemble import building, dividing
from spanledger.conventions.trajectory.outcome import TERMINAL_TOOLS
from spanledger.processor.batch import finish
from spanledger.processor.trajectory.edges import edges

if TYPE_CHECKING:
    from spanledger.conventions.budgets import Budget
    from spanledger.conventions.evaluator import Evaluator, Usual
    from spanledger.conventions.loops import Loop
    from spanledger.conventions.policies import Policy
    from spanledger.conventions.run import Completeness, Outcome, Run
    from spanledger.conventions.tallies import Key
    from spanledger.conventions.trajectory import Judgement
    from spanledger.processor.trajectory.group import Label
    from spanledger.processor.trajectory.records import Record


@dataclass(frozen=True, slots=True)
class Recipe:
    """What the configuration says of how runs are made."""

    stitch: frozenset[str]
    stitch_window_s: float
    rules: LoopRules | None = None
    """Of loops; None when nobody is to look."""
    evaluators: Mapping[str, Evaluator] = field(default_factory=dict)
    terminal_tools: Mapping[str, Outcome] = field(default_factory=lambda: TERMINAL_TOOLS)
    budgets: tuple[Budget, ...] = ()
    policies: tuple[Policy, ...] = ()
    dimensions: tuple[str, ...] = ()
    """Those that costs are told apart by."""

    def tallies(self, run: Run) -> dict[Key, int]:
        """Return what is counted of a run beyond its totals."""
        return tallies(run, self.dimensions, self.budgets)

    def runs(
        self,
        records: Collection[Record],
        completeness: Completeness,
        *,
        judgements: Iterable[Judgement] = (),
        told: Iterable[Loop] = (),
        usual: Callable[[Label], Usual | None] = lambda _: None,
    ) -> tuple[Run, ...]:
        """Return the runs of a group. `told` are loops told while it was open, `usual` says what agents did before."""
        return finish(self.making(records, completeness, judgements=judgements, told=told, usual=usual))

    def making(
        self,
        records: Collection[Record],
        completeness: Completeness,
        *,
        judgements: Iterable[Judgement] = (),
        told: Iterable[Loop] = (),
        usual: Callable[[Label], Usual | None] = lambda _: None,
    ) -> Generator[None, None, tuple[Run, ...]]:
        """Do the same with pauses."""
        built = yield from building(
            records,
            links=edges(records, self.stitch, self.stitch_window_s),
            evaluations=judgements,
            completeness=completeness,
            terminal_tools=self.terminal_tools,
        )
        by_span = _by_span(records)
        passed = [loop for loop in told if loop.kind == "ceiling"]
        runs = []
        for run in built:
            yield
            steps = steps_of(run, by_span)
            found = run if self.rules is None else _with_findings(run, steps, self.rules, passed)
            yield
            runs.append(self._judged(self._governed(found), steps, usual))
        return tuple(runs)

    def _governed(self, run: Run) -> Run:
        """Add what its policies do not allow, the budgets that it passed, and what its spans say of safety."""
        found = (*policies.findings(self.policies, run), *budgets.findings(self.budgets, run), *safety.findings(run))
        return replace(run, findings=(*run.findings, *found)) if found else run

    def _judged(self, run: Run, steps: Sequence[Step], usual: Callable[[Label], Usual | None]) -> Run:
        """Add what the built-in evaluators say, once the run is over."""
        if not self.evaluators or run.completeness == "open":
            return run
        before = usual((run.service_name, run.agent_name))
        course = Course(run, steps, before, self.rules or LoopRules(), self.terminal_tools)
        return replace(run, evaluations=(*run.evaluations, *evaluate(course, self.evaluators)))


def steps_of(run: Run, by_span: Mapping[tuple[str, str], Step]) -> list[Step]:
    """Return the steps of a run as they came, other reports of the same work included."""
    spans = ((one.trace_id, span_id) for one in run.steps for span_id in (one.span_id, *one.twins))
    return [by_span[span] for span in spans if span in by_span]


def runs_of(records: Collection[Record]) -> list[tuple[Run, list[Step]]]:
    """Return the runs of a group that is still open, with the steps of each."""
    by_span = _by_span(records)
    return [(run, steps_of(run, by_span)) for run in build(records)]


def parts_of(records: Collection[Record]) -> list[tuple[str, list[Step]]]:
    """Return the same as far as it goes without building the runs: their ids, and the steps of each in no order."""
    by_span = _by_span(records)
    parts = []
    for draft in finish(dividing(records)):
        nodes = [node for node in draft.nodes if node.step is not None]
        names = (
            (node.record.trace_id.hex(), one.record.span_id.hex()) for node in nodes for one in (node, *node.twins)
        )
        parts.append((draft.name, [by_span[name] for name in names if name in by_span]))
    return parts


def _by_span(records: Iterable[Record]) -> dict[tuple[str, str], Step]:
    """Return the steps by their ids; of several with the same the better one, in whichever order they came."""
    found: dict[tuple[str, str], Step] = {}
    for record in records:
        if isinstance(record, Step):
            name = record.trace_id.hex(), record.span_id.hex()
            found[name] = better(found.get(name, record), record)
    return found


def _with_findings(run: Run, steps: Sequence[Step], rules: LoopRules, passed: Collection[Loop]) -> Run:
    """Add what is found. Of what was told before, those count that depend on other runs: ceilings."""
    loops = {loop.fingerprint: loop for loop in (*find(steps, rules), *ceilings(rules, progress_of(run)))}
    if not loops and not passed:
        return run
    indexes = {
        (bytes.fromhex(one.trace_id), bytes.fromhex(span_id)): one.index
        for one in run.steps
        for span_id in (one.span_id, *one.twins)
    }
    for loop in passed:
        if any(span in indexes for span in loop.spans):
            loops.setdefault(loop.fingerprint, loop)
    if not loops:
        return run
    return replace(run, findings=(*run.findings, *(loop.finding(indexes) for loop in loops.values())))

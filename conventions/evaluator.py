"""What an evaluator is: a pure function from a closed run to a score between 0 and 1, or to nothing.

An evaluator says nothing where the run has nothing to judge, or where what it needs was not seen: a score that
was made up would be worse than none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Final

from spanledger.conventions.detail import Evaluation
from spanledger.conventions.loops.rules import LoopRules
from spanledger.conventions.run import RunEvaluation
from spanledger.conventions.step import altered
from spanledger.conventions.trajectory.outcome import TERMINAL_TOOLS

if TYPE_CHECKING:
    from spanledger.conventions.detail import Detail
    from spanledger.conventions.run import Outcome, Run, RunStep
    from spanledger.conventions.step import Step

PREFIX: Final = "spanledger."
"""Of the names of built-in evaluations: nobody else's judge has it, so they need no other mark."""


@dataclass(frozen=True, slots=True)
class Usual:
    """What an agent's earlier successful runs were like."""

    runs: int
    """How many there were."""
    steps: float
    """The median of their steps."""


@dataclass(frozen=True)
class Course:
    """A run that is over, and what evaluators need beyond its document."""

    run: Run
    steps: Sequence[Step] = ()
    """Its spans, other reports of the same work included, in any order."""
    usual: Usual | None = None
    """What its agent did before; None where nothing is known of it."""
    rules: LoopRules = field(default_factory=LoopRules)
    """Which tools may poll."""
    terminal_tools: Mapping[str, Outcome] = field(default_factory=lambda: TERMINAL_TOOLS)
    """Tool -> what its call means, if it is the last of a run."""

    def details(self, step: RunStep) -> Iterator[Detail]:
        """Yield what the reports of a step say, its own first."""
        for span_id in (step.span_id, *step.twins):
            span = self._spans.get((step.trace_id, span_id))
            if span is not None and span.detail is not None:
                yield span.detail

    def attributed(self) -> Iterator[Step]:
        """Yield its spans, each with the agent that the run says did it."""
        for step in self.run.steps:
            for span_id in (step.span_id, *step.twins):
                span = self._spans.get((step.trace_id, span_id))
                if span is not None:
                    known = span.agent_name or not step.agent_name
                    yield span if known else altered(span, agent_name=step.agent_name or "")

    @cached_property
    def _spans(self) -> dict[tuple[str, str], Step]:
        return {(one.trace_id.hex(), one.span_id.hex()): one for one in self.steps}


@dataclass(frozen=True, slots=True)
class Verdict:
    """What an evaluator says of a run, or of one step of it."""

    score: float
    """0 to 1, more is better."""
    label: str
    """The verdict in a word, one of the evaluator's `labels`."""
    explanation: str
    """What the score rests on: counts and names, never content."""
    step: int | None = None


@dataclass(frozen=True, slots=True)
class Evaluator:
    """One evaluator. Its module's docstring says where its definition comes from."""

    labels: tuple[str, ...]
    """Every label it gives: a closed set, for it becomes one in metrics."""
    judge: Callable[[Course], Verdict | None]
    """Judge a run; None where there is nothing to judge, or not enough was seen."""


def evaluate(course: Course, evaluators: Mapping[str, Evaluator]) -> tuple[RunEvaluation, ...]:
    """Return what the evaluators (by their names) say of a run, those that say anything, in their order."""
    found = []
    for name, evaluator in evaluators.items():
        verdict = evaluator.judge(course)
        if verdict is not None:
            said = Evaluation(PREFIX + name, verdict.score, verdict.label, verdict.explanation)
            found.append(RunEvaluation(said, verdict.step, "builtin"))
    return tuple(found)


def share(part: int, whole: int, labels: tuple[str, str, str], explanation: str) -> Verdict:
    """Return the verdict that `part` of `whole` (> 0) is; `labels` are those of all, of some and of none."""
    label = labels[0] if part == whole else labels[1] if part else labels[2]
    return Verdict(part / whole, label, explanation)

"""How direct the way to success was: the usual number of steps over the steps it took, at most 1.

Usual is the median of the agent's own successful runs that were closed before this one. Absent for a run that did not
succeed or is not known whole, and while fewer than `MIN_RUNS` such runs were seen since the process began.

Source: the term of a successful episode in SPL, success weighted by path length, L / max(L, P), of Anderson et al.,
"On Evaluation of Embodied Navigation Agents", https://arxiv.org/abs/1807.06757 (2018). There L is the shortest path;
what an agent's shortest path is nobody knows, so L is what the agent usually needs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from spanledger.conventions.evaluator import Evaluator, Verdict

if TYPE_CHECKING:
    from spanledger.conventions.evaluator import Course

LABELS: Final = ("usual", "longer")
MIN_RUNS: Final = 10
_USUAL: Final = 0.8
"""A run of up to a quarter more steps than the median is nothing unusual."""


def judge(course: Course) -> Verdict | None:
    """Return the usual steps over the steps of this run."""
    run, usual = course.run, course.usual
    if run.outcome != "success" or run.completeness != "complete" or usual is None or usual.runs < MIN_RUNS:
        return None
    taken = run.totals.steps
    if usual.steps <= 0 or taken <= 0:
        return None
    score = usual.steps / max(usual.steps, taken)
    said = f"{taken} steps; the median of {usual.runs} earlier successful runs is {usual.steps:g}"
    return Verdict(score, LABELS[0] if score >= _USUAL else LABELS[1], said)


EVALUATOR: Final = Evaluator(LABELS, judge)

"""Whether the run ended as one that reached its goal: what it says itself, by the first of these that is there.

1. An outcome that the application wrote (`explicit_…`).
2. A tool whose call is the end, as the last thing that was done or asked for (`finished`, `gave_up`).
3. An error that ended the run (`error`).
4. The last answer of a model: refused or filtered (`refused`), cut off at the token limit (`truncated`), or an
   answer that asks for nothing more (`answered`).

It is a signal and no proof: an answer may be wrong. Absent where nothing tells, as in a run that was not seen to
end or whose last answer asks for tools that nobody ran.

Source: a deterministic stand-in for task completion as https://langfuse.com/resources/engineering/ai-agent-evaluation
describes it (2026). Finishing by a tool is ReAct's `Finish`, Yao et al., https://arxiv.org/abs/2210.03629 (2022); why
an answer ended are the finish reasons of the OTel GenAI conventions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from spanledger.conventions.evaluator import Evaluator, Verdict
from spanledger.conventions.same_tool import bare

if TYPE_CHECKING:
    from spanledger.conventions.evaluator import Course
    from spanledger.conventions.run import Outcome, RunStep

LABELS: Final = (
    "explicit_success", "explicit_partial", "explicit_failure", "finished", "gave_up", "error", "refused", "truncated",
    "answered",
)  # fmt: skip

_SCORES: Final[dict[Outcome, float]] = {"success": 1.0, "partial": 0.5, "failure": 0.0}
_REFUSED: Final = frozenset({"refusal", "content_filter"})
_ENDED: Final = frozenset({"complete", "rootless", "idle"})


def judge(course: Course) -> Verdict | None:
    """Return 1 where the run ended as one that reached its goal, 0 where it ended otherwise."""
    run = course.run
    if run.outcome_basis == "explicit":
        if run.outcome not in _SCORES:
            return None
        return Verdict(_SCORES[run.outcome], f"explicit_{run.outcome}", "the application says so")
    if run.completeness not in _ENDED:
        return None
    last = next((step for step in reversed(run.steps) if step.kind in ("llm", "tool")), None)
    meant = _terminal(last, course) if last is not None else None
    if meant is not None and last is not None:
        label = "gave_up" if meant == "failure" else "finished"
        return Verdict(_SCORES.get(meant, 0.0), label, f"by its last call, of {_last_tool(last)}", last.index)
    if (broken := _broken(course)) is not None:
        what = f"step {broken.index} ({broken.kind}) ended with {broken.error_type or 'an error'}"
        return Verdict(0.0, "error", what, broken.index)
    if last is None or last.kind != "llm" or last.asks:
        return None
    return _of_answer(last, course)


def _terminal(last: RunStep, course: Course) -> Outcome | None:
    meant = course.terminal_tools.get(_last_tool(last))
    return "failure" if meant is not None and last.status == "error" else meant


def _last_tool(last: RunStep) -> str:
    """Return the tool that was run last, or that the last answer asks for: frameworks take some for an answer."""
    return bare(last.tool_name or "") if last.kind == "tool" else bare(last.asks[-1]) if last.asks else ""


def _broken(course: Course) -> RunStep | None:
    """Return the step whose error ended the run."""
    run = course.run
    if run.outcome != "failure" or run.outcome_basis != "status":
        return None
    return next((run.steps[index] for index in reversed(run.failure_chain)), None) or next(
        (step for step in reversed(run.steps) if step.status == "error"), None
    )


def _of_answer(last: RunStep, course: Course) -> Verdict | None:
    finish = next((detail.finish for detail in course.details(last) if detail.finish), "")
    if finish in _REFUSED:
        return Verdict(0.0, "refused", f"the last answer ended with {finish}", last.index)
    if finish == "length":
        return Verdict(0.0, "truncated", "the last answer was cut off at the token limit", last.index)
    if finish == "stop" or (not finish and any(detail.output is not None for detail in course.details(last))):
        return Verdict(1.0, "answered", "the last answer asks for nothing more", last.index)
    return None


EVALUATOR: Final = Evaluator(LABELS, judge)

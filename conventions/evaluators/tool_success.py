"""How many of the tool calls succeeded: the share that did not end with an error.

Each attempt is a call. What counts as an error is what the span says; a tool that reports a failure in the text of
its result has succeeded here. Tools that only messages tell of do not count, for these do not say how it went. Absent
where no tool call was seen as a span.

Source: the grader `tool-success-rate` of GitHub's agentic workflows ("fraction of tool calls that succeeded"),
https://github.github.com/gh-aw/experimental/trace-graders/ (2026).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from spanledger.conventions.evaluator import Evaluator, Verdict, share

if TYPE_CHECKING:
    from spanledger.conventions.evaluator import Course

LABELS: Final = ("all_succeeded", "some_failed", "all_failed")


def judge(course: Course) -> Verdict | None:
    """Return the share of tool calls that succeeded."""
    calls = [step for step in course.run.steps if step.kind == "tool" and step.span_id]
    if not calls:
        return None
    good = sum(step.status == "ok" for step in calls)
    return share(good, len(calls), LABELS, f"{good} of {len(calls)} tool calls succeeded")


EVALUATOR: Final = Evaluator(LABELS, judge)

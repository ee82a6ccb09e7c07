"""How many errors were overcome: the share of failures after which the same was tried again and succeeded.

Failures of one tool of one agent in a row are one; so are those of an agent's model calls, and of an agent that
another one called. Each is overcome when the same tool, model or agent succeeds later, with whatever arguments.
Another way to the goal is not recognised. Absent where nothing failed.

Source: the recovery rate of agents after tools that fail, as in ToolMaze's perturbation recovery rate, Zhu et al.,
"When Tools Fail: Benchmarking Dynamic Replanning and Anomaly Recovery in LLM Agents", https://arxiv.org/abs/2606.05806
(2026). There it is known where the fault was injected and whether the task succeeded; here each explicit error is
looked at by itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from spanledger.conventions.evaluator import Evaluator, Verdict, share

if TYPE_CHECKING:
    from spanledger.conventions.evaluator import Course
    from spanledger.conventions.run import RunStep

LABELS: Final = ("recovered", "partly", "not_recovered")
_WHAT: Final = {"tool": "tool", "llm": "model", "agent": "agent", "retrieval": "retrieval", "embedding": "embedding"}
_NAMED: Final = 5


def judge(course: Course) -> Verdict | None:
    """Return the share of failures that were overcome."""
    failing: dict[tuple[str, str, str], None] = {}
    """What has failed and not succeeded since, in order."""
    failures = 0
    for step in course.run.steps:
        what = _what(step)
        if what is None:
            continue
        if step.status == "ok":
            failing.pop(what, None)
        elif what not in failing:
            failing[what] = None
            failures += 1
    if not failures:
        return None
    good = failures - len(failing)
    said = f"{good} of {failures} failures were overcome"
    if failing:
        said += "; not: " + ", ".join(" ".join(filter(None, what[:2])) for what in list(failing)[:_NAMED])
    return share(good, failures, LABELS, said)


def _what(step: RunStep) -> tuple[str, str, str] | None:
    """Return what would have to succeed; None for the run itself and for what is no attempt at anything."""
    if step.kind not in _WHAT or not step.span_id or (step.kind == "agent" and step.parent is None):
        return None
    if step.kind == "agent":
        return _WHAT[step.kind], step.agent_name or step.name, ""
    return _WHAT[step.kind], (step.tool_name or step.name) if step.kind == "tool" else "", step.agent_name or ""


EVALUATOR: Final = Evaluator(LABELS, judge)

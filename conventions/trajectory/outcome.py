"""How a run ended, and by what that is known.

In this order: what the application says (`explicit`), what a judge of the whole run says (`evaluation`), a tool
whose call is the end (`terminal_tool`), and the status of the last things that happened (`status`).

Status alone is careful: an error that was dealt with (a tool's that the model answered, a call's that was tried
again) is none, a root that says nothing does not make a success of a run whose last call failed, and a run
without an end that was seen has no outcome yet.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from spanledger.conventions.run import Outcome, OutcomeBasis, RunEvaluation
    from spanledger.conventions.trajectory.calls import Attempts, Joins
    from spanledger.conventions.trajectory.order import Placed

TERMINAL_TOOLS: Final[Mapping[str, Outcome]] = {
    "final_answer": "success",
    "final_result": "success",
    "submit": "success",
    "submit_answer": "success",
    "finish": "success",
    "finish_task": "success",
    "complete_task": "success",
    "task_complete": "success",
    "attempt_completion": "success",
    "give_up": "failure",
}
"""Tool -> what its call means, if it is the last of a run. Names as smolagents, PydanticAI, SWE-agent, OpenHands
and Cline have them."""

GOALS: Final = (
    "goal", "task_completion", "task_success", "task_adherence", "completion", "success", "outcome", "resolved",
    "correctness",
)  # fmt: skip
"""Evaluations with one of these in their name judge a run as a whole."""

_WORDS: Final[Mapping[Outcome, str]] = {
    "success": "pass passed success succeeded successful correct resolved true yes complete completed achieved",
    "failure": "fail failed failure incorrect unresolved false no incomplete not_achieved wrong",
    "partial": "partial partially_correct partially_completed mixed",
}
_VERDICTS: Final[Mapping[str, Outcome]] = {word: outcome for outcome, words in _WORDS.items() for word in words.split()}
_PASSED: Final = 0.5


def explicit(steps: Sequence[Placed], root: int | None) -> Outcome | None:
    """Return what the application says of the run: on its root, else on the last of its topmost agents."""
    tops = [step for step in steps if step.index == root or (step.is_runner and step.depth == 0)]
    said = [step for step in tops if step.detail is not None and step.detail.outcome]
    if not said:
        return None
    last = next((step for step in said if step.index == root), said[-1])
    word = last.detail.outcome if last.detail is not None else ""
    return _VERDICTS.get(word) or ("unknown" if word == "unknown" else None)


def judged(evaluations: Iterable[RunEvaluation], root: int | None) -> Outcome | None:
    """Return what judges of the whole run say together."""
    verdicts = set()
    for one in evaluations:
        name = one.evaluation.name.lower()
        if one.step not in (None, root) or not any(goal in name for goal in GOALS):
            continue
        label = (one.evaluation.label or "").lower().replace(" ", "_")
        if label in _VERDICTS:
            verdicts.add(_VERDICTS[label])
        elif one.evaluation.score is not None:
            verdicts.add("success" if one.evaluation.score >= _PASSED else "failure")
    if not verdicts:
        return None
    return verdicts.pop() if len(verdicts) == 1 else "partial"


def decide(
    steps: Sequence[Placed],
    attempts: Attempts,
    joins: Joins,
    evaluations: Iterable[RunEvaluation],
    terminal_tools: Mapping[str, Outcome],
    root: int | None,
    *,
    ended: bool,
    rootless: bool,
) -> tuple[Outcome, OutcomeBasis]:
    """Return the outcome of a run and its basis.

    `root`: the step that all is the work of, if there is one. `ended`: nothing more is to come.
    `rootless`: a span above it is missing.
    """
    if (said := explicit(steps, root)) is not None:
        return said, "explicit"
    if (verdict := judged(evaluations, root)) is not None:
        return verdict, "evaluation"
    if (meant := _terminal(steps, terminal_tools)) is not None:
        return meant, "terminal_tool"
    outcome = _by_status(steps, attempts, joins, root, ended=ended, rootless=rootless)
    return outcome, "none" if outcome == "unknown" else "status"


def _terminal(steps: Sequence[Placed], terminal_tools: Mapping[str, Outcome]) -> Outcome | None:
    last = next((step for step in reversed(steps) if step.is_call or step.step.kind == "tool"), None)
    if last is None or last.step.kind != "tool" or last.step.tool_name not in terminal_tools:
        return None
    return "failure" if last.step.status == "error" else terminal_tools[last.step.tool_name]


def _by_status(
    steps: Sequence[Placed], attempts: Attempts, joins: Joins, root: int | None, *, ended: bool, rootless: bool
) -> Outcome:
    if root is not None and steps[root].step.status == "error":
        return "failure"
    if last_failure(steps, attempts, joins) is not None:
        return "failure"
    if root is not None and not steps[root].is_call:
        return "success"
    return "success" if ended and _answered(steps, rootless=rootless) else "unknown"


def last_failure(steps: Sequence[Placed], attempts: Attempts, joins: Joins) -> int | None:
    """Return the last failed step that nothing came after to deal with it; None when all were dealt with."""
    if all(step.step.status == "ok" for step in steps):
        return None
    repeated = set(attempts.follows.values())
    good_calls = [step for step in steps if step.is_call and step.step.status == "ok" and not step.node.hidden]
    last_call = max((step.start for step in good_calls), default=0)
    last_tool = max(
        (step.start for step in steps if step.step.kind in _HANDLERS and step.step.status == "ok"), default=0
    )
    blind = not any(step.is_call for step in steps)
    for step in reversed(steps):
        if step.step.status == "ok" or step.index in repeated or step.end <= last_call:
            continue
        runs_on = step.scope is not None and steps[step.scope].step.status == "ok"
        kind = step.step.kind
        if kind == "tool":
            reader, asker = joins.read_by.get(step.index), _asker(steps, step, joins)
            if reader is not None and steps[reader].step.status == "ok":
                continue
            if asker is not None and steps[asker].step.status == "ok" and steps[asker].end > step.end:
                continue  # one span of several calls, the last of which dealt with it
            if blind and (runs_on or step.end <= last_tool):
                continue  # the model that dealt with it is not seen
        elif _kept_going(steps, step) or (runs_on and kind not in _DECISIVE and not step.is_call):
            continue
        return step.index
    return None


def _asker(steps: Sequence[Placed], tool: Placed, joins: Joins) -> int | None:
    """Return the call that asked for a tool, or that it was run below: one span of several calls runs tools itself."""
    if (asker := joins.requested_by.get(tool.index)) is not None:
        return asker
    return tool.parent if tool.parent is not None and steps[tool.parent].is_call else None


def _kept_going(steps: Sequence[Placed], call: Placed) -> bool:
    """Tell whether a call failed below work on a memory, which did without it, or below one that has another answer."""
    above = None if call.parent is None else steps[call.parent].step
    if not call.is_call or above is None or above.status != "ok":
        return False
    answers = {call.step.response_id, above.response_id} - {"", None}
    return above.kind == "memory" or (len(answers) == 2 and above.kind == call.step.kind)


_HANDLERS: Final = frozenset({"tool", "human"})
_DECISIVE: Final = frozenset({"agent", "workflow", "other", "retrieval"})


def _answered(steps: Sequence[Placed], *, rootless: bool) -> bool:
    """Tell whether the last thing that was seen is an answer."""
    last = next(
        (step for step in reversed(steps) if step.step.kind == "tool" or (step.is_call and not step.node.hidden)), None
    )
    if last is None or not last.is_call:
        return False
    detail = last.detail
    if detail is None or not (detail.answer or detail.requests):
        # Nobody says what was answered. A call whose caller never came may have been any.
        return not rootless
    return not detail.requests

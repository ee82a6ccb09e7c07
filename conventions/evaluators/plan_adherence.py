"""How much of its plan the agent did. Absent where no plan is seen.

Where the agent keeps its plan with a tool (a to-do list whose items have a status, see `details/plans.py`), the share
of items that are done in its last state; items that were given up do not count. Of several agents with plans, all
items together.

Otherwise, where a planning step has text (`content: full`), the items of its last list that name a tool or an
agent: how many of those were done later, in that order, the longest way to count. An item that names nothing
cannot be checked, and fewer than two that do are no plan.

Source: what is judged is that of DeepEval's Plan Adherence, https://deepeval.com/docs/metrics-plan-adherence, which
asks a model; how it is counted, the longest increasing subsequence of planned actions, is that of the PLAN task of
T-Eval, Chen et al., https://arxiv.org/abs/2312.14033 (2023).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Final

from spanledger.conventions.evaluator import Evaluator, Verdict, share
from spanledger.conventions.same_tool import bare

if TYPE_CHECKING:
    from spanledger.conventions.evaluator import Course
    from spanledger.conventions.run import RunStep

LABELS: Final = ("followed", "partly", "not_followed")

MAX_ITEMS: Final = 64
"""Of a plan in text."""
MAX_CHARS: Final = 32_768

# Bounded, and blanks are no line breaks: nobody's text makes it look twice at the same place.
_ITEM: Final = re.compile(r"(?im)^[ \t]*(?:[-*+•]|\(?\d{1,3}[.):]|step \d{1,3}[.):]?)[ \t]+(\S.{0,299})")
_NAME: Final = re.compile(r"[^\W\d]\w*")
_IDENTIFIER: Final = re.compile(r"[a-z0-9]+(?:_[a-z0-9]+)+|[a-z]+(?:[A-Z][a-z0-9]+)+")
"""`search_flights`, `searchFlights`: no words of prose, so names of tools even if these were never called."""


def judge(course: Course) -> Verdict | None:
    """Return the share of the plan that was done."""
    return _by_status(course) or _by_text(course)


def _by_status(course: Course) -> Verdict | None:
    plans: dict[str | None, tuple[int, int]] = {}
    """Agent -> its plan as it was last."""
    for step in course.run.steps:
        if step.kind == "tool" and step.status == "ok":
            plan = next((detail.plan for detail in course.details(step) if detail.plan is not None), None)
            if plan is not None:
                plans[step.agent_name] = plan
    done, whole = (sum(counts) for counts in zip(*plans.values(), strict=True)) if plans else (0, 0)
    if not whole:
        return None
    return share(done, whole, LABELS, f"{done} of {whole} items of the plan are done in its last state")


def _by_text(course: Course) -> Verdict | None:
    planned = [(step, items) for step in course.run.steps if step.kind == "plan" and (items := _items(step))]
    if not planned:
        return None
    plan, items = planned[-1]
    after = [name for step in course.run.steps[plan.index + 1 :] if (name := _doer(step))]
    names = [found for item in items if (found := _named(item, set(after)))]
    if len(names) < 2:
        return None
    done = _in_order(names, after)
    said = f"{done} of {len(names)} items of the plan that name a tool or an agent were done, in that order"
    return share(done, len(names), LABELS, said)


def _items(plan: RunStep) -> list[str]:
    text = (plan.output or "")[:MAX_CHARS]
    # Within JSON, line breaks are written out, and a quotation mark comes before the first line.
    return _ITEM.findall(text.replace("\\n", "\n").replace('"', "\n"))[:MAX_ITEMS]


def _doer(step: RunStep) -> str:
    if step.kind == "tool":
        return bare(step.tool_name or step.name).lower()
    return step.agent_name.lower() if step.kind == "agent" and step.agent_name else ""


def _named(item: str, doers: Iterable[str]) -> frozenset[str]:
    """Return what an item of a plan may be done by: the tools and agents it names."""
    words = {word.lower() for word in _NAME.findall(item)}
    known = frozenset(doer for doer in doers if doer in words)
    return known or frozenset(word.lower() for word in _IDENTIFIER.findall(item))


def _in_order(planned: Sequence[frozenset[str]], done: Sequence[str]) -> int:
    """Return the length of the longest common subsequence: how many items were done in the plan's order."""
    best = [0] * (len(done) + 1)
    for names in planned:
        row = [0]
        for place, name in enumerate(done):
            row.append(best[place] + 1 if name in names else max(row[place], best[place + 1]))
        best = row
    return best[-1]


EVALUATOR: Final = Evaluator(LABELS, judge)

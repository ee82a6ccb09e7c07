"""How many of the tool calls were needed: 1 less the share of those whose result was known before.

A call is redundant when the same agent made it before with the same arguments (compared in canonical form), for
the same request of the user, and it succeeded and was over by then, and

* the same came back again; or
* what came back is not seen, and the agent called nothing else in between.

A call that says something else than before was worth making, and so is one that failed before. Tools that poll
by name (`loops::polling_tools`) may repeat. Of stacks without tool spans, the calls that the model asked for
count. Absent where no call says its arguments.

Source: Sentry's detector of redundant tool calls, https://github.com/getsentry/sentry/pull/120620 (2026-07): same
tool, equivalent arguments, overlapping results, nothing in between that changed what the agent could see; retries
after errors and polling left out.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final

from spanledger.conventions.evaluator import Evaluator, Verdict
from spanledger.conventions.loops.timeline import TOOLS, Act, looked_at, timeline

if TYPE_CHECKING:
    from spanledger.conventions.evaluator import Course

LABELS: Final = ("no_repeats", "repeats")
_NAMED: Final = 5


def judge(course: Course) -> Verdict | None:
    """Return 1 less the share of calls whose result was known."""
    if not any(step.kind in TOOLS or step.asks for step in course.run.steps):
        return None
    repeats: Counter[str] = Counter()
    total = 0
    for events in timeline(looked_at(course.attributed())).by_agent():
        known: dict[tuple[object, ...], Act] = {}
        last: Act | None = None
        for _, act in events:
            if not isinstance(act, Act) or act.arguments is None:
                continue
            total += 1
            identity = (act.turn, act.signature)
            before = known.get(identity)
            if before is not None and _adds_nothing(act, before, last) and not course.rules.is_polling(act.tool):
                repeats[act.tool] += 1
            elif not act.failed:
                known[identity] = act
            last = act
    if not total:
        return None
    if not repeats:
        return Verdict(1.0, LABELS[0], f"none of {total} tool calls repeated one whose result was known")
    count = repeats.total()
    names = ", ".join(f"{name} {times}x" for name, times in repeats.most_common(_NAMED))
    said = f"{count} of {total} tool calls repeated one whose result was known: {names}"
    return Verdict(1 - count / total, LABELS[1], said)


def _adds_nothing(act: Act, before: Act, last: Act | None) -> bool:
    """Tell whether a call only says again what the same call said before."""
    if act.failed or act.round == before.round or (not act.asked and act.step.start_ns < before.step.end_ns):
        return False
    if act.result is not None and before.result is not None:
        return act.result.digest == before.result.digest
    return last is not None and last.signature == act.signature


EVALUATOR: Final = Evaluator(LABELS, judge)

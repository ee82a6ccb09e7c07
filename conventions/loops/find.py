"""All rules that compare the steps of one run with one another."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from spanledger.conventions.loops.cycles import find_cycles
from spanledger.conventions.loops.findings import Findings
from spanledger.conventions.loops.rules import WINDOW
from spanledger.conventions.loops.storms import find_storms
from spanledger.conventions.loops.streaks import Streaks
from spanledger.conventions.loops.timeline import TOOLS, looked_at, timeline
from spanledger.conventions.trajectory.twins import bare

if TYPE_CHECKING:
    from collections.abc import Iterable

    from spanledger.conventions.loops.found import Loop
    from spanledger.conventions.loops.rules import LoopRules
    from spanledger.conventions.step import Step


def may_repeat(steps: Iterable[Step], rules: LoopRules) -> bool:
    """Tell whether anything came often enough for a rule; most runs are short, and nothing in them is."""
    tools: Counter[str] = Counter()
    answers = failures = 0
    for step in steps:
        failures += step.status == "error"
        if step.kind in TOOLS:
            tools[step.tool_name or step.name] += 1
        elif step.kind == "llm" and step.detail is not None:
            answers += step.detail.output is not None
            tools.update(request.name for request in step.detail.requests)
    names: Counter[str] = Counter()
    for name, count in tools.items():
        names[bare(name)] += count
    counts = (
        rules.exact_repeat, rules.near_repeat, rules.cycle_rounds, rules.same_error, rules.no_progress,
        rules.names_repeat, rules.names_cycle_rounds,
    )  # fmt: skip
    least = min(filter(None, counts), default=0)
    return (
        0 < least <= max(names.values(), default=0)
        or 0 < rules.output_repeat <= answers
        or 0 < rules.retry_storm <= failures
    )


def find(steps: Iterable[Step], rules: LoopRules) -> tuple[Loop, ...]:
    """Return what is found in a run, whatever the order of its steps, in the order in which it began.

    The last `WINDOW` model and tool calls are looked at.
    """
    steps = [*steps]
    if not may_repeat(steps, rules):
        return ()
    line = timeline(looked_at(steps)[-WINDOW:])
    findings = Findings()
    for places in line.by_agent():
        streaks = Streaks(line, rules, findings)
        for place in places:
            streaks.see(place)
        find_cycles(places, line, rules, findings)
        find_storms(places, line, rules, findings)
    return findings.loops(line)

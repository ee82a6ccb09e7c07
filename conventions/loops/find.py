"""All rules that compare the steps of one run with one another."""

from __future__ import annotations

from typing import TYPE_CHECKING

from spanledger.conventions.loops.counts import Counts
from spanledger.conventions.loops.cycles import find_cycles
from spanledger.conventions.loops.findings import Findings
from spanledger.conventions.loops.rules import WINDOW
from spanledger.conventions.loops.storms import find_storms
from spanledger.conventions.loops.streaks import Streaks
from spanledger.conventions.loops.timeline import looked_at, timeline

if TYPE_CHECKING:
    from collections.abc import Iterable

    from spanledger.conventions.loops.found import Loop
    from spanledger.conventions.loops.rules import LoopRules
    from spanledger.conventions.step import Step


def find(steps: Iterable[Step], rules: LoopRules) -> tuple[Loop, ...]:
    """Return what is found in a run, whatever the order of its steps, in the order in which it began.

    The last `WINDOW` model and tool calls are looked at.
    """
    steps = [*steps]
    if not Counts.of(steps).may_repeat(rules):
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

"""All rules over the steps of one run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from spanledger.conventions.loops.ceilings import ceilings, progress_of
from spanledger.conventions.loops.cycles import find_cycles
from spanledger.conventions.loops.findings import Findings, in_order
from spanledger.conventions.loops.storms import find_storms
from spanledger.conventions.loops.streaks import Streaks
from spanledger.conventions.loops.timeline import looked_at, timeline

if TYPE_CHECKING:
    from collections.abc import Sequence

    from spanledger.conventions.loops.ceilings import History
    from spanledger.conventions.loops.found import Loop
    from spanledger.conventions.loops.rules import LoopRules
    from spanledger.conventions.step import Step


def find(steps: Sequence[Step], rules: LoopRules, history: History | None = None) -> tuple[Loop, ...]:
    """Return what is found in a run, whatever the order of its steps, in the order in which it began.

    `history` is of the run's agent; without it only fixed ceilings count.
    """
    found = repeats(looked_at(steps), rules)
    if history is None and not rules.has_ceilings:
        return found
    return in_order((*found, *ceilings(rules, progress_of(steps), history)))


def repeats(ordered: Sequence[Step], rules: LoopRules) -> tuple[Loop, ...]:
    """Return what is found in steps that `looked_at` chose."""
    line = timeline(ordered)
    findings = Findings()
    for places in line.by_agent():
        streaks = Streaks(line, rules, findings)
        for place in places:
            streaks.see(place)
        find_cycles(places, line, rules, findings)
        find_storms(places, line, rules, findings)
    return findings.loops(line)

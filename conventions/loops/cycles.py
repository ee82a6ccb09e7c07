"""The same two to four calls in the same order, round after round, with the same results."""

from __future__ import annotations

from typing import TYPE_CHECKING

from spanledger.conventions.loops.rules import MAX_PERIOD
from spanledger.conventions.loops.timeline import Act, asked_alike

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from spanledger.conventions.loops.findings import Findings, Place
    from spanledger.conventions.loops.rules import Basis, LoopRules
    from spanledger.conventions.loops.timeline import Timeline


def find_cycles(events: Iterable[Place], line: Timeline, rules: LoopRules, findings: Findings) -> None:
    """Look for cycles in what an agent did between two remarks of a person."""
    if rules.cycle_rounds <= 0:
        return
    places: list[Place] = []
    tokens: list[object] = []
    same = [0] * (MAX_PERIOD + 1)
    """For each period how many of the last tokens are those of one period before."""
    turn = 0
    for number, event in events:
        if not isinstance(event, Act) or rules.is_polling(event.tool):
            continue
        if event.turn != turn:
            turn = event.turn
            places, tokens, same = [], [], [0] * (MAX_PERIOD + 1)
        token = (event.signature, event.outcome)
        places.append((number, event))
        tokens.append(token)
        for period in range(1, MAX_PERIOD + 1):
            again = len(tokens) > period and tokens[-1 - period] == token
            same[period] = same[period] + 1 if again else 0
        if same[1] == 0:  # else it is one call again and again
            _judge(places, tokens, same, line, rules, findings)


def _judge(
    places: Sequence[Place],
    tokens: Sequence[object],
    same: Sequence[int],
    line: Timeline,
    rules: LoopRules,
    findings: Findings,
) -> None:
    for period in range(2, MAX_PERIOD + 1):
        rounds = same[period] // period + 1
        if rounds < rules.cycle_rounds or len(set(tokens[-period:])) == 1:
            continue
        streak = places[-rounds * period :]
        acts = [event for _, event in streak if isinstance(event, Act)]
        threshold, basis = _threshold(acts, rules)
        if 0 < threshold <= rounds and len({act.round for act in acts}) >= rounds:
            if basis == "names" and not all(
                asked_alike(acts[first::period], line, rules.names_tokens) for first in range(period)
            ):
                return
            names = sorted({act.tool for act in acts})
            identity = tuple(sorted({act.signature for act in acts}, key=repr))
            findings.add("cycle", ", ".join(names), identity, streak, threshold, basis, period)
        return


def _threshold(acts: Sequence[Act], rules: LoopRules) -> tuple[int, Basis]:
    if any(act.arguments is None for act in acts):
        return rules.names_cycle_rounds, "names"
    if any(act.outcome is None for act in acts):
        return rules.cycle_rounds + rules.unseen_extra, "arguments"
    return rules.cycle_rounds, "content"

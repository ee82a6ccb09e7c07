"""One stack on the stand: play its captures, compare, and say what is not as it was."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tests.corpus.compare import FIELDS, TOKENS, Comparison, Field, SeenCall, Verdict, compare, seen_calls, verdict_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from tests.corpus.captures import Capture
    from tests.corpus.compare import Price
    from tests.corpus.play import Played, Player


@dataclass(slots=True)
class Judged:
    """What was seen of the captures of a stack."""

    stack: str
    captures: dict[str, Capture] = field(default_factory=dict)
    played: dict[str, Played] = field(default_factory=dict)
    seen: dict[str, list[SeenCall]] = field(default_factory=dict)
    comparisons: dict[tuple[str, Field], list[Comparison]] = field(default_factory=lambda: defaultdict(list))

    @property
    def verdicts(self) -> Mapping[tuple[str, Field], Verdict]:
        """Return the verdict on each field of each scenario."""
        return {
            (scenario, name): verdict_of(self.comparisons[scenario, name])
            for scenario in self.captures
            for name in FIELDS
        }

    def differing(self, scenario: str, name: Field) -> list[Comparison]:
        """Return the runs in which a field is not right."""
        return [one for one in self.comparisons[scenario, name] if one.verdict != "right"]


def judge(stack: str, captures: Iterable[Capture], player: Player, price: Price) -> Judged:
    """Play and compare every capture of a stack."""
    judged = Judged(stack)
    for capture in captures:
        played = player.play(capture)
        seen = seen_calls(played.spans)
        judged.captures[capture.scenario] = capture
        judged.played[capture.scenario] = played
        judged.seen[capture.scenario] = seen
        for one in compare(capture, seen, price):
            judged.comparisons[capture.scenario, one.field].append(one)
    return judged


def counted(seen: Iterable[SeenCall]) -> dict[str, float]:
    """Return what `/metrics` should have grown by for these spans: token types are disjoint there."""
    numbers: dict[str, float] = defaultdict(float)
    for one in seen:
        if one.is_call:
            numbers["calls" if one.ok else "failed_calls"] += 1
        tokens = {name: one.tokens[name] or 0 for name in TOKENS}
        tokens["input"] -= tokens["cache_read"] + tokens["cache_write"]
        tokens["output"] -= tokens["reasoning"]
        for name, count in tokens.items():
            numbers[name] += count
        numbers["cost_usd"] += (one.cost or 0) / 1e12
    return numbers

"""One stack on the stand: play its captures, compare, and say what is not as it was."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from itertools import product
from typing import TYPE_CHECKING

from tests.corpus.compare import (
    FIELDS,
    TOKENS,
    Comparison,
    Field,
    SeenCall,
    compare,
    compare_counted,
    finding,
    seen_calls,
)

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
    def findings(self) -> Mapping[tuple[str, Field], str]:
        """Return what is to be said of each field of each scenario."""
        return {about: finding(self.comparisons[about]) for about in product(self.captures, FIELDS)}

    def missing(self, scenario: str, name: Field) -> list[int] | list[str]:
        """Return what was not seen of a field: token counts, models, ids of responses; in no order."""
        true = [call for call in self.captures[scenario].calls if call.ok]
        seen = self.seen[scenario]
        if name in TOKENS:
            return list({getattr(call, name) for call in true} - {0} - {one.tokens[name] for one in seen})
        if name == "model":
            return list({call.response_model for call in true} - {one.model for one in seen})
        if name == "calls":
            return [call.response_id for call in true if call.response_id not in {one.response_id for one in seen}]
        return []


def judge(stack: str, captures: Iterable[Capture], player: Player, price: Price) -> Judged:
    """Play and compare every capture of a stack."""
    judged = Judged(stack)
    for capture in captures:
        played = player.play(capture)
        seen = seen_calls(played.spans)
        judged.captures[capture.scenario] = capture
        judged.played[capture.scenario] = played
        judged.seen[capture.scenario] = seen
        # What log records report is counted, and is on no span.
        in_logs = played.numbers.get("reports")
        for one in compare_counted(capture, played.numbers, price) if in_logs else compare(capture, seen, price):
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

"""Collects what the rules find: one finding for each rule and subject, however many streaks it has."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from spanledger.conventions.loops.found import Repeats, loop_of

if TYPE_CHECKING:
    from spanledger.conventions.loops.found import Loop
    from spanledger.conventions.loops.rules import Basis, Rule
    from spanledger.conventions.loops.timeline import Act, Call, Timeline

_PRECEDENCE: Final[tuple[Rule, ...]] = (
    "cycle", "retry_storm", "same_error", "exact_repeat", "near_repeat", "no_progress", "output_repeat",
)  # fmt: skip
"""What says most of the same steps stands for the others."""

Place = tuple[int, "Act | Call"]
"""An event and its place in the timeline."""


class Findings:
    """What was found so far in one timeline."""

    def __init__(self) -> None:
        self._found: dict[tuple[Rule, object], Repeats] = {}

    def add(
        self,
        rule: Rule,
        subject: str,
        identity: object,
        streak: Sequence[Place],
        threshold: int,
        basis: Basis,
        period: int = 1,
    ) -> None:
        """Note a streak that is long enough, or has become longer by its last member."""
        identity = (streak[0][1].agent, identity)
        known = self._found.get((rule, identity))
        if known is None:
            known = self._found[rule, identity] = Repeats(rule, subject, identity, threshold, basis, period)
        members = known.members
        if streak[0][0] not in members:
            known.firsts.update(event.round for _, event in streak[:period])
            members.update(streak)
        else:
            members[streak[-1][0]] = streak[-1][1]

    def loops(self, line: Timeline) -> tuple[Loop, ...]:
        """Return the findings in the order in which they began; of two about the same steps only one."""
        taken: list[set[int]] = []
        kept: list[Repeats] = []
        for found in sorted(self._found.values(), key=lambda one: _PRECEDENCE.index(one.rule)):
            places = set(found.members)
            if not any(places <= other for other in taken):
                taken.append(places)
                kept.append(found)
        return tuple(sorted((loop_of(found, line) for found in kept), key=_order))


def _order(loop: Loop) -> tuple[int, str, str]:
    return loop.started_at_ns, loop.rule, loop.fingerprint

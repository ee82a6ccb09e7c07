"""The rules on a run that is under way: told of each step as it comes, it says what is found by then."""

from __future__ import annotations

from bisect import insort
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from spanledger.conventions.loops.ceilings import ceilings
from spanledger.conventions.loops.find import repeats
from spanledger.conventions.loops.findings import in_order
from spanledger.conventions.loops.rules import WINDOW
from spanledger.conventions.loops.timeline import LOOKED_AT, better, key

if TYPE_CHECKING:
    from spanledger.conventions.loops.ceilings import History, Progress
    from spanledger.conventions.loops.found import Loop
    from spanledger.conventions.loops.rules import LoopRules
    from spanledger.conventions.step import Step


@dataclass(frozen=True, slots=True)
class Grown:
    """A finding that is new, or has more steps than when it was told of last."""

    loop: Loop
    before: Loop | None

    @property
    def more_wasted_pico_usd(self) -> int:
        """What was wasted since it was told of last."""
        wasted = self.loop.wasted_pico_usd or 0
        return max(0, wasted - ((self.before.wasted_pico_usd or 0) if self.before is not None else 0))


class LoopWatch:
    """What is looked at of one run: references to at most `WINDOW` steps, and what was told."""

    __slots__ = ("_rules", "_steps", "_told", "findings")

    def __init__(self, rules: LoopRules) -> None:
        self._rules = rules
        self._steps: list[Step] = []
        self._told: dict[str, Loop] | None = None
        self.findings: tuple[Loop, ...] = ()
        """As `find` says them of all steps so far."""

    def add(
        self, steps: Iterable[Step], progress: Progress | None = None, history: History | None = None
    ) -> tuple[Grown, ...]:
        """Take steps in any order; return what is new or has grown since the last call.

        `progress` is that of the whole run (`progress_of`), which is not kept here; without it no ceiling is found.
        """
        for step in steps:
            if step.kind in LOOKED_AT:
                self._insert(step)
        found = repeats(self._steps, self._rules) if len(self._steps) >= self._least() else ()
        if progress is not None:
            found = in_order((*found, *ceilings(self._rules, progress, history)))
        self.findings = found
        return self._news(found) if found else ()

    def __len__(self) -> int:
        return len(self._steps)

    def _insert(self, step: Step) -> None:
        span_id = step.span_id
        for place, kept in enumerate(self._steps):
            if kept.span_id == span_id and kept.trace_id == step.trace_id:
                if better(kept, step) is kept:
                    return
                del self._steps[place]
                break
        insort(self._steps, step, key=key)
        del self._steps[:-WINDOW]

    def _least(self) -> int:
        """Return how many steps anything can be found in."""
        rules = self._rules
        counts = (
            rules.exact_repeat, rules.near_repeat, rules.cycle_rounds * 2, rules.same_error, rules.no_progress,
            rules.output_repeat, rules.retry_storm, rules.names_repeat,
        )  # fmt: skip
        return min((count for count in counts if count > 0), default=1)

    def _news(self, found: tuple[Loop, ...]) -> tuple[Grown, ...]:
        told = self._told = self._told if self._told is not None else {}
        news = []
        for loop in found:
            before = told.get(loop.fingerprint)
            if before is None or loop.count > before.count:
                told[loop.fingerprint] = loop
                news.append(Grown(loop, before))
        return tuple(news)

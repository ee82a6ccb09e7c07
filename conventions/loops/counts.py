"""How often anything came: most runs are short, and that alone says that nothing in them repeats."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from spanledger.conventions.loops.timeline import LOOKED_AT, TOOLS
from spanledger.conventions.trajectory.twins import bare

if TYPE_CHECKING:
    from collections.abc import Iterable

    from spanledger.conventions.loops.rules import LoopRules
    from spanledger.conventions.step import Step


@dataclass(slots=True)
class Counts:
    """Grows with the steps. A step that is counted twice makes no difference but that the rules are asked in vain."""

    ran: Counter[str] = field(default_factory=Counter)
    """Tool -> its spans."""
    asked: Counter[str] = field(default_factory=Counter)
    """Tool -> how often models asked for it: these are its calls where it has no spans."""
    answers: int = 0
    failures: int = 0

    @classmethod
    def of(cls, steps: Iterable[Step]) -> Counts:
        """Return the counts of some steps."""
        counts = cls()
        counts.add(steps)
        return counts

    def add(self, steps: Iterable[Step]) -> None:
        """Count more steps."""
        for step in steps:
            if step.kind not in LOOKED_AT:
                continue
            self.failures += step.status == "error"
            if step.kind in TOOLS:
                self.ran[bare(step.tool_name or step.name)] += 1
            elif step.detail is not None:
                self.answers += step.detail.output is not None
                for request in step.detail.requests:
                    self.asked[bare(request.name)] += 1

    def plus(self, other: Counts) -> Counts:
        """Return the counts of both."""
        ran, asked = self.ran + other.ran, self.asked + other.asked
        return Counts(ran, asked, self.answers + other.answers, self.failures + other.failures)

    def may_repeat(self, rules: LoopRules) -> bool:
        """Tell whether anything came often enough for a rule, in these steps or in some of them."""
        counts = (
            rules.exact_repeat, rules.near_repeat, rules.cycle_rounds, rules.same_error, rules.no_progress,
            rules.names_repeat, rules.names_cycle_rounds,
        )  # fmt: skip
        least = min(filter(None, counts), default=0)
        return (
            0 < least <= max((*self.ran.values(), *self.asked.values()), default=0)
            or 0 < rules.output_repeat <= self.answers
            or 0 < rules.retry_storm <= self.failures
        )

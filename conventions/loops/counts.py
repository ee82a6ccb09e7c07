"""How often anything came: most runs are short, and that alone says that nothing in them repeats."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from spanledger.conventions.loops.timeline import LOOKED_AT, TOOLS
from spanledger.conventions.same_tool import bare

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from spanledger.conventions.loops.rules import LoopRules
    from spanledger.conventions.step import Step


@dataclass(slots=True)
class Counts:
    """Grows with the steps. A step that is counted twice makes no difference but that the rules are asked in vain."""

    ran: dict[str, int] = field(default_factory=dict)
    """Tool -> its spans."""
    asked: dict[str, int] = field(default_factory=dict)
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
                name = bare(step.tool_name or step.name)
                self.ran[name] = self.ran.get(name, 0) + 1
            elif step.detail is not None:
                self.answers += step.detail.output is not None
                for request in step.detail.requests:
                    name = bare(request.name)
                    self.asked[name] = self.asked.get(name, 0) + 1

    def plus(self, other: Counts) -> Counts:
        """Return the counts of both."""
        answers, failures = self.answers + other.answers, self.failures + other.failures
        return Counts(_sum(self.ran, other.ran), _sum(self.asked, other.asked), answers, failures)

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


def _sum(one: Mapping[str, int], other: Mapping[str, int]) -> dict[str, int]:
    return {**one, **{name: one.get(name, 0) + count for name, count in other.items()}}

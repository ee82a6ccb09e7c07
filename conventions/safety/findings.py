"""What the steps of a run say of safety: each step and category once, whoever says it how often."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from spanledger.conventions.run import Finding
from spanledger.conventions.safety.concern import SEVERITIES, Concern
from spanledger.conventions.safety.reading import category_judged

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from spanledger.conventions.run import Run
    from spanledger.conventions.safety.concern import Category, SafetySeverity, Source

KIND: Final = "safety"


@dataclass(frozen=True, slots=True)
class Noted:
    """A concern on a step of a run."""

    step: int
    agent_name: str
    category: Category
    severity: SafetySeverity
    source: Source


def noted(run: Run) -> list[Noted]:
    """Return the concerns of a run in the order of its steps. A call that wraps another says what that one said."""
    given: dict[int, list[Concern]] = {step.index: list(step.concerns) for step in run.steps if step.concerns}
    for judged in run.evaluations:
        one = judged.evaluation
        category = category_judged(one.name, one.label) if judged.basis != "builtin" else None
        if category is not None and run.steps:
            # It was judged after it was said.
            given.setdefault(judged.step or 0, []).append(Concern("evaluation", category, "critical"))
    if not given:
        return []
    below = _below(run, given)
    found = []
    for index in sorted(given):
        left = [one for one in given[index] if not _said_below(one, below[index])]
        agent_name = run.steps[index].agent_name or run.agent_name
        found += [Noted(index, agent_name, one.category, one.severity, one.source) for one in _by_category(left)]
    return found


def findings(run: Run) -> list[Finding]:
    """Return a finding for each agent and category of a run, with the steps that say it."""
    together: dict[tuple[str, Category], list[Noted]] = {}
    for one in noted(run):
        together.setdefault((one.agent_name, one.category), []).append(one)
    return [_finding(agent_name, category, ones) for (agent_name, category), ones in together.items()]


def _finding(agent_name: str, category: str, ones: Sequence[Noted]) -> Finding:
    worst = max((one.severity for one in ones), key=SEVERITIES.index)
    who = {"agent_name": agent_name, "sources": sorted({one.source for one in ones})}
    return Finding(KIND, category, worst, tuple(one.step for one in ones), who)


def _below(run: Run, given: dict[int, list[Concern]]) -> list[set[tuple[Source, Category]]]:
    """Return for each step what those below it say."""
    said: list[set[tuple[Source, Category]]] = [set() for _ in run.steps]
    for step in reversed(run.steps):  # causes are before their effects
        if step.parent is not None and 0 <= step.parent < step.index:
            said[step.parent] |= said[step.index]
            said[step.parent].update((one.source, one.category) for one in given.get(step.index, ()))
    return said


def _said_below(concern: Concern, below: set[tuple[Source, Category]]) -> bool:
    if concern.category == "unspecified":
        return any(source == concern.source for source, _ in below)
    return (concern.source, concern.category) in below


def _by_category(concerns: Iterable[Concern]) -> list[Concern]:
    """Return the worst concern of each category; one that does not say what about adds nothing to others."""
    worst: dict[Category, Concern] = {}
    for one in concerns:
        known = worst.get(one.category)
        if known is None or SEVERITIES.index(one.severity) > SEVERITIES.index(known.severity):
            worst[one.category] = one
    if len(worst) > 1 and set(worst) - {"unspecified", "refusal"}:
        worst.pop("unspecified", None)
    return [worst[category] for category in sorted(worst)]

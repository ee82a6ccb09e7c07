"""Whose work it is: what budgets and policies are matched against.

A `match` maps names to globs, all of which have to fit. `agent_name`, `service_name`, `user_id`, `provider` and
`model` are known of every step; any other name is that of a dimension, or of an attribute of spans or resources.
Globs are those of `fnmatch`, and a case matters.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from spanledger.conventions.run import Run, RunStep
    from spanledger.conventions.step import Step

KNOWN: Final = ("agent_name", "service_name", "user_id", "provider", "model")
"""Names of a `match` that are no attributes."""

Match = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Subject:
    """What is known of a step, "" where it is not."""

    agents: tuple[str, ...] = ()
    """Who did it, and whose run it was part of: either may fit."""
    service_name: str = ""
    user_id: str = ""
    provider: str = ""
    model: str = ""
    dimensions: Mapping[str, str] = field(default_factory=dict)

    def fits(self, match: Match) -> bool:
        """Tell whether every glob fits. What is not known fits `*` only."""
        return all(self._fits(name, glob) for name, glob in match.items())

    def _fits(self, name: str, glob: str) -> bool:
        if name == "agent_name":
            return any(fnmatchcase(agent, glob) for agent in self.agents or ("",))
        said = getattr(self, name) if name in KNOWN else self.dimensions.get(name, "")
        return fnmatchcase(said, glob)


def subject_of_step(run: Run, step: RunStep) -> Subject:
    """Return whose work a step of a run is."""
    agents = (step.agent_name or run.agent_name, run.agent_name)
    return Subject(
        agents, run.service_name, run.user_id or "", step.provider or "", step.model or "", run.dimensions
    )  # fmt: skip


def subject_under_way(step: Step, agent_name: str) -> Subject:
    """Return whose work a step is as far as it says itself; `agent_name` is whose run it seems to be part of."""
    said = step.detail.dimensions if step.detail is not None else {}
    agents = (step.agent_name or agent_name, agent_name)
    return Subject(agents, step.service_name, step.user_id, step.provider, step.model, said)


def likely_typo(name: str) -> str | None:
    """Return the known name that was probably meant; None where an attribute may well have that name."""
    if name in KNOWN or "." in name:
        return None
    close = [known for known in KNOWN if known.startswith(f"{name}_")] or get_close_matches(name, KNOWN, 1, 0.8)
    return close[0] if close else None


def attributes_of(matches: Sequence[Match]) -> tuple[str, ...]:
    """Return the names that are dimensions or attributes, each once."""
    return tuple(dict.fromkeys(name for match in matches for name in match if name not in KNOWN))

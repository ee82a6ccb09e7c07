"""What a run did against its policies: one finding for each rule, agent and subject."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from spanledger.conventions.policies.acts import acts_of
from spanledger.conventions.policies.policy import Action, Ruling, rule, window_of
from spanledger.conventions.run import Finding

if TYPE_CHECKING:
    from spanledger.conventions.policies.policy import Policy
    from spanledger.conventions.run import Run

KIND: Final = "policy"
_WORST: Final[tuple[Action, ...]] = ("executed", "blocked", "attempted")


def findings(policies: Sequence[Policy], run: Run) -> list[Finding]:
    """Return the violations of a run. What a model asked for and got is one, with both steps."""
    if not policies:
        return []
    found: dict[tuple[str, str, str, str], list[Ruling]] = {}
    acts = acts_of(run)
    window = window_of(policies)
    for place, act in enumerate(acts):
        for ruling in rule(policies, act, acts[max(0, place - window) : place]):
            if not ruling.allowed:
                found.setdefault((ruling.policy, ruling.rule, act.agent_name, ruling.subject), []).append(ruling)
    return [_finding(rulings) for rulings in found.values()]


def _finding(rulings: Sequence[Ruling]) -> Finding:
    first = rulings[0]
    counts = {action: sum(one.action == action for one in rulings) for action in _WORST}
    worst = next(action for action in _WORST if counts[action])
    return Finding(
        KIND,
        first.rule,
        "critical" if worst == "executed" else "warning",
        tuple(dict.fromkeys(one.act.index for one in rulings)),
        {
            "policy": first.policy,
            "agent_name": first.act.agent_name,
            "subject": first.subject,
            "action": worst,
            **dict(counts.items()),
        },
    )

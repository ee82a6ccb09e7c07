"""What a run adds to counters beyond its totals: by dimension, by tool, for retries, hand-overs, approvals, safety.

A tally is a function of the run, so that a revision adds the difference to the one before, and no more.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Final

from spanledger.conventions import budgets as budgeting
from spanledger.conventions.policies import APPROVAL_TOOLS, approval_of
from spanledger.conventions.policies.acts import action_of
from spanledger.conventions.safety.findings import noted

if TYPE_CHECKING:
    from spanledger.conventions.budgets import Budget
    from spanledger.conventions.run import Run

Key = tuple[str, ...]
"""What is counted and its labels: `TALLIED` has the labels of each."""

BY_DIMENSION: Final = "spanledger_cost_by_dimension_usd_total"
RETRIES: Final = "spanledger_retry_cost_usd_total"
TOOL_RETRIES: Final = "spanledger_tool_retries_total"
TOOLS: Final = "spanledger_tool_induced_cost_usd_total"
HANDOFFS: Final = "spanledger_handoffs_total"
APPROVALS: Final = "spanledger_approvals_total"
SAFETY: Final = "spanledger_safety_findings_total"
BUDGET: Final = "budget"
"""Not a metric: (name, period)."""

MONEY: Final = frozenset({BY_DIMENSION, RETRIES, TOOLS})
"""Amounts of these are pico-dollars."""

_MAX_KINDS: Final = 200
"""Tools, values and agents of one run that are told apart; further ones are one."""
_OTHER: Final = "__other__"


def tallies(run: Run, dimensions: Iterable[str] = (), budgets: Sequence[Budget] = ()) -> dict[Key, int]:
    """Return what is counted of a run; amounts of money in pico-dollars."""
    who = (run.service_name, run.agent_name)
    found: dict[Key, int] = {}

    def add(key: Key, amount: int) -> None:
        if amount:
            found[key] = found.get(key, 0) + amount

    for name in dimensions:
        for value, amount in _by_value(run, name).items():
            add((BY_DIMENSION, *who, name, value), amount)
    for place, share in enumerate(run.tools):
        add((TOOLS, *who, share.name if place < _MAX_KINDS else _OTHER), share.cost_pico_usd or 0)
    for place, handoff in enumerate(run.handoffs):
        taker = handoff.taker if place < _MAX_KINDS else _OTHER
        add((HANDOFFS, run.service_name, handoff.giver, taker, handoff.kind), 1)
    for step in run.steps:
        if step.attempt > 1:
            add((RETRIES, *who), step.cost_pico_usd or 0)
            add((TOOL_RETRIES, *who), int(step.kind == "tool"))
        action = action_of(step.status, step.error_type)
        if (said := approval_of(step.kind, step.tool_name or "", action, APPROVAL_TOOLS)) is not None:
            add((APPROVALS, *who, said), 1)
    for finding in run.findings:
        if (finding.kind, finding.rule) == ("policy", "approval"):
            add((APPROVALS, *who, "missing"), int(finding.detail.get("executed", 0)))
    for one in noted(run):
        add((SAFETY, run.service_name, one.agent_name, one.category, one.severity), 1)
    for (budget, period), amount in budgeting.charges(budgets, run).items():
        add((BUDGET, budget, period), amount)
    return found


def _by_value(run: Run, dimension: str) -> Mapping[str, int]:
    """Return the cost of each value of a dimension, and under "" what no step says it of."""
    shares = run.by_dimension.get(dimension, ())
    costs: dict[str, int] = {}
    for place, share in enumerate(shares):
        name = share.name if place < _MAX_KINDS else _OTHER
        costs[name] = costs.get(name, 0) + (share.cost_pico_usd or 0)
    costs[""] = max(0, (run.totals.cost_pico_usd or 0) - sum(costs.values()))
    return costs

"""The alerts, one module for each category. Each has a runbook in deploy/runbooks and two tests in tests/deploy.

What wakes somebody costs money or safety now, or blinds us; everything else is a ticket. Averages and ratios hold
only from a number of runs on, so that one failure at night is no rate, and comparisons with the past only from a
number of hours of history on, so that a new agent has nothing to be compared with.
"""

from __future__ import annotations

from typing import Final

from spanledger.service.assets.alerts import cost, pipeline, quality, reliability, safety
from spanledger.service.assets.rule import Alert, Group

GROUPS: Final = tuple(
    Group(f"spanledger.alerts.{module.__name__.rpartition('.')[2]}", module.ALERTS)
    for module in (cost, safety, reliability, quality, pipeline)
)


def all_alerts() -> tuple[Alert, ...]:
    """Return every alert."""
    return tuple(rule for group in GROUPS for rule in group.rules if isinstance(rule, Alert))

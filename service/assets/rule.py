"""What a rule is, before it is a file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Severity = Literal["page", "ticket"]
"""Wake somebody, or let it wait for the next business day."""
Category = Literal["cost", "safety", "reliability", "quality", "pipeline"]
Board = Literal["fleet", "cost", "trajectories", "tools", "quality", "safety", "pipeline"]
"""The dashboard to look at; its uid is `spanledger-<board>`."""

BY = "service_name, agent_name"
"""What an agent is known by: the labels of most rules."""


@dataclass(frozen=True, slots=True)
class Recording:
    """A series that panels and alerts share. Its name is level:metric:operation, as Prometheus recommends."""

    record: str
    expr: str
    """PromQL; `<a.b>` stands for a number of values.yaml."""
    help: str
    """One line for people: what it says, and in which unit."""


@dataclass(frozen=True, slots=True)
class Alert:
    """What somebody is told, once it has held for a while."""

    name: str
    category: Category
    severity: Severity
    board: Board
    expr: str
    """PromQL; `<a.b>` stands for a number of values.yaml."""
    summary: str
    """One line: who, and what. Prometheus' templates; it must not begin with `word: `, which PagerDuty takes apart."""
    description: str
    """How bad, against what, and what the first thing to do is; `<a.b>` as in `expr`."""
    hold: str = "0m"
    """How long it must be true before it fires."""


@dataclass(frozen=True, slots=True)
class Group:
    """Rules that are evaluated together, in their order."""

    name: str
    rules: tuple[Recording, ...] | tuple[Alert, ...]
    interval: str = "1m"
    """At most 4m: Prometheus 3 looks back for less than five minutes."""

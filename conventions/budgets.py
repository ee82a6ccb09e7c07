"""What may be spent, by whom and in which time; and what of it a run spends. Pure: the ledger is elsewhere."""

from __future__ import annotations

from calendar import monthrange
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, Final, Literal

from spanledger.conventions.run import Finding
from spanledger.conventions.subject import subject_of_step

if TYPE_CHECKING:
    from spanledger.conventions.run import Run, RunStep

Per = Literal["run", "hour", "day", "month"]
Level = Literal["soft", "hard"]

LEVELS: Final[tuple[Level, ...]] = ("soft", "hard")
KIND: Final = "budget"
"""Of the findings."""

_FORMS: Final[Mapping[Per, str]] = {"hour": "%Y-%m-%dT%H", "day": "%Y-%m-%d", "month": "%Y-%m"}
_HOUR_NS: Final = 3_600 * 10**9
_MAX_NS: Final = 253_402_300_800 * 10**9


@dataclass(frozen=True, slots=True)
class Budget:
    """One budget. Money in pico-dollars; None for no such limit."""

    name: str
    match: Mapping[str, str]
    per: Per
    soft_pico_usd: int | None = None
    hard_pico_usd: int | None = None
    steps: int | None = None
    """Steps of a run; more are a breach of the level `hard`."""
    tool_calls: int | None = None

    @property
    def limit_pico_usd(self) -> int | None:
        """The hard limit, or else the soft one."""
        return self.hard_pico_usd if self.hard_pico_usd is not None else self.soft_pico_usd

    def passed(self, spent: Spent) -> dict[Level, str]:
        """Return the levels that are reached, and by what: a limit that is spent to the last cent is reached."""
        found: dict[Level, str] = {}
        if self.soft_pico_usd is not None and spent.pico_usd >= self.soft_pico_usd:
            found["soft"] = "soft_usd"
        if self.hard_pico_usd is not None and spent.pico_usd >= self.hard_pico_usd:
            found["hard"] = "hard_usd"
        elif self.steps is not None and spent.steps > self.steps:
            found["hard"] = "steps"
        elif self.tool_calls is not None and spent.tool_calls > self.tool_calls:
            found["hard"] = "tool_calls"
        return found


@dataclass(frozen=True, slots=True)
class Spent:
    """What was used of a budget."""

    pico_usd: int = 0
    steps: int = 0
    tool_calls: int = 0

    def plus(self, other: Spent) -> Spent:
        """Return the sum."""
        return Spent(
            self.pico_usd + other.pico_usd, self.steps + other.steps, self.tool_calls + other.tool_calls
        )  # fmt: skip


def period_of(per: Per, at_ns: int) -> str:
    """Return the period that a moment is in, in UTC: `2026-11-20T08`, `2026-11-20` or `2026-11`; "" for runs."""
    return "" if per == "run" else _period_of(per, min(max(at_ns, 0), _MAX_NS - 1) // _HOUR_NS)


@lru_cache(256)
def _period_of(per: Per, hour: int) -> str:
    return datetime.fromtimestamp(hour * 3_600, UTC).strftime(_FORMS[per])


def period_length_s(per: Per, at_ns: int) -> int:
    """Return how long the period of a moment is, in seconds; for runs there is no such time (0)."""
    if per == "month":
        moment = datetime.fromtimestamp(min(max(at_ns, 0), _MAX_NS - 1) // 10**9, UTC)
        return 86_400 * monthrange(moment.year, moment.month)[1]
    return {"run": 0, "hour": 3_600, "day": 86_400}[per]


def period_end_ns(per: Per, at_ns: int) -> int:
    """Return when the period of a moment is over; for runs there is no such time (0)."""
    if per == "run":
        return 0
    moment = datetime.fromtimestamp(min(max(at_ns, 0), _MAX_NS - 1) // 10**9, UTC).replace(minute=0, second=0)
    if per == "hour":
        end = moment + timedelta(hours=1)
    elif per == "day":
        end = moment.replace(hour=0) + timedelta(days=1)
    else:
        end = (moment.replace(day=1, hour=0) + timedelta(days=32)).replace(day=1)
    return int(end.timestamp()) * 10**9


def charges(budgets: Iterable[Budget], run: Run) -> dict[tuple[str, str], int]:
    """Return what a run costs each budget of an hour, day or month: (name, period) -> pico-dollars.

    Each step is charged to the period in which it ended: that is when its tokens are known.
    """
    found: dict[tuple[str, str], int] = {}
    for budget in budgets:
        if budget.per == "run":
            continue
        for step in run.steps:
            if step.cost_pico_usd and subject_of_step(run, step).fits(budget.match):
                key = budget.name, period_of(budget.per, _ended_ns(step))
                found[key] = found.get(key, 0) + step.cost_pico_usd
    return found


def findings(budgets: Iterable[Budget], run: Run) -> list[Finding]:
    """Return the limits per run that a run has reached, each with the step that did it."""
    return [finding for budget in budgets if budget.per == "run" for finding in _findings(budget, run)]


def _findings(budget: Budget, run: Run) -> list[Finding]:
    by: dict[Level, tuple[int, str]] = {}
    spent = Spent()
    for step in sorted(run.steps, key=lambda one: (_ended_ns(one), one.index)):
        if subject_of_step(run, step).fits(budget.match):
            own = Spent(
                step.cost_pico_usd or 0, int(step.kind != "other" and step.attempt == 1), int(step.kind == "tool")
            )
            spent = spent.plus(own)
            for level, limit in budget.passed(spent).items():
                by.setdefault(level, (step.index, limit))
    return [finding_of(budget, level, limit, spent, (index,)) for level, (index, limit) in by.items()]


def finding_of(
    budget: Budget, level: Level, limit: str, spent: Spent, steps: tuple[int, ...] = (), period: str = ""
) -> Finding:
    """Return that a limit was reached."""
    return Finding(
        KIND, limit, "critical" if level == "hard" else "warning", steps, detail(budget, level, spent, period)
    )


def detail(budget: Budget, level: Level, spent: Spent, period: str = "") -> dict[str, str | int | float]:
    """Return what there is to say of a breach."""
    limit = budget.soft_pico_usd if level == "soft" else budget.hard_pico_usd
    said: dict[str, str | int | float] = {"budget": budget.name, "level": level, "per": budget.per}
    if period:
        said["period"] = period
    if limit is not None:
        said["limit_usd"] = limit / 1e12
    said["spent_usd"] = spent.pico_usd / 1e12
    return said if period else {**said, "steps": spent.steps, "tool_calls": spent.tool_calls}


def _ended_ns(step: RunStep) -> int:
    return step.started_at_ns + int((step.duration_s or 0) * 1e9)

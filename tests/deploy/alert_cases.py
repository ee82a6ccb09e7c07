"""What each alert is tested with: a story that it fires in, and one like it that it must stay quiet in.

A story is told of one service, budget or sidecar that has its name. All stories of a timeline are played together,
and whatever else fires in one is part of what it says.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from tests.deploy.timelines import Clock, Phase, agent, counter, gauge, series, sidecar

Series = list[dict[str, str]]


@dataclass(frozen=True, slots=True)
class Case:
    """A story about an alert, and everything that fires at its end."""

    about: str
    name: str
    series: Series
    fires: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Timeline:
    """Cases of the same length."""

    clock: Clock
    hours: float
    cases: tuple[Case, ...]
    around: Series
    """What is there beside them."""
    groups: tuple[str, ...] = ()
    """Of rules that are played; all without. Fewer make long timelines short."""

    health: Mapping[str, int] = field(default_factory=dict)
    """Case -> the light that its agent has at the end: 0 green, 1 amber, 2 red."""

    def firing(self) -> Timeline:
        """Return the cases in which something fires."""
        return replace(self, cases=tuple(case for case in self.cases if case.fires))


# -- days: what compares with the past --

_DAYS: Final = Clock(4)
_PAST: Final = 34.0
_NOW: Final = 3.0


def _changed(about: str, name: str, now: Phase, *fires: str, before: Phase | None = None) -> Case:
    """Tell of an agent that was as usual for days, and is different since some hours."""
    usual = before or Phase(_PAST)
    hours = _PAST + _NOW
    usual_hours = hours - now.hours
    objectives = [
        series("spanledger_slo_latency_seconds", gauge(_DAYS, (hours, 30)), service_name=name, agent_name="planner"),
        series(
            "spanledger_slo_evaluation_score",
            gauge(_DAYS, (hours, 0.5)),
            service_name=name,
            agent_name="planner",
            evaluation_name="helpfulness",
        ),
    ]
    phases = [Phase(**{**_fields(usual), "hours": usual_hours}), now]
    return Case(about, name, [*agent(_DAYS, name, phases), *objectives], fires)


def _fields(phase: Phase) -> dict[str, object]:
    return {name: getattr(phase, name) for name in phase.__slots__}


_NEW: Final = Phase(_PAST, absent=True)

_DAYS_CASES: Final = (
    _changed(
        "AgentCostPerSuccessHigh",
        "success-dear",
        Phase(1.5, cost=0.25),
        "AgentCostPerSuccessHigh",
        "AgentCostPerRequestAboveWeek",
    ),
    _changed("AgentCostPerSuccessHigh", "success-dearer", Phase(1.5, cost=0.15)),
    _changed("AgentCostPerSuccessHigh", "success-rare", Phase(1.5, runs=4, cost=0.25)),
    _changed("AgentCostPerSuccessHigh", "success-new", Phase(3, cost=0.9), before=_NEW),
    _changed(
        "AgentCostPerSuccessHigh",
        "success-seldom",
        Phase(1.5, cut_short=0.6),
        "AgentCostPerSuccessHigh",
        "RunsCutShort",
    ),
    _changed(
        "AgentCostPerRequestAboveWeek",
        "request-dear",
        Phase(1.5, cost=0.25),
        "AgentCostPerSuccessHigh",
        "AgentCostPerRequestAboveWeek",
    ),
    _changed("AgentCostPerRequestAboveWeek", "request-new", Phase(3, cost=0.3), before=_NEW),
    _changed("AgentCostPerRequestAboveWeek", "request-few", Phase(1.5, runs=3, cost=0.3)),
    _changed(
        "AgentCostJump",
        "jump",
        Phase(1.5, cost=0.6),
        "AgentCostJump",
        "AgentCostPerSuccessHigh",
        "AgentCostPerRequestAboveWeek",
    ),
    _changed("AgentCostJump", "jump-of-volume", Phase(1.5, runs=200), "AgentCostJump"),
    _changed("AgentCostJump", "jump-cheap", Phase(1.5, runs=300, cost=0.001), before=Phase(1, cost=0.001)),
    _changed("AgentCostJump", "jump-new", Phase(3, runs=60, cost=0.2), before=_NEW),
    _changed(
        "AgentEvaluationScoreLow",
        "score-low",
        Phase(3, score=0.1),
        "AgentEvaluationScoreLow",
        "AgentEvaluationScoreDropping",
        before=Phase(1, score=0.55),
    ),
    _changed("AgentEvaluationScoreLow", "score-few", Phase(3, score=0.1, runs=1), before=Phase(1, score=0.55, runs=1)),
    _changed("AgentEvaluationScoreLow", "score-good", Phase(3, score=0.6), before=Phase(1, score=0.62)),
    _changed("AgentEvaluationScoreDropping", "score-drops", Phase(3, score=0.3), "AgentEvaluationScoreDropping"),
    _changed("AgentEvaluationScoreDropping", "score-wavers", Phase(3, score=0.7)),
    _changed("AgentEvaluationScoreDropping", "score-new", Phase(3, score=0.52), before=_NEW),
    _changed("AgentToolMixDrift", "drift", Phase(3, tools={"delete": 3}), "AgentToolMixDrift"),
    _changed("AgentToolMixDrift", "drift-little", Phase(3, tools={"search": 1.9, "book": 1.1})),
    _changed("AgentToolMixDrift", "drift-new", Phase(3, tools={"delete": 3}), before=_NEW),
)

_RUNAWAY = "spanledger_open_run_steps_max"


def _open_run(name: str, what: str, value: float, *fires: str, history: bool = True) -> Case:
    usual = Phase(_PAST + _NOW) if history else Phase(_PAST + _NOW, absent=True)
    gauges = gauge(_DAYS, (_PAST + _NOW - 0.2, 1), (0.2, value))
    return Case(
        "AgentRunaway",
        name,
        [*agent(_DAYS, name, [usual]), series(what, gauges, service_name=name, agent_name="planner")],
        fires,
    )


_OPEN: Final = (
    _open_run("runaway-steps", "spanledger_open_run_steps_max", 80, "AgentRunaway"),
    _open_run("runaway-usd", "spanledger_open_run_cost_usd_max", 11, "AgentRunaway"),
    _open_run("runaway-new-usd", "spanledger_open_run_cost_usd_max", 11, "AgentRunaway", history=False),
    _open_run("runaway-new-steps", "spanledger_open_run_steps_max", 501, "AgentRunaway", history=False),
    _open_run("long-run", "spanledger_open_run_steps_max", 39),
    _open_run("long-run-new", "spanledger_open_run_steps_max", 300, history=False),
)


def _receiving(name: str, hours_silent: float, *fires: str) -> Case:
    total = _PAST + _NOW
    values = counter(_DAYS, [(total - hours_silent, 1000), (hours_silent, 0)])
    return Case(
        "SidecarReceivesNothing",
        name,
        sidecar(_DAYS, total, name, otelcol_receiver_accepted_spans_total=values),
        fires,
    )


_RECEIVING: Final = (
    _receiving("deaf", 2, "SidecarReceivesNothing"),
    _receiving("pause", 0.9),
    # A pod of yesterday: nothing scrapes it any more.
    Case("SidecarReceivesNothing", "replaced", sidecar(_DAYS, _PAST + _NOW - 20, "replaced")),
)

DAYS: Final = Timeline(_DAYS, _PAST + _NOW, (*_DAYS_CASES, *_OPEN, *_RECEIVING), sidecar(_DAYS, _PAST + _NOW))

# -- a week: what compares with the same time a week ago --


def _silent(name: str, *phases: Phase, fires: tuple[str, ...] = ()) -> Case:
    return Case("AgentSilent", name, agent(_DAYS, name, phases), fires)


WEEK: Final = Timeline(
    _DAYS,
    176,
    (
        _silent("silent", Phase(172), Phase(4, runs=0), fires=("AgentSilent",)),
        _silent("gone", Phase(172), Phase(4, absent=True), fires=("AgentSilent",)),
        _silent("seldom", Phase(172, runs=1), Phase(4, runs=0)),
        _silent("slow", Phase(172), Phase(4, runs=1)),
        _silent("young", Phase(100, absent=True), Phase(72), Phase(4, runs=0)),
    ),
    sidecar(_DAYS, 176),
    ("spanledger.volume", "spanledger.alerts.reliability"),
)

# -- more than two days: what compares with days that ended yesterday --


def _creeping(name: str, now: Phase, *fires: str, new: bool = False) -> Case:
    return Case("AgentLoopDepthCreep", name, agent(_DAYS, name, [Phase(54 - now.hours, absent=new), now]), fires)


CREEP: Final = Timeline(
    _DAYS,
    54,
    (
        _creeping("creep", Phase(2.5, turns=7), "AgentLoopDepthCreep"),
        _creeping("creep-little", Phase(2.5, turns=5)),
        _creeping("creep-new", Phase(3, turns=40), new=True),
    ),
    sidecar(_DAYS, 54),
    ("spanledger.volume", "spanledger.trajectories", "spanledger.alerts.quality"),
)

# -- a working day: what burns for hours --

_SHIFT: Final = Clock(2)
_DAY: Final = 8.0


def _budget(about: str, name: str, spent: str, *fires: str, period: float | None = 86400, limit: float = 240) -> Case:
    shown = [
        series("spanledger_budget_spent_usd", spent, budget=name),
        series("spanledger_budget_limit_usd", gauge(_SHIFT, (_DAY, limit)), budget=name),
    ]
    if period is not None:
        shown.append(series("spanledger_budget_period_seconds", gauge(_SHIFT, (_DAY, period)), budget=name))
    return Case(about, name, shown, fires)


def _failing(about: str, name: str, now: Phase, *fires: str) -> Case:
    return Case(about, name, agent(_SHIFT, name, [Phase(_DAY - now.hours), now]), fires)


# A budget of 240 USD a day is 10 an hour.
SHIFT: Final = Timeline(
    _SHIFT,
    _DAY,
    (
        _budget(
            "BudgetBurnFast", "burns", counter(_SHIFT, [(_DAY - 2, 10), (2, 80)]), "BudgetBurnFast", "BudgetBurnSlow"
        ),
        _budget("BudgetBurnFast", "burnt", counter(_SHIFT, [(_DAY - 0.8, 10), (0.6, 80), (0.2, 0)])),
        _budget("BudgetBurnFast", "even", counter(_SHIFT, [(_DAY, 12)])),
        _budget("BudgetBurnFast", "of-a-run", counter(_SHIFT, [(_DAY, 80)]), period=None),
        # A run that turns out to be a cent cheaper is no new period.
        _budget("BudgetBurnFast", "corrected", gauge(_SHIFT, (_DAY - 0.1, 200), (0.1, 199.99))),
        _budget(
            "BudgetBurnFast",
            "new-period",
            f"{gauge(_SHIFT, (_DAY - 0.7, 190))} {counter(_SHIFT, [(0.7, 100)])}",
            "BudgetBurnFast",
        ),
        _budget("BudgetBurnSlow", "leaks", counter(_SHIFT, [(1, 10), (_DAY - 1, 30)]), "BudgetBurnSlow"),
        _budget("BudgetBurnSlow", "leaked", counter(_SHIFT, [(_DAY - 1, 30), (1, 5)])),
        _failing("AgentFailureBurnSlow", "fails-for-hours", Phase(7, failed=0.2, runs=20), "AgentFailureBurnSlow"),
        _failing("AgentFailureBurnSlow", "fails-within-budget", Phase(7, failed=0.04, runs=20)),
    ),
    sidecar(_SHIFT, _DAY),
)

# -- hours: everything else --

_HOURS: Final = Clock(1)
_LONG: Final = 3.0


def _agent(about: str, name: str, now: Phase, *fires: str, extra: tuple[dict[str, str], ...] = ()) -> Case:
    """Tell of an agent that was as usual, and is different for a while; it has no history of days."""
    return Case(about, name, [*agent(_HOURS, name, [Phase(_LONG - now.hours), now]), *extra], fires)


def _objective(name: str) -> dict[str, str]:
    return series("spanledger_slo_latency_seconds", gauge(_HOURS, (_LONG, 30)), service_name=name, agent_name="planner")


def _violation(
    about: str, name: str, values: str, rule: str, *fires: str, up: str | None = None, uptime: str | None = None
) -> Case:
    labels = {
        "service_name": name,
        "agent_name": "planner",
        "policy": "travel",
        "rule": rule,
        "action": "executed",
        "tool_name": "rm" if rule in ("tools", "approval") else "",
        "instance": f"of-{name}",
    }
    changed = {key: value for key, value in (("up", up), ("otelcol_process_uptime_seconds", uptime)) if value}
    around = sidecar(_HOURS, _LONG, f"of-{name}", **changed)
    return Case(about, name, [series("spanledger_policy_violations_total", values, **labels), *around], fires)


_BORN: Final = gauge(_HOURS, (_LONG - 0.1, None), (0.1, 1))
_LONG_AGO: Final = gauge(_HOURS, (_LONG - 1, None), (1, 1))
_AWAY: Final = ((_LONG - 1, 3.0), (0.9, None), (0.1, 3.0))
_UP_AGAIN: Final = gauge(_HOURS, (_LONG - 1, 1), (0.9, 0), (0.1, 1))


def _violations(about: str, rule: str, name: str) -> tuple[Case, ...]:
    return (
        _violation(about, f"{name}-first", _BORN, rule, about),
        _violation(about, f"{name}-again", gauge(_HOURS, (_LONG - 0.1, 3), (0.1, 4)), rule, about),
        _violation(about, f"{name}-long-ago", _LONG_AGO, rule),
        _violation(about, f"{name}-never", gauge(_HOURS, (_LONG, 0)), rule),
        _violation(about, f"{name}-away", gauge(_HOURS, *_AWAY), rule, up=_UP_AGAIN),
        _violation(
            about,
            f"{name}-started",
            _BORN,
            rule,
            about,
            up=gauge(_HOURS, (_LONG - 0.1, None), (0.1, 1)),
            uptime=f"_x{_HOURS.samples(_LONG - 0.1) - 1} 5+60x5",
        ),
    )


def _unsafe(name: str, values: str, *fires: str, severity: str = "critical") -> Case:
    labels = {"service_name": name, "agent_name": "planner", "category": "hate", "severity": severity}
    shown = series("spanledger_safety_findings_total", values, **labels, instance=f"of-{name}")
    return Case("AgentSafetyFinding", name, [shown, *sidecar(_HOURS, _LONG, f"of-{name}")], fires)


_SAFETY: Final = (
    _unsafe("unsafe-first", _BORN, "AgentSafetyFinding"),
    _unsafe("unsafe-again", gauge(_HOURS, (_LONG - 0.1, 3), (0.1, 4)), "AgentSafetyFinding"),
    _unsafe("unsafe-long-ago", _LONG_AGO),
    _unsafe("held-back", gauge(_HOURS, (_LONG - 0.1, 3), (0.1, 9)), severity="warning"),
    _unsafe(
        "attacked-at-once", gauge(_HOURS, (_LONG - 0.1, None), (0.1, 25)), "AgentSafetyFinding", severity="warning"
    ),
    _unsafe("attacked", counter(_HOURS, [(_LONG, 300)]), "AgentSafetyFinding", severity="warning"),
    _unsafe("declines", counter(_HOURS, [(_LONG, 300)]), severity="info"),
)


def _breach(about: str, name: str, level: str, values: str, *fires: str) -> Case:
    return Case(about, name, [series("spanledger_budget_breaches_total", values, budget=name, level=level)], fires)


_BREACHES: Final = (
    _breach("BudgetBreached", "breached", "hard", gauge(_HOURS, (_LONG - 0.1, 0), (0.1, 1)), "BudgetBreached"),
    _breach("BudgetBreached", "breached-long-ago", "hard", gauge(_HOURS, (_LONG - 2, 0), (2, 1))),
    _breach("BudgetSoftLimit", "warned", "soft", gauge(_HOURS, (_LONG - 0.1, 0), (0.1, 1)), "BudgetSoftLimit"),
    _breach("BudgetSoftLimit", "not-warned", "soft", gauge(_HOURS, (_LONG, 0))),
)

_AGENTS: Final = (
    _agent(
        "AgentSpendWithoutSuccess",
        "fruitless",
        Phase(1.5, failed=1, runs=12, cost=0.2),
        "AgentSpendWithoutSuccess",
        "AgentFailureBurnSlow",
    ),
    _agent(
        "AgentSpendWithoutSuccess", "fruitless-cheap", Phase(1.5, failed=1, runs=12, cost=0.01), "AgentFailureBurnSlow"
    ),
    Case(
        "AgentSpendWithoutSuccess",
        "never-says",
        agent(_HOURS, "never-says", [Phase(_LONG, cost=0.2, cut_short=1)]),
        ("RunsCutShort",),
    ),
    _agent(
        "AgentSpendWithoutSuccess", "one-success", Phase(1.5, failed=0.9, runs=12, cost=0.2), "AgentFailureBurnSlow"
    ),
    _agent("AgentSpendVelocity", "spree", Phase(0.3, runs=300, cost=2), "AgentSpendVelocity"),
    _agent("AgentSpendVelocity", "busy", Phase(0.3, runs=300, cost=0.5)),
    _agent("AgentLoopWaste", "waste", Phase(1.5, wasted=0.05), "AgentLoopWaste"),
    _agent("AgentLoopWaste", "little-waste", Phase(1.5, wasted=0.01)),
    _agent("UnpricedSpend", "unpriced", Phase(2, unpriced=0.2), "UnpricedSpend"),
    _agent("UnpricedSpend", "unpriced-little", Phase(2, unpriced=0.02)),
    _agent("UnpricedSpend", "unpriced-few", Phase(2, unpriced=1, runs=1)),
    _agent("UsageMissing", "no-usage", Phase(2, no_usage=0.3), "UsageMissing"),
    _agent("UsageMissing", "no-usage-little", Phase(2, no_usage=0.05)),
    _agent("UsageMissing", "no-usage-few", Phase(2, no_usage=1, runs=4)),
    _agent("AgentErrorRateHigh", "llm-errors", Phase(0.5, runs=60, llm_errors=0.2), "AgentErrorRateHigh"),
    _agent("AgentErrorRateHigh", "tool-errors", Phase(0.5, runs=60, tool_errors=0.2), "AgentErrorRateHigh"),
    _agent("AgentErrorRateHigh", "some-errors", Phase(0.5, runs=60, llm_errors=0.03, tool_errors=0.03)),
    _agent("AgentErrorRateHigh", "few-errors", Phase(0.5, runs=4, llm_errors=0.5, tool_errors=0.5)),
    _agent(
        "AgentFailureBurnFast", "fails", Phase(1.2, runs=60, failed=0.5), "AgentFailureBurnFast", "AgentFailureBurnSlow"
    ),
    _agent("AgentFailureBurnFast", "fails-a-little", Phase(1.2, runs=60, failed=0.1)),
    _agent("AgentFailureBurnFast", "fails-seldom-run", Phase(1.2, runs=6, failed=0.5)),
    _agent("AgentRetryRateHigh", "retries", Phase(0.4, runs=60, retries=0.4), "AgentRetryRateHigh"),
    _agent("AgentRetryRateHigh", "tool-retries", Phase(0.4, runs=60, tool_retries=0.4), "AgentRetryRateHigh"),
    _agent("AgentRetryRateHigh", "tool-retries-some", Phase(0.4, runs=60, tool_retries=0.1)),
    _agent("AgentRetryRateHigh", "retries-briefly", Phase(0.15, runs=60, retries=0.4)),
    _agent("AgentRetryRateHigh", "retries-few", Phase(0.4, runs=20, retries=0.5)),
    _agent(
        "AgentLatencyAboveObjective",
        "slow",
        Phase(0.5, runs=120, seconds=50),
        "AgentLatencyAboveObjective",
        extra=(_objective("slow"),),
    ),
    _agent("AgentLatencyAboveObjective", "slow-without-objective", Phase(0.5, runs=120, seconds=50)),
    _agent("AgentLatencyAboveObjective", "slow-few", Phase(0.5, runs=12, seconds=50), extra=(_objective("slow-few"),)),
    _agent("AgentLoopsFound", "loops", Phase(1.5, loops=0.3), "AgentLoopsFound"),
    _agent("AgentLoopsFound", "loops-few", Phase(1.5, loops=0.05)),
    _agent("SpansMissing", "orphans", Phase(1.5, orphans=0.2), "SpansMissing"),
    _agent("SpansMissing", "orphans-few", Phase(1.5, orphans=0.01)),
    _agent("RunsCutShort", "cut-short", Phase(1.5, cut_short=0.6), "RunsCutShort"),
    _agent("RunsCutShort", "cut-short-few", Phase(1.5, cut_short=0.1)),
)


def _sidecar(about: str, name: str, *fires: str, extra: Series | None = None, **changed: str | None) -> Case:
    return Case(about, name, [*sidecar(_HOURS, _LONG, name, **changed), *(extra or [])], fires)


def _counted(about: str, name: str, metric: str, /, *fires: str, minutes_ago: float | None = 5, **labels: str) -> Case:
    """Tell of a sidecar whose counter is born with its first event, or stays at 0."""
    values = (
        gauge(_HOURS, (_LONG, 0))
        if minutes_ago is None
        else gauge(_HOURS, (_LONG - minutes_ago / 60, None), (minutes_ago / 60, 2))
    )
    return _sidecar(about, name, *fires, extra=[series(metric, values, instance=name, **labels)])


def _until_now(value_before: float, hours: float, value: float) -> str:
    return gauge(_HOURS, (_LONG - hours, value_before), (hours, value))


def _queue(name: str, size: float) -> Series:
    labels = {"instance": name, "exporter": "otlp/tempo", "data_type": "traces"}
    return [
        series("otelcol_exporter_queue_size", gauge(_HOURS, (_LONG, size)), **labels),
        series("otelcol_exporter_queue_capacity", gauge(_HOURS, (_LONG, 1000)), **labels),
    ]


def _refused(name: str, per_hour: float) -> Series:
    return [
        series(
            "spanledger_refused_requests_total", counter(_HOURS, [(_LONG, per_hour)]), instance=name, reason="memory"
        )
    ]


def _one(name: str, metric: str, value: float, **labels: str) -> Series:
    return [series(metric, gauge(_HOURS, (_LONG, value)), instance=name, **labels)]


_DROPPED: Final = {"exporter": "otlp/tempo", "signal": "traces", "reason": "permanent"}

_SIDECARS: Final = (
    _sidecar("SidecarDown", "down", "SidecarDown", up=_until_now(1, 0.1, 0)),
    _sidecar("SidecarDown", "one-missed-scrape", up=_until_now(1, 0.017, 0)),
    _sidecar("SidecarPartMissing", "no-runs", "SidecarPartMissing", spanledger_runs_open=None),
    _sidecar("SidecarPartMissing", "no-prices", "SidecarPartMissing", spanledger_price_data_info=None),
    _sidecar("SidecarPartMissing", "no-counting", "SidecarPartMissing", spanledger_uncounted_steps_total=None),
    _sidecar("SidecarPartMissing", "whole"),
    _counted("SidecarDropping", "drops", "spanledger_dropped_items_total", "SidecarDropping", **_DROPPED),
    _counted("SidecarDropping", "drops-nothing", "spanledger_dropped_items_total", minutes_ago=None, **_DROPPED),
    _sidecar("SidecarRefusing", "refuses", "SidecarRefusing", extra=_refused("refuses", 100)),
    _sidecar("SidecarRefusing", "refuses-few", extra=_refused("refuses-few", 10)),
    _sidecar("SidecarQueueFilling", "fills", "SidecarQueueFilling", extra=_queue("fills", 900)),
    _sidecar("SidecarQueueFilling", "half-full", extra=_queue("half-full", 500)),
    _sidecar("SidecarLagging", "lags", "SidecarLagging", spanledger_loop_lag_seconds=_until_now(0.01, 0.3, 1.2)),
    _sidecar("SidecarLagging", "hiccup", spanledger_loop_lag_seconds=_until_now(0.01, 0.05, 1.2)),
    _counted(
        "SidecarStorageFailing",
        "disk",
        "spanledger_queue_storage_errors_total",
        "SidecarStorageFailing",
        exporter="otlp",
    ),
    _counted(
        "SidecarStorageFailing",
        "run-store",
        "spanledger_run_store_aside_total",
        "SidecarStorageFailing",
        exporter="run_store",
    ),
    _counted(
        "SidecarStorageFailing", "disk-fine", "spanledger_queue_storage_errors_total", minutes_ago=None, exporter="otlp"
    ),
    _sidecar(
        "DeadLettersWaiting",
        "letters",
        "DeadLettersWaiting",
        extra=_one("letters", "spanledger_dead_letters", 3, exporter="otlp"),
    ),
    _sidecar(
        "DeadLettersWaiting", "no-letters", extra=_one("no-letters", "spanledger_dead_letters", 0, exporter="otlp")
    ),
    _sidecar(
        "PriceListOld",
        "old-prices",
        "PriceListOld",
        spanledger_price_data_age_seconds=gauge(_HOURS, (_LONG, 70 * 86400)),
    ),
    _sidecar(
        "PriceListOld", "prices-of-last-month", spanledger_price_data_age_seconds=gauge(_HOURS, (_LONG, 50 * 86400))
    ),
    _sidecar(
        "PriceFileRefused",
        "bad-file",
        "PriceFileRefused",
        extra=_one("bad-file", "spanledger_price_refresh_ok", 0, source="prices.yaml"),
    ),
    _sidecar(
        "PriceFileRefused", "good-file", extra=_one("good-file", "spanledger_price_refresh_ok", 1, source="prices.yaml")
    ),
    _counted(
        "SeriesOverflow",
        "overflow",
        "spanledger_series_overflow_total",
        "SeriesOverflow",
        minutes_ago=30,
        metric="spanledger_llm_calls_total",
    ),
    _counted(
        "SeriesOverflow",
        "overflow-long-ago",
        "spanledger_series_overflow_total",
        minutes_ago=100,
        metric="spanledger_llm_calls_total",
    ),
    _counted(
        "SpansUnread", "long-spans", "spanledger_unread_spans_total", "SpansUnread", minutes_ago=30, reason="oversized"
    ),
    _counted("SpansUnread", "all-read", "spanledger_unread_spans_total", minutes_ago=None, reason="oversized"),
    _counted(
        "SidecarFaults", "faults", "spanledger_normalizer_errors_total", "SidecarFaults", minutes_ago=30, dialect="otel"
    ),
    _counted("SidecarFaults", "no-faults", "spanledger_normalizer_errors_total", minutes_ago=None, dialect="otel"),
    _sidecar(
        "ConfigReloadFailed",
        "reload",
        "ConfigReloadFailed",
        extra=[series("spanledger_config_reloads_total", _until_now(0, 0.5, 1), instance="reload", result="failed")],
    ),
    _sidecar(
        "ConfigReloadFailed",
        "reload-ok",
        extra=[series("spanledger_config_reloads_total", _until_now(0, 0.5, 1), instance="reload-ok", result="ok")],
    ),
)

HOURS: Final = Timeline(
    _HOURS,
    _LONG,
    (
        *_AGENTS,
        *_violations("AgentToolOutsideAllowlist", "tools", "tool"),
        *_violations("AgentPolicyViolation", "models", "model"),
        *_violations("AgentApprovalMissing", "approval", "approval"),
        *_SAFETY,
        *_BREACHES,
        *_SIDECARS,
    ),
    sidecar(_HOURS, _LONG),
    health={
        "busy": 0,
        "some-errors": 1,
        "llm-errors": 2,
        "slow": 2,
        "slow-few": 1,
        "few-errors": 0,
        "slow-without-objective": 0,
        "loops": 2,
        "loops-few": 1,
        "tool-first": 2,
        "tool-never": 0,
        "tool-away": 0,
        "unsafe-first": 2,
    },
)

# -- nothing at all --

NOTHING: Final = Timeline(_HOURS, 1, (Case("SidecarAbsent", "", [], ("SidecarAbsent",)),), [])

TIMELINES: Final = {"days": DAYS, "week": WEEK, "creep": CREEP, "shift": SHIFT, "hours": HOURS, "nothing": NOTHING}


def all_cases() -> list[Case]:
    """Return every case; that of a fleet with sidecars is where `SidecarAbsent` is quiet."""
    quiet = Case("SidecarAbsent", "sidecar", HOURS.around)
    return [quiet, *(case for timeline in TIMELINES.values() for case in timeline.cases)]

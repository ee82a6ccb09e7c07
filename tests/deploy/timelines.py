"""Time series for tests of rules, in the notation of `promtool test rules`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

@dataclass(frozen=True, slots=True)
class Phase:
    """Some hours in which an agent does the same thing over and over."""

    hours: float
    runs: float = 30
    """Runs an hour; 0 for an agent that does nothing."""
    failed: float = 0.0
    """Share of the runs that fail."""
    cost: float = 0.1
    """US dollars a run."""
    turns: float = 4
    """Model calls a run."""
    llm_errors: float = 0.0
    """Share of the model calls."""
    retries: float = 0.0
    """Share of the model calls."""
    no_usage: float = 0.0
    """Share of the model calls."""
    tools: Mapping[str, float] = field(default_factory=lambda: {"search": 2, "book": 1})
    """Calls a run."""
    tool_errors: float = 0.0
    """Share of the tool calls."""
    seconds: float = 4
    """How long a run takes."""
    score: float | None = 0.8
    """Of each run."""
    loops: float = 0.0
    """Loops a run."""
    wasted: float = 0.0
    """US dollars a run."""
    unpriced: float = 0.0
    """Share of the tokens."""
    orphans: float = 0.0
    """Share of the steps."""
    cut_short: float = 0.0
    """Share of the runs."""
    absent: bool = False
    """The agent was never heard of."""
    first: float = 0.0
    """What every counter of the phase begins with, for an agent that comes back."""


@dataclass(frozen=True, slots=True)
class Clock:
    """When samples are: `step_minutes` apart."""

    step_minutes: float

    def samples(self, hours: float) -> int:
        """Return how many samples a time has."""
        return round(hours * 60 / self.step_minutes)


def counter(clock: Clock, phases: Sequence[tuple[float, float | None]]) -> str:
    """Return a counter's values: (hours, increase in an hour) one after another, None for not there."""
    value, tokens = 0.0, []
    for hours, per_hour in phases:
        count = clock.samples(hours)
        if per_hour is None:
            tokens.append(f"_x{count - 1}")
            continue
        step = per_hour * clock.step_minutes / 60
        tokens.append(f"{value:g}+{step:g}x{count - 1}" if count > 1 else f"{value:g}")
        value += step * count
    return " ".join(tokens)


def gauge(clock: Clock, *phases: tuple[float, float | None]) -> str:
    """Return a gauge's values: (hours, value) one after another, None for not there."""
    return " ".join(
        f"_x{clock.samples(hours) - 1}" if value is None else f"{value:g}+0x{clock.samples(hours) - 1}"
        for hours, value in phases
    )


def series(name: str, values: str, /, **labels: str) -> dict[str, str]:
    """Return one series; `instance` is `sidecar` unless it is given."""
    pairs = {"job": "spanledger", "instance": "sidecar", **labels}
    selector = ", ".join(f'{key}="{value}"' for key, value in pairs.items())
    return {"series": f"{name}{{{selector}}}", "values": values}


def agent(clock: Clock, service: str, phases: Sequence[Phase]) -> list[dict[str, str]]:
    """Return all series of an agent `planner` that is the only one of its service."""
    who = {"service_name": service, "agent_name": "planner"}
    model = {"provider": "openai", "model": "gpt-4o-mini"}

    def rows() -> Iterator[tuple[str, dict[str, str], Any]]:
        call = {**who, **model, "operation": "chat"}
        yield "spanledger_runs_total", {**who, "outcome": "success", "completeness": "complete"}, lambda p: p.runs * (1 - p.failed) * (1 - p.cut_short)
        yield "spanledger_runs_total", {**who, "outcome": "failure", "completeness": "complete"}, lambda p: p.runs * p.failed * (1 - p.cut_short)
        yield "spanledger_runs_total", {**who, "outcome": "unknown", "completeness": "truncated"}, lambda p: p.runs * p.cut_short
        yield "spanledger_run_cost_usd_total", {**who, "outcome": "success"}, lambda p: p.runs * p.cost
        yield "spanledger_llm_cost_usd_total", {**who, **model}, lambda p: p.runs * p.cost
        yield "spanledger_llm_calls_total", {**call, "status": "ok", "error_type": ""}, lambda p: p.runs * p.turns * (1 - p.llm_errors)
        yield "spanledger_llm_calls_total", {**call, "status": "error", "error_type": "rate_limit"}, lambda p: p.runs * p.turns * p.llm_errors
        yield "spanledger_llm_retries_total", {**who, **model}, lambda p: p.runs * p.turns * p.retries
        yield "spanledger_llm_calls_without_usage_total", {**who, **model}, lambda p: p.runs * p.turns * p.no_usage
        yield "spanledger_llm_tokens_total", {**who, **model, "token_type": "input"}, lambda p: p.runs * p.turns * 1000
        yield "spanledger_llm_unpriced_tokens_total", {"service_name": service, **model, "reason": "unknown_model"}, lambda p: p.runs * p.turns * 1000 * p.unpriced
        for tool in sorted({tool for phase in phases for tool in phase.tools}):
            called = {**who, "tool_name": tool}
            yield "spanledger_tool_calls_total", {**called, "status": "ok", "error_type": ""}, lambda p, t=tool: p.runs * p.tools.get(t, 0) * (1 - p.tool_errors)
            yield "spanledger_tool_calls_total", {**called, "status": "error", "error_type": "timeout"}, lambda p, t=tool: p.runs * p.tools.get(t, 0) * p.tool_errors
        for bound in ("5", "30", "60", "+Inf"):
            yield "spanledger_run_duration_seconds_bucket", {**who, "le": bound}, lambda p, b=bound: p.runs * (p.seconds <= float(b))
        for shape, amount in (("run_llm_calls", lambda p: p.turns), ("run_steps", lambda p: 1 + p.turns + sum(p.tools.values()))):
            yield f"spanledger_{shape}_sum", who, lambda p, a=amount: p.runs * a(p)
            yield f"spanledger_{shape}_count", who, lambda p: p.runs
        judged = {**who, "evaluation_name": "helpfulness", "label": ""}
        yield "spanledger_evaluation_score_sum", judged, lambda p: p.runs * (p.score or 0)
        yield "spanledger_evaluation_score_count", judged, lambda p: p.runs * (p.score is not None)
        yield "spanledger_loops_total", {**who, "rule": "exact_repeat"}, lambda p: p.runs * p.loops
        yield "spanledger_loop_wasted_cost_usd_total", {**who, "rule": "exact_repeat"}, lambda p: p.runs * p.wasted
        yield "spanledger_orphan_spans_total", {"service_name": service}, lambda p: p.runs * (1 + p.turns + sum(p.tools.values())) * p.orphans

    return [
        series(name, counter(clock, [(p.hours, None if p.absent else rate(p)) for p in phases]), **labels)
        for name, labels, rate in rows()
    ]


def sidecar(clock: Clock, hours: float, instance: str = "sidecar", **changed: str | None) -> list[dict[str, str]]:
    """Return the series of a healthy sidecar; `changed` replaces the values of some, None takes them away."""
    age = 90 * 60
    healthy: dict[str, str | None] = {
        "up": gauge(clock, (hours, 1)),
        "otelcol_process_uptime_seconds": f"{age}+{clock.step_minutes * 60:g}x{clock.samples(hours) - 1}",
        "spanledger_runs_open": gauge(clock, (hours, 1)),
        "spanledger_uncounted_steps_total": gauge(clock, (hours, 0)),
        "otelcol_receiver_accepted_spans_total": counter(clock, [(hours, 1000)]),
        "spanledger_price_data_age_seconds": gauge(clock, (hours, 86400)),
        "spanledger_price_data_info": gauge(clock, (hours, 1)),
        "spanledger_loop_lag_seconds": gauge(clock, (hours, 0.01)),
        "spanledger_request_duration_seconds_count": counter(clock, [(hours, 1000)]),
    }
    return [
        series(name, values, instance=instance) for name, values in {**healthy, **changed}.items() if values is not None
    ]

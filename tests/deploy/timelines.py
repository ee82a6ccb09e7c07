"""Time series for tests of rules, in the notation of `promtool test rules`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field


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
    tool_retries: float = 0.0
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
    tools = sorted({tool for phase in phases for tool in phase.tools})
    columns = [list(_rates(phase, service, tools)) for phase in phases]
    return [
        series(
            same[0][0],
            counter(clock, [(p.hours, None if p.absent else row[2]) for p, row in zip(phases, same, strict=True)]),
            **same[0][1],
        )
        for same in zip(*columns, strict=True)
    ]


def _rates(p: Phase, service: str, tools: Sequence[str]) -> Iterator[tuple[str, dict[str, str], float]]:
    """Yield name, labels and increase in an hour of every counter."""
    of = {"service_name": service}
    who = {**of, "agent_name": "planner"}
    model = {**who, "provider": "openai", "model": "gpt-4o-mini"}
    calls = p.runs * p.turns
    steps = p.runs * (1 + p.turns + sum(p.tools.values()))

    for outcome, share in (("success", 1 - p.failed), ("failure", p.failed)):
        labels = {**who, "outcome": outcome, "completeness": "complete"}
        yield "spanledger_runs_total", labels, p.runs * share * (1 - p.cut_short)
    cut = {**who, "outcome": "unknown", "completeness": "truncated"}
    yield "spanledger_runs_total", cut, p.runs * p.cut_short
    yield "spanledger_run_cost_usd_total", {**who, "outcome": "success"}, p.runs * p.cost
    yield "spanledger_llm_cost_usd_total", model, p.runs * p.cost

    for status, error_type, share in (("ok", "", 1 - p.llm_errors), ("error", "rate_limit", p.llm_errors)):
        labels = {**model, "operation": "chat", "status": status, "error_type": error_type}
        yield "spanledger_llm_calls_total", labels, calls * share
    yield "spanledger_llm_retries_total", model, calls * p.retries
    yield "spanledger_tool_retries_total", who, p.runs * sum(p.tools.values()) * p.tool_retries
    yield "spanledger_run_tool_calls_sum", who, p.runs * sum(p.tools.values())
    yield "spanledger_llm_calls_without_usage_total", model, calls * p.no_usage
    yield "spanledger_llm_tokens_total", {**model, "token_type": "input"}, calls * 1000
    unpriced = {**of, "provider": "openai", "model": "gpt-4o-mini", "reason": "unknown_model"}
    yield "spanledger_llm_unpriced_tokens_total", unpriced, calls * 1000 * p.unpriced
    for tool in tools:
        for status, error_type, share in (("ok", "", 1 - p.tool_errors), ("error", "timeout", p.tool_errors)):
            labels = {**who, "tool_name": tool, "status": status, "error_type": error_type}
            yield "spanledger_tool_calls_total", labels, p.runs * p.tools.get(tool, 0) * share

    for bound in ("5", "30", "60", "+Inf"):
        within = p.runs * (p.seconds <= float(bound))
        yield "spanledger_run_duration_seconds_bucket", {**who, "le": bound}, within
    for shape, amount in (("run_llm_calls", calls), ("run_steps", steps)):
        yield f"spanledger_{shape}_sum", who, amount
        yield f"spanledger_{shape}_count", who, p.runs
    judged = {**who, "evaluation_name": "helpfulness", "label": ""}
    yield "spanledger_evaluation_score_sum", judged, p.runs * (p.score or 0)
    yield "spanledger_evaluation_score_count", judged, p.runs * (p.score is not None)
    yield "spanledger_loops_total", {**who, "rule": "exact_repeat"}, p.runs * p.loops
    yield "spanledger_loop_wasted_cost_usd_total", {**who, "rule": "exact_repeat"}, p.runs * p.wasted
    yield "spanledger_orphan_spans_total", of, steps * p.orphans


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

"""What the sidecar's metrics would have counted of a run, and when: from the run document alone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from spanledger.conventions.metrics import METRICS

if TYPE_CHECKING:
    from spanledger.conventions.run import Run, RunStep

Labels = tuple[tuple[str, str], ...]

_BUCKETS: Final = {row.name: row.buckets for row in METRICS if row.type == "histogram"}
_HISTOGRAMS: Final = (
    "spanledger_llm_duration_seconds", "spanledger_tool_duration_seconds", "spanledger_run_duration_seconds",
    "spanledger_run_cost_usd", "spanledger_run_steps", "spanledger_run_llm_calls", "spanledger_run_tool_calls",
    "spanledger_run_depth", "spanledger_evaluation_score",
)  # fmt: skip
COUNTED: Final = frozenset(
    {
        "spanledger_llm_calls_total", "spanledger_llm_retries_total", "spanledger_llm_cost_usd_total",
        "spanledger_llm_calls_without_usage_total", "spanledger_llm_tokens_total",
        "spanledger_llm_unpriced_tokens_total", "spanledger_tool_calls_total", "spanledger_runs_total",
        "spanledger_tool_retries_total", "spanledger_run_cost_usd_total", "spanledger_loops_total",
        "spanledger_loop_wasted_cost_usd_total",
        "spanledger_policy_violations_total", "spanledger_safety_findings_total", "spanledger_evaluations_total",
        *(f"{name}{suffix}" for name in _HISTOGRAMS for suffix in ("_bucket", "_sum", "_count")),
    }
)  # fmt: skip
"""Every series that `counted` may add to."""
_LOOPS: Final = frozenset({"loop", "storm"})


@dataclass(frozen=True, slots=True)
class Counted:
    """An increase of one series."""

    at_ns: int
    name: str
    labels: Labels
    amount: float


def counted(run: Run) -> Iterator[Counted]:
    """Yield what is counted of a run: of its steps when they end, of the run when it does."""
    for step in run.steps:
        if step.kind == "llm" and step.cost_status != "rollup":
            yield from _llm_call(run, step)
        elif step.kind == "tool":
            yield from _tool_call(run, step)
    yield from _closed(run)


def end_ns(run: Run) -> int:
    """Return when a run ended: with its last step, if nothing else says it."""
    if run.duration_s is not None:
        return run.started_at_ns + round(run.duration_s * 1e9)
    return max((step_end_ns(step) for step in run.steps), default=run.started_at_ns)


def step_end_ns(step: RunStep) -> int:
    """Return when a step ended."""
    return step.started_at_ns + round((step.duration_s or 0) * 1e9)


def _llm_call(run: Run, step: RunStep) -> Iterator[Counted]:
    at = step_end_ns(step)
    model = (
        ("service_name", run.service_name), ("agent_name", step.agent_name or ""),
        ("provider", step.provider or ""), ("model", step.model or ""),
    )  # fmt: skip
    ended = ("status", step.status), ("error_type", _error_type(step))
    yield Counted(at, "spanledger_llm_calls_total", (*model, ("operation", "chat"), *ended), 1)
    yield Counted(at, "spanledger_llm_retries_total", model, int(step.attempt > 1))
    if step.cost_pico_usd is not None:
        yield Counted(at, "spanledger_llm_cost_usd_total", model, step.cost_pico_usd / 1e12)
    if step.duration_s is not None:
        yield from _observed(at, "spanledger_llm_duration_seconds", model, step.duration_s)
    usage = step.usage
    if usage is None or (usage.input is None and usage.output is None):
        if step.status == "ok":
            yield Counted(at, "spanledger_llm_calls_without_usage_total", model, 1)
        return
    cached = (usage.cache_read or 0) + (usage.cache_write or 0)
    tokens = {
        "input": max(0, (usage.input or 0) - cached),
        "cache_read": usage.cache_read or 0,
        "cache_write": usage.cache_write or 0,
        "output": max(0, (usage.output or 0) - (usage.reasoning or 0)),
        "reasoning": usage.reasoning or 0,
    }
    for token_type, count in tokens.items():
        yield Counted(at, "spanledger_llm_tokens_total", (*model, ("token_type", token_type)), count)
    if step.cost_status == "unpriced":
        labels = (model[0], *model[2:], ("reason", "unpriced"))
        yield Counted(at, "spanledger_llm_unpriced_tokens_total", labels, sum(tokens.values()))


def _tool_call(run: Run, step: RunStep) -> Iterator[Counted]:
    at = step_end_ns(step)
    labels = (
        ("service_name", run.service_name), ("agent_name", step.agent_name or ""),
        ("tool_name", step.tool_name or step.name),
    )  # fmt: skip
    ended = ("status", step.status), ("error_type", _error_type(step))
    yield Counted(at, "spanledger_tool_calls_total", (*labels, *ended), 1)
    if step.duration_s is not None:
        yield from _observed(at, "spanledger_tool_duration_seconds", labels, step.duration_s)


def _error_type(step: RunStep) -> str:
    return (step.error_type or "_OTHER") if step.status == "error" else ""


def _closed(run: Run) -> Iterator[Counted]:
    at = end_ns(run)
    who = ("service_name", run.service_name), ("agent_name", run.agent_name)
    totals = run.totals
    for outcome in ("success", "failure", "partial", "unknown"):  # the others are there, at 0
        ended: Labels = (*who, ("outcome", outcome), ("completeness", run.completeness))
        yield Counted(at, "spanledger_runs_total", ended, int(outcome == run.outcome))
        cost = (totals.cost_pico_usd or 0) / 1e12 if outcome == run.outcome else 0
        yield Counted(at, "spanledger_run_cost_usd_total", (*who, ("outcome", outcome)), cost)
    observed = {
        "spanledger_run_duration_seconds": run.duration_s,
        "spanledger_run_cost_usd": None if totals.cost_pico_usd is None else totals.cost_pico_usd / 1e12,
        "spanledger_run_steps": totals.steps,
        "spanledger_run_llm_calls": totals.llm_calls,
        "spanledger_run_tool_calls": totals.tool_calls,
        "spanledger_run_depth": totals.max_depth,
    }
    for name, value in observed.items():
        if value is not None:
            yield from _observed(at, name, who, value)
    repeated = sum(step.kind == "tool" and step.attempt > 1 for step in run.steps)
    yield Counted(at, "spanledger_tool_retries_total", who, repeated)
    for finding in run.findings:
        if finding.kind in _LOOPS:
            rule = (*who, ("rule", finding.rule))
            yield Counted(at, "spanledger_loops_total", rule, 1)
            wasted = _number(finding.detail.get("wasted_usd"))
            yield Counted(at, "spanledger_loop_wasted_cost_usd_total", rule, wasted)
        elif finding.kind == "policy":
            detail = {name: str(finding.detail.get(name) or "") for name in ("policy", "agent_name", "subject")}
            tool = detail["subject"] if finding.rule in ("tools", "approval") else ""
            violation = (
                ("service_name", run.service_name), ("agent_name", detail["agent_name"]),
                ("policy", detail["policy"]), ("rule", finding.rule), ("tool_name", tool),
            )  # fmt: skip
            for action in ("attempted", "executed", "blocked"):
                times = _number(finding.detail.get(action))
                yield Counted(at, "spanledger_policy_violations_total", (*violation, ("action", action)), times)
        elif finding.kind == "safety":
            agent = ("agent_name", str(finding.detail.get("agent_name") or ""))
            found = (who[0], agent, ("category", finding.rule), ("severity", finding.severity))
            yield Counted(at, "spanledger_safety_findings_total", found, len(finding.steps))
    for judged in run.evaluations:
        evaluation = judged.evaluation
        labels = (*who, ("evaluation_name", evaluation.name), ("label", evaluation.label or ""))
        yield Counted(at, "spanledger_evaluations_total", labels, 1)
        if evaluation.score is not None:
            yield from _observed(at, "spanledger_evaluation_score", labels, evaluation.score)


def _number(value: object) -> float:
    return value if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 1e12 else 0


def _observed(at_ns: int, name: str, labels: Labels, value: float) -> Iterator[Counted]:
    for bound in (*_BUCKETS[name], float("inf")):
        le = "+Inf" if bound == float("inf") else repr(bound)
        yield Counted(at_ns, f"{name}_bucket", (*labels, ("le", le)), int(value <= bound))
    yield Counted(at_ns, f"{name}_sum", labels, value)
    yield Counted(at_ns, f"{name}_count", labels, 1)

"""Recording rules: what panels and alerts share, and the long baselines that no panel should compute anew.

Baselines of days are subqueries at one-hour steps over one-hour recordings: 168 samples an agent, where a week of
one-minute samples would be ten thousand. They end an hour or more ago (`offset`), so that what is wrong now is no
part of what it is compared with.
"""

from __future__ import annotations

from typing import Final

from spanledger.service.assets.expressions import average, increase, named, quantile, ratio
from spanledger.service.assets.health import HEALTH
from spanledger.service.assets.rule import BY, Group, Recording

MODEL: Final = f"{BY}, provider, model"
WINDOWS: Final = {"5m": 300, "30m": 1800, "1h": 3600, "6h": 21600}
"""Of burn rates, in seconds."""


VOLUME: Final = (
    Recording(
        "agent:spanledger_runs:increase15m",
        increase("spanledger_runs_total", "15m"),
        "Runs that ended in the last 15 minutes.",
    ),
    Recording(
        "agent:spanledger_runs:increase1h",
        increase("spanledger_runs_total", "1h"),
        "Runs that ended in the last hour.",
    ),
    Recording(
        "agent:spanledger_runs_success:increase1h",
        increase('spanledger_runs_total{outcome="success"}', "1h"),
        "Runs that succeeded in the last hour.",
    ),
    *(
        Recording(
            f"agent:spanledger_run_failures:ratio{window}",
            ratio(
                increase('spanledger_runs_total{outcome="failure"}', window),
                increase("spanledger_runs_total", window),
            ),
            f"Share of the runs of the last {window} that failed, 0 to 1.",
        )
        for window in WINDOWS
    ),
)

COST: Final = (
    Recording(
        "agent:spanledger_llm_cost_usd:increase10m",
        increase("spanledger_llm_cost_usd_total", "10m"),
        "Spent on model calls in the last 10 minutes, USD; runs under way included.",
    ),
    Recording(
        "agent:spanledger_llm_cost_usd:increase1h",
        increase("spanledger_llm_cost_usd_total", "1h"),
        "Spent on model calls in the last hour, USD; runs under way included.",
    ),
    Recording(
        "agent_model:spanledger_llm_cost_usd:increase1h",
        increase("spanledger_llm_cost_usd_total", "1h", MODEL),
        "The same by provider and model.",
    ),
    Recording(
        "agent:spanledger_run_cost_usd:increase1h",
        increase("spanledger_run_cost_usd_total", "1h"),
        "Cost of the runs that ended in the last hour, USD.",
    ),
    Recording(
        "agent:spanledger_cost_per_run_usd:ratio1h",
        ratio("agent:spanledger_run_cost_usd:increase1h", "agent:spanledger_runs:increase1h"),
        "Cost of a run, mean of the last hour, USD.",
    ),
    Recording(
        "agent:spanledger_cost_per_success_usd:ratio1h",
        ratio("agent:spanledger_run_cost_usd:increase1h", "agent:spanledger_runs_success:increase1h"),
        "Cost of a successful run in the last hour, USD: what failed runs cost is paid by those that succeeded.",
    ),
    Recording(
        "agent:spanledger_cost_per_success_usd:median7d",
        "quantile_over_time(0.5, agent:spanledger_cost_per_success_usd:ratio1h[7d:1h] offset 1h)",
        "Its median over the week that ended an hour ago, USD.",
    ),
    Recording(
        "agent:spanledger_cost_per_run_usd:avg7d",
        ratio(
            "sum_over_time(agent:spanledger_run_cost_usd:increase1h[7d:1h] offset 1h)",
            "sum_over_time(agent:spanledger_runs:increase1h[7d:1h] offset 1h)",
        ),
        "Cost of a run over the week that ended an hour ago, USD: all cost by all runs, so that quiet nights "
        "do not weigh as much as busy days.",
    ),
    Recording(
        "agent:spanledger_cost_per_run_usd:hours7d",
        "count_over_time(agent:spanledger_cost_per_run_usd:ratio1h[7d:1h] offset 1h)",
        "Hours of that week in which runs ended: how much the averages rest on.",
    ),
    Recording(
        "agent:spanledger_cost_per_run_usd:avg24h",
        ratio(
            "sum_over_time(agent:spanledger_run_cost_usd:increase1h[24h:1h] offset 12h)",
            "sum_over_time(agent:spanledger_runs:increase1h[24h:1h] offset 12h)",
        ),
        "Cost of a run in the 24 hours that ended 12 hours ago, USD: yesterday, as seen from the morning.",
    ),
    Recording(
        "agent:spanledger_llm_cost_usd:avg24h",
        "avg_over_time(agent:spanledger_llm_cost_usd:increase1h[24h:1h] offset 12h)",
        "Spent in an hour, mean of the 24 hours that ended 12 hours ago, USD.",
    ),
)

ERRORS: Final = (
    Recording(
        "agent_type:spanledger_calls:increase15m",
        named(
            "type",
            {
                "llm_error": increase("spanledger_llm_calls_total", "15m"),
                "tool_failure": increase("spanledger_tool_calls_total", "15m"),
                "run_failure": "agent:spanledger_runs:increase15m",
            },
        ),
        "Model calls, tool calls and runs of the last 15 minutes, under the `type` of error that they can end with.",
    ),
    Recording(
        "agent_type:spanledger_errors:increase15m",
        named(
            "type",
            {
                "llm_error": increase('spanledger_llm_calls_total{status="error"}', "15m"),
                "tool_failure": increase('spanledger_tool_calls_total{status="error"}', "15m"),
                "run_failure": increase('spanledger_runs_total{outcome="failure"}', "15m"),
            },
        ),
        "Those of them that failed, by `type`: `llm_error`, `tool_failure`, `run_failure`.",
    ),
    Recording(
        "agent_type:spanledger_errors:ratio15m",
        ratio("agent_type:spanledger_errors:increase15m", "agent_type:spanledger_calls:increase15m"),
        "Error rate of the last 15 minutes by `type`, 0 to 1.",
    ),
    Recording(
        "agent_error:spanledger_errors:increase15m",
        named(
            "type",
            {
                "llm_error": increase('spanledger_llm_calls_total{status="error"}', "15m", f"{BY}, error_type"),
                "tool_failure": increase('spanledger_tool_calls_total{status="error"}', "15m", f"{BY}, error_type"),
            },
        ),
        "Failed calls of the last 15 minutes by `type` and by the `error_type` of the span.",
    ),
    Recording(
        "agent:spanledger_llm_calls:increase5m",
        increase("spanledger_llm_calls_total", "5m"),
        "Model calls of the last 5 minutes.",
    ),
    Recording(
        "agent:spanledger_llm_retries:ratio5m",
        ratio(increase("spanledger_llm_retries_total", "5m"), "agent:spanledger_llm_calls:increase5m"),
        "Share of the model calls of the last 5 minutes that repeat another, 0 to 1.",
    ),
    Recording(
        "agent:spanledger_run_tool_calls:increase5m",
        increase("spanledger_run_tool_calls_sum", "5m"),
        "Tool calls of the runs that ended in the last 5 minutes.",
    ),
    Recording(
        "agent:spanledger_tool_retries:ratio5m",
        # Both are counted when a run ends: only then it is known what a call repeats.
        ratio(increase("spanledger_tool_retries_total", "5m"), "agent:spanledger_run_tool_calls:increase5m"),
        "Share of the tool calls of the runs that ended in the last 5 minutes that repeat another, 0 to 1.",
    ),
)

LATENCY: Final = (
    *(
        Recording(
            f"agent:spanledger_run_duration_seconds:p{round(q * 100)}_15m",
            quantile(q, "spanledger_run_duration_seconds"),
            f"P{round(q * 100)} of the duration of runs over 15 minutes, seconds.",
        )
        for q in (0.5, 0.95, 0.99)
    ),
    Recording(
        "agent_model:spanledger_llm_duration_seconds:p95_15m",
        quantile(0.95, "spanledger_llm_duration_seconds", MODEL),
        "P95 of the duration of model calls over 15 minutes, seconds.",
    ),
    Recording(
        "agent_tool:spanledger_tool_duration_seconds:p95_15m",
        quantile(0.95, "spanledger_tool_duration_seconds", f"{BY}, tool_name"),
        "P95 of the duration of tool calls over 15 minutes, seconds.",
    ),
)

QUALITY: Final = (
    Recording(
        "agent_evaluation:spanledger_evaluation_score:count6h",
        increase("spanledger_evaluation_score_count", "6h", f"{BY}, evaluation_name"),
        "Scores of the last 6 hours.",
    ),
    Recording(
        "agent_evaluation:spanledger_evaluation_score:avg6h",
        average("spanledger_evaluation_score", "6h", f"{BY}, evaluation_name"),
        "Mean score of the last 6 hours, in the evaluation's own scale.",
    ),
    Recording(
        "agent_evaluation:spanledger_evaluation_score:avg7d",
        "avg_over_time(agent_evaluation:spanledger_evaluation_score:avg6h[7d:1h] offset 6h)",
        "Its mean over the week before.",
    ),
    Recording(
        "agent:spanledger_runs_evaluated:ratio6h",
        ratio(increase("spanledger_runs_evaluated_total", "6h"), increase("spanledger_runs_total", "6h")),
        "Share of the runs of the last 6 hours that were judged, 0 to 1.",
    ),
)

SHAPE: Final = (
    Recording(
        "agent:spanledger_run_steps:avg1h",
        average("spanledger_run_steps", "1h"),
        "Steps of a run, mean of the last hour.",
    ),
    Recording(
        "agent:spanledger_run_steps:avg7d",
        "avg_over_time(agent:spanledger_run_steps:avg1h[7d:1h] offset 1d)",
        "Its mean over the week that ended a day ago: a creep of hours is no part of it.",
    ),
    Recording(
        "agent:spanledger_run_llm_calls:avg1h",
        average("spanledger_run_llm_calls", "1h"),
        "Model calls of a run, mean of the last hour: how deep the loop of reasoning goes.",
    ),
    Recording(
        "agent:spanledger_run_llm_calls:avg7d",
        "avg_over_time(agent:spanledger_run_llm_calls:avg1h[7d:1h] offset 1d)",
        "Its mean over the week that ended a day ago.",
    ),
    Recording(
        "agent:spanledger_run_depth:avg1h",
        average("spanledger_run_depth", "1h"),
        "Agents above one another in a run, mean of the last hour.",
    ),
    Recording(
        "agent:spanledger_loops:increase1h",
        increase("spanledger_loops_total", "1h"),
        "Loops that were found in the last hour.",
    ),
    Recording(
        "agent:spanledger_loop_wasted_cost_usd:increase1h",
        increase("spanledger_loop_wasted_cost_usd_total", "1h"),
        "Cost of the steps that loops repeated in the last hour, USD.",
    ),
)

_NOW: Final = "agent_tool:spanledger_tool_share:ratio6h"
_WEEK: Final = "agent_tool:spanledger_tool_share:ratio7d"


def _share(calls: str) -> str:
    return f"{calls} / on ({BY}) group_left () (sum by ({BY}) ({calls}) > 0)"


TOOLS: Final = (
    Recording(
        "agent_tool:spanledger_tool_calls:increase6h",
        increase("spanledger_tool_calls_total", "6h", f"{BY}, tool_name"),
        "Calls of a tool in the last 6 hours.",
    ),
    Recording(
        "agent_tool:spanledger_tool_calls:increase7d",
        "sum_over_time(agent_tool:spanledger_tool_calls:increase6h[7d:6h] offset 6h)",
        "Calls of a tool in the week before those.",
    ),
    Recording(
        _NOW,
        _share("agent_tool:spanledger_tool_calls:increase6h"),
        "Share of a tool in the calls of the last 6 hours, 0 to 1.",
    ),
    Recording(_WEEK, _share("agent_tool:spanledger_tool_calls:increase7d"), "Its share in the week before, 0 to 1."),
    Recording(
        "agent:spanledger_tool_mix:tvd6h",
        # The arms after the first are tools seen on one side only.
        f"0.5 * sum by ({BY}) (\n  abs({_NOW} - {_WEEK})\n  or ({_NOW} unless {_WEEK})\n  or ({_WEEK} unless "
        f"{_NOW})\n)",
        "How far the mix of tools is from that of the week before: 0 the same, 1 nothing in common (total "
        "variation distance).",
    ),
    Recording(
        "agent:spanledger_tool_mix:noise6h",
        f"clamp_min(<drift.noise> * sqrt(\n  count by ({BY}) ({_NOW} > 0)\n"
        f"  / sum by ({BY}) (agent_tool:spanledger_tool_calls:increase6h)\n), <drift.least>)",
        "The distance that chance alone seldom passes with so many tools and calls: beyond it the mix has moved.",
    ),
)

BUDGETS: Final = tuple(
    Recording(
        f"budget:spanledger_budget_burn:ratio{window}",
        # After a new period has begun, all that is spent was spent since. `increase()` would take the cents that a
        # budget gets back, when a run turns out to be cheaper, for a new period.
        f"(\n  sum by (budget) (delta(spanledger_budget_spent_usd[{window}])) >= 0\n"
        f"  or sum by (budget) (spanledger_budget_spent_usd)\n"
        f"    < 0.5 * sum by (budget) (max_over_time(spanledger_budget_spent_usd[{window}]))\n"
        f") / {seconds}\n"
        "/ (max by (budget) (spanledger_budget_limit_usd) / max by (budget) (spanledger_budget_period_seconds) > 0)",
        f"How many times faster than evenly the budget was spent over {window}: 1 spends it exactly in its period.",
    )
    for window, seconds in WINDOWS.items()
)


GROUPS: Final = (
    Group("spanledger.volume", VOLUME),
    Group("spanledger.cost", COST),
    Group("spanledger.errors", ERRORS),
    Group("spanledger.latency", LATENCY),
    Group("spanledger.quality", QUALITY),
    Group("spanledger.trajectories", SHAPE),
    Group("spanledger.tools", TOOLS),
    Group("spanledger.budgets", BUDGETS),
    Group("spanledger.health", HEALTH),
)

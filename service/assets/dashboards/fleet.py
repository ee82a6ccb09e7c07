"""Fleet: which agent, since when, how bad, and where to look."""

from __future__ import annotations

from typing import Final

from spanledger.service.assets.dashboards.panel import Board, Column, Limits, Panel, Query, Row
from spanledger.service.assets.dashboards.series import (
    BY_AGENT,
    BY_MODEL,
    added,
    happened,
    largest,
    mean,
    quantile,
    select,
    share,
    speed,
    top,
)
from spanledger.service.assets.dashboards.shared import (
    AGENT,
    AGENT_COLUMNS,
    COUNT,
    FAILURES,
    MODEL,
    MODEL_COLUMNS,
    OUTCOMES,
    PER_MINUTE,
    RATIO,
    RUNS,
    SECONDS,
    SPEND,
    USD,
    failed,
    graph,
    runs_of_agents,
    sheet,
    stat,
)

LEVEL: Final = select("agent:spanledger_health:level")
SIGNAL: Final = select("agent:spanledger_health:signal")
BUILT_IN: Final = 'evaluation_name=~"spanledger[.].+"'
FAILED_RUNS: Final = select("spanledger_runs_total", 'outcome="failure"')
NO_HEALTH: Final = "No health: are the recording rules loaded?"
LIGHT: Final = (
    "Red and amber by six signals: errors (above <errors.ratio>, amber above <health.errors_amber>), P95 latency "
    "against the objective (amber from <health.latency_amber> of it), cost of a run against its week "
    "(<cost.per_run_factor> times, amber <health.cost_amber>), evaluation scores below the objective, loops (above "
    "<loops.ratio> of the runs of an hour), and any violation of a policy, or unsafe content that went through, in the "
    "last hour. Red is what an alert fires for: with fewer runs, calls or scores than it wants it stays amber. "
    "A signal without data or objective is left out."
)

NOW: Final = Row(
    "Now",
    (
        stat("Health", f"The worst agent. {LIGHT}", f"max({LEVEL})", health=True, empty=NO_HEALTH),
        stat(
            "Agents in red",
            "Agents with a red signal at this moment.",
            f"count({LEVEL} == 2)\nor 0 * count({LEVEL})",
            empty=NO_HEALTH,
            limits=Limits("1", "1", "one is enough to look"),
        ),
        stat("Runs", "Runs that ended in the time range. Runs under way are not in it.", added(RUNS), decimals=0),
        stat(
            "Failed runs",
            "Share of the runs of the time range whose outcome is failure.",
            share(failed(), added(RUNS), absent_is_zero=True),
            RATIO,
            limits=FAILURES,
            leads_to="trajectories",
        ),
        stat(
            "Failed model calls",
            "Share of the model calls of the time range that failed, retried ones included.",
            share(
                added(select("spanledger_llm_calls_total", 'status="error"')),
                added(select("spanledger_llm_calls_total")),
                absent_is_zero=True,
            ),
            RATIO,
            limits=FAILURES,
            empty="No model calls in this time range",
        ),
        stat(
            "P95 of a run",
            "95 of 100 runs of the time range were shorter, as exact as the buckets.",
            quantile(0.95, "spanledger_run_duration_seconds", window="$__range"),
            SECONDS,
            leads_to="trajectories",
        ),
        stat(
            "Cost of a run",
            "Cost of the runs that ended in the time range, by their number. Unpriced calls are missing.",
            share(added(select("spanledger_run_cost_usd_total")), added(RUNS)),
            USD,
            leads_to="cost",
            decimals=4,
        ),
        stat(
            "Violations",
            "Steps in the time range that a policy does not allow, asked for or done.",
            f"{happened(select('spanledger_policy_violations_total'))}\nor 0 * "
            f"{added(select('spanledger_policy_evaluations_total'))}",
            empty="No policy looked at anything",
            limits=Limits("1", "1", "a policy says what must not happen at all"),
            leads_to="safety",
            decimals=0,
        ),
    ),
)

_RUNS: Final = added(RUNS, BY_AGENT)
# Agents below others have calls and no runs of their own.
_RANK: Final = f"({added(select('spanledger_llm_calls_total'), BY_AGENT)} or {_RUNS})"


def _agents(expr: str) -> str:
    return top(expr, BY_AGENT, _RANK, 50)


AGENTS: Final = Row(
    "Which agent, and since when",
    (
        sheet(
            "Agents",
            f"The fifty agents with most model calls in the time range; the name leads to its cost. {LIGHT} "
            "Failed is runs; Errors is the worst error rate of model calls, tool calls and runs in the last 15 "
            "minutes. Loop depth is model calls of a run. Score is the mean of the built-in evaluations, from 0 to 1.",
            AGENT_COLUMNS,
            {
                "Health": _agents(f"max by ({BY_AGENT}) ({LEVEL})"),
                "Runs": _agents(_RUNS),
                "Failed": _agents(f"{added(FAILED_RUNS, BY_AGENT)}\n/ ({_RUNS} > 0)"),
                "Errors": _agents(f"max by ({BY_AGENT}) ({select('agent_type:spanledger_errors:ratio15m')})"),
                "P95": _agents(quantile(0.95, "spanledger_run_duration_seconds", BY_AGENT, "$__range")),
                "$ a run": _agents(share(added(select("spanledger_run_cost_usd_total"), BY_AGENT), _RUNS)),
                "$ a success": _agents(
                    share(
                        added(select("spanledger_run_cost_usd_total"), BY_AGENT),
                        added(select("spanledger_runs_total", 'outcome="success"'), BY_AGENT),
                    )
                ),
                "Loop depth": _agents(mean("spanledger_run_llm_calls", BY_AGENT, "$__range")),
                "Score": _agents(
                    share(
                        added(select("spanledger_evaluation_score", BUILT_IN, "_sum"), BY_AGENT),
                        added(select("spanledger_evaluation_score", BUILT_IN, "_count"), BY_AGENT),
                    )
                ),
                "Violations": _agents(happened(select("spanledger_policy_violations_total"), BY_AGENT)),
            },
            columns={
                "Health": Column(health=True),
                "Runs": Column(COUNT, decimals=0),
                "Failed": Column(RATIO, FAILURES, decimals=1),
                "Errors": Column(RATIO, FAILURES, decimals=1),
                "P95": Column(SECONDS),
                "$ a run": Column(USD, decimals=4),
                "$ a success": Column(USD, decimals=4),
                "Loop depth": Column(decimals=1),
                "Score": Column(decimals=2),
                "Violations": Column(
                    COUNT, decimals=0, limits=Limits("1", "1", "a policy says what must not happen at all")
                ),
            },
            width=24,
            height=9,
            leads_to="cost",
        ),
        Panel(
            "Health over time",
            "state-timeline",
            f"The twenty worst agents. {LIGHT}",
            (
                Query(
                    top(
                        f"max by ({BY_AGENT}) ({LEVEL})",
                        BY_AGENT,
                        f"max by ({BY_AGENT}) (max_over_time({LEVEL}[$__range] @ end()))",
                        20,
                    ),
                    AGENT,
                ),
            ),
            health=True,
            empty=NO_HEALTH,
            leads_to="trajectories",
        ),
        Panel(
            "Why",
            "state-timeline",
            "The signals behind the worst agents' health: what turned, and when.",
            (
                Query(
                    top(
                        f"max by ({BY_AGENT}, signal) ({SIGNAL})",
                        f"{BY_AGENT}, signal",
                        f"max by ({BY_AGENT}, signal) (max_over_time({SIGNAL}[$__range] @ end()))",
                        20,
                    ),
                    f"{AGENT} {{{{signal}}}}",
                ),
            ),
            health=True,
            empty="No signal was amber or red",
            leads_to="trajectories",
        ),
    ),
)

_CALLS: Final = select("spanledger_llm_calls_total")
_TOOLS: Final = select("spanledger_tool_calls_total")

HOW_BAD: Final = Row(
    "How bad",
    (
        graph(
            "Runs a minute",
            "Runs that ended, by agent: the ten with most.",
            Query(largest(RUNS, BY_AGENT), AGENT),
            unit=PER_MINUTE,
            width=8,
            leads_to="trajectories",
        ),
        graph(
            "Runs a minute by outcome",
            "Runs that ended, by how.",
            Query(speed(RUNS, "outcome", 60), "{{outcome}}"),
            unit=PER_MINUTE,
            stacked=True,
            colors=OUTCOMES,
            width=8,
            leads_to="trajectories",
        ),
        graph(
            "Error rate by type",
            "Share of the model calls, of the tool calls and of the runs that failed.",
            Query(
                share(
                    speed(select("spanledger_llm_calls_total", 'status="error"')), speed(_CALLS), absent_is_zero=True
                ),
                "model calls",
            ),
            Query(
                share(
                    speed(select("spanledger_tool_calls_total", 'status="error"')), speed(_TOOLS), absent_is_zero=True
                ),
                "tool calls",
            ),
            Query(
                share(speed(select("spanledger_runs_total", 'outcome="failure"')), speed(RUNS), absent_is_zero=True),
                "runs",
            ),
            unit=RATIO,
            width=8,
            limits=FAILURES,
            leads_to="tools",
        ),
        graph(
            "Duration of runs",
            "P50, P95 and P99 of the agents chosen above; the dots are traces. As exact as the buckets.",
            *(
                Query(quantile(q, "spanledger_run_duration_seconds"), f"P{round(100 * q)}", exemplar=True)
                for q in (0.5, 0.95, 0.99)
            ),
            unit=SECONDS,
            width=8,
            leads_to="trajectories",
        ),
        graph(
            "P95 of runs by agent",
            "The ten agents with most runs; dots are traces.",
            Query(
                top(quantile(0.95, "spanledger_run_duration_seconds", BY_AGENT), BY_AGENT, runs_of_agents()),
                AGENT,
                exemplar=True,
            ),
            unit=SECONDS,
            width=8,
            leads_to="trajectories",
        ),
        graph(
            "P95 of model calls",
            "The ten models with most calls; dots are traces.",
            Query(
                top(
                    quantile(0.95, "spanledger_llm_duration_seconds", BY_MODEL),
                    BY_MODEL,
                    f"sum by ({BY_MODEL}) (increase({_CALLS}[$__range] @ end()))",
                ),
                MODEL,
                exemplar=True,
            ),
            unit=SECONDS,
            width=8,
            empty="No model calls in this time range",
        ),
        graph(
            "Errors a minute by error",
            "Failed model calls by the error they ended with: the ten most frequent.",
            Query(
                largest(select("spanledger_llm_calls_total", 'status="error"'), "error_type, model"),
                "{{error_type}} {{model}}",
            ),
            unit=PER_MINUTE,
            width=8,
            empty="No model call failed",
        ),
        graph(
            "Loop depth",
            "Model calls of a run, mean: the ten agents with most runs. A creep upwards is an agent that goes in "
            "circles.",
            Query(top(mean("spanledger_run_llm_calls", BY_AGENT), BY_AGENT, runs_of_agents()), AGENT),
            width=8,
            leads_to="trajectories",
        ),
        graph(
            "Scores",
            "Mean of evaluations, those with most scores. Built-in ones begin with `spanledger.` and are from 0 to 1.",
            Query(
                top(
                    share(
                        speed(select("spanledger_evaluation_score", suffix="_sum"), "evaluation_name"),
                        speed(select("spanledger_evaluation_score", suffix="_count"), "evaluation_name"),
                    ),
                    "evaluation_name",
                    f"sum by (evaluation_name) "
                    f"(increase({select('spanledger_evaluation_score', suffix='_count')}[$__range] @ end()))",
                ),
                "{{evaluation_name}}",
            ),
            width=8,
            empty="No evaluations in this time range",
            leads_to="quality",
        ),
    ),
)


def _spend(by: str) -> dict[str, str]:
    rank = added(SPEND, by, "7d")
    return {
        "Week": f"topk(50, {rank})",
        "Day": top(added(SPEND, by, "1d"), by, rank, 50),
        "Hour": top(added(SPEND, by, "1h"), by, rank, 50),
    }


_USD_COLUMNS: Final = {title: Column(USD) for title in ("Week", "Day", "Hour")}
_NO_SPEND: Final = "No priced model calls"

MONEY: Final = Row(
    "Spend",
    (
        *(
            stat(
                f"Last {name}",
                f"Spent on model calls in the {name} before the end of the time range, runs under way included. "
                "Unpriced calls are missing.",
                added(SPEND, window=window),
                USD,
                leads_to="cost",
                width=4,
                empty=_NO_SPEND,
            )
            for name, window in (("hour", "1h"), ("day", "1d"), ("week", "7d"))
        ),
        graph(
            "Dollars an hour by provider",
            "Spent on model calls, as it would be in an hour.",
            Query(largest(SPEND, "provider", 3600), "{{provider}}"),
            unit=USD,
            stacked=True,
            empty=_NO_SPEND,
            height=4,
            leads_to="cost",
        ),
        sheet(
            "Spend by agent",
            "Of the last week, day and hour, the fifty dearest of the week.",
            AGENT_COLUMNS,
            _spend(BY_AGENT),
            columns=_USD_COLUMNS,
            width=8,
            empty=_NO_SPEND,
            leads_to="cost",
        ),
        sheet(
            "Spend by provider",
            "Of the last week, day and hour.",
            {"provider": "Provider"},
            _spend("provider"),
            columns=_USD_COLUMNS,
            width=6,
            empty=_NO_SPEND,
            leads_to="cost",
        ),
        sheet(
            "Spend by model",
            "Of the last week, day and hour, the fifty dearest of the week.",
            MODEL_COLUMNS,
            _spend(BY_MODEL),
            columns=_USD_COLUMNS,
            width=10,
            empty=_NO_SPEND,
            leads_to="cost",
        ),
        graph(
            "Dollars an hour by agent",
            "Spent on model calls, as it would be in an hour: the ten dearest agents.",
            Query(largest(SPEND, BY_AGENT, 3600), AGENT),
            unit=USD,
            stacked=True,
            empty=_NO_SPEND,
            leads_to="cost",
        ),
        graph(
            "Dollars a run",
            "Cost of the runs that end, by their number: the ten agents with most runs.",
            Query(
                top(
                    share(speed(select("spanledger_run_cost_usd_total"), BY_AGENT), speed(RUNS, BY_AGENT)),
                    BY_AGENT,
                    runs_of_agents(),
                ),
                AGENT,
            ),
            unit=USD,
            leads_to="cost",
        ),
    ),
)

BOARD: Final = Board(
    "fleet",
    "Fleet",
    "Every agent at a glance: which one is in trouble, since when, how bad it is, and where to look next.",
    (NOW, AGENTS, HOW_BAD, MONEY),
)

"""Trajectories: how agents get to their answers, and how they fail to."""

from __future__ import annotations

from typing import Final

from spanledger.service.assets.dashboards.panel import Board, Column, Limits, Panel, Query, Row
from spanledger.service.assets.dashboards.series import (
    BY_AGENT,
    added,
    largest,
    mean,
    quantile,
    select,
    share,
    speed,
    table,
    top,
)
from spanledger.service.assets.dashboards.shared import (
    AGENT,
    AGENT_COLUMNS,
    COUNT,
    FAILURES,
    OUTCOMES,
    PER_MINUTE,
    RATIO,
    RUNS,
    SECONDS,
    TIMES,
    USD,
    bars,
    failed,
    graph,
    runs_of_agents,
    sheet,
    stat,
)

COMPLETE: Final = select("spanledger_runs_total", 'completeness="complete"')
LOOPS: Final = select("spanledger_loops_total")

NOW: Final = Row(
    "In this time range",
    (
        stat("Runs", "Runs that ended.", added(RUNS), decimals=0),
        stat(
            "Failed",
            "Share of the runs whose outcome is failure.",
            share(failed(), added(RUNS), absent_is_zero=True),
            RATIO,
            limits=FAILURES,
        ),
        stat(
            "Seen completely",
            "Share of the runs of which everything was seen. Others were closed after silence, or by a limit.",
            share(added(COMPLETE), added(RUNS), absent_is_zero=True),
            RATIO,
            limits=Limits(
                "panels.complete_amber",
                "panels.complete_red",
                "numbers of runs that were cut short are too low; the alert fires below <panels.complete_red>",
                low_is_bad=True,
            ),
        ),
        stat("Steps of a run", "Mean.", mean("spanledger_run_steps", window="$__range"), decimals=1),
        stat(
            "Model calls of a run",
            "Mean: how deep the loop of reasoning goes.",
            mean("spanledger_run_llm_calls", window="$__range"),
            decimals=1,
        ),
        stat(
            "Tool calls of a run",
            "Mean.",
            mean("spanledger_run_tool_calls", window="$__range"),
            decimals=1,
            leads_to="tools",
        ),
        stat(
            "Loops",
            "Loops, storms and lack of progress that were found.",
            f"{added(LOOPS)}\nor 0 * {added(RUNS)}",
            decimals=0,
        ),
        stat(
            "Under way",
            "Runs that have not ended, of all agents.",
            "sum(spanledger_runs_open)",
            empty="No sidecar with trajectories",
            decimals=0,
        ),
    ),
)

HOW_THEY_END: Final = Row(
    "How runs end",
    (
        graph(
            "Runs a minute by outcome",
            "Runs that ended, by how. `unknown` is what nothing tells.",
            Query(speed(RUNS, "outcome", 60), "{{outcome}}"),
            unit=PER_MINUTE,
            stacked=True,
            colors=OUTCOMES,
            width=8,
        ),
        graph(
            "Failed runs by agent",
            "Share of the runs that fail: the ten agents with most runs.",
            Query(
                top(
                    share(speed(select("spanledger_runs_total", 'outcome="failure"'), BY_AGENT), speed(RUNS, BY_AGENT)),
                    BY_AGENT,
                    runs_of_agents(),
                ),
                AGENT,
            ),
            unit=RATIO,
            width=8,
            limits=FAILURES,
            leads_to="tools",
        ),
        graph(
            "Runs a minute by completeness",
            "Whether all of a run was seen, or what closed it: `idle` is silence, `rootless` a root that never came, "
            "`evicted` and `truncated` are limits of memory.",
            Query(speed(RUNS, "completeness", 60), "{{completeness}}"),
            unit=PER_MINUTE,
            stacked=True,
            colors={"complete": "green"},
            width=8,
            leads_to="pipeline",
        ),
    ),
)


def _shape(title: str, name: str, says: str, unit: str = "short") -> Panel:
    return graph(
        title,
        f"{says} The ten agents with most runs.",
        Query(top(mean(name, BY_AGENT), BY_AGENT, runs_of_agents()), AGENT),
        unit=unit,
        width=6,
    )


def _spread(title: str, name: str, unit: str = "short") -> Panel:
    return graph(
        title,
        "P50, P95 and P99 of the agents chosen above, as exact as the buckets; the dots are traces.",
        *(Query(quantile(q, name), f"P{round(100 * q)}", exemplar=True) for q in (0.5, 0.95, 0.99)),
        unit=unit,
        width=6,
    )


SHAPE: Final = Row(
    "How long the way is",
    (
        _shape("Steps", "spanledger_run_steps", "Steps of a run, mean."),
        _shape("Model calls", "spanledger_run_llm_calls", "Model calls of a run, mean: the depth of the loop."),
        _shape("Tool calls", "spanledger_run_tool_calls", "Tool calls of a run, mean."),
        _shape("Depth", "spanledger_run_depth", "Agents and workflows above one another in a run, mean."),
        _spread("Steps, spread", "spanledger_run_steps"),
        _spread("Model calls, spread", "spanledger_run_llm_calls"),
        _spread("Tool calls, spread", "spanledger_run_tool_calls"),
        graph(
            "Against the week",
            "Model calls of a run in the last hour, by their mean of the week that ended a day ago: the ten agents "
            "furthest above it now.",
            Query(
                top(
                    f"{select('agent:spanledger_run_llm_calls:avg1h')}\n/ "
                    f"{select('agent:spanledger_run_llm_calls:avg7d')}",
                    BY_AGENT,
                    f"({select('agent:spanledger_run_llm_calls:avg1h')} @ end() / "
                    f"{select('agent:spanledger_run_llm_calls:avg7d')} @ end())",
                ),
                AGENT,
            ),
            unit=TIMES,
            width=6,
            empty="No week to compare with: are the recording rules loaded?",
            limits=Limits(
                "panels.creep_amber",
                "creep.factor",
                "the alert for creeping loops fires at <creep.factor> times the week; amber is the warning before",
            ),
        ),
    ),
)


def _worst(title: str, name: str, what: str, unit: str) -> Panel:
    return graph(
        title,
        f"The bucket of the {what} run of each agent, the ten agents with most runs. Each dot is a run, where it "
        f"really is: "
        "a click leads to its trace. `spanledger runs list` has all of them with their steps.",
        Query(top(quantile(1, name, BY_AGENT), BY_AGENT, runs_of_agents()), AGENT, exemplar=True),
        unit=unit,
    )


WORST: Final = Row(
    "The slowest and the dearest",
    (
        _worst("Slowest runs", "spanledger_run_duration_seconds", "slowest", SECONDS),
        _worst("Dearest runs", "spanledger_run_cost_usd", "dearest", USD),
        graph(
            "Dearest run under way",
            "Cost so far, by agent: the ten dearest in the time range.",
            Query(
                top(
                    f"max by ({BY_AGENT}) ({select('spanledger_open_run_cost_usd_max')})",
                    BY_AGENT,
                    f"max by ({BY_AGENT}) (max_over_time({select('spanledger_open_run_cost_usd_max')}[$__range] @ "
                    f"end()))",
                ),
                AGENT,
            ),
            unit=USD,
            empty="No run was under way",
            limits=Limits("runaway.usd", "runaway.usd", "the alert for runaways fires at this"),
        ),
        graph(
            "Longest run under way",
            "Steps so far, by agent: the ten longest in the time range.",
            Query(
                top(
                    f"max by ({BY_AGENT}) ({select('spanledger_open_run_steps_max')})",
                    BY_AGENT,
                    f"max by ({BY_AGENT}) (max_over_time({select('spanledger_open_run_steps_max')}[$__range] @ end()))",
                ),
                AGENT,
            ),
            empty="No run was under way",
            limits=Limits("runaway.steps", "runaway.steps", "the alert for runaways fires at this, whatever is usual"),
        ),
    ),
)

FINDINGS: Final = Row(
    "Findings",
    (
        graph(
            "Loops a minute by rule",
            "Loops, storms and lack of progress, by the rule that found them. docs/loops.md says what each one means.",
            Query(largest(LOOPS, "rule"), "{{rule}}"),
            unit=PER_MINUTE,
            stacked=True,
            width=8,
            empty="No loops",
        ),
        sheet(
            "Loops by agent",
            "Found in the time range, and what the repeated steps cost.",
            {**AGENT_COLUMNS, "rule": "Rule"},
            {
                "Loops": table(LOOPS, f"{BY_AGENT}, rule"),
                "Wasted": top(
                    added(select("spanledger_loop_wasted_cost_usd_total"), f"{BY_AGENT}, rule"),
                    f"{BY_AGENT}, rule",
                    added(LOOPS, f"{BY_AGENT}, rule"),
                    50,
                ),
            },
            columns={"Loops": Column(COUNT, decimals=0), "Wasted": Column(USD)},
            width=8,
            empty="No loops",
            leads_to="tools",
        ),
        bars(
            "Hand-overs",
            "Work that one agent gave to another in the time range: the fifteen most frequent. In a delegation the "
            "giver waits.",
            f"topk(15, {added(select('spanledger_handoffs_total'), 'agent_name, to_agent, kind')} > 0)",
            "{{agent_name}} → {{to_agent}} ({{kind}})",
            width=8,
            decimals=0,
            empty="No hand-overs",
            leads_to="safety",
        ),
    ),
)

BOARD: Final = Board(
    "trajectories",
    "Trajectories",
    "How agents get to their answers: steps, loops, depth, outcomes, and the slowest and dearest runs with their "
    "traces.",
    (NOW, HOW_THEY_END, SHAPE, WORST, FINDINGS),
)

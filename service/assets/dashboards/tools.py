"""Tools: which ones agents call, which fail, which are slow, and whether the mix has moved."""

from __future__ import annotations

from typing import Final

from spanledger.service.assets.dashboards.panel import Board, Column, Limits, Query, Row
from spanledger.service.assets.dashboards.series import (
    BY_AGENT,
    BY_TOOL,
    added,
    happened,
    largest,
    quantile,
    ranked,
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
    PER_MINUTE,
    RATIO,
    RETRIES,
    RUNS,
    SECONDS,
    TIMES,
    USD,
    graph,
    sheet,
    stat,
)

NO_TOOLS: Final = "No tool calls in this time range"
NO_WEEK: Final = "No week to compare with: are the recording rules loaded?"
CALLS: Final = select("spanledger_tool_calls_total")
FAILED: Final = select("spanledger_tool_calls_total", 'status="error"')
OUTSIDE: Final = select("spanledger_policy_violations_total", 'rule="tools"')
TOOL: Final = "{{tool_name}}"

DRIFT: Final = select("agent:spanledger_tool_mix:tvd6h")
NOISE: Final = select("agent:spanledger_tool_mix:noise6h")
RUN_CALLS: Final = select("spanledger_run_tool_calls", suffix="_sum")
SHARE: Final = select("agent_tool:spanledger_tool_share:ratio6h")
SHARE_OF_WEEK: Final = select("agent_tool:spanledger_tool_share:ratio7d")
BEYOND_NOISE: Final = Limits(
    "panels.drift_amber",
    "1",
    "beyond 1 the distance is more than chance makes with so many tools and calls, and the alert fires",
)

NOW: Final = Row(
    "In this time range",
    (
        stat(
            "Tool calls",
            "Calls of tools. One that is told by framework, client and server counts once.",
            added(CALLS),
            empty=NO_TOOLS,
            decimals=0,
        ),
        stat(
            "Failed",
            "Share of the calls of tools that failed.",
            share(added(FAILED), added(CALLS), absent_is_zero=True),
            RATIO,
            limits=FAILURES,
            empty=NO_TOOLS,
        ),
        stat(
            "Retried",
            "Share of the tool calls of runs that ended that repeat a failed one, before a model is asked again: the "
            "same id, or where there is none the same arguments. What a model asks for anew is another call.",
            share(added(select("spanledger_tool_retries_total")), added(RUN_CALLS)),
            RATIO,
            limits=RETRIES,
            empty=NO_TOOLS,
        ),
        stat(
            "P95",
            "95 of 100 calls were shorter, as exact as the buckets.",
            quantile(0.95, "spanledger_tool_duration_seconds", window="$__range"),
            SECONDS,
            empty=NO_TOOLS,
        ),
        stat(
            "Calls a run",
            "Calls of tools, by the runs that ended.",
            share(added(CALLS), added(RUNS)),
            decimals=1,
            leads_to="trajectories",
            empty=NO_TOOLS,
        ),
        stat(
            "Caused cost",
            "Cost of the model calls that read the results of tools, in runs that ended.",
            added(select("spanledger_tool_induced_cost_usd_total")),
            USD,
            empty="No priced calls after tools",
            leads_to="cost",
        ),
        stat(
            "Outside policy",
            "Calls in the time range that a policy does not allow, asked for or done.",
            f"{happened(OUTSIDE)}\nor 0 * {added(select('spanledger_policy_evaluations_total'))}",
            empty="No policy looked at anything",
            limits=Limits("1", "1", "an allow-list says what must not happen at all"),
            decimals=0,
            leads_to="safety",
        ),
        stat(
            "Drift",
            "The agent whose mix of tools in six hours is furthest from its week, by what chance alone makes.",
            f"max({DRIFT} / {NOISE})",
            TIMES,
            limits=BEYOND_NOISE,
            empty=NO_WEEK,
            decimals=2,
        ),
    ),
)

_RANK: Final = added(CALLS, BY_TOOL)


def _tools(expr: str) -> str:
    return top(expr, BY_TOOL, _RANK, 50)


EACH: Final = Row(
    "Each tool",
    (
        sheet(
            "Tools",
            "The fifty tools with most calls in the time range, of the chosen agents together.",
            {"tool_name": "Tool"},
            {
                "Calls": f"topk(50, {_RANK})",
                "Failed": _tools(f"sum by ({BY_TOOL}) (increase({FAILED}[$__range]))\n/ ({_RANK} > 0)"),
                "P50": _tools(quantile(0.5, "spanledger_tool_duration_seconds", BY_TOOL, "$__range")),
                "P95": _tools(quantile(0.95, "spanledger_tool_duration_seconds", BY_TOOL, "$__range")),
                "Caused cost": _tools(added(select("spanledger_tool_induced_cost_usd_total"), BY_TOOL)),
            },
            columns={
                "Calls": Column(COUNT, decimals=0),
                "Failed": Column(RATIO, FAILURES, decimals=1),
                "P50": Column(SECONDS),
                "P95": Column(SECONDS),
                "Caused cost": Column(USD),
            },
            width=24,
            height=9,
            empty=NO_TOOLS,
        ),
        graph(
            "Calls a minute",
            "The ten tools with most calls.",
            Query(largest(CALLS, BY_TOOL), TOOL),
            unit=PER_MINUTE,
            stacked=True,
            width=8,
            empty=NO_TOOLS,
        ),
        graph(
            "Failed",
            "Share of the calls that failed, of the ten tools with most failures.",
            Query(top(share(speed(FAILED, BY_TOOL), speed(CALLS, BY_TOOL)), BY_TOOL, ranked(FAILED, BY_TOOL)), TOOL),
            unit=RATIO,
            limits=FAILURES,
            width=8,
            empty="No tool failed",
        ),
        graph(
            "Failures a minute by error",
            "By tool and error, the ten most frequent.",
            Query(largest(FAILED, f"{BY_TOOL}, error_type"), f"{TOOL} {{{{error_type}}}}"),
            unit=PER_MINUTE,
            stacked=True,
            width=8,
            empty="No tool failed",
        ),
        graph(
            "P95",
            "Of the ten tools with most calls; the dots are traces.",
            Query(
                top(quantile(0.95, "spanledger_tool_duration_seconds", BY_TOOL), BY_TOOL, ranked(CALLS, BY_TOOL)),
                TOOL,
                exemplar=True,
            ),
            unit=SECONDS,
            empty=NO_TOOLS,
        ),
        graph(
            "Calls a minute by agent",
            "The ten agents with most calls.",
            Query(largest(CALLS, BY_AGENT), AGENT),
            unit=PER_MINUTE,
            stacked=True,
            empty=NO_TOOLS,
            leads_to="trajectories",
        ),
    ),
)

_BY: Final = f"{BY_AGENT}, {BY_TOOL}"

MIX: Final = Row(
    "Against the week",
    (
        graph(
            "Drift",
            "How far the mix of tools of six hours is from that of the week before, by what chance alone makes with "
            "so many tools and calls: "
            "the ten agents furthest away now.",
            Query(top(f"{DRIFT}\n/ {NOISE}", BY_AGENT, f"({DRIFT} @ end() / {NOISE} @ end())"), AGENT),
            unit=TIMES,
            limits=BEYOND_NOISE,
            empty=NO_WEEK,
            width=8,
        ),
        sheet(
            "What moved",
            "Share of a tool in its agent's calls of six hours and of the week before, the fifty that moved most.",
            {"service_name": "Service", "agent_name": "Agent", "tool_name": "Tool"},
            {
                "Moved": f"topk(50, abs({SHARE} - {SHARE_OF_WEEK}) > 0)",
                "Six hours": top(SHARE, _BY, f"abs({SHARE} - {SHARE_OF_WEEK})", 50),
                "Week": top(SHARE_OF_WEEK, _BY, f"abs({SHARE} - {SHARE_OF_WEEK})", 50),
            },
            columns={"Moved": Column(RATIO), "Six hours": Column(RATIO), "Week": Column(RATIO)},
            width=9,
            empty=NO_WEEK,
            leads_to="trajectories",
        ),
        sheet(
            "New tools",
            "Calls in six hours of tools that were not called in the week before: the fifty with most.",
            {**AGENT_COLUMNS, "tool_name": "Tool"},
            {
                "Calls": f"topk(50, {select('agent_tool:spanledger_tool_calls:increase6h')} > 0 unless "
                f"{select('agent_tool:spanledger_tool_calls:increase7d')} > 0)"
            },
            columns={"Calls": Column(COUNT, decimals=0)},
            width=7,
            empty="No tool is new",
        ),
    ),
)

BOARD: Final = Board(
    "tools",
    "Tools",
    "Which tools agents call, which of them fail or are slow, and whether the mix has moved since last week.",
    (NOW, EACH, MIX),
)

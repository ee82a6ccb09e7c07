"""Cost: who spends what, what was wasted, and what is not known."""

from __future__ import annotations

from typing import Final

from spanledger.service.assets.dashboards.panel import Board, Column, Limits, Query, Row
from spanledger.service.assets.dashboards.series import (
    BY_AGENT,
    BY_MODEL,
    BY_TOOL,
    added,
    largest,
    rare_table,
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
    MODEL,
    MODEL_COLUMNS,
    OUTCOMES,
    RATIO,
    RUNS,
    SPEND,
    TIMES,
    USD,
    bars,
    graph,
    runs_of_agents,
    sheet,
    stat,
)

NO_SPEND: Final = "No priced model calls"
RUN_COST: Final = select("spanledger_run_cost_usd_total")
TOKENS: Final = select("spanledger_llm_tokens_total")
INPUT: Final = select("spanledger_llm_tokens_total", 'token_type=~"input|cache_read|cache_write"')
CACHE_READ: Final = select("spanledger_llm_tokens_total", 'token_type="cache_read"')
UNPRICED: Final = select("spanledger_llm_unpriced_tokens_total")
SAVED: Final = select("spanledger_llm_cache_savings_usd_total")
RETRIES: Final = select("spanledger_retry_cost_usd_total")
LOOPS: Final = select("spanledger_loop_wasted_cost_usd_total")
SUCCESSES: Final = select("spanledger_runs_total", 'outcome="success"')
DIMENSION: Final = select("spanledger_cost_by_dimension_usd_total", 'dimension=~"$dimension"')

_UNPRICED_TOKENS: Final = added(UNPRICED)

NOW: Final = Row(
    "In this time range",
    (
        stat(
            "Spent",
            "Cost of model calls, runs under way included. Unpriced calls are missing.",
            added(SPEND),
            USD,
            empty=NO_SPEND,
        ),
        stat(
            "Cost of a run",
            "Cost of the runs that ended, by their number.",
            share(added(RUN_COST), added(RUNS)),
            USD,
            decimals=4,
            leads_to="trajectories",
        ),
        stat(
            "Cost of a successful run",
            "Cost of all runs that ended, by the number that succeeded: what failed runs cost is paid by those that "
            "did.",
            share(added(RUN_COST), added(SUCCESSES)),
            USD,
            decimals=4,
            empty="No run succeeded",
            leads_to="trajectories",
        ),
        stat(
            "Input from caches",
            "Share of the input tokens that providers read from their caches.",
            share(added(CACHE_READ), added(INPUT), absent_is_zero=True),
            RATIO,
            empty="No model calls",
        ),
        stat(
            "Saved by caches",
            "What cached tokens would have cost at the full price of input, less what they cost. "
            "What writing to caches cost is in the spend.",
            added(SAVED),
            USD,
            empty="Nothing was read from a cache",
        ),
        stat(
            "Unpriced tokens",
            "Share of the tokens that no price is known for: they are missing in every cost here. "
            "Of all agents of the chosen services, for the reason is that of a model.",
            share(
                _UNPRICED_TOKENS,
                f"({added(select('spanledger_llm_tokens_total'))} or {_UNPRICED_TOKENS})",
                absent_is_zero=True,
            ),
            RATIO,
            empty="No tokens",
            limits=Limits(
                "panels.unpriced_amber",
                "cost.unpriced_ratio",
                "above <cost.unpriced_ratio> the alert fires, for costs are too low to be believed",
            ),
        ),
        stat(
            "Retries",
            "Cost of attempts beyond the first, in runs that ended.",
            added(RETRIES),
            USD,
            empty="No retries",
            decimals=4,
        ),
        stat(
            "Loops",
            "Cost of the steps that loops repeated, in runs that ended.",
            added(LOOPS),
            USD,
            empty="No loops",
            decimals=4,
            leads_to="trajectories",
        ),
    ),
)

WHO: Final = Row(
    "Who spends",
    (
        graph(
            "Dollars an hour by agent",
            "Spent on model calls, as it would be in an hour: the ten dearest agents of the time range.",
            Query(largest(SPEND, BY_AGENT, 3600), AGENT),
            unit=USD,
            stacked=True,
            empty=NO_SPEND,
            leads_to="trajectories",
        ),
        graph(
            "Dollars an hour by model",
            "Spent on model calls, as it would be in an hour: the ten dearest models of the time range.",
            Query(largest(SPEND, BY_MODEL, 3600), MODEL),
            unit=USD,
            stacked=True,
            empty=NO_SPEND,
        ),
        sheet(
            "By agent and model",
            "Spent in the time range, and the tokens that it was spent on.",
            {**AGENT_COLUMNS, **MODEL_COLUMNS},
            {
                "Spent": table(SPEND, f"{BY_AGENT}, {BY_MODEL}"),
                "Tokens": top(
                    added(TOKENS, f"{BY_AGENT}, {BY_MODEL}"),
                    f"{BY_AGENT}, {BY_MODEL}",
                    added(SPEND, f"{BY_AGENT}, {BY_MODEL}"),
                    50,
                ),
            },
            columns={"Spent": Column(USD), "Tokens": Column("short")},
            empty=NO_SPEND,
            leads_to="trajectories",
        ),
        bars(
            "By provider",
            "Spent in the time range.",
            f"topk(10, {added(SPEND, 'provider')} > 0)",
            "{{provider}}",
            USD,
            empty=NO_SPEND,
            width=6,
        ),
        bars(
            "By kind of token",
            "Tokens of model calls. `input` is without cached ones, `output` without reasoning.",
            added(TOKENS, "token_type"),
            "{{token_type}}",
            empty="No model calls",
            width=6,
        ),
        sheet(
            "By $dimension",
            "Cost of the runs that ended, by a dimension of the configuration (`dimensions` of the connector "
            "`trajectory`), such as user, team or feature: the fifty dearest.",
            {"value": "Who"},
            {"Cost": f'label_replace({table(DIMENSION, "value")}, "value", "(not said)", "value", "")'},
            columns={"Cost": Column(USD)},
            empty="No dimensions: see docs/configuration.md",
            repeat="dimension",
        ),
    ),
)

FAST: Final = Limits(
    "budget.slow_burn",
    "budget.fast_burn",
    "the alerts fire at these, over an hour for the fast one and six hours for the slow one",
)

BUDGETS: Final = Row(
    "Budgets",
    (
        bars(
            "Used",
            "What is spent of the limit in the current hour, day or month (UTC), of a budget for each run by the "
            "dearest "
            "under way. The fifteen fullest, of all agents.",
            "topk(15, max by (budget) (spanledger_budget_spent_usd) / max by (budget) (spanledger_budget_limit_usd))",
            "{{budget}}",
            RATIO,
            empty="No budgets: see docs/budgets.md",
            width=8,
            most=1,
            limits=Limits("panels.budget_amber", "1", "at 1 it is spent; at amber there is still time to decide"),
        ),
        graph(
            "Burn",
            "How many times faster than evenly budgets were spent over an hour: 1 spends one exactly in its period. "
            "The ten "
            "fastest now.",
            Query(
                top(
                    select("budget:spanledger_budget_burn:ratio1h"),
                    "budget",
                    f"{select('budget:spanledger_budget_burn:ratio1h')} @ end()",
                ),
                "{{budget}}",
            ),
            unit=TIMES,
            empty="No burn: are there budgets, and are the recording rules loaded?",
            width=8,
            limits=FAST,
        ),
        sheet(
            "Limits passed",
            "Limits that were passed in the time range, once for each period or run.",
            {"budget": "Budget", "level": "Limit"},
            {"Times": rare_table("spanledger_budget_breaches_total", "budget, level")},
            columns={"Times": Column(COUNT, decimals=0)},
            width=8,
            empty="No limit was passed",
        ),
    ),
)


def _of_dearest(selector: str) -> str:
    return top(added(selector, BY_AGENT), BY_AGENT, added(RUN_COST, BY_AGENT), 50)


WASTE: Final = Row(
    "What was wasted",
    (
        graph(
            "Cost of a successful run",
            "Cost of all runs that end, by the number that succeed: the ten agents with most runs.",
            Query(top(share(speed(RUN_COST, BY_AGENT), speed(SUCCESSES, BY_AGENT)), BY_AGENT, runs_of_agents()), AGENT),
            unit=USD,
            width=8,
            empty="No run succeeded",
            leads_to="trajectories",
        ),
        graph(
            "Against the week",
            "Cost of a run in the last hour, by its mean of the week before: 1 is as usual. The ten agents furthest "
            "above it now.",
            Query(
                top(
                    f"{select('agent:spanledger_cost_per_run_usd:ratio1h')}\n/ "
                    f"{select('agent:spanledger_cost_per_run_usd:avg7d')}",
                    BY_AGENT,
                    f"({select('agent:spanledger_cost_per_run_usd:ratio1h')} @ end() / "
                    f"{select('agent:spanledger_cost_per_run_usd:avg7d')} @ end())",
                ),
                AGENT,
            ),
            unit=TIMES,
            width=8,
            empty="No week to compare with: are the recording rules loaded?",
            leads_to="trajectories",
            limits=Limits(
                "health.cost_amber", "cost.per_run_factor", "the alert fires at <cost.per_run_factor> times the week"
            ),
        ),
        graph(
            "Dollars an hour by outcome",
            "Cost of the runs that end, as it would be in an hour: what is red was paid for nothing.",
            Query(speed(RUN_COST, "outcome", 3600), "{{outcome}}"),
            unit=USD,
            stacked=True,
            colors=OUTCOMES,
            width=8,
            leads_to="trajectories",
        ),
        sheet(
            "Waste by agent",
            "Of the runs that ended in the time range, the fifty dearest agents: what attempts beyond the first and "
            "repeated steps of "
            "loops cost. Unseen is what agents report beyond the calls below them, at the price of those.",
            AGENT_COLUMNS,
            {
                "Runs": f"topk(50, {added(RUN_COST, BY_AGENT)})",
                "Retries": _of_dearest(RETRIES),
                "Loops": _of_dearest(LOOPS),
                "Unseen": _of_dearest(select("spanledger_llm_unattributed_cost_usd_total")),
            },
            columns=dict.fromkeys(("Runs", "Retries", "Loops", "Unseen"), Column(USD)),
            width=8,
            leads_to="trajectories",
        ),
        bars(
            "Loops by rule",
            "Cost of the steps that loops repeated, by the rule that found them.",
            f"topk(10, {added(LOOPS, 'rule')} > 0)",
            "{{rule}}",
            USD,
            width=8,
            empty="No loops",
            leads_to="trajectories",
        ),
        sheet(
            "Caused by tools",
            "Cost of the model calls that read the results of a tool: the fifty dearest tools.",
            {"tool_name": "Tool"},
            {"Cost": table(select("spanledger_tool_induced_cost_usd_total"), BY_TOOL)},
            columns={"Cost": Column(USD)},
            width=8,
            empty="No tools",
            leads_to="tools",
        ),
    ),
)

_PRICED_TOKENS: Final = (
    f"sum by (token_type) (increase({TOKENS}[$__range])\n"
    f"    and on ({BY_AGENT}, {BY_MODEL}) increase({SPEND}[$__range]))"
)
ELSEWHERE: Final = (
    "sum by (provider, model) (\n"
    "  max by (provider, model, token_type) (spanledger_model_price_usd)\n"
    f"  * on (token_type) group_left () {_PRICED_TOKENS}\n)"
)

ALTERNATIVES: Final = Row(
    "What another model would have cost",
    (
        sheet(
            "The same tokens on another model",
            "What the priced tokens of the chosen agents and models would have cost at today's prices of each model "
            "that is in "
            "use anywhere, and that by what was spent. It takes for granted that another model uses as many tokens; "
            "whether it "
            "answers as well is for evaluations to say. Tiers, long contexts and fees beside tokens are left out.",
            MODEL_COLUMNS,
            {
                "Would cost": f"topk(50, {ELSEWHERE})",
                "Of the spend": top(
                    f"{ELSEWHERE}\n/ on () group_left () ({added(SPEND)} > 0)", BY_MODEL, ELSEWHERE, 50
                ),
            },
            columns={"Would cost": Column(USD), "Of the spend": Column(RATIO)},
            empty="No prices yet",
        ),
        sheet(
            "Prices",
            "Dollars for a million tokens of each model that is in use, today, in the standard tier.",
            {**MODEL_COLUMNS, "token_type": "Tokens"},
            {
                "Price of a million": "topk(250, 1e6 * max by (provider, model, token_type) "
                "(spanledger_model_price_usd))"
            },
            columns={"Price of a million": Column(USD)},
            empty="No prices yet",
        ),
    ),
)

UNKNOWN: Final = Row(
    "What is not known",
    (
        sheet(
            "Unpriced tokens",
            "Tokens of the time range that no price is known for, and why. `spanledger prices` says what to do.",
            {"service_name": "Service", **MODEL_COLUMNS, "reason": "Reason"},
            {"Tokens": table(UNPRICED, f"service_name, {BY_MODEL}, reason")},
            width=8,
            empty="Every token has a price",
        ),
        sheet(
            "Priced in part",
            "Cost of calls of which only a part has a price, and what is not known of them: they cost more than is "
            "told here and in every cost above.",
            {"service_name": "Service", **MODEL_COLUMNS, "reason": "Reason"},
            {"Cost": table(select("spanledger_llm_partly_priced_cost_usd_total"), f"service_name, {BY_MODEL}, reason")},
            columns={"Cost": Column(USD, decimals=4)},
            width=8,
            empty="Every priced call is priced in full",
        ),
        sheet(
            "Calls without usage",
            "Answered model calls of the time range that tell no tokens: what they cost is not known.",
            {**AGENT_COLUMNS, **MODEL_COLUMNS},
            {"Calls": table(select("spanledger_llm_calls_without_usage_total"), f"{BY_AGENT}, {BY_MODEL}")},
            columns={"Calls": Column(COUNT, decimals=0)},
            width=8,
            empty="Every call tells its tokens",
        ),
    ),
)

BOARD: Final = Board(
    "cost",
    "Cost",
    "Who spends what on which model, what of it was wasted, how budgets stand, and what no price is known for.",
    (NOW, WHO, BUDGETS, WASTE, ALTERNATIVES, UNKNOWN),
    since="now-24h",
)

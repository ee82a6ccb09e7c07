"""Alerts about money."""

from __future__ import annotations

from typing import Final

from spanledger.service.assets.alerts.wording import AGENT, PERCENT, USD, lookup, lookup_usd
from spanledger.service.assets.first_event import happened
from spanledger.service.assets.rule import BY, Alert

_HISTORY: Final = "agent:spanledger_cost_per_run_usd:hours7d >= <cost.min_history_hours>"
_BUDGET: Final = "Budget {{ $labels.budget }}"

ALERTS: Final = (
    Alert(
        "AgentCostPerSuccessHigh",
        "cost",
        "page",
        "cost",
        "agent:spanledger_cost_per_success_usd:ratio1h\n"
        "  > <cost.per_success_factor> * agent:spanledger_cost_per_success_usd:median7d\n"
        "and agent:spanledger_runs_success:increase1h >= <cost.min_runs>\n"
        "and count_over_time(agent:spanledger_cost_per_success_usd:ratio1h[7d:1h] offset 1h) >= "
        "<cost.min_history_hours>",
        f"{AGENT} pays {USD} for a successful run, over <cost.per_success_factor> times its 7-day median",
        f"A successful run cost {USD} in the last hour; the median of the week is "
        f"{lookup_usd('agent:spanledger_cost_per_success_usd:median7d')}. Failed runs are paid by those that succeed: "
        f"see whether runs became dearer or fewer of them succeed.",
        "5m",
    ),
    Alert(
        "AgentCostPerRequestAboveWeek",
        "cost",
        "page",
        "cost",
        "agent:spanledger_cost_per_run_usd:ratio1h > <cost.per_run_factor> * agent:spanledger_cost_per_run_usd:avg7d\n"
        f"and agent:spanledger_runs:increase1h >= <cost.min_runs>\nand {_HISTORY}",
        f"{AGENT} pays {USD} a request, over <cost.per_run_factor> times its 7-day average",
        f"A run cost {USD} in the last hour, against {lookup_usd('agent:spanledger_cost_per_run_usd:avg7d')} "
        "on average "
        f"over the week, in {lookup('agent:spanledger_runs:increase1h', '{{ . | first | value | humanize }}')} runs.",
        "15m",
    ),
    Alert(
        "AgentCostJump",
        "cost",
        "page",
        "cost",
        "label_replace(\n  agent:spanledger_cost_per_run_usd:ratio1h\n"
        "    > <cost.jump_factor> * agent:spanledger_cost_per_run_usd:avg24h\n"
        "  and agent:spanledger_runs:increase1h >= <cost.min_runs>\n"
        "  and count_over_time(agent:spanledger_cost_per_run_usd:ratio1h[24h:1h] offset 12h) >= "
        "<cost.min_yesterday_hours>,\n"
        '  "of", "a run", "", "")\nor\nlabel_replace(\n'
        "  agent:spanledger_llm_cost_usd:increase1h > <cost.jump_factor> * agent:spanledger_llm_cost_usd:avg24h\n"
        "  and agent:spanledger_llm_cost_usd:increase1h > <cost.min_spend_usd>\n"
        "  and count_over_time(agent:spanledger_llm_cost_usd:increase1h[24h:1h] offset 12h) >= "
        "<cost.min_yesterday_hours>,\n"
        '  "of", "an hour", "", "")',
        f"{AGENT} jumped to {USD} for {{{{ $labels.of }}}}, over <cost.jump_factor> times yesterday",
        f"{USD} for {{{{ $labels.of }}}}. Yesterday a run cost "
        f"{lookup_usd('agent:spanledger_cost_per_run_usd:avg24h')} and "
        f"an hour {lookup_usd('agent:spanledger_llm_cost_usd:avg24h')}. Look for what was released overnight.",
        "5m",
    ),
    Alert(
        "AgentSpendWithoutSuccess",
        "cost",
        "page",
        "cost",
        # An agent whose runs never say how they ended has no successes to miss.
        "agent:spanledger_run_cost_usd:increase1h > <cost.without_success_usd>\n"
        f'and (\n  sum by ({BY}) (increase(spanledger_runs_total{{outcome=~"failure|partial"}}[1h])) > 0\n'
        "  or sum_over_time(agent:spanledger_runs_success:increase1h[7d:1h] offset 1h) > 0\n)\n"
        "unless agent:spanledger_runs_success:increase1h > 0",
        f"{AGENT} spent {USD} in an hour and no run succeeded",
        f"{USD} for {lookup('agent:spanledger_runs:increase1h', '{{ . | first | value | humanize }}')} runs of "
        f"the last hour, none of which succeeded. The cost of a success has no number then, so no other alert sees it.",
        "15m",
    ),
    Alert(
        "AgentSpendVelocity",
        "cost",
        "page",
        "cost",
        "agent:spanledger_llm_cost_usd:increase10m > <cost.velocity_usd_10m>",
        f"{AGENT} spent {USD} in ten minutes",
        f"{USD} in ten minutes, over the limit of $<cost.velocity_usd_10m>; runs under way are counted. If nobody "
        f"started a batch on purpose, stop it first and look for the reason afterwards.",
    ),
    Alert(
        "AgentRunaway",
        "cost",
        "page",
        "trajectories",
        f'label_replace(max by ({BY}) (spanledger_open_run_cost_usd_max) > <runaway.usd>, "by", "dollars", "", "")\n'
        "or\n"
        f"label_replace(\n  max by ({BY}) (spanledger_open_run_steps_max) > <runaway.min_steps>\n"
        f"  and max by ({BY}) (spanledger_open_run_steps_max) > <runaway.steps_factor> * "
        "agent:spanledger_run_steps:avg7d\n"
        f"  or max by ({BY}) (spanledger_open_run_steps_max) > <runaway.steps>,\n"
        '  "by", "steps", "", "")',
        f"{AGENT} has a run under way that took {{{{ $value | humanize }}}} {{{{ $labels.by }}}} and goes on",
        "The worst run under way is at {{ $value | humanize }} {{ $labels.by }}; the usual number of steps is "
        f"{lookup('agent:spanledger_run_steps:avg7d', '{{ . | first | value | humanize }}')}. It is not in the run "
        "store yet: it shows once it is closed.",
    ),
    Alert(
        "AgentLoopWaste",
        "cost",
        "page",
        "trajectories",
        "agent:spanledger_loop_wasted_cost_usd:increase1h > <loops.wasted_usd>",
        f"{AGENT} wasted {USD} in loops in the last hour",
        f"{USD} for steps that repeat what was done before, in "
        f"{lookup('agent:spanledger_loops:increase1h', '{{ . | first | value | humanize }}')} loops.",
        "5m",
    ),
    Alert(
        "BudgetBurnFast",
        "cost",
        "page",
        "cost",
        "budget:spanledger_budget_burn:ratio1h > <budget.fast_burn>\n"
        "and budget:spanledger_budget_burn:ratio5m > <budget.fast_burn>",
        f"{_BUDGET} is spent {{{{ $value | humanize }}}} times too fast",
        "At {{ $value | humanize }} times the even pace over the last hour, and still so in the last five minutes. It "
        "will not last for its period.",
    ),
    Alert(
        "BudgetBurnSlow",
        "cost",
        "ticket",
        "cost",
        "budget:spanledger_budget_burn:ratio6h > <budget.slow_burn>\n"
        "and budget:spanledger_budget_burn:ratio30m > <budget.slow_burn>",
        f"{_BUDGET} is spent {{{{ $value | humanize }}}} times too fast, for hours",
        "At {{ $value | humanize }} times the even pace over six hours, and still so in the last half hour.",
        "15m",
    ),
    Alert(
        "BudgetBreached",
        "cost",
        "page",
        "cost",
        happened('spanledger_budget_breaches_total{level="hard"}', "budget"),
        f"{_BUDGET} is used up",
        "Its hard limit was passed in the last ten minutes. What the sidecar does about it is in the configuration; "
        "agents that do not ask it for decisions go on spending.",
    ),
    Alert(
        "BudgetSoftLimit",
        "cost",
        "ticket",
        "cost",
        happened('spanledger_budget_breaches_total{level="soft"}', "budget"),
        f"{_BUDGET} has passed its soft limit",
        "Its soft limit was passed in the last ten minutes; the hard one comes next.",
    ),
    Alert(
        "UnpricedSpend",
        "cost",
        "ticket",
        "cost",
        "sum by (service_name) (increase(spanledger_llm_unpriced_tokens_total[1h]))\n"
        "  / (sum by (service_name) (increase(spanledger_llm_tokens_total[1h])) > 0) > <cost.unpriced_ratio>\n"
        "and sum by (service_name) (increase(spanledger_llm_unpriced_tokens_total[1h])) > <cost.unpriced_min_tokens>",
        f"{PERCENT} of the tokens of {{{{ $labels.service_name }}}} have no price",
        f"{PERCENT} of the tokens of the last hour are missing in every cost: no price is known for their model. All "
        f"cost alerts of this service see too little.",
        "30m",
    ),
    Alert(
        "UsageMissing",
        "cost",
        "ticket",
        "cost",
        f"sum by ({BY}) (increase(spanledger_llm_calls_without_usage_total[1h]))\n"
        f'  / (sum by ({BY}) (increase(spanledger_llm_calls_total{{status="ok"}}[1h])) > 0) > <cost.no_usage_ratio>\n'
        f"and sum by ({BY}) (increase(spanledger_llm_calls_without_usage_total[1h])) >= <cost.no_usage_min_calls>",
        f"{AGENT} does not tell the tokens of {PERCENT} of its calls",
        f"{PERCENT} of the answered model calls of the last hour have no token counts, so they have no cost. "
        f"Often these are streamed calls that do not ask for usage.",
        "30m",
    ),
)

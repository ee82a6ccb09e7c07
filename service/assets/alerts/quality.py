"""Alerts about how good the work is. They are slow on purpose, and none of them wakes anybody."""

from __future__ import annotations

from typing import Final

from spanledger.service.assets.alerts.wording import AGENT, NUMBER, PERCENT, lookup
from spanledger.service.assets.rule import BY, Alert

_SCORE: Final = "agent_evaluation:spanledger_evaluation_score:avg6h"
_WEEK: Final = "agent_evaluation:spanledger_evaluation_score:avg7d"
_ENOUGH: Final = "agent_evaluation:spanledger_evaluation_score:count6h >= <evaluation.min_scores>"

ALERTS: Final = (
    Alert(
        "AgentEvaluationScoreLow",
        "quality",
        "ticket",
        "quality",
        f"{_SCORE} < max by ({BY}, evaluation_name) (spanledger_slo_evaluation_score)\nand {_ENOUGH}",
        f"{AGENT} scores {NUMBER} in {{{{ $labels.evaluation_name }}}}, below its objective",
        f"The mean of {{{{ $labels.evaluation_name }}}} over six hours is {NUMBER}, below the least that the "
        f"configuration asks for.",
        "30m",
    ),
    Alert(
        "AgentEvaluationScoreDropping",
        "quality",
        "ticket",
        "quality",
        f"1 - {_SCORE} / ({_WEEK} > 0) > <evaluation.drop>\n"
        f"and {_ENOUGH}\nand count_over_time({_SCORE}[7d:1h] offset 6h) >= <evaluation.min_history_hours>",
        f"{AGENT} lost {PERCENT} of its score in {{{{ $labels.evaluation_name }}}}",
        f"The mean of {{{{ $labels.evaluation_name }}}} over six hours is {PERCENT} below that of the week before, "
        f"whatever its objective is.",
        "30m",
    ),
    Alert(
        "AgentLoopDepthCreep",
        "quality",
        "ticket",
        "trajectories",
        "agent:spanledger_run_llm_calls:avg1h > <creep.factor> * agent:spanledger_run_llm_calls:avg7d\n"
        "and agent:spanledger_runs:increase1h >= <creep.min_runs>\n"
        "and count_over_time(agent:spanledger_run_llm_calls:avg1h[7d:1h] offset 1d) >= <cost.min_history_hours>",
        f"{AGENT} thinks {NUMBER} times a run, over <creep.factor> times as often as last week",
        f"A run makes {NUMBER} model calls on average over the last hour, and did "
        f"{lookup('agent:spanledger_run_llm_calls:avg7d')} over the week: it needs more turns for the same work.",
        "1h",
    ),
    Alert(
        "AgentLoopsFound",
        "quality",
        "ticket",
        "trajectories",
        "agent:spanledger_loops:increase1h > <loops.ratio> * agent:spanledger_runs:increase1h\n"
        "and agent:spanledger_loops:increase1h >= <loops.min_loops>",
        f"{AGENT} is caught in loops, {{{{ $value | humanize }}}} in an hour",
        "{{ $value | humanize }} loops in "
        f"{lookup('agent:spanledger_runs:increase1h', '{{ . | first | value | humanize }}')} runs of the last "
        f"hour; they wasted {lookup('agent:spanledger_loop_wasted_cost_usd:increase1h')} USD.",
        "10m",
    ),
    Alert(
        "AgentToolMixDrift",
        "quality",
        "ticket",
        "tools",
        "agent:spanledger_tool_mix:tvd6h > agent:spanledger_tool_mix:noise6h\n"
        f"and sum by ({BY}) (agent_tool:spanledger_tool_calls:increase6h) >= <drift.min_calls>\n"
        f"and sum by ({BY}) (agent_tool:spanledger_tool_calls:increase7d) >= <drift.min_history_calls>",
        f"{AGENT} chooses other tools than last week, {PERCENT} of its calls moved",
        f"{PERCENT} of the calls of six hours went to other tools than in the week before; chance explains up to "
        f"{lookup('agent:spanledger_tool_mix:noise6h', '{{ . | first | value | humanizePercentage }}')}.",
        "30m",
    ),
)

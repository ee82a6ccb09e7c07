"""The traffic light of an agent: which of its signals is amber or red, by the numbers of the alerts."""

from __future__ import annotations

from typing import Final

from spanledger.service.assets.expressions import named
from spanledger.service.assets.first_event import happened
from spanledger.service.assets.rule import BY, Recording


def _levels(amber: str, red: str, enough: str = "") -> str:
    """Return 0, 1 or 2: how many of the two hold, red only where there is enough for the alert to fire."""
    return f"({amber})\n  + on ({BY}) ({red})" + (f" * on ({BY}) ({enough})" if enough else "")


_DURATION: Final = "agent:spanledger_run_duration_seconds:p95_15m"
_OBJECTIVE: Final = f"max by ({BY}) (spanledger_slo_latency_seconds)"
_ERRORS: Final = "agent_type:spanledger_errors:ratio15m"
_SOME_ERRORS: Final = "(agent_type:spanledger_errors:increase15m >= bool <errors.min_errors>)"
_SOME_CALLS: Final = "(agent_type:spanledger_calls:increase15m >= bool <errors.min_calls>)"
_COST: Final = "agent:spanledger_cost_per_run_usd:ratio1h"
_COST_WEEK: Final = (
    "(agent:spanledger_cost_per_run_usd:avg7d\n"
    "    and agent:spanledger_cost_per_run_usd:hours7d >= <cost.min_history_hours>)"
)
_SCORE: Final = "agent_evaluation:spanledger_evaluation_score:avg6h"
_SCORES: Final = "agent_evaluation:spanledger_evaluation_score:count6h"
_VIOLATIONS: Final = "spanledger_policy_violations_total"
_FINDINGS: Final = "spanledger_safety_findings_total"
_UNSAFE: Final = f'{_FINDINGS}{{severity="critical"}}'
_LEAST: Final = f"max by ({BY}, evaluation_name) (spanledger_slo_evaluation_score)"

HEALTH: Final = (
    Recording(
        "agent:spanledger_health:signal",
        named(
            "signal",
            {
                "errors": _levels(
                    f"max by ({BY}) (({_ERRORS} > bool <health.errors_amber>)\n"
                    f"    * clamp_max({_SOME_CALLS} + {_SOME_ERRORS}, 1))",
                    f"max by ({BY}) (({_ERRORS} > bool <errors.ratio>)\n    * {_SOME_CALLS} * {_SOME_ERRORS})",
                ),
                "latency": _levels(
                    f"{_DURATION} > bool on ({BY}) (<health.latency_amber> * {_OBJECTIVE})",
                    f"{_DURATION} > bool on ({BY}) {_OBJECTIVE}",
                    "agent:spanledger_runs:increase15m >= bool <latency.min_runs>",
                ),
                "cost": _levels(
                    f"{_COST} > bool on ({BY}) (<health.cost_amber> * {_COST_WEEK})",
                    f"{_COST} > bool on ({BY}) (<cost.per_run_factor> * {_COST_WEEK})",
                    "agent:spanledger_runs:increase1h >= bool <cost.min_runs>",
                ),
                "quality": _levels(
                    f"max by ({BY}) ({_SCORE} < bool on ({BY}, evaluation_name) ({_LEAST} * <health.quality_amber>))",
                    f"max by ({BY}) (\n    ({_SCORE} < bool on ({BY}, evaluation_name) {_LEAST})\n"
                    f"    * on ({BY}, evaluation_name) ({_SCORES} >= bool <evaluation.min_scores>)\n  )",
                ),
                "loops": _levels(
                    "agent:spanledger_loops:increase1h > bool 0",
                    "agent:spanledger_loops:increase1h > bool (<loops.ratio> * agent:spanledger_runs:increase1h)",
                    "agent:spanledger_loops:increase1h >= bool <loops.min_loops>",
                ),
                "safety": (
                    f"2 * group by ({BY}) (\n{happened(_VIOLATIONS, BY, '1h', 3600)}\n"
                    f"or\n{happened(_UNSAFE, BY, '1h', 3600)}\n)\n"
                    f"  or 0 * group by ({BY}) ({_VIOLATIONS} or {_FINDINGS})"
                ),
            },
        ),
        "0 green, 1 amber, 2 red by `signal`: `errors`, `latency`, `cost`, `quality`, `loops`, `safety`. Red "
        "is what an alert fires for; a signal without data or objective is not there.",
    ),
    Recording(
        "agent:spanledger_health:level",
        f"max by ({BY}) (agent:spanledger_health:signal)",
        "The worst signal of an agent: 0 green, 1 amber, 2 red.",
    ),
    Recording(
        "fleet:spanledger_health:level",
        "max (agent:spanledger_health:level)",
        "The worst agent: 0 green, 1 amber, 2 red.",
    ),
)

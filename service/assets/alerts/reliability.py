"""Alerts about agents that fail, are slow, or are not there."""

from __future__ import annotations

from typing import Final

from spanledger.service.assets.alerts.wording import AGENT, PERCENT, lookup
from spanledger.service.assets.rule import BY, Alert

_TOP: Final = (
    '{{ range printf "topk(3, sum by (error_type) (agent_error:spanledger_errors:increase15m{service_name=%q, '
    'agent_name=%q, type=%q}))" $labels.service_name $labels.agent_name $labels.type | query }}'
    ' {{ .Labels.error_type }} ({{ .Value | printf "%.0f" }}){{ end }}'
)
_RUNS_BEFORE: Final = "avg_over_time(agent:spanledger_runs:increase1h[3h:1h] offset {offset}) >= <silence.min_runs>"


def _burn(long: str, short: str, factor: str) -> str:
    return (
        f"agent:spanledger_run_failures:ratio{long} > {factor} * <failures.budget>\n"
        f"and agent:spanledger_run_failures:ratio{short} > {factor} * <failures.budget>\n"
        f"and sum by ({BY}) (increase(spanledger_runs_total[{long}])) >= <failures.min_runs>"
    )


def _retried(retries: str, calls: str, of: str) -> str:
    return (
        f"label_replace(\n  agent:spanledger_{retries}:ratio5m > <retries.ratio>\n"
        f'  and agent:spanledger_{calls}:increase5m >= <retries.min_calls>,\n  "of", "{of}", "", "")'
    )


ALERTS: Final = (
    Alert(
        "AgentErrorRateHigh",
        "reliability",
        "ticket",
        "fleet",
        "agent_type:spanledger_errors:ratio15m > <errors.ratio>\n"
        "and agent_type:spanledger_calls:increase15m >= <errors.min_calls>\n"
        "and agent_type:spanledger_errors:increase15m >= <errors.min_errors>",
        f"{AGENT} has {{{{ $labels.type }}}} in {PERCENT} of what it does",
        f"{{{{ $labels.type }}}} in {PERCENT} of the last 15 minutes, over <errors.ratio>. What the spans call "
        f"it:{_TOP}.",
        "2m",
    ),
    Alert(
        "AgentFailureBurnFast",
        "reliability",
        "page",
        "fleet",
        _burn("1h", "5m", "<failures.fast_burn>"),
        f"{AGENT} fails in {PERCENT} of its runs",
        f"{PERCENT} of the runs of the last hour failed, and still do in the last five minutes. The objective allows "
        f"<failures.budget>.",
        "2m",
    ),
    Alert(
        "AgentFailureBurnSlow",
        "reliability",
        "ticket",
        "fleet",
        _burn("6h", "30m", "<failures.slow_burn>"),
        f"{AGENT} fails in {PERCENT} of its runs, for hours",
        f"{PERCENT} of the runs of six hours failed, and still do in the last half hour. The objective allows "
        f"<failures.budget>.",
        "15m",
    ),
    Alert(
        "AgentRetryRateHigh",
        "reliability",
        "ticket",
        "fleet",
        _retried("llm_retries", "llm_calls", "model calls")
        + "\nor\n"
        + _retried("tool_retries", "run_tool_calls", "tool calls"),
        f"{AGENT} repeats {PERCENT} of its {{{{ $labels.of }}}}",
        f"{PERCENT} of the {{{{ $labels.of }}}} of five minutes were retries, for ten minutes now. Retries are waited "
        f"for, and paid where a provider answered.",
        "10m",
    ),
    Alert(
        "AgentLatencyAboveObjective",
        "reliability",
        "ticket",
        "fleet",
        f"agent:spanledger_run_duration_seconds:p95_15m > max by ({BY}) (spanledger_slo_latency_seconds)\n"
        "and agent:spanledger_runs:increase15m >= <latency.min_runs>",
        f"{AGENT} is slow, P95 of its runs is {{{{ $value | humanizeDuration }}}}",
        "P95 of the runs of 15 minutes is {{ $value | humanizeDuration }}; the objective is "
        f"{lookup('spanledger_slo_latency_seconds', '{{ . | first | value | humanizeDuration }}')}.",
        "5m",
    ),
    Alert(
        "AgentSilent",
        "reliability",
        "ticket",
        "fleet",
        f"{_RUNS_BEFORE.format(offset='1d')}\nand {_RUNS_BEFORE.format(offset='7d')}\n"
        "unless sum_over_time(agent:spanledger_runs:increase1h[3h:1h]) > 0",
        f"{AGENT} has had no runs for three hours",
        "None ended in three hours; at this time yesterday there were {{ $value | humanize }} an hour, and as "
        "many a week ago. Absence looks like health on every other panel.",
        "15m",
    ),
)

"""A week that went before: what recording rules would have kept of agents, hour by hour, had they run."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

HOUR_S: Final = 3600
HOURS: Final = 8 * 24 + 7
"""Averages of a week that ended a day ago reach back for eight days."""

Agent = tuple[str, str]
"""Service and agent."""

OF_AGENTS: Final = {
    "agent:spanledger_runs:increase1h": 240.0,
    "agent:spanledger_runs_success:increase1h": 220.0,
    "agent:spanledger_run_cost_usd:increase1h": 9.6,
    "agent:spanledger_llm_cost_usd:increase1h": 9.6,
    "agent:spanledger_cost_per_run_usd:ratio1h": 0.04,
    "agent:spanledger_cost_per_success_usd:ratio1h": 0.044,
    "agent:spanledger_run_steps:avg1h": 9.0,
    "agent:spanledger_run_llm_calls:avg1h": 4.0,
}
"""Recorded series that averages of days are made of -> what was usual."""


def openmetrics(
    now_s: float, agents: Sequence[Agent], tools: Sequence[tuple[str, str, str]], scores: Sequence[str]
) -> str:
    """Return the week before `now_s` as OpenMetrics, one sample an hour on the hour, as subqueries ask for it.

    And who the agents were a few minutes before.
    """
    return "\n".join([*_families(now_s, agents, tools, scores), "# EOF\n"])


def _families(
    now_s: float, agents: Sequence[Agent], tools: Sequence[tuple[str, str, str]], scores: Sequence[str]
) -> Iterator[str]:
    last = int(now_s) // HOUR_S
    hours = range(last - HOURS, last - 1)
    for name, usual in OF_AGENTS.items():
        yield from _family(name, [(f'service_name="{s}",agent_name="{a}"', usual) for s, a in agents], hours)
    calls = [(f'service_name="{s}",agent_name="{a}",tool_name="{t}"', 300.0) for s, a, t in tools]
    yield from _family("agent_tool:spanledger_tool_calls:increase6h", calls, hours)
    yield "# TYPE spanledger_agent_info gauge"
    for service, agent in agents:
        # Seven minutes ago each agent had other instructions.
        labels = f'service_name="{service}",agent_name="{agent}",version="",framework="",fingerprint="before"'
        yield f"spanledger_agent_info{{{labels}}} 1 {int(now_s) - 420}"
    means = [(f'service_name="{s}",agent_name="{a}",evaluation_name="{e}"', 0.9) for s, a in agents for e in scores]
    yield from _family("agent_evaluation:spanledger_evaluation_score:avg6h", means, hours)


def _family(name: str, series: Sequence[tuple[str, float]], hours: range) -> Iterator[str]:
    yield f"# TYPE {name} gauge"
    for labels, usual in series:
        for hour in hours:
            # A day has its ups and downs, and nothing else.
            yield f"{name}{{{labels}}} {usual * (1 + 0.2 * ((hour % 24) / 12 - 1)):.6g} {hour * HOUR_S}"


def backfill(promtool: Path, directory: Path, text: str) -> None:
    """Write the blocks of a Prometheus that will start on `directory`."""
    written = directory / "week.om"
    written.write_text(text)
    subprocess.run(
        [promtool, "tsdb", "create-blocks-from", "openmetrics", written, directory / "tsdb"],
        check=True, capture_output=True, timeout=120,
    )  # fmt: skip

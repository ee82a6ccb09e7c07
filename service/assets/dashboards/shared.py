"""Short words for what all dashboards have: numbers, graphs, tables, and the panels that stand on several of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from spanledger.service.assets.dashboards.panel import Color, Limits, Panel, Query
from spanledger.service.assets.dashboards.series import BY_AGENT, added, select

AGENT: Final = "{{service_name}} {{agent_name}}"
MODEL: Final = "{{provider}} {{model}}"
AGENT_COLUMNS: Final = {"service_name": "Service", "agent_name": "Agent"}
MODEL_COLUMNS: Final = {"provider": "Provider", "model": "Model"}

COUNT: Final = "locale"
USD: Final = "currencyUSD"
RATIO: Final = "percentunit"
SECONDS: Final = "s"
TIMES: Final = "suffix:×"
PER_MINUTE: Final = "short"  # titles say what a minute has of

OUTCOMES: Final[Mapping[str, Color]] = {"success": "green", "partial": "yellow", "failure": "red", "unknown": "blue"}

RUNS: Final = select("spanledger_runs_total")
SPEND: Final = select("spanledger_llm_cost_usd_total")

FAILURES: Final = Limits(
    "health.errors_amber",
    "errors.ratio",
    "the alerts call more than <errors.ratio> of calls or runs an outage, and amber is the warning before it",
)
RETRIES: Final = Limits(
    "panels.retries_amber",
    "retries.ratio",
    "each retry is paid or waited for; the alert fires at <retries.ratio>, and amber is the warning before",
)


def stat(title: str, says: str, expr: str, unit: str = "short", **more: Any) -> Panel:
    """Return one number, for the end of the time range; one without a unit that has no decimals is a count."""
    more = {"width": 3, "height": 4, **more}
    unit = COUNT if unit == "short" and more.get("decimals") == 0 else unit
    return Panel(title, "stat", says, (Query(expr, title, instant=True),), unit, **more)


def graph(title: str, says: str, *queries: Query, unit: str = "short", **more: Any) -> Panel:
    """Return a graph over time; what it shows is not negative."""
    return Panel(title, "timeseries", says, queries, unit, **{"least": 0, **more})


def bars(title: str, says: str, expr: str, legend: str, unit: str = "short", **more: Any) -> Panel:
    """Return bars, one for each series, for the end of the time range; as in `stat` a count has no decimals."""
    unit = COUNT if unit == "short" and more.get("decimals") == 0 else unit
    return Panel(title, "bargauge", says, (Query(expr, legend, instant=True),), unit, **{"least": 0, **more})


def sheet(title: str, says: str, labels: Mapping[str, str], asked: Mapping[str, str], **more: Any) -> Panel:
    """Return a table with a row for each set of `labels`, and a column for each query of `asked`, by its title."""
    queries = tuple(Query(expr, name, instant=True) for name, expr in asked.items())
    return Panel(title, "table", says, queries, labels=labels, **{"sort": next(iter(asked)), **more})


def runs_of_agents() -> str:
    """Return the rank of agents in graphs: the runs that ended in the time range."""
    return f"sum by ({BY_AGENT}) (increase({RUNS}[$__range] @ end()))"


def failed(outcome: str = "failure") -> str:
    """Return the runs of the time range that ended so, one number; `added(RUNS)` is the whole."""
    return added(select("spanledger_runs_total", f'outcome="{outcome}"'))

"""Boards as Grafana's Classic JSON, which Grafana 11 to 13 import by dialog and read from files.

Schema version 39 is that of Grafana 11.0: newer ones migrate it, and what came after 39 is not needed. The data source
is a variable, for only that works both ways; `catalogue` makes the copy for grafana.com, whose dialog asks for it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from spanledger.service.assets.dashboards.panel import Board
from spanledger.service.assets.dashboards.panel_json import DATASOURCE, Json, placed, uid
from spanledger.service.assets.dashboards.series import CASCADE, select
from spanledger.service.assets.first_event import happened
from spanledger.service.assets.values import Values

SCHEMA_VERSION: Final = 39
TAG: Final = "spanledger"
_TITLES: Final = {
    "service_name": "Service",
    "agent_name": "Agent",
    "provider": "Provider",
    "model": "Model",
    "dimension": "Dimension",
    "instance": "Sidecar",
}
_OF_AGENTS: Final = 'service_name=~"$service_name", agent_name=~"$agent_name"'
# A service may have tools and no models, and a sidecar no trajectories.
_SEEN: Final = '__name__=~"spanledger_(llm_calls|tool_calls|runs)_total"'
_FROM: Final = {
    "service_name": f"{{{_SEEN}}}",
    "agent_name": f'{{{_SEEN}, service_name=~"$service_name"}}',
    "provider": f"spanledger_llm_calls_total{{{_OF_AGENTS}}}",
    "model": f'spanledger_llm_calls_total{{{_OF_AGENTS}, provider=~"$provider"}}',
    "dimension": "spanledger_cost_by_dimension_usd_total",
    "instance": "otelcol_process_uptime_seconds",
}
"""Variable -> the series whose labels are its values: each is narrowed by those before it."""


def classic(board: Board, values: Values) -> Json:
    """Return a dashboard in Grafana's Classic model; `values` are those of deploy/values.yaml."""
    panels = list(placed(board.rows, values))
    asked = json.dumps(panels)
    names = [name for name in (*CASCADE, "dimension", "instance") if re.search(rf"\${name}\b", asked)]
    return {
        "id": None,
        "uid": uid(board.name),
        "title": f"spanledger / {board.title}",
        "description": board.says,
        "tags": [TAG],
        "editable": True,
        "graphTooltip": 1,
        "refresh": "1m",
        "schemaVersion": SCHEMA_VERSION,
        "time": {"from": board.since, "to": "now"},
        "timezone": "browser",
        "links": [_dropdown()],
        "templating": {"list": [_datasource(), *map(_variable, _with_narrower(names))]},
        "annotations": {"list": _annotations(names)},
        "panels": panels,
    }


def catalogue(dashboard: Mapping[str, Any]) -> Json:
    """Return the copy for grafana.com's catalogue, which asks for the data source when it is imported."""
    text = (
        json.dumps(dashboard).replace("var-datasource=${datasource}&", "").replace("${datasource}", "${DS_PROMETHEUS}")
    )
    copied: Json = json.loads(text)
    copied["templating"]["list"] = [one for one in copied["templating"]["list"] if one["type"] != "datasource"]
    kinds = sorted({panel["type"] for panel in copied["panels"]} - {"row"})
    return {
        "__inputs": [
            {
                "name": "DS_PROMETHEUS",
                "label": "Prometheus",
                "description": "The Prometheus that scrapes spanledger",
                "type": "datasource",
                "pluginId": "prometheus",
                "pluginName": "Prometheus",
            }
        ],
        "__elements": {},
        "__requires": [
            {"type": "grafana", "id": "grafana", "name": "Grafana", "version": "11.0.0"},
            {"type": "datasource", "id": "prometheus", "name": "Prometheus", "version": "1.0.0"},
            *({"type": "panel", "id": kind, "name": kind, "version": ""} for kind in kinds),
        ],
        **copied,
    }


def _with_narrower(names: Sequence[str]) -> list[str]:
    """Return the variables with those that they are narrowed by."""
    needed = {other for name in names for other in re.findall(r"\$(\w+)", _FROM[name])} | {*names}
    return [name for name in _FROM if name in needed]


def _datasource() -> Json:
    return {
        "type": "datasource",
        "name": "datasource",
        "label": "Prometheus",
        "query": "prometheus",
        "regex": "",
        "refresh": 1,
        "hide": 0,
        "includeAll": False,
        "multi": False,
        "options": [],
    }


def _variable(name: str) -> Json:
    query = f"label_values({_FROM[name]}, {name})"
    return {
        "type": "query",
        "name": name,
        "label": _TITLES[name],
        "datasource": DATASOURCE,
        "definition": query,
        "query": query,
        "regex": "",
        "refresh": 2,
        "sort": 1,
        "hide": 0,
        "multi": True,
        "includeAll": True,
        # An agent without a name has the label "", which a list of names would leave out. What panels are repeated
        # for has to be a list.
        **({"allValue": ".*"} if name != "dimension" else {}),
        "current": {"text": ["All"], "value": ["$__all"]},
        "options": [],
    }


def _dropdown() -> Json:
    return {
        "type": "dashboards",
        "title": "Dashboards",
        "icon": "external link",
        "tags": [TAG],
        "asDropdown": True,
        "includeVars": True,
        "keepTime": True,
        "targetBlank": False,
        "tooltip": "",
        "url": "",
    }


def _annotations(names: Sequence[str]) -> list[Json]:
    """Return what is marked in all graphs: alerts, and what changed where agents are looked at."""
    alerts = 'ALERTS{alertstate="firing", severity="page"}'
    found = []
    if "agent_name" in names:
        alerts = f'ALERTS{{alertstate="firing", severity="page", {_of_agents()}}}'
        found = [
            _annotation(
                "Agent changed",
                "purple",
                f"topk(20, {_changes()})",
                "{{service_name}} {{agent_name}}: version {{version}}, fingerprint {{fingerprint}}",
            ),
            _annotation(
                "Policy violated", "orange",
                _marked("spanledger_policy_violations_total", "service_name, agent_name, policy"),
                "{{service_name}} {{agent_name}}: policy {{policy}}",
            ),
            _annotation(
                "Budget passed", "orange",
                _marked("spanledger_budget_breaches_total", "budget, level"),
                "budget {{budget}}, {{level}} limit",
            ),
        ]  # fmt: skip
    return [_annotation("Page", "red", f"topk(20, {alerts})", "{{alertname}} {{service_name}} {{agent_name}}"), *found]


def _marked(name: str, by: str) -> str:
    return f"topk(20, {happened(select(name), by, '5m', 300)})"


def _of_agents() -> str:
    return 'service_name=~"$service_name|", agent_name=~"$agent_name|"'


def _changes() -> str:
    """Return the agents that have other instructions, tools or models than five minutes ago, or another version.

    An agent that was not seen then is new. After a restart of the sidecar the fingerprint is "" until a run has ended.
    """
    by = "service_name, agent_name"
    told = select("spanledger_agent_info", 'fingerprint!=""')
    info = select("spanledger_agent_info")
    made = f"{told} unless {told} offset 5m"
    version = f"count by ({by}, version) ({info}) unless count by ({by}, version) ({info} offset 5m)"
    return f"(({made}) or on ({by}) ({version})) and on ({by}) count by ({by}) ({info} offset 5m)"


def _annotation(name: str, color: str, expr: str, title: str) -> Json:
    return {
        "name": name,
        "datasource": DATASOURCE,
        "enable": True,
        "iconColor": color,
        "expr": expr,
        "step": "60s",
        "titleFormat": title,
        "textFormat": "",
    }

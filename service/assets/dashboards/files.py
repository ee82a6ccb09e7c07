"""All dashboards as files of deploy/."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from spanledger.service.assets.dashboards import cost, fleet, pipeline, quality, safety, tools, trajectories
from spanledger.service.assets.dashboards.grafana import catalogue, classic
from spanledger.service.assets.values import Values

BOARDS: Final = (
    fleet.BOARD,
    cost.BOARD,
    trajectories.BOARD,
    tools.BOARD,
    quality.BOARD,
    safety.BOARD,
    pipeline.BOARD,
)


def files(values: Values) -> dict[str, str]:
    """Return every dashboard by its path in deploy/; `values` are those of deploy/values.yaml."""
    found = {}
    for board in BOARDS:
        dashboard = classic(board, values)
        found[f"grafana/dashboards/{board.name}.json"] = _text(dashboard)
        found[f"grafana/catalogue/{board.name}.json"] = _text(catalogue(dashboard))
    return found


def _text(dashboard: Mapping[str, Any]) -> str:
    return json.dumps(dashboard, indent=1, ensure_ascii=False) + "\n"

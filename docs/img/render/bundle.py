"""Ask a Prometheus every query of the dashboards, and write what `main.jsx` draws: one bundle a dashboard.

`python -m docs.img.render.bundle http://127.0.0.1:9090 DIRECTORY [RANGE_S]`, from the root of the repository.
"""

from __future__ import annotations

import json
import math
import re
import sys
import time
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

from tests.deploy.grafana_json import DASHBOARDS, load, resolved, substituted, windows

POINTS = 180
SCRAPE_S = 5


def main(url: str, directory: Path, range_s: int) -> None:
    """Write the bundles of all dashboards, for the last `range_s` seconds."""
    end = int(time.time())
    for path in DASHBOARDS:
        dashboard = load(path)

        def label_values(selector: str, label: str) -> list[str]:
            return api(url, f"label/{label}/values", **({"match[]": selector} if selector else {}))  # type: ignore[no-any-return]

        step_s = max(SCRAPE_S, range_s // POINTS)
        values = {**resolved(dashboard, label_values), **windows(range_s, step_s, SCRAPE_S)}
        panels = [
            answered(url, one, chosen, (end - range_s, end, step_s)) if one["type"] != "row" else one
            for panel in dashboard["panels"]
            for one, chosen in repeated(panel, values)
        ]
        bundle = {"from": (end - range_s) * 1000, "to": end * 1000, "panels": panels}
        (directory / path.name).write_text(json.dumps(bundle))


def api(url: str, path: str, **parameters: Any) -> Any:
    """Return the data of an answer of Prometheus."""
    query = urllib.parse.urlencode(parameters)
    with urllib.request.urlopen(f"{url}/api/v1/{path}?{query}", timeout=30) as answer:  # noqa: S310
        return json.load(answer)["data"]


def repeated(panel: dict[str, Any], values: dict[str, str]) -> list[tuple[dict[str, Any], dict[str, str]]]:
    """Return a panel once for each value of the variable that it is repeated for, side by side."""
    if "repeat" not in panel:
        return [(panel, values)]
    found = values[panel["repeat"]].strip("()").split("|")
    place = panel["gridPos"]
    return [
        (
            {**panel, "id": panel["id"] + 1000 * at, "gridPos": {**place, "x": place["x"] + at * place["w"]}},
            {**values, panel["repeat"]: value},
        )
        for at, value in enumerate(found[: 24 // place["w"]])
    ]


def answered(url: str, panel: dict[str, Any], values: dict[str, str], when: tuple[int, int, int]) -> dict[str, Any]:
    """Return a panel with its `series`, or its `table`."""
    start, end, step = when
    series: list[dict[str, Any]] = []
    for target in panel["targets"]:
        expr = substituted(target["expr"], values)
        if target["instant"]:
            found = api(url, "query", query=expr, time=end)["result"]
        else:
            found = api(url, "query_range", query=expr, start=start, end=end, step=step)["result"]
        for one in found:
            points = {int(at): float(value) for at, value in one.get("values") or [one["value"]]}
            times = [*points] if target["instant"] else range(start, end + 1, step)
            # Where a point is missing the line ends, as Grafana draws it.
            numbers = [points.get(at, math.nan) for at in times]
            series.append(
                {
                    "refId": target["refId"],
                    "name": named(target["legendFormat"], one["metric"]),
                    "labels": one["metric"],
                    "time": [at * 1000 for at in times],
                    "value": [None if math.isnan(number) else number for number in numbers],
                }
            )
    panel = {**panel, "title": substituted(panel["title"], values), "series": series}
    if panel["type"] == "table":
        panel["table"], panel["series"] = joined(panel, series), []
    return panel


def named(legend: str, labels: dict[str, str]) -> str:
    """Return the name of a series, as Grafana makes it."""
    return re.sub(r"\{\{(\w+)\}\}", lambda found: labels.get(found[1], ""), legend).strip()


def joined(panel: dict[str, Any], series: list[dict[str, Any]]) -> dict[str, Any]:
    """Return rows by labels with a column a query, as the transformations of the panel say."""
    organize = panel["transformations"][1]["options"]
    titles = organize["renameByName"]
    labels = [name for name in titles if not name.startswith("Value")]
    letters = {
        name.rpartition("#")[2] if "#" in name else "A": title for name, title in titles.items() if name not in labels
    }
    rows: dict[tuple[str, ...], dict[str, float]] = {}
    for one in series:
        row = rows.setdefault(tuple(one["labels"].get(label, "") for label in labels), {})
        row[letters[one["refId"]]] = one["value"][-1]
    first = next(iter(letters.values()))
    ordered = sorted(rows.items(), key=lambda row: -(row[1].get(first) or 0))
    columns = [titles[label] for label in labels] + [*letters.values()]
    return {
        "columns": columns,
        "rows": [[*key, *(row.get(title) for title in letters.values())] for key, row in ordered],
    }


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]) if len(sys.argv) > 3 else 3600)

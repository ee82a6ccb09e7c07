"""Panels as Grafana's Classic JSON: what they ask, where they stand, how they look."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from spanledger.service.assets.dashboards.panel import Column, Limits, Panel, Row
from spanledger.service.assets.dashboards.series import CASCADE, RECORDED, ROWS
from spanledger.service.assets.values import Values, fill

COLUMNS: Final = 24
Json = dict[str, Any]

DATASOURCE: Final = {"type": "prometheus", "uid": "${datasource}"}
HEALTH_COLORS: Final = ("green", "yellow", "red")
_HEALTH: Final = ("green", "amber", "red")
_REF_IDS: Final = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_NAME: Final = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
_SINCE_WHEN: Final = "otelcol_process_uptime_seconds"
"""Says whether a series is new; panels that ask for nothing else are about it."""
_SUFFIX: Final = re.compile(r"_(?:bucket|sum|count)$")


def uid(name: str) -> str:
    """Return what links know a dashboard by."""
    return f"spanledger-{name}"


def placed(rows: Sequence[Row], values: Values) -> Iterator[Json]:
    """Yield all panels with ids and places: side by side as far as there is room, then below."""
    y = number = 0
    for row in rows:
        number += 1
        place = {"x": 0, "y": y, "w": COLUMNS, "h": 1}
        yield {"type": "row", "id": number, "title": row.title, "collapsed": False, "gridPos": place, "panels": []}
        y, x, height = y + 1, 0, 0
        for panel in row.panels:
            if x + panel.width > COLUMNS:
                x, y, height = 0, y + height, 0
            number += 1
            place = {"x": x, "y": y, "w": panel.width, "h": panel.height}
            yield {"id": number, "gridPos": place, **_panel(panel, values)}
            x, height = x + panel.width, max(height, panel.height)
        y += height


def _panel(panel: Panel, values: Values) -> Json:
    shared: Json = {
        "title": panel.title,
        "type": panel.kind,
        "description": _description(panel, values),
        "datasource": DATASOURCE,
        "targets": _targets(panel),
        "options": _options(panel),
        "fieldConfig": {"defaults": _defaults(panel, values), "overrides": _overrides(panel, values)},
    }
    if panel.kind == "table":
        shared["transformations"] = _joined(panel)
    if panel.repeat:
        shared |= {"repeat": panel.repeat, "repeatDirection": "h", "maxPerRow": 2}
    return shared


def _targets(panel: Panel) -> list[Json]:
    return [
        {
            "refId": _REF_IDS[at],
            "datasource": DATASOURCE,
            "expr": query.expr,
            "legendFormat": query.legend or "__auto",
            "editorMode": "code",
            "instant": query.instant,
            "range": not query.instant,
            "exemplar": query.exemplar,
            "format": "table" if panel.kind == "table" else "time_series",
        }
        for at, query in enumerate(panel.queries)
    ]


def metrics_of(panel: Panel) -> list[str]:
    """Return the metrics and recorded series that a panel asks for, in the order of its queries."""
    words = [_SUFFIX.sub("", word) for query in panel.queries for word in _NAME.findall(query.expr)]
    names = dict.fromkeys(word for word in words if word in ROWS or word in RECORDED)
    return [name for name in names if name != _SINCE_WHEN] or list(names)


def _description(panel: Panel, values: Values) -> str:
    parts = [fill(panel.says, values)]
    every = {"": panel.limits, **{title: column.limits for title, column in (panel.columns or {}).items()}}
    for title, limits in every.items():
        if limits is not None:
            amber, red = _numbers(limits, values)
            word = "below" if limits.low_is_bad else "from"
            at = f"red {word} {red:g}" if amber == red else f"amber {word} {amber:g}, red {word} {red:g}"
            parts.append(f"{f'{title}: ' if title else ''}{at}: {fill(limits.why, values)}")
    names = metrics_of(panel)
    parts.append(f"{'Metrics' if len(names) > 1 else 'Metric'}: {', '.join(f'`{name}`' for name in names)}")
    return "\n\n".join(part[0].upper() + part[1:] for part in parts)


def _numbers(limits: Limits, values: Values) -> tuple[float, float]:
    """Return from where on it is amber and red; amber does not begin behind red, whatever red was set to."""
    amber, red = (float(values.get(text, text)) for text in (limits.amber, limits.red))
    return (max if limits.low_is_bad else min)(amber, red), red


def _thresholds(limits: Limits | None, values: Values) -> Json:
    if limits is None:
        return {"mode": "absolute", "steps": [{"color": "blue", "value": None}]}
    amber, red = _numbers(limits, values)
    steps: list[Json]
    if limits.low_is_bad:
        steps = [{"color": "red", "value": None}, {"color": "yellow", "value": red}, {"color": "green", "value": amber}]
    else:
        steps = [{"color": "green", "value": None}, {"color": "yellow", "value": amber}, {"color": "red", "value": red}]
    if amber == red:
        del steps[1]
    return {"mode": "absolute", "steps": steps}


def _health_mappings() -> list[Json]:
    seen = {str(at): {"text": text, "color": HEALTH_COLORS[at], "index": at} for at, text in enumerate(_HEALTH)}
    return [{"type": "value", "options": seen}]


def _health_thresholds() -> Json:
    steps = [{"color": color, "value": at or None} for at, color in enumerate(HEALTH_COLORS)]
    return {"mode": "absolute", "steps": steps}


def _defaults(panel: Panel, values: Values) -> Json:
    field: Json = {
        "unit": panel.unit,
        "noValue": panel.empty,
        "mappings": _health_mappings() if panel.health else [],
        "thresholds": _health_thresholds() if panel.health else _thresholds(panel.limits, values),
        "color": {"mode": "palette-classic" if panel.kind == "timeseries" else "thresholds"},
        "custom": _custom(panel),
    }
    for key, value in (("min", panel.least), ("max", panel.most), ("decimals", panel.decimals)):
        if value is not None:
            field[key] = value
    if panel.leads_to and panel.kind != "table":
        labels = [name for name in CASCADE if any(f"{{{{{name}}}}}" in query.legend for query in panel.queries)]
        field["links"] = [_link(panel.leads_to, {name: f"${{__field.labels.{name}:percentencode}}" for name in labels})]
    return field


def _link(name: str, labels: Mapping[str, str]) -> Json:
    """Return a link to another dashboard that keeps the time range, and takes the variables from `labels`."""
    if labels:
        chosen = "&".join(f"var-{name}={value}" for name, value in labels.items())
        variables = f"var-datasource=${{datasource}}&{chosen}"
    else:
        variables = "${__all_variables}"
    return {"title": f"Open {name}", "url": f"/d/{uid(name)}?${{__url_time_range}}&{variables}", "targetBlank": False}


def _custom(panel: Panel) -> Json:
    if panel.kind == "timeseries":
        return {
            "drawStyle": "line",
            "lineWidth": 1,
            "lineInterpolation": "linear",
            "fillOpacity": 30 if panel.stacked else 8,
            "showPoints": "auto",
            "pointSize": 4,
            "spanNulls": False,
            "stacking": {"mode": "normal" if panel.stacked else "none", "group": "A"},
            "thresholdsStyle": {"mode": "dashed" if panel.limits else "off"},
        }
    if panel.kind == "state-timeline":
        return {"fillOpacity": 80, "lineWidth": 0, "spanNulls": False}
    if panel.kind == "table":
        cells = {"cellOptions": {"type": "auto"}, "inspect": False, "filterable": True}
        return {"align": "auto", "minWidth": 70, **cells}
    return {}


_LEGEND: Final = {"showLegend": True, "displayMode": "list", "placement": "bottom", "calcs": []}
_LAST: Final = {"calcs": ["lastNotNull"], "values": False, "fields": ""}


def _options(panel: Panel) -> Json:
    if panel.kind == "timeseries":
        return {"legend": _LEGEND, "tooltip": {"mode": "multi", "sort": "desc"}}
    if panel.kind == "stat":
        return {
            "reduceOptions": _LAST,
            "colorMode": "value",
            "graphMode": "none",
            "justifyMode": "auto",
            "textMode": "auto",
            "orientation": "auto",
            "wideLayout": True,
            "showPercentChange": False,
            "percentChangeColorMode": "standard",
        }
    if panel.kind == "bargauge":
        return {
            "reduceOptions": _LAST,
            "displayMode": "basic",
            "orientation": "horizontal",
            "valueMode": "color",
            "namePlacement": "top",
            "showUnfilled": True,
            "sizing": "auto",
            "minVizWidth": 8,
            "minVizHeight": 32,
            "maxVizHeight": 300,
            "legend": {**_LEGEND, "showLegend": False},
        }
    if panel.kind == "state-timeline":
        return {
            "showValue": "never",
            "rowHeight": 0.85,
            "mergeValues": True,
            "alignValue": "left",
            "legend": _LEGEND,
            "tooltip": {"mode": "single", "sort": "none"},
        }
    return {
        "showHeader": True,
        "cellHeight": "sm",
        "frameIndex": 0,
        "sortBy": [{"displayName": panel.sort, "desc": True}] if panel.sort else [],
    }


def _overrides(panel: Panel, values: Values) -> list[Json]:
    found = [
        _override(name, {"color": {"mode": "fixed", "fixedColor": color}})
        for name, color in (panel.colors or {}).items()
    ]
    found += [_override(title, _looks(column, values)) for title, column in (panel.columns or {}).items()]
    # One link, on the last label that the other dashboard can be narrowed to.
    shown = {name: title for name, title in (panel.labels or {}).items() if name in CASCADE and panel.leads_to}
    wanted = {name: f'${{__data.fields["{title}"]:percentencode}}' for name, title in shown.items()}
    for name, title in (panel.labels or {}).items():
        looks: Json = {"noValue": "–", **({"custom.width": _WIDE[name]} if name in _WIDE else {})}
        if panel.leads_to and name in shown and name == [*shown][-1]:
            looks["links"] = [_link(panel.leads_to, wanted)]
        found.append(_override(title, looks))
    return found


_WIDE: Final = {"evaluation_name": 230, "model": 170}
"""Labels whose values are long -> pixels of their columns."""
_UNKNOWN: Final = {
    "type": "special",
    "options": {"match": "null", "result": {"text": "–", "color": "transparent", "index": 9}},
}
"""What is not known is not green."""


def _override(name: str, properties: Mapping[str, Any]) -> Json:
    return {
        "matcher": {"id": "byName", "options": name},
        "properties": [{"id": key, "value": value} for key, value in properties.items()],
    }


def _looks(column: Column, values: Values) -> Json:
    # What the table says of itself when it is empty is not for its cells.
    looks: Json = {"noValue": "–", **({"unit": column.unit} if column.unit else {})}
    if column.decimals is not None:
        looks["decimals"] = column.decimals
    if column.health:
        looks |= {"mappings": [*_health_mappings(), _UNKNOWN], "thresholds": _health_thresholds()}
    elif column.limits is not None:
        looks |= {"mappings": [_UNKNOWN], "thresholds": _thresholds(column.limits, values)}
    if column.health or column.limits is not None:
        looks["custom.cellOptions"] = {"type": "color-background", "mode": "basic"}
    return looks


def _joined(panel: Panel) -> list[Json]:
    """Return how the queries of a table become one: rows by labels, one column a query, readable titles."""
    labels = panel.labels or {}
    # Grafana calls the column of an only query `Value`, those of several `Value #A` and so on.
    one = len(panel.queries) == 1
    titles = {"Value" if one else f"Value #{_REF_IDS[at]}": query.legend for at, query in enumerate(panel.queries)}
    order = [*labels, *titles]
    return [
        {"id": "merge", "options": {}},
        {
            "id": "organize",
            "options": {
                "excludeByName": {"Time": True},
                "indexByName": {name: at for at, name in enumerate(order)},
                "renameByName": {**labels, **titles},
            },
        },
    ]

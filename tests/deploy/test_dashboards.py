"""The dashboards of deploy/grafana are what the code says, and what Grafana takes."""

from __future__ import annotations

import json
import lzma
import re
from itertools import combinations
from pathlib import Path
from typing import Any, Final

import jsonschema
import promql_parser
import pytest
import yaml

from spanledger.conventions.metrics import METRICS
from spanledger.service.assets.dashboards.files import BOARDS, files
from spanledger.service.assets.values import read
from tests.deploy.grafana_json import (
    CATALOGUE,
    DASHBOARDS,
    DEPLOY,
    Json,
    asked,
    label_values,
    load,
    panels,
    substituted,
    variables,
    windows,
)
from tests.deploy.promql import bare_counters, below, is_bounded, is_made, parse

FIXTURES: Final = Path(__file__).parents[1] / "fixtures" / "grafana"
SCHEMAS: Final[Json] = json.loads(lzma.decompress((FIXTURES / "schemas.json.xz").read_bytes()))
CUSTOM: Final = {"timeseries": "GraphFieldConfig", "table": "TableFieldOptions", "statetimeline": "FieldConfig"}
UNITS: Final = {*SCHEMAS["units"], "suffix:×"}
SINCE_WHEN: Final = {"up", "otelcol_process_uptime_seconds"}
"""What says whether a series is new, beside what a panel is about."""
DATASOURCE: Final = {"type": "prometheus", "uid": "${datasource}"}
IN_EVERY_QUERY: Final = {"service_name", "agent_name", "provider", "model", "dimension", "instance"}

each = pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
each_file = pytest.mark.parametrize(
    "path", [*DASHBOARDS, *CATALOGUE], ids=lambda path: f"{path.parent.name}/{path.stem}"
)


def filled(expr: str) -> str:
    """Return a query with something in place of each variable."""
    return substituted(expr, {**dict.fromkeys(IN_EVERY_QUERY, ".*"), **windows(3600, 15, 15)})


def schema(name: str, definition: str = "") -> Json:
    """Return a schema of Grafana's, or a definition in it. Where it wants exactly one of several, one is enough."""
    whole = json.loads(json.dumps(SCHEMAS[name]).replace('"oneOf"', '"anyOf"'))
    return {**whole, "$ref": f"#/definitions/{definition}"} if definition else whole


def as_grafana_writes(whole: Json) -> Json:
    """Return the schema of dashboards without three places where it refuses what Grafana itself writes.

    It wants links of panels to be links of dashboards, and options of matchers and values of overrides to be objects.
    """
    definitions = dict(whole["definitions"])
    for name, key in (("FieldConfig", "links"), ("MatcherConfig", "options"), ("DynamicConfigValue", "value")):
        definitions[name] = {**definitions[name], "properties": {**definitions[name]["properties"], key: {}}}
    return {**whole, "definitions": definitions}


def test_the_committed_files_are_those_of_the_code() -> None:
    """`make docs` writes them anew; nothing else is in their folders."""
    made = files(read((DEPLOY / "values.yaml").read_text()))

    assert sorted(made) == sorted(str(path.relative_to(DEPLOY)) for path in [*DASHBOARDS, *CATALOGUE])
    for path, text in made.items():
        assert (DEPLOY / path).read_text() == text, f"{path}: run `make docs`"


@each_file
def test_grafanas_schema_takes_it(path: Path) -> None:
    """The dashboard, the options of each panel and each query are valid by Grafana's own JSON Schemas."""
    dashboard = load(path)
    classic = {key: value for key, value in dashboard.items() if not key.startswith("__")}

    jsonschema.Draft7Validator(as_grafana_writes(SCHEMAS["dashboard"])).validate(classic)
    for panel in panels(dashboard):
        kind = panel["type"].replace("-", "")
        jsonschema.Draft7Validator(schema(kind, "Options")).validate(panel["options"])
        if kind in CUSTOM:
            jsonschema.Draft7Validator(schema(kind, CUSTOM[kind])).validate(panel["fieldConfig"]["defaults"]["custom"])
        for target in panel["targets"]:
            jsonschema.Draft7Validator(schema("prometheus")).validate(target)


def test_they_can_be_told_apart_and_found_again() -> None:
    """Uids and titles are each there once, and uids are those that alerts lead to."""
    dashboards = [load(path) for path in DASHBOARDS]

    assert [d["uid"] for d in dashboards] == [f"spanledger-{path.stem}" for path in DASHBOARDS]
    assert len({d["title"] for d in dashboards}) == len(dashboards)
    for dashboard in dashboards:
        assert (dashboard["id"], dashboard["schemaVersion"], dashboard["tags"]) == (None, 39, ["spanledger"])
        (link,) = dashboard["links"]
        assert (link["tags"], link["includeVars"], link["keepTime"]) == (["spanledger"], True, True)


@each
def test_everything_asks_the_chosen_data_source(path: Path) -> None:
    """Panels, queries, variables and annotations follow the variable, so that import and provisioning both work."""
    dashboard = load(path)

    first = dashboard["templating"]["list"][0]
    assert (first["name"], first["type"], first["query"]) == ("datasource", "datasource", "prometheus")
    for asker in (*panels(dashboard), *variables(dashboard), *dashboard["annotations"]["list"]):
        assert asker["datasource"] == DATASOURCE
    for panel in panels(dashboard):
        assert all(target["datasource"] == DATASOURCE for target in panel["targets"])


@pytest.mark.parametrize("path", CATALOGUE, ids=lambda path: path.stem)
def test_the_catalogue_asks_for_the_data_source(path: Path) -> None:
    """grafana.com's copy differs in nothing but where the data source is from."""
    dashboard = load(path)

    assert [one["name"] for one in dashboard["__inputs"]] == ["DS_PROMETHEUS"]
    assert {one["id"] for one in dashboard["__requires"]} >= {"grafana", "prometheus"} | {
        panel["type"] for panel in panels(dashboard)
    }
    assert "${datasource}" not in path.read_text()
    assert [query.expr for query in asked(dashboard)] == [
        query.expr for query in asked(load(DASHBOARDS[CATALOGUE.index(path)]))
    ]


@each
def test_variables_are_used_and_narrow_each_other(path: Path) -> None:
    """Each variable is asked for by a panel or a later variable, and each one that is asked for is there."""
    dashboard = load(path)
    names = [variable["name"] for variable in variables(dashboard)]
    known = {"datasource", *windows(1, 1, 1), "__url_time_range", "__all_variables", "__all"}

    used = set(re.findall(r"\$\{?(\w+)", path.read_text())) - {"__field", "__data"}

    assert used - known == set(names)
    for at, variable in enumerate(variables(dashboard)):
        assert (variable["multi"], variable["includeAll"], variable["refresh"]) == (True, True, 2)
        narrower = set(re.findall(r"\$(\w+)", variable["query"]))
        assert narrower <= set(names[:at])
        selector, label = label_values(variable, dict.fromkeys(names, ".*"))
        assert any(re.fullmatch(_named(parse(selector)), metric.name) for metric in METRICS)
        assert label == variable["name"]


def _named(selector: Any) -> str:
    """Return the name that a selector asks for, as a regular expression."""
    return selector.name or next(m.value for m in selector.matchers.matchers if m.name == "__name__")


@each
def test_every_panel_says_what_it_shows(path: Path) -> None:
    """It has a title, a description that names its metrics, a unit that Grafana knows, and a word for no data."""
    for panel in panels(load(path)):
        defaults = panel["fieldConfig"]["defaults"]
        assert panel["title"]
        assert len(panel["description"].split("\n\n")[0]) > 4
        made = {one.name for t in panel["targets"] for one in below(parse(filled(t["expr"]))) if hasattr(one, "name")}
        shown = {re.sub(r"_(bucket|sum|count)$", "", name) for name in made}
        named = set(re.findall(r"`([a-z_0-9:]+)`", panel["description"].split("\n\n")[-1]))
        assert shown - SINCE_WHEN == named - SINCE_WHEN
        assert named
        assert defaults["unit"] in UNITS
        assert defaults["noValue"]
        assert panel["targets"]
        units = [p["value"] for o in panel["fieldConfig"]["overrides"] for p in o["properties"] if p["id"] == "unit"]
        assert set(units) <= UNITS


@each
def test_thresholds_have_a_reason(path: Path) -> None:
    """Red and amber are only where the description says from where on and why."""
    for panel in panels(load(path)):
        looks = [panel["fieldConfig"]["defaults"]]
        looks += [{p["id"]: p["value"] for p in o["properties"]} for o in panel["fieldConfig"]["overrides"]]
        for look in looks:
            steps = look.get("thresholds", {}).get("steps", [])
            values = [step["value"] for step in steps[1:]]
            assert values == sorted(set(values))
            if len(steps) > 1 and not look.get("mappings"):
                assert re.search(r"(?i)red (from|below)", panel["description"]), panel["title"]
                assert all(f"{value:g}" in panel["description"] for value in values), panel["title"]


@each
def test_panels_have_places_of_their_own(path: Path) -> None:
    """Ids are there once, panels lie within 24 columns, and none covers another."""
    everything = load(path)["panels"]

    assert len({panel["id"] for panel in everything}) == len(everything)
    places = [panel["gridPos"] for panel in everything]
    assert all(p["x"] >= 0 and p["w"] > 0 and p["x"] + p["w"] <= 24 and p["h"] > 0 for p in places)
    for a, b in combinations(places, 2):
        apart = a["x"] + a["w"] <= b["x"] or b["x"] + b["w"] <= a["x"]
        assert apart or a["y"] + a["h"] <= b["y"] or b["y"] + b["h"] <= a["y"]
    for panel in panels(load(path)):
        assert [target["refId"] for target in panel["targets"]] == list("ABCDEFGHIJ")[: len(panel["targets"])]


@each
def test_queries_ask_for_what_is_there(path: Path) -> None:
    """They parse, name series that something makes, and look at counters only by how much they grow."""
    for query in asked(load(path)):
        tree = parse(filled(query.expr))
        names = [node.name for node in below(tree) if isinstance(node, promql_parser.VectorSelector)]
        assert names, query.where
        assert all(map(is_made, names)), query.where
        if not query.annotation:
            assert not list(bare_counters(tree)), query.where


@each
def test_queries_have_a_limit_on_series(path: Path) -> None:
    """However many agents, models and tools there are: a panel draws a few of them."""
    for query in asked(load(path)):
        assert is_bounded(parse(filled(query.expr))), query.where


@each
def test_graphs_follow_the_zoom(path: Path) -> None:
    """Graphs look at `$__rate_interval`, and at the range for what they choose; numbers look at the range."""
    for panel in panels(load(path)):
        for target in panel["targets"]:
            found = set(re.findall(r"\[([\w$:]+)\]( @ end\(\))?", target["expr"]))
            if target["instant"]:
                assert {window for window, _ in found} <= {"$__range", "1h", "1d", "7d"}, panel["title"]
            else:
                assert found <= {("$__rate_interval", ""), ("$__range", " @ end()")}, panel["title"]


@each
def test_links_lead_somewhere(path: Path) -> None:
    """Links of panels name a dashboard that there is, keep the time range, and set variables that it has."""
    have = {load(p)["uid"]: {v["name"] for v in load(p)["templating"]["list"]} for p in DASHBOARDS}

    for url in re.findall(r'"url": "(/d/.*?)"\n?[,}]', path.read_text().replace('\\"', "'")):
        uid, _, query = url.removeprefix("/d/").partition("?")
        assert "${__url_time_range}" in query
        assert set(re.findall(r"var-(\w+)=", query)) - {"provider", "model"} <= have[uid]


def test_histograms_of_runs_and_calls_lead_to_traces() -> None:
    """Graphs of quantiles ask for exemplars, but for the sidecar's own."""
    for path in DASHBOARDS:
        for query in asked(load(path)):
            if "histogram_quantile" in query.expr and not query.instant:
                assert query.exemplar == (path.stem != "pipeline"), query.where


def test_the_issue_has_a_dashboard_for_each_question() -> None:
    """Seven boards, by name."""
    names = ["fleet", "cost", "trajectories", "tools", "quality", "safety", "pipeline"]
    assert [board.name for board in BOARDS] == names


def test_provisioning_names_the_folder_and_the_exemplars() -> None:
    """The samples are what Grafana reads, and traces are linked by the label that exemplars have."""
    folder = DEPLOY / "grafana" / "provisioning"
    sources: Any = yaml.safe_load((folder / "datasources.yaml").read_text())
    providers: Any = yaml.safe_load((folder / "dashboards.yaml").read_text())

    (prometheus,) = [one for one in sources["datasources"] if one["type"] == "prometheus"]
    uids = {one["uid"] for one in sources["datasources"]}
    for one in prometheus["jsonData"]["exemplarTraceIdDestinations"]:
        assert one["name"] == "trace_id"
        assert one["datasourceUid"] in uids
    (provider,) = providers["providers"]
    assert provider["type"] == "file"
    assert provider["options"]["path"]

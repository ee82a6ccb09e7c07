"""The rules as they are committed: true to their source, complete, and about series that there are."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from spanledger.conventions.metrics import METRICS
from spanledger.service.assets import recording, write
from spanledger.service.assets.alerts import GROUPS, all_alerts
from spanledger.service.assets.dashboards.files import BOARDS
from spanledger.service.assets.rule import Alert, Recording
from spanledger.service.assets.values import BadValues, fill, names_in, read
from tests.deploy.alert_cases import all_cases

DEPLOY = Path(__file__).parents[2] / "deploy"
VALUES = read((DEPLOY / "values.yaml").read_text())
PROMETHEUS_OWN = {"up", "otelcol_process_uptime_seconds"}
RECORDED = {rule.record for group in recording.GROUPS for rule in group.rules if isinstance(rule, Recording)}
SERIES = (
    PROMETHEUS_OWN
    | RECORDED
    | {
        f"{row.name}{suffix}"
        for row in METRICS
        for suffix in (("_bucket", "_sum", "_count") if row.type == "histogram" else ("",))
    }
)
WRITTEN: dict[str, dict[str, Any]] = {
    rule["alert"]: rule
    for group in yaml.safe_load((DEPLOY / "prometheus/alerts.rules.yaml").read_text())["groups"]
    for rule in group["rules"]
}
NAME = re.compile(r"(?<![\w:$\"./-])(?:[a-z_]+:)?(?:spanledger|otelcol|gen_ai)_[a-z0-9_]+(?::[a-z0-9_]+)?")

alerts = pytest.mark.parametrize("alert", all_alerts(), ids=lambda alert: alert.name)


def series_in(text: str) -> set[str]:
    """Return the names of series that a query or a template asks for."""
    return set(NAME.findall(text))


def test_files_are_written_from_their_source() -> None:
    """What is committed is what `make docs` writes."""
    for path, text in write.render(VALUES).items():
        assert (DEPLOY / path).read_text() == text, f"{path}: run `make docs`"
    text = (DEPLOY / "README.md").read_text()
    assert text == write.readme(text), "README.md: run `make docs`"


def test_every_value_is_used_and_every_name_is_a_value() -> None:
    """A number that no rule reads would be a promise that nothing keeps."""
    rules = [rule for group in (*recording.GROUPS, *GROUPS) for rule in group.rules]
    texts = [
        text
        for rule in rules
        for text in (
            (rule.expr, rule.help) if isinstance(rule, Recording) else (rule.expr, rule.summary, rule.description)
        )
    ]
    panels = [panel for board in BOARDS for row in board.rows for panel in row.panels]
    limits = [panel.limits for panel in panels] + [c.limits for panel in panels for c in (panel.columns or {}).values()]
    shown = {text for one in limits if one is not None for text in (one.amber, one.red)} & set(VALUES)
    # The three of the scrape configuration and of links are put in when the files are written.
    elsewhere = {"links.runbooks", "links.grafana", "scrape.interval", "rules.interval"}

    assert {name for text in texts for name in names_in(text)} | shown | elsewhere == set(VALUES)


def test_rules_ask_only_for_series_that_are_there() -> None:
    """Each name is a row of the table of metrics, or recorded before it is read."""
    for group in (*recording.GROUPS, *GROUPS):
        for rule in group.rules:
            text = rule.expr if isinstance(rule, Recording) else f"{rule.expr} {rule.summary} {rule.description}"
            assert series_in(text) <= SERIES, rule


def test_recorded_series_are_recorded_before_they_are_read() -> None:
    """A group reads what it or one above it has written."""
    known: set[str] = set()
    for group in recording.GROUPS:
        for rule in group.rules:
            assert isinstance(rule, Recording)
            assert {name for name in series_in(rule.expr) if ":" in name} <= known, rule.record
            known.add(rule.record)


def test_groups_are_evaluated_often_enough_for_prometheus_3() -> None:
    """What is recorded less often than every five minutes is not there when it is read."""
    minutes = re.fullmatch(r"(\d+)m", VALUES["rules.interval"])

    assert minutes
    assert int(minutes[1]) <= 4


@alerts
def test_alerts_say_who_how_bad_and_where_to_look(alert: Alert) -> None:
    """Each has all that a person on call needs, and nothing is left to fill in."""
    written = WRITTEN[alert.name]
    notes: dict[str, str] = written["annotations"]

    assert written["labels"]["severity"] in ("page", "ticket")
    assert written["labels"]["category"] != "quality" or written["labels"]["severity"] == "ticket"
    assert written["labels"]["category"] != "safety" or written["labels"]["severity"] == "page"
    assert set(notes) == {"summary", "description", "runbook_url", "dashboard_url"}
    assert len(re.sub(r"{{.*?}}", "", notes["summary"])) < 120
    assert not re.match(r"\w+: ", notes["summary"])  # PagerDuty takes it apart
    assert len(notes["description"]) > 60
    assert notes["runbook_url"] == f"{VALUES['links.runbooks']}/{alert.name}.md"
    assert (DEPLOY / "runbooks" / notes["runbook_url"].rpartition("/")[2]).is_file()
    assert notes["dashboard_url"].startswith(f"{VALUES['links.grafana']}/d/spanledger-{alert.board}")
    assert not any(names_in(text) for text in (written["expr"], *notes.values()))


@alerts
def test_alerts_have_a_runbook_a_story_to_fire_in_and_one_to_be_quiet_in(alert: Alert) -> None:
    """What nobody tested to fire may never fire, and what nobody tested to be quiet may always."""
    fires = {alert.name in case.fires for case in all_cases() if case.about == alert.name}

    assert (DEPLOY / "runbooks" / f"{alert.name}.md").exists()
    assert fires == {True, False}


def test_cases_are_about_alerts_that_there_are() -> None:
    """A renamed alert takes its cases along."""
    names = {alert.name for alert in all_alerts()}

    assert {case.about for case in all_cases()} | {name for case in all_cases() for name in case.fires} == names


def test_alerts_that_compare_with_the_past_ask_for_a_past() -> None:
    """A new agent has no usual cost, steps or score: such a rule says how much history it needs."""
    for alert in all_alerts():
        if re.search(r":(avg7d|median7d|avg24h)\b", alert.expr) and alert.name != "AgentRunaway":
            assert "count_over_time" in alert.expr or "hours7d" in alert.expr, alert.name


def test_the_operator_gets_the_same_rules() -> None:
    """The object for Kubernetes holds the groups of both files, in their order."""
    files = [DEPLOY / f"prometheus/{name}.rules.yaml" for name in ("recording", "alerts")]
    written = yaml.safe_load((DEPLOY / "kubernetes/prometheus-rules.yaml").read_text())

    assert (written["apiVersion"], written["kind"]) == ("monitoring.coreos.com/v1", "PrometheusRule")
    assert set(written) == {"apiVersion", "kind", "metadata", "spec"}
    assert written["spec"] == {"groups": [one for path in files for one in yaml.safe_load(path.read_text())["groups"]]}
    keys = {key for group in written["spec"]["groups"] for rule in group["rules"] for key in rule}
    assert keys == {"record", "expr", "alert", "for", "labels", "annotations"}


def test_amber_never_lies_behind_red() -> None:
    """Whoever makes an alert stricter need not think of the panels."""
    strict = read("loops: {ratio: 0.01}\nretries: {ratio: 0.02}", VALUES)

    for path, text in write.render(strict).items():
        if path.startswith("grafana/dashboards/"):
            for steps in re.findall(r'"steps": (\[.*?\])', text, re.DOTALL):
                values = [step["value"] for step in json.loads(steps)[1:]]
                assert values == sorted(set(values)), path


def test_values_of_ones_own_go_into_the_rules() -> None:
    """A file names what differs, the rest is as it comes."""
    mine = read("cost: {min_runs: 7}\nlinks: {grafana: https://grafana.example.org/g}", VALUES)
    rules = write.render(mine)["prometheus/alerts.rules.yaml"]

    assert "agent:spanledger_runs:increase1h >= 7" in rules
    assert "dashboard_url: https://grafana.example.org/g/d/spanledger-cost?" in rules
    assert mine["cost.jump_factor"] == VALUES["cost.jump_factor"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("cost: {min_run: 7}", "cost.min_run: no such value"),
        ("cost: {min_runs: many}", "cost.min_runs: 'many' is no number"),
        ("cost: {min_runs: '5) or vector(1'}", "cost.min_runs"),
        ("cost: {min_runs: [5]}", "cost.min_runs"),
        ("cost: {min_runs: }", "cost.min_runs"),
        ("links: {grafana: 'http://x\"} y'}", "links.grafana"),
        ("- 5", "not sections"),
        ("cost: 5", "not sections"),
        ("{", "no YAML"),
    ],
)
def test_values_that_cannot_be_used_are_refused(text: str, says: str) -> None:
    """What is wrong is named, and nothing gets into PromQL that is not a plain value."""
    with pytest.raises(BadValues, match=re.escape(says)):
        read(text, VALUES)


def test_an_unknown_place_is_an_error() -> None:
    """A typo in a rule does not become an empty threshold."""
    with pytest.raises(KeyError):
        fill("x > <cost.mistyped>", VALUES)


def test_alertmanager_knows_the_alerts_it_silences() -> None:
    """Names in inhibition rules are those of alerts, and so are severities and categories of routes."""
    config: dict[str, Any] = yaml.safe_load((DEPLOY / "alertmanager/alertmanager.yaml").read_text())
    named = re.findall(r'alertname!?=~?"([^"]+)"', str(config["inhibit_rules"]))
    severities = set(re.findall(r'severity="(\w+)"', str(config)))
    categories = set(re.findall(r'category="(\w+)"', str(config)))

    assert {name for group in named for name in group.split("|")} <= {alert.name for alert in all_alerts()}
    assert severities == {alert.severity for alert in all_alerts()}
    assert categories <= {alert.category for alert in all_alerts()}

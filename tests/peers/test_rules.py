"""Prometheus and Alertmanager, the distribution's and the newest, take the rules and do what they should with them."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from spanledger.__main__ import main
from spanledger.conventions.run_document import timestamp
from tests.deploy import rule_test
from tests.deploy.alert_cases import TIMELINES, Timeline
from tests.deploy.grafana_json import DASHBOARDS, load, panels, substituted, windows
from tests.deploy.test_runbooks import DEPLOY, RUNBOOKS, blocks
from tests.peers.alerting import alertmanager, webhook, with_webhooks
from tests.peers.client import Application, exporter
from tests.peers.servers import prometheus
from tests.run_documents import START_NS, document, store_of
from tests.sidecar import Sidecar, to_backend

if TYPE_CHECKING:
    from tests.backend import Backend

RULES = DEPLOY / "prometheus"
DASHBOARDS_OF = {path.stem: path for path in DASHBOARDS}
ROUTING = DEPLOY / "alertmanager" / "alertmanager.yaml"

timelines = pytest.mark.parametrize("timeline", TIMELINES.values(), ids=TIMELINES)


def says(*command: str | Path) -> tuple[int, str]:
    """Return the exit code of a command and what it writes."""
    ended = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    return ended.returncode, ended.stdout + ended.stderr


@pytest.mark.parametrize("name", ["recording.rules.yaml", "alerts.rules.yaml"])
def test_rules_are_valid(suite: Path, name: str) -> None:
    """Promtool finds nothing to say, duplicates included."""
    code, text = says(suite / "promtool", "check", "rules", "--lint=all", "--lint-fatal", RULES / name)

    assert code == 0, text


def test_scrape_configuration_is_valid(suite: Path) -> None:
    """The sample is one that Prometheus starts with, rules included."""
    code, text = says(suite / "promtool", "check", "config", "--lint=all", "--lint-fatal", RULES / "prometheus.yaml")

    assert code == 0, text


@pytest.mark.timeout(600)
@timelines
def test_alerts_fire_in_their_stories_and_in_no_other(suite: Path, timeline: Timeline, tmp_path: Path) -> None:
    """At the end of each timeline exactly those alerts fire that its cases name."""
    code, text = says(suite / "promtool", "test", "rules", rule_test.write(timeline, RULES, tmp_path))

    assert code == 0, rule_test.difference(text)


@pytest.mark.parametrize(("born_min", "up_min", "shown"), [(55, 0, 1), (None, 0, 0), (55, 50, 0), (0, 0, 0)])
def test_what_pages_is_no_zero_on_its_dashboard(
    suite: Path, tmp_path: Path, born_min: int | None, up_min: int, shown: int
) -> None:
    """A first violation is a series born at 1; one that is old, or came back with its sidecar, is not of this hour."""
    (panel,) = [one for one in panels(load(DASHBOARDS_OF["fleet"])) if one["title"] == "Violations"]
    expr = substituted(panel["targets"][0]["expr"], {"service_name": ".*", "agent_name": ".*", **windows(3600, 60, 60)})
    where = 'job="spanledger",instance="a"'
    agent = f'{where},service_name="s",agent_name="a"'
    given = {
        f"up{{{where}}}": f"_x{60 + up_min} 1x60" if up_min else "1x120",
        f"otelcol_process_uptime_seconds{{{where}}}": f"_x{60 + up_min} 90000x60" if up_min else "90000+60x120",
        f"spanledger_policy_evaluations_total{{{agent}}}": "9x120",
    }
    if born_min is not None:
        given[f"spanledger_policy_violations_total{{{agent}}}"] = f"_x{60 + born_min} 1x60" if born_min else "1x120"
    test = {
        "evaluation_interval": "1m",
        "tests": [
            {
                "interval": "1m",
                "input_series": [{"series": name, "values": values} for name, values in given.items()],
                "promql_expr_test": [
                    {"expr": expr, "eval_time": "2h", "exp_samples": [{"labels": "{}", "value": shown}]}
                ],
            }
        ],
    }
    (tmp_path / "test.yaml").write_text(yaml.safe_dump(test, width=10_000))

    code, text = says(suite / "promtool", "test", "rules", tmp_path / "test.yaml")

    assert code == 0, text


@pytest.mark.timeout(600)
@timelines
def test_alerts_have_all_their_values_filled_in(promtool: Path, timeline: Timeline, tmp_path: Path) -> None:
    """Summary and description of whatever fires are sentences: no template failed, no value was missing."""
    names = {name for case in timeline.cases for name in case.fires}
    test = rule_test.document(timeline.firing(), RULES, tmp_path)
    (one,) = test["tests"]
    expected, _ = one.pop("promql_expr_test")
    # None is expected, so that promtool shows what there is.
    one["alert_rule_test"] = [{"eval_time": expected["eval_time"], "alertname": name} for name in sorted(names)]
    (tmp_path / "test.yaml").write_text(yaml.safe_dump(test, width=10_000))

    _, text = says(promtool, "test", "rules", tmp_path / "test.yaml")

    shown = set(re.findall(r'alertname="(\w+)"', text))
    assert shown == names
    for fault in ("error expanding", "<no value>", "<error", "NaN", "%!", "not known"):
        # What a new agent usually takes is not known, and that is said.
        assert not [line for line in text.splitlines() if fault in line and "/AgentRunaway.md" not in line]


def test_queries_of_runbooks_are_valid(suite: Path, tmp_path: Path) -> None:
    """Each can be pasted into Prometheus."""
    queries = [query for path in RUNBOOKS for query in blocks(path.read_text(), "promql")]
    rules = [{"record": f"runbook:query:{number}", "expr": query} for number, query in enumerate(queries)]
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump({"groups": [{"name": "runbooks", "rules": rules}]}))

    code, text = says(suite / "promtool", "check", "rules", tmp_path / "rules.yaml")

    assert code == 0, text
    assert len(queries) > 2 * len(RUNBOOKS)


def test_routing_is_valid(suite: Path) -> None:
    """Alertmanager starts with the sample."""
    code, text = says(suite / "amtool", "check-config", ROUTING)

    assert code == 0, text


@pytest.mark.parametrize(
    ("labels", "receivers"),
    [
        (("severity=page", "category=cost"), "pager,chat"),
        (("severity=page", "category=safety"), "pager,chat"),
        (("severity=page", "category=pipeline", "alertname=SidecarDown"), "pager,chat"),
        (("severity=ticket", "category=quality"), "chat-tickets"),
        (("severity=ticket", "category=cost", "alertname=UnpricedSpend"), "chat-tickets"),
        (("alertname=SomethingElse",), "chat"),
    ],
)
def test_alerts_go_where_they_should(suite: Path, labels: tuple[str, ...], receivers: str) -> None:
    """Pages reach the pager and the chat, tickets the chat of the next business day, and nothing gets lost."""
    code, text = says(suite / "amtool", "config", "routes", "test", f"--config.file={ROUTING}", *labels)

    assert code == 0, text
    assert text.splitlines()[-1] == receivers or receivers in text.splitlines()


@pytest.mark.parametrize(
    ("cause", "effect"),
    [
        ("AgentCostJump", "AgentCostPerRequestAboveWeek"),
        ("AgentCostPerRequestAboveWeek", "AgentCostPerSuccessHigh"),
        ("BudgetBreached", "BudgetBurnFast"),
        ("AgentFailureBurnFast", "AgentErrorRateHigh"),
        ("SidecarDown", "SidecarQueueFilling"),
        ("SidecarAbsent", "AgentSilent"),
    ],
)
def test_causes_silence_what_follows_from_them(suite: Path, tmp_path: Path, cause: str, effect: str) -> None:
    """Of the same agent, budget or sidecar; that of another is heard."""
    where = {"service_name": "s", "agent_name": "a", "budget": "b", "job": "j", "instance": "i"}
    other = {key: f"other-{value}" for key, value in where.items()}
    category = {"category": "pipeline"} if cause.startswith("Sidecar") else {}
    everywhere = cause == "SidecarAbsent"
    with webhook() as hook:
        config = with_webhooks(yaml.safe_load(ROUTING.read_text()), hook.url)
        with alertmanager(suite, tmp_path, config) as server:
            server.post(
                [
                    {"alertname": cause, **where, **category},
                    {"alertname": effect, **(other if everywhere else where), **category},
                    {"alertname": "AgentLoopWaste", **other},
                ]
            )
            # Alertmanager shows an alert a moment before its inhibitor has seen the cause.
            server.process.wait_until(lambda: len(server.silenced()) == 3 and server.silenced()[effect])

            assert server.silenced() == {cause: False, effect: True, "AgentLoopWaste": False}


def test_backtest_says_when_alerts_would_have_fired(
    suite: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """An hour of runs that succeed, and one of dear runs that fail: alerts fire in the second, of that agent only."""
    runs = []
    for agent in ("planner", "quiet"):
        for minute in range(0, 120, 2):
            bad = agent == "planner" and minute >= 60
            totals = {**document()["totals"], "cost_usd": 0.2 if bad else 0.01}
            runs.append(
                document(
                    f"{agent}-{minute}", service_name=agent, agent_name=agent, totals=totals,
                    started_at=timestamp(START_NS + minute * 60 * 10**9), outcome="failure" if bad else "success",
                )
            )  # fmt: skip
    store_of(tmp_path, runs).close()

    assert main(["backtest", str(RULES), "--store", str(tmp_path), "--prometheus", str(suite), "--json"]) == 0

    said = json.loads(capsys.readouterr().out)
    fired = said["fired"]
    assert {one["labels"]["agent_name"] for one in fired} == {"planner"}
    assert {"AgentFailureBurnFast", "AgentSpendWithoutSuccess"} <= {one["alert"] for one in fired}
    assert min(one["from"] for one in fired) > "2026-11-20T09:00:00Z"
    assert {"BudgetBreached", "SidecarDown", "AgentCostJump"} <= {one["alert"] for one in said["not_judged"]}


def test_an_alert_travels_from_spans_to_the_pager(suite: Path, backend: Backend, tmp_path: Path) -> None:
    """An agent uses a tool that its policy does not allow: somebody is paged with a link to the runbook."""
    sidecar = Sidecar(tmp_path)
    config = sidecar.config({"otlp": to_backend(backend.endpoint)})
    config["connectors"]["trajectory"] = {
        "settle": "200ms",
        "policies": [{"name": "travel", "match": {"agent_name": "planner"}, "tools": {"allow": ["search_*"]}}],
    }
    config["service"]["pipelines"]["traces"]["exporters"].append("trajectory")
    config["service"]["pipelines"]["metrics/own"]["receivers"].append("trajectory")
    values = tmp_path / "values.yaml"
    values.write_text("rules: {interval: 1s}\n")
    assert main(["assets", str(tmp_path / "assets"), "--values", str(values)]) == 0
    rules = sorted((tmp_path / "assets/prometheus").glob("*.rules.yaml"))

    with webhook() as hook:
        routing = with_webhooks(yaml.safe_load(ROUTING.read_text()), hook.url)
        sidecar.start(config)
        try:
            with (
                alertmanager(suite, tmp_path, routing) as manager,
                prometheus(suite / "prometheus", tmp_path, sidecar.prometheus, rules, manager.address) as server,
            ):
                server.process.wait_until(lambda: server.value("up") == 1)
                application = Application(exporter("grpc", sidecar.grpc))
                application.run()
                application.close()
                name = "AgentToolOutsideAllowlist"
                server.process.wait_until(lambda: name in hook.alerts("/pager") and name in hook.alerts("/chat"))
        finally:
            sidecar.process.stop()

    told = hook.alerts("/pager")[name]
    labels: dict[str, Any] = told["labels"]
    assert (labels["agent_name"], labels["tool_name"], labels["action"]) == ("planner", "get_weather", "executed")
    assert told["annotations"]["summary"] == (
        "Agent planner of python-agent used a tool outside its allowlist, get_weather (executed, policy travel)"
    )
    assert told["annotations"]["runbook_url"].endswith(f"/runbooks/{name}.md")
    assert told["annotations"]["dashboard_url"].endswith("?var-service_name=python-agent&var-agent_name=planner")
    assert "AgentToolOutsideAllowlist" not in hook.alerts("/chat-tickets")

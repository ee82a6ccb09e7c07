"""`spanledger backtest`: stored runs as series, and what promtool says of them. The real one is in tests/peers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from spanledger.__main__ import main
from spanledger.conventions.metrics import METRICS
from spanledger.conventions.run_document import timestamp
from spanledger.service.backtest.counted import COUNTED, counted
from spanledger.service.backtest.promtool import Fired, PromtoolFailed, play
from spanledger.service.backtest.timeline import (
    GAUGES,
    TAKEN_FOR_GRANTED,
    Timeline,
    first_and_last,
    span,
    timeline,
)
from spanledger.service.runs.document import read
from tests.run_documents import START_NS, document, failed_trip, store_of, trip

S = 10**9
START_S = START_NS // S
LATER_S = START_S + 10 * 86400


def run_at(minutes: float, **more: Any) -> dict[str, Any]:
    """Return a run that started so long after the first."""
    return document(f"run-{minutes}", started_at=timestamp(START_NS + round(minutes * 60) * S), **more)


def total(document: dict[str, Any], name: str, **labels: str) -> float:
    """Return how much a run adds to the series of a metric that have all of `labels`."""
    wanted = set(labels.items())
    return sum(one.amount for one in counted(read(document)) if one.name == name and wanted <= set(one.labels))


def test_runs_count_as_they_did_when_they_were_closed() -> None:
    """Calls, tools, tokens and money of the document are those of the counters."""
    run = trip()
    totals = run["totals"]

    assert total(run, "spanledger_runs_total", outcome="success") == 1
    assert total(run, "spanledger_runs_total", outcome="failure") == 0
    assert total(run, "spanledger_llm_calls_total") == totals["llm_calls"]
    assert total(run, "spanledger_tool_calls_total") == totals["tool_calls"]
    assert total(run, "spanledger_llm_retries_total") <= totals["retries"]
    assert total(run, "spanledger_llm_tokens_total") == totals["input_tokens"] + totals["output_tokens"]
    assert total(run, "spanledger_llm_cost_usd_total") == pytest.approx(totals["cost_usd"])
    assert total(run, "spanledger_run_cost_usd_total", outcome="success") == pytest.approx(totals["cost_usd"])
    assert total(run, "spanledger_run_steps_sum") == totals["steps"]
    assert total(run, "spanledger_run_steps_bucket", le="+Inf") == 1


def test_series_have_the_names_and_labels_of_the_table() -> None:
    """A rule that works on the sidecar's metrics works on these."""
    findings = [
        {"kind": "loop", "rule": "exact_repeat", "severity": "warning", "steps": [], "detail": {"wasted_usd": 0.5}},
        {"kind": "policy", "rule": "tools", "severity": "critical", "steps": [], "detail": {
            "policy": "travel", "agent_name": "planner", "subject": "rm", "action": "executed", "executed": 1,
        }},
        {"kind": "safety", "rule": "hate", "severity": "warning", "steps": [], "detail": {"agent_name": "planner"}},
    ]  # fmt: skip
    labels = {row.name: set(row.label_names) for row in METRICS}
    evaluated = [{"name": "helpful", "score": 0.5, "label": None, "step": None, "basis": "parent"}]
    for run in (failed_trip(), trip(), document(findings=findings, evaluations=evaluated)):
        for one in counted(read(run)):
            assert one.name in COUNTED
            name = next(n for n in (one.name, one.name.rpartition("_")[0]) if n in labels)
            assert {label for label, _ in one.labels} - {"le"} == labels[name], one.name


def test_counters_are_there_at_zero_before_they_grow() -> None:
    """What `increase()` needs to see the first event of an agent that came later than others."""
    runs = [read(run_at(0, service_name="early")), read(run_at(5, service_name="late"))]
    start, samples = span(runs, 60, LATER_S)

    played = timeline(runs, start, 60, samples)

    (late,) = (
        values
        for name, values in played.series.items()
        if name.startswith("spanledger_runs_total") and '"late"' in name and '"success"' in name
    )
    assert start == START_S - 60
    assert late == f"_x4 0.0+0x1 1.0+0x{samples - 8}"  # began in the sixth minute, counted in the next


def test_nothing_is_played_into_the_future() -> None:
    """After the last run the rules look on for an hour, or until now."""
    runs = [read(run_at(0)), read(run_at(30))]
    begin, last = first_and_last(runs)

    assert span(runs, 60, LATER_S)[1] - span(runs, 60, last + 600)[1] == 50
    assert begin + 60 * (span(runs, 60, begin)[1] - 2) >= last  # a clock that is behind leaves out no run


def test_a_run_under_way_is_seen_growing() -> None:
    """Gauges of open runs say how far the worst is, and 0 when there is none."""
    run = failed_trip() | {"duration_s": 14.7}
    one = read(run)
    start, samples = span([one], 5, LATER_S)

    played = timeline([one], start, 5, samples)

    (steps,) = (values for name, values in played.series.items() if name.startswith("spanledger_open_run_steps_max"))
    seen = [float(value) for value in steps.split()]
    assert len(seen) == samples
    assert 0 < max(seen) <= len(one.steps)
    assert sorted(seen[: seen.index(max(seen)) + 1]) == seen[: seen.index(max(seen)) + 1]
    assert seen[-1] == 0


def promtool(tmp_path: Path, says: str, code: int) -> str:
    """Return a program that says something and ends."""
    (tmp_path / "said").write_text(says)
    path = tmp_path / "promtool"
    path.write_text(f"#!/bin/sh\ncat {tmp_path / 'said'}\nexit {code}\n")
    path.chmod(0o755)
    return str(path)


FAILED = r"""
  FAILED:
    expr: "ALERTS{alertstate=\"firing\"}", time: 1m,
        exp: nil
        got: {__name__="ALERTS", alertname="A", alertstate="firing", agent_name="a \"b\" {c}", severity="page"} 1E+00
    expr: "ALERTS{alertstate=\"firing\"}", time: 2m,
        exp: nil
        got: {__name__="ALERTS", alertname="A", alertstate="firing", agent_name="a \"b\" {c}", severity="page"} 1E+00, {__name__="ALERTS", alertname="B", alertstate="firing"} 1E+00
    expr: "ALERTS{alertstate=\"firing\"}", time: 1h0m,
        exp: nil
        got: {__name__="ALERTS", alertname="B", alertstate="firing"} 1E+00
"""  # noqa: E501 # as promtool writes it


def test_moments_become_times_from_first_to_last(tmp_path: Path) -> None:
    """Neighbouring moments are one; after a pause it is another time."""
    fired = play(promtool(tmp_path, FAILED, 1), [], Timeline(1000, 60, 100, {}), 10)

    assert fired == [
        Fired("A", {"agent_name": 'a "b" {c}', "severity": "page"}, 1060, 1120),
        Fired("B", {}, 1120, 1120),
        Fired("B", {}, 4600, 4600),
    ]


def test_rules_that_cannot_be_played_are_said_to_be(tmp_path: Path) -> None:
    """What promtool complains of is what the user reads."""
    with pytest.raises(PromtoolFailed, match="parse error"):
        play(promtool(tmp_path, "rules.yaml: parse error", 1), [], Timeline(0, 60, 1, {}), 10)


def test_command_says_when_alerts_would_have_fired(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """For people one line each, for programs an object."""
    store_of(tmp_path, [trip()]).close()
    rules = tmp_path / "x.rules.yaml"
    rules.write_text("groups: []\n")
    tool = promtool(tmp_path, FAILED, 1)
    words = ["backtest", str(tmp_path), "--store", str(tmp_path), "--prometheus", str(tmp_path)]

    assert main(words) == 0
    first, *_, last = capsys.readouterr().out.splitlines()
    assert first == '2026-11-20T08:00:00Z      1 min  page    A  agent_name=a "b" {c}'
    assert last == "3 times, 2 alerts, 1 runs"

    assert main([*words[:-1], tool, "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["not_judged"] == []
    assert said["fired"][1] == {
        "alert": "B",
        "labels": {},
        "from": "2026-11-20T08:01:00Z",
        "to": "2026-11-20T08:01:00Z",
    }


RULES = """
groups:
  - name: a
    rules:
      - {record: "agent:spend:increase1h", expr: "sum by (agent_name) (increase(spanledger_run_cost_usd_total[1h]))"}
      - {record: "agent:spend:avg7d", expr: "avg_over_time(agent:spend:increase1h[7d:1h] offset 1h)"}
      - {alert: Spends, expr: 'agent:spend:increase1h{agent_name="up"} > 5'}
      - {alert: SpendsMore, expr: "agent:spend:increase1h > on (agent_name) group_left () 2 * agent:spend:avg7d"}
      - {alert: Down, expr: "up == 0"}
      - {alert: Budget, expr: "increase(spanledger_budget_breaches_total[10m]) > 0"}
      - {alert: Typo, expr: "spanledger_rums_total > 0 and up offset 10m == 1"}
"""


def test_alerts_that_runs_say_nothing_of_are_listed_with_the_reason(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Silence that means nothing is never taken for a good sign."""
    store_of(tmp_path, [trip()]).close()
    (tmp_path / "x.rules.yaml").write_text(RULES)

    assert main(["backtest", str(tmp_path), "--store", str(tmp_path), "--prometheus", promtool(tmp_path, "", 0)]) == 0
    counted_line, _, heading, *listed = capsys.readouterr().out.splitlines()
    assert counted_line == "0 times, 0 alerts, 1 runs"
    assert "4 alerts" in heading
    assert listed == [
        "  SpendsMore: it looks back 7.0 days, and the stored runs cover 0.0 hours",
        "  Down: it is about the sidecar itself, which is taken to have been well",
        "  Budget: run documents do not tell spanledger_budget_breaches_total",
        "  Typo: run documents do not tell spanledger_rums_total",
    ]


def test_series_that_runs_are_said_to_tell_are_metrics() -> None:
    """The list of what is counted has no name that the table has not."""
    names = {
        f"{row.name}{suffix}"
        for row in METRICS
        for suffix in (("_bucket", "_sum", "_count") if row.type == "histogram" else ("",))
    }
    assert names >= COUNTED | GAUGES | (TAKEN_FOR_GRANTED - {"up", "otelcol_process_uptime_seconds"})


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["{}/none.yaml", "--prometheus", "{}"], "there are no rules at"),
        (["{}", "--prometheus", "{}/elsewhere"], "it comes with Prometheus"),
        (["{}", "--prometheus", "{}", "--store", "{}/none"], "there is no run store at"),
        (["{}", "--prometheus", "{}", "--since", "soon"], "neither a time"),
    ],
)
def test_what_is_missing_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], says: str
) -> None:
    """Rules, promtool, store: wrong use, and what to do."""
    store_of(tmp_path, [trip()]).close()
    (tmp_path / "x.rules.yaml").write_text("groups: []\n")
    promtool(tmp_path, "", 0)

    assert main(["backtest", "--store", str(tmp_path), *(word.format(tmp_path) for word in words)]) == 2
    assert says in capsys.readouterr().err

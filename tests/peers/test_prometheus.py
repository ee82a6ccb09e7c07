"""A real Prometheus scrapes the sidecar, and its tool finds nothing to say about the metrics."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from tests.peers.client import CACHE_READ, CALL_USD, CALLS, INPUT, OUTPUT, Application, exporter
from tests.peers.servers import prometheus
from tests.sidecar import to_backend

if TYPE_CHECKING:
    from tests.backend import Backend
    from tests.peers.conftest import Start

RUNS = 10
OPENMETRICS = "application/openmetrics-text; version=1.0.0"


def promtool_says(promtool: Path, text: str) -> str:
    """Return the complaints of `promtool check metrics`; it reads the text format."""
    check = subprocess.run(
        [promtool, "check", "metrics"], input=text, capture_output=True, text=True, timeout=60, check=False
    )
    return check.stdout + check.stderr if check.returncode or check.stderr else ""


def test_prometheus_has_the_numbers_that_were_sent(
    start: Start, backend: Backend, prometheus_binary: Path, tmp_path: Path
) -> None:
    """Calls, tokens, cost and tools equal what the application did, also what it does between scrapes."""
    sidecar = start({"otlp": to_backend(backend.endpoint)})
    application = Application(exporter("grpc", sidecar.grpc))
    application.run(RUNS)
    application.flush()

    with prometheus(prometheus_binary, tmp_path, sidecar.prometheus) as server:
        calls = 'sum(spanledger_llm_calls_total{service_name="python-agent", status="ok"})'
        server.process.wait_until(lambda: server.value(calls) == RUNS * CALLS)
        application.run(RUNS)
        application.close()
        server.process.wait_until(lambda: server.value(calls) == 2 * RUNS * CALLS)

        (target,) = server.targets()
        assert (target["health"], target["lastError"]) == ("up", "")
        tokens = server.query('sum by (token_type) (spanledger_llm_tokens_total{service_name="python-agent"})')
        by_kind = {dict(labels)["token_type"]: value for labels, value in tokens.items() if value}
        each = {"input": INPUT - CACHE_READ, "cache_read": CACHE_READ, "output": OUTPUT}
        assert by_kind == {kind: 2 * RUNS * CALLS * count for kind, count in each.items()}
        cost = server.value('sum(spanledger_llm_cost_usd_total{service_name="python-agent"})')
        assert cost == pytest.approx(2 * RUNS * CALLS * CALL_USD, abs=1e-9)
        labels = {"service_name": "python-agent", "agent_name": "planner", "tool_name": "get_weather", "status": "ok"}
        selector = ", ".join(f'{key}="{value}"' for key, value in labels.items() if key != "agent_name")
        assert server.value(f"sum(spanledger_tool_calls_total{{{selector}}})") == 2 * RUNS
        durations = server.value('sum(spanledger_llm_duration_seconds_count{service_name="python-agent"})')
        assert durations == 2 * RUNS * CALLS
        accepted = server.value('sum(otelcol_receiver_accepted_spans_total{receiver="otlp", transport="grpc"})')
        assert accepted == len(application.sent)


def test_an_alert_can_see_zero(start: Start, backend: Backend, prometheus_binary: Path, tmp_path: Path) -> None:
    """Failures of a service that never failed are there as 0, so that their first increase is seen."""
    sidecar = start({"otlp": to_backend(backend.endpoint)})
    application = Application(exporter("grpc", sidecar.grpc))
    application.run()
    application.close()

    with prometheus(prometheus_binary, tmp_path, sidecar.prometheus) as server:
        failed = 'sum(spanledger_llm_calls_total{service_name="python-agent", status="error"})'
        server.process.wait_until(lambda: server.value(failed) is not None)
        assert server.value(failed) == 0


def test_exemplars_lead_to_the_traces(start: Start, backend: Backend, prometheus_binary: Path, tmp_path: Path) -> None:
    """Prometheus keeps exemplars of calls and durations whose trace ids are those of the application."""
    sidecar = start({"otlp": to_backend(backend.endpoint)})
    application = Application(exporter("grpc", sidecar.grpc))
    trace_ids = set(application.run(RUNS))
    application.close()

    with prometheus(prometheus_binary, tmp_path, sidecar.prometheus) as server:

        def exemplars(name: str) -> set[str]:
            found = server.exemplars(name, time.time() - 3600, time.time() + 60)
            return {exemplar["labels"]["trace_id"] for exemplar in found}

        for name in ("spanledger_llm_calls_total", "spanledger_llm_duration_seconds_bucket"):
            server.process.wait_until(lambda name=name: exemplars(name))
            assert exemplars(name) <= trace_ids


@pytest.mark.parametrize("traffic", [False, True])
def test_promtool_finds_nothing(start: Start, backend: Backend, promtool: Path, traffic: bool) -> None:
    """`promtool check metrics` is clean before the first span and after many."""
    sidecar = start({"otlp": to_backend(backend.endpoint)})
    if traffic:
        application = Application(exporter("grpc", sidecar.grpc))
        application.run(RUNS)
        application.close()

    assert promtool_says(promtool, sidecar.scrape_text()) == ""


def test_both_formats_say_the_same(start: Start, backend: Backend) -> None:
    """The OpenMetrics text parses strictly and has every family of the other format."""
    sidecar = start({"otlp": to_backend(backend.endpoint)})
    application = Application(exporter("grpc", sidecar.grpc))
    application.run(RUNS)
    application.close()

    text = sidecar.scrape_text(OPENMETRICS)
    families = {family.name for family in text_string_to_metric_families(text)}

    assert text.endswith("# EOF\n")
    plain = {line.split()[2] for line in sidecar.scrape_text().splitlines() if line.startswith("# TYPE")}
    assert {name.removesuffix("_total") for name in plain} == families

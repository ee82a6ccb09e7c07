"""The sidecar's metrics by way of a Collector: `prometheus` receiver, remote write, a real Prometheus."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from tests.peers.client import Application, exporter
from tests.peers.servers import Prometheus, prometheus
from tests.sidecar import to_backend

if TYPE_CHECKING:
    from pathlib import Path

    from tests.backend import Backend
    from tests.peers.conftest import NewCollector, Start
    from tests.peers.otelcol import Collector

RUNS = 10
OURS = '{__name__=~"spanledger_.+|gen_ai_.+|otelcol_.+"'
Series = dict[frozenset[tuple[str, str]], float]


def scraping(collector: Collector, target: str, server: Prometheus) -> dict[str, Any]:
    """Return a configuration that scrapes `target` and writes to `server`."""
    scrape = {"job_name": "by_collector", "scrape_interval": "1s", "static_configs": [{"targets": [target]}]}
    config = collector.config()
    config["receivers"] = {"prometheus": {"config": {"scrape_configs": [scrape]}}}
    write = {
        "endpoint": f"http://{server.address}/api/v1/write",
        "tls": {"insecure": True},
        # Else each series gets two labels that say which receiver it came by.
        "disable_scope_info": True,
    }
    config["exporters"] = {"prometheus_remote_write": write}
    config["service"]["pipelines"] = {
        "metrics": {"receivers": ["prometheus"], "exporters": ["prometheus_remote_write"]}
    }
    return config


def of_job(server: Prometheus, job: str) -> Series:
    """Return what came by one way, without the labels that tell the ways apart."""
    return {
        frozenset(_plain(name, value) for name, value in labels if name not in {"job", "instance"}): value
        for labels, value in server.query(f'{OURS}, job="{job}"}}').items()
    }


def _plain(name: str, value: str) -> tuple[str, str]:
    """Return a label; a bound as a number, for a Collector writes 64 where OpenMetrics has 64.0."""
    return (name, str(float(value))) if name == "le" else (name, value)


def test_a_collector_scrapes_and_writes_what_a_scrape_shows(
    start: Start, new_collector: NewCollector, backend: Backend, prometheus_binary: Path, tmp_path: Path
) -> None:
    """Every series of a direct scrape is there with its value, exemplars too, and the Collector warns of nothing."""
    sidecar = start({"otlp": to_backend(backend.endpoint)})
    application = Application(exporter("grpc", sidecar.grpc))
    trace_ids = set(application.run(RUNS))
    application.close()
    first = new_collector("first")
    with prometheus(prometheus_binary, tmp_path, sidecar.prometheus) as server:
        first.start(scraping(first, sidecar.prometheus, server))

        def differing() -> dict[Any, Any]:
            # A scrape itself moves a few numbers; what stands still must be the same both ways.
            before, ours, after = (of_job(server, job) for job in ("spanledger", "by_collector", "spanledger"))
            assert before.keys() == after.keys()
            return {
                key: (value, ours.get(key)) for key, value in before.items() if after[key] == value != ours.get(key)
            }

        server.process.wait_until(lambda: of_job(server, "by_collector") and of_job(server, "spanledger"))
        server.process.wait_until(lambda: not differing())
        assert of_job(server, "by_collector").keys() == of_job(server, "spanledger").keys()

        def exemplars(name: str) -> set[str]:
            found = server.exemplars(f'{name}{{job="by_collector"}}', time.time() - 3600, time.time() + 60)
            return {exemplar["labels"]["trace_id"] for exemplar in found}

        for name in ("spanledger_llm_calls_total", "spanledger_llm_duration_seconds_bucket"):
            server.process.wait_until(lambda name=name: exemplars(name))
            assert exemplars(name) <= trace_ids
        assert first.complaints() == []

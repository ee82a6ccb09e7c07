"""`spanledger run` as a process of its own, for tests that need the whole of it."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from prometheus_client.parser import text_string_to_metric_families

from tests.processes import Process, answers, free_ports, http_get

Series = Mapping[tuple[str, frozenset[tuple[str, str]]], float]
"""Samples by name and labels."""


class Sidecar:
    """A running sidecar. Its addresses are `127.0.0.1:port`."""

    process: Process

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        addresses = [f"127.0.0.1:{port}" for port in free_ports(5)]
        self.grpc, self.http, self.prometheus, self.health, self.zpages = addresses

    def config(self, exporters: Mapping[str, Any]) -> dict[str, Any]:
        """Return a whole configuration that sends all signals to `exporters` and counts traces and logs."""
        return {
            "receivers": {
                "otlp": {"protocols": {"grpc": {"endpoint": self.grpc}, "http": {"endpoint": self.http}}},
            },
            "processors": {"genai_normalizer": {}, "genai_pricing": {}},
            "connectors": {"genai_metrics": {}},
            "exporters": {**exporters, "prometheus": {"endpoint": self.prometheus}},
            "extensions": {"health_check": {"endpoint": self.health}, "zpages": {"endpoint": self.zpages}},
            "service": {
                "extensions": ["health_check", "zpages"],
                "pipelines": {
                    "traces": {
                        "receivers": ["otlp"],
                        "processors": ["genai_normalizer", "genai_pricing"],
                        "exporters": [*exporters, "genai_metrics"],
                    },
                    "logs": {
                        "receivers": ["otlp"],
                        "processors": ["genai_normalizer", "genai_pricing"],
                        "exporters": [*exporters, "genai_metrics"],
                    },
                    "metrics": {"receivers": ["otlp"], "exporters": [*exporters]},
                    "metrics/own": {"receivers": ["genai_metrics"], "exporters": ["prometheus"]},
                },
            },
        }

    def write(self, config: Mapping[str, Any]) -> Path:
        """Write the file that the process reads at start and on SIGHUP."""
        path = self.directory / "config.yaml"
        path.write_text(yaml.safe_dump(dict(config), sort_keys=False))
        return path

    def start(self, config: Mapping[str, Any], settings: Sequence[str] = ()) -> None:
        """Start the process and return when its health check says 200."""
        command: list[str | Path] = [sys.executable, "-m", "spanledger", "run", "--config", self.write(config)]
        for setting in settings:
            command += ["--set", setting]
        environment = {**os.environ, "SPANLEDGER_DATA_DIR": str(self.directory / "data")}
        self.process = Process(command, self.directory / "log.txt", environment)
        self.process.wait_until(lambda: answers(self.health, "/"))

    def scrape_text(self, accept: str = "text/plain") -> str:
        """Return `/metrics` in the format asked for."""
        status, text = http_get(self.prometheus, "/metrics", accept)
        assert status == 200, text
        return text

    def scrape(self) -> Series:
        """Return every sample of `/metrics`."""
        return {
            (sample.name, frozenset(sample.labels.items())): sample.value
            for family in text_string_to_metric_families(self.scrape_text())
            for sample in family.samples
        }

    def total(self, name: str, **labels: str) -> float:
        """Return the sum of the samples `name` that have all of `labels`."""
        return total(self.scrape(), name, **labels)


def total(series: Series, name: str, **labels: str) -> float:
    """Return the sum of the samples `name` that have all of `labels`."""
    wanted = set(labels.items())
    return sum(value for (sample, have), value in series.items() if sample == name and wanted <= have)


@contextlib.contextmanager
def running(directory: Path, exporters: Mapping[str, Any], settings: Sequence[str] = ()) -> Iterator[Sidecar]:
    """Run a sidecar that sends to `exporters`; at the end it must stop by itself with exit code 0."""
    directory.mkdir(parents=True, exist_ok=True)
    sidecar = Sidecar(directory)
    try:
        sidecar.start(sidecar.config(exporters), settings)
        yield sidecar
    except BaseException:
        if hasattr(sidecar, "process"):
            sidecar.process.kill()
        raise
    if sidecar.process.popen.returncode is not None:
        return  # The test has stopped it and looked at how it ended.
    code = sidecar.process.stop()
    assert code == 0, f"exit code {code} after SIGTERM:\n{sidecar.process.log()}"


def to_backend(endpoint: str, **settings: Any) -> dict[str, Any]:
    """Return the configuration of an `otlp` exporter to a plain-text backend, quick to retry."""
    retry = {"enabled": True, "initial_interval": "50ms", "max_interval": "200ms", "max_elapsed_time": "120s"}
    return {"endpoint": endpoint, "tls": {"insecure": True}, "retry_on_failure": retry, **settings}

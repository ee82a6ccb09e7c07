"""`spanledger run` as a process of its own, for tests that need the whole of it."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import yaml
from prometheus_client.parser import text_string_to_metric_families

from tests.processes import Process, answers, free_ports, http_get

START_TIMEOUT_S = 120.0
"""A start takes half a second, and a minute where twenty want two cores."""

START_TIMEOUT_S = 120.0

Series = Mapping[tuple[str, frozenset[tuple[str, str]]], float]
"""Samples by name and labels."""


class Sidecar:
    """A running sidecar. Its addresses are `host:port`.

    `wrapper` is a command that runs it (`ip netns exec …`), `environment` what it finds beside our own variables.
    """

    process: Process

    def __init__(
        self,
        directory: Path,
        host: str = "127.0.0.1",
        wrapper: Sequence[str] = (),
        environment: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        self.directory = directory
        self._wrapper = wrapper
        self._environment = environment
        addresses = [f"{host}:{port}" for port in free_ports(5)]
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

    def start(self, config: Mapping[str, Any], settings: Sequence[str] = (), sources: Sequence[str] = ()) -> None:
        """Start the process and return when its health check says 200; `sources` are laid over `config`."""
        command: list[str | Path] = [
            *self._wrapper, sys.executable, "-m", "spanledger", "run", "--config", self.write(config)
        ]  # fmt: skip
        for source in sources:
            command += ["--config", source]
        for setting in settings:
            command += ["--set", setting]
        environment = {**os.environ, "SPANLEDGER_DATA_DIR": str(self.directory / "data"), **self._environment}
        self.process = Process(command, self.directory / "log.txt", environment)
        self.process.wait_until(lambda: answers(self.health, "/"), START_TIMEOUT_S)

    def reload(self) -> None:
        """Let it read what was written anew; return when that has worked."""
        before = self.total("spanledger_config_reloads_total", result="ok")
        self.process.signal(signal.SIGHUP)
        self.process.wait_until(lambda: self.total("spanledger_config_reloads_total", result="ok") > before)

    def scrape_text(self, accept: str = "text/plain") -> str:
        """Return `/metrics` in the format asked for."""
        status, text = http_get(self.prometheus, "/metrics", accept)
        assert status == 200, text
        return text

    def scrape(self) -> Series:
        """Return every sample of `/metrics`."""
        return series(self.scrape_text())

    def total(self, name: str, **labels: str) -> float:
        """Return the sum of the samples `name` that have all of `labels`."""
        return total(self.scrape(), name, **labels)


def series(text: str) -> Series:
    """Return the samples of Prometheus' text format."""
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


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


def with_storage(config: dict[str, Any], directory: Path, **settings: Any) -> dict[str, Any]:
    """Add the extension that queues with `sending_queue::storage: file_storage` need; return `config`."""
    config["extensions"]["file_storage"] = {"directory": str(directory), **settings}
    config["service"]["extensions"].append("file_storage")
    return config


def with_runs(config: dict[str, Any], directory: Path, **settings: Any) -> dict[str, Any]:
    """Let runs be put together and stored below `directory`, and open ones survive a crash; return `config`.

    `settings` are those of `trajectory`.
    """
    config["connectors"]["trajectory"] = {"settle": "200ms", "storage": str(directory / "state"), **settings}
    config["exporters"]["run_store"] = {"directory": str(directory / "runs")}
    pipelines = config["service"]["pipelines"]
    pipelines["traces"]["exporters"].append("trajectory")
    pipelines["logs/runs"] = {"receivers": ["trajectory"], "exporters": ["run_store"]}
    return config

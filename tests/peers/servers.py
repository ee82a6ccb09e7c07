"""The real servers beside the sidecar: Prometheus, which scrapes it, and Phoenix, which it sends to."""

from __future__ import annotations

import contextlib
import json
import os
import urllib.parse
from typing import TYPE_CHECKING, Any

import yaml

from tests.processes import Process, answers, free_ports, http_get

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path


class Prometheus:
    """A Prometheus server that scrapes one target every second."""

    def __init__(self, process: Process, address: str) -> None:
        self.process = process
        self.address = address

    def _api(self, path: str, **parameters: str) -> Any:
        status, text = http_get(self.address, f"/api/v1/{path}?{urllib.parse.urlencode(parameters)}")
        assert status == 200, text
        return json.loads(text)["data"]

    def query(self, expression: str, at_s: float | None = None) -> dict[frozenset[tuple[str, str]], float]:
        """Return the instant vector of `expression` by labels, as it was `at_s` seconds after the epoch, or is now."""
        moment = {} if at_s is None else {"time": f"{at_s:.3f}"}
        return {
            frozenset(sample["metric"].items()): float(sample["value"][1])
            for sample in self._api("query", query=expression, **moment)["result"]
        }

    def over(self, expression: str, start_s: float, end_s: float, step_s: int) -> list[dict[str, Any]]:
        """Return the matrix of `expression` between two times, seconds since the epoch."""
        times = {"start": str(start_s), "end": str(end_s), "step": str(step_s)}
        matrix: list[dict[str, Any]] = self._api("query_range", query=expression, **times)["result"]
        return matrix

    def label_values(self, label: str, selector: str = "") -> list[str]:
        """Return the values of a label, of the series that `selector` names."""
        match = {"match[]": selector} if selector else {}
        values: list[str] = self._api(f"label/{label}/values", **match)
        return values

    def value(self, expression: str) -> float | None:
        """Return the only value of `expression`, None while there is none."""
        values = list(self.query(expression).values())
        assert len(values) <= 1, f"{expression} has {len(values)} values"
        return values[0] if values else None

    def exemplars(self, name: str, start_s: float, end_s: float) -> list[dict[str, Any]]:
        """Return the exemplars of the series `name` between two times, seconds since the epoch."""
        found = self._api("query_exemplars", query=name, start=str(start_s), end=str(end_s))
        return [exemplar for series in found for exemplar in series["exemplars"]]

    def targets(self) -> list[dict[str, Any]]:
        """Return the active targets with their health and last error."""
        active: list[dict[str, Any]] = self._api("targets")["activeTargets"]
        return active


@contextlib.contextmanager
def prometheus(
    binary: Path, directory: Path, target: str, rules: Sequence[Path] = (), alertmanager: str = ""
) -> Iterator[Prometheus]:
    """Run a Prometheus server that scrapes `target` and evaluates the files `rules`, every second if they say no other.

    What is in `directory / "tsdb"` before is its past. Alerts go to `alertmanager`, host:port.
    """
    address = f"127.0.0.1:{free_ports(1)[0]}"
    config = directory / "prometheus.yaml"
    scrape = {"job_name": "spanledger", "static_configs": [{"targets": [target]}]}
    every_second = {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"}
    told = [{"static_configs": [{"targets": [alertmanager]}]}] if alertmanager else []
    config.write_text(
        yaml.safe_dump(
            {
                "global": every_second,
                "scrape_configs": [scrape],
                "rule_files": [str(path) for path in rules],
                "alerting": {"alertmanagers": told},
            }
        )
    )
    process = Process(
        [
            binary,
            f"--config.file={config}",
            f"--storage.tsdb.path={directory / 'tsdb'}",
            f"--web.listen-address={address}",
            "--enable-feature=exemplar-storage",
            "--web.enable-remote-write-receiver",
        ],
        directory / "prometheus.log",
    )
    try:
        process.wait_until(lambda: answers(address, "/-/ready"))
        yield Prometheus(process, address)
    finally:
        process.kill()


class Phoenix:
    """An Arize Phoenix server with a database of its own."""

    def __init__(self, process: Process, address: str, grpc: str) -> None:
        self.process = process
        self.address = address
        self.grpc = grpc

    def spans(self, project: str = "default") -> list[dict[str, Any]]:
        """Return every span that its API shows."""
        spans: list[dict[str, Any]] = []
        cursor: str | None = ""
        while cursor is not None:
            query = urllib.parse.urlencode({"limit": 1000, **({"cursor": cursor} if cursor else {})})
            status, text = http_get(self.address, f"/v1/projects/{project}/spans?{query}")
            if status == 404:  # Nothing came for the project yet.
                return []
            assert status == 200, text
            page = json.loads(text)
            spans += page["data"]
            cursor = page["next_cursor"]
        return spans


def phoenix_environment(directory: Path, http_port: int, grpc_port: int) -> Mapping[str, str]:
    """Return the variables of a Phoenix server that keeps to itself."""
    inherited = {key: value for key, value in os.environ.items() if not key.startswith("PHOENIX_")}
    return {
        **inherited,
        "PHOENIX_WORKING_DIR": str(directory),
        "PHOENIX_HOST": "127.0.0.1",
        "PHOENIX_PORT": str(http_port),
        "PHOENIX_GRPC_PORT": str(grpc_port),
        "PHOENIX_TELEMETRY_ENABLED": "false",
        "PHOENIX_ALLOW_EXTERNAL_RESOURCES": "false",
        "PHOENIX_DISABLE_AGENT_ASSISTANT": "true",
        "PHOENIX_ENABLE_MCP_SERVER": "false",
    }


@contextlib.contextmanager
def phoenix(binary: Path, directory: Path) -> Iterator[Phoenix]:
    """Run a Phoenix server with SQLite in `directory`; it takes some ten seconds to start."""
    http_port, grpc_port = free_ports(2)
    address = f"127.0.0.1:{http_port}"
    environment = phoenix_environment(directory, http_port, grpc_port)
    process = Process([binary, "serve"], directory / "phoenix.log", environment)
    try:
        process.wait_until(lambda: answers(address, "/readyz"), timeout_s=120.0)
        yield Phoenix(process, address, f"127.0.0.1:{grpc_port}")
    finally:
        process.kill()

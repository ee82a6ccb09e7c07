"""A real OpenTelemetry Collector, on either side of the sidecar."""

from __future__ import annotations

import base64
import contextlib
import json
import signal
import subprocess
from collections import Counter
from typing import TYPE_CHECKING, Any

import yaml

from tests.processes import Process, answers, free_ports, http_get
from tests.sidecar import series, total

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

SIGNALS = ("traces", "logs", "metrics")
QUICK_RETRY = {"enabled": True, "initial_interval": "50ms", "max_interval": "200ms", "max_elapsed_time": "120s"}
"""As in `to_backend`: a test waits for nothing longer than it must."""


class Collector:
    """One Collector, which may end and start again: its addresses, `127.0.0.1:port`, and its files stay.

    `wrapper` is a command that runs it.
    """

    process: Process

    def __init__(self, binary: Path, directory: Path, wrapper: Sequence[str] = ()) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._command = (*wrapper, binary)
        self.directory = directory
        self.grpc, self.http, self.health, self.telemetry = (f"127.0.0.1:{port}" for port in free_ports(4))
        self.received = Received(directory / "received.jsonl")

    def to_file(self) -> dict[str, Any]:
        """Return the exporter that writes what `received` reads; with `rotation` it buffers nothing."""
        return {"file": {"path": str(self.received.path), "rotation": {"max_megabytes": 1000}}}

    def config(self, exporters: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Return a configuration that sends all signals to `exporters`, or writes them to a file without any.

        Nothing is batched or buffered, so that what it has answered with OK has happened.
        """
        exporters = exporters or self.to_file()
        pipeline = {"receivers": ["otlp"], "exporters": list(exporters)}
        return {
            "receivers": {
                "otlp": {"protocols": {"grpc": {"endpoint": self.grpc}, "http": {"endpoint": self.http}}},
            },
            "processors": {},
            "exporters": dict(exporters),
            "extensions": {
                "health_check": {"endpoint": self.health},
                "file_storage": {"directory": str(self.directory / "storage"), "create_directory": True},
            },
            "service": {
                "extensions": ["health_check", "file_storage"],
                "pipelines": {signal: {**pipeline} for signal in SIGNALS},
                "telemetry": {"metrics": own_metrics(self.telemetry)},
            },
        }

    def write(self, config: Mapping[str, Any]) -> Path:
        """Write the file that the process reads at start and on SIGHUP."""
        path = self.directory / "config.yaml"
        path.write_text(yaml.safe_dump(dict(config), sort_keys=False))
        return path

    def start(self, config: Mapping[str, Any] | None = None) -> None:
        """Start it, with the configuration of before if none is given, and return when it takes requests."""
        path = self.write(config) if config is not None else self.directory / "config.yaml"
        self.process = Process([*self._command, "--config", path], self.directory / "log.txt")
        self.process.wait_until(lambda: answers(self.health, "/"))

    def reload(self, config: Mapping[str, Any]) -> None:
        """Take another configuration, which ends all its parts and starts them anew; return when that is done."""
        before = self.process.log().count(READY)
        self.write(config)
        self.process.signal(signal.SIGHUP)
        self.process.wait_until(lambda: self.process.log().count(READY) > before)

    def stop(self) -> None:
        """Send SIGTERM; it must end with exit code 0."""
        code = self.process.stop()
        assert code == 0, f"exit code {code} after SIGTERM:\n{self.process.log()}"

    def total(self, name: str, **labels: str) -> float:
        """Return the sum of its own samples `name` that have all of `labels`."""
        status, text = http_get(self.telemetry, "/metrics")
        assert status == 200, text
        return total(series(text), name, **labels)

    def complaints(self) -> list[str]:
        """Return the warnings and errors of its log."""
        return [line for line in self.process.log().splitlines() if "\twarn\t" in line or "\terror\t" in line]


READY = "Everything is ready. Begin running and processing data."


def own_metrics(address: str) -> dict[str, Any]:
    """Return what makes a Collector show all its own metrics at `address`, under the names that we have too."""
    host, port = address.split(":")
    prometheus = {"host": host, "port": int(port), "without_units": True}
    return {"level": "detailed", "readers": [{"pull": {"exporter": {"prometheus": prometheus}}}]}


def to_sidecar(address: str, **settings: Any) -> dict[str, Any]:
    """Return the settings of a Collector's `otlp_grpc` exporter to a plain-text peer, quick to retry."""
    return {"endpoint": address, "tls": {"insecure": True}, "retry_on_failure": QUICK_RETRY, **settings}


def limited(config: dict[str, Any], limit_mib: int) -> dict[str, Any]:
    """Return a configuration, of either side, whose traces are refused above a limit of memory."""
    config["processors"]["memory_limiter"] = {"check_interval": "100ms", "limit_mib": limit_mib, "spike_limit_mib": 1}
    pipeline = config["service"]["pipelines"]["traces"]
    pipeline["processors"] = ["memory_limiter", *pipeline.get("processors", ())]
    return config


class Received:
    """What a Collector wrote to its file, read on as it grows."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._offset = 0
        self._spans: list[dict[str, Any]] = []
        self._records: list[dict[str, Any]] = []
        self._metrics: list[dict[str, Any]] = []
        self.torn = 0
        """Lines that end in the middle, as a killed process leaves them. Nothing of those was acknowledged."""

    def _read(self) -> None:
        if not self.path.exists():
            return
        with self.path.open("rb") as file:
            file.seek(self._offset)
            whole, newline, _rest = file.read().rpartition(b"\n")
        self._offset += len(whole) + len(newline)
        for line in whole.splitlines():
            try:
                request = json.loads(line)
            except ValueError:
                self.torn += 1
                continue
            self._spans += _items(request, "resourceSpans", "scopeSpans", "spans")
            self._records += _items(request, "resourceLogs", "scopeLogs", "logRecords")
            self._metrics += _items(request, "resourceMetrics", "scopeMetrics", "metrics")

    def spans(self) -> list[dict[str, Any]]:
        """Return every span so far, in OTLP/JSON."""
        self._read()
        return self._spans

    def records(self) -> list[dict[str, Any]]:
        """Return every log record so far."""
        self._read()
        return self._records

    def metrics(self) -> list[dict[str, Any]]:
        """Return every metric so far."""
        self._read()
        return self._metrics

    def ids(self) -> Counter[bytes]:
        """Return how often each span, log record and data point is there, by the ids that `load` gives them."""
        self._read()
        ids = Counter(bytes.fromhex(item["spanId"]) for item in (*self._spans, *self._records))
        points = (point for metric in self._metrics for point in metric["gauge"]["dataPoints"])
        ids.update(base64.b64decode(point["attributes"][0]["value"]["bytesValue"]) for point in points)
        return ids


def _items(request: Mapping[str, Any], resources: str, scopes: str, items: str) -> list[dict[str, Any]]:
    return [
        item
        for resource in request.get(resources, ())
        for scope in resource.get(scopes, ())
        for item in scope.get(items, ())
    ]


def attributes_of(item: Mapping[str, Any]) -> dict[str, Any]:
    """Return the attributes of a span or record in OTLP/JSON as plain values; lists and maps as they are."""
    read = {"intValue": int, "doubleValue": float, "stringValue": str, "boolValue": bool}
    plain = {}
    for attribute in item.get("attributes", ()):
        ((kind, value),) = attribute["value"].items()
        plain[attribute["key"]] = read.get(kind, lambda value: value)(value)
    return plain


@contextlib.contextmanager
def collector(binary: Path, directory: Path, wrapper: Sequence[str] = ()) -> Iterator[Collector]:
    """Lend a Collector that is started by the test; it is gone at the end."""
    made = Collector(binary, directory, wrapper)
    try:
        yield made
    finally:
        if hasattr(made, "process"):
            made.process.kill()


def validate(binary: Path, config: Path) -> str:
    """Return what the Collector says against a configuration, "" when it is right."""
    check = subprocess.run(
        [binary, "validate", "--config", config], capture_output=True, text=True, timeout=60, check=False
    )
    return check.stdout + check.stderr if check.returncode else ""

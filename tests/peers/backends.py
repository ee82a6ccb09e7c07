"""Real backends that traces are sent on to with a preset, and their own APIs to read them back."""

from __future__ import annotations

import base64
import json
import os
import urllib.parse
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import yaml

from tests.peers.servers import phoenix_environment
from tests.processes import Process, answers, free_ports, http_get

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

START_TIMEOUT_S = 240.0
"""Some import for minutes on a busy machine."""


@dataclass(frozen=True)
class StoredSpan:
    """A span as a backend has it; ids are hex."""

    span_id: str
    parent: str | None
    name: str
    attributes: Mapping[str, Any]


class Backend(Protocol):
    """A server that can be stopped and started again, on the same ports and the same data."""

    preset: str
    exporter: str
    """Id of the preset's exporter."""
    environment: Mapping[str, str]
    """What the preset wants to know."""
    keeps: bool
    """Whether what it has survives a restart."""
    limited: bool
    """Whether it refuses requests of more than 4 MiB."""
    process: Process

    def start(self) -> None:
        """Return once it takes traces."""

    def stop(self) -> None:
        """End it; children of its own, too."""

    def trace(self, trace_id: str) -> list[StoredSpan]:
        """Return the spans of a trace; none while it is not known."""


def _hex(value: str | None) -> str | None:
    """Return an id as hex, from hex or from the base64 that protobuf's own JSON has."""
    return base64.b64decode(value).hex() if value and value.endswith("=") else value or None


def _value(wrapped: Mapping[str, Any]) -> Any:
    ((kind, value),) = wrapped.items()
    return int(value) if kind in {"intValue", "int_value"} else value


def _span(raw: Mapping[str, Any]) -> StoredSpan:
    """Read a span from OTLP's JSON, or from protobuf's with its own names."""
    return StoredSpan(
        _hex(raw.get("spanId") or raw.get("span_id")) or "",
        _hex(raw.get("parentSpanId") or raw.get("parent_span_id")),
        raw["name"],
        {attribute["key"]: _value(attribute["value"]) for attribute in raw.get("attributes", ())},
    )


def _spans(resources: list[dict[str, Any]]) -> list[StoredSpan]:
    return [_span(raw) for resource in resources for scope in resource["scopeSpans"] for raw in scope["spans"]]


def _get(address: str, path: str, **query: str) -> Any:
    """Return the JSON behind a GET, None for 404."""
    status, text = http_get(address, f"{path}?{urllib.parse.urlencode(query)}", "application/json")
    if status == 404:
        return None
    assert status == 200, f"{path}: {status} {text}"
    return json.loads(text)


class MLflow:
    """An MLflow server on SQLite."""

    preset, exporter, keeps, limited = "mlflow", "otlp_http/mlflow", True, False
    process: Process

    def __init__(self, binary: Path, directory: Path) -> None:
        self._binary, self._directory = binary, directory
        self._port = free_ports(1)[0]
        self.address = f"127.0.0.1:{self._port}"
        self.environment = {"MLFLOW_TRACKING_URI": f"http://{self.address}", "MLFLOW_EXPERIMENT_ID": "0"}

    def start(self) -> None:
        """Start one worker; its first start makes the tables."""
        store = f"sqlite:///{self._directory / 'mlflow.db'}"
        environment = {
            **{key: value for key, value in os.environ.items() if not key.startswith("MLFLOW_")},
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
            "DO_NOT_TRACK": "true",
        }
        command = [self._binary, "server", "--host", "127.0.0.1", "--port", str(self._port), "--workers", "1",
                   "--backend-store-uri", store, "--artifacts-destination", self._directory / "artifacts"]  # fmt: skip
        self.process = Process(command, self._directory / "mlflow.log", environment)
        self.process.wait_until(lambda: answers(self.address, "/health"), START_TIMEOUT_S)

    def stop(self) -> None:
        """End it as an orchestrator would."""
        self.process.stop()

    def trace(self, trace_id: str) -> list[StoredSpan]:
        """Return what the page of a trace is made from."""
        found = _get(self.address, "/api/3.0/mlflow/traces/get", trace_id=f"tr-{trace_id}")
        return [_span(raw) for raw in found["trace"].get("spans", ())] if found else []

    def totals(self, trace_id: str) -> tuple[dict[str, int], dict[str, float]]:
        """Return the token counts and the cost that it shows for a trace."""
        info = _get(self.address, f"/api/3.0/mlflow/traces/tr-{trace_id}")["trace"]["trace_info"]
        metadata = info["trace_metadata"]
        return json.loads(metadata["mlflow.trace.tokenUsage"]), json.loads(metadata["mlflow.trace.cost"])


class Jaeger:
    """A Jaeger v2 that keeps traces in memory."""

    preset, exporter, keeps, limited = "jaeger", "otlp/jaeger", False, True
    process: Process

    def __init__(self, binary: Path, directory: Path) -> None:
        self._binary, self._directory = binary, directory
        otlp, http, grpc, self._health = (f"127.0.0.1:{port}" for port in free_ports(4))
        self.address = http
        self.environment = {"JAEGER_ENDPOINT": otlp}
        config = {
            "extensions": {
                "jaeger_storage": {"backends": {"memory": {"memory": {"max_traces": 100000}}}},
                "jaeger_query": {
                    "storage": {"traces": "memory"}, "http": {"endpoint": http}, "grpc": {"endpoint": grpc}
                },
                "healthcheckv2": {"use_v2": True, "http": {"endpoint": self._health}},
            },
            "receivers": {"otlp": {"protocols": {"grpc": {"endpoint": otlp}}}},
            "exporters": {"jaeger_storage_exporter": {"trace_storage": "memory"}},
            "service": {
                "extensions": ["jaeger_storage", "jaeger_query", "healthcheckv2"],
                "telemetry": {"metrics": {"level": "none"}},
                "pipelines": {"traces": {"receivers": ["otlp"], "exporters": ["jaeger_storage_exporter"]}},
            },
        }  # fmt: skip
        self._config = directory / "jaeger.yaml"
        self._config.write_text(yaml.safe_dump(config))

    def start(self) -> None:
        """Start it; what it had is gone."""
        self.process = Process([self._binary, "--config", self._config], self._directory / "jaeger.log")
        self.process.wait_until(lambda: answers(self._health, "/status"), START_TIMEOUT_S)

    def stop(self) -> None:
        """End it as an orchestrator would."""
        self.process.stop()

    def trace(self, trace_id: str) -> list[StoredSpan]:
        """Return a trace from the query API, version 3."""
        found = _get(self.address, f"/api/v3/traces/{trace_id}")
        return _spans(found["result"]["resourceSpans"]) if found else []

    def search(self, service: str, **tags: str) -> set[str]:
        """Return the ids of the traces of a service that have a span with all of `tags`, as the UI finds them."""
        found = _get(self.address, "/api/traces", service=service, tags=json.dumps(tags), limit="1000")
        return {trace["traceID"] for trace in found["data"]}


class Tempo:
    """A Tempo of one process with local storage."""

    preset, exporter, keeps, limited = "tempo", "otlp/tempo", False, True
    process: Process

    def __init__(self, binary: Path, directory: Path) -> None:
        self._binary, self._directory = binary, directory
        otlp, http, grpc = free_ports(3)
        self.address = f"127.0.0.1:{http}"
        self.environment = {"TEMPO_ENDPOINT": f"127.0.0.1:{otlp}"}
        here = {"address": "127.0.0.1", "ring": {"kvstore": {"store": "inmemory"}, "replication_factor": 1}}
        config = {
            "usage_report": {"reporting_enabled": False},
            "server": {
                "http_listen_address": "127.0.0.1", "http_listen_port": http,
                "grpc_listen_address": "127.0.0.1", "grpc_listen_port": grpc,
            },
            "distributor": {"receivers": {"otlp": {"protocols": {"grpc": {"endpoint": f"127.0.0.1:{otlp}"}}}}},
            "ingester": {"lifecycler": here},
            "compactor": {"ring": {"instance_addr": "127.0.0.1", "kvstore": {"store": "inmemory"}}},
            "querier": {"frontend_worker": {"frontend_address": f"127.0.0.1:{grpc}"}},
            "storage": {
                "trace": {
                    "backend": "local",
                    "wal": {"path": str(directory / "wal")},
                    "local": {"path": str(directory / "blocks")},
                }
            },
        }  # fmt: skip
        self._config = directory / "tempo.yaml"
        self._config.write_text(yaml.safe_dump(config))

    def start(self) -> None:
        """Start it on what is in its folder."""
        self.process = Process([self._binary, f"-config.file={self._config}"], self._directory / "tempo.log")
        self.process.wait_until(lambda: answers(self.address, "/ready"), START_TIMEOUT_S)

    def stop(self) -> None:
        """End it at once: asked to stop, this version waits for itself for minutes."""
        self.process.kill()

    def trace(self, trace_id: str) -> list[StoredSpan]:
        """Return a trace from the query API."""
        found = _get(self.address, f"/api/traces/{trace_id}")
        return _spans(found["batches"]) if found else []

    def search(self, query: str) -> set[str]:
        """Return the ids of the traces that a TraceQL query finds."""
        found = _get(self.address, "/api/search", q=query, limit="1000")
        # It leaves out zeros at the beginning of an id.
        return {trace["traceID"].rjust(32, "0") for trace in found["traces"]}


class Phoenix:
    """A Phoenix server on SQLite."""

    preset, exporter, keeps, limited = "phoenix", "otlp_http/phoenix", True, False
    process: Process

    def __init__(self, binary: Path, directory: Path) -> None:
        self._binary, self._directory = binary, directory
        self._ports = free_ports(2)
        self.address = f"127.0.0.1:{self._ports[0]}"
        self.environment = {"PHOENIX_COLLECTOR_ENDPOINT": f"http://{self.address}"}

    def start(self) -> None:
        """Start it on the database in its folder."""
        environment = phoenix_environment(self._directory, *self._ports)
        self.process = Process([self._binary, "serve"], self._directory / "phoenix.log", environment)
        self.process.wait_until(lambda: answers(self.address, "/readyz"), START_TIMEOUT_S)

    def stop(self) -> None:
        """End it as an orchestrator would."""
        self.process.stop()

    def trace(self, trace_id: str) -> list[StoredSpan]:
        """Return the spans of one trace of the default project."""
        found = _get(self.address, "/v1/projects/default/spans", trace_id=trace_id, limit="1000")
        return [
            StoredSpan(raw["context"]["span_id"], raw["parent_id"], raw["name"], raw["attributes"])
            for raw in (found["data"] if found else ())
            if raw["context"]["trace_id"] == trace_id
        ]

"""The sample configurations of deploy/collector: right to both programs, and each started as it is."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.peers.load import request, send
from tests.peers.otelcol import validate
from tests.processes import Process, answers, free_ports, http_get
from tests.sidecar import series, total

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from tests.backend import Backend

SAMPLES = Path(__file__).parents[2] / "deploy" / "collector"
FILES = sorted(SAMPLES.glob("*/*.yaml"))
ENDPOINTS = ("OTLP_GRPC", "OTLP_HTTP", "HEALTH", "METRICS")


class Started:
    """A program with one of the samples; `endpoints` are those that it was given."""

    def __init__(self, program: list[str | Path], sample: str, directory: Path, peers: Mapping[str, str]) -> None:
        directory.mkdir()
        *ports, own = free_ports(len(ENDPOINTS) + 1)
        self.endpoints = {name: f"127.0.0.1:{port}" for name, port in zip(ENDPOINTS, ports, strict=True)}
        data = {"SPANLEDGER_DATA_DIR": str(directory), "DATA_DIR": str(directory / "queue")}
        environment = {**os.environ, **self.endpoints, **data, "OWN_METRICS_PORT": str(own), **peers}
        command = [*program, "--config", SAMPLES / sample]
        self.process = Process(command, directory / "log.txt", environment)
        self.process.wait_until(lambda: answers(self.endpoints["HEALTH"], "/"))

    def total(self, name: str) -> float:
        """Return the sum of a metric of the sidecar."""
        return total(series(http_get(self.endpoints["METRICS"], "/metrics")[1]), name)


class Stage:
    """Starts programs with the samples, and ends them: each with exit code 0."""

    def __init__(self, collector: Path, directory: Path) -> None:
        self._collector = collector
        self._directory = directory
        self.started: list[Started] = []

    def collector(self, sample: str, **peers: str) -> Started:
        """Start a Collector."""
        return self._start([self._collector], sample, peers)

    def spanledger(self, sample: str, **peers: str) -> Started:
        """Start a sidecar."""
        return self._start([sys.executable, "-m", "spanledger", "run"], sample, peers)

    def _start(self, program: list[str | Path], sample: str, peers: Mapping[str, str]) -> Started:
        directory = self._directory / f"{len(self.started)}"
        self.started.append(Started(program, sample, directory, peers))
        return self.started[-1]


@pytest.fixture
def stage(collector_binary: Path, tmp_path: Path) -> Iterator[Stage]:
    """Lend what starts the samples; the first in the way of a request ends first."""
    made = Stage(collector_binary, tmp_path)
    with contextlib.ExitStack() as stack:
        stack.callback(lambda: [one.process.kill() for one in made.started])
        yield made
        for one in reversed(made.started):
            assert one.process.stop() == 0, one.process.log()


@pytest.mark.parametrize("path", [path for path in FILES if path.name == "collector.yaml"], ids=lambda p: p.parent.name)
def test_a_collector_finds_nothing_wrong(collector_binary: Path, path: Path) -> None:
    """`otelcol validate` says nothing."""
    assert validate(collector_binary, path) == ""


@pytest.mark.parametrize(
    "path", [path for path in FILES if path.name == "spanledger.yaml"], ids=lambda p: p.parent.name
)
def test_spanledger_finds_nothing_wrong(path: Path) -> None:
    """`spanledger validate` says that it is valid."""
    command = [sys.executable, "-m", "spanledger", "validate", "--config", path]
    check = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert check.returncode == 0, check.stderr


def send_three(address: str) -> set[bytes]:
    """Send three traces and return the ids of their spans."""
    sent: set[bytes] = set()
    for number in range(3):
        message, span_ids = request(number)
        send(address, message)
        sent |= span_ids
    return sent


def arrive(backend: Backend, sent: set[bytes]) -> None:
    """Wait until each span is at the backend; none is there twice."""
    backend.wait(lambda seen: len(seen.spans()) >= len(sent))
    assert sorted(one.span.span_id for one in backend.spans()) == sorted(sent)


def test_sidecar(stage: Stage, backend: Backend) -> None:
    """App, spanledger, Collector, backend: the spans are priced and counted."""
    collector = stage.collector("sidecar/collector.yaml", BACKEND=backend.endpoint)
    sidecar = stage.spanledger("sidecar/spanledger.yaml", COLLECTOR=collector.endpoints["OTLP_GRPC"])

    sent = send_three(sidecar.endpoints["OTLP_GRPC"])

    arrive(backend, sent)
    assert all("gen_ai.usage.cost" in one.attributes for one in backend.spans())
    assert sidecar.total("spanledger_llm_calls_total") == len(sent)


def test_tee(stage: Stage, backend: Backend) -> None:
    """The backend has the spans as they came, spanledger has counted them."""
    sidecar = stage.spanledger("tee/spanledger.yaml")
    peers = {"BACKEND": backend.endpoint, "SPANLEDGER": sidecar.endpoints["OTLP_GRPC"]}
    collector = stage.collector("tee/collector.yaml", **peers)

    sent = send_three(collector.endpoints["OTLP_GRPC"])

    arrive(backend, sent)
    assert not any("gen_ai.usage.cost" in one.attributes for one in backend.spans())
    sidecar.process.wait_until(lambda: sidecar.total("spanledger_llm_calls_total") == len(sent))


def test_gateway(stage: Stage, backend: Backend) -> None:
    """Two nodes, one spanledger, one backend."""
    sidecar = stage.spanledger("gateway/spanledger.yaml", BACKEND=backend.endpoint)
    nodes = [stage.collector("gateway/collector.yaml", SPANLEDGER=sidecar.endpoints["OTLP_GRPC"]) for _ in range(2)]

    sent = set().union(*(send_three(node.endpoints["OTLP_GRPC"]) for node in nodes))

    arrive(backend, sent)
    assert sidecar.total("spanledger_llm_calls_total") == len(sent)


def test_replicas(stage: Stage, backend: Backend) -> None:
    """A trace is at one replica with all its spans; the sum over replicas is what was sent."""
    replicas = [stage.spanledger("replicas/spanledger.yaml", BACKEND=backend.endpoint) for _ in range(3)]
    peers = {f"REPLICA_{number}": one.endpoints["OTLP_GRPC"] for number, one in enumerate(replicas, 1)}
    collector = stage.collector("replicas/collector.yaml", **peers)

    sent = send_three(collector.endpoints["OTLP_GRPC"])

    arrive(backend, sent)
    counted = [one.total("spanledger_llm_calls_total") for one in replicas]
    assert sum(counted) == len(sent)
    assert all(count % 10 == 0 for count in counted)

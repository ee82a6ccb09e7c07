"""The servers that are measured, each as a process on the core that is for them: the sidecar and its peers.

Their configurations are in bench/peers/. A peer that is not installed raises `Missing`, which says how to get it.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

from bench import machine
from tests.processes import answers, free_ports

PEERS: Final = Path(__file__).parent / "peers"
ROOT: Final = Path(__file__).parents[1]
CACHE: Final = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "spanledger"
START_TIMEOUT_S: Final = 120.0


class Missing(Exception):  # noqa: N818
    """A peer is not installed; the text says how to get it."""


@dataclass(frozen=True, slots=True)
class Running:
    """A server that takes OTLP over gRPC."""

    name: str
    process: subprocess.Popen[bytes]
    grpc: str
    """Its addresses are `127.0.0.1:port`."""
    prometheus: str = ""
    start_s: float | None = None
    """From starting the process until it answered."""

    @property
    def pid(self) -> int:
        """Return its process id."""
        return self.process.pid


@dataclass(frozen=True, slots=True)
class Place:
    """What a side is given to run with."""

    directory: Path
    """Its own; it need not exist."""
    sink: str
    """Where its exporters send to."""
    core: frozenset[int]
    compression: str = "none"

    def spawn(
        self, command: Sequence[str | Path], environment: Mapping[str, str], log: IO[bytes]
    ) -> subprocess.Popen[bytes]:
        """Start a process on the core."""
        # What it starts with it keeps: runtimes look at the number of cores when they begin.
        pinned = ["taskset", "--cpu-list", ",".join(map(str, sorted(self.core)))] if shutil.which("taskset") else []
        # An installed package has its bytecode on disk; a checkout may be told to write none.
        inherited = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
        process = subprocess.Popen(
            [*pinned, *map(str, command)],
            cwd=self.directory,
            env={**inherited, "PYTHONPYCACHEPREFIX": str(self.directory.parent / "pycache"), **environment},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
        if not pinned:
            machine.pin(process.pid, set(self.core))
        return process


Side = Callable[[Place], contextlib.AbstractContextManager[Running]]


@contextlib.contextmanager
def _running(
    name: str,
    place: Place,
    command: Sequence[str | Path],
    environment: Mapping[str, str],
    ready: Callable[[], bool],
    grpc: str,
    prometheus: str = "",
) -> Iterator[Running]:
    place.directory.mkdir(parents=True, exist_ok=True)
    log_path = place.directory / "log.txt"
    with log_path.open("ab") as log:
        began = time.perf_counter()
        process = place.spawn(command, environment, log)
        try:
            while not ready():
                if process.poll() is not None or time.perf_counter() - began > START_TIMEOUT_S:
                    raise Missing(f"{name} does not start: {log_path.read_text(errors='replace')[-500:]}")
                time.sleep(0.005)
            yield Running(name, process, grpc, prometheus, time.perf_counter() - began)
        finally:
            process.terminate()
            try:
                process.wait(10.0)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def spanledger(
    *overlays: str,
    base: str = "spanledger",
    watched: Path | None = None,
    environment: Mapping[str, str] | None = None,
) -> Side:
    """Return the sidecar, with further configurations from bench/peers/; `watched` writes how late its loop is."""
    told = environment or {}

    def side(place: Place) -> contextlib.AbstractContextManager[Running]:
        grpc, http, health, prometheus = (f"127.0.0.1:{port}" for port in free_ports(4))
        environment = {
            "BENCH_GRPC": grpc,
            "BENCH_HTTP": http,
            "BENCH_HEALTH": health,
            "BENCH_PROMETHEUS": prometheus,
            "BENCH_SINK": place.sink,
            "BENCH_COMPRESSION": place.compression,
            "BENCH_DIRECTORY": str(place.directory),
            "PYTHONPATH": str(ROOT),
            **told,
        }
        configs = [str(PEERS / f"{name}.yaml") for name in (base, *overlays)]
        run = ["-m", "spanledger", "run"] if watched is None else ["-m", "bench.watched", str(watched)]
        command = [sys.executable, *run, *(word for config in configs for word in ("--config", config))]
        return _running("spanledger", place, command, environment, lambda: answers(health, "/"), grpc, prometheus)

    return side


def default(place: Place) -> contextlib.AbstractContextManager[Running]:
    """Return the sidecar as `spanledger run` starts it, with other ports."""
    grpc, http, health, prometheus, pages = (f"127.0.0.1:{port}" for port in free_ports(5))
    settings = {
        "receivers.otlp.protocols.grpc.endpoint": grpc,
        "receivers.otlp.protocols.http.endpoint": http,
        "exporters.prometheus.endpoint": prometheus,
        "extensions.health_check.endpoint": health,
        "extensions.zpages.endpoint": pages,
    }
    command = [sys.executable, "-m", "spanledger", "run"]
    for key, value in settings.items():
        command += ["--set", f"{key}={value}"]
    environment = {"SPANLEDGER_DATA_DIR": str(place.directory / "data"), "PYTHONPATH": str(ROOT)}
    return _running("default", place, command, environment, lambda: answers(health, "/"), grpc, prometheus)


def otelcol(*overlays: str) -> Side:
    """Return a Collector, with further configurations from bench/peers/."""

    def side(place: Place) -> contextlib.AbstractContextManager[Running]:
        binary = _first(
            "otelcol",
            "SPANLEDGER_OTELCOL",
            [ROOT / ".peers" / "collector" / "otelcol", *sorted(CACHE.glob("otelcol-*")), "otelcol"],
            _INSTALL,
        )
        grpc, health = (f"127.0.0.1:{port}" for port in free_ports(2))
        environment = {
            "BENCH_GRPC": grpc,
            "BENCH_HEALTH": health,
            "BENCH_SINK": place.sink,
            "BENCH_COMPRESSION": place.compression,
        }
        configs = [PEERS / f"{name}.yaml" for name in ("otelcol", *overlays)]
        command: list[str | Path] = [binary, *(word for config in configs for word in ("--config", config))]
        return _running("otelcol", place, command, environment, lambda: answers(health, "/"), grpc)

    return side


def rotel(place: Place) -> contextlib.AbstractContextManager[Running]:
    """Return Rotel, which passes on what it gets."""
    found = sorted((ROOT / ".peers" / "rotel").glob("lib/python*/site-packages/rotel/rotel-agent"))
    how = "make bench installs it from PyPI; or name its binary in SPANLEDGER_ROTEL"
    binary = _first("rotel", "SPANLEDGER_ROTEL", [*found, "rotel"], how)
    grpc, http = (f"127.0.0.1:{port}" for port in free_ports(2))
    environment = {
        **_environment("rotel"),
        "ROTEL_OTLP_GRPC_ENDPOINT": grpc,
        "ROTEL_OTLP_HTTP_ENDPOINT": http,
        "ROTEL_OTLP_EXPORTER_ENDPOINT": f"http://{place.sink}",
        "ROTEL_OTLP_EXPORTER_COMPRESSION": "gzip" if place.compression == "gzip" else "none",
    }
    return _running("rotel", place, [binary, "start"], environment, lambda: _listens(grpc), grpc)


def phoenix(place: Place) -> contextlib.AbstractContextManager[Running]:
    """Return Arize Phoenix with SQLite."""
    how = "bash tests/peers/install.sh phoenix, or name its binary in SPANLEDGER_PHOENIX"
    binary = _first("phoenix", "SPANLEDGER_PHOENIX", [ROOT / ".peers" / "phoenix" / "bin" / "phoenix"], how)
    http_port, grpc_port = free_ports(2)
    environment = {
        **_environment("phoenix"),
        "PHOENIX_WORKING_DIR": str(place.directory),
        "PHOENIX_HOST": "127.0.0.1",
        "PHOENIX_PORT": str(http_port),
        "PHOENIX_GRPC_PORT": str(grpc_port),
    }
    address = f"127.0.0.1:{http_port}"
    ready = lambda: answers(address, "/readyz")  # noqa: E731
    return _running("phoenix", place, [binary, "serve"], environment, ready, f"127.0.0.1:{grpc_port}")


def sink(work: str, delay_s: float = 0.0) -> Side:
    """Return a bare gRPC server in Python; see bench/sink.py."""

    def side(place: Place) -> contextlib.AbstractContextManager[Running]:
        address = f"127.0.0.1:{free_ports(1)[0]}"
        command = [sys.executable, "-m", "bench.sink", work, "--delay", str(delay_s), "--address", address]
        environment = {"PYTHONPATH": str(ROOT)}
        return _running(work, place, command, environment, lambda: _listens(address), address)

    return side


_INSTALL: Final = "bash tests/peers/install.sh collector, or name its binary in SPANLEDGER_OTELCOL"


def _first(name: str, variable: str, places: Sequence[Path | str], how: str) -> Path:
    """Return the first of some places where a binary is; the environment goes before all."""
    for place in (os.environ.get(variable, ""), *places):
        found = shutil.which(str(place)) if str(place) else None
        if found is not None:
            return Path(found)
    raise Missing(f"{name} is not installed: {how}")


def _environment(name: str) -> dict[str, str]:
    lines = (line.strip() for line in (PEERS / f"{name}.env").read_text().splitlines())
    return {key: value for key, _, value in (line.partition("=") for line in lines if line and line[0] != "#")}


def _listens(address: str) -> bool:
    host, _, port = address.rpartition(":")
    with contextlib.suppress(OSError), socket.create_connection((host, int(port)), timeout=1.0):
        return True
    return False

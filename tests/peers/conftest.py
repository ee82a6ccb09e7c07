"""Real peers, as `tests/peers/install.sh` installed them."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.backend import Backend
from tests.faults.lives import ending
from tests.peers.otelcol import Collector, collector
from tests.peers.servers import Phoenix, phoenix
from tests.sidecar import Sidecar, running

if TYPE_CHECKING:
    from collections.abc import Mapping

PEERS = Path(os.environ.get("SPANLEDGER_PEERS", Path(__file__).parents[2] / ".peers"))

Start = Callable[..., Sidecar]
"""`start(exporters, settings=())`: run one more sidecar until the end of the test."""

NewBackend = Callable[..., Backend]
"""`new_backend(port=0)`: run one more backend until the end of the test."""

NewCollector = Callable[..., Collector]
"""`new_collector(name, wrapper=())`: lend one more Collector, not started, until the end of the test."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark every test of this folder."""
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.peers)


def installed(peer: str, *path: str) -> Path:
    """Return a file of an installed peer; fails when it is not there."""
    found = PEERS.joinpath(peer, *path)
    if not found.exists():
        pytest.fail(f"{peer} is not installed in {PEERS}: run tests/peers/install.sh, or `make test-peers`")
    return found


@pytest.fixture
def new_backend() -> Iterator[NewBackend]:
    """Start OTLP backends that take everything, and outlive the sidecars that send to them."""
    with contextlib.ExitStack() as stack:
        yield lambda port=0: stack.enter_context(Backend(port))


@pytest.fixture
def backend(new_backend: NewBackend) -> Backend:
    """Return an OTLP backend that takes everything."""
    return new_backend()


@pytest.fixture
def start(tmp_path: Path, new_backend: NewBackend) -> Iterator[Start]:
    """Start sidecars that must end with exit code 0."""
    with contextlib.ExitStack() as stack:
        count = 0

        def start_one(exporters: Mapping[str, Any], settings: tuple[str, ...] = ()) -> Sidecar:
            nonlocal count
            count += 1
            return stack.enter_context(running(tmp_path / f"sidecar-{count}", exporters, settings))

        yield start_one


@pytest.fixture
def sidecar(tmp_path: Path) -> Iterator[Sidecar]:
    """Lend a sidecar that is not started; one that still runs in the end is killed."""
    (directory := tmp_path / "sidecar").mkdir()
    with ending(Sidecar(directory)) as lent:
        yield lent


@pytest.fixture
def prometheus_binary() -> Path:
    """Return Debian's Prometheus."""
    return installed("prometheus", "usr", "bin", "prometheus")


@pytest.fixture
def promtool() -> Path:
    """Return the tool that checks metrics, of the same package."""
    return installed("prometheus", "usr", "bin", "promtool")


@pytest.fixture(params=["prometheus", "prometheus-newest"])
def suite(request: pytest.FixtureRequest) -> Path:
    """Return the programs of Prometheus and Alertmanager: the distribution's, and the newest that Debian has."""
    if request.param == "prometheus-newest" and not (PEERS / request.param).exists():
        pytest.skip("no newest Prometheus: tests/peers/install.sh says why")
    return installed(request.param, "usr", "bin")


@pytest.fixture(scope="session")
def collector_binary() -> Path:
    """Return the OpenTelemetry Collector that was built; skips when there was no Go to build it with."""
    if not (PEERS / "collector").exists():
        pytest.skip("no Collector: tests/peers/install.sh builds one, which needs Go")
    return installed("collector", "otelcol")


@pytest.fixture
def new_collector(collector_binary: Path, tmp_path: Path) -> Iterator[NewCollector]:
    """Lend Collectors, each with a folder, addresses and a file of its own."""
    with contextlib.ExitStack() as stack:
        yield lambda name, wrapper=(): stack.enter_context(collector(collector_binary, tmp_path / name, wrapper))


@pytest.fixture
def node_modules() -> Path:
    """Return the folder of the Node.js SDK."""
    return installed("node", "node_modules")


@pytest.fixture(scope="session")
def phoenix_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Phoenix]:
    """Return a running Phoenix, one for all tests: tell your spans apart by trace id."""
    with phoenix(installed("phoenix", "bin", "phoenix"), tmp_path_factory.mktemp("phoenix")) as server:
        yield server

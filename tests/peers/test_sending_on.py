"""Presets against the real thing: every span with its price and its parent, none lost, none too large."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from spanledger.conventions.values import key_value
from tests.peers.backends import Backend, Jaeger, MLflow, Phoenix, StoredSpan, Tempo
from tests.peers.client import CACHE_READ, CALL_USD, CALLS, INPUT, OUTPUT, SPANS, Application, exporter
from tests.peers.conftest import PEERS
from tests.peers.load import START_NS, send
from tests.sidecar import Sidecar, with_storage

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

RUNS = 20
ARRIVAL_S = 90.0
BINARIES = {
    Phoenix: "phoenix/bin/phoenix", MLflow: "mlflow/bin/mlflow", Jaeger: "jaeger/jaeger", Tempo: "tempo/tempo"
}  # fmt: skip
pytestmark = pytest.mark.timeout(600)


@contextlib.contextmanager
def started(kind: type[Phoenix | MLflow | Jaeger | Tempo], directory: Path) -> Iterator[Backend]:
    """Run a backend; skips where it is not installed."""
    binary = PEERS / BINARIES[kind]
    if not binary.exists():
        pytest.skip(f"no {kind.__name__}: make test-backends installs it, or says why not")
    backend = kind(binary, directory)
    try:
        backend.start()
        yield backend
    finally:
        if hasattr(backend, "process"):
            backend.stop()


@pytest.fixture(scope="module", params=list(BINARIES), ids=lambda kind: kind.__name__)
def backend(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Backend]:
    """Yield each backend in turn, one for all tests."""
    with started(request.param, tmp_path_factory.mktemp("backend")) as running:
        yield running


@pytest.fixture
def sidecar(backend: Backend, tmp_path: Path) -> Iterator[Sidecar]:
    """Yield a sidecar with the backend's preset, a queue on disk, and little patience."""
    running = Sidecar(tmp_path, environment=backend.environment)
    config = with_storage(running.config({}), tmp_path / "queues")
    del config["service"]["pipelines"]["metrics"]  # No backend here takes metrics.
    below = f"exporters.{backend.exporter}"
    settings = [
        f"{below}.sending_queue.storage=file_storage",
        f"{below}.retry_on_failure.initial_interval=50ms",
        f"{below}.retry_on_failure.max_interval=500ms",
    ]
    running.start(config, settings, [f"preset:{backend.preset}"])
    yield running
    assert running.process.stop() == 0, running.process.log()


def everything_sent(sidecar: Sidecar) -> None:
    """Return when the queue is empty; nothing was dropped on the way."""
    sidecar.process.wait_until(lambda: sidecar.total("otelcol_exporter_queue_size") == 0, ARRIVAL_S)
    assert sidecar.total("spanledger_dropped_items_total") == 0, sidecar.process.log()


def stored(backend: Backend, trace_id: str, count: int) -> list[StoredSpan]:
    """Return a trace once it has `count` spans: as it was seen then, for Tempo loses sight of it now and then."""
    seen: list[StoredSpan] = []

    def whole() -> bool:
        seen[:] = backend.trace(trace_id)
        return len(seen) >= count

    backend.process.wait_until(whole, ARRIVAL_S)
    return seen


def arrived(backend: Backend, trace_ids: list[str], sent: set[tuple[str, str]]) -> dict[str, list[StoredSpan]]:
    """Return the spans of each trace; every one that was sent is there, once."""
    traces = {trace_id: stored(backend, trace_id, SPANS) for trace_id in trace_ids}
    there = [(trace_id, span.span_id) for trace_id, spans in traces.items() for span in spans]
    assert sorted(there) == sorted(pair for pair in sent if pair[0] in traces)
    return traces


def test_every_span_arrives_with_its_price_and_its_parent(backend: Backend, sidecar: Sidecar) -> None:
    """Tokens, cost and the tree of each run, as the backend's own API has them."""
    application = Application(exporter("grpc", sidecar.grpc))
    trace_ids = application.run(RUNS)
    application.close()
    everything_sent(sidecar)

    for spans in arrived(backend, trace_ids, application.sent).values():
        (root,) = (span for span in spans if span.parent is None)
        assert {span.parent for span in spans if span is not root} == {root.span_id}
        calls = [span.attributes for span in spans if span.name == "chat gpt-4o-mini"]
        assert len(calls) == CALLS
        for call in calls:
            assert call["gen_ai.usage.cost"] == pytest.approx(CALL_USD, abs=1e-12)
            assert call["spanledger.cost.status"] == "priced"
            assert "gpt-4o-mini" in call["spanledger.cost.price_ref"]
            tokens = [call[f"gen_ai.usage.{kind}_tokens"] for kind in ("input", "output")]
            assert tokens == [INPUT, OUTPUT]
            assert call["gen_ai.usage.cache_read.input_tokens"] == CACHE_READ
    assert_found(backend, trace_ids)


def assert_found(backend: Backend, trace_ids: list[str]) -> None:
    """Look for the runs as people do: by cost, by model, by what the backend adds up itself."""
    if isinstance(backend, Tempo):
        query = '{ span.gen_ai.usage.cost > 0.0001 && span.gen_ai.request.model = "gpt-4o-mini" }'
        backend.process.wait_until(lambda: set(trace_ids) <= backend.search(query), ARRIVAL_S)
        assert not set(trace_ids) & backend.search("{ span.gen_ai.usage.cost > 0.001 }")
    if isinstance(backend, Jaeger):
        found = backend.search("python-agent", **{"gen_ai.request.model": "gpt-4o-mini"})
        assert set(trace_ids) <= found
    if isinstance(backend, MLflow):
        for trace_id in trace_ids:
            tokens, cost = backend.totals(trace_id)
            assert tokens["input_tokens"] == CALLS * INPUT
            assert tokens["output_tokens"] == CALLS * OUTPUT
            assert cost["total_cost"] == pytest.approx(CALLS * CALL_USD)


def test_what_was_taken_while_the_backend_was_away_arrives(backend: Backend, sidecar: Sidecar) -> None:
    """It stops, requests are acknowledged all the same, it starts again: all there at once, none lost, none twice."""
    application = Application(exporter("grpc", sidecar.grpc))
    before = application.run(2)
    application.flush()
    everything_sent(sidecar)
    arrived(backend, before, application.sent)
    backend.stop()

    meanwhile = []
    for _ in range(RUNS):
        meanwhile += application.run()
        application.flush()
    application.close()
    assert sidecar.total("otelcol_exporter_queue_size") == RUNS
    backend.start()
    everything_sent(sidecar)

    arrived(backend, meanwhile + (before if backend.keeps else []), application.sent)


def test_a_request_above_the_limit_of_the_backend_arrives_in_parts(backend: Backend, sidecar: Sidecar) -> None:
    """6 MB in one request: taken as it is, or halved until it fits."""
    message = ExportTraceServiceRequest()
    scope = message.resource_spans.add().scope_spans.add()
    trace_ids = [os.urandom(16).hex() for _ in range(60)]
    for trace_id in trace_ids:
        made = scope.spans.add(trace_id=bytes.fromhex(trace_id), span_id=os.urandom(8), name="tool")
        made.start_time_unix_nano, made.end_time_unix_nano = START_NS, START_NS + 1_000_000
        made.attributes.append(key_value("text", os.urandom(50_000).hex()))
    send(sidecar.grpc, message)
    everything_sent(sidecar)

    assert ("The peer takes at most about" in sidecar.process.log()) == backend.limited
    for trace_id in trace_ids:
        (span,) = stored(backend, trace_id, 1)
        assert len(span.attributes["text"]) == 100_000

"""A whole sidecar as a process of its own: what comes out of it, byte for byte."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from spanledger.conventions.values import attributes_of
from spanledger.processor.batch import Batch, decode, finish
from tests.backend import Backend
from tests.fakes import request, span
from tests.sidecar import Sidecar, running, to_backend

FUTURE_FIELD = b"\xa2\x06\x04news"
"""Field 100, length-delimited: nothing that today's OTLP knows."""


@pytest.fixture(scope="module")
def backend() -> Iterator[Backend]:
    """Yield a backend that takes everything."""
    with Backend() as made:
        yield made


@pytest.fixture(scope="module")
def sidecar(backend: Backend, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sidecar]:
    """Yield a running sidecar in front of the backend."""
    with running(tmp_path_factory.mktemp("sidecar"), {"otlp": to_backend(backend.endpoint)}) as made:
        yield made


@pytest.fixture(autouse=True)
def _nothing_yet(backend: Backend) -> None:
    backend.clear()


def through(sidecar: Sidecar, backend: Backend, wire: bytes) -> Batch:
    """Send a serialised request through the sidecar and read what the backend got."""
    with grpc.insecure_channel(sidecar.grpc) as channel:
        export = channel.unary_unary("/opentelemetry.proto.collector.trace.v1.TraceService/Export")
        answer = ExportTraceServiceResponse.FromString(export(wire))
    assert not answer.HasField("partial_success"), answer
    backend.wait(lambda seen: bool(seen.requests()))
    return finish(decode("traces", backend.requests()[0], 0))


def raw(batch: Batch) -> list[bytes]:
    """Return every span as it stands on the wire."""
    return [wire for group in batch.groups for wire in group.raw]


def test_request_without_genai_leaves_as_the_bytes_that_came(sidecar: Sidecar, backend: Backend) -> None:
    """Unknown fields, unknown dialects and plain spans, next to each other."""
    plain = span(1, name="GET /", http__route="/").SerializeToString()
    newer = span(2, name="from the future").SerializeToString() + FUTURE_FIELD
    foreign = span(3, name="step", acme__llm__model="x-1", acme__llm__tokens=12).SerializeToString()
    batch = finish(decode("traces", request(span(9)).SerializeToString(), 0))
    batch.groups[0].node.items[:] = [plain, newer, foreign]
    wire = batch.outline.SerializeToString() + FUTURE_FIELD

    assert through(sidecar, backend, wire).wire == wire


def test_neighbours_of_a_normalised_span_are_untouched(sidecar: Sidecar, backend: Backend) -> None:
    """The model call changes, and keeps the field from the future too."""
    newer = span(2, name="from the future").SerializeToString() + FUTURE_FIELD
    call = span(
        3, gen_ai__operation__name="chat", gen_ai__system="openai", gen_ai__request__model="gpt-4o",
        gen_ai__usage__prompt_tokens=1000, gen_ai__usage__completion_tokens=100,
    ).SerializeToString() + FUTURE_FIELD  # fmt: skip
    batch = finish(decode("traces", request(span(9)).SerializeToString(), 0))
    batch.groups[0].node.items[:] = [newer, call]

    came = through(sidecar, backend, batch.outline.SerializeToString())

    assert raw(came)[0] == newer
    assert raw(came)[1].endswith(FUTURE_FIELD)
    said: dict[str, Any] = attributes_of(came.groups[0].items[1].attributes)
    assert said["gen_ai.system"] == "openai"
    assert said["gen_ai.provider.name"] == "openai"
    assert (said["gen_ai.usage.input_tokens"], said["gen_ai.usage.output_tokens"]) == (1000, 100)
    # 1000 x $2.5 + 100 x $10 a million
    assert said["gen_ai.usage.cost"] == pytest.approx(0.0035)
    assert said["spanledger.cost.status"] == "priced"

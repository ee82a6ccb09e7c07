"""Clients that send without pause, each request known by the span ids in it."""

from __future__ import annotations

import contextlib
import itertools
import os
import threading
from collections import Counter
from typing import TYPE_CHECKING

import grpc
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc import TraceServiceStub

from spanledger.conventions.values import key_value

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.backend import Backend

SPANS_PER_REQUEST = 10


def request(number: int, service_name: str = "load") -> tuple[ExportTraceServiceRequest, set[bytes]]:
    """Return a request of model calls and the ids of its spans, unlike those of any other request."""
    made = ExportTraceServiceRequest()
    resource = made.resource_spans.add()
    resource.resource.attributes.append(key_value("service.name", service_name))
    scope = resource.scope_spans.add()
    scope.scope.name = "load"
    trace_id = os.urandom(16)
    span_ids = {os.urandom(8) for _ in range(SPANS_PER_REQUEST)}
    for position, span_id in enumerate(sorted(span_ids)):
        span = scope.spans.add(trace_id=trace_id, span_id=span_id, name="chat gpt-4o-mini")
        span.start_time_unix_nano = 1_795_000_000_000_000_000 + number * 1000 + position
        span.end_time_unix_nano = span.start_time_unix_nano + 1_000_000
        for key, value in (
            ("gen_ai.operation.name", "chat"),
            ("gen_ai.provider.name", "openai"),
            ("gen_ai.request.model", "gpt-4o-mini"),
            ("gen_ai.response.id", f"{trace_id.hex()}-{position}"),
            ("gen_ai.usage.input_tokens", 100),
            ("gen_ai.usage.output_tokens", 10),
        ):
            span.attributes.append(key_value(key, value))
    return made, span_ids


def send(address: str, message: ExportTraceServiceRequest, timeout_s: float = 30.0) -> None:
    """Send one request on a connection of its own. Raises grpc.RpcError."""
    with grpc.insecure_channel(address) as channel:
        TraceServiceStub(channel).Export(message, timeout=timeout_s)  # type: ignore[no-untyped-call]


class Load:
    """Clients that send until they are told to stop; what is refused they send again, as SDKs do."""

    def __init__(self, address: str, clients: int = 4) -> None:
        self._address = address
        self._stop = threading.Event()
        self._changed = threading.Condition()
        self._numbers = itertools.count()
        self.acknowledged: set[bytes] = set()
        """Ids of the spans whose request was answered OK."""
        self.unanswered: set[bytes] = set()
        """Ids of the spans that were refused to the end."""
        self.errors: Counter[grpc.StatusCode] = Counter()
        """How often requests failed, by code."""
        self._threads = [threading.Thread(target=self._send) for _ in range(clients)]

    def _send(self) -> None:
        with grpc.insecure_channel(self._address, options=[("grpc.max_reconnect_backoff_ms", 100)]) as channel:
            stub = TraceServiceStub(channel)  # type: ignore[no-untyped-call]
            while not self._stop.is_set():
                message, span_ids = request(next(self._numbers))
                answered = self._deliver(stub, message)
                with self._changed:
                    (self.acknowledged if answered else self.unanswered).update(span_ids)
                    self._changed.notify_all()

    def _deliver(self, stub: TraceServiceStub, message: ExportTraceServiceRequest) -> bool:
        while True:
            try:
                stub.Export(message, timeout=30.0)
            except grpc.RpcError as error:
                with self._changed:
                    self.errors[error.code()] += 1
                    self._changed.notify_all()
                if self._stop.wait(0.01):
                    return False
            else:
                return True

    def wait_for(self, requests: int, timeout_s: float = 30.0) -> None:
        """Return once that many more requests were acknowledged."""
        with self._changed:
            goal = len(self.acknowledged) + requests * SPANS_PER_REQUEST
            assert self._changed.wait_for(lambda: len(self.acknowledged) >= goal, timeout_s), self.errors

    @contextlib.contextmanager
    def running(self) -> Iterator[Load]:
        """Send during the block."""
        for thread in self._threads:
            thread.start()
        try:
            yield self
        finally:
            self._stop.set()
            for thread in self._threads:
                thread.join(60.0)
                assert not thread.is_alive()


def assert_exactly_once(backend: Backend, wanted: set[bytes]) -> None:
    """Every wanted span is at the backend, and none is there twice."""
    arrived = [one.span.span_id for one in backend.spans()]
    assert len(arrived) == len(set(arrived)), f"{len(arrived) - len(set(arrived))} spans came twice"
    assert not wanted - set(arrived), f"{len(wanted - set(arrived))} acknowledged spans are missing"

"""Clients that send without pause, each request known by the ids of what is in it."""

from __future__ import annotations

import contextlib
import itertools
import os
import threading
from collections import Counter
from typing import TYPE_CHECKING, Any

import grpc
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc import TraceServiceStub

from spanledger.conventions.values import key_value
from tests.backend import SERVICES

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from google.protobuf.message import Message

    from tests.backend import Backend

SPANS_PER_REQUEST = 10
START_NS = 1_795_000_000_000_000_000


def request(number: int, service_name: str = "load") -> tuple[ExportTraceServiceRequest, set[bytes]]:
    """Return a request of model calls and the ids of its spans, unlike those of any other request."""
    made = ExportTraceServiceRequest()
    resource = made.resource_spans.add()
    resource.resource.attributes.append(key_value("service.name", service_name))
    scope = resource.scope_spans.add()
    scope.scope.name = "load"
    trace_id = os.urandom(16)
    span_ids = _ids()
    for position, span_id in enumerate(sorted(span_ids)):
        span = scope.spans.add(trace_id=trace_id, span_id=span_id, name="chat gpt-4o-mini")
        span.start_time_unix_nano = START_NS + number * 1000 + position
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


def logs_request(number: int) -> tuple[ExportLogsServiceRequest, set[bytes]]:
    """Return a request of log records, each known by the span id in it."""
    made = ExportLogsServiceRequest()
    scope = made.resource_logs.add().scope_logs.add()
    ids = _ids()
    for each in sorted(ids):
        record = scope.log_records.add(time_unix_nano=START_NS + number, trace_id=os.urandom(16), span_id=each)
        record.body.string_value = f"line {number}"
    return made, ids


def metrics_request(number: int) -> tuple[ExportMetricsServiceRequest, set[bytes]]:
    """Return a request of data points, each known by its attribute `id`."""
    made = ExportMetricsServiceRequest()
    metric = made.resource_metrics.add().scope_metrics.add().metrics.add(name="load")
    ids = _ids()
    for each in sorted(ids):
        point = metric.gauge.data_points.add(time_unix_nano=START_NS + number, as_int=number)
        point.attributes.append(key_value("id", each))
    return made, ids


MAKE = {"traces": request, "logs": logs_request, "metrics": metrics_request}


def ids_of(signal: str, data: bytes) -> Iterator[bytes]:
    """Yield the ids of a request as a backend has it."""
    if signal == "traces":
        for spans in ExportTraceServiceRequest.FromString(data).resource_spans:
            yield from (one.span_id for scope in spans.scope_spans for one in scope.spans)
    elif signal == "logs":
        for logs in ExportLogsServiceRequest.FromString(data).resource_logs:
            yield from (one.span_id for scope in logs.scope_logs for one in scope.log_records)
    else:
        for metrics in ExportMetricsServiceRequest.FromString(data).resource_metrics:
            for metric in (each for scope in metrics.scope_metrics for each in scope.metrics):
                yield from (point.attributes[0].value.bytes_value for point in metric.gauge.data_points)


def _ids() -> set[bytes]:
    return {os.urandom(8) for _ in range(SPANS_PER_REQUEST)}


def send(address: str, message: ExportTraceServiceRequest, timeout_s: float = 30.0) -> None:
    """Send one request on a connection of its own. Raises grpc.RpcError."""
    with grpc.insecure_channel(address) as channel:
        TraceServiceStub(channel).Export(message, timeout=timeout_s)  # type: ignore[no-untyped-call]


class Load:
    """Clients that send until they are told to stop; what is refused they send again, as SDKs do.

    `signals` are taken in turn, one for each client; `pause_s` is a client's rest between two requests.
    """

    def __init__(
        self, address: str, clients: int = 4, signals: Sequence[str] = ("traces",), pause_s: float = 0.0
    ) -> None:
        self._address = address
        self._pause_s = pause_s
        self._stop = threading.Event()
        self._changed = threading.Condition()
        self._numbers = itertools.count()
        self.acknowledged: set[bytes] = set()
        """Ids of the spans whose request was answered OK."""
        self.unanswered: set[bytes] = set()
        """Ids of the spans that were refused to the end."""
        self.repeated: set[bytes] = set()
        """Ids that a client sent again without knowing what became of them: these may come twice."""
        self.errors: Counter[grpc.StatusCode] = Counter()
        """How often requests failed, by code."""
        self._threads = [
            threading.Thread(target=self._send, args=(signals[number % len(signals)],)) for number in range(clients)
        ]

    def _send(self, signal: str) -> None:
        with grpc.insecure_channel(self._address, options=[("grpc.max_reconnect_backoff_ms", 100)]) as channel:
            service, _, response = SERVICES[signal]
            export = channel.unary_unary(
                f"/{service}/Export",
                request_serializer=lambda message: message.SerializeToString(),
                response_deserializer=response.FromString,  # type: ignore[attr-defined]
            )
            while not self._stop.is_set():
                message, ids = MAKE[signal](next(self._numbers))
                answered = self._deliver(export, message, ids)
                with self._changed:
                    (self.acknowledged if answered else self.unanswered).update(ids)
                    self._changed.notify_all()
                if self._pause_s:
                    self._stop.wait(self._pause_s)

    def _deliver(self, export: Any, message: Message, ids: set[bytes]) -> bool:
        while True:
            try:
                export(message, timeout=30.0)
            except grpc.RpcError as error:
                refused = any(key == "grpc-status-details-bin" for key, _ in error.trailing_metadata() or ())
                with self._changed:
                    self.errors[error.code()] += 1
                    if not refused:
                        self.repeated |= ids
                    self._changed.notify_all()
                if self._stop.wait(0.01):
                    return False
            else:
                return True

    def wait_for(self, requests: int, timeout_s: float = 60.0) -> None:
        """Return once that many more requests were acknowledged."""
        with self._changed:
            goal = len(self.acknowledged) + requests * SPANS_PER_REQUEST
            assert self._changed.wait_for(lambda: len(self.acknowledged) >= goal, timeout_s), self.errors

    def wait_for_errors(self, more: int, timeout_s: float = 60.0) -> int:
        """Return once that many more attempts failed: how many did."""
        with self._changed:
            before = self.errors.total()
            reached = self._changed.wait_for(lambda: self.errors.total() >= before + more, timeout_s)
            assert reached, (before, self.errors)
            return self.errors.total() - before

    @contextlib.contextmanager
    def running(self) -> Iterator[Load]:
        """Send during the block."""
        for thread in self._threads:
            thread.start()
        try:
            yield self
        finally:
            self.stop()

    def rest(self, seconds: float) -> None:
        """Return after so long; clients go on. For what shows only in time, such as a timeout."""
        self._stop.wait(seconds)

    def stop(self) -> None:
        """Send no more; return when the last answer is there."""
        self._stop.set()
        for thread in self._threads:
            thread.join(60.0)
            assert not thread.is_alive()


def assert_exactly_once(backend: Backend, wanted: set[bytes]) -> None:
    """Every wanted span is at the backend, and none is there twice."""
    arrived = [one.span.span_id for one in backend.spans()]
    assert len(arrived) == len(set(arrived)), f"{len(arrived) - len(set(arrived))} spans came twice"
    assert not wanted - set(arrived), f"{len(wanted - set(arrived))} acknowledged spans are missing"

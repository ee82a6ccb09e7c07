"""An OTLP/gRPC backend for tests: it keeps what it takes and fails when it is told to."""

from __future__ import annotations

import threading
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

import grpc
from google.protobuf.duration_pb2 import Duration
from google.rpc import error_details_pb2, status_pb2
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import (
    ExportLogsServiceRequest,
    ExportLogsServiceResponse,
)
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

from spanledger.conventions.values import Attributes, attributes_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from google.protobuf.message import Message
    from opentelemetry.proto.trace.v1.trace_pb2 import Span

SERVICES: dict[str, tuple[str, type[Message], type[Message]]] = {
    "traces": (
        "opentelemetry.proto.collector.trace.v1.TraceService",
        ExportTraceServiceRequest,
        ExportTraceServiceResponse,
    ),
    "logs": (
        "opentelemetry.proto.collector.logs.v1.LogsService",
        ExportLogsServiceRequest,
        ExportLogsServiceResponse,
    ),
    "metrics": (
        "opentelemetry.proto.collector.metrics.v1.MetricsService",
        ExportMetricsServiceRequest,
        ExportMetricsServiceResponse,
    ),
}


@dataclass(frozen=True, slots=True)
class Failure:
    """How to answer one request; `retry_delay_s` adds a RetryInfo."""

    code: grpc.StatusCode
    retry_delay_s: float | None = None

    def status(self) -> status_pb2.Status:
        """Return the `google.rpc.Status` that goes into the trailers."""
        status = status_pb2.Status(code=self.code.value[0], message="told to fail")
        if self.retry_delay_s is not None:
            info = error_details_pb2.RetryInfo(retry_delay=Duration(nanos=int(self.retry_delay_s * 1e9)))
            status.details.add().Pack(info)
        return status


@dataclass(frozen=True, slots=True)
class Received:
    """One span as it arrived."""

    resource: Attributes
    scope: str
    span: Span

    @property
    def attributes(self) -> Attributes:
        """The span's attributes as plain values."""
        return attributes_of(self.span.attributes)


class Backend:
    """A server on a port of its own; thread-safe. Use as a context manager."""

    def __init__(self, port: int = 0, host: str = "127.0.0.1") -> None:
        self._host = host
        self.failures: deque[Failure] = deque()
        """Answers to the next requests, one each; OK when empty."""
        self.gate = threading.Event()
        """While it is clear, requests wait for it before they are answered."""
        self.gate.set()
        self.attempts = 0
        """Requests that came, answered or not."""
        self._requests: dict[str, list[bytes]] = {signal: [] for signal in SERVICES}
        self._changed = threading.Condition()
        self._server = grpc.server(
            ThreadPoolExecutor(64),
            options=[("grpc.so_reuseport", 0), ("grpc.max_receive_message_length", 256 * 2**20)],
        )
        for signal, (service, _, response) in SERVICES.items():
            handler = grpc.unary_unary_rpc_method_handler(
                self._answer(signal, response),
                request_deserializer=None,
                response_serializer=response.SerializeToString,  # type: ignore[attr-defined]
            )
            self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, {"Export": handler}),))
        self.port = self._server.add_insecure_port(f"{host}:{port}")
        if not self.port:
            raise OSError(f"port {port} is taken")
        self._server.start()

    def __enter__(self) -> Backend:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def endpoint(self) -> str:
        """Where to send to."""
        return f"{self._host}:{self.port}"

    def stop(self) -> None:
        """Answer what has come and refuse connections from now on. Another `Backend` may take the port."""
        self.gate.set()
        self._server.stop(grace=10.0).wait()

    def requests(self, signal: str = "traces") -> list[bytes]:
        """Return the requests that were answered OK as they came, in order."""
        with self._changed:
            return list(self._requests[signal])

    def clear(self) -> None:
        """Forget what was received."""
        with self._changed:
            for requests in self._requests.values():
                requests.clear()

    def spans(self) -> list[Received]:
        """Return every span of the requests that were answered OK, in order."""
        return [
            Received(attributes_of(resource.resource.attributes), scope.scope.name, span)
            for request in self.requests()
            for resource in ExportTraceServiceRequest.FromString(request).resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]

    def wait(self, until: Callable[[Backend], bool], timeout_s: float = 30.0) -> None:
        """Return when `until(self)` holds, looked at after each request; raises TimeoutError."""
        with self._changed:
            if not self._changed.wait_for(lambda: until(self), timeout_s):
                counts = {signal: len(requests) for signal, requests in self._requests.items()}
                raise TimeoutError(f"not within {timeout_s} s: {self.attempts} attempts, taken: {counts}")

    def _answer(self, signal: str, response: type[Message]) -> Callable[[bytes, grpc.ServicerContext], Message]:
        def answer(request: bytes, context: grpc.ServicerContext) -> Message:
            with self._changed:
                self.attempts += 1
                failure = self.failures.popleft() if self.failures else None
                self._changed.notify_all()
            self.gate.wait()
            if failure is not None:
                context.set_trailing_metadata((("grpc-status-details-bin", failure.status().SerializeToString()),))
                context.abort(failure.code, "told to fail")
            with self._changed:
                # A request whose client is gone would be sent again: it was not taken.
                if context.is_active():
                    self._requests[signal].append(request)
                self._changed.notify_all()
            return response()

        return answer

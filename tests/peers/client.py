"""An agent application on the Python OpenTelemetry SDK; what it sends is known to the token."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Literal

import grpc
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as GrpcExporter
from opentelemetry.exporter.otlp.proto.http import Compression as HttpCompression
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as HttpExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from opentelemetry.sdk.trace.export import SpanExporter

Protocol = Literal["grpc", "http/protobuf"]

CALLS = 2
"""Model calls of one run."""
SPANS = 4
"""Spans of one run: the agent, its model calls, a tool."""
INPUT, CACHE_READ, OUTPUT = 1000, 400, 100
"""Tokens of one model call; the input includes what was read from the cache."""
CALL_USD = 600 * 0.15e-6 + 400 * 0.075e-6 + 100 * 0.60e-6
"""gpt-4o-mini: 0.15, cached 0.075, output 0.60 dollars for a million tokens."""

CHAT = {
    "gen_ai.operation.name": "chat",
    "gen_ai.provider.name": "openai",
    "gen_ai.request.model": "gpt-4o-mini",
    "gen_ai.response.model": "gpt-4o-mini-2024-07-18",
    "gen_ai.usage.input_tokens": INPUT,
    "gen_ai.usage.output_tokens": OUTPUT,
    "gen_ai.usage.cache_read.input_tokens": CACHE_READ,
}


def exporter(protocol: Protocol, address: str, compression: Literal["none", "gzip"] = "none") -> SpanExporter:
    """Return the SDK's own exporter to `address`, host:port."""
    if protocol == "grpc":
        packing = grpc.Compression.Gzip if compression == "gzip" else grpc.Compression.NoCompression
        return GrpcExporter(endpoint=address, insecure=True, compression=packing)
    squeezing = HttpCompression.Gzip if compression == "gzip" else HttpCompression.NoCompression
    return HttpExporter(endpoint=f"http://{address}/v1/traces", compression=squeezing)


class Application:
    """An agent that calls a model, a tool, and the model again; one trace for each run."""

    def __init__(self, to: SpanExporter, service_name: str = "python-agent") -> None:
        self._provider = TracerProvider(resource=Resource({"service.name": service_name}))
        self._provider.add_span_processor(BatchSpanProcessor(to))
        self._tracer = self._provider.get_tracer("python-agent", "1.0.0")
        self.sent: set[tuple[str, str]] = set()
        """Trace id and span id of every span, in hex."""

    def run(self, times: int = 1) -> list[str]:
        """Do `times` runs; return their trace ids in hex."""
        return [self._run() for _ in range(times)]

    def _run(self) -> str:
        agent = {"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": "planner"}
        with self._span("invoke_agent planner", agent) as root:
            trace_id = trace.format_trace_id(root.get_span_context().trace_id)
            for number in range(CALLS):
                with self._span("chat gpt-4o-mini", {**CHAT, "gen_ai.response.id": f"chatcmpl-{trace_id}-{number}"}):
                    pass
            with self._span(
                "execute_tool get_weather",
                {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "get_weather"},
            ):
                pass
        return trace_id

    @contextlib.contextmanager
    def _span(self, name: str, attributes: Mapping[str, str | int]) -> Iterator[trace.Span]:
        with self._tracer.start_as_current_span(name, attributes=attributes) as span:
            context = span.get_span_context()
            self.sent.add((trace.format_trace_id(context.trace_id), trace.format_span_id(context.span_id)))
            yield span

    def flush(self) -> None:
        """Return when everything was acknowledged; fails when it was not."""
        assert self._provider.force_flush(), "the SDK could not deliver everything in time"

    def close(self) -> None:
        """Flush and end."""
        self._provider.shutdown()

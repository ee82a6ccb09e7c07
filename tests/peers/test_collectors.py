"""A real Collector on both sides: one hands to the sidecar, one takes from it. Nothing is lost, whatever is refused."""

from __future__ import annotations

import http.client
from typing import TYPE_CHECKING, Any

import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from spanledger.conventions.values import key_value
from tests.peers.load import request, send
from tests.peers.otelcol import QUICK_RETRY, Collector, attributes_of, limited, to_sidecar
from tests.sidecar import Sidecar, to_backend

if TYPE_CHECKING:
    from google.protobuf.message import Message

    from tests.backend import Backend
    from tests.peers.conftest import NewCollector, Start

NOW_NS = 1_795_000_000_000_000_000
CALL_USD = 1000 * 0.15e-6 + 100 * 0.60e-6
"""gpt-4o-mini: 0.15 and 0.60 dollars for a million tokens."""

WAYS = [
    ("grpc", "gzip"),
    ("grpc", "none"),
    ("http", "gzip"),
    ("http", "none"),
    ("http", "zstd"),
    ("http", "json"),
]
"""Protocol, and compression; `json` is OTLP/JSON with gzip."""


def post(address: str, path: str, message: Message, timeout_s: float = 30.0) -> int:
    """Return the status of one OTLP request over HTTP."""
    connection = http.client.HTTPConnection(address, timeout=timeout_s)
    try:
        connection.request(
            "POST", path, message.SerializeToString(), {"Content-Type": "application/x-protobuf", "Connection": "close"}
        )
        return connection.getresponse().status
    finally:
        connection.close()


def old_call() -> ExportTraceServiceRequest:
    """Return one model call under the names of an older convention."""
    made = ExportTraceServiceRequest()
    resource = made.resource_spans.add()
    resource.resource.attributes.append(key_value("service.name", "old-agent"))
    span = resource.scope_spans.add().spans.add(trace_id=b"t" * 16, span_id=b"s" * 8, name="chat gpt-4o-mini")
    span.start_time_unix_nano, span.end_time_unix_nano = NOW_NS, NOW_NS + 1_000_000_000
    for key, value in (
        ("gen_ai.operation.name", "chat"),
        ("gen_ai.system", "openai"),
        ("gen_ai.request.model", "gpt-4o-mini"),
        ("gen_ai.usage.prompt_tokens", 1000),
        ("gen_ai.usage.completion_tokens", 100),
    ):
        span.attributes.append(key_value(key, value))
    return made


def log_line() -> ExportLogsServiceRequest:
    """Return one log record with attributes of every type."""
    made = ExportLogsServiceRequest()
    record = made.resource_logs.add().scope_logs.add().log_records.add(time_unix_nano=NOW_NS, span_id=b"s" * 8)
    record.body.string_value = "a line, 日本"
    for key, value in (("text", "a"), ("count", 2**53 + 1), ("share", 0.1), ("yes", True), ("list", ["a", 1])):
        record.attributes.append(key_value(key, value))
    return made


def points() -> ExportMetricsServiceRequest:
    """Return a metric of each kind that OTLP has."""
    made = ExportMetricsServiceRequest()
    scope = made.resource_metrics.add().scope_metrics.add()
    scope.metrics.add(name="gauge").gauge.data_points.add(time_unix_nano=NOW_NS, as_double=0.1)
    total = scope.metrics.add(name="sum").sum
    total.aggregation_temporality, total.is_monotonic = 2, True
    total.data_points.add(start_time_unix_nano=1, time_unix_nano=NOW_NS, as_int=2**53 + 1)
    histogram = scope.metrics.add(name="histogram").histogram
    histogram.aggregation_temporality = 2
    point = histogram.data_points.add(start_time_unix_nano=1, time_unix_nano=NOW_NS, count=3, sum=3.5)
    point.explicit_bounds.extend([1.0, 2.0])
    point.bucket_counts.extend([1, 1, 1])
    point.exemplars.add(time_unix_nano=NOW_NS, as_double=1.5, trace_id=b"t" * 16, span_id=b"s" * 8)
    exponential = scope.metrics.add(name="exponential").exponential_histogram
    exponential.aggregation_temporality = 2
    wide = exponential.data_points.add(start_time_unix_nano=1, time_unix_nano=NOW_NS, count=3, sum=3.5, scale=2)
    wide.positive.offset = 1
    wide.positive.bucket_counts.extend([1, 2])
    quantiles = scope.metrics.add(name="summary").summary
    quantiles.data_points.add(time_unix_nano=NOW_NS, count=3, sum=3.5).quantile_values.add(quantile=0.5, value=1.0)
    return made


def to_sidecar_by(protocol: str, compression: str, sidecar: Sidecar) -> dict[str, Any]:
    """Return the exporter of a Collector that speaks so to the sidecar."""
    if protocol == "grpc":
        return {"otlp_grpc": to_sidecar(sidecar.grpc, compression=compression)}
    form = {"encoding": "json"} if compression == "json" else {"compression": compression}
    return {"otlp_http": {"endpoint": f"http://{sidecar.http}", "retry_on_failure": QUICK_RETRY, **form}}


def from_sidecar_by(protocol: str, compression: str, last: Collector) -> dict[str, Any]:
    """Return the exporter of the sidecar that speaks so to a Collector."""
    if protocol == "grpc":
        return {"otlp": to_backend(last.grpc, compression=compression)}
    form = {"encoding": "json"} if compression == "json" else {"compression": compression}
    return {"otlp_http": {"endpoint": f"http://{last.http}", "retry_on_failure": QUICK_RETRY, **form}}


@pytest.mark.parametrize(("protocol", "compression"), WAYS)
def test_all_signals_pass_from_collector_to_collector(
    new_collector: NewCollector, start: Start, protocol: str, compression: str
) -> None:
    """Logs and metrics arrive as they were sent, model calls normalised and priced, whatever both sides speak."""
    first, last = new_collector("first"), new_collector("last")
    last.start(last.config())
    sidecar = start(from_sidecar_by(protocol, compression, last))
    first.start(first.config({**first.to_file(), **to_sidecar_by(protocol, compression, sidecar)}))

    for path, message in (("/v1/traces", old_call()), ("/v1/logs", log_line()), ("/v1/metrics", points())):
        assert post(first.http, path, message) == 200
    received = last.received
    last.process.wait_until(lambda: received.spans() and received.records() and received.metrics())

    (span,) = received.spans()
    attributes = attributes_of(span)
    expected = {
        "gen_ai.provider.name": "openai",
        "gen_ai.usage.input_tokens": 1000,
        "gen_ai.usage.output_tokens": 100,
        "spanledger.step.kind": "llm",
        "spanledger.cost.status": "priced",
    }
    assert {key: attributes[key] for key in expected} == expected
    assert attributes["gen_ai.usage.cost"] == pytest.approx(CALL_USD, abs=1e-12)
    assert "gpt-4o-mini" in attributes["spanledger.cost.price_ref"]
    assert (span["traceId"], span["spanId"]) == ((b"t" * 16).hex(), (b"s" * 8).hex())

    assert received.records() == first.received.records()
    assert received.metrics() == first.received.metrics()
    assert [metric["name"] for metric in received.metrics()] == ["gauge", "sum", "histogram", "exponential", "summary"]
    assert first.complaints() == []
    assert last.complaints() == []


def big(size_bytes: int) -> ExportTraceServiceRequest:
    """Return a request of one span of that size."""
    made = old_call()
    made.resource_spans[0].scope_spans[0].spans[0].attributes.append(key_value("text", "x" * size_bytes))
    return made


def to_sidecar_plainly(protocol: str, sidecar: Sidecar) -> dict[str, Any]:
    """Return the exporter of a Collector, not compressed."""
    return to_sidecar_by(protocol, "none", sidecar)


@pytest.mark.parametrize("protocol", ["grpc", "http"])
def test_a_collector_keeps_what_a_full_queue_refuses(
    new_collector: NewCollector, start: Start, backend: Backend, protocol: str
) -> None:
    """It tries again after the time that we ask for, until each span was taken once; it counts no failure."""
    backend.gate.clear()
    small = {"num_consumers": 1, "queue_size": 2}
    sidecar = start({"otlp": to_backend(backend.endpoint, timeout="60s", sending_queue=small)})
    first = new_collector("first")
    first.start(first.config(to_sidecar_plainly(protocol, sidecar)))
    sent: set[bytes] = set()
    for number in range(12):
        message, span_ids = request(number)
        send(first.grpc, message)
        sent |= span_ids

    refused = "spanledger_refused_requests_total"
    sidecar.process.wait_until(lambda: sidecar.total(refused, transport=protocol, reason="queue_full") >= 10)
    backend.gate.set()

    backend.wait(lambda seen: len(seen.spans()) >= len(sent))
    assert sorted(one.span.span_id for one in backend.spans()) == sorted(sent)
    assert sidecar.total("spanledger_llm_calls_total", service_name="load") == len(sent)
    assert first.total("otelcol_exporter_send_failed_spans_total") == 0
    assert "Exporting failed. Will retry the request after interval." in first.process.log()


@pytest.mark.parametrize("protocol", ["grpc", "http"])
def test_a_collector_keeps_what_our_memory_limiter_refuses(
    new_collector: NewCollector, start: Start, backend: Backend, protocol: str
) -> None:
    """Nothing passes while memory is short, everything once when it is not."""
    exporters = {"otlp": to_backend(backend.endpoint)}
    sidecar = start(exporters)
    sidecar.write(limited(sidecar.config(exporters), limit_mib=2))
    sidecar.reload()
    first = new_collector("first")
    first.start(first.config(to_sidecar_plainly(protocol, sidecar)))
    message, span_ids = request(0)
    send(first.grpc, message)
    refused = "spanledger_refused_requests_total"
    sidecar.process.wait_until(lambda: sidecar.total(refused, transport=protocol, reason="memory") >= 2)
    assert backend.attempts == 0

    sidecar.write(limited(sidecar.config(exporters), limit_mib=100_000))
    sidecar.reload()

    backend.wait(lambda seen: len(seen.spans()) >= len(span_ids))
    assert sorted(one.span.span_id for one in backend.spans()) == sorted(span_ids)
    assert first.total("otelcol_exporter_send_failed_spans_total") == 0


@pytest.mark.parametrize("protocol", ["grpc", "http"])
def test_a_collector_does_not_repeat_what_is_refused_for_good(
    new_collector: NewCollector, start: Start, backend: Backend, protocol: str
) -> None:
    """A request above our limit is sent once and counted by the Collector as failed; the next one passes."""
    settings = {
        "grpc": "receivers.otlp.protocols.grpc.max_recv_msg_size_mib=1",
        "http": f"receivers.otlp.protocols.http.max_request_body_size={2**20}",
    }
    sidecar = start({"otlp": to_backend(backend.endpoint)}, (settings[protocol],))
    first = new_collector("first")
    first.start(first.config(to_sidecar_plainly(protocol, sidecar)))

    send(first.grpc, big(2 * 2**20))
    first.process.wait_until(lambda: first.total("otelcol_exporter_send_failed_spans_total") == 1)
    message, span_ids = request(0)
    send(first.grpc, message)

    backend.wait(lambda seen: len(seen.spans()) >= len(span_ids))
    assert sorted(one.span.span_id for one in backend.spans()) == sorted(span_ids)
    refused = "spanledger_refused_requests_total"
    assert sidecar.total(refused, transport=protocol) == sidecar.total(refused, reason="too_large") == 1
    assert "Will retry" not in first.process.log()


@pytest.mark.parametrize("protocol", ["grpc", "http"])
def test_a_collector_does_not_repeat_what_was_taken_in_part(
    new_collector: NewCollector, start: Start, backend: Backend, protocol: str
) -> None:
    """A span without a trace id is left out and said; the others of its request arrive once."""
    sidecar = start({"otlp": to_backend(backend.endpoint)})
    first = new_collector("first")
    first.start(first.config(to_sidecar_plainly(protocol, sidecar)))
    message, span_ids = request(0)
    spans = message.resource_spans[0].scope_spans[0].spans
    spans[0].trace_id = b""

    send(first.grpc, message)
    first.process.wait_until(lambda: "Partial success response" in first.process.log())

    backend.wait(lambda seen: len(seen.spans()) >= len(span_ids) - 1)
    assert {one.span.span_id for one in backend.spans()} == span_ids - {spans[0].span_id}
    (line,) = [line for line in first.complaints() if "Partial success response" in line]
    assert '"dropped_spans": 1' in line
    assert "trace id of 0 bytes" in line
    assert sidecar.total("otelcol_receiver_accepted_spans_total", transport=protocol) == len(span_ids) - 1


@pytest.mark.parametrize(
    ("protocol", "compression", "said"),
    [
        ("grpc", "snappy", "code = Internal desc = Error parsing 'grpc-encoding' metadata"),
        ("grpc", "zstd", "code = Internal desc = Error parsing 'grpc-encoding' metadata"),
        ("http", "snappy", "HTTP Status Code 415"),
    ],
)
def test_a_compression_that_we_do_not_speak_is_no_silent_loss(
    new_collector: NewCollector, start: Start, backend: Backend, protocol: str, compression: str, said: str
) -> None:
    """The Collector says so at once and counts every span as failed; deploy/collector/README.md names what to set."""
    sidecar = start({"otlp": to_backend(backend.endpoint)})
    first = new_collector("first")
    first.start(first.config(to_sidecar_by(protocol, compression, sidecar)))

    message, span_ids = request(0)
    send(first.grpc, message)
    first.process.wait_until(
        lambda: first.total("otelcol_exporter_send_failed_spans_total", error_permanent="true") == len(span_ids)
    )

    (line,) = [line for line in first.complaints() if "Dropping data" in line]
    assert said in line

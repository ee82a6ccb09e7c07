"""The otlp receiver's answers: one table of outcomes, over real sockets of both protocols."""

from __future__ import annotations

import gzip
import json

import grpc
import pytest
from google.protobuf import json_format
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

from spanledger.processor.batch import Signal
from spanledger.processor.component import Refused, Rejected, ShuttingDown
from tests.otlp_receiver import JSON, PROTOBUF, running, trace_request

FAILURES = [
    (Refused("`sending_queue` full", 1.5), grpc.StatusCode.UNAVAILABLE, 503, 1.5, "queue_full"),
    (Refused("memory is short", None, "memory"), grpc.StatusCode.UNAVAILABLE, 503, 1.0, "memory"),
    (Refused("later", 60.0), grpc.StatusCode.UNAVAILABLE, 503, 2.0, "queue_full"),
    (ShuttingDown("bye"), grpc.StatusCode.UNAVAILABLE, 503, 1.0, "shutdown"),
    (Rejected("bad"), grpc.StatusCode.INVALID_ARGUMENT, 400, None, "undecodable"),
    (RuntimeError("secret"), grpc.StatusCode.INTERNAL, 500, None, "internal"),
]
BODY = trace_request(2).SerializeToString()


@pytest.mark.parametrize(("failure", "code", "status", "delay_s", "reason"), FAILURES)
async def test_grpc_answer_to_each_failure(
    failure: Exception, code: grpc.StatusCode, status: int, delay_s: float | None, reason: str
) -> None:
    """Each failure has its code; RetryInfo comes in both trailers exactly when a retry is wanted."""
    async with running() as otlp:
        otlp.failure = failure
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await otlp.export(BODY)

        assert raised.value.code() == code
        assert "secret" not in (raised.value.details() or "")
        trailers = dict(raised.value.trailing_metadata() or ())
        delays = []
        if "grpc-status-details-bin" in trailers:
            details = Status.FromString(trailers["grpc-status-details-bin"])
            assert details.code == code.value[0]
            info = RetryInfo()
            assert details.details[0].Unpack(info)
            delays.append(info.retry_delay.ToMilliseconds() / 1000)
        if "google.rpc.retryinfo-bin" in trailers:
            delays.append(
                RetryInfo.FromString(trailers["google.rpc.retryinfo-bin"]).retry_delay.ToMilliseconds() / 1000
            )
        assert delays == ([] if delay_s is None else [delay_s, delay_s])
        assert otlp.numbers.values["spanledger_refused_requests_total", "otlp", "grpc", reason] == 1
        outcome = "failed" if reason == "internal" else "refused"
        assert otlp.numbers.values[f"otelcol_receiver_{outcome}_spans_total", "otlp", "grpc"] == 2


@pytest.mark.parametrize("as_json", [False, True])
@pytest.mark.parametrize(("failure", "code", "status", "delay_s", "reason"), FAILURES)
async def test_http_answer_to_each_failure(
    failure: Exception, code: grpc.StatusCode, status: int, delay_s: float | None, reason: str, as_json: bool
) -> None:
    """Each failure has its status, and google.rpc.Status in the media type of the request as the body."""
    async with running() as otlp:
        otlp.failure = failure
        body = b'{"resourceSpans":[]}' if as_json else BODY
        answered, response, raw = await otlp.post(body, headers=JSON if as_json else PROTOBUF)

        assert answered == status
        assert response.content_type == ("application/json" if as_json else "application/x-protobuf")
        told = json_format.Parse(raw, Status()) if as_json else Status.FromString(raw)
        assert told.code == code.value[0]
        assert b"secret" not in raw
        wanted = {None: None, 1.0: "1", 1.5: "2", 2.0: "2"}[delay_s]
        assert response.headers.get("Retry-After") == wanted
        assert bool(told.details) == (delay_s is not None)
        assert otlp.numbers.values["spanledger_refused_requests_total", "otlp", "http", reason] == 1


@pytest.mark.parametrize("signal", ["traces", "logs", "metrics"])
async def test_empty_request_is_taken(signal: Signal) -> None:
    """No bytes at all are a request without items: OK on both protocols, partial_success unset."""
    async with running() as otlp:
        assert await otlp.export(b"", signal) == b""
        assert (await otlp.post(b"", f"/v1/{signal}"))[::2] == (200, b"")
        assert (await otlp.post(b"{}", f"/v1/{signal}", JSON))[::2] == (200, b"{}")


async def test_bad_ids_are_answered_as_partial_success() -> None:
    """A span with a wrong id is left out and named; its neighbours are taken."""
    request = trace_request(3)
    request.resource_spans[0].scope_spans[0].spans[1].trace_id = b"short"
    async with running() as otlp:
        answers = [
            ExportTraceServiceResponse.FromString(await otlp.export(request.SerializeToString())),
            ExportTraceServiceResponse.FromString((await otlp.post(request.SerializeToString()))[2]),
        ]

        for answer in answers:
            assert answer.partial_success.rejected_spans == 1
            assert "trace id of 5 bytes" in answer.partial_success.error_message
        assert otlp.spans() == ["span 0", "span 2"] * 2
        assert otlp.numbers.values["spanledger_rejected_items_total", "otlp", "traces", "bad_id"] == 2
        assert otlp.numbers.values["otelcol_receiver_accepted_spans_total", "otlp", "grpc"] == 2


async def test_partial_success_counts_each_signal_in_its_own_field() -> None:
    """Logs and metrics name their own rejected items, in JSON as strings of digits."""
    logs = {"resourceLogs": [{"scopeLogs": [{"logRecords": [{"traceId": "xy"}, {"body": {"stringValue": "a"}}]}]}]}
    metrics = {"resourceMetrics": [{"scopeMetrics": [{"metrics": [{"name": 5}, {"name": "ok"}]}]}]}
    async with running() as otlp:
        logs_answer = json.loads((await otlp.post(json.dumps(logs), "/v1/logs", JSON))[2])
        metrics_answer = json.loads((await otlp.post(json.dumps(metrics), "/v1/metrics", JSON))[2])

        assert logs_answer["partialSuccess"]["rejectedLogRecords"] == "1"
        assert metrics_answer["partialSuccess"]["rejectedDataPoints"] == "1"
        assert [batch.items() for batch in otlp.taken] == [1, 1]


async def test_undecodable_body_is_an_invalid_argument() -> None:
    """Bytes that are no request are refused for good: INVALID_ARGUMENT, 400."""
    async with running() as otlp:
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await otlp.export(b"\x0a\xff\xff\xff\xff\x01")
        statuses = [
            (await otlp.post(b"\x0a\xff\xff\xff\xff\x01"))[0],
            (await otlp.post(b'{"resourceSpans":[', headers=JSON))[0],
            (await otlp.post(b"", headers=JSON))[0],
            (await otlp.post(b"[]", headers=JSON))[0],
            (await otlp.post(b'{"resourceSpans":{}}', headers=JSON))[0],
            (await otlp.post(b"garbage", headers={**PROTOBUF, "Content-Encoding": "gzip"}))[0],
        ]

        assert raised.value.code() == grpc.StatusCode.INVALID_ARGUMENT
        assert raised.value.details() == "the body is not a protobuf ExportTraceServiceRequest"
        assert statuses == [400] * 6


@pytest.mark.parametrize(
    ("body", "advice"),
    [(b'{"resourceSpans":[]}', "application/json"), (gzip.compress(b"x", mtime=0), "Content-Encoding: gzip")],
    ids=["JSON", "gzip"],
)
async def test_body_of_another_format_is_told_how_that_is_sent(body: bytes, advice: str) -> None:
    """A forgotten header is the usual reason why a body is no protobuf."""
    async with running() as otlp:
        status, _, answer = await otlp.post(body)

        assert status == 400
        assert advice in Status.FromString(answer).message


async def test_call_without_a_message_counts_as_too_large() -> None:
    """All that we see of a message above the limit is its absence: gRPC refuses it. An empty call looks the same."""
    async with running(grpc_options={"max_recv_msg_size_mib": 1}) as otlp:
        with pytest.raises(grpc.aio.AioRpcError, match="larger than max"):
            await otlp.export(bytes(2 * 1024 * 1024))
        call = otlp.channel.stream_unary("/opentelemetry.proto.collector.trace.v1.TraceService/Export")()
        await call.done_writing()
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await call

        assert raised.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
        assert "without a message" in str(raised.value.details())
        assert otlp.numbers.values["spanledger_refused_requests_total", "otlp", "grpc", "too_large"] == 2


async def test_signal_without_a_pipeline_is_not_supported() -> None:
    """A signal that no pipeline takes is UNIMPLEMENTED, 404, as from a Collector."""
    async with running(signals=("traces",)) as otlp:
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await otlp.export(b"", "metrics")

        assert raised.value.code() == grpc.StatusCode.UNIMPLEMENTED
        assert (await otlp.post(b"", "/v1/metrics"))[0] == 404
        assert (await otlp.post(b"", "/v1/traces"))[0] == 200


@pytest.mark.parametrize("path", ["/v1/trace", "/v1/traces/", "/v2/traces", "/traces", "/v1"])
async def test_who_misses_the_path_is_told_which_ones_there_are(path: str) -> None:
    """The one for each signal, as configured."""
    async with running() as otlp:
        code, response, body = await otlp.post(b"", path)

        assert (code, response.content_type) == (404, "text/plain")
        assert b"POST to " in body
        for known in (b"/v1/traces", b"/v1/logs", b"/v1/metrics", b"/api/public/otel/v1/traces"):
            assert known in body
        assert body.index(b" /v1/traces") < body.index(b"/api/public/otel")


async def test_wrong_method_path_and_media_type_are_plain_text() -> None:
    """HTTP's own mistakes are answered as text/plain, 405 with Allow."""
    async with running() as otlp:
        async with otlp.session.get(otlp.http_url + "/v1/traces") as wrong_method:
            pass
        _, wrong_type, _ = await otlp.post(b"", headers={"Content-Type": "text/xml"})
        _, wrong_encoding, _ = await otlp.post(b"", headers={**PROTOBUF, "Content-Encoding": "br"})
        _, wrong_path, _ = await otlp.post(b"", "/v2/traces")

        responses = (wrong_method, wrong_type, wrong_encoding, wrong_path)
        assert [response.status for response in responses] == [405, 415, 415, 404]
        assert {response.content_type for response in responses} == {"text/plain"}
        assert wrong_method.headers["Allow"] == "POST"
        assert otlp.numbers.values["spanledger_refused_requests_total", "otlp", "http", "unsupported"] == 2


async def test_media_type_parameters_are_allowed() -> None:
    """A charset does not make JSON anything else, and the answer has the media type of the request."""
    async with running() as otlp:
        status, response, _ = await otlp.post(b"{}", headers={"Content-Type": "application/json; charset=utf-8"})

        assert (status, response.content_type) == (200, "application/json")


async def test_bare_path_tells_the_signal_by_its_content() -> None:
    """Exporters set up with a bare endpoint post every signal to `/`; Langfuse clients have a path of their own."""
    logs = ExportLogsServiceRequest()
    record = logs.resource_logs.add().scope_logs.add().log_records.add(time_unix_nano=5)
    record.body.string_value = "hi"  # reads as a gauge, too
    metrics = ExportMetricsServiceRequest()
    metric = metrics.resource_metrics.add().scope_metrics.add().metrics.add(name="sixteen.letters.")
    metric.gauge.data_points.add(as_int=5)
    async with running() as otlp:
        for path in ("/", "/api/public/otel"):
            for request in (trace_request(), logs, metrics, ExportTraceServiceRequest()):
                assert (await otlp.post(request.SerializeToString(), path))[0] == 200
        for key in ("resourceSpans", "resource_logs", "resourceMetrics"):
            assert (await otlp.post(json.dumps({key: []}), "/", JSON))[0] == 200
        for signal in ("traces", "logs", "metrics"):
            assert (await otlp.post(b"", f"/api/public/otel/v1/{signal}"))[0] == 200

        signals = ["traces", "logs", "metrics"]
        assert [batch.signal for batch in otlp.taken] == [*(2 * [*signals, "traces"]), *signals, *signals]
        assert [batch.items() for batch in otlp.taken[:4]] == [1, 1, 1, 0]

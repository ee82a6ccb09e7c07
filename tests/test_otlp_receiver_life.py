"""The otlp receiver's life: starting, ports, refusing, draining, slow clients, real exporters."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import grpc
import pydantic
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from opentelemetry._logs import LogRecord
from opentelemetry.exporter.otlp.proto.grpc._log_exporter import OTLPLogExporter as GrpcLogExporter
from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter as GrpcMetricExporter
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as GrpcSpanExporter
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter as HttpLogExporter
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter as HttpMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as HttpSpanExporter
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import SimpleLogRecordProcessor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor

from spanledger.processor.authorities import default_context
from spanledger.processor.batch import Batch
from spanledger.processor.component import Refused
from spanledger.receivers.otlp import grpc_server
from spanledger.receivers.otlp.config import OtlpReceiverConfig
from spanledger.receivers.otlp.intake import Body
from spanledger.receivers.otlp.receiver import OtlpReceiver
from tests.certificates import make_certificates
from tests.fakes import host
from tests.otlp_receiver import GRPC_SERVICE, JSON, PROTOBUF, Running, running, trace_request, until

BODY = trace_request(1).SerializeToString()
MIB = 1024 * 1024


@pytest.fixture
def quiet_exporters(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Leave the SDK's own complaints about refusals out of the test's output."""
    with caplog.at_level(logging.CRITICAL, "opentelemetry"):
        yield


def exporters(otlp: Running, transport: str) -> tuple[Any, Any, Any]:
    """Return the SDK's exporters of traces, logs and metrics for one transport."""
    if transport == "grpc":
        options = {"endpoint": otlp.grpc_address, "insecure": True, "compression": grpc.Compression.Gzip}
        return GrpcSpanExporter(**options), GrpcLogExporter(**options), GrpcMetricExporter(**options)
    http = {"compression": Compression.Gzip}
    return (
        HttpSpanExporter(endpoint=f"{otlp.http_url}/v1/traces", **http),
        HttpLogExporter(endpoint=f"{otlp.http_url}/v1/logs", **http),
        HttpMetricExporter(endpoint=f"{otlp.http_url}/v1/metrics", **http),
    )


def play(spans: Any, logs: Any, metrics: Any) -> None:
    """Send one of each signal through the SDK."""
    tracing = TracerProvider(shutdown_on_exit=False)
    tracing.add_span_processor(SimpleSpanProcessor(spans))
    with tracing.get_tracer("test").start_as_current_span("chat") as span:
        span.set_attribute("gen_ai.operation.name", "chat")
    logging_ = LoggerProvider(shutdown_on_exit=False)
    logging_.add_log_record_processor(SimpleLogRecordProcessor(logs))
    logging_.get_logger("test").emit(LogRecord(body="hello"))
    metering = MeterProvider([PeriodicExportingMetricReader(metrics, 60_000)], shutdown_on_exit=False)
    metering.get_meter("test").create_counter("calls").add(1)
    for provider in (tracing, logging_, metering):
        provider.shutdown()


@pytest.mark.parametrize("transport", ["grpc", "http"])
async def test_python_sdk_exports_all_signals(transport: str) -> None:
    """The SDK's exporters, compressed, deliver a span, a log record and a metric."""
    async with running() as otlp:
        await asyncio.to_thread(play, *exporters(otlp, transport))

        assert sorted(batch.signal for batch in otlp.taken) == ["logs", "metrics", "traces"]
        assert {batch.transport for batch in otlp.taken} == {transport}
        assert all(batch.items() == 1 for batch in otlp.taken)
        assert otlp.numbers.values["otelcol_receiver_accepted_log_records_total", "otlp", transport] == 1
        assert otlp.numbers.values["spanledger_request_duration_seconds", "traces", transport] == 1


@pytest.mark.usefixtures("quiet_exporters")
@pytest.mark.parametrize("transport", ["grpc", "http"])
async def test_python_sdk_tries_again_after_a_refusal(transport: str) -> None:
    """A refusal reaches the SDK as retryable: the span arrives once the pipeline has room."""
    async with running() as otlp:
        refusals = 0

        async def consume(batch: Any) -> None:
            nonlocal refusals
            if refusals < 1:
                refusals += 1
                raise Refused("full", 0.01)
            otlp.taken.append(batch)

        otlp.receiver.consumers = {"traces": consume, "logs": otlp.consume, "metrics": otlp.consume}
        await asyncio.to_thread(play, *exporters(otlp, transport))

        assert (refusals, [batch.signal for batch in otlp.taken].count("traces")) == (1, 1)


async def test_requests_above_the_limit_in_flight_are_refused_and_room_comes_back() -> None:
    """While 1 MiB is in flight the next request is refused, retryable; afterwards it is taken."""
    gate = asyncio.Event()
    async with running(
        grpc_options={"max_recv_msg_size_mib": 1}, http_options={"max_request_body_size": MIB}, max_in_flight_mib=1
    ) as otlp:

        async def wait(_batch: object) -> None:
            await gate.wait()

        otlp.receiver.consumers = {"traces": wait}
        big = trace_request(1)
        big.resource_spans[0].scope_spans[0].spans[0].name = "x" * (MIB - 200)
        first = asyncio.create_task(otlp.post(big.SerializeToString()))
        await until(lambda: otlp.in_flight()[1] >= MIB - 200)
        status, response, _ = await otlp.post(trace_request(20).SerializeToString())
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await otlp.export(trace_request(20).SerializeToString())
        gate.set()

        assert (status, response.headers["Retry-After"]) == (503, "1")
        assert raised.value.code() == grpc.StatusCode.UNAVAILABLE
        assert (await first)[0] == 200
        assert (await otlp.post(BODY))[0] == 200
        assert otlp.numbers.values["spanledger_refused_requests_total", "otlp", "grpc", "in_flight"] == 1
        assert otlp.in_flight()[1] == 0


async def test_shutdown_refuses_new_requests_and_finishes_those_inside() -> None:
    """Health falls first, new requests are refused with a time to retry after, those inside are answered OK."""
    gate = asyncio.Event()
    async with running() as otlp:
        await asyncio.gather(otlp.post(BODY), otlp.post(BODY))  # two connections that stay open

        working = 0

        async def wait(_batch: object) -> None:
            nonlocal working
            working += 1
            await gate.wait()

        otlp.receiver.consumers = {"traces": wait}
        watch = health_pb2_grpc.HealthStub(otlp.channel).Watch(health_pb2.HealthCheckRequest())
        before = await watch.read()
        inside = [asyncio.create_task(otlp.export(BODY)), asyncio.create_task(otlp.post(BODY))]
        await until(lambda: working == 2)
        ending = asyncio.create_task(otlp.receiver.shutdown(time.monotonic() + 30))
        after = await watch.read()
        status, response, _ = await otlp.post(BODY)
        async with grpc.aio.insecure_channel(otlp.grpc_address) as channel:
            with pytest.raises(grpc.aio.AioRpcError) as raised:
                await channel.unary_unary(f"/{GRPC_SERVICE['traces']}/Export")(BODY)
        assert not ending.done()
        gate.set()

        assert before.status == health_pb2.HealthCheckResponse.SERVING
        assert after.status == health_pb2.HealthCheckResponse.NOT_SERVING
        assert raised.value.code() == grpc.StatusCode.UNAVAILABLE
        assert "google.rpc.retryinfo-bin" in dict(raised.value.trailing_metadata() or ())
        assert (status, response.headers["Retry-After"]) == (503, "1")
        assert await inside[0] == b""
        assert (await inside[1])[0] == 200
        assert await ending == 0
        for address in (otlp.grpc_address, otlp.http_url.removeprefix("http://")):
            host_name, port = address.split(":")
            with socket.socket() as successor:
                successor.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                successor.bind((host_name, int(port)))


async def test_shutdown_does_not_wait_for_clients_that_still_send() -> None:
    """A call without its message and half a body are refused at once, retryable: nothing of them was acknowledged."""
    async with running() as otlp:
        call = otlp.channel.stream_unary(f"/{GRPC_SERVICE['traces']}/Export")()
        await call.wait_for_connection()
        _, writer = await half_a_body(otlp)
        await until(lambda: otlp.in_flight()[0] == 2)
        started = time.monotonic()
        assert await otlp.receiver.shutdown(started + 3600) == 0
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await call
        writer.close()

        assert raised.value.code() == grpc.StatusCode.UNAVAILABLE
        assert "google.rpc.retryinfo-bin" in dict(raised.value.trailing_metadata() or ())
        assert time.monotonic() - started < 5  # one second for each of the two to close
        for transport in ("grpc", "http"):
            assert otlp.numbers.values["spanledger_refused_requests_total", "otlp", transport, "shutdown"] == 1


async def half_a_body(otlp: Running) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Connect and send the first half of a request."""
    host_name, port = otlp.http_url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host_name, int(port))
    writer.write(
        b"POST /v1/traces HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-protobuf\r\n"
        b"Content-Length: 1000\r\n\r\n" + b"x" * 500
    )
    return reader, writer


async def test_call_that_never_sends_its_message_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """As over HTTP, after the same time."""
    monkeypatch.setattr(grpc_server, "READ_TIMEOUT_S", 0.05)
    async with running() as otlp:
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await otlp.channel.stream_unary(f"/{GRPC_SERVICE['traces']}/Export")()

        assert raised.value.code() == grpc.StatusCode.UNAVAILABLE
        assert otlp.numbers.values["spanledger_refused_requests_total", "otlp", "grpc", "timeout"] == 1


async def test_shutdown_does_not_wait_beyond_its_deadline() -> None:
    """A consumer that never returns is given up at the deadline; the client keeps the data."""
    async with running() as otlp:

        async def never(_batch: object) -> None:
            await asyncio.Event().wait()

        otlp.receiver.consumers = {"traces": never}
        call = asyncio.create_task(otlp.export(BODY))
        await until(lambda: otlp.in_flight()[0] == 1)
        assert await otlp.receiver.shutdown(time.monotonic()) == 0
        with pytest.raises(grpc.aio.AioRpcError):
            await call


async def test_health_and_reflection_name_the_services() -> None:
    """grpc.health.v1 answers for each service, and reflection lists them."""
    service = "opentelemetry.proto.collector.trace.v1.TraceService"
    async with running() as otlp:
        health = health_pb2_grpc.HealthStub(otlp.channel)
        answer = await health.Check(health_pb2.HealthCheckRequest(service=service))
        stream = reflection_pb2_grpc.ServerReflectionStub(otlp.channel).ServerReflectionInfo(
            iter([reflection_pb2.ServerReflectionRequest(list_services="")])
        )
        listed = [entry.name async for reply in stream for entry in reply.list_services_response.service]

        assert answer.status == health_pb2.HealthCheckResponse.SERVING
        assert {service, "grpc.health.v1.Health", "grpc.reflection.v1alpha.ServerReflection"} <= set(listed)


@pytest.mark.parametrize("protocol", ["grpc", "http"])
async def test_taken_port_is_named_with_what_to_set(protocol: str) -> None:
    """A second receiver on the same port fails with a plain message instead of sharing the port."""
    async with running() as otlp:
        address = otlp.receiver.statistics()[f"{protocol}_addresses"][0]
        other = OtlpReceiver(
            OtlpReceiverConfig.model_validate({"protocols": {protocol: {"endpoint": address}}}), host("otlp/second")
        )
        with pytest.raises(OSError, match="already in use") as raised:
            await other.start()

        assert str(raised.value.strerror) == (
            f"otlp/second: {protocol} endpoint {address}: address already in use, perhaps by another Collector; "
            f"set protocols::{protocol}::endpoint to another"
        )


async def test_localhost_listens_on_every_loopback_address() -> None:
    """127.0.0.1 always, ::1 where the machine calls it localhost, with one port for both."""
    names = {info[4][0] for info in socket.getaddrinfo("localhost", 0, type=socket.SOCK_STREAM)}
    async with running() as otlp:
        for addresses in (
            otlp.receiver.statistics()["grpc_addresses"],
            otlp.receiver.statistics()["http_addresses"],
        ):
            assert {address.rpartition(":")[0].strip("[]") for address in addresses} == names
            assert len({address.rpartition(":")[2] for address in addresses}) == 1


async def test_slow_body_is_given_up_and_holds_nothing() -> None:
    """A client that stalls in its body is answered 503 after read_timeout, and its bytes are released."""
    async with running(http_options={"read_timeout": "50ms"}) as otlp:
        reader, writer = await half_a_body(otlp)
        line = await reader.readline()
        writer.close()

        assert line.startswith(b"HTTP/1.1 503")
        assert otlp.in_flight()[1] == 0
        assert otlp.numbers.values["spanledger_refused_requests_total", "otlp", "http", "timeout"] == 1


async def test_silent_connection_is_closed() -> None:
    """A client that connects and never finishes a request's head is disconnected after idle_timeout."""
    async with running(http_options={"idle_timeout": "50ms"}) as otlp:
        host_name, port = otlp.http_url.removeprefix("http://").split(":")
        reader, writer = await asyncio.open_connection(host_name, int(port))
        writer.write(b"POST /v1/traces HTTP/1.1\r\nHost: x\r\n")

        assert await reader.read() == b""
        writer.close()


async def test_vanished_client_leaves_nothing_in_flight() -> None:
    """A connection cut in the middle of a body releases what it held; others are served."""
    async with running() as otlp:
        _, writer = await half_a_body(otlp)
        await until(lambda: otlp.in_flight()[1] > 0)
        writer.transport.abort()
        await until(lambda: otlp.in_flight() == (0, 0))

        assert (await otlp.post(BODY))[0] == 200


async def test_cancelled_call_leaves_nothing_in_flight() -> None:
    """A gRPC client that gives up while its request is worked on gets its bytes released."""
    async with running() as otlp:

        async def never(_batch: object) -> None:
            await asyncio.Event().wait()

        otlp.receiver.consumers = {"traces": never}
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await otlp.channel.unary_unary("/opentelemetry.proto.collector.trace.v1.TraceService/Export")(
                BODY, timeout=0.1
            )
        await until(lambda: otlp.in_flight() == (0, 0))

        assert raised.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
        assert otlp.numbers.values["spanledger_refused_requests_total", "otlp", "grpc", "cancelled"] == 1
        assert otlp.numbers.values["otelcol_receiver_refused_spans_total", "otlp", "grpc"] == 1


async def test_client_that_goes_away_after_its_request_was_taken_is_counted_as_accepted() -> None:
    """What the pipelines have is sent on, so it was accepted, whoever hears of it."""
    async with running() as otlp:
        many = trace_request(5000)
        reading: asyncio.Future[asyncio.Task[Any] | None] = asyncio.get_running_loop().create_future()

        async def take(_batch: object) -> None:
            reading.set_result(asyncio.current_task())

        async def read(_permit: object) -> Body:
            return Body(many.SerializeToString(), "identity")

        otlp.receiver.consumers = {"traces": take}
        request = asyncio.create_task(otlp.receiver.intake.take("traces", "grpc", MIB, read))
        await reading
        request.cancel()
        await asyncio.wait({request})

        assert otlp.numbers.values["otelcol_receiver_accepted_spans_total", "otlp", "grpc"] == 5000
        assert otlp.numbers.total("spanledger_refused_requests_total") == 0


async def test_a_large_request_is_answered_before_it_is_taken_apart() -> None:
    """Giving its messages up takes as long as anything else, and its sender need not wait for it."""
    async with running() as otlp:
        many = trace_request(5000).SerializeToString()
        batches: list[Batch] = []

        async def take(batch: Batch) -> None:
            batches.append(batch)

        async def read(_permit: object) -> Body:
            return Body(many, "identity")

        otlp.receiver.consumers = {"traces": take}
        _, answer = await otlp.receiver.intake.take("traces", "grpc", MIB, read)
        items = batches[0].groups[0].items
        at_the_answer = len(items)
        while items:  # noqa: ASYNC110 - in turns of its own
            await asyncio.sleep(0)

        assert (answer.reason, at_the_answer) == ("", 5000)


async def test_header_floods_are_turned_away() -> None:
    """Endless headers end the request with 4xx, and a gRPC call with an error; the receiver stays up."""
    async with running() as otlp:
        many = {f"X-{number}": "y" * 1000 for number in range(200)}
        with contextlib.suppress(ConnectionError, OSError):
            status, _, _ = await otlp.post(BODY, headers={**PROTOBUF, **many})
            assert 400 <= status < 500
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await otlp.export(BODY, metadata=tuple((f"x-{number}", "y" * 1000) for number in range(200)))
        assert raised.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED

        assert (await otlp.post(BODY))[0] == 200


async def test_what_is_not_http_is_answered_and_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    """Scanners and clients of other protocols get a 400 and leave no traceback in the log."""
    async with running() as otlp:
        host_name, port = otlp.http_url.removeprefix("http://").split(":")
        for raw in (
            b"garbage\r\n\r\n",
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            b"POST " + b"/a" * 9000 + b" HTTP/1.1\r\n\r\n",
        ):
            reader, writer = await asyncio.open_connection(host_name, int(port))
            writer.write(raw)
            assert b" 400 " in await reader.readline()
            writer.close()

        assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


async def test_internal_errors_are_logged_once_in_a_while(caplog: pytest.LogCaptureFixture) -> None:
    """A bug of ours is logged with its traceback, not once per request."""
    async with running() as otlp:
        otlp.failure = KeyError("oops")
        with caplog.at_level(logging.ERROR, "spanledger"):
            for _ in range(5):
                assert (await otlp.post(BODY))[0] == 500

        assert len([record for record in caplog.records if record.exc_info]) == 1


async def test_consumers_may_be_swapped_while_running() -> None:
    """A reload replaces the pipelines under an open connection."""
    async with running() as otlp:
        await otlp.export(BODY)
        otlp.receiver.consumers = {}
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await otlp.export(BODY)

        assert raised.value.code() == grpc.StatusCode.UNIMPLEMENTED


async def test_browsers_are_answered_when_cors_is_configured() -> None:
    """A page of an allowed origin may send JSON; another may not."""
    async with running(http_options={"cors": {"allowed_origins": ["https://*.example.com"], "max_age": 60}}) as otlp:
        preflight = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "content-type"}
        answers = []
        for origin in ("https://shop.example.com", "https://evil.com"):
            async with otlp.session.options(
                otlp.http_url + "/v1/traces", headers={"Origin": origin, **preflight}
            ) as response:
                answers.append(response.headers.get("Access-Control-Allow-Origin"))
        _, answer, _ = await otlp.post(b"{}", headers={**JSON, "Origin": "https://shop.example.com"})

        assert answers == ["https://shop.example.com", None]
        assert answer.headers["Access-Control-Allow-Origin"] == "https://shop.example.com"


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({}, "Field required"),
        ({"protocols": {}}, "must specify at least one protocol"),
        ({"protocols": {"grpc": {"endpoint": "nowhere"}}}, "is not host:port"),
        ({"protocols": {"grpc": {"keepalive": {"server_parameters": {"time": 5}}}}}, "missing unit"),
        ({"protocols": {"grpc": {}, "https": {}}}, "Extra inputs are not permitted"),
        ({"protocols": {"http": None}, "max_in_flight_mib": 8}, "smaller than one request may be: raise it to 64"),
        ({"protocols": {"http": {"traces_url_path": ""}}}, "must not be empty"),
    ],
)
def test_wrong_configuration_is_explained(document: dict[str, Any], message: str) -> None:
    """Each mistake names what to write instead."""
    with pytest.raises(pydantic.ValidationError, match=message):
        OtlpReceiverConfig.model_validate(document)


def test_protocol_without_settings_has_the_defaults() -> None:
    """`grpc:` with nothing below it means its defaults; a protocol that is absent is off."""
    config = OtlpReceiverConfig.model_validate({"protocols": {"grpc": None}})

    assert config.protocols.http is None
    assert config.protocols.grpc is not None
    assert (config.protocols.grpc.endpoint, config.protocols.grpc.max_bytes) == ("localhost:4317", 64 * MIB)


async def test_tls_is_served_and_demanded(tmp_path: Path) -> None:
    """With certificates both protocols speak TLS, and with client_ca_file they turn strangers away."""
    made = make_certificates(tmp_path)
    tls = {"cert_file": str(made.server), "key_file": str(made.server_key), "client_ca_file": str(made.ca)}
    known = grpc.ssl_channel_credentials(made.ca.read_bytes(), made.client_key.read_bytes(), made.client.read_bytes())
    stranger = grpc.ssl_channel_credentials(made.ca.read_bytes())
    context = default_context(ca_file=str(made.ca))
    context.load_cert_chain(made.client, made.client_key)
    method = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
    async with running(grpc_options={"tls": tls}, http_options={"tls": tls}) as otlp:
        async with grpc.aio.secure_channel(otlp.grpc_address, known) as channel:
            assert await channel.unary_unary(method)(BODY) == b""
        async with grpc.aio.secure_channel(otlp.grpc_address, stranger) as channel:
            with pytest.raises(grpc.aio.AioRpcError):
                await channel.unary_unary(method)(BODY, timeout=5)
        url = otlp.http_url.replace("http:", "https:") + "/v1/traces"
        async with otlp.session.post(url, data=BODY, headers=PROTOBUF, ssl=context) as response:
            assert response.status == 200
        with pytest.raises((aiohttp.ClientError, OSError)):
            async with otlp.session.post(url, data=BODY, headers=PROTOBUF, ssl=default_context(ca_file=str(made.ca))):
                pass


async def test_missing_certificate_is_named(tmp_path: Path) -> None:
    """The message says which file of which protocol is missing."""
    tls = {"cert_file": str(tmp_path / "no.pem"), "key_file": str(tmp_path / "no.key")}
    for protocol, name in (("grpc", "no.key"), ("http", "no.pem")):
        document = {"protocols": {protocol: {"endpoint": "localhost:0", "tls": tls}}}
        receiver = OtlpReceiver(OtlpReceiverConfig.model_validate(document), host("otlp"))
        with pytest.raises(OSError, match="No such file") as raised:
            await receiver.start()

        assert f"otlp: {protocol}" in str(raised.value)
        assert name in str(raised.value) or protocol == "http"

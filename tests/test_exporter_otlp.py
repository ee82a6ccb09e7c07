"""OTLP over gRPC against a real server on the loopback that answers by script."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pydantic
import pytest
from google.protobuf.any_pb2 import Any as AnyMessage
from google.rpc.error_details_pb2 import ErrorInfo, RetryInfo
from google.rpc.status_pb2 import Status
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceResponse
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from spanledger.exporters.answer import Permanent, Retryable, TooLarge
from spanledger.exporters.otlp import OtlpConfig, OtlpExporter, failure, retry_delay, target
from spanledger.processor.batch import Delivery
from tests.certificates import Certificates, make_certificates
from tests.fakes import Clock, Numbers, host, request, span

Code = grpc.StatusCode


def retry_info(seconds: float) -> RetryInfo:
    """Return a RetryInfo."""
    info = RetryInfo()
    info.retry_delay.FromNanoseconds(int(seconds * 1e9))
    return info


def details_bin(*details: Any) -> bytes:
    """Return the value of `grpc-status-details-bin`."""
    packed = []
    for detail in details:
        packed.append(AnyMessage())
        packed[-1].Pack(detail)
    return Status(code=8, message="busy", details=packed).SerializeToString()


# What a failure means, without a network.


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (Code.CANCELLED, Retryable),
        (Code.DEADLINE_EXCEEDED, Retryable),
        (Code.ABORTED, Retryable),
        (Code.OUT_OF_RANGE, Retryable),
        (Code.UNAVAILABLE, Retryable),
        (Code.DATA_LOSS, Retryable),
        (Code.RESOURCE_EXHAUSTED, Permanent),
        (Code.UNKNOWN, Permanent),
        (Code.INVALID_ARGUMENT, Permanent),
        (Code.NOT_FOUND, Permanent),
        (Code.ALREADY_EXISTS, Permanent),
        (Code.PERMISSION_DENIED, Permanent),
        (Code.UNAUTHENTICATED, Permanent),
        (Code.FAILED_PRECONDITION, Permanent),
        (Code.UNIMPLEMENTED, Permanent),
        (Code.INTERNAL, Permanent),
    ],
)
def test_codes_are_retried_as_the_protocol_says(code: grpc.StatusCode, kind: type) -> None:
    """The table of the OTLP specification; RESOURCE_EXHAUSTED needs a RetryInfo."""
    error = failure(code, "", ())
    assert type(error) is kind
    assert error.error_type == code.name


def test_resource_exhausted_with_retry_info_is_retried_after_it() -> None:
    """The peer says that it will recover, and when."""
    error = failure(Code.RESOURCE_EXHAUSTED, "busy", [("grpc-status-details-bin", details_bin(retry_info(1.5)))])
    assert isinstance(error, Retryable)
    assert error.throttle_s == 1.5


@pytest.mark.parametrize(
    ("trailing", "expected"),
    [
        ({}, None),
        ({"grpc-status-details-bin": details_bin(ErrorInfo(reason="x"), retry_info(2))}, 2.0),
        ({"grpc-status-details-bin": details_bin(ErrorInfo(reason="x"))}, None),
        ({"google.rpc.retryinfo-bin": retry_info(3).SerializeToString()}, 3.0),
        ({"google.rpc.retryinfo-bin": b""}, 0.0),  # a RetryInfo without a delay: now
        ({"google.rpc.retryinfo-bin": retry_info(-3).SerializeToString()}, 0.0),
        ({"grpc-status-details-bin": b"\xff\xff"}, None),
        ({"grpc-status-details-bin": "text"}, None),
    ],
)
def test_retry_info_is_found_where_servers_put_it(trailing: dict[str, Any], expected: float | None) -> None:
    """In the status details, or in a trailer of its own; rubbish is as good as nothing."""
    assert retry_delay(trailing) == expected


@pytest.mark.parametrize(
    ("code", "details", "limit"),
    [
        (8, "grpc: received message larger than max (5242880 vs. 4194304)", 4194304),  # grpc-go
        (8, "grpc: received message after decompression larger than max 4194304", 4194304),
        (8, "grpc: message after decompression larger than max (9 vs. 8)", 8),
        (8, "grpc: received message larger than max length allowed on current machine (9 vs. 8)", 8),
        (8, "SERVER: Received message larger than max (5242880 vs. 4194304)", 4194304),  # C++, Python
        (8, "Received message larger than max (5242880 vs 4194304)", 4194304),  # Node
        (8, "gRPC message exceeds maximum size 4194304: 5242880", 4194304),  # Java
        (8, "Received message exceeds the maximum configured message size.", None),  # .NET
        (8, "the request is larger than 67108864 bytes", 67108864),  # another sidecar
        (11, "Error, decoded message length too large: found 9 bytes, the limit is: 8 bytes", 8),  # tonic
        (11, "Error, message length too large: found 9 bytes, limit is: 8 bytes", 8),
    ],
)
def test_message_too_large_is_recognised_in_every_dialect(code: int, details: str, limit: int | None) -> None:
    """No server has a code of its own for it; the text tells, and often the limit too."""
    status = next(status for status in Code if status.value[0] == code)
    error = failure(status, details, ())
    assert isinstance(error, TooLarge)
    assert error.limit_bytes == limit


@pytest.mark.parametrize(
    ("details", "hint"),
    [
        (
            "ipv6:%5B::1%5D:1: Ssl handshake failed: SSL_ERROR_SSL: error:1f:SSL routines:OPENSSL:WRONG_VERSION_NUMBER",
            "the peer does not speak TLS? set tls::insecure: true (ipv6:[::1]:1: Ssl handshake",
        ),
        (
            "Failed parsing HTTP/2 (Trying to connect an http1.x server)",
            "this looks like an HTTP port; use the otlp_http exporter (Failed parsing",
        ),
        ("x:CERTIFICATE_VERIFY_FAILED: y", "the peer's certificate is not trusted; name its authority in tls::ca_file"),
        ("Socket closed", "Socket closed"),
    ],
)
def test_a_wrong_endpoint_is_explained(details: str, hint: str) -> None:
    """What to change comes first, what the library said behind it."""
    assert str(failure(Code.UNAVAILABLE, details, ())).startswith(f"UNAVAILABLE: {hint}")


async def test_tls_to_a_plain_port_is_recognised() -> None:
    """The library's own words, as this version has them."""
    server = grpc.aio.server()
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    exporter = OtlpExporter(OtlpConfig(endpoint=f"127.0.0.1:{port}"), host("otlp"))
    await exporter.connect()
    try:
        with pytest.raises(Retryable, match="the peer does not speak TLS"):
            await exporter.push(Delivery("traces", b"", 1, 0))
    finally:
        await exporter.disconnect()
        await server.stop(0)


def test_hostile_details_are_shortened_and_escaped() -> None:
    """They end up in our log."""
    error = failure(Code.INTERNAL, "no\n\x1b[2J" + "x" * 10_000, ())
    assert str(error).startswith("INTERNAL: no\\n\\x1b[2Jxxx")
    assert len(str(error)) < 250


@pytest.mark.parametrize(
    ("endpoint", "expected"),
    [
        ("localhost:4317", ("localhost:4317", None)),
        ("http://localhost:4317", ("localhost:4317", False)),
        ("http://localhost:4317/", ("localhost:4317", False)),
        ("https://api.example.com:443", ("api.example.com:443", True)),
        ("dns:///collector:4317", ("dns:///collector:4317", None)),
        ("dns://8.8.8.8/collector:4317", ("dns://8.8.8.8/collector:4317", None)),
        ("unix:///run/otlp.sock", ("unix:///run/otlp.sock", None)),
        ("unix:otlp.sock", ("unix:otlp.sock", None)),
        ("[::1]:4317", ("[::1]:4317", None)),
    ],
)
def test_endpoint_forms(endpoint: str, expected: tuple[str, bool | None]) -> None:
    """What to dial, and whether the scheme decides on TLS."""
    assert target(endpoint) == expected


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({}, "Field required"),
        ({"endpoint": "localhost"}, "has no port"),
        ({"endpoint": "localhost:0"}, "has no port"),
        ({"endpoint": "https://x:4317/v1/traces"}, "gRPC has no path"),
        ({"endpoint": "grpc://x:4317"}, "unknown scheme"),
        ({"endpoint": "x:1", "compression": "zstd"}, "use gzip or none"),
        ({"endpoint": "x:1", "headers": {"grpc-timeout": "1"}}, "no gRPC metadata key"),
        ({"endpoint": "x:1", "headers": {"a b": "1"}}, "no gRPC metadata key"),
        ({"endpoint": "x:1", "headers": {"api-key": "secret\n"}}, "other than printable ASCII"),
        ({"endpoint": "x:1", "tls": {"insecure_skip_verify": True}}, "not possible with gRPC"),
        ({"endpoint": "x:1", "tls": {"cert_file": "a.pem"}}, "go together"),
        ({"endpoint": "x:1", "endpint": "x:1"}, "Extra inputs"),
    ],
)
def test_wrong_configuration_is_explained(config: dict[str, Any], message: str) -> None:
    """Before anything starts."""
    with pytest.raises(pydantic.ValidationError) as error:
        OtlpConfig.model_validate(config)
    messages = [problem["msg"] for problem in error.value.errors()]
    assert any(message in text for text in messages)
    assert not any("secret" in text for text in messages)


def test_header_values_are_masked_everywhere() -> None:
    """repr, dump and JSON show that there is one, not which."""
    config = OtlpConfig.model_validate({"endpoint": "x:1", "headers": {"api-key": "hunter2"}})
    assert "hunter2" not in repr(config) + str(config.model_dump()) + config.model_dump_json()


# Against a server.

Script = deque["tuple[grpc.StatusCode, str, tuple[tuple[str, Any], ...]] | bytes | Callable[[], Awaitable[bytes]]"]


class Peer(grpc.GenericRpcHandler):
    """Answers each call by the script, then with an empty response; keeps what it got."""

    def __init__(self) -> None:
        self.script: Script = deque()
        self.calls: list[tuple[str, bytes, dict[str, Any]]] = []
        self.came = asyncio.Event()

    def service(self, handler_call_details: Any) -> Any:
        """Take any method."""

        async def answer(data: bytes, context: grpc.aio.ServicerContext[Any, Any]) -> bytes:
            metadata = dict(context.invocation_metadata() or ())
            self.calls.append((handler_call_details.method, data, metadata))
            self.came.set()
            step = self.script.popleft() if self.script else b""
            if isinstance(step, tuple):
                await context.abort(step[0], step[1], step[2])
            return step if isinstance(step, bytes) else await step()  # type: ignore[operator]

        return grpc.unary_unary_rpc_method_handler(answer)


@asynccontextmanager
async def serving(
    credentials: grpc.ServerCredentials | None = None, address: str = "127.0.0.1:0", **options: Any
) -> AsyncIterator[tuple[Peer, int]]:
    """Run a peer on a free port."""
    peer = Peer()
    server = grpc.aio.server(options=[(f"grpc.{name}", value) for name, value in options.items()])
    server.add_generic_rpc_handlers((peer,))
    port = server.add_secure_port(address, credentials) if credentials else server.add_insecure_port(address)
    await server.start()
    try:
        yield peer, port
    finally:
        await server.stop(0)


@asynccontextmanager
async def exporting(config: dict[str, Any], numbers: Numbers | None = None) -> AsyncIterator[OtlpExporter]:
    """Run an exporter whose back-off takes no time."""
    clock = Clock()

    async def wait(delay_s: float, _wake: asyncio.Event | None) -> None:
        clock.now_s += delay_s
        await asyncio.sleep(0.001)

    exporter = OtlpExporter(
        OtlpConfig.model_validate(config), host("otlp/x", clock, numbers or Numbers()), wait=wait, draw=lambda: 0.5
    )
    await exporter.start()
    try:
        yield exporter
    finally:
        await exporter.shutdown(clock.now_s + 5)


async def send(exporter: OtlpExporter, *deliveries: Delivery) -> None:
    """Offer deliveries and wait until each is settled."""
    for one in deliveries:
        exporter.reserve(one)
        exporter.commit(one)
    while tasks := exporter._running():
        await asyncio.wait(tasks)


TRACES = Delivery("traces", request(span(1), span(2)).SerializeToString(), 2, 0)


@pytest.mark.parametrize("compression", ["gzip", "none"])
async def test_bytes_arrive_as_they_are(compression: str) -> None:
    """On the method of their signal, with headers and our name."""
    async with serving() as (peer, port):
        config = {
            "endpoint": f"http://127.0.0.1:{port}",
            "compression": compression,
            "headers": {"API-Key": "hunter2", "trace-bin": "raw"},
        }
        async with exporting(config) as exporter:
            await send(exporter, TRACES, Delivery("logs", b"", 1, 0), Delivery("metrics", b"", 1, 0))
    calls = {method.rpartition(".")[2]: (data, metadata) for method, data, metadata in peer.calls}
    assert set(calls) == {"TraceService/Export", "LogsService/Export", "MetricsService/Export"}
    data, metadata = calls["TraceService/Export"]
    assert data == TRACES.data
    assert metadata["api-key"] == "hunter2"
    assert metadata["trace-bin"] == b"raw"
    assert metadata["user-agent"].startswith("spanledger/")


async def test_large_request_arrives_whole() -> None:
    """Above the size that gRPC would compress on the loop, and above its usual limit of 4 MiB."""
    large = Delivery("traces", request(span(1, text="x" * 5_000_000)).SerializeToString(), 1, 0)
    async with (
        serving(max_receive_message_length=-1) as (peer, port),
        exporting({"endpoint": f"http://127.0.0.1:{port}"}) as exporter,
    ):
        await send(exporter, large)
    assert [data for _, data, _ in peer.calls] == [large.data]


async def test_busy_peer_gets_it_later_and_once() -> None:
    """Unavailable twice, once with a RetryInfo, then taken."""
    async with serving() as (peer, port):
        peer.script.append((Code.UNAVAILABLE, "starting", ()))
        trailer = (("grpc-status-details-bin", details_bin(retry_info(60))),)
        peer.script.append((Code.RESOURCE_EXHAUSTED, "busy", trailer))
        numbers = Numbers()
        async with exporting({"endpoint": f"http://127.0.0.1:{port}"}, numbers) as exporter:
            await send(exporter, TRACES)
            # 5 s of back-off and the 60 s that were asked for.
            assert exporter.host.monotonic() == pytest.approx(Clock().now_s + 65)
    assert len(peer.calls) == 3
    assert numbers.total("otelcol_exporter_sent_spans_total") == 2


def test_metadata_of_an_older_grpc_is_read() -> None:
    """Its keys were pairs until 1.80: read as a mapping it raised, and what should have come again was lost."""

    class Metadata(list[tuple[str, bytes]]):
        def keys(self) -> list[tuple[str, bytes]]:
            return self

        def __getitem__(self, key: Any) -> Any:
            raise KeyError(key)

    error = failure(Code.RESOURCE_EXHAUSTED, "", Metadata([("grpc-status-details-bin", details_bin(retry_info(60)))]))
    assert isinstance(error, Retryable)
    assert error.throttle_s == 60


async def test_partial_success_is_read() -> None:
    """For each signal by its own field."""
    async with serving() as (peer, port):
        answer = ExportTraceServiceResponse()
        answer.partial_success.rejected_spans = 1
        logs = ExportLogsServiceResponse()
        logs.partial_success.rejected_log_records = 2
        peer.script += [answer.SerializeToString(), logs.SerializeToString(), b"\xff rubbish"]
        numbers = Numbers()
        async with exporting({"endpoint": f"http://127.0.0.1:{port}"}, numbers) as exporter:
            await send(exporter, TRACES)
            await send(exporter, Delivery("logs", b"", 3, 0))
            await send(exporter, TRACES)
    assert numbers.total("otelcol_exporter_sent_spans_total") == 1 + 2
    assert numbers.total("otelcol_exporter_sent_log_records_total") == 1
    assert numbers.values["spanledger_dropped_items_total", "otlp/x", "logs", "partial_success"] == 2


async def test_real_message_limit_splits_and_is_learnt() -> None:
    """A server with gRPC's own limit of 100 kB; every span arrives once."""
    async with serving(max_receive_message_length=100_000) as (peer, port):
        many = Delivery(
            "traces", request(*(span(n + 1, text="x" * 1000) for n in range(300))).SerializeToString(), 300, 0
        )
        numbers = Numbers()
        config = {"endpoint": f"http://127.0.0.1:{port}", "compression": "none"}
        async with exporting(config, numbers) as exporter:
            await send(exporter, many)
            assert exporter.statistics()["message_limit_bytes"] == 100_000
    received = [s.span_id for _, data, _ in peer.calls for s in _spans(data)]
    assert len(received) == len(set(received)) == 300
    assert numbers.total("otelcol_exporter_sent_spans_total") == 300
    assert numbers.total("spanledger_dropped_items_total") == 0


def _spans(data: bytes) -> list[Any]:
    message = request()
    message.ParseFromString(data)
    return [s for resource in message.resource_spans for scope in resource.scope_spans for s in scope.spans]


async def test_peer_that_is_away_is_retried_until_it_is_there(tmp_path: Path) -> None:
    """Nothing listens at first; the data waits. Over a Unix socket, too."""
    socket = f"unix://{tmp_path}/otlp.sock"
    numbers = Numbers()
    config = {"endpoint": socket, "tls": {"insecure": True}, "retry_on_failure": {"max_elapsed_time": "0"}}
    async with exporting(config, numbers) as exporter:
        exporter.reserve(TRACES)
        exporter.commit(TRACES)
        while not numbers.total("spanledger_exporter_retries_total"):  # noqa: ASYNC110 - nothing signals it
            await asyncio.sleep(0.001)
        async with serving(address=socket) as (peer, _port):
            await asyncio.wait_for(peer.came.wait(), 20)
            await send(exporter)
    assert numbers.total("otelcol_exporter_sent_spans_total") == 2


async def test_silent_peer_times_out() -> None:
    """The attempt ends, and the call with it."""
    async with serving() as (peer, port):

        async def never() -> bytes:
            await asyncio.Event().wait()
            return b""

        peer.script.append(never)
        config = {"endpoint": f"http://127.0.0.1:{port}", "timeout": "50ms"}
        numbers = Numbers()
        async with exporting(config, numbers) as exporter:
            await send(exporter, TRACES)
    assert len(peer.calls) == 2
    assert numbers.total("otelcol_exporter_sent_spans_total") == 2


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """Certificates of this run."""
    return make_certificates(tmp_path_factory.mktemp("certificates"))


async def test_mutual_tls(certificates: Certificates) -> None:
    """With the right authority and a client certificate it works; without one it fails, and says so."""
    credentials = grpc.ssl_server_credentials(
        [(certificates.server_key.read_bytes(), certificates.server.read_bytes())],
        certificates.ca.read_bytes(),
        require_client_auth=True,
    )
    ours = {"ca_file": str(certificates.ca)}
    mine = {"cert_file": str(certificates.client), "key_file": str(certificates.client_key)}
    async with serving(credentials) as (peer, port):
        for tls, endpoint, arrives in (
            ({**ours, **mine}, f"https://localhost:{port}", True),
            ({**ours, **mine}, f"localhost:{port}", True),  # TLS is the default
            ({**ours, **mine, "server_name_override": "localhost"}, f"127.0.0.1:{port}", True),
            (ours, f"localhost:{port}", False),
            (mine, f"localhost:{port}", False),  # authorities of the system: not ours
        ):
            numbers = Numbers()
            config = {"endpoint": endpoint, "tls": tls, "retry_on_failure": {"enabled": False}}
            async with exporting(config, numbers) as exporter:
                await send(exporter, TRACES)
            assert numbers.total("otelcol_exporter_sent_spans_total") == (2 if arrives else 0)
        assert len(peer.calls) == 3


@pytest.mark.parametrize(
    ("tls", "message"),
    [
        ({"ca_file": "/nowhere/ca.pem"}, "tls::ca_file"),
        ({"ca_file": __file__}, "tls::ca_file"),
        ({"cert_file": __file__, "key_file": __file__}, "tls::cert_file"),
    ],
)
async def test_unusable_tls_files_stop_the_start(tls: dict[str, str], message: str) -> None:
    """With the key and the file, not at the first request."""
    exporter = OtlpExporter(OtlpConfig.model_validate({"endpoint": "x:1", "tls": tls}), host())
    with pytest.raises(ValueError, match=message):
        await exporter.start()
    await exporter.shutdown(0)

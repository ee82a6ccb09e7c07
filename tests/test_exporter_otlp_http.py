"""OTLP over HTTP against a real server on the loopback that answers by script."""

from __future__ import annotations

import asyncio
import gzip
import json
import ssl
import zlib
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from email.utils import formatdate
from typing import Any

import grpc
import pydantic
import pytest
import zstandard
from aiohttp import web
from google.rpc.status_pb2 import Status
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceResponse

from spanledger.exporters.answer import Permanent, Retryable, TooLarge, partial_success_json
from spanledger.exporters.otlp_http import OtlpHttpConfig, OtlpHttpExporter, describe, failure, retry_after
from spanledger.processor.authorities import default_context
from spanledger.processor.batch import Delivery
from tests.certificates import make_certificates
from tests.fakes import Clock, Numbers, host, request, span

NOW_NS = 1_700_000_000_000_000_000


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (429, Retryable),
        (502, Retryable),
        (503, Retryable),
        (504, Retryable),
        (413, TooLarge),
        (301, Permanent),
        (307, Permanent),
        (400, Permanent),
        (401, Permanent),
        (403, Permanent),
        (404, Permanent),
        (405, Permanent),
        (408, Permanent),
        (415, Permanent),
        (500, Permanent),
        (501, Permanent),
        (999, Permanent),
    ],
)
def test_statuses_are_retried_as_the_protocol_says(status: int, kind: type) -> None:
    """The table of the OTLP specification; the label of an unknown status is `other`."""
    error = failure(status, "no", 0.0)
    assert type(error) is kind
    assert error.error_type == ("other" if status == 999 else str(status))


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (None, 0.0),
        ("", 0.0),
        ("3", 3.0),
        ("0.5", 0.5),
        ("-3", 0.0),
        ("nan", 0.0),
        ("inf", 0.0),
        ("soon", 0.0),
        (formatdate(1_700_000_030, usegmt=True), 30.0),
        (formatdate(1_700_000_030).replace("-0000", ""), 30.0),
        (formatdate(1_600_000_000, usegmt=True), 0.0),
        ("Mon, 99 Foo 2023 99:99:99 GMT", 0.0),
    ],
)
def test_retry_after_is_a_number_or_a_date(header: str | None, expected: float) -> None:
    """Both forms of HTTP; anything else is no wish."""
    assert retry_after(header, NOW_NS) == expected


@pytest.mark.parametrize(
    ("media_type", "body", "expected"),
    [
        ("application/x-protobuf", Status(code=3, message="bad span").SerializeToString(), "bad span"),
        ("application/json", b'{"code": 3, "message": "bad span"}', "bad span"),
        ("application/json", b"[1]", "[1]"),
        ("application/x-protobuf", b"\xff\xfe", "��"),
        ("text/html", b"<h1>no\r\n\x1b[2J</h1>", "<h1>no\\r\\n\\x1b[2J</h1>"),
        ("text/plain", b"", "(no message)"),
    ],
)
def test_error_bodies_become_one_safe_line(media_type: str, body: bytes, expected: str) -> None:
    """Whatever a peer or a proxy writes."""
    assert describe(media_type, body, "") == expected


@pytest.mark.parametrize(
    ("text", "rejected"),
    [
        (b'{"partialSuccess": {"rejectedSpans": "3", "errorMessage": "old"}}', 3),
        (b'{"partialSuccess": {"rejectedSpans": 3}}', 3),
        (b'{"partialSuccess": {}}', None),
        (b"{}", None),
        (b"null", None),
        (b"[[[", None),
        (b'{"partialSuccess": {"rejectedSpans": 1e999}}', None),
        (b'{"partialSuccess": 7}', None),
        (b"[" * 100_000, None),
    ],
)
def test_partial_success_in_json(text: bytes, rejected: int | None) -> None:
    """Numbers as text or as numbers; rubbish is a plain success."""
    found = partial_success_json("traces", text)
    assert (found and found.rejected) == rejected


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({}, "endpoint is missing"),
        ({"endpoint": "localhost:4318"}, "not an http or https URL"),
        ({"endpoint": "http://"}, "not an http or https URL"),
        ({"endpoint": "http://x:99999"}, "Port out of range"),
        ({"endpoint": "http://x", "compression": "snappy"}, "use gzip, zstd"),
        (
            {"endpoint": "http://u:secret@h:4318/v1/traces"},
            "/v1/traces is added to the endpoint: write http://h:4318, or use traces_endpoint",
        ),
        ({"endpoint": "http://h/base/v1/logs/"}, "write http://h/base, or use logs_endpoint"),
        ({"endpoint": "http://h/?key=secret"}, "it has no query"),
        ({"endpoint": "http://x", "headers": [{"name": "a"}]}, "{name: ..., value: ...}"),
        ({"endpoint": "http://x", "headers": [{"name": "a", "value": "1"}] * 2}, "a name is there twice"),
        ({"endpoint": "http://x", "headers": [{"name": "key", "value": "secret\r\nX: 1"}]}, "control characters"),
        ({"endpoint": "http://x", "encoding": "xml"}, "'proto' or 'json'"),
        ({"endpoint": "http://x", "headers": {"a\nb": "1"}}, "not a header"),
        ({"endpoint": "http://x", "headers": {"Content-Type": "1"}}, "not a header"),
        ({"endpoint": "http://x", "headers": {"key": "secret\r\nX: 1"}}, "control characters"),
    ],
)
def test_wrong_configuration_is_explained(config: dict[str, Any], message: str) -> None:
    """Before anything starts, and without showing a secret."""
    with pytest.raises(pydantic.ValidationError) as error:
        OtlpHttpConfig.model_validate(config)
    messages = [problem["msg"] for problem in error.value.errors()]
    assert any(message in text for text in messages)
    assert not any("secret" in text for text in messages)


def test_urls_of_the_signals() -> None:
    """The path is added to `endpoint`; an own endpoint is taken as it is."""
    config = OtlpHttpConfig.model_validate({"endpoint": "http://x:4318/base/", "logs_endpoint": "http://y/in"})
    assert config.url("traces") == "http://x:4318/base/v1/traces"
    assert config.url("logs") == "http://y/in"
    assert OtlpHttpConfig.model_validate({"traces_endpoint": "http://x/t"}).url("metrics") == ""


# Against a server.

Answer = Callable[[web.Request], web.StreamResponse]


class Peer:
    """Answers by the script, then with an empty success; keeps what it got."""

    def __init__(self) -> None:
        self.script: deque[Answer] = deque()
        self.got: list[tuple[str, dict[str, str], bytes]] = []
        self.url = ""

    async def answer(self, got: web.Request) -> web.StreamResponse:
        """Keep the request and play the next step."""
        self.got.append((got.path, dict(got.headers), await got.read()))
        return self.script.popleft()(got) if self.script else web.Response()


@asynccontextmanager
async def serving(context: ssl.SSLContext | None = None) -> AsyncIterator[Peer]:
    """Run a peer on a free port."""
    peer = Peer()
    app = web.Application(client_max_size=2**26)
    app.router.add_route("*", "/{path:.*}", peer.answer)
    runner = web.AppRunner(app, auto_decompress=False)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context)
    await site.start()
    port = runner.addresses[0][1]
    peer.url = f"https://localhost:{port}" if context else f"http://127.0.0.1:{port}"
    try:
        yield peer
    finally:
        await runner.cleanup()


@asynccontextmanager
async def exporting(config: dict[str, Any], numbers: Numbers | None = None) -> AsyncIterator[OtlpHttpExporter]:
    """Run an exporter whose back-off takes no time."""
    clock = Clock()

    async def wait(delay_s: float, _wake: asyncio.Event | None) -> None:
        clock.now_s += delay_s
        await asyncio.sleep(0)

    exporter = OtlpHttpExporter(
        OtlpHttpConfig.model_validate(config), host("otlp_http", clock, numbers), wait=wait, draw=lambda: 0.5
    )
    await exporter.start()
    try:
        yield exporter
    finally:
        await exporter.shutdown(clock.now_s + 5)


async def send(exporter: OtlpHttpExporter, *deliveries: Delivery) -> None:
    """Offer deliveries and wait until each is settled."""
    for one in deliveries:
        exporter.reserve(one)
        exporter.commit(one)
    while tasks := exporter._running():
        await asyncio.wait(tasks)


TRACES = Delivery("traces", request(span(1), span(2)).SerializeToString(), 2, 0)


@pytest.mark.parametrize(
    ("compression", "decompress"),
    [
        ("gzip", gzip.decompress),
        ("zstd", lambda data: zstandard.ZstdDecompressor().decompress(data)),
        ("deflate", zlib.decompress),
        ("zlib", zlib.decompress),
        ("none", bytes),
    ],
)
async def test_request_as_it_arrives(compression: str, decompress: Callable[[bytes], bytes]) -> None:
    """Path, media type, encoding, headers and our name."""
    async with serving() as peer:
        config = {"endpoint": peer.url, "compression": compression, "headers": {"Api-Key": "hunter2"}}
        async with exporting(config) as exporter:
            await send(exporter, TRACES)
    (path, headers, body) = peer.got[0]
    assert path == "/v1/traces"
    assert headers["Content-Type"] == "application/x-protobuf"
    assert headers.get("Content-Encoding") == (None if compression == "none" else compression)
    assert headers["Api-Key"] == "hunter2"
    assert headers["User-Agent"].startswith("spanledger/")
    assert decompress(body) == TRACES.data


async def test_large_body_arrives_whole() -> None:
    """Several MiB, in a thread's encoding and in chunks to the socket."""
    large = Delivery("traces", request(span(1, text="x" * 5_000_000)).SerializeToString(), 1, 0)
    async with serving() as peer, exporting({"endpoint": peer.url, "compression": "none"}) as exporter:
        await send(exporter, large)
    (_, headers, body) = peer.got[0]
    assert body == large.data
    assert headers["Content-Length"] == str(len(body))


async def test_json_has_hex_ids() -> None:
    """The one thing that most JSON encoders of protobuf get wrong."""
    config = {"encoding": "json", "compression": "none"}
    async with serving() as peer, exporting({"endpoint": peer.url, **config}) as exporter:
        await send(exporter, TRACES)
    (_, headers, body) = peer.got[0]
    assert headers["Content-Type"] == "application/json"
    assert json.loads(body)["resourceSpans"][0]["scopeSpans"][0]["spans"][0]["spanId"] == "0000000000000001"


async def test_passing_failures_are_retried_and_retry_after_is_kept() -> None:
    """429 with a wish, 503 without, a connection that breaks, then success."""
    async with serving() as peer:

        def reset(got: web.Request) -> web.StreamResponse:
            assert got.transport is not None
            got.transport.abort()
            return web.Response()

        peer.script += [
            lambda _: web.Response(status=429, headers={"Retry-After": "60"}),
            lambda _: web.Response(status=503),
            reset,
        ]
        numbers = Numbers()
        async with exporting({"endpoint": peer.url}, numbers) as exporter:
            await send(exporter, TRACES)
            # 60 s as asked, then the second and third back-off.
            assert exporter.host.monotonic() == pytest.approx(Clock().now_s + 60 + 7.5 + 11.25)
    assert len(peer.got) == 4
    assert numbers.total("otelcol_exporter_sent_spans_total") == 2


async def test_too_large_is_split_until_it_fits() -> None:
    """413 names no limit; the halves are sent, and the limit is remembered."""
    async with serving() as peer:
        too_large: Answer = lambda _: web.Response(status=413)  # noqa: E731
        peer.script += [too_large, too_large]
        numbers = Numbers()
        many = Delivery(
            "traces", request(*(span(n + 1, text="x" * 1000) for n in range(200))).SerializeToString(), 200, 0
        )
        async with exporting({"endpoint": peer.url}, numbers) as exporter:
            await send(exporter, many)
            assert exporter.statistics()["message_limit_bytes"] < len(many.data)
    # The whole and its first half are refused; then its quarters, and those of the second half, which is
    # known to be too large and not tried.
    assert len(peer.got) == 2 + 4
    assert numbers.total("otelcol_exporter_sent_spans_total") == 200


async def test_partial_success_in_both_encodings() -> None:
    """Counted as dropped, never sent again."""
    async with serving() as peer:
        answer = ExportMetricsServiceResponse()
        answer.partial_success.rejected_data_points = 2
        peer.script += [
            lambda _: web.json_response({"partialSuccess": {"rejectedSpans": "1", "errorMessage": "old"}}),
            lambda _: web.Response(body=answer.SerializeToString(), content_type="application/x-protobuf"),
        ]
        numbers = Numbers()
        async with exporting({"endpoint": peer.url}, numbers) as exporter:
            await send(exporter, TRACES)
            await send(exporter, Delivery("metrics", b"", 5, 0))
    assert len(peer.got) == 2
    dropped = numbers.values
    assert dropped["spanledger_dropped_items_total", "otlp_http", "traces", "partial_success"] == 1
    assert dropped["spanledger_dropped_items_total", "otlp_http", "metrics", "partial_success"] == 2


async def test_redirect_is_not_followed_and_carries_no_key_away() -> None:
    """Our headers go to the configured host only."""
    async with serving() as peer, serving() as other:
        peer.script.append(lambda _: web.Response(status=307, headers={"Location": other.url}))
        numbers = Numbers()
        async with exporting({"endpoint": peer.url, "headers": {"api-key": "hunter2"}}, numbers) as exporter:
            await send(exporter, TRACES)
    assert other.got == []
    assert numbers.values["spanledger_dropped_items_total", "otlp_http", "traces", "permanent"] == 2


async def test_endless_answer_is_cut_short() -> None:
    """A gzip bomb or a stream without end costs a few kilobytes."""
    async with serving() as peer:
        bomb = gzip.compress(b"x" * 50_000_000)
        peer.script.append(lambda _: web.Response(status=400, body=bomb, headers={"Content-Encoding": "gzip"}))
        peer.script.append(lambda _: web.Response(status=400, body=b"y" * 5_000_000))
        numbers = Numbers()
        async with exporting({"endpoint": peer.url}, numbers) as exporter:
            await send(exporter, TRACES, TRACES)
    assert numbers.values["spanledger_dropped_items_total", "otlp_http", "traces", "permanent"] == 4


async def test_signal_without_an_endpoint_is_dropped_by_name() -> None:
    """Only traces_endpoint is set, and logs come."""
    numbers = Numbers()
    async with exporting({"traces_endpoint": "http://127.0.0.1:1/v1/traces"}, numbers) as exporter:
        await send(exporter, Delivery("logs", b"", 3, 0))
    assert numbers.values["otelcol_exporter_send_failed_log_records_total", "otlp_http", "config", "true"] == 3


async def test_proxy_is_used_only_when_configured(monkeypatch: pytest.MonkeyPatch) -> None:
    """`proxy_url` is; the environment is not."""
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    async with serving() as peer, serving() as proxy:
        async with exporting({"endpoint": peer.url}) as exporter:
            await send(exporter, TRACES)
        async with exporting({"endpoint": "http://backend.invalid", "proxy_url": proxy.url}) as exporter:
            await send(exporter, TRACES)
    assert (len(peer.got), len(proxy.got)) == (1, 1)


async def failing(config: dict[str, Any]) -> str:
    """Return what is said about a request that failed once."""
    async with exporting({**config, "retry_on_failure": {"enabled": False}}) as exporter:
        await send(exporter, TRACES)
        return str(exporter.statistics()["last_error"])


async def test_errors_name_the_url_without_its_secrets() -> None:
    """Whoever reads the log sees where it went; what lets others in stays out."""
    async with serving() as peer:
        secretive = peer.url.replace("http://", "http://me:secret@") + "/in?key=secret"
        peer.script.append(lambda _: web.Response(status=404, text="nothing here"))
        assert await failing({"traces_endpoint": secretive}) == f"HTTP 404: nothing here ({peer.url}/in)"
    # Nobody listens there any more.
    said = await failing({"traces_endpoint": secretive})
    assert said.startswith(f"Cannot connect to host {peer.url[7:]} [")
    assert said.endswith(f" ({peer.url}/in)")


async def test_a_grpc_port_is_recognised() -> None:
    """It answers with frames of HTTP/2, which are no status line."""
    server = grpc.aio.server()
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        said = await failing({"endpoint": f"http://127.0.0.1:{port}"})
    finally:
        await server.stop(0)
    assert said.startswith("this looks like a gRPC port; use the otlp exporter (Bad status line")
    assert said.endswith(f"(http://127.0.0.1:{port}/v1/traces)")


async def test_a_plain_port_is_recognised() -> None:
    """Speaking TLS to it fails with words that only few understand."""
    async with serving() as peer:
        said = await failing({"endpoint": peer.url.replace("http:", "https:")})
    assert said.startswith("the peer does not speak TLS? write http:// in the endpoint (")


async def test_headers_may_be_a_list() -> None:
    """As the Collector writes them today."""
    async with (
        serving() as peer,
        exporting(
            {"endpoint": peer.url, "headers": [{"name": "X-Key", "value": "1"}, {"name": "X-Team", "value": "shop"}]}
        ) as exporter,
    ):
        await send(exporter, TRACES)
    assert (peer.got[0][1]["X-Key"], peer.got[0][1]["X-Team"]) == ("1", "shop")


async def test_tls_version_is_the_one_that_is_asked_for(tmp_path: Any) -> None:
    """A peer that speaks only 1.2 is none for an exporter that wants 1.3."""
    certificates = make_certificates(tmp_path)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificates.server, certificates.server_key)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    async with serving(context) as peer:
        for version, arrives in (("1.2", True), ("1.3", False)):
            numbers = Numbers()
            tls = {"ca_file": str(certificates.ca), "min_version": version}
            config = {"endpoint": peer.url, "tls": tls, "retry_on_failure": {"enabled": False}}
            async with exporting(config, numbers) as exporter:
                await send(exporter, TRACES)
            assert numbers.total("otelcol_exporter_sent_spans_total") == (2 if arrives else 0)


async def test_newer_certificates_that_cannot_be_used_lose_nothing(tmp_path: Any) -> None:
    """The old ones stay, and so do the connections; newer ones that can be used are used."""
    certificates = make_certificates(tmp_path)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificates.server, certificates.server_key)
    ours = tmp_path / "trusted.pem"
    ours.write_bytes(certificates.ca.read_bytes())
    numbers = Numbers()
    async with serving(context) as peer:
        config = {"endpoint": peer.url, "tls": {"ca_file": str(ours), "reload_interval": "1ns"}}
        async with exporting(config, numbers) as exporter:
            first = exporter._tls
            for content in ("broken", certificates.ca.read_text() + "\n"):
                ours.write_text(content)
                exporter.host.monotonic.__self__.now_s += 1  # type: ignore[attr-defined]
                await send(exporter, TRACES)
                assert (exporter._tls is first) == (content == "broken")
    assert numbers.total("otelcol_exporter_sent_spans_total") == 4
    assert numbers.total("spanledger_dropped_items_total") == 0


async def test_tls_and_mutual_tls(tmp_path: Any) -> None:
    """Trusts the given authority, shows its certificate, and can be told to trust anyone."""
    certificates = make_certificates(tmp_path)
    context = default_context(ssl.Purpose.CLIENT_AUTH, str(certificates.ca))
    context.load_cert_chain(certificates.server, certificates.server_key)
    context.verify_mode = ssl.CERT_REQUIRED
    mine = {"cert_file": str(certificates.client), "key_file": str(certificates.client_key)}
    ca = {"ca_file": str(certificates.ca)}
    async with serving(context) as peer:
        for tls, arrives in (
            ({**ca, **mine}, True),
            ({**mine, "insecure_skip_verify": True}, True),
            ({**ca, **mine, "server_name_override": "localhost"}, True),
            ({**ca, **mine, "server_name_override": "other.example"}, False),
            (mine, False),
            (ca, False),
        ):
            numbers = Numbers()
            config = {"endpoint": peer.url, "tls": tls, "retry_on_failure": {"enabled": False}}
            async with exporting(config, numbers) as exporter:
                await send(exporter, TRACES)
            assert numbers.total("otelcol_exporter_sent_spans_total") == (2 if arrives else 0), tls

"""Small HTTP servers: what they tell of themselves, and to whom they show what."""

from __future__ import annotations

import ssl
from pathlib import Path

import aiohttp
import pydantic
import pytest
from aiohttp import web

from spanledger.processor.listen import WebServer, server_context
from spanledger.processor.settings import GrpcTLSServer, HostPort, TLSServer
from tests.certificates import make_certificates


async def ask(host: str | None, *, endpoint: str = "127.0.0.1:0", any_host: bool = False, method: str = "GET") -> int:
    """Return the status that a request under a name gets; the answer never tells what serves it."""

    async def secret(_request: web.Request) -> web.Response:
        return web.Response(text="secret")

    app = web.Application()
    app.router.add_route("*", "/", secret)
    server = WebServer(app, endpoint, "endpoint", any_host=any_host)
    await server.open()
    port = server.addresses[0].rpartition(":")[2]
    headers = {} if host is None else {"Host": host.replace("PORT", port)}
    try:
        async with (
            aiohttp.ClientSession() as session,
            session.request(method, f"http://127.0.0.1:{port}/", headers=headers) as answer,
        ):
            assert "Server" not in answer.headers
            assert (await answer.text() == "secret") is (answer.status == 200)
            return answer.status
    finally:
        await server.close()


@pytest.mark.parametrize(
    ("host", "status"),
    [
        (None, 200),
        ("localhost:PORT", 200),
        ("LocalHost", 200),
        ("127.0.0.1:PORT", 200),
        ("127.8.8.8", 200),
        ("[::1]:PORT", 200),
        ("pages.localhost:8080", 200),
        ("evil.example:PORT", 421),
        ("localhost.evil.example", 421),
        ("10.0.0.1", 421),
        ("[::1", 421),
        ("@localhost.evil", 421),
    ],
)
async def test_a_page_on_loopback_is_shown_only_under_its_name(host: str | None, status: int) -> None:
    """A web page that points its own name here may not read what it finds."""
    assert await ask(host) == status


async def test_who_listens_to_the_world_answers_to_any_name() -> None:
    """The names of a machine are not known here."""
    assert await ask("sidecar.example:9464", endpoint="0.0.0.0:0") == 200


async def test_a_receiver_takes_data_under_any_name() -> None:
    """Sending gives nothing away; and the check can be left out."""
    assert await ask("collector.example", method="POST") == 200
    assert await ask("collector.example", any_host=True) == 200


@pytest.mark.parametrize(
    ("endpoint", "message"),
    [
        ("localhost:70000", "port above 65535"),
        ("localhost:999999999999999999999", "port above 65535"),
        ("localhost", "is not host:port"),
        ("localhost:http", "is not host:port"),
        ("localhost:٤٣١٧", "is not host:port"),
        ("::1:4317", "in brackets"),
    ],
)
def test_wrong_endpoints_are_explained(endpoint: str, message: str) -> None:
    """What is wrong, not only that something is."""
    with pytest.raises(pydantic.ValidationError, match=message):
        pydantic.TypeAdapter(HostPort).validate_python(endpoint)


def test_tls_versions_of_a_server(tmp_path: Path) -> None:
    """1.2 and newer unless told otherwise."""
    files = make_certificates(tmp_path)
    for given, oldest, newest in (
        ({}, ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.MAXIMUM_SUPPORTED),
        ({"min_version": "1.3"}, ssl.TLSVersion.TLSv1_3, ssl.TLSVersion.MAXIMUM_SUPPORTED),
        ({"max_version": "1.2"}, ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_2),
    ):
        tls = TLSServer.model_validate({"cert_file": str(files.server), "key_file": str(files.server_key), **given})
        context = server_context(tls)
        assert (context.minimum_version, context.maximum_version) == (oldest, newest)


def test_tls_versions_that_cannot_be_are_refused() -> None:
    """Nothing between 1.3 and 1.2; nothing older; and gRPC cannot choose."""
    files = {"cert_file": "c", "key_file": "k"}
    with pytest.raises(pydantic.ValidationError, match=r"max_version 1\.2 is below min_version 1\.3"):
        TLSServer.model_validate({**files, "min_version": "1.3", "max_version": "1.2"})
    with pytest.raises(pydantic.ValidationError, match=r"'1\.2' or '1\.3'"):
        TLSServer.model_validate({**files, "min_version": "1.1"})
    for_grpc: pydantic.TypeAdapter[TLSServer] = pydantic.TypeAdapter(GrpcTLSServer)
    assert for_grpc.validate_python({**files, "min_version": "1.2"}).min_version == "1.2"
    with pytest.raises(pydantic.ValidationError, match="gRPC in Python"):
        for_grpc.validate_python({**files, "min_version": "1.3"})

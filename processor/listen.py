"""Listening: addresses, TLS and small HTTP servers, for receivers, exporters and extensions alike.

`localhost` means every loopback address of the machine; a machine without IPv6 has one of them.
"""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import logging
import socket
import ssl
from collections.abc import Collection, Mapping
from typing import Any
from urllib.parse import urlsplit

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from spanledger.processor.auth import CHALLENGE, CannotTell, ServerAuth, Unauthenticated
from spanledger.processor.authorities import default_context
from spanledger.processor.settings import TLSServer, host_and_port
from spanledger.processor.watched_files import WatchedFiles

log = logging.getLogger("spanledger.tls")

_ABSENT = {errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL, errno.EPROTONOSUPPORT}


class WebServer:
    """An aiohttp application on one endpoint."""

    def __init__(
        self,
        app: web.Application,
        endpoint: str,
        key: str,
        tls: TLSServer | None = None,
        *,
        auth: ServerAuth | None = None,
        open_paths: Collection[str] = (),
        any_host: bool = False,
        **options: Any,
    ) -> None:
        """Prepare to serve `app` on `endpoint`; `options` are those of `web.AppRunner`.

        On a loopback address nothing is shown to those who reach it by another name, unless `any_host`: a
        web page whose name is made to point here (DNS rebinding) must not read what is meant for this machine.
        With `auth` nothing is answered to those whom it does not know, except on `open_paths`.
        """
        app.on_response_prepare.append(_say_no_version)
        if not any_host and is_loopback(host_and_port(endpoint)[0]):
            app.middlewares.append(_own_name(host_and_port(endpoint)[0]))
        if auth is not None:
            app.middlewares.append(_known(auth, open_paths))
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0, **options)
        self._endpoint = endpoint
        self._key = key
        self._tls = tls
        self.addresses: list[str] = []
        """`host:port` of every open socket, with the real port where 0 was asked for."""

    async def open(self) -> None:
        """Listen; raises OSError that says where and what to do."""
        context = server_context(self._tls) if self._tls else None
        sockets = await bind(self._endpoint, self._key)
        await self._runner.setup()
        for opened in sockets:
            await web.SockSite(self._runner, opened, ssl_context=context, backlog=1024).start()
        self.addresses = [address_of(opened) for opened in sockets]

    async def close(self) -> None:
        """Stop listening and end every connection."""
        await self._runner.cleanup()


class Served:
    """The life of a component that is one HTTP server, `_server`."""

    _server: WebServer

    async def start(self) -> None:
        """Listen; raises OSError that says where and what to do."""
        await self._server.open()

    async def shutdown(self, deadline: float) -> int:
        """Stop listening. Pages are not data: nothing is lost."""
        await self._server.close()
        return 0

    def statistics(self) -> Mapping[str, Any]:
        """Return where it listens."""
        return {"addresses": self._server.addresses}


async def _say_no_version(_request: web.Request, response: web.StreamResponse) -> None:
    response.headers.popall("Server", None)


def is_loopback(host: str) -> bool:
    """Tell whether a host, as it is configured or asked for, is this machine alone."""
    name = host.lower().rstrip(".")
    try:
        return name == "localhost" or name.endswith(".localhost") or ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def _own_name(bound: str) -> Middleware:
    @web.middleware
    async def check(request: web.Request, handler: Handler) -> web.StreamResponse:
        # What is sent here is judged by who takes it; only reading gives something away.
        if request.method in {"GET", "HEAD"} and (asked := request.headers.get("Host")):
            try:
                host = urlsplit(f"//{asked}").hostname or ""
            except ValueError:
                host = ""
            if not is_loopback(host) and host != bound.lower():
                raise web.HTTPMisdirectedRequest(text="this is only shown under the name localhost\n")
        return await handler(request)

    return check


def _known(auth: ServerAuth, open_paths: Collection[str]) -> Middleware:
    @web.middleware
    async def check(request: web.Request, handler: Handler) -> web.StreamResponse:
        # The route that was found, not the path that was written: there are many ways to write one.
        resource = request.match_info.route.resource
        if resource is not None and resource.canonical in open_paths:
            return await handler(request)
        try:
            # This mapping knows no upper and lower case.
            await auth.authenticate(request.headers)
        except Unauthenticated as error:
            raise web.HTTPUnauthorized(text=f"{error}\n", headers={"WWW-Authenticate": CHALLENGE}) from error
        except CannotTell as error:
            raise web.HTTPServiceUnavailable(text=f"{error}\n", headers={"Retry-After": "1"}) from error
        return await handler(request)

    return check


def server_context(tls: TLSServer) -> ssl.SSLContext:
    """Return the TLS context of a server; with `client_ca_file` it demands client certificates.

    With `reload_interval` a handshake uses newer files when there are some that can be used. Raises OSError
    that names the key and the file at fault.
    """
    context = _context(tls)
    if tls.reload_interval:
        context.sni_callback = _Newest(tls, context)
    return context


class _Newest:
    """Gives each handshake the newest context."""

    def __init__(self, tls: TLSServer, context: ssl.SSLContext) -> None:
        self._tls = tls
        self._newest = context
        self._files = WatchedFiles(tls.files(), tls.reload_interval)

    def __call__(self, handshake: ssl.SSLSocket | ssl.SSLObject, _name: str | None, _given: object) -> None:
        if self._files.changed():
            try:
                self._newest = _context(self._tls)
            except OSError as error:
                log.error("newer certificates cannot be used, the old ones stay: %s", error)
            else:
                log.info("using newer certificates from %s", self._tls.cert_file)
        handshake.context = self._newest


def _context(tls: TLSServer) -> ssl.SSLContext:
    context = default_context(ssl.Purpose.CLIENT_AUTH)
    tls.limit(context)
    try:
        context.load_cert_chain(tls.cert_file, tls.key_file, password=_no_passphrase)
    except (OSError, ValueError) as error:
        raise OSError(
            f"tls::cert_file, tls::key_file: cannot use {tls.cert_file} with {tls.key_file}: {error}"
        ) from error
    if tls.client_ca_file:
        try:
            context.load_verify_locations(tls.client_ca_file)
        except OSError as error:
            raise OSError(f"tls::client_ca_file: cannot use {tls.client_ca_file}: {error}") from error
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def _no_passphrase() -> str:
    # Without this, OpenSSL would ask the terminal.
    raise ValueError("the key is encrypted; give one without a passphrase")


async def bind(endpoint: str, key: str) -> list[socket.socket]:
    """Return sockets bound to every address of `endpoint`, all on the same port.

    Raises OSError that names the endpoint and the configuration `key` to change.
    """
    host, port = host_and_port(endpoint)
    bound: list[socket.socket] = []
    absent: OSError | None = None
    try:
        found = await asyncio.get_running_loop().getaddrinfo(
            host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        # IPv4 first: that is where port 0 is chosen.
        for family, _kind, _protocol, _name, address in sorted(set(found), key=lambda info: info[0]):
            try:
                bound.append(_bind(family, str(address[0]), bound[0].getsockname()[1] if bound else port))
            except OSError as error:
                if error.errno not in _ABSENT:
                    raise
                absent = error
        if not bound:
            raise absent or OSError(errno.EADDRNOTAVAIL, "no address found")
    except OSError as error:
        for opened in bound:
            opened.close()
        raise OSError(error.errno, f"endpoint {endpoint}: {_why(error)}; set {key} to another") from error
    return bound


def address_of(listening: socket.socket) -> str:
    """Return `host:port` of a socket, IPv6 in brackets."""
    host, port = listening.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _bind(family: int, host: str, port: int) -> socket.socket:
    made = socket.socket(family, socket.SOCK_STREAM)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            # The IPv4 address has a socket of its own.
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        made.bind((host, port))
        made.setblocking(False)
    except OSError:
        made.close()
        raise
    return made


def _why(error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return "address already in use, perhaps by another Collector"
    if error.errno == errno.EACCES:
        return "permission denied; ports below 1024 need privileges"
    return error.strerror or str(error)

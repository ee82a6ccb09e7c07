"""OTLP over HTTP/1.1, protobuf and JSON. A transport and nothing else."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterable
from typing import TYPE_CHECKING, Final

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.typedefs import Handler, Middleware

from spanledger.processor.auth import CHALLENGE
from spanledger.processor.component import Rejected
from spanledger.processor.listen import WebServer
from spanledger.receivers.otlp.answers import encode, response, retry_after, status
from spanledger.receivers.otlp.compression import HTTP_ENCODINGS, too_large
from spanledger.receivers.otlp.cors import answer_headers, preflight_headers
from spanledger.receivers.otlp.intake import Body

if TYPE_CHECKING:
    from spanledger.processor.auth import ServerAuth
    from spanledger.processor.batch import Signal
    from spanledger.receivers.otlp.admission import Permit
    from spanledger.receivers.otlp.config import HttpConfig
    from spanledger.receivers.otlp.intake import Intake

KEY: Final = "protocols::http::endpoint"

PROTOBUF: Final = "application/x-protobuf"
JSON: Final = "application/json"

_LANGFUSE: Final = "/api/public/otel"
"""Base path that clients use which were set up for Langfuse."""


class HttpServer:
    """The HTTP half of the receiver."""

    def __init__(self, config: HttpConfig, intake: Intake, auth: ServerAuth | None, log: logging.Logger) -> None:
        self._auth = auth
        self._config = config
        self._intake = intake
        self._log = log
        log.addFilter(_is_ours)
        self._server = WebServer(
            self._application(),
            config.endpoint,
            KEY,
            config.tls,
            logger=log,
            # Bodies are inflated within a limit by us. The time-out also holds for the first request's head.
            auto_decompress=False,
            keepalive_timeout=config.idle_timeout or 3630.0,
        )
        self.addresses: list[str] = []

    async def start(self) -> None:
        """Listen and serve; raises OSError with a plain message when that is impossible."""
        await self._server.open()
        self.addresses = self._server.addresses

    async def stop(self, _grace_s: float) -> None:
        """Close every connection."""
        await self._server.close()

    def _application(self) -> web.Application:
        app = web.Application()
        config = self._config
        paths: dict[str, Signal | None] = {
            "/": None,
            _LANGFUSE: None,
            f"{_LANGFUSE}/v1/traces": "traces",
            f"{_LANGFUSE}/v1/logs": "logs",
            f"{_LANGFUSE}/v1/metrics": "metrics",
            config.traces_url_path: "traces",
            config.logs_url_path: "logs",
            config.metrics_url_path: "metrics",
        }
        # The usual ones first: who mistyped one looks for it there.
        known = sorted((path for path, signal in paths.items() if signal), key=lambda path: path.startswith(_LANGFUSE))
        app.middlewares.append(_says_where(known))
        for path, signal in paths.items():
            app.router.add_post(path, self._export(signal))
            if config.cors is not None:
                app.router.add_route("OPTIONS", path, self._preflight)
        return app

    def _export(self, signal: Signal | None) -> Callable[[web.Request], Awaitable[web.Response]]:
        async def export(request: web.Request) -> web.Response:
            as_json = request.content_type == JSON
            if not as_json and request.content_type != PROTOBUF:
                return self._unsupported(f"unsupported media type, supported: [{JSON}, {PROTOBUF}]")
            encoding = request.headers.get("Content-Encoding", "identity").strip().lower() or "identity"
            if encoding not in HTTP_ENCODINGS:
                return self._unsupported(f"unsupported content encoding, supported: [{', '.join(HTTP_ENCODINGS)}]")

            async def read(permit: Permit) -> Body:
                if self._auth is not None:
                    await self._auth.authenticate(request.headers)
                return Body(await self._read(request, permit), encoding, as_json)

            known, answer = await self._intake.take(
                signal, "http", self._config.max_bytes, read, self._config.read_timeout or None
            )
            message = status(answer) if answer.reason else response(known, answer)
            headers = answer_headers(self._config.cors, request.headers.get("Origin"))
            if (seconds := retry_after(answer)) is not None:
                headers["Retry-After"] = seconds
            if answer.http_status == web.HTTPUnauthorized.status_code:
                headers["WWW-Authenticate"] = CHALLENGE
            return web.Response(
                status=answer.http_status,
                body=encode(message, as_json),
                content_type=JSON if as_json else PROTOBUF,
                headers=headers,
            )

        return export

    async def _read(self, request: web.Request, permit: Permit) -> bytes:
        limit_bytes = self._config.max_bytes
        if request.content_length is not None and request.content_length > limit_bytes:
            raise too_large(limit_bytes)
        parts: list[bytes] = []
        size = 0
        try:
            async for part in request.content.iter_any():
                size += len(part)
                if size > limit_bytes:
                    raise too_large(limit_bytes)
                permit.hold(size)
                parts.append(part)
        except (ConnectionError, web.RequestPayloadError) as error:
            raise Rejected("the body ended too early") from error
        return b"".join(parts)

    async def _preflight(self, request: web.Request) -> web.Response:
        return web.Response(status=204, headers=preflight_headers(self._config.cors, request.headers))

    def _unsupported(self, message: str) -> web.Response:
        self._intake.count_unsupported("http")
        return web.Response(status=415, text=f"415 {message}")


def _says_where(paths: Iterable[str]) -> Middleware:
    text = f"404 nothing is taken here; OTLP is taken by POST to {', '.join(paths)}\n"

    @web.middleware
    async def check(request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            return await handler(request)
        except web.HTTPNotFound as error:
            raise web.HTTPNotFound(text=text) from error

    return check


def _is_ours(record: logging.LogRecord) -> bool:
    """Keep what strangers send to the port out of the log: a traceback for each request that is not HTTP."""
    return record.exc_info is None or not isinstance(record.exc_info[1], HttpProcessingError)

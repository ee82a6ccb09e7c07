"""OTLP over HTTP, as protobuf or JSON."""

from __future__ import annotations

import gzip
import io
import math
import re
import ssl
import zlib
from collections.abc import Callable
from datetime import UTC
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Annotated, Any, Final, Literal
from urllib.parse import urlsplit

import aiohttp
import pydantic
import zstandard
from google.protobuf.message import DecodeError
from google.rpc.status_pb2 import Status

from spanledger import __version__
from spanledger.conventions.nesting import loads
from spanledger.exporters.answer import (
    PartialSuccess,
    Permanent,
    Retryable,
    SendError,
    TooLarge,
    partial_success,
    partial_success_json,
)
from spanledger.exporters.identity import identity
from spanledger.exporters.otlp_json import to_json
from spanledger.exporters.queue import QueueConfig
from spanledger.exporters.retry import RetryConfig
from spanledger.exporters.sender import Sender
from spanledger.exporters.text import printable
from spanledger.exporters.tls import ssl_context
from spanledger.exporters.wrong_endpoint import plain, without_secrets
from spanledger.processor.auth import AuthClient, client_auth
from spanledger.processor.batch import SIGNALS, Delivery, Signal
from spanledger.processor.component import ComponentConfig, Host, register
from spanledger.processor.settings import Compression, Duration, Headers, Secret, TLSClient
from spanledger.processor.watched_files import WatchedFiles

_COMPRESS: Final[dict[str, Callable[[bytes], bytes]]] = {
    "gzip": lambda data: gzip.compress(data, 6),
    # Both names mean the zlib format in HTTP, whatever they say.
    "deflate": zlib.compress,
    "zlib": zlib.compress,
    "zstd": lambda data: zstandard.ZstdCompressor().compress(data),
}
_MEDIA_TYPE: Final = {"proto": "application/x-protobuf", "json": "application/json"}
_RETRYABLE: Final = frozenset({429, 502, 503, 504})
_STATUSES: Final = frozenset(status.value for status in HTTPStatus)
_OURS: Final = frozenset({"content-type", "content-encoding", "content-length", "transfer-encoding", "host"})
_TOKEN: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")

QUICK_BYTES: Final = 16 * 1024
"""A body that is encoded faster (about a millisecond) than a thread is asked."""

STREAMED_BYTES: Final = 1024 * 1024

MAX_ANSWER_BYTES: Final = 64 * 1024
MAX_ERROR_BYTES: Final = 4 * 1024
"""What is read of an error's body: enough for a sentence."""


class OtlpHttpConfig(ComponentConfig):
    """OTLP over HTTP; keys of the Collector's otlp_http exporter."""

    endpoint: str = ""
    """URL of the peer, to which `/v1/traces`, `/v1/logs` and `/v1/metrics` are added."""
    traces_endpoint: str = ""
    """Whole URL for traces, instead."""
    logs_endpoint: str = ""
    """Whole URL for logs, instead."""
    metrics_endpoint: str = ""
    """Whole URL for metrics, instead."""
    encoding: Literal["proto", "json"] = "proto"
    """Protobuf, or JSON for peers that take nothing else."""
    timeout: Duration = 30.0
    """Time for one attempt; 0 for no limit."""
    compression: Compression = "gzip"
    """`gzip`, `zstd`, `deflate`, `zlib` or `none`."""
    headers: Headers = pydantic.Field(default_factory=dict)
    """Headers sent with every request, such as an API key; also as a list of `{name, value}`."""
    tls: TLSClient = TLSClient()
    """TLS for `https` URLs."""
    auth: AuthClient | None = None
    """Say who we are with what an extension gives."""
    proxy_url: str = ""
    """HTTP proxy to go through. Proxies named by the environment are not used."""
    max_conns_per_host: Annotated[int, pydantic.Field(ge=0)] = 0
    """Connections to the peer at the same time; 0 for as many as `num_consumers` need."""
    sending_queue: QueueConfig = QueueConfig()
    """What may wait for the peer."""
    retry_on_failure: RetryConfig = RetryConfig()
    """What to do after a failure that may pass."""

    @pydantic.field_validator("endpoint", "traces_endpoint", "logs_endpoint", "metrics_endpoint", "proxy_url")
    @classmethod
    def _url(cls, value: str) -> str:
        if value:
            url = urlsplit(value)
            # Reading `port` raises ValueError when it is not one.
            if url.scheme not in {"http", "https"} or not url.hostname or url.port == 0:
                raise ValueError(f"{value!r} is not an http or https URL, such as http://localhost:4318")
        return value

    @pydantic.field_validator("endpoint")
    @classmethod
    def _without_the_path(cls, value: str) -> str:
        path = urlsplit(value).path.rstrip("/")
        if urlsplit(value).query:
            raise ValueError("a path is added to the endpoint, so it has no query: use traces_endpoint and the like")
        if found := next((f"/v1/{signal}" for signal in SIGNALS if path.endswith(f"/v1/{signal}")), ""):
            meant = without_secrets(value).rstrip("/").removesuffix(found)
            raise ValueError(f"{found} is added to the endpoint: write {meant}, or use {found[4:]}_endpoint")
        return value

    @pydantic.field_validator("compression")
    @classmethod
    def _spoken(cls, value: str) -> str:
        if value not in {*_COMPRESS, "none", ""}:
            raise ValueError(f"{value} is not available here: use gzip, zstd, deflate, zlib or none")
        return value

    @pydantic.field_validator("headers")
    @classmethod
    def _sendable(cls, value: dict[str, Secret]) -> dict[str, Secret]:
        for name, secret in value.items():
            if not _TOKEN.fullmatch(name) or name.lower() in _OURS:
                raise ValueError(f"{name!r} is not a header that can be set here")
            if not secret.get_secret_value().isprintable():
                raise ValueError(f"the value of {name!r} has control characters")
        return value

    @pydantic.model_validator(mode="after")
    def _somewhere(self) -> OtlpHttpConfig:
        if not (self.endpoint or self.traces_endpoint or self.logs_endpoint or self.metrics_endpoint):
            raise ValueError("endpoint is missing, or traces_endpoint, logs_endpoint, metrics_endpoint instead")
        return self

    def url(self, signal: Signal) -> str:
        """Return where a signal goes; "" for one without an endpoint."""
        own = {"traces": self.traces_endpoint, "logs": self.logs_endpoint, "metrics": self.metrics_endpoint}[signal]
        return own or (f"{self.endpoint.rstrip('/')}/v1/{signal}" if self.endpoint else "")


# The Collector's older name for it, still in most configurations.
@register("exporter", "otlphttp", config=OtlpHttpConfig, signals=SIGNALS, stability="beta")
@register("exporter", "otlp_http", config=OtlpHttpConfig, signals=SIGNALS, stability="beta")
class OtlpHttpExporter(Sender):
    """Sends traces, logs and metrics over OTLP/HTTP."""

    def __init__(self, config: OtlpHttpConfig, host: Host, **chain: Any) -> None:
        super().__init__(host, config.sending_queue, config.retry_on_failure, config.timeout, **chain)
        self._config = config
        self._auth = client_auth(config.auth, host.extensions)
        self._certificates = WatchedFiles(config.tls.files(), config.tls.reload_interval, host.monotonic)
        self._session: aiohttp.ClientSession | None = None
        self._tls: ssl.SSLContext | bool = True
        self._urls = {signal: config.url(signal) for signal in SIGNALS}
        self._headers = {
            "User-Agent": f"spanledger/{__version__}",
            # An answer is a sentence; a compressed one could be a bomb.
            "Accept-Encoding": "identity",
            "Content-Type": _MEDIA_TYPE[config.encoding],
            **{name: secret.get_secret_value() for name, secret in config.headers.items()},
        }
        if config.compression in _COMPRESS:
            self._headers["Content-Encoding"] = config.compression

    async def connect(self) -> None:
        """Open the pool of connections; each is made when it is first needed."""
        self._tls = self._context()
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=self._config.max_conns_per_host),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=None),
            headers=self._headers,
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            trust_env=False,
        )

    def _context(self) -> ssl.SSLContext | bool:
        encrypted = any(url.startswith("https:") for url in self._urls.values())
        return ssl_context(self._config.tls) if encrypted else True

    async def disconnect(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()

    async def push(self, delivery: Delivery) -> PartialSuccess | None:
        """Post one request."""
        if self._certificates.changed():
            try:
                # Requests under way keep their connections; those to come have others.
                self._tls = self._context()
            except (ValueError, OSError) as error:
                self.host.log.error("newer certificates cannot be used, the old ones stay: %s", error)
        assert self._session is not None
        url = self._urls[delivery.signal]
        if not url:
            raise Permanent(f"no endpoint for {delivery.signal}: set {delivery.signal}_endpoint or endpoint", "config")
        encoding, compression = self._config.encoding, self._config.compression
        if len(delivery.data) < QUICK_BYTES:
            body, unreadable = encode(delivery, encoding, compression)
        else:
            body, unreadable = await self.in_thread(encode, delivery, encoding, compression)
        try:
            async with self._session.post(
                url,
                # As a stream if it is large: bytes are copied to the socket in one go.
                headers=await identity(self._auth),
                data=body if len(body) <= STREAMED_BYTES else io.BytesIO(body),
                # A redirect could carry our headers to a host that was not meant to have them.
                allow_redirects=False,
                ssl=self._tls,
                proxy=self._config.proxy_url or None,
                server_hostname=self._config.tls.server_name_override or None,
            ) as response:
                success = 200 <= response.status < 300
                answer = await _read(response, MAX_ANSWER_BYTES if success else MAX_ERROR_BYTES)
                media_type = response.content_type
                if not success:
                    raise failure(
                        response.status,
                        f"{describe(media_type, answer, response.headers.get('Location', ''))} "
                        f"({without_secrets(url)})",
                        retry_after(response.headers.get("Retry-After"), self.host.clock_ns()),
                    )
        except aiohttp.ClientError as error:
            # Never got an answer: refused, reset, no such name, a certificate that does not fit.
            # (An answer that is no HTTP has the whole URL in its text, and nothing but the message in `message`.)
            text = error.message if isinstance(error, aiohttp.ClientResponseError) else str(error)
            text = plain(" ".join(text.split()) or type(error).__name__, "http")
            raise Retryable(f"{text} ({without_secrets(url)})", "connection") from error
        read = partial_success_json if media_type == _MEDIA_TYPE["json"] else partial_success
        partial = read(delivery.signal, answer)
        if partial is None and unreadable:
            partial = PartialSuccess(unreadable, "not sent: items that have no JSON form")
        return partial


def encode(delivery: Delivery, encoding: str, compression: str) -> tuple[bytes, int]:
    """Return the body of a request, and how many items could not be part of it."""
    data, unreadable = delivery.data, 0
    if encoding == "json":
        text, unreadable = to_json(delivery.signal, data)
        data = text.encode()
    compress = _COMPRESS.get(compression)
    return (compress(data) if compress else data), unreadable


async def _read(response: aiohttp.ClientResponse, limit: int) -> bytes:
    """Read at most `limit` bytes; the rest is thrown away with the connection."""
    read = bytearray()
    while len(read) < limit and (chunk := await response.content.read(limit - len(read))):
        read += chunk
    return bytes(read)


def failure(status: int, message: str, throttle_s: float) -> SendError:
    """Return what an answer other than 2xx means for the data that was sent."""
    text = f"HTTP {status}: {message}"
    error_type = str(status) if status in _STATUSES else "other"
    if status == 413:
        return TooLarge(text, error_type)
    if status in _RETRYABLE:
        return Retryable(text, error_type, throttle_s)
    return Permanent(text, error_type)


def retry_after(header: str | None, now_ns: int) -> float:
    """Return the seconds that a `Retry-After` header asks for, as a number or a date; 0 without a usable one."""
    if not header:
        return 0.0
    try:
        seconds = float(header)
    except ValueError:
        try:
            when = parsedate_to_datetime(header)
        except (ValueError, OverflowError):
            return 0.0
        # A date without a zone is in GMT by the specification.
        seconds = when.replace(tzinfo=when.tzinfo or UTC).timestamp() - now_ns / 1e9
    return max(0.0, seconds) if math.isfinite(seconds) else 0.0


def describe(media_type: str, body: bytes, location: str) -> str:
    """Return one safe line about an error: the message of a `google.rpc.Status`, or the text."""
    if location:
        return f"redirects are not followed; it points to {printable(location)}: put that into the endpoint"
    message = body.decode(errors="replace")
    try:
        if media_type == _MEDIA_TYPE["proto"]:
            message = Status.FromString(body).message
        elif media_type == _MEDIA_TYPE["json"]:
            message = str(loads(body)["message"])
    except (DecodeError, ValueError, LookupError, TypeError):
        # Not what its type says: show what came.
        message = body.decode(errors="replace")
    return printable(message.strip()) or "(no message)"

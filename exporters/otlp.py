"""OTLP over gRPC, to any OpenTelemetry backend or Collector."""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

import grpc
import grpc.aio
import pydantic
from google.protobuf.message import DecodeError
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status

from spanledger import __version__
from spanledger.exporters.answer import Permanent, Retryable, SendError, TooLarge, partial_success
from spanledger.exporters.identity import identity
from spanledger.exporters.queue import QueueConfig
from spanledger.exporters.retry import RetryConfig
from spanledger.exporters.sender import Sender
from spanledger.exporters.tls import channel_credentials
from spanledger.exporters.wrong_endpoint import plain
from spanledger.processor.auth import AuthClient, client_auth
from spanledger.processor.batch import SIGNALS
from spanledger.processor.component import ComponentConfig, Host, Settings, register
from spanledger.processor.settings import Compression, Duration, Headers, Secret, TLSClient, any_version
from spanledger.processor.watched_files import WatchedFiles

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from spanledger.exporters.answer import PartialSuccess
    from spanledger.processor.batch import Delivery, Signal

_METHOD: Final[dict[Signal, str]] = {
    "traces": "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
    "logs": "/opentelemetry.proto.collector.logs.v1.LogsService/Export",
    "metrics": "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export",
}

# https://opentelemetry.io/docs/specs/otlp/#failures; RESOURCE_EXHAUSTED is decided in `failure`.
_RETRYABLE: Final = frozenset(
    {
        grpc.StatusCode.CANCELLED,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.ABORTED,
        grpc.StatusCode.OUT_OF_RANGE,
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DATA_LOSS,
    }
)

_PLAIN: Final = grpc.Compression.NoCompression
MAX_COMPRESSED_BYTES: Final = 2 * 1024 * 1024
"""gRPC compresses on the event loop, 20 ms a MiB: a longer request goes as it is."""

# What servers say about a message above their limit, and where they name the limit.
_TOO_LARGE: Final = re.compile(
    r"larger than max[^()\d]*(?:\(\d+ vs\.? (?P<go>\d+)\)|(?P<go_bare>\d+))?"  # grpc-go, C++, Python, Node
    r"|message length too large(?:.*?limit is:? (?P<rust>\d+))?"  # tonic, with the code OUT_OF_RANGE
    r"|message exceeds (?:the )?maximum (?:configured message )?size(?: (?P<java>\d+))?"  # Java, .NET
    r"|request is larger than (?P<ours>\d+) bytes",  # another sidecar
    re.IGNORECASE,
)

_HEADER: Final = re.compile(r"[0-9a-z_.-]+")


class KeepaliveConfig(Settings):
    """When to ping a peer to see whether the connection is alive."""

    time: Duration = 10.0
    """Ping after this long without traffic. Servers may close a connection that pings too often."""
    timeout: Duration = 10.0
    """Close the connection when a ping is not answered within this time."""
    permit_without_stream: bool = False
    """Ping even when no request is under way."""


class OtlpConfig(ComponentConfig):
    """OTLP over gRPC; keys of the Collector's otlp exporter."""

    endpoint: str
    """`host:port`, `http://host:port` (plain), `https://host:port`, `dns:///host:port` or `unix:///path`."""
    timeout: Duration = 5.0
    """Time for one attempt; 0 for no limit."""
    compression: Compression = "gzip"
    """`gzip` or `none`. Requests of more than 2 MiB go uncompressed; otlp_http compresses any."""
    headers: Headers = pydantic.Field(default_factory=dict)
    """Metadata sent with every request, such as an API key; also as a list of `{name, value}`."""
    tls: Annotated[TLSClient, pydantic.AfterValidator(any_version)] = TLSClient()
    """TLS; on unless `tls::insecure` or a plain endpoint says otherwise."""
    auth: AuthClient | None = None
    """Say who we are with what an extension gives."""
    keepalive: KeepaliveConfig = KeepaliveConfig()
    """Pings that find out about a connection that died without a word."""
    wait_for_ready: bool = False
    """Wait within `timeout` for a connection instead of failing at once."""
    balancer_name: Literal["round_robin", "pick_first"] = "round_robin"
    """How to use the several addresses of a name."""
    authority: str = ""
    """Name to send as `:authority` instead of the endpoint's host."""
    sending_queue: QueueConfig = QueueConfig()
    """What may wait for the peer."""
    retry_on_failure: RetryConfig = RetryConfig()
    """What to do after a failure that may pass."""

    @pydantic.field_validator("endpoint")
    @classmethod
    def _reachable(cls, value: str) -> str:
        target(value)
        return value

    @pydantic.field_validator("compression")
    @classmethod
    def _spoken(cls, value: str) -> str:
        if value not in {"gzip", "none", ""}:
            raise ValueError(f"gRPC has no {value} here: use gzip or none (otlp_http also has zstd and deflate)")
        return value

    @pydantic.field_validator("headers")
    @classmethod
    def _sendable(cls, value: dict[str, Secret]) -> dict[str, Secret]:
        for name, secret in value.items():
            if not _HEADER.fullmatch(name.lower()) or name.lower().startswith("grpc-"):
                raise ValueError(f"{name!r} is no gRPC metadata key: letters, digits, _ . - and not grpc-…")
            text = secret.get_secret_value()
            if not name.lower().endswith("-bin") and not (text.isascii() and text.isprintable()):
                raise ValueError(f"the value of {name!r} has characters other than printable ASCII")
        return value

    @pydantic.model_validator(mode="after")
    def _verifiable(self) -> OtlpConfig:
        if self.tls.insecure_skip_verify and target(self.endpoint)[1] is not False and not self.tls.insecure:
            raise ValueError(
                "tls::insecure_skip_verify is not possible with gRPC in Python: name the peer's certificate in "
                "tls::ca_file (and tls::server_name_override), or use otlp_http"
            )
        return self


def target(endpoint: str) -> tuple[str, bool | None]:
    """Return what to dial, and whether the scheme asks for TLS (None: it does not say).

    Raises ValueError for an endpoint that gRPC cannot dial.
    """
    scheme, separator, rest = endpoint.partition("://")
    if endpoint.startswith("unix:"):
        return endpoint, None
    if separator and scheme not in {"http", "https", "dns", "ipv4", "ipv6"}:
        raise ValueError(f"{endpoint!r}: unknown scheme {scheme!r}; use host:port, http, https, dns or unix")
    address = rest.removesuffix("/") if scheme in {"http", "https"} and separator else endpoint
    host, _, port = address.rpartition("/")[2].rpartition(":")
    if "/" in address and scheme in {"http", "https"}:
        raise ValueError(f"{endpoint!r}: gRPC has no path; give host:port alone (or use otlp_http)")
    if not host or not port.isdecimal() or not 0 < int(port) < 65536:
        raise ValueError(f"{endpoint!r} has no port: give host:port, such as localhost:4317")
    return address, {"http": False, "https": True}.get(scheme) if separator else None


# The Collector's newer name for it.
@register("exporter", "otlp_grpc", config=OtlpConfig, signals=SIGNALS, stability="beta")
@register("exporter", "otlp", config=OtlpConfig, signals=SIGNALS, stability="beta")
class OtlpExporter(Sender):
    """Sends traces, logs and metrics over OTLP/gRPC."""

    def __init__(self, config: OtlpConfig, host: Host, **chain: Any) -> None:
        super().__init__(host, config.sending_queue, config.retry_on_failure, config.timeout, **chain)
        self._config = config
        self._auth = client_auth(config.auth, host.extensions)
        self._certificates = WatchedFiles(config.tls.files(), config.tls.reload_interval, host.monotonic)
        self._closing: set[asyncio.Task[None]] = set()
        self._channel: grpc.aio.Channel | None = None
        self._calls: dict[Signal, Any] = {}
        # One call starts at a time: ten that compress in one turn of the loop would hold it up for 100 ms.
        self._starting = asyncio.Lock()
        self._metadata = tuple(_metadatum(name.lower(), secret) for name, secret in config.headers.items())
        self._compression = grpc.Compression.Gzip if config.compression == "gzip" else _PLAIN

    async def connect(self) -> None:
        """Open the channel; the connection itself is made, and made again, in the background."""
        dial, secure = target(self._config.endpoint)
        options = channel_options(self._config)
        if secure if secure is not None else not self._config.tls.insecure:
            credentials = channel_credentials(self._config.tls)
            self._channel = grpc.aio.secure_channel(dial, credentials, options)
        else:
            self._channel = grpc.aio.insecure_channel(dial, options)
        # Without serialisers the bytes pass as they are.
        self._calls = {signal: self._channel.unary_unary(method) for signal, method in _METHOD.items()}

    async def disconnect(self) -> None:
        """Close the channel."""
        if self._channel is not None:
            await self._channel.close()

    async def push(self, delivery: Delivery) -> PartialSuccess | None:
        """Make one call."""
        if self._certificates.changed():
            await self._take_newer_certificates()
        identity_metadata = tuple((await identity(self._auth)).items())
        try:
            async with self._starting:
                call = self._calls[delivery.signal](
                    delivery.data,
                    timeout=self._config.timeout or None,
                    metadata=self._metadata + identity_metadata,
                    compression=self._compression if len(delivery.data) <= MAX_COMPRESSED_BYTES else _PLAIN,
                    wait_for_ready=self._config.wait_for_ready,
                )
                try:
                    # The call begins, and gRPC compresses, when its own task gets its turn.
                    await asyncio.sleep(0)
                except asyncio.CancelledError:
                    call.cancel()
                    raise
            answer = await call
        except grpc.aio.AioRpcError as error:
            raise failure(error.code(), error.details() or "", error.trailing_metadata() or ()) from error
        return partial_success(delivery.signal, answer)

    async def _take_newer_certificates(self) -> None:
        old = self._channel
        try:
            await self.connect()
        except (ValueError, OSError) as error:
            self.host.log.error("newer certificates cannot be used, the old ones stay: %s", error)
            return
        if old is not None:
            # Calls under way end by themselves.
            self._closing.add(closing := asyncio.create_task(old.close(grace=self._config.timeout or None)))
            closing.add_done_callback(self._closing.discard)


def _metadatum(name: str, secret: Secret) -> tuple[str, str | bytes]:
    value = secret.get_secret_value()
    return name, value.encode() if name.endswith("-bin") else value


def channel_options(config: OtlpConfig) -> list[tuple[str, Any]]:
    """Return the options of the channel, by their names in gRPC core."""
    options: list[tuple[str, Any]] = [
        ("grpc.primary_user_agent", f"spanledger/{__version__}"),
        ("grpc.max_send_message_length", -1),
        # Retries are ours, and the peer's DNS must not configure us.
        ("grpc.enable_retries", 0),
        ("grpc.service_config_disable_resolution", 1),
        # A connection of its own: another exporter to the same peer must not share its congestion.
        ("grpc.use_local_subchannel_pool", 1),
        # By default gRPC waits up to 120 s before it dials again: a peer that is back would go unseen.
        ("grpc.max_reconnect_backoff_ms", 10_000),
        ("grpc.lb_policy_name", config.balancer_name),
        ("grpc.keepalive_time_ms", int(config.keepalive.time * 1000)),
        ("grpc.keepalive_timeout_ms", int(config.keepalive.timeout * 1000)),
        ("grpc.keepalive_permit_without_calls", int(config.keepalive.permit_without_stream)),
        ("grpc.http2.max_pings_without_data", 0),
    ]
    if config.authority:
        options.append(("grpc.default_authority", config.authority))
    if config.tls.server_name_override:
        options.append(("grpc.ssl_target_name_override", config.tls.server_name_override))
    return options


def failure(code: grpc.StatusCode, details: str, trailing: Iterable[tuple[str, str | bytes]]) -> SendError:
    """Return what a failed call means for its data.

    RESOURCE_EXHAUSTED without a RetryInfo is permanent by the protocol, except when it is about the
    size of the message: then smaller ones will pass.
    """
    # Its pairs: the mapping that gRPC's own type claims to be has pairs for keys, until grpcio 1.80.
    throttle_s = retry_delay(dict(iter(trailing)))
    message = f"{code.name}: {plain(details, 'grpc')}"
    about_size = code in {grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.OUT_OF_RANGE} and throttle_s is None
    if about_size and (found := _TOO_LARGE.search(details[:1000])):
        limit = next((int(group) for group in found.groups() if group), None)
        return TooLarge(message, code.name, limit)
    if code in _RETRYABLE or (code is grpc.StatusCode.RESOURCE_EXHAUSTED and throttle_s is not None):
        return Retryable(message, code.name, throttle_s or 0.0)
    return Permanent(message, code.name)


def retry_delay(trailing: Mapping[str, str | bytes]) -> float | None:
    """Return the seconds of a RetryInfo in trailing metadata; None when there is none.

    Servers put it into `grpc-status-details-bin`, a few (also) into `google.rpc.retryinfo-bin`.
    """
    found = RetryInfo()
    try:
        for detail in Status.FromString(_bytes(trailing.get("grpc-status-details-bin"))).details:
            if detail.Is(RetryInfo.DESCRIPTOR):
                detail.Unpack(found)
                return _seconds(found)
        if "google.rpc.retryinfo-bin" in trailing:
            found.ParseFromString(_bytes(trailing["google.rpc.retryinfo-bin"]))
            return _seconds(found)
    except DecodeError:
        # Nothing that we can read: as good as absent.
        return None
    return None


def _bytes(value: str | bytes | None) -> bytes:
    return value if isinstance(value, bytes) else b""


def _seconds(info: RetryInfo) -> float:
    delay: float = info.retry_delay.seconds + info.retry_delay.nanos / 1e9
    return max(0.0, delay)

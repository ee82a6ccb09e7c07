"""Configuration of the `otlp` receiver: keys, units and defaults of the Collector's otlpreceiver.

Three defaults differ on purpose: messages may have 64 MiB, as the OTLP specification recommends (the
Collector's are 4 MiB and 20 MiB), a connection carries at most 1024 requests at a time, and a client
has 30 seconds to send a body.
"""

from __future__ import annotations

from typing import Any, TypeVar

import pydantic

from spanledger.processor.auth import AuthServer
from spanledger.processor.component import ComponentConfig, Settings
from spanledger.processor.settings import Duration, GrpcTLSServer, HostPort, TLSServer

_MIB = 1024 * 1024
_S = TypeVar("_S", bound=Settings)


class KeepaliveServerParameters(Settings):
    """When the server ends or probes a gRPC connection; zero means never."""

    max_connection_idle: Duration = 0.0
    """Close a connection that had no request for this long."""
    max_connection_age: Duration = 0.0
    """Close a connection of this age, so that clients behind a balancer spread out again."""
    max_connection_age_grace: Duration = 0.0
    """How long requests may still run on a connection that is too old."""
    time: Duration = 7200.0
    """Ping a silent client after this long."""
    timeout: Duration = 20.0
    """Close the connection when a ping has no answer for this long."""


class KeepaliveEnforcementPolicy(Settings):
    """How often a gRPC client may ping before it is disconnected."""

    min_time: Duration = 300.0
    """Shortest time between two pings of a client."""
    permit_without_stream: bool = False
    """Accept pings while no request runs."""


class KeepaliveConfig(Settings):
    """Limits on the life of each gRPC connection."""

    server_parameters: KeepaliveServerParameters = KeepaliveServerParameters()
    enforcement_policy: KeepaliveEnforcementPolicy = KeepaliveEnforcementPolicy()


class GrpcConfig(Settings):
    """OTLP over gRPC; keys of the Collector's configgrpc."""

    endpoint: HostPort = "localhost:4317"
    """Where to listen."""
    max_recv_msg_size_mib: int = pydantic.Field(64, ge=1, le=1024)
    """Largest request, in MiB, before and after decompression."""
    max_concurrent_streams: int = pydantic.Field(1024, ge=1)
    """Requests a client may have open on one connection."""
    keepalive: KeepaliveConfig = KeepaliveConfig()
    tls: GrpcTLSServer | None = None
    """Serve TLS with these files; plain text without."""
    auth: AuthServer | None = None
    """Take requests only from those whom an extension knows."""

    @property
    def max_bytes(self) -> int:
        """The size limit in bytes."""
        return self.max_recv_msg_size_mib * _MIB


class CorsConfig(Settings):
    """Which web pages may send telemetry from a browser."""

    allowed_origins: list[str] = pydantic.Field(default_factory=list)
    """Origins such as `https://*.example.com`, or `*`; empty for none."""
    allowed_headers: list[str] = pydantic.Field(default_factory=list)
    """Request headers allowed beyond the simple ones, or `*`."""
    max_age: int = pydantic.Field(0, ge=0)
    """Seconds a browser may remember the answer."""


class HttpConfig(Settings):
    """OTLP over HTTP, protobuf and JSON; keys of the Collector's confighttp."""

    endpoint: HostPort = "localhost:4318"
    """Where to listen."""
    max_request_body_size: int = pydantic.Field(64 * _MIB, ge=1)
    """Largest body, in bytes, before and after decompression."""
    traces_url_path: str = "/v1/traces"
    """Path that takes traces. `/` and `/api/public/otel` take each signal, told by what is in the request: clients post
    there that take their endpoint for the whole address, or were set up for Langfuse."""
    logs_url_path: str = "/v1/logs"
    """Path that takes logs."""
    metrics_url_path: str = "/v1/metrics"
    """Path that takes metrics."""
    read_timeout: Duration = 30.0
    """Time for a client to send its whole body; zero for no limit."""
    idle_timeout: Duration = 60.0
    """Time for a client to send the head of its first or next request before it is disconnected."""
    cors: CorsConfig | None = None
    """Answer browsers; null to leave them out."""
    tls: TLSServer | None = None
    """Serve TLS with these files; plain text without."""
    auth: AuthServer | None = None
    """Take requests only from those whom an extension knows."""

    @pydantic.field_validator("traces_url_path", "logs_url_path", "metrics_url_path")
    @classmethod
    def _path(cls, value: str) -> str:
        if not value:
            raise ValueError("must not be empty; leave the key out for the default path")
        return value if value.startswith("/") else f"/{value}"

    @property
    def max_bytes(self) -> int:
        """The size limit in bytes."""
        return self.max_request_body_size


class ProtocolsConfig(Settings):
    """The transports to serve. A key without a value means its defaults, an absent key means off."""

    grpc: GrpcConfig | None = None
    http: HttpConfig | None = None

    @pydantic.model_validator(mode="before")
    @classmethod
    def _null_is_default(cls, value: Any) -> Any:
        if isinstance(value, dict):
            return {key: {} if item is None and key in cls.model_fields else item for key, item in value.items()}
        return value

    @pydantic.model_validator(mode="after")
    def _at_least_one(self) -> ProtocolsConfig:
        if self.grpc is None and self.http is None:
            raise ValueError("must specify at least one protocol when using the OTLP receiver: grpc or http")
        return self


class OtlpReceiverConfig(ComponentConfig):
    """Which protocols to serve, and how much may be in flight."""

    protocols: ProtocolsConfig
    max_in_flight_mib: int = pydantic.Field(128, ge=1)
    """Requests received and not answered yet, in MiB on the wire over both protocols; more is refused. A request
    takes up to nine times its size in memory while it is worked on."""

    @pydantic.model_validator(mode="after")
    def _room_for_one(self) -> OtlpReceiverConfig:
        for name, key, protocol in (
            ("grpc", "max_recv_msg_size_mib", self.protocols.grpc),
            ("http", "max_request_body_size", self.protocols.http),
        ):
            if protocol is not None and protocol.max_bytes > self.max_in_flight_mib * _MIB:
                raise ValueError(
                    f"max_in_flight_mib ({self.max_in_flight_mib}) is smaller than one request may be: raise it to "
                    f"{-(-protocol.max_bytes // _MIB)}, or lower protocols::{name}::{key}"
                )
        return self

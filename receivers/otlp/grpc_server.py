"""OTLP over gRPC: three Export methods, health and, where everybody may send, reflection. A transport, nothing else.

Three choices follow from how gRPC behaves in Python:

* Messages arrive as bytes (no deserialiser): one that does not parse would end as UNKNOWN.
* gRPC does not inflate them (`grpc.per_message_decompression` off): we do, on a thread and never beyond
  the limit. The library knows gzip and deflate; it ends calls with any other encoding itself.
* The methods are served as stream-unary, which is the same on the wire, so that a request is refused
  before its message is read. `maximum_concurrent_rpcs` is not used: it answers RESOURCE_EXHAUSTED, on
  which Collectors drop data.

gRPC itself refuses a message above the limit, by its length and before it comes; all we see is a call that ends
without one.
"""

from __future__ import annotations

import errno
import logging
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2

from spanledger.processor.listen import address_of, bind, server_context
from spanledger.processor.watched_files import WatchedFiles
from spanledger.receivers.otlp.answers import response, trailers
from spanledger.receivers.otlp.compression import TooLarge
from spanledger.receivers.otlp.intake import Body

if TYPE_CHECKING:
    from spanledger.processor.auth import ServerAuth
    from spanledger.processor.batch import Signal
    from spanledger.processor.settings import TLSServer
    from spanledger.receivers.otlp.admission import Permit
    from spanledger.receivers.otlp.config import GrpcConfig, KeepaliveConfig
    from spanledger.receivers.otlp.intake import Intake

log = logging.getLogger("spanledger.tls")

KEY: Final = "protocols::grpc::endpoint"

_SERVICE: Final[dict[Signal, str]] = {
    "traces": trace_service_pb2.DESCRIPTOR.services_by_name["TraceService"].full_name,
    "logs": logs_service_pb2.DESCRIPTOR.services_by_name["LogsService"].full_name,
    "metrics": metrics_service_pb2.DESCRIPTOR.services_by_name["MetricsService"].full_name,
}
READ_TIMEOUT_S: Final = 30.0
"""Time for a client to send its message, as over HTTP by default."""
_WILDCARDS = ("0.0.0.0:", "[::]:")


class GrpcServer:
    """The gRPC half of the receiver."""

    def __init__(self, config: GrpcConfig, intake: Intake, auth: ServerAuth | None = None) -> None:
        self._config = config
        self._intake = intake
        self._auth = auth
        self._server: grpc.aio.Server | None = None
        self._health = health.aio.HealthServicer()
        self.addresses: list[str] = []

    async def start(self) -> None:
        """Listen and serve; raises OSError with a plain message when that is impossible."""
        addresses = await _free_addresses(self._config.endpoint)
        credentials = _credentials(self._config.tls) if self._config.tls else None
        server = grpc.aio.server(options=_options(self._config))
        for address in addresses:
            try:
                if credentials is None:
                    server.add_insecure_port(address)
                else:
                    server.add_secure_port(address, credentials)
            except RuntimeError as error:
                raise OSError(errno.EADDRINUSE, f"endpoint {address}: {error}; set {KEY}") from error
        health_pb2_grpc.add_HealthServicer_to_server(self._health, server)
        if self._auth is None:
            names = [*_SERVICE.values(), health.SERVICE_NAME, reflection.SERVICE_NAME]
            reflection.enable_server_reflection(names, server)
        server.add_generic_rpc_handlers(tuple(self._handlers()))
        await server.start()
        self._server, self.addresses = server, addresses
        await self._say(health_pb2.HealthCheckResponse.SERVING)

    async def drain(self) -> None:
        """Tell those who watch the health that this server is about to end; calls are still answered."""
        await self._health.enter_graceful_shutdown()

    async def stop(self, grace_s: float) -> None:
        """Close the port; calls that still run have `grace_s` to end."""
        if self._server is not None:
            await self._server.stop(grace_s)
            self._server = None

    async def _say(self, serving: Any) -> None:
        for service in ("", *_SERVICE.values()):
            await self._health.set(service, serving)

    def _handlers(self) -> Iterable[grpc.GenericRpcHandler]:
        for signal, service in _SERVICE.items():
            handler: Any = grpc.stream_unary_rpc_method_handler(self._export(signal))
            yield grpc.method_handlers_generic_handler(service, {"Export": handler})

    def _export(self, signal: Signal) -> Any:
        limit_bytes = self._config.max_bytes

        async def export(_messages: object, context: grpc.aio.ServicerContext[bytes, bytes]) -> bytes:
            async def read(_permit: Permit) -> Body:
                if self._auth is not None:
                    await self._auth.authenticate(_headers(context))
                message = await context.read()
                if not isinstance(message, bytes):
                    raise TooLarge(f"the call ended without a message, or with one larger than {limit_bytes} bytes")
                return Body(message, "sniff")

            _signal, answer = await self._intake.take(signal, "grpc", limit_bytes, read, READ_TIMEOUT_S)
            if answer.reason:
                await context.abort(answer.code, answer.message, trailers(answer))
            return response(signal, answer).SerializeToString()

        return export


async def _free_addresses(endpoint: str) -> list[str]:
    """Return the addresses to serve on. gRPC says only that it failed, so the sockets are tried here."""
    probes = await bind(endpoint, KEY)
    addresses = [address_of(probe) for probe in probes]
    for probe in probes:
        probe.close()
    # gRPC serves both families when it is told either wildcard.
    return addresses[:1] if addresses[0].startswith(_WILDCARDS) else addresses


def _headers(context: grpc.aio.ServicerContext[bytes, bytes]) -> dict[str, str]:
    """Return the metadata that is text; keys are in lower case by the protocol."""
    metadata = context.invocation_metadata() or ()
    return {key: value for key, value in metadata if isinstance(value, str)}


def _credentials(tls: TLSServer) -> grpc.ServerCredentials:
    certificates = _certificates(tls)
    demanding = bool(tls.client_ca_file)
    files = WatchedFiles(tls.files(), tls.reload_interval)

    def newer() -> Any:
        # gRPC asks at each handshake; None is "the same as before".
        if not files.changed():
            return None
        try:
            made = _certificates(tls)
        except OSError as error:
            log.error("newer certificates cannot be used, the old ones stay: %s", error)
            return None
        log.info("using newer certificates from %s", tls.cert_file)
        return made

    return grpc.dynamic_ssl_server_credentials(certificates, newer, demanding)


def _certificates(tls: TLSServer) -> grpc.ServerCertificateConfiguration:
    # gRPC says little about files that do not fit: read them the strict way first.
    server_context(tls)
    key, chain = Path(tls.key_file).read_bytes(), Path(tls.cert_file).read_bytes()
    authorities = Path(tls.client_ca_file).read_bytes() if tls.client_ca_file else None
    return grpc.ssl_server_certificate_configuration([(key, chain)], authorities)


def _options(config: GrpcConfig) -> list[tuple[str, int]]:
    return [
        # Otherwise a second server binds the same port without an error and takes half of the traces.
        ("grpc.so_reuseport", 0),
        ("grpc.per_message_decompression", 0),
        ("grpc.max_receive_message_length", config.max_bytes),
        ("grpc.max_concurrent_streams", config.max_concurrent_streams),
        *_keepalive(config.keepalive),
    ]


def _keepalive(config: KeepaliveConfig) -> list[tuple[str, int]]:
    server, policy = config.server_parameters, config.enforcement_policy
    durations = {
        "grpc.max_connection_idle_ms": server.max_connection_idle,
        "grpc.max_connection_age_ms": server.max_connection_age,
        "grpc.max_connection_age_grace_ms": server.max_connection_age_grace,
        "grpc.keepalive_time_ms": server.time,
        "grpc.keepalive_timeout_ms": server.timeout,
        "grpc.http2.min_ping_interval_without_data_ms": policy.min_time,
    }
    options = [(name, round(value_s * 1000)) for name, value_s in durations.items() if value_s]
    return [*options, ("grpc.keepalive_permit_without_calls", int(policy.permit_without_stream))]

"""The `otlp` receiver as a component: both servers, one admission, one intake."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from spanledger.processor.auth import server_auth
from spanledger.processor.component import register
from spanledger.receivers.otlp.admission import Admission
from spanledger.receivers.otlp.config import OtlpReceiverConfig
from spanledger.receivers.otlp.grpc_server import GrpcServer
from spanledger.receivers.otlp.http_server import HttpServer
from spanledger.receivers.otlp.intake import Intake

if TYPE_CHECKING:
    from spanledger.processor.batch import Signal
    from spanledger.processor.component import Consume, Host

_ANSWERING_S = 1.0
"""Time for answers already decided to reach their clients before connections are cut."""
_FINISHING_S = 5.0
"""Time for requests that are worked on, of which nothing was acknowledged; the exporters need time too."""


@register("receiver", "otlp", config=OtlpReceiverConfig, signals=("traces", "logs", "metrics"), stability="beta")
class OtlpReceiver:
    """Take OTLP over gRPC and HTTP (protobuf and JSON)."""

    def __init__(self, config: OtlpReceiverConfig, host: Host) -> None:
        self._host = host
        limit_bytes, labels = config.max_in_flight_mib * 1024 * 1024, (str(host.id),)
        in_flight = host.metrics.gauge("spanledger_receiver_in_flight_bytes")
        in_flight.set(labels, 0)
        host.metrics.gauge("spanledger_receiver_in_flight_limit_bytes").set(labels, limit_bytes)
        self._admission = Admission(limit_bytes, lambda held: in_flight.set(labels, held))
        self.intake = Intake(host, self._admission)
        protocols = config.protocols
        self._grpc = self._http = None
        if protocols.grpc:
            auth = server_auth(protocols.grpc.auth, host.extensions)
            self._grpc = GrpcServer(protocols.grpc, self.intake, auth)
        if protocols.http:
            auth = server_auth(protocols.http.auth, host.extensions)
            self._http = HttpServer(protocols.http, self.intake, auth, host.log.getChild("http"))

    @property
    def consumers(self) -> Mapping[Signal, Consume]:
        """Where each signal goes; a signal that is missing is answered as not supported."""
        return self.intake.consumers

    @consumers.setter
    def consumers(self, consumers: Mapping[Signal, Consume]) -> None:
        self.intake.consumers = consumers

    async def start(self) -> None:
        """Listen on both protocols. Raises OSError that says which endpoint is taken and what to set."""
        try:
            for name, server in (("grpc", self._grpc), ("http", self._http)):
                if server is None:
                    continue
                try:
                    await server.start()
                except OSError as error:
                    what = f"{error.filename}: {error.strerror}" if error.filename else error.strerror or error
                    raise OSError(error.errno, f"{self._host.id}: {name} {what}") from error
                self._host.log.info("taking OTLP over %s on %s", name, ", ".join(server.addresses))
        except OSError:
            await self._stop(0.0)
            raise
        self._admission.open()

    async def shutdown(self, deadline: float) -> int:
        """Refuse what is new with a time to retry after, wait for what is worked on, close ports and connections.

        Takes a third of the time that is left at most. Loses nothing that was acknowledged.
        """
        left_s = max(0.0, deadline - self._host.monotonic())
        self._admission.close()
        if self._grpc is not None:
            await self._grpc.drain()
        grace_s = _ANSWERING_S
        try:
            async with asyncio.timeout(min(_FINISHING_S, left_s / 3)):
                await self._admission.idle()
        except TimeoutError:
            grace_s = 0.0
            self._host.log.warning(
                "%d requests were not answered in time; their senders keep them", self._admission.requests
            )
        await self._stop(grace_s)
        return 0

    def statistics(self) -> Mapping[str, Any]:
        """Return what is in flight and the addresses in use (the real ports where 0 was asked for)."""
        return {
            "in_flight_bytes": self._admission.bytes,
            "in_flight_requests": self._admission.requests,
            "in_flight_limit_bytes": self._admission.limit_bytes,
            "grpc_addresses": self._grpc.addresses if self._grpc else [],
            "http_addresses": self._http.addresses if self._http else [],
        }

    async def _stop(self, grace_s: float) -> None:
        stops = [server.stop(grace_s) for server in (self._grpc, self._http) if server is not None]
        await asyncio.gather(*stops)
        await self.intake.close()

"""A running `otlp` receiver on ports of the system's choice, with consumers that obey."""

from __future__ import annotations

import asyncio
import contextlib
import io
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field, replace
from typing import Any

import aiohttp
import grpc.aio
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from spanledger.processor.batch import SIGNALS, Batch, Signal
from spanledger.processor.component import ComponentId
from spanledger.receivers.otlp.config import OtlpReceiverConfig
from spanledger.receivers.otlp.receiver import OtlpReceiver
from tests.fakes import Clock, Numbers, host

GRPC_SERVICE: dict[Signal, str] = {
    "traces": "opentelemetry.proto.collector.trace.v1.TraceService",
    "logs": "opentelemetry.proto.collector.logs.v1.LogsService",
    "metrics": "opentelemetry.proto.collector.metrics.v1.MetricsService",
}
PROTOBUF = {"Content-Type": "application/x-protobuf"}
JSON = {"Content-Type": "application/json"}


class RealClock(Clock):
    """The machine's own time."""

    def monotonic(self) -> float:
        """Return seconds."""
        return time.monotonic()


@dataclass
class Running:
    """The receiver, what it handed on, and ways to send to it."""

    receiver: OtlpReceiver
    numbers: Numbers
    grpc_address: str
    http_url: str
    channel: grpc.aio.Channel
    session: aiohttp.ClientSession
    taken: list[Batch] = field(default_factory=list)
    failure: Exception | None = None
    """What the consumers raise, when set."""

    async def consume(self, batch: Batch) -> None:
        """Take a batch or fail as told."""
        if self.failure is not None:
            raise self.failure
        # The receiver takes large batches apart after the consumer has returned.
        kept = [replace(group, items=list(group.items), raw=list(group.raw)) for group in batch.groups]
        self.taken.append(replace(batch, groups=kept))

    async def export(self, body: bytes, signal: Signal = "traces", **options: Any) -> bytes:
        """Send over gRPC; raises AioRpcError."""
        call = self.channel.unary_unary(f"/{GRPC_SERVICE[signal]}/Export")
        answer: bytes = await call(body, timeout=60, **options)
        return answer

    async def post(
        self, body: Any, path: str = "/v1/traces", headers: dict[str, str] | None = None
    ) -> tuple[int, aiohttp.ClientResponse, bytes]:
        """Send over HTTP, protobuf unless told otherwise."""
        if isinstance(body, bytes):
            body = io.BytesIO(body)
        async with self.session.post(self.http_url + path, data=body, headers=headers or PROTOBUF) as response:
            return response.status, response, await response.read()

    def in_flight(self) -> tuple[int, int]:
        """Return requests and bytes."""
        statistics = self.receiver.statistics()
        return statistics["in_flight_requests"], statistics["in_flight_bytes"]

    def spans(self) -> list[str]:
        """Return the names of all spans taken."""
        return [span.name for batch in self.taken for group in batch.groups for span in group.items]


async def until(condition: Callable[[], bool]) -> None:
    """Let the loop run until `condition` holds; the test's own time-out ends it."""
    while not condition():  # noqa: ASYNC110 - what is waited for is counted, not signalled
        await asyncio.sleep(0)


@contextlib.asynccontextmanager
async def running(
    signals: tuple[Signal, ...] = SIGNALS,
    grpc_options: dict[str, Any] | None = None,
    http_options: dict[str, Any] | None = None,
    clock: Clock | None = None,
    extensions: dict[ComponentId, Any] | None = None,
    **options: Any,
) -> AsyncIterator[Running]:
    """Start a receiver on both protocols."""
    config = OtlpReceiverConfig.model_validate(
        {
            "protocols": {
                "grpc": {"endpoint": "localhost:0", **(grpc_options or {})},
                "http": {"endpoint": "localhost:0", **(http_options or {})},
            },
            **options,
        }
    )
    numbers = Numbers()
    receiver = OtlpReceiver(config, host("otlp", clock or RealClock(), numbers, extensions=extensions or {}))
    made: list[Running] = []

    async def consume(batch: Batch) -> None:
        await made[0].consume(batch)

    receiver.consumers = dict.fromkeys(signals, consume)
    await receiver.start()
    statistics = receiver.statistics()
    grpc_address = statistics["grpc_addresses"][0]
    http_url = f"http://{statistics['http_addresses'][0]}"
    try:
        async with (
            grpc.aio.insecure_channel(grpc_address, options=[("grpc.max_send_message_length", -1)]) as channel,
            aiohttp.ClientSession(auto_decompress=True) as session,
        ):
            made.append(Running(receiver, numbers, grpc_address, http_url, channel, session))
            yield made[0]
    finally:
        await receiver.shutdown(time.monotonic() + 5)


def trace_request(count: int = 1, **changes: Any) -> ExportTraceServiceRequest:
    """Return a request of `count` spans named `span 0`, `span 1`, ..."""
    request = ExportTraceServiceRequest()
    scope = request.resource_spans.add().scope_spans.add()
    for number in range(count):
        scope.spans.add(
            trace_id=bytes(15) + b"\x01", span_id=(number + 1).to_bytes(8, "big"), name=f"span {number}", **changes
        )
    return request

"""Runs and findings on their way into the logs pipelines. What they refuse is tried again.

Nothing upstream waits for them: the spans they follow from were acknowledged long ago. What finds no room in
line is dropped and counted.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord, ResourceLogs

from spanledger.conventions.values import key_value
from spanledger.processor.batch import decode
from spanledger.processor.component import PipelineError, Refused
from spanledger.processor.turns import paced

if TYPE_CHECKING:
    from spanledger.processor.component import Consume, Host

MAX_RECORDS: Final = 20_000
MAX_BYTES: Final = 64 * 1024 * 1024
BATCH_RECORDS: Final = 256
BATCH_BYTES: Final = 1024 * 1024
RETRY_S: Final = 1.0
GATHER_S: Final = 0.05
"""Seconds in which records come together before they are sent: each request is a pass through a pipeline and, in a
store, a transaction."""
_SLICE_S: Final = 0.002

Sleep = Callable[[float], Awaitable[None]]


class Outbox:
    """A bounded line of log records, sent in requests of up to a mebibyte by one task."""

    def __init__(self, host: Host, scope: str, version: str, sleep: Sleep = asyncio.sleep) -> None:
        self._host = host
        self._scope = scope
        self._version = version
        self._sleep = sleep
        self._line: deque[tuple[str, LogRecord, int]] = deque()
        self._bytes = 0
        self._put = 0
        self._left = 0
        """What was in line at the end."""
        self._task: asyncio.Task[None] | None = None
        self._dropped = host.metrics.counter("spanledger_trajectory_events_dropped_total")
        self._sent = host.metrics.counter("spanledger_trajectory_events_total")
        self.consume: Consume | None = None
        """The logs pipelines; without any, there is nobody to tell."""

    def __len__(self) -> int:
        return len(self._line)

    def progress(self) -> tuple[int, int]:
        """Return how many records were ever put in line, and how many of these somebody took, or will never take."""
        return self._put, self._put - len(self._line) - self._left

    def put(self, service_name: str, record: LogRecord) -> None:
        """Send `record` as soon as may be. Needs a running loop."""
        if self.consume is None:
            return
        size = record.ByteSize()
        if len(self._line) >= MAX_RECORDS or self._bytes + size > MAX_BYTES:
            self._dropped.add(("full",))
            return
        self._line.append((service_name, record, size))
        self._put += 1
        self._bytes += size
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._send_all(), name=f"{self._host.id} events")

    async def close(self, deadline: float, *, untold: int = 0, kept: bool) -> int:
        """Send what is in line until `deadline` (`host.monotonic` seconds); return what is lost.

        So are `untold` runs that nobody put in line any more, if there is somebody to tell. With `kept`, what is left
        is told after the next start.
        """
        if self._task is not None and not self._task.done():
            await asyncio.wait({self._task}, timeout=max(0.0, deadline - self._host.monotonic()))
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        left = self._left = len(self._line)
        self._line.clear()
        left += untold if self.consume is not None else 0
        if kept:
            if left:
                self._host.log.info("%d runs and findings were not taken; they are told after the next start", left)
            return 0
        self._dropped.add(("shutdown",), left)
        return left

    async def _send_all(self) -> None:
        await self._sleep(GATHER_S)
        while self._line:
            request, count, size = self._next()
            try:
                await self._send(request)
                self._sent.add((), count)
            except Refused as refused:
                await self._sleep(refused.retry_after_s or RETRY_S)
                continue
            except PipelineError as error:
                self._host.log.error("a logs pipeline does not take %d records: %s", count, error)
                self._dropped.add(("rejected",), count)
            except Exception:
                self._host.log.exception("A fault of the sidecar itself; please report it")
                self._dropped.add(("internal",), count)
            for _ in range(count):
                self._line.popleft()
            self._bytes -= size

    async def _send(self, request: ExportLogsServiceRequest) -> None:
        if self.consume is None:
            return
        work = decode("logs", request.SerializeToString(), self._host.clock_ns())
        await self.consume(await paced(work, _SLICE_S, self._host.monotonic))

    def _next(self) -> tuple[ExportLogsServiceRequest, int, int]:
        """Return the next request, how many records are in it, and their bytes."""
        request = ExportLogsServiceRequest()
        services: dict[str, ResourceLogs] = {}
        count = total = 0
        for service_name, record, size in self._line:
            if count and (count >= BATCH_RECORDS or total + size > BATCH_BYTES):
                break
            if (logs := services.get(service_name)) is None:
                logs = services[service_name] = request.resource_logs.add()
                logs.resource.attributes.append(key_value("service.name", service_name))
                logs.scope_logs.add().scope.name = self._scope
                logs.scope_logs[0].scope.version = self._version
            logs.scope_logs[0].log_records.append(record)
            count += 1
            total += size
        return request, count, total

"""The way of one request, the same for both transports.

admit -> read -> inflate -> JSON to protobuf -> decode -> hand to the pipelines -> count -> answer

Inflating and JSON beyond a few kilobytes run on two threads; decoding pauses every few milliseconds. A
few large requests at a time go on from there: each takes its turn on the loop, and the turns add up.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, ParamSpec, TypeVar

from spanledger.processor.batch import decode
from spanledger.processor.component import PipelineError
from spanledger.processor.turns import Turns
from spanledger.receivers.otlp import compression, json_codec
from spanledger.receivers.otlp.answers import CANCELLED, Answer, NoPipeline, answer_to, taken
from spanledger.receivers.otlp.bare_path import signal_of

if TYPE_CHECKING:
    from spanledger.processor.batch import Batch, Signal
    from spanledger.processor.component import Consume, Host
    from spanledger.receivers.otlp.admission import Admission, Permit

Transport = Literal["grpc", "http", "kafka"]

_SLICE_S = 0.002
_LARGE_BYTES = 32 * 1024
"""From this size on work goes to a thread; below, the way there would take longer than the work."""
_LARGE_AT_A_TIME = 4
_INFLATE_AT_ONCE_BYTES = 256 * 1024
_LOG_INTERVAL_S = 10.0

_ITEMS: Final[dict[Signal, str]] = {"traces": "spans", "logs": "log_records", "metrics": "metric_points"}
_P = ParamSpec("_P")
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Body:
    """A request as a transport received it."""

    data: bytes
    encoding: str
    """One of `compression.HTTP_ENCODINGS`, or "sniff" where the transport does not tell."""
    as_json: bool = False


Read = Callable[["Permit"], Awaitable[Body]]
"""Reads the body, holding its bytes while they come. May raise `PipelineError`."""


class Intake:
    """Takes requests for one receiver. `consumers` may be replaced at any time.

    A batch is the consumer's until it returns; a large one is then taken apart, so consumers keep none.
    """

    def __init__(self, host: Host, admission: Admission) -> None:
        self.consumers: Mapping[Signal, Consume] = {}
        self._host = host
        self._admission = admission
        # JSON has its own: it is slow, and what takes long must not be in the way of the rest.
        self._inflating = ThreadPoolExecutor(1, thread_name_prefix="otlp-inflate")
        self._converting = ThreadPoolExecutor(1, thread_name_prefix="otlp-json")
        self._discarding: set[asyncio.Task[None]] = set()
        self._large = asyncio.Semaphore(_LARGE_AT_A_TIME)
        self._log_again = float("-inf")
        self._count = _Counts(host)

    async def take(
        self, signal: Signal | None, transport: Transport, limit_bytes: int, read: Read, timeout_s: float | None = None
    ) -> tuple[Signal, Answer]:
        """Take one request whose body `read` returns; never raises, except when it is cancelled.

        `signal` is None where only the content tells. Returns the signal with the answer.
        """
        started = self._host.monotonic()
        # Until something else is decided: a client that goes away cancels this wherever it waits.
        answer = CANCELLED
        decoded: Batch | None = None
        try:
            if signal is not None:
                self._consumer(signal)
            with self._admission.enter() as permit:
                body = await self._admission.read(read(permit), timeout_s)
                started = self._host.monotonic()
                body = await self._inflate(body, limit_bytes, permit)
                if signal is None:
                    found = await self._paced(signal_of(body.data, body.as_json), len(body.data))
                    signal = found
                wire, left_out = await self._protobuf(signal, body, limit_bytes)
                del body  # JSON is twice the size of what was made of it
                permit.hold(len(wire))
                consume = self._consumer(signal)
                async with self._one_of_few(wire) as large:
                    batch = await self._paced(decode(signal, wire, self._host.clock_ns()), len(wire))
                    decoded = batch
                    large.append(batch)
                    batch.transport = transport
                    batch.rejected.update(left_out)
                    await consume(batch)
                    answer = taken(*batch.partial_success())
        except PipelineError as error:
            answer = answer_to(error)
        except Exception as error:  # noqa: BLE001 - counted as internal; the process must outlive any request
            self._report(error)
            answer = answer_to(error)
        finally:
            signal = signal or "traces"
            self._count.answered(signal, transport, answer, decoded, self._host.monotonic() - started)
        return signal, answer

    def count_unsupported(self, transport: Transport) -> None:
        """Count a request that a transport turned away by its media type or encoding."""
        self._count.unsupported(transport)

    async def close(self) -> None:
        """End the threads; nothing may be taken afterwards."""
        self._inflating.shutdown(wait=False, cancel_futures=True)
        self._converting.shutdown(wait=False, cancel_futures=True)
        await asyncio.gather(*self._discarding)

    def _consumer(self, signal: Signal) -> Consume:
        consume = self.consumers.get(signal)
        if consume is None:
            raise NoPipeline(f"no pipeline takes {signal} from receiver {self._host.id}")
        return consume

    @asynccontextmanager
    async def _one_of_few(self, wire: bytes) -> AsyncIterator[list[Batch]]:
        """Let few large requests in at a time. What they put into the list is given up after them, before the next."""
        batches: list[Batch] = []
        if len(wire) <= _LARGE_BYTES:
            yield batches
            return
        await self._large.acquire()
        try:
            yield batches
        finally:
            # Nobody waits for this any more: the answer goes first.
            task = asyncio.create_task(self._discard(batches), name="otlp discarding")
            self._discarding.add(task)
            task.add_done_callback(self._discarding.discard)

    async def _discard(self, batches: list[Batch]) -> None:
        try:
            for batch in batches:
                await self._paced(batch.discard(), len(batch.wire))
        finally:
            self._large.release()

    async def _inflate(self, body: Body, limit_bytes: int, permit: Permit) -> Body:
        permit.hold(len(body.data))
        encoding = compression.grpc_encoding(body.data) if body.encoding == "sniff" else body.encoding
        try:
            data = await self._inflated(encoding, body.data, limit_bytes)
        except compression.Damaged:
            if body.encoding != "sniff" or encoding != "deflate":
                raise
            data = body.data
        permit.hold(len(data))
        return Body(data, "identity", body.as_json)

    async def _inflated(self, encoding: str, data: bytes, limit_bytes: int) -> bytes:
        # A small body may still be a bomb: the first step on the loop has a small limit.
        if encoding == "identity" or limit_bytes <= _INFLATE_AT_ONCE_BYTES:
            return compression.inflate(encoding, data, limit_bytes)
        if len(data) <= _LARGE_BYTES:
            try:
                return compression.inflate(encoding, data, _INFLATE_AT_ONCE_BYTES)
            except compression.TooLarge:
                pass
        return await self._on_thread(self._inflating, compression.inflate, encoding, data, limit_bytes)

    async def _protobuf(self, signal: Signal, body: Body, limit_bytes: int) -> tuple[bytes, Counter[str]]:
        """Return the request in protobuf, and the items that could not be taken over from JSON."""
        if not body.as_json:
            return body.data, Counter()
        if len(body.data) <= _LARGE_BYTES:
            return json_codec.to_protobuf(signal, body.data, limit_bytes)
        return await self._on_thread(self._converting, json_codec.to_protobuf, signal, body.data, limit_bytes)

    async def _paced(self, work: Generator[None, None, _T], size_bytes: int) -> _T:
        return await Turns(_SLICE_S, self._host.monotonic, self._host.working, size_bytes).run(work)

    async def _on_thread(
        self, thread: ThreadPoolExecutor, work: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs
    ) -> _T:
        return await asyncio.get_running_loop().run_in_executor(thread, lambda: work(*args, **kwargs))

    def _report(self, error: Exception) -> None:
        now = self._host.monotonic()
        if now >= self._log_again:
            self._log_again = now + _LOG_INTERVAL_S
            self._host.log.error("a request failed with an internal error; the client is told so", exc_info=error)


class _Counts:
    """The receiver's own numbers."""

    def __init__(self, host: Host) -> None:
        self._receiver = str(host.id)
        self._items = {
            (outcome, signal): host.metrics.counter(f"otelcol_receiver_{outcome}_{noun}_total")
            for outcome in ("accepted", "refused", "failed")
            for signal, noun in _ITEMS.items()
        }
        self._refused_requests = host.metrics.counter("spanledger_refused_requests_total")
        self._unread = host.metrics.counter("spanledger_unread_resources_total")
        self._rejected_items = host.metrics.counter("spanledger_rejected_items_total")
        self._duration = host.metrics.histogram("spanledger_request_duration_seconds")

    def answered(
        self, signal: Signal, transport: Transport, answer: Answer, batch: Batch | None, duration_s: float
    ) -> None:
        """Count one answer; `batch` is None when the request was not read so far."""
        outcome = {"": "accepted", "internal": "failed"}.get(answer.reason, "refused")
        self._items[outcome, signal].add((self._receiver, transport), batch.count if batch else 0)
        if answer.reason:
            self._refused_requests.add((self._receiver, transport, answer.reason))
        elif batch is not None:
            self._rejected(signal, batch.rejected)
            if batch.unread_heads:
                self._unread.add((self._receiver, signal), batch.unread_heads)
        self._duration.observe((signal, transport), duration_s)

    def unsupported(self, transport: Transport) -> None:
        """Count a request of a kind that nobody could read."""
        self._refused_requests.add((self._receiver, transport, "unsupported"))

    def _rejected(self, signal: Signal, reasons: Counter[str]) -> None:
        for text, count in reasons.items():
            reason = "too_large" if "too large" in text else "bad_id" if " id " in text else "undecodable"
            self._rejected_items.add((self._receiver, signal, reason), count)

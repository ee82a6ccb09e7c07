"""The chain that every exporter with a peer shares.

From the inside out::

    push ──> timeout ──> retry ──> split ──> queue
    (the exporter's own)           (when the peer takes only smaller messages)

An exporter author writes `push` and, where there is something to open, `connect` and `disconnect`.
Every exporter has its own queues and its own tasks: a slow one fills its queue and slows nobody else.
"""

from __future__ import annotations

import asyncio
import random
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import count
from typing import TYPE_CHECKING, Any, Final, TypeVar

from spanledger.exporters.answer import PartialSuccess, Permanent, Retryable, TooLarge
from spanledger.exporters.outcomes import Outcomes
from spanledger.exporters.queue import QueueConfig, SendingQueue
from spanledger.exporters.retry import RetryConfig, gives_up, next_delay, pause
from spanledger.exporters.text import counted
from spanledger.processor.batch import SIGNALS, split
from spanledger.processor.component import Refused, Rejected

if TYPE_CHECKING:
    from spanledger.exporters.outcomes import DropReason
    from spanledger.processor.batch import Delivery, Signal
    from spanledger.processor.component import Host

SMALLEST_LIMIT: Final = 64 * 1024
"""A message limit learnt from a peer is not believed below this: it would take requests apart for nothing."""

_T = TypeVar("_T")
Pause = Callable[[float, "asyncio.Event | None"], Awaitable[None]]


class Sender(ABC):
    """A sink that sends each delivery to a peer, in the background. See the module docstring.

    `timeout_s` bounds one attempt; 0 is for ever. `wait` and `draw` are the waiting and the chance of
    the back-off, for tests.
    """

    def __init__(
        self,
        host: Host,
        queue: QueueConfig,
        retry: RetryConfig,
        timeout_s: float,
        *,
        wait: Pause = pause,
        draw: Callable[[], float] = random.random,
    ) -> None:
        self.host = host
        self.outcomes = Outcomes(host)
        self._retry = retry
        self._timeout_s = timeout_s
        self._wait = wait
        self._draw = draw
        self._consumers = queue.num_consumers
        self._queues = {signal: self._queue(signal, queue) for signal in SIGNALS}
        self._tasks: dict[Signal, set[asyncio.Task[None]]] = {signal: set() for signal in SIGNALS}
        # One thread each: long work of one exporter leaves the other cores, and the other exporters, alone.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=str(host.id))
        self._limit_bytes: int | None = None
        self._stopping = asyncio.Event()
        self._deadline: float | None = None
        self._stopped = False

    def _queue(self, signal: Signal, config: QueueConfig) -> SendingQueue:
        return SendingQueue(config, str(self.host.id), lambda q: self.outcomes.show_queue(signal, q))

    @abstractmethod
    async def push(self, delivery: Delivery) -> PartialSuccess | None:
        """Send `delivery` once. Raises `Retryable`, `Permanent` or `TooLarge`; a timeout counts as retryable."""

    async def connect(self) -> None:  # noqa: B027 - there may be nothing to open
        """Get ready to push; raise with a plain message when the configuration makes that impossible."""

    async def disconnect(self) -> None:  # noqa: B027
        """Close what `connect` opened. Nothing is pushed after this."""

    # The life of a component.

    async def start(self) -> None:
        """Get ready. A peer that is away is no reason to fail: that is what the queue is for."""
        await self.connect()
        self.outcomes.take_over(self._queues)

    async def shutdown(self, deadline: float) -> int:
        """Send what is in line until `deadline` (`host.monotonic` seconds); return the items lost.

        Those that wait for their next attempt make it at once; further attempts are made as long as
        they come before the deadline.
        """
        lost_before = self.outcomes.dropped_items
        self._deadline = deadline
        for queue in self._queues.values():
            queue.close()
        self._stopping.set()
        # A reservation made before the close may still be committed while this waits.
        while (tasks := self._running()) and (left := deadline - self.host.monotonic()) > 0:
            await asyncio.wait(tasks, timeout=left)
        self._stopped = True
        for task in self._running():
            task.cancel()
        await asyncio.gather(*self._running(), return_exceptions=True)
        for queue in self._queues.values():
            self._drop_line(queue)
        await self.disconnect()
        self._thread.shutdown(wait=False)
        self.outcomes.close()
        return self.outcomes.dropped_items - lost_before

    def _running(self) -> set[asyncio.Task[None]]:
        return set().union(*self._tasks.values())

    def statistics(self) -> Mapping[str, Any]:
        """Return the queues in numbers, the items settled so far, since when sending fails, and why."""
        since = self.outcomes.failing_since
        return {
            "waiting_requests": sum(queue.requests for queue in self._queues.values()),
            "waiting_items": sum(queue.items for queue in self._queues.values()),
            "queues": {signal: queue.statistics() for signal, queue in self._queues.items()},
            "sent_items": self.outcomes.sent_items,
            "dropped_items": self.outcomes.dropped_items,
            "failing_for_s": None if since is None else self.host.monotonic() - since,
            "last_error": self.outcomes.last_error,
            "message_limit_bytes": self._limit_bytes,
        }

    # The sink.

    def reserve(self, delivery: Delivery) -> None:
        """Hold room for `delivery`, or raise `Refused`."""
        try:
            self._queues[delivery.signal].reserve(delivery)
        except (Refused, Rejected) as error:
            self.outcomes.rejected(delivery, error)
            raise

    def release(self, delivery: Delivery) -> None:
        """Give the room of `reserve` back."""
        self._queues[delivery.signal].release(delivery)

    def commit(self, delivery: Delivery) -> None:
        """Put `delivery` in line; it is acknowledged after this."""
        queue = self._queues[delivery.signal]
        # Steps are for the connectors; kept here they would outlive their use by the length of the line.
        queue.commit(replace(delivery, steps=(), bridges=()))
        tasks = self._tasks[delivery.signal]
        if self._stopped:
            self._drop_line(queue)
        elif len(tasks) < self._consumers:
            # A consumer lives as long as there is something in line; the set owns it.
            tasks.add(asyncio.create_task(self._consume(queue, tasks), name=f"{self.host.id} {delivery.signal}"))

    async def _consume(self, queue: SendingQueue, tasks: set[asyncio.Task[None]]) -> None:
        try:
            while (delivery := queue.take()) is not None:
                try:
                    await self._settle(delivery)
                finally:
                    queue.done(delivery)
        finally:
            # Here and not in a done callback: that comes a turn later, and a commit in between would
            # count on a consumer that has already seen an empty line.
            tasks.discard(_this_task())

    async def _settle(self, delivery: Delivery) -> None:
        """Send `delivery`, whole or in parts. Every part ends up sent or counted as dropped."""
        open_parts = [delivery]
        try:
            while open_parts:
                part = open_parts[-1]
                too_long = self._limit_bytes is not None and len(part.data) > self._limit_bytes
                # A single item is not split; let the peer judge it.
                halves = (await self._split(part) if too_long else None) or await self._send(part)
                open_parts.pop()
                if halves is not None:
                    open_parts += reversed(halves)
        except asyncio.CancelledError:
            for part in open_parts:
                self._drop_at_end(part)
            raise
        except Exception as error:
            self.host.log.exception("A fault of the exporter itself; please report it")
            for part in open_parts:
                self.outcomes.dropped(part, "permanent", f"internal error: {type(error).__name__}", "internal")

    async def _send(self, part: Delivery) -> tuple[Delivery, Delivery] | None:
        """Try until `part` is settled; return its halves instead when the peer takes only smaller messages."""
        started = self.host.monotonic()
        for attempt in count(1):
            failure: Retryable
            try:
                async with asyncio.timeout(self._time_allowed()):
                    partial = await self.push(part)
            except TooLarge as error:
                return await self._take_apart(part, error)
            except Permanent as error:
                self.outcomes.failing(error)
                self.outcomes.dropped(part, "permanent", str(error), error.error_type)
                return None
            except Retryable as error:
                failure = error
            except TimeoutError:
                failure = Retryable("no answer in time; see `timeout`", "timeout")
            else:
                self.outcomes.working()
                self.outcomes.sent(part, partial)
                return None
            self.outcomes.failing(failure)
            delay = next_delay(attempt, failure.throttle_s, self._retry, self._draw())
            reason = self._gives_up(started, delay)
            if reason is not None:
                why = f"given up after {counted(attempt, 'attempt')}: {failure}"
                self.outcomes.dropped(part, reason, why, failure.error_type)
                return None
            # The shutdown may begin while this waits; it wakes those who wait, once.
            await self._wait(delay, self._stopping if self._deadline is None else None)
            self.outcomes.retrying()
        raise AssertionError("unreachable")

    def _time_allowed(self) -> float | None:
        """Seconds for the next attempt; None without a limit."""
        limits = [self._timeout_s] if self._timeout_s else []
        if self._deadline is not None:
            limits.append(max(0.0, self._deadline - self.host.monotonic()))
        return min(limits, default=None)

    def _gives_up(self, started: float, delay: float) -> DropReason | None:
        now = self.host.monotonic()
        if gives_up(now - started, delay, self._retry):
            return "retry_exhausted"
        if self._deadline is not None and now + delay >= self._deadline:
            return "shutdown"
        return None

    async def _take_apart(self, part: Delivery, error: TooLarge) -> tuple[Delivery, Delivery] | None:
        limit = max(error.limit_bytes or len(part.data) - 1, SMALLEST_LIMIT)
        if self._limit_bytes is None or limit < self._limit_bytes:
            self._limit_bytes = limit
            self.host.log.info("The peer takes at most about %d bytes at once; longer requests are split", limit)
        halves = await self._split(part)
        if halves is None:
            why = f"one item of {len(part.data)} bytes is more than the peer takes: {error}"
            self.outcomes.dropped(part, "oversized", why, error.error_type)
        return halves

    async def _split(self, part: Delivery) -> tuple[Delivery, Delivery] | None:
        # 64 MiB take a second.
        return await self.in_thread(split, part)

    async def in_thread(self, work: Callable[..., _T], *arguments: Any) -> _T:
        """Run blocking or long work while the loop serves others; one at a time, in order."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, work, *arguments)

    def _drop_line(self, queue: SendingQueue) -> None:
        while (delivery := queue.take()) is not None:
            self._drop_at_end(delivery)
            queue.done(delivery)

    def _drop_at_end(self, part: Delivery) -> None:
        self.outcomes.dropped(part, "shutdown", "not sent before the end of the shutdown", "shutdown")


def _this_task() -> asyncio.Task[None]:
    task = asyncio.current_task()
    assert task is not None
    return task

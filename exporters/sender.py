"""The chain that every exporter with a peer shares.

From the inside out::

    push ──> timeout ──> retry ──> split ──> queue
    (the exporter's own)           (when the peer takes only smaller messages)

With `sending_queue::storage` the queue is on disk (backlog.py): what is acknowledged survives the process, a
shutdown leaves what is not sent for the next start, and what a peer refuses for good becomes a dead letter.

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

from spanledger.exporters.answer import Divided, PartialSuccess, Permanent, Retryable, TooLarge
from spanledger.exporters.backlog import Backlog, LeftOnDisk
from spanledger.exporters.outcomes import Outcomes
from spanledger.exporters.queue import QueueConfig, SendingQueue
from spanledger.exporters.queue_file import QueueFile, Stored
from spanledger.exporters.retry import RetryConfig, gives_up, next_delay, pause
from spanledger.exporters.shrink import shrink
from spanledger.exporters.text import counted
from spanledger.processor.batch import SIGNALS, Delivery, split
from spanledger.processor.component import Refused, Rejected

if TYPE_CHECKING:
    from collections.abc import Sequence

    from spanledger.exporters.outcomes import DropReason
    from spanledger.exporters.queue import Item
    from spanledger.processor.batch import Signal
    from spanledger.processor.component import Host
    from spanledger.processor.storage import Storage

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
        self._retry = _patient(retry) if queue.storage is not None else retry
        self._timeout_s = timeout_s
        self._wait = wait
        self._draw = draw
        self._left = 0
        """Requests that stay on disk at the end, those that were being sent too."""
        self._consumers = queue.num_consumers
        self._queues = {signal: self._queue(signal, queue) for signal in SIGNALS}
        self._tasks: dict[Signal, set[asyncio.Task[None]]] = {signal: set() for signal in SIGNALS}
        # One thread each: long work of one exporter leaves the other cores, and the other exporters, alone.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=str(host.id))
        self._backlog: Backlog | None = None
        if queue.storage is not None:
            storage: Storage = host.extensions[queue.storage]
            file = QueueFile(storage.file_of(f"exporter/{host.id}"))
            self._backlog = Backlog(file, host, self._on_disk, self._resume, wait=wait)
        self.durable = self._backlog is not None
        """Whether requests are on disk before they are acknowledged."""
        self._kept: dict[int, int] = {}
        """The numbers of requests that are on disk and not committed, by the identity of the delivery."""
        self._limit_bytes: int | None = None
        self._stopping = asyncio.Event()
        self._deadline: float | None = None
        self._started = False
        self._stopped = False

    def _queue(self, signal: Signal, config: QueueConfig) -> SendingQueue:
        return SendingQueue(config, str(self.host.id), lambda q: self.outcomes.show_queue(signal, q))

    @abstractmethod
    async def push(self, delivery: Delivery) -> PartialSuccess | None:
        """Send `delivery` once. Raises a `SendError`; a timeout counts as retryable."""

    async def connect(self) -> None:  # noqa: B027 - there may be nothing to open
        """Get ready to push; raise with a plain message when the configuration makes that impossible."""

    async def disconnect(self) -> None:  # noqa: B027
        """Close what `connect` opened. Nothing is pushed after this."""

    # The life of a component.

    async def start(self) -> None:
        """Get ready. A peer that is away is no reason to fail: that is what the queue is for."""
        await self.connect()
        try:
            if self._backlog is not None:
                await self._backlog.open()
        except BaseException:
            await self.disconnect()
            raise
        self.outcomes.take_over(self._queues)
        self._started = True
        for signal, queue in self._queues.items():
            for _ in range(min(self._consumers, queue.requests)):
                self._start_consumer(signal)

    async def shutdown(self, deadline: float) -> int:
        """Send what is in line until `deadline` (`host.monotonic` seconds); return the items lost.

        Those that wait for their next attempt make it at once; further attempts are made as long as
        they come before the deadline. What is on disk is not waited for beyond the attempt that is under way.
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
            self._leave_line(queue)
        await self.disconnect()
        if self._backlog is not None:
            await self._backlog.close()
        if self._left:
            self.host.log.info("%s stay on disk and are sent after the next start", counted(self._left, "request"))
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
            **({"storage": self._backlog.statistics()} if self._backlog is not None else {}),
        }

    # The sink.

    def reserve(self, delivery: Delivery) -> None:
        """Hold room for `delivery`, or raise `Refused`."""
        try:
            if not self._started:
                # In a reload, requests come before what it needs was given up by its predecessor.
                raise Refused(f"exporter {self.host.id} is starting", reason="not_ready")
            self._queues[delivery.signal].reserve(delivery)
        except (Refused, Rejected) as error:
            self.outcomes.rejected(delivery, error)
            raise

    async def keep(self, delivery: Delivery) -> None:
        """Write a reserved delivery to disk. Raises `Refused` when that is not possible now."""
        if self._backlog is not None:
            self._kept[id(delivery)] = await self._backlog.keep(delivery)

    def release(self, delivery: Delivery) -> None:
        """Give the room of `reserve` back."""
        self._queues[delivery.signal].release(delivery)
        if self._backlog is not None and (seq := self._kept.pop(id(delivery), None)) is not None:
            self._backlog.forget(seq)

    def commit(self, delivery: Delivery) -> None:
        """Put `delivery` in line; it is acknowledged after this."""
        queue = self._queues[delivery.signal]
        # Steps are for the connectors; kept here they would outlive their use by the length of the line.
        bare = replace(delivery, steps=(), bridges=())
        item: Item = bare
        if self._backlog is not None:
            seq = self._kept.pop(id(delivery))
            self._backlog.hold(seq, bare)
            item = Stored(seq, bare.signal, bare.items, bare.size, bare.received_ns)
        queue.commit(item)
        if self._stopped:
            self._leave_line(queue)
        else:
            self._start_consumer(delivery.signal)

    def _resume(self, found: Sequence[Stored]) -> None:
        """Put in line what is on disk from an earlier life, or is to be replayed."""
        for stored in found:
            self._queues[stored.signal].resume(stored)
            if self._started and not self._stopped:
                self._start_consumer(stored.signal)
        if found:
            self.host.log.info("%s on disk are sent now", counted(len(found), "request"))

    def _start_consumer(self, signal: Signal) -> None:
        tasks = self._tasks[signal]
        if len(tasks) < self._consumers:
            # A consumer lives as long as there is something in line; the set owns it.
            work = self._consume(self._queues[signal], tasks)
            tasks.add(asyncio.create_task(work, name=f"{self.host.id} {signal}"))

    async def _consume(self, queue: SendingQueue, tasks: set[asyncio.Task[None]]) -> None:
        try:
            while not self._is_over() and (item := queue.take()) is not None:
                try:
                    if isinstance(item, Delivery):
                        await self._settle(item)
                    else:
                        await self._settle_stored(item)
                finally:
                    queue.done(item)
        finally:
            # Here and not in a done callback: that comes a turn later, and a commit in between would
            # count on a consumer that has already seen an empty line.
            tasks.discard(_this_task())

    def _is_over(self) -> bool:
        return self._stopped or (self.durable and self._stopping.is_set())

    async def _settle_stored(self, stored: Stored) -> None:
        """Send what is on disk and take it from there; what cannot be settled before the end stays."""
        assert self._backlog is not None
        try:
            if (delivery := await self._backlog.load(stored)) is not None:
                await self._settle(delivery, stored.seq)
                return
            lost = Delivery(stored.signal, b"", stored.items, stored.received_ns)
            self.outcomes.dropped(lost, "storage", "the queue's file was broken", "storage")
            self._backlog.forget(stored.seq)
        except LeftOnDisk:
            self._left += 1
        except asyncio.CancelledError:
            self._left += 1
            raise

    async def _settle(self, delivery: Delivery, seq: int | None = None) -> None:
        """Send `delivery`, whole or in parts. Every part ends up sent or counted as dropped.

        With its number `seq` on disk, raises `LeftOnDisk` instead when the end comes first. There, parts take the
        place of the whole as soon as there are any: however the process ends, what was sent is not sent again.
        """
        open_parts = [delivery]
        numbers = [seq]
        try:
            while open_parts:
                part, number = open_parts[-1], numbers[-1]
                too_long = self._limit_bytes is not None and len(part.data) > self._limit_bytes
                # A single item is not split; let the peer judge it.
                smaller = (await self._split(part) if too_long else None) or await self._send(part)
                open_parts.pop()
                numbers.pop()
                if smaller is not None:
                    open_parts += reversed(smaller)
                    numbers += reversed(self._note_parts(number, part, smaller))
                elif number is not None and self._backlog is not None:
                    self._backlog.forget(number)
        except (asyncio.CancelledError, LeftOnDisk):
            if seq is None:
                for part in open_parts:
                    self._drop_at_end(part)
            raise
        except Exception as error:
            self.host.log.exception("A fault of the exporter itself; please report it")
            for part, number in zip(open_parts, numbers, strict=True):
                self._lose(part, "permanent", f"internal error: {type(error).__name__}", "internal")
                if number is not None and self._backlog is not None:
                    self._backlog.forget(number)

    def _note_parts(self, number: int | None, whole: Delivery, parts: Sequence[Delivery]) -> Sequence[int | None]:
        shortened = len(parts) == 1 and parts[0].items == whole.items
        if self._backlog is None or number is None or shortened:
            # What was shortened is so for this peer, as it is now; the whole stays on disk.
            return [number] * len(parts)
        return self._backlog.replace(number, parts)

    async def _send(self, part: Delivery) -> Sequence[Delivery] | None:
        """Try until `part` is settled; return what to send instead when the peer took or takes only some of it."""
        started = self.host.monotonic()
        for attempt in count(1):
            failure: Retryable
            try:
                async with asyncio.timeout(self._time_allowed()):
                    partial = await self.push(part)
            except TooLarge as error:
                return await self._take_apart(part, error)
            except Divided as error:
                self.outcomes.failing(error)
                taken = max(0, part.items - sum(one.items for one in error.rest))
                self.outcomes.sent(replace(part, items=taken), None)
                return error.rest
            except Permanent as error:
                self.outcomes.failing(error)
                self._lose(part, "permanent", str(error), error.error_type)
                return None
            except Retryable as error:
                # This frame is among its frames: a circle, which would keep the request when it is long done with.
                failure = error.with_traceback(None)
            except TimeoutError:
                failure = Retryable("no answer in time; see `timeout`", "timeout")
            else:
                self.outcomes.working()
                self.outcomes.sent(part, partial)
                return None
            self.outcomes.failing(failure)
            delay = next_delay(attempt, failure.throttle_s, self._retry, self._draw())
            reason = self._gives_up(started, delay)
            if self.durable and (reason == "shutdown" or self._stopping.is_set()):
                raise LeftOnDisk
            if reason is not None:
                self._lose(part, reason, f"given up after {counted(attempt, 'attempt')}: {failure}", failure.error_type)
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

    async def _take_apart(self, part: Delivery, error: TooLarge) -> Sequence[Delivery] | None:
        limit = max(error.limit_bytes or len(part.data) - 1, SMALLEST_LIMIT)
        if self._limit_bytes is None or limit < self._limit_bytes:
            self._limit_bytes = limit
            self.host.log.info("The peer takes at most about %d bytes at once; longer requests are split", limit)
        if (halves := await self._split(part)) is not None:
            return halves
        # Without a number from the peer, half of what it refused; until nothing is left to cut.
        shorter = await self.in_thread(shrink, part, min(error.limit_bytes or part.size // 2, limit))
        if shorter is not None:
            self.outcomes.shortened(part, shorter)
            return (shorter,)
        why = f"one item of {part.size} bytes is more than the peer takes: {error}"
        self._lose(part, "oversized", why, error.error_type)
        return None

    def _lose(self, part: Delivery, reason: DropReason, why: str, error_type: str) -> None:
        self.outcomes.dropped(part, reason, why, error_type)
        if self._backlog is not None and reason != "shutdown":
            self._backlog.bury(part, why)

    async def _split(self, part: Delivery) -> tuple[Delivery, Delivery] | None:
        # 64 MiB take a second.
        return await self.in_thread(split, part)

    async def in_thread(self, work: Callable[..., _T], *arguments: Any) -> _T:
        """Run blocking or long work while the loop serves others; one at a time, in order."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, work, *arguments)

    async def to_its_end(self, work: Callable[..., _T], *arguments: Any) -> _T:
        """Run in the thread what cannot be taken back: done all the same where time is up meanwhile, and told so."""
        doing = asyncio.ensure_future(self.in_thread(work, *arguments))
        try:
            return await asyncio.shield(doing)
        except asyncio.CancelledError:
            return await doing

    async def _on_disk(self, work: Callable[..., _T], *arguments: Any) -> _T:
        """Run the disk's work. It ends even when the waiting for it is given up: the next in line relies on it."""
        return await asyncio.shield(self.in_thread(work, *arguments))

    def _leave_line(self, queue: SendingQueue) -> None:
        """Empty the line at the end: what is on disk stays there, the rest is lost."""
        while (item := queue.take()) is not None:
            if isinstance(item, Delivery):
                self._drop_at_end(item)
            else:
                self._left += 1
            queue.done(item)

    def _drop_at_end(self, part: Delivery) -> None:
        self.outcomes.dropped(part, "shutdown", "not sent before the end of the shutdown", "shutdown")


def _patient(retry: RetryConfig) -> RetryConfig:
    """Never give up on what is on disk, unless the configuration says when."""
    chosen = "max_elapsed_time" in retry.model_fields_set
    return retry if chosen else retry.model_copy(update={"max_elapsed_time": 0.0})


def _this_task() -> asyncio.Task[None]:
    task = asyncio.current_task()
    assert task is not None
    return task

"""One signal's messages, from the brokers to acceptance.

    fetch ──> line of its partition ──> taken by the pipelines ──> noted ──> committed by the library
                   │                        │ refused: again, after a pause; the rest of the line waits
                   │                        └ never readable: set aside, then noted
                   └ partition revoked: what is worked on finishes or is given up, the rest is another's

Offsets are noted in order and only after acceptance, so what a kill leaves unnoted comes again: at least once.
When as much is in hand as may be, all partitions are paused; the group is still answered.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from itertools import count
from typing import TYPE_CHECKING, Any, Final

from spanledger.exporters.retry import next_delay, pause
from spanledger.receivers.kafka.consumer import Consumer, Gone
from spanledger.receivers.kafka.line import Line

if TYPE_CHECKING:
    from spanledger.processor.batch import Signal
    from spanledger.processor.component import Host
    from spanledger.receivers.kafka.config import KafkaReceiverConfig
    from spanledger.receivers.kafka.consumer import Message, Place
    from spanledger.receivers.otlp.answers import Answer

FINISHING_S: Final = 5.0
"""For what is worked on when its partition goes to another member. The group waits for us meanwhile."""
_AGAIN_S: Final = 5.0
_FULL_S: Final = 0.1
_QUIET_S: Final = 10.0
_FINAL: Final = frozenset({"undecodable", "too_large"})
_OUR_FAULT_ATTEMPTS: Final = 5
"""A message that makes us fail each time would stop its partition for ever."""


class Subscription:
    """A member of the group for one signal.

    `take` hands a message to the pipelines, `set_aside` does with one that nobody can read what the configuration
    says; it may be called again for the same message.
    """

    def __init__(
        self,
        signal: Signal,
        config: KafkaReceiverConfig,
        host: Host,
        take: Callable[[Message], Awaitable[Answer]],
        set_aside: Callable[[Message, Answer], Awaitable[None]],
        *,
        make: Callable[[dict[str, Any]], Any] | None = None,
        draw: Callable[[], float] = random.random,
        wait: Callable[[float, asyncio.Event], Awaitable[None]] = pause,
    ) -> None:
        self.signal = signal
        self.assigned_places: set[Place] = set()
        self.held_bytes = 0
        self.last_error: str | None = None
        self._config = config
        self._host = host
        self._take = take
        self._set_aside = set_aside
        self._make = make
        self._draw = draw
        self._wait = wait
        self._lines: dict[Place, Line] = {}
        self._next: dict[Place, int] = {}
        self._lag = host.metrics.gauge("spanledger_kafka_lag_messages")
        self._messages = host.metrics.counter("spanledger_kafka_messages_total")
        self._shown: set[str] = set()
        self._unreachable = False
        self._log_again = float("-inf")
        self._room = asyncio.Event()
        self._room.set()
        self._stopping = asyncio.Event()
        self._consumer: Consumer | None = None
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Join the group, in the background. Raises ValueError or OSError for settings that cannot work."""
        self._consumer = self._join()
        self._task = asyncio.create_task(self._run(), name=f"{self._host.id} {self.signal}")

    async def stop(self, patience_s: float) -> None:
        """Give up what is not accepted within `patience_s`, commit the rest and leave the group."""
        self._stopping.set()
        self._room.set()
        if self._task is not None:
            await self._task
        await self._leave(list(self._lines), patience_s)
        if self._consumer is not None:
            await self._consumer.close()
        self._show_lag({})

    def statistics(self) -> Mapping[str, Any]:
        """Return what is assigned and in hand."""
        return {
            "partitions": sorted(f"{topic}[{number}]" for topic, number in self.assigned_places),
            "messages_in_hand": sum(len(line.waiting) for line in self._lines.values()),
            "bytes_in_hand": self.held_bytes,
            "last_error": self.last_error,
        }

    # What the consumer tells.

    async def revoked(self, places: Sequence[Place]) -> None:
        """See `Events`."""
        await self._leave(places, FINISHING_S)
        self.assigned_places.difference_update(places)
        if places:
            self._host.log.info("%s: %d partitions given back", self.signal, len(places))

    def assigned(self, places: Sequence[Place]) -> None:
        """See `Events`."""
        self.assigned_places.update(places)
        self._works()
        if places:
            self._host.log.info("%s: %d partitions more, %d now", self.signal, len(places), len(self.assigned_places))

    def connected(self, ends: Mapping[Place, int]) -> None:
        """See `Events`."""
        if self._unreachable:
            self._works()
        lags: dict[str, int] = {}
        for place, end in ends.items():
            if place in self.assigned_places and place in self._next:
                lags[place[0]] = lags.get(place[0], 0) + max(0, end - self._next[place])
        self._show_lag(lags)

    def trouble(self, why: str, unreachable: bool = False) -> None:
        """See `Events`."""
        self._unreachable = unreachable
        if self.last_error is None:
            self._host.report("recoverable_error", why)
        self.last_error = why
        if (now := self._host.monotonic()) >= self._log_again:
            self._log_again = now + _QUIET_S
            self._host.log.warning("%s: the brokers do not give messages: %s", self.signal, why)

    # The work.

    def _join(self) -> Consumer:
        config = self._config
        return Consumer(
            config.consumer(self.signal),
            config.topics(self.signal),
            self,
            commit_each=not config.autocommit.enable,
            patience_s=FINISHING_S + 1,
            make=self._make,
        )

    async def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                if self._consumer is None:
                    self._consumer = self._join()
                room_bytes = self._config.max_in_flight_bytes - self.held_bytes
                messages = await self._consumer.fetch(room_bytes)
            except Exception as error:  # noqa: BLE001 - whatever it is: from the last commit on, all comes again
                await self._begin_anew(error)
                continue
            for message in messages:
                self._add(message)
            if messages:
                self._works()
            elif room_bytes <= 0:
                self._room.clear()
                await self._wait(_FULL_S, self._room)

    async def _begin_anew(self, error: Exception) -> None:
        """Leave with what is accepted; the next turn joins with a new consumer."""
        known = isinstance(error, Gone | ValueError | OSError)
        self._host.log.error("%s: joining anew after: %s", self.signal, error, exc_info=None if known else error)
        self.trouble(str(error))
        await self._leave(list(self._lines), 0.0)
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            await consumer.close()
        self.assigned_places.clear()
        await self._wait(_AGAIN_S, self._stopping)

    def _add(self, message: Message) -> None:
        line = self._lines.get(message.place)
        if line is None:
            topic, number = message.place
            line = self._lines[message.place] = Line(self._settle, self._settled, f"{topic}[{number}]")
        self.held_bytes += message.size_bytes
        self._next.setdefault(message.place, message.offset)
        line.add(message)

    async def _settle(self, message: Message, leaving: asyncio.Event) -> bool:
        for attempt in count(1):
            answer = await self._take(message)
            if not answer.reason:
                self._count("accepted")
                return True
            if answer.reason in _FINAL or (answer.reason == "internal" and attempt >= _OUR_FAULT_ATTEMPTS):
                await self._set_aside(message, answer)
                self._count("set_aside")
                return True
            if not leaving.is_set():
                self._count("retried")
                delay_s = next_delay(attempt, answer.retry_after_s or 0.0, self._config.error_backoff, self._draw())
                await self._wait(delay_s, leaving)
            if leaving.is_set():
                return False
        raise AssertionError("unreachable")

    def _settled(self, message: Message) -> None:
        if self._consumer is not None:
            self._consumer.accepted(message.place, message.offset)
        self._next[message.place] = message.offset + 1
        self._free(message)

    def _free(self, message: Message) -> None:
        self.held_bytes -= message.size_bytes
        if self.held_bytes < self._config.max_in_flight_bytes:
            self._room.set()

    async def _leave(self, places: Sequence[Place], patience_s: float) -> None:
        lines = [(place, line) for place in places if (line := self._lines.pop(place, None)) is not None]
        await asyncio.gather(*(line.leave(patience_s) for _, line in lines))
        for _, line in lines:
            for message in line.waiting:
                self._count("given_up")
                self._free(message)
        for place in places:
            self._next.pop(place, None)

    def _works(self) -> None:
        if self.last_error is not None:
            self.last_error = None
            self._unreachable = False
            self._host.report("ok", "")

    def _count(self, outcome: str) -> None:
        self._messages.add((str(self._host.id), self.signal, outcome))

    def _show_lag(self, lags: Mapping[str, int]) -> None:
        receiver = str(self._host.id)
        for topic in self._shown - lags.keys():
            self._lag.remove((receiver, topic))
        for topic, lag in lags.items():
            self._lag.set((receiver, topic), lag)
        self._shown = set(lags)

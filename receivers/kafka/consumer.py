"""The client library's consumer behind a thread of its own.

Every call of the library is made on that thread, for it lets only one in at a time and asking for messages may take
a quarter of a second; its callbacks run there too. What they tell comes to the loop as `Events`, and what was
accepted goes to the library with the next call.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as TooLate
from dataclasses import dataclass
from typing import Any, Final, Protocol

from spanledger.processor.kafka import library

Place = tuple[str, int]
"""A topic and a partition of it."""

POLL_S: Final = 0.25
AROUND_BYTES: Final = 512
"""What an empty message takes of the room: there may be very many of them."""


@dataclass(frozen=True, slots=True)
class Message:
    """One message as it stands in its partition."""

    place: Place
    offset: int
    key: bytes | None
    value: bytes

    @property
    def size_bytes(self) -> int:
        """What it takes of the room."""
        return len(self.value) + AROUND_BYTES


class Events(Protocol):
    """What a consumer tells; all of it on the loop."""

    async def revoked(self, places: Sequence[Place]) -> None:
        """Finish or give up what is in hand of these partitions; when this returns they are another's."""
        ...

    def assigned(self, places: Sequence[Place]) -> None:
        """Note that these partitions are ours from now on."""
        ...

    def connected(self, ends: Mapping[Place, int]) -> None:
        """Note that a broker is there, and the offsets that the next messages of the partitions will have."""
        ...

    def trouble(self, why: str, unreachable: bool) -> None:
        """Note that something does not work now, or that no broker is there; the library keeps trying."""
        ...


class Gone(Exception):  # noqa: N818 - says what happened
    """The library's consumer cannot go on; a new one can."""


class Consumer:
    """A member of a consumer group. `make` builds the library's consumer, for tests."""

    def __init__(
        self,
        settings: Mapping[str, Any],
        topics: Sequence[str],
        events: Events,
        *,
        commit_each: bool,
        patience_s: float,
        make: Callable[[dict[str, Any]], Any] | None = None,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._events = events
        self._commit_each = commit_each
        self._patience_s = patience_s
        self._paused: bool | None = False
        """None when some partitions are and others are not."""
        self._fetched: list[Message] = []
        self._noted: dict[Place, int] = {}
        self._kafka = library()
        watched = {"error_cb": self._on_error, "stats_cb": self._on_statistics}
        try:
            self._consumer = (make or self._kafka.Consumer)({**settings, **watched})
        except self._kafka.KafkaException as error:
            raise ValueError(f"the client library does not take these settings: {error}") from error
        told = {"on_assign": self._on_assign, "on_revoke": self._on_revoke, "on_lost": self._on_revoke}
        try:
            self._consumer.subscribe(list(topics), **told)
        except self._kafka.KafkaException as error:
            raise ValueError(f"topics: cannot subscribe to {', '.join(topics)}: is a pattern wrong? {error}") from error
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="kafka-consumer")

    async def fetch(self, room_bytes: int) -> list[Message]:
        """Return what has come, none after a moment without. Without room nothing is asked for.

        To be called all the time: the group thinks a member dead that does not. After an exception this consumer is of
        no use: what it had in hand is only with the brokers, from the last commit on.
        """
        return await self._loop.run_in_executor(self._thread, self._fetch, room_bytes, self._take_noted())

    def accepted(self, place: Place, offset: int) -> None:
        """Note that all messages of a partition up to this one are taken care of."""
        self._noted[place] = offset + 1

    async def close(self) -> None:
        """Commit what is noted and leave the group."""
        try:
            await self._loop.run_in_executor(self._thread, self._leave, self._take_noted())
        finally:
            self._thread.shutdown(wait=False)

    def _take_noted(self) -> dict[Place, int]:
        noted, self._noted = self._noted, {}
        return noted

    async def _release(self, places: Sequence[Place]) -> dict[Place, int]:
        await self._events.revoked(places)
        # Of these only: when this comes too late nobody takes it, and the others are still ours.
        return {place: self._noted.pop(place) for place in places if place in self._noted}

    # On the thread.

    def _leave(self, noted: Mapping[Place, int]) -> None:
        self._store(noted)
        # What cannot be said to the brokers now they find out by `session_timeout`.
        with contextlib.suppress(self._kafka.KafkaException, RuntimeError):
            self._consumer.close()

    def _store(self, noted: Mapping[Place, int]) -> None:
        for (topic, partition), offset in noted.items():
            offsets = [self._kafka.TopicPartition(topic, partition, offset)]
            # The partition may have become another's this moment: then the messages come again there.
            with contextlib.suppress(self._kafka.KafkaException):
                if self._commit_each:
                    self._consumer.commit(offsets=offsets, asynchronous=True)
                else:
                    self._consumer.store_offsets(offsets=offsets)

    def _fetch(self, room_bytes: int, noted: Mapping[Place, int]) -> list[Message]:
        self._store(noted)
        full = room_bytes <= 0
        if full != self._paused:
            (self._consumer.pause if full else self._consumer.resume)(self._consumer.assignment())
            self._paused = full
        self._fetched = []
        try:
            raw = self._consumer.poll(0.0 if full else POLL_S)
            while raw is not None:
                if (error := raw.error()) is not None:
                    self._on_error(error)
                else:
                    place = raw.topic(), raw.partition()
                    self._fetched.append(Message(place, raw.offset(), raw.key(), raw.value() or b""))
                    room_bytes -= self._fetched[-1].size_bytes
                raw = self._consumer.poll(0.0) if room_bytes > 0 else None
        except self._kafka.KafkaException as error:
            self._on_error(error.args[0])
        return self._fetched

    def _on_assign(self, _consumer: Any, partitions: Sequence[Any]) -> None:
        # New ones are not paused, those that we keep are as they were.
        if self._paused:
            self._paused = None
        self._tell(self._events.assigned, _places(partitions))

    def _on_revoke(self, _consumer: Any, partitions: Sequence[Any]) -> None:
        places = _places(partitions)
        # These were not handed over yet, and may come again with lower offsets before them.
        self._fetched = [message for message in self._fetched if message.place not in places]
        done = asyncio.run_coroutine_threadsafe(self._release(places), self._loop)
        # The library commits what is stored when this returns.
        with contextlib.suppress(TooLate):
            self._store(done.result(self._patience_s))

    def _on_error(self, error: Any) -> None:
        errors = self._kafka.KafkaError
        # One broker of several that goes away is nothing: the library turns to the others.
        if error.code() not in {errors._TRANSPORT, errors._RESOLVE}:  # noqa: SLF001 - the library's names
            unreachable = error.code() == errors._ALL_BROKERS_DOWN  # noqa: SLF001
            self._tell(self._events.trouble, f"{error.name()}: {error.str()}", unreachable)
        if error.fatal():
            raise Gone(error.str())

    def _on_statistics(self, text: str) -> None:
        told = json.loads(text)
        if any(broker.get("state") == "UP" for broker in told.get("brokers", {}).values()):
            ends = {
                (topic, int(number)): partition.get("hi_offset", -1)
                for topic, found in told.get("topics", {}).items()
                for number, partition in found.get("partitions", {}).items()
            }
            self._tell(self._events.connected, {place: end for place, end in ends.items() if end >= 0})

    def _tell(self, event: Callable[..., None], *what: Any) -> None:
        with contextlib.suppress(RuntimeError):  # the loop may be gone when the process ends
            self._loop.call_soon_threadsafe(event, *what)


def _places(partitions: Sequence[Any]) -> list[Place]:
    return [(partition.topic, partition.partition) for partition in partitions]

"""Writes messages to Kafka and says of each whether the brokers have it.

librdkafka has the messages from `produce` on: it batches, sends and retries until `message.timeout.ms`, on threads of
its own. One more thread takes its reports and wakes the loop once for each call of `send`.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from spanledger.processor.kafka import library

TOO_LARGE: Final = frozenset({10, 18})
"""MSG_SIZE_TOO_LARGE, RECORD_LIST_TOO_LARGE (Kafka protocol, error codes)."""
NEVER: Final = TOO_LARGE | {17, 43, 44, 76, 87}
"""What is about the message itself, and the same again however often it is sent: these, and INVALID_TOPIC_EXCEPTION,
UNSUPPORTED_FOR_MESSAGE_FORMAT, POLICY_VIOLATION, UNSUPPORTED_COMPRESSION_TYPE, INVALID_RECORD."""

_REPORTS_S: Final = 0.1
_PAUSE_EVERY: Final = 256


@dataclass(frozen=True, slots=True)
class Record:
    """One message to write."""

    topic: str
    value: bytes
    key: bytes | None = None
    headers: tuple[tuple[str, bytes], ...] = ()


@dataclass(frozen=True, slots=True)
class Failure:
    """What became of a message that the brokers do not have, or may not have."""

    record: Record
    code: int
    """A code of `confluent_kafka.KafkaError`."""
    name: str
    """The name of the code, such as `_MSG_TIMED_OUT`; from a closed set."""
    message: str


class Producer:
    """The library's producer with its thread. `make` builds the former, for tests."""

    def __init__(self, settings: dict[str, Any], make: Callable[[dict[str, Any]], Any] | None = None) -> None:
        self._settings = settings
        self._make = make
        self._errors: Any = None
        self._producer: Any = None
        self._reporter: threading.Thread | None = None
        self._ending = threading.Event()

    def start(self) -> None:
        """Begin to connect. Raises ValueError for settings that the library does not take."""
        kafka = library()
        self._errors = kafka.KafkaError
        try:
            self._producer = (self._make or kafka.Producer)(self._settings)
        except kafka.KafkaException as error:
            raise ValueError(f"the client library does not take these settings: {error}") from error
        self._reporter = threading.Thread(target=self._report, name="kafka-reports", daemon=True)
        self._reporter.start()

    async def send(self, records: Sequence[Record]) -> list[Failure]:
        """Write all of `records`; return those that failed when each has its verdict."""
        attempt = _Attempt(asyncio.get_running_loop(), len(records))
        for count, record in enumerate(records, 1):
            try:
                self._producer.produce(
                    record.topic,
                    value=record.value,
                    key=record.key,
                    headers=list(record.headers),
                    on_delivery=partial(attempt.settle, record),
                )
            except BufferError:
                attempt.settle(record, self._errors(self._errors._QUEUE_FULL))  # noqa: SLF001 - the library's name
            except library().KafkaException as error:
                attempt.settle(record, error.args[0])
            if count % _PAUSE_EVERY == 0:
                await asyncio.sleep(0)
        return await attempt.failures if records else []

    async def close(self) -> None:
        """End; what has no verdict yet is given up."""
        if self._producer is None:
            return
        self._ending.set()
        producer, reporter = self._producer, self._reporter
        self._producer = self._reporter = None
        producer.purge()
        if reporter is not None:
            await asyncio.to_thread(reporter.join)
        await asyncio.to_thread(producer.close)

    def _report(self) -> None:
        producer = self._producer
        while not self._ending.is_set():
            producer.poll(_REPORTS_S)
        producer.poll(0)


class _Attempt:
    """Waits for the verdicts on the messages of one call; they come on any thread."""

    def __init__(self, loop: asyncio.AbstractEventLoop, count: int) -> None:
        self.failures: asyncio.Future[list[Failure]] = loop.create_future()
        self._loop = loop
        self._open = count
        self._failed: list[Failure] = []
        self._lock = threading.Lock()

    def settle(self, record: Record, error: Any, _message: Any = None) -> None:
        """Take the verdict on one message; `error` is None when the brokers have it."""
        with self._lock:
            if error is not None:
                self._failed.append(Failure(record, error.code(), error.name(), error.str()))
            self._open -= 1
            last = not self._open
        if last:
            # The loop may be gone when the process ends.
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._finish)

    def _finish(self) -> None:
        if not self.failures.done():
            self.failures.set_result(self._failed)

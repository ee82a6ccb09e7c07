"""Stand-ins for the classes of the Kafka client library, which tests tell what to do."""

from __future__ import annotations

import json
import queue
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from confluent_kafka import KafkaError, KafkaException, TopicPartition


@dataclass(frozen=True)
class FakeMessage:
    """A message as the consumer gives it."""

    offset_: int
    value_: bytes | None = b""
    topic_: str = "otlp_spans"
    partition_: int = 0
    error_: KafkaError | None = None

    def topic(self) -> str:
        """Return the topic."""
        return self.topic_

    def partition(self) -> int:
        """Return the partition."""
        return self.partition_

    def offset(self) -> int:
        """Return the offset."""
        return self.offset_

    def key(self) -> bytes | None:
        """Return the key."""
        return b"key"

    def value(self) -> bytes | None:
        """Return the payload."""
        return self.value_

    def error(self) -> KafkaError | None:
        """Return what is wrong instead of a message."""
        return self.error_


class FakeConsumer:
    """A consumer that polls what a test puts into it: messages, and things to do on its thread."""

    def __init__(self, settings: dict[str, Any]) -> None:
        self.settings = settings
        self.stored: list[tuple[str, int, int]] = []
        self.committed: list[tuple[str, int, int]] = []
        self.paused: list[bool] = []
        self.assigned: list[TopicPartition] = []
        self.closed = False
        self._kept: list[FakeMessage] = []
        self._coming: queue.SimpleQueue[FakeMessage | Callable[[], None]] = queue.SimpleQueue()

    def subscribe(self, topics: list[str], **callbacks: Any) -> None:
        """Remember what is wanted."""
        self.topics, self.callbacks = topics, callbacks

    def put(self, *messages: FakeMessage) -> None:
        """Let messages come."""
        for message in messages:
            self._coming.put(message)

    def do(self, work: Callable[[], None]) -> threading.Event:
        """Run `work` within the next poll; the event is set when it is done."""
        done = threading.Event()
        self._coming.put(lambda: (work(), done.set())[0])
        return done

    def assign(self, *numbers: int, topic: str = "otlp_spans") -> threading.Event:
        """Give partitions."""
        partitions = [TopicPartition(topic, number) for number in numbers]

        def give() -> None:
            self.assigned += partitions
            self.callbacks["on_assign"](self, partitions)

        return self.do(give)

    def revoke(self, *numbers: int, topic: str = "otlp_spans") -> threading.Event:
        """Take partitions away."""
        partitions = [TopicPartition(topic, number) for number in numbers]

        def take() -> None:
            self.assigned = [one for one in self.assigned if one not in partitions]
            self.callbacks["on_revoke"](self, partitions)

        return self.do(take)

    def tell(self, ends: dict[int, int], up: bool = True) -> threading.Event:
        """Give statistics with the ends of partitions."""
        partitions = {str(number): {"hi_offset": end} for number, end in ends.items()}
        told = {
            "brokers": {"one": {"state": "UP" if up else "DOWN"}},
            "topics": {"otlp_spans": {"partitions": {"-1": {"hi_offset": -1}, **partitions}}},
        }
        return self.do(lambda: self.settings["stats_cb"](json.dumps(told)))

    def poll(self, timeout: float) -> FakeMessage | None:
        """Return the next message, after doing what is to be done before it."""
        if self._kept and self.paused[-1:] != [True]:
            return self._kept.pop(0)
        while True:
            try:
                # Short, so that a test that stops does not wait.
                found = self._coming.get(timeout=min(timeout, 0.005)) if timeout else self._coming.get_nowait()
            except queue.Empty:
                return None
            if not isinstance(found, FakeMessage):
                found()
            elif self.paused[-1:] == [True]:
                self._kept.append(found)
            else:
                return found

    def assignment(self) -> list[TopicPartition]:
        """Return what is ours."""
        return self.assigned

    def pause(self, _partitions: Sequence[TopicPartition]) -> None:
        """Note."""
        self.paused.append(True)

    def resume(self, _partitions: Sequence[TopicPartition]) -> None:
        """Note."""
        self.paused.append(False)

    def store_offsets(self, offsets: Sequence[TopicPartition]) -> None:
        """Note."""
        if offsets[0].partition not in {one.partition for one in self.assigned}:
            raise KafkaException(KafkaError(KafkaError._STATE))
        self.stored += [(one.topic, one.partition, one.offset) for one in offsets]

    def commit(self, offsets: Sequence[TopicPartition], asynchronous: bool) -> None:
        """Note."""
        assert asynchronous
        self.committed += [(one.topic, one.partition, one.offset) for one in offsets]

    def close(self) -> None:
        """Leave."""
        self.closed = True
        self.callbacks["on_revoke"](self, self.assigned)


@dataclass
class FakeProducer:
    """A producer that settles each message as a test says: None, an error, or an exception at once."""

    settings: dict[str, Any]
    verdict: Callable[[str, bytes], KafkaError | Exception | None] = lambda _topic, _value: None
    produced: list[dict[str, Any]] = field(default_factory=list)
    purged: bool = False
    _reports: queue.SimpleQueue[Callable[[], None]] = field(default_factory=queue.SimpleQueue)

    def produce(self, topic: str, value: bytes, key: bytes | None, headers: Any, on_delivery: Any) -> None:
        """Take a message."""
        outcome = self.verdict(topic, value)
        if isinstance(outcome, Exception):
            raise outcome
        self.produced.append({"topic": topic, "value": value, "key": key, "headers": headers})
        self._reports.put(lambda: on_delivery(outcome, None))

    def poll(self, timeout: float) -> None:
        """Report."""
        try:
            self._reports.get(timeout=min(timeout, 0.005) if timeout else 0.0005)()
        except queue.Empty:
            return

    def purge(self) -> None:
        """Note."""
        self.purged = True

    def close(self) -> None:
        """End."""
        assert self.purged

"""The kafka receiver: what is noted, tried again, set aside and given up; on a client library told what to do."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pydantic
import pytest
from confluent_kafka import KafkaError

from spanledger.processor.batch import Batch
from spanledger.processor.component import Host, Refused
from spanledger.receivers.kafka.config import KafkaReceiverConfig
from spanledger.receivers.kafka.receiver import KafkaReceiver
from tests.fakes import Numbers, host, request, span
from tests.kafka_fakes import FakeConsumer, FakeMessage, FakeProducer

GOOD = request(span(1)).SerializeToString()


class Bench:
    """A receiver on a fake client, and pipelines that do as they are told."""

    def __init__(self, **settings: Any) -> None:
        self.consumers: list[FakeConsumer] = []
        self.producers: list[FakeProducer] = []
        self.taken: list[Batch] = []
        self.numbers = Numbers()
        self.statuses: list[str] = []
        self.refuse: Callable[[int], Exception | None] = lambda _attempt: None
        self.attempts = 0
        self.open = asyncio.Event()
        self.open.set()
        self.host: Host = host("kafka", numbers=self.numbers, report=lambda status, _why: self.statuses.append(status))
        self.pauses: list[float] = []
        self.receiver = KafkaReceiver(
            KafkaReceiverConfig(**settings),
            self.host,
            make_consumer=self._consumer,
            make_producer=self._producer,
            wait=self._wait,
            draw=lambda: 0.5,
        )
        self.receiver.consumers = {"traces": self._consume}

    def _consumer(self, settings: dict[str, Any]) -> FakeConsumer:
        self.consumers.append(FakeConsumer(settings))
        return self.consumers[-1]

    def _producer(self, settings: dict[str, Any]) -> FakeProducer:
        self.producers.append(FakeProducer(settings))
        return self.producers[-1]

    async def _wait(self, delay_s: float, _wake: asyncio.Event) -> None:
        self.pauses.append(delay_s)
        await asyncio.sleep(0)

    async def _consume(self, batch: Batch) -> None:
        self.attempts += 1
        await self.open.wait()
        if (error := self.refuse(self.attempts)) is not None:
            raise error
        self.taken.append(batch)

    @property
    def client(self) -> FakeConsumer:
        """The consumer of the library in use."""
        return self.consumers[-1]

    def is_stored(self, offset: int) -> bool:
        """Tell whether the library was told that all before `offset` is taken care of."""
        return self.client.stored[-1:] == [("otlp_spans", 0, offset)]

    def outcomes(self, outcome: str) -> float:
        """Return how many messages ended so."""
        return self.numbers.values["spanledger_kafka_messages_total", "kafka", "traces", outcome]

    async def until(self, holds: Callable[[], object]) -> None:
        """Wait for a condition; the client's thread takes its time."""
        async with asyncio.timeout(20):
            while not holds():  # noqa: ASYNC110 - what happens on the client's thread sets no event
                await asyncio.sleep(0.001)


@asynccontextmanager
async def bench(**settings: Any) -> AsyncIterator[Bench]:
    """Run a receiver that has partition 0 of `otlp_spans`."""
    made = Bench(**settings)
    await made.receiver.start()
    await made.until(made.client.assign(0).is_set)
    yield made
    made.open.set()
    await made.receiver.shutdown(made.host.monotonic() + 1)
    assert all(client.closed for client in made.consumers)


async def test_a_message_is_noted_after_it_was_taken() -> None:
    """Not before the pipeline returns; the offset is that of the next message."""
    async with bench() as one:
        one.open.clear()
        one.client.put(FakeMessage(7, GOOD))
        await one.until(lambda: one.attempts)
        assert one.client.stored == []
        one.open.set()
        await one.until(lambda: one.client.stored)
        assert one.client.stored == [("otlp_spans", 0, 8)]
    assert one.taken[0].transport == "kafka"
    assert one.numbers.values["otelcol_receiver_accepted_spans_total", "kafka", "kafka"] == 1
    assert one.client.settings["enable.auto.offset.store"] is False


async def test_without_autocommit_each_message_is_committed() -> None:
    """As the Collector does with `autocommit::enable: false`."""
    async with bench(autocommit={"enable": False}) as one:
        one.client.put(FakeMessage(7, GOOD))
        await one.until(lambda: one.client.committed)
        assert one.client.committed == [("otlp_spans", 0, 8)]
        assert one.client.stored == []


async def test_a_refused_message_is_tried_again_and_those_behind_it_wait() -> None:
    """In order, for as long as it takes, with growing pauses."""
    async with bench() as one:
        one.refuse = lambda attempt: Refused("full") if attempt < 4 else None
        one.client.put(FakeMessage(1, GOOD), FakeMessage(2, GOOD))
        await one.until(lambda: one.is_stored(3))
        assert one.client.stored == sorted(one.client.stored)
        assert one.outcomes("retried") == 3
        assert one.outcomes("accepted") == 2
        assert one.pauses[:3] == [1.0, 1.5, 2.25]


async def test_a_message_that_cannot_be_decoded_is_skipped_and_counted(caplog: pytest.LogCaptureFixture) -> None:
    """Its content is nowhere in the log."""
    async with bench() as one:
        one.client.put(FakeMessage(1, b"\xffsecret"), FakeMessage(2, None), FakeMessage(3, GOOD))
        await one.until(lambda: one.is_stored(4))
        assert one.outcomes("set_aside") == 1
        assert one.numbers.values["spanledger_refused_requests_total", "kafka", "kafka", "undecodable"] == 1
        assert len(one.taken) == 2
    assert "otlp_spans[0]@1" in caplog.text
    assert "secret" not in caplog.text


async def test_a_dead_letter_is_written_before_the_message_is_noted() -> None:
    """With the reason and the place; the brokers refuse it at first."""
    async with bench(dead_letter_topic="dead", logs={"encoding": "otlp_json"}) as one:
        one.client.put(FakeMessage(1, b"\xffsecret"))
        await one.until(lambda: one.client.stored)
        (letter,) = one.producers[0].produced
    assert (letter["topic"], letter["key"], letter["value"]) == ("dead", b"key", b"\xffsecret")
    assert dict(letter["headers"])["spanledger.offset"] == b"1"


async def test_a_dead_letter_that_its_topic_never_takes_does_not_stop_the_partition(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A topic for dead letters may take only smaller messages than the one they are from."""
    async with bench(dead_letter_topic="dead") as one:
        one.producers[0].verdict = lambda _topic, _value: KafkaError(KafkaError.MSG_SIZE_TOO_LARGE)
        one.client.put(FakeMessage(1, b"\xffsecret"), FakeMessage(2, GOOD))
        await one.until(lambda: one.is_stored(3))
        assert one.outcomes("set_aside") == 1
    assert "a dead letter cannot be written" in caplog.text


async def test_a_message_that_we_fail_on_does_not_stop_its_partition() -> None:
    """A fault of ours is tried a few times, then the message is set aside."""
    async with bench() as one:
        one.refuse = lambda attempt: RuntimeError("fault") if attempt <= 5 else None
        one.client.put(FakeMessage(1, GOOD), FakeMessage(2, GOOD))
        await one.until(lambda: one.is_stored(3))
        assert (one.outcomes("retried"), one.outcomes("set_aside"), one.outcomes("accepted")) == (4, 1, 1)


async def test_too_large_a_message_is_set_aside() -> None:
    """Alone it is more than may be in hand."""
    async with bench(max_in_flight_mib=1) as one:
        one.client.put(FakeMessage(1, bytes(1024 * 1024 + 1)))
        await one.until(lambda: one.client.stored)
        assert one.numbers.values["spanledger_refused_requests_total", "kafka", "kafka", "too_large"] == 1


async def test_when_as_much_is_in_hand_as_may_be_partitions_are_paused() -> None:
    """The group is still answered, and partitions resume when there is room."""
    message = request(span(1, note="x" * 600_000)).SerializeToString()
    async with bench(max_in_flight_mib=1) as one:
        one.open.clear()
        one.client.put(FakeMessage(1, message), FakeMessage(2, message))
        await one.until(lambda: one.client.paused == [True])
        # Still polled: what the group asks is done.
        await one.until(one.client.tell({0: 10}).is_set)
        one.open.set()
        await one.until(lambda: one.client.paused == [True, False])
        await one.until(lambda: one.is_stored(3))


async def test_partitions_that_were_kept_over_a_rebalance_resume_too() -> None:
    """Another one comes while all are paused, and before the next look there is room again."""
    message = request(span(1, note="x" * 600_000)).SerializeToString()
    async with bench(max_in_flight_mib=1) as one:
        one.open.clear()
        one.client.put(FakeMessage(1, message), FakeMessage(2, message))
        await one.until(lambda: one.client.paused == [True])
        loop, empty = asyncio.get_running_loop(), threading.Event()

        def make_room() -> None:
            loop.call_soon_threadsafe(one.open.set)
            assert empty.wait(20)

        one.client.assign(1)
        one.client.do(make_room)
        await one.until(lambda: one.receiver.statistics()["traces"]["messages_in_hand"] == 0)
        empty.set()
        await one.until(lambda: one.client.paused == [True, False])


async def test_a_revoked_partition_finishes_what_is_worked_on_and_gives_up_the_rest() -> None:
    """What finishes is noted before the partition goes; the rest is another member's."""
    async with bench() as one:
        one.open.clear()
        one.client.put(FakeMessage(1, GOOD), FakeMessage(2, GOOD), FakeMessage(3, GOOD))
        await one.until(lambda: one.receiver.statistics()["traces"]["messages_in_hand"] == 3)
        stored: list[Any] = []
        going = one.client.do(lambda: one.client.callbacks["on_revoke"](one.client, one.client.assigned))
        # The library commits when the callback returns.
        going_too = one.client.do(lambda: stored.extend(one.client.stored))
        await one.until(lambda: one.receiver.statistics()["traces"]["messages_in_hand"] == 0)
        one.open.set()
        await one.until(lambda: going.is_set() and going_too.is_set())
        assert stored == [("otlp_spans", 0, 2)]
        assert one.outcomes("given_up") == 2
        assert one.receiver.statistics()["traces"]["bytes_in_hand"] == 0


async def test_what_waits_for_its_next_attempt_is_given_up_with_its_partition() -> None:
    """It was not accepted, so nothing is noted, and it comes again elsewhere."""
    async with bench() as one:
        one.refuse = lambda _attempt: Refused("full")
        one.client.put(FakeMessage(1, GOOD))
        await one.until(lambda: one.attempts > 2)
        await one.until(one.client.revoke(0).is_set)
        attempts = one.attempts
        one.client.put(FakeMessage(5, GOOD, partition_=1))
        await one.until(lambda: one.attempts > attempts)
        assert one.client.stored == []
        assert one.outcomes("given_up") == 1


async def test_a_message_taken_when_its_partition_is_gone_is_not_noted() -> None:
    """The library refuses, and that is no fault."""
    async with bench() as one:
        one.client.put(FakeMessage(1, GOOD, partition_=5))
        await one.until(lambda: one.taken)
        await one.until(lambda: one.receiver.statistics()["traces"]["messages_in_hand"] == 0)
        assert one.client.stored == []


async def test_what_was_fetched_before_a_revocation_is_not_handed_over() -> None:
    """It could stand before messages with lower offsets that come when the partition comes back."""
    async with bench() as one:
        one.client.do(
            lambda: one.client.put(FakeMessage(9, GOOD)) or (one.client.revoke(0) and one.client.assign(0))  # type: ignore[func-returns-value]
        )
        one.client.put(FakeMessage(5, GOOD, partition_=3))
        await one.until(lambda: len(one.taken) >= 1)
        one.client.put(FakeMessage(6, GOOD))
        await one.until(lambda: one.client.stored)
        assert one.client.stored[-1] == ("otlp_spans", 0, 7)
        assert len(one.taken) == 2


async def test_lag_is_what_is_not_accepted_yet() -> None:
    """The end of the partition minus what was taken; gone when the partition is."""
    async with bench() as one:
        one.client.put(FakeMessage(4, GOOD))
        await one.until(lambda: one.client.stored)
        key = ("spanledger_kafka_lag_messages", "kafka", "otlp_spans")
        await one.until(one.client.tell({0: 20}).is_set)
        await one.until(lambda: one.numbers.values[key] == 15)
        await one.until(one.client.revoke(0).is_set)
        await one.until(one.client.tell({0: 20}).is_set)
        await one.until(lambda: key not in one.numbers.values)


async def test_brokers_that_are_away_are_told_to_the_health_check() -> None:
    """Until one is there again."""
    async with bench() as one:
        down = KafkaError(KafkaError._ALL_BROKERS_DOWN)
        await one.until(one.client.do(lambda: one.client.settings["error_cb"](down)).is_set)
        await one.until(lambda: one.statuses == ["recoverable_error"])
        await one.until(one.client.tell({}, up=False).is_set)
        assert one.statuses == ["recoverable_error"]
        one.client.tell({})
        await one.until(lambda: one.statuses == ["recoverable_error", "ok"])


async def test_a_client_that_is_cut_off_joins_anew() -> None:
    """Another member came with the same `group_instance_id`: the library is of no use after that."""
    async with bench() as one:
        fenced = KafkaError(KafkaError._FENCED, "fenced", fatal=True)
        one.client.put(FakeMessage(1, error_=fenced))
        await one.until(lambda: len(one.consumers) == 2)
        assert one.consumers[0].closed
        await one.until(one.client.assign(0).is_set)
        one.client.put(FakeMessage(3, GOOD))
        await one.until(lambda: one.client.stored == [("otlp_spans", 0, 4)])


async def test_after_a_fault_it_joins_anew_and_no_message_is_passed_over() -> None:
    """What was fetched in the same moment is not handed over, so its offset may not be passed by those behind it."""
    async with bench() as one:
        first = one.client

        def fail_in_the_same_poll() -> None:
            first.put(FakeMessage(1, GOOD))
            first.do(lambda: 1 / 0)

        first.do(fail_in_the_same_poll)
        await one.until(lambda: len(one.consumers) == 2)
        assert first.closed
        assert first.stored == []
        assert one.taken == []


async def test_many_empty_messages_fill_the_room_too() -> None:
    """Each takes some of it, whatever its length."""
    async with bench(max_in_flight_mib=1) as one:
        one.open.clear()
        one.client.put(*(FakeMessage(number, b"") for number in range(5000)))
        await one.until(lambda: one.client.paused == [True])
        assert one.receiver.statistics()["traces"]["messages_in_hand"] == 2048


async def test_signals_follow_the_pipelines_over_a_reload() -> None:
    """A signal that gets a pipeline is subscribed to, one that loses it is left alone."""
    async with bench() as one:
        traces = one.client
        one.receiver.consumers = {"logs": one.receiver.consumers["traces"]}
        await one.until(lambda: len(one.consumers) == 2 and traces.closed)
        assert one.client.topics == ["otlp_logs"]
        one.receiver.consumers = {"logs": one.receiver.consumers["logs"]}
        assert len(one.consumers) == 2


async def test_json_is_read_as_json() -> None:
    """`otlp_json`, ids in hexadecimal."""
    body = b'{"resourceSpans":[{"scopeSpans":[{"spans":[{"traceId":"%s","spanId":"%s"}]}]}]}' % (b"0a" * 16, b"0b" * 8)
    async with bench(traces={"encoding": "otlp_json", "topics": ["a", "^b.*"], "exclude_topics": ["^bb"]}) as one:
        assert one.client.topics == ["a", "^b.*"]
        assert one.client.settings["topic.blacklist"] == "^bb"
        one.client.put(FakeMessage(1, body))
        await one.until(lambda: one.taken)
        assert one.taken[0].groups[0].items[0].trace_id == b"\n" * 16


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"message_marking": {"after": False}}, "lost with the process"),
        ({"message_marking": {"on_permanent_error": False}}, "dead_letter_topic"),
        ({"message_marking": {"on_error": True}}, "full queue"),
        ({"error_backoff": {"enabled": False}}, "until it is taken"),
        ({"error_backoff": {"max_elapsed_time": "1m"}}, "until it is taken"),
        ({"traces": {"topic": "x"}}, r"topics: \[NAME\]"),
        ({"traces": {"topics": ["a b"]}}, "is no topic"),
        ({"traces": {"exclude_topics": ["^a"]}}, "needs a pattern"),
        ({"traces": {"topics": ["otlp_logs"]}}, "named for"),
        ({"header_extraction": {}}, "not read"),
        ({"group_rebalance_strategies": ["sticky"]}, "range"),
        ({"group_rebalance_strategies": ["range", "cooperative-sticky"]}, "together"),
        ({"heartbeat_interval": "10s"}, "less than session_timeout"),
        ({"min_fetch_size": 2_000_000}, "less than min_fetch_size"),
        ({"initial_offset": "newest"}, "latest"),
    ],
)
def test_what_would_lose_or_stop_is_refused_with_the_reason(settings: dict[str, Any], why: str) -> None:
    """Keys and values of the Collector's that are not available here."""
    with pytest.raises(pydantic.ValidationError, match=why):
        KafkaReceiverConfig(**settings)


@pytest.mark.parametrize(
    ("traces", "message"),
    [
        ({"topics": ["^("]}, r"topics: cannot subscribe to \^\(: is a pattern wrong\?"),
        ({"topics": ["^a"], "exclude_topics": ["^("]}, "does not take these settings.*Unmatched"),
    ],
)
async def test_a_pattern_that_is_none_stops_the_start(traces: dict[str, Any], message: str) -> None:
    """By the library itself, which reads patterns in its own way; it does so before it dials."""
    receiver = KafkaReceiver(KafkaReceiverConfig(brokers=["127.0.0.1:1"], traces=traces), host("kafka"))  # type: ignore[arg-type]
    receiver.consumers = {"traces": _nothing}
    with pytest.raises(ValueError, match=message):
        await receiver.start()


async def _nothing(_batch: Batch) -> None:
    """Take a batch."""


def test_each_signal_is_a_member_with_a_name_of_its_own() -> None:
    """The brokers cut off the first of two static members with one name."""
    config = KafkaReceiverConfig(group_instance_id="pod-0")
    names = {config.consumer(signal)["group.instance.id"] for signal in ("traces", "logs", "metrics")}
    assert names == {"traces-pod-0", "logs-pod-0", "metrics-pod-0"}


def test_the_defaults_are_the_collectors() -> None:
    """Where they are the same on purpose."""
    config = KafkaReceiverConfig()
    told = config.consumer("traces")
    expected = {
        "bootstrap.servers": "localhost:9092",
        "client.id": "otel-collector",
        "group.id": "otel-collector",
        "auto.offset.reset": "latest",
        "session.timeout.ms": 10_000,
        "heartbeat.interval.ms": 3000,
        "auto.commit.interval.ms": 1000,
        "fetch.min.bytes": 1,
        "fetch.max.bytes": 1_048_576,
        "fetch.wait.max.ms": 250,
        "partition.assignment.strategy": "cooperative-sticky",
        "connections.max.idle.ms": 540_000,
    }
    assert {key: told[key] for key in expected} == expected
    assert [config.topics(signal)[0] for signal in ("traces", "logs", "metrics")] == [
        "otlp_spans",
        "otlp_logs",
        "otlp_metrics",
    ]

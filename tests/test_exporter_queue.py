"""The sending queue: room, its accounting, and its configuration."""

from __future__ import annotations

from typing import Any

import pydantic
import pytest
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, precondition, rule

from spanledger.exporters.queue import QueueConfig, SendingQueue
from spanledger.processor.batch import Delivery
from spanledger.processor.component import Refused, Rejected, ShuttingDown


def delivery(items: int = 1, size: int = 10) -> Delivery:
    """Return a delivery of so many items and bytes."""
    return Delivery("traces", b"x" * size, items, 0)


def queue(**config: Any) -> SendingQueue:
    """Return a queue that nobody watches."""
    return SendingQueue(QueueConfig.model_validate(config), "otlp", lambda _queue: None)


def test_full_queue_refuses_and_says_what_to_do() -> None:
    """The refusal is retryable and names the setting."""
    line = queue(queue_size=1)
    line.reserve(delivery())
    with pytest.raises(
        Refused, match=r"exporter otlp is full \(1 of 1 requests\).*sending_queue::queue_size"
    ) as refused:
        line.reserve(delivery())
    assert refused.value.retry_after_s == 1.0


def test_room_is_free_only_when_the_delivery_is_settled() -> None:
    """What is being sent still takes room."""
    line = queue(queue_size=1)
    line.reserve(delivery())
    line.commit(delivery())
    taken = line.take()
    assert taken is not None
    with pytest.raises(Refused):
        line.reserve(delivery())
    line.done(taken)
    line.reserve(delivery())
    assert line.statistics() == {
        "size": 1, "capacity": 1, "sizer": "requests", "reserved": 1, "queued": 0, "in_flight": 0, "requests": 0,
    }  # fmt: skip


@pytest.mark.parametrize(("sizer", "size"), [("requests", 1), ("items", 7), ("bytes", 30)])
def test_sizer_says_what_counts(sizer: str, size: int) -> None:
    """Requests, items or bytes."""
    line = queue(sizer=sizer, queue_size=100)
    line.reserve(delivery(items=7, size=30))
    assert line.size == size


def test_request_larger_than_the_queue_is_bad_data() -> None:
    """Refusing it would make its sender retry for ever."""
    with pytest.raises(Rejected, match="larger than the whole queue"):
        queue(sizer="items", queue_size=5).reserve(delivery(items=6))


def test_closed_queue_says_that_it_is_shutting_down() -> None:
    """Retryable: another replica takes it."""
    line = queue()
    line.close()
    with pytest.raises(ShuttingDown):
        line.reserve(delivery())


def test_without_a_queue_there_is_room_for_what_is_being_sent() -> None:
    """`enabled: false`: one request for each consumer, none in line."""
    line = queue(enabled=False, num_consumers=2, sizer="bytes", queue_size=1)
    line.reserve(delivery())
    line.reserve(delivery())
    with pytest.raises(Refused, match="sending_queue::num_consumers"):
        line.reserve(delivery())


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("storage", "file storage!", "invalid character"),
        ("wait_for_result", True, "is not available"),
        ("block_on_overflow", True, "a full queue refuses at once"),
        ("batch", {}, "let the SDKs' batch processor batch"),
        ("num_consumers", 0, "greater than 0"),
        ("queue_size", 0, "greater than 0"),
        ("sizer", "spans", "'requests', 'items' or 'bytes'"),
        ("num_consumer", 1, "Extra inputs"),
    ],
)
def test_what_is_not_possible_is_said_at_validation(key: str, value: object, message: str) -> None:
    """Each key of the Collector is either there or explained."""
    with pytest.raises(pydantic.ValidationError, match=message) as error:
        QueueConfig.model_validate({key: value})
    assert error.value.errors()[0]["loc"] == (key,)


def test_defaults_are_the_collectors() -> None:
    """1000 requests, 10 consumers; keys that ask for nothing are accepted."""
    config = QueueConfig.model_validate({"block_on_overflow": False, "storage": None, "wait_for_result": False})
    assert (config.enabled, config.num_consumers, config.queue_size, config.sizer) == (True, 10, 1000, "requests")


class QueueModel(RuleBasedStateMachine):
    """Any order of reserve, commit, release, take and done, against a model of three lists."""

    reserved = Bundle("reserved")
    flying = Bundle("flying")

    @initialize(sizer=st.sampled_from(["requests", "items", "bytes"]), capacity=st.integers(1, 60))
    def begin(self, sizer: str, capacity: int) -> None:
        """Make the queue."""
        self.line = queue(sizer=sizer, queue_size=capacity)
        self.size_of = {"requests": lambda d: 1, "items": lambda d: d.items, "bytes": lambda d: len(d.data)}[sizer]
        self.states: dict[str, list[Delivery]] = {"reserved": [], "queued": [], "flying": []}

    @rule(target=reserved, items=st.integers(0, 30), size=st.integers(0, 30))
    def reserve(self, items: int, size: int) -> Any:
        """Hold room exactly when there is some."""
        one = delivery(items, size)
        fits = self.line.size + self.size_of(one) <= self.line.capacity
        try:
            self.line.reserve(one)
        except (Refused, Rejected):
            assert not fits
            return None
        assert fits
        self.states["reserved"].append(one)
        return one

    @rule(one=consumes(reserved))
    def commit(self, one: Delivery | None) -> None:
        """Put in line."""
        if one is not None:
            self.line.commit(one)
            self._move(one, "reserved", "queued")

    @rule(one=consumes(reserved))
    def release(self, one: Delivery | None) -> None:
        """Give back."""
        if one is not None:
            self.line.release(one)
            self._move(one, "reserved", None)

    @rule(target=flying)
    def take(self) -> Delivery | None:
        """Take in order."""
        one = self.line.take()
        assert (one is None) == (not self.states["queued"])
        if one is not None:
            assert one is self.states["queued"][0]
            self._move(one, "queued", "flying")
        return one

    @rule(one=consumes(flying))
    def done(self, one: Delivery | None) -> None:
        """Settle."""
        if one is not None:
            self.line.done(one)
            self._move(one, "flying", None)

    def _move(self, one: Delivery, source: str, to: str | None) -> None:
        index = next(i for i, other in enumerate(self.states[source]) if other is one)
        del self.states[source][index]
        if to is not None:
            self.states[to].append(one)

    @precondition(lambda self: hasattr(self, "line"))
    @invariant()
    def size_is_the_sum(self) -> None:
        """Reserved + queued + in flight, never negative, never above the capacity."""
        sums = {state: sum(map(self.size_of, members)) for state, members in self.states.items()}
        assert self.line.reserved == sums["reserved"]
        assert self.line.queued == sums["queued"]
        assert self.line.in_flight == sums["flying"]
        assert self.line.in_flight_requests == len(self.states["flying"])
        assert 0 <= self.line.size == sum(sums.values()) <= self.line.capacity


TestQueueModel = QueueModel.TestCase

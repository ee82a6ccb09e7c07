"""The chain of queue, retry, split and timeout, with a peer that plays a script."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.metrics.v1.metrics_pb2 import Gauge, Metric, NumberDataPoint

from spanledger.exporters.answer import PartialSuccess, Permanent, Retryable, TooLarge
from spanledger.exporters.queue import QueueConfig
from spanledger.exporters.retry import RetryConfig
from spanledger.exporters.sender import SMALLEST_LIMIT, Sender
from spanledger.processor.batch import MAX_ITEM_BYTES, Delivery, Outline, split
from spanledger.processor.component import Refused, ShuttingDown
from spanledger.processor.metric_store import MetricTable
from tests.fakes import Clock, Numbers, host, request, span

Answer = Exception | PartialSuccess | Callable[[Delivery], Any] | None


@dataclass
class Bench:
    """A sender over a script of answers; time passes only in back-offs."""

    script: list[Answer] = field(default_factory=list)
    queue: dict[str, Any] = field(default_factory=dict)
    retry: dict[str, Any] = field(default_factory=dict)
    timeout_s: float = 5.0

    def __post_init__(self) -> None:
        self.clock = Clock()
        self.numbers = Numbers()
        self.waits: list[float] = []
        self.reports: list[tuple[str, str]] = []
        self.pushed: list[Delivery] = []
        bench = self
        answers = deque(self.script)

        class Scripted(Sender):
            async def push(self, delivery: Delivery) -> PartialSuccess | None:
                bench.pushed.append(delivery)
                answer = answers.popleft() if answers else None
                if callable(answer):
                    answer = answer(delivery)
                    if asyncio.iscoroutine(answer):
                        answer = await answer
                if isinstance(answer, Exception):
                    raise answer
                return answer

        self.sender = Scripted(
            host("otlp/x", self.clock, self.numbers, report=lambda status, why: self.reports.append((status, why))),
            QueueConfig.model_validate(self.queue),
            RetryConfig.model_validate(self.retry),
            self.timeout_s,
            wait=self._wait,
            draw=lambda: 0.5,
        )
        self.sender._started = True  # There is nothing to connect to.

    async def _wait(self, delay_s: float, _wake: asyncio.Event | None) -> None:
        self.waits.append(delay_s)
        self.clock.now_s += delay_s
        await asyncio.sleep(0)

    def offer(self, *deliveries: Delivery) -> None:
        """Reserve and commit."""
        for one in deliveries:
            self.sender.reserve(one)
            self.sender.commit(one)

    async def settle(self) -> None:
        """Let the sender work until its line is empty."""
        while tasks := self.sender._running():
            await asyncio.wait(tasks)

    def dropped(self, reason: str, signal: str = "traces") -> float:
        """Return the items lost for a reason."""
        return self.numbers.values["spanledger_dropped_items_total", "otlp/x", signal, reason]

    def sent(self) -> float:
        """Return the spans that the peer took."""
        return self.numbers.total("otelcol_exporter_sent_spans_total")


def spans(count: int, size: int = 0) -> Delivery:
    """Return a delivery of `count` spans, each with an attribute of `size` bytes."""
    message = request(*(span(number + 1, text="x" * size) for number in range(count)))
    return Delivery("traces", message.SerializeToString(), count, 0)


def until(gate: asyncio.Event) -> Callable[[Delivery], Any]:
    """Return a peer that takes the request once `gate` opens."""

    async def answer() -> None:
        await gate.wait()

    return lambda _delivery: answer()


async def test_what_is_committed_is_sent_once() -> None:
    """The plain case, with its counters at the end."""
    bench = Bench()
    bench.offer(spans(3))
    await bench.settle()
    assert [one.items for one in bench.pushed] == [3]
    assert bench.sent() == 3
    assert bench.numbers.values["otelcol_exporter_queue_size", "otlp/x", "traces"] == 0
    assert bench.numbers.values["otelcol_exporter_queue_capacity", "otlp/x", "traces"] == 1000
    assert bench.reports == []


async def test_every_series_exists_from_the_start() -> None:
    """An alert on a counter needs to see it at 0."""
    bench = Bench()
    await bench.sender.start()
    values = bench.numbers.values
    assert ("spanledger_dropped_items_total", "otlp/x", "logs", "oversized") in values
    assert ("otelcol_exporter_sent_metric_points_total", "otlp/x") in values
    assert ("otelcol_exporter_queue_size", "otlp/x", "metrics") in values


def capacities(table: MetricTable) -> dict[str, float]:
    """Return the queues of traces that are shown: exporter -> capacity."""
    cells = table.gauge("otelcol_exporter_queue_capacity").cells()
    return {cell.text.split('"')[1]: cell.value for cell in cells if 'data_type="traces"' in cell.text}


class Idle(Sender):
    """Takes everything."""

    async def push(self, delivery: Delivery) -> PartialSuccess | None:
        """Take it."""
        return None


async def sender(name: str, table: MetricTable, queue_size: int) -> Sender:
    """Return a started sender that shows its queue in `table`."""
    surroundings = host(name, numbers=table)  # type: ignore[arg-type]
    made = Idle(surroundings, QueueConfig(queue_size=queue_size), RetryConfig(), 0.0)
    await made.start()
    return made


async def test_gauges_go_with_their_exporter() -> None:
    """After a reload without it, nobody is told of a queue that is no more."""
    table = MetricTable()
    gone = await sender("otlp/c", table, 7)
    assert capacities(table) == {"otlp/c": 7}
    await gone.shutdown(0.0)
    assert capacities(table) == {}
    assert not table.gauge("otelcol_exporter_queue_size").cells()
    assert not table.gauge("otelcol_exporter_in_flight_requests").cells()
    assert table.counter("otelcol_exporter_sent_spans_total").get(("otlp/c",)) is not None


async def test_gauges_are_those_of_the_successor() -> None:
    """On a reload the new one starts before the old one has drained and ended."""
    table = MetricTable()
    old = await sender("otlp/c", table, 7)
    new = await sender("otlp/c", table, 9)
    old.reserve(spans(1))
    assert capacities(table) == {"otlp/c": 9}
    size = table.gauge("otelcol_exporter_queue_size").get(("otlp/c", "traces"))
    assert size is not None
    assert size.value == 0
    await old.shutdown(0.0)
    assert capacities(table) == {"otlp/c": 9}
    await new.shutdown(0.0)
    assert capacities(table) == {}


async def test_gauges_come_back_when_the_successor_fails() -> None:
    """A reload that fails leaves the old exporter running; one that never started takes nothing over."""
    table = MetricTable()
    old = await sender("otlp/c", table, 7)
    Idle(host("otlp/c", numbers=table), QueueConfig(), RetryConfig(), 0.0)  # type: ignore[arg-type]
    assert capacities(table) == {"otlp/c": 7}
    new = await sender("otlp/c", table, 9)
    await new.shutdown(0.0)
    old.reserve(spans(1))
    assert capacities(table) == {"otlp/c": 7}


async def test_statistics_say_what_waits_and_why() -> None:
    """Enough for a line about what a shutdown waits for."""
    bench = Bench([Retryable("down", "UNAVAILABLE"), Permanent("no", "INVALID")])
    bench.offer(spans(2), spans(3))
    shown = bench.sender.statistics()
    assert (shown["waiting_requests"], shown["waiting_items"]) == (2, 5)
    assert (shown["failing_for_s"], shown["last_error"]) == (None, None)
    bench.sender.outcomes.failing(Retryable("down", "UNAVAILABLE"))
    bench.clock.now_s += 12
    shown = bench.sender.statistics()
    assert (shown["failing_for_s"], shown["last_error"]) == (12.0, "down")
    await bench.settle()
    shown = bench.sender.statistics()
    assert (shown["waiting_requests"], shown["waiting_items"]) == (0, 0)


async def test_passing_failures_are_retried_with_backoff() -> None:
    """5 s, then 7.5 s; the peer's wish prevails when it is longer."""
    bench = Bench([Retryable("down", "UNAVAILABLE"), Retryable("busy", "UNAVAILABLE", throttle_s=12.0), None])
    bench.offer(spans(2))
    await bench.settle()
    assert bench.waits == [5.0, 12.0]
    assert bench.sent() == 2
    assert bench.numbers.total("spanledger_exporter_retries_total") == 2
    assert bench.reports == [("recoverable_error", "down"), ("ok", "")]


async def test_gives_up_before_the_wait_that_passes_the_limit() -> None:
    """5 + 7.5 + 11.25 = 23.75 s are waited; 16.9 s more would pass 40 s."""
    bench = Bench([Retryable("down", "UNAVAILABLE")] * 9, retry={"max_elapsed_time": "40s"})
    bench.offer(spans(2))
    await bench.settle()
    assert bench.waits == [5.0, 7.5, 11.25]
    assert len(bench.pushed) == 4
    assert bench.dropped("retry_exhausted") == 2
    assert bench.numbers.values["otelcol_exporter_send_failed_spans_total", "otlp/x", "UNAVAILABLE", "false"] == 2
    assert bench.sent() == 0


async def test_throttle_beyond_the_limit_is_not_slept_through() -> None:
    """A peer that asks for an hour gets no sleeping consumer."""
    bench = Bench([Retryable("busy", "RESOURCE_EXHAUSTED", throttle_s=3600.0)])
    bench.offer(spans(1))
    await bench.settle()
    assert bench.waits == []
    assert bench.dropped("retry_exhausted") == 1


async def test_permanent_failure_is_dropped_and_does_not_block() -> None:
    """The next request goes on."""
    bench = Bench([Permanent("bad key", "UNAUTHENTICATED"), None], queue={"num_consumers": 1})
    bench.offer(spans(2), spans(1))
    await bench.settle()
    assert bench.dropped("permanent") == 2
    assert bench.numbers.values["otelcol_exporter_send_failed_spans_total", "otlp/x", "UNAUTHENTICATED", "true"] == 2
    assert bench.sent() == 1


async def test_retry_switched_off_drops_at_the_first_failure() -> None:
    """`retry_on_failure::enabled: false`."""
    bench = Bench([Retryable("down", "UNAVAILABLE")], retry={"enabled": False})
    bench.offer(spans(1))
    await bench.settle()
    assert (bench.dropped("retry_exhausted"), bench.waits) == (1, [])


async def test_attempt_without_an_answer_times_out_and_is_retried() -> None:
    """The timeout is for one attempt."""
    bench = Bench([until(asyncio.Event()), None], timeout_s=0.01)
    bench.offer(spans(1))
    await bench.settle()
    assert bench.sent() == 1
    assert bench.waits == [5.0]


async def test_fault_of_our_own_is_counted_and_kills_no_consumer(caplog: pytest.LogCaptureFixture) -> None:
    """An exception nobody expected costs one request."""
    bench = Bench([KeyError("bug"), None], queue={"num_consumers": 1})
    bench.offer(spans(2), spans(1))
    await bench.settle()
    assert (bench.dropped("permanent"), bench.sent()) == (2, 1)
    assert "fault of the exporter itself" in caplog.text


async def test_partial_success_is_counted_said_and_not_retried(caplog: pytest.LogCaptureFixture) -> None:
    """The peer's text is escaped; a count beyond what was sent is cut."""
    bench = Bench([PartialSuccess(1, "too old\n\x1b[31mFATAL"), PartialSuccess(99, ""), PartialSuccess(0, "hint")])
    for _ in range(3):
        bench.offer(spans(3))
        await bench.settle()
    assert len(bench.pushed) == 3
    assert bench.sent() == 2 + 0 + 3
    assert bench.dropped("partial_success") == 1 + 3
    assert "too old\\n\\x1b[31mFATAL" in caplog.text


async def test_full_queue_refuses_and_counts_without_dropping(caplog: pytest.LogCaptureFixture) -> None:
    """Rejecting is not dropping: the sender still has the data."""
    gate = asyncio.Event()
    bench = Bench([until(gate)], queue={"queue_size": 1})
    bench.offer(spans(2))
    for _ in range(50):
        with pytest.raises(Refused):
            bench.sender.reserve(spans(2))
    assert bench.numbers.total("otelcol_exporter_enqueue_failed_spans_total") == 100
    assert caplog.text.count("Rejecting data") == 1
    gate.set()
    await bench.settle()
    assert (bench.sent(), bench.numbers.total("spanledger_dropped_items_total")) == (2, 0)


async def test_consumers_bound_what_is_sent_at_once() -> None:
    """`num_consumers` requests are in flight, the rest is in line."""
    gate = asyncio.Event()
    bench = Bench([until(gate)] * 5, queue={"num_consumers": 2})
    bench.offer(*(spans(1) for _ in range(5)))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert len(bench.pushed) == 2
    traces = bench.sender.statistics()["queues"]["traces"]
    assert (traces["in_flight"], traces["queued"], traces["requests"]) == (2, 3, 5)
    gate.set()
    await bench.settle()
    assert bench.sent() == 5


async def test_delivery_committed_as_a_consumer_ends_is_not_left_in_line() -> None:
    """The last turn of a consumer and a commit may meet."""
    bench = Bench(queue={"num_consumers": 1})
    for _ in range(20):
        bench.offer(spans(1))
        for _ in range(3):
            await asyncio.sleep(0)
    await bench.settle()
    assert bench.sent() == 20


async def test_slow_peer_does_not_slow_another() -> None:
    """Each exporter has its own line and its own consumers."""
    slow = Bench([until(asyncio.Event())] * 10, timeout_s=0)
    fast = Bench()
    for _ in range(10):
        one = spans(1)
        slow.offer(one)
        fast.offer(one)
    await asyncio.wait_for(fast.settle(), 5)
    assert (fast.sent(), slow.sent()) == (10, 0)
    await slow.sender.shutdown(slow.clock.now_s)


async def test_signals_have_lines_of_their_own() -> None:
    """A flood of logs leaves room for traces, as in the Collector."""
    gate = asyncio.Event()
    bench = Bench([until(gate)], queue={"queue_size": 1})
    bench.offer(Delivery("logs", b"", 1, 0))
    bench.offer(spans(1))
    gate.set()
    await bench.settle()
    assert bench.sent() == 1
    assert bench.numbers.total("otelcol_exporter_sent_log_records_total") == 1


async def test_steps_do_not_wait_in_line() -> None:
    """They are for the connectors; a long line must not keep them alive."""
    bench = Bench()
    bench.offer(Delivery("traces", b"", 1, 0, steps=(object(),), bridges=(object(),)))  # type: ignore[arg-type]
    await bench.settle()
    assert (bench.pushed[0].steps, bench.pushed[0].bridges) == ((), ())


# Splitting.


def limit_of(limit: int, said: int | None = None) -> Callable[[Delivery], Exception | None]:
    """Return a peer that takes messages up to `limit` bytes, and says so or not."""
    return lambda one: TooLarge("too large", "RESOURCE_EXHAUSTED", said) if len(one.data) > limit else None


async def test_request_above_the_peers_limit_arrives_in_parts() -> None:
    """Every span once, in order."""
    whole = spans(100, size=2000)
    bench = Bench([limit_of(70_000)] * 50)
    bench.offer(whole)
    await bench.settle()
    assert bench.sent() == 100
    taken = [one for one in bench.pushed if len(one.data) <= 70_000]
    assert sum(one.items for one in taken) == 100
    ids = [s.span_id for one in taken for s in _spans_of(one)]
    assert ids == [s.span_id for s in _spans_of(whole)]
    assert bench.numbers.total("spanledger_dropped_items_total") == 0


@pytest.mark.parametrize("said", [70_000, None])
async def test_learnt_limit_spares_the_next_failure(said: int | None) -> None:
    """Whether the peer names its limit or not, the second request is split before it is sent."""
    bench = Bench([limit_of(70_000, said)] * 100)
    bench.offer(spans(100, size=2000))
    await bench.settle()
    failures = len([one for one in bench.pushed if len(one.data) > 70_000])
    bench.offer(spans(100, size=2000))
    await bench.settle()
    # Without a number only sizes that failed are known to be too large; 1/2 (101 kB) failed as well.
    assert failures == len([one for one in bench.pushed if len(one.data) > 70_000])
    assert bench.sent() == 200


async def test_absurd_limit_is_not_believed() -> None:
    """A peer that names a limit of a byte does not make us send span by span."""
    bench = Bench([TooLarge("too large", "413", 1)])
    bench.offer(spans(4, size=100))
    await bench.settle()
    assert bench.sender.statistics()["message_limit_bytes"] == SMALLEST_LIMIT
    assert len(bench.pushed) == 3
    assert bench.sent() == 4


async def test_single_item_above_the_limit_is_shortened_with_a_mark() -> None:
    """Its neighbours go through whole."""
    big = request(span(1, text="x" * 200_000), span(2), span(3)).SerializeToString()
    bench = Bench([limit_of(100_000)] * 10)
    bench.offer(Delivery("traces", big, 3, 0))
    await bench.settle()
    assert (bench.sent(), bench.dropped("oversized")) == (3, 0)
    assert bench.numbers.values["spanledger_shortened_items_total", "otlp/x", "traces"] == 1
    assert sum(b"spanledger.shortened" in one.data for one in bench.pushed) == 1


async def test_single_item_that_cannot_be_shortened_is_dropped_by_name() -> None:
    """A metric has no long texts to cut."""
    metric = Metric(name="m", gauge=Gauge(data_points=[NumberDataPoint(as_int=1)]), description="x" * 200_000)
    data = Outline(resources=[{"scopes": [{"items": [metric.SerializeToString()]}]}]).SerializeToString()
    bench = Bench([limit_of(100_000)] * 10)
    bench.offer(Delivery("metrics", data, 1, 0))
    await bench.settle()
    assert bench.dropped("oversized", "metrics") == 1


async def test_single_item_above_a_learnt_limit_is_tried() -> None:
    """Only the peer decides: its limit may have been raised."""
    bench = Bench([TooLarge("too large", "413", 70_000)])
    bench.offer(spans(2, size=100_000))
    await bench.settle()
    assert bench.sent() == 2


def _spans_of(one: Delivery) -> list[Any]:
    message = request()
    message.ParseFromString(one.data)
    return [s for r in message.resource_spans for scope in r.scope_spans for s in scope.spans]


# Shutdown.


async def test_shutdown_drains_the_line() -> None:
    """What was acknowledged is sent; nothing new is taken."""
    bench = Bench(queue={"num_consumers": 2})
    bench.offer(*(spans(1) for _ in range(30)))
    assert await bench.sender.shutdown(bench.clock.now_s + 5) == 0
    assert bench.sent() == 30
    with pytest.raises(ShuttingDown):
        bench.sender.reserve(spans(1))


async def test_shutdown_still_retries_within_its_time() -> None:
    """A failure during the drain is not the end of the data."""
    bench = Bench([Retryable("down", "UNAVAILABLE"), Retryable("down", "UNAVAILABLE"), None])
    bench.offer(spans(4))
    assert await bench.sender.shutdown(bench.clock.now_s + 20) == 0
    assert (bench.waits, bench.sent()) == ([5.0, 7.5], 4)


async def test_shutdown_gives_up_what_would_come_too_late() -> None:
    """An attempt after the deadline is not waited for, and everything is counted."""
    bench = Bench([Retryable("down", "UNAVAILABLE")] * 99, queue={"num_consumers": 1})
    bench.offer(spans(4), spans(3))
    assert await bench.sender.shutdown(bench.clock.now_s + 4) == 7
    assert (bench.dropped("shutdown"), bench.waits) == (7, [])


async def test_shutdown_wakes_those_that_wait() -> None:
    """A back-off of half a minute does not use up the time of the drain."""
    clock, numbers = Clock(), Numbers()

    failed = asyncio.Event()

    class Once(Sender):
        async def push(self, delivery: Delivery) -> None:
            if not failed.is_set():
                failed.set()
                raise Retryable("down", "UNAVAILABLE", throttle_s=30)

    sender = Once(host("otlp", clock, numbers), QueueConfig(), RetryConfig(), 5.0)
    await sender.start()
    sender.reserve(spans(2))
    sender.commit(spans(2))
    await failed.wait()
    assert await asyncio.wait_for(sender.shutdown(clock.now_s + 10), 5) == 0
    assert numbers.total("otelcol_exporter_sent_spans_total") == 2


async def test_hanging_peer_is_cut_off_at_the_deadline() -> None:
    """In flight, in line and committed too late: all are counted as lost at shutdown."""
    bench = Bench([until(asyncio.Event())] * 9, queue={"num_consumers": 1}, timeout_s=0)
    bench.offer(spans(4), spans(3))
    await asyncio.sleep(0)
    bench.sender.reserve(spans(2))
    assert await bench.sender.shutdown(bench.clock.now_s) == 7
    bench.sender.commit(spans(2))
    assert bench.dropped("shutdown") == 9
    assert bench.sender.statistics()["queues"]["traces"]["size"] == 0


async def test_repeated_trouble_is_logged_once_in_a_while(caplog: pytest.LogCaptureFixture) -> None:
    """100 failed requests within 10 seconds make two lines, not two hundred."""
    caplog.set_level(logging.INFO)
    bench = Bench([Permanent("bad key", "UNAUTHENTICATED")] * 100)
    bench.offer(*(spans(1) for _ in range(100)))
    await bench.settle()
    assert caplog.text.count("Dropping data") == 1
    assert caplog.text.count("Sending fails") == 1
    assert len(bench.reports) == 1
    bench.clock.now_s += 11
    bench.sender.outcomes.dropped(spans(1), "permanent", "bad key", "UNAUTHENTICATED")
    assert "100 items (permanent)" in caplog.text


OUTCOMES = st.sampled_from(["ok", "retry", "permanent", "partial", "too_large", "bug"])


@settings(deadline=None, max_examples=60)
@given(
    script=st.lists(OUTCOMES, max_size=40),
    sizes=st.lists(st.integers(1, 6), min_size=1, max_size=12),
    consumers=st.integers(1, 3),
    capacity=st.integers(1, 12),
    drain_s=st.floats(0, 60),
)
def test_everything_committed_is_sent_or_counted(
    script: list[str], sizes: list[int], consumers: int, capacity: int, drain_s: float
) -> None:
    """Whatever the peer does: items committed = items sent + items dropped, and the line ends empty."""
    kinds: dict[str, Answer] = {
        "ok": None,
        "retry": Retryable("down", "UNAVAILABLE"),
        "permanent": Permanent("no", "INTERNAL"),
        "partial": PartialSuccess(1, "one"),
        "too_large": TooLarge("too large", "413"),
        "bug": RuntimeError("bug"),
    }

    async def run() -> None:
        bench = Bench(
            [kinds[kind] for kind in script],
            queue={"num_consumers": consumers, "queue_size": capacity},
            retry={"max_elapsed_time": "60s"},
        )
        committed = 0
        for size in sizes:
            try:
                bench.offer(spans(size))
            except Refused:
                await asyncio.sleep(0)
            else:
                committed += size
        await bench.sender.shutdown(bench.clock.now_s + drain_s)
        assert committed == bench.sent() + bench.numbers.total("spanledger_dropped_items_total")
        assert bench.sender.statistics()["queues"]["traces"]["size"] == 0

    logging.disable(logging.CRITICAL)
    try:
        asyncio.run(run())
    finally:
        logging.disable(logging.NOTSET)


def test_split_counts_an_unread_metric_as_one() -> None:
    """An item that was passed on unread, being too large, need not decode."""
    outline = Outline()
    good = Metric(name="m", gauge=Gauge(data_points=[NumberDataPoint(as_int=1)] * 3)).SerializeToString()
    outline.resources.add().scopes.add().items.extend([good, b"\xff" * (MAX_ITEM_BYTES + 1)])
    halves = split(Delivery("metrics", outline.SerializeToString(), 4, 0))
    assert halves is not None
    assert [half.items for half in halves] == [3, 1]


def test_split_keeps_every_item_once() -> None:
    """The halves together are the whole; see `spanledger.processor.batch.split`."""
    whole = spans(7)
    halves = split(whole)
    assert halves is not None
    assert [half.items for half in halves] == [3, 4]

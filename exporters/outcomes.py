"""What became of every item that an exporter took: counted always, logged when it changes.

Nothing here is logged per request: a state is told when it changes, a repeated problem at most once in
`QUIET_S` seconds, with how much it came to since the last line.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal

from spanledger.exporters.text import counted, printable
from spanledger.processor.batch import SIGNALS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from spanledger.exporters.answer import PartialSuccess, SendError
    from spanledger.exporters.queue import SendingQueue
    from spanledger.processor.batch import Delivery, Signal
    from spanledger.processor.component import Host

DropReason = Literal["permanent", "retry_exhausted", "shutdown", "partial_success", "oversized", "storage"]
DROP_REASONS: Final[tuple[DropReason, ...]] = (
    "permanent",
    "retry_exhausted",
    "shutdown",
    "partial_success",
    "oversized",
    "storage",
)

QUIET_S: Final = 10.0

NOUN: Final[dict[Signal, str]] = {"traces": "spans", "logs": "log_records", "metrics": "metric_points"}


class Outcomes:
    """The books of one exporter: its counters, its log and its health."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._id = str(host.id)
        store = host.metrics
        self._sent = {s: store.counter(f"otelcol_exporter_sent_{NOUN[s]}_total") for s in SIGNALS}
        self._failed = {s: store.counter(f"otelcol_exporter_send_failed_{NOUN[s]}_total") for s in SIGNALS}
        self._not_queued = {s: store.counter(f"otelcol_exporter_enqueue_failed_{NOUN[s]}_total") for s in SIGNALS}
        self._dropped = store.counter("spanledger_dropped_items_total")
        self._retries = store.counter("spanledger_exporter_retries_total")
        self._shortened = store.counter("spanledger_shortened_items_total")
        self._queue_size = store.gauge("otelcol_exporter_queue_size")
        self._queue_capacity = store.gauge("otelcol_exporter_queue_capacity")
        self._in_flight = store.gauge("otelcol_exporter_in_flight_requests")
        self._shown: dict[Signal, object] = {}
        """The series of `_queue_capacity` that are ours, by which a successor of the same id is told apart."""
        self._closed = False
        self.sent_items = 0
        self.dropped_items = 0
        self.failing_since: float | None = None
        """`host.monotonic` of the first failure since the last success."""
        self.last_error: str | None = None
        """What the last of those failures was."""
        self._failures = 0
        self._held_back: dict[str, int] = {}
        self._last_line: dict[str, float] = {}
        self._at_zero()

    def _at_zero(self) -> None:
        """Create every series with a closed label set, so that an alert can see it grow from 0."""
        for signal in SIGNALS:
            self._sent[signal].add((self._id,), 0)
            self._not_queued[signal].add((self._id,), 0)
            for reason in DROP_REASONS:
                self._dropped.add((self._id, signal, reason), 0)
        self._retries.add((self._id,), 0)

    def take_over(self, queues: Mapping[Signal, SendingQueue]) -> None:
        """Show our queues from now on. A predecessor of the same id may still drain its own, unshown."""
        for signal, queue in queues.items():
            self._queue_capacity.remove((self._id, signal))
            self.show_queue(signal, queue)

    def show_queue(self, signal: Signal, queue: SendingQueue) -> None:
        """Set the gauges of one queue, unless a successor shows its own."""
        labels = (self._id, signal)
        capacity = self._queue_capacity.get(labels)
        if self._closed or (capacity is not None and capacity is not self._shown.get(signal)):
            return
        if capacity is None:
            self._queue_capacity.set(labels, queue.capacity)
            self._shown[signal] = self._queue_capacity.get(labels)
        self._queue_size.set(labels, queue.size)
        self._in_flight.set(labels, queue.in_flight_requests)

    def close(self) -> None:
        """Take our gauges away: what is no more has no queue. Counters stay, so that sums do not fall."""
        self._closed = True
        for signal, capacity in self._shown.items():
            labels = (self._id, signal)
            if self._queue_capacity.get(labels) is capacity:
                for gauge in (self._queue_capacity, self._queue_size, self._in_flight):
                    gauge.remove(labels)

    def rejected(self, delivery: Delivery, why: Exception) -> None:
        """Count a request that found no room: its sender still has it."""
        self._not_queued[delivery.signal].add((self._id,), delivery.items)
        if (items := self._due("rejecting", delivery.items)) is not None:
            self._host.log.warning("Rejecting data. %d items since the last such line: %s", items, why)

    def sent(self, delivery: Delivery, partial: PartialSuccess | None) -> None:
        """Count a request that the peer took, or took in part."""
        # A peer that claims more than it got must not make our numbers negative.
        refused = min(partial.rejected, delivery.items) if partial is not None else 0
        self.sent_items += delivery.items - refused
        self._sent[delivery.signal].add((self._id,), delivery.items - refused)
        if partial is None:
            return
        if refused:
            self._count_dropped(delivery.signal, refused, "partial_success", "partial_success")
        if (items := self._due("partial_success", refused)) is not None:
            self._host.log.warning(
                "Partial success: the peer refused %d items for good (%d of the last request) and says: %s",
                items,
                refused,
                printable(partial.message),
            )

    def dropped(self, delivery: Delivery, reason: DropReason, why: str, error_type: str) -> None:
        """Count a request that was acknowledged and is lost."""
        self._count_dropped(delivery.signal, delivery.items, reason, error_type)
        if (items := self._due(reason, delivery.items)) is not None:
            self._host.log.error("Dropping data. %d items (%s) since the last such line: %s", items, reason, why)

    def _count_dropped(self, signal: Signal, items: int, reason: DropReason, error_type: str) -> None:
        self.dropped_items += items
        self._dropped.add((self._id, signal, reason), items)
        permanent = "false" if reason in {"retry_exhausted", "shutdown"} else "true"
        self._failed[signal].add((self._id, error_type, permanent), items)

    def shortened(self, part: Delivery, shorter: Delivery) -> None:
        """Count one item that was cut because its peer takes no message of its length."""
        self._shortened.add((self._id, part.signal), part.items)
        if (items := self._due("shortened", part.items)) is not None:
            self._host.log.warning(
                "%d items were too long for the peer and lost the middle of their longest values (the last one: from "
                "%d to %d bytes); they say so in spanledger.shortened",
                items,
                part.size,
                shorter.size,
            )

    def retrying(self) -> None:
        """Count one more attempt at the same request."""
        self._retries.add((self._id,))

    def failing(self, error: SendError) -> None:
        """Note a failed attempt; the first after a success changes the exporter's health."""
        self._failures += 1
        self.last_error = str(error)
        if self.failing_since is None:
            self.failing_since = self._host.monotonic()
            self._host.report("recoverable_error", str(error))
        if (attempts := self._due("failing", 1)) is not None:
            self._host.log.warning(
                "Sending fails (%s since the last such line): %s", counted(attempts, "attempt"), error
            )

    def working(self) -> None:
        """Note that the peer took something."""
        if self.failing_since is None:
            return
        lasted = self._host.monotonic() - self.failing_since
        failures, self._failures, self.failing_since, self.last_error = self._failures, 0, None, None
        self._host.report("ok", "")
        if self._due("working", 1) is not None:
            self._host.log.info(
                "Sending works again after %s that failed in %.1f s", counted(failures, "attempt"), lasted
            )

    def _due(self, kind: str, amount: int) -> int | None:
        """Return what came together since the last line of this kind; None while it is too soon."""
        total = self._held_back.get(kind, 0) + amount
        now = self._host.monotonic()
        last = self._last_line.get(kind)
        if last is not None and now - last < QUIET_S:
            self._held_back[kind] = total
            return None
        self._held_back[kind] = 0
        self._last_line[kind] = now
        return total

"""The sending queue: a bounded line of deliveries in front of one peer.

Room is held from `reserve` until the delivery is settled::

    reserve ──> reserved ──commit──> queued ──take──> in flight ──done──> (free)
                   └──────release──> (free)

    size = reserved + queued + in flight, and 0 <= size <= capacity at every moment
    (beyond it only by what was on disk at the start)

A queue without room refuses, and the sender of the data keeps it ("rejecting"). What was committed is
sent or counted as lost ("dropping"); the two words are never mixed.

With `storage` what stands in line is on disk (backlog.py), and the line has only its numbers.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, Union

import pydantic

from spanledger.processor.component import Refused, Rejected, Settings, ShuttingDown
from spanledger.processor.settings import StorageId

if TYPE_CHECKING:
    from spanledger.exporters.queue_file import Stored
    from spanledger.processor.batch import Delivery

Sizer = Literal["requests", "items", "bytes"]

RETRY_AFTER_S: Final = 1.0
"""What a full queue asks of senders. Short: the OpenTelemetry SDKs give up after about ten seconds."""

_UNAVAILABLE: Final = {
    "wait_for_result": "is not available: a request is acknowledged when every queue has taken it",
    "block_on_overflow": "is not available: a full queue refuses at once and tells the sender when to retry",
    "batch": "is not available: requests are sent as they came; let the SDKs' batch processor batch",
}


class QueueConfig(Settings):
    """How much may wait for the peer; keys and numbers of the Collector's sending_queue."""

    enabled: bool = True
    """Let requests wait. When false at most `num_consumers` requests are under way and none waits."""
    num_consumers: Annotated[int, pydantic.Field(gt=0, le=1000)] = 10
    """Requests sent at the same time, for each signal."""
    queue_size: Annotated[int, pydantic.Field(gt=0)] = 1000
    """Room in units of `sizer`, for each signal; it counts what waits and what is being sent."""
    sizer: Sizer = "requests"
    """Unit of `queue_size`: `requests`, `items` (spans, log records, data points) or `bytes`."""
    wait_for_result: bool = False
    """Only false: a request is acknowledged when every queue has taken it."""
    block_on_overflow: bool = False
    """Only false: a full queue refuses at once and tells the sender when to retry."""
    storage: StorageId | None = None
    """Id of a `file_storage` extension: what is acknowledged is on disk and survives the process."""
    batch: dict[str, Any] | None = None
    """Not available: requests are sent as they came."""

    @pydantic.field_validator("wait_for_result", "block_on_overflow", "batch")
    @classmethod
    def _available(cls, value: Any, info: pydantic.ValidationInfo) -> Any:
        if value not in (False, None, ""):
            raise ValueError(f"{info.field_name} {_UNAVAILABLE[str(info.field_name)]}")
        return value

    @pydantic.model_validator(mode="after")
    def _stored(self) -> QueueConfig:
        if self.storage is not None and not self.enabled:
            raise ValueError("storage keeps what waits, and with `enabled: false` nothing does; remove one of the two")
        return self


Item = Union["Delivery", "Stored"]
"""What stands in line: a request, or with `storage` the number it has on disk."""

_SIZE_OF: Final[dict[Sizer, Callable[[Item], int]]] = {
    "requests": lambda _item: 1,
    "items": lambda item: item.items,
    "bytes": lambda item: item.size,
}


class SendingQueue:
    """One signal's line to one peer; see the module docstring. Owned by the event loop, never awaits.

    `owner` is the exporter's id, for messages. `changed` is called after each change, for the gauges.
    """

    def __init__(self, config: QueueConfig, owner: str, changed: Callable[[SendingQueue], None]) -> None:
        # Without a queue a request is taken only when a consumer is free for it: still never unbounded.
        self.sizer: Sizer = config.sizer if config.enabled else "requests"
        self.capacity = config.queue_size if config.enabled else config.num_consumers
        self.reserved = 0
        self.queued = 0
        self.in_flight = 0
        self.in_flight_requests = 0
        self.items = 0
        """Items of the requests that are not settled."""
        self.closed = False
        self._owner = owner
        self._size_of = _SIZE_OF[self.sizer]
        self._line: deque[Item] = deque()
        self._changed = changed
        self._key = "sending_queue::queue_size" if config.enabled else "sending_queue::num_consumers"

    @property
    def size(self) -> int:
        """Units of room taken."""
        return self.reserved + self.queued + self.in_flight

    @property
    def requests(self) -> int:
        """Requests that are not settled, in line or in flight."""
        return len(self._line) + self.in_flight_requests

    def reserve(self, delivery: Delivery) -> None:
        """Hold room for `delivery`. Raises `Refused`, or `Rejected` when it could never fit."""
        if self.closed:
            raise ShuttingDown(f"exporter {self._owner} is shutting down", RETRY_AFTER_S)
        size = self._size_of(delivery)
        if size > self.capacity:
            raise Rejected(
                f"a request of {size} {self.sizer} is larger than the whole queue of exporter {self._owner} "
                f"({self.capacity}); send smaller requests or raise {self._key}"
            )
        if self.size + size > self.capacity:
            raise Refused(
                f"the queue of exporter {self._owner} is full ({self.size} of {self.capacity} {self.sizer}): its "
                f"peer takes less than comes in; raise {self._key} to ride out longer gaps",
                RETRY_AFTER_S,
            )
        self.reserved += size
        self._changed(self)

    def release(self, delivery: Delivery) -> None:
        """Give back the room of a reservation."""
        self.reserved -= self._size_of(delivery)
        self._changed(self)

    def commit(self, item: Item) -> None:
        """Put what was reserved in line."""
        self.reserved -= self._size_of(item)
        self.resume(item)

    def resume(self, item: Item) -> None:
        """Put in line what was acknowledged before this process began, even beyond the capacity."""
        self.queued += self._size_of(item)
        self.items += item.items
        self._line.append(item)
        self._changed(self)

    def take(self) -> Item | None:
        """Return the next in line, now in flight; None when nothing waits."""
        if not self._line:
            return None
        item = self._line.popleft()
        size = self._size_of(item)
        self.queued -= size
        self.in_flight += size
        self.in_flight_requests += 1
        self._changed(self)
        return item

    def done(self, item: Item) -> None:
        """Free the room of what is settled: sent, counted as lost, or left on disk for the next start."""
        self.in_flight -= self._size_of(item)
        self.in_flight_requests -= 1
        self.items -= item.items
        self._changed(self)

    def close(self) -> None:
        """Refuse from now on; what is in line stays there."""
        self.closed = True

    def statistics(self) -> dict[str, int | str]:
        """Return the room taken, by state."""
        return {
            "size": self.size,
            "capacity": self.capacity,
            "sizer": self.sizer,
            "reserved": self.reserved,
            "queued": self.queued,
            "in_flight": self.in_flight,
            "requests": self.requests,
        }

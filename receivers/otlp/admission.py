"""How much may be in flight: bytes of requests that were received and are not answered yet.

Refusing early keeps a burst from becoming an out-of-memory kill; the sender keeps what is refused.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from spanledger.processor.component import Refused, ShuttingDown

RETRY_AFTER_S = 1.0
"""When a refused sender should try again. The Python SDK gives up after 10 s in all."""

_T = TypeVar("_T")


class Permit:
    """What one request holds."""

    def __init__(self, admission: Admission) -> None:
        self._admission = admission
        self.size_bytes = 0

    def hold(self, size_bytes: int) -> None:
        """Hold `size_bytes` in place of what was held before. Raises `Refused` when it does not fit."""
        self._admission.change(size_bytes - self.size_bytes)
        self.size_bytes = size_bytes


class Admission:
    """The account of bytes in flight, and the door that closes at shutdown."""

    def __init__(self, limit_bytes: int, show: Callable[[int], None] = lambda _bytes: None) -> None:
        self.limit_bytes = limit_bytes
        self._show = show
        """Told of `bytes` whenever they change."""
        self.bytes = 0
        self.requests = 0
        self._open = self._closed = False
        self._readings: set[asyncio.Timeout] = set()
        self._idle = asyncio.Event()
        self._idle.set()

    def open(self) -> None:
        """Let requests in."""
        self._open = True

    def close(self) -> None:
        """Refuse everything new, and what is still being read: nothing of that was acknowledged. The rest goes on."""
        self._closed = True
        for limit in self._readings:
            if not limit.expired():
                limit.reschedule(0.0)

    def check(self) -> None:
        """Raise `Refused` when a request would not be let in now."""
        if self._closed:
            raise _ending()
        if not self._open:
            raise Refused("not taking requests yet: the process is starting", RETRY_AFTER_S, "not_ready")
        if self.bytes >= self.limit_bytes:
            raise self._full()

    @contextmanager
    def enter(self) -> Iterator[Permit]:
        """Let one request in, holding no bytes yet; gives everything back at the end. Raises `Refused`."""
        self.check()
        permit = Permit(self)
        self.requests += 1
        self._idle.clear()
        try:
            yield permit
        finally:
            self.requests -= 1
            self.bytes -= permit.size_bytes
            self._show(self.bytes)
            if not self.requests:
                self._idle.set()

    def change(self, delta_bytes: int) -> None:
        """Book a request's growth or shrinking. Raises `Refused` for growth beyond the limit."""
        if delta_bytes > 0 and self.bytes + delta_bytes > self.limit_bytes:
            raise self._full()
        self.bytes += delta_bytes
        self._show(self.bytes)

    async def read(self, body: Awaitable[_T], timeout_s: float | None) -> _T:
        """Await a request's body; raises `Refused` when it does not come in time or the door closes meanwhile."""
        try:
            async with asyncio.timeout(timeout_s) as limit:
                self._readings.add(limit)
                try:
                    return await body
                finally:
                    self._readings.discard(limit)
        except TimeoutError:
            if self._closed:
                raise _ending() from None
            raise Refused(
                f"the body did not come within {timeout_s or 0:g} s: raise read_timeout, or send less", reason="timeout"
            ) from None

    async def idle(self) -> None:
        """Wait until no request is inside."""
        await self._idle.wait()

    def _full(self) -> Refused:
        return Refused(
            f"{self.bytes} bytes of requests are in flight, the limit is {self.limit_bytes}: try again, "
            "or raise max_in_flight_mib",
            RETRY_AFTER_S,
            "in_flight",
        )


def _ending() -> ShuttingDown:
    return ShuttingDown("not taking requests: the process is ending", RETRY_AFTER_S)

"""Who works when on the event loop, where several want to at the same time.

Everybody works for some milliseconds, a *turn*, and then lets all others have one. Where somebody waits for an answer
there is an order too: short requests go first, then long ones, and last what is done after the answer. It is bounded,
so that under full load nothing stands still: whoever gives way has a turn all the same after some time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Final, TypeVar

LONG_BYTES: Final = 256 * 1024
"""A request from this size on is long, some hundred spans; ten spans with what was said are 25 kB, seldom 100."""

AFTER_SHORT_S: Final = 0.02
"""Seconds for which a long request gives way to short ones after each of its turns."""

GAP_S: Final = 0.001
"""Seconds between two looks at whether requests are worked on."""

PATIENCE_S: Final = 0.25
"""Seconds by which work beside requests may be late and still gives way to them."""

BESIDE_MAX_S: Final = 0.1
"""Seconds of one turn beside requests, also when the process was stopped for a while."""

_T = TypeVar("_T")


@dataclass(slots=True)
class Working:
    """The requests that are worked on at this moment, and do not wait for a disk, a thread or their client."""

    short: int = 0
    long: int = 0
    beside_s: float = 0.0
    """Seconds that all turns beside them took so far."""

    @property
    def none(self) -> bool:
        """Tell whether nobody works."""
        return not self.short and not self.long


class Turns:
    """The turns in which a request is worked on, over all its stages: after each, the loop serves others."""

    __slots__ = ("_budget_s", "_is_long", "_monotonic", "_until", "_working")

    def __init__(
        self,
        budget_s: float,
        monotonic: Callable[[], float],
        working: Working | None = None,
        size_bytes: int = 0,
    ) -> None:
        self._budget_s = budget_s
        self._monotonic = monotonic
        self._working = working or Working()
        self._is_long = size_bytes >= LONG_BYTES
        self._until = monotonic() + budget_s

    async def run(self, work: Generator[None, None, _T]) -> _T:
        """Run a generator stage to its end, letting others run each time a turn is used up."""
        self._count(1)
        try:
            while True:
                try:
                    next(work)
                except StopIteration as done:
                    result: _T = done.value
                    return result
                if self._monotonic() >= self._until:
                    await self._others()
                    self._until = self._monotonic() + self._budget_s
        finally:
            self._count(-1)

    def _count(self, change: int) -> None:
        if self._is_long:
            self._working.long += change
        else:
            self._working.short += change

    async def _others(self) -> None:
        # Anything may have run meanwhile; what the stage works on is still only its own.
        await asyncio.sleep(0)
        if self._is_long and self._working.short:
            until = self._monotonic() + AFTER_SHORT_S
            while self._working.short and self._monotonic() < until:  # noqa: ASYNC110 - they use the loop meanwhile
                await asyncio.sleep(GAP_S)


class Beside:
    """The turns of work that goes on beside requests, and that each of them adds to.

    The loop gives every request a turn before this comes again. With many of them, one turn of `least_s` seconds would
    be ever less of the whole, and what waits would pile up. So a turn is as long as what requests took. The turns of
    others beside requests do not count: each would make the other's longer.
    """

    __slots__ = ("_began_s", "_late_s", "_least_s", "_monotonic", "_working", "turn_s")

    def __init__(self, least_s: float, monotonic: Callable[[], float], working: Working | None = None) -> None:
        self._least_s = least_s
        self._monotonic = monotonic
        self._working = working or Working()
        self._began_s: float | None = None
        """When this turn began."""
        self._late_s: float | None = None
        self.turn_s = least_s
        """Seconds of the next turn."""

    async def others(self) -> None:
        """Let all others have their turn."""
        took_s = await self._wait(0)
        self.turn_s = max(self._least_s, min(took_s, BESIDE_MAX_S))

    async def requests(self) -> None:
        """Let requests have all their turns, then have a short one; when this is late, go on as after `others`.

        It is late when it has been waiting and working for a while: requests that never end do not stop it.
        """
        if self._late_s is None:
            self._late_s = self._monotonic() + PATIENCE_S
            if self._working.none:
                return
        while self._monotonic() < self._late_s:
            # From its bytes to its first turn a request passes the loop several times.
            await self._wait(GAP_S)
            if self._working.none:
                self.turn_s = self._least_s
                return
        await self.others()

    def done(self) -> None:
        """Note that nothing waits."""
        self._end()
        self._began_s = self._late_s = None
        self.turn_s = self._least_s

    def _end(self) -> float:
        """Count this turn; return when it ended."""
        ended_s = self._monotonic()
        if self._began_s is not None:
            self._working.beside_s += ended_s - self._began_s
        return ended_s

    async def _wait(self, pause_s: float) -> float:
        """End this turn and begin the next; return the seconds that requests took between them."""
        ended_s, beside_s = self._end(), self._working.beside_s
        await asyncio.sleep(pause_s)
        self._began_s = self._monotonic()
        return self._began_s - ended_s - (self._working.beside_s - beside_s)


async def paced(work: Generator[None, None, _T], budget_s: float, monotonic: Callable[[], float]) -> _T:
    """Run one generator stage to its end, letting the loop serve others each time `budget_s` is used up."""
    return await Turns(budget_s, monotonic).run(work)

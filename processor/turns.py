"""Who works when on the event loop, where several want to at the same time.

Everybody works for some milliseconds, a *turn*, and then lets all others have one. Where somebody waits for an answer
there is an order too: short requests go first, by when they came, then long ones, and last what is done after the
answer. It is bounded, so that under full load nothing stands still: whoever gives way has a turn all the same after
some time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from typing import Final, TypeVar

LONG_BYTES: Final = 256 * 1024
"""A request from this size on is long, some hundred spans; ten spans with what was said are 25 kB, seldom 100."""

AFTER_SHORT_S: Final = 0.02
"""Seconds for which a long request gives way to short ones after each of its turns."""

AFTER_EARLIER_S: Final = 0.005
"""Seconds for which a short request gives way to earlier ones, before each of its turns: most are through by then."""

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

    short: dict[int, asyncio.Future[None] | None] = field(default_factory=dict)
    """The short ones by the order they came in, with what those wait for that give way to earlier ones."""
    long: int = 0
    beside_s: float = 0.0
    """Seconds that all turns beside them took so far."""
    came: int = 0
    """Requests so far."""

    @property
    def none(self) -> bool:
        """Tell whether nobody works."""
        return not self.short and not self.long


class Turns:
    """The turns in which a request is worked on, over all its stages: after each, the loop serves others."""

    __slots__ = ("_budget_s", "_is_long", "_monotonic", "_number", "_patient_until", "_until", "_working")

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
        self._working.came += 1
        self._number = self._working.came
        self._patient_until: float | None = None
        """Until when earlier requests go first; the next turn begins the count anew."""
        self._until = monotonic() + budget_s

    async def run(self, work: Generator[None, None, _T]) -> _T:
        """Run a generator stage to its end, letting others run each time a turn is used up."""
        self._begin()
        try:
            await self._after_earlier()
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
            self._end()

    def _begin(self) -> None:
        if self._is_long:
            self._working.long += 1
        else:
            self._working.short[self._number] = None

    def _end(self) -> None:
        working = self._working
        if self._is_long:
            working.long -= 1
            return
        del working.short[self._number]
        if working.short:
            _wake(working.short[min(working.short)])

    async def _after_earlier(self) -> None:
        """Let short requests that came before go on: in turns, all of them would be as late as the last."""
        short = self._working.short
        if self._is_long or min(short) == self._number:
            return
        now_s = self._monotonic()
        if self._patient_until is None:
            self._patient_until = now_s + AFTER_EARLIER_S
        if now_s >= self._patient_until:
            return
        loop = asyncio.get_running_loop()
        # A little later than patience ends, so that the look at the clock finds that it has.
        late_s = self._patient_until + GAP_S - now_s
        alarm = loop.call_later(late_s, lambda: _wake(short.get(self._number)))
        try:
            while min(short) != self._number and self._monotonic() < self._patient_until:
                waiting = short[self._number] = loop.create_future()
                await waiting
        finally:
            alarm.cancel()
            short[self._number] = None
        self._until = self._monotonic() + self._budget_s

    async def _others(self) -> None:
        # Anything may have run meanwhile; what the stage works on is still only its own.
        await asyncio.sleep(0)
        self._patient_until = None
        if not self._is_long:
            await self._after_earlier()
        elif self._working.short:
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


def _wake(waiting: asyncio.Future[None] | None) -> None:
    if waiting is not None and not waiting.done():
        waiting.set_result(None)


async def paced(work: Generator[None, None, _T], budget_s: float, monotonic: Callable[[], float]) -> _T:
    """Run one generator stage to its end, letting the loop serve others each time `budget_s` is used up."""
    return await Turns(budget_s, monotonic).run(work)

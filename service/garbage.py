"""Python's garbage collector, kept out of the way of requests.

It finds objects that refer to each other in circles; all others go when the last one lets go of them. Looking at the
young ones takes under a millisecond. Looking at all, which Python does whenever they have grown by a quarter, takes
0.1 s for 100,000 objects and stops every thread, and what it finds is next to nothing: a quarter of an object for each
span. So that is done when the process has nothing else to do, or when it was not done for long.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import time
from collections.abc import Callable, Iterator

EVERY_S = 1.0
"""Seconds from one look at what the process does to the next."""
IDLE_SHARE = 0.05
"""Of a core: who uses less has nothing to do."""
MAX_WAIT_S = 600.0
"""Seconds until all is looked at even if the process never rests."""
WORTH = 100
"""Looks at the middle generation since the last at all objects: before so many there cannot be much."""
_NEVER = 2**30


class Sweeps:
    """Says when all objects are to be looked at."""

    def __init__(self, now_s: float, cpu_s: float) -> None:
        self._last_s = self._swept_s = now_s
        self._cpu_s = cpu_s

    def due(self, now_s: float, cpu_s: float, grown: int) -> bool:
        """Note a moment, the CPU time used until then, and the looks at the middle generation; tell whether to."""
        is_idle = cpu_s - self._cpu_s < IDLE_SHARE * (now_s - self._last_s)
        self._last_s, self._cpu_s = now_s, cpu_s
        if grown < WORTH or not (is_idle or now_s - self._swept_s > MAX_WAIT_S):
            return False
        self._swept_s = now_s
        return True


def settle() -> None:
    """Look at young objects only from now on, never at what there is now: what lives for good need not be walked."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*gc.get_threshold()[:2], _NEVER)
    gc.enable()


@contextlib.contextmanager
def young_only() -> Iterator[None]:
    """Do so during the block."""
    thresholds = gc.get_threshold()
    settle()
    try:
        yield
    finally:
        gc.set_threshold(*thresholds)


async def sweep(
    monotonic: Callable[[], float] = time.monotonic, cpu_time: Callable[[], float] = time.process_time
) -> None:
    """Look at all objects when there is time, until cancelled."""
    sweeps = Sweeps(monotonic(), cpu_time())
    while True:
        await asyncio.sleep(EVERY_S)
        if sweeps.due(monotonic(), cpu_time(), gc.get_count()[2]):
            gc.collect()

"""Python's garbage collector, kept out of the way of requests.

It finds objects that refer to each other in circles; all others go when the last one lets go of them. Looking at the
young ones takes under a millisecond. Looking at all, which Python does whenever they have grown by a quarter, takes
0.1 s for 100,000 objects and stops every thread, and what it finds is next to nothing: a quarter of an object for each
span. So that is done when the process has nothing else to do, when it was not done for long, or when memory has grown.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import time
from collections.abc import Callable, Iterator

from spanledger.processor.memory_limiter import give_back, resident_bytes

EVERY_S = 1.0
"""Seconds from one look at what the process does to the next."""
IDLE_SHARE = 0.05
"""Of a core: who uses less has nothing to do."""
MAX_WAIT_S = 600.0
"""Seconds until all is looked at even if the process never rests."""
MAX_GROWTH = 512 * 2**20
"""Bytes by which memory may grow until all is looked at: whatever makes garbage faster than we have seen is bounded."""
WORTH = 100
"""Looks at the middle generation since the last at all objects: before so many there cannot be much."""
_NEVER = 2**30


class Sweeps:
    """Says when all objects are to be looked at."""

    def __init__(self, now_s: float, cpu_s: float, used: int) -> None:
        self._last_s = self._swept_s = now_s
        self._cpu_s = cpu_s
        self._used = used

    def due(self, now_s: float, cpu_s: float, used: int, grown: int) -> bool:
        """Note a moment: CPU seconds, bytes of memory, looks at the middle generation. Tell whether to sweep."""
        is_idle = cpu_s - self._cpu_s < IDLE_SHARE * (now_s - self._last_s)
        self._last_s, self._cpu_s = now_s, cpu_s
        is_late = now_s - self._swept_s > MAX_WAIT_S or used - self._used > MAX_GROWTH
        return grown >= WORTH and (is_idle or is_late)

    def swept(self, now_s: float, used: int) -> None:
        """Note that all was looked at, and what memory is left in use."""
        self._swept_s, self._used = now_s, used


def settle() -> None:
    """Look at young objects only from now on, never at what there is now: what lives for good need not be walked."""
    give_back()
    gc.freeze()
    gc.set_threshold(*gc.get_threshold()[:2], _NEVER)
    gc.enable()


@contextlib.contextmanager
def young_only() -> Iterator[None]:
    """Do so during the block; then Python does again as it did."""
    thresholds = gc.get_threshold()
    settle()
    try:
        yield
    finally:
        gc.set_threshold(*thresholds)
        gc.unfreeze()


def _used() -> int:
    """Return the resident memory in bytes; 0 where the system does not say, or no file can be opened."""
    try:
        return resident_bytes()
    except OSError:
        return 0


async def sweep(
    monotonic: Callable[[], float] = time.monotonic,
    cpu_time: Callable[[], float] = time.process_time,
    used: Callable[[], int] = _used,
) -> None:
    """Look at all objects when there is time, until cancelled."""
    sweeps = Sweeps(monotonic(), cpu_time(), used())
    while True:
        await asyncio.sleep(EVERY_S)
        if sweeps.due(monotonic(), cpu_time(), used(), gc.get_count()[2]):
            gc.collect()
            sweeps.swept(monotonic(), used())

"""Keeps Python's garbage collector away from large requests.

It looks at every object of every request that is worked on, again and again as they become more: 200 ms at a
time for 60 MB. Nothing of a batch needs it, so it waits until there is little to look at: until the batch is gone,
and the sinks are through with what they were given.
"""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager

LARGE_BYTES = 1024 * 1024
"""Requests from this size on; a smaller one is looked at in a few milliseconds."""
AFTER_S = 2.0
"""What sinks may still take for the steps of a large request."""
MAX_WAIT_S = 60.0
"""What others leave is collected after this long, even if large requests never cease."""


class Calm:
    """How many large requests are inside. The collector belongs to the process: the last one out lets it in."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._inside = 0
        self._since = 0.0

    @contextmanager
    def during(self, size_bytes: int) -> Iterator[None]:
        """Hold the collector off while a request of this size, if it is large, is worked on."""
        if size_bytes < LARGE_BYTES:
            yield
            return
        if gc.isenabled():
            self._since = self._monotonic()
            gc.disable()
        self._inside += 1
        try:
            yield
        finally:
            self._inside -= 1
            asyncio.get_running_loop().call_later(AFTER_S, self.end)
            if self._monotonic() - self._since > MAX_WAIT_S:
                self._since = self._monotonic()
                gc.collect()

    def end(self) -> None:
        """Let the collector in unless a large request is inside."""
        if not self._inside:
            gc.enable()

"""Files that may be replaced while the process runs: certificates and their keys."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from pathlib import Path

FileState = tuple[int, int, int] | None
"""Inode, size and time of change; None for a file that is not there."""


def file_state(path: str | Path) -> FileState:
    """Return what would be different if the file had changed."""
    try:
        status = Path(path).stat()
    except OSError:
        return None
    return status.st_ino, status.st_size, status.st_mtime_ns


class WatchedFiles:
    """Looks at files every `interval_s` at most, when it is asked; an interval of 0 never sees a change."""

    def __init__(
        self, paths: Iterable[str], interval_s: float, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._paths = tuple(path for path in paths if path)
        self._interval_s = interval_s
        self._monotonic = monotonic
        self._states = self._look()
        self._looked_s = monotonic()

    def changed(self) -> bool:
        """Tell whether one of them is another than when this was last true."""
        now = self._monotonic()
        if not self._interval_s or now - self._looked_s < self._interval_s:
            return False
        self._looked_s = now
        states = self._look()
        # Half of a pair, or a file in the middle of being replaced, is waited for.
        if states == self._states or None in states:
            return False
        self._states = states
        return True

    def _look(self) -> tuple[FileState, ...]:
        return tuple(map(file_state, self._paths))

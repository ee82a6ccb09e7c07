"""A file with secrets that may be replaced while the process runs, as Kubernetes does with mounted ones."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final

CHECK_EVERY_S: Final = 1.0
MAX_BYTES: Final = 1024 * 1024


class SecretFile:
    """The text of a file, read anew when it has changed; looked at once a second at most."""

    def __init__(self, path: str, monotonic: Callable[[], float]) -> None:
        self._path = Path(path)
        self._monotonic = monotonic
        self._state: tuple[int, int, int] | None = None
        self._text = ""
        self._looked_s = float("-inf")

    def text(self) -> str:
        """Return the text. Raises OSError while there has never been one, ValueError for what is no text.

        A file that goes away later, or is no text any more, leaves the text that was read last.
        """
        now = self._monotonic()
        if now - self._looked_s >= CHECK_EVERY_S:
            try:
                self._text = self._read()
                self._looked_s = now
            except (OSError, ValueError):
                if self._state is None:
                    raise
        return self._text

    def _read(self) -> str:
        status = self._path.stat()
        state = status.st_ino, status.st_size, status.st_mtime_ns
        if state == self._state:
            return self._text
        if status.st_size > MAX_BYTES:
            raise ValueError(f"{self._path} has more than {MAX_BYTES} bytes")
        text = self._path.read_text(encoding="utf-8")
        self._state = state
        return text

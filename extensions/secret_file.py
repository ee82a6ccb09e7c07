"""A file with secrets that may be replaced while the process runs, as Kubernetes does with mounted ones."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final, Generic, TypeVar

if TYPE_CHECKING:
    from spanledger.processor.component import Host

CHECK_EVERY_S: Final = 1.0
MAX_BYTES: Final = 1024 * 1024

_T = TypeVar("_T")


class SecretFile(Generic[_T]):
    """What `parse` makes of a file's text, anew when the file has changed; looked at once a second at most.

    `parse` raises ValueError for what it cannot use, with a message that holds no secret.
    """

    def __init__(self, path: str, host: Host, parse: Callable[[str], _T]) -> None:
        self._path = Path(path)
        self._host = host
        self._parse = parse
        self._state: tuple[int, int, int] | None = None
        self._value: _T | None = None
        self._problem = ""
        self._looked_s = float("-inf")

    def value(self) -> _T:
        """Return what is in the file. Raises OSError while there has never been one.

        A file that goes away later leaves what was read last. One that cannot be used any more raises
        ValueError: whoever empties a list of tokens does not mean that the old ones hold on.
        """
        now = self._host.monotonic()
        if now - self._looked_s >= CHECK_EVERY_S:
            try:
                self._look()
                self._looked_s = now
            except OSError:
                if self._state is None:
                    raise
        if self._value is None:
            raise ValueError(self._problem)
        return self._value

    def _look(self) -> None:
        status = self._path.stat()
        state = status.st_ino, status.st_size, status.st_mtime_ns
        if state == self._state:
            return
        try:
            if status.st_size > MAX_BYTES:
                raise ValueError(f"it has more than {MAX_BYTES} bytes")
            self._value, self._problem = self._parse(self._path.read_text(encoding="utf-8")), ""
        except ValueError as error:
            self._value, self._problem = None, str(error)
            if self._state is not None:
                self._host.log.error("cannot use %s any more: %s", self._path, error)
        self._state = state

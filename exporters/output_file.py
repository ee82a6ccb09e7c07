"""A file that whole records are added to, with rotation. Plain blocking I/O: use it in a thread.

Records never run into each other: one that was cut short, by a crash or a full disk, is closed or
removed before the next is written.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import stat
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final, Literal

Framing = Literal["line", "length", "opaque"]
"""How records are told apart: a line break after each, its length before it (4 bytes, big-endian), or not at all."""

_STAMP = "%Y-%m-%dT%H-%M-%S"
_ROTATED = re.compile(r"-(\d{4}-\d\d-\d\dT\d\d-\d\d-\d\d)\.\d{3}(?:\.\d+)?")


@dataclass(frozen=True, slots=True)
class Rotation:
    """When to begin a new file and which old ones to keep; 0 days or backups means no such limit."""

    max_bytes: int
    max_days: int
    max_backups: int
    local_time: bool


def frame(record: bytes, framing: Framing) -> bytes:
    """Return `record` as it stands in the file."""
    if framing == "line":
        return record + b"\n"
    return len(record).to_bytes(4, "big") + record if framing == "length" else record


_emptied: Final[set[Path]] = set()
"""Files that this process has begun. The one thing here that outlives an exporter: a reload starts it again,
and what it wrote before the reload is not what an earlier run left behind."""


class OutputFile:
    """The open file. Each method may raise OSError."""

    def __init__(self, path: Path, framing: Framing, *, append: bool, rotation: Rotation | None) -> None:
        self.path = path
        self._framing = framing
        self._append = append or rotation is not None
        self._rotation = rotation
        self._fd = -1
        self._regular = False
        self._sealed = False
        self.size = 0

    def open(self) -> None:
        """Open or create the file, and mend its end when the last record is cut short."""
        place = self.path.resolve()
        begin = not self._append and place not in _emptied
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | (os.O_TRUNC if begin else 0)
        try:
            kind = os.stat(self.path).st_mode  # noqa: PTH116 - `Path.stat` would do the same in more words
            if not (stat.S_ISREG(kind) or stat.S_ISCHR(kind)):
                # Opening a pipe would wait for its reader.
                raise OSError(errno.EINVAL, "not a regular file", str(self.path))
            if stat.S_ISCHR(kind):
                flags = os.O_WRONLY | os.O_APPEND
        except FileNotFoundError:
            pass
        # Telemetry holds prompts: for the owner's eyes only.
        self._fd = os.open(self.path, flags, 0o600)
        _emptied.add(place)
        self._regular = stat.S_ISREG(os.fstat(self._fd).st_mode)
        self.size = os.fstat(self._fd).st_size if self._regular else 0
        self._sealed = False
        if self.size:
            self._mend()

    def write(self, record: bytes, now: datetime) -> None:
        """Add one framed record. When that fails the file is as it was before."""
        if self._fd < 0:
            self.open()
        if self._rotation is not None and self._is_full(len(record), self._rotation):
            self._rotate(self._rotation, now)
        left = memoryview(record)
        try:
            while left:
                left = left[os.write(self._fd, left) :]
        except OSError:
            if self._regular:
                with contextlib.suppress(OSError):
                    os.ftruncate(self._fd, self.size)
            raise
        self.size += len(record)

    def close(self) -> None:
        """Close the file; it may be opened again."""
        if self._fd >= 0:
            fd, self._fd = self._fd, -1
            os.close(fd)

    def _mend(self) -> None:
        if self._framing == "opaque":
            # Nobody can tell where its last record ends: put the file aside before adding to it.
            self._sealed = True
            return
        if self._framing == "line":
            if os.pread(self._fd, 1, self.size - 1) != b"\n":
                self.size += os.write(self._fd, b"\n")
            return
        position = 0
        while position + 4 <= self.size:
            end = position + 4 + int.from_bytes(os.pread(self._fd, 4, position), "big")
            if end > self.size:
                break
            position = end
        if position < self.size:
            os.ftruncate(self._fd, position)
            self.size = position

    def _is_full(self, more: int, rotation: Rotation) -> bool:
        # A record larger than the limit still gets a file, of its own.
        return self.size > 0 and (self._sealed or self.size + more > rotation.max_bytes)

    def _rotate(self, rotation: Rotation, now: datetime) -> None:
        self.close()
        self.path.rename(self._unused_name(now.astimezone(None if rotation.local_time else UTC)))
        self.open()
        with contextlib.suppress(OSError):
            for old in expired(self._rotated(), rotation, now):
                old.unlink()

    def _unused_name(self, now: datetime) -> Path:
        stem = f"{self.path.stem}-{now.strftime(_STAMP)}.{now.microsecond // 1000:03d}"
        names = (f"{stem}{extra}{self.path.suffix}" for extra in ("", *(f".{n}" for n in range(1, 10_000))))
        return next(place for name in names if not (place := self.path.with_name(name)).exists())

    def _rotated(self) -> list[Path]:
        """Return the older files of this one, newest first."""
        start, end = self.path.stem, self.path.suffix
        found = [
            other
            for other in self.path.parent.iterdir()
            if other.name.startswith(start)
            and other.name.endswith(end)
            and _ROTATED.fullmatch(other.name[len(start) : len(other.name) - len(end)])
        ]
        return sorted(found, key=lambda other: other.stem, reverse=True)


def expired(rotated: list[Path], rotation: Rotation, now: datetime) -> list[Path]:
    """Return which of the older files (newest first) are to be deleted."""
    gone = rotated[rotation.max_backups :] if rotation.max_backups else []
    if rotation.max_days:
        oldest = now.astimezone(None if rotation.local_time else UTC) - timedelta(days=rotation.max_days)
        stamp = oldest.strftime(_STAMP)
        gone += [old for old in rotated if old not in gone and (_ROTATED.search(old.name) or [""])[1] < stamp]
    return gone

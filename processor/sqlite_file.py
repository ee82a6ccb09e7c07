"""What every SQLite file of ours needs: transactions that end well, and a way to keep a broken file."""

from __future__ import annotations

import contextlib
import errno
import os
import sqlite3
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

SPARE_BYTES: Final = 16 * 2**20
"""What is left free on a disk by what comes; what is settled may have it."""

_MAY_PASS: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS, errno.EMFILE, errno.ENFILE})


@contextlib.contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """Hold the write lock; commit at the end, undo everything when an error passes through."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        # SQLite has rolled back by itself after some errors (disk full, I/O).
        if connection.in_transaction:
            with contextlib.suppress(sqlite3.Error):
                connection.execute("ROLLBACK")
        raise


def look_for_room(connection: sqlite3.Connection, directory: Path, size: int) -> None:
    """Raise OSError when `size` bytes that come would leave less than `SPARE_BYTES` free on the disk of the file.

    A disk that is full to the brim would have no room for the journal that says what is deleted, nor for moving the
    journal into the file: nothing would ever be deleted again.
    """
    disk = os.statvfs(directory)
    free, page = (connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("freelist_count", "page_size"))
    if disk.f_bavail * disk.f_frsize + free * page < SPARE_BYTES + 2 * size:
        raise OSError(errno.ENOSPC, f"less than {SPARE_BYTES // 2**20} MiB would be left free on its disk")


def look_whether_writable(directory: Path) -> None:
    """Raise OSError when the disk of the file has become read-only: what was just committed may not be on it.

    Linux answers `fsync` on a filesystem that it has made read-only after an error with success, whatever it held back.
    """
    if os.statvfs(directory).f_flag & os.ST_RDONLY:
        raise OSError(errno.EROFS, "its disk became read-only while it was written")


class Malformed(sqlite3.DatabaseError):
    """A row holds what none of ours does: SQLite sums nothing, and finds damage in its own structure only."""


@contextlib.contextmanager
def reading() -> Iterator[None]:
    """Raise `Malformed` for values of a wrong type, for texts that are none, and for tables that are not there.

    SQLite's own messages are texts as well, and quote what is damaged.
    """
    try:
        yield
    except sqlite3.Error as error:
        code = getattr(error, "sqlite_errorcode", None)
        if code is None and not isinstance(error, Malformed):
            # Python's own, and it would say what is in the row.
            raise Malformed("the file is malformed: a text in it is no UTF-8") from None
        if code == sqlite3.SQLITE_ERROR:
            raise Malformed(f"the file is malformed: {error}") from error
        raise
    except (ValueError, TypeError, OverflowError) as error:
        raise Malformed(f"the file is malformed: {error}") from error


def blob(value: object) -> bytes:
    """Return a value that has to be bytes. Raises `Malformed`."""
    if not isinstance(value, bytes):
        raise Malformed("the file is malformed: something else is where data belongs")
    return value


def damaged(error: Exception) -> bool:
    """Tell whether an error means that the file itself is broken, and not the disk or the moment."""
    code = getattr(error, "sqlite_errorcode", None) or 0
    return isinstance(error, Malformed) or code & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def may_pass(error: sqlite3.Error | OSError) -> bool:
    """Tell whether an error is the disk's or the moment's: no mistake in the configuration, which ends a start."""
    return not damaged(error) if isinstance(error, sqlite3.Error) else error.errno in _MAY_PASS


def put_aside(path: Path, mark: str, now_ns: int) -> Path:
    """Rename a closed file to `<name>.<mark>-<time>`, with what SQLite keeps beside it; return its new name."""
    stamp = datetime.fromtimestamp(now_ns // 10**9, UTC).strftime("%Y%m%dT%H%M%SZ")
    aside = path.with_name(f"{path.name}.{mark}-{stamp}")
    number = 1
    while aside.exists():
        number += 1
        aside = path.with_name(f"{path.name}.{mark}-{stamp}-{number}")
    for suffix in ("-wal", "-shm", ""):
        with contextlib.suppress(FileNotFoundError):
            Path(f"{path}{suffix}").rename(f"{aside}{suffix}")
    return aside

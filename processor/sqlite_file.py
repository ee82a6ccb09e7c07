"""What every SQLite file of ours needs: transactions that end well, and a way to keep a broken file."""

from __future__ import annotations

import contextlib
import errno
import fcntl
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
def transaction(connection: sqlite3.Connection, probe: int | None = None) -> Iterator[None]:
    """Hold the write lock; commit at the end, undo everything when an error passes through.

    `probe` is an open file beside one that is synced with each commit: nothing is taken for synced without
    `prove_synced`. Where only that fails, after the commit, what was written may be there all the same.
    """
    if probe is not None:
        # What is written now may overwrite the only whole copy of what was moved elsewhere, and synced, before.
        prove_synced(probe)
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
    if probe is not None:
        prove_synced(probe)


def look_for_room(connection: sqlite3.Connection, descriptor: int, size: int) -> None:
    """Raise OSError when `size` bytes that come would leave less than `SPARE_BYTES` free on the disk of an open file.

    A disk that is full to the brim would have no room for the journal that says what is deleted, nor for moving the
    journal into the file: nothing would ever be deleted again.
    """
    disk = os.fstatvfs(descriptor)
    free, page = (connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("freelist_count", "page_size"))
    if disk.f_bavail * disk.f_frsize + free * page < SPARE_BYTES + 2 * size:
        raise OSError(errno.ENOSPC, f"less than {SPARE_BYTES // 2**20} MiB would be left free on its disk")


def prove_synced(descriptor: int) -> None:
    """Raise OSError when the disk of an open file of ours has given up: what was synced to it before may be gone.

    After an error Linux answers `fsync` with success for a moment, for what it has just thrown away: ext4 gives its
    journal up first, takes what was to be committed for committed, and says that it is read-only milliseconds later
    (`ST_RDONLY`: since Linux 6.12 never). A change of a file's length needs that journal, and it is given up for good:
    if one is possible now, nothing that was synced before was thrown away. It costs microseconds, and no write.
    """
    os.ftruncate(descriptor, os.fstat(descriptor).st_size ^ 1)


def make_directory(directory: Path) -> None:
    """Make a directory where there is none, for its owner's eyes only. Raises OSError, and says what is in the way."""
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        there = next((one for one in (directory, *directory.absolute().parents) if one.exists()), directory)
        raise OSError(errno.ENOTDIR, f"{there} is a file and no directory") from error


def hold(path: Path, held: int = -1) -> int:
    """Lock a file against others, in a directory that is made; return the descriptor of the lock.

    `held` is one of before: it is returned where it is still there, and else closed. Raises OSError, BlockingIOError
    while another process has it.
    """
    make_directory(path.parent)
    lock = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        if held >= 0 and os.path.samestat(os.fstat(lock), os.fstat(held)):
            os.close(lock)
            return held
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BaseException:
        os.close(lock)
        raise
    if held >= 0:
        os.close(held)
    return lock


class Place:
    """Where an open SQLite file of ours is. Who removes it would have SQLite write on, into nowhere."""

    def __init__(self, path: Path) -> None:
        self._paths = path, Path(f"{path}-wal")
        self._files = self._look()

    def is_kept(self) -> bool:
        """Tell whether it is still there. Raises OSError when there is another file in its place."""
        try:
            files = self._look()
        except FileNotFoundError:
            return False
        if files != self._files:
            why = f"another file was put in the place of {self._paths[0]}; start the process again"
            raise OSError(errno.ESTALE, why)
        return True

    def _look(self) -> list[tuple[int, int]]:
        return [(one.st_dev, one.st_ino) for one in (path.stat() for path in self._paths)]


def put_back(connection: sqlite3.Connection, path: Path) -> None:
    """Write a file that was removed while it was open anew where it was, with all that was ever committed to it.

    Close `connection` then: it still is on what was removed.
    """
    new = Path(f"{path}.new")
    new.unlink(missing_ok=True)
    # It holds prompts: for the owner's eyes only.
    os.close(os.open(new, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    with contextlib.closing(sqlite3.connect(new)) as copy:
        connection.backup(copy)
    for suffix in ("-wal", "-shm"):
        Path(f"{path}{suffix}").unlink(missing_ok=True)
    new.rename(path)


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

"""A sending queue's file: what is acknowledged and not sent yet. Plain blocking I/O, for one thread at a time.

One SQLite file in WAL mode for each exporter. What is promised when `apply` returns:

* `fsync: false`: what was written outlives the process, however it ends (`kill -9` too). A power failure or
  a crash of the kernel may take the last moments, but never leaves half an entry or a broken file;
* `fsync: true`: it outlives those as well.

Entries that a peer refused for good are *dead letters*: kept beside the queue, up to a limit, until somebody
replays or discards them (`spanledger dlq`, which may open the file while the sidecar runs).
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from spanledger.processor.batch import SIGNALS, Delivery, Signal
from spanledger.processor.sqlite_file import (
    Malformed,
    Place,
    blob,
    damaged,
    hold,
    look_for_room,
    put_aside,
    put_back,
    reading,
    transaction,
)
from spanledger.processor.storage import StorageFile

APPLICATION_ID: Final = 0x5350_4C51  # "SPLQ"
VERSION: Final = 1
BUSY_S: Final = 5.0
_WAL_BYTES: Final = 16 * 2**20
_VACUUM_PAGES: Final = 1000
_SPARE: Final = 16
"""Part of the room for dead letters that is made free at once when there is none left."""
_ALL: Final = range(1, 2**63)

SUFFIX: Final = ".queue"

_SCHEMA: Final = """
CREATE TABLE about (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE entries (
    seq         INTEGER PRIMARY KEY,  -- the order in which they were accepted
    signal      TEXT NOT NULL,
    items       INTEGER NOT NULL,     -- spans, log records or data points
    received_ns INTEGER NOT NULL,
    data        BLOB NOT NULL         -- an OTLP Export<Signal>ServiceRequest, protobuf
);
CREATE TABLE dead (
    seq       INTEGER PRIMARY KEY AUTOINCREMENT,  -- people name it: it is never that of another one
    signal    TEXT NOT NULL,
    items     INTEGER NOT NULL,
    received_ns INTEGER NOT NULL,
    data      BLOB NOT NULL,
    died_ns   INTEGER NOT NULL,
    why       TEXT NOT NULL,          -- what the peer said
    replay    INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX dead_replay ON dead (replay);  -- whole: they are counted by it, without reading them
"""


class Unusable(Exception):  # noqa: N818 - reads as the condition it is
    """The file cannot be a queue of ours, and no retry would change that; the message says what to do."""


@dataclass(frozen=True, slots=True)
class Stored:
    """An entry without its data."""

    seq: int
    signal: Signal
    items: int
    size: int
    """Bytes of its data."""
    received_ns: int


@dataclass(frozen=True, slots=True)
class Insert:
    """Keep a delivery under a number."""

    seq: int
    delivery: Delivery


@dataclass(frozen=True, slots=True)
class Delete:
    """Give an entry up: it was delivered, counted as lost, or never acknowledged."""

    seq: int


@dataclass(frozen=True, slots=True)
class Bury:
    """Put a delivery, or a part of one, among the dead letters."""

    delivery: Delivery
    died_ns: int
    why: str


Change = Insert | Delete | Bury


@dataclass(frozen=True, slots=True)
class Found:
    """What was in the file when it was opened."""

    entries: tuple[Stored, ...]
    aside: Path | None
    """Where a broken file was put; None when there was none."""


class QueueFile:
    """The open file; see the module docstring. Methods raise sqlite3.Error and OSError."""

    def __init__(self, where: StorageFile) -> None:
        self.path = where.path
        self._owner = where.owner
        self._fsync = where.fsync
        self._max_bytes = where.max_bytes
        self._max_dead_bytes = where.max_dead_bytes
        self._connection: sqlite3.Connection | None = None
        self._dead_bytes: int | None = None
        """Of dead letters, or more where some were deleted from outside; None when it has to be looked up."""
        self._lock = -1
        self.times_put_back = 0
        """How often somebody removed it while it was open."""

    def open(self, now_ns: int) -> Found:
        """Open or create the file. A broken one is renamed, never deleted.

        Raises `Unusable`, and BlockingIOError while another process or a predecessor holds the file.
        """
        self.close()
        self._lock = hold(self.path)
        try:
            try:
                entries: tuple[Stored, ...] = self._begin()
                aside = None
            except sqlite3.DatabaseError as error:
                if not damaged(error):
                    raise
                entries = ()
                aside = put_aside(self.path, "broken", now_ns)
                self._begin()
            return Found(entries, aside)
        except BaseException:
            self.close()
            raise

    def _begin(self) -> tuple[Stored, ...]:
        connection = self._connection = connect(self.path, fsync=self._fsync)
        self._limit(connection)
        if not connection.execute("SELECT 1 FROM about WHERE name = 'owner'").fetchone():
            connection.execute("INSERT INTO about VALUES ('owner', ?)", (self._owner,))
        self._place = Place(self.path)
        return tuple(_entries(connection))

    def close(self) -> None:
        """Close the file; a second time does nothing."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def apply(self, changes: Sequence[Change]) -> int:
        """Make all changes in one transaction, or none; return the number of dead letters that had to make room.

        The same changes a second time make no difference, but for dead letters.
        """
        connection = self._opened()
        discarded = 0
        if size := sum(change.delivery.size for change in changes if isinstance(change, Insert)):
            look_for_room(connection, self._lock, size)
        try:
            with transaction(connection, self._probe):
                # Graves last: in a file that is full they need the room of what is deleted.
                for change in sorted(changes, key=lambda change: isinstance(change, Bury)):
                    if isinstance(change, Insert):
                        _insert(connection, change)
                    elif isinstance(change, Delete):
                        connection.execute("DELETE FROM entries WHERE seq = ?", (change.seq,))
                    else:
                        discarded += self._bury(connection, change)
            if not self._place.is_kept():
                self._put_back(connection)
        except BaseException:
            self._dead_bytes = None
            raise
        return discarded

    def load(self, stored: Stored) -> Delivery | None:
        """Return an entry with its data; None when it is gone."""
        row = self._opened().execute("SELECT data FROM entries WHERE seq = ?", (stored.seq,)).fetchone()
        if row is None:
            return None
        return Delivery(stored.signal, blob(row[0]), stored.items, stored.received_ns)

    def revive(self, numbers: range) -> tuple[Stored, ...]:
        """Put the dead letters that are to be replayed back in line, as many as there are `numbers`; return them."""
        connection = self._opened()
        self._dead_bytes = None
        with transaction(connection, self._probe):
            query = "SELECT seq FROM dead WHERE replay = 1 ORDER BY seq LIMIT ?"
            seqs = [seq for (seq,) in connection.execute(query, (len(numbers),))]
            for number, seq in zip(numbers, seqs, strict=False):
                connection.execute(
                    "INSERT INTO entries SELECT ?, signal, items, received_ns, data FROM dead WHERE seq = ?",
                    (number, seq),
                )
                connection.execute("DELETE FROM dead WHERE seq = ?", (seq,))
        return tuple(_entries(connection, numbers[: len(seqs)])) if seqs else ()

    def dead(self) -> int:
        """Return the number of dead letters."""
        return int(self._opened().execute("SELECT count(*) FROM dead").fetchone()[0])

    def used_bytes(self) -> int:
        """Return the size of what is in the file, without pages that are free."""
        pages, free, size = (_pragma(self._opened(), name) for name in ("page_count", "freelist_count", "page_size"))
        return (pages - free) * size

    def tidy(self) -> None:
        """Give pages that are free back to the disk."""
        self._opened().executescript(f"PRAGMA incremental_vacuum({_VACUUM_PAGES})")

    def _put_back(self, connection: sqlite3.Connection) -> None:
        self._lock = hold(self.path, self._lock)
        put_back(connection, self.path)
        self._connection = connect(self.path, fsync=self._fsync, check=False)
        connection.close()
        self._limit(self._connection)
        self._place = Place(self.path)
        self.times_put_back += 1

    @property
    def _probe(self) -> int | None:
        return self._lock if self._fsync else None

    def _bury(self, connection: sqlite3.Connection, bury: Bury) -> int:
        part = bury.delivery
        if part.size > self._max_dead_bytes:
            return 1
        if self._dead_bytes is None or self._dead_bytes + part.size > self._max_dead_bytes:
            self._dead_bytes = _dead_bytes(connection)
        discarded = 0
        if (excess := self._dead_bytes + part.size - self._max_dead_bytes) > 0:
            # A little more than needed: adding up the sizes takes long, and is not for every one of a flood.
            discarded, gained = _discard(connection, excess + self._max_dead_bytes // _SPARE)
            self._dead_bytes -= gained
        connection.execute(
            "INSERT INTO dead (signal, items, received_ns, data, died_ns, why) VALUES (?, ?, ?, ?, ?, ?)",
            (part.signal, part.items, part.received_ns, part.data, bury.died_ns, bury.why),
        )
        self._dead_bytes += part.size
        return discarded

    def _limit(self, connection: sqlite3.Connection) -> None:
        if self._max_bytes is not None:
            connection.execute(
                f"PRAGMA max_page_count = {max(16, self._max_bytes // _pragma(connection, 'page_size'))}"
            )

    def _opened(self) -> sqlite3.Connection:
        if self._connection is None:
            raise sqlite3.OperationalError("the file is not open")
        return self._connection


def connect(path: Path, *, fsync: bool = False, check: bool = True) -> sqlite3.Connection:
    """Open or create a queue's file; `check` reads the whole of it. Raises sqlite3.Error, OSError or `Unusable`."""
    # It holds prompts: for the owner's eyes only. SQLite gives its -wal and -shm the same mode.
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    connection = sqlite3.connect(path, timeout=BUSY_S, isolation_level=None, check_same_thread=False)
    try:
        with reading():
            _prepare(connection, path, fsync=fsync, check=check)
    except BaseException:
        connection.close()
        raise
    return connection


def _prepare(connection: sqlite3.Connection, path: Path, *, fsync: bool, check: bool) -> None:
    tables = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
    if tables and _pragma(connection, "application_id") != APPLICATION_ID:
        raise Unusable(f"{path} is a database of something else; name another directory")
    if (version := _pragma(connection, "user_version")) > VERSION:
        raise Unusable(
            f"{path} was written by a newer spanledger (version {version}, this one knows {VERSION}); run that "
            "one, or name another directory"
        )
    # Only has an effect before the first table is made.
    connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute(f"PRAGMA synchronous = {'FULL' if fsync else 'NORMAL'}")
    # Kept at this size after a checkpoint: it need not be asked of the disk again.
    connection.execute(f"PRAGMA journal_size_limit = {_WAL_BYTES}")
    if version == 0:
        begin = f"BEGIN IMMEDIATE; {_SCHEMA} PRAGMA application_id = {APPLICATION_ID};"
        connection.executescript(f"{begin} PRAGMA user_version = {VERSION}; COMMIT;")
    elif check and (state := connection.execute("PRAGMA quick_check(1)").fetchone()[0]) != "ok":
        raise Malformed(f"the file is malformed: {state}")


def _entries(connection: sqlite3.Connection, numbers: range = _ALL) -> Iterator[Stored]:
    query = "SELECT seq, signal, items, length(data), received_ns FROM entries WHERE seq BETWEEN ? AND ? ORDER BY seq"
    with reading():
        for seq, signal, items, size, received_ns in connection.execute(query, (numbers[0], numbers[-1])):
            if signal in SIGNALS:
                yield Stored(seq, signal, int(items), int(size), int(received_ns))


def _insert(connection: sqlite3.Connection, insert: Insert) -> None:
    one = insert.delivery
    row = (insert.seq, one.signal, one.items, one.received_ns, one.data)
    # A write whose end was not seen is made again.
    connection.execute("INSERT OR REPLACE INTO entries VALUES (?, ?, ?, ?, ?)", row)


def _dead_bytes(connection: sqlite3.Connection) -> int:
    return int(connection.execute("SELECT coalesce(sum(length(data)), 0) FROM dead").fetchone()[0])


def _discard(connection: sqlite3.Connection, size: int) -> tuple[int, int]:
    """Delete the oldest dead letters until `size` bytes are gone; return how many went, and their bytes."""
    oldest: list[tuple[int]] = []
    gained = 0
    for seq, length in connection.execute("SELECT seq, length(data) FROM dead ORDER BY seq"):
        oldest.append((seq,))
        if (gained := gained + length) >= size:
            break
    connection.executemany("DELETE FROM dead WHERE seq = ?", oldest)
    return len(oldest), gained


def _pragma(connection: sqlite3.Connection, name: str) -> int:
    return int(connection.execute(f"PRAGMA {name}").fetchone()[0])

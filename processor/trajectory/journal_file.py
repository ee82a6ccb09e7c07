"""The file of open runs: what is in it, and how it gets there. Plain blocking I/O, for one thread at a time.

A SQLite file in WAL mode holds what the store holds: the records of open and remembered groups, what was
reported of their runs, and the ids of closed traces; and what arrived and is not among the records yet.
What is promised when `apply` returns:

* `fsync: false`: what was written outlives the process, however it ends (`kill -9` too). A power failure or
  a crash of the kernel may take the last moments, but never leaves half a change or a broken file;
* `fsync: true`: it outlives those as well.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
import sqlite3
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from spanledger.conventions.step import Step
from spanledger.processor.sqlite_file import (
    Malformed,
    Place,
    damaged,
    hold,
    look_for_room,
    may_pass,
    put_aside,
    put_back,
    reading,
    transaction,
)
from spanledger.processor.trajectory import wire
from spanledger.processor.trajectory.remembered import Remembered, load

if TYPE_CHECKING:
    from spanledger.conventions.trajectory.edges import Judgement
    from spanledger.processor.trajectory.emitted import Emitted
    from spanledger.processor.trajectory.records import Record

FILE: Final = "open-runs.db"

_SWEEP_EVERY_NS: Final = 60 * 10**9
_VERSION: Final = 1
_SCHEMA: Final = """
CREATE TABLE meta (name TEXT PRIMARY KEY, value BLOB) WITHOUT ROWID;
CREATE TABLE resource (id INTEGER PRIMARY KEY, body TEXT NOT NULL UNIQUE);
CREATE TABLE record (
    key BLOB PRIMARY KEY, trace_id BLOB NOT NULL, arrived_ns INTEGER NOT NULL, resource INTEGER, body TEXT NOT NULL
) WITHOUT ROWID;
CREATE INDEX record_trace ON record (trace_id);
CREATE TABLE run (run_id TEXT PRIMARY KEY, trace_id BLOB NOT NULL, body TEXT NOT NULL) WITHOUT ROWID;
CREATE INDEX run_trace ON run (trace_id);
CREATE TABLE closed (trace_id BLOB PRIMARY KEY, at_ns INTEGER NOT NULL, held INTEGER NOT NULL) WITHOUT ROWID;
"""

_BUDGETS: Final = """
CREATE TABLE IF NOT EXISTS spent (
    budget TEXT NOT NULL, period TEXT NOT NULL, pico TEXT NOT NULL, PRIMARY KEY (budget, period)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS breach (
    budget TEXT NOT NULL, period TEXT NOT NULL, level TEXT NOT NULL, span BLOB NOT NULL,
    PRIMARY KEY (budget, period, level, span)
) WITHOUT ROWID;
"""
"""Later than the rest: files of version 1 may be without them."""

_ARRIVED: Final = """
CREATE TABLE IF NOT EXISTS arrived (
    number INTEGER NOT NULL,  -- of the request, negative for its log records
    resource INTEGER, body TEXT, data BLOB
);
CREATE INDEX IF NOT EXISTS arrived_number ON arrived (number);
"""
"""The same; what arrived and is not among the records yet, spans as `body`, a logs request as `data`."""

_MAX_RESOURCES: Final = 1024
_MAX_RESOURCE_BYTES: Final = 4 * 2**20
"""Whose numbers are remembered: they are kept for that, and of one with 64 KiB there may be one in each request."""

_ADD: Final = "REPLACE INTO record VALUES (?, ?, ?, ?, ?)"
_UNUSED: Final = (
    "DELETE FROM resource WHERE id NOT IN (SELECT resource FROM record WHERE resource IS NOT NULL"
    " UNION SELECT resource FROM arrived WHERE resource IS NOT NULL)"
)


@dataclass(frozen=True, slots=True)
class Opened:
    """What was in the file when it was opened."""

    key: bytes
    """Of the digests that are in it."""
    remembered: Remembered
    aside: str
    """Why a file was put aside and a new one begun; "" when that was not so."""


class JournalFile:
    """The open file; see the module docstring. Methods raise sqlite3.Error and OSError.

    Those from `arrive` on are changes, to be made within `apply`. Ids of closed traces are kept for `forget_s`.
    """

    def __init__(self, directory: str, forget_s: float, clock_ns: Callable[[], int], *, fsync: bool = False) -> None:
        self._directory = Path(directory)
        self.path = self._directory / FILE
        self._forget_ns = int(forget_s * 1e9)
        self._clock_ns = clock_ns
        self._fsync = fsync
        self._connection: sqlite3.Connection | None = None
        self._lock = -1
        self._resources: dict[int, tuple[object, int]] = {}
        """The numbers of resources in the file, by their identity."""
        self._resource_bytes = 0
        self._sweep_ns = 0
        self.times_put_back = 0
        """How often somebody removed it while it was open."""

    @property
    def is_open(self) -> bool:
        """Whether there is a file to write to."""
        return self._connection is not None

    # -- life --

    def open(self) -> Opened:
        """Open or create the file. One that is damaged is put aside.

        Raises ValueError when it cannot be used, and sqlite3.Error or OSError when that may pass.
        """
        try:
            try:
                self._lock = hold(self.path, self._lock)
            except BlockingIOError:
                raise ValueError(
                    f"storage: {self._directory} is in use by another trajectory connector or process: stop that one, "
                    "or name a directory of its own here (or in SPANLEDGER_DATA_DIR)"
                ) from None
            try:
                with reading():
                    return Opened(*self._begin(), "")
            except sqlite3.DatabaseError as error:
                if not damaged(error):
                    raise
                self._put_aside()
                return Opened(*self._begin(), str(error))
        except (OSError, sqlite3.Error) as error:
            self.close()
            if may_pass(error):
                raise
            why = error.strerror if isinstance(error, OSError) else str(error)
            raise ValueError(f"storage: cannot use {self._directory}: {why}") from error

    def begin_anew(self) -> None:
        """Put a file that broke while it was open aside, and begin a new one."""
        self._put_aside()
        try:
            self._begin()
        except BaseException:
            # Without it `open` is tried again; half a file would fail for ever.
            self.close()
            raise

    def close(self) -> None:
        """Close the file; a second time does nothing."""
        if self._connection is not None:
            with contextlib.suppress(sqlite3.Error):
                self._connection.execute(_UNUSED)
            self._connection.close()
            self._connection = None
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def apply(self, changes: Sequence[Callable[[JournalFile], object]]) -> None:
        """Make all changes in one transaction, or none."""
        db = self._opened()
        try:
            with transaction(db, self._lock if self._fsync else None):
                for change in changes:
                    change(self)
                self._sweep(db)
            if not self._place.is_kept():
                self._put_back(db)
        except BaseException:
            # The numbers that they were given are not in the file.
            self._forget_numbers()
            raise

    def _begin(self) -> tuple[bytes, Remembered]:
        # Records may hold prompts: for the owner's eyes only. SQLite gives its other files the same mode.
        os.close(os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        db = self._connect()
        (version,) = db.execute("PRAGMA user_version").fetchone()
        if version not in (0, _VERSION):
            raise Malformed(f"it has version {version} of another release, {_VERSION} is known")
        if version == 0:
            db.executescript(f"BEGIN; {_SCHEMA} PRAGMA user_version = {_VERSION}; COMMIT;")
            db.execute("INSERT INTO meta VALUES ('key', ?)", (secrets.token_bytes(32),))
        elif (found := db.execute("PRAGMA quick_check(1)").fetchone()[0]) != "ok":
            raise Malformed(str(found))
        db.executescript(_BUDGETS + _ARRIVED)
        (key,) = db.execute("SELECT value FROM meta WHERE name = 'key'").fetchone() or (None,)
        if not isinstance(key, bytes):
            raise Malformed("the key of its digests is missing")
        self._place = Place(self.path)
        return key, load(db)

    def _connect(self) -> sqlite3.Connection:
        db = self._connection = sqlite3.connect(self.path, isolation_level=None, check_same_thread=False)
        db.execute("PRAGMA journal_mode = WAL")
        db.execute(f"PRAGMA synchronous = {'FULL' if self._fsync else 'NORMAL'}")
        return db

    def _put_back(self, db: sqlite3.Connection) -> None:
        self._lock = hold(self.path, self._lock)
        put_back(db, self.path)
        self._connect()
        db.close()
        self._place = Place(self.path)
        self.times_put_back += 1

    def _put_aside(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        self._forget_numbers()
        put_aside(self.path, "broken", self._clock_ns())

    def _sweep(self, db: sqlite3.Connection) -> None:
        """Give up the ids of traces that were closed long ago."""
        now_ns = self._clock_ns()
        if now_ns >= self._sweep_ns:
            self._sweep_ns = now_ns + _SWEEP_EVERY_NS
            db.execute("DELETE FROM closed WHERE held = 0 AND at_ns < ?", (now_ns - self._forget_ns,))
            self._forget_numbers()
            db.execute(_UNUSED)

    # -- changes --

    def look_for_room(self) -> None:
        """Raise OSError when the disk is nearly full."""
        # What others refuse for want of room is sent again and again: it would take the last of it.
        look_for_room(self._opened(), self._lock, 0)

    def arrive(self, number: int, records: Sequence[Record | Judgement], logs: bytes | None) -> None:
        """Keep what a request brings, as it is."""
        db = self._opened()
        for record in records:
            if (body := _text(record)) is not None:
                resource = self._resource(db, record) if isinstance(record, Step) else None
                db.execute("INSERT INTO arrived VALUES (?, ?, ?, NULL)", (number, resource, body))
        if logs is not None:
            db.execute("INSERT INTO arrived VALUES (?, NULL, NULL, ?)", (-number, logs))

    def settle(self, number: int) -> None:
        """Give up what arrived under a number."""
        self._opened().execute("DELETE FROM arrived WHERE number = ?", (number,))

    def add(self, record: Record, arrived_ns: int) -> None:
        """Keep a record of a group."""
        db = self._opened()
        if (body := _text(record)) is not None:
            resource = self._resource(db, record) if isinstance(record, Step) else None
            key = record.trace_id + record.span_id + record.start_ns.to_bytes(8, "big")
            db.execute(_ADD, (key, record.trace_id, arrived_ns, resource, body))

    def judge(self, judgement: Judgement, trace_id: bytes, arrived_ns: int) -> None:
        """Keep an evaluation that came by itself, for as long as the records of a trace; b"": of none that is known."""
        if (body := _text(judgement)) is not None:
            self._opened().execute(_ADD, (_digest(body), trace_id, arrived_ns, None, body))

    def forget_judgement(self, judgement: Judgement) -> None:
        """Give up an evaluation."""
        if (body := _text(judgement)) is not None:
            self._opened().execute("DELETE FROM record WHERE key = ?", (_digest(body),))

    def report(self, trace_id: bytes, run_id: str, said: Emitted) -> None:
        """Keep what was said of a run."""
        self._opened().execute("REPLACE INTO run VALUES (?, ?, ?)", (run_id, trace_id, wire.write(said)))

    def withdraw(self, run_id: str) -> None:
        """Forget a run that turned out to be part of another."""
        self._opened().execute("DELETE FROM run WHERE run_id = ?", (run_id,))

    def closed(self, traces: Iterable[bytes], at_ns: int, *, held: bool) -> None:
        """Keep that the group of these traces was closed, and whether its records stay."""
        rows = [(trace_id, at_ns, int(held)) for trace_id in traces]
        self._opened().executemany("REPLACE INTO closed VALUES (?, ?, ?)", rows)

    def forget(self, traces: Iterable[bytes]) -> None:
        """Give up the records of these traces."""
        db = self._opened()
        rows = [(trace_id,) for trace_id in traces]
        db.executemany("DELETE FROM record WHERE trace_id = ?", rows)
        db.executemany("DELETE FROM run WHERE trace_id = ?", rows)
        db.executemany("UPDATE closed SET held = 0 WHERE trace_id = ?", rows)

    def spend(self, budget: str, period: str, pico: int) -> None:
        """Keep what closed runs have spent of a budget in a period."""
        # As text: SQLite's integers end at nine million dollars.
        self._opened().execute("REPLACE INTO spent VALUES (?, ?, ?)", (budget, period, str(pico)))

    def breach(self, budget: str, period: str, level: str, span: bytes) -> None:
        """Keep that a limit was told of."""
        self._opened().execute("REPLACE INTO breach VALUES (?, ?, ?, ?)", (budget, period, level, span))

    def forget_period(self, budget: str, period: str) -> None:
        """Give up what was spent and told of in a period that is long over."""
        for table in ("spent", "breach"):
            self._opened().execute(
                f"DELETE FROM {table} WHERE budget = ? AND period = ?",  # noqa: S608 - the tables are ours
                (budget, period),
            )

    def forget_breaches(self, trace_id: bytes) -> None:
        """Give up what was told of a run."""
        self._opened().execute("DELETE FROM breach WHERE substr(span, 1, 16) = ?", (trace_id,))

    def _resource(self, db: sqlite3.Connection, step: Step) -> int:
        """Return the number of a step's resource. Steps of one service share the very same object."""
        known = self._resources.get(id(step.resource))
        if known is not None and known[0] is step.resource:
            return known[1]
        body = wire.write_resource(step.resource)
        db.execute("INSERT OR IGNORE INTO resource (body) VALUES (?)", (body,))
        (number,) = db.execute("SELECT id FROM resource WHERE body = ?", (body,)).fetchone()
        if len(self._resources) >= _MAX_RESOURCES or self._resource_bytes + len(body) > _MAX_RESOURCE_BYTES:
            self._forget_numbers()
        self._resource_bytes += len(body)
        self._resources[id(step.resource)] = (step.resource, number)
        return int(number)

    def _forget_numbers(self) -> None:
        self._resources.clear()
        self._resource_bytes = 0

    def _opened(self) -> sqlite3.Connection:
        if self._connection is None:
            raise sqlite3.ProgrammingError("the file is not open")
        return self._connection


def _digest(body: str) -> bytes:
    return hashlib.blake2b(body.encode(), digest_size=16).digest()


def _text(record: Record | Judgement) -> str | None:
    """Return a record as it is written; None for one that cannot be: no reason to refuse its request for ever."""
    with contextlib.suppress(ValueError, TypeError, RecursionError):
        return wire.write(record)
    return None

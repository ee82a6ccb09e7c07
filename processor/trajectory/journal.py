"""Open runs on disk, so that a killed process resumes them.

A SQLite file in WAL mode holds what the store holds: the records of open and remembered groups, what was
reported of their runs, and the ids of closed traces. One thread writes, in batches, half a second after the
first change. Before a request is acknowledged, what it brings is written as `arrived`; those rows go with
the transaction that puts their spans among the records. What that promises: after the process is killed, everything
acknowledged is there again; after the machine is, what the operating system had written, and the file is
whole either way. A file that is not whole is put aside under another name, reported, and a new one begun. While the
disk is full, read-only or away, requests are refused, and what waits is written when it is back. Nothing is noted
before somebody has the documents that were told by then: however the process ends, what nobody has is told again.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import hashlib
import os
import secrets
import sqlite3
from bisect import bisect_right
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

from spanledger.conventions.step import Bridge, Step
from spanledger.conventions.trajectory.edges import Judgement
from spanledger.processor.component import Refused
from spanledger.processor.sqlite_file import (
    Malformed,
    blob,
    damaged,
    look_for_room,
    may_pass,
    put_aside,
    reading,
    transaction,
)
from spanledger.processor.trajectory import wire
from spanledger.processor.trajectory.emitted import Emitted

if TYPE_CHECKING:
    from spanledger.processor.component import Host
    from spanledger.processor.trajectory.records import Record

FILE: Final = "open-runs.db"
FLUSH_AFTER_S: Final = 0.5
RETRY_S: Final = 1.0
"""What a client is asked to wait while nothing can be written."""
MAX_WAITING: Final = 200_000
"""Changes that may wait for the disk; further ones are not written, which is counted."""

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

_LEFT: Final = 1
"""The number of all that a former life of the process left."""

_T = TypeVar("_T")
_Change = Callable[[sqlite3.Connection], object]


@dataclass(slots=True)
class Remembered:
    """What a former life of the process, or of the connector, knew."""

    records: Iterable[tuple[int, Record]] = ()
    """(time of arrival in ns since the epoch, record)."""
    together: list[tuple[bytes, ...]] = field(default_factory=list)
    """Traces of one group: what only time joined is not joined again by what the spans say."""
    judgements: list[tuple[int, Judgement]] = field(default_factory=list)
    runs: list[tuple[bytes, str, Emitted]] = field(default_factory=list)
    """(trace id, run id, what was said of it)."""
    closed: dict[bytes, int] = field(default_factory=dict)
    """Trace id -> when its group was closed."""
    spent: dict[tuple[str, str], int] = field(default_factory=dict)
    """(budget, period) -> pico-dollars of closed runs."""
    breaches: list[tuple[str, str, str, bytes]] = field(default_factory=list)
    """(budget, period, level, span that did it): what was told of."""
    arrived: list[Record] = field(default_factory=list)
    """Spans that were acknowledged and not put together; to be taken as if they came now, as number `left`."""
    arrived_judgements: list[Judgement] = field(default_factory=list)
    arrived_logs: list[bytes] = field(default_factory=list)
    """Logs requests of which nothing was read; they have the number `-left`."""
    left: int = 0
    unreadable: int = 0
    """Rows that another version wrote, or nobody."""


class Journal:
    """The file. Ids of closed traces are kept for `forget_s`.

    `told` returns how many documents were told, and how many of them somebody has taken. `sleep` is the waiting before
    changes are written.
    """

    def __init__(
        self,
        directory: str,
        host: Host,
        forget_s: float,
        *,
        told: Callable[[], tuple[int, int]] = lambda: (0, 0),
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._directory = Path(directory)
        self._host = host
        self._forget_ns = int(forget_s * 1e9)
        self._told = told
        self._sleep = sleep
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=f"{host.id} storage")
        self._errors = host.metrics.counter("spanledger_trajectory_storage_errors_total")
        self._waiting: list[tuple[int, _Change]] = []
        """How many documents were told before each."""
        self._number = _LEFT
        self._arriving: list[tuple[_Change, asyncio.Future[None]]] = []
        self._keeper: asyncio.Task[None] | None = None
        self._task: asyncio.Task[None] | None = None
        self._connection: sqlite3.Connection | None = None
        self._lock = -1
        self._resources: dict[int, tuple[object, int]] = {}
        self._failing = self._closing = False
        self._sweep_ns = 0
        self._aside = ""

    async def open(self) -> tuple[bytes, Remembered]:
        """Open the file; return the key of its digests and what was in it.

        Raises ValueError when it cannot be used, and sqlite3.Error or OSError when that may pass.
        """
        opened = await self._in_thread(self._open)
        if self._aside:
            self._errors.add(("open",))
            self._host.log.error(
                "storage: %s could not be read (%s) and was put aside; open runs begin anew", self._path, self._aside
            )
        return opened

    @property
    def is_open(self) -> bool:
        """Whether there is a file to write to."""
        return self._connection is not None and not self._closing

    async def close(self) -> None:
        """Write what waits and may be known, and close the file."""
        self._closing = True
        if self._keeper is not None:
            await asyncio.gather(self._keeper, return_exceptions=True)
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        if self._connection is not None:
            await self._write_waiting(self._known())
            await self._in_thread(self._close)
        self._thread.shutdown(wait=False)

    def statistics(self) -> dict[str, int]:
        """Return the changes that wait for the disk."""
        return {"waiting_changes": len(self._waiting)}

    # -- before the acknowledgement --

    async def keep(self, records: Sequence[Record | Judgement], logs: bytes | None) -> int:
        """Write what arrives; return its number for `settled`, negative for its log records. Raises `Refused`."""
        if not self.is_open:
            raise self.refusal("it is not open")
        self._number = number = self._number + 1
        written = asyncio.get_running_loop().create_future()
        self._arriving.append((lambda db: self._arrive(db, number, records, logs), written))
        if self._keeper is None or self._keeper.done():
            self._keeper = asyncio.create_task(self._keep_all(), name=f"{self._host.id} arrivals")
        try:
            await written
        except asyncio.CancelledError:
            # It may be on its way to the disk.
            self.settled(number)
            self.settled(-number)
            raise
        return number

    def settled(self, number: int) -> None:
        """Give up what arrived under a number: it is among the records, or it was never acknowledged."""
        self._note(lambda db: db.execute("DELETE FROM arrived WHERE number = ?", (number,)))

    def refusal(self, why: object) -> Refused:
        """Return what a client is told while nothing can be written."""
        return Refused(f"connector {self._host.id} cannot write open runs to disk: {why}", RETRY_S, "storage")

    async def _keep_all(self) -> None:
        while arriving := [(change, written) for change, written in self._arriving if not written.done()]:
            self._arriving = []
            try:
                error: Exception | None = await self._write([self._look_for_room, *(change for change, _ in arriving)])
            except Exception as fault:
                self._host.log.exception("storage: a fault of our own; please report it")
                error = fault
            for _, written in arriving:
                if written.done():
                    continue
                if error is None:
                    written.set_result(None)
                else:
                    written.set_exception(self.refusal(error))
        self._arriving = []

    # -- changes --

    def add(self, record: Record, arrived_ns: int) -> None:
        """Keep a record."""
        self._note(lambda db: self._add(db, record, arrived_ns))

    def judge(self, judgement: Judgement, arrived_ns: int) -> None:
        """Keep an evaluation that came by itself."""
        body = wire.write(judgement)
        key = hashlib.blake2b(body.encode(), digest_size=16).digest()
        self._note(lambda db: db.execute(_ADD, (key, judgement.trace_id, arrived_ns, None, body)))

    def report(self, trace_id: bytes, run_id: str, said: Emitted) -> None:
        """Keep what was said of a run."""
        self._note(lambda db: db.execute("REPLACE INTO run VALUES (?, ?, ?)", (run_id, trace_id, wire.write(said))))

    def withdraw(self, run_id: str) -> None:
        """Forget a run that turned out to be part of another."""
        self._note(lambda db: db.execute("DELETE FROM run WHERE run_id = ?", (run_id,)))

    def closed(self, traces: Iterable[bytes], at_ns: int, *, held: bool) -> None:
        """Keep that the group of these traces was closed, and whether its records stay."""
        rows = [(trace_id, at_ns, int(held)) for trace_id in traces]
        self._note(lambda db: db.executemany("REPLACE INTO closed VALUES (?, ?, ?)", rows))

    def forget(self, traces: Iterable[bytes]) -> None:
        """Give up the records of these traces."""
        rows = [(trace_id,) for trace_id in traces]

        def delete(db: sqlite3.Connection) -> None:
            db.executemany("DELETE FROM record WHERE trace_id = ?", rows)
            db.executemany("DELETE FROM run WHERE trace_id = ?", rows)
            db.executemany("UPDATE closed SET held = 0 WHERE trace_id = ?", rows)

        self._note(delete)

    def spend(self, budget: str, period: str, pico: int) -> None:
        """Keep what closed runs have spent of a budget in a period."""
        # As text: SQLite's integers end at nine million dollars.
        self._note(lambda db: db.execute("REPLACE INTO spent VALUES (?, ?, ?)", (budget, period, str(pico))))

    def breach(self, budget: str, period: str, level: str, span: bytes) -> None:
        """Keep that a limit was told of."""
        self._note(lambda db: db.execute("REPLACE INTO breach VALUES (?, ?, ?, ?)", (budget, period, level, span)))

    def forget_period(self, budget: str, period: str) -> None:
        """Give up what was spent and told of in a period that is long over."""

        def delete(db: sqlite3.Connection) -> None:
            db.execute("DELETE FROM spent WHERE budget = ? AND period = ?", (budget, period))
            db.execute("DELETE FROM breach WHERE budget = ? AND period = ?", (budget, period))

        self._note(delete)

    def forget_breaches(self, trace_id: bytes) -> None:
        """Give up what was told of a run."""
        self._note(lambda db: db.execute("DELETE FROM breach WHERE substr(span, 1, 16) = ?", (trace_id,)))

    # -- writing --

    def _note(self, change: _Change) -> None:
        if len(self._waiting) >= MAX_WAITING:
            self._errors.add(("write",))
            return
        self._waiting.append((self._told()[0], change))
        if not self._closing and (self._task is None or self._task.done()):
            self._task = asyncio.get_running_loop().create_task(self._write_all(), name=f"{self._host.id} storage")

    async def _write_all(self) -> None:
        while self._waiting:
            await self._sleep(FLUSH_AFTER_S)
            if count := self._known():
                await asyncio.shield(asyncio.ensure_future(self._write_waiting(count)))

    def _known(self) -> int:
        """Return how many changes may be known: that a run was told, only once somebody has its document."""
        return bisect_right(self._waiting, self._told()[1], key=itemgetter(0))

    async def _write_waiting(self, count: int) -> None:
        taken = self._waiting[:count]
        del self._waiting[:count]
        if (error := await self._write([change for _, change in taken])) is not None and may_pass(error):
            # The same changes again, in order: a disk that is full has room some day.
            self._waiting[:0] = taken[: max(0, MAX_WAITING - len(self._waiting))]

    async def _write(self, taken: Sequence[_Change]) -> sqlite3.Error | OSError | None:
        """Make all changes in one transaction, or none; return what made that impossible."""
        try:
            await self._in_thread(lambda: self._apply(taken))
        except (sqlite3.Error, OSError) as error:
            self._errors.add(("write",), len(taken))
            if not self._failing:
                self._failing = True
                self._host.log.error("storage: %d changes were not written to %s: %s", len(taken), self._path, error)
                self._host.report("recoverable_error", f"storage: cannot write {self._path}: {error}")
            if damaged(error):
                await self._begin_anew(error)
            return error
        if self._failing:
            self._failing = False
            self._host.report("ok", "")
        return None

    async def _begin_anew(self, error: Exception) -> None:
        """Put a file that broke while it was open aside; runs that are open go on, and are in the new one from now."""

        def work() -> None:
            self._put_aside(error)
            self._resources.clear()
            try:
                self._begin()
            except BaseException:
                # Without it `open` is tried again; half a file would fail for ever.
                self._close()
                raise

        with contextlib.suppress(sqlite3.Error, OSError):
            await self._in_thread(work)
            self._host.log.error("storage: %s is damaged and was put aside; a new one is begun", self._path)

    async def _in_thread(self, work: Callable[[], _T]) -> _T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    # -- in the thread --

    @property
    def _path(self) -> Path:
        return self._directory / FILE

    def _open(self) -> tuple[bytes, Remembered]:
        try:
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._lock = os.open(self._directory / f"{FILE}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(self._lock)
                raise ValueError(f"storage: {self._directory} is in use by another trajectory connector") from None
            try:
                with reading():
                    return self._begin()
            except sqlite3.DatabaseError as error:
                if not damaged(error):
                    raise
                self._put_aside(error)
                return self._begin()
        except (OSError, sqlite3.Error) as error:
            self._close()
            if may_pass(error):
                raise
            why = error.strerror if isinstance(error, OSError) else str(error)
            raise ValueError(f"storage: cannot use {self._directory}: {why}") from error

    def _begin(self) -> tuple[bytes, Remembered]:
        # Records may hold prompts: for the owner's eyes only. SQLite gives its other files the same mode.
        os.close(os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        db = self._connection = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False)
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = NORMAL")
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
        return key, self._load(db)

    def _load(self, db: sqlite3.Connection) -> Remembered:
        records: list[tuple[int, Record]] = []
        found = Remembered(records)
        resources: dict[int | None, dict[str, Any]] = {None: {}}
        for number, body in db.execute("SELECT id, body FROM resource"):
            with self._counting(found):
                resources[number] = wire.read_resource(body)
        for arrived_ns, resource, body in db.execute(
            "SELECT arrived_ns, resource, body FROM record ORDER BY arrived_ns, key"
        ):
            with self._counting(found):
                record = wire.read(body, resources.get(resource, {}))
                if isinstance(record, Judgement):
                    found.judgements.append((int(arrived_ns), record))
                elif isinstance(record, Step | Bridge):
                    records.append((int(arrived_ns), record))
        self._load_arrived(db, found, resources)
        for run_id, trace_id, body in db.execute("SELECT run_id, trace_id, body FROM run"):
            with self._counting(found):
                said = wire.read(body, {})
                if isinstance(said, Emitted):
                    found.runs.append((blob(trace_id), run_id, said))
        for trace_id, at_ns in db.execute("SELECT trace_id, at_ns FROM closed"):
            found.closed[blob(trace_id)] = int(at_ns)
        for budget, period, pico in db.execute("SELECT budget, period, pico FROM spent"):
            with self._counting(found):
                found.spent[budget, period] = int(pico)
        for budget, period, level, span in db.execute("SELECT budget, period, level, span FROM breach"):
            found.breaches.append((str(budget), str(period), str(level), blob(span)))
        return found

    def _load_arrived(
        self, db: sqlite3.Connection, found: Remembered, resources: Mapping[int | None, dict[str, Any]]
    ) -> None:
        query = "SELECT resource, body, data FROM arrived ORDER BY rowid"
        for resource, body, data in db.execute(query):
            with self._counting(found):
                if data is not None:
                    found.arrived_logs.append(blob(data))
                    continue
                record = wire.read(body, resources.get(resource, {}))
                if isinstance(record, Judgement):
                    found.arrived_judgements.append(record)
                elif isinstance(record, Step | Bridge):
                    found.arrived.append(record)
        found.left = _LEFT
        db.execute("UPDATE arrived SET number = CASE WHEN data IS NULL THEN ?1 ELSE -?1 END", (_LEFT,))

    @contextlib.contextmanager
    def _counting(self, found: Remembered) -> Iterator[None]:
        try:
            yield
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            found.unreadable += 1

    def _put_aside(self, why: Exception) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        self._aside = str(why)
        put_aside(self._path, "broken", self._host.clock_ns())

    def _apply(self, changes: Sequence[_Change]) -> None:
        db = self._connection
        if db is None or not changes:
            return
        try:
            with transaction(db):
                for change in changes:
                    change(db)
                self._sweep(db)
        except BaseException:
            # The numbers that they were given are not in the file.
            self._resources.clear()
            raise

    def _sweep(self, db: sqlite3.Connection) -> None:
        """Give up the ids of traces that were closed long ago."""
        now_ns = self._host.clock_ns()
        if now_ns >= self._sweep_ns:
            self._sweep_ns = now_ns + _SWEEP_EVERY_NS
            db.execute("DELETE FROM closed WHERE held = 0 AND at_ns < ?", (now_ns - self._forget_ns,))
            self._resources.clear()
            db.execute(_UNUSED)

    def _look_for_room(self, db: sqlite3.Connection) -> None:
        # What others refuse for want of room is sent again and again: it would take the last of it.
        look_for_room(db, self._directory, 0)

    def _arrive(
        self, db: sqlite3.Connection, number: int, records: Sequence[Record | Judgement], logs: bytes | None
    ) -> None:
        for record in records:
            # What cannot be written as text (half a character) is no reason to refuse its request for ever.
            with contextlib.suppress(ValueError, TypeError, RecursionError):
                resource = self._resource(db, record) if isinstance(record, Step) else None
                db.execute("INSERT INTO arrived VALUES (?, ?, ?, NULL)", (number, resource, wire.write(record)))
        if logs is not None:
            db.execute("INSERT INTO arrived VALUES (?, NULL, NULL, ?)", (-number, logs))

    def _add(self, db: sqlite3.Connection, record: Record, arrived_ns: int) -> None:
        resource = self._resource(db, record) if isinstance(record, Step) else None
        key = record.trace_id + record.span_id + record.start_ns.to_bytes(8, "big")
        db.execute(_ADD, (key, record.trace_id, arrived_ns, resource, wire.write(record)))

    def _resource(self, db: sqlite3.Connection, step: Step) -> int:
        """Return the number of a step's resource. Steps of one service share the very same object."""
        known = self._resources.get(id(step.resource))
        if known is not None and known[0] is step.resource:
            return known[1]
        body = wire.write_resource(step.resource)
        db.execute("INSERT OR IGNORE INTO resource (body) VALUES (?)", (body,))
        (number,) = db.execute("SELECT id FROM resource WHERE body = ?", (body,)).fetchone()
        if len(self._resources) >= 1024:
            self._resources.clear()
        self._resources[id(step.resource)] = (step.resource, number)
        return int(number)

    def _close(self) -> None:
        if self._connection is not None:
            with contextlib.suppress(sqlite3.Error):
                self._connection.execute(_UNUSED)
            self._connection.close()
            self._connection = None
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1


_ADD: Final = "REPLACE INTO record VALUES (?, ?, ?, ?, ?)"
_UNUSED: Final = (
    "DELETE FROM resource WHERE id NOT IN (SELECT resource FROM record WHERE resource IS NOT NULL"
    " UNION SELECT resource FROM arrived WHERE resource IS NOT NULL)"
)

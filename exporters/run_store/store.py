"""Writes the store. Plain blocking I/O, for one thread at a time; other processes may read and even write.

What is promised: when `add` returns, its documents outlive the end of this process, however it ends. With
`synchronous: full` they outlive a power failure too; with `normal` a power failure may take the last
moments, but never leaves half a document or a broken file.
"""
# ruff: noqa: S608 - the queries are put together from our own words; what others say is a parameter

from __future__ import annotations

import os
import sqlite3
from collections import Counter
from collections.abc import Sequence
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Final

from spanledger.exporters.run_store.chain import Kind, Mark, link, pruned
from spanledger.exporters.run_store.records import Record, ReplacedRecord, RunRecord
from spanledger.exporters.run_store.schema import (
    FILE_NAME,
    NewerVersion,
    Synchronous,
    open_for_writing,
)
from spanledger.exporters.run_store.summary import COLUMNS
from spanledger.processor.sqlite_file import Place, damaged, make_directory, put_aside, reading, transaction

PRUNE_ENTRIES: Final = 500
"""Entries taken away in one transaction: others write in between."""

LOW_WATER: Final = 0.9
"""A file that is too large is brought down to this part of its limit, so that not every document prunes."""

_VACUUM_PAGES: Final = 2000
_PRUNE_ROUNDS: Final = 4
_NO_LIMIT: Final = 2**63 - 1

_INSERT_RUN: Final = f"INSERT INTO runs (seq, {', '.join(COLUMNS)}) VALUES (?{', ?' * len(COLUMNS)})"


@dataclass(frozen=True, slots=True)
class Retention:
    """What to keep; None is no limit."""

    max_age_ns: int | None = None
    max_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class Added:
    """What became of records."""

    runs: int = 0
    replaced: int = 0
    findings: int = 0
    duplicates: int = 0
    """Revisions and findings that were there already."""


class Removed(sqlite3.OperationalError):
    """Somebody took the file away while it was open, or put another one there: what was added is in neither."""


class RunStore:
    """The open file; see the module docstring. Methods raise sqlite3.Error and OSError."""

    def __init__(self, directory: Path, retention: Retention, synchronous: Synchronous = "normal") -> None:
        self.path = directory / FILE_NAME
        self._retention = retention
        self._synchronous = synchronous
        self._connection: sqlite3.Connection | None = None
        self._probe: int | None = None
        """With `full`: what `prove_synced` asks."""

    @property
    def is_open(self) -> bool:
        """Whether `open` succeeded and `close` has not been called since."""
        return self._connection is not None

    def open(self, now_ns: int) -> Path | None:
        """Open or create the file; return where a file that cannot be used was put aside.

        Raises `NotAStore` for a database of something else, which is left alone.
        """
        self.close()
        make_directory(self.path.parent)
        if self._synchronous == "full":
            self._probe = os.open(f"{self.path}.probe", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            with reading():
                self._begin()
        except NewerVersion:
            pass
        except sqlite3.Error as error:
            if not damaged(error):
                raise
        else:
            return None
        aside = put_aside(self.path, "aside", now_ns)
        self._begin()
        return aside

    def _begin(self) -> None:
        self._connection = open_for_writing(self.path, self._synchronous)
        _head(self._connection)  # Only now all of its files are there.
        self._place = Place(self.path)

    def put_aside(self, now_ns: int) -> Path:
        """Close the file and rename it, and what SQLite keeps beside it; return its new name."""
        self.close()
        return put_aside(self.path, "aside", now_ns)

    def close(self) -> None:
        """Close the file; a second time does nothing."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()
        probe, self._probe = self._probe, None
        if probe is not None:
            os.close(probe)

    def add(self, records: Sequence[Record], now_ns: int) -> Added:
        """Store records in one transaction: all of them, or none and an error. Raises `Removed`; then open it anew."""
        connection = self._opened()
        count: Counter[Kind] = Counter()
        with reading(), transaction(connection, self._probe):
            # Inside the transaction: another process may have written since.
            head = _head(connection)
            for record in records:
                if _is_stored(connection, record):
                    continue
                head = _append(connection, head, record.kind, now_ns, record.body)
                _index(connection, head.seq, record)
                count[record.kind] += 1
        self._look_whether_kept()
        return Added(count["run"], count["replaced"], count["finding"], len(records) - count.total())

    def _look_whether_kept(self) -> None:
        try:
            if self._place.is_kept():
                return
        except OSError as error:
            raise Removed(str(error)) from error
        raise Removed(f"{self.path} was removed while it was in use")

    def head(self) -> Mark:
        """Return the end of the chain."""
        return _head(self._opened())

    def used_bytes(self) -> int:
        """Return the size of what is in the file, without pages that are free."""
        return _used_bytes(self._opened())

    def prune(self, now_ns: int) -> int:
        """Take away what is too old or too much, oldest first; return the number of entries taken away.

        Works for at most a few transactions; call it again while it returns something.
        """
        connection = self._opened()
        taken = 0
        if (age := self._retention.max_age_ns) is not None:
            taken += self._prune_age(connection, now_ns, age)
        if (limit := self._retention.max_bytes) is not None and _used_bytes(connection) > limit:
            taken += self._prune_size(connection, now_ns, int(limit * LOW_WATER))
        if taken:
            # Merges the search index, where deleted words are only crossed out, and gives pages back.
            connection.execute("INSERT INTO words (words, rank) VALUES ('merge', ?)", (_VACUUM_PAGES,))
            connection.executescript(f"PRAGMA incremental_vacuum({_VACUUM_PAGES})")
        return taken

    def _prune_age(self, connection: sqlite3.Connection, now_ns: int, age_ns: int) -> int:
        oldest = connection.execute("SELECT stored_ns FROM entries ORDER BY seq LIMIT 1").fetchone()
        if oldest is None or oldest[0] >= now_ns - age_ns:
            return 0
        # Only what is in front of the first entry that is young enough: the clock may have been set back.
        young = connection.execute(
            "SELECT seq FROM entries WHERE stored_ns >= ? ORDER BY seq LIMIT 1", (now_ns - age_ns,)
        ).fetchone()
        return _take_away(connection, self._probe, now_ns, young[0] if young else _NO_LIMIT, PRUNE_ENTRIES)

    def _prune_size(self, connection: sqlite3.Connection, now_ns: int, target: int) -> int:
        taken = 0
        for _ in range(_PRUNE_ROUNDS):
            used = _used_bytes(connection)
            entries, newest = connection.execute(
                "SELECT (SELECT max(seq) - min(seq) + 1 FROM entries),"
                " (SELECT seq FROM entries WHERE kind <> 'pruned' ORDER BY seq DESC LIMIT 1)"
            ).fetchone()
            if used <= target or newest is None:
                break
            # As if all were of one size, and never the newest: one document too large is better than none.
            share = max(1, entries * (used - target) // used)
            now_taken = _take_away(connection, self._probe, now_ns, newest, min(PRUNE_ENTRIES, share))
            if not now_taken:
                break
            taken += now_taken
        return taken

    def _opened(self) -> sqlite3.Connection:
        if self._connection is None:
            raise sqlite3.ProgrammingError("the store is not open")
        return self._connection


def _head(connection: sqlite3.Connection) -> Mark:
    row = connection.execute("SELECT seq, hash FROM head").fetchone()
    return Mark(*row) if row else Mark()


def _append(connection: sqlite3.Connection, head: Mark, kind: Kind, now_ns: int, body: str) -> Mark:
    seq = head.seq + 1
    new = Mark(seq, link(head.hash, seq, kind, now_ns, body.encode()))
    connection.execute("INSERT INTO entries VALUES (?, ?, ?, ?, ?)", (seq, kind, now_ns, body, new.hash))
    connection.execute("INSERT OR REPLACE INTO head VALUES (1, ?, ?)", (seq, new.hash))
    return new


def _is_stored(connection: sqlite3.Connection, record: Record) -> bool:
    if isinstance(record, RunRecord):
        columns = record.summary.columns
        query = "SELECT 1 FROM runs WHERE run_id = ? AND revision = ?"
        found = connection.execute(query, (columns.run_id, columns.revision))
    elif isinstance(record, ReplacedRecord):
        # Only if it is the last word on that run.
        query = (
            "SELECT 1 FROM replaced WHERE run_id = ? AND replaced_by = ?"
            " AND seq > coalesce((SELECT max(seq) FROM runs WHERE runs.run_id = replaced.run_id), 0)"
        )
        found = connection.execute(query, (record.run_id, record.replaced_by))
    else:
        found = connection.execute("SELECT 1 FROM findings WHERE digest = ?", (record.digest,))
    return found.fetchone() is not None


def _index(connection: sqlite3.Connection, seq: int, record: Record) -> None:
    if isinstance(record, RunRecord):
        _index_run(connection, seq, record)
    elif isinstance(record, ReplacedRecord):
        connection.execute("INSERT INTO replaced VALUES (?, ?, ?)", (seq, record.run_id, record.replaced_by))
    else:
        row = (seq, record.digest, *astuple(record.summary))
        connection.execute("INSERT INTO findings VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", row)


def _index_run(connection: sqlite3.Connection, seq: int, record: RunRecord) -> None:
    summary = record.summary
    connection.execute(_INSERT_RUN, (seq, *astuple(summary.columns)))
    connection.executemany("INSERT INTO run_agents VALUES (?, ?)", [(seq, name) for name in summary.agents])
    connection.executemany("INSERT INTO run_traces VALUES (?, ?)", [(trace, seq) for trace in summary.traces])
    connection.executemany("INSERT INTO run_findings VALUES (?, ?, ?, ?)", [(seq, *one) for one in summary.findings])
    connection.execute(
        "INSERT INTO words (rowid, names, errors, content) VALUES (?, ?, ?, ?)", (seq, *astuple(summary.words))
    )


def _take_away(connection: sqlite3.Connection, probe: int | None, now_ns: int, before: int, at_most: int) -> int:
    """Delete the oldest documents, those with numbers below `before`, and say so in the chain."""
    with transaction(connection, probe):
        # Documents are counted, not entries: notices of earlier prunings go with the documents behind them.
        last = connection.execute(
            "SELECT max(seq) FROM (SELECT seq FROM entries WHERE seq < ? AND kind <> 'pruned' ORDER BY seq LIMIT ?)",
            (before, at_most),
        ).fetchone()[0]
        if last is None:
            return 0
        entries = connection.execute("SELECT count(*) FROM entries WHERE seq <= ?", (last,)).fetchone()[0]
        through = Mark(last, connection.execute("SELECT hash FROM entries WHERE seq = ?", (last,)).fetchone()[0])
        _append(connection, _head(connection), "pruned", now_ns, pruned(through, entries))
        for table in ("entries", "runs", "run_agents", "run_traces", "run_findings", "replaced", "findings"):
            connection.execute(f"DELETE FROM {table} WHERE seq <= ?", (last,))
        connection.execute("DELETE FROM words WHERE rowid <= ?", (last,))
    return int(entries)


def _used_bytes(connection: sqlite3.Connection) -> int:
    pages, free, size = (
        int(connection.execute(f"PRAGMA {name}").fetchone()[0])
        for name in ("page_count", "freelist_count", "page_size")
    )
    return (pages - free) * size

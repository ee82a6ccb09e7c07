"""The file: its tables, its versions, and how it is opened.

`PRAGMA user_version` is the number of migrations that were applied, `application_id` says whose file it is.
A new version appends a migration and never edits an old one; what only follows from `entries` may be dropped
and filled anew. `tests/fixtures/run_store/` keeps a file of each version that was released.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final, Literal

from spanledger.processor.sqlite_file import Malformed, transaction

FILE_NAME: Final = "runs.sqlite3"
APPLICATION_ID: Final = 0x53504C47  # "SPLG"
BUSY_S: Final = 5.0
"""How long to wait for another process's write, in seconds."""

Migration = str | Callable[[sqlite3.Connection], None]

MIGRATIONS: Final[tuple[Migration, ...]] = (
    """
    -- The truth: one row for each document, in the order they came. See chain.py.
    CREATE TABLE entries (
        seq       INTEGER PRIMARY KEY,  -- 1, 2, 3, ... without a gap
        kind      TEXT NOT NULL,        -- run, replaced, finding or pruned
        stored_ns INTEGER NOT NULL,     -- nanoseconds since the epoch
        body      TEXT NOT NULL,        -- JSON on one line
        hash      BLOB NOT NULL
    );
    CREATE TABLE head (
        one  INTEGER PRIMARY KEY CHECK (one = 1),
        seq  INTEGER NOT NULL,
        hash BLOB NOT NULL
    );
    CREATE INDEX entries_pruned ON entries (seq) WHERE kind = 'pruned';

    -- Everything below follows from the entries. A run's newest revision is the one that counts.
    CREATE TABLE runs (
        seq            INTEGER PRIMARY KEY,
        run_id         TEXT NOT NULL,
        revision       INTEGER NOT NULL,
        service_name   TEXT NOT NULL,
        agent_name     TEXT NOT NULL,
        session_id     TEXT,
        user_id        TEXT,
        outcome        TEXT NOT NULL,
        completeness   TEXT NOT NULL,
        started_ns     INTEGER,
        duration_s     REAL,
        steps          INTEGER NOT NULL,
        llm_calls      INTEGER NOT NULL,
        tool_calls     INTEGER NOT NULL,
        errors         INTEGER NOT NULL,
        retries        INTEGER NOT NULL,
        input_tokens   INTEGER NOT NULL,
        output_tokens  INTEGER NOT NULL,
        cost_usd       REAL,
        unpriced_calls INTEGER NOT NULL,
        UNIQUE (run_id, revision)
    );
    CREATE INDEX runs_started ON runs (started_ns);
    CREATE INDEX runs_session ON runs (session_id) WHERE session_id IS NOT NULL;
    CREATE TABLE run_agents (seq INTEGER, name TEXT, PRIMARY KEY (seq, name)) WITHOUT ROWID;
    CREATE TABLE run_traces (trace_id TEXT, seq INTEGER, PRIMARY KEY (trace_id, seq)) WITHOUT ROWID;
    CREATE INDEX run_traces_seq ON run_traces (seq);
    CREATE TABLE run_findings (
        seq INTEGER, kind TEXT, rule TEXT, severity TEXT, PRIMARY KEY (seq, kind, rule, severity)
    ) WITHOUT ROWID;

    -- Runs that turned out to be part of another one.
    CREATE TABLE replaced (seq INTEGER PRIMARY KEY, run_id TEXT NOT NULL, replaced_by TEXT NOT NULL);
    CREATE INDEX replaced_run ON replaced (run_id);

    -- Findings that came by themselves. They belong to a run by its id, or by trace and span.
    CREATE TABLE findings (
        seq      INTEGER PRIMARY KEY,
        digest   BLOB NOT NULL UNIQUE,  -- sha256 of the body: the same finding comes once
        event    TEXT NOT NULL,
        kind     TEXT NOT NULL,
        rule     TEXT NOT NULL,
        severity TEXT NOT NULL,
        run_id   TEXT NOT NULL,
        trace_id TEXT NOT NULL,
        span_id  TEXT NOT NULL,
        at_ns    INTEGER NOT NULL
    );
    CREATE INDEX findings_run ON findings (run_id) WHERE run_id <> '';
    CREATE INDEX findings_trace ON findings (trace_id, span_id) WHERE trace_id <> '';

    -- rowid is the seq of the run.
    CREATE VIRTUAL TABLE words USING fts5 (names, errors, content, tokenize = 'unicode61 remove_diacritics 2');
    """,
)

Synchronous = Literal["normal", "full"]


class NotAStore(Exception):  # noqa: N818 - reads as the condition it is
    """The file is a database, but not one of ours."""


class NewerVersion(Exception):  # noqa: N818
    """The file was written by a newer spanledger."""


def open_for_writing(path: Path, synchronous: Synchronous) -> sqlite3.Connection:
    """Open or create the file and bring it to the present version.

    Transactions are begun and ended by us alone. Raises sqlite3.Error, OSError, `NotAStore`, `NewerVersion`.
    """
    # Documents may hold prompts: for the owner's eyes only. SQLite gives its -wal and -shm the same mode.
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    connection = sqlite3.connect(path, timeout=BUSY_S, isolation_level=None, check_same_thread=False)
    try:
        version = identify(connection)
        # Reads the whole file, a second or two for each GiB: else damage shows when somebody needs what was there.
        if version and (found := connection.execute("PRAGMA quick_check(1)").fetchone()[0]) != "ok":
            raise Malformed(f"the file is malformed: {found}")
        # Only has an effect before the first table is made.
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute(f"PRAGMA synchronous = {synchronous.upper()}")
        connection.execute(f"PRAGMA journal_size_limit = {64 * 2**20}")
        migrate(connection)
    except BaseException:
        connection.close()
        raise
    return connection


def identify(connection: sqlite3.Connection, newest: int = len(MIGRATIONS)) -> int:
    """Return the version of an open file, 0 for an empty one. Raises `NotAStore` or `NewerVersion`."""
    tables = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
    version = int(connection.execute("PRAGMA user_version").fetchone()[0])
    owner = connection.execute("PRAGMA application_id").fetchone()[0]
    if tables and owner != APPLICATION_ID:
        raise NotAStore("the file is a database, but no run store")
    if version > newest:
        raise NewerVersion(f"the store has version {version}, this program knows versions up to {newest}")
    return version


def migrate(connection: sqlite3.Connection, migrations: Sequence[Migration] = MIGRATIONS) -> None:
    """Apply the migrations that are missing, each in a transaction with its number."""
    while True:
        with transaction(connection):
            # Read inside: another process may be at it too.
            version = identify(connection, len(migrations))
            if version == len(migrations):
                return
            migration = migrations[version]
            if callable(migration):
                migration(connection)
            else:
                for statement in statements(migration):
                    connection.execute(statement)
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version = {version + 1}")


def statements(script: str) -> Iterator[str]:
    """Yield the statements of a script. `executescript` would commit the transaction around them."""
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""

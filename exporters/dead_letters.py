"""Dead letters from outside: what `spanledger dlq` sees and does, beside a sidecar that may be running."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass

from spanledger.exporters.text import printable
from spanledger.processor.sqlite_file import blob, reading


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A request, or a part of one, that a peer refused for good."""

    owner: str
    """`exporter/otlp/backend`"""
    seq: int
    signal: str
    items: int
    size: int
    """Bytes of the request."""
    died_ns: int
    """When it was refused, nanoseconds since the epoch."""
    why: str
    replay: bool
    """Whether it is to be sent again."""

    @property
    def id(self) -> str:
        """How people name it."""
        return f"{self.owner}:{self.seq}"


def letters(connection: sqlite3.Connection) -> Iterator[DeadLetter]:
    """Yield the dead letters of one file, the oldest first."""
    query = "SELECT seq, signal, items, length(data), died_ns, why, replay FROM dead ORDER BY seq"
    with reading():
        row = connection.execute("SELECT value FROM about WHERE name = 'owner'").fetchone()
        owner = printable(str(row[0])) if row else "?"
        for seq, signal, items, size, died_ns, why, replay in connection.execute(query):
            said, reason = printable(str(signal)), printable(str(why))
            yield DeadLetter(owner, seq, said, int(items), int(size), int(died_ns), reason, bool(replay))


def data(connection: sqlite3.Connection, letter: DeadLetter) -> bytes:
    """Return the request, an OTLP `Export<Signal>ServiceRequest`. Raises LookupError when it is gone."""
    row = connection.execute("SELECT data FROM dead WHERE seq = ?", (letter.seq,)).fetchone()
    if row is None:
        raise LookupError(f"{letter.id} is gone: it was replayed or discarded meanwhile")
    return blob(row[0])


def mark(connection: sqlite3.Connection, letter: DeadLetter) -> None:
    """Ask the exporter to put it back in line."""
    connection.execute("UPDATE dead SET replay = 1 WHERE seq = ?", (letter.seq,))


def delete(connection: sqlite3.Connection, letter: DeadLetter) -> None:
    """Delete it."""
    connection.execute("DELETE FROM dead WHERE seq = ?", (letter.seq,))

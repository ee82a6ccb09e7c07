"""The file of a queue, with its dead letters: whatever is in it, an exporter starts, and says what it put aside."""

from __future__ import annotations

import contextlib
import functools
import sqlite3

from spanledger.exporters import dead_letters
from spanledger.exporters.queue_file import Bury, Insert, QueueFile, Unusable, connect
from spanledger.processor.batch import Delivery
from spanledger.processor.storage import StorageFile
from tests.fakes import request, span
from tests.fuzz.damage import directory, write
from tests.fuzz.draw import Draw


@functools.cache
def whole() -> bytes:
    """Return a file with two requests and two dead letters in it."""
    with directory() as place:
        path = place / "queue.db"
        file = QueueFile(StorageFile(path, "exporter/otlp"))
        file.open(1)
        delivery = Delivery("traces", request(span(1), span(2, 1)).SerializeToString(), 2, 7)
        file.apply([Insert(1, delivery), Insert(2, delivery), Bury(delivery, 9, "400: no"), Bury(delivery, 9, "no")])
        dead_letters.mark(file._opened(), next(dead_letters.letters(file._opened())))
        file._opened().execute("PRAGMA journal_mode = DELETE")
        file.close()
        return path.read_bytes()


def fuzz(data: bytes) -> None:
    """Open it as an exporter and as `spanledger dlq` does."""
    draw = Draw(data)
    with directory() as place:
        path = place / "queue.db"
        write(path, whole(), draw)
        with contextlib.suppress(Unusable, sqlite3.Error):
            connection = connect(path, check=False)
            try:
                for letter in dead_letters.letters(connection):
                    with contextlib.suppress(LookupError):
                        dead_letters.data(connection, letter)
            finally:
                connection.close()
        file = QueueFile(StorageFile(path, "exporter/otlp"))
        try:
            found = file.open(1)
        except Unusable:
            return
        try:
            with contextlib.suppress(sqlite3.Error):
                for stored in (*found.entries, *file.revive(range(1 << 40, (1 << 40) + 4))):
                    file.load(stored)
        finally:
            file.close()

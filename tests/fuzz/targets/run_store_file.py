"""The file of the run store: whatever is in it, the exporter starts, and `spanledger runs` says what is wrong."""

from __future__ import annotations

import contextlib
import functools
import io
import sqlite3

from spanledger.__main__ import main
from spanledger.exporters.run_store.records import run_record
from spanledger.exporters.run_store.schema import NotAStore
from spanledger.exporters.run_store.store import FILE_NAME, Retention, RunStore
from tests.fuzz.damage import directory, write
from tests.fuzz.draw import Draw
from tests.run_documents import NOW_NS, failed_trip, trip

_COMMANDS = ("list", "verify", "export", "sessions")


@functools.cache
def whole() -> bytes:
    """Return a store with two runs."""
    with directory() as place:
        store = RunStore(place, Retention())
        store.open(NOW_NS)
        store.add([run_record(trip()), run_record(failed_trip())], NOW_NS)
        store._opened().execute("PRAGMA journal_mode = DELETE")
        store.close()
        return (place / FILE_NAME).read_bytes()


def fuzz(data: bytes) -> None:
    """Read it, then write to it."""
    draw = Draw(data)
    command = draw.pick(_COMMANDS)
    with directory() as place:
        write(place / FILE_NAME, whole(), draw)
        out = io.TextIOWrapper(io.BytesIO(), encoding="utf-8", errors="backslashreplace")
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(io.StringIO()):
            assert main(["runs", command, "--store", str(place)]) in {0, 1, 2}
        store = RunStore(place, Retention())
        try:
            store.open(NOW_NS)
            with contextlib.suppress(sqlite3.DatabaseError):
                store.add([run_record(trip("another"))], NOW_NS)
        except NotAStore:
            pass
        finally:
            store.close()

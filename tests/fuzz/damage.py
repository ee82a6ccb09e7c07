"""Files of ours, damaged as the fuzzer says: by a disk, byte by byte, or in what their rows say."""

from __future__ import annotations

import contextlib
import sqlite3
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tests.fuzz.draw import HOSTILE, NUMBERS, Draw

SHM = Path("/dev/shm")


@contextlib.contextmanager
def directory() -> Iterator[Path]:
    """Yield an empty directory, in memory where there is such a thing."""
    with tempfile.TemporaryDirectory(prefix="fuzz-", dir=SHM if SHM.is_dir() else None) as name:
        yield Path(name)


def write(path: Path, whole: bytes, draw: Draw) -> None:
    """Write a database with some damage."""
    if draw.flag():
        path.write_bytes(whole)
        _change_rows(path, draw)
        return
    damaged = bytearray(whole)
    for _ in range(draw.number(9)):
        at = draw.number(1 << 24) % len(damaged)
        patch = draw.raw(1 + draw.number(8))
        damaged[at : at + len(patch)] = patch
    if draw.number(8) == 7:
        del damaged[draw.number(1 << 24) % len(damaged) :]
    path.write_bytes(damaged)


def _change_rows(path: Path, draw: Draw) -> None:
    """Put values where others belong: SQLite checks no types, and a page that was hit may still be a page."""
    db = sqlite3.connect(path, isolation_level=None)
    try:
        tables = [name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name")]
        for _ in range(1 + draw.number(4)):
            table = draw.pick(tables)
            with contextlib.suppress(sqlite3.Error):
                column = draw.pick([row[1] for row in db.execute(f'PRAGMA table_info("{table}")')])
                if draw.flag():
                    # One field of a JSON body: the text stays JSON.
                    text = f'replace("{column}", ?, ?)'
                    pair = (draw.pick(_PIECES), draw.pick(_PIECES))
                    db.execute(f'UPDATE "{table}" SET "{column}" = {text} WHERE typeof("{column}") = \'text\'', pair)
                else:
                    db.execute(f'UPDATE OR IGNORE "{table}" SET "{column}" = ?', (_value(draw),))
    finally:
        db.close()


_PIECES = (
    '"',
    "1",
    "null",
    "[",
    "]",
    "{",
    "}",
    ":",
    ",",
    '"x"',
    "0",
    "-1",
    "1e400",
    "true",
    "[]",
    "{}",
    "00",
    "name",
    "_",
)


def _value(draw: Draw) -> object:
    return draw.pick(
        (None, draw.pick(NUMBERS), draw.pick(HOSTILE).encode("utf-8", "replace").decode(), draw.raw(20), 1.5)
    )

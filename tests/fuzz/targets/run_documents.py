"""Run documents from outside: log records of others, files for `runs`, and what is shown of them."""

from __future__ import annotations

import contextlib
import io
import json

from spanledger.__main__ import main
from spanledger.conventions.run_document import BadDocument, document, read_document
from spanledger.exporters.run_store import records
from spanledger.exporters.run_store.store import Retention, RunStore
from tests.fuzz.damage import directory
from tests.fuzz.draw import Draw
from tests.run_documents import NOW_NS, failed_trip, trip

_COMMANDS = (
    ("list",), ("list", "--json"), ("show", "latest"), ("show", "latest", "--json"), ("step", "latest", "1"),
    ("verify",), ("export",), ("sessions",), ("diff", "latest", "latest"),
)  # fmt: skip


def fuzz(data: bytes) -> None:
    """Check that what reads strictly is written the same, and that every command shows what the store takes."""
    draw = Draw(data)
    made = trip() if draw.flag() else failed_trip()
    for _ in range(draw.number(6)):
        _change(made, draw)
    with contextlib.suppress(BadDocument):
        said = document(read_document(made))
        assert said == document(read_document(said))
    try:
        record = records.run_record(json.loads(json.dumps(made)))
    except (ValueError, RecursionError):
        return
    with directory() as place:
        store = RunStore(place, Retention())
        store.open(NOW_NS)
        store.add([record], NOW_NS)
        store.close()
        _show(place, draw.pick(_COMMANDS))


def _show(place: object, command: tuple[str, ...]) -> None:
    out = io.TextIOWrapper(io.BytesIO(), encoding="utf-8", errors="backslashreplace")
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(io.StringIO()):
        try:
            code = main(["runs", command[0], "--store", str(place), *command[1:]])
        except SystemExit as ended:
            code = ended.code  # type: ignore[assignment]
    assert code in {0, 1, 2}, code


def _change(made: object, draw: Draw) -> None:
    """Walk into the document and put something else at some place."""
    for _ in range(6):
        keys = list(made) if isinstance(made, dict) else range(len(made)) if isinstance(made, list) else ()
        if not keys:
            return
        key = keys[draw.number(len(keys))]
        below = made[key]  # type: ignore[index]
        if draw.flag() or not isinstance(below, dict | list):
            if draw.number(8) == 7:
                del made[key]  # type: ignore[attr-defined]
            else:
                made[key] = draw.plain()  # type: ignore[index]
            return
        made = below

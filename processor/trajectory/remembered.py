"""What a former life of the process left of its runs: its form, and how it is read from the file of open runs."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from spanledger.conventions.step import Bridge, Step
from spanledger.conventions.trajectory.edges import Judgement
from spanledger.processor.sqlite_file import blob
from spanledger.processor.trajectory import wire
from spanledger.processor.trajectory.emitted import Emitted

if TYPE_CHECKING:
    from spanledger.conventions.detail import Detail
    from spanledger.processor.trajectory.records import Record

LEFT: Final = 1
"""The number of all that a former life of the process left."""


@dataclass(slots=True)
class Remembered:
    """What a former life of the process, or of the connector, knew."""

    records: Iterable[tuple[int, Record]] = ()
    """(time of arrival in ns since the epoch, record)."""
    together: list[tuple[bytes, ...]] = field(default_factory=list)
    """Traces of one group: what only time joined is not joined again by what the spans say."""
    judgements: list[tuple[int, Judgement]] = field(default_factory=list)
    unplaced: list[tuple[int, Judgement, bool]] = field(default_factory=list)
    """Evaluations of runs that have not come, and whether they are part of the run they came in otherwise."""
    said: dict[bytes, Detail] = field(default_factory=dict)
    """Trace id and span id -> what log records say of a span that has not come."""
    runs: list[tuple[bytes, str, Emitted]] = field(default_factory=list)
    """(trace id, run id, what was said of it)."""
    closed: dict[bytes, int] = field(default_factory=dict)
    """Trace id -> when its group was closed, the earliest first."""
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


def load(db: sqlite3.Connection) -> Remembered:
    """Read all that is in the file of open runs. Raises sqlite3.Error."""
    records: list[tuple[int, Record]] = []
    found = Remembered(records)
    resources: dict[int | None, dict[str, Any]] = {None: {}}
    for number, body in db.execute("SELECT id, body FROM resource"):
        with _counting(found):
            resources[number] = wire.read_resource(body)
    query = "SELECT arrived_ns, resource, body FROM record ORDER BY arrived_ns, key"
    for arrived_ns, resource, body in db.execute(query):
        with _counting(found):
            record = wire.read(body, resources.get(resource, {}))
            if isinstance(record, Judgement):
                found.judgements.append((int(arrived_ns), record))
            elif isinstance(record, Step | Bridge):
                records.append((int(arrived_ns), record))
    _load_arrived(db, found, resources)
    for run_id, trace_id, body in db.execute("SELECT run_id, trace_id, body FROM run"):
        with _counting(found):
            said = wire.read(body, {})
            if isinstance(said, Emitted):
                found.runs.append((blob(trace_id), run_id, said))
    for trace_id, at_ns in db.execute("SELECT trace_id, at_ns FROM closed ORDER BY at_ns"):
        found.closed[blob(trace_id)] = int(at_ns)
    for budget, period, pico in db.execute("SELECT budget, period, pico FROM spent"):
        with _counting(found):
            found.spent[budget, period] = int(pico)
    for budget, period, level, span in db.execute("SELECT budget, period, level, span FROM breach"):
        found.breaches.append((str(budget), str(period), str(level), blob(span)))
    return found


def _load_arrived(db: sqlite3.Connection, found: Remembered, resources: Mapping[int | None, dict[str, Any]]) -> None:
    for resource, body, data in db.execute("SELECT resource, body, data FROM arrived ORDER BY rowid"):
        with _counting(found):
            if data is not None:
                found.arrived_logs.append(blob(data))
                continue
            record = wire.read(body, resources.get(resource, {}))
            if isinstance(record, Judgement):
                found.arrived_judgements.append(record)
            elif isinstance(record, Step | Bridge):
                found.arrived.append(record)
    found.left = LEFT
    db.execute("UPDATE arrived SET number = CASE WHEN data IS NULL THEN ? ELSE -? END", (LEFT, LEFT))


@contextlib.contextmanager
def _counting(found: Remembered) -> Iterator[None]:
    try:
        yield
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        found.unreadable += 1

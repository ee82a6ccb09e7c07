"""Finds runs in the store. Opens the file for reading only: the sidecar may write at the same time.

A reader sees the store as it was when it began to read, however long it takes.
"""
# ruff: noqa: S608 - the queries are put together from our own words; what others say is a parameter

from __future__ import annotations

import json
import sqlite3
import typing
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

from spanledger.conventions.nesting import loads
from spanledger.exporters.run_store.chain import Break, Entry, Mark, base, verify
from spanledger.exporters.run_store.filter import NEWEST, Filter, NoSuchRun, StoreError, where
from spanledger.exporters.run_store.schema import BUSY_S, FILE_NAME, MIGRATIONS, NewerVersion, NotAStore, identify
from spanledger.exporters.run_store.summary import COLUMNS, RunColumns, encodable, summarize
from spanledger.processor.sqlite_file import reading

MIN_PREFIX: Final = 4
"""Characters of a run id that are enough to name it, if no other run begins with them."""

_KINDS: Final = tuple(typing.get_type_hints(RunColumns)[column] for column in COLUMNS)
"""What SQLite does not hold its columns to."""
_COLUMNS: Final = ", ".join(f"runs.{column}" for column in COLUMNS)
_MARKED: Final = (
    "(SELECT count(*) FROM run_findings AS f WHERE f.seq = runs.seq)"
    " + (SELECT count(*) FROM findings AS f WHERE f.run_id = runs.run_id AND NOT EXISTS"
    " (SELECT 1 FROM run_findings AS own WHERE own.seq = runs.seq AND own.kind = f.kind AND own.rule = f.rule))"
)


_SESSION: Final = (
    "session_id, count(*), min(started_ns), max(started_ns + CAST(coalesce(duration_s, 0) * 1e9 AS INTEGER)),"
    " json_group_array(DISTINCT agent_name), json_group_array(outcome), sum(input_tokens), sum(output_tokens),"
    " sum(CAST(round(cost_usd * 1e12) AS INTEGER)), sum(unpriced_calls), sum(errors)"
)


@dataclass(frozen=True, slots=True)
class Listed:
    """A run as it is listed."""

    seq: int
    columns: RunColumns
    findings: int


@dataclass(frozen=True, slots=True)
class Session:
    """What the runs of one conversation come to together. Times in nanoseconds; None is unknown."""

    session_id: str
    runs: int
    first_ns: int | None
    """When its first run began."""
    last_ns: int | None
    """When its last run ended, or began where that is not known."""
    agents: tuple[str, ...]
    """Those that the runs are of, by name."""
    outcomes: Mapping[str, int]
    """Outcome -> how many runs ended so."""
    input_tokens: int
    output_tokens: int
    cost_pico_usd: int | None
    unpriced_calls: int
    errors: int
    """Model and tool calls that failed."""


class RunReader:
    """The store, open for reading; a context manager. Methods raise `StoreError`."""

    def __init__(self, path: Path) -> None:
        try:
            self.path = path / FILE_NAME if path.is_dir() else path
            if not self.path.is_file():
                raise StoreError(
                    f"there is no run store at {self.path}: the sidecar makes it when its run_store exporter starts; "
                    "name another with --store"
                )
            with reading():
                self._connection = _open(self.path)
        except PermissionError as error:
            raise StoreError(
                f"{error.filename} cannot be read: {error.strerror}; it is for its owner's eyes only: be the user that "
                "the sidecar runs as"
            ) from error
        except (NotAStore, NewerVersion) as error:
            raise StoreError(f"{self.path}: {error}") from error
        except sqlite3.Error as error:
            raise StoreError(f"{self.path} cannot be read: {error}") from error

    def __enter__(self) -> Self:
        """Begin to read."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the file."""
        self._connection.close()

    def runs(self, wanted: Filter, limit: int | None = None, *, oldest_first: bool = False) -> Iterator[Listed]:
        """Yield runs, the newest revision of each, by the time they started."""
        terms, parameters = where(wanted)
        order = "ASC" if oldest_first else "DESC"
        rows = self._rows(
            f"SELECT runs.seq, {_MARKED}, {_COLUMNS} FROM runs WHERE {terms} "
            f"ORDER BY started_ns {order}, runs.seq {order} LIMIT ?",
            [*parameters, -1 if limit is None else limit],
        )
        return map(self._listed, rows)

    def count(self, wanted: Filter) -> int:
        """Return how many runs there are."""
        terms, parameters = where(wanted)
        return int(next(self._rows(f"SELECT count(*) FROM runs WHERE {terms}", parameters))[0])

    def find(self, name: str) -> Listed:
        """Return the run that `name` means: an id or the beginning of one, a trace id, or `latest`."""
        if name == "latest":
            for run in self.runs(Filter(), 1):
                return run
            raise NoSuchRun(f"there are no runs in {self.path} yet")
        found = self._named("runs.run_id = ?", name)
        if not found and len(name) >= MIN_PREFIX:
            found = self._named("substr(runs.run_id, 1, ?) = ?", len(name), name) or self._named(
                "runs.seq IN (SELECT seq FROM run_traces WHERE trace_id = ?)", name.lower()
            )
        if len(found) == 1:
            return found[0]
        if found:
            ids = ", ".join(run.columns.run_id for run in found[:5])
            raise NoSuchRun(f"{len(found)} runs are meant by {name!r}: {ids}; write more of the id")
        for (other,) in self._rows("SELECT replaced_by FROM replaced WHERE run_id = ? ORDER BY seq DESC", (name,)):
            raise NoSuchRun(f"run {name} turned out to be part of run {other}; look at that one")
        hint = f"; write at least {MIN_PREFIX} characters of the id" if len(name) < MIN_PREFIX else ""
        raise NoSuchRun(f"there is no run {name!r} in {self.path}{hint}; `spanledger runs list` shows what there is")

    def _named(self, term: str, *parameters: object) -> list[Listed]:
        rows = self._rows(
            f"SELECT runs.seq, {_MARKED}, {_COLUMNS} FROM runs WHERE {term} AND {NEWEST} LIMIT 100", parameters
        )
        return [self._listed(row) for row in rows]

    def _listed(self, row: Sequence[Any]) -> Listed:
        seq, findings, *columns = row
        if not all(isinstance(value, kind) for value, kind in zip(columns, _KINDS, strict=True)):
            raise StoreError(f"{self.path} is damaged: entry {seq} is listed with values of other types")
        return Listed(seq, RunColumns(*columns), findings)

    def sessions(self, wanted: Filter, limit: int | None = None) -> Iterator[Session]:
        """Yield the sessions that have a run like that, each with all its runs, the one that went on last first."""
        terms, parameters = where(wanted)
        rows = self._rows(
            f"SELECT {_SESSION} FROM runs WHERE {NEWEST} AND session_id IN (SELECT session_id FROM runs WHERE {terms})"
            " GROUP BY session_id ORDER BY 4 DESC, 1 LIMIT ?",
            [*parameters, -1 if limit is None else limit],
        )
        for session_id, runs, first_ns, last_ns, agents, outcomes, *amounts in rows:
            names = tuple(sorted(name for name in json.loads(agents) if name))
            yield Session(session_id, runs, first_ns, last_ns, names, Counter(json.loads(outcomes)), *amounts)

    def count_sessions(self, wanted: Filter) -> int:
        """Return how many sessions have a run like that."""
        terms, parameters = where(wanted)
        return int(next(self._rows(f"SELECT count(DISTINCT session_id) FROM runs WHERE {terms}", parameters))[0])

    def session(self, name: str) -> Session:
        """Return the session that `name` means: an id or the beginning of one, or `latest`."""
        if name == "latest":
            for session in self.sessions(Filter(), 1):
                return session
            raise NoSuchRun(f"no run in {self.path} says which session it is part of")
        ids = [row[0] for row in self._rows("SELECT DISTINCT session_id FROM runs WHERE session_id = ?", (name,))]
        if not ids and len(name) >= MIN_PREFIX:
            begins = "SELECT DISTINCT session_id FROM runs WHERE substr(session_id, 1, ?) = ? LIMIT 100"
            ids = [row[0] for row in self._rows(begins, (len(name), name))]
        if len(ids) > 1:
            raise NoSuchRun(f"{len(ids)} sessions are meant by {name!r}: {', '.join(ids[:5])}; write more of the id")
        for session_id in ids:
            for session in self.sessions(Filter(session=session_id), 1):
                return session
        raise NoSuchRun(f"there is no session {name!r} in {self.path}; `spanledger runs sessions` shows what there is")

    def revision(self, run_id: str, revision: int) -> int:
        """Return the entry of one revision of a run."""
        for (seq,) in self._rows("SELECT seq FROM runs WHERE run_id = ? AND revision = ?", (run_id, revision)):
            return int(seq)
        have = [row[0] for row in self._rows("SELECT revision FROM runs WHERE run_id = ? ORDER BY 1", (run_id,))]
        raise NoSuchRun(f"run {run_id} has no revision {revision}; it has {', '.join(map(str, have))}")

    def text(self, seq: int) -> str:
        """Return a stored document as its JSON text."""
        for (body,) in self._rows("SELECT body FROM entries WHERE seq = ?", (seq,)):
            return str(body)
        raise StoreError(f"entry {seq} is missing; `spanledger runs verify` says what else is")

    def document(self, seq: int) -> dict[str, Any]:
        """Return a stored document."""
        try:
            document = loads(self.text(seq))
        except ValueError as error:
            raise StoreError(f"entry {seq} is not readable: {error}; see `spanledger runs verify`") from error
        if not isinstance(document, dict):
            raise StoreError(f"entry {seq} is no document; see `spanledger runs verify`")
        return document

    def events(self, document: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Return the findings that came by themselves and belong to a run, oldest first."""
        traces = [trace for trace in _list(document.get("trace_ids")) if isinstance(trace, str)][:500]
        rows = self._rows(
            "SELECT body FROM findings JOIN entries USING (seq) WHERE findings.run_id = ? OR"
            f" (findings.run_id = '' AND findings.trace_id IN ({', '.join('?' * len(traces)) or 'NULL'}))"
            " ORDER BY at_ns, seq",
            [str(document.get("run_id")), *traces],
        )
        spans = {str(step.get("span_id")) for step in _list(document.get("steps")) if isinstance(step, dict)}
        events = []
        for (body,) in rows:
            event = _object(body)
            # Several runs may share a trace; the span says whose it is.
            if event.get("run_id") or not event.get("span_id") or event["span_id"] in spans:
                events.append(event)
        return events

    def head(self) -> Mark:
        """Return the end of the chain."""
        for seq, hash_ in self._rows("SELECT seq, CAST(hash AS BLOB) FROM head", ()):
            return Mark(int(seq), hash_)
        return Mark()

    def base(self) -> Mark:
        """Return where the chain begins: after what retention took away."""
        query = "SELECT CAST(body AS BLOB) FROM entries WHERE kind = 'pruned' ORDER BY seq DESC LIMIT 1"
        for (body,) in self._rows(query, ()):
            return base(body)
        return Mark()

    def entries(self) -> Iterator[Entry]:
        """Yield all entries in order, as they are."""
        rows = self._rows("SELECT seq, kind, stored_ns, CAST(body AS BLOB), CAST(hash AS BLOB) FROM entries "
                          "ORDER BY seq", ())  # fmt: skip
        return (Entry(*row) for row in rows)

    def breaks(self, entries: Iterator[Entry], expected: bytes | None = None) -> Iterator[Break]:
        """Yield where the chain or the tables made from it do not hold. `entries` is `self.entries()`."""
        for (problem,) in self._rows("PRAGMA quick_check(3)", ()):
            if problem != "ok":
                yield Break(0, f"the file is damaged: {problem}")
        wrong: list[Break] = []
        yield from verify(self._checked(entries, wrong), self.base(), self.head(), expected)
        yield from wrong
        extra = "SELECT seq FROM runs WHERE seq NOT IN (SELECT seq FROM entries WHERE kind = 'run') LIMIT 10"
        for (seq,) in self._rows(extra, ()):
            yield Break(seq, f"a run is listed for entry {seq}, which is none")

    def _checked(self, entries: Iterator[Entry], wrong: list[Break]) -> Iterator[Entry]:
        """Compare what the tables say of each run with its document, on the way."""
        for entry in entries:
            if entry.kind == "run" and (problem := self._differs(entry)) is not None:
                wrong.append(Break(entry.seq, problem))
            yield entry

    def _differs(self, entry: Entry) -> str | None:
        try:
            summary = summarize(loads(entry.body))
        except (ValueError, AttributeError):
            return f"entry {entry.seq} holds no run document"
        row = next(self._rows(f"SELECT {_COLUMNS} FROM runs WHERE seq = ?", (entry.seq,)), None)
        if row is None:
            return f"entry {entry.seq} is not listed"
        findings = self._rows("SELECT kind, rule, severity FROM run_findings WHERE seq = ?", (entry.seq,))
        if RunColumns(*row) != summary.columns or set(findings) != set(summary.findings):
            return f"entry {entry.seq} is listed with other values than its document has"
        return None

    def _rows(self, query: str, parameters: Sequence[object]) -> Iterator[Any]:
        known = [encodable(value) if isinstance(value, str) else value for value in parameters]
        try:
            with reading():
                # One by one: the end of a `yield from` closes the cursor, which a closed file does not like.
                for row in self._connection.execute(query, known):  # noqa: UP028
                    yield row
        except sqlite3.Error as error:
            raise StoreError(f"{self.path} cannot be read: {error}") from error


def _object(text: object) -> dict[str, Any]:
    """Return a JSON object; an empty one where there is none."""
    try:
        found = loads(str(text))
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _open(path: Path) -> sqlite3.Connection:
    address = path.absolute().as_uri()
    try:
        return _identified(f"{address}?mode=ro")
    except sqlite3.OperationalError:
        # In a directory that cannot be written SQLite has no place for its shared memory; without a
        # write-ahead log there is nothing to share.
        if Path(f"{path}-wal").exists():
            raise
        return _identified(f"{address}?mode=ro&immutable=1")


def _identified(address: str) -> sqlite3.Connection:
    connection = sqlite3.connect(address, timeout=BUSY_S, isolation_level=None, uri=True)
    try:
        connection.text_factory = lambda text: text.decode("utf-8", "surrogateescape")
        # One snapshot for everything that is read.
        connection.execute("BEGIN")
        version = identify(connection)
        if version < len(MIGRATIONS):
            raise NotAStore(
                "the file is empty or of an older version; a sidecar that starts with it brings it up to date"
            )
    except BaseException:
        connection.close()
        raise
    return connection

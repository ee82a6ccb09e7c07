"""The run store's file: what is kept, what goes, and what survives."""

from __future__ import annotations

import errno
import gzip
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spanledger.conventions.values import Value
from spanledger.exporters.run_store import schema
from spanledger.exporters.run_store.chain import Break
from spanledger.exporters.run_store.filter import Filter, NoSuchRun, StoreError
from spanledger.exporters.run_store.reader import RunReader
from spanledger.exporters.run_store.records import Record, read, run_record
from spanledger.exporters.run_store.store import Added, Retention, RunStore
from tests.run_documents import HOUR_NS, NOW_NS, TRACE, document, failed_trip, request, store_of, trip

FIXTURES = Path(__file__).parent / "fixtures/run_store"


def breaks(directory: Path, expected: bytes | None = None) -> list[Break]:
    """Verify a store."""
    with RunReader(directory) as reader:
        return list(reader.breaks(reader.entries(), expected))


def ids(directory: Path, wanted: Filter | None = None) -> list[str]:
    """List a store."""
    with RunReader(directory) as reader:
        return [run.columns.run_id for run in reader.runs(wanted or Filter())]


def edit(directory: Path, statement: str, *parameters: Any) -> int:
    """Change the file behind the store's back."""
    with sqlite3.connect(directory / schema.FILE_NAME) as connection:
        changed = connection.execute(statement, parameters).rowcount
    connection.close()
    return changed


def test_what_is_stored_comes_back(tmp_path: Path) -> None:
    """The same document, the newest first, and a chain that holds."""
    store_of(tmp_path, [trip("a"), failed_trip("b")]).close()
    assert ids(tmp_path) == ["b", "a"]
    assert breaks(tmp_path) == []
    with RunReader(tmp_path) as reader:
        assert reader.document(reader.find("a").seq) == trip("a")


def test_what_a_disk_that_gave_up_may_have_lost_is_not_stored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With `full`: Linux says for a moment that it is synced. The same once more is stored once."""
    store = RunStore(tmp_path, Retention(), "full")
    store.open(NOW_NS)
    found = [run_record(trip())]
    truncate, proofs = os.ftruncate, iter([True, False])

    def ftruncate(descriptor: int, length: int) -> None:
        if not next(proofs, True):
            raise OSError(errno.EROFS, os.strerror(errno.EROFS))
        truncate(descriptor, length)

    monkeypatch.setattr(os, "ftruncate", ftruncate)
    with pytest.raises(OSError, match="Read-only"):
        store.add(found, NOW_NS)
    store.add(found, NOW_NS)
    store.close()
    assert len(ids(tmp_path)) == 1


def test_file_is_for_the_owner_alone(tmp_path: Path) -> None:
    """Documents may hold prompts."""
    store = store_of(tmp_path / "new" / "data", [trip()])
    assert store.path.parent.stat().st_mode & 0o777 == 0o700
    for path in store.path.parent.iterdir():
        assert path.stat().st_mode & 0o777 == 0o600
    store.close()


def test_same_revision_is_stored_once(tmp_path: Path) -> None:
    """A request that is sent again changes nothing."""
    store = store_of(tmp_path, [trip("a")])
    head = store.head()
    assert store.add([run_record(trip("a"))] * 2, NOW_NS) == Added(duplicates=2)
    assert store.head() == head
    store.close()


@pytest.mark.parametrize("order", [(1, 2, 3), (3, 1, 2)])
def test_newest_revision_counts_whenever_it_came(tmp_path: Path, order: tuple[int, ...]) -> None:
    """A late span makes a new revision; the others stay and can be asked for."""
    store_of(tmp_path, [document("a", n, outcome="failure" if n < 3 else "success") for n in order]).close()
    with RunReader(tmp_path) as reader:
        (run,) = reader.runs(Filter())
        assert (run.columns.revision, run.columns.outcome) == (3, "success")
        assert list(reader.runs(Filter(outcome="failure"))) == []
        assert reader.document(reader.revision("a", 1))["revision"] == 1
        with pytest.raises(NoSuchRun, match="has no revision 7; it has 1, 2, 3"):
            reader.revision("a", 7)


def test_run_that_was_part_of_another_is_listed_no_more(tmp_path: Path) -> None:
    """It stays in the chain; should it come again by itself, it counts again."""
    store = store_of(tmp_path, [trip("whole"), document("part")])
    said: dict[str, Value] = {"spanledger.run.id": "part", "spanledger.run.replaced_by": "whole"}
    (news,) = read(request(("spanledger.run.replaced", None), attributes=said)).kept
    assert store.add([news, news], NOW_NS) == Added(replaced=1, duplicates=1)
    assert ids(tmp_path) == ["whole"]
    with RunReader(tmp_path) as reader, pytest.raises(NoSuchRun, match="part of run whole; look at that one"):
        reader.find("part")
    store.add([run_record(document("part", 2))], NOW_NS)
    assert sorted(ids(tmp_path)) == ["part", "whole"]
    assert store.add([news], NOW_NS) == Added(replaced=1)
    store.close()
    assert ids(tmp_path) == ["whole"]
    assert breaks(tmp_path) == []


def test_all_of_a_delivery_or_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An error on the way leaves the file as it was."""
    store = store_of(tmp_path, [document("a")])
    head = store.head()
    bad = run_record(document("c"))
    object.__setattr__(bad.summary, "agents", (object(),))
    with pytest.raises(sqlite3.Error):
        store.add([run_record(document("b")), bad], NOW_NS)
    assert store.head() == head
    store.close()
    assert ids(tmp_path) == ["a"]
    assert breaks(tmp_path) == []


# What verify finds.

EDITS = {
    "a number in a document": "UPDATE entries SET body = replace(body, '0.000721', '0.000001') WHERE seq = 2",
    "a blank in a document": "UPDATE entries SET body = body || ' ' WHERE seq = 2",
    "the time it was stored": "UPDATE entries SET stored_ns = stored_ns + 1 WHERE seq = 2",
    "its hash": "UPDATE entries SET hash = zeroblob(32) WHERE seq = 2",
    "a document that is gone": "DELETE FROM entries WHERE seq = 2",
    "the last one gone": "DELETE FROM entries WHERE seq = 3",
    "the first one gone": "DELETE FROM entries WHERE seq = 1",
    "all gone": "DELETE FROM entries",
    "another head": "UPDATE head SET seq = 2",
    "no head": "DELETE FROM head",
    "a pruning that never was": "INSERT INTO entries VALUES (4, 'pruned', 0, '{}', zeroblob(32))",
    "a cost in the list": "UPDATE runs SET cost_usd = 99 WHERE seq = 2",
    "an outcome in the list": "UPDATE runs SET outcome = 'success' WHERE seq = 3",
    "a run that is not listed": "DELETE FROM runs WHERE seq = 2",
    "a run that is listed twice": "INSERT INTO runs SELECT 9, 'z', revision, service_name, agent_name, session_id,"
    " user_id, outcome, completeness, started_ns, duration_s, steps, llm_calls, tool_calls, errors, retries,"
    " input_tokens, output_tokens, cost_usd, unpriced_calls FROM runs WHERE seq = 2",
    "a finding in the list": "DELETE FROM run_findings",
}


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a closed store of three runs."""
    directory = tmp_path_factory.mktemp("three")
    store_of(directory, [document("a"), trip("b"), failed_trip("c")]).close()
    return directory


@pytest.mark.parametrize("statement", EDITS.values(), ids=EDITS.keys())
def test_verify_finds_every_edit(three: Path, tmp_path: Path, statement: str) -> None:
    """In documents, in the chain, and in the tables that lists are made of."""
    shutil.copy(three / schema.FILE_NAME, tmp_path)
    assert edit(tmp_path, statement)
    assert breaks(tmp_path)


def test_verify_finds_a_store_that_was_made_anew(tmp_path: Path) -> None:
    """By the hash that was noted before."""
    store = store_of(tmp_path, [document("a")])
    noted = store.head().hash
    store.add([run_record(document("b"))], NOW_NS)
    store.close()
    assert breaks(tmp_path, noted) == []
    (tmp_path / schema.FILE_NAME).unlink()
    store_of(tmp_path, [document("a", outcome="failure"), document("b")]).close()
    assert breaks(tmp_path) == []
    assert "noted" in breaks(tmp_path, noted)[0].problem


# Retention.


def aged(directory: Path, retention: Retention, count: int = 10) -> RunStore:
    """Return a store with a run for each hour."""
    store = RunStore(directory, retention)
    store.open(NOW_NS)
    for n in range(count):
        store.add([run_record(document(f"run-{n:03}"))], NOW_NS + n * HOUR_NS)
    return store


def test_old_documents_go_and_the_rest_verifies(tmp_path: Path) -> None:
    """The chain itself says what was taken away; heads noted before are still known if their entry is."""
    store = aged(tmp_path, Retention(max_age_ns=4 * HOUR_NS))
    noted = store.head().hash
    assert store.prune(NOW_NS + 9 * HOUR_NS) == 5
    assert store.prune(NOW_NS + 9 * HOUR_NS) == 0
    store.close()
    assert sorted(ids(tmp_path)) == [f"run-{n:03}" for n in range(5, 10)]
    assert breaks(tmp_path, noted) == []
    with RunReader(tmp_path) as reader:
        assert reader.base().seq == 5
        assert list(reader.runs(Filter(text="planner"))) != []


def test_pruning_goes_on_and_ends(tmp_path: Path) -> None:
    """Notices of earlier prunings go with the documents behind them; the last one stays and is enough."""
    store = aged(tmp_path, Retention(max_age_ns=4 * HOUR_NS))
    for hour in range(9, 40):
        store.prune(NOW_NS + hour * HOUR_NS)
    assert store.prune(NOW_NS + 1000 * HOUR_NS) == 0
    store.add([run_record(document("new"))], NOW_NS + 1000 * HOUR_NS)
    store.close()
    assert ids(tmp_path) == ["new"]
    assert breaks(tmp_path) == []


def test_taking_more_away_than_the_chain_says_is_found(tmp_path: Path) -> None:
    """Pruning is no way to hide a deletion."""
    store = aged(tmp_path, Retention(max_age_ns=4 * HOUR_NS))
    store.prune(NOW_NS + 9 * HOUR_NS)
    store.close()
    for table in ("entries", "runs"):
        edit(tmp_path, f"DELETE FROM {table} WHERE seq = 6")
    assert [one.problem for one in breaks(tmp_path)] == ["entry 6 is missing"]


def test_clock_set_back_prunes_nothing_out_of_order(tmp_path: Path) -> None:
    """What is in front of a young entry goes, what is behind it waits."""
    store = RunStore(tmp_path, Retention(max_age_ns=HOUR_NS))
    store.open(NOW_NS)
    for n, hour in enumerate((0, 10, 0)):
        store.add([run_record(document(f"run-{n}"))], NOW_NS + hour * HOUR_NS)
    assert store.prune(NOW_NS + 10 * HOUR_NS) == 1
    store.close()
    assert sorted(ids(tmp_path)) == ["run-1", "run-2"]
    assert breaks(tmp_path) == []


def test_file_stays_below_its_size(tmp_path: Path) -> None:
    """The oldest go, the newest stay, and the disk gets its room back."""
    limit = 512 * 1024
    store = RunStore(tmp_path, Retention(max_bytes=limit))
    store.open(NOW_NS)
    said = "the quick brown fox " * 200
    for n in range(300):
        one = document(f"run-{n:03}", steps=[{"name": "chat", "output": f"{n} {said}"}])
        store.add([run_record(one)], NOW_NS)
        while store.used_bytes() > limit and store.prune(NOW_NS):
            pass
    assert 0.5 * limit < store.used_bytes() <= limit
    store.close()
    kept = sorted(ids(tmp_path))
    assert kept == [f"run-{n:03}" for n in range(300 - len(kept), 300)]
    assert (tmp_path / schema.FILE_NAME).stat().st_size < 2 * limit
    assert breaks(tmp_path) == []


def test_one_document_larger_than_the_limit_is_kept(tmp_path: Path) -> None:
    """Pruning it would leave nothing, again and again."""
    store = RunStore(tmp_path, Retention(max_bytes=64 * 1024))
    store.open(NOW_NS)
    store.add([run_record(document("small"))], NOW_NS)
    store.add([run_record(document("large", steps=[{"output": "x" * 200_000}]))], NOW_NS)
    while store.prune(NOW_NS):
        pass
    store.close()
    assert ids(tmp_path) == ["large"]
    assert breaks(tmp_path) == []


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.one_of(st.tuples(st.just("add"), st.integers(0, 5)), st.tuples(st.just("prune"), st.integers(0, 9))))
)
def test_verifies_after_any_history(
    tmp_path_factory: pytest.TempPathFactory, history: list[tuple[str, int]]
) -> None:  # fmt: skip
    """Documents in any order of revisions, prunings at any time."""
    directory = tmp_path_factory.mktemp("history")
    store = RunStore(directory, Retention(max_age_ns=3 * HOUR_NS))
    now, revision = NOW_NS, 0
    store.open(now)
    for what, number in history:
        now += HOUR_NS // 4
        if what == "add":
            revision += 1
            store.add([run_record(document(f"run-{number}", revision))], now)
        else:
            store.prune(now + number * HOUR_NS)
    store.close()
    assert breaks(directory) == []
    shutil.rmtree(directory)


# Versions.


@pytest.mark.parametrize("version", range(1, len(schema.MIGRATIONS) + 1))
def test_files_of_every_version_open(tmp_path: Path, version: int) -> None:
    """They are brought up to date, still verify, and take more."""
    packed = FIXTURES / f"v{version}.sqlite3.gz"
    (tmp_path / schema.FILE_NAME).write_bytes(gzip.decompress(packed.read_bytes()))
    store = RunStore(tmp_path, Retention())
    assert store.open(NOW_NS) is None
    store.add([run_record(document("new"))], NOW_NS)
    store.close()
    assert set(ids(tmp_path)) == {"new", "4f9a2c81d0e34b7c", "77ab03de91f24a60"}
    assert ids(tmp_path, Filter(text="Lisbon")) == ["77ab03de91f24a60", "4f9a2c81d0e34b7c"]
    assert breaks(tmp_path) == []


def test_migrations_are_applied_once_and_whole() -> None:
    """One that fails leaves the version before it."""
    connection = sqlite3.connect(":memory:", isolation_level=None)
    steps: list[schema.Migration] = [*schema.MIGRATIONS, "CREATE TABLE extra (x);"]
    schema.migrate(connection, steps)
    schema.migrate(connection, steps)
    assert connection.execute("PRAGMA user_version").fetchone()[0] == len(steps)

    def fails(on: sqlite3.Connection) -> None:
        on.execute("DROP TABLE extra")
        on.execute("SELECT * FROM nowhere")

    with pytest.raises(sqlite3.OperationalError, match="nowhere"):
        schema.migrate(connection, [*steps, fails])
    assert connection.execute("PRAGMA user_version").fetchone()[0] == len(steps)
    assert connection.execute("SELECT count(*) FROM extra").fetchone()[0] == 0
    with pytest.raises(schema.NewerVersion):
        schema.migrate(connection, schema.MIGRATIONS)
    connection.close()


# Files that cannot be used.


@pytest.mark.parametrize("damage", ["garbage", "header", "middle", "newer"])
def test_unusable_file_is_kept_aside(tmp_path: Path, damage: str) -> None:
    """Nothing is deleted, and the store works again at once."""
    store_of(tmp_path, [document("old")]).close()
    path = tmp_path / schema.FILE_NAME
    if damage == "newer":
        edit(tmp_path, "PRAGMA user_version = 99")
    else:
        whole = path.read_bytes()
        path.write_bytes({
            "garbage": b"not a database" * 1000,
            "header": b"\0" * 4096 + whole[4096:],
            "middle": whole[:8192] + b"\xaa" * (len(whole) - 8192),
        }[damage])  # fmt: skip
    before = path.read_bytes()
    store = RunStore(tmp_path, Retention())
    aside = store.open(NOW_NS)
    assert aside is not None
    assert aside.name == "runs.sqlite3.aside-20261120T090000Z"
    assert aside.read_bytes() == before
    store.add([run_record(document("new"))], NOW_NS)
    second = store.put_aside(NOW_NS)
    assert second.name == "runs.sqlite3.aside-20261120T090000Z-2"
    assert ids(second) == ["new"]


def test_database_of_something_else_is_left_alone(tmp_path: Path) -> None:
    """A wrong directory must not cost anybody their data."""
    path = tmp_path / schema.FILE_NAME
    other = sqlite3.connect(path)
    other.execute("CREATE TABLE theirs (x)")
    other.close()
    with pytest.raises(schema.NotAStore):
        RunStore(tmp_path, Retention()).open(NOW_NS)
    with pytest.raises(StoreError, match="no run store"):
        RunReader(tmp_path)
    assert [one.name for one in tmp_path.iterdir()] == [schema.FILE_NAME]


# Others at the same file.


def test_reader_sees_one_moment_while_a_writer_writes(tmp_path: Path) -> None:
    """What it began to read does not change under it."""
    store = store_of(tmp_path, [document(f"run-{n}") for n in range(5)])
    with RunReader(tmp_path) as reader:
        rows = reader.runs(Filter())
        first = next(rows)
        written = threading.Thread(
            target=lambda: [store.add([run_record(document(f"more-{n}"))], NOW_NS) for n in range(50)]
        )
        written.start()
        written.join()
        assert len([first, *rows]) == 5
        assert reader.count(Filter()) == 5
        assert list(reader.breaks(reader.entries())) == []
    assert len(ids(tmp_path)) == 55
    store.close()


def test_two_writers_make_one_chain(tmp_path: Path) -> None:
    """As during a reload, when the new exporter starts beside the old."""
    one, other = store_of(tmp_path, []), store_of(tmp_path, [])
    threads = [
        threading.Thread(
            target=lambda store=store, name=name: [
                store.add([run_record(document(f"{name}-{n}"))], NOW_NS) for n in range(30)
            ]
        )
        for store, name in ((one, "one"), (other, "other"))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    one.close()
    other.close()
    assert len(ids(tmp_path)) == 60
    assert breaks(tmp_path) == []


@pytest.mark.parametrize("moment", ["INSERT INTO words", "COMMIT"])
def test_kill_between_write_and_commit_leaves_what_was_there(tmp_path: Path, moment: str) -> None:
    """SIGKILL with a transaction half written: the documents before it are whole, and more can be added."""
    script = f"""
import os, signal, sys
sys.path.insert(0, {str(Path(__file__).parent.parent)!r})
from pathlib import Path
from tests.run_documents import NOW_NS, document, store_of
from spanledger.exporters.run_store.records import run_record
store = store_of(Path({str(tmp_path)!r}), [document("kept")])
def die(statement):
    if statement.startswith({moment!r}):
        os.kill(os.getpid(), signal.SIGKILL)
store._connection.set_trace_callback(die)
store.add([run_record(document("lost"))], NOW_NS)
"""
    ended = subprocess.run([sys.executable, "-c", script], timeout=60, check=False)
    assert ended.returncode == -signal.SIGKILL
    assert ids(tmp_path) == ["kept"]
    assert breaks(tmp_path) == []
    store = RunStore(tmp_path, Retention())
    assert store.open(NOW_NS) is None
    store.add([run_record(document("after"))], NOW_NS)
    store.close()
    assert sorted(ids(tmp_path)) == ["after", "kept"]
    assert breaks(tmp_path) == []


def test_store_in_a_directory_that_cannot_be_written_is_readable(three: Path, tmp_path: Path) -> None:
    """A copy on a read-only medium."""
    directory = tmp_path / "medium"
    directory.mkdir()
    shutil.copy(three / schema.FILE_NAME, directory)
    directory.chmod(0o500)
    try:
        assert len(ids(directory)) == 3
    finally:
        directory.chmod(0o700)


# Finding runs.


def test_filters(tmp_path: Path) -> None:
    """Each alone, and together."""
    runs = [
        trip("a"),
        failed_trip("b"),
        document("c", agent_name="night[watch]", service_name="Other", session_id="s-9"),
    ]
    store_of(tmp_path, runs).close()
    cases = [
        (Filter(agent="planner"), "ab"),
        (Filter(agent="PLAN*"), "ab"),
        (Filter(agent="booker"), "ab"),
        (Filter(agent="night[watch]"), "c"),
        (Filter(agent="plan"), ""),
        (Filter(service="other"), "c"),
        (Filter(session="s-42"), "ab"),
        (Filter(outcome="failure"), "b"),
        (Filter(min_cost_usd=0.0005), "a"),
        (Filter(finding="loop"), "b"),
        (Filter(finding="exact_repeat"), "b"),
        (Filter(finding="warning"), "b"),
        (Filter(finding="*"), "b"),
        (Filter(finding="budget"), ""),
        (Filter(since_ns=NOW_NS - HOUR_NS // 2), "b"),
        (Filter(until_ns=NOW_NS - HOUR_NS // 2), "ac"),
        (Filter(text="Lisbon flights"), "ab"),
        (Filter(text='"weekend in lisbon"'), "ab"),
        (Filter(text='"lisbon in weekend"'), ""),
        (Filter(text="search_fl*"), "ab"),
        (Filter(text="TimeoutError"), "ab"),
        (Filter(text="BookingFailed"), "b"),
        (Filter(text="XK7Q2", outcome="success", agent="planner"), "a"),
    ]
    for wanted, expected in cases:
        assert "".join(sorted(ids(tmp_path, wanted))) == expected, wanted


@given(st.text(max_size=40))
def test_no_text_is_an_error_of_the_search(three: Path, text: str) -> None:
    """Operators, quotes and brackets of the search language are plain words."""
    with RunReader(three) as reader:
        try:
            list(reader.runs(Filter(text=text)))
        except StoreError as error:
            assert "no word to look for" in str(error)  # noqa: PT017 - only this one is allowed


def test_names_of_runs(tmp_path: Path) -> None:
    """An id, the beginning of one, a trace, the latest."""
    store_of(tmp_path, [trip("aaaa1111"), failed_trip("aaaa2222"), document("bb", trace_ids=["cd" * 16])]).close()
    with RunReader(tmp_path) as reader:
        for name, expected in {"latest": "aaaa2222", "aaaa1": "aaaa1111", "bb": "bb", "CD" * 16: "bb"}.items():
            assert reader.find(name).columns.run_id == expected
        for name, why in {
            "aaaa": "2 runs are meant",
            "zzzz": "no run 'zzzz'",
            "a": "at least 4",
            "": "at least 4",
        }.items():
            with pytest.raises(NoSuchRun, match=why):
                reader.find(name)


def finding(event: str, rule: str, run_id: str = "", span_id: str = "", trace_id: str = TRACE) -> Record:
    """Return a finding's record."""
    said: dict[str, Value] = {"rule": rule, "spanledger.run.id": run_id}
    return read(request((event, None), attributes=said, trace_id=trace_id, span_id=span_id)).kept[0]


def test_findings_find_their_runs(tmp_path: Path) -> None:
    """By run id, or else by trace and span: several runs may share a trace."""
    store = store_of(tmp_path, [trip("a"), document("b", steps=[{"span_id": "ff" * 8}])])
    added = [
        finding("spanledger.budget.breached", "day", run_id="a"),
        finding("spanledger.policy.violation", "no_writes", span_id="ff" * 8),
        finding("spanledger.safety.finding", "elsewhere", trace_id="99" * 16),
    ]
    assert store.add(added, NOW_NS) == Added(findings=3)
    assert store.add(added[:1], NOW_NS) == Added(duplicates=1)
    store.close()
    with RunReader(tmp_path) as reader:
        said = {
            run: [event["rule"] for event in reader.events(reader.document(reader.find(run).seq))] for run in ("a", "b")
        }
    assert said == {"a": ["day"], "b": ["no_writes"]}
    assert ids(tmp_path, Filter(finding="budget")) == ["a"]
    assert breaks(tmp_path) == []

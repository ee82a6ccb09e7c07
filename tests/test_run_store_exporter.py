"""The exporter of the run store: what it counts, and what it does when the file is in trouble."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import shutil
import sqlite3
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pydantic
import pytest

from spanledger.exporters.run_store import exporter as module
from spanledger.exporters.run_store.exporter import RunStoreConfig, RunStoreExporter
from spanledger.exporters.run_store.filter import Filter
from spanledger.exporters.run_store.reader import RunReader
from spanledger.exporters.run_store.schema import FILE_NAME
from spanledger.exporters.run_store.store import Added, RunStore
from spanledger.processor.batch import Delivery
from tests.fakes import Clock, Numbers, host
from tests.run_documents import NOW_NS, closed, document, request

DAY_S = 86_400


class Bench:
    """An exporter on a clock that moves only in back-offs."""

    def __init__(self, directory: Path, **config: Any) -> None:
        self.clock = Clock(NOW_NS / 1e9)
        self.numbers = Numbers()
        self.reports: list[str] = []
        self.directory = directory
        self.exporter = RunStoreExporter(
            RunStoreConfig.model_validate({"directory": str(directory), **config}),
            host("run_store", self.clock, self.numbers, report=lambda status, _why: self.reports.append(status)),
            wait=self._wait,
            draw=lambda: 0.5,
        )

    async def _wait(self, delay_s: float, _wake: Any) -> None:
        self.clock.now_s += delay_s

    async def put(self, *deliveries: Delivery) -> None:
        """Offer deliveries and wait until they are settled."""
        for delivery in deliveries:
            self.exporter.reserve(delivery)
            self.exporter.commit(delivery)
        while tasks := self.exporter._running():
            for task in tasks:
                await task

    def records(self, result: str) -> float:
        """Return how many records had this result."""
        return self.numbers.values["spanledger_run_store_records_total", "run_store", result]

    def dropped(self, reason: str) -> float:
        """Return how many items were lost for this reason."""
        return self.numbers.values["spanledger_dropped_items_total", "run_store", "logs", reason]

    def aside(self) -> list[Path]:
        """Return the files that were put aside."""
        return list(self.directory.glob(f"{FILE_NAME}.aside-*"))

    def stored(self) -> list[str]:
        """Return the runs in the file."""
        with RunReader(self.directory) as reader:
            return [run.columns.run_id for run in reader.runs(Filter(), oldest_first=True)]


@asynccontextmanager
async def running(directory: Path, **config: Any) -> AsyncIterator[Bench]:
    """Run an exporter; at the end everything is written."""
    bench = Bench(directory, **config)
    await bench.exporter.start()
    try:
        yield bench
    finally:
        await bench.exporter.shutdown(bench.clock.now_s + 5)


async def test_runs_and_findings_are_stored_and_others_counted(tmp_path: Path) -> None:
    """One request with everything in it, then the same again."""
    data = request(
        ("spanledger.run.closed", document("a")),
        ("spanledger.run.closed", "{"),
        ("spanledger.loop.detected", None),
        ("app.ready", "hello"),
    )
    async with running(tmp_path / "data") as bench:
        await bench.put(Delivery("logs", data, 4, 0), Delivery("logs", data, 4, 0))
        assert bench.stored() == ["a"]
        counts = {result: bench.records(result) for result in ("run", "finding", "duplicate", "ignored", "invalid")}
        assert counts == {"run": 1, "finding": 1, "duplicate": 2, "ignored": 2, "invalid": 2}
        assert bench.dropped("partial_success") == 2
        assert bench.exporter.statistics()["used_bytes"] > 0
    assert not (tmp_path / "data" / f"{FILE_NAME}-wal").exists()


async def test_a_run_that_is_being_written_as_time_is_up_is_not_lost_and_the_next_one_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No more and no less is said to be lost than is not in the file."""
    bench = Bench(tmp_path)
    await bench.exporter.start()
    begun, go_on = threading.Event(), threading.Event()
    add = RunStore.add

    def slow(store: RunStore, *given: Any) -> Added:
        begun.set()
        go_on.wait(30)
        return add(store, *given)

    monkeypatch.setattr(RunStore, "add", slow)
    for run in ("a", "b"):
        delivery = closed(document(run))
        bench.exporter.reserve(delivery)
        bench.exporter.commit(delivery)
    await asyncio.to_thread(begun.wait, 30)
    stopping = asyncio.create_task(bench.exporter.shutdown(bench.clock.now_s))
    await asyncio.sleep(0)
    assert bench.exporter._stopped
    go_on.set()

    assert await stopping == 1
    assert bench.stored() == ["a"]


def test_defaults_and_ages() -> None:
    """Thirty days and a gibibyte; days are written as days."""
    config = RunStoreConfig()
    assert (config.max_age, config.max_size_mib) == (30 * DAY_S, 1024)
    assert config.model_dump(mode="json")["max_age"] == "30d"
    for text, expected in {"7d": 7 * DAY_S, "0.5d": DAY_S / 2, "36h": 1.5 * DAY_S, "0": 0, "90m": 5400}.items():
        read = RunStoreConfig.model_validate({"max_age": text})
        assert read.max_age == expected
        assert RunStoreConfig.model_validate(read.model_dump(mode="json")) == read
    for text in ("d", "-1d", "30", "x d", "1d2h"):
        with pytest.raises(pydantic.ValidationError):
            RunStoreConfig.model_validate({"max_age": text})


async def test_old_documents_go_without_new_ones(tmp_path: Path) -> None:
    """Retention is looked after at the start and now and then."""
    async with running(tmp_path) as bench:
        await bench.put(closed(document("old")))
        bench.clock.now_s += 31 * DAY_S
        await bench.put(closed(document("new")))
        await bench.exporter._keep_house()
        assert bench.stored() == ["new"]
        assert bench.numbers.total("spanledger_run_store_pruned_total") == 1
    later = Bench(tmp_path)
    later.clock.now_s += 70 * DAY_S
    await later.exporter.start()
    assert later.stored() == []
    await later.exporter.shutdown(later.clock.now_s + 5)


async def test_large_file_is_pruned_as_it_grows(tmp_path: Path) -> None:
    """Not only every ten minutes."""
    async with running(tmp_path, max_size_mib=1) as bench:
        for n in range(40):
            await bench.put(closed(document(f"run-{n:02}", steps=[{"output": f"{n} word " * 8000}])))
        assert bench.exporter.statistics()["used_bytes"] <= 2**20
        assert bench.stored()[-1] == "run-39"


async def test_full_disk_is_tried_again_and_then_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What fits into the minute of retries is kept, what does not is lost and said so."""
    async with running(tmp_path) as bench:
        real = bench.exporter._store.add
        refusals = 3

        def full(*arguments: Any) -> Any:
            nonlocal refusals
            refusals -= 1
            if refusals >= 0:
                error = sqlite3.OperationalError("database or disk is full")
                error.sqlite_errorcode, error.sqlite_errorname = sqlite3.SQLITE_FULL, "SQLITE_FULL"
                raise error
            return real(*arguments)

        monkeypatch.setattr(bench.exporter._store, "add", full)
        await bench.put(closed(document("a")))
        assert bench.stored() == ["a"]
        assert bench.reports == ["recoverable_error", "ok"]
        refusals = 10_000
        await bench.put(closed(document("b")))
        assert bench.dropped("retry_exhausted") == 1
        assert bench.numbers.values[
            "otelcol_exporter_send_failed_log_records_total", "run_store", "SQLITE_FULL", "false"
        ]
        refusals = 0
        await bench.put(closed(document("c")))
        assert bench.stored() == ["a", "c"]


@pytest.mark.parametrize("how", ["removed", "replaced"])
async def test_store_that_is_taken_away_while_it_is_open_is_begun_anew(tmp_path: Path, how: str) -> None:
    """SQLite would write on, into nowhere, and say that it is written."""
    async with running(tmp_path) as bench:
        await bench.put(closed(document("a")))
        path = bench.exporter._store.path
        if how == "removed":
            path.unlink()
        else:
            shutil.copy(path, tmp_path / "copy")
            (tmp_path / "copy").rename(path)
        await bench.put(closed(document("b")))
        await bench.put(closed(document("c")))
        assert bench.stored()[-2:] == ["b", "c"]


async def test_full_disk_at_the_start_is_no_crash_loop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The sidecar runs, and the store opens when there is room."""
    real, full = os.open, True

    def no_room(path: Any, *arguments: Any) -> int:
        if full and str(path).endswith(FILE_NAME):
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        return real(path, *arguments)

    monkeypatch.setattr(os, "open", no_room)
    async with running(tmp_path) as bench:
        assert bench.reports == ["recoverable_error"]
        full = False
        await bench.put(closed(document("a")))
        assert bench.stored() == ["a"]
        assert bench.reports == ["recoverable_error", "ok"]


async def test_directory_that_cannot_be_is_said_at_the_start(tmp_path: Path) -> None:
    """With the directory's name and what to do."""
    (tmp_path / "file").write_text("x")
    with pytest.raises(ValueError, match=r"cannot write .*file/runs.sqlite3: .*file is a file and no directory; name"):
        await Bench(tmp_path / "file").exporter.start()


async def test_damage_while_it_runs_costs_no_new_run(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The file is put aside, said so, and the run that found it is in the new one."""
    caplog.set_level(logging.ERROR)
    async with running(tmp_path) as bench:
        await bench.put(closed(*(document(f"run-{n}", steps=[{"output": "word " * 3000}]) for n in range(30))))
        bench.exporter._store.close()
        path = tmp_path / FILE_NAME
        size = path.stat().st_size
        path.write_bytes(path.read_bytes()[:4096] + os.urandom(size - 4096))
        await bench.put(closed(document("next")))
        assert bench.stored() == ["next"]
        assert len(bench.aside()) == 1
        assert bench.numbers.total("spanledger_run_store_aside_total") == 1
        assert "It is kept as" in caplog.text


async def test_disk_that_breaks_every_file_does_not_fill_with_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second damage within minutes drops the data and counts it."""

    def broken(*_: Any) -> Any:
        error = sqlite3.DatabaseError("database disk image is malformed")
        error.sqlite_errorcode, error.sqlite_errorname = sqlite3.SQLITE_CORRUPT, "SQLITE_CORRUPT"
        raise error

    async with running(tmp_path) as bench:
        monkeypatch.setattr(bench.exporter._store, "add", broken)
        await bench.put(*(closed(document(f"run-{n}")) for n in range(5)))
        assert len(bench.aside()) == 1
        bench.clock.now_s += module.ASIDE_AT_MOST_EVERY_S
        await bench.put(closed(document("later")))
        assert len(bench.aside()) == 2
        assert bench.dropped("permanent") + bench.dropped("retry_exhausted") == 6


async def test_file_of_something_else_stops_the_start(tmp_path: Path) -> None:
    """A mistake in the configuration, said as one."""
    other = sqlite3.connect(tmp_path / FILE_NAME)
    other.execute("CREATE TABLE theirs (x)")
    other.close()
    with pytest.raises(ValueError, match="no run store; name another directory"):
        await Bench(tmp_path).exporter.start()

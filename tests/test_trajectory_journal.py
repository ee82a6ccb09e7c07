"""The journal of open runs: what is acknowledged is in the file, and what waits for the file is not dropped."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import shutil
import sqlite3
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from spanledger.processor.component import Refused
from spanledger.processor.metric_store import MetricTable
from spanledger.processor.sqlite_file import Malformed
from spanledger.processor.trajectory import journal as journal_module
from spanledger.processor.trajectory import store as store_module
from spanledger.processor.trajectory.config import TrajectoryConfig
from spanledger.processor.trajectory.journal import Journal
from spanledger.processor.trajectory.journal_file import FILE, JournalFile
from spanledger.processor.trajectory.remembered import Remembered
from spanledger.processor.trajectory.store import Store
from tests.assembled_runs import step, total, trace
from tests.fakes import Clock, host

ERRORS = "spanledger_trajectory_storage_errors_total"


class Desk:
    """A journal, and somebody who takes documents only when told to."""

    def __init__(self, directory: Path, **settings: Any) -> None:
        self.directory = directory
        self.clock = Clock()
        self.table = MetricTable()
        self.told = self.taken = 0
        self.file = JournalFile(str(directory), 60.0, self.clock.time_ns, **settings)
        surroundings = host("trajectory", self.clock, self.table)  # type: ignore[arg-type]
        self.journal = Journal(self.file, surroundings, told=lambda: (self.told, self.taken), sleep=self.sleep)

    async def sleep(self, _seconds: float) -> None:
        """Let nobody wait."""
        await asyncio.sleep(0)

    async def written(self) -> None:
        """Return when nothing waits for the disk."""
        while self.journal.statistics()["waiting_changes"]:  # noqa: ASYNC110 - the thread that writes knows no event
            await asyncio.sleep(0)

    def rows(self, table: str) -> int:
        """Return how many there are in a table of the file."""
        with contextlib.closing(sqlite3.connect(self.directory / FILE)) as db:
            return int(db.execute(f"SELECT count(*) FROM {table}").fetchone()[0])


@contextlib.asynccontextmanager
async def opened(directory: Path, **settings: Any) -> AsyncIterator[Desk]:
    """Open a journal for the block."""
    desk = Desk(directory, **settings)
    await desk.journal.open()
    try:
        yield desk
    finally:
        await desk.journal.close()


async def test_requests_are_refused_while_too_much_waits_and_nothing_is_dropped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody takes the runs that were told: what follows may not be noted yet, and memory has an end."""
    monkeypatch.setattr(journal_module, "MAX_WAITING", 5)
    async with opened(tmp_path) as desk:
        desk.told = 1
        for number in range(1, 6):
            desk.journal.settled(await desk.journal.keep([step(number)], None))
        with pytest.raises(Refused, match="5 changes wait"):
            await desk.journal.keep([step(6)], None)
        desk.journal.add(step(7), 0)
        assert (desk.rows("arrived"), desk.rows("record")) == (5, 0)
        desk.taken = 1
        await desk.written()
        await desk.journal.keep([step(6)], None)
    assert (desk.rows("arrived"), desk.rows("record")) == (1, 1)


async def test_what_found_a_full_disk_is_written_later_however_much_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also beyond the limit at which requests are refused."""
    monkeypatch.setattr(journal_module, "MAX_WAITING", 2)
    async with opened(tmp_path) as desk:
        apply, failures = desk.file.apply, [sqlite3.OperationalError("database or disk is full")] * 3

        def full(changes: Any) -> None:
            if failures:
                raise failures.pop()
            apply(changes)

        monkeypatch.setattr(desk.file, "apply", full)
        for number in range(1, 6):
            desk.journal.add(step(number), 0)
        await desk.written()
        assert desk.rows("record") == 5


async def test_a_record_that_cannot_be_written_costs_only_itself(tmp_path: Path) -> None:
    """It is acknowledged, and so are those that came with it."""
    async with opened(tmp_path) as desk:
        hostile = step(2, agent_name=object())
        number = await desk.journal.keep([step(1), hostile, step(3)], None)
        assert desk.rows("arrived") == 2
        for record in (step(1), hostile, step(3)):
            desk.journal.add(record, 0)
        desk.journal.settled(number)
        await desk.written()
    assert (desk.rows("arrived"), desk.rows("record")) == (0, 2)


async def test_a_change_with_a_fault_of_ours_takes_no_other_along(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And the journal goes on."""
    async with opened(tmp_path) as desk:
        monkeypatch.setattr(desk.file, "withdraw", lambda _run_id: 1 / 0)
        desk.journal.add(step(1), 0)
        desk.journal.withdraw("x")
        desk.journal.add(step(2), 0)
        await desk.written()
        desk.journal.add(step(3), 0)
    assert desk.rows("record") == 3
    assert total(desk.table, ERRORS, "write") >= 1


async def test_nothing_is_acknowledged_while_there_is_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It broke, and a new one could not be begun; what came in the same moment is refused as well."""
    async with opened(tmp_path) as desk:
        with monkeypatch.context() as patch:
            patch.setattr(desk.file, "_begin", lambda: (_ for _ in ()).throw(sqlite3.OperationalError("disk is full")))
            broken = asyncio.Event()

            def arrive(*_: object) -> None:
                loop.call_soon_threadsafe(broken.set)
                raise Malformed("a page is damaged")

            loop = asyncio.get_running_loop()
            patch.setattr(desk.file, "arrive", arrive)
            first = asyncio.create_task(desk.journal.keep([step(1)], None))
            await broken.wait()
            outcomes = await asyncio.gather(first, desk.journal.keep([step(2)], None), return_exceptions=True)
        assert [type(outcome) for outcome in outcomes] == [Refused, Refused]
        desk.journal.add(step(3), 0)
        await desk.journal.open()
        await desk.written()
        assert desk.rows("record") == 1


async def test_file_that_is_removed_while_it_is_open_is_written_anew(tmp_path: Path) -> None:
    """SQLite would write on, into nowhere, and say that it is written."""
    directory = tmp_path / "state"
    async with opened(directory) as desk:
        await desk.journal.keep([step(1)], None)
        shutil.rmtree(directory)
        await desk.journal.keep([step(2)], None)
        await desk.journal.keep([step(3)], None)
        assert desk.rows("arrived") == 3
        assert total(desk.table, ERRORS, "write") == 1
        with pytest.raises(ValueError, match="in use"):
            await Desk(directory).journal.open()


async def test_file_that_is_replaced_while_it_is_open_takes_nothing(tmp_path: Path) -> None:
    """Whose that is nobody knows; what waits goes on waiting."""
    async with opened(tmp_path) as desk:
        shutil.copy(desk.file.path, tmp_path / "other")
        (tmp_path / "other").rename(desk.file.path)
        with pytest.raises(Refused, match="another file was put in the place"):
            await desk.journal.keep([step(1)], None)
        desk.journal.add(step(1), 0)
        for _ in range(100):
            await asyncio.sleep(0)
        assert desk.journal.statistics()["waiting_changes"] == 1


@pytest.mark.parametrize("fsync", [False, True])
async def test_fsync_is_what_it_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, fsync: bool) -> None:
    """With it every commit is synced, and what the disk may have lost after it said so is refused."""
    async with opened(tmp_path, fsync=fsync) as desk:
        assert desk.file._connection is not None
        assert desk.file._connection.execute("PRAGMA synchronous").fetchone() == (2 if fsync else 1,)
        await desk.journal.keep([step(1)], None)

        def gave_up(_descriptor: int, _length: int) -> None:
            raise OSError(errno.EROFS, os.strerror(errno.EROFS))

        monkeypatch.setattr(os, "ftruncate", gave_up)
        if fsync:
            with pytest.raises(Refused, match="Read-only"):
                await desk.journal.keep([step(2)], None)
        else:
            await desk.journal.keep([step(2)], None)


def test_traces_of_a_former_life_are_remembered_up_to_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file may have many more; those that were closed last are known."""
    monkeypatch.setattr(store_module, "MAX_SUMMARIES", 3)
    store = Store(TrajectoryConfig())
    for number in range(1, 6):
        store.was_closed(trace(number), float(number), 10.0)
    assert store.statistics()["remembered_traces"] == 3
    assert [store.add(step(1, 0, number), 11.0) for number in (1, 5)] == ["new", "too_late"]


async def test_traces_are_read_in_the_order_in_which_they_were_closed(tmp_path: Path) -> None:
    """So that the oldest are forgotten first."""
    async with opened(tmp_path) as desk:
        for number, at_ns in ((1, 30), (2, 10), (3, 20)):
            desk.journal.closed([trace(number)], desk.clock.time_ns() + at_ns, held=False)
        await desk.written()
    again: Remembered = Desk(tmp_path).file.open().remembered
    assert list(again.closed) == [trace(2), trace(3), trace(1)]


async def test_resources_whose_numbers_are_known_have_a_limit_in_bytes(tmp_path: Path) -> None:
    """They are kept for that; forgotten ones are found again in the file."""
    large = [{"service.name": str(number), "noise": "x" * 2**16} for number in range(100)]
    async with opened(tmp_path) as desk:
        for _ in range(2):
            for number, resource in enumerate(large):
                desk.journal.add(replace(step(number, 1), resource=resource), 0)
        await desk.written()

        assert len(desk.file._resources) < 70
        assert desk.rows("resource") == 100

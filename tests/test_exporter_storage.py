"""Queues on disk: nothing acknowledged is lost, whatever becomes of the process or the disk."""

from __future__ import annotations

import asyncio
import errno
import os
import shutil
import sqlite3
import stat
import tempfile
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import closing
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from spanledger.exporters.answer import Divided, PartialSuccess, Permanent, Retryable, TooLarge
from spanledger.exporters.backlog import TRY_EVERY_S, Backlog
from spanledger.exporters.queue import QueueConfig
from spanledger.exporters.queue_file import Bury, Delete, Found, Insert, QueueFile, Stored
from spanledger.exporters.retry import RetryConfig
from spanledger.exporters.sender import Sender
from spanledger.extensions.file_storage import FileStorage, FileStorageConfig, file_name
from spanledger.processor.batch import Delivery, Outline
from spanledger.processor.component import ComponentId, Refused, ShuttingDown
from spanledger.processor.sqlite_file import prove_synced
from spanledger.processor.storage import StorageFile
from spanledger.service.commands import dlq
from spanledger.service.flow import Pipeline, transfer
from tests.fakes import Clock, Numbers, host, request, span

STORAGE = ComponentId("file_storage")


def spans(first: int, count: int = 1, size: int = 10) -> Delivery:
    """Return spans numbered from `first`."""
    message = request(*(span(number, text="x" * size) for number in range(first, first + count)))
    return Delivery("traces", message.SerializeToString(), count, 7)


def numbers_in(delivery: Delivery) -> list[int]:
    """Return the numbers of the spans of a delivery."""
    message = request()
    message.Clear()
    message.ParseFromString(delivery.data)
    return [
        int.from_bytes(one.span_id, "big")
        for resource in message.resource_spans
        for scope in resource.scope_spans
        for one in scope.spans
    ]


def path_in(directory: Path) -> Path:
    """Return the exporter's file."""
    return directory / file_name("exporter/otlp/x")


def contents(directory: Path, pattern: str) -> list[bytes]:
    """Return what is in some files."""
    return [path.read_bytes() for path in directory.glob(pattern)]


def queue_file(directory: Path, **limits: Any) -> QueueFile:
    """Return a file that is not opened."""
    return QueueFile(StorageFile(directory / "x.queue", "exporter/x", **limits))


class Peer:
    """A backend of `Durable` that answers as it is told and remembers what it took."""

    def __init__(self, answer: Callable[[Delivery], Exception | None] = lambda _delivery: None) -> None:
        self.took: list[int] = []
        self.answer = answer
        self.back = asyncio.Event()
        self.first = asyncio.Event()

    def comes_back(self) -> None:
        """Take everything from now on."""
        self.answer = lambda _delivery: None
        self.back.set()


class Life:
    """One life of a process with one exporter, whose queue is in `directory`."""

    def __init__(self, directory: Path, peer: Peer, retry: dict[str, Any] | None = None, **storage: Any) -> None:
        self.peer = peer
        self.numbers = Numbers()
        self.reports: list[tuple[str, str]] = []
        clock = Clock()
        extension = FileStorage(
            FileStorageConfig.model_validate({"directory": str(directory), **storage}), host("file_storage", clock)
        )
        outer = self

        class Exporter(Sender):
            async def push(self, delivery: Delivery) -> PartialSuccess | None:
                if (refusal := peer.answer(delivery)) is not None:
                    raise refusal
                peer.took += numbers_in(delivery)
                peer.first.set()
                return None

        self.exporter = Exporter(
            host(
                "otlp/x", clock, self.numbers, extensions={STORAGE: extension},
                report=lambda status, why: outer.reports.append((status, why)),
            ),
            QueueConfig.model_validate({"storage": "file_storage"}),
            RetryConfig.model_validate(retry or {}),
            5.0,
            wait=self._wait,
        )  # fmt: skip
        self.pipeline = Pipeline("traces", "traces", (), (self.exporter,), None, (self.exporter,))
        self.clock = clock

    async def _wait(self, delay_s: float, wake: asyncio.Event | None) -> None:
        self.clock.now_s += delay_s
        if delay_s == TRY_EVERY_S:
            await asyncio.sleep(0)
            return
        waiting = [asyncio.ensure_future(event.wait()) for event in (wake, self.peer.back) if event is not None]
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        for one in waiting:
            one.cancel()

    async def offer(self, *deliveries: Delivery) -> None:
        """Send requests, one after the other; returns when they are acknowledged."""
        for one in deliveries:
            await transfer([(one, self.pipeline)])

    async def settle(self) -> None:
        """Let the exporter work until its line is empty, and note on disk what it did."""
        while tasks := self.exporter._running():
            await asyncio.wait(tasks)
        backlog = self.exporter._backlog
        assert backlog is not None
        while backlog._flusher is not None and not backlog._flusher.done():
            await asyncio.wait({backlog._flusher})

    async def end(self) -> int:
        """Shut down in an orderly way."""
        return await self.exporter.shutdown(self.clock.now_s + 5)

    async def crash(self) -> None:
        """End at once: nothing more is sent or written, as after `kill -9`."""
        exporter, backlog = self.exporter, self.exporter._backlog
        assert backlog is not None
        tasks = {*exporter._running(), *backlog._tasks, *([backlog._flusher] if backlog._flusher else [])}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        exporter._thread.shutdown(wait=True)
        backlog._file.close()


def away(_delivery: Delivery) -> Exception:
    """Answer like a backend that is away."""
    return Retryable("connection refused", "UNAVAILABLE")


async def test_what_is_acknowledged_is_sent_after_a_crash(tmp_path: Path) -> None:
    """The backend is away, the process is killed, the next one sends: all of it, in order."""
    peer = Peer(away)
    life = Life(tmp_path, peer)
    await life.exporter.start()
    await life.offer(spans(1), spans(2, 3), spans(5))
    await life.crash()
    peer.comes_back()
    after = Life(tmp_path, peer)
    await after.exporter.start()
    await after.settle()
    assert sorted(peer.took) == [1, 2, 3, 4, 5]
    assert await after.end() == 0
    last = Life(tmp_path, peer)
    await last.exporter.start()
    await last.settle()
    assert len(peer.took) == 5, "what was sent is not sent again"
    await last.end()


async def test_shutdown_leaves_what_is_not_sent(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Nothing is lost and nothing is waited for: the next start sends it. What was being sent is counted, too."""
    caplog.set_level("INFO")
    peer = Peer(away)
    life = Life(tmp_path, peer)
    await life.exporter.start()
    await life.offer(spans(1), spans(2))
    assert await life.end() == 0
    assert [one.message for one in caplog.records if "stay on disk" in one.message] == [
        "2 requests stay on disk and are sent after the next start"
    ]
    assert life.numbers.total("spanledger_dropped_items_total") == 0
    peer.comes_back()
    after = Life(tmp_path, peer)
    await after.exporter.start()
    await after.settle()
    assert sorted(peer.took) == [1, 2]
    await after.end()


@pytest.mark.parametrize("killed", [True, False], ids=["killed", "stopped"])
async def test_parts_that_were_sent_are_not_sent_again(tmp_path: Path, *, killed: bool) -> None:
    """A request that was split keeps only its open parts, however the process ended."""
    peer = Peer()

    def answer(delivery: Delivery) -> Exception | None:
        if delivery.items > 2:
            return TooLarge("too large", "413")
        return away(delivery) if 3 in numbers_in(delivery) else None

    peer.answer = answer
    life = Life(tmp_path, peer)
    await life.exporter.start()
    await life.offer(spans(1, 4, size=100_000))
    await peer.first.wait()
    await (life.crash() if killed else life.end())
    assert peer.took == [1, 2]
    peer.comes_back()
    after = Life(tmp_path, peer)
    await after.exporter.start()
    await after.settle()
    assert peer.took == [1, 2, 3, 4]
    await after.end()


async def test_what_a_peer_took_of_a_request_is_not_sent_again(tmp_path: Path) -> None:
    """Only the rest stays on disk, though it is one part as the whole was."""
    peer = Peer()

    def answer(delivery: Delivery) -> Exception | None:
        if delivery.items == 3:
            peer.took += [1, 2]
            return Divided("one of three", "late", [spans(3)])
        peer.first.set()
        return away(delivery)

    peer.answer = answer
    life = Life(tmp_path, peer)
    await life.exporter.start()
    await life.offer(spans(1, 3))
    await peer.first.wait()
    await life.crash()
    peer.comes_back()
    after = Life(tmp_path, peer)
    await after.exporter.start()
    await after.settle()
    assert peer.took == [1, 2, 3]
    await after.end()


async def test_retries_never_end_by_default(tmp_path: Path) -> None:
    """With a disk behind it a request waits for as long as the backend is away, unless it is told otherwise."""
    assert Life(tmp_path, Peer()).exporter._retry.max_elapsed_time == 0
    assert Life(tmp_path, Peer(), {"max_elapsed_time": "60s"}).exporter._retry.max_elapsed_time == 60


@pytest.mark.parametrize("error", [28, 30], ids=["full", "read-only"])
async def test_disk_that_fails_refuses_and_recovers(tmp_path: Path, error: int) -> None:
    """Requests are refused, nobody crashes, and it goes on by itself when the disk is back."""
    life = Life(tmp_path, Peer())
    await life.exporter.start()
    backlog = life.exporter._backlog
    assert backlog is not None
    works = backlog._file.apply

    def fails(_changes: Sequence[Any]) -> int:
        raise OSError(error, os.strerror(error))

    backlog._file.apply = fails  # type: ignore[method-assign]
    with pytest.raises(Refused, match=os.strerror(error)) as refusal:
        await life.offer(spans(1))
    assert (refusal.value.reason, refusal.value.retry_after_s) == ("storage", 1.0)
    assert life.exporter.statistics()["queues"]["traces"]["size"] == 0
    assert life.reports[-1] == ("recoverable_error", f"storage: {os.strerror(error)}")
    backlog._file.apply = works  # type: ignore[method-assign]
    await life.offer(spans(2))
    assert life.reports[-1] == ("ok", "")
    await life.settle()
    assert life.numbers.total("otelcol_exporter_sent_spans_total") == 1
    await life.end()


async def test_limit_of_the_file_refuses(tmp_path: Path) -> None:
    """A backend that is away fills the room that it was given, and no more."""
    peer = Peer(away)
    life = Life(tmp_path, peer, max_size_mib=1)
    await life.exporter.start()
    with pytest.raises(Refused, match="full"):
        await life.offer(*(spans(number, size=100_000) for number in range(1, 100)))
    assert max(map(len, contents(tmp_path, "*.queue"))) <= 2**20
    peer.comes_back()
    await life.settle()
    assert peer.took == list(range(1, len(peer.took) + 1))
    assert len(peer.took) > 5
    await life.offer(spans(200))
    await life.settle()
    assert peer.took[-1] == 200
    await life.end()


async def test_broken_file_is_kept_aside_and_reported(tmp_path: Path) -> None:
    """A start never fails because of it."""
    path = path_in(tmp_path)
    path.write_bytes(b"this is no database" * 1000)
    life = Life(tmp_path, Peer())
    await life.exporter.start()
    assert b"this is no" in b"".join(contents(tmp_path, "*.broken-*"))
    assert life.numbers.total("spanledger_queue_storage_aside_total") == 1
    await life.offer(spans(1))
    await life.settle()
    await life.end()


async def test_file_that_breaks_while_it_is_open_is_kept_aside(tmp_path: Path) -> None:
    """What was only in it is counted as lost, what comes is refused once and then taken."""
    peer = Peer(away)
    life = Life(tmp_path, peer)
    await life.exporter.start()
    await life.offer(spans(1))
    backlog = life.exporter._backlog
    assert backlog is not None
    works = backlog._file.apply

    def breaks(_changes: Sequence[Any]) -> int:
        raise sqlite3.DatabaseError("database disk image is malformed")

    backlog._file.apply = breaks  # type: ignore[method-assign]
    with pytest.raises(Refused, match="malformed"):
        await life.offer(spans(2))
    backlog._file.apply = works  # type: ignore[method-assign]
    await life.offer(spans(3))
    assert life.numbers.total("spanledger_queue_storage_aside_total") == 0, "it opened again, and was sound"
    peer.comes_back()
    await life.settle()
    await life.settle()
    assert sorted(peer.took) == [1, 3]
    await life.end()


def backlog_of(life: Life) -> Backlog:
    """Return what a life has on disk."""
    assert life.exporter._backlog is not None
    return life.exporter._backlog


async def test_disk_that_was_away_at_the_start_gives_back_what_it_has(tmp_path: Path) -> None:
    """Once, also when several requests find it back at the same time, and none takes the number of another."""
    peer = Peer(away)
    life = Life(tmp_path, peer)
    await life.exporter.start()
    await life.offer(spans(1), spans(2))
    await life.crash()
    after = Life(tmp_path, peer)
    backlog = backlog_of(after)
    works = backlog._file.open

    def fails(_now_ns: int) -> Found:
        raise OSError(30, "Read-only file system")

    backlog._file.open = fails  # type: ignore[method-assign]
    await after.exporter.start()
    with pytest.raises(Refused, match="Read-only"):
        await after.offer(spans(3))
    backlog._file.open = works  # type: ignore[method-assign]
    after.clock.now_s += TRY_EVERY_S
    await asyncio.gather(after.offer(spans(4)), after.offer(spans(5)))
    peer.comes_back()
    await after.settle()
    assert sorted(peer.took) == [1, 2, 4, 5]
    assert after.numbers.total("spanledger_dropped_items_total") == 0
    await after.end()


async def test_nothing_is_taken_before_the_start(tmp_path: Path) -> None:
    """In a reload, requests come while the predecessor still holds the file."""
    life = Life(tmp_path, Peer())
    with pytest.raises(Refused, match="is starting"):
        await life.offer(spans(1))
    assert contents(tmp_path, "*") == []
    await life.exporter.start()
    await life.offer(spans(1))
    await life.settle()
    assert life.peer.took == [1]
    await life.end()


@pytest.mark.parametrize("moment", ["waiting", "being written"])
async def test_client_that_goes_away_leaves_nothing_on_disk(tmp_path: Path, moment: str) -> None:
    """Its request was not acknowledged: it comes again."""
    life = Life(tmp_path, Peer(away))
    await life.exporter.start()
    file = backlog_of(life)._file
    works, writing, go_on = file.apply, threading.Event(), threading.Event()

    def slow(changes: Sequence[Any]) -> int:
        writing.set()
        go_on.wait()
        return works(changes)

    file.apply = slow  # type: ignore[method-assign]
    offering = asyncio.create_task(life.offer(spans(1)))
    if moment == "being written":
        await asyncio.to_thread(writing.wait)
    else:
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    offering.cancel()
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await offering
    await life.settle()
    assert life.exporter.statistics()["queues"]["traces"]["size"] == 0
    assert file.open(0).entries == ()
    await life.end()


async def test_disk_that_fails_for_long_fills_no_memory(tmp_path: Path) -> None:
    """What is refused, or whose client is gone, is not remembered."""
    life = Life(tmp_path, Peer())
    await life.exporter.start()
    backlog = backlog_of(life)

    failing = threading.Event()

    def fails(_changes: Sequence[Any]) -> int:
        failing.set()
        raise OSError(28, "No space left on device")

    backlog._file.apply = fails  # type: ignore[method-assign]
    for number in range(20):
        offering = asyncio.create_task(life.offer(spans(number)))
        if number % 2:
            await asyncio.to_thread(failing.wait)
            offering.cancel()
        failing.clear()
        with pytest.raises((Refused, asyncio.CancelledError)):
            await offering
    await life.settle()
    assert (backlog._changes, backlog._writers, life.exporter._kept) == ([], {}, {})
    await life.end()


async def test_what_was_sent_is_noted_although_nothing_new_fits(tmp_path: Path) -> None:
    """A process that is killed at its limit does not send again what came between two refusals."""
    peer = Peer(away)
    life = Life(tmp_path, peer)
    await life.exporter.start()
    await life.offer(spans(1))
    backlog = backlog_of(life)
    works = backlog._file.apply

    def is_full(changes: Sequence[Any]) -> int:
        if any(isinstance(change, Insert) for change in changes):
            raise sqlite3.OperationalError("database or disk is full")
        return works(changes)

    backlog._file.apply = is_full  # type: ignore[method-assign]
    written = backlog._writers[99] = asyncio.get_running_loop().create_future()
    backlog._changes = [Insert(99, spans(99))]
    peer.comes_back()
    await life.settle()
    assert isinstance(written.exception(), Refused)
    assert backlog._file.open(0).entries == ()
    await life.end()


async def test_fault_of_our_own_refuses_and_hangs_nobody(tmp_path: Path) -> None:
    """Whatever the writing raises, those who wait for it hear of it."""
    life = Life(tmp_path, Peer())
    await life.exporter.start()
    file = backlog_of(life)._file
    works = file.apply

    def fails(_changes: Sequence[Any]) -> int:
        raise ValueError("surrogates not allowed")

    file.apply = fails  # type: ignore[method-assign]
    with pytest.raises(Refused, match="surrogates"):
        await life.offer(spans(1))
    file.apply = works  # type: ignore[method-assign]
    await life.offer(spans(2))
    await life.settle()
    assert life.peer.took == [2]
    await life.end()


async def test_request_that_comes_as_the_file_closes_is_refused(tmp_path: Path) -> None:
    """It had its room before the queue closed; nobody would write it any more."""
    life = Life(tmp_path, Peer())
    await life.exporter.start()
    life.exporter.reserve(spans(1))
    await life.end()
    with pytest.raises(ShuttingDown):
        await life.exporter.keep(spans(1))


def test_writing_the_same_twice_makes_no_difference(tmp_path: Path) -> None:
    """The end of a write may go unseen."""
    file = queue_file(tmp_path)
    file.open(0)
    for _ in range(2):
        file.apply([Insert(1, spans(1)), Insert(2, spans(2)), Delete(1)])
    assert [entry.seq for entry in file.open(0).entries] == [2]
    file.close()


@pytest.mark.parametrize(
    ("prepare", "message"),
    [
        (lambda path: sqlite3.connect(path).executescript("CREATE TABLE t (x); PRAGMA user_version = 3"), "something"),
        (lambda path: QueueFile(StorageFile(path, "x")).open(0), "in use by another process"),
        (lambda path: path.mkdir(), "cannot use"),
    ],
    ids=["another database", "held", "a directory"],
)
async def test_mistake_in_the_configuration_ends_the_start(
    tmp_path: Path, prepare: Callable[[Path], object], message: str
) -> None:
    """It says what and where."""
    held = prepare(path_in(tmp_path))
    life = Life(tmp_path, Peer())
    with pytest.raises(ValueError, match=message):
        await life.exporter.start()
    del held


async def test_one_refusal_leaves_nothing_behind(tmp_path: Path) -> None:
    """Two queues, one of them with a broken disk: the request is in neither, now and after a restart."""
    first, second = Life(tmp_path / "a", Peer()), Life(tmp_path / "b", Peer())
    for life in (first, second):
        await life.exporter.start()
    broken = second.exporter._backlog
    assert broken is not None

    def fails(_changes: Sequence[Any]) -> int:
        raise OSError(28, "No space left on device")

    broken._file.apply = fails  # type: ignore[method-assign]
    both = (first.exporter, second.exporter)
    with pytest.raises(Refused):
        await transfer([(spans(1), Pipeline("traces", "traces", (), both, None, both))])
    await first.settle()
    await first.crash()
    with closing(sqlite3.connect(tmp_path / "a" / file_name("exporter/otlp/x"))) as connection:
        assert connection.execute("SELECT count(*) FROM entries").fetchone()[0] == 0
    await second.crash()


# -- dead letters --


async def bury(tmp_path: Path) -> None:
    """Leave one dead letter behind."""
    peer = Peer()
    peer.answer = lambda _delivery: Permanent("INVALID_ARGUMENT: bad \x1b[31mspan", "INVALID_ARGUMENT")
    life = Life(tmp_path, peer)
    await life.exporter.start()
    await life.offer(spans(1))
    await life.settle()
    assert life.numbers.values["spanledger_dropped_items_total", "otlp/x", "traces", "permanent"] == 1
    assert life.numbers.values["spanledger_dead_letters_total", "otlp/x", "kept"] == 1
    assert life.numbers.values["spanledger_dead_letters", "otlp/x"] == 1
    await life.end()


def command(*arguments: str) -> int:
    """Run `spanledger dlq`."""
    from spanledger.__main__ import main

    return main(["dlq", *arguments])


async def test_dead_letter_is_listed_and_replayed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What a backend refused is there to be looked at, and is sent when somebody says so."""
    await bury(tmp_path)
    assert command("list", "--directory", str(tmp_path)) == 0
    listed = capsys.readouterr().out
    assert "exporter/otlp/x:1" in listed
    assert "\x1b" not in listed
    assert command("replay", "--directory", str(tmp_path), "exporter/otlp/x:1") == 0
    peer = Peer()
    life = Life(tmp_path, peer)
    await life.exporter.start()
    await life.settle()
    assert peer.took == [1]
    assert life.numbers.values["spanledger_dead_letters_total", "otlp/x", "replayed"] == 1
    assert life.numbers.values["spanledger_dead_letters", "otlp/x"] == 0
    await life.end()


async def test_running_exporter_notices_a_replay(tmp_path: Path) -> None:
    """Nobody has to restart it."""
    await bury(tmp_path)
    peer = Peer()
    life = Life(tmp_path, peer)
    await life.exporter.start()
    assert command("replay", "--directory", str(tmp_path), "--all") == 0
    backlog = life.exporter._backlog
    assert backlog is not None
    await backlog._revive()
    await life.settle()
    assert peer.took == [1]
    await life.end()


async def test_client_that_goes_away_leaves_no_dead_letter_half_replayed(tmp_path: Path) -> None:
    """Its request had the file of a disk that failed opened again; what was put in line then is sent all the same."""
    await bury(tmp_path)
    peer = Peer()
    life = Life(tmp_path, peer)
    backlog = life.exporter._backlog
    assert backlog is not None
    opens, revives, begins = backlog._file.open, backlog._file.revive, threading.Event()

    def fails(_now_ns: int) -> Found:
        raise OSError(errno.EIO, "Input/output error")

    def slow(numbers: range) -> tuple[Stored, ...]:
        assert begins.wait(10)
        return revives(numbers)

    backlog._file.open = fails  # type: ignore[method-assign]
    await life.exporter.start()
    assert command("replay", "--directory", str(tmp_path), "--all") == 0
    backlog._file.open, backlog._file.revive = opens, slow  # type: ignore[method-assign]
    life.clock.now_s += TRY_EVERY_S
    impatient = asyncio.create_task(life.offer(spans(2)))
    while not backlog._is_open:  # noqa: ASYNC110 - it is opened in a thread
        await asyncio.sleep(0)
    impatient.cancel()
    await asyncio.gather(impatient, return_exceptions=True)
    begins.set()
    async with asyncio.timeout(10):
        await peer.first.wait()
    await life.settle()

    assert peer.took == [1]
    await life.end()


async def test_dead_letter_is_exported_and_discarded(tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    """The bytes are those of the request."""
    await bury(tmp_path)
    assert command("export", "--directory", str(tmp_path), "exporter/otlp/x:1") == 0
    assert capfdbinary.readouterr().out == spans(1).data
    assert command("discard", "--directory", str(tmp_path), "exporter/otlp/x:1") == 0
    capfdbinary.readouterr()
    assert command("list", "--directory", str(tmp_path), "--json") == 0
    assert capfdbinary.readouterr().out == b""


def test_what_is_not_there_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What to do, and exit code 1 for a dead letter, 2 for a directory, as of every command without its store."""
    assert command("discard", "exporter/otlp/x:9", "--directory", str(tmp_path)) == 1
    assert "dlq list" in capsys.readouterr().err
    (tmp_path / "file").touch()
    for name in ("none", "file"):
        assert command("list", "--directory", str(tmp_path / name)) == 2
        assert "--directory" in capsys.readouterr().err


def test_a_directory_that_may_not_be_read_is_not_called_empty(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody should think that nothing was refused because another user runs the sidecar."""

    def denied(path: Path) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(os, "scandir", denied)
    assert command("list", "--directory", str(tmp_path)) == 2
    assert f"{tmp_path} cannot be read: Permission denied; be the user" in capsys.readouterr().err


@pytest.mark.parametrize(
    "error", [sqlite3.OperationalError("database or disk is full"), OSError(errno.EIO, "I/O error")]
)
async def test_a_file_that_cannot_be_changed_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    """A full disk is somewhere, and there may be many queues."""
    await bury(tmp_path)

    def fails(*_: object) -> None:
        raise error

    monkeypatch.setattr("spanledger.exporters.dead_letters.mark", fails)
    assert command("replay", "--all", "--directory", str(tmp_path)) == 1
    told = capsys.readouterr().err
    assert told.startswith(f"spanledger dlq: {tmp_path}/")
    assert told.endswith(f" cannot be used: {error.args[-1]}\n")


async def test_room_for_dead_letters_is_bounded(tmp_path: Path) -> None:
    """The oldest goes, and is counted."""
    peer = Peer()
    peer.answer = lambda _delivery: Permanent("no", "INVALID_ARGUMENT")
    life = Life(tmp_path, peer, max_dead_letters_mib=1)
    await life.exporter.start()
    await life.offer(*(spans(number, size=300_000) for number in range(1, 6)))
    await life.settle()
    assert life.numbers.values["spanledger_dead_letters", "otlp/x"] == 3
    assert life.numbers.values["spanledger_dead_letters_total", "otlp/x", "discarded"] == 2
    await life.end()


def test_disk_is_not_filled_to_the_brim(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a full one nothing could be deleted any more, and it would be full for ever."""
    file = queue_file(tmp_path)
    file.open(0)
    file.apply([Insert(1, spans(1)), Insert(3, spans(3, size=100_000))])
    monkeypatch.setattr(os, "fstatvfs", lambda _descriptor: SimpleNamespace(f_bavail=16 * 256, f_frsize=4096, f_flag=0))
    with pytest.raises(OSError, match="less than 16 MiB would be left free") as error:
        file.apply([Insert(2, spans(2))])
    assert error.value.errno == errno.ENOSPC
    file.apply([Delete(1)])
    assert [entry.seq for entry in file.open(0).entries] == [3]
    file.apply([Delete(3)])
    file.apply([Insert(4, spans(4))])  # What was deleted makes room before the file gets shorter.
    file.close()


@pytest.mark.parametrize("later", [0, 1], ids=["before it writes", "after its commit"])
def test_disk_that_gave_up_acknowledges_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, later: int) -> None:
    """Linux says that it is synced. The same once more, when the disk is back, makes no difference."""
    file = queue_file(tmp_path, fsync=True)
    file.open(0)
    truncate, good = os.ftruncate, [None] * later

    def ftruncate(descriptor: int, length: int) -> None:
        if not good:
            raise OSError(errno.EROFS, os.strerror(errno.EROFS))
        truncate(descriptor, length)
        good.pop()

    with monkeypatch.context() as patch:
        patch.setattr(os, "ftruncate", ftruncate)
        with pytest.raises(OSError, match="Read-only") as error:
            file.apply([Insert(1, spans(1))])
    assert error.value.errno == errno.EROFS
    with closing(sqlite3.connect(file.path)) as connection:
        assert connection.execute("SELECT count(*) FROM entries").fetchall() == [(later,)]
    file.apply([Insert(1, spans(1))])
    assert [entry.seq for entry in file.open(0).entries] == [1]
    file.close()


def test_proof_of_a_disk_is_a_change_each_time(tmp_path: Path) -> None:
    """A length that a file has already changes nothing, and would prove nothing."""
    with (tmp_path / "x").open("wb") as file:
        lengths = [file.tell()]
        for _ in range(4):
            prove_synced(file.fileno())
            lengths.append(os.fstat(file.fileno()).st_size)
    assert all(one != other for one, other in pairwise(lengths)), lengths


@pytest.mark.parametrize("gone", ["the directory", "x.queue", "x.queue-wal"])
def test_file_that_is_removed_while_it_is_open_is_written_anew(tmp_path: Path, gone: str) -> None:
    """SQLite would write on, into nowhere, and say that it is written."""
    directory = tmp_path / "queues"
    file = queue_file(directory, max_bytes=2**24)
    file.open(0)
    file.apply([Insert(1, spans(1)), Bury(spans(9), 1, "no")])
    if gone == "the directory":
        shutil.rmtree(directory)
    else:
        (directory / gone).unlink()
    file.apply([Insert(2, spans(2))])
    file.apply([Insert(3, spans(3)), Delete(2)])
    assert file.times_put_back == 1
    assert stat.S_IMODE(file.path.stat().st_mode) == 0o600
    with pytest.raises(BlockingIOError):
        queue_file(directory).open(0)
    copy = tmp_path / "as after kill -9"
    shutil.copytree(directory, copy)
    file.close()
    again = queue_file(copy)
    assert [entry.seq for entry in again.open(0).entries] == [1, 3]
    assert again.dead() == 1
    again.close()


def test_file_that_is_replaced_while_it_is_open_takes_nothing(tmp_path: Path) -> None:
    """Whose that is nobody knows; what was acknowledged is still sent from the one before."""
    file = queue_file(tmp_path)
    file.open(0)
    file.apply([Insert(1, spans(1))])
    other = tmp_path / "other"
    shutil.copy(file.path, other)
    other.rename(file.path)
    with pytest.raises(OSError, match="another file was put in the place"):
        file.apply([Insert(2, spans(2))])
    assert file.load(Stored(1, "traces", 1, 1, 7)) is not None
    file.close()


def test_grave_in_a_full_file_has_the_room_of_what_it_replaces(tmp_path: Path) -> None:
    """A request that is refused for good is kept although nothing more could be written."""
    file = queue_file(tmp_path, max_bytes=2**20)
    file.open(0)
    big = spans(1, size=400_000)
    file.apply([Insert(1, big), Insert(2, big)])
    with pytest.raises(sqlite3.OperationalError, match="full"):
        file.apply([Insert(3, big)])
    assert file.apply([Bury(big, 1, "no"), Delete(1)]) == 0
    assert file.dead() == 1
    file.close()


def test_letters_that_were_discarded_from_outside_make_room(tmp_path: Path) -> None:
    """What is left is not thrown away for the sake of what is gone."""
    file = queue_file(tmp_path, max_dead_bytes=1_000_000)
    file.open(0)
    big = spans(1, size=300_000)
    file.apply([Bury(big, 1, "no")] * 3)
    with closing(sqlite3.connect(file.path)) as connection, connection:
        connection.execute("DELETE FROM dead WHERE seq <= 2")
    assert file.apply([Bury(big, 1, "no")] * 2) == 0
    assert file.apply([Bury(big, 1, "no")]) == 1
    with closing(sqlite3.connect(file.path)) as connection, connection:
        assert connection.execute("SELECT seq FROM dead").fetchall() == [(4,), (5,), (6,)]
    file.close()


def test_names_of_files_are_safe_and_different() -> None:
    """An id may hold anything but blanks."""
    names = [
        file_name(f"exporter/{name}") for name in ("otlp", "otlp/a", "otlp/../../etc", "otlp/ä", "otlp/" + "x" * 999)
    ]
    assert len(set(names)) == len(names)
    assert all("/" not in name and not name.startswith(".") and len(name) < 140 for name in names)
    assert dlq.NAME == "dlq"


class CrashingQueue(RuleBasedStateMachine):
    """Any order of writing, sending, burying and crashing, against a model of what is acknowledged."""

    @initialize()
    def begin(self) -> None:
        """Open a file."""
        self.directory = tempfile.TemporaryDirectory()
        self.waiting: dict[int, int] = {}
        self.dead: Counter[int] = Counter()
        self.next = 1
        self._open()

    def _open(self) -> None:
        self.file = queue_file(Path(self.directory.name))
        found = self.file.open(0)
        assert {entry.seq: entry.items for entry in found.entries} == self.waiting

    @rule(counts=st.lists(st.integers(1, 3), min_size=1, max_size=3))
    def accept(self, counts: list[int]) -> None:
        """Acknowledge requests that came together."""
        inserts = []
        for count in counts:
            inserts.append(Insert(self.next, spans(self.next, count)))
            self.waiting[self.next] = count
            self.next += 1
        self.file.apply(inserts)

    @precondition(lambda self: self.waiting)
    @rule(data=st.data(), buried=st.booleans())
    def settle(self, data: st.DataObject, buried: bool) -> None:
        """Send a request, or have it refused for good."""
        seq = data.draw(st.sampled_from(sorted(self.waiting)))
        count = self.waiting.pop(seq)
        stored = Stored(seq, "traces", count, 0, 7)
        delivery = self.file.load(stored)
        assert delivery is not None
        assert numbers_in(delivery) == list(range(seq, seq + count))
        self.file.apply([Bury(delivery, 1, "no"), Delete(seq)] if buried else [Delete(seq)])
        self.dead[count] += buried

    @rule()
    def replay(self) -> None:
        """Put all dead letters back in line."""
        with closing(sqlite3.connect(self.file.path)) as connection, connection:
            connection.execute("UPDATE dead SET replay = 1")
        numbers = range(self.next, self.next + 100)
        for entry in self.file.revive(numbers):
            self.dead[entry.items] -= 1
            assert entry.seq in numbers
            # Their spans have the numbers of an earlier request: only how many they are is looked at.
            self.file.apply([Delete(entry.seq)])
        self.next += 100
        assert not +self.dead

    @rule()
    def crash(self) -> None:
        """Begin again with what is on disk."""
        self.file.close()
        self._open()

    @invariant()
    def letters_are_all_there(self) -> None:
        """No dead letter is lost."""
        assert self.file.dead() == (+self.dead).total()

    def teardown(self) -> None:
        """Close."""
        self.file.close()
        self.directory.cleanup()


TestCrashingQueue = CrashingQueue.TestCase
TestCrashingQueue.settings = settings(max_examples=25, stateful_step_count=20, deadline=None)


def test_entry_is_the_request_itself(tmp_path: Path) -> None:
    """Byte for byte, unknown fields included."""
    file = queue_file(tmp_path)
    file.open(0)
    data = Outline(resources=[{"scopes": [{"items": [b"\x0a\x01x\xfa\x7f\x01y"]}]}]).SerializeToString()
    file.apply([Insert(1, Delivery("logs", data, 1, 3))])
    file.close()
    (entry,) = file.open(0).entries
    assert file.load(entry) == Delivery("logs", data, 1, 3)
    file.close()

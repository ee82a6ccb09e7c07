"""A sending queue on disk: every request is written before it is acknowledged, and stays until it is settled.

The life of a request::

    reserve ──> keep (written, with others in one transaction) ──> commit ──> load ──> sent or lost ──> forget
                  └── refused: the disk is full, read-only, away; nothing was acknowledged

Writing is done in the exporter's thread, one transaction at a time; what comes meanwhile goes into the next one.
A process that ends between sending and forgetting sends again after its next start: at least once.
"""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any, Final

from spanledger.exporters.queue_file import Bury, Change, Delete, Insert, QueueFile, Stored, Unusable
from spanledger.exporters.retry import pause
from spanledger.processor.component import Refused, ShuttingDown
from spanledger.processor.sqlite_file import damaged, may_pass

if TYPE_CHECKING:
    from pathlib import Path

    from spanledger.processor.batch import Delivery
    from spanledger.processor.component import Host

HOLD_BYTES: Final = 16 * 2**20
"""Requests up to this much are kept in memory beside the disk, so that a healthy peer costs no reading."""

TRY_EVERY_S: Final = 1.0
"""How often a disk that failed is tried again."""

REVIVE_EVERY_S: Final = 5.0
"""How often dead letters are looked at, for those that are to be replayed."""

QUIET_S: Final = 10.0
"""Between two lines about a disk that works now and then: a file that has its size is such a one."""

_TIDY_EVERY: Final = 256

InThread = Callable[..., Awaitable[Any]]


class LeftOnDisk(Exception):  # noqa: N818 - says what happened
    """A request is not settled, and is sent after the next start."""


class Backlog:
    """What one exporter has on disk. Belongs to the event loop; `found` is told what was there from before.

    `in_thread` runs blocking work in the exporter's thread, in order. `wait` is the pause between attempts.
    """

    def __init__(
        self,
        file: QueueFile,
        host: Host,
        in_thread: InThread,
        found: Callable[[Sequence[Stored]], None],
        *,
        wait: Callable[[float, asyncio.Event | None], Awaitable[None]] = pause,
    ) -> None:
        self._file = file
        self._host = host
        self._in_thread = in_thread
        self._found = found
        self._wait = wait
        self._last = 0
        self._is_open = False
        self._opening = asyncio.Lock()
        self._is_handed_over = False
        """Whether what was on disk from before is in line."""
        self._began = self._ended = False
        self._tried_s = float("-inf")
        self._changes: list[Change] = []
        self._writers: dict[int, asyncio.Future[None]] = {}
        """Those who wait until their insert is written, by its number."""
        self._held: dict[int, Delivery] = {}
        self._held_bytes = 0
        self._closing = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._flusher: asyncio.Task[None] | None = None
        self._put_back = 0
        self._failing = ""
        self._said_s = float("-inf")
        self._written = 0
        self._dead = 0
        self._id = str(host.id)
        self._errors = host.metrics.counter("spanledger_queue_storage_errors_total")
        self._aside = host.metrics.counter("spanledger_queue_storage_aside_total")
        self._letters = host.metrics.counter("spanledger_dead_letters_total")
        self._bytes = host.metrics.gauge("spanledger_queue_storage_bytes")
        self._waiting_letters = host.metrics.gauge("spanledger_dead_letters")
        self._errors.add((self._id,), 0)
        self._aside.add((self._id,), 0)
        for outcome in ("kept", "replayed", "discarded"):
            self._letters.add((self._id, outcome), 0)

    # -- life --

    async def open(self) -> None:
        """Open the file and hand over what is in it. A disk that fails is no reason not to start.

        Raises ValueError when the configuration makes it impossible, or another process has the file.
        """
        try:
            await self._open()
        except Unusable as error:
            raise ValueError(f"storage: {error}") from error
        except BlockingIOError as error:
            raise ValueError(
                f"storage: {self._file.path} is in use by another process or exporter: stop that one, or give this "
                "one a directory of its own (`directory` of the storage, or SPANLEDGER_DATA_DIR)"
            ) from error
        except OSError as error:
            if not may_pass(error):
                raise ValueError(f"storage: cannot use {self._file.path}: {error.strerror}") from error
            self._fails(error)
        except sqlite3.Error as error:
            self._fails(error)
        self._began = True
        self._start(self._look_after(), "dead letters")

    async def close(self) -> None:
        """Write what waits, and close the file."""
        self._closing.set()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        while self._flusher is not None and not self._flusher.done():
            await asyncio.wait({self._flusher})
        # What is given up from here on is sent once more after the next start.
        self._ended = True
        self._bytes.remove((self._id,))
        self._waiting_letters.remove((self._id,))
        # Whoever is replaced in a reload may be remembered for long, for he is part of circles.
        self._held.clear()
        await self._in_thread(self._file.close)

    def statistics(self) -> dict[str, Any]:
        """Return the file, and what is wrong with it."""
        return {"path": str(self._file.path), "dead_letters": self._dead, "error": self._failing or None}

    # -- the way of a request --

    async def keep(self, delivery: Delivery) -> int:
        """Return the number of `delivery` when it is on disk. Raises `Refused` when it cannot be."""
        if not self._is_open:
            await self._try_open()
        if self._closing.is_set():
            raise ShuttingDown(f"exporter {self._id} is shutting down")
        seq = self._number()
        written = self._writers[seq] = asyncio.get_running_loop().create_future()
        self._note(Insert(seq, delivery))
        try:
            await written
        except asyncio.CancelledError:
            # It may be on its way to the disk.
            self.forget(seq)
            raise
        return seq

    def hold(self, seq: int, delivery: Delivery) -> None:
        """Keep a request that is on disk in memory too, while there is room."""
        if self._held_bytes + delivery.size <= HOLD_BYTES:
            self._held[seq] = delivery
            self._held_bytes += delivery.size

    async def load(self, stored: Stored) -> Delivery | None:
        """Return a request with its data; None when the file no longer has it.

        Raises `LeftOnDisk` when the exporter ends before the disk works again.
        """
        if (held := self._held.pop(stored.seq, None)) is not None:
            self._held_bytes -= held.size
            return held
        while not self._closing.is_set():
            try:
                loaded: Delivery | None = await self._in_thread(self._file.load, stored)
            except (sqlite3.Error, OSError) as error:
                self._fails(error)
                if damaged(error):
                    await self._begin_anew()
                    return None
                await self._wait(TRY_EVERY_S, self._closing)
            else:
                return loaded
        raise LeftOnDisk

    def forget(self, seq: int) -> None:
        """Give a request up, soon: it was settled, or it was never acknowledged."""
        if (held := self._held.pop(seq, None)) is not None:
            self._held_bytes -= held.size
        self._note(Delete(seq))

    def replace(self, seq: int, parts: Sequence[Delivery]) -> Sequence[int]:
        """Keep `parts` in the place of a request, in one transaction; return their numbers."""
        # First, for in a file that is full they need its room.
        self._note(Delete(seq))
        numbers = [self._number() for _ in parts]
        for number, part in zip(numbers, parts, strict=True):
            self._note(Insert(number, part))
        return numbers

    def bury(self, part: Delivery, why: str) -> None:
        """Put what a peer will never take among the dead letters."""
        self._letters.add((self._id, "kept"))
        self._dead += 1
        self._note(Bury(part, self._host.clock_ns(), why[:1000]))

    # -- writing --

    def _number(self) -> int:
        self._last += 1
        return self._last

    def _note(self, change: Change) -> None:
        self._changes.append(change)
        if not self._ended and (self._flusher is None or self._flusher.done()):
            self._flusher = asyncio.create_task(self._flush(), name=f"{self._host.id} storage")

    async def _flush(self) -> None:
        while self._changes:
            changes, self._changes = self._changes, []
            if (error := await self._write(changes)) is None:
                continue
            # A full disk takes nothing new, but what was sent can be noted.
            rest = self._refuse(changes, error)
            if rest and await self._write(rest) is not None:
                self._changes[:0] = self._without_graves(rest)
                if self._closing.is_set():
                    return
                await self._wait(TRY_EVERY_S, self._closing)

    async def _write(self, changes: Sequence[Change]) -> Exception | None:
        """Write all `changes` in one transaction; return what made that impossible."""
        try:
            discarded, numbers = await self._in_thread(self._apply, changes)
        except Exception as error:  # noqa: BLE001 - whatever it is, those who wait have to hear of it
            self._fails(error)
            if damaged(error):
                await self._begin_anew()
            return error
        for change in changes:
            if isinstance(change, Insert) and (written := self._writers.pop(change.seq, None)) and not written.done():
                written.set_result(None)
        if discarded:
            self._letters.add((self._id, "discarded"), discarded)
        if numbers is not None:
            self._there_are(numbers[0])
            self._bytes.set((self._id,), numbers[1])
        self._works()
        self._look_whether_removed()
        return None

    def _apply(self, changes: Sequence[Change]) -> tuple[int, tuple[int, int] | None]:
        """Return the number of letters that had to make room; that of those there are, and the bytes in use."""
        discarded = self._file.apply(changes)
        # It is written: what fails now is not the trouble of those who wait for it.
        with contextlib.suppress(sqlite3.Error):
            self._written += len(changes)
            if self._written >= _TIDY_EVERY:
                self._written = 0
                self._file.tidy()
            return discarded, (self._file.dead(), self._file.used_bytes())
        return discarded, None

    def _refuse(self, changes: Sequence[Change], error: Exception) -> list[Change]:
        """Refuse the requests that could not be written; return what else has to be noted."""
        refused: set[int] = set()
        for change in changes:
            if isinstance(change, Insert) and (written := self._writers.pop(change.seq, None)):
                refused.add(change.seq)
                if not written.done():
                    written.set_exception(self._refusal(error))

        def others(some: Sequence[Change]) -> list[Change]:
            return [one for one in some if isinstance(one, Bury) or one.seq not in refused]

        # Those whose client has gone are given up already: there is nothing to give up.
        self._changes = others(self._changes)
        return others(changes)

    def _without_graves(self, changes: Sequence[Change]) -> list[Change]:
        rest: list[Change] = [change for change in changes if not isinstance(change, Bury)]
        if graves := len(changes) - len(rest):
            self._there_are(self._dead - graves)
            self._letters.add((self._id, "discarded"), graves)
        return rest

    def _there_are(self, dead: int) -> None:
        self._dead = dead
        self._waiting_letters.set((self._id,), dead)

    # -- a disk that fails --

    async def _open(self) -> None:
        try:
            found = await self._in_thread(self._file.open, self._host.clock_ns())
        finally:
            self._tried_s = self._host.monotonic()
        self._is_open = True
        if found.aside is not None:
            self._put_aside(found.aside)
        self._last = max([self._last, *(entry.seq for entry in found.entries)])
        if not self._is_handed_over:
            self._is_handed_over = True
            self._found(found.entries)
        self._there_are(await self._in_thread(self._file.dead))
        await self._revive()
        self._works()

    async def _try_open(self) -> None:
        """Open the file unless it is; raises `Refused`, at once when that failed a moment ago."""
        if not self._began:
            raise self._refusal("the exporter is starting")
        # To its end, even when the client that tries it goes away: dead letters that are put in line there have to
        # be in line here.
        await asyncio.shield(self._open_in_turn())

    async def _open_in_turn(self) -> None:
        async with self._opening:
            if self._is_open or self._closing.is_set():
                return
            if self._host.monotonic() - self._tried_s < TRY_EVERY_S:
                raise self._refusal(self._failing)
            try:
                await self._open()
            except (sqlite3.Error, OSError, Unusable) as error:
                self._fails(error)
                raise self._refusal(error) from error

    async def _begin_anew(self) -> None:
        """Put a file that broke while it was open aside and go on with a new one; what is in line is known."""
        async with self._opening:
            self._is_open = False
            try:
                await self._open()
            except (sqlite3.Error, OSError, Unusable) as error:
                self._fails(error)

    def _put_aside(self, aside: Path) -> None:
        self._aside.add((self._id,))
        self._host.log.error(
            "storage: %s was broken and is now %s; what was in it is not sent. Try `sqlite3 %s .recover`, or delete it",
            self._file.path,
            aside.name,
            aside,
        )

    def _look_whether_removed(self) -> None:
        if self._file.times_put_back > self._put_back:
            self._put_back = self._file.times_put_back
            self._errors.add((self._id,))
            self._host.log.error(
                "storage: somebody removed %s while it was in use; it was written anew, and nothing is missing",
                self._file.path,
            )

    def _is_time_to_say(self) -> bool:
        now = self._host.monotonic()
        if now - self._said_s < QUIET_S:
            return False
        self._said_s = now
        return True

    def _refusal(self, why: object) -> Refused:
        return Refused(f"exporter {self._id} cannot write its queue to disk: {why}", TRY_EVERY_S, "storage")

    def _fails(self, error: Exception) -> None:
        self._errors.add((self._id,))
        why = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        if not self._failing:
            self._host.report("recoverable_error", f"storage: {why}")
            if self._is_time_to_say():
                self._host.log.error(
                    "storage: cannot use %s: %s; requests are refused until it works", self._file.path, why
                )
        self._failing = why or type(error).__name__

    def _works(self) -> None:
        if self._failing:
            self._failing = ""
            self._host.report("ok", "")
            if self._is_time_to_say():
                self._host.log.info("storage: %s works again", self._file.path)

    # -- dead letters --

    async def _look_after(self) -> None:
        while not self._closing.is_set():
            await self._wait(REVIVE_EVERY_S, self._closing)
            if not self._is_open:
                # What is in it is sent even when no request comes that would try.
                with contextlib.suppress(Refused):
                    await self._try_open()
            elif self._dead:
                try:
                    await self._revive()
                except (sqlite3.Error, OSError) as error:
                    self._fails(error)

    async def _revive(self) -> None:
        if not self._dead:
            return
        # Numbers are given before the thread gets its turn, so that no request takes one of them.
        numbers = range(self._last + 1, self._last + 1 + self._dead)
        self._last = numbers[-1]
        revived = await self._in_thread(self._file.revive, numbers)
        if revived:
            self._letters.add((self._id, "replayed"), len(revived))
            self._found(revived)
        # Some may have been discarded from outside.
        self._there_are(await self._in_thread(self._file.dead))

    def _start(self, work: Any, name: str) -> None:
        task = asyncio.create_task(work, name=f"{self._host.id} {name}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

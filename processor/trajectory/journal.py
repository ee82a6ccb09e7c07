"""Open runs on disk, so that a killed process resumes them.

The event loop's side of `journal_file.py`, where what is written is said. One thread writes, in batches, half a second
after the first change. Before a request is acknowledged, what it brings is written as it arrived; that goes with
the transaction that puts its spans among the records. So after the process is killed everything acknowledged is there
again. A file that is not whole is put aside under another name, reported, and a new one begun. While the disk is
full, read-only or away, and while too much waits for it, requests are refused; no change is dropped, and what waits is
written when the disk is back. Nothing is noted before somebody has the documents that were told by then: however
the process ends, what nobody has is told again.
"""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from bisect import bisect_right
from collections.abc import Awaitable, Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from operator import itemgetter
from typing import TYPE_CHECKING, Final, TypeVar

from spanledger.processor.component import Refused
from spanledger.processor.sqlite_file import damaged
from spanledger.processor.trajectory.journal_file import JournalFile
from spanledger.processor.trajectory.remembered import LEFT

if TYPE_CHECKING:
    from spanledger.conventions.trajectory.edges import Judgement
    from spanledger.processor.component import Host
    from spanledger.processor.trajectory.emitted import Emitted
    from spanledger.processor.trajectory.records import Record
    from spanledger.processor.trajectory.remembered import Remembered

FLUSH_AFTER_S: Final = 0.5
RETRY_S: Final = 1.0
"""What a client is asked to wait while nothing can be written."""
MAX_WAITING: Final = 200_000
"""Changes that may wait for the disk before requests are refused."""

_T = TypeVar("_T")
_Change = Callable[[JournalFile], object]


class Journal:
    """What waits for the file, and who waits until it is written. Belongs to the event loop.

    `told` returns how many documents were told, and how many of them somebody has taken. `sleep` is the waiting before
    changes are written.
    """

    def __init__(
        self,
        file: JournalFile,
        host: Host,
        *,
        told: Callable[[], tuple[int, int]] = lambda: (0, 0),
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._file = file
        self._host = host
        self._told = told
        self._sleep = sleep
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=f"{host.id} storage")
        self._errors = host.metrics.counter("spanledger_trajectory_storage_errors_total")
        self._waiting: list[tuple[int, _Change]] = []
        """How many documents were told before each."""
        self._number = LEFT
        self._arriving: list[tuple[_Change, asyncio.Future[None]]] = []
        self._keeper: asyncio.Task[None] | None = None
        self._task: asyncio.Task[None] | None = None
        self._writing = asyncio.Lock()
        self._failing = self._closing = False
        self._put_back = 0

    async def open(self) -> tuple[bytes, Remembered]:
        """Open the file; return the key of its digests and what was in it.

        Raises ValueError when it cannot be used, and sqlite3.Error or OSError when that may pass.
        """
        opened = await self._in_thread(self._file.open)
        if opened.aside:
            self._errors.add(("open",))
            self._host.log.error(
                "storage: %s could not be read (%s) and was put aside; open runs begin anew",
                self._file.path,
                opened.aside,
            )
        return opened.key, opened.remembered

    @property
    def is_open(self) -> bool:
        """Whether there is a file to write to."""
        return self._file.is_open and not self._closing

    async def close(self) -> None:
        """Write what waits and may be known, and close the file."""
        self._closing = True
        if self._keeper is not None:
            await asyncio.gather(self._keeper, return_exceptions=True)
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        if self._file.is_open:
            await self._write_waiting()
            await self._in_thread(self._file.close)
        self._thread.shutdown(wait=False)

    def statistics(self) -> dict[str, int]:
        """Return the changes that wait for the disk."""
        return {"waiting_changes": len(self._waiting)}

    # -- before the acknowledgement --

    async def keep(self, records: Sequence[Record | Judgement], logs: bytes | None) -> int:
        """Write what arrives; return its number for `settled`, negative for its log records. Raises `Refused`."""
        if not self.is_open:
            raise self.refusal("it is not open")
        if len(self._waiting) >= MAX_WAITING:
            raise self.refusal(f"{len(self._waiting)} changes wait for it, or for the logs pipelines to take runs")
        self._number = number = self._number + 1
        written = asyncio.get_running_loop().create_future()
        self._arriving.append((lambda file: file.arrive(number, records, logs), written))
        if self._keeper is None or self._keeper.done():
            self._keeper = asyncio.create_task(self._keep_all(), name=f"{self._host.id} arrivals")
        try:
            await written
        except asyncio.CancelledError:
            # It may be on its way to the disk.
            self.settled(number)
            self.settled(-number)
            raise
        return number

    def settled(self, number: int) -> None:
        """Give up what arrived under a number: it is among the records, or it was never acknowledged."""
        self._note(lambda file: file.settle(number))

    def refusal(self, why: object) -> Refused:
        """Return what a client is told while nothing can be written."""
        return Refused(f"connector {self._host.id} cannot write open runs to disk: {why}", RETRY_S, "storage")

    async def _keep_all(self) -> None:
        while arriving := [(change, written) for change, written in self._arriving if not written.done()]:
            self._arriving = []
            error = await self._write([JournalFile.look_for_room, *(change for change, _ in arriving)])
            for _, written in arriving:
                if written.done():
                    continue
                if error is None:
                    written.set_result(None)
                else:
                    written.set_exception(self.refusal(error))
        self._arriving = []

    # -- changes: see the methods of the file that have their names --

    def add(self, record: Record, arrived_ns: int) -> None:
        """Keep a record."""
        self._note(lambda file: file.add(record, arrived_ns))

    def judge(self, judgement: Judgement, trace_id: bytes, arrived_ns: int) -> None:
        """Keep an evaluation that came by itself with the records of a trace: it may name none, or another."""
        self._note(lambda file: file.judge(judgement, trace_id, arrived_ns))

    def forget_judgement(self, judgement: Judgement) -> None:
        """Give up an evaluation that is about nothing known."""
        self._note(lambda file: file.forget_judgement(judgement))

    def report(self, trace_id: bytes, run_id: str, said: Emitted) -> None:
        """Keep what was said of a run."""
        self._note(lambda file: file.report(trace_id, run_id, said))

    def withdraw(self, run_id: str) -> None:
        """Forget a run that turned out to be part of another."""
        self._note(lambda file: file.withdraw(run_id))

    def closed(self, traces: Iterable[bytes], at_ns: int, *, held: bool) -> None:
        """Keep that the group of these traces was closed, and whether its records stay."""
        closed = tuple(traces)
        self._note(lambda file: file.closed(closed, at_ns, held=held))

    def forget(self, traces: Iterable[bytes]) -> None:
        """Give up the records of these traces."""
        gone = tuple(traces)
        self._note(lambda file: file.forget(gone))

    def spend(self, budget: str, period: str, pico: int) -> None:
        """Keep what closed runs have spent of a budget in a period."""
        self._note(lambda file: file.spend(budget, period, pico))

    def breach(self, budget: str, period: str, level: str, span: bytes) -> None:
        """Keep that a limit was told of."""
        self._note(lambda file: file.breach(budget, period, level, span))

    def forget_period(self, budget: str, period: str) -> None:
        """Give up what was spent and told of in a period that is long over."""
        self._note(lambda file: file.forget_period(budget, period))

    def forget_breaches(self, trace_id: bytes) -> None:
        """Give up what was told of a run."""
        self._note(lambda file: file.forget_breaches(trace_id))

    # -- writing --

    def _note(self, change: _Change) -> None:
        self._waiting.append((self._told()[0], change))
        if not self._closing and (self._task is None or self._task.done()):
            self._task = asyncio.get_running_loop().create_task(self._write_all(), name=f"{self._host.id} storage")

    async def _write_all(self) -> None:
        while self._waiting:
            await self._sleep(FLUSH_AFTER_S)
            await asyncio.shield(asyncio.ensure_future(self._write_waiting()))

    def _known(self) -> int:
        """Return how many changes may be known: that a run was told, only once somebody has its document."""
        return bisect_right(self._waiting, self._told()[1], key=itemgetter(0))

    async def _write_waiting(self) -> None:
        async with self._writing:
            count = self._known()
            taken = self._waiting[:count]
            error = await self._write([change for _, change in taken]) if taken else None
            if isinstance(error, sqlite3.Error | OSError):
                if not damaged(error):
                    # The same changes again, in order: a disk that is full has room some day.
                    return
            elif error is not None:
                # One of them is at fault: the others are none the worse for it.
                for _, change in taken:
                    await self._write([change])
            del self._waiting[:count]

    async def _write(self, taken: Sequence[_Change]) -> Exception | None:
        """Make all changes in one transaction, or none; return what made that impossible."""
        try:
            await self._in_thread(lambda: self._file.apply(taken))
        except (sqlite3.Error, OSError) as error:
            self._fails(error, len(taken))
            if damaged(error):
                await self._begin_anew()
            return error
        except Exception as fault:
            self._errors.add(("write",), len(taken))
            self._host.log.exception("storage: a fault of our own; please report it")
            return fault
        if self._failing:
            self._failing = False
            self._host.report("ok", "")
        self._look_whether_removed()
        return None

    def _look_whether_removed(self) -> None:
        if self._file.times_put_back > self._put_back:
            self._put_back = self._file.times_put_back
            self._errors.add(("write",))
            self._host.log.error(
                "storage: somebody removed %s while it was in use; it was written anew, and nothing is missing",
                self._file.path,
            )

    def _fails(self, error: sqlite3.Error | OSError, changes: int) -> None:
        self._errors.add(("write",), changes)
        if not self._failing:
            self._failing = True
            self._host.log.error("storage: %d changes were not written to %s: %s", changes, self._file.path, error)
            self._host.report("recoverable_error", f"storage: cannot write {self._file.path}: {error}")

    async def _begin_anew(self) -> None:
        """Put a file that broke while it was open aside; runs that are open go on, and are in the new one from now."""
        with contextlib.suppress(sqlite3.Error, OSError):
            await self._in_thread(self._file.begin_anew)
            self._host.log.error("storage: %s is damaged and was put aside; a new one is begun", self._file.path)

    async def _in_thread(self, work: Callable[[], _T]) -> _T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

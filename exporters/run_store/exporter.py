"""Closed runs and findings into a file of their own, for `spanledger runs`."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import sqlite3
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

import pydantic

from spanledger.exporters.answer import PartialSuccess, Permanent, Retryable
from spanledger.exporters.queue import QueueConfig
from spanledger.exporters.retry import RetryConfig
from spanledger.exporters.run_store.records import Records, read
from spanledger.exporters.run_store.schema import FILE_NAME, NotAStore
from spanledger.exporters.run_store.store import Added, Removed, Retention, RunStore
from spanledger.exporters.sender import Sender
from spanledger.processor.component import ComponentConfig, Host, register
from spanledger.processor.settings import Duration, duration_text
from spanledger.processor.sqlite_file import damaged, may_pass

if TYPE_CHECKING:
    from collections.abc import Mapping

    from spanledger.processor.batch import Delivery

DAY_S: Final = 86_400.0
HOUSEKEEPING_S: Final = 600.0
"""How often retention is looked after when nothing is stored."""
REST_S: Final = 0.001
"""How long the loop has the interpreter for itself between parts of a large document: what a part takes."""
ASIDE_AT_MOST_EVERY_S: Final = 600.0
"""A file that breaks again sooner is a broken disk: what comes is dropped rather than a file made of each."""

_RETRY: Final = RetryConfig.model_validate({"initial_interval": "1s", "max_interval": "10s", "max_elapsed_time": "1m"})


def _days(value: Any) -> Any:
    """Read `30d`, which Go durations do not have, as hours."""
    if isinstance(value, str) and value.strip().endswith("d"):
        with contextlib.suppress(ValueError):
            return f"{float(value.strip()[:-1]) * 24}h"
    return value


def _age_text(value: float) -> str:
    return f"{value / DAY_S:g}d" if value and value % DAY_S == 0 else duration_text(value)


Age = Annotated[
    Duration, pydantic.BeforeValidator(_days), pydantic.PlainSerializer(_age_text, return_type=str, when_used="json")
]
"""Seconds, written as days (`30d`) or as a Go duration."""


class RunStoreConfig(ComponentConfig):
    """Where runs are kept and for how long."""

    directory: Annotated[str, pydantic.Field(min_length=1)] = "./spanledger-data"
    """Directory of the file `runs.sqlite3`; it is created when it is missing."""
    max_age: Age = 30 * DAY_S
    """How long a document is kept, such as `30d` or `12h`; 0 for ever."""
    max_size_mib: Annotated[int, pydantic.Field(ge=0)] = 1024
    """Size of the file, in MiB, at which the oldest documents go; 0 for no limit."""
    synchronous: Literal["normal", "full"] = "normal"
    """`normal`: a stored document outlives the process, however it ends. `full`: a power failure too."""
    sending_queue: QueueConfig = QueueConfig(num_consumers=1, queue_size=64 * 2**20, sizer="bytes")
    """What may wait to be written."""
    retry_on_failure: RetryConfig = _RETRY
    """What to do while the file cannot be written (disk full, locked)."""

    def retention(self) -> Retention:
        """Return what to keep."""
        return Retention(int(self.max_age * 1e9) or None, self.max_size_mib * 2**20 or None)


@register("exporter", "run_store", config=RunStoreConfig, signals=("logs",), stability="beta")
class RunStoreExporter(Sender):
    """Keeps closed runs and findings in a SQLite file, for `spanledger runs`."""

    def __init__(self, config: RunStoreConfig, host: Host, **chain: Any) -> None:
        super().__init__(host, config.sending_queue, config.retry_on_failure, 0, **chain)
        self._config = config
        self._store = RunStore(Path(config.directory), config.retention(), config.synchronous)
        self._housekeeper: asyncio.Task[None] | None = None
        self._records = host.metrics.counter("spanledger_run_store_records_total")
        self._pruned = host.metrics.counter("spanledger_run_store_pruned_total")
        self._aside = host.metrics.counter("spanledger_run_store_aside_total")
        self._bytes = host.metrics.gauge("spanledger_run_store_bytes")
        self._aside_at: float | None = None
        self._limit = config.retention().max_bytes
        self._size = 0
        self._id = str(host.id)
        self._count(Records(), Added())
        self._pruned.add((self._id,), 0)
        self._aside.add((self._id,), 0)

    async def connect(self) -> None:
        """Open the file. A disk that is full or a file in use is tried again with each delivery."""
        try:
            await self._open()
        except NotAStore as error:
            raise ValueError(f"directory: {self._store.path}: {error}; name another directory") from error
        except OSError as error:
            if not may_pass(error):
                raise ValueError(
                    f"directory: cannot write {self._store.path}: {error.strerror}; name a directory that can be "
                    "written, or set SPANLEDGER_DATA_DIR where the configuration refers to it"
                ) from error
            self.outcomes.failing(self._failure(error))
        except sqlite3.Error as error:
            self.outcomes.failing(self._failure(error))
        await self._keep_house()
        self._housekeeper = asyncio.create_task(self._look_after(), name=f"{self.host.id} retention")

    async def disconnect(self) -> None:
        """Close the file."""
        if self._housekeeper is not None:
            self._housekeeper.cancel()
            await asyncio.gather(self._housekeeper, return_exceptions=True)
        await self.in_thread(self._store.close)

    async def push(self, delivery: Delivery) -> PartialSuccess | None:
        """Store what is in one delivery, all of it or nothing."""
        try:
            found, added = await self._write(delivery.data)
        except NotAStore as error:
            raise Permanent(f"{self._store.path}: {error}", "NotAStore") from error
        except (OSError, sqlite3.Error) as error:
            raise self._failure(error) from error
        self._count(found, added)
        if self._limit is not None and self._size > self._limit:
            await self._keep_house()
        if not found.invalid:
            return None
        whys = "; ".join(f"{count} x {why}" for why, count in found.invalid.most_common(3))
        return PartialSuccess(found.invalid.total(), whys)

    def statistics(self) -> Mapping[str, Any]:
        """Return what every exporter says, and the file with its size."""
        return {**super().statistics(), "file": str(self._store.path), "used_bytes": self._size}

    def _failure(self, error: OSError | sqlite3.Error) -> Retryable:
        if isinstance(error, OSError):
            kind, why = errno.errorcode.get(error.errno or 0, "OSError"), error.strerror
        else:
            kind, why = getattr(error, "sqlite_errorname", None) or "SQLITE_ERROR", str(error)
        return Retryable(f"cannot write {self._store.path}: {why}", kind)

    def _count(self, found: Records, added: Added) -> None:
        for result, count in (
            ("run", added.runs),
            ("replaced", added.replaced),
            ("finding", added.findings),
            ("duplicate", added.duplicates),
            ("ignored", found.ignored),
            ("invalid", found.invalid.total()),
        ):
            self._records.add((self._id, result), count)

    async def _open(self) -> None:
        aside = await self.in_thread(self._store.open, self.host.clock_ns())
        if aside is not None:
            self._say_aside(aside, "it is damaged, or of a newer version")

    async def _write(self, data: bytes) -> tuple[Records, Added]:
        if not self._store.is_open:
            await self._open()
        try:
            return await self._read_and_add(data)
        except Removed as error:
            self.host.log.error("The run store is gone (%s). What is there now is used, or begun", error)
            await self._open()
        except sqlite3.Error as error:
            if not damaged(error):
                raise
            await self._begin_anew(error)
        return await self._read_and_add(data)

    async def _read_and_add(self, data: bytes) -> tuple[Records, Added]:
        found = await self.in_thread(read, data, self._rest)
        added, size = await self.to_its_end(self._add, found)
        self._show_size(size)
        return found, added

    def _add(self, found: Records) -> tuple[Added, int]:
        return self._store.add(found.kept, self.host.clock_ns()), self._store.used_bytes()

    def _rest(self) -> None:
        if not self._stopping.is_set():
            time.sleep(REST_S)

    async def _begin_anew(self, error: sqlite3.Error) -> None:
        """Put a damaged file aside and open a new one; `Permanent` when that was done a moment ago."""
        now = self.host.monotonic()
        if self._aside_at is not None and now - self._aside_at < ASIDE_AT_MOST_EVERY_S:
            raise Permanent(f"{self._store.path} is damaged again: {error}; look at the disk", "corrupt") from error
        self._say_aside(await self.in_thread(self._store.put_aside, self.host.clock_ns()), str(error))
        await self._open()

    def _say_aside(self, aside: Path, why: str) -> None:
        self._aside_at = self.host.monotonic()
        self._aside.add((self._id,), 1)
        self.host.log.error(
            "The run store could not be used (%s). It is kept as %s, and a new %s was begun", why, aside, FILE_NAME
        )

    async def _look_after(self) -> None:
        # What is too old must go even when nothing new comes.
        while True:
            await asyncio.sleep(HOUSEKEEPING_S)
            await self._keep_house()

    async def _keep_house(self) -> None:
        """Apply retention. Deliveries get their turn between the parts of it."""
        try:
            while self._store.is_open and (taken := await self.in_thread(self._store.prune, self.host.clock_ns())):
                self._pruned.add((self._id,), taken)
            if self._store.is_open:
                self._show_size(await self.in_thread(self._store.used_bytes))
        except (OSError, sqlite3.Error) as error:
            # What is stored is stored; a file that cannot be written shows with the next delivery.
            self.host.log.warning("Retention of %s failed and is tried again: %s", self._store.path, error)

    def _show_size(self, size: int) -> None:
        self._size = size
        self._bytes.set((self._id,), size)

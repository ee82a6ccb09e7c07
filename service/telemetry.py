"""What the sidecar says of itself: its log, and the vital numbers of the process and the loop."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import json
import logging
import resource
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, Literal, TextIO

from spanledger.processor.memory_limiter import resident_bytes

if TYPE_CHECKING:
    from spanledger.processor.metric_store import MetricStore

log = logging.getLogger("spanledger.service")

_LIBRARIES: Final = ("aiohttp", "asyncio")
"""They log errors of requests and tasks: without a handler in another form than ours, with what data says as it is."""

SAY_EVERY_S: Final = 10.0
"""Seconds between two lines on the same trouble."""

_EXHAUSTED: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
_CONTROL = {code: f"\\x{code:02x}" for code in (*range(32), *range(127, 160)) if chr(code) not in "\n\t"}


class ConsoleFormatter(logging.Formatter):
    """`time level component message`, on lines that data cannot forge: control characters are escaped."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s\t%(levelname)s\t%(name)s\t%(message)s", "%Y-%m-%dT%H:%M:%S%z")

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as text."""
        return super().format(record).translate(_CONTROL)

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - the name that logging calls
        """Return the line. Further lines of a message are indented, so that none looks like a line of its own."""
        record.message = record.message.replace("\n", "\n\t")
        return super().formatMessage(record)


class JSONFormatter(logging.Formatter):
    """One JSON object a line, with the Collector's keys."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as one line of JSON."""
        entry = {
            "level": record.levelname.lower(),
            "ts": round(record.created, 3),
            "logger": record.name,
            "msg": record.getMessage(),
        }
        if record.exc_info:
            entry["stacktrace"] = self.formatException(record.exc_info)
        return json.dumps(entry, ensure_ascii=False)


def set_up_logging(
    level: Literal["debug", "info", "warn", "error"], encoding: Literal["console", "json"], stream: TextIO | None = None
) -> None:
    """Send the log of every component to stderr, and what the libraries below them cannot tell otherwise."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JSONFormatter() if encoding == "json" else ConsoleFormatter())
    root = logging.getLogger("spanledger")
    root.handlers[:] = [handler]
    root.setLevel({"debug": 10, "info": 20, "warn": 30, "error": 40}[level])
    root.propagate = False
    for name in _LIBRARIES:
        logging.getLogger(name).handlers[:] = [handler]


class LoopErrors:
    """Takes what the event loop cannot hand to anybody.

    While no descriptor is left the loop tells of each try to accept a connection, thousands in a second, with a
    traceback each: those are counted, and told once in a while.
    """

    def __init__(self, metrics: MetricStore, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._failures = metrics.counter("spanledger_accept_failures_total")
        self._failures.add((), 0)
        self._monotonic = monotonic
        self._next_s = float("-inf")

    def __call__(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """Log or count one; the argument is asyncio's."""
        error = context.get("exception")
        if not (isinstance(error, OSError) and error.errno in _EXHAUSTED and "socket" in context):
            loop.default_exception_handler(context)
            return
        self._failures.add(())
        if (now := self._monotonic()) >= self._next_s:
            self._next_s = now + SAY_EVERY_S
            log.error(
                "cannot accept connections: %s; they wait. Raise the limit of open files (ulimit -n, LimitNOFILE of "
                "systemd), or see who opens so many", error.strerror
            )  # fmt: skip


class Vitals:
    """Watches the event loop and the process, once in `interval_s`."""

    def __init__(
        self,
        metrics: MetricStore,
        monotonic: Callable[[], float],
        interval_s: float = 0.5,
        resident: Callable[[], int] = resident_bytes,
    ) -> None:
        self.lag_s = 0.0
        """How late the loop last was: how long something held it up."""
        self._monotonic = monotonic
        self._interval_s = interval_s
        self._resident = resident
        self._born = monotonic()
        self._lag = metrics.gauge("spanledger_loop_lag_seconds")
        self._uptime = metrics.gauge("otelcol_process_uptime_seconds")
        self._rss = metrics.gauge("otelcol_process_memory_rss_bytes")
        self._cpu = metrics.counter("otelcol_process_cpu_seconds_total")
        self._cpu_counted = 0.0
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to watch."""
        self._task = asyncio.create_task(self._watch(), name="vitals")

    async def stop(self) -> None:
        """End watching."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})

    async def _watch(self) -> None:
        while True:
            due = self._monotonic() + self._interval_s
            await asyncio.sleep(self._interval_s)
            self.observe(self._monotonic() - due)

    def observe(self, lag_s: float) -> None:
        """Record one look at the loop, the clock, the memory and the CPU."""
        self.lag_s = max(0.0, lag_s)
        self._lag.set((), self.lag_s)
        self._uptime.set((), self._monotonic() - self._born)
        # While no file can be opened, the last value stands: who watches must not end for it.
        with contextlib.suppress(OSError):
            self._rss.set((), self._resident())
        used = resource.getrusage(resource.RUSAGE_SELF)
        total = used.ru_utime + used.ru_stime
        self._cpu.add((), total - self._cpu_counted)
        self._cpu_counted = total

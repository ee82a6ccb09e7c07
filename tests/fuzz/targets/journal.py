"""The file of open runs: whatever is in it, the connector starts and goes on with what can be read."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import sqlite3
from pathlib import Path

from spanledger.processor.batch import Delivery
from spanledger.processor.metric_store import MetricTable
from spanledger.processor.trajectory.config import TrajectoryConfig
from spanledger.processor.trajectory.connector import Trajectory
from spanledger.processor.trajectory.journal import Journal
from spanledger.processor.trajectory.journal_file import FILE, JournalFile
from tests.assembled_runs import Bench, agent, bridge, step, tool, total
from tests.fakes import Clock, host
from tests.fuzz.damage import directory, write
from tests.fuzz.draw import Draw

_CONFIG = TrajectoryConfig.model_validate({"budgets": [{"name": "all", "per": "day", "hard_usd": 1}]})


@functools.cache
def whole() -> bytes:
    """Return a file with an open run, a closed one and what was spent."""
    with directory() as place:
        asyncio.run(_fill(place))
        with contextlib.closing(sqlite3.connect(place / FILE)) as connection:
            assert connection.execute("SELECT count(*) FROM record").fetchone()[0] >= 2
            # All of it in one file.
            connection.execute("PRAGMA journal_mode = DELETE")
        return (place / FILE).read_bytes()


async def _fill(place: Path) -> None:
    bench = Bench(_CONFIG)
    file = JournalFile(str(place), 60.0, bench.clock.time_ns)
    journal = Journal(file, host("trajectory", bench.clock, bench.table))  # type: ignore[arg-type]
    await journal.open()
    bench.assembly._journal = bench.assembly._telling._journal = journal
    bench.take(step(3, 2, 1), tool(4, 2, 1), agent(2, 1, 1), bridge(1, 0, 1))
    bench.wait(60.0)
    bench.take(step(3, 2, 2), tool(4, 2, 2))
    journal.spend("all", "2026-11-20", 5)
    journal.breach("all", "2026-11-20", "soft", b"\1" * 24)
    await journal.close()


def fuzz(data: bytes) -> None:
    """Start with it, take one more request, and let every run end."""
    asyncio.run(_start(whole(), Draw(data)))


async def _start(made: bytes, draw: Draw) -> None:
    with directory() as place:
        write(place / FILE, made, draw)
        table, clock = MetricTable(), Clock()
        connector = Trajectory(_CONFIG.model_copy(update={"storage": str(place)}), host("trajectory", clock, table))  # type: ignore[arg-type]
        await connector.start()
        connector.commit(Delivery("traces", b"", 1, 7, (step(9, 0, 9),)))
        clock.now_s += 30.0
        await connector.shutdown(clock.now_s + 5.0)
        assert total(table, "spanledger_runs_closed_total") >= 1

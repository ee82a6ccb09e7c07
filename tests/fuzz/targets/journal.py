"""The file of open runs: whatever is in it, the connector starts and goes on with what can be read."""

from __future__ import annotations

import asyncio
import functools

from spanledger.processor.batch import Delivery
from spanledger.processor.metric_store import MetricTable
from spanledger.processor.trajectory.config import TrajectoryConfig
from spanledger.processor.trajectory.connector import Trajectory
from spanledger.processor.trajectory.journal import FILE, Journal
from tests.assembled_runs import Bench, agent, bridge, step, tool, total
from tests.fakes import Clock, host
from tests.fuzz.damage import directory, write
from tests.fuzz.draw import Draw

_CONFIG = TrajectoryConfig.model_validate({"budgets": [{"name": "all", "per": "day", "hard_usd": 1}]})


@functools.cache
def whole() -> bytes:
    """Return a file with an open run, a closed one and what was spent."""
    bench = Bench(_CONFIG)
    with directory() as place:
        journal = Journal(str(place), host("trajectory", bench.clock, bench.table), 60.0)  # type: ignore[arg-type]
        journal._note = journal._waiting.append  # type: ignore[method-assign] # written below, without a loop
        journal._open()
        bench.assembly._journal = bench.assembly._telling._journal = journal
        bench.take(step(3, 2, 1), tool(4, 2, 1), agent(2, 1, 1), bridge(1, 0, 1))
        bench.wait(60.0)
        bench.take(step(3, 2, 2), tool(4, 2, 2))
        journal.spend("all", "2026-11-20", 5)
        journal.breach("all", "2026-11-20", "soft", b"\1" * 24)
        journal._apply(journal._take(None))
        connection = journal._connection
        assert connection is not None
        assert connection.execute("SELECT count(*) FROM record").fetchone()[0] >= 2
        connection.execute("PRAGMA journal_mode = DELETE")
        journal._close()
        return (place / FILE).read_bytes()


def fuzz(data: bytes) -> None:
    """Start with it, take one more request, and let every run end."""
    asyncio.run(_start(Draw(data)))


async def _start(draw: Draw) -> None:
    with directory() as place:
        write(place / FILE, whole(), draw)
        table, clock = MetricTable(), Clock()
        connector = Trajectory(_CONFIG.model_copy(update={"storage": str(place)}), host("trajectory", clock, table))  # type: ignore[arg-type]
        await connector.start()
        connector.commit(Delivery("traces", b"", 1, 7, (step(9, 0, 9),)))
        clock.now_s += 30.0
        await connector.shutdown(clock.now_s + 5.0)
        assert total(table, "spanledger_runs_closed_total") >= 1

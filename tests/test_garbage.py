"""When all objects are looked at, and that young ones are looked at always."""

from __future__ import annotations

import asyncio
import contextlib
import gc
from collections.abc import Iterator

import pytest

from spanledger.service import garbage
from spanledger.service.garbage import MAX_GROWTH, MAX_WAIT_S, WORTH, Sweeps, sweep, young_only


def test_a_busy_process_is_not_stopped() -> None:
    """However much there is to look at, half a core in use means that requests would wait."""
    sweeps = Sweeps(now_s=0.0, cpu_s=0.0, used=0)

    assert not any(sweeps.due(float(s), s / 2, MAX_GROWTH, 10 * WORTH) for s in range(1, 60))


def test_who_has_nothing_to_do_looks_at_all() -> None:
    """The CPU of the last second decides, not that of the whole life; so does whether there can be anything."""
    sweeps = Sweeps(now_s=0.0, cpu_s=0.0, used=0)

    assert not sweeps.due(1.0, 0.9, 0, WORTH)
    assert not sweeps.due(2.0, 0.91, 0, WORTH - 1)
    assert sweeps.due(3.0, 0.92, 0, WORTH)


def _next(looks: list[float]) -> float:
    looks.append(float(len(looks)))
    return looks[-1]


def swept_at(sweeps: Sweeps, used: Iterator[int]) -> list[int]:
    """Return the seconds in which a process that never rests looked at all; of its memory 1,000 bytes are needed."""
    found = []
    for second, now_used in enumerate(used, 1):
        if sweeps.due(float(second), float(second), now_used, WORTH):
            sweeps.swept(float(second), 1000)
            found.append(second)
    return found


def test_a_process_that_never_rests_looks_now_and_then() -> None:
    """What refers to itself would stay for ever."""
    seconds = 3 * int(MAX_WAIT_S) - 1

    assert swept_at(Sweeps(0.0, 0.0, 1000), iter([1000] * seconds)) == [MAX_WAIT_S + 1, 2 * MAX_WAIT_S + 2]


def test_a_process_that_grows_looks_at_all_however_busy_it_is() -> None:
    """Garbage that comes faster than we have ever seen takes this much memory and no more, each time anew."""
    growing = [1000 + MAX_GROWTH, 1000 + MAX_GROWTH + 1, 1000, 1000 + MAX_GROWTH // 2, 1001 + MAX_GROWTH]

    assert swept_at(Sweeps(0.0, 0.0, 1000), iter(growing)) == [2, 5]


async def test_sweeping_goes_on_where_nobody_says_how_much_memory_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process without file descriptors, or a system without /proc, is no reason to end."""

    def fails() -> int:
        raise OSError(24, "Too many open files")

    looks: list[float] = []
    monkeypatch.setattr(garbage, "resident_bytes", fails)
    monkeypatch.setattr(garbage, "EVERY_S", 0.0)
    task = asyncio.create_task(sweep(monotonic=lambda: _next(looks), cpu_time=lambda: 0.0))
    for _ in range(20):
        await asyncio.sleep(0)
    assert len(looks) > 1
    assert not task.done()
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


def test_old_objects_are_looked_at_by_nobody_but_us() -> None:
    """The thresholds of the young ones stay, and all is as before afterwards."""
    before = gc.get_threshold()
    with young_only():
        young, middle, old = gc.get_threshold()
        assert (young, middle) == before[:2]
        assert old > 10**6
        assert gc.get_freeze_count() > 0
    assert gc.get_threshold() == before
    assert gc.get_freeze_count() == 0

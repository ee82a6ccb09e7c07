"""A thread that leaves the event loop what it needs."""

from __future__ import annotations

from collections.abc import Generator

from spanledger.processor.trajectory.resting import MAX_S, resting
from tests.fakes import Clock


def test_after_each_part_of_the_work_it_rests_as_long_as_that_took() -> None:
    """And tells what comes of it. After a pause of the whole process it is no hour: a shutdown waits for the thread."""
    clock, rests = Clock(), list[float]()

    def work() -> Generator[None, None, str]:
        for took_s in (0.25, 3600.0, 0.5):
            clock.now_s += took_s
            yield
        return "done"

    assert resting(work(), clock.monotonic, rests.append) == "done"
    assert rests == [0.25, MAX_S, 0.5]

"""A thread that leaves the event loop what it needs."""

from __future__ import annotations

from collections.abc import Generator

from spanledger.processor.trajectory.resting import resting
from tests.fakes import Clock


def test_after_each_part_of_the_work_it_rests_as_long_as_that_took() -> None:
    """And tells what comes of it."""
    clock, rests = Clock(), list[float]()

    def work() -> Generator[None, None, str]:
        for took_s in (1.0, 4.0, 0.5):
            clock.now_s += took_s
            yield
        return "done"

    assert resting(work(), clock.monotonic, rests.append) == "done"
    assert rests == [1.0, 4.0, 0.5]

"""When all objects are looked at, and that young ones are looked at always."""

from __future__ import annotations

import gc

from spanledger.service.garbage import MAX_WAIT_S, WORTH, Sweeps, young_only


def test_a_busy_process_is_not_stopped() -> None:
    """However much there is to look at, half a core in use means that requests would wait."""
    sweeps = Sweeps(now_s=0.0, cpu_s=0.0)

    assert not any(sweeps.due(float(s), s / 2, 10 * WORTH) for s in range(1, 60))


def test_who_has_nothing_to_do_looks_at_all() -> None:
    """The CPU of the last second decides, not that of the whole life; so does whether there can be anything."""
    sweeps = Sweeps(now_s=0.0, cpu_s=0.0)

    assert not sweeps.due(1.0, 0.9, WORTH)
    assert not sweeps.due(2.0, 0.91, WORTH - 1)
    assert sweeps.due(3.0, 0.92, WORTH)


def test_a_process_that_never_rests_looks_now_and_then() -> None:
    """What refers to itself would stay for ever."""
    sweeps = Sweeps(now_s=0.0, cpu_s=0.0)
    seconds = range(1, 3 * int(MAX_WAIT_S))

    assert [s for s in seconds if sweeps.due(float(s), float(s), WORTH)] == [MAX_WAIT_S + 1, 2 * MAX_WAIT_S + 2]


def test_old_objects_are_looked_at_by_nobody_but_us() -> None:
    """The thresholds of the young ones stay, and all is as before afterwards."""
    before = gc.get_threshold()
    try:
        with young_only():
            young, middle, old = gc.get_threshold()
            assert (young, middle) == before[:2]
            assert old > 10**6
            assert gc.get_freeze_count() > 0
        assert gc.get_threshold() == before
    finally:
        gc.unfreeze()

"""Who works when on the event loop."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Generator

from spanledger.processor.turns import (
    AFTER_SHORT_S,
    BESIDE_MAX_S,
    LONG_BYTES,
    PATIENCE_S,
    Beside,
    Turns,
    Working,
)
from tests.fakes import Clock

TURN_S = 0.002


def turns_of(clock: Clock, count: int, note: Callable[[], None] = lambda: None) -> Generator[None, None, None]:
    """Use so many turns up, and note each."""
    for _ in range(count):
        note()
        clock.now_s += TURN_S
        yield


async def several_rounds() -> None:
    """Let everybody who is ready run, more often than anything here takes."""
    for _ in range(20):
        await asyncio.sleep(0)


async def test_the_stages_of_a_request_share_its_turns() -> None:
    """Many short stages, none of which uses a turn up, let others run as often as one long stage does."""
    now_s, others = 0.0, 0

    def short() -> Generator[None, None, None]:
        nonlocal now_s
        now_s += 0.001
        yield

    async def count() -> None:
        nonlocal others
        while True:
            others += 1
            await asyncio.sleep(0)

    counting = asyncio.create_task(count())
    turns = Turns(0.002, lambda: now_s)
    for _ in range(20):
        await turns.run(short())
    counting.cancel()

    assert others == 10


async def test_work_beside_requests_has_a_turn_as_long_as_theirs() -> None:
    """With many of them two milliseconds would be nothing; after a pause of the whole process it is no hour."""
    clock = Clock()
    beside = Beside(0.002, clock.monotonic)
    turns = []
    for busy_s in (0.0, 0.03, 0.001, 3600.0):
        asyncio.get_running_loop().call_soon(setattr, clock, "now_s", clock.now_s + busy_s)
        await beside.others()
        turns.append(round(beside.turn_s, 6))

    assert turns == [0.002, 0.03, 0.002, BESIDE_MAX_S]


async def test_two_that_work_beside_requests_do_not_drive_each_other_up() -> None:
    """What the one took is no reason for the other to take as long: their turns are as long as those of requests."""
    clock, working, turns = Clock(), Working(), list[float]()

    async def requests() -> None:
        while True:
            clock.now_s += 0.004
            await asyncio.sleep(0)

    async def work() -> None:
        beside = Beside(TURN_S, clock.monotonic, working)
        while len(turns) < 40:
            await beside.others()
            turns.append(round(beside.turn_s, 6))
            clock.now_s += beside.turn_s
        beside.done()

    requesting = asyncio.create_task(requests())
    await asyncio.gather(work(), work())
    requesting.cancel()

    assert max(turns[:-1]) == 0.004


async def test_a_long_request_gives_way_to_short_ones() -> None:
    """It has had one turn when they come; it goes on when they are through."""
    clock, working, order = Clock(), Working(), list[str]()

    async def request(name: str, size_bytes: int) -> None:
        turns = Turns(TURN_S, clock.monotonic, working, size_bytes)
        await turns.run(turns_of(clock, 3, lambda: order.append(name)))

    await asyncio.gather(request("long", LONG_BYTES), request("short", 20_000), request("other", 20_000))

    assert order == ["long", "short", "short", "short", "other", "other", "other", "long", "long"]
    assert working.none


async def test_short_requests_that_never_end_do_not_stop_a_long_one() -> None:
    """It has a turn when it gave way for long enough."""
    clock, working, had = Clock(), Working(short={1: None}), list[float]()
    turns = Turns(TURN_S, clock.monotonic, working, LONG_BYTES)

    long = asyncio.create_task(turns.run(turns_of(clock, 2, lambda: had.append(clock.now_s))))
    await several_rounds()
    before = len(had)
    clock.now_s += AFTER_SHORT_S
    while len(had) == before:  # noqa: ASYNC110 - it looks again in its own time
        await asyncio.sleep(0)

    assert before == 1
    long.cancel()


async def test_an_earlier_request_goes_first_over_all_its_stages() -> None:
    """In turns both would be as late as the last; the one that is given up holds nobody up."""
    clock, working, order = Clock(), Working(), list[str]()

    async def request(name: str) -> None:
        turns = Turns(TURN_S, clock.monotonic, working, 20_000)
        for _ in range(3):
            await turns.run(turns_of(clock, 1, lambda: order.append(name)))

    first, given_up, last = (asyncio.create_task(request(name)) for name in ("first", "given up", "last"))
    await asyncio.sleep(0)
    given_up.cancel()
    await asyncio.gather(first, given_up, last, return_exceptions=True)

    assert order == ["first"] * 3 + ["last"] * 3
    assert working.none


async def test_an_earlier_request_that_takes_long_does_not_stop_a_later_one() -> None:
    """Somewhat more than ten spans, and others behind them: after some milliseconds they take turns."""
    working, order = Working(short={0: None}), list[str]()
    turns = Turns(TURN_S, time.monotonic, working, 20_000)

    await turns.run(turns_of(Clock(), 2, lambda: order.append("later")))

    assert order == ["later"] * 2
    assert list(working.short) == [0]


async def test_a_stage_that_fails_is_worked_on_no_more() -> None:
    """Others would give way to it for ever."""
    working = Working()

    def failing() -> Generator[None, None, None]:
        yield
        raise ValueError

    outcome = await asyncio.gather(Turns(TURN_S, Clock().monotonic, working).run(failing()), return_exceptions=True)

    assert isinstance(outcome[0], ValueError)
    assert working.none


async def test_work_beside_requests_waits_until_there_are_none() -> None:
    """And has a short turn then, however long theirs were."""
    clock, working = Clock(), Working(short={1: None})
    beside = Beside(TURN_S, clock.monotonic, working)
    waiting = asyncio.create_task(beside.requests())

    await several_rounds()
    clock.now_s += PATIENCE_S / 2
    waited = not waiting.done()
    working.short.clear()
    await waiting

    assert waited
    assert beside.turn_s == TURN_S


async def test_work_beside_requests_that_is_late_waits_for_nobody() -> None:
    """Otherwise it would pile up under full load; when it has caught up it is patient again."""
    clock, working = Clock(), Working(long=1)
    beside = Beside(TURN_S, clock.monotonic, working)
    waiting = asyncio.create_task(beside.requests())
    await several_rounds()
    clock.now_s += PATIENCE_S
    await waiting
    await beside.requests()

    beside.done()
    again = asyncio.create_task(beside.requests())
    await several_rounds()
    assert not again.done()
    working.long = 0
    await again

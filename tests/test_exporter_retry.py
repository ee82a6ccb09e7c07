"""When the next attempt is made, and when none is."""

from __future__ import annotations

import asyncio

import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spanledger.exporters.retry import MAX_THROTTLE_S, RetryConfig, gives_up, next_delay, pause

CFG = RetryConfig()


@pytest.mark.parametrize(
    ("attempt", "u", "expected"),
    [
        (1, 0.5, 5.0),  # no jitter: the initial interval
        (2, 0.5, 7.5),  # x 1.5
        (3, 0.5, 11.25),  # x 1.5 again
        (6, 0.5, 30.0),  # 5 x 1.5**5 = 37.97, capped
        (1, 0.0, 2.5),  # least jitter: half
        (6, 0.0, 15.0),
        (1, 0.9999999, 7.5),  # most jitter: half more
    ],
)
def test_delay_follows_the_collectors_rule(attempt: int, u: float, expected: float) -> None:
    """Exponential growth to a cap, and jitter around it."""
    assert next_delay(attempt, 0.0, CFG, u) == pytest.approx(expected, rel=1e-6)


@given(
    attempt=st.integers(1, 10**7),
    throttle=st.floats(0, 1e12),
    u=st.floats(0, 1, exclude_max=True),
    multiplier=st.floats(0, 1e6),
)
def test_delay_is_bounded_and_never_below_the_peers_wish(
    attempt: int, throttle: float, u: float, multiplier: float
) -> None:
    """Any attempt number, multiplier and wish: no overflow, no negative wait, nothing beyond the caps."""
    cfg = RetryConfig.model_validate({"multiplier": multiplier})
    delay = next_delay(attempt, throttle, cfg, u)
    assert min(throttle, MAX_THROTTLE_S) <= delay
    assert 0 <= delay <= max(30 * 1.5, min(throttle, MAX_THROTTLE_S))


@pytest.mark.parametrize(
    ("elapsed", "delay", "limit", "expected"),
    [
        (0, 5, "300s", False),
        (295, 5, "300s", False),  # the attempt falls on the limit
        (295, 5.1, "300s", True),  # it would come after the limit: no sleep for nothing
        (10**9, 30, "0", False),  # 0 never gives up
    ],
)
def test_gives_up_before_a_wait_that_is_too_long(elapsed: float, delay: float, limit: str, expected: bool) -> None:
    """Whether to give up is known before sleeping."""
    assert gives_up(elapsed, delay, RetryConfig.model_validate({"max_elapsed_time": limit})) is expected


def test_without_retry_gives_up_at_once() -> None:
    """`enabled: false` allows no second attempt."""
    assert gives_up(0, 0, RetryConfig(enabled=False))


@pytest.mark.parametrize(
    "wrong",
    [
        {"randomization_factor": 1.5},
        {"multiplier": -1},
        {"multiplier": float("nan")},
        {"initial_interval": "0"},
        {"max_elapsed_time": "10s"},  # less than max_interval
        {"max_elapsed": "10s"},
        {"initial_interval": 5},  # no unit
    ],
)
def test_impossible_settings_are_refused(wrong: dict[str, object]) -> None:
    """The Collector's checks, and no wait of zero."""
    with pytest.raises(pydantic.ValidationError):
        RetryConfig.model_validate(wrong)


async def test_pause_ends_when_woken() -> None:
    """A shutdown need not wait for a back-off."""
    wake = asyncio.Event()
    waiting = asyncio.create_task(pause(3600, wake))
    await asyncio.sleep(0)
    wake.set()
    await asyncio.wait_for(waiting, 1)
    await pause(0.0, None)

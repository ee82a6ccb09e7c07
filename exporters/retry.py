"""When to try again: exponential back-off with jitter, as the Collector's configretry has it."""

from __future__ import annotations

import asyncio
import contextlib
import math
from typing import Annotated

import pydantic

from spanledger.processor.component import Settings
from spanledger.processor.settings import Duration

MAX_THROTTLE_S = 3600.0
"""The longest wait a peer may ask for; more is a mistake or an attack."""

_Factor = Annotated[float, pydantic.Field(ge=0, allow_inf_nan=False)]


class RetryConfig(Settings):
    """What to do after a failure that may pass; keys and numbers of the Collector's configretry."""

    enabled: bool = True
    """Try again. When false a request that fails once is dropped."""
    initial_interval: Duration = 5.0
    """Wait after the first failure."""
    randomization_factor: Annotated[_Factor, pydantic.Field(le=1)] = 0.5
    """Jitter: each wait is between 1 - factor and 1 + factor times the interval."""
    multiplier: _Factor = 1.5
    """Growth of the interval from one failure to the next."""
    max_interval: Duration = 30.0
    """Largest interval, before jitter."""
    max_elapsed_time: Duration = 300.0
    """Give up when the next attempt would come later than this after the first; 0 never gives up."""

    @pydantic.model_validator(mode="after")
    def _order(self) -> RetryConfig:
        if self.enabled and self.initial_interval == 0:
            raise ValueError("initial_interval must be positive: a failing peer would be tried without a pause")
        if self.enabled and 0 < self.max_elapsed_time < max(self.initial_interval, self.max_interval):
            raise ValueError("max_elapsed_time must not be less than initial_interval or max_interval; 0 is for ever")
        return self


def next_delay(attempt: int, throttle_s: float, cfg: RetryConfig, u: float) -> float:
    """Return how long to wait before attempt `attempt` (1 = first retry), in seconds.

    `u` in [0, 1) is the jitter draw. The result is at least `throttle_s` (the server's RetryInfo)
    and otherwise within ±`randomization_factor` of `initial_interval * multiplier**(attempt-1)`,
    where that interval is capped at `max_interval`. Same rule as the Collector's retry sender.
    """
    try:
        interval = cfg.initial_interval * cfg.multiplier ** (attempt - 1)
    except OverflowError:
        # "Never give up" reaches attempt 1751 within a day: 1.5**1750 is no float any more.
        interval = math.inf
    interval = min(interval, cfg.max_interval)
    backoff = interval * (1 + cfg.randomization_factor * (2 * u - 1))
    return max(backoff, min(throttle_s, MAX_THROTTLE_S))


def gives_up(elapsed_s: float, delay_s: float, cfg: RetryConfig) -> bool:
    """Tell, before sleeping, whether the attempt after `delay_s` would come too late.

    `elapsed_s` is the time since the first attempt began.
    """
    return not cfg.enabled or 0 < cfg.max_elapsed_time < elapsed_s + delay_s


async def pause(delay_s: float, wake: asyncio.Event | None) -> None:
    """Wait `delay_s` seconds, or until `wake` is set."""
    if wake is None:
        await asyncio.sleep(delay_s)
        return
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(delay_s):
            await wake.wait()

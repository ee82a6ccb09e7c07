"""memory_limiter refuses above the soft limit and takes again below it."""

from __future__ import annotations

from pathlib import Path

import pydantic
import pytest

from spanledger.processor.batch import decode, finish
from spanledger.processor.component import Refused
from spanledger.processor.memory_limiter import MemoryLimiter, MemoryLimiterConfig, limits, resident_bytes, usable_bytes
from tests.fakes import Clock, Numbers, host, request, span

MIB = 1024 * 1024


def config(**values: object) -> MemoryLimiterConfig:
    """Return a configuration as YAML would give it."""
    return MemoryLimiterConfig.model_validate(values)


@pytest.mark.parametrize(
    ("values", "soft", "hard"),
    [
        ({"limit_mib": 100}, 80, 100),
        ({"limit_mib": 100, "spike_limit_mib": 30}, 70, 100),
        ({"limit_percentage": 50}, 400, 500),
        ({"limit_percentage": 50, "spike_limit_percentage": 10}, 400, 500),
        ({"limit_mib": 200, "limit_percentage": 50}, 160, 200),
    ],
)
def test_soft_limit_is_hard_limit_less_the_spike(values: dict[str, int], soft: int, hard: int) -> None:
    """Spike defaults to 20 % of the limit; MiB win over percentages."""
    assert limits(config(**values), 1000 * MIB) == (soft * MIB, hard * MIB)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, "'limit_mib' or 'limit_percentage' must be greater than zero"),
        ({"limit_mib": 10, "check_interval": "0s"}, "'check_interval' must be greater than zero"),
        ({"limit_mib": 10, "spike_limit_mib": 10}, "'spike_limit_mib' must be smaller than 'limit_mib'"),
        ({"limit_percentage": 10, "spike_limit_percentage": 20}, "must be smaller than 'limit_percentage'"),
        ({"limit_percentage": 101}, "less than or equal to 100"),
    ],
)
def test_impossible_limits_are_named(values: dict[str, object], message: str) -> None:
    """With the Collector's words where it has them."""
    with pytest.raises(pydantic.ValidationError, match=message):
        config(**values)


def test_refuses_above_the_soft_limit_until_memory_is_back() -> None:
    """It measures at most once per interval, relieves before it refuses, and says both changes."""
    clock, numbers = Clock(), Numbers()
    used = [90 * MIB]
    relieved: list[int] = []
    said: list[str] = []
    batch = finish(decode("traces", request(span(1), span(2)).SerializeToString(), 1))
    limiter = MemoryLimiter(
        config(limit_mib=100, check_interval="1s"),
        host("memory_limiter", clock, numbers, report=lambda status, _why: said.append(status)),
        measure=lambda: used[0],
        relieve=lambda: relieved.append(1),
        total_bytes=0,
    )

    with pytest.raises(Refused, match="90 MiB is above the soft limit of 80 MiB"):
        limiter.process(batch)
    used[0] = 10 * MIB
    with pytest.raises(Refused):  # not measured again within the interval
        limiter.process(batch)
    clock.now_s += 1
    limiter.process(batch)

    assert said == ["recoverable_error", "ok"]
    assert relieved == [1]
    assert numbers.values["otelcol_processor_refused_spans_total", "memory_limiter"] == 4
    assert limiter.statistics()["refusing"] is False


def test_what_was_last_seen_counts_while_nothing_can_be_read() -> None:
    """Without a free descriptor the memory cannot be looked at: no reason to fail, nor to forget that it is short."""
    seen: list[int | OSError] = [90 * MIB, OSError(24, "Too many open files"), 10 * MIB]

    def measure() -> int:
        if isinstance(now := seen[0], OSError):
            raise now
        return now

    clock = Clock()
    batch = finish(decode("traces", request(span(1)).SerializeToString(), 1))
    limiter = MemoryLimiter(
        config(limit_mib=100, check_interval="1s"), host("memory_limiter", clock, Numbers()),
        measure=measure, relieve=lambda: None, total_bytes=0,
    )  # fmt: skip
    for _ in range(2):
        with pytest.raises(Refused):
            limiter.process(batch)
        clock.now_s += 1
        seen.pop(0)
    limiter.process(batch)


def test_container_limit_counts_before_the_machine(tmp_path: Path) -> None:
    """Version 2 of cgroups says `max` or a number; without the file it is the machine."""
    meminfo, cgroup = tmp_path / "meminfo", tmp_path / "memory.max"
    meminfo.write_text("MemFree: 1 kB\nMemTotal:       2048 kB\n")
    assert usable_bytes([tmp_path / "none", cgroup], meminfo) == 2048 * 1024
    cgroup.write_text("max\n")
    assert usable_bytes([tmp_path / "none", cgroup], meminfo) == 2048 * 1024
    cgroup.write_text("1048576\n")
    assert usable_bytes([tmp_path / "none", cgroup], meminfo) == 1048576


def test_this_process_has_a_resident_set() -> None:
    """The measurement is real."""
    assert 5 * MIB < resident_bytes() < 10_000 * MIB

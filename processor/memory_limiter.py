"""Refuse data while the process uses too much memory, before more work is spent on it.

The same keys and limits as the Collector's memory_limiter. Memory is the resident set, read at most
once every `check_interval` and only while requests come; the soft limit is `limit - spike_limit`.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import os
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pydantic

from spanledger.processor.component import ComponentConfig, Host, Passive, Refused, register
from spanledger.processor.settings import Duration

if TYPE_CHECKING:
    from spanledger.processor.batch import Batch

_MIB = 1024 * 1024


class MemoryLimiterConfig(ComponentConfig):
    """Limits in MiB or in percent of the memory this process may use."""

    check_interval: Duration = 1.0
    """How old a measurement may be before memory is measured again."""
    limit_mib: int = pydantic.Field(0, ge=0)
    """Hard limit on the resident set, MiB; 0 to use `limit_percentage`."""
    spike_limit_mib: int = pydantic.Field(0, ge=0)
    """Room kept free for a burst, MiB; data is refused above limit - spike. 0 for 20 % of the limit."""
    limit_percentage: int = pydantic.Field(0, ge=0, le=100)
    """Hard limit in percent of the container's or the machine's memory."""
    spike_limit_percentage: int = pydantic.Field(0, ge=0, le=100)
    """Room kept free for a burst, in percent of the same memory; 0 for 20 % of the limit."""

    min_gc_interval_when_soft_limited: Duration = 10.0
    """Least time between two collections of garbage while above the soft limit: each stops everything."""
    min_gc_interval_when_hard_limited: Duration = 0.0
    """The same while above the hard limit."""

    @pydantic.model_validator(mode="after")
    def _limits(self) -> MemoryLimiterConfig:
        if self.check_interval <= 0:
            raise ValueError("'check_interval' must be greater than zero")
        if not self.limit_mib and not self.limit_percentage:
            raise ValueError("'limit_mib' or 'limit_percentage' must be greater than zero")
        if self.limit_mib and self.spike_limit_mib >= self.limit_mib:
            raise ValueError("'spike_limit_mib' must be smaller than 'limit_mib'")
        if self.limit_percentage and self.spike_limit_percentage >= self.limit_percentage:
            raise ValueError("'spike_limit_percentage' must be smaller than 'limit_percentage'")
        return self


def limits(config: MemoryLimiterConfig, total_bytes: int) -> tuple[int, int]:
    """Return (soft, hard) limit in bytes; `total_bytes` is what percentages are of."""
    if config.limit_mib:
        hard, spike = config.limit_mib * _MIB, config.spike_limit_mib * _MIB
    else:
        hard = total_bytes * config.limit_percentage // 100
        spike = total_bytes * config.spike_limit_percentage // 100
    return hard - (spike or hard // 5), hard


def resident_bytes() -> int:
    """Return the resident set of this process."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


CGROUP_LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))
"""Where version 2 and version 1 of control groups say what a container may use."""


def usable_bytes(cgroups: Sequence[Path] = CGROUP_LIMITS, meminfo: Path = Path("/proc/meminfo")) -> int:
    """Return the memory this process may use: the container's limit, or else the machine's memory."""
    found = re.search(r"MemTotal:\s+(\d+) kB", meminfo.read_text(encoding="ascii"))
    machine = int(found[1]) * 1024 if found else 0
    for cgroup in cgroups:
        try:
            limit = cgroup.read_text(encoding="ascii").strip()
        except OSError:
            continue
        if limit.isdigit():
            return min(int(limit), machine)
    return machine


def give_back() -> None:
    """Collect garbage, and have the C library return free memory to the system where it can."""
    gc.collect()
    try:
        ctypes.CDLL(None).malloc_trim(0)
    except AttributeError:  # not glibc
        return


@register(
    "processor", "memory_limiter", config=MemoryLimiterConfig, signals=("traces", "logs", "metrics"), stability="beta"
)
class MemoryLimiter(Passive):
    """Refuse data while memory is short, so that senders keep it and try again."""

    def __init__(
        self,
        config: MemoryLimiterConfig,
        host: Host,
        measure: Callable[[], int] = resident_bytes,
        relieve: Callable[[], None] = give_back,
        total_bytes: int | None = None,
    ) -> None:
        self._host = host
        self._interval_s = config.check_interval
        self._measure = measure
        self._relieve = relieve
        self._soft, self._hard = limits(config, usable_bytes() if total_bytes is None else total_bytes)
        self._relief_s = (config.min_gc_interval_when_soft_limited, config.min_gc_interval_when_hard_limited)
        self._next_check = float("-inf")
        self._relieved = float("-inf")
        self._used = 0
        self._over = False
        self._refused = {
            signal: host.metrics.counter(f"otelcol_processor_refused_{noun}_total")
            for signal, noun in (("traces", "spans"), ("logs", "log_records"), ("metrics", "metric_points"))
        }

    def process(self, batch: Batch) -> None:
        """Raise `Refused` while the process is above its soft limit."""
        now = self._host.monotonic()
        if now >= self._next_check:
            self._next_check = now + self._interval_s
            self._check()
        if self._over:
            self._refused[batch.signal].add((str(self._host.id),), batch.items())
            raise Refused(
                f"memory use {self._used // _MIB} MiB is above the soft limit of {self._soft // _MIB} MiB",
                retry_after_s=min(max(self._interval_s, 0.5), 2.0),
                reason="memory",
            )

    def _check(self) -> None:
        self._look()
        now = self._host.monotonic()
        if self._used > self._soft and now - self._relieved >= self._relief_s[self._used > self._hard]:
            self._relieved = now
            self._relieve()
            self._look()
        over = self._used > self._soft
        if over != self._over:
            self._over = over
            if over:
                self._host.log.warning(
                    "memory use %d MiB is above the soft limit of %d MiB (hard limit %d): refusing data",
                    self._used // _MIB, self._soft // _MIB, self._hard // _MIB,
                )  # fmt: skip
                self._host.report("recoverable_error", "data refused due to high memory usage")
            else:
                self._host.log.info("memory use is %d MiB, back below the soft limit", self._used // _MIB)
                self._host.report("ok", "")

    def _look(self) -> None:
        # While no file can be opened, what was last seen is the best that is known.
        with contextlib.suppress(OSError):
            self._used = self._measure()

    def statistics(self) -> Mapping[str, Any]:
        """Return the last measurement and the limits, in bytes."""
        return {"used_bytes": self._used, "soft_limit_bytes": self._soft, "hard_limit_bytes": self._hard,
                "refusing": self._over}  # fmt: skip

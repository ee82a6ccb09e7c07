"""What the operating system says of processes and of the machine."""

from __future__ import annotations

import contextlib
import os
import platform
import time
from pathlib import Path
from typing import Any

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


def cores() -> tuple[set[int], set[int]]:
    """Return the core of what is measured, and those of everything else; the same one if there is only one."""
    first, *others = sorted(os.sched_getaffinity(0))
    return {first}, set(others) or {first}


def pin(pid: int, to: set[int]) -> None:
    """Keep a process, all its threads and what it starts, on cores."""
    for thread in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(ProcessLookupError):
            os.sched_setaffinity(int(thread.name), to)


def cpu_s(pid: int) -> float:
    """Return the CPU time that a process has used, user and system, all threads, in steps of 10 ms."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS_PER_S


def resident_bytes(pid: int) -> int:
    """Return the resident memory of a process."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def resident_shares(pid: int) -> dict[str, int]:
    """Return what of the resident memory is its own, and what are pages of files that processes share."""
    lines = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    own, files = (int(lines[name].split()[0]) * 1024 for name in ("RssAnon", "RssFile"))
    return {"own_bytes": own, "file_bytes": files}


def quiet(pid: int, least_s: float, most_s: float, share: float = 0.05) -> bool:
    """Wait until a process uses less than `share` of a core, `least_s` at the least; tell whether it came to that."""
    time.sleep(least_s)
    deadline = time.monotonic() + most_s
    used, at = cpu_s(pid), time.monotonic()
    while time.monotonic() < deadline:
        time.sleep(0.4)
        now, then = cpu_s(pid), time.monotonic()
        if now - used < share * (then - at):
            return True
        used, at = now, then
    return False


def description() -> dict[str, Any]:
    """Return what a reader has to know about the machine."""
    models = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    return {
        "cpu": models[0].partition(":")[2].strip() if models else platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "load_average_1m": os.getloadavg()[0],
    }

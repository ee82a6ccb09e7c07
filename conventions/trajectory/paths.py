"""What ran beside what, and what the run had to wait for."""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

    from spanledger.conventions.trajectory.order import Placed


_SLACK_NS: Final = 1_000_000
"""Clocks of milliseconds let a step end just after the next one began, which had waited for it."""


def branches(steps: Sequence[Placed]) -> list[int]:
    """Return a branch for each step: those of one parent that overlap in time have different ones."""
    found = [0] * len(steps)
    busy: dict[int | None, list[tuple[int, int]]] = {}
    free: dict[int | None, list[int]] = {}
    for step in steps:  # by start, but for what waits for its cause
        ends, idle = busy.setdefault(step.parent, []), free.setdefault(step.parent, [])
        while ends and ends[0][0] <= step.start + _SLACK_NS:
            heapq.heappush(idle, heapq.heappop(ends)[1])
        branch = heapq.heappop(idle) if idle else len(ends)
        found[step.index] = branch
        heapq.heappush(ends, (step.end, branch))
    return found


def critical_path(steps: Sequence[Placed]) -> list[int]:
    """Return the steps that the end of the run waited for, in order.

    From the end backwards: of a step's children the one that ended last was waited for, before it the one
    that ended last before that began, and so on. What runs on after its parent has ended is waited for by nobody.
    """
    children: dict[int | None, list[Placed]] = {}
    for step in steps:
        children.setdefault(step.parent, []).append(step)
    for siblings in children.values():
        siblings.sort(key=lambda step: (step.end, step.index))
    path: list[int] = []
    whole = max((step.end for step in children.get(None, ())), default=0)
    waiting: list[tuple[int | None, int]] = [(None, whole)]
    while waiting:
        parent, until = waiting.pop()
        for child in reversed(children.get(parent, ())):
            if child.end <= until + _SLACK_NS:
                path.append(child.index)
                waiting.append((child.index, child.end))
                until = child.start
    return sorted(path)

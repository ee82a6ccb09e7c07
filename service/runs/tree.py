"""The steps of a run as a tree: what stands before each, and which overlap in time. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from spanledger.conventions.run import RunStep

MAX_SHOWN_DEPTH = 12
"""Deeper levels are not moved further to the right."""


def branches(steps: Sequence[RunStep]) -> Iterator[tuple[RunStep, tuple[bool, ...]]]:
    """Yield each step once, parents before children, with its line of descent.

    Each flag stands for a level below the root, and tells whether the step there is the last of its parent.
    Steps that have no parent, or that would only be reached in a circle, are roots.
    """
    children: list[list[int]] = [[] for _ in steps]
    roots = []
    for step in steps:
        if step.parent is None:
            roots.append(step.index)
        else:
            children[step.parent].append(step.index)
    seen = [False] * len(steps)
    for start in [*roots, *range(len(steps))]:
        stack: list[tuple[int, tuple[bool, ...]]] = [(start, ())]
        while stack:
            index, descent = stack.pop()
            if seen[index]:
                continue
            seen[index] = True
            yield steps[index], descent
            below = children[index]
            stack += [(child, (*descent[:MAX_SHOWN_DEPTH], child == below[-1])) for child in reversed(below)]


def parallel(steps: Sequence[RunStep]) -> frozenset[int]:
    """Return the steps that overlap in time with another of the same parent."""
    siblings: dict[int, list[RunStep]] = {}
    for step in steps:
        if step.parent is not None and step.duration_s is not None and step.started_at_ns:
            siblings.setdefault(step.parent, []).append(step)
    found: set[int] = set()
    for group in siblings.values():
        group.sort(key=lambda step: step.started_at_ns)
        longest, until = -1, 0
        for step in group:
            if step.started_at_ns < until:
                found |= {longest, step.index}
            end = step.started_at_ns + int((step.duration_s or 0) * 1e9)
            if end > until:
                longest, until = step.index, end
    return frozenset(found)

"""Clocks of different services, set right for ordering; what was recorded stays.

A call cannot begin before it is made, nor after its caller has ended. Where a span lies outside its parent
in another service, the clocks of the two disagree: all spans of the called service below that parent's
service are shifted by one amount, the middle of what fits all such calls of the trace (as NTP assumes
that a request and its answer take the same time). One-sided waits are not mistaken for skew: a span that
begins within its parent is left alone.

Processes of one service, or of services without a name, may have clocks of their own as well. There each call is set
right by itself, by no more than it needs, and only where it begins before it is made: work that is queued may begin
after its caller has ended.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from spanledger.conventions.trajectory.tree import Node

_Pair = tuple[bytes, str, str] | tuple[bytes, bytes]
"""(trace id, service of the caller, service that is called), or the ids of a span called by its own service."""


def correct(roots: Sequence[Node]) -> None:
    """Shift the nodes of skewed services, and let none begin before its parent."""
    shifts = _shifts(roots)
    waiting = [(root, 0) for root in reversed(roots)]
    while waiting:
        node, offset = waiting.pop()
        parent = node.parent
        if parent is not None and shifts:
            offset += shifts.get(_pair(parent, node), 0)
        length = node.end - node.start
        recorded = node.record.start_ns > 0
        earliest = parent.start if parent is not None else 0
        node.start = max(node.start + offset, earliest) if recorded else earliest
        node.end = max(node.start, node.record.end_ns + offset) if recorded else node.start + length
        waiting.extend((child, offset) for child in node.children)


def _pair(parent: Node, child: Node) -> _Pair:
    caller, called = parent.record, child.record
    if caller.service_name == called.service_name:
        return called.trace_id, called.span_id
    return called.trace_id, caller.service_name, called.service_name


def _shifts(roots: Sequence[Node]) -> dict[_Pair, int]:
    windows: dict[_Pair, list[tuple[int, int]]] = {}
    outside: set[_Pair] = set()
    waiting = list(roots)
    while waiting:
        parent = waiting.pop()
        waiting.extend(parent.children)
        caller = parent.record
        for child in parent.children:
            called = child.record
            if (
                child.basis != "parent" or caller.start_ns <= 0 or called.start_ns <= 0
                or caller.end_ns < caller.start_ns
            ):  # fmt: skip
                continue
            earliest = caller.start_ns - called.start_ns
            latest = max(earliest, caller.end_ns - called.end_ns)
            if caller.service_name == called.service_name:
                if earliest <= 0 or not called.remote_parent:
                    continue
                latest = earliest
            pair = _pair(parent, child)
            windows.setdefault(pair, []).append((earliest, latest))
            if not caller.start_ns <= called.start_ns <= caller.end_ns:
                outside.add(pair)
    shifts = {}
    for pair in outside:
        earliest = max(low for low, _ in windows[pair])
        latest = min(high for _, high in windows[pair])
        shifts[pair] = (earliest + latest) // 2 if earliest <= latest else earliest
    return shifts

"""The records a run is made of: one for each span, known by its ids."""

from __future__ import annotations

from typing import TypeAlias

from spanledger.conventions.step import Bridge, Step

Record: TypeAlias = Step | Bridge

Key: TypeAlias = bytes
"""Trace id and span id; with the start appended for a span id that was used twice."""


def key_of(record: Record) -> Key:
    """Return the ids of a span as one key."""
    return record.trace_id + record.span_id


def richer(kept: Record, other: Record) -> Record:
    """Return the better of two reports of one span: the one that is read, that pricing counted, that is finished."""
    return other if _merit(other) > _merit(kept) else kept


def _merit(record: Record) -> tuple[bool, int, int, bool, bool]:
    if isinstance(record, Bridge):
        return False, 0, record.end_ns, False, False
    cost = record.cost
    money = 0 if cost is None else 1 if cost.status == "rollup" else 2
    return True, money, record.end_ns, record.usage is not None, record.detail is not None

"""The records a run is made of: one for each span, known by its ids."""

from __future__ import annotations

from typing import TypeAlias

from spanledger.conventions.step import Bridge, Step
from spanledger.conventions.trajectory.tree import fullness

Record: TypeAlias = Step | Bridge

Key: TypeAlias = bytes
"""Trace id and span id; with the start appended for a span id that was used twice."""


def key_of(record: Record) -> Key:
    """Return the ids of a span as one key."""
    return record.trace_id + record.span_id


def richer(kept: Record, other: Record) -> Record:
    """Return the better of two reports of one span: the one that is read, that pricing counted, that is finished."""
    return other if fullness(other) > fullness(kept) else kept

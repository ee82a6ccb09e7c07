"""Records as bytes, for as long as they wait: a third of the memory, and nothing for the garbage collector to visit.

A hundred thousand open runs are millions of small objects, and a full collection would stop the process for
half a second to look at them. So records are packed when they come, and unpacked when their runs are built. The
format is the interpreter's own (`marshal`, without references, so that equal records are equal bytes) and never
leaves the process; on disk is JSON (`wire.py`).
"""

from __future__ import annotations

import marshal
from array import array
from collections.abc import Mapping
from dataclasses import fields
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final

from spanledger.conventions.detail import Detail, Evaluation, Print, ToolRequest
from spanledger.conventions.ledger import Call
from spanledger.conventions.reading import Cost
from spanledger.conventions.step import Bridge, Step
from spanledger.conventions.usage import Usage

if TYPE_CHECKING:
    from spanledger.conventions.values import Attributes
    from spanledger.processor.trajectory.records import Record

HISTORY: Final = 16
"""Digests of a call's history that are kept, the last: there is the call before, its answer and the tool results."""

_VERSION: Final = 2
"""The last one without references, which depend on who else has an object."""


def _at(kind: Any) -> Mapping[str, int]:
    return {field.name: place for place, field in enumerate(fields(kind))}


def _values(kind: Any) -> attrgetter[tuple[Any, ...]]:
    return attrgetter(*_at(kind))


_step, _bridge, _usage, _cost = _values(Step), _values(Bridge), _values(Usage), _values(Cost)
_call = _values(Call)
_detail, _evaluation, _request = _values(Detail), _values(Evaluation), _values(ToolRequest)
_USAGE, _COST, _DETAIL, _RESOURCE, _CALL, _PRICE = (
    _at(Step)[name] for name in ("usage", "cost", "detail", "resource", "call", "price")
)
_PRINTS: Final = tuple(_at(Detail)[name] for name in ("arguments", "result", "output"))
_REQUESTS, _GIVEN, _EVALUATIONS, _HISTORY, _ANSWER, _DIMENSIONS = (
    _at(Detail)[name] for name in ("requests", "given", "evaluations", "history", "answer", "dimensions")
)


def pack(record: Record, resources: list[Attributes]) -> bytes:
    """Return a record as bytes. Its resource is shared with others: it is looked up in `resources`, or added."""
    if isinstance(record, Bridge):
        return marshal.dumps(_bridge(record), _VERSION)
    values: list[Any] = list(_step(record))
    if record.usage is not None:
        values[_USAGE] = _usage(record.usage)
    if record.cost is not None:
        values[_COST] = _cost(record.cost)
    if record.call is not None:
        values[_CALL] = _call(record.call)
    if record.price is not None:
        values[_PRICE] = _cost(record.price)
    if record.detail is not None:
        values[_DETAIL] = _pack_detail(record.detail)
    values[_RESOURCE] = _place(record.resource, resources)
    return marshal.dumps(values, _VERSION)


def unpack(packed: bytes, resources: list[Attributes]) -> Record:
    """Return the record that was packed; of a long history only the end."""
    values: Any = marshal.loads(packed)  # noqa: S302 - our own, a moment ago
    if isinstance(values, tuple):
        return Bridge(*values)
    if values[_USAGE] is not None:
        values[_USAGE] = Usage(*values[_USAGE])
    if values[_COST] is not None:
        values[_COST] = Cost(*values[_COST])
    if values[_CALL] is not None:
        values[_CALL] = Call(*values[_CALL])
    if values[_PRICE] is not None:
        values[_PRICE] = Cost(*values[_PRICE])
    if values[_DETAIL] is not None:
        values[_DETAIL] = _unpack_detail(values[_DETAIL])
    values[_RESOURCE] = resources[values[_RESOURCE]]
    return Step(*values)


def _place(resource: Attributes, resources: list[Attributes]) -> int:
    for place, known in enumerate(resources):
        if known is resource:
            return place
    for place, known in enumerate(resources):
        if known == resource:
            return place
    resources.append(resource)
    return len(resources) - 1


def _pack_detail(detail: Detail) -> list[Any]:
    values: list[Any] = list(_detail(detail))
    for place in _PRINTS:
        if values[place] is not None:
            values[place] = _pack_print(values[place])
    values[_REQUESTS] = tuple(map(_request, detail.requests))
    values[_GIVEN] = tuple(map(_request, detail.given))
    values[_EVALUATIONS] = tuple(map(_evaluation, detail.evaluations))
    values[_HISTORY] = detail.history[-HISTORY:]
    values[_ANSWER] = detail.answer if detail.single else ()
    values[_DIMENSIONS] = dict(detail.dimensions)
    return values


def _unpack_detail(values: list[Any]) -> Detail:
    for place in _PRINTS:
        if values[place] is not None:
            values[place] = _unpack_print(*values[place])
    values[_REQUESTS] = tuple(ToolRequest(*one) for one in values[_REQUESTS])
    values[_GIVEN] = tuple(ToolRequest(*one) for one in values[_GIVEN])
    values[_EVALUATIONS] = tuple(Evaluation(*one) for one in values[_EVALUATIONS])
    return Detail(*values)


def _pack_print(of: Print) -> tuple[int, bytes, int]:
    return of.digest, array("I", sorted(of.shingles)).tobytes(), of.size


def _unpack_print(digest: int, shingles: bytes, size: int) -> Print:
    return Print(digest, frozenset(memoryview(shingles).cast("I")), size)

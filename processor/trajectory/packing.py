"""Records as bytes, for as long as they wait: a third of the memory, and nothing for the garbage collector to visit.

A hundred thousand open runs are millions of small objects, and a full collection would stop the process for half a
second to look at them. So the records of a group that nothing came for lately become one piece of bytes. What they
have in common, such as ids, names and models, is there once. The format is the interpreter's own (`marshal`) and
never leaves the process; on disk is JSON (`wire.py`).
"""

from __future__ import annotations

import marshal
from array import array
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final

from spanledger.conventions.call import Call
from spanledger.conventions.detail import Detail, Evaluation, Print, ToolRequest
from spanledger.conventions.reading import Cost
from spanledger.conventions.safety.concern import Concern
from spanledger.conventions.step import Bridge, Step
from spanledger.conventions.usage import Usage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from spanledger.conventions.values import Attributes
    from spanledger.processor.trajectory.records import Key, Record

HISTORY: Final = 16
"""Digests of a call's history that are kept, the last: there is the call before, its answer and the tool results."""

_VERSION: Final = 4
"""With references: what is the same object is written once."""
_MAX_RESOURCES: Final = 4_096
MAX_RESOURCE_BYTES: Final = 16 * 2**20
"""Of all resources together, as they are written: one may have 64 KiB, and takes several times that."""


class Resources:
    """Attributes of services, each once: those of every request are objects of their own."""

    def __init__(self) -> None:
        self._known: OrderedDict[bytes, Attributes] = OrderedDict()
        self._bytes = 0
        self._alone: dict[int, tuple[Attributes]] = {}
        """Each of them in a tuple, by its identity."""
        self._last: tuple[Attributes, Attributes] | None = None

    def together(self, kept: Sequence[Attributes]) -> tuple[Attributes, ...]:
        """Return resources as a tuple, which most groups with one resource share."""
        return self._alone.get(id(kept[0]), tuple(kept)) if len(kept) == 1 else tuple(kept)

    def same(self, resource: Attributes) -> Attributes:
        """Return the object that stands for all resources with these attributes."""
        if self._last is None or self._last[0] is not resource:
            key = marshal.dumps(dict(resource), 2)
            if key not in self._known:
                self._known[key] = resource
                self._alone[id(resource)] = (resource,)
                self._bytes += len(key)
            self._known.move_to_end(key)
            self._last = resource, self._known[key]
            while len(self._known) > _MAX_RESOURCES or self._bytes > MAX_RESOURCE_BYTES:
                oldest, gone = self._known.popitem(last=False)
                self._bytes -= len(oldest)
                self._alone.pop(id(gone), None)
        return self._last[1]


def _at(kind: Any) -> Mapping[str, int]:
    return {field.name: place for place, field in enumerate(fields(kind))}


def _values(kind: Any) -> attrgetter[tuple[Any, ...]]:
    return attrgetter(*_at(kind))


_step, _bridge, _usage, _cost, _call = _values(Step), _values(Bridge), _values(Usage), _values(Cost), _values(Call)
_detail = _values(Detail)
_USAGE, _COST, _DETAIL, _RESOURCE, _CALL, _PRICE = (
    _at(Step)[name] for name in ("usage", "cost", "detail", "resource", "call", "price")
)
_SHARED_BY_STEPS, _SHARED_BY_BRIDGES, _SHARED_BY_COSTS, _SHARED_BY_CALLS = (
    [_at(kind)[name] for name in names.split()]
    for kind, names in (
        (Step, "trace_id parent_span_id service_name conversation_id user_id response_id tool_call_id"),
        (Bridge, "trace_id parent_span_id name service_name"),
        (Cost, "reason price_ref"),
        (Call, "scope service response_id family asked"),
    )
)
"""Texts and ids that the records of a group have in common. Names of kinds are one object each anyway: `make_step`."""
_PRINTS: Final = tuple(_at(Detail)[name] for name in ("arguments", "result", "output"))
_LISTS: Final[tuple[tuple[int, Any, attrgetter[tuple[Any, ...]]], ...]] = tuple(
    (_at(Detail)[name], kind, _values(kind))
    for name, kind in (
        ("requests", ToolRequest), ("given", ToolRequest), ("evaluations", Evaluation), ("concerns", Concern),
    )
)  # fmt: skip
_HISTORY, _DIMENSIONS = (_at(Detail)[name] for name in ("history", "dimensions"))


def pack(records: Iterable[Record], place: Callable[[Attributes], int]) -> bytes:
    """Return records as bytes. Resources are shared with others: `place` says under which number one is kept."""
    known: dict[Any, Any] = {}
    packed = [_pack_bridge(one, known) if isinstance(one, Bridge) else _pack_step(one, place, known) for one in records]
    return marshal.dumps(packed, _VERSION)


def unpack(packed: bytes, resources: Sequence[Attributes]) -> list[Record]:
    """Return the records that were packed; of a long history only the end."""
    return [_unpacked(values, resources) for values in marshal.loads(packed)]  # noqa: S302 - our own, a moment ago


def _unpacked(values: Any, resources: Sequence[Attributes]) -> Record:
    return Bridge(*values) if isinstance(values, tuple) else _unpack_step(values, resources)


def unpack_one(packed: Iterable[bytes], place: int, resources: Sequence[Attributes]) -> Record:
    """Return the record at a place that is in these pieces, counted from the first of them."""
    for piece in packed:
        values = marshal.loads(piece)  # noqa: S302 - as above
        if place < len(values):
            return _unpacked(values[place], resources)
        place -= len(values)
    raise IndexError(place)


def sizes(packed: Iterable[bytes]) -> Iterator[int]:
    """Yield how many records are in each piece."""
    return (len(marshal.loads(piece)) for piece in packed)  # noqa: S302 - as above


KEY_BYTES: Final = 32
"""Of a key among those of packed records: a shorter one is filled up."""


@dataclass(frozen=True, slots=True)
class Kept:
    """The records of a group at one moment. It may be read in another thread."""

    hot: Mapping[Key, Record]
    """Those that are not packed."""
    packed: tuple[bytes, ...]
    keys: bytes
    """Of the packed ones, one after the other, each filled up to `KEY_BYTES`."""
    resources: tuple[Attributes, ...]

    def records(self) -> dict[Key, Record]:
        """Return all of them, those that came first at the beginning."""
        records = (record for piece in self.packed for record in unpack(piece, self.resources))
        found = dict(zip(keys_of(self.keys), records, strict=True))
        found.update(self.hot)
        return found


def keys_of(keys: bytes) -> Iterator[Key]:
    """Yield the keys that were filled up, as they were."""
    for place in range(0, len(keys), KEY_BYTES):
        key = keys[place : place + KEY_BYTES]
        yield key if any(key[24:]) else key[:24]


def _share(values: list[Any], places: Iterable[int], known: dict[Any, Any]) -> list[Any]:
    """Let equal texts and ids at these places be the same object."""
    for place in places:
        if one := values[place]:
            values[place] = known.setdefault(one, one)
    return values


def _pack_bridge(bridge: Bridge, known: dict[Any, Any]) -> tuple[Any, ...]:
    return tuple(_share([*_bridge(bridge)], _SHARED_BY_BRIDGES, known))


def _pack_step(step: Step, place: Callable[[Attributes], int], known: dict[Any, Any]) -> list[Any]:
    values = _share([*_step(step)], _SHARED_BY_STEPS, known)
    if step.usage is not None:
        values[_USAGE] = _usage(step.usage)
    if step.cost is not None:
        values[_COST] = tuple(_share([*_cost(step.cost)], _SHARED_BY_COSTS, known))
    if step.price is not None:
        # Mostly the cost is that price.
        same = step.price is step.cost or step.price == step.cost
        values[_PRICE] = True if same else tuple(_share([*_cost(step.price)], _SHARED_BY_COSTS, known))
    if step.call is not None:
        values[_CALL] = tuple(_share([*_call(step.call)], _SHARED_BY_CALLS, known))
    if step.detail is not None:
        values[_DETAIL] = _pack_detail(step.detail)
    values[_RESOURCE] = place(step.resource)
    return values


def _unpack_step(values: list[Any], resources: Sequence[Attributes]) -> Step:
    if values[_USAGE] is not None:
        values[_USAGE] = Usage(*values[_USAGE])
    if values[_COST] is not None:
        values[_COST] = Cost(*values[_COST])
    if values[_PRICE] is not None:
        values[_PRICE] = values[_COST] if values[_PRICE] is True else Cost(*values[_PRICE])
    if values[_CALL] is not None:
        values[_CALL] = Call(*values[_CALL])
    if values[_DETAIL] is not None:
        values[_DETAIL] = _unpack_detail(values[_DETAIL])
    values[_RESOURCE] = resources[values[_RESOURCE]]
    return Step(*values)


def _pack_detail(detail: Detail) -> list[Any]:
    values: list[Any] = list(_detail(detail))
    for place in _PRINTS:
        if values[place] is not None:
            values[place] = _pack_print(values[place])
    for place, _, parts in _LISTS:
        if values[place]:
            values[place] = tuple(map(parts, values[place]))
    values[_HISTORY] = array("Q", detail.history[-HISTORY:]).tobytes()
    values[_DIMENSIONS] = dict(detail.dimensions)
    return values


def _unpack_detail(values: list[Any]) -> Detail:
    for place in _PRINTS:
        if values[place] is not None:
            values[place] = _unpack_print(*values[place])
    for place, kind, _ in _LISTS:
        if values[place]:
            values[place] = tuple([kind(*one) for one in values[place]])
    values[_HISTORY] = tuple(memoryview(values[_HISTORY]).cast("Q"))
    return Detail(*values)


def _pack_print(of: Print) -> tuple[int, bytes, int]:
    return of.digest, array("I", sorted(of.shingles)).tobytes(), of.size


def _unpack_print(digest: int, shingles: bytes, size: int) -> Print:
    return Print(digest, frozenset(memoryview(shingles).cast("I")), size)

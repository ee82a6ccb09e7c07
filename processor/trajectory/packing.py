"""Records as bytes, for as long as they wait: a quarter of the memory, and nothing for the garbage collector to visit.

A hundred thousand open runs are millions of small objects, and a full collection would stop the process for half a
second to look at them. So the records of a group that nothing came for lately become one piece of bytes. What they
have in common, such as ids and names, is there once, and what steps of one kind are all like is not there at all: of a
step is written in what it differs from its model (`origins.py`). The format is the interpreter's own (`marshal`) and
never leaves the process; on disk is JSON (`wire.py`).
"""

from __future__ import annotations

import marshal
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from functools import lru_cache
from itertools import accumulate, compress, pairwise
from operator import attrgetter, is_not
from typing import TYPE_CHECKING, Any, Final

from spanledger.conventions.call import Call
from spanledger.conventions.detail import Detail, Evaluation, Print, ToolRequest
from spanledger.conventions.reading import Cost
from spanledger.conventions.safety.concern import Concern
from spanledger.conventions.step import Bridge, Step
from spanledger.conventions.usage import Usage

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from spanledger.processor.trajectory.origins import Origin, Origins
    from spanledger.processor.trajectory.records import Key, Record

HISTORY: Final = 16
"""Digests of a call's history that are kept, the last: there is the call before, its answer and the tool results."""

_VERSION: Final = 4
"""With references: what is the same object is written once."""


def _at(kind: Any) -> Mapping[str, int]:
    return {field.name: place for place, field in enumerate(fields(kind))}


def _values(kind: Any) -> attrgetter[tuple[Any, ...]]:
    return attrgetter(*_at(kind))


_step, _bridge, _usage, _cost, _call = _values(Step), _values(Bridge), _values(Usage), _values(Cost), _values(Call)
_detail = _values(Detail)
_USAGE, _COST, _CALL, _DETAIL, _RESOURCE, _PRICE = (
    _at(Step)[name] for name in ("usage", "cost", "call", "detail", "resource", "price")
)
_ENDS: Final = tuple(accumulate(len(fields(kind)) for kind in (Step, Usage, Cost, Call, Detail)))
"""Where the parts of a flat step end: it is the values of the step and then those of what it has."""
_NO_USAGE, _NO_COST, _NO_CALL, _NO_DETAIL = ((None,) * len(fields(kind)) for kind in (Usage, Cost, Call, Detail))
_SHARED_BY_STEPS: Final = tuple(
    start + _at(kind)[name]
    for start, kind, names in (
        (0, Step, "trace_id parent_span_id service_name error_type conversation_id user_id response_id tool_call_id"),
        (_ENDS[0], Usage, "basis"),
        (_ENDS[1], Cost, "reason price_ref"),
        (_ENDS[2], Call, "scope service response_id family asked"),
    )
    for name in names.split()
)
_SHARED_BY_BRIDGES: Final = tuple(_at(Bridge)[name] for name in ("trace_id", "parent_span_id", "name", "service_name"))
"""Texts and ids that the records of a group have in common. Names of kinds are one object each anyway: `make_step`."""
_PRINTS: Final = tuple(_at(Detail)[name] for name in ("arguments", "result", "output"))
_LISTS: Final[tuple[tuple[int, Any, attrgetter[tuple[Any, ...]]], ...]] = tuple(
    (_at(Detail)[name], kind, _values(kind))
    for name, kind in (
        ("requests", ToolRequest), ("given", ToolRequest), ("evaluations", Evaluation), ("concerns", Concern),
    )
)  # fmt: skip
_HISTORY, _DIMENSIONS = (_at(Detail)[name] for name in ("history", "dimensions"))
_BITS: Final = bytes.maketrans(b"\0\1", b"01")


def pack(records: Iterable[Record], origins: Origins, kept: list[Origin]) -> bytes:
    """Return records as bytes. They refer to origins by their places in `kept`, where new ones are added."""
    known: dict[Any, Any] = {}
    packed = [
        _pack_bridge(one, known) if isinstance(one, Bridge) else _pack_step(one, origins, kept, known)
        for one in records
    ]
    return marshal.dumps(packed, _VERSION)


def unpack(packed: bytes, kept: Sequence[Origin]) -> list[Record]:
    """Return the records that were packed; of a long history only the end."""
    return [_unpacked(values, kept) for values in marshal.loads(packed)]  # noqa: S302 - our own, a moment ago


def _unpacked(values: Any, kept: Sequence[Origin]) -> Record:
    return Bridge(*values) if isinstance(values, tuple) else _unpack_step(values, kept)


def unpack_one(packed: Iterable[bytes], place: int, kept: Sequence[Origin]) -> Record:
    """Return the record at a place that is in these pieces, counted from the first of them."""
    for piece in packed:
        values = marshal.loads(piece)  # noqa: S302 - as above
        if place < len(values):
            return _unpacked(values[place], kept)
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
    origins: tuple[Origin, ...]
    """What the packed ones refer to."""

    def records(self) -> dict[Key, Record]:
        """Return all of them, those that came first at the beginning."""
        records = (record for piece in self.packed for record in unpack(piece, self.origins))
        found = dict(zip(keys_of(self.keys), records, strict=True))
        found.update(self.hot)
        return found


def keys_of(keys: bytes) -> Iterator[Key]:
    """Yield the keys that were filled up, as they were."""
    for place in range(0, len(keys), KEY_BYTES):
        key = keys[place : place + KEY_BYTES]
        yield key if any(key[24:]) else key[:24]


def _pack_bridge(bridge: Bridge, known: dict[Any, Any]) -> tuple[Any, ...]:
    values = [*_bridge(bridge)]
    for at in _SHARED_BY_BRIDGES:
        if one := values[at]:
            values[at] = known.setdefault(one, one)
    return tuple(values)


def _pack_step(step: Step, origins: Origins, kept: list[Origin], known: dict[Any, Any]) -> list[Any]:
    """Return where a step is from, the number of its model, in what it differs from that, and its values there."""
    values, origin = _flat(step), origins.same(step.resource)
    place = next((place for place, other in enumerate(kept) if other is origin), len(kept))
    if place == len(kept):
        kept.append(origin)
    number = origins.model(step, values)
    model = origin.models[number]
    for at in _SHARED_BY_STEPS:
        one, like = values[at], model[at]
        if one is not like:
            values[at] = like if one == like else known.setdefault(one, one)
    # What is the same object is equal, and 1 is not True.
    own = bytes(map(is_not, values, model))
    mask = int(own.translate(_BITS), 2)
    return [place, number, known.setdefault(mask, mask), *compress(values, own)]


def _unpack_step(packed: list[Any], kept: Sequence[Origin]) -> Step:
    place, number, mask, *own = packed
    origin = kept[place]
    values: list[Any] = [*origin.models[number]]
    for at, one in zip(_places(mask), own, strict=True):
        values[at] = one
    usage, cost, call, detail = (values[start:end] for start, end in pairwise(_ENDS))
    if values[_USAGE]:
        values[_USAGE] = Usage(*usage)
    if values[_COST]:
        values[_COST] = Cost(*cost)
    if values[_PRICE] is not None:
        values[_PRICE] = values[_COST] if values[_PRICE] is True else Cost(*values[_PRICE])
    if values[_CALL]:
        values[_CALL] = Call(*call)
    if values[_DETAIL]:
        values[_DETAIL] = _unpack_detail(detail)
    values[_RESOURCE] = origin.resource
    return Step(*values[: _ENDS[0]])


@lru_cache(maxsize=1_024)
def _places(mask: int) -> tuple[int, ...]:
    """Return in which values of a flat step it differs from its model."""
    return tuple(at for at, bit in enumerate(f"{mask:0{_ENDS[-1]}b}") if bit == "1")


def _flat(step: Step) -> list[Any]:
    """Return the values of a step and of its parts in a row; in the place of a part is None where there is none."""
    values: list[Any] = [*_step(step)]
    usage, cost, call, detail, price = step.usage, step.cost, step.call, step.detail, step.price
    values[_RESOURCE] = None
    if usage is not None:
        values[_USAGE] = True
    if cost is not None:
        values[_COST] = True
    if call is not None:
        values[_CALL] = True
    if detail is not None:
        values[_DETAIL] = True
    if price is not None:
        # Mostly the cost is that price. Two may be equal although they did not save the same.
        same = price is cost or (cost is not None and _cost(price) == _cost(cost))
        values[_PRICE] = True if same else _cost(price)
    values += _usage(usage) if usage is not None else _NO_USAGE
    values += _cost(cost) if cost is not None else _NO_COST
    values += _call(call) if call is not None else _NO_CALL
    values += _flat_detail(detail) if detail is not None else _NO_DETAIL
    return values


def _flat_detail(detail: Detail) -> list[Any]:
    values: list[Any] = list(_detail(detail))
    for place in _PRINTS:
        if values[place] is not None:
            values[place] = _pack_print(values[place])
    for place, _, parts in _LISTS:
        if values[place]:
            values[place] = tuple(map(parts, values[place]))
    values[_HISTORY] = array("Q", detail.history[-HISTORY:]).tobytes()
    values[_DIMENSIONS] = tuple(detail.dimensions.items())
    return values


def _unpack_detail(values: list[Any]) -> Detail:
    for place in _PRINTS:
        if values[place] is not None:
            values[place] = _unpack_print(*values[place])
    for place, kind, _ in _LISTS:
        if values[place]:
            values[place] = tuple([kind(*one) for one in values[place]])
    values[_HISTORY] = tuple(memoryview(values[_HISTORY]).cast("Q"))
    values[_DIMENSIONS] = dict(values[_DIMENSIONS])
    return Detail(*values)


def _pack_print(of: Print) -> tuple[int, bytes, int]:
    return of.digest, array("I", sorted(of.shingles)).tobytes(), of.size


def _unpack_print(digest: int, shingles: bytes, size: int) -> Print:
    return Print(digest, frozenset(memoryview(shingles).cast("I")), size)

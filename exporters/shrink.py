"""Makes one item short enough for a peer, where sending less of it is better than losing it.

Only what is long is cut: the longest texts first, in their middle, each with a mark that says how much is gone
and of what (a digest, to find the whole elsewhere). Where that is not enough, events, links and attributes go,
last ones first, and are counted in the item's own `dropped_…_count`. The item names what was cut in
`spanledger.shortened`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from google.protobuf.message import DecodeError
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, InstrumentationScope
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from spanledger.processor.batch import Outline

if TYPE_CHECKING:
    from spanledger.processor.batch import Delivery

SHORTENED_KEY: Final = "spanledger.shortened"
SHORTEST: Final = 256
"""Bytes that are left of a text, at the least."""

_MARK_BYTES: Final = 80
_ROOM_BYTES: Final = 2048
"""For the attribute that names what was cut, and lengths in the message."""
_MAX_NAMED: Final = 16
_MAX_NAME: Final = 96
_MAX_DEPTH: Final = 16


@dataclass(frozen=True, slots=True)
class _Text:
    """A text or bytes somewhere in an item: where it is, and the attribute that it belongs to."""

    holder: Any
    field: str
    key: str

    @property
    def size(self) -> int:
        value = getattr(self.holder, self.field)
        return len(value.encode()) if isinstance(value, str) else len(value)


def shrink(delivery: Delivery, limit_bytes: int) -> Delivery | None:
    """Return a delivery of one span or log record with at most `limit_bytes`; None when it cannot be made so short."""
    if delivery.size <= limit_bytes or delivery.signal == "metrics":
        return None
    try:
        outline = Outline.FromString(delivery.data)
        (resource_node,) = outline.resources
        (scope_node,) = resource_node.scopes
        (wire,) = scope_node.items
        item: Any = (Span if delivery.signal == "traces" else LogRecord).FromString(wire)
        resource = Resource.FromString(resource_node.resource)
        scope = InstrumentationScope.FromString(scope_node.scope)
    except (DecodeError, ValueError):
        return None
    texts = [*_texts(item), *_below(resource.attributes), *_below(scope.attributes)]
    named = _cut(texts, delivery.size - limit_bytes + _ROOM_BYTES)
    resource_node.resource = resource.SerializeToString()
    scope_node.scope = scope.SerializeToString()
    del scope_node.items[:]
    around = outline.ByteSize()
    named += _drop(item, around + item.ByteSize() + _ROOM_BYTES - limit_bytes)
    _name_cuts(item, named[:_MAX_NAMED])
    scope_node.items.append(item.SerializeToString())
    data = outline.SerializeToString()
    return replace(delivery, data=data) if len(data) <= limit_bytes else None


def _name_cuts(item: Any, named: list[str]) -> None:
    """Write the attribute that says what was cut; a sidecar before us may have written one."""
    # A key may be there only once, and what is there may be anybody's.
    for number in reversed(range(len(item.attributes))):
        if item.attributes[number].key == SHORTENED_KEY:
            earlier = (value.string_value for value in item.attributes[number].value.array_value.values)
            named = [*(name[:_MAX_NAME] for name in earlier if name), *named][:_MAX_NAMED]
            del item.attributes[number]
    values = [AnyValue(string_value=name) for name in dict.fromkeys(named)]
    item.attributes.add(key=SHORTENED_KEY).value.array_value.values.extend(values)


def _texts(item: Any) -> Iterator[_Text]:
    yield from _below(item.attributes)
    if isinstance(item, LogRecord):
        yield from _values(item.body, "body", 0)
        return
    yield _Text(item, "name", "name")
    yield _Text(item, "trace_state", "trace_state")
    yield _Text(item.status, "message", "status.message")
    for event in item.events:
        yield _Text(event, "name", "event.name")
        yield from _below(event.attributes)
    for link in item.links:
        yield from _below(link.attributes)


def _below(attributes: Any, depth: int = 0) -> Iterator[_Text]:
    for attribute in attributes:
        yield from _values(attribute.value, attribute.key, depth)


def _values(value: Any, key: str, depth: int) -> Iterator[_Text]:
    kind = value.WhichOneof("value")
    if kind in {"string_value", "bytes_value"}:
        yield _Text(value, kind, key)
    elif depth < _MAX_DEPTH and kind == "array_value":
        for each in value.array_value.values:
            yield from _values(each, key, depth + 1)
    elif depth < _MAX_DEPTH and kind == "kvlist_value":
        for each in value.kvlist_value.values:
            yield from _values(each.value, key, depth + 1)


def _cut(texts: list[_Text], excess: int) -> list[str]:
    """Cut the longest texts to one length, so that `excess` bytes go; return the attributes they belong to."""
    by_size = sorted(((text.size, number) for number, text in enumerate(texts)), reverse=True)
    gained = 0
    room = SHORTEST
    for count, (size, _) in enumerate(by_size, 1):
        following = by_size[count][0] if count < len(by_size) else 0
        # All texts so far as long as the next one: is that enough?
        if gained + count * (size - following) >= excess + count * _MARK_BYTES:
            room = max(SHORTEST, size - (excess + count * _MARK_BYTES - gained + count - 1) // count)
            break
        gained += count * (size - following)
    named: list[str] = []
    for size, number in by_size:
        if size <= room + _MARK_BYTES:
            break
        _shorten(texts[number], room)
        named.append(texts[number].key[:_MAX_NAME])
    return named


def _shorten(text: _Text, room: int) -> None:
    value = getattr(text.holder, text.field)
    whole = value.encode() if isinstance(value, str) else value
    head, tail = room * 3 // 4, room // 4
    mark = f"…[{len(whole) - head - tail} bytes cut, sha256 {hashlib.sha256(whole).hexdigest()[:16]}]…".encode()
    cut = whole[:head] + mark + whole[len(whole) - tail :]
    setattr(text.holder, text.field, cut.decode(errors="ignore") if isinstance(value, str) else cut)


def _drop(item: Any, excess: int) -> list[str]:
    """Take events, links and attributes away, last ones first, until `excess` bytes are gone; return what went."""
    named: list[str] = []
    for name in ("events", "links", "attributes"):
        entries = getattr(item, name, ())
        taken = 0
        while entries and excess > 0:
            excess -= entries[-1].ByteSize() + 2
            del entries[-1]
            taken += 1
        if taken:
            counter = f"dropped_{name}_count"
            setattr(item, counter, min(getattr(item, counter) + taken, 2**32 - 1))
            named.append(name)
    return named

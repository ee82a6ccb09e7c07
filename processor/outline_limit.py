"""Limits on how many parts a message may have, checked before protobuf builds them.

Bytes say little about the work: 64 MiB of empty resources are 32 million messages, for which protobuf takes
seconds and gigabytes without a pause, while a picture of 10 MiB in one attribute is a handful of them. This
walk over the wire hops from part to part, looks into no text, and can pause.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from spanledger.processor.component import Rejected

if TYPE_CHECKING:
    from google.protobuf.message import Message

MAX_GROUPS: Final = 100_000
"""Resources and scopes of one request."""
MAX_ITEMS: Final = 1_000_000
"""Spans, log records or metrics of one request."""

_PAUSE_EVERY = 4096
_UNCHECKED_BYTES = 2 * MAX_GROUPS
"""A part has at least two bytes."""

Shape: TypeAlias = "Mapping[int, Shape | None]"
"""Field numbers of the messages in a message, and their own shapes; None for those that are not looked into."""

_REQUEST: Final[Shape] = {1: {2: {2: None}}}
"""Resources in a request, scopes in a resource, items in a scope."""


def shape_of(message: type[Message]) -> Shape:
    """Return the shape of a message type, recursive ones included."""
    return _shape_of(message.DESCRIPTOR, {})


def _shape_of(descriptor: Any, known: dict[str, dict[int, Shape | None]]) -> Shape:
    if descriptor.full_name not in known:
        shape = known[descriptor.full_name] = {}
        for field in descriptor.fields:
            if field.message_type is not None:
                shape[field.number] = _shape_of(field.message_type, known)
    return known[descriptor.full_name]


def check_parts(wire: bytes) -> Generator[None, None, None]:
    """Raise `Rejected` for a request of too many parts. What is malformed is left to protobuf."""
    if len(wire) <= _UNCHECKED_BYTES:
        return
    limits = (MAX_GROUPS, MAX_GROUPS, MAX_ITEMS)
    found = yield from _walk(wire, _REQUEST, 4 * MAX_GROUPS + MAX_ITEMS, limits)
    if found is None or found[0] + found[1] > MAX_GROUPS:
        raise too_many_parts()


def too_many_parts() -> Rejected:
    """Return the error for a request of more than `MAX_GROUPS` or `MAX_ITEMS`."""
    return Rejected(
        f"the request has more than {MAX_GROUPS} resources and scopes, or more than {MAX_ITEMS} items: send it in parts"
    )


def has_few_parts(wire: bytes, shape: Shape, max_parts: int) -> Generator[None, None, bool]:
    """Tell whether a message has at most `max_parts` fields, those of the messages in it included."""
    return (yield from _walk(wire, shape, max_parts)) is not None


def _walk(
    wire: bytes, shape: Shape, max_fields: int, limits: Sequence[int] = ()
) -> Generator[None, None, list[int] | None]:
    """Return how many messages there are at each level, as far as there are `limits`; None for too many."""
    found = [0] * len(limits)
    open_messages = [(len(wire), shape)]
    position = fields = unknown_groups = 0
    try:
        while open_messages:
            end, shape = open_messages[-1]
            if position >= end:
                open_messages.pop()
                continue
            fields += 1
            if fields > max_fields:
                return None
            if fields % _PAUSE_EVERY == 0:
                yield
            key, position = _varint(wire, position)
            kind = key & 7
            if kind == 2:
                size, position = _varint(wire, position)
                number = key >> 3
                if unknown_groups or number not in shape:
                    position += size
                    continue
                level = len(open_messages) - 1
                if level < len(limits):
                    found[level] += 1
                    if found[level] > limits[level]:
                        return None
                inner = shape[number]
                if inner is None:
                    position += size
                else:
                    open_messages.append((position + size, inner))
            elif kind == 0:
                _, position = _varint(wire, position)
            elif kind == 1:
                position += 8
            elif kind == 5:
                position += 4
            elif kind == 3:
                unknown_groups += 1
            elif kind == 4 and unknown_groups:
                unknown_groups -= 1
            else:
                return found
    except IndexError:
        pass
    return found


def _varint(wire: bytes, position: int) -> tuple[int, int]:
    """Return the number at `position` and the position behind it. Raises IndexError at the end."""
    byte = wire[position]
    if byte < 0x80:
        return byte, position + 1
    value, shift = byte & 0x7F, 7
    while True:
        position += 1
        byte = wire[position]
        value |= (byte & 0x7F) << shift
        if byte < 0x80 or shift > 63:
            return value, position + 1
        shift += 7

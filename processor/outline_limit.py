"""A limit on how many parts a request may have, checked before protobuf builds them.

64 MiB of empty resources are 32 million messages: protobuf would take seconds and gigabytes for them,
without a pause. This walk over the wire hops from part to part, looks into none, and can pause.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Final

from spanledger.processor.component import Rejected

MAX_GROUPS: Final = 100_000
"""Resources and scopes of one request."""
MAX_ITEMS: Final = 1_000_000
"""Spans, log records or metrics of one request."""

_PAUSE_EVERY = 4096
_UNCHECKED_BYTES = 32 * 1024
_CHILDREN: Final = (1, 2, 2)
"""Field number of resources in a request, scopes in a resource, items in a scope."""


def check_parts(wire: bytes) -> Generator[None, None, None]:
    """Raise `Rejected` for a request of too many parts. What is malformed is left to protobuf."""
    if len(wire) <= _UNCHECKED_BYTES:
        return
    groups = items = parts = position = level = 0
    ends = [len(wire)]
    try:
        while ends:
            parts += 1
            if parts % _PAUSE_EVERY == 0:
                yield
            if position >= ends[-1]:
                ends.pop()
                level -= 1
                continue
            key, position = _varint(wire, position)
            kind = key & 7
            if kind == 2:
                size, position = _varint(wire, position)
                if key >> 3 != _CHILDREN[level]:
                    position += size
                elif level == 2:
                    items += 1
                    position += size
                else:
                    groups += 1
                    level += 1
                    ends.append(position + size)
            elif kind == 0:
                _, position = _varint(wire, position)
            elif kind == 1:
                position += 8
            elif kind == 5:
                position += 4
            else:
                return
            if groups > MAX_GROUPS or items > MAX_ITEMS:
                raise Rejected(
                    f"the request has more than {MAX_GROUPS} resources and scopes, or more than {MAX_ITEMS} items: "
                    "send it in parts"
                )
    except IndexError:
        return


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

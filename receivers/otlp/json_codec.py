"""OTLP/JSON requests as OTLP/protobuf bytes.

The outline of a request (resources, scopes) is walked in the text itself, and every item below is read
and written by itself: a bad item is left out and counted, only a broken outline rejects the whole
request. Format: opentelemetry-proto, docs/specification.md, "JSON Protobuf Encoding".
"""

from __future__ import annotations

import sys
from collections import Counter
from typing import TYPE_CHECKING, Final

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from spanledger.processor import outline_limit
from spanledger.processor.component import Rejected
from spanledger.receivers.otlp.compression import too_large
from spanledger.receivers.otlp.json_reader import JsonReader, Unreadable
from spanledger.receivers.otlp.json_wire import Field, MessageWriter, delimited, message_writer, varint

if TYPE_CHECKING:
    from spanledger.processor.batch import Signal

_REQUEST: Final[dict[Signal, MessageWriter]] = {
    "traces": message_writer(ExportTraceServiceRequest.DESCRIPTOR),
    "logs": message_writer(ExportLogsServiceRequest.DESCRIPTOR),
    "metrics": message_writer(ExportMetricsServiceRequest.DESCRIPTOR),
}
_NOUN: Final[dict[Signal, str]] = {"traces": "span", "logs": "log record", "metrics": "metric"}
_LEVELS_ABOVE_ITEMS = 2

MAX_MARKS: Final = 8_000_000
"""Commas and opening brackets of a body, those in text included. Each may be a value, at a millionth of a second;
64 MiB of spans with short attributes have four million."""
_PIECE_BYTES = 1024 * 1024


def to_protobuf(signal: Signal, body: bytes, limit_bytes: int = sys.maxsize) -> tuple[bytes, Counter[str]]:
    """Return a JSON `Export<Signal>ServiceRequest` in protobuf, and the items left out by reason.

    Pure, but slow for a large body: run it on a thread. Raises `Rejected` when the outline is broken or has too
    many parts, and `TooLarge` when more than `limit_bytes` would come out.
    """
    _check_marks(body)
    reader = JsonReader(body)
    walk = _Walk(reader, _NOUN[signal], limit_bytes)
    wire, _items = walk.level(_REQUEST[signal], 0)
    reader.finish()
    if len(wire) > limit_bytes:
        raise too_large(limit_bytes)
    return wire, walk.rejected


def _check_marks(body: bytes) -> None:
    marks = 0
    for start in range(0, len(body), _PIECE_BYTES):
        # In pieces: counting holds Python's global lock.
        piece = body[start : start + _PIECE_BYTES]
        marks += sum(map(piece.count, (b",", b"{", b"[")))
        if marks > MAX_MARKS:
            raise Rejected(f"the body has more than {MAX_MARKS} values: send it in parts, or as protobuf")


class _Walk:
    """One pass over the outline."""

    def __init__(self, reader: JsonReader, noun: str, limit_bytes: int) -> None:
        self._reader = reader
        self._noun = noun
        self._limit_bytes = limit_bytes
        self._bytes = self._groups = self._items = 0
        self.rejected: Counter[str] = Counter()

    def level(self, message: MessageWriter, depth: int) -> tuple[bytes, int]:
        """Read the object at the reader; return it on the wire, and the number of items in it."""
        reader = self._reader
        if reader.peek() != "{":
            raise Rejected("the body is not OTLP/JSON: something else where an object belongs")
        # Of duplicate keys the last wins.
        fields: dict[int, tuple[bytes, int]] = {}
        problems: list[str] = []
        for key in reader.members():
            field = message.fields.get(key)
            if field is not None and field.repeated:
                fields[field.number] = self._list(field, depth)
            else:
                try:
                    value = reader.value()
                    if field is not None and value is not None:
                        fields[field.number] = field.write(value, 0), 0
                except Unreadable as problem:
                    if field is not None:
                        problems.append(f"{field.name.replace('_', ' ')} {problem}")
        items = sum(count for _wire, count in fields.values())
        if problems:
            self.rejected[f"{self._noun} under a {problems[0]}"] += items
            return b"", 0
        return b"".join([wire for wire, _count in fields.values()]), items

    def _list(self, field: Field, depth: int) -> tuple[bytes, int]:
        reader = self._reader
        if reader.peek() == "n" and reader.value() is None:
            return b"", 0
        if reader.peek() != "[" or field.message is None:
            raise Rejected(f"the body is not OTLP/JSON: {field.name} is not a list")
        parts: list[bytes] = []
        items = 0
        if depth < _LEVELS_ABOVE_ITEMS:
            key = varint(field.number << 3 | 2)
            for _ in reader.elements():
                self._groups += 1
                self._check()
                wire, count = self.level(field.message, depth + 1)
                parts.append(delimited(key, wire))
                items += count
        else:
            for _ in reader.elements():
                self._items += 1
                self._check()
                try:
                    parts.append(field.element(reader.value(), 0))
                    self._bytes += len(parts[-1])
                    items += 1
                except Unreadable as problem:
                    self.rejected[f"{self._noun} {problem}"] += 1
        return b"".join(parts), items

    def _check(self) -> None:
        if self._groups > outline_limit.MAX_GROUPS or self._items > outline_limit.MAX_ITEMS:
            raise outline_limit.too_many_parts()
        if self._bytes > self._limit_bytes:
            raise too_large(self._limit_bytes)

"""Messages of a request: the request itself, or one for each of its traces.

The Collector's encodings: `otlp_proto` and `otlp_json`, an `Export<Signal>ServiceRequest` in each message. The key
of a trace is its id in hexadecimal letters (contrib, exporter/kafkaexporter, `partitionData`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from google.protobuf.message import DecodeError
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from spanledger.exporters.otlp_json import to_json
from spanledger.processor.batch import Outline
from spanledger.processor.kafka_producer import Record

if TYPE_CHECKING:
    from spanledger.exporters.kafka.config import KafkaExporterConfig
    from spanledger.processor.batch import Delivery, Signal

_ID_FIRST: Final = b"\x0a\x10"
"""How nearly every span begins on the wire: field 1, sixteen bytes."""


@dataclass(frozen=True, slots=True)
class Part:
    """Some of a request, and the message that carries it."""

    record: Record
    data: bytes
    """An `Export<Signal>ServiceRequest` in protobuf."""
    items: int


def parts_of(config: KafkaExporterConfig, whole: Delivery) -> list[Part]:
    """Return the messages of a request. Pure; slow for JSON and long requests: run it in a thread."""
    signal = whole.signal
    headers = tuple((name, value.get_secret_value().encode()) for name, value in config.record_headers.items())
    split = by_trace(signal, whole.data) if config.splits(signal) else [(None, whole.data, whole.items)]
    as_json = config.of(signal).encoding == "otlp_json"
    topic = config.topic(signal)
    return [
        Part(Record(topic, to_json(signal, data)[0].encode() if as_json else data, key, headers), data, items)
        for key, data, items in split
    ]


def by_trace(signal: Signal, data: bytes) -> Iterator[tuple[bytes | None, bytes, int]]:
    """Split a request by trace id: key, request and number of items for each, in the order they first come.

    Every item is in one of the parts, as it came, under the resource and scope it came under. The key of those
    without a trace id is None.
    """
    outline = Outline.FromString(data)
    placed: dict[bytes, list[tuple[int, int, bytes]]] = {}
    for resource_number, resource in enumerate(outline.resources):
        for scope_number, scope in enumerate(resource.scopes):
            for item in scope.items:
                placed.setdefault(_trace_id(signal, item), []).append((resource_number, scope_number, item))
            del scope.items[:]
    if len(placed) == 1:
        # Byte for byte what came.
        ((trace_id, items),) = placed.items()
        yield _key(trace_id), data, len(items)
        return
    scopes = [list(resource.scopes) for resource in outline.resources]
    for resource in outline.resources:
        del resource.scopes[:]
    for trace_id, items in placed.items():
        yield _key(trace_id), _request(outline, scopes, items), len(items)


def _request(outline: Any, scopes: list[list[Any]], items: list[tuple[int, int, bytes]]) -> bytes:
    made = Outline()
    resource_before = scope_before = -1
    for resource_number, scope_number, item in items:
        if resource_number != resource_before:
            resource = made.resources.add()
            resource.CopyFrom(outline.resources[resource_number])
            resource_before, scope_before = resource_number, -1
        if scope_number != scope_before:
            resource.scopes.add().CopyFrom(scopes[resource_number][scope_number])
            scope_before = scope_number
        resource.scopes[-1].items.append(item)
    wire: bytes = made.SerializeToString()
    return wire


def _key(trace_id: bytes) -> bytes | None:
    return trace_id.hex().encode() if trace_id else None


def _trace_id(signal: Signal, item: bytes) -> bytes:
    """Return the trace id of a span or log record; empty without one, or when the item does not decode."""
    if signal == "traces" and item.startswith(_ID_FIRST):
        found = item[2:18]
    else:
        message: Any = Span if signal == "traces" else LogRecord
        try:
            found = message.FromString(item).trace_id
        except DecodeError:
            return b""
    return found if any(found) else b""

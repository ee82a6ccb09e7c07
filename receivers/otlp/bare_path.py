"""Which signal a request without a signal in its path holds.

Exporters that are given `http://localhost:4318` as the whole endpoint post to `/`, whatever they send.
The three requests have the same outline; JSON names the signal in its first key, and in protobuf the
first item tells: a span starts with two ids, a log record is full of what metrics do not have.
"""

from __future__ import annotations

import re
from collections.abc import Generator
from typing import TYPE_CHECKING

from google.protobuf.message import DecodeError
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord
from opentelemetry.proto.metrics.v1.metrics_pb2 import Metric
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from spanledger.processor.batch import Outline, is_readable
from spanledger.processor.outline_limit import check_parts

if TYPE_CHECKING:
    from spanledger.processor.batch import Signal

_LOOK_AT_BYTES = 64 * 1024
_JSON_KEY = re.compile(rb'"resource_?(spans|logs|metrics)"', re.IGNORECASE)
_SIGNAL_OF_KEY: dict[bytes, Signal] = {b"spans": "traces", b"logs": "logs", b"metrics": "metrics"}


def signal_of(wire: bytes, as_json: bool) -> Generator[None, None, Signal]:
    """Return the signal of a request; traces when nothing in it tells. Raises `Rejected` for too many parts."""
    if as_json:
        found = _JSON_KEY.search(wire, 0, _LOOK_AT_BYTES)
        return _SIGNAL_OF_KEY[found[1].lower()] if found else "traces"
    yield from check_parts(wire)
    item = _first_item(wire)
    if not (yield from is_readable("traces", item)):
        return "traces"
    try:
        span = Span.FromString(item)
        if len(span.trace_id) == 16 and len(span.span_id) == 8:
            return "traces"
    except DecodeError:
        pass
    try:
        metric = Metric.FromString(item)
        # The body of a log record stands where a gauge would, and "hi" reads as one; no record has a name.
        if metric.name and metric.WhichOneof("data"):
            return "metrics"
    except DecodeError:
        pass
    try:
        record = LogRecord.FromString(item)
        if record.time_unix_nano or record.observed_time_unix_nano or record.HasField("body"):
            return "logs"
    except DecodeError:
        pass
    return "traces"


def _first_item(wire: bytes) -> bytes:
    outline = Outline()
    try:
        outline.ParseFromString(wire)
    except DecodeError:
        return b""
    for resource in outline.resources:
        for scope in resource.scopes:
            for item in scope.items:
                first: bytes = item
                return first
    return b""

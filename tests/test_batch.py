"""A batch keeps what it does not understand, and one bad item takes no neighbour with it."""

from __future__ import annotations

import pytest
from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue

from spanledger.processor.batch import MAX_ITEM_BYTES, Batch, Delivery, decode, finish, split
from spanledger.processor.component import Rejected
from tests.fakes import request, span


def read(wire: bytes) -> Batch:
    """Decode a trace request."""
    return finish(decode("traces", wire, 1))


def field(number: int, payload: bytes) -> bytes:
    """Return a length-delimited protobuf field (number < 16, payload < 128 bytes)."""
    return bytes([number << 3 | 2, len(payload)]) + payload


def wide_field(number: int, payload: bytes) -> bytes:
    """Return a length-delimited protobuf field with a payload of any length."""
    size, length = len(payload), b""
    while size > 127:
        length += bytes([size & 127 | 128])
        size >>= 7
    return bytes([number << 3 | 2]) + length + bytes([size]) + payload


def spans_of(wire: bytes) -> list[bytes]:
    """Return every span of a serialised request as it stands on the wire."""
    return [
        item.SerializeToString(deterministic=True)
        for resource in ExportTraceServiceRequest.FromString(wire).resource_spans
        for scope in resource.scope_spans
        for item in scope.spans
    ]


def test_unchanged_request_leaves_as_the_very_bytes_that_came() -> None:
    """Even an encoding that no serialiser would produce is kept."""
    # Fields out of order, an explicit zero, and a field from the future.
    odd_span = (
        field(2, bytes(7) + b"\1")
        + field(1, bytes(15) + b"\1")
        + b"\x50\x00"
        + field(15, b"\x18\x03")
        + b"\xa8\x06\x07"
    )
    wire = field(1, field(2, field(2, odd_span)) + field(1, b""))

    batch = read(wire)

    assert finish(batch.serialize()) == wire
    assert batch.items() == 1


def test_editing_one_span_leaves_its_neighbours_byte_for_byte() -> None:
    """Only the edited span is serialised anew."""
    odd = field(2, bytes(7) + b"\2") + field(1, bytes(15) + b"\1") + b"\xa8\x06\x07"
    batch = read(request(span(1)).SerializeToString())
    batch.groups[0].node.items.append(odd)
    batch = read(batch.outline.SerializeToString())

    batch.groups[0].items[0].name = "renamed"
    batch.groups[0].changed.add(0)
    out = read(finish(batch.serialize()))

    assert out.groups[0].raw[1] == odd
    assert out.groups[0].items[0].name == "renamed"


def test_bad_utf8_in_one_span_spares_the_others() -> None:
    """The bad one is left out and named; the rest goes through."""
    batch = read(request(span(1), span(2)).SerializeToString())
    batch.groups[0].node.items.append(field(1, bytes(15) + b"\1") + field(2, bytes(7) + b"\3") + field(5, b"\xff\xfe"))
    with pytest.raises(DecodeError):
        ExportTraceServiceRequest.FromString(batch.outline.SerializeToString())

    batch = read(batch.outline.SerializeToString())

    assert batch.partial_success() == (1, "1 x span that does not decode (bad UTF-8, wrong types or nested too deep)")
    assert len(spans_of(finish(batch.serialize()))) == 2


def test_too_deep_a_value_spares_the_neighbour() -> None:
    """AnyValue nested beyond what protobuf reads is that span's problem only."""
    deep = AnyValue(string_value="bottom").SerializeToString()
    for _ in range(200):
        deep = wide_field(5, wide_field(1, deep))
    nested = span(2).SerializeToString() + wide_field(9, field(1, b"deep") + wide_field(2, deep))
    batch = read(request(span(1)).SerializeToString())
    batch.groups[0].node.items.append(nested)

    batch = read(batch.outline.SerializeToString())

    assert batch.groups[0].items[0].span_id[-1] == 1
    assert (batch.items(), batch.partial_success()[0]) == (1, 1)


@pytest.mark.parametrize(
    ("trace_id", "span_id", "parent_id", "why"),
    [
        (b"", b"\1" * 8, b"", "trace id of 0 bytes"),
        (b"\1" * 15, b"\1" * 8, b"", "trace id of 15 bytes"),
        (bytes(16), b"\1" * 8, b"", "trace id of 16 bytes, 16 not all zero"),
        (b"\1" * 16, b"\1" * 16, b"", "span id of 16 bytes"),
        (b"\1" * 16, bytes(8), b"", "span id of 8 bytes, 8 not all zero"),
        (b"\1" * 16, b"\1" * 8, b"\1" * 7, "parent span id of 7 bytes"),
    ],
)
def test_impossible_ids_are_rejected_by_name(trace_id: bytes, span_id: bytes, parent_id: bytes, why: str) -> None:
    """The client is told which id has which length."""
    bad = span(9)
    bad.trace_id, bad.span_id, bad.parent_span_id = trace_id, span_id, parent_id

    batch = read(request(span(1), bad, span(2)).SerializeToString())

    assert batch.items() == 2
    count, message = batch.partial_success()
    assert count == 1
    assert why in message


def test_resource_that_does_not_decode_takes_only_its_own_spans() -> None:
    """Spans of the other resource stay."""
    good = request(span(1)).SerializeToString()
    broken = field(1, field(1, field(1, b"\xff")) + field(2, field(2, b"")))

    batch = read(good + broken)

    assert [item.span_id[-1] for group in batch.groups for item in group.items] == [1]


def test_oversized_item_is_passed_on_unread() -> None:
    """Nothing is lost and nothing is read."""
    large = span(2, payload="x" * MAX_ITEM_BYTES)
    wire = request(span(1), large).SerializeToString()

    batch = read(wire)

    assert batch.groups[0].items[1] is None
    assert finish(batch.serialize()) == wire


def test_what_is_not_protobuf_is_rejected_as_a_whole() -> None:
    """There is no neighbour to save."""
    with pytest.raises(Rejected, match="ExportTracesServiceRequest"):
        read(b"\x0a\xff\xff")


def test_logs_and_metrics_are_counted_in_their_own_units() -> None:
    """Log records, and data points rather than metrics."""
    logs = ExportLogsServiceRequest()
    logs.resource_logs.add().scope_logs.add().log_records.add(severity_text="INFO")
    metrics = ExportMetricsServiceRequest()
    metric = metrics.resource_metrics.add().scope_metrics.add().metrics.add(name="m")
    metric.gauge.data_points.add(as_int=1)
    metric.gauge.data_points.add(as_int=2)

    assert finish(decode("logs", logs.SerializeToString(), 1)).items() == 1
    assert finish(decode("metrics", metrics.SerializeToString(), 1)).items() == 2


@given(st.binary(max_size=400))
def test_no_bytes_bring_the_decoder_down(wire: bytes) -> None:
    """It reads or it rejects."""
    for signal in ("traces", "logs", "metrics"):
        try:
            batch = finish(decode(signal, wire, 1))  # type: ignore[arg-type]
        except Rejected:
            continue
        finish(batch.serialize())


@given(st.lists(st.integers(0, 6), min_size=1, max_size=6))
def test_split_keeps_every_item_once_and_in_order(sizes: list[int]) -> None:
    """Halving until nothing more can be halved yields the same spans."""
    message = request()
    number = 0
    for size in sizes:
        scope = message.resource_spans.add().scope_spans.add()
        for _ in range(size):
            number += 1
            scope.spans.append(span(number))
    whole = Delivery("traces", message.SerializeToString(), number, 1)
    pending, leaves = [whole], []
    while pending:
        delivery = pending.pop(0)
        halves = split(delivery)
        if halves is None:
            leaves.append(delivery)
        else:
            pending[:0] = halves

    assert [wire for leaf in leaves for wire in spans_of(leaf.data)] == spans_of(whole.data)
    assert all(leaf.items <= 1 for leaf in leaves)

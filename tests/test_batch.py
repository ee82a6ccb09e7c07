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
from opentelemetry.proto.resource.v1.resource_pb2 import Resource as ResourceMessage

from spanledger.conventions.values import Value, key_value
from spanledger.processor.batch import (
    MAX_HEAD_BYTES,
    MAX_HEAD_PARTS,
    MAX_HEADS_BYTES,
    MAX_ITEM_BYTES,
    MAX_ITEM_PARTS,
    Batch,
    Delivery,
    decode,
    finish,
    split,
)
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


@pytest.mark.parametrize(
    ("more", "is_read"),
    [
        (wide_field(5, b"x" * MAX_ITEM_BYTES), False),
        (wide_field(5, b"x" * (MAX_ITEM_BYTES - 100)), True),
        (wide_field(11, b"") * (MAX_ITEM_PARTS["traces"] + 1), False),
        (wide_field(9, wide_field(2, wide_field(5, wide_field(1, b"") * MAX_ITEM_PARTS["traces"]))), False),
        (wide_field(11, b"") * (MAX_ITEM_PARTS["traces"] - 10), True),
    ],
    ids=["too many bytes", "a picture", "too many events", "too many values in one attribute", "many events"],
)
def test_item_is_read_by_how_many_parts_it_has(more: bytes, is_read: bool) -> None:
    """A picture of megabytes is no work, a million empty events are: those are passed on unread and stay whole."""
    wire = wide_field(1, wide_field(2, wide_field(2, span(1).SerializeToString() + more)))

    batch = read(wire)

    assert ([item is not None for item in batch.groups[0].items], batch.items()) == ([is_read], 1)
    assert finish(batch.serialize()) == wire


@pytest.mark.parametrize(
    ("more", "unread"),
    [
        (wide_field(1, wide_field(1, b"k" * MAX_HEAD_BYTES)), 1),
        (wide_field(1, b"") * MAX_HEAD_PARTS, 1),
        (wide_field(1, b"") * (MAX_HEAD_PARTS - 8), 0),
    ],
)
def test_resource_with_too_many_attributes_still_names_its_service(more: bytes, unread: int) -> None:
    """It is not read: no attributes. Its bytes stay."""
    name = ResourceMessage(attributes=[key_value("service.name", "shop")]).SerializeToString()
    wire = wide_field(1, wide_field(1, name + more) + wide_field(2, wide_field(2, span(1).SerializeToString())))

    batch = read(wire)

    resource = batch.groups[0].resource
    assert (resource.service_name, bool(resource.attributes), batch.unread_heads) == ("shop", not unread, unread)
    assert finish(batch.serialize()) == wire


def test_attributes_of_many_different_resources_are_read_up_to_a_limit() -> None:
    """They take thirty times the room of their bytes; one that comes again is read already."""
    head = wide_field(1, wide_field(1, b"service.name") + wide_field(2, wide_field(1, b"shop")))
    item = wide_field(2, wide_field(2, span(1).SerializeToString()))
    heads = [head + wide_field(1, wide_field(1, b"%d" % n + b"k" * 40_000)) for n in range(2)]
    many = [head + wide_field(1, wide_field(1, b"%d" % n + b"k" * 40_000)) for n in range(2, 150)]
    wire = b"".join(wide_field(1, wide_field(1, one) + item) for one in [*heads * 100, *many, *heads])

    batch = read(wire)

    read_at_all = MAX_HEADS_BYTES // 40_100
    assert batch.unread_heads == 150 - read_at_all
    assert {group.resource.service_name for group in batch.groups} == {"shop"}
    assert all(group.resource.attributes for group in batch.groups[-2:])


@pytest.mark.parametrize(
    ("value", "name"), [("shop", "shop"), (7, "7"), (True, "true"), ("x" * 300, "x" * 256), (["a"], ""), (None, "")]
)
def test_service_name_is_a_short_text(value: Value, name: str) -> None:
    """A number is a name too; what is remembered by it stays small."""
    batch = read(
        request(span(1), scope="s" * 300, version="v" * 300, resource={"service.name": value}).SerializeToString()
    )

    group = batch.groups[0]
    assert group.resource.service_name == name
    assert (len(group.scope.name), len(group.scope.version)) == (256, 256)


def test_large_resources_are_not_remembered() -> None:
    """Clients choose them, and a thousand of them would fill the memory."""
    wires = [request(span(1), resource={"k": str(n) + "x" * 5000}).SerializeToString() for n in range(2)]
    first, again, _ = read(wires[0]), read(wires[0]), read(wires[1])

    assert first.groups[0].resource == again.groups[0].resource
    assert first.groups[0].resource is not again.groups[0].resource


def test_resource_that_does_not_decode_does_not_leave() -> None:
    """A backend would refuse the whole request for it."""
    broken = field(1, field(1, field(1, b"\xff")) + field(2, field(2, b"")))

    batch = read(request(span(1)).SerializeToString() + broken)

    ExportTraceServiceRequest.FromString(finish(batch.serialize()))
    assert batch.partial_success()[0] == 1


@given(st.lists(st.lists(st.integers(0, 3), max_size=3), max_size=3), st.data())
def test_changed_request_is_what_protobuf_would_write(shape: list[list[int]], data: st.DataObject) -> None:
    """Same message, fields of the future included, however it is divided."""
    expected = ExportTraceServiceRequest()
    for number, scopes in enumerate(shape):
        resource = expected.resource_spans.add(schema_url=f"r{number}")
        resource.resource.attributes.append(key_value("service.name", "shop"))
        for count in scopes:
            scope = resource.scope_spans.add(schema_url="s", scope={"name": "n"})
            scope.spans.extend(span(one + 1) for one in range(count))
            scope.MergeFromString(b"\xa8\x06\x07")
    batch = read(expected.SerializeToString() + b"\xa8\x06\x07")
    expected.MergeFromString(b"\xa8\x06\x07")
    for group, scope in zip(
        batch.groups, [scope for resource in expected.resource_spans for scope in resource.scope_spans], strict=True
    ):
        for index in data.draw(st.sets(st.integers(0, 3))) & set(range(len(group.items))):
            group.items[index].name = scope.spans[index].name = "renamed"
            group.changed.add(index)
    wire = finish(batch.serialize())

    kept = [resource for resource in expected.resource_spans if resource.scope_spans]
    if any(group.changed for group in batch.groups):
        del expected.resource_spans[:]
        expected.resource_spans.extend(kept)
    assert ExportTraceServiceRequest.FromString(wire) == expected


def test_what_is_not_protobuf_is_rejected_as_a_whole() -> None:
    """There is no neighbour to save."""
    with pytest.raises(Rejected, match="ExportTraceServiceRequest"):
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

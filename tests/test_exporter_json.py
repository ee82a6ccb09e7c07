"""OTLP/JSON as we write it."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue

from spanledger.conventions.values import key_value
from spanledger.exporters.otlp_json import json_object, to_json
from spanledger.processor.batch import Signal
from spanledger.receivers.otlp.json_codec import to_protobuf
from tests.fakes import request, span

MANY_KINDS = {
    "text": "é\n\x00",
    "empty": "",
    "yes": True,
    "no": False,
    "zero": 0,
    "large": 2**63 - 1,
    "negative": -5,
    "half": 0.5,
    "nan": math.inf,
    "bytes": b"\x00\xff",
    "list": [1, "a", [None, {}], {"k": [1.5]}],
}


def traces() -> ExportTraceServiceRequest:
    """Return a request with every field of a span."""
    one = span(1, parent=7, name="chat", **MANY_KINDS)  # type: ignore[arg-type]
    one.trace_state = "a=b"
    one.flags = 257
    one.kind = one.SPAN_KIND_CLIENT
    one.status.code = one.status.STATUS_CODE_ERROR
    one.status.message = "no"
    event = one.events.add(time_unix_nano=5, name="e", dropped_attributes_count=1)
    event.attributes.append(key_value("k", "v"))
    one.links.add(trace_id=b"\x01" * 16, span_id=b"\x02" * 8, trace_state="x", flags=1)
    message = request(one, span(2))
    message.resource_spans[0].schema_url = "https://example.com/r"
    message.resource_spans[0].scope_spans[0].schema_url = "https://example.com/s"
    message.resource_spans[0].scope_spans[0].scope.attributes.append(key_value("", "no key"))
    message.resource_spans.add()
    return message


def logs() -> ExportLogsServiceRequest:
    """Return a request with every field of a log record."""
    message = ExportLogsServiceRequest()
    record = message.resource_logs.add().scope_logs.add().log_records.add()
    record.time_unix_nano = 2**63
    record.severity_number = record.severity_number.__class__(17)
    record.severity_text = "ERROR"
    record.event_name = "gen_ai.evaluation.result"
    record.body.kvlist_value.values.append(key_value("score", 0.1))
    record.trace_id, record.span_id, record.flags = b"\xab" * 16, b"\xcd" * 8, 1
    return message


def metrics() -> ExportMetricsServiceRequest:
    """Return a request with every kind of metric."""
    message = ExportMetricsServiceRequest()
    found = message.resource_metrics.add().scope_metrics.add().metrics
    gauge = found.add(name="g", unit="1", description="d").gauge.data_points.add(as_double=math.nan)
    gauge.exemplars.add(as_int=-1, trace_id=b"\x01" * 16, span_id=b"\x02" * 8, time_unix_nano=9)
    total = found.add(name="s").sum
    total.is_monotonic, total.aggregation_temporality = True, 2
    total.data_points.add(as_int=0, start_time_unix_nano=1)
    found.add(name="h").histogram.data_points.add(
        count=3, sum=1.5, bucket_counts=[1, 2], explicit_bounds=[0.1], min=-math.inf, max=1.0
    )
    exponential = found.add(name="e").exponential_histogram.data_points.add(count=3, scale=-2, zero_count=1)
    exponential.positive.offset = -1
    exponential.positive.bucket_counts.extend([1, 2])
    summary = found.add(name="q").summary.data_points.add(count=1, sum=2.0)
    summary.quantile_values.add(quantile=0.5, value=2.0)
    return message


CASES: list[tuple[Signal, Any]] = [("traces", traces()), ("logs", logs()), ("metrics", metrics())]


@pytest.mark.parametrize(("signal", "message"), CASES)
def test_receiver_reads_back_what_is_written(signal: Signal, message: Any) -> None:
    """Through text and back, nothing is lost."""
    text, unreadable = to_json(signal, message.SerializeToString())
    wire, left_out = to_protobuf(signal, text.encode())
    assert (unreadable, left_out.total()) == (0, 0)
    # NaN is not equal to itself; its bytes are.
    assert type(message).FromString(wire).SerializeToString(deterministic=True) == message.SerializeToString(
        deterministic=True
    )


def test_form_is_that_of_the_specification() -> None:
    """Hex ids, numbers for enums, strings for 64-bit numbers, on one line."""
    text, _ = to_json("traces", traces().SerializeToString())
    assert "\n" not in text
    scope = json.loads(text)["resourceSpans"][0]["scopeSpans"][0]
    found = scope["spans"][0]
    assert found["traceId"] == "00000000000000000000000000000001"
    assert (found["spanId"], found["parentSpanId"]) == ("0000000000000001", "0000000000000007")
    assert found["links"][0]["traceId"] == "01" * 16
    assert (found["kind"], found["status"]["code"]) == (3, 2)
    assert found["startTimeUnixNano"] == "1700000000000000001"
    values = {pair["key"]: pair["value"] for pair in found["attributes"]}
    assert values["large"] == {"intValue": "9223372036854775807"}
    assert values["zero"] == {"intValue": "0"}
    assert values["no"] == {"boolValue": False}
    assert values["empty"] == {"stringValue": ""}
    assert values["nan"] == {"doubleValue": "Infinity"}
    assert values["bytes"] == {"bytesValue": "AP8="}
    assert values["list"]["arrayValue"]["values"][:2] == [{"intValue": "1"}, {"stringValue": "a"}]


def test_item_that_does_not_decode_costs_only_itself() -> None:
    """A broken item, which was passed on unread, is counted; its neighbours are written."""
    message = request(span(1), span(2))
    wire = message.SerializeToString()
    name = wire.index(b"span 2")
    broken = wire[:name] + b"\xff" * 6 + wire[name + 6 :]  # no UTF-8
    text, unreadable = to_json("traces", broken)
    assert unreadable == 1
    assert [s["name"] for s in json.loads(text)["resourceSpans"][0]["scopeSpans"][0]["spans"]] == ["span 1"]


def test_deepest_value_that_protobuf_takes_is_written() -> None:
    """No recursion error: the parser allows 100 levels of messages, a value takes two."""
    deep = AnyValue(string_value="x")
    for _ in range(48):
        outer = AnyValue()
        outer.array_value.values.append(deep)
        deep = outer
    read = AnyValue.FromString(deep.SerializeToString())
    assert json.dumps(json_object(read)).count("arrayValue") == 48


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False) | st.text(max_size=5)
    | st.binary(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)  # fmt: skip


@given(st.dictionaries(st.text(max_size=4), VALUES, max_size=4))
def test_any_attributes_survive(attributes: dict[str, Any]) -> None:
    """Through text and back, for any attribute value."""
    one = span(1)
    one.attributes.extend(key_value(key, value) for key, value in attributes.items())
    message = request(one)
    text, _ = to_json("traces", message.SerializeToString())
    wire, left_out = to_protobuf("traces", text.encode())
    assert left_out.total() == 0
    assert ExportTraceServiceRequest.FromString(wire) == message

"""Reading OTLP/JSON: the incremental reader, the wire writer, and what is left out."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import pytest
from google.protobuf import json_format
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from spanledger.processor.batch import Signal
from spanledger.processor.component import Rejected
from spanledger.receivers.otlp import json_reader
from spanledger.receivers.otlp.compression import TooLarge
from spanledger.receivers.otlp.json_codec import to_protobuf
from spanledger.receivers.otlp.json_reader import JsonReader, Unreadable

REQUEST: dict[Signal, Any] = {
    "traces": ExportTraceServiceRequest,
    "logs": ExportLogsServiceRequest,
    "metrics": ExportMetricsServiceRequest,
}
IDS = {"traceId": f"{1:032x}", "spanId": f"{1:016x}"}

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=20,
)


def spans(*items: Any) -> bytes:
    """Return a request with the given JSON values as spans."""
    return json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": items}]}]}).encode()


def taken(body: bytes) -> tuple[list[str], Counter[str]]:
    """Return the names of the spans that were taken, and what was left out."""
    wire, left_out = to_protobuf("traces", body)
    request = ExportTraceServiceRequest.FromString(wire)
    return [s.name for r in request.resource_spans for g in r.scope_spans for s in g.spans], left_out


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        ({"traceId": "zz" * 16}, "span with a trace id that is not 32 hex digits"),
        ({"traceId": "ab" * 15 + " a"}, "span with a trace id that is not 32 hex digits"),
        ({"spanId": "MDEyMzQ1Njc="}, "span with a span id that is not 16 hex digits"),
        ({"name": 5}, "span with something else where a string belongs"),
        ({"kind": "SPAN_KIND_WRONG"}, "span with something else where a whole number belongs"),
        ({"startTimeUnixNano": -1}, "span with a number that is out of range"),
        ({"startTimeUnixNano": 1.5}, "span with something else where a whole number belongs"),
        ({"startTimeUnixNano": True}, "span with something else where a whole number belongs"),
        ({"attributes": {}}, "span with something else where a list belongs"),
        ({"attributes": [1]}, "span with something else where an object belongs"),
        ({"attributes": [{"value": {"intValue": "9" * 19}}]}, "span with a number that is out of range"),
        ({"attributes": [{"value": {"boolValue": 1}}]}, "span with something else where true or false belongs"),
        ({"attributes": [{"value": {"doubleValue": "x"}}]}, "span with something else where a number belongs"),
        ({"attributes": [{"value": {"bytesValue": "%"}}]}, "span with bytes that are not base64"),
        (5, "span with something else where an object belongs"),
        (None, "span with something else where an object belongs"),
    ],
)
def test_bad_item_is_left_out_and_its_neighbours_are_taken(bad: Any, why: str) -> None:
    """Each kind of mistake in one span costs that span alone, with a reason that shows no value."""
    item = {**IDS, "name": "bad", **bad} if isinstance(bad, dict) else bad

    assert taken(spans({**IDS, "name": "a"}, item, {**IDS, "name": "b"})) == (["a", "b"], Counter({why: 1}))


@pytest.mark.parametrize("levels", [201, 5_000, 20_000, 300_000])
def test_unreadable_values_are_passed_over(levels: int) -> None:
    """What nobody can follow - depth, numbers of thousands of digits - costs one span, and the same on every Python."""
    deep = '{"x":' * levels + "1" + "}" * levels
    good = json.dumps({**IDS, "name": 'quote \\" and brackets ]}'})
    text = f'{{"resourceSpans":[{{"scopeSpans":[{{"spans":[{deep},{good},{{"x":{"1" * 5000}}},{good}]}}]}}]}}'
    names, left_out = taken(text.encode())

    assert names == ['quote \\" and brackets ]}'] * 2
    assert left_out == Counter({"span nested too deep": 1, "span with a number of too many digits": 1})


def test_large_values_are_read_and_absurd_ones_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    """A span of megabytes of text is read; one of too many values or of too much text is left out."""
    monkeypatch.setattr(json_reader, "MAX_VALUE_TOKENS", 1000)
    monkeypatch.setattr(json_reader, "MAX_VALUE_CHARS", 3_000_000)
    text = {"attributes": [{"key": "k", "value": {"stringValue": 'a"\\\n' * 300_000}}]}
    crowd = {"attributes": [{"key": "k"}] * 120_000}
    huge = {"attributes": [{"key": "k", "value": {"stringValue": "x" * 3_100_000}}]}
    body = spans(*({**IDS, "name": name, **rest} for name, rest in
                   (("a", text), ("b", crowd), ("c", huge), ("d", {}))))  # fmt: skip

    assert taken(body) == (["a", "d"], Counter({"span that is too large": 2}))


def test_items_under_a_broken_resource_are_left_out_together() -> None:
    """Without its resource a span would be someone else's: all of them are left out, other resources stay."""
    groups = [
        {"scopeSpans": [{"spans": [{**IDS, "name": "a"}]}], "resource": {"attributes": 5}},
        {"scopeSpans": [{"spans": [{**IDS, "name": "b"}], "scope": 5}]},
        {"scopeSpans": [{"spans": [{**IDS, "name": "c"}]}], "schemaUrl": "https://x", "resource": None},
    ]
    names, left_out = taken(json.dumps({"resourceSpans": groups}).encode())

    assert names == ["c"]
    assert sum(left_out.values()) == 2


def test_last_of_duplicate_keys_wins() -> None:
    """As everywhere in JSON, in the outline too."""
    one, two = (spans({**IDS, "name": name})[1:-1] for name in ("one", "two"))

    assert taken(b"{%b,%b}" % (one, two)) == (["two"], Counter())


@pytest.mark.parametrize(
    "body",
    [b"", b"null", b"[]", b'{"resourceSpans":{}}', b'{"resourceSpans":[1]}', b'{"resourceSpans":[{}]} x', b'{"a":',
     b'{"a" 1}', b"{'a':1}", b'{"resourceSpans":[{}', b'{"resourceSpans":[{"scopeSpans":[{"spans":[{"name":tru}]}]}]}',
     b'{"resourceSpans":[{"scopeSpans":[{"spans":[{"name":"' + b"x" * 2_000_000],
)  # fmt: skip
def test_broken_outline_rejects_the_request(body: bytes) -> None:
    """What is not JSON of the right shape is refused as a whole."""
    with pytest.raises(Rejected, match="the body is not"):
        to_protobuf("traces", body)


@given(json_values, st.integers(1, 9))
def test_reader_reads_what_json_loads_reads(value: Any, chunk: int) -> None:
    """Wherever the text is cut into chunks, and however it is walked."""
    text = json.dumps({"list": [value, value], "value": value}, ensure_ascii=False).encode("utf-8", "replace")
    expected = json.loads(text)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_reader, "_CHUNK", chunk)
        reader = JsonReader(text)
        read: dict[str, Any] = {}
        for key in reader.members():
            read[key] = [reader.value() for _ in reader.elements()] if key == "list" else reader.value()
        reader.finish()

    assert repr(read) == repr(expected)


@given(json_values, st.integers(1, 9))
def test_reader_passes_over_any_value(value: Any, chunk: int) -> None:
    """Passing over ends exactly behind the value."""
    text = json.dumps([value, "next"]).encode()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_reader, "_CHUNK", chunk)
        reader = JsonReader(text)
        walk = reader.elements()
        next(walk)
        reader.pass_over()
        next(walk)

        assert reader.value() == "next"


@given(st.binary(max_size=200), st.sampled_from(["traces", "logs", "metrics"]))
def test_no_bytes_bring_the_json_decoder_down(body: bytes, signal: Signal) -> None:
    """Any bytes are a request or `Rejected`."""
    for prefix in (b"", b'{"resourceSpans":[{"scopeSpans":[{"spans":['):
        try:
            wire, _ = to_protobuf(signal, prefix + body)
        except Rejected:
            continue
        REQUEST[signal].FromString(wire)


KEYS = [
    "resourceSpans",
    "resource",
    "scopeSpans",
    "scope",
    "spans",
    "attributes",
    "key",
    "value",
    "traceId",
    "spanId",
    "events",
    "links",
    "kind",
    "status",
    "code",
    "name",
    "stringValue",
    "intValue",
    "arrayValue",
    "values",
    "kvlistValue",
    "bytesValue",
    "resourceMetrics",
    "scopeMetrics",
    "metrics",
    "gauge",
    "sum",
    "histogram",
    "exponentialHistogram",
    "summary",
    "dataPoints",
    "bucketCounts",
    "explicitBounds",
    "quantileValues",
    "scale",
    "positive",
    "offset",
    "asInt",
    "asDouble",
    "exemplars",
    "resourceLogs",
    "scopeLogs",
    "logRecords",
    "body",
    "severityNumber",
    "flags",
    "isMonotonic",
    "timeUnixNano",
]
LEAVES = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3)
    | st.sampled_from(["ab" * 16, "cd" * 8, "NaN", "-5", "1e3", "AA=="])
)  # fmt: skip


@settings(max_examples=300)
@given(
    st.recursive(
        LEAVES,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=4),
        max_leaves=25,
    ),
    st.sampled_from(["traces", "logs", "metrics"]),
)
def test_whatever_is_taken_is_valid_protobuf(tree: Any, signal: Signal) -> None:
    """Known keys in the wrong places and with wrong values: rejected, left out, or a message that parses."""
    outer, middle, inner = {
        "traces": ("resourceSpans", "scopeSpans", "spans"),
        "logs": ("resourceLogs", "scopeLogs", "logRecords"),
        "metrics": ("resourceMetrics", "scopeMetrics", "metrics"),
    }[signal]
    for document in (tree, {outer: [{middle: [{inner: [tree, {"dataPoints": tree, "gauge": tree}]}]}]}):
        try:
            wire, _ = to_protobuf(signal, json.dumps(document).encode())
        except Rejected:
            continue
        REQUEST[signal].FromString(wire)


def test_every_kind_of_metric_means_the_same_as_in_protobuf() -> None:
    """All scalar and packed types of OTLP go through the writer as through protobuf's own JSON mapping."""
    request = ExportMetricsServiceRequest()
    metrics = request.resource_metrics.add().scope_metrics.add().metrics
    metrics.add(name="g").gauge.data_points.add(as_int=-5, time_unix_nano=2**64 - 1, flags=1)
    metrics.add(name="s").sum.data_points.add(as_double=1.5)
    metrics[1].sum.is_monotonic = True
    metrics[1].sum.aggregation_temporality = 2
    metrics.add(name="h").histogram.data_points.add(
        count=3, sum=6.5, bucket_counts=[1, 0, 2**63], explicit_bounds=[0.5, float("inf")], min=-1
    )
    point = metrics.add(name="e").exponential_histogram.data_points.add(scale=-3, zero_count=2)
    point.positive.offset = -7
    point.positive.bucket_counts.extend([1, 300])
    metrics.add(name="q").summary.data_points.add().quantile_values.add(quantile=0.5, value=2)
    text = json_format.MessageToJson(request)

    wire, left_out = to_protobuf("metrics", text.encode())

    assert ExportMetricsServiceRequest.FromString(wire) == request
    assert not left_out


def test_unreadable_says_what_but_not_the_value() -> None:
    """A reason is shown to clients and in logs: it holds nothing of the data."""
    reader = JsonReader(b"[" + b"7" * 5000 + b"]")
    for _ in reader.elements():
        with pytest.raises(Unreadable) as raised:
            reader.value()
        assert "7" not in str(raised.value)


@pytest.mark.parametrize(
    "body",
    [
        b'{"resourceSpans":[' + b"{}," * 200_000 + b"{}]}",
        b'{"resourceSpans":[{"scopeSpans":[{"spans":[' + b"{}," * 1_100_000 + b"{}]}]}]}",
        b'{"x":[' + b"{}," * 4_000_001 + b"{}]}",
    ],
    ids=["resources", "items", "values"],
)
def test_json_of_too_many_parts_is_rejected_before_it_is_converted(body: bytes) -> None:
    """It would keep the thread busy for half a minute, and packs into a few kilobytes."""
    with pytest.raises(Rejected, match="send it in parts"):
        to_protobuf("traces", body)


def test_json_that_grows_in_protobuf_keeps_to_the_limit() -> None:
    """A bucket count of two characters becomes eight bytes."""
    metric = {"name": "m", "histogram": {"dataPoints": [{"bucketCounts": [1] * 1000}]}}
    body = json.dumps({"resourceMetrics": [{"scopeMetrics": [{"metrics": [metric] * 10}]}]}, separators=(",", ":"))
    assert len(body) < 30_000

    assert len(to_protobuf("metrics", body.encode(), 90_000)[0]) > 80_000
    with pytest.raises(TooLarge):
        to_protobuf("metrics", body.encode(), 30_000)

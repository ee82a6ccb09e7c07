"""One item that is too long for a peer: it gets there shorter, and says so."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from spanledger.conventions.values import attributes_of, key_value
from spanledger.exporters.shrink import SHORTENED_KEY, shrink
from spanledger.processor.batch import Delivery
from tests.fakes import request, span


def delivery(one: Span) -> Delivery:
    """Return a delivery of one span."""
    return Delivery("traces", request(one).SerializeToString(), 1, 0)


def only(shorter: Delivery | None) -> Span:
    """Return the span of a delivery."""
    assert shorter is not None
    message = ExportTraceServiceRequest.FromString(shorter.data)
    return message.resource_spans[0].scope_spans[0].spans[0]


def test_only_the_longest_are_cut_and_in_their_middle() -> None:
    """What is short stays whole; what is cut says how much is gone and has a digest of the whole."""
    whole = span(1, a="x" * 50_000 + "END", b="short", tokens=17)
    shorter = shrink(delivery(whole), 20_000)
    cut = attributes_of(only(shorter).attributes)
    assert shorter is not None
    assert len(shorter.data) <= 20_000
    assert (cut["b"], cut["tokens"], cut[SHORTENED_KEY]) == ("short", 17, ["a"])
    text = str(cut["a"])
    assert text.startswith("xxx")
    assert text.endswith("END")
    assert "bytes cut, sha256 " in text
    assert len(text) > 15_000, "no more is cut than has to be"


def test_item_that_was_cut_before_names_both() -> None:
    """Two sidecars in a row."""
    one = span(1, b="y" * 9000)
    one.attributes.append(key_value(SHORTENED_KEY, ["a"]))
    cut = only(shrink(delivery(one), 6000))
    assert [each.key for each in cut.attributes].count(SHORTENED_KEY) == 1
    assert attributes_of(cut.attributes)[SHORTENED_KEY] == ["a", "b"]


def test_texts_of_one_length_share_the_loss() -> None:
    """None of them is cut to nothing while another stays whole."""
    cut = attributes_of(only(shrink(delivery(span(1, a="x" * 9000, b="y" * 9000)), 10_000)).attributes)
    assert abs(len(str(cut["a"])) - len(str(cut["b"]))) < 4


def test_nested_values_events_and_status_are_cut_too() -> None:
    """Wherever the long text is."""
    one = span(1)
    one.attributes.append(key_value("nested", [{"deep": "x" * 5000}]))
    one.events.add(name="e").attributes.append(key_value("content", "y" * 5000))
    one.status.message = "z" * 5000
    cut = only(shrink(delivery(one), 6000))
    assert attributes_of(cut.attributes)[SHORTENED_KEY] == ["status.message", "nested", "content"] or set(
        attributes_of(cut.attributes)[SHORTENED_KEY]  # type: ignore[arg-type]
    ) == {"nested", "content", "status.message"}


def test_many_small_things_are_dropped_and_counted() -> None:
    """Events go first; the protocol has a field that says how many."""
    one = span(1)
    for number in range(1000):
        one.events.add(name=f"event {number}")
    cut = only(shrink(delivery(one), 8000))
    assert 0 < len(cut.events) < 1000
    assert len(cut.events) + cut.dropped_events_count == 1000
    assert attributes_of(cut.attributes)[SHORTENED_KEY] == ["events"]


def test_log_record_is_cut_in_its_body() -> None:
    """Its attributes stay."""
    message = ExportLogsServiceRequest()
    record = message.resource_logs.add().scope_logs.add().log_records.add()
    record.body.string_value = "b" * 50_000
    record.attributes.append(key_value("event.name", "x"))
    shorter = shrink(Delivery("logs", message.SerializeToString(), 1, 0), 10_000)
    assert shorter is not None
    cut = ExportLogsServiceRequest.FromString(shorter.data).resource_logs[0].scope_logs[0].log_records[0]
    assert len(cut.body.string_value) < 10_000
    assert attributes_of(cut.attributes)["event.name"] == "x"


@pytest.mark.parametrize(
    "given_delivery",
    [
        Delivery("metrics", request(span(1, a="x" * 9000)).SerializeToString(), 1, 0),
        Delivery("traces", b"\xff" * 9000, 1, 0),
        Delivery("traces", request(span(1), span(2, a="x" * 9000)).SerializeToString(), 2, 0),
        delivery(span(1)),
    ],
    ids=["metrics", "garbage", "two items", "short enough"],
)
def test_what_cannot_or_need_not_be_shortened(given_delivery: Delivery) -> None:
    """None, and no exception."""
    assert shrink(given_delivery, 4000) is None


_TEXT = st.text(max_size=30).flatmap(lambda text: st.integers(0, 300).map(lambda times: text * times))


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(st.text(max_size=40), _TEXT, max_size=12), st.integers(3000, 20_000))
def test_result_fits_and_is_the_same_span(attributes: dict[str, str], limit: int) -> None:
    """Ids, times and the name stay, and every value is whole, cut with a mark, or gone and counted."""
    one = span(1)
    one.attributes.extend(key_value(key, value) for key, value in attributes.items())
    given_delivery = delivery(one)
    shorter = shrink(given_delivery, limit)
    if given_delivery.size <= limit:
        assert shorter is None
        return
    cut = only(shorter)
    assert shorter is not None
    assert len(shorter.data) <= limit
    assert (cut.trace_id, cut.span_id, cut.start_time_unix_nano) == (
        one.trace_id,
        one.span_id,
        one.start_time_unix_nano,
    )
    left = dict(attributes_of(cut.attributes))
    assert left.pop(SHORTENED_KEY)
    assert all(
        value == attributes[key] or "bytes cut" in str(value) for key, value in left.items() if key in attributes
    )
    assert json.dumps(left)

"""What the keys of a span alone say is worked out once for all spans with the same keys."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from opentelemetry.proto.trace.v1.trace_pb2 import Span

from spanledger.conventions.dialects import DIALECTS
from spanledger.conventions.reader import Reader
from spanledger.conventions.span_attributes import Keys, SpanAttributes, by_keys
from spanledger.conventions.usage import Usage
from spanledger.conventions.values import key_value
from tests.fakes import span

ASKED: list[list[str]] = []


def _noted(keys: Collection[str]) -> int:
    ASKED.append(list(keys))
    return len(keys)


def _first(keys: Collection[str]) -> str:
    return next(iter(keys))


def test_spans_of_one_shape_are_asked_once() -> None:
    """Each question by itself, and whatever their values are."""
    ASKED.clear()
    reader = Reader(DIALECTS)
    readings = [reader.read("app", "", span(gen_ai__operation__name="chat", a=number)) for number in range(3)]

    assert [by_keys(reading.attributes, _noted) for reading in readings if reading] == [2, 2, 2]
    assert [by_keys(reading.attributes, _first) for reading in readings if reading] == ["gen_ai.operation.name"] * 3
    assert ASKED == [["gen_ai.operation.name", "a"]]


def test_other_keys_are_asked_anew() -> None:
    """In another order, too: what is said may depend on it."""
    reader = Reader(DIALECTS)
    found = []
    for keys in (("gen_ai.operation.name", "b"), ("b", "gen_ai.operation.name")):
        subject = Span()
        subject.attributes.extend(key_value(key, "chat") for key in keys)
        reading = reader.read("app", "", subject)
        assert reading is not None
        found.append(by_keys(reading.attributes, _first))

    assert found == ["gen_ai.operation.name", "b"]


def test_a_plain_mapping_can_be_asked_too() -> None:
    """As log records have it."""
    assert by_keys({"a": 1, "b": 2}, _first) == "a"


def test_of_duplicate_keys_the_last_counts() -> None:
    """It stands where the first one does."""
    pairs = [key_value(key, value) for key, value in (("a", 1), ("b", 2), ("a", 3))]
    attributes = SpanAttributes(Keys({"a": 2, "b": 1}), pairs)

    assert dict(attributes) == {"a": 3, "b": 2}
    assert attributes.message("a").int_value == 3


def test_records_are_compared_hashed_and_replaced_as_frozen_dataclasses_are() -> None:
    """Only who would assign to a field is stopped sooner, by the type checker."""
    usage = Usage(input=1, output=2)

    assert replace(usage, output=3) == Usage(input=1, output=3)
    assert {usage, Usage(input=1, output=2), Usage(input=1)} == {usage, Usage(input=1)}

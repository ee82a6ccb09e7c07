"""Attributes that are added to a message in place are those that `key_value` makes."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from spanledger.conventions.values import Value, add_attributes, key_value

scalars = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(max_size=5))
values: st.SearchStrategy[Value] = st.one_of(
    scalars, st.binary(max_size=5), st.lists(scalars, max_size=3), st.dictionaries(st.text(max_size=3), scalars)
)


@given(st.dictionaries(st.text(max_size=5), values, max_size=5))
def test_attributes_are_the_same_either_way(attributes: dict[str, Value]) -> None:
    """Unset values, integers beyond 64 bits and nested values as well."""
    span = Span()

    add_attributes(span.attributes, attributes)

    assert Span(attributes=[key_value(key, value) for key, value in attributes.items()]) == span
    assert all(pair.HasField("value") for pair in span.attributes)

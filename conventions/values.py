"""OTLP attribute values as Python values, and back.

`AnyValue` is a tree that a client chose; both directions bound what they will follow.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, TypeAlias

from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue

if TYPE_CHECKING:
    from google.protobuf.internal.containers import RepeatedCompositeFieldContainer

Value: TypeAlias = "str | bool | int | float | bytes | list[Value] | dict[str, Value] | None"
Attributes: TypeAlias = Mapping[str, Value]

MAX_NODES = 20_000
"""Values converted out of one attribute before the rest of it is left out."""

MAX_INT64 = 2**63 - 1


class TooLarge(ValueError):  # noqa: N818 - reads as the condition it is
    """A value has more nodes than `MAX_NODES`; it stays on the span, unread."""


def value_of(value: AnyValue, max_nodes: int = MAX_NODES) -> Value:
    """Return `value` as plain Python; None when it is not set. Raises `TooLarge`."""
    # Scalars first: nine attributes of ten.
    kind = value.WhichOneof("value")
    if kind == "string_value":
        return value.string_value
    if kind == "int_value":
        return value.int_value
    if kind == "double_value":
        return value.double_value
    if kind == "bool_value":
        return value.bool_value
    if kind is None:
        return None
    return _tree(value, [max_nodes])


def _tree(value: AnyValue, budget: list[int]) -> Value:
    budget[0] -= 1
    if budget[0] < 0:
        raise TooLarge("too many nested values")
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [_tree(item, budget) for item in value.array_value.values]
    if kind == "kvlist_value":
        return {item.key: _tree(item.value, budget) for item in value.kvlist_value.values}
    if kind is None:
        return None
    scalar: Value = getattr(value, kind)
    return scalar


def attributes_of(pairs: Iterable[KeyValue]) -> dict[str, Value]:
    """Return attributes as a dict. Of duplicate keys the last wins; an oversized value reads as None."""
    attributes: dict[str, Value] = {}
    for pair in pairs:
        try:
            attributes[pair.key] = value_of(pair.value)
        except TooLarge:
            attributes[pair.key] = None
    return attributes


def any_value(value: Value) -> AnyValue:
    """Return `value` as OTLP. Integers beyond 64 bits become strings: nothing is cut."""
    if isinstance(value, str):
        return AnyValue(string_value=value)
    if isinstance(value, bool):
        return AnyValue(bool_value=value)
    if isinstance(value, int):
        if -MAX_INT64 - 1 <= value <= MAX_INT64:
            return AnyValue(int_value=value)
        return AnyValue(string_value=str(value))
    if isinstance(value, float):
        return AnyValue(double_value=value)
    if isinstance(value, bytes):
        return AnyValue(bytes_value=value)
    if value is None:
        return AnyValue()
    made = AnyValue()
    if isinstance(value, dict):
        made.kvlist_value.SetInParent()
        for key, item in value.items():
            made.kvlist_value.values.add(key=key, value=any_value(item))
    else:
        made.array_value.SetInParent()
        made.array_value.values.extend(any_value(item) for item in value)
    return made


def key_value(key: str, value: Value) -> KeyValue:
    """Return one OTLP attribute."""
    return KeyValue(key=key, value=any_value(value))


def add_attributes(pairs: RepeatedCompositeFieldContainer[KeyValue], attributes: Mapping[str, Value]) -> None:
    """Append attributes to those of a message, in place: a third of the time of `key_value` and a copy."""
    for key, value in attributes.items():
        pair = pairs.add()
        pair.key = key
        if type(value) is str:
            pair.value.string_value = value
        elif type(value) is int and -MAX_INT64 <= value <= MAX_INT64:
            pair.value.int_value = value
        elif type(value) is float:
            pair.value.double_value = value
        else:
            pair.value.SetInParent()
            pair.value.MergeFrom(any_value(value))

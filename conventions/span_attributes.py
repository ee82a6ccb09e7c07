"""The attributes of one span, decoded no sooner than they are asked for, and what their keys alone say."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, TypeVar, overload

from spanledger.conventions.values import TooLarge, Value, value_of

if TYPE_CHECKING:
    from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue

    from spanledger.conventions.values import Attributes

_T = TypeVar("_T")
_TREES: Final = frozenset({"array_value", "kvlist_value"})

MAX_ITEMS: Final = 256
"""Items of a list that is read as a fact (finish reasons, stop sequences)."""


class Keys:
    """The keys of a span. Spans with the same keys share one, so that what these say is worked out once for all."""

    __slots__ = ("answers", "at")

    def __init__(self, at: Mapping[str, int]) -> None:
        """Take the position of each key among the attributes."""
        self.at = at
        self.answers: dict[Callable[[Collection[str]], Any], Any] = {}
        """What functions said of them: see `by_keys`."""


class SpanAttributes(Mapping[str, Value]):
    """The attributes of a span as plain values, each decoded when it is first asked for.

    Of duplicate keys the last counts. A value with too many nodes reads as None.
    """

    __slots__ = ("_decoded", "_pairs", "answers", "at")

    def __init__(self, keys: Keys, pairs: Sequence[KeyValue]) -> None:
        """Wrap `pairs`, which are owned from here on; `keys` are theirs."""
        self.at = keys.at
        """Key -> position: to ask which keys there are, which is not to look at a value."""
        self.answers = keys.answers
        self._pairs = pairs
        self._decoded: dict[str, Value] = {}

    def message(self, key: str) -> AnyValue:
        """Return the value of `key` as it came."""
        return self._pairs[self.at[key]].value

    def watched(self, watch: Callable[[Mapping[str, int]], Mapping[str, int]]) -> SpanAttributes:
        """Return the same attributes, with what `watch` makes of their keys."""
        return SpanAttributes(Keys(watch(self.at)), self._pairs)

    def __getitem__(self, key: str) -> Value:
        decoded = self._decoded
        if key not in decoded:
            decoded[key] = decode(self._pairs[self.at[key]].value)
        return decoded[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self.at)

    def __len__(self) -> int:
        return len(self.at)

    def __contains__(self, key: object) -> bool:
        return key in self.at

    @overload
    def get(self, key: str, /) -> Value: ...
    @overload
    def get(self, key: str, /, default: _T) -> Value | _T: ...
    def get(self, key: str, /, default: object = None) -> object:
        """Return the value of `key`, or `default`; without the exception that `Mapping` goes through."""
        return self[key] if key in self.at else default


def by_keys(attributes: Attributes | Keys, question: Callable[[Collection[str]], _T]) -> _T:
    """Return what a function of a module says of the keys of `attributes`, as it said of others with the same keys."""
    if not isinstance(attributes, SpanAttributes | Keys):
        return question(attributes)
    answers = attributes.answers
    if question not in answers:
        answers[question] = question(attributes.at)
    answer: _T = answers[question]
    return answer


def decode(message: AnyValue) -> Value:
    """Return an attribute's value; None when it has too many nodes."""
    try:
        # Nearly all are text or whole numbers; asking for these is quicker than asking which kind it is.
        return message.string_value or message.int_value or value_of(message)
    except TooLarge:
        return None


def plain(message: AnyValue) -> Value:
    """Return a value that may be a fact; None for anything that is none."""
    value: Value = message.string_value or message.int_value
    return value or (decode(message) if is_simple(message) else None)


def is_simple(message: AnyValue) -> bool:
    """Tell whether a value is a scalar or a short list of scalars: whatever else, it is no fact to read."""
    kind = message.WhichOneof("value")
    if kind == "array_value":
        items = message.array_value.values
        return len(items) <= MAX_ITEMS and not any(item.WhichOneof("value") in _TREES for item in items)
    return kind != "kvlist_value"

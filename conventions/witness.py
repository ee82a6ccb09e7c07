"""Notes what is looked at while a span is judged, so that a judgement can be used again.

What the code of a dialect decides depends on nothing but what it looks at: values of attributes, facts read out of
them, a few fields of the span. While it runs for the first time these stand-ins note which. Another span that is
the same in all of them is judged the same, whatever else it says.
"""

from __future__ import annotations

from collections.abc import ItemsView, Iterator, Mapping, ValuesView
from typing import TYPE_CHECKING, Any, Final, TypeVar

if TYPE_CHECKING:
    from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

_V = TypeVar("_V")

NAME: Final = "name"
PARENT: Final = "parent_span_id"
EVENTS: Final = "events"
MAX_EVENTS: Final = 32
"""Of spans with more, nothing is decided by their names alone."""


class WatchedDict(dict[str, _V]):
    """A dict that notes in `seen` whose values were looked at. Asking whether a key is there is not looking."""

    __slots__ = ("seen",)

    def __init__(self, items: Mapping[str, _V], seen: set[str]) -> None:
        super().__init__(items)
        self.seen = seen

    def __getitem__(self, key: str) -> _V:
        self.seen.add(key)
        return super().__getitem__(key)

    def get(self, key: str, default: Any = None) -> Any:
        """Return the value of `key`, or `default`."""
        self.seen.add(key)
        return super().get(key, default)

    def __setitem__(self, key: str, value: _V) -> None:
        # What replaces a value does so because of something.
        if key in self:
            self.seen.add(key)
        super().__setitem__(key, value)

    def pop(self, key: str, *default: Any) -> Any:
        """Take a value out."""
        self.seen.add(key)
        return super().pop(key, *default)

    def setdefault(self, key: str, default: Any = None) -> Any:
        """Return the value of `key`, put there if need be."""
        self.seen.add(key)
        return super().setdefault(key, default)

    def update(self, *others: Any, **more: Any) -> None:
        """Put values in."""
        for key, value in dict(*others, **more).items():
            self[key] = value

    def __ior__(self, other: Any) -> Any:
        self.update(other)
        return self

    def items(self) -> ItemsView[str, _V]:  # type: ignore[override]
        """Return all."""
        self.seen.update(self)
        return super().items()

    def values(self) -> ValuesView[_V]:  # type: ignore[override]
        """Return all values."""
        self.seen.update(self)
        return super().values()

    def copy(self) -> dict[str, _V]:
        """Return all, as a dict that nobody watches."""
        return dict(self.items())

    def __or__(self, other: Any) -> Any:
        return self.copy() | other

    def __ror__(self, other: Any) -> Any:
        return other | self.copy()

    def __eq__(self, other: object) -> bool:
        return self.copy() == other

    __hash__ = None

    def __iter__(self) -> Iterator[str]:
        # With an `__iter__` of its own, `dict(...)` and `**` ask for each value instead of copying the table.
        return super().__iter__()


class WatchedSpan:
    """A span that notes in `seen` which of its fields were looked at.

    Not noted is what all spans that are judged together have in common: the code of the status, and that there
    are no events where there are none. Of events only the names are harmless.
    """

    def __init__(self, span: Span, seen: set[str]) -> None:
        self._span = span
        self._seen = seen

    @property
    def status(self) -> Any:
        """The status; what it says beside its code is noted."""
        return _WatchedStatus(self._span.status, self._seen)

    @property
    def events(self) -> Any:
        """The events."""
        events = self._span.events
        if not events:
            return events
        self._seen.add(EVENTS if len(events) <= MAX_EVENTS else "many events")
        return [_WatchedEvent(event, self._seen) for event in events]

    def __getattr__(self, field: str) -> Any:
        self._seen.add(field)
        return getattr(self._span, field)


class _WatchedEvent:
    def __init__(self, event: Span.Event, seen: set[str]) -> None:
        self.name = event.name
        self._event = event
        self._seen = seen

    def __getattr__(self, field: str) -> Any:
        self._seen.add("events." + field)
        return getattr(self._event, field)


class _WatchedStatus:
    def __init__(self, status: Status, seen: set[str]) -> None:
        self.code = status.code
        self._status = status
        self._seen = seen

    def __getattr__(self, field: str) -> Any:
        self._seen.add("status." + field)
        return getattr(self._status, field)

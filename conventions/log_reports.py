"""Log records that report work, made into the spans that they stand for.

Coding agents log each model call and each tool: some besides their spans, some instead of them. What such a
record says is what a span would say, so it is read as one: the record's attributes, a start and an end, a place in
a tree. The dialects say which events these are (`Dialect.events`); nothing else in this module knows any of them.

* **Time.** A record is written when the work is done, or has the time at which it began; its duration says the rest.
* **Place.** A record of a trace is a child of the span in whose context it was written. One without a trace belongs
  where the last record of its conversation that opened a turn or a call stood. Where nobody has a trace, all records
  of one turn share a trace id that is made of the names of session and turn. That id also tells which traces belong
  together, for some agents make each call a trace of its own.
* **Identity.** The span id is made of the record itself, so that a record that is sent again is the same again. A
  record that was written for a span which was not sampled has the id of that span.

What was opened is remembered by conversation, bounded in number. Everything else is a pure function of the record.
"""

from __future__ import annotations

from bisect import insort
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import blake2b
from typing import TYPE_CHECKING, Final

from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from spanledger.conventions import coerce
from spanledger.conventions.dialect import REPORT_KEY
from spanledger.conventions.values import Attributes, attributes_of

if TYPE_CHECKING:
    from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord

    from spanledger.conventions.dialect import Dialect, LogEvent

MAX_CONVERSATIONS: Final = 4_096
MAX_OPENED: Final = 32
"""Turns and calls that are remembered of one conversation, the last ones."""
MAX_NAME_CHARS: Final = 128
MAX_KEY_CHARS: Final = 256

_DURATIONS: Final = ("duration_ms", "duration")
_MAX_DURATION_MS: Final = 24 * 3_600_000
_MAX_NS: Final = 2**63 - 1
_STATUS_ERROR: Final = 2
_SAMPLED: Final = 1
"""Of the flags of a trace."""
_SLACK_NS: Final = 50_000_000
"""Times of two records of one call are rounded each by itself."""


@dataclass(frozen=True, slots=True)
class Report:
    """A log record as a span."""

    event: str
    """The name of the event as its dialect writes it."""
    scope: str
    """An instrumentation scope of the dialect: the record's own, where that is one."""
    span: Span
    turn: bytes = b""
    """What it has in common with the records of the same turn in whatever trace; empty where it names no turn."""


@dataclass(frozen=True, slots=True, order=True)
class _Opened:
    """A turn or a call that began."""

    start_ns: int
    trace_id: bytes = b""
    span_id: bytes = b""


@dataclass(slots=True)
class _Conversation:
    turns: list[_Opened] = field(default_factory=list)
    calls: list[_Opened] = field(default_factory=list)


_NONE: Final = _Conversation()


class LogReports:
    """Finds reports of work among log records. One owner."""

    def __init__(self, dialects: Sequence[Dialect]) -> None:
        self._events = {
            (dialect.name, name): (dialect, event) for dialect in dialects for name, event in dialect.events.items()
        }  # fmt: skip
        # The conventions' own events mean this only in the scopes of a dialect.
        self._owners = {name: owner for owner, name in self._events if not name.startswith("gen_ai.")}
        self._short = {
            (dialect.name, name.partition(".")[2]): name for dialect in dialects for name in dialect.events
        }  # fmt: skip
        self._conversations: OrderedDict[tuple[str, ...], _Conversation] = OrderedDict()

    def __len__(self) -> int:
        return len(self._conversations)

    def read(self, record: LogRecord, scope: str, spoken: str | None, service: str) -> Report | None:
        """Return what `record` reports; None for all other records.

        `scope` is the record's instrumentation scope, `spoken` the dialect that this is a scope of, if of any,
        `service` the name of the service that sent it.
        """
        known = self._event_of(record, spoken)
        if known is None:
            return None
        name = known[1]
        dialect, event = self._events[known]
        if event.unsampled and (not record.span_id or record.flags & _SAMPLED):
            return None
        attributes = attributes_of(record.attributes)
        names = tuple((coerce.text(attributes.get(key)) or "")[:MAX_KEY_CHARS] for key in dialect.run_keys)
        key = (dialect.name, service[:MAX_KEY_CHARS], names[0] if names else "")
        start_ns, end_ns = _times(record, attributes, event)
        if event.opens:
            opened = self._conversation(key)
            _note(
                opened.turns if event.opens == "turn" else opened.calls,
                _Opened(start_ns, record.trace_id, record.span_id),
            )
        if event.reports is None or (event.only is not None and not event.only(attributes)):
            return None
        conversation = self._conversations.get(key, _NONE)
        call = _last(conversation.calls, end_ns) if event.reports.kind == "llm" else None
        turn = _last(conversation.turns, end_ns)
        if start_ns == end_ns and call is not None and not event.opens:
            start_ns = call.start_ns
        trace_id, parent_id = record.trace_id, b"" if event.unsampled else record.span_id
        for place in (call, turn):
            if not trace_id and place is not None:
                trace_id, parent_id = place.trace_id, place.span_id
        named = len(names) > 1 and names[-1] not in ("", names[0])
        made_id = _digest(16, *key, *names, "" if named or turn is None else str(turn.start_ns))
        if not trace_id:
            trace_id, parent_id = made_id, b""
        span = Span(
            trace_id=trace_id,
            span_id=record.span_id if event.unsampled else _digest(8, *key, name, _identity(record)),
            parent_span_id=parent_id,
            name=name,
            start_time_unix_nano=start_ns,
            end_time_unix_nano=end_ns,
            attributes=[*record.attributes, KeyValue(key=REPORT_KEY, value=AnyValue(string_value=name))],
        )
        if event.failed:
            span.status.code = _STATUS_ERROR  # type: ignore[assignment]
        of_turn = made_id if len(names) > 1 and names[-1] and (named or turn is not None) else b""
        return Report(name, scope if spoken == dialect.name else dialect.scopes[0], span, of_turn)

    def _event_of(self, record: LogRecord, spoken: str | None) -> tuple[str, str] | None:
        """Return the dialect and the name of the event, if that is one of a dialect.

        It is in the field for it, in the attribute that came before that field, or is all that the body says.
        """
        for said in (record.event_name, _attribute(record, "event.name"), record.body.string_value):
            if not said or len(said) > MAX_NAME_CHARS:
                continue
            if spoken is not None and (spoken, said) in self._events:
                return spoken, said
            if said in self._owners:
                return self._owners[said], said
            if spoken is not None and (spoken, said) in self._short:
                return spoken, self._short[spoken, said]
        return None

    def _conversation(self, key: tuple[str, ...]) -> _Conversation:
        known = self._conversations.get(key)
        if known is None:
            known = self._conversations[key] = _Conversation()
            if len(self._conversations) > MAX_CONVERSATIONS:
                self._conversations.popitem(last=False)
        else:
            self._conversations.move_to_end(key)
        return known


def _attribute(record: LogRecord, key: str) -> str:
    return next((pair.value.string_value for pair in record.attributes if pair.key == key), "")


def _times(record: LogRecord, attributes: Attributes, event: LogEvent) -> tuple[int, int]:
    """Return start and end in ns; twice the same where no duration is told, 0 where no time is."""
    told_ns = record.time_unix_nano or record.observed_time_unix_nano or _timestamp(attributes.get("event.timestamp"))
    at_ns = min(told_ns, _MAX_NS)
    found = (coerce.number(attributes.get(key)) for key in _DURATIONS)
    duration_ms = next((known for known in found if known is not None), 0.0)
    if not at_ns or not 0 < duration_ms <= _MAX_DURATION_MS:
        return at_ns, at_ns
    duration_ns = int(duration_ms * 1_000_000)
    return (at_ns, at_ns + duration_ns) if event.at_start else (max(1, at_ns - duration_ns), at_ns)


def _timestamp(value: object) -> int:
    if not isinstance(value, str) or len(value) > 40:
        return 0
    try:
        time = datetime.fromisoformat(value)
        return max(0, int((time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp() * 1e9))
    except (ValueError, OverflowError, OSError):
        return 0


def _note(known: list[_Opened], opened: _Opened) -> None:
    """Remember what began, in order of time whatever the order of arrival."""
    if opened not in known:
        insort(known, opened)
        if len(known) > MAX_OPENED:
            del known[0]


def _last(known: Sequence[_Opened], at_ns: int) -> _Opened | None:
    """Return the last that began before a time."""
    return next((opened for opened in reversed(known) if opened.start_ns <= at_ns + _SLACK_NS), None)


def _identity(record: LogRecord) -> bytes:
    """Return what is the same when a record is sent again; when it was observed may not be."""
    time = record.time_unix_nano or record.observed_time_unix_nano
    parts = [pair.SerializeToString() for pair in record.attributes]
    return b"\0".join((str(time).encode(), record.trace_id, record.span_id, *parts))


def _digest(size: int, *parts: str | bytes) -> bytes:
    made = blake2b(digest_size=size)
    for part in parts:
        raw = part if isinstance(part, bytes) else part.encode("utf-8", "replace")
        made.update(len(raw).to_bytes(8, "big") + raw)
    return made.digest()

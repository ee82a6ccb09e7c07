"""What joins spans of different traces: links, tool-call ids, and for calls without an agent their conversation.

An index remembers which group last had a key; `seams` also know what goes on from what, for ids and words may come
again. All are bounded, see `indexes`. Both directions are kept, for either side may come first.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from functools import lru_cache
from struct import Struct
from typing import TYPE_CHECKING, Final, NamedTuple

from spanledger.conventions.detail import Detail, Digest
from spanledger.conventions.same_call import MAX_APART_NS
from spanledger.conventions.step import Step
from spanledger.processor.trajectory.group import Group, is_loose
from spanledger.processor.trajectory.indexes import Lines, Recent
from spanledger.processor.trajectory.overlaps import (
    Likeness,
    Work,
    holder,
    is_work,
    likeness,
    runners_around,
    running,
    work_of,
)
from spanledger.processor.trajectory.packing import HISTORY
from spanledger.processor.trajectory.seams import Seams

if TYPE_CHECKING:
    from spanledger.processor.trajectory.records import Record

MAX_LINKS: Final = 8
"""A span with more links collects the work of many others; it does not make them one run."""

MIN_ID_CHARS: Final = 8
"""A shorter tool-call id (`call_0`, `1`) is not unique enough to join what is in different traces."""

_MAX_IDS: Final = 64
_MAX_REPORTS: Final = 16
_MAX_ALIKE: Final = 256
_SAYS_NOTHING: Final = Detail()


class _Told(NamedTuple):
    """A report of a model call, by what tells whether another is of the same call."""

    teller: int
    """Which instrumentation tells it, and how: each tells a call once."""
    start_ns: int
    end_ns: int
    alone: bool


_TOLD: Final = Struct("<qQQ?")
"""How it is kept: there is one for each model call, and its times would be objects of their own."""


class Joins:
    """The indexes. `limit` is the number of keys in each."""

    def __init__(self, stitch: Collection[str], window_s: float, limit: int) -> None:
        self._stitch = frozenset(stitch)
        self._window_s = window_s
        self._linked: Recent[bytes] = Recent(limit)
        self._asked_for = Seams(limit)
        """From the model call that asks for a tool to the tool."""
        self._done = Seams(limit)
        """From the tool to the model call that is given its result."""
        self._read = Seams(limit)
        """From the model call that asks for a tool to that which is given its result."""
        self._said = Seams(limit)
        """From a conversation so far to the call that extends it."""
        self._given = Seams(limit, window_s)
        """From a text that a model gave a tool to who is asked just this."""
        self._turns: Recent[bytes] = Recent(limit)
        self._conversations: Recent[tuple[str, str]] = Recent(limit)
        self._going_on: Recent[tuple[str, str]] = Recent(limit)
        """Conversations with a call that was not the first of its turn."""
        self._responses: Lines[str, bytes] = Lines(limit, _MAX_REPORTS)
        self._sessions: Recent[str] = Recent(limit)
        self._alike: Lines[Likeness, Work] = Lines(limit, _MAX_ALIKE)
        """Work that a span standing alone may be another report of, by what they have in common."""
        self._working: Recent[bytes] = Recent(limit)
        """Traces in which work came: to look through the records of every agent that runs would cost more with each."""

    def statistics(self) -> dict[str, int]:
        """Return the number of entries in each index."""
        return {
            "links": len(self._linked),
            "tool_calls": len(self._asked_for) + len(self._done) + len(self._read),
            "conversations": len(self._conversations) + len(self._turns),
            "history": len(self._said) + len(self._given),
            "responses": len(self._responses),
        }

    def expected(self, trace_id: bytes) -> Group | None:
        """Return the group with a link to a trace that is new."""
        return self._linked.find(trace_id)

    def linked_traces(self, record: Record) -> Iterator[bytes]:
        """Yield the other traces of a span: of another report of it, by its links, by what it was called with."""
        if isinstance(record, Step) and record.same_as[:16] not in (b"", record.trace_id):
            yield record.same_as[:16]
        says = record.detail if isinstance(record, Step) else record
        if isinstance(says, Detail) and says.context is not None and "mcp" in self._stitch:
            yield says.context[0]
        links = says.links if says is not None and "link" in self._stitch else ()
        if len(links) <= MAX_LINKS:
            yield from (trace_id for trace_id, _ in links if trace_id != record.trace_id)

    def await_trace(self, trace_id: bytes, group: Group) -> None:
        """Remember that a trace which has not come is linked with `group`."""
        self._linked.note(trace_id, group)

    def partners(self, step: Step, group: Group, now_s: float, heard: Step | None = None) -> Iterator[Group | None]:
        """Yield the groups that `step`, which is in `group`, belongs to by what it says: None where nobody is known.

        Whoever takes them merges each before the next: reports that are one by then count as one. `heard` is
        what was known of the step when it was looked at before.
        """
        yield self._same_call(step, group)
        if step.turn and "conversation" in self._stitch:
            yield self._turns.find(step.turn)
        if step.kind == "evaluation":  # says whom it judges, not who it is
            return
        was = heard.detail if heard is not None and heard.detail is not None else _SAYS_NOTHING
        yield from self._followers(step, group, now_s, was)
        for source in self._SOURCES if is_loose(step) else self._SOURCES_OF_BOUND:
            if (found := source(self, step, group, now_s, was)) is not None:
                yield found
                return  # the surest rule decides

    def remember(self, step: Step, group: Group) -> None:
        """Let later spans find `group` by what `step` says. A judge says whom it judges, not who it is."""
        if is_work(step):
            self._working.note(step.trace_id, group)
        if step.kind == "evaluation":
            return
        if step.turn:
            self._turns.note(step.turn, group)
        if step.conversation_id:
            self._sessions.note(step.conversation_id, group)
        if len(step.response_id) >= MIN_ID_CHARS:
            self._responses.note(step.response_id, _TOLD.pack(*_told(step)), group)
        for like in (likeness(step), None if is_loose(step) else running(step)):
            if like is not None:
                self._alike.note(like, work_of(step), group)
        if is_loose(step) and in_conversation(step):
            conversation = step.service_name, step.conversation_id
            self._conversations.note(conversation, group)
            if continues(step):
                self._going_on.note(conversation, group)

    def around(self, step: Step) -> Group | None:
        """Return the group with the work that `step`, which stands alone, is part of by its time only."""
        if "time" not in self._stitch or not is_loose(step):
            return None
        work, alike, running_ones = work_of(step), self._works(likeness(step)), self._works(running(step))
        if (source := holder(work, alike)) is not None:
            return alike[source]
        # Whose own work is elsewhere.
        around = [one for one in runners_around(work, running_ones) if self._working.find(one.trace_id) is None]
        return running_ones[around[0]] if len(around) == 1 else None

    def answered(self, response_id: str) -> Group | None:
        """Return the group with the call that got this response."""
        told = self._responses.of(response_id) if response_id else ()
        return told[-1][1] if told else None

    def conversing(self, conversation_id: str) -> Group | None:
        """Return the group that a conversation came to last."""
        return self._sessions.find(conversation_id) if conversation_id else None

    def _works(self, like: Likeness | None) -> dict[Work, Group]:
        return dict(self._alike.of(like)) if like is not None else {}

    def _same_call(self, step: Step, group: Group) -> Group | None:
        """Return the group with the report of another instrumentation, where one of both is in a trace of its own.

        A response that one instrumentation tells of twice was given twice, by a cache: then the time decides.
        """
        if len(step.response_id) < MIN_ID_CHARS:
            return None
        told = _told(step)
        reports = [(_Told(*_TOLD.unpack(one)), where) for one, where in self._responses.of(step.response_id)]
        told_here = {id(where) for one, where in reports if one.teller == told.teller}
        again = len({one.teller for one, _ in reports} | {told.teller}) <= len(reports)
        found = [
            (abs(one.start_ns - told.start_ns) + abs(one.end_ns - told.end_ns), -place, where)
            for place, (one, where) in enumerate(reports)
            if id(where) not in told_here and (one.alone or told.alone) and (not again or _together(one, told))
        ]
        own = group.living()
        return min(found)[2] if found and all(where is not own for _, where in reports) else None

    def _followers(self, step: Step, group: Group, now_s: float, was: Detail) -> Iterator[Group | None]:
        """Yield what goes on with the work of `step` and came before it."""
        detail = step.detail or _SAYS_NOTHING
        requests = [one for one in detail.requests[:_MAX_IDS] if one not in was.requests]
        if "tool_call_id" in self._stitch:
            for request in requests:
                if len(request.id) >= MIN_ID_CHARS:
                    number = hash(request.id)
                    yield from self._asked_for.lead(number, step, group)
                    yield from self._read.lead(number, step, group)
            if step.kind == "tool" and len(step.tool_call_id) >= MIN_ID_CHARS:
                yield from self._done.lead(hash(step.tool_call_id), step, group)
        if "history" in self._stitch:
            for text in (text for request in requests for text in request.texts):
                yield from self._given.lead(text, step, group)
        if not is_loose(step):
            return
        if in_conversation(step) and "conversation" in self._stitch:
            yield self._within(self._going_on.find((step.service_name, step.conversation_id)), now_s)
        if detail.after is not None and detail.after != was.after and "history" in self._stitch:
            yield from self._said.lead(detail.after, step, group)

    def _by_tool_call(self, step: Step, group: Group, _now_s: float, was: Detail) -> Group | None:
        if "tool_call_id" not in self._stitch:
            return None
        if step.kind == "tool" and len(step.tool_call_id) >= MIN_ID_CHARS:
            return self._asked_for.follow((hash(step.tool_call_id),), step, group, teller_of(step))
        answered = step.detail.answered[-1:] if step.detail is not None and continues(step) else ()
        # The results of earlier turns are in the history too: only the last one says where this call belongs.
        if not answered or len(answered[0]) < MIN_ID_CHARS or answered == was.answered[-1:]:
            return None
        numbers = (hash(answered[0]),)
        found = self._done.follow(numbers, step, group)
        return found if found is not None else self._read.follow(numbers, step, group)

    def _by_conversation(self, step: Step, _group: Group, now_s: float, _was: Detail) -> Group | None:
        if "conversation" in self._stitch and in_conversation(step) and continues(step):
            return self._within(self._conversations.find((step.service_name, step.conversation_id)), now_s)
        return None

    def _by_history(self, step: Step, group: Group, _now_s: float, was: Detail) -> Group | None:
        if "history" not in self._stitch or step.detail is None or not continues(step):
            return None
        if step.detail.history == was.history:
            return None
        # A call whose answer is not told ends where it began.
        digests = (one for one in reversed(step.detail.history[-HISTORY:]) if one != step.detail.after)
        return self._said.follow(digests, step, group)

    def _by_arguments(self, step: Step, group: Group, _now_s: float, was: Detail) -> Group | None:
        if "history" in self._stitch and (asked := asked_first(step)) is not None and asked not in was.history:
            return self._given.follow((asked,), step, group)
        return None

    # Not bound to the object: a circle keeps all groups, for good where the garbage collector was told to look away.
    _SOURCES: Final = (_by_tool_call, _by_conversation, _by_history, _by_arguments)
    _SOURCES_OF_BOUND: Final = (_by_tool_call, _by_arguments)
    """Of spans with a parent."""

    def _within(self, group: Group | None, now_s: float) -> Group | None:
        """Return a group that something came for not long ago."""
        return group if group is not None and now_s - group.touched_s <= self._window_s else None


def teller_of(step: Step) -> int:
    """Return a number for the instrumentation that tells of a step, and how it does: each tells of a call once."""
    return _teller(step.service_name, step.dialect, step.call.scope if step.call is not None else "", step.report)


@lru_cache(maxsize=1_024)
def _teller(*how: object) -> int:
    """Return the hash, the same object again: it is remembered for each step."""
    return hash(how)


def _told(step: Step) -> _Told:
    return _Told(teller_of(step), step.start_ns, step.end_ns, is_loose(step))


def _together(one: _Told, other: _Told) -> bool:
    return one.start_ns <= other.end_ns + MAX_APART_NS and other.start_ns <= one.end_ns + MAX_APART_NS


def asked_first(step: Step) -> Digest | None:
    """Return the digest of what a call was asked, if that is all that it was given."""
    detail = step.detail
    return detail.history[0] if detail is not None and detail.asks_user and len(detail.history) == 1 else None


def in_conversation(step: Step) -> bool:
    """Tell whether a call belongs to others by its conversation; log records of one turn share a trace already."""
    return bool(step.conversation_id) and not step.report


def continues(step: Step) -> bool:
    """Tell whether a call without an agent may belong to an earlier one: it is not the first of a user's turn."""
    return is_loose(step) and not (step.detail is not None and step.detail.asks_user)

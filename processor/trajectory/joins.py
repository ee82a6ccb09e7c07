"""What joins spans of different traces: links, tool-call ids, and for calls without an agent their conversation.

Each index remembers which group last had a key, and is bounded: groups that are gone fall out, for there may be a
thousand times as many of them as of those that live, and then what was remembered longest.
Both directions are kept, for either side may come first.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Collection, Hashable, Iterator, Mapping
from itertools import chain
from typing import TYPE_CHECKING, Final, Generic, TypeVar

from spanledger.conventions.detail import Detail, Digest
from spanledger.conventions.step import Step
from spanledger.processor.trajectory.group import Group, is_loose
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

if TYPE_CHECKING:
    from spanledger.processor.trajectory.records import Record

MAX_LINKS: Final = 8
"""A span with more links collects the work of many others; it does not make them one run."""

MIN_ID_CHARS: Final = 8
"""A shorter tool-call id (`call_0`, `1`) is not unique enough to join what is in different traces."""

_MAX_IDS: Final = 64
_MAX_SAME: Final = 64
_MAX_ALIKE: Final = 256
_LEAST: Final = 1_024
"""Entries of an index before it is looked through for groups that are gone."""

_K = TypeVar("_K", bound=Hashable)
_V = TypeVar("_V")


class Recent(Generic[_K]):
    """Key -> the group that last had it, for the last `limit` keys, about.

    In two halves: when the young one is full, which is sooner while little lives, it becomes the old one, with what
    lives in that as far as there is room. Of keys only the hash is kept, for there are several for each step: 64 bits,
    keyed with a secret of the process for texts and ids.
    """

    def __init__(self, limit: int) -> None:
        self._half = max(1, limit // 2)
        self._room = min(self._half, _LEAST)
        self._young: dict[int, Group] = {}
        self._old: dict[int, Group] = {}

    def __len__(self) -> int:
        return len(self._young) + len(self._old)

    def find(self, key: _K) -> Group | None:
        """Return the group as it is now; None when there is none or it was forgotten."""
        number = hash(key)
        group = self._young.get(number) or self._old.get(number)
        return None if group is None else group.living()

    def note(self, key: _K, group: Group) -> None:
        """Remember `group` under `key`."""
        if len(self._young) >= self._room:
            self._old = _newest(self._half, self._old, self._young)
            self._young = {}
            self._room = min(self._half, max(_LEAST, len(self._old)))
        self._young[hash(key)] = group


def _newest(limit: int, old: Mapping[int, Group], young: Mapping[int, Group]) -> dict[int, Group]:
    """Return those that live of two halves, without the oldest beyond the limit."""
    older = ((key, group) for key, group in old.items() if key not in young)
    entries = [(key, living) for key, group in chain(older, young.items()) if (living := group.living()) is not None]
    return dict(entries[-limit:])


class _Lines(Generic[_K, _V]):
    """Key -> what was noted under it last, at most `each`, with its groups; at most `limit` of all."""

    def __init__(self, limit: int, each: int) -> None:
        self._limit = limit
        self._each = each
        self._room = min(limit, _LEAST)
        self._count = 0
        self._lines: OrderedDict[_K, deque[tuple[_V, Group]]] = OrderedDict()

    def __len__(self) -> int:
        return self._count

    def _note(self, key: _K, value: _V, group: Group) -> None:
        line = self._lines.setdefault(key, deque())
        self._lines.move_to_end(key)
        line.append((value, group))
        self._count += 1
        if len(line) > self._each:
            self._drop_first(line)
        if self._count > self._room:
            self._sweep()

    def _drop_first(self, line: deque[tuple[_V, Group]]) -> None:
        line.popleft()
        self._count -= 1

    def _sweep(self) -> None:
        """Give up groups that are gone, and if that is not enough, a quarter: not every note is to look at all."""
        for key, line in tuple(self._lines.items()):
            if living := deque(one for one in line if one[1].living() is not None):
                self._lines[key] = living
            else:
                del self._lines[key]
        self._count = sum(map(len, self._lines.values()))
        while self._count > max(1, self._limit * 3 // 4):
            self._count -= len(self._lines.popitem(last=False)[1])
        self._room = min(self._limit, max(_LEAST, 2 * self._count))


class Chains(_Lines[int, None]):
    """Digest of a conversation so far -> the groups that came to it.

    Runs that say the very same, word for word, come to the same digests. Each of them goes on once.
    """

    def __init__(self, limit: int) -> None:
        super().__init__(limit, _MAX_SAME)

    def take(self, digest: int) -> Group | None:
        """Return the group that came to this point first; the last one left may be taken again."""
        line = self._lines.get(digest)
        while line:
            living = line[0][1].living()
            if living is None or len(line) > 1:
                self._drop_first(line)
            if living is not None:
                return living
        self._lines.pop(digest, None)
        return None

    def note(self, digest: int, group: Group) -> None:
        """Remember that `group` came to this point."""
        self._note(digest, None, group)


class Alike(_Lines[Likeness, Work]):
    """Work that a span standing alone may be another report of, by what they have in common."""

    def __init__(self, limit: int) -> None:
        super().__init__(limit, _MAX_ALIKE)

    def note(self, like: Likeness, work: Work, group: Group) -> None:
        """Remember the work of `group`."""
        self._note(like, work, group)

    def of(self, like: Likeness | None) -> dict[Work, Group]:
        """Return the works that are alike, with the groups they are in by now."""
        found = ((work, group.living()) for work, group in self._lines.get(like, ())) if like is not None else ()
        return {work: group for work, group in found if group is not None}


class Joins:
    """The indexes. `limit` is the number of keys in each."""

    def __init__(self, stitch: Collection[str], window_s: float, limit: int) -> None:
        self._stitch = frozenset(stitch)
        self._window_s = window_s
        self._linked: Recent[bytes] = Recent(limit)
        self._requested: Recent[str] = Recent(limit)
        self._called: Recent[str] = Recent(limit)
        self._read: Recent[str] = Recent(limit)
        self._turns: Recent[bytes] = Recent(limit)
        self._conversations: Recent[tuple[str, str]] = Recent(limit)
        self._going_on: Recent[tuple[str, str]] = Recent(limit)
        """Conversations with a call that was not the first of its turn."""
        self._after = Chains(limit)
        self._history: Recent[int] = Recent(limit)
        self._responses: Recent[str] = Recent(limit)
        self._loose_responses: Recent[str] = Recent(limit)
        self._sessions: Recent[str] = Recent(limit)
        self._alike = Alike(limit)
        self._working: Recent[bytes] = Recent(limit)
        """Traces in which work came: to look through the records of every agent that runs would cost more with each."""
        self._given: Recent[int] = Recent(limit)
        self._asked: Recent[int] = Recent(limit)
        """Texts that a model gave a tool: what somebody who is asked just this works for."""
        self._sources = (self._by_tool_call, self._by_conversation, self._by_history, self._by_arguments)
        self._sources_of_bound = (self._by_tool_call, self._by_arguments)
        """Of spans with a parent."""

    def statistics(self) -> dict[str, int]:
        """Return the number of keys in each index."""
        return {
            "links": len(self._linked),
            "tool_calls": len(self._requested) + len(self._called) + len(self._read),
            "conversations": len(self._conversations) + len(self._turns),
            "history": len(self._after) + len(self._history),
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

    def partners(self, step: Step, now_s: float) -> Iterator[Group | None]:
        """Yield the groups that `step` belongs to by what it says: None where nobody is known, its own among them."""
        yield from self._same_call(step)
        if step.turn and "conversation" in self._stitch:
            yield self._turns.find(step.turn)
        yield from self._followers(step, now_s)
        for sources in self._sources if is_loose(step) else self._sources_of_bound:
            found = [group for group in sources(step, now_s) if group is not None]
            yield from found
            if found:
                return  # the surest rule decides

    def remember(self, step: Step, group: Group) -> None:
        """Let later spans find `group` by what `step` says. A judge says whom it judges, not who it is."""
        if is_work(step):
            self._working.note(step.trace_id, group)
        if step.kind == "evaluation":
            return
        loose, detail = is_loose(step), step.detail
        if step.kind == "tool" and len(step.tool_call_id) >= MIN_ID_CHARS:
            self._called.note(step.tool_call_id, group)
        if detail is not None:
            for request in detail.requests[:_MAX_IDS]:
                if len(request.id) >= MIN_ID_CHARS:
                    self._requested.note(request.id, group)
                for text in request.texts:
                    self._given.note(text, group)
        if step.turn:
            self._turns.note(step.turn, group)
        if step.conversation_id:
            self._sessions.note(step.conversation_id, group)
        if len(step.response_id) >= MIN_ID_CHARS:
            self._responses.note(step.response_id, group)
            if loose:
                self._loose_responses.note(step.response_id, group)
        for like in (likeness(step), None if loose else running(step)):
            if like is not None:
                self._alike.note(like, work_of(step), group)
        if (asked := asked_first(step)) is not None:
            self._asked.note(asked, group)
        if not loose:
            return
        if in_conversation(step):
            conversation = step.service_name, step.conversation_id
            self._conversations.note(conversation, group)
            if continues(step):
                self._going_on.note(conversation, group)
        if detail is not None:
            if detail.after is not None:
                self._after.note(detail.after, group)
            if not detail.asks_user:
                if detail.answered and len(detail.answered[-1]) >= MIN_ID_CHARS:
                    self._read.note(detail.answered[-1], group)
                for digest in detail.history[-HISTORY:]:
                    self._history.note(digest, group)

    def around(self, step: Step) -> Group | None:
        """Return the group with the work that `step`, which stands alone, is part of by its time only."""
        if "time" not in self._stitch or not is_loose(step):
            return None
        work, alike, running_ones = work_of(step), self._alike.of(likeness(step)), self._alike.of(running(step))
        if (source := holder(work, alike)) is not None:
            return alike[source]
        # Whose own work is elsewhere.
        around = [one for one in runners_around(work, running_ones) if self._working.find(one.trace_id) is None]
        return running_ones[around[0]] if len(around) == 1 else None

    def answered(self, response_id: str) -> Group | None:
        """Return the group with the call that got this response."""
        return self._responses.find(response_id) if response_id else None

    def conversing(self, conversation_id: str) -> Group | None:
        """Return the group that a conversation came to last."""
        return self._sessions.find(conversation_id) if conversation_id else None

    def _same_call(self, step: Step) -> Iterator[Group | None]:
        # Two instrumentations report one call, one of them in a trace of its own.
        if len(step.response_id) >= MIN_ID_CHARS:
            index = self._responses if is_loose(step) else self._loose_responses
            yield index.find(step.response_id)

    def _followers(self, step: Step, now_s: float) -> Iterator[Group | None]:
        """Yield what goes on with the work of `step` and came before it."""
        detail = step.detail
        if detail is not None and "tool_call_id" in self._stitch:
            for request in detail.requests[:_MAX_IDS]:
                yield self._called.find(request.id)
                yield self._read.find(request.id)
        if detail is not None and "history" in self._stitch:
            for request in detail.requests[:_MAX_IDS]:
                yield from (self._within(self._asked.find(text), now_s) for text in request.texts)
        if not is_loose(step):
            return
        if in_conversation(step) and "conversation" in self._stitch:
            yield self._within(self._going_on.find((step.service_name, step.conversation_id)), now_s)
        if detail is not None and detail.after is not None and "history" in self._stitch:
            yield self._history.find(detail.after)

    def _by_tool_call(self, step: Step, _now_s: float) -> Iterator[Group | None]:
        if "tool_call_id" not in self._stitch:
            return
        if step.kind == "tool" and len(step.tool_call_id) >= MIN_ID_CHARS:
            yield self._requested.find(step.tool_call_id)
            yield self._read.find(step.tool_call_id)
        detail = step.detail
        # The results of earlier turns are in the history too: only the last one says where this call belongs.
        if detail is not None and continues(step) and detail.answered and len(detail.answered[-1]) >= MIN_ID_CHARS:
            yield self._requested.find(detail.answered[-1])
            yield self._called.find(detail.answered[-1])

    def _by_conversation(self, step: Step, now_s: float) -> Iterator[Group | None]:
        if "conversation" in self._stitch and in_conversation(step) and continues(step):
            yield self._within(self._conversations.find((step.service_name, step.conversation_id)), now_s)

    def _by_history(self, step: Step, _now_s: float) -> Iterator[Group | None]:
        if "history" in self._stitch and step.detail is not None and continues(step):
            for digest in reversed(step.detail.history[-HISTORY:]):
                if (group := self._after.take(digest)) is not None:
                    yield group
                    return

    def _by_arguments(self, step: Step, now_s: float) -> Iterator[Group | None]:
        if "history" in self._stitch and (asked := asked_first(step)) is not None:
            yield self._within(self._given.find(asked), now_s)

    def _within(self, group: Group | None, now_s: float) -> Group | None:
        """Return a group that something came for not long ago."""
        return group if group is not None and now_s - group.touched_s <= self._window_s else None


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

"""Calls that are told twice, as a span and as a log record: the same call counts once, whichever comes first.

Two reports are of one call when they have an id in common, or else the same tokens at the same time, from one
dialect, service and conversation; each kind of report tells a call once. They need not say as much as each other:
Gemini CLI's spans leave thoughts out of the output, Codex's name no model. So the numbers of the richer report win,
also when it comes second: then it *supersedes* the first.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

    from spanledger.conventions.ledger import Call, Place

MAX_KEYS: Final = 32_768
MAX_ALIKE: Final = 64
"""Calls that are remembered of those with the same tokens."""
MAX_APART_NS: Final = 5_000_000_000
"""Between the times of two reports of one call, each of them rounded, with durations that mean different things."""

_SPAN: Final = "span"
_Key = tuple[str, ...]


@dataclass(slots=True, eq=False)
class Told:
    """A call that was told, by the richest report so far."""

    place: Place
    call: Call
    sources: tuple[str, ...]
    """The kinds of reports that told it."""
    counts: bool
    """False where its numbers are those of yet another report."""

    @property
    def key(self) -> bytes:
        """Trace id and span id."""
        return self.place.trace_id + self.place.span_id


class Retold:
    """The memory of such calls. One owner, bounded."""

    def __init__(self, max_keys: int = MAX_KEYS) -> None:
        self._max_keys = max_keys
        self._by_key: OrderedDict[_Key, list[Told]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._by_key)

    def find(self, place: Place, call: Call) -> Told | None:
        """Return what was told of the same call before, by another kind of report; it has told this one now."""
        source = call.report or _SPAN
        for key in _keys(call):
            for told in self._by_key.get(key, ()):
                if source not in told.sources and self._is_same(told, place, call, certain=len(key) == len(_ID)):
                    told.sources += (source,)
                    return told
        return None

    def remember(self, place: Place, call: Call, *, counts: bool = True) -> None:
        """Let other reports of a call find it."""
        told = Told(place, call, (call.report or _SPAN,), counts)
        for key in _keys(call):
            alike = self._by_key.setdefault(key, [])
            alike.append(told)
            del alike[:-MAX_ALIKE]
            self._by_key.move_to_end(key)
        while len(self._by_key) > self._max_keys:
            self._by_key.popitem(last=False)

    def _is_same(self, told: Told, place: Place, call: Call, *, certain: bool) -> bool:
        other = told.call
        if certain:
            return True
        return (
            not _differ(other.request_id, call.request_id)
            and not _differ(other.response_id, call.response_id)
            and not _differ(other.session, call.session)
            and other.failed == call.failed
            and not _outputs(other).isdisjoint(_outputs(call))
            and same_model(other, call)
            and _meet(told.place, place)
        )


def richer(call: Call, other: Call) -> bool:
    """Tell whether a report says more than another one of the same call."""
    return _merit(call) > _merit(other)


def same_model(one: Call, other: Call) -> bool:
    """Tell whether two calls may be of one model; a span that does not say its model contradicts nobody."""
    if not one.family or not other.family:
        return True
    return any(
        mine.startswith(theirs) or theirs.startswith(mine)
        for mine in (one.family, one.asked)
        for theirs in (other.family, other.asked)
        if mine and theirs
    )


def _merit(call: Call) -> tuple[bool, bool, int]:
    # Money before tokens: a report that names the model has a price.
    return call.pico_usd is not None, bool(call.family), call.detail


_ID: Final = ("kin", "service", "kind of id", "id")


def _keys(call: Call) -> Iterator[_Key]:
    """Yield what reports of the same call have in common, the surest first: ids, then the tokens."""
    if call.request_id:
        yield call.kin, call.service, "request", call.request_id
    if call.response_id:
        yield call.kin, call.service, "response", call.response_id
    yield call.kin, call.service, str(call.input)


def _outputs(call: Call) -> set[int]:
    """Return what the output may be said to be: some leave reasoning out and do not say how much it was."""
    return {call.output, call.output - call.reasoning}


def _differ(one: str, other: str) -> bool:
    return bool(one and other) and one != other


def _meet(one: Place, other: Place) -> bool:
    """Tell whether two times overlap or nearly do; an unknown time is any."""
    if not (one.start_ns and other.start_ns):
        return True
    return max(one.start_ns, other.start_ns) - min(one.end_ns, other.end_ns) <= MAX_APART_NS

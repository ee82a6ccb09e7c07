"""What goes on from what, by something that both say: the id of a tool call, the words of a conversation, a text.

One step leads to a key, another goes on from it. Mostly the key is theirs alone; then it joins them whatever their
times are, and all that goes on from it, for clocks differ and work forks. But the same may be said again and again,
word for word and id for id: an evaluation that is run once more, a client behind a cache, a smoke test. Each of these
is a run of its own. So where several groups lead to one key

* what goes on is the work of the one that ended last before it began,
* each is gone on from once; what failed leaves it to the next attempt,
* and what finds nobody waits for one to come, instead of joining those that are taken.

What is in one trace belongs together already, and is never looked for elsewhere.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Generic, TypeVar

from spanledger.processor.trajectory.indexes import LEAST

if TYPE_CHECKING:
    from spanledger.conventions.step import Step
    from spanledger.processor.trajectory.group import Group

TOLERANCE_NS: Final = 20_000_000
"""How much earlier than the end of the one the other may begin: streams are often closed a little late."""

MAX_ENDS: Final = 64
"""Of one key, the last ones."""

_K = TypeVar("_K", bound=Hashable)


@dataclass(slots=True, eq=False)
class _End:
    """A step that leads to a key (when it ended), or goes on from it (when it began)."""

    trace_id: bytes
    at_ns: int
    group: Group
    teller: int = 0
    next: tuple[_End, ...] = ()
    """What goes on from it."""

    def is_free(self, teller: int) -> bool:
        """Tell whether nothing goes on from here that this one tells of."""
        return all(end.teller != teller for end in self.next)


@dataclass(slots=True, eq=False)
class _Seam:
    """The ends at one key."""

    leads: tuple[_End, ...] = ()
    waiting: tuple[_End, ...] = ()
    """What goes on from here and found nobody."""
    several: bool = False
    """More than one group led here."""

    def __len__(self) -> int:
        return len(self.leads) + len(self.waiting) + sum(len(end.next) for end in self.leads)

    def forget(self) -> None:
        """Give up groups that are gone."""
        self.leads, self.waiting = _living(self.leads), _living(self.waiting)

    def better(self, lead: _End, window_ns: float) -> tuple[_End, _End | None] | None:
        """Return what should go on from `lead`, and from which other it does so far; its own trace's first."""
        until_ns = lead.at_ns + window_ns
        mine = [end for end in self.waiting if end.trace_id == lead.trace_id]
        waiting = mine or [end for end in self.waiting if lead.at_ns - TOLERANCE_NS <= end.at_ns <= until_ns]
        found: list[tuple[_End, _End | None]] = [(end, None) for end in waiting]
        if not found:
            earlier = [other for other in self.leads if other.at_ns < lead.at_ns]
            found = [(end, other) for other in earlier for end in other.next if lead.at_ns <= end.at_ns <= until_ns]
        return min(found, key=lambda one: one[0].at_ns, default=None)


class Seams(Generic[_K]):
    """The ends of all keys; at most `limit` of them. What is further apart than `window_s` is not joined."""

    def __init__(self, limit: int, window_s: float = float("inf")) -> None:
        self._limit = limit
        self._window_ns = window_s * 1e9
        self._room = min(limit, LEAST)
        self._count = 0
        self._seams: OrderedDict[int, _Seam] = OrderedDict()

    def __len__(self) -> int:
        return self._count

    def follow(self, key: _K, step: Step, group: Group, teller: int = 0) -> Group | None:
        """Return the group that `step` goes on from, which may be its own; None, and it waits, when nobody is known.

        A `teller` tells of what goes on from one step once, even where only one leads to the key.
        """
        seam = self._seam(key)
        seam.leads = _living(seam.leads)
        near = [end for end in seam.leads if step.start_ns - end.at_ns <= self._window_ns]
        found = _last(end for end in near if end.trace_id == step.trace_id)
        if found is None:
            once = [end for end in near if end.is_free(teller)] if teller or seam.several else near
            before = [end for end in once if end.at_ns <= step.start_ns + TOLERANCE_NS]
            found = _last(before if seam.several else once)
        end = _End(step.trace_id, step.start_ns, group, teller)
        if found is None:
            seam.waiting = self._with(seam.waiting, end)
            return None
        if step.status == "error":
            found.at_ns = max(found.at_ns, step.end_ns)
        elif found.trace_id != step.trace_id or found.is_free(teller):
            found.next = self._with(found.next, end)
        return found.group.living()

    def lead(self, key: _K, step: Step, group: Group) -> list[Group]:
        """Return the groups of what waited for `step`; remember it for what is to come.

        What went on from a step that ended earlier, for want of this one, goes on from this one.
        """
        seam, lead = self._seam(key), _End(step.trace_id, step.end_ns, group)
        seam.forget()
        own = group.living()
        seam.several = seam.several or any(end.group.living() is not own for end in seam.leads)
        if seam.several:
            found = _rearranged(seam, lead, self._window_ns)
        else:
            found = [end for end in seam.waiting if end.at_ns - lead.at_ns <= self._window_ns]
            lead.next = tuple(found)
            seam.waiting = tuple(end for end in seam.waiting if end not in found)
        seam.leads = self._with(seam.leads, lead)
        return [living for end in found if (living := end.group.living()) is not None]

    def _seam(self, key: _K) -> _Seam:
        number = hash(key)
        if number in self._seams:
            self._seams.move_to_end(number)
            return self._seams[number]
        if self._count >= self._room:
            self._sweep()
        return self._seams.setdefault(number, _Seam())

    def _with(self, ends: tuple[_End, ...], end: _End) -> tuple[_End, ...]:
        self._count += 1
        return (*ends[1 - MAX_ENDS :], end)

    def _sweep(self) -> None:
        """Count again, without groups that are gone, and if that is not enough, without a quarter of what is there."""
        for seam in self._seams.values():
            seam.forget()
        self._seams = OrderedDict((key, seam) for key, seam in self._seams.items() if len(seam))
        self._count = sum(map(len, self._seams.values()))
        while self._count > max(1, self._limit * 3 // 4):
            self._count -= len(self._seams.popitem(last=False)[1])
        self._room = min(self._limit, max(LEAST, 2 * self._count))


def _rearranged(seam: _Seam, lead: _End, window_ns: float) -> list[_End]:
    """Give `lead` what should go on from it, and what that leaves without, in turn; return all that moved."""
    moved: list[_End] = []
    taker: _End | None = lead
    while taker is not None and (found := seam.better(taker, window_ns)) is not None:
        end, robbed = found
        if robbed is None:
            seam.waiting = tuple(other for other in seam.waiting if other is not end)
        else:
            robbed.next = tuple(other for other in robbed.next if other is not end)
        taker.next += (end,)
        moved.append(end)
        taker = robbed if robbed is not None and robbed.is_free(end.teller) else None
    return moved


def _living(ends: tuple[_End, ...]) -> tuple[_End, ...]:
    return ends if all(end.group.living() for end in ends) else tuple(end for end in ends if end.group.living())


def _last(ends: Iterable[_End]) -> _End | None:
    return max(ends, key=lambda end: end.at_ns, default=None)

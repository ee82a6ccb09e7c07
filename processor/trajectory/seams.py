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
    """What goes on from it, or did."""
    source: int = 0
    """The identity of what it goes on from: a reference would make a circle."""
    rank: int = 0
    """By which of its keys, the surest being 0."""

    def takers(self) -> list[_End]:
        """Return what goes on from it."""
        return [end for end in self.next if end.source == id(self)]

    def give(self, end: _End, rank: int) -> None:
        """Let `end` go on from it, and from nothing else."""
        end.source, end.rank = id(self), rank
        self.next = (*self.takers()[1 - MAX_ENDS :], end)

    def is_free(self, teller: int) -> bool:
        """Tell whether nothing goes on from here that this one tells of."""
        return all(end.teller != teller for end in self.takers())


@dataclass(slots=True, eq=False)
class _Seam:
    """The ends at one key."""

    leads: tuple[_End, ...] = ()
    waiting: tuple[tuple[_End, int], ...] = ()
    """What may go on from here and found nobody, and which of its keys this is."""
    several: bool = False
    """More than one group led here."""

    def __len__(self) -> int:
        return len(self.leads) + len(self.waiting) + sum(len(end.next) for end in self.leads)

    def forget(self) -> None:
        """Give up groups that are gone."""
        self.leads = _living(self.leads)
        self.waiting = tuple(
            (end, rank) for end, rank in self.waiting if end.group.living() and (not end.source or rank < end.rank)
        )

    def better(self, lead: _End, window_ns: float) -> tuple[_End, int, _End | None] | None:
        """Return what should go on from `lead`: what waits, of its own trace first, or what another has too many of.

        With it by which of its keys, and that other.
        """
        until_ns = lead.at_ns + window_ns
        waiting = [one for one in self.waiting if one[0].trace_id == lead.trace_id] or [
            one for one in self.waiting if lead.at_ns - TOLERANCE_NS <= one[0].at_ns <= until_ns
        ]
        found: list[tuple[_End, int, _End | None]] = [(end, rank, None) for end, rank in waiting]
        for other in self.leads if not found else ():
            takers = other.takers()
            for end in takers:
                in_order = lead.at_ns <= other.at_ns <= end.at_ns + TOLERANCE_NS
                if lead.at_ns <= end.at_ns <= until_ns and (takers[1:] or not in_order):
                    found.append((end, end.rank, other))
        return min(found, key=lambda one: one[0].at_ns, default=None)

    def rearrange(self, lead: _End, window_ns: float) -> list[_End]:
        """Give `lead` what should go on from it, and what that leaves without, in turn; return all that moved."""
        moved: list[_End] = []
        taker: _End | None = lead
        while taker is not None and (found := self.better(taker, window_ns)) is not None and found[0] not in moved:
            end, rank, robbed = found
            taker.give(end, rank)
            moved.append(end)
            self.forget()
            taker = robbed if robbed is not None and not robbed.takers() else None
        return moved


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

    def follow(self, keys: Iterable[_K], step: Step, group: Group, teller: int = 0) -> Group | None:
        """Return the group that `step` goes on from by the first of `keys` that leads somewhere; it may be its own.

        None when nobody is known. Where nobody is, it waits. A `teller` tells of what goes on from one step once, even
        where only one leads to the key.
        """
        end = _End(step.trace_id, step.start_ns, group, teller)
        for rank, seam in enumerate(map(self._seam, keys)):
            found = self._source(seam, step, teller)
            if found is None:
                seam.waiting = (*seam.waiting[1 - MAX_ENDS :], (end, rank))
                self._count += 1
                continue
            if step.status == "error":
                found.at_ns = max(found.at_ns, step.end_ns)
            elif found.trace_id != step.trace_id or found.is_free(teller):
                found.give(end, rank)
                self._count += 1
            return found.group.living()
        return None

    def _source(self, seam: _Seam, step: Step, teller: int) -> _End | None:
        seam.leads = _living(seam.leads)
        near = [lead for lead in seam.leads if step.start_ns - lead.at_ns <= self._window_ns]
        if own := [lead for lead in near if lead.trace_id == step.trace_id]:
            return _last(own)
        if not seam.several:
            return _last(lead for lead in near if not teller or lead.is_free(teller))
        before = [lead for lead in near if lead.at_ns <= step.start_ns + TOLERANCE_NS]
        return _last(lead for lead in before if lead.is_free(teller))

    def lead(self, key: _K, step: Step, group: Group) -> list[Group]:
        """Return the groups of what waited for `step`; remember it for what is to come.

        What went on from a step that ended earlier, for want of this one, goes on from this one.
        """
        seam, lead = self._seam(key), _End(step.trace_id, step.end_ns, group)
        seam.forget()
        own = group.living()
        seam.several = seam.several or any(end.group.living() is not own for end in seam.leads)
        if seam.several:
            found = seam.rearrange(lead, self._window_ns)
        else:
            near = [one for one in seam.waiting if one[0].at_ns - lead.at_ns <= self._window_ns]
            for end, rank in near:
                lead.give(end, rank)
            found = [end for end, _ in near]
            seam.forget()
        seam.leads = (*seam.leads[1 - MAX_ENDS :], lead)
        self._count += 1
        return [living for end in found if (living := end.group.living()) is not None]

    def _seam(self, key: _K) -> _Seam:
        if self._count >= self._room:
            self._sweep()
        number = hash(key)
        if number in self._seams:
            self._seams.move_to_end(number)
        return self._seams.setdefault(number, _Seam())

    def _sweep(self) -> None:
        """Count again, without groups that are gone, and if that is not enough, without a quarter of what is there."""
        for seam in self._seams.values():
            seam.forget()
        self._seams = OrderedDict((key, seam) for key, seam in self._seams.items() if len(seam))
        self._count = sum(map(len, self._seams.values()))
        while self._count > max(1, self._limit * 3 // 4):
            self._count -= len(self._seams.popitem(last=False)[1])
        self._room = min(self._limit, max(LEAST, 2 * self._count))


def _living(ends: tuple[_End, ...]) -> tuple[_End, ...]:
    return ends if all(end.group.living() for end in ends) else tuple(end for end in ends if end.group.living())


def _last(ends: Iterable[_End]) -> _End | None:
    return max(ends, key=lambda end: end.at_ns, default=None)

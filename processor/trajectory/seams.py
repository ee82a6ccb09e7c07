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

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from spanledger.processor.trajectory.indexes import LEAST

if TYPE_CHECKING:
    from spanledger.conventions.step import Step
    from spanledger.processor.trajectory.group import Group

TOLERANCE_NS: Final = 20_000_000
"""How much earlier than the end of the one the other may begin: streams are often closed a little late."""

MAX_ENDS: Final = 64
"""Of one key, the last ones."""


@dataclass(slots=True, eq=False)
class _Follower:
    """A step that may go on from a key, and what it does go on from."""

    trace_id: bytes
    began_ns: int
    group: Group
    teller: int
    source: int = 0
    """The identity of what it goes on from: a reference would make a circle."""
    rank: int = 0
    """By which of its keys, the surest being 0."""

    def waits(self, rank: int) -> bool:
        """Tell whether it would still go on from what leads to this one of its keys."""
        return self.group.living() is not None and (not self.source or rank < self.rank)


@dataclass(slots=True, eq=False)
class _Lead:
    """A step that leads to a key."""

    trace_id: bytes
    ended_ns: int
    group: Group
    given: _Follower | tuple[_Follower, ...] = ()
    """What goes on from it, or did. One is mostly all."""

    def followers(self) -> list[_Follower]:
        """Return what goes on from it."""
        given = self.given if isinstance(self.given, tuple) else (self.given,)
        return [one for one in given if one.source == id(self)]

    def give(self, follower: _Follower, rank: int) -> None:
        """Let `follower` go on from it, and from nothing else."""
        follower.source, follower.rank = id(self), rank
        self.given = (*others[1 - MAX_ENDS :], follower) if (others := self.followers()) else follower

    def is_free(self, teller: int) -> bool:
        """Tell whether nothing goes on from here that this one tells of."""
        return all(one.teller != teller for one in self.followers())

    def find(self, step: Step, teller: int, window_ns: float) -> _Lead | None:
        """Return this one if `step` goes on from it."""
        if step.start_ns - self.ended_ns > window_ns:
            return None
        return self if self.trace_id == step.trace_id or not teller or self.is_free(teller) else None

    def __len__(self) -> int:
        return 1 + (len(self.given) if isinstance(self.given, tuple) else 1)


@dataclass(slots=True, eq=False)
class _Seam:
    """All that is at one key, where that is more than one lead."""

    leads: tuple[_Lead, ...] = ()
    waiting: tuple[_Follower, ...] = ()
    """What may go on from here and found nobody."""
    ranks: bytes = b""
    """Which of its keys this is for each of them."""
    several: bool = False
    """More than one group led here."""

    def __len__(self) -> int:
        return sum(map(len, self.leads)) + len(self.waiting)

    def find(self, step: Step, teller: int, window_ns: float) -> _Lead | None:
        """Return what `step` goes on from."""
        self.leads = _living(self.leads)
        near = [lead for lead in self.leads if step.start_ns - lead.ended_ns <= window_ns]
        if own := [lead for lead in near if lead.trace_id == step.trace_id]:
            return _last(own)
        if self.several:
            near = [lead for lead in near if lead.ended_ns <= step.start_ns + TOLERANCE_NS]
            return _last(lead for lead in near if lead.is_free(teller))
        return _last(lead for lead in near if not teller or lead.is_free(teller))

    def forget(self) -> None:
        """Give up groups that are gone."""
        self.leads = _living(self.leads)
        waiting = [(one, rank) for one, rank in zip(self.waiting, self.ranks, strict=True) if one.waits(rank)]
        if len(waiting) < len(self.waiting):
            self.waiting, self.ranks = tuple(one for one, _ in waiting), bytes(rank for _, rank in waiting)

    def wait(self, follower: _Follower, rank: int) -> None:
        """Let what found nobody be found by what comes."""
        self.waiting = (*self.waiting[1 - MAX_ENDS :], follower)
        self.ranks = self.ranks[1 - MAX_ENDS :] + bytes((rank,))

    def better(self, lead: _Lead, window_ns: float) -> tuple[_Follower, int, _Lead | None] | None:
        """Return what should go on from `lead`: what waits, of its own trace first, or what another has too many of.

        With it by which of its keys, and that other.
        """
        until_ns = lead.ended_ns + window_ns
        waiting = list(zip(self.waiting, self.ranks, strict=True))
        near = [one for one in waiting if one[0].trace_id == lead.trace_id] or [
            one for one in waiting if lead.ended_ns - TOLERANCE_NS <= one[0].began_ns <= until_ns
        ]
        found: list[tuple[_Follower, int, _Lead | None]] = [(one, rank, None) for one, rank in near]
        for other in self.leads if not found else ():
            followers = other.followers()
            for one in followers:
                in_order = lead.ended_ns <= other.ended_ns <= one.began_ns + TOLERANCE_NS
                if lead.ended_ns <= one.began_ns <= until_ns and (followers[1:] or not in_order):
                    found.append((one, one.rank, other))
        return min(found, key=lambda one: one[0].began_ns, default=None)

    def rearrange(self, lead: _Lead, window_ns: float) -> list[_Follower]:
        """Give `lead` what should go on from it, and what that leaves without, in turn; return all that moved."""
        moved: list[_Follower] = []
        without: _Lead | None = lead
        while without is not None and (found := self.better(without, window_ns)) is not None and found[0] not in moved:
            follower, rank, robbed = found
            without.give(follower, rank)
            moved.append(follower)
            self.forget()
            without = robbed if robbed is not None and not robbed.followers() else None
        return moved


_Known = _Lead | _Follower | _Seam
"""What is at one key: mostly a lead, or what waits for one by its surest key, and there may be a million of these."""


class Seams:
    """What is at all keys, at most `limit` steps. What is further apart than `window_s` is not joined.

    Keys are numbers of 64 bits: digests, or the hashes of ids.
    """

    def __init__(self, limit: int, window_s: float = float("inf")) -> None:
        self._limit = limit
        self._window_ns = window_s * 1e9
        self._room = min(limit, LEAST)
        self._count = 0
        self._seams: dict[int, _Known] = {}
        """That which was looked at last at the end."""

    def __len__(self) -> int:
        return self._count

    def follow(self, keys: Iterable[int], step: Step, group: Group, teller: int = 0) -> Group | None:
        """Return the group that `step` goes on from by the first of `keys` that leads somewhere; it may be its own.

        None when nobody is known. Where nobody is, it waits. A `teller` tells of what goes on from one step once, even
        where only one leads to the key.
        """
        follower = _Follower(group.same_trace(step.trace_id), step.start_ns, group, teller)
        for rank, key in enumerate(keys):
            known = self._find(key)
            lead = None if known is None or isinstance(known, _Follower) else known.find(step, teller, self._window_ns)
            if lead is None:
                self._wait(key, known, follower, rank)
                continue
            if step.status == "error":
                lead.ended_ns = max(lead.ended_ns, step.end_ns)
            elif lead.trace_id != step.trace_id or lead.is_free(teller):
                lead.give(follower, rank)
                self._count += 1
            return lead.group.living()
        return None

    def lead(self, key: int, step: Step, group: Group) -> list[Group]:
        """Return the groups of what waited for `step`; remember it for what is to come.

        What went on from a step that ended earlier, for want of this one, goes on from this one.
        """
        known, lead = self._find(key), _Lead(group.same_trace(step.trace_id), step.end_ns, group)
        self._count += 1
        if known is None:
            self._seams[key] = lead
            return []
        seam = _as_seam(known)
        seam.forget()
        own = group.living()
        seam.several = seam.several or any(other.group.living() is not own for other in seam.leads)
        if seam.several:
            found = seam.rearrange(lead, self._window_ns)
        else:
            waiting = zip(seam.waiting, seam.ranks, strict=True)
            near = [one for one in waiting if one[0].began_ns - lead.ended_ns <= self._window_ns]
            for follower, rank in near:
                lead.give(follower, rank)
            found = [follower for follower, _ in near]
            seam.forget()
        seam.leads = (*seam.leads[1 - MAX_ENDS :], lead)
        self._seams[key] = seam if seam.several or seam.waiting or seam.leads[1:] else lead
        return [living for follower in found if (living := follower.group.living()) is not None]

    def _wait(self, key: int, known: _Known | None, follower: _Follower, rank: int) -> None:
        self._count += 1
        if known is None and not rank:
            self._seams[key] = follower
            return
        seam = self._seams[key] = _as_seam(known)
        seam.wait(follower, rank)

    def _find(self, key: int) -> _Known | None:
        if self._count >= self._room:
            self._sweep()
        known = self._seams.pop(key, None)
        if known is None or (not isinstance(known, _Seam) and known.group.living() is None):
            return None
        self._seams[key] = known
        return known

    def _sweep(self) -> None:
        """Count again, without groups that are gone, and if that is not enough, without a quarter of what is there."""
        # Numbers only, and nothing made anew where all live: there may be a hundred thousand, and the event loop waits.
        counts = [*map(_count, self._seams.values())]
        self._count = sum(counts)
        beyond = self._count - max(1, self._limit * 3 // 4)
        if beyond > 0 or not all(counts):
            seams, self._seams = self._seams, {}
            for (key, known), count in zip(seams.items(), counts, strict=True):
                if beyond > 0:
                    beyond -= count
                    self._count -= count
                elif count:
                    self._seams[key] = known
        self._room = min(self._limit, max(LEAST, 2 * self._count))


def _as_seam(known: _Known | None) -> _Seam:
    if isinstance(known, _Lead):
        return _Seam((known,))
    if isinstance(known, _Follower):
        return _Seam(waiting=(known,), ranks=b"\0")
    return known if known is not None else _Seam()


def _count(known: _Known) -> int:
    """Return how many steps of groups that live there are."""
    if isinstance(known, _Follower):
        return int(known.waits(0))
    if isinstance(known, _Seam):
        known.forget()
    elif known.group.living() is None:
        return 0
    return len(known)


def _living(leads: tuple[_Lead, ...]) -> tuple[_Lead, ...]:
    return leads if all(one.group.living() for one in leads) else tuple(one for one in leads if one.group.living())


def _last(leads: Iterable[_Lead]) -> _Lead | None:
    return max(leads, key=lambda one: one.ended_ns, default=None)

"""What is remembered of the groups that live, by a key, and no more of it than a limit says.

Groups that are gone fall out first, for there may be a thousand times as many of them as of those that live, and then
what was remembered longest.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping
from itertools import chain, islice
from typing import Any, Final, Generic, TypeVar

from spanledger.processor.trajectory.group import Group

LEAST: Final = 1_024
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
        self._room = min(self._half, LEAST)
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
            self._room = min(self._half, max(LEAST, len(self._old)))
        self._young[hash(key)] = group


def _newest(limit: int, old: Mapping[int, Group], young: Mapping[int, Group]) -> dict[int, Group]:
    """Return those that live of two halves, without the oldest beyond the limit."""
    older = ((key, group) for key, group in old.items() if key not in young)
    kept = {key: living for key, group in chain(older, young.items()) if (living := group.living()) is not None}
    return kept if len(kept) <= limit else dict(islice(kept.items(), len(kept) - limit, None))


class Lines(Generic[_K, _V]):
    """Key -> what was noted under it last, at most `each`, with its groups; at most `limit` of all."""

    def __init__(self, limit: int, each: int) -> None:
        self._limit = limit
        self._each = each
        self._room = min(limit, LEAST)
        self._count = 0
        self._lines: dict[int, tuple[Any, ...]] = {}
        """Values and groups in turn: mostly there is one of each, and a tuple of the two would be one more object."""

    def __len__(self) -> int:
        return self._count

    def note(self, key: _K, value: _V, group: Group) -> None:
        """Remember `value`, which is in `group`, under `key`."""
        number = hash(key)
        line = self._lines.pop(number, ())
        self._lines[number] = after = line[2 - 2 * self._each :] + (value, group)  # noqa: RUF005
        self._count += (len(after) - len(line)) // 2
        if self._count > self._room:
            self._sweep()

    def of(self, key: _K) -> list[tuple[_V, Group]]:
        """Return what was noted, with the groups it is in by now, the last at the end."""
        line = self._lines.get(hash(key), ())
        return [(value, living) for value, group in _pairs(line) if (living := group.living()) is not None]

    def _sweep(self) -> None:
        """Give up groups that are gone, and if that is not enough, a quarter: not every note is to look at all."""
        # Nothing is made for each line: there may be a hundred thousand, and the event loop waits.
        for key in [key for key, line in self._lines.items() if len(line) > 2 or line[1].living() is None]:
            if alive := _alive(self._lines[key]):
                self._lines[key] = alive
            else:
                del self._lines[key]
        self._count = sum(map(len, self._lines.values())) // 2
        beyond = self._count - max(1, self._limit * 3 // 4)
        for key in list(self._lines) if beyond > 0 else ():
            if beyond <= 0:
                break
            count = len(self._lines.pop(key)) // 2
            beyond, self._count = beyond - count, self._count - count
        self._room = min(self._limit, max(LEAST, 2 * self._count))


def _pairs(line: tuple[Any, ...]) -> Iterator[tuple[Any, Group]]:
    return zip(line[::2], line[1::2], strict=True)


def _alive(line: tuple[Any, ...]) -> tuple[Any, ...]:
    if all(group.living() for group in line[1::2]):
        return line
    return tuple(chain.from_iterable(one for one in _pairs(line) if one[1].living()))

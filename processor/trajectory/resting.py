"""Work in a thread beside the event loop, that leaves the loop what it needs of the interpreter."""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Final, TypeVar

MAX_S: Final = 1.0
"""Seconds of one rest: a part that took longer was stopped with the whole process."""

_T = TypeVar("_T")


def resting(work: Generator[None, None, _T], monotonic: Callable[[], float], rest: Callable[[float], object]) -> _T:
    """Run a generator to its end, and after each part of it call `rest` with the seconds that it took, or `MAX_S`.

    While two threads want the interpreter each has half of it, however little the one needs. At half load that is all
    the loop needs and nothing to spare: what came late once would stay late until the other is done.
    """
    while True:
        began_s = monotonic()
        try:
            next(work)
        except StopIteration as done:
            result: _T = done.value
            return result
        rest(min(monotonic() - began_s, MAX_S))

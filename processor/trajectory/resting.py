"""Work in a thread beside the event loop, that leaves the loop what it needs of the interpreter."""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import TypeVar

_T = TypeVar("_T")


def resting(work: Generator[None, None, _T], monotonic: Callable[[], float], rest: Callable[[float], object]) -> _T:
    """Run a generator to its end, and after each part of it call `rest` with the seconds that it took.

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
        rest(monotonic() - began_s)

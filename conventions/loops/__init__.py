"""Loops, storms and runs without progress, found while a run is open. Pure: no clock, no order of arrival.

`find` looks at the steps that are there, `LoopWatch` at each step as it comes, and both say the same. A step
is wasted where nothing new came of it: the same was done before and the same came back, and nothing new was
learnt in between.

::

    steps ──> timeline ──> streaks ──┐
              one act a    repeats   ├──> found ──> Loop: rule, steps, basis, waste
              tool call,   cycles  ──┤
              no twins     ceilings ─┘

`timeline.py` says what was done, `streaks.py` has the rules that count repeats, `cycles.py` and `ceilings.py`
the others, `rules.py` every threshold. Only digests and names are looked at, and only these come out.
"""

from spanledger.conventions.loops.ceilings import History, Progress, ceilings, progress_of
from spanledger.conventions.loops.find import find
from spanledger.conventions.loops.found import Loop
from spanledger.conventions.loops.rules import LoopRules
from spanledger.conventions.loops.watch import Grown, LoopWatch

__all__ = ["Grown", "History", "Loop", "LoopRules", "LoopWatch", "Progress", "ceilings", "find", "progress_of"]

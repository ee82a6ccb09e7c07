"""Loops, storms and runs without progress, found while a run is open. Pure: no clock, no order of arrival.

`find` compares the steps of a run with one another, `ceilings` the run as a whole with its agent's earlier ones. A
step is wasted where nothing new came of it: the same was done before and the same came back, and nothing new was
learnt in between.

::

    steps ──> timeline ──> streaks ──┐
              one act a    cycles  ──┼──> found ──> Loop: rule, steps, basis, waste
              tool call,   storms  ──┘              ▲
              no twins                              │
    how far a run has come ──> ceilings ────────────┘

`counts.py` says whether anything came often enough, `timeline.py` what was done; `streaks.py` has the rules that count
repeats, `cycles.py`, `storms.py` and `ceilings.py` the others, `rules.py` every threshold. Only digests and names are
looked at, and only these come out.
"""

from spanledger.conventions.loops.ceilings import History, Progress, ceilings, progress_of
from spanledger.conventions.loops.find import find
from spanledger.conventions.loops.found import Loop
from spanledger.conventions.loops.rules import LoopRules

__all__ = ["History", "Loop", "LoopRules", "Progress", "ceilings", "find", "progress_of"]

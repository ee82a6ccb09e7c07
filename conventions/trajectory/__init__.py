"""From a set of records to the runs they are of: `build`, a pure function (`building` is the same with pauses).

A record is a `Step` or a `Bridge`; a group is what belongs together by trace or by joins. No clock, no order of
arrival, no memory: whoever keeps the records may build whenever a document is needed, and again when more came.

::

    records ──> tree ──> skew ──> stitch ──> twins ──> runs ──┐        one forest of the group
               parents   clocks   other      one step   where  │
               missing,  of       traces     a work     runs   │
               circles   services                      begin   │
                                                               ▼
       Run <── assemble <── outcome, failure <── usage <── agents <── calls <── order <── told     each run
                            paths, facts         leaves    who did    who asked  causes    tools     by itself
                                                 win       it         attempts   first     without
                                                                                           a span

Phases that work on trees have `tree.Node`s, those on a run its `order.Placed` steps by index. All of it is
O(n log n) in the number of records.
"""

from spanledger.conventions.trajectory.assemble import build, building
from spanledger.conventions.trajectory.edges import Edge, Judgement

__all__ = ["Edge", "Judgement", "build", "building"]

"""What keeps the work on open runs in proportion: long runs are not read as a whole, short ones not at all."""

from __future__ import annotations

import gc
import weakref
from dataclasses import replace

from spanledger.conventions.loops import LoopRules
from spanledger.conventions.loops.counts import Counts
from spanledger.processor.metric_store import MetricTable
from spanledger.processor.trajectory import gauges
from spanledger.processor.trajectory.config import TrajectoryConfig
from spanledger.processor.trajectory.group import PIECE, Group
from spanledger.processor.trajectory.origins import Origins
from spanledger.processor.trajectory.records import key_of
from spanledger.processor.trajectory.store import Store
from tests.steps import CALL

TOOL = replace(CALL, kind="tool", tool_name="search", usage=None, cost=None)
LONG = [replace(CALL, span_id=number.to_bytes(8, "big"), end_ns=CALL.end_ns + number) for number in range(1, 400)]


def packed() -> Group:
    """Return a long run of which all is packed."""
    group, origins = Group(1, 0.0, 0.0, (CALL.trace_id,)), Origins()
    for record in LONG:
        group.put(key_of(record), record)
    while group.hot:
        group.pack(origins)
    return group


def test_a_better_report_leaves_a_long_run_packed() -> None:
    """It stands for the packed one, in its place, and the run has as many records as before."""
    group = packed()
    better = replace(LONG[200], end_ns=2 * CALL.end_ns)

    assert group.replace(key_of(better), better)
    assert len(group.hot or ()) == 1
    assert len(group) == len(LONG)
    assert group.record(key_of(better)) == better
    assert list(group.records().values()) == [*LONG[:200], better, *LONG[201:]]

    group.pack(Origins())
    assert (group.record(key_of(better)), len(group)) == (better, len(LONG))


def test_many_better_reports_do_not_pile_up() -> None:
    """When half of what is packed is stale, the run is unpacked, and then packed anew."""
    group, origins = packed(), Origins()
    for turn in range(3):
        for record in LONG:
            group.exchange(key_of(record), replace(record, end_ns=record.end_ns + turn))
            if len(group.hot or ()) > PIECE:
                group.pack(origins)

    assert len(group) == len(LONG)
    assert list(group.records()) == [key_of(record) for record in LONG]
    assert 2 * group.stale <= len(LONG) + PIECE


def test_a_store_that_is_given_up_is_freed_at_once() -> None:
    """After a reload another one goes on; what was there at the start is no longer looked at for circles."""
    store = Store(TrajectoryConfig())
    for record in LONG:
        store.add(record, 0.0)
    left = [weakref.ref(part) for part in (store, store._joins)]
    gc.disable()
    try:
        del store
        assert [one() for one in left] == [None, None]
    finally:
        gc.enable()


def test_nothing_repeats_where_nothing_came_often() -> None:
    """A tool that was asked for and ran is one call; what came in parts is counted together."""
    rules = LoopRules()
    twice = Counts.of([TOOL, TOOL])

    assert not twice.may_repeat(rules)
    assert twice.plus(Counts.of([TOOL])).may_repeat(rules)
    assert not twice.plus(Counts.of([replace(TOOL, tool_name="fetch")])).may_repeat(rules)
    assert Counts.of([replace(CALL, status="error")] * 5).may_repeat(rules)


def test_the_worst_of_many_open_runs_is_found_some_at_a_time() -> None:
    """What grows or ends meanwhile is in what is shown then."""
    table, store = MetricTable(), Store(TrajectoryConfig())
    shown, most = gauges.Gauges(table), table.gauge("spanledger_open_run_steps_max")
    for number in range(gauges._AT_ONCE + 10):
        trace_id = number.to_bytes(16, "big")
        for step in range(1 + (number == 0) + 2 * (number == 1)):
            store.add(replace(CALL, trace_id=trace_id, span_id=(step + 1).to_bytes(8, "big")), 0.0)
        group = store.group_of(trace_id)
        assert group is not None
        shown.grew(group, 0.0)

    def steps() -> float | None:
        cell = most.get((CALL.service_name, CALL.agent_name))
        return cell.value if cell is not None else None

    assert steps() == 3

    worst = store.group_of((1).to_bytes(16, "big"))
    assert worst is not None
    store._close(worst, "root", 1.0)
    shown.ended(worst, 1.0)
    shown.show(store, 1.5)
    assert (steps(), shown.next_look()) == (3, 2.0)
    shown.show(store, 2.0)
    assert shown.next_look() == float("-inf")
    shown.show(store, 2.0)
    assert (steps(), shown.next_look()) == (2, None)

"""Memories that many times what they may hold goes through: they have as much in the end as in the beginning."""

from __future__ import annotations

import gc
from dataclasses import replace
from itertools import count

import pytest

from spanledger.conventions.call import Call, Place
from spanledger.conventions.detail import Detail
from spanledger.processor.accounts import Accounts
from spanledger.processor.step_metrics import MAX_TOLD, ToolCalls
from spanledger.processor.trajectory.config import TrajectoryConfig
from spanledger.processor.trajectory.group import Group
from spanledger.processor.trajectory.joins import Joins
from spanledger.processor.trajectory.store import Store
from tests.assembled_runs import Bench, agent, span_id, step, tool, trace

SMALL = TrajectoryConfig.model_validate({"memory": {"max_runs": 50, "limit_mib": 1}})


def test_groups_that_are_gone_do_not_fill_the_indexes() -> None:
    """A run leaves ids, texts and times in a dozen indexes; each would hold 80,000 runs that are long forgotten."""
    joins = Joins(TrajectoryConfig().stitch, 60.0, 80_000)
    groups: list[Group] = []
    for number in range(20_000):
        group = Group(number, 0.0, 0.0, (trace(number),))
        groups.append(group)
        one = step(1, 0, number, conversation_id=f"c-{number}", response_id=f"response-{number}")
        said = Detail(after=number, history=(number,))
        joins.remember(replace(one, detail=said), group)
        joins.await_trace(trace(number + 1), group)
        if number >= 100:
            groups[number - 100].state = "gone"

    assert max(joins.statistics().values()) <= 3 * 2048
    assert joins.conversing("c-19999") is groups[-1]
    assert joins.conversing("c-19901") is groups[19_901]


def test_groups_that_live_stay_in_the_indexes_up_to_the_limit() -> None:
    """The last ones."""
    joins = Joins(TrajectoryConfig().stitch, 60.0, 4_000)
    groups = [Group(number, 0.0, 0.0, (trace(number),)) for number in range(10_000)]
    for number, group in enumerate(groups):
        joins.remember(replace(step(1, 0, number, conversation_id=f"c-{number}"), detail=Detail(after=7)), group)

    assert joins.conversing("c-9999") is groups[-1]
    assert joins.conversing("c-8001") is groups[8_001]
    assert joins.conversing("c-5000") is None
    assert joins.statistics()["history"] <= 4_000


def test_deadlines_of_runs_that_are_gone_do_not_pile_up() -> None:
    """A run without its root has one in a quarter of an hour, whatever became of it."""
    store = Store(SMALL)
    numbers = count()
    for number in range(10_000):
        store.add(step(2, 1, next(numbers)), number * 0.01)
        store.due(number * 0.01, 100)
    statistics = store.statistics()

    assert statistics["open"] + statistics["closed"] <= 100
    assert statistics["deadlines"] <= 2 * 100 + 1024 + 1


def test_runs_that_are_due_are_found_after_deadlines_were_given_up() -> None:
    """Each of them, once."""
    store = Store(TrajectoryConfig.model_validate({"memory": {"max_runs": 3_000}, "settle": "5s"}))
    for number in range(1, 2_001):
        store.add(step(2, 1, number), 0.0)
        store.add(agent(1, 0, number), 1.0)
        store._thin()
    due = store.due(6.5, 5_000)

    assert sorted(group.traces[0] for group, _ in due) == [trace(number) for number in range(1, 2_001)]
    assert {reason for _, reason in due} == {"root"}


def test_what_is_left_of_a_forgotten_run_is_small() -> None:
    """What was said of it goes with it."""
    config = {"late": {"remember": "10s", "forget": "20s"}, "settle": "1s"}
    bench = Bench(TrajectoryConfig.model_validate(config))
    bench.take(step(2, 1), tool(3, 1), agent(1, 0))
    group = bench.assembly.store.group_of(trace(1))
    bench.wait(2)
    assert group is not None
    assert group.emitted

    bench.wait(11)

    assert group.state == "gone"
    left = (group.hot, group.packed, group.emitted, group.judgements, group.told, group.missing, group.asked)
    assert not any(left)


def test_tool_calls_are_remembered_without_what_they_were_told() -> None:
    """Arguments and results may be long; whether a call was told before hangs on its name and id."""
    calls = ToolCalls()
    for number in range(3 * MAX_TOLD):
        said = Detail(input="x" * 16_384, said="y" * 16_384)
        calls.is_new(replace(tool(1, 0, number), detail=said), None)

    assert len(calls._seen) == len(calls._below) == MAX_TOLD
    assert {*calls._seen.values(), *calls._below.values()} == {("", "search")}


def test_accounts_leave_nothing_to_the_garbage_collector() -> None:
    """What is forgotten is gone at once: a full collection holds everything up for longer than anything else."""
    accounts = Accounts(max_spans=16)
    gc.collect()
    gc.disable()
    try:
        for number in range(50):
            for each in range(6):
                call = Call(True, f"scope-{each % 2}", "s", f"response-{number}", "gpt-4o", input=9, output=1)
                accounts.add(Place(trace(number), span_id(each + 1), span_id(each), 0, 10, call), 0.0)
            accounts.changed()
            accounts.sums()
            for _ in accounts.outgrown(0.0):
                pass
        assert gc.collect() < 100
    finally:
        gc.enable()


@pytest.mark.parametrize("with_calls", [True, False])
def test_accounts_hold_as_many_spans_as_they_may(with_calls: bool) -> None:
    """In traces of any size, with model calls and without, and whatever their twins have in common."""
    accounts = Accounts(max_spans=100, max_age_s=1e9)
    for number in range(2_000):
        call = Call(True, f"scope-{number % 3}", "s", f"response-{number // 2}", "gpt-4o", input=10, output=number % 5)
        for each in range(1 + number % 7):
            place = Place(trace(number), span_id(each + 1), span_id(each), 0, 10, call if with_calls else None)
            accounts.add(place, float(number))
        accounts.changed()
        accounts.sums()
        for _ in accounts.outgrown(float(number)):
            pass
        statistics = accounts.statistics()
        assert statistics["spans"] <= 2 * 100 + 8
        assert statistics["calls"] <= 3 * 200

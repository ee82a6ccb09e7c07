"""Ceilings on a run while it is open: fixed, or twice what its agent is known for."""

from __future__ import annotations

from typing import Any

import pytest

from spanledger.conventions.run import Run
from spanledger.processor.trajectory.config import TrajectoryConfig
from spanledger.processor.trajectory.histories import RUNS_KNOWN, RUNS_NEEDED, Histories
from spanledger.processor.trajectory.recipe import Recipe
from spanledger.processor.trajectory.records import Record
from tests.assembled_runs import START_NS, Bench, agent, run, step, tool
from tests.fakes import Clock


def bench(**loops: Any) -> Bench:
    """Return an assembly with these rules of loops."""
    return Bench(TrajectoryConfig.model_validate({"loops": loops}), Clock())


def with_history(*more: Record, **loops: Any) -> Bench:
    """Return an assembly that has seen enough runs of four steps, one agent deep, of a hundred seconds."""
    runs = bench(**loops)
    for number in range(RUNS_NEEDED):
        runs.take(*run(1_000 + number))
    runs.take(*more)
    runs.wait(10)
    assert len(runs.documents) == RUNS_NEEDED + bool(more)
    runs.told.records.clear()
    return runs


def loops_of(runs: Bench) -> list[tuple[str, int, float]]:
    """Return rule, count and threshold of the loops that were told."""
    events = [one for one in runs.told.records if one.event_name == "spanledger.loop.detected"]
    said = [{pair.key: pair.value for pair in event.attributes} for event in events]
    return [
        (
            one["spanledger.loop.rule"].string_value,
            one["spanledger.loop.count"].int_value,
            one["spanledger.loop.threshold"].double_value or one["spanledger.loop.threshold"].int_value,
        )
        for one in said
    ]


def calls(first: int, count: int, parent: int = 1, **changes: Any) -> list[Record]:
    """Return calls and tools in turn, a second each."""
    made = range(first, first + count)
    changes = {"agent_name": "", **changes}
    return [
        tool(number, parent, tool_name=f"tool {number}", **changes) if number % 2 else step(number, parent, **changes)
        for number in made
    ]


def test_a_fixed_limit_of_steps_is_told_while_the_run_is_open() -> None:
    """Once, at the step that passes it, and again when it has doubled."""
    runs = bench(max_steps=6)
    for one in calls(2, 6):
        runs.take(one)
    assert loops_of(runs) == []
    runs.take(*calls(8, 1))
    runs.take(*calls(9, 3))
    assert loops_of(runs) == [("steps_ceiling", 7, 6)]
    assert runs.documents == []
    runs.take(*calls(12, 5))
    assert loops_of(runs) == [("steps_ceiling", 7, 6), ("steps_ceiling", 15, 6)]
    assert runs.count("spanledger_loops_total", "shop", "", "steps_ceiling") == 1


def test_a_ceiling_stands_in_the_document_once() -> None:
    """Told while nobody knew whose run it was; its root names the agent."""
    runs = bench(max_steps=6)
    runs.take(*calls(2, 8))
    runs.take(agent(1))
    runs.wait(5)
    (document,) = runs.documents
    assert [(one["rule"], one["kind"]) for one in document["findings"]] == [("steps_ceiling", "ceiling")]
    assert runs.count("spanledger_loops_total") == 1


def test_structure_is_no_step() -> None:
    """Chains and graphs are not what an agent does."""
    runs = bench(max_steps=6)
    runs.take(*[step(number, 1, kind="other") for number in range(2, 40)], *calls(40, 5))
    assert loops_of(runs) == []


def test_a_fixed_duration_is_told_while_the_run_is_open() -> None:
    """By the times of its spans: what the clock says here does not matter."""
    runs = bench(max_run_duration="9s")
    runs.take(*calls(2, 9))
    assert loops_of(runs) == []
    runs.take(*calls(11, 1))
    assert [one[0] for one in loops_of(runs)] == ["duration_ceiling"]


def nested(depth: int) -> list[Record]:
    """Return agents below one another, the innermost first, and a call."""
    made = range(depth, 1, -1)
    return [
        step(100, depth, agent_name=f"agent {depth}"),
        *(agent(number, number - 1, agent_name=f"agent {number}") for number in made),
    ]


def test_a_fixed_depth_is_told_while_the_run_is_open() -> None:
    """Agents beside one another are not deep."""
    runs = bench(max_depth=3)
    runs.take(*[agent(number, 1) for number in range(2, 12)], step(12, 2))
    assert loops_of(runs) == []
    runs = bench(max_depth=3)
    runs.take(*nested(6))
    assert [one[0] for one in loops_of(runs)] == ["depth_ceiling"]


@pytest.mark.parametrize(
    ("records", "rule"),
    [
        (calls(2, 9, agent_name="planner"), "steps_ceiling"),
        ([step(2, 1, agent_name="planner"), step(3, 1, end_ns=START_NS + 999 * 10**9)], "duration_ceiling"),
        ([step(101, 1, agent_name="planner"), *nested(5)], "depth_ceiling"),
    ],
)
def test_twice_the_99th_percentile_of_its_agent_is_told_while_the_run_is_open(records: list[Record], rule: str) -> None:
    """Its last runs had four steps, one agent and a hundred seconds."""
    runs = with_history()
    runs.take(*records)
    assert [one[0] for one in loops_of(runs)] == [rule]
    assert runs.documents == []


def test_what_is_usual_is_no_finding() -> None:
    """Nor is twice as much."""
    runs = with_history()
    runs.take(*calls(2, 8, agent_name="planner"))
    assert loops_of(runs) == []


def test_before_its_root_a_run_is_measured_by_the_largest_agent_of_its_service() -> None:
    """Nobody knows yet whose it is: most stacks name the agent on the root only, which is the last to come."""
    runs = with_history()
    runs.take(*calls(2, 9))
    assert [one[0] for one in loops_of(runs)] == ["steps_ceiling"]
    other = with_history()
    other.take(*(record for record in calls(2, 9, service_name="other")))
    assert loops_of(other) == []


def test_before_its_root_a_run_is_measured_by_the_agent_that_its_agents_work_for() -> None:
    """The first to come is a helper's call; the helper has no runs of its own. A stranger's is not measured."""
    helped = [step(2, 3, 99, agent_name="booker"), agent(3, 1, 99, agent_name="booker"), agent(1, 0, 99)]
    runs = with_history(*helped)
    runs.take(*calls(2, 12, agent_name="booker"))
    assert [one[0] for one in loops_of(runs)] == ["steps_ceiling"]
    runs = with_history(*helped)
    runs.take(*calls(2, 12, agent_name="stranger"))
    assert loops_of(runs) == []


def test_the_factor_is_the_operators() -> None:
    """Three times as much may be fine."""
    runs = with_history(ceiling_factor=3.0)
    runs.take(*calls(2, 12, agent_name="planner"))
    assert loops_of(runs) == []


def test_several_runs_in_one_trace_are_measured_each_by_itself() -> None:
    """Together they have more than one may."""
    runs = bench(max_steps=6)
    runs.take(*run(1, 1), *run(1, 11), *run(1, 21))
    assert loops_of(runs) == []


def test_a_long_run_is_measured_by_its_counters() -> None:
    """Beyond what is taken apart at once, and beyond the steps that other rules look at."""
    runs = bench(max_steps=300)
    runs.take(*calls(2, 299))
    assert loops_of(runs) == []
    runs.take(*calls(301, 10))
    assert [one[:2] for one in loops_of(runs)] == [("steps_ceiling", 309)]


def closed(**changes: Any) -> Run:
    """Return a run that was closed."""
    (made,) = Recipe(frozenset(), 0.0).runs([agent(1, **changes), *calls(2, 3, agent_name="planner")], "complete")
    return made


def test_histories_need_enough_runs_and_keep_the_last() -> None:
    """A percentile of few says nothing; an agent that changed is measured by what it does now."""
    known = Histories()
    for _ in range(RUNS_NEEDED - 1):
        known.add(closed())
    assert known.usual(("shop", "planner")) is None
    known.add(closed())
    usual = known.usual(("shop", "planner"))
    assert usual is not None
    assert (usual.steps, usual.depth, usual.duration_s) == (4, 1, 100.0)
    assert known.usual(("shop", "")) == usual
    assert known.usual(("other", "")) is None
    assert known.successes()["shop", "planner"] == (4,) * RUNS_NEEDED
    for _ in range(RUNS_KNOWN):
        known.add(closed(error_type="E", status="error"))
    assert len(known.successes()["shop", "planner"]) == RUNS_NEEDED

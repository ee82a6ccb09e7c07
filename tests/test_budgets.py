"""Budgets: what is charged to which period, who is told, and that nobody is told twice."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord

from spanledger.conventions.budgets import period_end_ns, period_length_s, period_of
from spanledger.conventions.reading import Cost
from spanledger.conventions.step import Step
from spanledger.conventions.values import attributes_of
from spanledger.processor.trajectory.config import TrajectoryConfig
from tests.assembled_runs import START_NS, Bench, agent, run, says, step, tool, trace
from tests.test_trajectory_connector_life import Bed

HOUR_NS = 3_600 * 10**9


def bench(*budgets: dict[str, Any], **config: Any) -> Bench:
    """Return an assembly with budgets."""
    return Bench(TrajectoryConfig.model_validate({"budgets": list(budgets), **config}))


def breaches(records: list[LogRecord]) -> list[dict[str, Any]]:
    """Return what the events on budgets say."""
    return [dict(attributes_of(one.attributes)) for one in records if one.event_name == "spanledger.budget.breached"]


def paid(number: int, parent: int = 1, trace_number: int = 1, usd: float = 1.0, **changes: Any) -> Step:
    """Return a model call for so many dollars."""
    return step(number, parent, trace_number, cost=Cost("priced", total=round(usd * 1e12)), **changes)


def spent(table: Bench, budget: str) -> float:
    """Return the gauge of a budget."""
    return table.count("spanledger_budget_spent_usd", budget)


def told(table: Bench, budget: str, level: str) -> float:
    """Return the counter of a budget."""
    return table.count("spanledger_budget_breaches_total", budget, level)


DAY = {"name": "day", "per": "day", "soft_usd": 2, "hard_usd": 3}


def test_series_are_there_before_anything_is_spent() -> None:
    """Limits, spending of 0 and breaches of 0, so that the first breach is an increase."""
    made = bench(DAY)
    assert made.count("spanledger_budget_limit_usd", "day") == 3
    assert made.table.gauge("spanledger_budget_spent_usd").get(("day",)) is not None
    assert all(made.table.counter("spanledger_budget_breaches_total").get(("day", one)) for one in ("soft", "hard"))


def test_a_limit_is_told_of_while_the_run_is_under_way_once_for_each_level() -> None:
    """At two dollars the soft one, at three the hard one, and then never again in that day."""
    made = bench(DAY)
    made.take(paid(2))
    assert (spent(made, "day"), breaches(made.told.records)) == (1, [])
    made.take(paid(3))
    (soft,) = breaches(made.told.records)
    assert (soft["spanledger.budget.level"], soft["spanledger.budget.spent_usd"]) == ("soft", 2)
    assert (soft["spanledger.budget.name"], soft["spanledger.budget.period"]) == ("day", "2023-11-14")
    made.take(paid(4), paid(5))
    made.take(agent(1))
    made.wait(60)
    assert [one["spanledger.budget.level"] for one in breaches(made.told.records)] == ["soft", "hard"]
    assert (told(made, "day", "soft"), told(made, "day", "hard"), spent(made, "day")) == (1, 1, 4)


def test_a_run_that_was_never_settled_is_given_up_with_its_traces() -> None:
    """A fault of ours may keep a run from being settled; what is known of its steps does not stay for ever."""
    made = bench(DAY)
    made.take(paid(2))
    assert spent(made, "day") == 1

    made.assembly.governance.forget([trace(1)])
    made.wait(1)

    assert spent(made, "day") == 0


def test_a_revision_adds_the_difference() -> None:
    """A call that comes after the run was closed counts at once, and its revision does not count the rest again."""
    made = bench({**DAY, "hard_usd": 100})
    made.take(paid(2), agent(1))
    made.wait(60)
    made.take(paid(3))
    assert spent(made, "day") == 2
    made.wait(60)
    assert (len(made.documents), spent(made, "day")) == (2, 2)


def test_the_sum_is_that_of_the_runs_in_whatever_order_spans_come_and_how_often() -> None:
    """Shuffled and sent twice, with wrappers of calls among them: what is spent is what the documents say."""
    records = [record for number in range(1, 9) for record in run(number)]
    for seed in range(10):
        made = bench({**DAY, "hard_usd": 100})
        mixed = [*records, *records]
        random.Random(seed).shuffle(mixed)
        for first in range(0, len(mixed), 5):
            made.take(*mixed[first : first + 5])
            made.wait(1)
        made.wait(3600)
        total = sum(document["totals"]["cost_usd"] for document in made.final.values())
        assert spent(made, "day") == pytest.approx(total)


def test_an_hour_is_that_in_which_the_step_ended() -> None:
    """The run began at 22:13; a call that ended at 23:00:00.5 is of the next hour."""
    made = bench({"name": "hour", "per": "hour", "hard_usd": 100})
    late_ns = START_NS + 2_800 * 10**9
    made.take(paid(2), paid(3, end_ns=late_ns), agent(1, spans=3000))
    made.wait(60)
    assert spent(made, "hour") == 1
    made.wait(3600)
    assert spent(made, "hour") == 1  # what was spent from 23:00 on
    made.wait(3600)
    assert spent(made, "hour") == 0


def test_a_gauge_falls_when_its_period_ends_though_nothing_comes() -> None:
    """The assembly asks to be woken at the end of the hour."""
    made = bench({"name": "hour", "per": "hour", "hard_usd": 100})
    made.take(paid(2), agent(1))
    made.wait(60)
    made.wait(1_000)
    assert made.assembly.next_turn() is not None
    made.clock.now_s = (period_end_ns("hour", made.clock.time_ns()) + 1) / 1e9
    made.settle()
    assert spent(made, "hour") == 0


def test_clocks_of_clients_open_no_periods() -> None:
    """A span of the year 1970 is of no budget any more, one of next year is charged to today."""
    made = bench(DAY)
    made.take(paid(2, end_ns=10**9, start_ns=1), paid(3, start_ns=START_NS, end_ns=START_NS * 2), agent(1))
    made.wait(60)
    assert spent(made, "day") == 1
    assert len(made.assembly.governance._ledger._settled) == 1  # type: ignore[union-attr]


def test_a_budget_is_for_those_that_fit() -> None:
    """By the agent that does it, by whose run it is, by user, and by any attribute of the resource."""
    made = bench(
        {"name": "agent", "per": "day", "hard_usd": 9, "match": {"agent_name": "plan*"}},
        {"name": "helper", "per": "day", "hard_usd": 9, "match": {"agent_name": "helper"}},
        {"name": "user", "per": "day", "hard_usd": 9, "match": {"user_id": "ann", "provider": "openai"}},
        {"name": "team", "per": "day", "hard_usd": 9, "match": {"team": "red"}},
        {"name": "none", "per": "day", "hard_usd": 9, "match": {"team": "blue"}},
    )
    calls = [paid(3, 2, agent_name=""), says(paid(4, agent_name="", user_id="ann"), dimensions={"team": "red"})]
    made.take(*calls, agent(2, 1, agent_name="helper"), agent(1, user_id="ann"))
    made.wait(60)
    assert {name: spent(made, name) for name in ("agent", "helper", "user", "team", "none")} == {
        "agent": 2, "helper": 1, "user": 2, "team": 2, "none": 0,
    }  # fmt: skip


RUN = {"name": "run", "per": "run", "soft_usd": 2, "hard_usd": 3, "steps": 20, "match": {"agent_name": "planner"}}


def test_a_run_is_told_of_while_it_is_open_and_in_its_document() -> None:
    """Once for each level, on the step that did it; another run begins at nothing."""
    made = bench(RUN)
    for number in range(2, 7):
        made.take(paid(number))
    assert [one["spanledger.budget.level"] for one in breaches(made.told.records)] == ["soft", "hard"]
    assert spent(made, "run") == 5
    made.take(agent(1))
    made.wait(60)
    (document,) = made.documents
    assert [(one["kind"], one["rule"], one["severity"], one["steps"]) for one in document["findings"]] == [
        ("budget", "soft_usd", "warning", [2]),
        ("budget", "hard_usd", "critical", [3]),
    ]
    made.take(paid(12, 11, 2), agent(11, 0, 2))
    made.wait(60)
    assert (told(made, "run", "soft"), told(made, "run", "hard"), spent(made, "run")) == (1, 1, 0)


def test_an_agent_that_takes_part_in_a_run_spends_of_its_own_budget_and_of_that_of_the_run() -> None:
    """Two dollars by the helper are two of its own; with one by the planner they are three of the planner's."""
    made = bench({**RUN, "name": "planner"}, {**RUN, "name": "helper", "match": {"agent_name": "helper"}})
    made.take(paid(3, 2, agent_name="helper"), paid(4, 2, agent_name="helper"), paid(20, 1, agent_name=""))
    assert [one["spanledger.budget.name"] for one in breaches(made.told.records)] == ["helper"]
    made.take(agent(2, 1, agent_name="helper"))
    made.take(agent(1))
    said = [(one["spanledger.budget.name"], one["spanledger.budget.level"]) for one in breaches(made.told.records)]
    assert said == [("helper", "soft"), ("planner", "soft"), ("planner", "hard")]
    made.wait(60)
    assert len(breaches(made.told.records)) == 3
    (document,) = made.documents
    assert [(one["detail"]["budget"], one["rule"]) for one in document["findings"]] == [
        ("planner", "soft_usd"), ("planner", "hard_usd"), ("helper", "soft_usd"),
    ]  # fmt: skip


def test_two_runs_of_one_trace_are_two_runs() -> None:
    """Two dollars each: the limit of three is not reached."""
    made = bench({**RUN, "soft_usd": None, "match": {}})
    made.take(paid(2, 1), paid(3, 1), agent(1, spans=8))
    made.take(paid(12, 11), paid(13, 11), agent(11, spans=8))
    made.wait(60)
    assert (len(made.documents), breaches(made.told.records)) == (2, [])


def test_steps_and_tool_calls_are_limits_too() -> None:
    """A run that makes more tool calls than it may is told of when it does."""
    made = bench({"name": "tools", "per": "run", "tool_calls": 3})
    made.take(*(tool(number, 1) for number in range(2, 5)))
    assert breaches(made.told.records) == []
    made.take(tool(5, 1))
    (one,) = breaches(made.told.records)
    assert (one["spanledger.budget.rule"], one["spanledger.budget.tool_calls"]) == ("tool_calls", 4)


async def test_what_was_spent_and_told_is_known_after_a_crash(tmp_path: Path) -> None:
    """With `storage`: closed runs stay charged, open ones are counted again as they come back, no level twice."""
    bed = Bed(storage=str(tmp_path), budgets=[{**DAY, "soft_usd": 2.5, "hard_usd": 4}, RUN], loops={"enabled": False})
    bed.clock.now_s = START_NS / 1e9
    await bed.connector.start()
    bed.take(paid(2), agent(1))
    await bed.wait(60)
    bed.take(paid(12, 11, 2), paid(13, 11, 2))
    await bed.wait(1)
    assert [one["spanledger.budget.level"] for one in breaches(bed.records)] == ["soft", "soft"]
    await bed.crash()
    bed.table.gauge("spanledger_budget_spent_usd").set(("day",), 0)
    await bed.connector.start()
    cell = bed.table.gauge("spanledger_budget_spent_usd").get(("day",))
    assert cell is not None
    assert cell.value == 3
    bed.take(paid(14, 11, 2), agent(11, 0, 2))
    await bed.wait(60)
    await asyncio.sleep(0)
    assert cell.value == 4
    levels = [(one["spanledger.budget.name"], one["spanledger.budget.level"]) for one in breaches(bed.records)]
    assert sorted(levels) == [("day", "hard"), ("day", "soft"), ("run", "hard"), ("run", "soft")]
    bed.take(paid(3))  # of the run that was closed before
    await bed.wait(60)
    assert (bed.documents[-1]["revision"], cell.value) == (2, 5)
    assert [one["spanledger.budget.name"] for one in breaches(bed.records)[4:]] == ["run"]  # it has reached two dollars
    await bed.connector.shutdown(bed.clock.now_s + 5)


def test_periods() -> None:
    """In UTC, also over the end of a month and a leap day."""
    at_ns = 1_709_247_599 * 10**9  # 2024-02-29T22:59:59Z
    assert [period_of(per, at_ns) for per in ("run", "hour", "day", "month")] == [
        "", "2024-02-29T22", "2024-02-29", "2024-02",
    ]  # fmt: skip
    assert period_of("month", period_end_ns("month", at_ns)) == "2024-03"
    assert period_of("hour", period_end_ns("hour", at_ns)) == "2024-02-29T23"
    assert period_length_s("month", at_ns) == 29 * 86_400
    assert period_of("day", 2**64 - 1) == "2554-07-21"


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"name": "x", "per": "day"}, "has no limit"),
        ({"name": "x", "per": "day", "steps": 3}, "limits of a run"),
        ({"name": "x", "per": "day", "soft_usd": 3, "hard_usd": 2}, "above hard_usd"),
        ({"name": "x", "per": "week", "hard_usd": 2}, "'hour', 'day' or 'month'"),
        ({"name": "x", "per": "day", "hard_usd": 2, "match": {"agent_nam": "a"}}, "agent_name"),
    ],
)
def test_a_budget_that_cannot_be_meant_is_refused(wrong: dict[str, Any], message: str) -> None:
    """With what to do."""
    with pytest.raises(ValueError, match=message):
        bench(wrong)


def test_names_are_there_once() -> None:
    """Two budgets of one name would be one series."""
    with pytest.raises(ValueError, match="there twice"):
        bench(DAY, DAY)

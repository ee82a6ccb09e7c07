"""Costs by dimension, tool and retry; objectives; what caches saved and which calls tell no tokens."""

from __future__ import annotations

from typing import Any

import pytest

from spanledger.conventions.details import Details
from spanledger.conventions.prices.catalogue import shipped_catalogue
from spanledger.conventions.prices.engine import PricedCall, PriceEngine
from spanledger.conventions.reading import Cost, Reading
from spanledger.conventions.step import Step
from spanledger.conventions.usage import Usage
from spanledger.processor.metric_store import MetricTable
from spanledger.processor.step_metrics import Entry, StepMetrics, bill_of
from spanledger.processor.trajectory.config import TrajectoryConfig
from tests.assembled_runs import Bench, agent, says, step, tool, total
from tests.fakes import span
from tests.steps import call

BY = "spanledger_cost_by_dimension_usd_total"


def bench(**config: Any) -> Bench:
    """Return an assembly."""
    return Bench(TrajectoryConfig.model_validate(config))


def paid(number: int, parent: int = 1, trace_number: int = 1, usd: float = 1.0, **changes: Any) -> Step:
    """Return a model call for so many dollars."""
    return step(number, parent, trace_number, cost=Cost("priced", total=round(usd * 1e12)), **changes)


def test_cost_is_told_apart_by_a_dimension() -> None:
    """A step without a value has that of the step above; what nobody says is under ""; the sum is that of the runs."""
    made = bench(dimensions=["team"])
    made.take(says(paid(2), dimensions={"team": "red"}), paid(3, usd=0.5))
    made.take(says(agent(1), dimensions={"team": "blue"}))
    made.take(paid(12, 11, 2, usd=0.25), agent(11, 0, 2))
    made.wait(60)
    assert {value: made.count(BY, "shop", "planner", "team", value) for value in ("red", "blue", "")} == {
        "red": 1, "blue": 0.5, "": 0.25,
    }  # fmt: skip
    assert made.count(BY) == made.count("spanledger_run_cost_usd_total") == 1.75


def test_a_dimension_has_so_many_values_and_no_more() -> None:
    """The third of two is `__other__`, and the first stay themselves."""
    made = bench(dimensions=[{"name": "user", "from": "user.id", "limit": 2}])
    for number, user in enumerate(("ann", "bob", "cid", "ann"), 1):
        made.take(
            says(paid(10 * number + 1, 10 * number, number), dimensions={"user": user}), agent(10 * number, 0, number)
        )
    made.wait(60)
    values = {labels[3]: cell.value for labels, cell in made.table.counter(BY)._cells.items()}
    assert values == {"": 0, "ann": 2, "bob": 1, "__other__": 1}


def test_a_revision_adds_the_difference() -> None:
    """A call that comes late, of another value."""
    made = bench(dimensions=["team"])
    made.take(says(paid(2), dimensions={"team": "red"}), agent(1))
    made.wait(60)
    made.take(says(paid(3), dimensions={"team": "blue"}))
    made.wait(60)
    assert (made.count(BY, "shop", "planner", "team", "red"), made.count(BY)) == (1, 2)


@pytest.mark.parametrize(
    ("source", "expected"),
    [("team", "of the span"), ("span.team", "of the span"), ("resource.team", "of the resource"), ("other", None)],
)
def test_where_a_dimension_is_read(source: str, expected: str | None) -> None:
    """From the span, from the resource, or from either, the span's first."""
    details = Details("none", b"", {"team": source})
    reading = Reading("otel", "llm", attributes={"team": "of the span"})
    said = details.read(span(), reading, {"team": "of the resource"}).dimensions
    assert said.get("team") == expected


def test_retries_and_what_results_of_tools_induced() -> None:
    """The second attempt costs a dollar; the call that read the result of a tool is what the tool induced."""
    made = bench()
    made.take(paid(2, status="error", error_type="Timeout", usd=0.25), paid(3, attempt=2), tool(4, 1), paid(5, usd=2))
    made.take(agent(1))
    made.wait(60)
    (document,) = made.documents
    retries = sum(one["cost_usd"] or 0 for one in document["steps"] if one["attempt"] > 1)
    induced = sum(one["cost_usd"] or 0 for one in document["tools"])
    assert made.count("spanledger_retry_cost_usd_total", "shop", "planner") == retries == 1
    assert made.count("spanledger_tool_induced_cost_usd_total", "shop", "planner", "search") == induced


def test_objectives_are_shown_for_each_agent_that_is_seen() -> None:
    """Of the first glob that fits; agents that none fits have no series."""
    made = bench(slo={
        "latency": {"plan*": "20s", "*": "1m"}, "evaluations": {"planner": {"spanledger.goal_signal": 0.8}},
    })  # fmt: skip
    made.take(step(2, 1), agent(1), agent(3, 1, agent_name="helper"))
    latency, score = (made.table.gauge(f"spanledger_slo_{name}") for name in ("latency_seconds", "evaluation_score"))
    assert {labels: cell.value for labels, cell in latency._cells.items()} == {
        ("shop", "planner"): 20, ("shop", "helper"): 60,
    }  # fmt: skip
    assert {labels: cell.value for labels, cell in score._cells.items()} == {
        ("shop", "planner", "spanledger.goal_signal"): 0.8,
    }  # fmt: skip


def test_calls_without_usage_and_what_caches_saved() -> None:
    """A call that was answered and tells no tokens is counted; one that failed is not."""
    table = MetricTable()
    metrics = StepMetrics(table, exemplars=False)
    for one in (
        call(usage=None, cost=Cost("no_usage")),
        call(usage=None, cost=Cost("no_usage"), status="error", error_type="x"),
        call(cost=Cost("priced", total=10**9, saved=5 * 10**11)),
    ):
        metrics.bill(Entry(one), bill_of(one))
    assert total(table, "spanledger_llm_calls_without_usage_total") == 1
    assert total(table, "spanledger_llm_cache_savings_usd_total") == 0.5


def test_savings_are_the_difference_of_two_prices() -> None:
    """A million cached tokens of a model at 2.50 and 1.25 dollars save 1.25; the rest of the price is as it was."""
    engine = PriceEngine(shipped_catalogue())
    usage = Usage(1_000_000, 0, cache_read=1_000_000)
    cost = engine.price(PricedCall(usage, "openai", "gpt-4o"), 1_750_000_000 * 10**9)
    assert (cost.total, cost.saved) == (1_250_000_000_000, 1_250_000_000_000)

"""What a run used: each billed call once, and whose it was."""

from __future__ import annotations

from dataclasses import replace

import pytest

from spanledger.conventions.call import Call
from spanledger.conventions.detail import Detail
from spanledger.conventions.reading import Cost
from spanledger.conventions.trajectory import build
from spanledger.conventions.usage import Usage
from tests.trajectory_stories import CALL_PICO, Story

ROLLUP = Cost("rollup", "sum_of_calls_below")


def test_leaves_are_summed_and_agents_that_repeat_them_are_not() -> None:
    """The agent's own report is the sum of its calls."""
    story = Story()
    agent = story.agent("planner", 0, 100, usage=Usage(200, 40), cost=ROLLUP)
    story.llm(1, 20, below=agent, usage=Usage(100, 20, cache_read=30, reasoning=5))
    story.llm(31, 90, below=agent)

    totals = build(story.records)[0].totals

    assert (totals.input_tokens, totals.output_tokens, totals.cost_pico_usd) == (200, 40, 2 * CALL_PICO)
    assert (totals.cache_read_tokens, totals.reasoning_tokens) == (30, 5)
    assert (totals.unattributed_tokens, totals.rollups_less, totals.rollups_more) == (0, 0, 0)


def test_an_agent_that_reports_more_has_calls_that_nobody_saw() -> None:
    """A call of 100 + 20 tokens is seen, as many again are not: they cost what the seen ones do."""
    story = Story()
    team = story.step("workflow", "team", 0, 200, usage=Usage(200, 40), cost=ROLLUP)
    agent = story.agent("planner", 0, 100, below=team, usage=Usage(200, 40), cost=ROLLUP)
    story.llm(1, 20, below=agent)

    totals = build(story.records)[0].totals

    assert (totals.input_tokens, totals.cost_pico_usd) == (100, CALL_PICO)
    assert (totals.unattributed_tokens, totals.unattributed_cost_pico_usd, totals.rollups_more) == (120, CALL_PICO, 1)


def test_an_agent_that_reports_less_is_overruled_and_noted() -> None:
    """Some write only the last call's tokens onto the agent."""
    story = Story()
    agent = story.agent("planner", 0, 100, usage=Usage(100, 20), cost=ROLLUP)
    story.llm(1, 20, below=agent)
    story.llm(31, 90, below=agent)

    totals = build(story.records)[0].totals

    assert (totals.input_tokens, totals.unattributed_tokens, totals.rollups_less) == (200, 0, 1)


def test_an_agent_without_calls_counts_itself() -> None:
    """Some instrumentations tell tokens of agents only."""
    story = Story()
    agent = story.agent("planner", 0, 100, usage=Usage(300, 60), cost=Cost("priced", "rollup_only_copy", 900))
    story.tool("search", 1, 20, below=agent)

    run = build(story.records)[0]

    assert (run.totals.input_tokens, run.totals.cost_pico_usd, run.totals.llm_calls) == (300, 900, 0)
    assert run.agents[0].cost_pico_usd == 900


def test_an_agent_that_was_counted_before_its_calls_came_is_not_counted_twice() -> None:
    """The pricing stage saw the agent first; with the whole tree, leaves win."""
    story = Story()
    agent = story.agent("planner", 0, 100, usage=Usage(200, 40), cost=Cost("priced", "rollup_only_copy", 2 * CALL_PICO))
    story.llm(1, 20, below=agent)
    story.llm(31, 90, below=agent)

    run = build(story.records)[0]

    assert (run.totals.input_tokens, run.totals.cost_pico_usd) == (200, 2 * CALL_PICO)
    assert (run.steps[0].cost_status, run.steps[0].cost_pico_usd) == ("rollup", None)


def test_a_call_that_passed_after_its_agent_has_its_own_cost_all_the_same() -> None:
    """As a span it was told to be in its agent's cost; with the whole tree, leaves win."""
    story = Story()
    agent = story.agent("planner", 0, 100, usage=Usage(100, 20), cost=Cost("priced", "rollup_only_copy", CALL_PICO + 1))
    told = Call(inference=True, scope="sdk", input=100, output=20, pico_usd=CALL_PICO)
    price = Cost("priced", "", CALL_PICO)
    story.llm(1, 20, below=agent, cost=Cost("rollup", "counted_in_parent"), price=price, call=told)

    run = build(story.records)[0]

    assert (run.totals.input_tokens, run.totals.cost_pico_usd, run.totals.llm_calls) == (100, CALL_PICO, 1)
    assert [step.cost_status for step in run.steps] == ["rollup", "priced"]


def test_a_wrapper_that_knows_the_price_and_its_call_are_one_step() -> None:
    """The SDK knows a deployment, the framework the model."""
    story = Story()
    outer = story.llm(0, 100, cost=Cost("priced", "", CALL_PICO))
    inner = story.llm(1, 99, below=outer, cost=Cost("unpriced", "unknown_model"))

    run = build(story.records)[0]

    assert [(step.span_id, step.cost_pico_usd, step.cost_status) for step in run.steps] == [
        (inner.span_id.hex(), CALL_PICO, "priced")
    ]
    assert (run.totals.llm_calls, run.totals.input_tokens, run.totals.unpriced_calls) == (1, 100, 0)
    assert (run.started_at_ns, run.duration_s) == (outer.start_ns, 0.1)  # who called waited for all of it


def test_unknown_prices_are_counted_and_no_zero() -> None:
    """A run without any price has none."""
    story = Story()
    agent = story.agent("planner", 0, 100)
    story.llm(1, 20, below=agent, cost=Cost("unpriced", "unknown_model"))

    run = build(story.records)[0]

    assert (run.totals.cost_pico_usd, run.totals.unpriced_calls, run.totals.input_tokens) == (None, 1, 100)


def test_shares_by_agent() -> None:
    """Each has what it did itself, not what it delegated."""
    story = Story()
    agent = story.agent("planner", 0, 100)
    story.llm(1, 20, below=agent)
    tool = story.tool("ask", 21, 60, below=agent)
    story.llm(23, 58, below=story.agent("researcher", 22, 59, below=tool))
    story.llm(61, 90, below=agent)

    shares = build(story.records)[0].agents

    assert [(share.name, share.llm_calls, share.tool_calls, share.cost_pico_usd) for share in shares] == [
        ("planner", 2, 1, 2 * CALL_PICO),
        ("researcher", 1, 0, CALL_PICO),
    ]


def test_a_tool_has_the_cost_of_the_call_that_read_its_result() -> None:
    """Two results that one call read share it; what is left over of a division is given to the first."""
    story = Story()
    agent = story.agent("planner", 0, 100)
    story.llm(1, 20, below=agent)
    story.tool("flights", 21, 30, below=agent)
    story.tool("weather", 22, 29, below=agent)
    story.llm(61, 90, below=agent, cost=replace(Cost("priced"), total=101), usage=Usage(11, 3))

    shares = build(story.records)[0].tools

    assert [(one.name, one.tool_calls, one.llm_calls, one.input_tokens, one.cost_pico_usd) for one in shares] == [
        ("flights", 1, 1, 6, 51),
        ("weather", 1, 1, 5, 50),
    ]


def test_shares_by_dimension_are_inherited_down_the_tree() -> None:
    """The agent says its team, one call below it says another feature."""
    story = Story()
    agent = story.agent("planner", 0, 100, detail=Detail(dimensions={"team": "a", "feature": "chat"}))
    story.llm(1, 20, below=agent)
    story.llm(31, 90, below=agent, detail=Detail(dimensions={"feature": "search"}))

    run = build(story.records)[0]

    assert run.dimensions == {"feature": "chat", "team": "a"}
    assert [(share.name, share.llm_calls) for share in run.by_dimension["team"]] == [("a", 2)]
    assert [(share.name, share.llm_calls) for share in run.by_dimension["feature"]] == [("chat", 1), ("search", 1)]


@pytest.mark.parametrize("reason", ["input_unknown", "output_unknown", "fee_unknown"])
def test_a_run_says_that_its_cost_is_only_a_part(reason: str) -> None:
    """What is known is added up, and marked."""
    story = Story()
    agent = story.agent("planner", 0, 100)
    story.llm(1, 20, below=agent, cost=Cost("priced", reason, CALL_PICO))
    story.llm(21, 40, below=agent, cost=Cost("unpriced", "unknown_model"))
    story.llm(41, 60, below=agent)

    run = build(story.records)[0]

    assert (run.totals.cost_pico_usd, run.totals.unpriced_calls) == (2 * CALL_PICO, 2)

"""The built-in evaluators: what each says of small runs, and when it says nothing."""

from __future__ import annotations

import random
import re
from dataclasses import replace
from importlib import import_module
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spanledger.__main__ import main
from spanledger.conventions.detail import Detail, Evaluation, Print
from spanledger.conventions.evaluator import PREFIX, Course, Usual, evaluate, share
from spanledger.conventions.evaluators import EVALUATORS
from spanledger.conventions.evaluators.step_efficiency import MIN_RUNS
from spanledger.conventions.run import Completeness, Run
from spanledger.conventions.step import Bridge, Step
from spanledger.processor.trajectory.config import TrajectoryConfig
from tests.test_trajectory_properties import RECORDS
from tests.trajectory_stories import Story

RECIPE = TrajectoryConfig().recipe()
DONE = Detail(finish="stop", output=Print(1))
DOCS = Path(__file__).parents[1] / "docs" / "evaluations.md"

Said = dict[str, tuple[float | None, str | None]]


def said_of(story: Story, completeness: Completeness = "complete", usual: Usual | None = None) -> Said:
    """Return what is said of the only run of a story: score and label by the evaluator's name."""
    (run,) = RECIPE.runs(story.records, completeness, usual=lambda _: usual)
    return scores(run)


def scores(run: Run) -> Said:
    """Return the built-in evaluations of a run."""
    return {
        one.evaluation.name.removeprefix(PREFIX): (one.evaluation.score, one.evaluation.label)
        for one in run.evaluations
        if one.basis == "builtin"
    }


def why(story: Story, name: str) -> str | None:
    """Return the explanation of one evaluation."""
    (run,) = RECIPE.runs(story.records, "complete")
    return next(one.evaluation.explanation for one in run.evaluations if one.evaluation.name == PREFIX + name)


def calls(*tools: tuple[str, int | None, int | None, str], last: Detail | None = DONE) -> Story:
    """Return an agent that calls tools (name, arguments, result, error), each asked for by a model call."""
    story = Story()
    agent = story.agent("planner", 0, 1000)
    for number, (name, arguments, result, error) in enumerate(tools):
        detail = Detail(
            arguments=None if arguments is None else Print(arguments), result=None if result is None else Print(result)
        )
        story.llm(20 * number + 1, 20 * number + 5, below=agent)
        story.tool(name, 20 * number + 6, 20 * number + 9, below=agent, detail=detail, error_type=error)
    if last is not None:
        story.llm(900, 950, below=agent, detail=last)
    return story


def test_a_run_without_anything_to_judge_has_no_scores() -> None:
    """Nothing is made up: no tools, no errors, no plan, nobody says why the answer ended."""
    story = Story()
    story.llm(0, 10)
    assert said_of(story) == {}


@pytest.mark.parametrize(
    ("tools", "expected"),
    [
        ([("a", 1, 1, "")], (1.0, "all_succeeded")),
        ([("a", 1, 1, "E"), ("a", 1, 1, ""), ("b", 1, 1, ""), ("c", 1, 1, "")], (0.75, "some_failed")),
        ([("a", 1, 1, "E"), ("b", 1, 1, "E")], (0.0, "all_failed")),
    ],
)
def test_tool_success(tools: list[tuple[str, int | None, int | None, str]], expected: tuple[float, str]) -> None:
    """The share of tool calls that did not end with an error."""
    assert said_of(calls(*tools))["tool_success"] == expected


def test_tools_that_only_messages_tell_of_are_no_tool_successes() -> None:
    """Nobody says how these ended."""
    story = Story()
    story.llm(0, 10, asks=[("call_11111111", "search")])
    story.llm(20, 30, reads=["call_11111111"], detail=DONE)
    assert "tool_success" not in said_of(story)


@pytest.mark.parametrize(
    ("tools", "expected"),
    [
        pytest.param([("a", None, 1, "")], None, id="nobody says the arguments"),
        pytest.param([("a", 1, 1, "")], (1.0, "no_repeats"), id="one call"),
        pytest.param([("a", 1, 1, ""), ("a", 1, 1, "")], (0.5, "repeats"), id="the same again"),
        pytest.param([("a", 1, 1, ""), ("a", 2, 1, "")], (1.0, "no_repeats"), id="other arguments"),
        pytest.param([("a", 1, 1, ""), ("a", 1, 2, "")], (1.0, "no_repeats"), id="says something else"),
        pytest.param([("a", 1, 1, "E"), ("a", 1, 1, "")], (1.0, "no_repeats"), id="failed before"),
        pytest.param([("a", 1, 1, ""), ("a", 1, 1, "E")], (1.0, "no_repeats"), id="fails now"),
        pytest.param([("a", 1, 7, ""), ("b", 1, 8, ""), ("a", 1, 7, "")], (2 / 3, "repeats"), id="known from before"),
        pytest.param([("a", 1, None, ""), ("a", 1, None, "")], (0.5, "repeats"), id="at once, results not seen"),
        pytest.param(
            [("a", 1, None, ""), ("b", 1, None, ""), ("a", 1, None, "")], (1.0, "no_repeats"), id="results not seen"
        ),
        pytest.param([("wait_for", 1, 1, "")] * 3, (1.0, "no_repeats"), id="polling"),
        pytest.param([("a", 1, 1, "")] * 12, (1 / 12, "repeats"), id="runaway"),
    ],
)
def test_redundant_calls(
    tools: list[tuple[str, int | None, int | None, str]], expected: tuple[float, str] | None
) -> None:
    """1 less the share of calls whose result was known."""
    said = said_of(calls(*tools)).get("redundant_calls")
    assert said == (None if expected is None else (pytest.approx(expected[0]), expected[1]))


def test_calls_of_one_answer_are_not_redundant() -> None:
    """No result was known when they were asked for."""
    story = Story()
    agent = story.agent("planner", 0, 100)
    story.llm(1, 5, below=agent)
    for start in (6, 7):
        story.tool("a", start, start + 10, below=agent, detail=Detail(arguments=Print(1), result=Print(1)))
    assert said_of(story)["redundant_calls"] == (1.0, "no_repeats")


def test_redundant_calls_are_named() -> None:
    """The tool and how often, but not what it was asked."""
    assert why(calls(*[("search", 1, 1, "")] * 3), "redundant_calls") == (
        "2 of 3 tool calls repeated one whose result was known: search 2x"
    )


@pytest.mark.parametrize(
    ("usual", "expected"),
    [
        (None, None),
        (Usual(MIN_RUNS - 1, 4), None),
        (Usual(MIN_RUNS, 2), (0.5, "longer")),
        (Usual(MIN_RUNS, 4), (1.0, "usual")),
        (Usual(MIN_RUNS, 9), (1.0, "usual")),
        (Usual(MIN_RUNS, 3.5), (0.875, "usual")),
    ],
)
def test_step_efficiency(usual: Usual | None, expected: tuple[float, str] | None) -> None:
    """The agent's median over the steps of this run, here four; never more than 1."""
    story = calls(("a", 1, 1, ""))
    assert said_of(story, usual=usual).get("step_efficiency") == expected


def test_only_success_can_be_efficient() -> None:
    """How far it would have been otherwise, nobody knows."""
    story = Story()
    story.agent("planner", 0, 100, error_type="E")
    assert "step_efficiency" not in said_of(story, usual=Usual(50, 2))
    assert "step_efficiency" not in said_of(calls(("a", 1, 1, "")), "truncated", Usual(50, 2))


@pytest.mark.parametrize(
    ("tools", "expected"),
    [
        ([("a", 1, 1, "")], None),
        ([("a", 1, 1, "E"), ("a", 2, 1, "")], (1.0, "recovered")),
        ([("a", 1, 1, "E"), ("a", 1, 1, "E"), ("a", 1, 1, "")], (1.0, "recovered")),
        ([("a", 1, 1, "E"), ("b", 1, 1, "")], (0.0, "not_recovered")),
        ([("a", 1, 1, "E"), ("b", 1, 1, "E"), ("a", 1, 1, "")], (0.5, "partly")),
        ([("a", 1, 1, "E"), ("a", 1, 1, ""), ("a", 1, 1, "E")], (0.5, "partly")),
    ],
)
def test_recovery_after_errors(
    tools: list[tuple[str, int | None, int | None, str]], expected: tuple[float, str] | None
) -> None:
    """The share of failures after which the same tool succeeded."""
    assert said_of(calls(*tools)).get("recovery_after_errors") == expected


def test_models_and_agents_recover_too() -> None:
    """A call that is sent again, an agent that is asked again; the run's own failure is none of its errors."""
    story = Story()
    root = story.agent("planner", 0, 1000, error_type="E")
    story.llm(1, 2, below=root, error_type="429")
    story.llm(3, 4, below=root)
    story.agent("booker", 5, 6, below=root, error_type="E")
    story.agent("booker", 7, 8, below=root)
    assert said_of(story)["recovery_after_errors"] == (1.0, "recovered")
    story.agent("seller", 9, 10, below=root, error_type="E")
    assert why(story, "recovery_after_errors") == "2 of 3 failures were overcome; not: agent seller"


@pytest.mark.parametrize(
    ("plans", "expected"),
    [
        ([], None),
        ([(0, 3), (3, 3)], (1.0, "followed")),
        ([(0, 3), (1, 4)], (0.25, "partly")),
        ([(0, 3)], (0.0, "not_followed")),
    ],
)
def test_plan_adherence_by_status(plans: list[tuple[int, int]], expected: tuple[float, str] | None) -> None:
    """What is done of the plan as it was last."""
    story = Story()
    agent = story.agent("coder", 0, 100)
    for number, plan in enumerate(plans):
        story.tool("TodoWrite", number, number + 1, below=agent, detail=Detail(plan=plan))
    assert said_of(story).get("plan_adherence") == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("I will look around.", None),
        ("1. search_flights\n2. think about it", None),
        ("1. Call search_flights\n2. Then book_trip, please", (1.0, "followed")),
        ("- book_trip\n- search_flights", (0.5, "partly")),
        ("Step 1: search_flights\nStep 2: `cancel_trip`", (0.5, "partly")),
        ("* rent_car\n* cancel_trip", (0.0, "not_followed")),
        ('{"plan": "1. search_flights\\n2. book_trip"}', (1.0, "followed")),
        ("1. let the booker do it\n2. search_flights", (0.5, "partly")),
    ],
)
def test_plan_adherence_by_text(text: str, expected: tuple[float, str] | None) -> None:
    """The items that name a tool or an agent, done in their order."""
    story = Story()
    agent = story.agent("planner", 0, 100)
    story.step("plan", "think", 1, 2, below=agent, detail=Detail(said=text))
    story.tool("search_flights", 3, 4, below=agent)
    story.tool("mcp__travel__book_trip", 5, 6, below=agent)
    story.agent("booker", 7, 8, below=agent)
    assert said_of(story).get("plan_adherence") == expected


def test_a_hostile_plan_is_read_in_time() -> None:
    """Whatever it is made of."""
    for text in ("\n" * 32_768, "- " + "a" * 32_768, "1. a_" * 8_000, "-" + " " * 32_768, "- x_y\n" * 8_000):
        story = Story()
        agent = story.agent("planner", 0, 100)
        story.step("plan", "think", 1, 2, below=agent, detail=Detail(said=text))
        story.tool("x_y", 3, 4, below=agent)
        said_of(story)


@pytest.mark.parametrize(
    ("last", "expected"),
    [
        (Detail(finish="stop"), (1.0, "answered")),
        (Detail(output=Print(1)), (1.0, "answered")),
        (Detail(finish="length", output=Print(1)), (0.0, "truncated")),
        (Detail(finish="content_filter"), (0.0, "refused")),
        (Detail(finish="refusal"), (0.0, "refused")),
        (Detail(), None),
        (Detail(finish="tool_call"), None),
    ],
)
def test_goal_signal_of_the_last_answer(last: Detail, expected: tuple[float, str] | None) -> None:
    """How it ended, and nothing where nobody says it."""
    assert said_of(calls(("a", 1, 1, ""), last=last)).get("goal_signal") == expected


def test_goal_signal_of_what_ends_a_run() -> None:
    """The application's word, a tool that means the end, an error; in this order before the answer."""
    story = calls(("submit", 1, 1, ""), last=None)
    assert said_of(story)["goal_signal"] == (1.0, "finished")
    assert said_of(calls(("give_up", 1, 1, ""), last=None))["goal_signal"] == (0.0, "gave_up")
    assert said_of(calls(("submit", 1, 1, "E"), last=None))["goal_signal"] == (0.0, "gave_up")
    assert "goal_signal" not in said_of(calls(("search", 1, 1, ""), last=None))
    asked = Story()
    asked.llm(0, 10, asks=[("call_11111111", "final_result")], below=asked.agent("planner", 0, 20))
    assert said_of(asked)["goal_signal"] == (1.0, "finished")
    for outcome, score in (("success", 1.0), ("partial", 0.5), ("failure", 0.0)):
        story.records[0] = replace(story.records[0], detail=Detail(outcome=outcome))  # type: ignore[call-arg]
        assert said_of(story)["goal_signal"] == (score, f"explicit_{outcome}")
    failed = Story()
    failed.llm(1, 2, below=failed.agent("planner", 0, 10, error_type="E"), error_type="Timeout")
    assert said_of(failed)["goal_signal"] == (0.0, "error")


def test_goal_signal_waits_for_the_end() -> None:
    """A run that was cut off has not reached anything yet."""
    assert "goal_signal" not in said_of(calls(("a", 1, 1, "")), "truncated")
    assert "goal_signal" not in said_of(calls(("a", 1, 1, "")), "shutdown")


def test_scores_of_ours_decide_nothing() -> None:
    """Least of all the outcome: only judges from outside do."""
    story = calls(("a", 1, 1, ""), last=Detail(finish="length"))
    (run,) = RECIPE.runs(story.records, "complete")
    assert (run.outcome, run.outcome_basis) == ("success", "status")
    assert scores(run)["goal_signal"] == (0.0, "truncated")


def test_an_open_run_is_not_judged() -> None:
    """It has time left to do better."""
    (run,) = RECIPE.runs(calls(("a", 1, 1, "")).records, "open")
    assert run.evaluations == ()


@settings(max_examples=100, deadline=None)
@given(RECORDS, st.none() | st.builds(Usual, st.integers(0, 20), st.floats(0, 20)), st.randoms(use_true_random=False))
def test_scores_are_shares_and_the_order_of_arrival_does_not_matter(
    records: list[Step | Bridge], usual: Usual | None, chance: random.Random
) -> None:
    """Whatever comes: a score from 0 to 1, a label of the closed set, an explanation, and the same in any order."""
    runs = RECIPE.runs(records, "complete", usual=lambda _: usual)
    for run in runs:
        for one in run.evaluations:
            if one.basis == "builtin":
                evaluation: Evaluation = one.evaluation
                assert evaluation.score is not None
                assert 0 <= evaluation.score <= 1
                assert evaluation.label in EVALUATORS[evaluation.name.removeprefix(PREFIX)].labels
                assert evaluation.explanation
                assert one.step is None or one.step < len(run.steps)
    shuffled = records + chance.sample(records, chance.randint(0, len(records)))
    chance.shuffle(shuffled)
    assert RECIPE.runs(shuffled, "complete", usual=lambda _: usual) == runs


def test_evaluators_can_be_chosen() -> None:
    """By their names; each says what it says whether the others are there or not."""
    run = replace(RECIPE.runs(calls(("a", 1, 1, "")).records, "complete")[0], evaluations=())
    alone = evaluate(Course(run), {"tool_success": EVALUATORS["tool_success"]})
    assert [one.evaluation.name for one in alone] == ["spanledger.tool_success"]
    assert alone[0].basis == "builtin"


def test_shares() -> None:
    """All, some, none."""
    labels = ("all", "some", "none")
    assert [share(part, 2, labels, "why").label for part in (2, 1, 0)] == ["all", "some", "none"]


def test_an_evaluator_that_is_not_there_is_a_mistake_in_the_configuration(capsys: pytest.CaptureFixture[str]) -> None:
    """With what was meant, as for any closed set."""
    assert main(["validate", "--set", "connectors::trajectory::evaluators=[tool_sucess]"]) == 2
    error = capsys.readouterr().err
    assert "connectors::trajectory::evaluators::0" in error
    assert "'step_efficiency' or 'tool_success' (did you mean tool_success?)" in error


def test_terminal_tools_are_the_operators() -> None:
    """They decide the outcome, and are the goal signal."""
    recipe = TrajectoryConfig.model_validate({"terminal_tools": {"hang_up": "partial"}}).recipe()
    (run,) = recipe.runs(calls(("hang_up", 1, 1, ""), last=None).records, "complete")
    assert (run.outcome, run.outcome_basis) == ("partial", "terminal_tool")
    assert scores(run)["goal_signal"] == (0.5, "finished")


def test_every_evaluator_is_documented_with_its_source() -> None:
    """Name, labels and where the definition comes from."""
    page = DOCS.read_text()
    for name, evaluator in EVALUATORS.items():
        about = import_module(f"spanledger.conventions.evaluators.{name}").__doc__
        assert re.search("\n\nSource: .*https://", about, re.DOTALL), name
        section = page.partition(f"\n### {name}\n")[2].partition("\n##")[0]
        assert "https://" in section, name
        assert all(f"`{label}`" in section for label in evaluator.labels), name
        assert "Absent" in section, name

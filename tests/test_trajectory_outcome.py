"""How a run ended, by what that is known, and which steps led there."""

from __future__ import annotations

from typing import Any

import pytest

from spanledger.conventions.detail import Detail, Evaluation, Print
from spanledger.conventions.run import Run
from spanledger.conventions.trajectory import Judgement, build
from tests.trajectory_stories import Story, trace


def whole(story: Story, **given: Any) -> Run:
    """Return the only run of a story that is over."""
    (run,) = build(story.records, completeness="complete", **given)
    return run


def links(run: Run) -> list[str]:
    """Return the failure chain by names, with the reason before each but the first."""
    steps = [run.steps[index].name for index in run.failure_chain]
    return [steps[0], *(f"{why} > {name}" for why, name in zip(run.failure_basis, steps[1:], strict=True))]


def test_a_root_that_ended_well_is_a_success() -> None:
    """With nothing failed at its end."""
    story = Story()
    story.llm(1, 20, below=story.agent("planner", 0, 100))

    run = whole(story)

    assert (run.outcome, run.outcome_basis) == ("success", "status")


def test_a_tool_error_that_the_model_answered_is_no_failure() -> None:
    """It read the error and went on."""
    story = Story()
    agent = story.agent("planner", 0, 100)
    story.llm(1, 20, below=agent)
    story.tool("search", 21, 30, below=agent, error_type="ValueError")
    story.llm(31, 90, below=agent)

    run = whole(story)

    assert (run.outcome, run.failure_chain, run.totals.tool_calls_failed) == ("success", (), 1)


def test_a_tool_error_within_a_call_that_went_on_is_no_failure() -> None:
    """One span of several model calls has the tools below it, and ended well after the error."""
    story = Story()
    agent = story.agent("planner", 0, 100)
    call = story.llm(1, 90, below=agent, asks=[("c9", "other")])
    story.tool("search", 21, 30, below=call, error_type="ValueError")

    assert whole(story).outcome == "success"


@pytest.mark.parametrize(("error_type", "outcome"), [("", "success"), ("ValueError", "failure")])
def test_a_memory_that_did_without_a_model_is_no_failure(error_type: str, outcome: str) -> None:
    """Nobody waits for what is kept after the answer: the memory's own word counts."""
    story = Story()
    agent = story.agent("planner", 0, 100)
    story.llm(1, 20, below=agent)
    memory = story.step("memory", "", 30, 60, below=agent, error_type=error_type)
    story.llm(31, 50, below=memory, error_type="ValueError")

    assert whole(story).outcome == outcome


@pytest.mark.parametrize(("taken", "outcome"), [("r2", "success"), ("", "failure")])
def test_an_answer_that_was_refused_below_a_call_that_has_another_is_no_failure(taken: str, outcome: str) -> None:
    """The one that was taken has no span of its own; without an id it may be the one that broke off."""
    story = Story()
    agent = story.agent("planner", 0, 100)
    call = story.llm(1, 90, below=agent, response_id=taken)
    story.llm(2, 30, below=call, response_id="r1", error_type="ValueError")

    assert whole(story).outcome == outcome


def test_a_root_that_says_nothing_does_not_hide_that_the_last_call_failed() -> None:
    """Some frameworks leave the root unset when a run fails."""
    story = Story()
    agent = story.agent("planner", 0, 100)
    story.llm(1, 20, below=agent)
    story.llm(31, 90, below=agent, error_type="500")

    assert (whole(story).outcome, whole(story).outcome_basis) == ("failure", "status")


def test_errors_of_tools_whose_model_is_not_seen_are_left_to_the_agent() -> None:
    """Instrumentation without model calls: the agent says how it ended."""
    story = Story()
    story.tool("search", 21, 30, below=story.agent("planner", 0, 100), error_type="ValueError")

    assert whole(story).outcome == "success"


@pytest.mark.parametrize(
    ("asks", "outcome"),
    [([], "success"), ([("c1", "search")], "unknown"), (None, "success")],
    ids=["an answer", "asks for a tool", "content is not seen"],
)
def test_calls_without_an_agent_end_with_an_answer(asks: list[tuple[str, str]] | None, outcome: str) -> None:
    """A call that asks for a tool is not the end, whatever never came."""
    story = Story()
    story.llm(1, 20, asks=asks)

    assert whole(story).outcome == outcome


def test_calls_whose_agent_never_came_have_no_outcome() -> None:
    """The process was killed, or not: nobody says."""
    story = Story()
    agent = story.agent("planner", 0, 100)
    story.llm(1, 20, below=agent)
    story.drop(agent)

    run = whole(story)

    assert (run.outcome, run.outcome_basis, run.completeness) == ("unknown", "none", "rootless")


def test_the_application_has_the_first_word() -> None:
    """What it says on the root counts before status and judges."""
    story = Story()
    judge = Evaluation("task_completion", label="pass")
    agent = story.agent("planner", 0, 100, detail=Detail(outcome="partial", evaluations=(judge,)), error_type="x")
    story.llm(1, 20, below=agent)

    assert (whole(story).outcome, whole(story).outcome_basis) == ("partial", "explicit")


@pytest.mark.parametrize(
    ("evaluations", "outcome", "basis"),
    [
        ([Evaluation("task_completion", label="Fail")], "failure", "evaluation"),
        ([Evaluation("goal accuracy", score=0.8)], "success", "evaluation"),
        ([Evaluation("correctness", score=0.8), Evaluation("task_success", score=0.1)], "partial", "evaluation"),
        ([Evaluation("toxicity", score=0.1)], "success", "status"),
    ],
)
def test_judges_of_the_whole_run_come_next(evaluations: list[Evaluation], outcome: str, basis: str) -> None:
    """By label, else by score; what judges something else says nothing of the outcome."""
    story = Story()
    agent = story.agent("planner", 0, 100)
    story.llm(1, 20, below=agent)

    run = whole(story, evaluations=[Judgement(one, agent.trace_id, agent.span_id) for one in evaluations])

    assert (run.outcome, run.outcome_basis) == (outcome, basis)


def test_a_terminal_tool_ends_a_run() -> None:
    """Its call is the answer; names may be given."""
    story = Story()
    agent = story.agent("planner", 0, 100)
    story.llm(1, 20, below=agent)
    story.tool("escalate", 21, 30, below=agent)

    assert whole(story).outcome_basis == "status"
    run = whole(story, terminal_tools={"escalate": "partial"})
    assert (run.outcome, run.outcome_basis) == ("partial", "terminal_tool")


def test_the_chain_goes_from_the_value_to_the_failure() -> None:
    """Step 7 fails because of a reference that step 3 looked up: the whole chain, cause first."""
    story = Story()
    agent = story.agent("planner", 0, 100, error_type="BookingError")
    story.llm(1, 5, "find", below=agent, asks=[("c1", "lookup")], detail=Detail(input="user: book my trip"))
    story.tool(
        "lookup", 6, 9, below=agent, tool_call_id="c1", detail=Detail(input='{"name": "Ada"}', said='{"ref": "BK-9"}')
    )
    story.llm(10, 14, "plan", below=agent, reads=["c1"], asks=[("c2", "weather")])
    story.tool("weather", 15, 19, below=agent, tool_call_id="c2", detail=Detail(said="3C"))
    story.llm(20, 24, "book", below=agent, reads=["c2"], asks=[("c3", "book")])
    story.tool(
        "book", 25, 29, below=agent, tool_call_id="c3", error_type="NotFound", detail=Detail(input='{"ref": "BK-9"}')
    )

    run = whole(story)

    assert links(run) == ["tool:lookup", "data > tool:book", "error_propagation > agent:planner"]


def test_a_value_that_the_user_said_comes_from_no_step() -> None:
    """Then the model that asked is the cause."""
    story = Story()
    agent = story.agent("planner", 0, 100, error_type="BookingError")
    story.llm(1, 5, below=agent, asks=[("c1", "book")], detail=Detail(input="user: book BK-9"))
    story.tool(
        "book", 6, 9, below=agent, tool_call_id="c1", error_type="NotFound", detail=Detail(input='{"ref": "BK-9"}')
    )

    assert links(whole(story)) == ["llm", "tool_call_id > tool:book", "error_propagation > agent:planner"]


def test_without_content_prints_show_where_arguments_come_from() -> None:
    """Half of the pairs of words of the arguments are in the result."""
    story = Story()
    agent = story.agent("planner", 0, 100, error_type="BookingError")
    story.tool("lookup", 6, 9, below=agent, detail=Detail(result=Print(1, frozenset({1, 2, 3, 4}))))
    story.tool("weather", 10, 14, below=agent, detail=Detail(result=Print(2, frozenset({8, 9}))))
    story.tool("book", 25, 29, below=agent, error_type="E", detail=Detail(arguments=Print(3, frozenset({3, 4, 5}))))

    assert links(whole(story)) == ["tool:lookup", "data > tool:book", "error_propagation > agent:planner"]


def test_the_same_error_again_goes_back_to_its_first_time() -> None:
    """And from there to who asked for it."""
    story = Story()
    agent = story.agent("planner", 0, 100, error_type="GaveUp")
    for start in (0, 20, 40):
        story.llm(start + 1, start + 5, f"ask {start}", below=agent)
        story.tool("book", start + 6, start + 9, below=agent, error_type="NotFound")

    run = whole(story)

    assert links(run) == [
        "llm:ask 0",
        "order_and_name > tool:book",
        "repeated_error > tool:book",
        "error_propagation > agent:planner",
    ]
    assert run.failure_chain == (1, 2, 6, 0)


def test_a_failed_call_goes_back_to_the_failed_tool_that_it_read() -> None:
    """The error came to the model as data."""
    story = Story()
    agent = story.agent("planner", 0, 100, error_type="ContextLength")
    story.llm(1, 5, "ask", below=agent)
    story.tool("dump", 6, 9, below=agent, error_type="TooLarge")
    story.llm(10, 20, "read", below=agent, error_type="ContextLength")

    assert links(whole(story)) == [
        "llm:ask", "order_and_name > tool:dump", "data > llm:read", "error_propagation > agent:planner",
    ]  # fmt: skip


def test_evaluations_are_joined_by_span_response_and_conversation() -> None:
    """A judge names what it judges in one of these ways; a span that only judges is about its parent."""
    story = Story()
    agent = story.agent("planner", 0, 100, conversation_id="s1")
    call = story.llm(1, 5, below=agent, response_id="resp_1")
    node = story.bridge(6, 7, below=agent)
    story.step("evaluation", "judge", 8, 9, below=agent, detail=Detail(evaluations=(Evaluation("own", 1.0),)))
    other = Judgement(Evaluation("other"), trace(9), b"whatever")
    given = [
        Judgement(Evaluation("by_span"), call.trace_id, call.span_id),
        Judgement(Evaluation("by_structure"), node.trace_id, node.span_id),
        Judgement(Evaluation("by_response", response_id="resp_1")),
        Judgement(Evaluation("by_conversation"), conversation_id="s1"),
        other,
    ]

    run = whole(story, evaluations=[*given, *given])

    assert sorted((one.evaluation.name, one.step, one.basis) for one in run.evaluations if one.step is not None) == [
        ("by_response", 1, "response_id"),
        ("by_span", 1, "parent"),
        ("by_structure", 0, "parent"),
        ("own", 0, "parent"),
    ]
    assert [(one.evaluation.name, one.basis) for one in run.evaluations if one.step is None] == [
        ("by_conversation", "conversation")
    ]


def test_fingerprints_change_with_instructions_tools_and_model() -> None:
    """One for each agent, of its first call that says any of them."""

    def fingerprint(prompt: int, tools: int, model: str = "gpt-4o") -> dict[str, str]:
        story = Story()
        agent = story.agent("planner", 0, 100)
        story.llm(1, 5, below=agent, detail=Detail(prompt=prompt, tools=tools), model=model)
        return dict(whole(story).fingerprints)

    first = fingerprint(1, 2)

    assert first == fingerprint(1, 2)
    assert len({first["planner"], *(fingerprint(*one)["planner"] for one in [(2, 2), (1, 3), (1, 2, "o3")])}) == 4

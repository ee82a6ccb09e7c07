"""Who asked for a tool, who read its result, what is another attempt, and in which order all that was."""

from __future__ import annotations

from dataclasses import replace

import pytest

from spanledger.conventions.detail import Detail
from spanledger.conventions.trajectory import build
from tests.trajectory_stories import START_NS, Story, names, trace


def test_tools_are_joined_by_their_ids() -> None:
    """Two tools of one answer, two answers: ids tell which is whose, whatever the order."""
    story = Story()
    agent = story.agent("planner", 0, 100)
    story.llm(1, 10, below=agent, asks=[("call_b", "weather")])
    story.llm(2, 11, below=agent, asks=[("call_a", "flights")])
    story.tool("flights", 20, 30, below=agent, tool_call_id="call_a")
    story.tool("weather", 21, 31, below=agent, tool_call_id="call_b")
    story.llm(40, 50, below=agent, reads=["call_b"], asks=[])
    story.llm(60, 70, below=agent, reads=["call_a", "call_b"], asks=[])

    steps = build(story.records)[0].steps

    assert [(step.requested_by, step.requested_basis, step.read_by) for step in steps if step.kind == "tool"] == [
        (2, "tool_call_id", 6),
        (1, "tool_call_id", 5),
    ]


def test_tools_are_joined_by_order_where_content_is_not_seen() -> None:
    """The last call of the same agent before it, the next one after it."""
    story = Story()
    agent = story.agent("planner", 0, 100)
    story.llm(1, 10, below=agent)
    tool = story.tool("ask", 11, 60, below=agent)
    story.llm(21, 30, below=story.agent("researcher", 20, 59, below=tool))
    story.llm(61, 70, below=agent)

    steps = build(story.records)[0].steps

    assert names(build(story.records)[0])[2] == "tool:ask"
    assert (steps[2].requested_by, steps[2].requested_basis, steps[2].read_by) == (1, "order_and_name", 5)


def test_a_call_that_asked_for_other_tools_did_not_ask_for_this_one() -> None:
    """Names decide where content says them."""
    story = Story()
    agent = story.agent("planner", 0, 100)
    story.llm(1, 10, below=agent, asks=[("c1", "weather")])
    story.tool("flights", 20, 30, below=agent)

    assert build(story.records)[0].steps[2].requested_by is None


def test_ids_that_are_counted_anew_mean_the_last_call() -> None:
    """Some servers call every first tool call `call_0`."""
    story = Story()
    agent = story.agent("planner", 0, 100)
    for start in (0, 20, 40):
        story.llm(start + 1, start + 5, below=agent, asks=[("call_0", "search")], reads=["call_0"] if start else [])
        story.tool("search", start + 6, start + 9, below=agent, tool_call_id="call_0")

    steps = build(story.records)[0].steps

    assert [(step.requested_by, step.read_by) for step in steps if step.kind == "tool"] == [(1, 3), (3, 5), (5, None)]


def test_an_effect_is_never_before_its_cause() -> None:
    """A tool server's clock runs behind: the tool began, it says, before it was asked for."""
    story = Story()
    agent = story.agent("planner", 0, 100)
    story.tool("search", 5, 9, below=agent, tool_call_id="call_1")
    story.llm(7, 20, below=agent, asks=[("call_1", "search")])
    story.llm(6, 40, below=agent, reads=["call_1"], asks=[])

    assert names(build(story.records)[0]) == ["agent:planner", "llm", "tool:search", "llm"]


def test_causes_in_a_circle_are_ordered_by_time() -> None:
    """Ids that contradict each other hold nothing up."""
    story = Story()
    agent = story.agent("planner", 0, 100)
    story.tool("a", 5, 9, below=agent, tool_call_id="call_1")
    story.llm(6, 20, below=agent, asks=[("call_1", "a")], reads=["call_1"])

    assert sorted(names(build(story.records)[0])) == ["agent:planner", "llm", "tool:a"]


def test_a_skewed_clock_is_set_right_for_ordering_only() -> None:
    """The other host is an hour ahead: its steps lie where they were called, with the times they had."""
    story = Story()
    hour = 3_600_000
    agent = story.agent("planner", 0, 100)
    tool = story.tool("ask", 10, 60, below=agent)
    remote = story.agent("researcher", hour + 20, hour + 50, below=tool, service="research")
    story.llm(hour + 21, hour + 49, "inner", below=remote, service="research")
    story.llm(70, 90, below=agent)

    run = build(story.records)[0]

    assert names(run) == ["agent:planner", "tool:ask", "agent:researcher", "llm:inner", "llm"]
    assert run.steps[3].started_at_ns == START_NS + (hour + 21) * 1_000_000
    assert run.duration_s == 0.1


@pytest.mark.parametrize("behind_ms", [0, 30, 3_600_000])
def test_a_replica_whose_clock_is_behind_is_set_right(behind_ms: int) -> None:
    """It has the name of its caller's service, or neither has one; its work is in the order in which it was done."""
    story = Story()
    agent = story.agent("planner", 0, 1000)
    story.llm(1, 9, "first", below=agent)
    tool = story.tool("ask", 10, 500, below=agent)
    began = 20 - behind_ms
    replica = story.agent("researcher", began, began + 100, below=tool, remote_parent=True)
    story.llm(began + 60, began + 90, "answers", below=replica)
    story.tool("look", began + 10, began + 50, below=replica)
    story.llm(began + 1, began + 9, "asks", below=replica)

    assert names(build(story.records)[0]) == [
        "agent:planner", "llm:first", "tool:ask", "agent:researcher", "llm:asks", "tool:look", "llm:answers",
    ]  # fmt: skip


def test_the_outcome_follows_a_replica_whose_clock_is_behind() -> None:
    """Its last call failed, long before the first one of its caller, it says; nothing came after that."""
    story = Story()
    agent = story.agent("planner", 0, 1000)
    story.llm(1, 9, below=agent)
    replica = story.agent("researcher", -5000, -4000, below=agent, remote_parent=True)
    story.llm(-4990, -4800, below=replica)
    story.llm(-4500, -4100, below=replica, error_type="500")

    run = build(story.records, completeness="complete")[0]

    assert (run.outcome, [run.steps[at].error_type for at in run.failure_chain]) == ("failure", ["500"])


def test_queued_work_of_the_same_service_stays_after_its_caller() -> None:
    """It begins when the caller has ended: that is no clock's fault."""
    story = Story()
    agent = story.agent("planner", 0, 1000)
    tool = story.tool("enqueue", 10, 11, below=agent)
    story.llm(20, 30, "next", below=agent)
    story.llm(40, 60, "queued", below=tool, remote_parent=True)

    assert names(build(story.records)[0]) == ["agent:planner", "tool:enqueue", "llm:next", "llm:queued"]


def test_equal_times_are_ordered_parents_first() -> None:
    """Coarse clocks: everything in the same millisecond."""
    story = Story()
    agent = story.agent("planner", 0, 0)
    tool = story.tool("ask", 0, 0, below=agent)
    story.agent("researcher", 0, 0, below=tool)

    assert names(build(reversed(story.records))[0]) == ["agent:planner", "tool:ask", "agent:researcher"]


def test_a_failed_call_that_is_made_again_is_another_attempt() -> None:
    """It has a step, and is no new step of the run; the run is no failure."""
    story = Story()
    agent = story.agent("planner", 0, 100)
    story.llm(1, 10, below=agent, error_type="429")
    story.llm(20, 30, below=agent, error_type="429")
    story.llm(40, 50, below=agent)

    run = build(story.records)[0]

    assert [step.attempt for step in run.steps] == [1, 1, 2, 3]
    totals = run.totals
    assert (totals.steps, totals.llm_calls, totals.llm_calls_failed, totals.retries) == (2, 3, 2, 2)
    assert (run.outcome, run.failure_chain) == ("success", ())


@pytest.mark.parametrize(
    ("history", "model", "attempt"),
    [((7,), "gpt-4o", 2), ((8,), "gpt-4o", 1), ((7,), "gpt-4o-mini", 2)],
    ids=["same messages", "other messages", "same messages to a fallback"],
)
def test_the_messages_decide_what_is_an_attempt(history: tuple[int, ...], model: str, attempt: int) -> None:
    """Where they are seen; a fallback to another model is an attempt too."""
    story = Story()
    agent = story.agent("planner", 0, 100)
    story.llm(1, 10, below=agent, error_type="timeout", detail=Detail(history=(7,)))
    story.llm(20, 30, below=agent, detail=Detail(history=history), model=model)

    assert build(story.records)[0].steps[2].attempt == attempt


def test_a_tool_is_retried_by_its_id_or_its_arguments() -> None:
    """Before the model is asked again; afterwards it is a decision of the model."""
    story = Story()
    agent = story.agent("planner", 0, 100)
    story.llm(1, 5, below=agent)
    story.tool("book", 6, 7, below=agent, arguments=42, error_type="timeout")
    story.tool("book", 8, 9, below=agent, arguments=43)
    story.tool("book", 10, 11, below=agent, arguments=42, error_type="timeout")
    story.llm(20, 30, below=agent)
    story.tool("book", 31, 32, below=agent, arguments=42)

    run = build(story.records)[0]

    assert [step.attempt for step in run.steps if step.kind == "tool"] == [1, 1, 2, 1]
    assert (run.totals.retries, run.totals.tool_calls, run.totals.tool_calls_failed) == (1, 4, 2)


def test_requests_below_a_call_are_attempts() -> None:
    """The SDK hides its retries, the HTTP client shows them."""
    story = Story()
    call = story.llm(1, 90, below=story.agent("planner", 0, 100))
    for start in (2, 20, 40):
        story.bridge(start, start + 10, below=call, kind=3, failed=start < 40)

    run = build(story.records)[0]

    assert (run.steps[1].attempt, run.totals.retries, run.totals.llm_calls, run.totals.steps) == (3, 2, 1, 2)


def test_an_application_that_numbers_its_attempts_is_believed() -> None:
    """The span says that it is the third."""
    story = Story()
    story.llm(1, 90, below=story.agent("planner", 0, 100), attempt=3)

    run = build(story.records)[0]

    assert (run.steps[1].attempt, run.totals.retries) == (3, 2)


def test_parallel_steps_have_branches_and_the_longest_is_critical() -> None:
    """What overlaps runs on different branches; the run waited for what ended last."""
    story = Story()
    agent = story.agent("planner", 0, 100)
    story.llm(1, 20, "ask", below=agent)
    story.tool("slow", 21, 70, below=agent)
    story.tool("quick", 22, 30, below=agent)
    story.tool("next", 31, 40, below=agent)
    story.llm(71, 99, "answer", below=agent)

    run = build(story.records)[0]

    assert {step.name: step.branch for step in run.steps} == {
        "agent:planner": 0, "llm:ask": 0, "tool:slow": 0, "tool:quick": 1, "tool:next": 1, "llm:answer": 0,
    }  # fmt: skip
    assert [run.steps[index].name for index in run.critical_path] == [
        "agent:planner", "llm:ask", "tool:slow", "llm:answer",
    ]  # fmt: skip
    assert [step.critical for step in run.steps] == [True, True, True, False, False, True]


def test_handoffs_and_delegations() -> None:
    """Agents below agents are delegated to, agents after each other hand over."""
    story = Story()
    team = story.step("workflow", "team", 0, 100)
    first = story.agent("planner", 1, 40, below=team)
    story.agent("researcher", 10, 30, below=story.tool("ask", 9, 31, below=first))
    story.agent("writer", 41, 99, below=team)

    run = build(story.records)[0]

    assert [(one.giver, one.taker, one.kind) for one in run.handoffs] == [
        ("planner", "researcher", "delegation"),
        ("planner", "writer", "handoff"),
    ]
    assert run.agent_name == "planner"


def test_a_workflow_that_delegates_gives_the_run_its_name() -> None:
    """Whom a tool of its own asked for help is not who was asked for the work."""
    story = Story()
    flow = replace(story.step("workflow", "planner", 0, 100), workflow_name="planner")
    story.records[-1] = flow
    story.llm(1, 8, below=flow)
    story.agent("researcher", 10, 30, below=story.tool("task", 9, 31, below=flow))

    run = build(story.records)[0]

    assert run.agent_name == "planner"


def test_a_deep_chain_of_spans_is_no_recursion() -> None:
    """Ten thousand spans below each other, each an agent."""
    story = Story()
    below = None
    for number in range(10_000):
        below = story.agent(f"a{number}", number, 20_000, below=below, trace_id=trace(1))

    run = build(story.records)[0]

    assert (run.totals.max_depth, run.steps[-1].parent) == (10_000, 9_998)

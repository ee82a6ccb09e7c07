"""Which runs a group of records holds, and what is in them: a table of topologies."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise

import pytest

from spanledger.conventions.detail import Detail
from spanledger.conventions.reading import Cost
from spanledger.conventions.step import Step
from spanledger.conventions.trajectory import Edge, build, building
from spanledger.processor.turns import paced
from tests.trajectory_stories import Story, names, outline, trace


def single_agent(story: Story) -> None:
    """Tell of an agent that calls a model, a tool, and the model again."""
    agent = story.agent("planner", 0, 100)
    story.llm(1, 20, below=agent)
    story.tool("search", 21, 30, below=agent)
    story.llm(31, 90, below=agent)


def agent_as_tool(story: Story) -> None:
    """Tell of an agent that another calls as a tool."""
    agent = story.agent("planner", 0, 100)
    story.llm(1, 20, below=agent)
    tool = story.tool("ask_researcher", 21, 60, below=agent)
    inner = story.agent("researcher", 22, 59, below=tool)
    story.llm(23, 58, below=inner)
    story.llm(61, 90, below=agent)


def handoff_siblings(story: Story) -> None:
    """Tell of agents one after the other below a workflow."""
    team = story.step("workflow", "team", 0, 100)
    first = story.agent("planner", 1, 40, below=team)
    story.llm(2, 39, below=first)
    second = story.agent("writer", 41, 99, below=team)
    story.llm(42, 98, below=second)


def parallel_tools(story: Story) -> None:
    """Tell of two tools at the same time."""
    agent = story.agent("planner", 0, 100)
    story.llm(1, 20, below=agent)
    story.tool("flights", 21, 60, below=agent)
    story.tool("weather", 22, 40, below=agent)
    story.llm(61, 90, below=agent)


def several_runs(story: Story) -> None:
    """Tell of two agents below an application's own span."""
    handler = story.bridge(0, 200)
    story.llm(2, 90, below=story.agent("planner", 1, 99, below=handler))
    story.llm(102, 190, below=story.agent("planner", 101, 199, below=handler))


def team_below_structure(story: Story) -> None:
    """Tell of agents below a GenAI span that is neither agent nor workflow: a graph, a chain."""
    chain = story.step("other", "team", 0, 100)
    story.llm(2, 39, below=story.agent("planner", 1, 40, below=chain))
    story.llm(42, 98, below=story.agent("writer", 41, 99, below=chain))


def lone_agent_below_structure(story: Story) -> None:
    """Tell of structure around one agent that does everything."""
    chain = story.step("other", "workflow", 0, 100)
    story.llm(2, 39, below=story.agent("planner", 1, 99, below=chain))


def two_services(story: Story) -> None:
    """Tell of an agent that calls another over HTTP."""
    agent = story.agent("planner", 0, 100)
    tool = story.tool("ask_researcher", 10, 60, below=agent)
    client = story.bridge(11, 59, below=tool, kind=3)
    server = story.bridge(12, 58, below=client, kind=2, service="research")
    story.llm(20, 50, below=story.agent("researcher", 15, 55, below=server, service="research"), service="research")


def calls_of_a_trace(story: Story) -> None:
    """Tell of model and tool calls with no agent above, below an application's span."""
    handler = story.bridge(0, 100)
    story.llm(1, 20, below=handler)
    story.tool("search", 21, 30, below=handler)
    story.llm(31, 90, below=handler)


def calls_beside_an_agent(story: Story) -> None:
    """Tell of a call with no agent above it is of no agent's run."""
    handler = story.bridge(0, 100)
    story.llm(1, 9, "router", below=handler)
    story.llm(12, 80, below=story.agent("planner", 11, 99, below=handler))


def missing_middle(story: Story) -> None:
    """Tell of a parent that never came: what contains its children in time takes them."""
    agent = story.agent("planner", 0, 100)
    graph = story.bridge(1, 99, below=agent)
    node = story.bridge(2, 98, below=graph)
    story.llm(3, 40, below=node)
    story.tool("search", 41, 60, below=node)
    story.drop(node)


def missing_root(story: Story) -> None:
    """Tell of the root never came: its children are one run, agents among them."""
    agent = story.agent("planner", 0, 100)
    story.llm(1, 20, below=agent)
    tool = story.tool("ask_researcher", 21, 60, below=agent)
    story.llm(23, 58, below=story.agent("researcher", 22, 59, below=tool))
    story.llm(61, 90, below=agent)
    story.drop(agent)


def agents_without_their_root(story: Story) -> None:
    """Tell of agents whose common parent never came, and calls beside them, are one run."""
    team = story.step("workflow", "team", 0, 100)
    story.llm(2, 39, below=story.agent("planner", 1, 40, below=team))
    story.llm(41, 60, below=team)
    story.drop(team)


def construction(story: Story) -> None:
    """Tell of an agent that is only constructed does nothing."""
    story.step("other", "create_agent planner", 0, 1, operation="create_agent")
    story.bridge(2, 3)


def doubled_root(story: Story) -> None:
    """Tell of an agent that a framework reports twice is one step."""
    outer = story.agent("planner", 0, 100)
    inner = story.agent("planner", 1, 99, below=outer)
    story.llm(2, 90, below=story.step("other", "node", 2, 91, below=inner))


def tool_on_both_sides(story: Story) -> None:
    """Tell of a tool that caller and MCP server report is one step."""
    agent = story.agent("planner", 0, 100)
    tool = story.tool("mcp__travel__search", 10, 50, below=agent)
    send = story.step("other", "MCP send tools/call search", 11, 49, below=tool)
    story.tool("search", 20, 40, below=send, service="travel-mcp", error_type="tool_error")


def call_on_both_sides(story: Story) -> None:
    """Tell of a model call that framework and SDK report is one step, with what either knows."""
    agent = story.agent("planner", 0, 100)
    outer = story.llm(10, 50, below=agent, cost=Cost("rollup", "wraps_calls"), asks=[("c1", "search")])
    story.llm(11, 49, "sdk", below=outer, response_id="r1")


def wrapper_of_attempts(story: Story) -> None:
    """Tell of a model call around several is no call but holds them together."""
    agent = story.agent("planner", 0, 100)
    outer = story.llm(10, 90, "router", below=agent, cost=Cost("rollup", "wraps_calls"))
    story.llm(11, 40, below=outer, error_type="timeout")
    story.llm(41, 89, below=outer)


TOPOLOGIES: list[tuple[Callable[[Story], None], list[list[str]]]] = [
    (single_agent, [["agent:planner", "  llm", "  tool:search", "  llm"]]),
    (
        agent_as_tool,
        [["agent:planner", "  llm", "  tool:ask_researcher", "    agent:researcher", "      llm", "  llm"]],
    ),
    (handoff_siblings, [["workflow:team", "  agent:planner", "    llm", "  agent:writer", "    llm"]]),
    (parallel_tools, [["agent:planner", "  llm", "  tool:flights", "  tool:weather", "  llm"]]),
    (several_runs, [["agent:planner", "  llm"], ["agent:planner", "  llm"]]),
    (team_below_structure, [["other:team", "  agent:planner", "    llm", "  agent:writer", "    llm"]]),
    (lone_agent_below_structure, [["agent:planner", "  llm"]]),
    (two_services, [["agent:planner", "  tool:ask_researcher", "    agent:researcher", "      llm"]]),
    (calls_of_a_trace, [["llm", "tool:search", "llm"]]),
    (calls_beside_an_agent, [["llm:router"], ["agent:planner", "  llm"]]),
    (missing_middle, [["agent:planner", "  llm", "  tool:search"]]),
    (missing_root, [["llm", "tool:ask_researcher", "  agent:researcher", "    llm", "llm"]]),
    (agents_without_their_root, [["agent:planner", "  llm", "llm"]]),
    (construction, []),
    (doubled_root, [["agent:planner", "  llm"]]),
    (tool_on_both_sides, [["agent:planner", "  tool:mcp__travel__search"]]),
    (call_on_both_sides, [["agent:planner", "  llm:sdk"]]),
    (wrapper_of_attempts, [["agent:planner", "  llm", "  llm"]]),
]


@pytest.mark.parametrize(("tell", "expected"), TOPOLOGIES, ids=[tell.__name__ for tell, _ in TOPOLOGIES])
def test_a_topology_gives_these_runs(tell: Callable[[Story], None], expected: list[list[str]]) -> None:
    """Runs in order of time, their steps below their parents."""
    story = Story()
    tell(story)

    assert [outline(run) for run in build(story.records, completeness="complete")] == expected


@pytest.mark.parametrize(
    ("tell", "depth"),
    [(single_agent, 1), (agent_as_tool, 2), (handoff_siblings, 2), (calls_of_a_trace, 0), (doubled_root, 1)],
)
def test_depth_counts_agents_and_workflows(tell: Callable[[Story], None], depth: int) -> None:
    """Of the deepest agent, itself included."""
    story = Story()
    tell(story)

    assert build(story.records)[0].totals.max_depth == depth


def test_run_is_named_after_its_root() -> None:
    """Trace and root span make the id; what comes later does not change it."""
    story = Story()
    single_agent(story)
    early = build(story.records[:2])[0]

    late = build(story.records, completeness="complete")[0]

    assert early.run_id == late.run_id == f"{trace(1).hex()}-{1:016x}"
    assert late.root_span_id == f"{1:016x}"
    assert (late.agent_name, late.service_name, late.duration_s) == ("planner", "trip", 0.1)


def test_a_late_root_changes_no_id() -> None:
    """Its children name it before it comes."""
    story = Story()
    single_agent(story)

    before = build(story.records[1:], completeness="idle")[0]
    after = build(story.records, completeness="complete")[0]

    assert before.run_id == after.run_id
    assert (before.completeness, before.root_span_id) == ("rootless", None)
    assert (after.completeness, after.root_span_id) == ("complete", f"{1:016x}")


def test_parent_in_another_process_is_not_waited_for() -> None:
    """Whoever called the agent may report to somebody else: the run is whole."""
    story = Story()
    story.agent("planner", 0, 100, parent_id=b"elsewher", remote_parent=True)

    run = build(story.records, completeness="complete")[0]

    assert (run.completeness, run.outcome) == ("complete", "success")


def test_inferred_parents_are_marked() -> None:
    """What was put below by time says so."""
    story = Story()
    missing_middle(story)

    run = build(story.records)[0]

    assert [step.basis for step in run.steps] == ["root", "inferred_parent", "inferred_parent"]


def test_structure_that_failed_by_itself_is_a_step() -> None:
    """A graph node that raised, with nothing failed below it, is where the failure began."""
    story = Story()
    agent = story.agent("planner", 0, 100, error_type="ValueError")
    node = story.step("other", "parse", 1, 50, below=agent, error_type="ValueError")
    story.llm(2, 40, below=node)

    run = build(story.records)[0]

    assert outline(run) == ["agent:planner", "  other:parse", "    llm"]
    assert [run.steps[index].name for index in run.failure_chain] == ["other:parse", "agent:planner"]


def test_a_tool_that_failed_on_the_server_failed() -> None:
    """The caller's span may say ok while the server's does not."""
    story = Story()
    tool_on_both_sides(story)

    tool = build(story.records)[0].steps[1]

    assert (tool.status, tool.error_type, len(tool.twins)) == ("error", "tool_error", 1)


def test_twin_calls_count_once() -> None:
    """One call, the tokens and the price of the span that counts."""
    story = Story()
    call_on_both_sides(story)

    run = build(story.records)[0]

    assert (run.totals.llm_calls, run.totals.input_tokens, run.totals.cost_pico_usd) == (1, 100, 250_000_000)
    assert run.steps[1].asks == ("search",)


def test_twin_in_another_trace_is_the_call_of_the_agent() -> None:
    """The call stays where an agent is above it, whichever of the two counts, and makes no run of its own."""
    story = Story()
    agent = story.agent("planner", 0, 100)
    story.llm(10, 50, "framework", below=agent, response_id="r1", cost=Cost("rollup", "twin_of_counted_call"))
    story.llm(11, 49, "sdk", trace_id=trace(2), response_id="r1")

    runs = build(story.records)

    assert [outline(run) for run in runs] == [["agent:planner", "  llm:framework"]]
    assert runs[0].totals.cost_pico_usd == 250_000_000
    assert runs[0].trace_ids == (trace(1).hex(), trace(2).hex())


def chain(*calls: Step) -> list[Edge]:
    """Return edges that say that each call goes on with the one before."""
    return [
        Edge(later.trace_id, later.span_id, earlier.trace_id, earlier.span_id, "history")
        for earlier, later in pairwise(calls)
    ]


def test_calls_that_are_traces_of_their_own_are_one_run() -> None:
    """Client-only instrumentation: a chain of calls by their history."""
    story = Story()
    first = story.llm(0, 10, asks=[("c1", "search")], trace_id=trace(1))
    second = story.llm(20, 30, reads=["c1"], asks=[("c2", "search")], trace_id=trace(2))
    third = story.llm(40, 50, reads=["c2"], asks=[], trace_id=trace(3))

    runs = build(story.records, links=chain(first, second, third), completeness="complete")

    assert [names(run) for run in runs] == [["llm", "search", "llm", "search", "llm"]]
    assert [step.basis for step in runs[0].steps] == ["root", "messages", "history", "messages", "history"]
    assert (runs[0].outcome, runs[0].root_span_id) == ("success", None)


def test_a_new_message_of_the_user_is_a_new_run() -> None:
    """Turns of a conversation are runs of one session."""
    story = Story()
    first = story.llm(0, 10, asks=[], trace_id=trace(1), conversation_id="s1")
    second = story.llm(20, 30, detail=Detail(asks_user=True), asks=[], trace_id=trace(2), conversation_id="s1")

    runs = build(story.records, links=chain(first, second))

    assert [(names(run), run.session_id) for run in runs] == [(["llm"], "s1"), (["llm"], "s1")]


def test_link_to_a_running_agent_is_a_call() -> None:
    """A consumer whose span links to the message: its work is part of the run."""
    story = Story()
    agent = story.agent("planner", 0, 100)
    send = story.bridge(10, 11, below=agent, kind=4)
    receive = story.bridge(20, 60, trace_id=trace(2), kind=5, links=(send,), service="worker")
    story.llm(30, 50, below=story.agent("worker", 21, 59, below=receive, service="worker"), service="worker")

    runs = build(story.records)

    assert [outline(run) for run in runs] == [["agent:planner", "  agent:worker", "    llm"]]
    assert [handoff.kind for handoff in runs[0].handoffs] == ["delegation"]


def test_a_queue_may_deliver_after_the_sender_has_ended() -> None:
    """The message carries the run on."""
    story = Story()
    send = story.bridge(10, 11, below=story.agent("planner", 0, 20), kind=4)
    story.agent("worker", 50, 90, below=story.bridge(40, 99, trace_id=trace(2), kind=5, links=(send,)))

    assert [outline(run) for run in build(story.records)] == [["agent:planner", "  agent:worker"]]


def test_link_to_the_turn_before_makes_no_call_of_it() -> None:
    """The agent of the last turn has ended: a new run, even when it begins in the same moment."""
    story = Story()
    first = story.agent("planner", 0, 50, conversation_id="s1")
    story.agent(
        "planner", 50, 90, trace_id=trace(2), conversation_id="s1",
        detail=Detail(links=((first.trace_id, first.span_id),)),
    )  # fmt: skip

    assert [outline(run) for run in build(story.records)] == [["agent:planner"], ["agent:planner"]]


def test_tool_call_id_joins_a_server_that_knows_no_trace() -> None:
    """An MCP server without trace context, joined by the id of the tool call."""
    story = Story()
    agent = story.agent("planner", 0, 100)
    call = story.llm(1, 20, below=agent, asks=[("call_12345", "search")])
    tool = story.tool("search", 30, 40, trace_id=trace(2), tool_call_id="call_12345", service="mcp")

    runs = build(
        story.records, links=[Edge(tool.trace_id, tool.span_id, call.trace_id, call.span_id, "tool_call_id")]
    )  # fmt: skip

    assert [names(run) for run in runs] == [["agent:planner", "llm", "tool:search"]]
    assert (runs[0].steps[2].basis, runs[0].steps[2].requested_by) == ("tool_call_id", 1)


def test_a_record_that_came_twice_is_one() -> None:
    """Of two reports of a span the one that counts stays, in whatever order they come."""
    story = Story()
    single_agent(story)
    again = replace(story.records[1], cost=Cost("rollup", "repeated"))

    assert build([*story.records, again]) == build([again, *story.records]) == build(story.records)


def test_a_span_id_that_was_used_again_is_another_span() -> None:
    """Both stay, children go to the one they lie in."""
    story = Story()
    first = story.agent("planner", 0, 50)
    story.llm(10, 40, "first", below=first)
    second = story.agent("writer", 60, 90)
    story.records[-1] = second = replace(second, span_id=first.span_id)
    story.llm(70, 80, "second", below=second)

    assert [outline(run) for run in build(story.records)] == [
        ["agent:planner", "  llm:first"],
        ["agent:writer", "  llm:second"],
    ]


def test_parents_in_a_circle_are_cut_above_the_earliest() -> None:
    """Hostile ids end nowhere else."""
    story = Story()
    first = story.agent("planner", 0, 90)
    second = story.agent("writer", 10, 80, below=first)
    story.records[0] = replace(first, parent_span_id=second.span_id)
    story.records.append(replace(first, span_id=b"selfself", parent_span_id=b"selfself", start_ns=first.start_ns + 1))

    assert sorted(outline(run) for run in build(story.records)) == [
        ["agent:planner"],
        ["agent:planner", "  agent:writer"],
    ]


def test_server_spans_beside_their_callers_are_the_same_tools() -> None:
    """The MCP server's span lies beside the caller's, in its time and with the bare name of the tool."""
    story = Story()
    agent = story.agent("planner", 0, 100)
    for start in (0, 40):
        story.tool("mcp__travel__search", start + 1, start + 30, below=agent, tool_call_id=f"toolu_{start}")
        story.tool("search", start + 10, start + 20, below=agent)

    (run,) = build(story.records)

    assert outline(run) == ["agent:planner", "  tool:mcp__travel__search", "  tool:mcp__travel__search"]
    assert [len(step.twins) for step in run.steps] == [0, 1, 1]


def test_the_same_tool_twice_at_the_same_time_is_two_calls() -> None:
    """One within the time of the other, both asked for by the model."""
    story = Story()
    agent = story.agent("planner", 0, 100)
    story.tool("search", 1, 50, below=agent)
    story.tool("search", 2, 40, below=agent)

    assert build(story.records)[0].totals.tool_calls == 2


def test_nothing_gives_no_runs() -> None:
    """An empty group, or one of bridges."""
    story = Story()
    story.bridge(0, 10)

    assert build([]) == build(story.records) == ()


async def test_large_groups_are_built_with_pauses() -> None:
    """The same runs; whoever drives it may do other work in between."""
    story = Story()
    several_runs(story)
    ticks = iter(range(1000))

    runs = await paced(building(story.records), 1, lambda: next(ticks))

    assert runs == build(story.records)
    assert next(ticks) > 3

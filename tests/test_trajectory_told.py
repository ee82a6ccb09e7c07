"""Tools that no span reports, and who did what."""

from __future__ import annotations

from dataclasses import replace

import pytest

from spanledger.conventions.detail import Detail, ToolRequest
from spanledger.conventions.details.delegates import delegate_of, hands_over
from spanledger.conventions.details.graphs import node_of
from spanledger.conventions.reading import StepKind
from spanledger.conventions.run import Run
from spanledger.conventions.run_document import document, read_document
from spanledger.conventions.trajectory import Edge, build
from tests.trajectory_stories import Story, trace


def tools(run: Run) -> list[tuple[str | None, str]]:
    """Return the tools of a run and their bases."""
    return [(step.tool_name, step.basis) for step in run.steps if step.kind == "tool"]


def test_an_answered_request_is_a_tool_that_ran() -> None:
    """It is a step between its request and its result, counted, and without a duration that nobody measured."""
    story = Story()
    agent = story.agent("planner", 0, 100)
    story.llm(10, 20, below=agent, asks=[("c1", "search"), ("c2", "fetch")])
    story.llm(50, 60, below=agent, reads=["c1", "c2"], asks=[])

    (run,) = build(story.records, completeness="complete")

    assert tools(run) == [("search", "messages"), ("fetch", "messages")]
    assert run.totals.tool_calls == 2
    search = run.steps[2]
    assert (search.requested_by, search.read_by, search.duration_s, search.span_id) == (1, 4, None, "")
    assert (search.agent_name, search.parent) == ("planner", 0)


def test_a_request_that_nobody_answered_did_not_run() -> None:
    """It stays among what the call asks for."""
    story = Story()
    story.llm(10, 20, below=story.agent("planner", 0, 100), asks=[("c1", "search")])

    (run,) = build(story.records)

    assert tools(run) == []
    assert run.steps[1].asks == ("search",)


@pytest.mark.parametrize("call_id", ["c1", "", "another"])
def test_a_tool_with_a_span_is_not_told_again(call_id: str) -> None:
    """By its id, or by its name where it has none or another."""
    story = Story()
    agent = story.agent("planner", 0, 100)
    story.llm(10, 20, below=agent, asks=[("c1", "search")])
    story.tool("search", 25, 40, below=agent, tool_call_id=call_id)
    story.llm(50, 60, below=agent, reads=["c1"], asks=[])

    (run,) = build(story.records)

    assert tools(run) == [("search", "parent")]


@pytest.mark.parametrize("name", ["Search the Web", "searchTheWeb", "mcp__web__search_the_web"])
def test_a_tool_under_its_own_name_is_not_told_again(name: str) -> None:
    """A model was offered it as it may spell it."""
    story = Story()
    agent = story.agent("planner", 0, 100)
    story.llm(10, 20, below=agent, asks=[("c1", "search_the_web")])
    story.tool(name, 25, 40, below=agent)
    story.llm(50, 60, below=agent, reads=["c1"], asks=[])

    (run,) = build(story.records)

    assert tools(run) == [(name, "parent")]


def test_an_agent_that_was_handed_the_work_is_no_tool() -> None:
    """The request is answered by what the agent did."""
    story = Story()
    top = story.step("workflow", "team", 0, 100)
    first = story.agent("triage", 1, 40, below=top)
    story.llm(10, 20, below=first, asks=[("c1", "transfer_to_refunds_agent")])
    second = story.agent("Refunds Agent", 41, 99, below=top)
    story.llm(50, 60, below=second, reads=["c1"], asks=[])

    (run,) = build(story.records)

    assert tools(run) == []


def test_a_span_named_after_the_tool_is_the_tool() -> None:
    """Where it lies between the request and the result: its times and its failure are the tool's."""
    story = Story()
    agent = story.agent("planner", 0, 100)
    story.llm(10, 20, below=agent, asks=[("c1", "search")])
    own = story.bridge(25, 40, below=agent, failed=True)
    story.records[-1] = replace(own, name="tool search")
    story.llm(50, 60, below=agent, reads=["c1"], asks=[])

    (run,) = build(story.records)

    assert tools(run) == [("search", "parent")]
    assert (run.steps[2].status, run.steps[2].span_id, run.totals.tool_calls_failed) == ("error", own.span_id.hex(), 1)


def test_an_answer_that_is_not_told_is_in_the_next_history() -> None:
    """A stream whose answer nobody recorded: the next call says what was asked for, and got the result."""
    story = Story()
    agent = story.agent("planner", 0, 100)
    story.llm(10, 20, below=agent)
    story.llm(50, 60, below=agent, detail=Detail(given=(ToolRequest("c1", "search", None),)), reads=["c1"], asks=[])

    (run,) = build(story.records)

    assert tools(run) == [("search", "messages")]


def test_what_was_asked_what_a_tool_was_given_lies_below_it() -> None:
    """A sub-agent in a trace of its own, found by its task; and the calls that go on with its work."""
    story = Story()
    ask = story.llm(10, 20, asks=[("c1", "delegate_to_writer")], trace_id=trace(1))
    sub = story.llm(30, 40, asks=[("c2", "search")], trace_id=trace(2), detail=Detail(asks_user=True))
    more = story.llm(45, 50, reads=["c2"], asks=[], trace_id=trace(3))
    done = story.llm(60, 70, reads=["c1"], asks=[], trace_id=trace(4))
    links = [
        Edge(one.trace_id, one.span_id, other.trace_id, other.span_id, basis)
        for one, other, basis in ((sub, ask, "arguments"), (more, sub, "history"), (done, ask, "history"))
    ]

    (run,) = build(story.records, links=links, completeness="complete")  # type: ignore[arg-type]

    assert [(step.name, step.parent) for step in run.steps] == [
        ("llm", None), ("delegate_to_writer", None), ("llm", 1), ("search", 1), ("llm", 1), ("llm", None),
    ]  # fmt: skip
    assert [step.agent_name for step in run.steps] == [None, None, "writer", "writer", "writer", None]
    assert [(one.giver, one.taker) for one in run.handoffs] == [("", "writer")]


def test_work_in_another_service_is_not_its_callers() -> None:
    """It goes by the name of that service, where nothing names an agent there."""
    story = Story()
    agent = story.agent("planner", 0, 100)
    serve = story.bridge(10, 90, below=agent, kind=2, service="research")
    story.llm(20, 80, below=serve, service="research")

    (run,) = build(story.records)

    assert [(step.agent_name, step.agent_basis) for step in run.steps] == [("planner", "span"), ("research", "service")]
    assert run.agent_name == "planner"


def test_a_call_through_a_gateway_is_its_callers() -> None:
    """Both report it: then it is not the work of the gateway, whose report is the better one."""
    story = Story()
    agent = story.agent("planner", 0, 100)
    ask = story.llm(10, 90, below=agent, response_id="r1", cost=None)
    serve = story.bridge(20, 80, below=ask, kind=2, service="gateway")
    better = story.llm(30, 70, below=serve, service="gateway", response_id="r1")

    (run,) = build(story.records)

    assert [(step.span_id, step.agent_name) for step in run.steps] == [
        (agent.span_id.hex(), "planner"), (better.span_id.hex(), "planner"),
    ]  # fmt: skip


def test_a_span_named_after_what_it_does_names_no_agent() -> None:
    """The next one around it does, if it has a name like one."""
    for name, expected in (("tools", "traveller"), ("call", "traveller"), ("invoke_agent", None), ("helper", "helper")):
        story = Story()
        names = ("traveller", name) if name != "invoke_agent" else (name,)
        below = None
        for each in names:
            kind: StepKind = "agent" if each == "invoke_agent" else "other"
            below = replace(story.step(kind, "", 0, 100, below=below), name=each)
            story.records[-1] = below
        story.tool("search", 10, 20, below=below)

        (run,) = build(story.records)

        assert run.steps[-1].agent_name == expected


def test_a_node_called_agent_names_nobody_but_an_agent_that_is_called_so_does() -> None:
    """LangGraph's node asks the model; what tools run below, or what is all there is, is an agent."""
    for around, with_tool, expected in (
        ("traveller", False, "traveller"), ("traveller", True, "agent"), ("", False, "agent"),
    ):  # fmt: skip
        story = Story()
        below = None
        for name in filter(None, (around, "agent")):
            below = replace(story.step("other", "", 0, 100, below=below), name=name)
            story.records[-1] = below
        story.llm(10, 20, below=below)
        if with_tool:
            story.tool("search", 30, 40, below=below)

        (run,) = build(story.records)

        assert run.steps[-1].agent_name == expected


def test_nodes_that_call_models_are_a_team() -> None:
    """Two of them: each is an agent. One of them alone is the graph itself."""
    for nodes, expected in ((("plan", "write"), ["plan", "write"]), (("agent", "agent"), ["trip_agent", "trip_agent"])):
        story = Story()
        top = story.step("workflow", "trip_agent", 0, 100)
        for place, node in enumerate(nodes):
            story.llm(10 + 20 * place, 20 + 20 * place, below=top, detail=Detail(node=node))

        (run,) = build(story.records)

        assert [step.agent_name for step in run.steps if step.kind == "llm"] == expected


def test_documents_say_that_a_step_has_no_span() -> None:
    """Its span id is null, and comes back as unknown."""
    story = Story()
    story.llm(10, 20, asks=[("c1", "search")])
    story.llm(50, 60, reads=["c1"], asks=[])
    (run,) = build(story.records)

    told = document(run)

    assert [step["span_id"] is None for step in told["steps"]] == [False, True, False]
    assert read_document(told) == run


@pytest.mark.parametrize(
    ("tool", "arguments", "expected"),
    [
        ("Delegate work to coworker", {"task": "t", "coworker": "researcher"}, "researcher"),
        ("transfer_to_agent", {"agent_name": "refunds"}, "refunds"),
        ("handoff", {"kwargs": {"to_agent": "writer", "reason": "r"}}, "writer"),
        ("Task", {"description": "d", "subagent_type": "reviewer"}, "reviewer"),
        ("delegate_to_writer", None, "writer"),
        ("transfer_to_refunds_agent", {}, "refunds_agent"),
        ("transfer_to_savings", {"amount": 3}, ""),
        ("transfer_to_agent", None, ""),
        ("get_agent", {"agent_name": "x"}, ""),
        ("handoff", {"to_agent": 7}, ""),
    ],
)
def test_who_gets_the_work(tool: str, arguments: object, expected: str) -> None:
    """The agent that a tool's arguments, or its name, hand the work to."""
    assert delegate_of(tool, arguments) == expected  # type: ignore[arg-type]


def test_a_handoff_is_no_delegation() -> None:
    """Whoever hands over is done, whoever delegates waits."""
    assert hands_over("transfer_to_agent")
    assert not hands_over("delegate_to_writer")


@pytest.mark.parametrize(
    ("path", "node"),
    [
        ("planner:b44c", "planner"),
        ("researcher:2ebf|model:3949", "researcher"),
        ("team:1|writer:2|agent:3|tools:4", "writer"),
        ("agent:1", "agent"),
        ("", ""),
    ],
)
def test_nodes_of_graphs(path: str, node: str) -> None:
    """The innermost node that is more than a part of a ready-made agent, from wherever it is written."""
    assert node_of({"langsmith.metadata.langgraph_checkpoint_ns": path}) == node
    assert node_of({"langfuse.observation.metadata.langgraph_checkpoint_ns": f'"{path}"'}) == node
    assert node_of({"metadata": f'{{"langgraph_node": "x", "langgraph_checkpoint_ns": "{path}"}}'}) == node


def test_what_tries_a_call_again_is_no_agent() -> None:
    """It goes by the name of the call."""
    story = Story()
    outer = replace(story.step("other", "", 0, 100), name="ChatOpenAI")
    story.records = [outer, replace(story.llm(10, 20, below=outer), name="ChatOpenAI")]

    (run,) = build(story.records)

    assert {step.agent_name for step in run.steps} == {None}


def test_a_span_around_the_asking_call_is_not_what_it_asked_for() -> None:
    """Names may be the same all the way up: what lies above a call is not its tool."""
    story = Story()
    outer = story.bridge(0, 100)
    story.records[-1] = replace(outer, name="search")
    story.llm(0, 0, below=outer, asks=[("c1", "search")])
    story.llm(50, 60, below=outer, reads=["c1"], asks=[])

    (run,) = build(story.records)

    assert tools(run) == [("search", "messages")]

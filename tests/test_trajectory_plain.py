"""Sums in passing are what is built afterwards: of real captures, and of whatever may come."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spanledger.conventions.detail import Detail, ToolRequest
from spanledger.conventions.reading import Cost
from spanledger.conventions.run import Run
from spanledger.conventions.run_document import roll_up, root_attributes
from spanledger.conventions.step import Bridge, Step
from spanledger.conventions.trajectory import build
from spanledger.conventions.trajectory.outcome import TERMINAL_TOOLS
from spanledger.conventions.trajectory.plain import Totals, totals_of
from spanledger.conventions.usage import Usage
from tests.assembled_runs import agent, bridge, step, tool
from tests.corpus.captures import packed
from tests.corpus.trajectories import Workshop, groups
from tests.corpus.trajectory_report import stitch

STACKS = {
    "python/openinference-pydantic-ai": 2, "python/google-adk": 20, "python/strands": 20,
    "python/otel-genai-langchain": 10, "js/openai-agents-openinference": 15, "js/vercel-ai-v7": 0,
}  # fmt: skip
"""Stack -> plain runs that it has at least."""


def said_by(totals: Totals) -> dict[str, Any]:
    """Return what is written onto the root."""
    root, sums = totals
    return roll_up(f"{root.trace_id.hex()}-{root.span_id.hex()}", sums, "success", "complete")


def built_of(runs: tuple[Run, ...], root: Step) -> dict[str, Any]:
    """Return the same of the run that is built, which has to be the only one."""
    (run,) = runs
    assert run.root_span_id == root.span_id.hex()
    return root_attributes(run)


@pytest.fixture(scope="module")
def workshop() -> Workshop:
    """Return the stages before."""
    return Workshop()


@pytest.mark.parametrize("stack", STACKS)
def test_sums_of_real_runs_are_what_is_built(stack: str, workshop: Workshop) -> None:
    """Where they say anything."""
    plain = 0
    for capture in packed(stack):
        records = workshop.records(capture)
        edges = stitch(records)
        for group in groups(records, edges):
            if (totals := totals_of(group, TERMINAL_TOOLS)) is not None:
                plain += 1
                runs = build(group, links=edges, completeness="complete")
                assert said_by(totals) == built_of(runs, totals[0]), str(capture)

    assert plain >= STACKS[stack]


KINDS = ("llm", "llm", "tool", "tool", "agent", "bridge", "other", "embedding", "retrieval")
REQUESTS = st.lists(
    st.builds(ToolRequest, st.sampled_from(["call_1", "call_2", ""]), st.sampled_from(["search", "book"]), st.none()),
    max_size=2,
).map(tuple)
CHANGES: st.SearchStrategy[dict[str, Any]] = st.one_of(
    st.just({}),
    st.just({}),
    st.builds(dict, status=st.just("error"), error_type=st.just("429")),
    st.builds(dict, attempt=st.just(2)),
    st.builds(dict, cost=st.sampled_from([None, Cost("rollup", "wraps_calls"), Cost("unpriced", "unknown_model")])),
    st.builds(dict, usage=st.none() | st.builds(Usage, st.integers(0, 50), st.integers(0, 50))),
    st.builds(
        dict, detail=st.builds(Detail, requests=REQUESTS, given=REQUESTS, outcome=st.sampled_from(["", "failure"]))
    ),
    st.builds(dict, agent_name=st.sampled_from(["", "planner"])),
    st.builds(dict, start_ns=st.just(step(3).start_ns), service_name=st.just("elsewhere")),
)


@st.composite
def trees(draw: st.DrawFn) -> list[Step | Bridge]:
    """Draw an agent with work below it, mostly as it should be."""
    records: list[Step | Bridge] = [replace(agent(1), **draw(CHANGES))]
    for number in range(2, draw(st.integers(2, 9))):
        parent = draw(st.integers(1, number - 1) | st.sampled_from([1, 1, 1]))
        kind = draw(
            st.sampled_from(["llm", "llm", "tool", "tool", "agent", "bridge", "other", "embedding", "retrieval"])
        )
        if kind == "bridge":
            records.append(bridge(number, parent, kind=draw(st.sampled_from([1, 3]))))
            continue
        made = step(number, parent, kind=kind) if kind != "agent" else agent(number, parent)
        if kind == "tool":
            name, call = (
                draw(st.sampled_from(["search", "mcp__x__search", "book", "submit"])),
                draw(st.sampled_from(["", "call_1", "call_2"])),
            )
            made = tool(number, parent, tool_name=name, tool_call_id=call)
        records.append(replace(made, **draw(CHANGES)))
    return records


@settings(max_examples=400, deadline=None)
@given(records=trees())
def test_sums_of_any_run_are_what_is_built(records: list[Step | Bridge]) -> None:
    """Or there are none."""
    if (totals := totals_of(records, TERMINAL_TOOLS)) is not None:
        assert said_by(totals) == built_of(build(records, completeness="complete"), totals[0])

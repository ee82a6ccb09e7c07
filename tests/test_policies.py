"""Policies: every step is held against them once, as soon as it is known whose it is."""

from __future__ import annotations

import random
from itertools import product
from typing import Any

import pytest
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord

from spanledger.conventions.detail import ToolRequest
from spanledger.conventions.policies.acts import action_of
from spanledger.conventions.reading import Cost
from spanledger.conventions.step import Step
from spanledger.conventions.values import attributes_of
from spanledger.processor.trajectory.config import TrajectoryConfig
from tests.assembled_runs import Bench, agent, bridge, says, span_id, step, tool, trace
from tests.fakes import Clock

EVALUATIONS, VIOLATIONS = "spanledger_policy_evaluations_total", "spanledger_policy_violations_total"
SAFE = {"name": "safe", "match": {"agent_name": "planner"}, "tools": {"allow": ["search", "read_*"], "deny": ["*_all"]}}


def bench(*policies: dict[str, Any], **config: Any) -> Bench:
    """Return an assembly with policies."""
    return Bench(TrajectoryConfig.model_validate({"policies": list(policies), "loops": {"enabled": False}, **config}))


def violations(records: list[LogRecord]) -> list[tuple[str, str, str, str]]:
    """Return agent, rule, subject and action of each event."""
    said = [dict(attributes_of(one.attributes)) for one in records if one.event_name == "spanledger.policy.violation"]
    names = ("gen_ai.agent.name", *(f"spanledger.policy.{name}" for name in ("rule", "subject", "action")))
    return [tuple(str(one[name]) for name in names) for one in said]  # type: ignore[misc]


def counted(made: Bench, metric: str = VIOLATIONS) -> dict[tuple[str, ...], float]:
    """Return the series that are not 0, by rule, agent, tool and action."""
    cells = made.table.counter(metric)._cells.items()
    return {(labels[1], *labels[3:]): cell.value for labels, cell in cells if cell.value}


def asks(record: Step, *names: str) -> Step:
    """Return a model call whose answer asks for tools."""
    requests = tuple(ToolRequest(f"{record.span_id.hex()}-{name}", name, None) for name in names)
    return says(record, requests=requests)


def test_a_call_outside_the_list_is_told_of_while_the_run_is_under_way() -> None:
    """What the model asks for is attempted, what ran is executed; what is allowed is only counted."""
    made = bench(SAFE)
    made.take(asks(step(2, 1), "delete_all", "search"))
    assert violations(made.told.records) == [("planner", "tools", "delete_all", "attempted")]
    made.take(tool(3, 1, tool_name="delete_all"), tool(4, 1, tool_name="search"))
    assert violations(made.told.records)[1:] == [("planner", "tools", "delete_all", "executed")]
    assert counted(made, EVALUATIONS) == {
        ("tools", "planner", "delete_all", "attempted"): 1,
        ("tools", "planner", "search", "attempted"): 1,
        ("tools", "planner", "delete_all", "executed"): 1,
        ("tools", "planner", "search", "executed"): 1,
    }
    event = next(one for one in made.told.records if one.event_name == "spanledger.policy.violation")
    assert (event.trace_id, event.span_id) == (trace(1), span_id(2))


def test_the_document_says_it_too() -> None:
    """One finding for what was asked for and done, with both steps; what was done is critical."""
    made = bench(SAFE)
    made.take(asks(step(2, 1), "delete_all"), tool(3, 1, tool_name="delete_all"), agent(1))
    made.wait(60)
    (document,) = made.documents
    (finding,) = document["findings"]
    assert (finding["kind"], finding["rule"], finding["severity"], finding["steps"]) == (
        "policy", "tools", "critical", [1, 2],
    )  # fmt: skip
    assert finding["detail"] == {
        "policy": "safe", "agent_name": "planner", "subject": "delete_all", "action": "executed",
        "executed": 1, "blocked": 0, "attempted": 1,
    }  # fmt: skip
    assert made.count("spanledger_loops_total") == 0


def test_series_are_born_at_0() -> None:
    """Of a tool when it is first seen, in every action, so that the first violation of it is an increase."""
    made = bench(SAFE, {"name": "models", "models": {"deny": ["gpt-3*"]}})
    made.take(tool(2, 1, tool_name="search"))
    zeros = [labels for labels, cell in made.table.counter(VIOLATIONS)._cells.items() if cell.value == 0]
    assert ("safe", "tools", "shop", "planner", "search", "executed") in zeros
    assert ("models", "models", "shop", "planner", "", "executed") in zeros


def test_what_was_refused_is_blocked() -> None:
    """A sandbox that held: told by the error of the tool. A tool that failed was let run."""
    made = bench(SAFE)
    made.take(tool(2, 1, tool_name="delete_all", status="error", error_type="PermissionDenied"))
    made.take(tool(3, 1, tool_name="delete_all", status="error", error_type="TimeoutError"))
    assert [said[3] for said in violations(made.told.records)] == ["blocked", "executed"]
    assert action_of("ok", "denied") == "executed"


def test_a_step_waits_for_the_agent_above_it() -> None:
    """Children come first and name no agent: whose call it is, is known when that of the agent has come."""
    made = bench({**SAFE, "match": {"agent_name": "helper"}})
    made.take(tool(4, 3, tool_name="delete_all", agent_name=""), tool(5, 1, tool_name="delete_all", agent_name=""))
    assert violations(made.told.records) == []
    made.take(bridge(3, 2))
    made.take(agent(2, 1, agent_name="helper"))
    assert violations(made.told.records) == [("helper", "tools", "delete_all", "executed")]
    made.take(agent(1))
    made.wait(60)
    assert violations(made.told.records) == [("helper", "tools", "delete_all", "executed")]


def test_each_step_counts_once_however_it_comes() -> None:
    """In any order, twice, late, and as two spans of one call: the same numbers."""
    records = [
        asks(step(2, 1, agent_name=""), "delete_all"),
        tool(3, 1, tool_name="delete_all", agent_name="", tool_call_id="a"),
        tool(4, 3, tool_name="delete_all", agent_name="", tool_call_id="a"),  # the server's side of it
        tool(5, 1, tool_name="drop", agent_name="planner"),
        agent(1),
    ]
    for seed, pause_s in product(range(8), (0, 60)):
        made = bench(SAFE)
        mixed = [*records, *records]
        random.Random(seed).shuffle(mixed)
        for record in mixed:
            made.take(record)
            made.wait(pause_s)
        made.wait(3000)
        assert counted(made) == {
            ("tools", "planner", "delete_all", "attempted"): 1,
            ("tools", "planner", "delete_all", "executed"): 1,
            ("tools", "planner", "drop", "executed"): 1,
        }, (seed, pause_s)


def test_models_and_providers() -> None:
    """By the model that answered; a wrapper of calls is none."""
    made = bench({"name": "eu", "models": {"deny": ["gpt-3*"]}, "providers": {"allow": ["azure.*"]}})
    made.take(step(2, 1, model="gpt-3.5-turbo", provider="openai"))
    made.take(step(3, 1, model="gpt-3.5-turbo", provider="openai", cost=Cost("rollup")))
    made.take(step(4, 1, model="gpt-4o", provider="azure.ai.openai"))
    assert violations(made.told.records) == [
        ("planner", "models", "gpt-3.5-turbo", "executed"),
        ("planner", "providers", "openai", "executed"),
    ]


def test_delegation_is_looked_at_when_the_run_is_closed() -> None:
    """The giver is judged, once, whatever revisions follow."""
    made = bench({"name": "alone", "match": {"agent_name": "planner"}, "delegation": {"allow": ["helper"]}})
    made.take(step(3, 2, agent_name="stranger"), agent(2, 1, agent_name="stranger", spans=3), agent(1))
    made.wait(60)
    made.take(step(4, 1))
    made.wait(60)
    assert len(made.documents) == 2
    assert violations(made.told.records) == [("planner", "delegation", "stranger", "executed")]
    assert made.count("spanledger_handoffs_total", "shop", "planner", "stranger", "delegation") == 1


APPROVED = {"name": "ask", "approval": {"tools": ["pay_*"], "within_steps": 2}}


@pytest.mark.parametrize(
    ("before", "missing"),
    [
        ([tool(2, 1, tool_name="request_approval")], 0),
        ([step(2, 1, kind="human", name="ok?")], 0),
        ([tool(2, 1, tool_name="request_approval", status="error", error_type="rejected")], 1),
        ([tool(2, 1, tool_name="request_approval"), step(3, 1), step(4, 1)], 1),
        ([], 1),
    ],
)
def test_what_needs_an_approval(before: list[Step], missing: int) -> None:
    """By a person or a tool that asks one, at most two steps before the call."""
    made = bench(APPROVED)
    made.take(*before, tool(9, 1, tool_name="pay_bill"))
    assert [said[1:3] for said in violations(made.told.records)] == [("approval", "pay_bill")] * missing
    made.take(agent(1))
    made.wait(60)
    assert len(violations(made.told.records)) == missing
    assert made.count("spanledger_approvals_total", "shop", "planner", "missing") == missing
    assert made.count("spanledger_approvals_total", "shop", "planner", "granted") == (
        1 if before and before[0].status == "ok" else 0
    )


def test_of_steps_that_nobody_asked_about_nothing_is_kept() -> None:
    """What is known of a trace goes when the trace does."""
    made = Bench(TrajectoryConfig.model_validate({"policies": [SAFE]}), Clock())
    made.take(tool(2, 1, tool_name="search"), agent(1))
    made.wait(60)
    made.wait(100_000)
    assert made.assembly.governance._compliance._traces == {}  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"name": "x"}, "has no rule"),
        ({"name": "x", "tools": {}}, "everything would be allowed"),
        ({"name": "x", "tools": {"deny": ["a"]}, "match": {"agent": "a"}}, "agent_name"),
        ({"name": "x", "tols": {"deny": ["a"]}}, "tols"),
    ],
)
def test_a_policy_that_cannot_be_meant_is_refused(wrong: dict[str, Any], message: str) -> None:
    """With what to do."""
    with pytest.raises(ValueError, match=message):
        bench(wrong)

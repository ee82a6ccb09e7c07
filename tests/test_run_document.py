"""The run document: exactly the keys of its contract, and strict when it is read."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest

from spanledger.conventions.detail import Evaluation
from spanledger.conventions.run import Finding, Run, RunEvaluation, RunStep, RunTotals, RunUsage, Share
from spanledger.conventions.run_document import (
    BadDocument,
    canonical_bytes,
    digest,
    document,
    read_document,
    root_attributes,
    timestamp,
)

STEP = RunStep(
    index=0,
    span_id="01" * 8,
    trace_id="02" * 16,
    parent=None,
    basis="root",
    kind="agent",
    name="invoke_agent planner",
    agent_name="planner",
    tool_name=None,
    tool_call_id=None,
    provider=None,
    model=None,
    started_at_ns=1_795_248_000_000_000_001,
    duration_s=12.3,
    status="ok",
    error_type=None,
    attempt=1,
    usage=RunUsage(10, 2),
    cost_pico_usd=1_230_000_000,
    cost_status="priced",
)
RUN = Run(
    run_id="run",
    revision=2,
    trace_ids=("02" * 16,),
    session_id=None,
    user_id=None,
    service_name="trip-agent",
    agent_name="planner",
    root_span_id="01" * 8,
    started_at_ns=1_795_248_000_000_000_001,
    duration_s=12.3,
    outcome="success",
    outcome_basis="status",
    completeness="complete",
    totals=RunTotals(steps=1, input_tokens=10, output_tokens=2, cost_pico_usd=1_230_000_000),
    steps=(STEP,),
    agents=(Share("planner", 2, 1, 10, 2, 700_000_000),),
    findings=(Finding("loop", "exact_repeat", "warning", (0,), {"count": 3}),),
    evaluations=(RunEvaluation(Evaluation("quality", 0.9), None, "conversation"),),
)

CONTRACT = {
    "": (
        "schema run_id revision trace_ids session_id user_id service_name agent_name root_span_id started_at "
        "duration_s outcome outcome_basis completeness totals agents findings evaluations failure_chain steps"
    ),
    "totals": (
        "steps llm_calls llm_calls_failed tool_calls tool_calls_failed retries max_depth input_tokens output_tokens "
        "cache_read_tokens cache_write_tokens reasoning_tokens cost_usd unpriced_calls unattributed_cost_usd"
    ),
    "agents": "name llm_calls tool_calls cost_usd",
    "findings": "kind rule severity steps detail",
    "evaluations": "name score label step",
    "steps": (
        "index span_id parent kind name agent_name tool_name provider model started_at duration_s status error_type "
        "attempt usage cost_usd cost_status input output basis"
    ),
}
"""The keys that users read."""


@pytest.mark.parametrize("part", CONTRACT)
def test_the_keys_of_the_contract_are_there(part: str) -> None:
    """In every object of the document; more may be there."""
    data = document(RUN)
    held = data if not part else data[part] if part == "totals" else data[part][0]

    assert set(CONTRACT[part].split()) <= set(held)


def test_values_are_written_as_the_contract_says() -> None:
    """Times in UTC to the nanosecond, money in dollars, unknown as null."""
    data = document(RUN)

    assert (data["schema"], data["revision"], data["session_id"]) == ("spanledger.run/1", 2, None)
    assert data["started_at"] == data["steps"][0]["started_at"] == "2026-11-21T08:00:00.000000001Z"
    assert data["totals"]["cost_usd"] == data["steps"][0]["cost_usd"] == 0.00123
    assert data["agents"][0]["cost_usd"] == 0.0007
    assert data["totals"]["unattributed_cost_usd"] == 0.0
    assert data["findings"] == [
        {"kind": "loop", "rule": "exact_repeat", "severity": "warning", "steps": [0], "detail": {"count": 3}}
    ]


def test_a_document_reads_as_the_run_it_was() -> None:
    """Through JSON too."""
    assert read_document(json.loads(canonical_bytes(RUN))) == RUN


def test_canonical_bytes_are_json_with_sorted_keys() -> None:
    """Equal runs have equal bytes and digests, others do not."""
    data = canonical_bytes(RUN)

    assert data == json.dumps(json.loads(data), sort_keys=True, separators=(",", ":")).encode()
    assert len(digest(RUN)) == 64


def test_text_that_is_no_utf8_is_written_and_read() -> None:
    """A lone surrogate is escaped, as JSON has it."""
    run = dataclasses.replace(RUN, agent_name="\ud800 caf\u00e9")

    assert read_document(json.loads(canonical_bytes(run))).agent_name == "\ud800 caf\u00e9"


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("schema",), "spanledger.run/2", "schema is 'spanledger.run/2', and 'spanledger.run/1' is what can be read"),
        (("run_id",), None, "run_id is None, and a text is expected"),
        (("revision",), -1, "revision is -1, and a count is expected"),
        (("revision",), True, "revision is True, and a count is expected"),
        (("outcome",), "maybe", "outcome is 'maybe', and one of success, failure, partial, unknown is expected"),
        (("started_at",), "2026-11-20", "a time like 2026-11-20T08:00:00.000000000Z is expected"),
        (("duration_s",), "long", "duration_s is 'long', and a number is expected"),
        (("duration_s",), float("nan"), "duration_s is nan, and a number is expected"),
        (("failure_chain",), [1], "failure_chain is list, and a list of steps before 1 is expected"),
        (("totals",), [], "totals is list, and an object is expected"),
        (("totals", "steps"), 1.5, "totals.steps is 1.5, and a count is expected"),
        (("steps", 0, "index"), 7, "steps[0].index is 7: steps are numbered from 0 in their order"),
        (("steps", 0, "parent"), 0, "steps[0].parent is 0, and a step before 0 is expected"),
        (("steps", 0, "kind"), "robot", "steps[0].kind is 'robot', and one of agent,"),
        (("steps", 0), "step", "steps[0] is 'step', and an object is expected"),
        (("trace_ids",), [1], "trace_ids is list, and a list of texts is expected"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(path: tuple[str | int, ...], value: Any, message: str) -> None:
    """Where, what was found, what is expected."""
    data = json.loads(canonical_bytes(RUN))
    held = data
    for key in path[:-1]:
        held = held[key]
    held[path[-1]] = value

    with pytest.raises(BadDocument) as raised:
        read_document(data)

    assert message in str(raised.value)


def test_a_missing_key_is_named() -> None:
    """Keys of the contract must be there."""
    data = document(RUN)
    del data["totals"]["retries"]

    with pytest.raises(BadDocument, match=r"totals.retries is missing, and a count is expected"):
        read_document(data)


def test_a_document_of_the_bare_contract_is_read() -> None:
    """Others write no more than its keys."""
    data = document(RUN)
    for part, keys in CONTRACT.items():
        for held in [data] if not part else [data[part]] if part == "totals" else data[part]:
            for key in set(held) - set(keys.split()):
                del held[key]

    assert read_document(data).totals == RUN.totals


@pytest.mark.parametrize("ns", [0, 1, 999_999_999, 1_795_248_000_123_456_789, 253_402_300_799_999_999_999])
def test_times_come_back_to_the_nanosecond(ns: int) -> None:
    """From 1970 to the end of 9999."""
    data = document(RUN)
    data["started_at"] = timestamp(ns)

    assert read_document(data).started_at_ns == ns


def test_roots_carry_the_sums_of_their_run() -> None:
    """The attributes of the contract; what is unknown is not written."""
    assert root_attributes(RUN) == {
        "spanledger.run.findings": ["exact_repeat"],
        "spanledger.run.id": "run",
        "spanledger.run.cost_usd": 0.00123,
        "spanledger.run.input_tokens": 10,
        "spanledger.run.output_tokens": 2,
        "spanledger.run.llm_calls": 0,
        "spanledger.run.tool_calls": 0,
        "spanledger.run.retries": 0,
        "spanledger.run.outcome": "success",
        "spanledger.run.completeness": "complete",
    }
    unpriced = dataclasses.replace(RUN, totals=RunTotals())
    assert "spanledger.run.cost_usd" not in root_attributes(unpriced)

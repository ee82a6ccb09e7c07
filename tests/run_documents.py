"""Run documents for tests: a trip planner that succeeds, one that fails, and whatever a test wants."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest

from spanledger.conventions.run_document import timestamp
from spanledger.conventions.values import Value, any_value, key_value
from spanledger.exporters.run_store.records import run_record
from spanledger.exporters.run_store.store import Retention, RunStore
from spanledger.processor.batch import Delivery

START_NS = 1_795_161_600_000_000_000  # 2026-11-20T08:00:00Z
HOUR_NS = 3_600 * 10**9
NOW_NS = START_NS + HOUR_NS

TRACE = "0af7651916cd43dd8448eb211c80319c"


def step(
    index: int, kind: str, name: str, at_s: float, took_s: float, parent: int | None = 0, **more: Any
) -> dict[str, Any]:
    """Return one step; `at_s` is seconds after the start of the run."""
    return {
        "index": index,
        "span_id": f"{index + 1:016x}",
        "trace_id": TRACE,
        "parent": parent,
        "basis": "parent" if parent is not None else "root",
        "kind": kind,
        "name": name,
        "agent_name": None,
        "tool_name": name if kind == "tool" else None,
        "tool_call_id": None,
        "provider": None,
        "model": None,
        "started_at": timestamp(START_NS + round(at_s * 1e9)),
        "duration_s": took_s,
        "status": "ok",
        "error_type": None,
        "attempt": 1,
        "usage": None,
        "cost_usd": None,
        "cost_status": None,
        "requested_by": None,
        "requested_basis": None,
        "read_by": None,
        "depth": 0 if parent is None else 1,
        "branch": 0,
        "critical": False,
        "input": None,
        "output": None,
        **more,
    }


def call(
    index: int, at_s: float, took_s: float, parent: int, sent: int, got: int, cost: float, **more: Any
) -> dict[str, Any]:
    """Return a model call."""
    usage = {
        "input_tokens": sent,
        "output_tokens": got,
        "cache_read_tokens": 0,
        "cache_write_tokens": 0,
        "reasoning_tokens": 0,
    }
    known = {"model": "gpt-4o-mini", "provider": "openai", "usage": usage, "cost_usd": cost, "cost_status": "priced"}
    return step(index, "llm", "chat gpt-4o-mini", at_s, took_s, parent, **{**known, **more})


def document(run_id: str = "run-1", revision: int = 1, **more: Any) -> dict[str, Any]:
    """Return a small run document."""
    return {
        "schema": "spanledger.run/1",
        "run_id": run_id,
        "revision": revision,
        "trace_ids": [TRACE],
        "session_id": None,
        "user_id": None,
        "service_name": "trip-agent",
        "agent_name": "planner",
        "root_span_id": f"{1:016x}",
        "started_at": timestamp(START_NS),
        "duration_s": 1.5,
        "outcome": "success",
        "outcome_basis": "status",
        "completeness": "complete",
        "totals": {
            "steps": 0,
            "llm_calls": 0,
            "llm_calls_failed": 0,
            "tool_calls": 0,
            "tool_calls_failed": 0,
            "retries": 0,
            "max_depth": 1,
            "input_tokens": 0,
            "output_tokens": 0,
            "cache_read_tokens": 0,
            "cache_write_tokens": 0,
            "reasoning_tokens": 0,
            "cost_usd": None,
            "unpriced_calls": 0,
            "unattributed_cost_usd": 0.0,
        },
        "agents": [],
        "findings": [],
        "evaluations": [],
        "failure_chain": [],
        "steps": [],
        **more,
    }


def trip(run_id: str = "4f9a2c81d0e34b7c", **more: Any) -> dict[str, Any]:
    """Return a trip that was planned: two tools at the same time, a second agent, one retry."""
    ask = '[{"role":"user","content":"A weekend in Lisbon, please."}]'
    steps = [
        step(0, "agent", "invoke_agent planner", 0, 9.2, None, agent_name="planner", critical=True),
        call(
            1,
            0.01,
            1.4,
            0,
            812,
            46,
            0.000149,
            agent_name="planner",
            critical=True,
            input=ask,
            output="I look for flights and hotels.",
            asks=["search_flights", "search_hotels"],
        ),
        step(
            2,
            "tool",
            "search_flights",
            1.45,
            2.3,
            0,
            agent_name="planner",
            requested_by=1,
            read_by=4,
            critical=True,
            requested_basis="tool_call_id",
            input='{"to":"LIS","day":"2026-11-27"}',
            output='[{"flight":"TP 561"}]',
        ),
        step(
            3,
            "tool",
            "search_hotels",
            1.46,
            1.1,
            0,
            agent_name="planner",
            requested_by=1,
            read_by=4,
            branch=1,
            requested_basis="tool_call_id",
            input='{"city":"Lisbon"}',
            output='[{"hotel":"Bairro Alto"}]',
        ),
        call(4, 3.8, 1.2, 0, 1190, 38, 0.000201, agent_name="planner", critical=True, output="Book the first of each."),
        step(5, "agent", "invoke_agent booker", 5.1, 3.2, 0, agent_name="booker", critical=True, depth=1),
        call(6, 5.2, 0.9, 5, 640, 31, 0.000115, agent_name="booker", depth=2, critical=True),
        step(
            7,
            "tool",
            "book_trip",
            6.2,
            0.4,
            5,
            agent_name="booker",
            depth=2,
            status="error",
            error_type="TimeoutError",
            requested_by=6,
            input='{"flight":"TP 561"}',
            critical=True,
        ),
        step(
            8,
            "tool",
            "book_trip",
            6.9,
            1.2,
            5,
            agent_name="booker",
            depth=2,
            attempt=2,
            requested_by=6,
            read_by=9,
            input='{"flight":"TP 561"}',
            output='{"booking":"XK7Q2"}',
            critical=True,
        ),
        call(9, 8.4, 0.7, 0, 1402, 77, 0.000256, agent_name="planner", critical=True, output="All booked: XK7Q2."),
    ]
    totals = {
        "steps": 10,
        "llm_calls": 4,
        "llm_calls_failed": 0,
        "tool_calls": 4,
        "tool_calls_failed": 1,
        "retries": 1,
        "max_depth": 2,
        "input_tokens": 4044,
        "output_tokens": 192,
        "cache_read_tokens": 512,
        "cache_write_tokens": 0,
        "reasoning_tokens": 0,
        "cost_usd": 0.000721,
        "unpriced_calls": 0,
        "unattributed_cost_usd": 0.0,
    }
    agents = [
        {
            "name": "planner",
            "llm_calls": 3,
            "tool_calls": 2,
            "input_tokens": 3404,
            "output_tokens": 161,
            "cost_usd": 0.000606,
        },
        {
            "name": "booker",
            "llm_calls": 1,
            "tool_calls": 2,
            "input_tokens": 640,
            "output_tokens": 31,
            "cost_usd": 0.000115,
        },
    ]
    judged = [
        {
            "name": "goal_signal",
            "score": 0.92,
            "label": "pass",
            "explanation": "the trip is booked",
            "step": None,
            "basis": "builtin",
        }
    ]
    known = {
        "duration_s": 9.2,
        "session_id": "s-42",
        "user_id": "u-7",
        "steps": steps,
        "totals": totals,
        "agents": agents,
        "evaluations": judged,
        "tools": [{"name": "book_trip", "llm_calls": 1, "tool_calls": 2, "cost_usd": 0.000256}],
    }
    return document(run_id, **{**known, **more})


def failed_trip(run_id: str = "77ab03de91f24a60") -> dict[str, Any]:
    """Return the same trip when the booking never worked and the agent went on trying."""
    run = trip(
        run_id, trace_ids=["1b" * 16], outcome="failure", duration_s=14.7, started_at=timestamp(START_NS + HOUR_NS // 2)
    )
    moved = HOUR_NS // 2
    steps = run["steps"][:8]
    steps[6] = call(6, 5.2, 0.9, 5, 640, 35, 0.000117, agent_name="booker", depth=2, critical=True)
    for attempt in (2, 3):
        steps.append(
            step(
                6 + attempt,
                "tool",
                "book_trip",
                5.1 + attempt * 2,
                1.8,
                5,
                agent_name="booker",
                depth=2,
                attempt=attempt,
                requested_by=6,
                status="error",
                error_type="TimeoutError",
                input='{"flight":"TP 561"}',
                critical=True,
            )
        )
    steps[5] = {**steps[5], "duration_s": 9.3, "status": "error", "error_type": "BookingFailed"}
    steps[0] = {**steps[0], "duration_s": 14.7, "status": "error", "error_type": "BookingFailed"}
    for one in steps:
        one["started_at"] = timestamp(_ns(one["started_at"]) + moved)
        one["trace_id"] = "1b" * 16
    totals = {
        **run["totals"],
        "llm_calls": 3,
        "tool_calls": 5,
        "tool_calls_failed": 3,
        "retries": 2,
        "input_tokens": 2642,
        "output_tokens": 119,
        "cost_usd": 0.000467,
        "unpriced_calls": 0,
    }
    found = [
        {
            "kind": "loop",
            "rule": "exact_repeat",
            "severity": "warning",
            "steps": [7, 8, 9],
            "detail": {"subject": "book_trip", "count": 3, "threshold": 3, "basis": "arguments"},
        }
    ]
    agents = [
        {
            "name": "planner",
            "llm_calls": 2,
            "tool_calls": 2,
            "input_tokens": 2002,
            "output_tokens": 84,
            "cost_usd": 0.00035,
        },
        {
            "name": "booker",
            "llm_calls": 1,
            "tool_calls": 3,
            "input_tokens": 640,
            "output_tokens": 35,
            "cost_usd": 0.000117,
        },
    ]
    return {
        **run,
        "steps": steps,
        "agents": agents,
        "totals": totals,
        "findings": found,
        "failure_chain": [7, 9, 5, 0],
        "evaluations": [],
        "failure_basis": ["repeated_error", "error_propagation", "error_propagation"],
        "tools": [],
    }


def _ns(text: str) -> int:
    from spanledger.exporters.run_store.summary import time_ns

    at = time_ns(text)
    assert at is not None
    return at


def request(
    *records: tuple[str, Value],
    attributes: Mapping[str, Value] | None = None,
    trace_id: str = TRACE,
    span_id: str = "",
) -> bytes:
    """Return an export request with a log record for each (event name, body)."""
    message = ExportLogsServiceRequest()
    group = message.resource_logs.add()
    group.resource.attributes.append(key_value("service.name", "trip-agent"))
    scope = group.scope_logs.add()
    for event, body in records:
        record = scope.log_records.add(event_name=event, time_unix_nano=START_NS, body=any_value(body))
        record.trace_id, record.span_id = bytes.fromhex(trace_id), bytes.fromhex(span_id)
        record.attributes.extend(key_value(key, value) for key, value in (attributes or {}).items())
    return message.SerializeToString()


def closed(*documents: Mapping[str, Any]) -> Delivery:
    """Return a delivery of closed runs."""
    return Delivery(
        "logs", request(*(("spanledger.run.closed", json.dumps(one)) for one in documents)), len(documents), NOW_NS
    )


def store_of(directory: Path, documents: Sequence[Mapping[str, Any]], retention: Retention | None = None) -> RunStore:
    """Return an open store with documents in it, one entry each."""
    store = RunStore(directory, retention or Retention())
    store.open(NOW_NS)
    for one in documents:
        store.add([run_record(one)], NOW_NS)
    return store

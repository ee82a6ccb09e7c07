"""Runs of frameworks that no recording is there of: spans as they write them, and what happened.

A file in `trajectory_cases/` is one set of spans, sent through the stages into the connector in the order of their
ends. Times are milliseconds. A value that is an object, or a list of objects, is written as the JSON text that
instrumentations make of it.
"""

from __future__ import annotations

import json
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest
import yaml
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from tests.corpus.connected import Connection

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from spanledger.conventions.run import Run

FOLDER: Final = Path(__file__).with_name("trajectory_cases")
CASES: Final = sorted(path.stem for path in FOLDER.glob("*.yaml"))
START_NS: Final = 1_790_000_000 * 10**9
KINDS: Final = {"internal": 1, "server": 2, "client": 3, "producer": 4, "consumer": 5}


@pytest.fixture(scope="module")
def connection() -> Connection:
    """Return the stages before the connector, with it behind them."""
    return Connection()


@pytest.mark.parametrize("case", CASES)
def test_runs_are_what_happened(case: str, connection: Connection) -> None:
    """Runs, agents, tools in order, calls, retries, handoffs, outcome: what the file says."""
    written = yaml.safe_load((FOLDER / f"{case}.yaml").read_text())
    outcome = connection.play([("traces", data) for data in requests(written)])

    assert [seen(run, expected) for run, expected in zip(outcome.runs, written["runs"], strict=True)] == written["runs"]


def seen(run: Run, expected: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a run says of the facts that are expected of it."""
    totals = run.totals
    facts: dict[str, Any] = {
        "agent": run.agent_name,
        "agents": [share.name for share in run.agents],
        "tools": [step.tool_name for step in run.steps if step.kind == "tool"],
        "tool_agents": [step.agent_name for step in run.steps if step.kind == "tool"],
        "tool_basis": [step.basis for step in run.steps if step.kind == "tool"],
        "asked_by": [step.requested_by for step in run.steps if step.kind == "tool"],
        "steps": [step.kind for step in run.steps],
        "calls": totals.llm_calls,
        "failed_calls": totals.llm_calls_failed,
        "failed_tools": totals.tool_calls_failed,
        "retries": totals.retries,
        "input_tokens": totals.input_tokens,
        "outcome": run.outcome,
        "session": run.session_id,
        "services": len({step.trace_id for step in run.steps}),
        "handoffs": [f"{one.giver} > {one.taker}" for one in run.handoffs],
        "failure": [run.steps[index].name for index in run.failure_chain],
    }
    return {name: facts[name] for name in expected}


def requests(written: Mapping[str, Any]) -> Iterator[bytes]:
    """Yield a request for each span, in the order in which they ended."""
    spans = {one["id"]: one for one in written["spans"]}
    for one in sorted(spans.values(), key=lambda one: one["at"][1]):
        request = ExportTraceServiceRequest()
        resource = request.resource_spans.add()
        service = one.get("service", written.get("service", "app"))
        resource.resource.attributes.append(pair("service.name", service))
        scope = resource.scope_spans.add()
        scope.scope.name = one.get("scope", written.get("scope", "app"))
        scope.scope.version = written.get("version", "")
        scope.spans.append(span(one, spans, written))
        yield request.SerializeToString()


def span(one: Mapping[str, Any], spans: Mapping[str, Mapping[str, Any]], written: Mapping[str, Any]) -> Span:
    """Return a span as it is written down; what is `bare` says nothing of what the others have in common."""
    said = {**({} if one.get("bare") else written.get("common", {})), **one.get("says", {})}
    made = Span(
        name=one["name"],
        trace_id=trace_of(one, spans),
        span_id=digest(one["id"], 8),
        parent_span_id=digest(one["below"], 8) if "below" in one else b"",
        kind=KINDS[one.get("kind", "internal")],  # type: ignore[arg-type]
        start_time_unix_nano=START_NS + int(one["at"][0] * 1e6),
        end_time_unix_nano=START_NS + int(one["at"][1] * 1e6),
        attributes=[pair(key, value) for key, value in said.items()],
    )
    if "error" in one:
        made.status.code = 2  # type: ignore[assignment]
        made.attributes.append(pair("error.type", one["error"]))
    for target in one.get("links", ()):
        made.links.add(trace_id=trace_of(spans[target], spans), span_id=digest(target, 8))
    return made


def trace_of(one: Mapping[str, Any], spans: Mapping[str, Mapping[str, Any]]) -> bytes:
    """Return the trace of a span: that of the one above it, or its own."""
    while one.get("below") in spans:
        one = spans[one["below"]]
    return digest(one.get("trace", one["id"] if "below" not in one else one["below"]), 16)


def digest(name: str, size: int) -> bytes:
    """Return an id made of a name."""
    return blake2b(name.encode(), digest_size=size).digest()


def pair(key: str, value: Any) -> KeyValue:
    """Return an attribute."""
    if isinstance(value, dict) or (isinstance(value, list) and value and isinstance(value[0], dict)):
        value = json.dumps(value)
    return KeyValue(key=key, value=any_value(value))


def any_value(value: Any) -> AnyValue:
    """Return a scalar, or a list of scalars, as OTLP has it."""
    if isinstance(value, list):
        return AnyValue(array_value=ArrayValue(values=map(any_value, value)))
    if isinstance(value, bool):
        return AnyValue(bool_value=value)
    if isinstance(value, int):
        return AnyValue(int_value=value)
    return AnyValue(double_value=value) if isinstance(value, float) else AnyValue(string_value=value)

"""Coding agents that send log records only, as nobody recorded them."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.request import Request, urlopen

import pytest
import yaml
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord

from spanledger.conventions.values import key_value
from tests.coding_agents import Sent, play
from tests.sidecar import Sidecar

if TYPE_CHECKING:
    from collections.abc import Iterator

    from spanledger.conventions.values import Value

NOON = 1_790_000_000_000_000_000
MS = 1_000_000
CONFIG = Path(__file__).parents[1] / "otel-config.yaml"


def request(service: str, scope: str, *records: LogRecord) -> Sent:
    """Return an export request."""
    made = ExportLogsServiceRequest()
    resource = made.resource_logs.add()
    resource.resource.attributes.append(key_value("service.name", service))
    group = resource.scope_logs.add()
    group.scope.name = scope
    group.log_records.extend(records)
    return "logs", made.SerializeToString()


def a_record(at_ms: int, **attributes: Value) -> LogRecord:
    """Return a record; `_` in names stands for itself, `__` for a dot."""
    made = LogRecord(time_unix_nano=NOON + at_ms * MS)
    made.attributes.extend(key_value(name.replace("__", "."), value) for name, value in attributes.items())
    return made


# -- Codex --


def codex(session: int, turn: int) -> Iterator[LogRecord]:
    """Yield a turn: a refused request, a call that wants two tools, one that fails, an answer."""
    at = 60_000 * turn + 7 * session
    own: dict[str, Value] = {
        "conversation__id": f"conversation-{session}",
        "model": "gpt-5-codex",
        "user__account_id": f"user-{session}",
    }
    asked = {**own, "event__name": "codex.api_request", "duration_ms": 150}
    streamed = {**own, "event__name": "codex.sse_event"}
    done = {**streamed, "event__kind": "response.completed"}
    used = {**own, "event__name": "codex.tool_result", "tool_name": "shell", "arguments": "{}", "duration_ms": 80}
    call_id = f"call_{session}_{turn}"
    yield a_record(at, event__name="codex.user_prompt", prompt="[REDACTED]", prompt_length=12, **own)
    yield a_record(at + 200, attempt=0, http__response__status_code=429, error__message="slow down", **asked)
    yield a_record(at + 400, attempt=1, http__response__status_code=200, **asked)
    yield a_record(at + 500, event__kind="response.output_item.done", duration_ms=3, **streamed)
    counts = {"input_token_count": 1_000, "output_token_count": 50, "cached_token_count": 600}
    yield a_record(at + 900, reasoning_token_count=20, tool_token_count=1_050, **counts, **done)
    yield a_record(at + 1_000, call_id=f"{call_id}_0", success="true", output="ok", **used)
    yield a_record(at + 1_001, call_id=f"{call_id}_1", success="false", output="", **used)
    counts = {"input_token_count": 1_200, "output_token_count": 30, "cached_token_count": 1_000}
    yield a_record(at + 2_000, reasoning_token_count=0, tool_token_count=1_230, **counts, **done)


def test_sessions_of_codex_that_run_side_by_side() -> None:
    """Their records come interleaved, of three processes, in one request each."""
    turns = [[list(codex(session, turn)) for session in range(3)] for turn in range(2)]
    sent = [
        request("codex_cli_rs", "codex_otel.log_only", record)
        for sessions in turns
        for records in zip(*sessions, strict=True)
        for record in records
    ]
    outcome = play(sent)

    assert (outcome.calls, outcome.failed, outcome.input, outcome.output) == (12, 6, 6 * 2_200, 6 * 80)
    assert (outcome.tokens["cache_read"], outcome.tokens["reasoning"]) == (6 * 1_600, 6 * 20)
    assert outcome.tools == {"shell": 12}
    assert len(outcome.runs) == 6
    for run in outcome.runs:
        totals = run["totals"]
        assert (totals["llm_calls"], totals["tool_calls"], totals["input_tokens"]) == (3, 2, 2_200)
    assert {(run["session_id"], run["user_id"]) for run in outcome.runs} == {
        (f"conversation-{number}", f"user-{number}") for number in range(3)
    }


# -- Claude --


def claude(session: str, prompt: str, calls: int) -> list[LogRecord]:
    """Return a prompt as the Agent SDK's process logs it."""
    own: dict[str, Value] = {"session__id": session, "prompt__id": prompt, "user__id": "abc"}
    asked = {**own, "event__name": "api_request", "model": "claude-sonnet-4-5", "duration_ms": "800"}
    asked |= {"input_tokens": "10", "output_tokens": "5", "cache_read_tokens": "100", "cache_creation_tokens": "20"}
    used = {**own, "event__name": "tool_result", "tool_name": "Bash", "success": "true", "duration_ms": "60"}
    made = [a_record(0, event__name="user_prompt", prompt_length=4, **own)]
    for number in range(calls):
        at, name = 1_000 * number, f"{prompt}_{number}"
        made.append(a_record(at + 900, cost_usd="0.00021", request_id=f"req_{name}", **asked))
        made.append(a_record(at + 990, tool_use_id=f"toolu_{name}", **used))
    return made


@pytest.mark.parametrize("backwards", [False, True])
def test_an_app_of_the_agent_sdk_with_numbers_as_texts(backwards: bool) -> None:
    """Two prompts of one session are two runs, though the last record comes first."""
    records = [*claude("s", "p1", 3), *claude("s", "p2", 2)]
    sent = [request("support-bot", "com.anthropic.claude_code.events", record) for record in records]
    outcome = play(sent[::-1] if backwards else sent)

    assert (outcome.calls, outcome.input, outcome.output) == (5, 5 * 130, 5 * 5)
    assert outcome.tools == {"Bash": 5}
    assert sorted(run["totals"]["llm_calls"] for run in outcome.runs) == [2, 3]
    assert {(run["session_id"], run["user_id"]) for run in outcome.runs} == {("s", "abc")}


# -- Gemini CLI --


def test_traces_of_one_prompt_are_one_run() -> None:
    """Each call and each tool has a trace of its own, whose spans nobody sends."""
    records = []
    for number in range(4):
        own: dict[str, Value] = {"session__id": "s", "prompt_id": f"s########{number // 2}"}
        asked = {"event__name": "gemini_cli.api_response", "model": "gemini-2.5-pro", "duration_ms": 500, **own}
        call = a_record(1_000 * number, input_token_count=100, output_token_count=10, **asked)
        ran = {"event__name": "gemini_cli.tool_call", "function_name": "ls", "duration_ms": 5, "success": True, **own}
        used = a_record(1_000 * number + 300, **ran)
        for at, record in enumerate((call, used), 1):
            record.trace_id, record.span_id = bytes([number + 1, at] * 8), bytes([number + 1, at] * 4)
        records += [call, used]
    sent = [request("gemini-cli", "gemini-cli", record) for record in records]

    for order in (sent, sent[::-1], [*sent[4:], *sent[:4]]):
        outcome = play(order)
        assert [(run["totals"]["llm_calls"], run["totals"]["tool_calls"]) for run in outcome.runs] == [(2, 2), (2, 2)]
        assert (outcome.input, outcome.output) == (400, 40)


@pytest.mark.parametrize(("times", "loops"), [(4, 0), (5, 1)])
@pytest.mark.parametrize("spans_first", [False, True])
def test_a_tool_that_is_told_twice_is_not_called_twice(times: int, loops: int, spans_first: bool) -> None:
    """Five of the same in a row, results unseen, are a loop; four of them are none, though that makes eight reports."""
    own: dict[str, Value] = {"session__id": "s", "prompt_id": "s########1"}
    ran = {"event__name": "gemini_cli.tool_call", "function_name": "ls", "function_args": '{"path":"."}', **own}
    sent: list[Sent] = []
    for number in range(times):
        record = a_record(1_000 * number + 900, duration_ms=100, success=True, **ran)
        record.trace_id, record.span_id = b"t" * 16, b"parent00"
        spans = ExportTraceServiceRequest()
        group = spans.resource_spans.add().scope_spans.add()
        spans.resource_spans[0].resource.attributes.append(key_value("service.name", "gemini-cli"))
        group.scope.name = "gemini-cli"
        span = group.spans.add(trace_id=b"t" * 16, span_id=b"tool%04d" % number, parent_span_id=b"parent00")
        span.name = "tool_call"
        span.start_time_unix_nano, span.end_time_unix_nano = (NOON + (1_000 * number + at) * MS for at in (800, 900))
        for key, value in {
            "gen_ai.operation.name": "tool_call",
            "gen_ai.agent.name": "gemini-cli",
            "gen_ai.conversation.id": "s",
            "gen_ai.tool.name": "ls",
            "gen_ai.tool.call.arguments": '{"path":"."}',
        }.items():
            span.attributes.append(key_value(key, value))
        pair: list[Sent] = [("traces", spans.SerializeToString()), request("gemini-cli", "gemini-cli", record)]
        sent += pair if spans_first else pair[::-1]
    outcome = play(sent)

    assert outcome.tools == {"ls": times}
    found = outcome.table.counter("spanledger_loops_total")
    assert sum(cell.value for cell in found.cells()) == loops


# -- the sidecar as it is shipped --


def test_the_default_configuration_counts_log_records(tmp_path: Path) -> None:
    """Log records over HTTP, and nothing else: metrics and a run."""
    sidecar = Sidecar(tmp_path)
    config = yaml.safe_load(CONFIG.read_text("utf-8"))
    config["receivers"]["otlp"]["protocols"] = {"grpc": {"endpoint": sidecar.grpc}, "http": {"endpoint": sidecar.http}}
    config["exporters"]["prometheus"]["endpoint"] = sidecar.prometheus
    config["exporters"]["run_store"]["directory"] = str(tmp_path / "runs")
    config["extensions"]["health_check"]["endpoint"] = sidecar.health
    config["extensions"]["zpages"]["endpoint"] = sidecar.zpages
    sidecar.start(config)
    try:
        _, body = request("claude-code", "com.anthropic.claude_code.events", *claude("s", "p", 2))
        for _ in range(2):  # the answer to the first one was lost
            sent = Request(f"http://{sidecar.http}/v1/logs", body, {"Content-Type": "application/x-protobuf"})
            assert urlopen(sent, timeout=10).status == 200
        until = time.monotonic() + 20
        while sidecar.total("spanledger_log_reports_total") < 8 and time.monotonic() < until:
            time.sleep(0.1)
        numbers = sidecar.scrape()
    finally:
        code = sidecar.process.stop()

    assert code == 0
    found = {name: sum(value for (one, _), value in numbers.items() if one == name) for name, _ in numbers}
    assert found["spanledger_llm_calls_total"] == 2
    assert found["spanledger_llm_tokens_total"] == 2 * 135
    assert found["spanledger_tool_calls_total"] == 2
    assert found["spanledger_log_reports_total"] == 8
    stored = [path for path in (tmp_path / "runs").rglob("*") if path.is_file()]
    assert any(b'"session_id":"s"' in path.read_bytes() for path in stored), stored

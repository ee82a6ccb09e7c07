"""Log records that report work: as which spans they are read, where these belong, and what no record can do."""

from __future__ import annotations

import functools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord

from spanledger.conventions.dialects import DIALECTS
from spanledger.conventions.log_reports import MAX_CONVERSATIONS, LogReports, Report
from spanledger.conventions.values import Value, any_value, key_value
from spanledger.processor.batch import decode, finish
from spanledger.processor.genai_normalizer import MAX_ATTRIBUTES, GenaiNormalizer, GenaiNormalizerConfig
from tests.fakes import Numbers, host

SECOND = 10**9
NOON = 1_795_163_745 * SECOND
TRACE, SPAN = b"t" * 16, b"s" * 8


def record(event: str, at_ns: int = NOON, *, traced: bool = False, **attributes: Value) -> LogRecord:
    """Return a log record; `__` in an attribute's name stands for a dot."""
    made = LogRecord(time_unix_nano=at_ns, body=AnyValue(string_value=event))
    if traced:
        made.trace_id, made.span_id = TRACE, SPAN
    pairs = {"event.name": event, **{name.replace("__", "."): value for name, value in attributes.items()}}
    made.attributes.extend(key_value(name, value) for name, value in pairs.items())
    return made


def api_request(at_ns: int = NOON, **attributes: Any) -> LogRecord:
    """Return what Claude Code logs of a model call that took two seconds."""
    said = {"session__id": "session", "prompt__id": "prompt", "model": "claude-sonnet-4-5", "duration_ms": "2000"}
    return record("api_request", at_ns, **{**said, **attributes})


def read(*records: LogRecord, scope: str = "com.anthropic.claude_code.events", spoken: str = "claude_code") -> Any:
    """Return what the last of these records reports."""
    reports = LogReports(DIALECTS)
    return [reports.read(one, scope, spoken or None, "agent") for one in records][-1]


def must(report: Report | None) -> Report:
    """Return a report that has to be one."""
    assert report is not None
    return report


def test_a_record_is_written_at_the_end_of_the_work() -> None:
    """Its duration says when that began."""
    span = must(read(api_request())).span

    assert (span.end_time_unix_nano, span.start_time_unix_nano) == (NOON, NOON - 2 * SECOND)


def test_some_records_have_the_time_of_the_beginning() -> None:
    """So has the plugin of opencode."""
    made = record("tool_result", session__id="s", tool_name="bash", duration_ms=40)
    span = must(read(made, scope="com.opencode", spoken="opencode")).span

    assert (span.start_time_unix_nano, span.end_time_unix_nano) == (NOON, NOON + 40_000_000)


def test_a_record_without_a_time_goes_by_when_it_was_observed() -> None:
    """Or by the attribute that says it, and has none where nothing does."""
    made = api_request(0)
    made.observed_time_unix_nano = NOON
    assert must(read(made)).span.end_time_unix_nano == NOON
    assert must(read(api_request(0, event__timestamp="2026-11-20T09:42:25Z"))).span.end_time_unix_nano > 0
    assert must(read(api_request(0, event__timestamp="soon"))).span.end_time_unix_nano == 0


def test_a_record_within_a_trace_is_a_child_of_its_span() -> None:
    """It was written while that was open."""
    span = must(read(record("api_request", traced=True, session__id="session"))).span

    assert (span.trace_id, span.parent_span_id) == (TRACE, SPAN)


def test_records_of_one_turn_share_a_trace() -> None:
    """The turn is named by session and prompt; another prompt is another run."""
    first, second = must(read(api_request())).span, must(read(api_request(NOON + SECOND))).span
    other = must(read(api_request(prompt__id="another"))).span

    assert first.trace_id == second.trace_id != other.trace_id
    assert first.span_id != second.span_id
    assert not first.parent_span_id


def codex(event: str, at_s: float, **attributes: Value) -> LogRecord:
    """Return a record of Codex at so many seconds."""
    return record(event, NOON + int(at_s * SECOND), conversation__id="c", model="gpt-5.4", **attributes)


COMPLETED: dict[str, Value] = {"event__kind": "response.completed", "input_token_count": "9", "output_token_count": "1"}


def test_where_nothing_names_the_turn_it_begins_with_the_prompt() -> None:
    """Codex says the conversation only: each prompt opens a turn, and what follows belongs to it."""
    reports = LogReports(DIALECTS)

    def tell(made: LogRecord) -> Report | None:
        return reports.read(made, "codex_otel.log_only", "codex", "codex")

    assert tell(codex("codex.user_prompt", 0)) is None
    first = must(tell(codex("codex.sse_event", 3, **COMPLETED)))
    assert tell(codex("codex.user_prompt", 60)) is None
    second = must(tell(codex("codex.sse_event", 63, **COMPLETED)))
    late = must(tell(codex("codex.tool_result", 5, tool_name="shell")))

    assert first.span.trace_id == late.span.trace_id != second.span.trace_id


def test_an_answer_begins_with_its_request() -> None:
    """Codex tells the tokens at the end of a stream, without a duration and outside of any span."""
    asked = codex("codex.api_request", 2, duration_ms="1500", http__response__status_code="200")
    asked.trace_id, asked.span_id = TRACE, SPAN
    report = must(read(asked, codex("codex.sse_event", 9, **COMPLETED), scope="codex_otel", spoken="codex"))

    assert report.span.start_time_unix_nano == NOON + int(0.5 * SECOND)
    assert report.span.end_time_unix_nano == NOON + 9 * SECOND
    assert (report.span.trace_id, report.span.parent_span_id) == (TRACE, SPAN)


@pytest.mark.parametrize(
    ("attributes", "reports"),
    [
        ({"event__kind": "response.output_text.delta"}, False),
        ({"event__kind": "response.completed"}, False),
        (COMPLETED, True),
        ({"event__kind": "response.failed", "error__message": "overloaded"}, True),
    ],
)
def test_only_the_end_of_a_stream_is_a_call(attributes: dict[str, Value], reports: bool) -> None:
    """Each delta is an event too."""
    found = read(codex("codex.sse_event", 1, **attributes), scope="codex_otel", spoken="codex")
    assert (found is not None) is reports


@pytest.mark.parametrize(
    ("scope", "spoken", "event", "found"),
    [
        ("com.anthropic.claude_code.events", "claude_code", "api_request", "claude_code.api_request"),
        ("com.anthropic.claude_code.events", "claude_code", "claude_code.api_request", "claude_code.api_request"),
        ("collector.filelog", "", "claude_code.api_request", "claude_code.api_request"),
        ("collector.filelog", "", "api_request", None),
        ("com.opencode", "opencode", "api_request", "opencode.api_request"),
        ("gemini-cli", "gemini_cli", "gen_ai.client.inference.operation.details", None),
        ("com.anthropic.claude_code.events", "claude_code", "tool_decision", None),
    ],
)
def test_names_of_events(scope: str, spoken: str, event: str, found: str | None) -> None:
    """A full name is one anywhere, a short name in the dialect's own scopes, the conventions' own only there."""
    made = record(event, session__id="s", model="m", gen_ai__usage__output_tokens=1)
    report = read(made, scope=scope, spoken=spoken)

    assert (report.event if report else None) == found


def test_the_name_may_stand_in_three_places() -> None:
    """Codex's field for it has the line in the source instead, Claude Code's body all of it."""
    made = api_request()
    made.event_name = "event otel/src/events.rs:803"
    assert must(read(made)).event == "claude_code.api_request"
    del made.attributes[:]
    made.body.string_value = "claude_code.api_request"
    assert must(read(made)).event == "claude_code.api_request"


def test_a_record_that_is_sent_again_is_the_same_again() -> None:
    """When it was observed does not count."""
    one, other = api_request(), api_request()
    other.observed_time_unix_nano = 5

    assert must(read(one)).span.span_id == must(read(other)).span.span_id


def test_what_is_remembered_is_bounded() -> None:
    """A client that makes up conversations takes the room of others' turns, and no more."""
    reports = LogReports(DIALECTS)
    for number in range(MAX_CONVERSATIONS + 10):
        made = record("codex.user_prompt", conversation__id=str(number))
        reports.read(made, "codex_otel", "codex", "codex")

    assert len(reports) == MAX_CONVERSATIONS


# -- in the processor --


def normalized(*records: LogRecord, scope: str = "com.anthropic.claude_code.events") -> tuple[Any, Numbers]:
    """Return the batch of records after the normaliser, and the numbers."""
    request = ExportLogsServiceRequest()
    group = request.resource_logs.add().scope_logs.add()
    group.scope.name = scope
    group.log_records.extend(records)
    batch = finish(decode("logs", request.SerializeToString(), NOON))
    numbers = Numbers()
    normalizer = _normalizer()
    normalizer._reports = LogReports(DIALECTS)
    for counter in (normalizer._reported, normalizer._unread_records, normalizer._errors):
        counter.store = numbers  # type: ignore[attr-defined]
    finish(normalizer.process(batch))  # type: ignore[arg-type]
    return batch, numbers


@functools.cache
def _normalizer() -> GenaiNormalizer:
    """Return a normaliser; compiling the tables of all dialects takes a while."""
    return GenaiNormalizer(GenaiNormalizerConfig(), host("genai_normalizer", numbers=Numbers()))


def test_records_pass_as_they_came() -> None:
    """What they report is read beside them."""
    batch, numbers = normalized(api_request(input_tokens="10", output_tokens=5), record("something_else"))
    wire = batch.wire

    (group,) = batch.reports
    assert [(reading.kind, reading.usage.output) for reading in group.readings] == [("llm", 5)]
    assert finish(batch.serialize()) is wire
    assert numbers.total("spanledger_log_reports_total") == 1


HOSTILE: tuple[Value, ...] = (
    None, "", "x" * 70_000, "-1", "NaN", "1e400", -1, 2**62, 1.5, float("nan"), True, b"\xff", [], ["a", 1],
    {"a": {"b": [1]}},
)  # fmt: skip
KEYS = (
    "session.id", "prompt.id", "conversation.id", "prompt_id", "model", "duration_ms", "duration", "input_tokens",
    "input_token_count", "output_token_count", "cost_usd", "request_id", "success", "tool_name", "function_args",
    "event.timestamp", "event.kind", "error.message", "status_code", "attempt", "finish_reasons", "log.bridge",
    "spanledger.log.event",
)  # fmt: skip
SCOPES = ("com.anthropic.claude_code.events", "codex_otel.log_only", "gemini-cli", "qwen-code", "com.opencode", "x")
EVENTS = sorted({name for dialect in DIALECTS for name in dialect.events})


@given(
    scope=st.sampled_from(SCOPES),
    event=st.sampled_from(EVENTS),
    attributes=st.dictionaries(st.sampled_from(KEYS), st.sampled_from(HOSTILE)),
    body=st.sampled_from(HOSTILE),
    at_ns=st.sampled_from((0, 1, NOON, 2**64 - 1)),
)
def test_no_record_makes_an_error(
    scope: str, event: str, attributes: dict[str, Value], body: Value, at_ns: int
) -> None:
    """Wrong types, giant values and impossible times cost their facts only."""
    made = LogRecord(time_unix_nano=at_ns, event_name=event, body=any_value(body))
    made.attributes.extend(key_value(key, value) for key, value in attributes.items())
    _, numbers = normalized(made, scope=scope)

    assert numbers.total("spanledger_normalizer_errors_total") == 0
    assert numbers.total("spanledger_unread_log_records_total") == 0


def test_a_record_with_too_many_attributes_is_counted_and_left() -> None:
    """The limit is that of spans."""
    made = api_request()
    made.attributes.extend(key_value(f"k{number}", 1) for number in range(MAX_ATTRIBUTES))
    batch, numbers = normalized(made)

    assert not batch.reports
    assert numbers.values["spanledger_unread_log_records_total", "too_many_attributes"] == 1

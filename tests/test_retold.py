"""A call that is told as a span and as a log record counts once, by the richer one, whatever comes first."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from spanledger.conventions.step import Step
from spanledger.conventions.values import Value, key_value
from spanledger.processor.retold import RetoldTools
from tests.coding_agents import Outcome, Sent, play
from tests.steps import tool as step_of_tool

if TYPE_CHECKING:
    from collections.abc import Sequence

NOON = 1_795_163_745 * 10**9
MS = 10**6


def traces(scope: str, *spans: Span) -> Sent:
    """Return a request of spans."""
    request = ExportTraceServiceRequest()
    resource = request.resource_spans.add()
    resource.resource.attributes.append(key_value("service.name", "agent"))
    group = resource.scope_spans.add()
    group.scope.name = scope
    group.spans.extend(spans)
    return "traces", request.SerializeToString()


def logs(scope: str, *records: LogRecord) -> Sent:
    """Return a request of log records."""
    request = ExportLogsServiceRequest()
    resource = request.resource_logs.add()
    resource.resource.attributes.append(key_value("service.name", "agent"))
    group = resource.scope_logs.add()
    group.scope.name = scope
    group.log_records.extend(records)
    return "logs", request.SerializeToString()


@dataclass(frozen=True)
class Truth:
    """A call as it was billed: input without the cache, output without reasoning."""

    session: int
    at_ms: int
    input: int
    output: int
    cached: int
    reasoning: int
    request_id: str = ""

    @property
    def trace_id(self) -> bytes:
        """The trace of its session."""
        return (self.session + 1).to_bytes(16, "big")


def a_span(name: str, truth: Truth, attributes: dict[str, Value], number: int) -> Span:
    """Return the span of a call."""
    made = Span(
        trace_id=truth.trace_id,
        span_id=(number + 1).to_bytes(8, "big"),
        name=name,
        start_time_unix_nano=NOON + truth.at_ms * MS,
        end_time_unix_nano=NOON + (truth.at_ms + 400) * MS,
    )
    made.attributes.extend(key_value(key, value) for key, value in attributes.items())
    return made


def a_record(event: str, truth: Truth, attributes: dict[str, Value], number: int) -> LogRecord:
    """Return the log record of a call, 3 ms after its end; no two are equal."""
    made = LogRecord(time_unix_nano=NOON + (truth.at_ms + 403) * MS + number)
    made.attributes.extend(key_value(key, value) for key, value in {"event.name": event, **attributes}.items())
    return made


def gemini(truth: Truth, number: int) -> tuple[Sent, Sent]:
    """Return both reports: the span tells neither what was cached nor the thoughts."""
    session = f"session-{truth.session}"
    span = a_span(
        "llm_call",
        truth,
        {
            "gen_ai.operation.name": "llm_call",
            "gen_ai.request.model": "gemini-2.5-flash",
            "gen_ai.conversation.id": session,
            "gen_ai.usage.input_tokens": truth.input + truth.cached,
            "gen_ai.usage.output_tokens": truth.output,
        },
        number,
    )
    record = a_record(
        "gemini_cli.api_response",
        truth,
        {
            "session.id": session,
            "model": "gemini-2.5-flash",
            "duration_ms": 401,
            "input_token_count": truth.input + truth.cached,
            "output_token_count": truth.output,
            "cached_content_token_count": truth.cached,
            "thoughts_token_count": truth.reasoning,
            "total_token_count": truth.input + truth.cached + truth.output + truth.reasoning,
            "prompt_id": f"{session}########{number}",
        },
        number,
    )
    return traces("gemini-cli", span), logs("gemini-cli", record)


def claude(truth: Truth, number: int) -> tuple[Sent, Sent]:
    """Return both reports: the span names the model that was asked, the record the one that answered."""
    told: dict[str, Value] = {
        "session.id": f"session-{truth.session}",
        "input_tokens": truth.input,
        "output_tokens": truth.output + truth.reasoning,
        "cache_read_tokens": truth.cached,
        "cache_creation_tokens": 0,
        "duration_ms": 399,
        **({"request_id": truth.request_id} if truth.request_id else {}),
    }
    span = a_span(
        "claude_code.llm_request", truth, {**told, "span.type": "llm_request", "model": "claude-sonnet-4-5"}, number
    )
    record = a_record(
        "api_request",
        truth,
        {**told, "model": "claude-sonnet-4-5-20250929", "prompt.id": f"p{number}", "cache_creation_1h_tokens": 0},
        number,
    )
    return traces("com.anthropic.claude_code.tracing", span), logs("com.anthropic.claude_code.events", record)


def codex(truth: Truth, number: int) -> tuple[Sent, Sent]:
    """Return both reports: the span names no model."""
    counts = {"input": truth.input + truth.cached, "output": truth.output + truth.reasoning}
    span = a_span(
        "handle_responses",
        truth,
        {
            "gen_ai.usage.input_tokens": counts["input"],
            "gen_ai.usage.output_tokens": counts["output"],
            "gen_ai.usage.cache_read.input_tokens": truth.cached,
            "codex.usage.reasoning_output_tokens": truth.reasoning,
        },
        number,
    )
    record = a_record(
        "codex.sse_event",
        truth,
        {
            "event.kind": "response.completed",
            "conversation.id": f"session-{truth.session}",
            "model": "gpt-5.4-mini",
            "input_token_count": str(counts["input"]),
            "output_token_count": str(counts["output"]),
            "cached_token_count": truth.cached,
            "reasoning_token_count": truth.reasoning,
        },
        number,
    )
    return traces("codex_exec", span), logs("codex_otel.log_only", record)


EMITTERS = {"claude": claude, "codex": codex, "gemini": gemini}

CALLS = st.builds(
    Truth,
    session=st.integers(0, 2),
    at_ms=st.integers(0, 10).map(lambda step: step * 2_000),
    input=st.integers(1, 3).map(lambda count: count * 100),
    output=st.integers(1, 2).map(lambda count: count * 10),
    cached=st.sampled_from((0, 64)),
    reasoning=st.sampled_from((0, 32)),
)


def total(calls: Sequence[Truth]) -> Counter[str]:
    """Return the tokens of calls."""
    found: Counter[str] = Counter()
    for one in calls:
        found += Counter(input=one.input, output=one.output, cache_read=one.cached, reasoning=one.reasoning)
    return found


def both(outcome: Outcome) -> tuple[int, int]:
    """Return all input and all output tokens."""
    return outcome.input, outcome.output


@pytest.mark.parametrize(
    "order",
    [
        pytest.param((0, 4, 3, 1, 5, 2), id="two records that mean one span"),
        pytest.param((0, 3, 4, 1, 5, 2), id="a span that was given away, when its record comes"),
        pytest.param((1, 4, 0, 3, 5, 2), id="two spans that mean one record"),
    ],
)
def test_each_record_of_calls_that_are_alike_finds_a_span_of_its_own(order: Sequence[int]) -> None:
    """Each that comes is told another report of its call, by which a run finds it: none twice, or one is left over."""
    alike = Truth(0, 8000, 100, 10, 0, 0)
    spans_and_records = [request for number in range(3) for request in claude(alike, number)]

    outcome = play([spans_and_records[at] for at in order])

    assert outcome.calls == outcome.totals("llm_calls") == 3


@settings(max_examples=60, deadline=None)
@given(
    emitter=st.sampled_from(sorted(EMITTERS)),
    calls=st.lists(CALLS, min_size=1, max_size=4),
    drawn=st.data(),
)
def test_any_order_of_spans_and_records_counts_each_call_once(
    emitter: str, calls: list[Truth], drawn: st.DataObject
) -> None:
    """In numbers and in runs, with the facts of the record; calls may be alike in everything but their span."""
    sent = [request for number, truth in enumerate(calls) for request in EMITTERS[emitter](truth, number)]
    outcome = play(drawn.draw(st.permutations(sent)))

    tokens = total(calls)
    if emitter == "claude":  # which tells no reasoning
        tokens["output"] += tokens.pop("reasoning", 0)
    assert outcome.calls == len(calls)
    assert outcome.tokens == +tokens
    # Codex's spans do not say their session. Of calls alike in everything but that, at one time, nobody can tell
    # which record is whose: the numbers are right, a run may have a call as its span and another's record.
    alike = {replace(truth, session=0) for truth in calls}
    if emitter != "codex" or len(alike) == len(set(calls)):
        assert outcome.totals("llm_calls") == len(calls)
        assert outcome.totals("input_tokens") == outcome.input
        assert outcome.totals("output_tokens") == outcome.output


@settings(max_examples=40, deadline=None)
@given(
    emitter=st.sampled_from(sorted(EMITTERS)),
    calls=st.lists(CALLS, min_size=1, max_size=4),
    drawn=st.data(),
)
def test_numbers_that_were_read_stay_and_what_is_too_much_is_owed(
    emitter: str, calls: list[Truth], drawn: st.DataObject
) -> None:
    """What was read cannot be taken back: it is kept from what is counted next."""
    sent = [request for number, truth in enumerate(calls) for request in EMITTERS[emitter](truth, number)]
    outcome = play(drawn.draw(st.permutations(sent)), read_between=True)

    tokens = total(calls)
    assert outcome.calls == len(calls)
    assert both(outcome) == (tokens["input"] + tokens["cache_read"], tokens["output"] + tokens["reasoning"])


@pytest.mark.parametrize("emitter", sorted(EMITTERS))
def test_each_kind_of_report_alone_tells_all_its_calls(emitter: str) -> None:
    """An agent may send spans only, or log records only."""
    calls = [Truth(number // 2, number * 5_000, 100, 10, 64, 0) for number in range(4)]
    sent = [EMITTERS[emitter](truth, number) for number, truth in enumerate(calls)]
    for kind in (0, 1):
        outcome = play([request[kind] for request in sent])

        assert outcome.calls == outcome.totals("llm_calls") == 4
        assert both(outcome) == (656, 40)


def test_the_cost_is_that_of_the_richer_report() -> None:
    """64 of 164 tokens were cached, which only the record says."""
    span, record = gemini(Truth(0, 0, 100, 10, 64, 0), 0)
    alone = play([record]).pico_usd

    assert play([span]).pico_usd > alone == play([span, record]).pico_usd == play([record, span]).pico_usd


def test_ids_of_requests_tell_calls_apart() -> None:
    """Two calls at one time with the same tokens, of which one lost its span."""
    one, other = (claude(Truth(0, 0, 100, 10, 0, 0, name), number) for number, name in enumerate(("req_a", "req_b")))

    assert play([one[0], other[1]]).calls == 2
    assert play([one[0], other[1], one[1]]).calls == 2


def test_a_request_that_is_sent_again_counts_once() -> None:
    """Spans and records alike."""
    span, record = gemini(Truth(0, 0, 100, 10, 64, 32), 0)
    outcome = play([span, span, record, record, span])

    assert (outcome.calls, both(outcome), outcome.totals("llm_calls")) == (1, (164, 42), 1)


def under(service: str, request: Sent, trace_id: bytes) -> Sent:
    """Return a request of log records as if they came by another way: under this service's name, or none."""
    made = ExportLogsServiceRequest.FromString(request[1])
    for resource in made.resource_logs:
        resource.ClearField("resource")
        if service:
            resource.resource.attributes.append(key_value("service.name", service))
        for record in resource.scope_logs[0].log_records:
            record.trace_id = trace_id
    return "logs", made.SerializeToString()


@pytest.mark.parametrize("records_first", [False, True])
@pytest.mark.parametrize("service", ["", "the collector's"])
@pytest.mark.parametrize(("emitter", "in_trace"), [("claude", False), ("gemini", False), ("codex", True)])
def test_records_of_another_service_are_known_by_session_or_trace(
    emitter: str, in_trace: bool, service: str, records_first: bool
) -> None:
    """A Collector may name the service of one signal only. Codex's spans do not say their session."""
    calls = [Truth(session, number * 5_000, 100, 10, 0, 0) for session in range(2) for number in range(2)]
    sent = [EMITTERS[emitter](truth, number) for number, truth in enumerate(calls)]
    spans = [span for span, _ in sent]
    records = [
        under(service, record, truth.trace_id if in_trace else b"")
        for (_, record), truth in zip(sent, calls, strict=True)
    ]
    outcome = play([*records, *spans] if records_first else [*spans, *records])

    assert (outcome.calls, both(outcome)) == (4, (400, 40))


def test_calls_of_two_services_in_two_sessions_stay_apart() -> None:
    """One service lost its records, the other its spans; what they asked, and when, is alike."""
    span, _ = claude(Truth(0, 0, 100, 10, 0, 0), 0)
    _, record = claude(Truth(1, 0, 100, 10, 0, 0), 1)

    assert play([span, under("another", record, b"")]).calls == 2


def test_sessions_side_by_side_stay_apart() -> None:
    """Ten agents that ask the same at the same time are ten runs."""
    calls = [Truth(session, 0, 100, 10, 0, 0) for session in range(10)]
    sent = [claude(truth, number)[1] for number, truth in enumerate(calls)]
    outcome = play(sent)

    assert [run["session_id"] for run in outcome.runs] == [f"session-{session}" for session in range(10)]
    assert outcome.calls == 10


# -- tools --


def tool(report: str = "", call_id: str = "", service: str = "agent", session: str = "s") -> Step:
    """Return a tool call."""
    return step_of_tool(
        tool_name="bash", tool_call_id=call_id, conversation_id=session, dialect="claude_code", report=report,
        retold=True, service_name=service,
    )  # fmt: skip


@given(
    ids=st.lists(st.sampled_from(("a", "b", "c")), max_size=5),
    named=st.tuples(st.booleans(), st.booleans()),
    drawn=st.data(),
)
def test_tools_are_counted_by_the_kind_of_report_with_the_most(
    ids: list[str], named: tuple[bool, bool], drawn: st.DataObject
) -> None:
    """By their ids, or where one kind of report says none by name and number."""
    spans = [tool(call_id=one if named[0] else "") for one in ids]
    records = [tool("claude_code.tool_result", one if named[1] else "") for one in ids]
    tools = RetoldTools()

    assert sum(tools.is_new(one) for one in drawn.draw(st.permutations([*spans, *records]))) == len(ids)


@pytest.mark.parametrize("call_id", ["", "call_0"])
@pytest.mark.parametrize(
    ("session", "service", "calls"),
    [("s", "", 1), ("s", "another", 1), ("t", "agent", 2), ("", "agent", 2)],
)
def test_a_tool_is_known_by_its_session_whatever_the_service(
    session: str, service: str, calls: int, call_id: str
) -> None:
    """Ids of calls may begin anew with each session."""
    span, record = tool("", call_id), tool("claude_code.tool_result", call_id, service, session)
    tools = RetoldTools()

    assert tools.is_new(span) + tools.is_new(record) == calls


@pytest.mark.parametrize(("service", "calls"), [("agent", 1), ("another", 2), ("", 2)])
def test_a_tool_without_a_session_is_known_by_its_service(service: str, calls: int) -> None:
    """It has nothing else in common with its record."""
    span, record = tool("", "call_0", session=""), tool("claude_code.tool_result", "call_0", service, "")
    tools = RetoldTools()

    assert tools.is_new(span) + tools.is_new(record) == calls

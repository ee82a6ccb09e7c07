"""Runs of recorded traffic, put together from the histories of their calls alone."""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from spanledger.conventions.detail import Detail
from spanledger.conventions.details import Details, extends, merged
from spanledger.conventions.dialects import read
from spanledger.processor.batch import decode, finish
from tests.corpus.captures import Capture, packed

if TYPE_CHECKING:
    from spanledger.processor.batch import Signal

CLIENTS = (
    "python/openinference-anthropic",
    "python/openinference-openai",
    "python/openllmetry-2025-openai",
    "python/openllmetry-anthropic",
    "python/openllmetry-bedrock",
    "python/openllmetry-google",
    "python/openllmetry-openai",
    "python/openllmetry-openai-responses",
    "python/otel-genai-anthropic",
    "python/otel-genai-openai",
    "python/otel-genai-openai-responses",
    "python/otel-google-genai",
)
"""Stacks that instrument only the client: each model call is a trace of its own, with its content."""
TREES = (
    "python/openllmetry-langchain",
    "python/openllmetry-openai-agents",
    "python/otel-genai-langchain",
    "python/openinference-langchain",
    "python/openinference-openai-agents",
    "python/openinference-pydantic-ai",
    "python/traceloop-sdk",
)
"""Stacks with trees; the histories of one agent's calls go on all the same."""
LOGGED = ("python/otel-botocore-bedrock", "python/otel-openai-v2-legacy", "js/otel-openai-events")
"""Stacks whose content is in log records, one for each message or one for the whole call."""
WITHHELD = re.compile("nocontent|truncated|crash|sampled|runaway30")
"""No content, only its beginning, only its end (see below), or not every call."""
UNJOINED = re.compile(WITHHELD.pattern + "|multi|plus")
"""Several agents, or several instrumentations, with a history each."""

_RUN = re.compile(r"\(ref:[^)]*\)|RUN=\S+")


@dataclass
class Call:
    """A model call: its detail, and to whose conversation it belongs by the mark in its first prompt."""

    detail: Detail
    conversation: str
    start_ns: int


def items(capture: Capture, signal: Signal) -> Iterator[tuple[Any, Any]]:
    """Yield each group and item of a signal."""
    for wire in capture.requests(signal):
        for group in finish(decode(signal, wire, 0)).groups:
            for item in group.items:
                yield group, item


def told(capture: Capture) -> list[Call]:
    """Return the model calls that say their history, in order."""
    details, calls = Details("metadata", b"key"), []
    for group, span in items(capture, "traces"):
        reading = read(group.scope, group.resource, span)
        if reading is None or reading.kind != "llm":
            continue
        detail = details.read(span, reading, group.resource.attributes)
        if detail.history:
            marked = _RUN.search(str(reading.says("gen_ai.input.messages")))
            calls.append(Call(detail, marked[0] if marked else "", span.start_time_unix_nano))
    return sorted(calls, key=lambda call: call.start_ns)


def logged(capture: Capture) -> list[Call]:
    """Return the model calls that log records tell of, in order."""
    details, calls = Details("full", b"key"), dict[bytes, Call]()
    for _, record in items(capture, "logs"):
        found = details.detail_of_log(record)
        if found is not None:
            trace_id, span_id, detail = found
            call = calls.setdefault(trace_id + span_id, Call(Detail(), "", record.time_unix_nano))
            call.detail = merged(call.detail, detail)
            if not call.conversation and (marked := _RUN.search(str(record))):
                call.conversation = marked[0]
    return [call for call in calls.values() if call.detail.history]


def captures(stacks: tuple[str, ...], without: re.Pattern[str] = WITHHELD) -> list[Any]:
    """Return the captures of these stacks, without some scenarios."""
    return [
        pytest.param(capture, id=str(capture))
        for stack in stacks
        for capture in packed(stack)
        if not without.search(capture.scenario)
    ]


def check(calls: list[Call]) -> None:
    """Each call extends the last one of its conversation that was answered, and none of another."""
    last: dict[str, Detail] = {}
    for call in calls:
        if call.conversation in last:
            assert extends(call.detail, last[call.conversation])
        for other in calls:
            assert other.conversation == call.conversation or not extends(call.detail, other.detail)
        if call.detail.after is not None:
            last[call.conversation] = call.detail


@pytest.mark.parametrize("capture", captures(CLIENTS))
def test_calls_of_clients_are_joined_by_history(capture: Capture) -> None:
    """One chain for each conversation; a turn for each run; every request has its result."""
    calls = told(capture)
    check(calls)
    retried = len(calls) - len({(call.conversation, call.detail.history) for call in calls})
    assert sum(call.detail.asks_user for call in calls) - retried == len(capture.runs)
    answered = {result for call in calls for result in call.detail.answered}
    for call in calls:
        if any(extends(other.detail, call.detail) for other in calls):
            assert {request.id for request in call.detail.requests} <= answered
    assert len({call.detail.prompt for call in calls}) == 1
    assert len({call.detail.tools for call in calls}) == 1


@pytest.mark.parametrize("capture", captures(TREES, UNJOINED))
def test_calls_of_an_agent_go_on(capture: Capture) -> None:
    """The same holds below agents of one dialect."""
    check(told(capture))


@pytest.mark.parametrize("capture", captures(LOGGED))
def test_content_in_log_records_joins_too(capture: Capture) -> None:
    """Records of single messages add up to the history of their call."""
    calls = logged(capture)
    spans = [read(group.scope, group.resource, span) for group, span in items(capture, "traces")]
    assert len(calls) == sum(reading is not None and reading.kind == "llm" for reading in spans)
    check(calls)
    assert len({call.detail.prompt for call in calls}) == 1


@pytest.mark.parametrize("capture", [c for c in captures(CLIENTS) if c.id.endswith("/concurrent10")])
def test_interleaved_runs_stay_apart(capture: Capture) -> None:
    """Ten runs at once, asked nearly the same, are ten chains of three calls."""
    calls = told(capture)
    ends = [call for call in calls if not any(extends(other.detail, call.detail) for other in calls)]
    lengths = Counter(
        (call.conversation, 1 + sum(extends(call.detail, other.detail) for other in calls)) for call in ends
    )
    assert len(lengths) == 10
    assert {length for _, length in lengths} == {3}


def test_turns_of_a_conversation_are_one_chain() -> None:
    """Three turns of one session: the second asked for a tool, so there are four calls."""
    capture = next(capture for capture in packed("python/otel-genai-openai") if capture.scenario == "conversation")
    calls = told(capture)
    assert [call.detail.asks_user for call in calls] == [True, True, False, True]
    assert all(extends(later.detail, call.detail) for call, later in itertools.pairwise(calls))


def test_where_the_beginning_of_a_history_was_dropped_ids_join() -> None:
    """A span may have 128 attributes; SDKs drop the oldest, which are those of the first messages."""
    capture = next(capture for capture in packed("python/openinference-openai") if capture.scenario == "runaway30")
    calls = told(capture)
    assert not all(extends(later.detail, call.detail) for call, later in itertools.pairwise(calls))
    for call, later in itertools.pairwise(calls):
        assert {request.id for request in call.detail.requests} <= {*later.detail.answered}

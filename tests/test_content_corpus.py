"""Content of recorded traffic: all of it valid, and every tool call that a model asked for is found."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from spanledger.conventions.content import Content, Event, messages_of, valid_messages
from spanledger.conventions.content.log_records import content_of, join
from spanledger.conventions.dialects import read
from spanledger.conventions.reading import Reading
from spanledger.conventions.values import attributes_of, value_of
from spanledger.processor.batch import decode, finish
from tests.content_schema import check_content
from tests.corpus.captures import STACKS, Capture, packed

EXACT = (
    "python/deepagents-openinference",
    "python/manual-2024-semconv",
    "python/mcp-openinference",
    "python/openinference-anthropic",
    "python/openinference-autogen",
    "python/openinference-dspy",
    "python/openinference-langchain",
    "python/openinference-llamaindex",
    "python/openinference-openai",
    "python/openinference-openai-agents",
    "python/openinference-pydantic-ai",
    "python/openllmetry-2025-openai",
)
"""Stacks whose content comes in the shapes of this package, with a span for each model call."""
CONTENT_OFF = {"tools3-nocontent"}


def contents(capture: Capture) -> Iterator[tuple[Reading, Content]]:
    """Yield each GenAI span's reading and content."""
    for wire in capture.requests("traces"):
        for group in finish(decode("traces", wire, 1)).groups:
            for span in group.items:
                reading = read(group.scope, group.resource, span)
                if reading is not None:
                    events = [Event(event.name, attributes_of(event.attributes)) for event in span.events]
                    yield reading, messages_of(reading.dialect, reading.attributes, events, reading.kind)


@pytest.mark.parametrize("stack", STACKS)
def test_recorded_content_is_valid(stack: str) -> None:
    """Whatever an instrumentation recorded is valid once it is read."""
    for capture in packed(stack):
        for _, content in contents(capture):
            assert valid_messages(content.input_messages or [])
            assert valid_messages(content.output_messages or [])
            check_content(content)


@pytest.mark.parametrize("stack", EXACT)
def test_every_tool_call_of_the_model_is_found(stack: str) -> None:
    """The calls in the answers are those that the model server gave, by id: none missing, none made up."""
    for capture in packed(stack):
        found = {
            part["id"]
            for reading, content in contents(capture)
            if reading.kind == "llm"
            for message in content.output_messages or current(reading, "gen_ai.output.messages")
            for part in message["parts"]
            if part["type"] == "tool_call"
        }
        assert tool_calls_given(capture) == found, capture


@pytest.mark.parametrize("stack", ["python/otel-openai-v2-legacy", "python/otel-botocore-bedrock"])
def test_log_records_hold_the_content_of_their_spans(stack: str) -> None:
    """Joined by span id, the records tell every call that the model asked for."""
    for capture in packed(stack):
        told: dict[bytes, list[Content]] = {}
        for wire in capture.requests("logs"):
            for group in finish(decode("logs", wire, 1)).groups:
                for record in group.items:
                    attributes = attributes_of(record.attributes)
                    name = record.event_name or str(attributes.get("event.name", ""))
                    if (said := content_of(name, value_of(record.body), attributes)) is not None:
                        told.setdefault(record.span_id, []).append(said)
        joined = [join(records) for records in told.values()]
        for content in joined:
            check_content(content)
        assert tool_calls_given(capture) == {
            part["id"]
            for content in joined
            for message in content.output_messages or ()
            for part in message["parts"]
            if part["type"] == "tool_call"
        }, capture


def tool_calls_given(capture: Capture) -> set[str]:
    """Return the ids of the tool calls that the model server answered with, where content was recorded."""
    answered = [call for call in capture.truth["llm_calls"] if call["status"] == 200]
    recorded = answered if capture.scenario not in CONTENT_OFF else []
    return {call_id for call in recorded for call_id in call.get("tool_call_ids") or ()}


def current(reading: Reading, name: str) -> list[dict[str, Any]]:
    """Return messages that the instrumentation wrote under their current name."""
    value = reading.attributes.get(name)
    found: list[dict[str, Any]] = json.loads(value) if isinstance(value, str) else []
    return found

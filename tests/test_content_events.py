"""Content in span events and log records."""

from __future__ import annotations

import json
from typing import Any

import pytest

from spanledger.conventions.content import Content, Event, messages_of
from spanledger.conventions.content.log_records import content_of, join
from spanledger.conventions.content.span_events import MAX_EVENTS
from tests.content_schema import check_content

SYSTEM = {"role": "system", "parts": [{"type": "text", "content": "Be brief."}]}
USER = {"role": "user", "parts": [{"type": "text", "content": "Weather?"}]}
CALL = {"type": "tool_call", "id": "c1", "name": "get_weather", "arguments": {"city": "Oslo"}}
ASKED = {"role": "assistant", "parts": [CALL]}
TOLD = {"role": "tool", "parts": [{"type": "tool_call_response", "id": "c1", "response": "3C"}]}
ANSWER = {"role": "assistant", "parts": [{"type": "text", "content": "3C."}], "finish_reason": "stop"}
OPENAI_CALL = {"id": "c1", "type": "function", "function": {"name": "get_weather", "arguments": '{"city": "Oslo"}'}}

STRANDS = [
    Event("gen_ai.system.message", {"content": '[{"text": "Be brief."}]'}),
    Event("gen_ai.user.message", {"content": '[{"text": "Weather?"}]'}),
    Event(
        "gen_ai.assistant.message",
        {"content": '[{"toolUse": {"toolUseId": "c1", "name": "get_weather", "input": {"city": "Oslo"}}}]'},
    ),
    Event("gen_ai.tool.message", {"content": '[{"toolResult": {"toolUseId": "c1", "content": [{"text": "3C"}]}}]'}),
    Event("gen_ai.choice", {"finish_reason": "end_turn", "message": '[{"text": "3C."}]'}),
]
OLDEST = [
    Event(
        "gen_ai.content.prompt",
        {
            "gen_ai.prompt": json.dumps(
                [
                    {"role": "system", "content": "Be brief."},
                    {"role": "user", "content": "Weather?"},
                    {"role": "assistant", "tool_calls": [OPENAI_CALL]},
                    {"role": "tool", "tool_call_id": "c1", "content": "3C"},
                ]
            )
        },
    ),
    Event(
        "gen_ai.content.completion",
        {"gen_ai.completion": '[{"role": "assistant", "content": "3C.", "finish_reason": "end_turn"}]'},
    ),
]


@pytest.mark.parametrize("events", [STRANDS, OLDEST, [*OLDEST, *STRANDS[:2]]], ids=["messages", "whole", "both"])
def test_events_are_a_history_and_an_answer(events: list[Event]) -> None:
    """One event a message or one for all: the same messages, the system message among them."""
    content = messages_of("otel", {}, events, "llm")
    assert content == Content(
        input_messages=[SYSTEM, USER, ASKED, TOLD], output_messages=[ANSWER], finish_reasons=["end_turn"]
    )
    check_content(content)


def test_details_hold_everything_under_current_names() -> None:
    """JSON or structured; instructions are apart here."""
    events = [
        Event("gen_ai.client.inference.operation.details", {"gen_ai.input.messages": [USER]}),
        Event(
            "gen_ai.client.inference.operation.details",
            {
                "gen_ai.system_instructions": '[{"type": "text", "content": "Be brief."}]',
                "gen_ai.output.messages": '[{"role": "assistant", "parts": [{"type": "text", "content": "3C."}], '
                '"finish_reason": "end_turn"}]',
                "gen_ai.tool.definitions": [{"name": "get_weather", "type": "function", "parameters": None}],
                "gen_ai.response.finish_reasons": ["stop"],
            },
        ),
    ]
    content = messages_of("otel", {}, events, "llm")
    assert content == Content(
        input_messages=[USER],
        output_messages=[ANSWER],
        system_instructions=[{"type": "text", "content": "Be brief."}],
        tool_definitions=[{"type": "function", "name": "get_weather"}],
        finish_reasons=["stop"],
    )
    check_content(content)


def test_choices_go_by_their_index() -> None:
    """Choices may be told in any order; a second finish reason is not invented."""
    content = messages_of(
        "otel",
        {},
        [
            Event("gen_ai.choice", {"index": 1, "message": "B"}),
            Event("gen_ai.choice", {"index": 0, "message": "A", "finish_reason": "length"}),
        ],
        "llm",
    )
    assert content.output_messages == [
        {"role": "assistant", "parts": [{"type": "text", "content": "A"}], "finish_reason": "length"},
        {"role": "assistant", "parts": [{"type": "text", "content": "B"}]},
    ]
    assert content.finish_reasons is None


@pytest.mark.parametrize(
    "events",
    [
        [
            Event("gen_ai.tool.message", {"role": "tool", "content": '{"city": "Oslo"}', "id": "c1"}),
            Event("gen_ai.choice", {"message": '[{"text": "3C"}]', "id": "c1"}),
        ],
        [
            Event(
                "gen_ai.client.inference.operation.details",
                {"gen_ai.input.messages": [{"role": "tool", "parts": [CALL]}]},
            ),
            Event("gen_ai.client.inference.operation.details", {"gen_ai.output.messages": [TOLD]}),
        ],
    ],
)
def test_events_of_a_tool_are_its_call(events: list[Event]) -> None:
    """On a tool span the same events tell arguments and result, and no history."""
    assert messages_of("otel", {}, events, "tool") == Content(tool_arguments={"city": "Oslo"}, tool_result="3C")


def test_attributes_go_before_events() -> None:
    """Of two sources for the same, the flattened attributes win; the events complete them."""
    content = messages_of(
        "otel", {"gen_ai.prompt.0.role": "user", "gen_ai.prompt.0.content": "Weather?"}, STRANDS, "llm"
    )
    assert content.input_messages == [USER]
    assert content.output_messages == [ANSWER]


def test_the_number_of_events_is_bounded() -> None:
    """More events than anyone means are not all read, and that is said."""
    content = messages_of("otel", {}, [Event("gen_ai.user.message", {"content": "x"})] * (MAX_EVENTS + 1), "llm")
    assert len(content.input_messages or []) == MAX_EVENTS
    assert content.marks == ("limit",)


RECORDS: list[tuple[str, Any]] = [
    ("gen_ai.system.message", {"content": "Be brief."}),
    ("gen_ai.user.message", {"content": "Weather?", "role": "user"}),
    ("gen_ai.assistant.message", {"tool_calls": [OPENAI_CALL]}),
    ("gen_ai.tool.message", {"content": "3C", "id": "c1"}),
    ("gen_ai.choice", {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "3C."}}),
]
"""As openai-v2, botocore, the agent framework and pydantic-ai 1 log them."""


def test_log_records_of_a_span_join_to_its_content() -> None:
    """Records in the order they were logged are the history and the answer."""
    said = [content_of(name, body, {"gen_ai.system": "openai"}) for name, body in RECORDS]
    content = join([record for record in said if record is not None])
    assert content == Content(
        input_messages=[SYSTEM, USER, ASKED, TOLD], output_messages=[ANSWER], finish_reasons=["stop"]
    )
    check_content(content)


def test_a_details_record_tells_by_its_attributes() -> None:
    """The current event has no body; its attributes are structured."""
    content = content_of("gen_ai.client.inference.operation.details", None, {"gen_ai.input.messages": [USER]})
    assert content == Content(input_messages=[USER])


def test_an_elided_body_is_a_message_without_content() -> None:
    """With capture off, emitters log a placeholder: the message was there, its content is not known."""
    content = content_of("gen_ai.user.message", {"content": "<elided>"}, {})
    assert content == Content(input_messages=[{"role": "user", "parts": []}], marks=("redacted",))


def test_other_log_records_say_nothing_about_content() -> None:
    """None: the record is about something else."""
    assert content_of("gen_ai.evaluation.result", {"content": "x"}, {}) is None

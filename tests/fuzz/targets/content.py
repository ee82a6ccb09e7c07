"""Prompts and answers in every shape: documents of providers, Python's repr, flattened attributes, events."""

from __future__ import annotations

import json

from spanledger.conventions.content.parse import Reader
from spanledger.conventions.content.parts import valid_messages
from spanledger.conventions.content.provider_json import conversation
from spanledger.conventions.content.python_repr import to_json
from spanledger.conventions.content.reading import PLACES, messages_of
from spanledger.conventions.content.record import Event
from spanledger.conventions.provider_usage import usage_object, usage_within
from tests.fuzz.draw import Draw

_KINDS = ("llm", "tool", "retrieval", "agent", "other")
_LISTS = (
    "gen_ai.prompt", "gen_ai.completion", "llm.input_messages", "llm.output_messages", "llm.tools", "llm.prompts",
    "llm.choices", "llm.request.functions", "retrieval.documents", "gen_ai.request.tools",
)  # fmt: skip
_FIELDS = (
    "role", "content", "message.content", "message.role", "tool_calls.0.name", "tool_calls.0.arguments",
    "finish_reason",
    "message.tool_calls.0.tool_call.function.arguments", "message.contents.0.message_content.text", "name",
    "message.contents.0.message_content.image.image.url", "document.content", "parameters", "tool.json_schema", "",
)  # fmt: skip
_EVENTS = ("gen_ai.user.message", "gen_ai.choice", "gen_ai.tool.message", "gen_ai.client.inference.operation.details")
_DIALECTS = ("", *sorted(PLACES))


def fuzz(data: bytes) -> None:
    """Check that what is read is valid by the conventions' schema, and can be written as JSON."""
    draw = Draw(data)
    dialect, kind = draw.pick(_DIALECTS), draw.pick(_KINDS)
    attributes = {}
    places = PLACES.get(dialect)
    named = [key for name in places.__slots__ for key in getattr(places, name)] if places is not None else []
    for _ in range(draw.number(12)):
        if named and draw.flag():
            key = draw.pick(named)
        else:
            key = f"{draw.pick(_LISTS)}.{draw.pick((0, 1, 7, '', 'x', -1, 10**9))}.{draw.pick(_FIELDS)}"
        attributes[key] = _value(draw)
    events = [Event(draw.pick(_EVENTS), {draw.pick(_FIELDS): _value(draw)}) for _ in range(draw.number(3))]
    said = messages_of(dialect, attributes, events, kind)  # type: ignore[arg-type]
    for messages in (said.input_messages, said.output_messages):
        if messages is not None:
            assert valid_messages(messages), messages
            json.dumps(messages, allow_nan=False).encode()
    text = draw.rest().decode("utf-8", "replace")
    if (converted := to_json(text)) is not None:
        assert isinstance(converted, str)
    reader = Reader()
    document = reader.document(text)
    found = conversation(document, draw.pick(("user", "assistant")), reader)
    assert valid_messages(found.messages), found.messages
    usage_object(text)
    usage_within(text)


def _value(draw: Draw) -> object:
    """Return an attribute's value: most often JSON in a text."""
    plain = draw.plain()
    if draw.flag():
        return json.dumps(plain)
    return plain if isinstance(plain, str | int | float | bool | None) else str(plain)

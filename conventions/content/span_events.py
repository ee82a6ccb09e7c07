"""Messages out of span events, as the conventions had them until 1.36 and some emitters still do.

One event a message (`gen_ai.user.message`, `gen_ai.choice`), one for the whole prompt
(`gen_ai.content.prompt`, until 1.27), or one for the whole call (`gen_ai.client.inference.operation.details`).
A log record of the same name says the same in its body: see `log_records.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from spanledger.conventions.content import parts
from spanledger.conventions.content.parse import Json, Reader
from spanledger.conventions.content.parts import Message
from spanledger.conventions.content.provider_json import Conversation, conversation, message_of
from spanledger.conventions.content.provider_parts import recognised
from spanledger.conventions.content.record import Content, Event
from spanledger.conventions.content.tools import definitions_of
from spanledger.conventions.values import Attributes, Value

CHOICE: Final = "gen_ai.choice"
DETAILS: Final = "gen_ai.client.inference.operation.details"
MESSAGES: Final = {
    "gen_ai.system.message": "system",
    "gen_ai.user.message": "user",
    "gen_ai.assistant.message": "assistant",
    "gen_ai.tool.message": "tool",
}
WHOLE: Final = {
    "gen_ai.content.prompt": ("gen_ai.prompt", "user"),
    "gen_ai.content.completion": ("gen_ai.completion", "assistant"),
    "LLMChatStartEvent": ("messages", "user"),
    "LLMCompletionStartEvent": ("prompt", "user"),
    "LLMChatEndEvent": ("response.message", "assistant"),
    "LLMCompletionEndEvent": ("response.text", "assistant"),
}
"""Events with a whole prompt or answer: the conventions' until 1.27, and LlamaIndex's own."""

MAX_EVENTS: Final = 3_000
"""Events of one span that are read; more is marked `limit`."""


def content_of(events: Sequence[Event], reader: Reader) -> Content | None:
    """Return what the events of a model or agent span say together; None when there are none about content.

    Where several kinds say the same, the fullest wins: details, then whole prompts, then single messages,
    in which older emitters have no place for tool calls.
    """
    details: list[Content] = []
    whole: dict[str, Conversation] = {}
    history: list[Message] = []
    answers: list[tuple[int, Message, str | None]] = []
    for event in events[:MAX_EVENTS]:
        if event.name == DETAILS:
            details.append(details_of(event.attributes, reader))
        elif event.name in WHOLE:
            key, role = WHOLE[event.name]
            whole[role] = conversation(reader.document(event.attributes.get(key)), role, reader)
        elif event.name in MESSAGES:
            history.append(message_from(event.name, event.attributes, reader))
        elif event.name == CHOICE:
            answers.append(choice_from(event.attributes, len(answers), reader))
    if len(events) > MAX_EVENTS:
        reader.mark("limit")
    if not (details or whole or history or answers):
        return None
    answers.sort(key=lambda answer: answer[0])
    asked, answered = whole.get("user", Conversation()), whole.get("assistant", Conversation())
    reasons = [reason for _, _, reason in answers if reason]
    said = Content(
        input_messages=asked.messages or history or None,
        output_messages=answered.messages or [message for _, message, _ in answers] or None,
        system_instructions=asked.instructions or None,
        tool_definitions=asked.tools or None,
        finish_reasons=answered.finish_reasons or (reasons if len(reasons) == len(answers) else None) or None,
    )
    for detail in reversed(details):
        said = detail.over(said)
    return said


def is_content(name: str) -> bool:
    """Tell whether events of this name can be about content."""
    return name.startswith("gen_ai.") or name in WHOLE


def message_from(name: str, fields: Attributes, reader: Reader) -> Message:
    """Return the message that one `gen_ai.*.message` event, or the body of such a log record, holds."""
    role = fields.get("role")
    return _message(fields, role if isinstance(role, str) and role else MESSAGES[name], reader)


def choice_from(fields: Attributes, position: int, reader: Reader) -> tuple[int, Message, str | None]:
    """Return index, message and finish reason (as spelled) of a `gen_ai.choice`; `position` if it has no index."""
    index = fields.get("index")
    reason = reader.text(fields.get("finish_reason"))
    inner = _read(fields.get("message"), reader)
    if isinstance(inner, dict):
        made = _message(inner, _role_of(inner), reader)
    else:
        held = {key: value for key, value in fields.items() if key in ("content", "tool_calls")}
        made = _message(held if inner is None else {"content": inner}, _role_of(fields), reader)
    if reason is not None:
        made["finish_reason"] = parts.schema_reason(reason)
    in_range = isinstance(index, int) and not isinstance(index, bool) and 0 <= index < MAX_EVENTS
    return (index if isinstance(index, int) and in_range else position), made, reason


def _role_of(fields: Attributes) -> str:
    role = fields.get("role")
    return role if isinstance(role, str) and role else "assistant"


def _message(fields: Attributes, role: str, reader: Reader) -> Message:
    held = {key: _read(value, reader) for key, value in fields.items() if key in _FIELDS}
    held["role"] = role
    made = message_of(held, role, reader)
    return parts.message(role, []) if made is None else made


_FIELDS: Final = frozenset(
    ("content", "tool_calls", "tool_call_id", "id", "name", "refusal", "reasoning_content", "function_call", "parts")
)


def _read(value: Value, reader: Reader) -> Json:
    """Return structured content as it is or out of its JSON; any other text is the text that was said."""
    if isinstance(value, str) and value[:1] in ("[", "{"):
        found = reader.looks_structured(value)
        if recognised(found) or (isinstance(found, list | dict) and _is_message(found)):
            return found
        return value
    return reader.plain(value)


def _is_message(found: Json) -> bool:
    return isinstance(found, dict) and ("role" in found or "tool_calls" in found or "parts" in found)


def details_of(fields: Attributes, reader: Reader) -> Content:
    """Return what a `gen_ai.client.inference.operation.details` event says, in current names, JSON or structured."""
    asked = conversation(reader.document(fields.get("gen_ai.input.messages")), "user", reader)
    answered = conversation(reader.document(fields.get("gen_ai.output.messages")), "assistant", reader)
    instructions = conversation(reader.document(fields.get("gen_ai.system_instructions")), "system", reader)
    reasons = fields.get("gen_ai.response.finish_reasons")
    spelled = [reason for reason in reasons if isinstance(reason, str)] if isinstance(reasons, list) else []
    guidance = [part for message in instructions.messages for part in message["parts"] if part["type"] == "text"]
    return Content(
        input_messages=asked.messages or None,
        output_messages=answered.messages or None,
        system_instructions=guidance or None,
        tool_definitions=definitions_of(reader.document(fields.get("gen_ai.tool.definitions"))) or None,
        finish_reasons=spelled or answered.finish_reasons or None,
    )

"""Requests, answers and histories as model APIs and frameworks serialise them, as a `Conversation`.

Recognised by shape, for spans do not say which it is: lists of messages of any of the APIs in
`provider_parts`, their requests and responses, LangChain's serialised messages and generations.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from spanledger.conventions.content import parts
from spanledger.conventions.content.parse import Json, Reader
from spanledger.conventions.content.parts import Message, Part
from spanledger.conventions.content.provider_parts import (
    BY_TYPE,
    RESPONSE_KEYS,
    parts_of,
    response_of,
    tool_call_of,
)
from spanledger.conventions.content.tools import definitions_of


@dataclass(slots=True)
class Conversation:
    """What one document says; lists are empty where it says nothing."""

    messages: list[Message] = field(default_factory=list)
    instructions: list[Part] = field(default_factory=list)
    tools: list[dict[str, Json]] = field(default_factory=list)
    finish_reasons: list[str] = field(default_factory=list)


_HISTORIES: Final = ("messages", "contents", "input", "prompt", "prompts", "replies")
_INSTRUCTIONS: Final = ("system", "instructions", "system_instruction", "systemInstruction")
_LANGCHAIN_CLASS: Final = (("Human", "user"), ("AI", "assistant"), ("System", "system"), ("Tool", "tool"))
_ITEM_ROLES: Final = {
    "function_call": "assistant",
    "custom_tool_call": "assistant",
    "reasoning": "assistant",
    "tool_call": "assistant",
    "function_call_output": "tool",
    "custom_tool_call_output": "tool",
    "tool_result": "tool",
}
"""Items of the responses API that stand beside messages, and who said them."""


def conversation(document: Json, role: str, reader: Reader) -> Conversation:
    """Read a request or an answer. `role` is who speaks where the document does not say: user or assistant.

    `document` is JSON as `Reader.document` returns it.
    """
    found = Conversation()
    if isinstance(document, str):
        if reader.said(document):
            found.messages.append(parts.message(role, [parts.text(document)]))
    elif isinstance(document, list) and _are_choices(document):
        _read_choices(document, "message", ("finish_reason",), reader, found)
    elif isinstance(document, list):
        found.messages.extend(_messages(document, role, reader))
        reasons = [
            reason for item in document if isinstance(item, dict) and (reason := _text(item.get("finish_reason")))
        ]
        if len(reasons) == len(found.messages):
            found.finish_reasons.extend(reasons)
    elif isinstance(document, dict):
        _read_object(document, role, reader, found)
    return found


def _read_object(document: dict[str, Json], role: str, reader: Reader, found: Conversation) -> None:
    for key in _INSTRUCTIONS:
        _instruct(document.get(key), reader, found)
    config = document.get("config")
    if isinstance(config, dict):
        for key in _INSTRUCTIONS:
            _instruct(config.get(key), reader, found)
        found.tools.extend(definitions_of(config.get("tools")))
    found.tools.extend(definitions_of(document.get("tools")))
    if isinstance(document.get("choices"), list):
        _read_choices(document["choices"], "message", ("finish_reason",), reader, found)
    elif isinstance(document.get("candidates"), list):
        _read_choices(document["candidates"], "content", ("finishReason", "finish_reason"), reader, found)
    elif isinstance(document.get("content"), dict) and isinstance(document["content"].get("parts"), list):
        # One candidate by itself, as Google's ADK keeps it.
        reason = document.get("finishReason", document.get("finish_reason"))
        _add_answer(document["content"], reason, reader, found)
    elif isinstance(document.get("generations"), list):
        _read_generations(document["generations"], reader, found)
    elif isinstance(document.get("output"), list):
        _read_items(document, reader, found)
    elif isinstance(document.get("output"), dict) and isinstance(document["output"].get("message"), dict):
        answer = document["output"]["message"]
        _add_answer(answer, document.get("stopReason"), reader, found)
    elif "role" not in document and isinstance(document.get("message"), dict):
        _add_answer(document["message"], document.get("finish_reason", document.get("done_reason")), reader, found)
    elif isinstance(document.get("combined_chunk_content"), str):
        _add_answer(document["combined_chunk_content"], None, reader, found)
    elif (message := message_of(document, None, reader)) is not None:
        if message["role"] == "assistant" and (reason := _text(document.get("stop_reason"))):
            message["finish_reason"] = parts.schema_reason(reason)
            found.finish_reasons.append(reason)
        found.messages.append(message)
    else:
        history = next((document[key] for key in _HISTORIES if document.get(key) is not None), None)
        if isinstance(document.get("messages"), list):
            # Text where messages belong is the `repr` of somebody's classes.
            history = [item for item in document["messages"] if not isinstance(item, str)]
            if len(history) < len(document["messages"]):
                reader.mark("unparsable")
        if history is not None:
            found.messages.extend(conversation(history, role, reader).messages)


def _are_choices(items: list[Json]) -> bool:
    """Tell whether a list is that of a chat completion's choices, without the completion around it."""
    return bool(items) and all(
        isinstance(item, dict) and "role" not in item and isinstance(item.get("message"), dict) for item in items
    )


def _instruct(said: Json, reader: Reader, found: Conversation) -> None:
    if isinstance(said, dict) and isinstance(said.get("parts"), list):
        said = said["parts"]
    # The conventions take text only here.
    found.instructions.extend(part for part in parts_of(said, reader) if part["type"] == "text")


def _read_choices(
    choices: list[Json], inner: str, reasons: tuple[str, ...], reader: Reader, found: Conversation
) -> None:
    for choice in choices:
        if not isinstance(choice, dict):
            continue
        answer = choice.get(inner, choice.get("message", choice.get("text")))
        reason = next((choice[key] for key in reasons if choice.get(key)), None)
        _add_answer(answer, reason, reader, found)


def _read_generations(batches: list[Json], reader: Reader, found: Conversation) -> None:
    for batch in batches:
        for generation in batch if isinstance(batch, list) else [batch]:
            if not isinstance(generation, dict):
                continue
            info = generation.get("generation_info")
            reason = info.get("finish_reason") if isinstance(info, dict) else None
            _add_answer(generation.get("message", generation.get("text")), reason, reader, found)


def _read_items(document: dict[str, Json], reader: Reader, found: Conversation) -> None:
    """Read the output of the responses API: items that together are one answer."""
    said = [part for message in _messages(document["output"], "assistant", reader) for part in message["parts"]]
    details = document.get("incomplete_details")
    reason = details.get("reason") if isinstance(details, dict) else document.get("status")
    if said:
        _add_message(parts.message("assistant", said), reason, found)


def _add_answer(answer: Json, reason: Json, reader: Reader, found: Conversation) -> None:
    if isinstance(answer, str):
        said = parts.message("assistant", parts_of(answer, reader))
        _add_message(said, reason, found)
    elif (message := message_of(answer, "assistant", reader)) is not None:
        _add_message(message, reason, found)


def _add_message(message: Message, reason: Json, found: Conversation) -> None:
    if spelled := _text(reason):
        message["finish_reason"] = parts.schema_reason(spelled)
        found.finish_reasons.append(spelled)
    found.messages.append(message)


def _messages(items: list[Json], role: str, reader: Reader) -> Iterable[Message]:
    loose: list[Part] = []
    for entry in items:
        # Attributes hold lists of texts only: so each message of a list may be JSON of its own.
        inner = reader.looks_structured(entry) if isinstance(entry, str) else None
        item = inner if isinstance(inner, dict) and "role" in inner else entry
        if isinstance(item, list) and not _is_pair(item):
            yield from _messages(item, role, reader)
        elif (message := message_of(item, None, reader)) is not None:
            yield message
        elif isinstance(item, dict) or (isinstance(item, str) and len(items) == 1):
            # Parts that stand without a message are one message of whoever speaks here.
            loose.extend(parts_of(item, reader))
        elif item is not None:
            reader.mark("unparsable")
    if loose:
        yield parts.message(role, loose)


def _is_pair(item: list[Json]) -> bool:
    return len(item) == 2 and all(isinstance(word, str) for word in item)


def message_of(item: Json, role: str | None, reader: Reader) -> Message | None:
    """Return one message; None for what is none. `role` is taken where a message does not say its own."""
    if isinstance(item, list) and _is_pair(item):
        return parts.message(item[0], parts_of(item[1], reader))
    if not isinstance(item, dict):
        return None
    fields, own_role = _unwrap(item)
    own_role = own_role or _text(fields.get("role"))
    if own_role is None:
        kind = fields.get("type")
        own_role = _ITEM_ROLES.get(kind) if isinstance(kind, str) else None
        if own_role is not None:
            return parts.message(own_role, parts_of(fields, reader))
        if isinstance(kind, str) and kind.endswith("_call"):
            return parts.message("assistant", parts_of(fields, reader))
        own_role = role
    if own_role is None:
        return None
    name = _text(fields.get("name"))
    made = parts.message(own_role, _parts(fields, parts.ROLES.get(own_role, own_role), reader), name)
    if reason := _text(fields.get("finish_reason")):
        made["finish_reason"] = parts.schema_reason(reason)
    return made


def _unwrap(item: dict[str, Json]) -> tuple[dict[str, Json], str | None]:
    """Take a message out of LangChain's serialisation; returns its fields and role."""
    kwargs, path = item.get("kwargs"), item.get("id")
    if isinstance(kwargs, dict) and isinstance(path, list) and path and isinstance(path[-1], str):
        role = next((role for prefix, role in _LANGCHAIN_CLASS if path[-1].startswith(prefix)), None)
        return kwargs, role or _text(kwargs.get("role"))
    data, kind = item.get("data"), item.get("type")
    if isinstance(data, dict) and isinstance(kind, str) and "content" in data:
        return data, kind if kind != "chat" else _text(data.get("role"))
    if "role" not in item and "content" in item and isinstance(kind, str) and kind not in BY_TYPE and kind != "message":
        # LangChain's `model_dump`: the type of a message is its role.
        return item, kind if kind in parts.ROLES or kind in ("system", "tool", "user", "assistant") else None
    return item, None


def _parts(fields: dict[str, Json], role: str, reader: Reader) -> list[Part]:
    own = fields.get("parts")
    if isinstance(own, list):
        return _beside(fields, role, parts_of(own, reader), reader)
    content = _content(fields)
    if role == "tool" and not _holds_responses(content):
        extra = fields.get("additional_kwargs")
        kept = extra.get("tool_call_id") if isinstance(extra, dict) else None
        call_id = _text(fields.get("tool_call_id")) or _text(fields.get("id")) or _text(kept)
        return [parts.tool_call_response(call_id, response_of(content, reader))]
    said: list[Part] = []
    for key in ("reasoning_content", "reasoning", "thinking"):
        if isinstance(fields.get(key), str) and reader.said(fields[key]):
            said.append(parts.reasoning(fields[key]))
            break
    said.extend(parts_of(content, reader))
    if isinstance(fields.get("refusal"), str) and reader.said(fields["refusal"]):
        said.append({"type": "refusal", "content": fields["refusal"]})
    _add_calls(fields, said, reader)
    if not said and content is None and not fields.keys() <= _ENVELOPE:
        reader.mark("gap")  # it says something, in a place that we do not know
    return said


def _beside(fields: dict[str, Json], role: str, said: list[Part], reader: Reader) -> list[Part]:
    """Add to a message's parts what LiteLLM leaves beside them, as OpenAI has it: calls, and whose result a text is."""
    call_id = _text(fields.get("tool_call_id"))
    if role == "tool" and call_id is not None and all(part["type"] == "text" for part in said):
        text = "".join(part["content"] for part in said if isinstance(part["content"], str))
        return [parts.tool_call_response(call_id, response_of(text, reader))]
    _add_calls(fields, said, reader)
    return said


def _add_calls(fields: dict[str, Json], said: list[Part], reader: Reader) -> None:
    known = {part.get("id") for part in said if part["type"] == "tool_call"}
    for call in _calls(fields):
        said.extend(part for part in tool_call_of(call, reader) if not known or part.get("id") not in known)


_ENVELOPE: Final = frozenset(("role", "type", "id", "name", "content", "finish_reason", "additional_kwargs"))
"""Fields of a message that are nothing it says."""


def _content(fields: dict[str, Json]) -> Json:
    """Return what a message says: LlamaIndex has `blocks`, Cohere a `message`, others a `text`."""
    content = fields.get("content")
    if content is None and isinstance(blocks := fields.get("blocks"), list):
        return [
            {"type": block["block_type"], **block} if isinstance(block, dict) and "block_type" in block else block
            for block in blocks
        ]
    if content is None:
        return next((said for key in ("text", "message") if (said := _text(fields.get(key))) is not None), None)
    return content


def _holds_responses(content: Json) -> bool:
    return isinstance(content, list) and any(
        isinstance(block, dict) and (block.get("type") in _RESPONSES or any(key in block for key in RESPONSE_KEYS))
        for block in content
    )


_RESPONSES: Final = ("tool_result", "tool-result", "tool_call_response", "function_call_output")


def _calls(fields: dict[str, Json]) -> list[dict[str, Json]]:
    extra = fields.get("additional_kwargs")
    for source in (fields, extra if isinstance(extra, dict) else {}):
        calls = source.get("tool_calls")
        if isinstance(calls, list) and calls:
            return [call for call in calls if isinstance(call, dict)]
        if isinstance(source.get("function_call"), dict):
            return [source["function_call"]]
    return []


def _text(value: Json) -> str | None:
    return value if isinstance(value, str) and value else None

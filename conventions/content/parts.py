"""Messages and their parts as the conventions define them, and whether a value is one.

Source: `model/gen-ai/gen-ai-input-messages.json` of open-telemetry/semantic-conventions-genai at 6fd0d763.
The schema also takes any object with a `type`; here the well-known types must have their required fields.
"""

from __future__ import annotations

from typing import Final, TypeAlias

from spanledger.conventions.content.parse import Json
from spanledger.conventions.finish_reasons import normalize

Part: TypeAlias = dict[str, Json]
Message: TypeAlias = dict[str, Json]

ROLES: Final = {
    "human": "user",
    "ai": "assistant",
    "model": "assistant",
    "chatbot": "assistant",
    "function": "tool",
    "AIMessageChunk": "assistant",
    "HumanMessageChunk": "user",
    "SystemMessageChunk": "system",
    "ToolMessageChunk": "tool",
}
"""Roles of model APIs and frameworks that the conventions call differently; any other stays as it is."""

_REQUIRED: Final[dict[str, tuple[str, ...]]] = {
    "text": ("content",),
    "reasoning": ("content",),
    "tool_call": ("name",),
    "tool_call_response": (),
    "server_tool_call": ("name",),
    "server_tool_call_response": (),
    "blob": ("modality", "content"),
    "file": ("modality", "file_id"),
    "uri": ("modality", "uri"),
    "compaction": (),
}
"""Text fields that a part of a well-known type must have."""

_NESTED: Final = {"server_tool_call", "server_tool_call_response"}
_OPTIONAL_TEXT: Final = ("id", "mime_type")


def message(role: str, parts: list[Part], name: str | None = None) -> Message:
    """Return a message; `role` may be a provider's."""
    made: Message = {"role": ROLES.get(role, role), "parts": parts}
    if name:
        made["name"] = name
    return made


def text(content: str) -> Part:
    """Return a text part."""
    return {"type": "text", "content": content}


def reasoning(content: str) -> Part:
    """Return a part with what a model thought."""
    return {"type": "reasoning", "content": content}


def tool_call(name: str | None, call_id: str | None, arguments: Json) -> Part:
    """Return a part for a tool that the model wants called.

    A call whose name did not arrive is no `tool_call` by the schema; its rest is kept under another type.
    """
    made: Part = {"type": "tool_call" if name else "tool_call_without_name"}
    if call_id:
        made["id"] = call_id
    if name:
        made["name"] = name
    if arguments is not None:
        made["arguments"] = arguments
    return made


def tool_call_response(call_id: str | None, response: Json) -> Part:
    """Return a part with what a tool answered; `response` None when the span does not say."""
    made: Part = {"type": "tool_call_response"}
    if call_id:
        made["id"] = call_id
    made["response"] = response
    return made


def server_tool_call(name: str, call_id: str | None, details: dict[str, Json]) -> Part:
    """Return a part for a tool that the provider ran itself; `details` needs no `type`."""
    made: Part = {"type": "server_tool_call", "name": name, "server_tool_call": {"type": name, **details}}
    if call_id:
        made["id"] = call_id
    return made


def server_tool_call_response(kind: str, call_id: str | None, details: dict[str, Json]) -> Part:
    """Return a part with what the provider's own tool answered."""
    made: Part = {"type": "server_tool_call_response", "server_tool_call_response": {"type": kind, **details}}
    if call_id:
        made["id"] = call_id
    return made


def blob(content: str, mime_type: str | None, modality: str | None = None) -> Part:
    """Return a part with inline data, base64 as it came."""
    made: Part = {"type": "blob", "modality": modality or modality_of(mime_type), "content": content}
    if mime_type:
        made["mime_type"] = mime_type
    return made


def file(file_id: str, modality: str = "document", mime_type: str | None = None) -> Part:
    """Return a part that names a file the provider has."""
    made: Part = {"type": "file", "modality": modality, "file_id": file_id}
    if mime_type:
        made["mime_type"] = mime_type
    return made


def media(url: str, modality: str | None = None, mime_type: str | None = None) -> Part:
    """Return a blob for a base64 data URL, a uri for any other. Nothing behind the header is looked at."""
    if url[:5].lower() == "data:":
        header, comma, data = url[5:].partition(",")
        kind, *parameters = header.split(";")
        if comma and "base64" in parameters:
            return blob(data, kind or mime_type, None if kind else modality)
    made: Part = {"type": "uri", "modality": modality or modality_of(mime_type), "uri": url}
    if mime_type:
        made["mime_type"] = mime_type
    return made


def other(kind: Json, fields: dict[str, Json]) -> Part:
    """Return a part of a type that the conventions do not know, with the fields it came with.

    Something that only calls itself a well-known type, and lacks what that needs, gets another type.
    """
    made: Part = {**fields, "type": kind if isinstance(kind, str) and kind else "unknown"}
    return made if valid_part(made) else {**made, "type": f"unknown_{made['type']}"}


def schema_reason(spelled: str) -> str:
    """Return the message schema's word for a provider's finish reason; one without an equivalent stays as it is."""
    known = normalize((spelled,))
    return str(known[0]) if len(known) == 1 else spelled


def modality_of(mime_type: str | None) -> str:
    """Return the modality that a MIME type belongs to."""
    family = (mime_type or "").partition("/")[0]
    return family if family in ("image", "video", "audio") else "document"


def valid_part(part: Json) -> bool:
    """Tell whether a value is a part: any object with a `type`, the well-known ones with their fields."""
    if not isinstance(part, dict) or not isinstance(part.get("type"), str):
        return False
    kind = part["type"]
    required = _REQUIRED.get(kind)
    if required is None:
        return True
    if not all(isinstance(part.get(field), str) for field in required):
        return False
    if not all(isinstance(part.get(field), str | None) for field in _OPTIONAL_TEXT):
        return False
    if kind == "tool_call_response":
        return "response" in part
    if kind == "compaction":
        return isinstance(part.get("content"), str | None)
    if kind in _NESTED:
        nested = part.get(kind)
        return isinstance(nested, dict) and isinstance(nested.get("type"), str)
    return True


def valid_messages(value: Json) -> bool:
    """Tell whether a value is a list of messages by the conventions, well-known parts checked strictly."""
    return isinstance(value, list) and all(
        isinstance(item, dict)
        and isinstance(item.get("role"), str)
        and isinstance(item.get("name"), str | None)
        and isinstance(item.get("finish_reason"), str | None)
        and isinstance(item.get("parts"), list)
        and all(valid_part(part) for part in item["parts"])
        for item in value
    )

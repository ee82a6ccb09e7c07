"""The parts of a message as model APIs and frameworks write them, as parts of the conventions.

Anthropic, OpenAI (chat and responses), Gemini, Bedrock Converse, LangChain and the AI SDK name their parts
by a `type` or by their only key; the two tables at the end list them. A part that is in neither table
is kept as it is: the conventions allow any `type`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeAlias

from spanledger.conventions.content import parts
from spanledger.conventions.content.parse import Json, Reader
from spanledger.conventions.content.parts import Part

_Item: TypeAlias = dict[str, Json]
_Convert: TypeAlias = Callable[[_Item, Reader], "list[Part] | None"]
"""None: it only looks like that part, keep it as it is."""


def parts_of(content: Json, reader: Reader) -> list[Part]:
    """Return the parts of a message's content: a text, a part, or a list of both."""
    if isinstance(content, str):
        return [parts.text(content)] if reader.said(content) else []
    if isinstance(content, dict):
        return part_of(content, reader)
    if isinstance(content, list):
        return [part for item in content for part in parts_of(item, reader)]
    said = reader.text(content)
    return [] if said is None else [parts.text(said)]


def part_of(item: _Item, reader: Reader) -> list[Part]:
    """Return one provider's part as parts of the conventions; most give one, a placeholder none."""
    kind = item.get("type")
    if isinstance(kind, str) and kind:
        convert = BY_TYPE.get(kind) or _by_suffix(kind)
        made = convert(item, reader) if convert else None
        return [parts.other(kind, item)] if made is None else made
    for key, convert in BY_KEY:
        if item.get(key) is not None:
            made = convert(item, reader)
            if made is not None:
                return made
    if "content" in item:
        return parts_of(item["content"], reader)
    return [parts.other(next(iter(item)) if len(item) == 1 else None, item)] if item else []


def recognised(items: Json) -> bool:
    """Tell whether a value is a list of nothing but parts that we know: JSON in a text that means parts."""
    return isinstance(items, list) and bool(items) and all(isinstance(item, dict) and _known(item) for item in items)


def _known(item: _Item) -> bool:
    kind = item.get("type")
    if isinstance(kind, str):
        return kind in BY_TYPE
    return any(key in item for key, _ in BY_KEY)


def tool_call_of(call: _Item, reader: Reader) -> list[Part]:
    """Return a call of a tool: OpenAI's with `function`, or any that says name and arguments itself."""
    inner = call.get("function")
    spec = inner if isinstance(inner, dict) else call
    arguments = next((spec[key] for key in _ARGUMENTS if spec.get(key) is not None), None)
    name = _first(spec, "name", "toolName", "tool_name")
    call_id = _first(call, "call_id", "id", "toolCallId", "toolUseId", "tool_call_id", "ref")
    if name is None and call_id is None and arguments is None:
        return []
    if name is None:
        reader.mark("gap")
    return [parts.tool_call(name, call_id, _arguments(arguments, reader))]


def response_of(content: Json, reader: Reader) -> Json:
    """Return what a tool answered, out of the blocks that carry it: one block is its text or JSON itself."""
    if isinstance(content, list) and len(content) == 1 and isinstance(content[0], dict):
        block = content[0]
        if block.get("type") in ("text", None) and set(block) <= _TEXT_BLOCK:
            return reader.response(block.get("text"))
        if set(block) == {"json"}:
            return block["json"]
    return reader.response(content) if isinstance(content, str) else content


def _arguments(value: Json, reader: Reader) -> Json:
    if not isinstance(value, str):
        return value
    return reader.arguments(value) if value else None


RESPONSE_KEYS: Final = ("functionResponse", "function_response", "toolResult", "toolResponse", "tool_call_result")
"""Keys of parts that hold what a tool answered and name no type."""

_TEXT_BLOCK: Final = {"type", "text", "annotations", "id", "meta", "cache_control"}
_ARGUMENTS: Final = ("arguments", "args", "input", "tool_kwargs")


def _first(item: _Item, *keys: str) -> str | None:
    for key in keys:
        value = item.get(key)
        if isinstance(value, str) and value:
            return value
    return None


def _text(item: _Item, reader: Reader) -> list[Part] | None:
    for key in ("text", "content"):
        value = item.get(key)
        if isinstance(value, str):
            return [parts.text(value)] if reader.said(value) else []
        if isinstance(value, dict) and isinstance(value.get("value"), str):
            return [parts.text(value["value"])]
        if isinstance(value, list):
            return parts_of(value, reader)
    return []


def _reasoning(item: _Item, reader: Reader) -> list[Part] | None:
    thought = item
    nested = item.get("reasoningContent")
    if isinstance(nested, dict):
        inner = nested.get("reasoningText")
        thought = inner if isinstance(inner, dict) else nested
    found = _first(thought, "thinking", "reasoning", "text", "content")
    if found is None:
        summary = item.get("summary") or item.get("content")
        blocks = summary if isinstance(summary, list) else []
        texts = [block["text"] for block in blocks if isinstance(block, dict) and isinstance(block.get("text"), str)]
        found = "\n".join(texts)
    if found:
        return [parts.reasoning(found)] if reader.said(found) else []
    # Only an encrypted or signed token: it is no text that was thought.
    kind = str(item.get("type") or "reasoning_content")
    return [parts.other("encrypted_reasoning" if kind == "reasoning" else kind, item)]


def _gemini_text(item: _Item, reader: Reader) -> list[Part] | None:
    value = item["text"]
    if not isinstance(value, str):
        return None
    if not reader.said(value):
        return []
    return [parts.reasoning(value) if item.get("thought") is True else parts.text(value)]


def _refusal(item: _Item, reader: Reader) -> list[Part] | None:
    said = reader.text(item.get("refusal"))
    return [] if said is None else [{"type": "refusal", "content": said}]


def _keyed_call(item: _Item, reader: Reader) -> list[Part] | None:
    call = _nested(item, "functionCall", "function_call", "toolUse", "toolRequest", "tool_call")
    return tool_call_of(call, reader) if call else None


def _keyed_response(item: _Item, reader: Reader) -> list[Part] | None:
    answer = _nested(item, *RESPONSE_KEYS)
    if not answer:
        return None
    asked = _nested(answer, "origin") or {}  # Haystack repeats the call within
    call_id = _first({**asked, **answer}, "id", "toolUseId", "ref")
    said = next((answer[key] for key in ("response", "content", "output", "result") if key in answer), None)
    return [parts.tool_call_response(call_id, response_of(said, reader))]


def _tool_result(item: _Item, reader: Reader) -> list[Part] | None:
    call_id = _first(item, "tool_use_id", "toolCallId", "tool_call_id", "call_id", "id")
    answer = next((item[key] for key in ("response", "output", "result", "content") if item.get(key) is not None), None)
    # The AI SDK says how the answer is meant: {"type": "json", "value": ...}.
    if isinstance(answer, dict) and set(answer) == {"type", "value"}:
        answer = answer["value"]
    return [parts.tool_call_response(call_id, response_of(answer, reader))]


def _server_call(item: _Item, reader: Reader) -> list[Part] | None:
    kind = str(item["type"])
    own_name = {"server_tool_use", "mcp_tool_use", "mcp_call"}
    name = _first(item, "name") if kind in own_name else kind.removesuffix("_call")
    details = {key: value for key, value in item.items() if key not in ("type", "id", "name")}
    return [parts.server_tool_call(name or kind, _first(item, "id"), details)]


def _server_response(item: _Item, reader: Reader) -> list[Part] | None:
    details = {key: value for key, value in item.items() if key not in ("type", "tool_use_id")}
    return [parts.server_tool_call_response(str(item["type"]), _first(item, "tool_use_id"), details)]


def _media(modality: str) -> _Convert:
    """Make the converter for a part that holds or names data of one modality."""

    def convert(item: _Item, reader: Reader) -> list[Part] | None:
        mime_type = _first(item, "mime_type", "media_type", "mediaType", "mimeType")
        if (file_id := _first(item, "file_id")) is not None:
            return [parts.file(file_id, modality, mime_type)]
        source = item.get("source")
        if isinstance(source, dict):
            return _source(source, modality)
        # OpenAI nests what it names under the type, LangChain and the AI SDK write it flat.
        inner = _nested(item, "image_url", "input_audio", "audio_url", "video_url", "file", "image", "audio")
        fields = inner or item
        if (file_id := _first(fields, "file_id")) is not None:
            return [parts.file(file_id, modality, mime_type)]
        link = _first(fields, "url", "image_url", "audio_url", "video_url", "file_url", "uri")
        data = link or _first(fields, "data", "base64", "image", "file_data")
        if data is None:
            return None
        if not reader.said(data):
            return []
        if link or data[:5].lower() == "data:" or "://" in data[:16]:
            return [parts.media(data, modality, mime_type)]
        if mime_type is None and (shape := _first(fields, "format")) is not None:
            mime_type = f"{modality}/{shape}"
        return [parts.blob(data, mime_type, parts.modality_of(mime_type) if mime_type else modality)]

    return convert


def _source(source: _Item, modality: str) -> list[Part] | None:
    mime_type = _first(source, "media_type")
    if (file_id := _first(source, "file_id")) is not None:
        return [parts.file(file_id, modality, mime_type)]
    if (url := _first(source, "url", "uri")) is not None:
        return [parts.media(url, modality, mime_type)]
    data = _first(source, "data", "bytes")
    if data is None:
        return None
    if source.get("type") == "text":
        return [parts.text(data)]
    return [parts.blob(data, mime_type, modality)]


def _inline_data(item: _Item, _reader: Reader) -> list[Part] | None:
    inline = _nested(item, "inlineData", "inline_data")
    if inline and (data := _first(inline, "data")) is not None:
        return [parts.blob(data, _first(inline, "mimeType", "mime_type"))]
    return None


def _file_data(item: _Item, _reader: Reader) -> list[Part] | None:
    named = _nested(item, "fileData", "file_data")
    if named and (uri := _first(named, "fileUri", "file_uri")) is not None:
        return [parts.media(uri, None, _first(named, "mimeType", "mime_type"))]
    return None


def _keyed_media(key: str, modality: str) -> _Convert:
    """Make the converter for Bedrock's `{"image": {"format": "png", "source": {...}}}`."""

    def convert(item: _Item, _reader: Reader) -> list[Part] | None:
        fields = item[key]
        source = fields.get("source") if isinstance(fields, dict) else None
        if not isinstance(source, dict):
            return None
        shape = _first(fields, "format")
        mime_type = f"{modality}/{shape}" if shape and modality != "document" else None
        location = _nested(source, "s3Location")
        if location and (uri := _first(location, "uri")) is not None:
            return [parts.media(uri, modality, mime_type)]
        data = _first(source, "bytes")
        return None if data is None else [parts.blob(data, mime_type, modality)]

    return convert


def _as_it_is(_item: _Item, _reader: Reader) -> list[Part] | None:
    """Keep a part that is the conventions' own."""
    return None


def _nested(item: _Item, *keys: str) -> _Item | None:
    for key in keys:
        value = item.get(key)
        if isinstance(value, dict):
            return value
    return None


def _by_suffix(kind: str) -> _Convert | None:
    # web_search_call, web_search_tool_result, ...: providers add such tools every few months.
    if kind.endswith("_tool_result"):
        return _server_response
    return _server_call if kind.endswith("_call") else None


BY_TYPE: Final[dict[str, _Convert]] = {
    **dict.fromkeys(("text", "input_text", "output_text", "summary_text"), _text),
    **dict.fromkeys(("reasoning", "thinking", "reasoning_text", "redacted_thinking", "reasoning_content"), _reasoning),
    **dict.fromkeys(("tool_use", "tool_call", "tool-call", "function_call", "custom_tool_call"), tool_call_of),
    "function": tool_call_of,
    **dict.fromkeys(("tool_result", "tool-result", "tool_call_response"), _tool_result),
    **dict.fromkeys(("function_call_output", "custom_tool_call_output"), _tool_result),
    "refusal": _refusal,
    **dict.fromkeys(("image", "image_url", "input_image"), _media("image")),
    **dict.fromkeys(("audio", "audio_url", "input_audio"), _media("audio")),
    **dict.fromkeys(("video", "video_url"), _media("video")),
    **dict.fromkeys(("document", "input_file", "media"), _media("document")),
    "file": lambda item, reader: None if parts.valid_part(item) else _media("document")(item, reader),
    **dict.fromkeys(("server_tool_use", "mcp_tool_use"), _server_call),
    **dict.fromkeys(("blob", "uri", "server_tool_call", "server_tool_call_response", "compaction"), _as_it_is),
}
BY_KEY: Final[tuple[tuple[str, _Convert], ...]] = (
    ("text", _gemini_text),
    ("toolUse", _keyed_call),
    ("functionCall", _keyed_call),
    ("function_call", _keyed_call),
    ("toolRequest", _keyed_call),
    ("tool_call", _keyed_call),
    *((key, _keyed_response) for key in RESPONSE_KEYS),
    ("reasoningContent", _reasoning),
    ("reasoning", _reasoning),
    ("inlineData", _inline_data),
    ("inline_data", _inline_data),
    ("fileData", _file_data),
    ("file_data", _file_data),
    ("image", _keyed_media("image", "image")),
    ("video", _keyed_media("video", "video")),
    ("audio", _keyed_media("audio", "audio")),
    ("document", _keyed_media("document", "document")),
)

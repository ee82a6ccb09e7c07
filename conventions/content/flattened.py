"""Messages and other lists spread over attributes whose keys hold the indices.

OpenInference (`llm.input_messages.0.message.role`), OpenLLMetry until 2025 and its descendants
(`gen_ai.prompt.0.content`), and the lists they flatten the same way. Keys come in any order, with gaps
where an attribute limit dropped the oldest, and with indices that an attacker chose.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final, NamedTuple, TypeAlias

from spanledger.conventions.content import parts
from spanledger.conventions.content.parse import Json, Reader
from spanledger.conventions.content.parts import Message, Part
from spanledger.conventions.content.provider_parts import (
    part_of,
    parts_of,
    recognised,
    response_of,
    tool_call_of,
)
from spanledger.conventions.span_attributes import by_keys
from spanledger.conventions.values import Attributes, Value

MAX_KEYS: Final = 5_000
"""Flattened attributes of one span that are read; more is marked `limit`."""
MAX_INDEX: Final = 100_000
"""Indices from here on are nobody's: such a key is left alone and marked `limit`."""

_NOBODY: Final = "unknown"
_ONLY: Final = ""
"""Stands for the index of a call that a message can have one of: OpenAI's first function calls."""
_RUN_BY_PROVIDER: Final = frozenset({
    "web_search_call", "file_search_call", "code_interpreter_call", "image_generation_call",
})  # fmt: skip
"""Items of an answer of OpenAI that OpenInference lists among the calls that it asks for, by their type."""

Fields: TypeAlias = dict[str, Value]
"""Rest of the key -> value, of one item of a list."""
Lists: TypeAlias = dict[str, dict[int, Fields]]
"""List, by its prefix without the first word -> index -> rest of the key -> value."""

PREFIXES: Final = (
    "gen_ai.completion.",
    "gen_ai.input.messages.",
    "gen_ai.output.messages.",
    "gen_ai.prompt.",
    "gen_ai.request.tools.",
    "gen_ai.tool.definitions.",
    "llm.choices.",
    "llm.completions.",
    "llm.input_messages.",
    "llm.output_messages.",
    "llm.prompts.",
    "llm.request.functions.",
    "llm.tools.",
    "retrieval.documents.",
)
"""Every list that is read here."""

_TWO_WORDS: Final = frozenset(("input", "output", "request", "tool"))
"""First words of lists that are called by two."""

# Nearly every index that occurs, so that reading one is a dict look-up.
_INDICES: Final = {str(index): index for index in range(1000)}


class _Spot(NamedTuple):
    """Where an attribute belongs."""

    name: str
    """Of the list."""
    at: int
    rest: str
    key: str


def gather(attributes: Attributes, reader: Reader) -> Lists:
    """Sort the flattened attributes of a span into their lists."""
    lists: Lists = {}
    spots, is_whole = by_keys(attributes, _spots)
    if not is_whole:
        reader.mark("limit")
    for name, index, rest, key in spots:
        items = lists.get(name)
        if items is None:
            items = lists[name] = {}
        fields = items.get(index)
        if fields is None:
            fields = items[index] = {}
        fields[rest] = attributes[key]
    return lists


def _spots(keys: Collection[str]) -> tuple[list[_Spot], bool]:
    """Return where flattened attributes belong, and whether that is all of them."""
    spots: list[_Spot] = []
    is_whole = True
    left = MAX_KEYS
    for key in keys:
        if not key.startswith(PREFIXES):
            continue
        left -= 1
        if left < 0:
            is_whole = False
            break
        words = key.split(".", 3)
        name = words[1]
        if name in _TWO_WORDS:
            name = f"{name}.{words[2]}"
            words = key.split(".", 4)[1:]
        index = _INDICES.get(words[2])
        if index is None:
            # Only as it is written by a program: "01" would collide with "1".
            number = words[2]
            if not (number.isascii() and number.isdecimal()) or number[0] == "0":
                continue
            if len(number) > 6 or int(number) >= MAX_INDEX:
                is_whole = False
                continue
            index = int(number)
        spots.append(_Spot(name, index, words[3] if len(words) > 3 else "", key))
    return spots, is_whole


def in_order(items: dict[int, Fields], reader: Reader) -> list[Fields]:
    """Return the items of a list by index, and mark what is missing between them.

    Read their fields sorted: should two keys mean the same, it must not matter which came first.
    """
    order = sorted(items)
    if order[-1] != len(order) - 1:
        reader.mark("gap")
    return [items[index] for index in order]


def messages(items: dict[int, Fields], reader: Reader, role: str | None = None) -> list[Message]:
    """Return messages of either flattening; `role` is whose list it is, where a message does not say."""
    made = [message(fields, reader, role) for fields in in_order(items, reader)]
    # Nothing in such a one was known as part of a message.
    return [said for said in made if said["parts"] or said["role"] != _NOBODY]


def message(fields: Fields, reader: Reader, default_role: str | None = None) -> Message:
    """Return one message from the rests of its keys."""
    if len(fields) == 2 and (simple := _simple(fields, reader)) is not None:
        return simple
    content: Value = None
    role: Value = None
    call_id: str | None = None
    name: str | None = None
    reason: str | None = None
    calls: dict[str, Fields] = {}
    blocks: dict[str, Fields] = {}
    texts: dict[str, Value] = {}
    said: list[Part] = []
    answers: list[Part] = []
    for key, value in sorted(fields.items()):
        word = key.removeprefix("message.")
        if word == "role":
            role = value
        elif word == "content":
            content = value
        elif word.startswith("tool_calls."):
            number, field = _split(word)
            calls.setdefault(number, {})[field.rpartition(".")[2]] = value
        elif word.startswith("contents."):
            number, field = _split(word)
            blocks.setdefault(number, {})[field] = value
        elif word == "tool_call_id":
            call_id = reader.text(value)
        elif word == "name":
            name = reader.text(value)
        elif word == "finish_reason":
            reason = reader.text(value)
        elif word.startswith("content."):
            texts[word[8:]] = value
        elif word in ("function_call_name", "function_call.name"):
            calls.setdefault(_ONLY, {})["name"] = value
        elif word in ("function_call_arguments_json", "function_call.arguments"):
            calls.setdefault(_ONLY, {})["arguments"] = value
        elif word in ("reasoning", "reasoning_content"):
            if (thought := reader.text(value)) is not None:
                said.append(parts.reasoning(thought))
        elif word.startswith("function."):
            answers.extend(_answer(value, reader))
    if len(calls) > 1:
        calls.pop(_ONLY, None)  # the last of those listed, in older words: LangChain's models of Google have both
    spoken_by = _role(role, default_role, calls, call_id, reader)
    if spoken_by != "tool":
        said.extend(_said(content, texts, blocks, reader))
        if calls:
            said.extend(_calls(calls, said, reader))
    elif not answers:
        said.append(parts.tool_call_response(call_id, _response(content, texts, blocks, reader)))
    made = parts.message(spoken_by, said + answers, name)
    if reason is not None:
        made["finish_reason"] = parts.schema_reason(reason)
    return made


def _simple(fields: Fields, reader: Reader) -> Message | None:
    """Return a message of a role and a text, as most are; None if it is not as simple as that."""
    role = fields.get("message.role", fields.get("role"))
    content = fields.get("message.content", fields.get("content"))
    if role in ("user", "assistant", "system") and isinstance(content, str) and content[:1] != "[":
        return {"role": role, "parts": [parts.text(content)] if reader.said(content) else []}
    return None


def _role(role: Value, default: str | None, calls: dict[str, Fields], call_id: str | None, reader: Reader) -> str:
    if isinstance(role, str) and role:
        return parts.ROLES.get(role, role)
    if default is not None:
        return default
    # The attribute limit took the oldest keys, the role first; what is left tells who spoke, or nobody knows.
    reader.mark("gap")
    if call_id is not None:
        return "tool"
    return "assistant" if calls else _NOBODY


def _said(content: Value, texts: dict[str, Value], blocks: dict[str, Fields], reader: Reader) -> list[Part]:
    listed = [part for number in _numeric(blocks) for part in part_of(_block(blocks[number], reader), reader)]
    plain: list[Part] = []
    if isinstance(content, str):
        found = reader.looks_structured(content) if content[:1] == "[" else None
        plain = parts_of(found if recognised(found) else content, reader)
    elif content is not None:
        plain = parts_of(reader.plain(content), reader)
    for number in _numeric(texts):
        plain.extend(parts_of(reader.plain(texts[number]), reader))
    if not listed:
        return plain
    # Some instrumentations write the text twice, as content and among the contents.
    known = {part.get("content") for part in listed if part["type"] == "text"}
    return [part for part in plain if part["type"] != "text" or part["content"] not in known] + listed


def _calls(calls: dict[str, Fields], said: list[Part], reader: Reader) -> list[Part]:
    made = [part for number in _numeric(calls) for part in _call(_plain(calls[number], reader), reader)]
    # Anthropic's instrumentation writes each call twice, in order among the contents and here.
    known = {_identity(part) for part in said if part["type"].startswith("tool_call")}
    return [part for part in made if _identity(part) not in known]


def _call(fields: dict[str, Json], reader: Reader) -> list[Part]:
    name = fields.get("name")
    if isinstance(name, str) and name in _RUN_BY_PROVIDER and "arguments" not in fields:
        return part_of({"type": name, "id": fields.get("id")}, reader)
    return tool_call_of(fields, reader)


def _identity(part: Part) -> str | None:
    identity: str | None = part.get("id") or part.get("name")
    return identity


def _block(fields: Fields, reader: Reader) -> dict[str, Json]:
    """Return a content block of OpenInference as the provider's part it was made from."""
    made: dict[str, Json] = {}
    for key, value in _plain(fields, reader).items():
        word = key.removeprefix("message_content.")
        if word.startswith(("image.", "audio.", "tool_call.", "document.")):
            made[word.rpartition(".")[2]] = value
        elif word:
            made[word] = value
    if made.get("type") == "reasoning" and "data" in made:
        made["type"] = "redacted_thinking"
    return made


def _answer(value: Value, reader: Reader) -> list[Part]:
    """Return the result of a call as AutoGen's instrumentation writes it: `function.0` with a JSON record."""
    record = reader.document(value)
    if not isinstance(record, dict):
        return []
    call_id = record.get("call_id")
    answer = record.get("content")
    return [parts.tool_call_response(call_id if isinstance(call_id, str) else None, response_of(answer, reader))]


def _response(content: Value, texts: dict[str, Value], blocks: dict[str, Fields], reader: Reader) -> Json:
    if content is None and (blocks or texts):
        listed = [_block(blocks[number], reader) for number in _numeric(blocks)]
        return response_of(listed or [{"text": reader.text(texts[number])} for number in _numeric(texts)], reader)
    return reader.response(content) if isinstance(content, str) else response_of(reader.plain(content), reader)


def _plain(fields: Fields, reader: Reader) -> dict[str, Json]:
    return {key: value if isinstance(value, str) else reader.plain(value) for key, value in fields.items()}


def _split(word: str) -> tuple[str, str]:
    """Return number and rest of `tool_calls.0.tool_call.id`."""
    words = word.split(".", 2)
    return words[1], words[2] if len(words) > 2 else ""


def _numeric(items: dict[str, Fields] | dict[str, Value]) -> list[str]:
    if len(items) < 2:
        return list(items)
    return sorted(items, key=lambda number: (not number.isdecimal(), len(number), number))


def prompts(items: dict[int, Fields], reader: Reader) -> list[Message]:
    """Return the prompts of a text completion, or of the oldest Traceloop flattening, as user messages."""
    return [_completion(fields, "prompt.text", "user", reader) for fields in in_order(items, reader)]


def choices(items: dict[int, Fields], reader: Reader) -> list[Message]:
    """Return the answers of a text completion."""
    return [_completion(fields, "completion.text", "assistant", reader) for fields in in_order(items, reader)]


def _completion(fields: Fields, key: str, role: str, reader: Reader) -> Message:
    if key in fields:
        said = reader.text(fields[key])
        return parts.message(role, [] if said is None else [parts.text(said)])
    return message(fields, reader, role)

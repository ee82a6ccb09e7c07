"""Definitions of tools, and what goes into and comes out of them."""

from __future__ import annotations

from functools import lru_cache
from typing import Final, TypeAlias

from spanledger.conventions.content.flattened import Fields, in_order
from spanledger.conventions.content.parse import Json, Mark, Reader
from spanledger.conventions.content.provider_parts import response_of
from spanledger.conventions.values import Value

Definition: TypeAlias = dict[str, Json]

_SCHEMA_KEYS: Final = ("parameters", "input_schema", "inputSchema", "parametersJsonSchema", "args_schema", "schema")


def definitions_of(tools: Json) -> list[Definition]:
    """Return tool definitions of the conventions from any provider's list of tools; those without a name fall out."""
    if isinstance(tools, dict):
        tools = tools.get("tools") or [tools]
    if not isinstance(tools, list):
        return []
    return [made for tool in tools if isinstance(tool, dict) for made in _definitions(tool)]


def _definitions(tool: Definition) -> list[Definition]:
    for key in ("functionDeclarations", "function_declarations"):
        if isinstance(tool.get(key), list):
            return [made for inner in tool[key] if isinstance(inner, dict) for made in _definitions(inner)]
    for key in ("function", "toolSpec"):
        if isinstance(tool.get(key), dict):
            return _definition(tool[key], "function")
    kind = tool.get("type")
    return _definition(tool, kind if isinstance(kind, str) and kind not in ("custom", "object") else "function")


def _definition(spec: Definition, kind: str) -> list[Definition]:
    name = spec.get("name", spec.get("title"))
    if not isinstance(name, str) or not name:
        return []
    if kind != "function":
        return [{**spec, "type": kind, "name": name}]
    made: Definition = {"type": "function", "name": name}
    if isinstance(spec.get("description"), str) and spec["description"]:
        made["description"] = spec["description"]
    schema = next((spec[key] for key in _SCHEMA_KEYS if isinstance(spec.get(key), dict)), None)
    if schema is None and spec.get("type") == "object" and isinstance(spec.get("properties"), dict):
        schema = {key: value for key, value in spec.items() if key not in ("name", "description")}
    # Bedrock wraps the schema once more.
    if schema is not None and set(schema) == {"json"} and isinstance(schema["json"], dict):
        schema = schema["json"]
    if schema is not None:
        made["parameters"] = schema
    return [made]


def is_schema(value: Json) -> bool:
    """Tell a JSON Schema of parameters from values for them: some instrumentations record the first as the second."""
    return isinstance(value, dict) and value.get("type") == "object" and isinstance(value.get("properties"), dict)


def flattened_definitions(items: dict[int, Fields], reader: Reader) -> list[Definition]:
    """Return definitions from flattened attributes: a JSON schema each, or name, description and parameters apart.

    They are shared with other spans and not to be changed.
    """
    made: list[Definition] = []
    for fields in in_order(items, reader):
        pairs = tuple(sorted(fields.items()))
        size = sum(len(key) + len(value) if isinstance(value, str) else _MEMO_MAX_CHARS + 1 for key, value in pairs)
        if size <= _MEMO_MAX_CHARS:
            if not reader.take(size):
                break
            found, marks = _remembered(pairs)
            for mark in marks:
                reader.mark(mark)
        else:
            found = _tool(pairs, reader)
        made.extend(found)
    return made


_Pairs: TypeAlias = tuple[tuple[str, Value], ...]
_MEMO_MAX_CHARS: Final = 8_192


@lru_cache(256)
def _remembered(pairs: _Pairs) -> tuple[list[Definition], tuple[Mark, ...]]:
    """Read a tool once: an agent sends the same ones with each of its calls."""
    reader = Reader()
    return _tool(pairs, reader), reader.marks


def _tool(pairs: _Pairs, reader: Reader) -> list[Definition]:
    spec: dict[str, Json] = {}
    for key, value in pairs:
        word = key.removeprefix("tool.").removeprefix("function.")
        if word == "json_schema":
            found = reader.document(value)
            spec = {**found, **spec} if isinstance(found, dict) else spec
        elif word in ("parameters", "input_schema"):
            spec[word] = reader.document(value)
        elif word in ("name", "description"):
            spec[word] = reader.text(value)
    if is_schema(spec) and "name" in spec:
        spec = {"name": spec.pop("name"), "description": spec.pop("description", None), "parameters": spec}
    made = definitions_of([spec])
    if not made:
        reader.mark("gap")
    return made


def arguments_of(value: Json, reader: Reader) -> Json:
    """Return what a tool was called with, out of the call record that holds it; None when it is not said."""
    found = reader.arguments(value)
    if not isinstance(found, dict):
        return None if found == "" else found
    if "input_str" in found and set(found) <= _CALLBACK_RECORD:
        inputs = found.get("inputs")
        return inputs if isinstance(inputs, dict) else reader.arguments(found["input_str"])
    if set(found) <= _CALL_RECORD and "kwargs" in found and not found.get("args"):
        return found["kwargs"]
    return found


def result_of(value: Json, reader: Reader) -> Json:
    """Return what a tool answered, out of the message, block or event that carries it; None when it is not said."""
    found = reader.response(value)
    if isinstance(found, list):
        return response_of(found, reader)
    if not isinstance(found, dict):
        return found
    if set(found) <= _RUN_RECORD and "output" in found:
        if not isinstance(found["output"], dict):
            return response_of(found["output"], reader)
        found = found["output"]
    for wrapper in ("kwargs", "data"):
        inner = found.get(wrapper)
        if isinstance(inner, dict) and "content" in inner and ("lc" in found or found.get("type") == "tool"):
            return response_of(inner["content"], reader)
    if "tool_call_id" in found and "content" in found:
        return response_of(found["content"], reader)
    if "raw_output" in found and "tool_name" in found:
        return response_of(found["raw_output"], reader)
    if set(found) == {"id", "name", "response"}:
        return found["response"]
    return response_of([found], reader) if found.get("type") == "text" else found


_CALL_RECORD: Final = {"args", "kwargs"}
_CALLBACK_RECORD: Final = {"input_str", "inputs", "tags", "metadata", "kwargs"}
_RUN_RECORD: Final = {"output", "kwargs"}

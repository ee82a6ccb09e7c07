"""The official JSON Schemas of GenAI content, stricter: a part of a well-known type must be valid as that type.

The schemas themselves take any object with a `type`, so a text part without its text would pass.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema

from spanledger.conventions.content import Content

_FOLDER = Path(__file__).parent / "fixtures" / "semconv"


def _schema(name: str) -> dict[str, Any]:
    schema: dict[str, Any] = json.loads((_FOLDER / f"gen-ai-{name}.json").read_text())
    return schema


def _validator(schema: dict[str, Any]) -> jsonschema.Draft202012Validator:
    return jsonschema.Draft202012Validator(schema)


_SCHEMAS = {
    "input_messages": _schema("input-messages"),
    "output_messages": _schema("output-messages"),
    "system_instructions": _schema("system-instructions"),
    "tool_definitions": _schema("tool-definitions"),
    "retrieval_documents": _schema("retrieval-documents"),
}
_WHOLE = {name: _validator(schema) for name, schema in _SCHEMAS.items()}
_PARTS = {
    definition["properties"]["type"]["const"]: _validator({**_SCHEMAS["output_messages"], **definition})
    for definition in _SCHEMAS["output_messages"]["$defs"].values()
    if "const" in definition.get("properties", {}).get("type", {})
}
_FUNCTION = _validator(
    {**_SCHEMAS["tool_definitions"], **_SCHEMAS["tool_definitions"]["$defs"]["FunctionToolDefinition"], "items": {}}
)


def check_content(content: Content) -> None:
    """Raise `jsonschema.ValidationError` unless all of it is valid, and `ValueError` unless it is JSON."""
    for name, validator in _WHOLE.items():
        value = getattr(content, name)
        if value is not None:
            validator.validate(value)
    for message in (content.input_messages or []) + (content.output_messages or []):
        for part in message["parts"]:
            check_part(part)
    for part in content.system_instructions or []:
        assert part["type"] == "text"
        check_part(part)
    for definition in content.tool_definitions or []:
        if definition["type"] == "function":
            _FUNCTION.validate({key: value for key, value in definition.items() if key != "parameters"})
            assert isinstance(definition.get("parameters"), dict | None)
    everything = [getattr(content, slot) for slot in Content.__dataclass_fields__]
    json.dumps(everything, allow_nan=False, ensure_ascii=False).encode()


def check_part(part: dict[str, Any]) -> None:
    """Raise `jsonschema.ValidationError` unless a part is valid as the type it names."""
    if (strict := _PARTS.get(part["type"])) is not None:
        strict.validate(part)

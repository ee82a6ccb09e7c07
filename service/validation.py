"""One block of configuration against its class: the typed value, or everything wrong with it.

pydantic judges; its findings are told in the Collector's words, with the place where each value was
written and without the values themselves.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final, TypeVar

import pydantic
from pydantic_core import ErrorDetails

from spanledger.service.fields import below, fit, members, models
from spanledger.service.masking import is_secret, scrubbed
from spanledger.service.meanings import meaning
from spanledger.service.nodes import ConfigError, Node, Path
from spanledger.service.suggestions import did_you_mean, did_you_mean_this, for_key

_Model = TypeVar("_Model", bound=pydantic.BaseModel)

_EXPECTED: Final[Mapping[str, str]] = {
    "int_type": "int",
    "int_from_float": "int",
    "int_parsing": "int",
    "float_type": "float",
    "bool_type": "bool",
    "string_type": "string",
    "path_type": "string",
    "list_type": "list",
    "tuple_type": "list",
    "set_type": "list",
    "frozen_set_type": "list",
    "dict_type": "map",
    "model_type": "map",
    "model_attributes_type": "map",
}
_OWN_WORDS: Final = ("value_error", "assertion_error")
_CHOICE: Final = re.compile(r"'([^']*)'")


def validate(model: type[_Model], node: Node, path: Path, about: str = "") -> tuple[_Model | None, list[ConfigError]]:
    """Return the block below `node` as a `model`, or None and what is wrong with it.

    `about` goes before messages on keys and types: `error reading configuration for "otlp"`.
    """
    data = {} if node.value is None else fit(node, model)
    try:
        # As JSON, so that lists become tuples and names become enum members in strict mode too.
        return model.model_validate_json(json.dumps(data)), []
    except pydantic.ValidationError as error:
        details = error.errors(include_url=False, include_input=False)
    secrets = _secrets(node, path, model)
    prefix = f"{about}: " if about else ""
    found: list[ConfigError] = []
    missing: list[ConfigError] = []
    for keys, alternatives in _by_path(details, node).items():
        message, suggestion = _explain(alternatives, keys, path, node, model)
        # Only what a class says in its own words can quote a value, and needs no introduction.
        own_words = any(alternative["type"] in _OWN_WORDS for alternative in alternatives)
        message = scrubbed(message, secrets) if own_words else prefix + message
        kind = alternatives[0]["type"]
        shown = (*path, *(keys[:-1] if kind == "extra_forbidden" else keys))
        problem = ConfigError(shown, node.at(keys)[0].where, message, suggestion)
        (missing if kind == "missing" else found).append(problem)
    # A key that is misspelt is missing, too: said once is enough.
    meant = {(error.keys, error.suggestion) for error in found}
    missing = [error for error in missing if (error.keys[:-1], did_you_mean_this(error.keys[-1])) not in meant]
    return None, found + missing


def _by_path(details: Sequence[ErrorDetails], node: Node) -> dict[Path, list[ErrorDetails]]:
    """Group findings by the keys of the configuration.

    Alternatives of a union are each reported by pydantic. Where one of them got further than the type of
    the value, what it found inside is meant.
    """
    grouped: dict[Path, list[ErrorDetails]] = {}
    for detail in details:
        grouped.setdefault(_keys(detail, node), []).append(detail)
    return {
        keys: found
        for keys, found in grouped.items()
        if not all(detail["type"] in _EXPECTED for detail in found)
        or not any(len(other) > len(keys) and other[: len(keys)] == keys for other in grouped)
    }


def _keys(detail: ErrorDetails, node: Node) -> Path:
    """Return pydantic's `loc` without the names of union alternatives that it puts in between."""
    keys: Path = ()
    here: Node | None = node
    for position, part in enumerate(detail["loc"]):
        child = here.child(str(part)) if here else None
        is_last = position == len(detail["loc"]) - 1
        if child is not None or (is_last and detail["type"] in ("missing", "extra_forbidden")):
            keys, here = (*keys, str(part)), child
    return keys


def _explain(
    details: Sequence[ErrorDetails], keys: Path, path: Path, node: Node, model: type[pydantic.BaseModel]
) -> tuple[str, str]:
    """Return message and suggestion for the findings at one place."""
    first = details[0]
    if first["type"] == "extra_forbidden":
        return f"has invalid keys: {keys[-1]}", for_key((*path, *keys[:-1]), keys[-1], _annotation(model, keys[:-1]))
    if first["type"] == "missing":
        return "must be specified", _meaning(model, keys)
    value = node.at(keys)[0]
    expected = list(dict.fromkeys(_EXPECTED[detail["type"]] for detail in details if detail["type"] in _EXPECTED))
    if len(expected) == len(details):
        names = " or ".join(f"'{name}'" for name in expected)
        return f"expected type {names}, got unconvertible type '{_type_name(value)}'", _advice(expected, value, keys)
    messages = dict.fromkeys(_phrase(detail) for detail in details if detail["type"] not in _EXPECTED)
    suggestion = ""
    if first["type"] in ("literal_error", "enum") and not is_secret((*path, *keys)):
        suggestion = did_you_mean(str(value.value), _CHOICE.findall(first["msg"])) if value.value else ""
        if isinstance(value.value, int | float) and str(value.value) in _CHOICE.findall(first["msg"]):
            suggestion = f'write it in quotes: "{value.value}"'
    return " or ".join(messages), suggestion


def _phrase(detail: ErrorDetails) -> str:
    if detail["type"] in _OWN_WORDS:
        return str(detail["ctx"]["error"])
    message = detail["msg"].replace("Input should be ", "must be ", 1)
    return message[0].lower() + message[1:]


def _type_name(node: Node) -> str:
    value = node.value
    if value is None:
        return "null"
    names = {bool: "bool", int: "int", float: "float", str: "string", dict: "map", tuple: "list"}
    return names[type(value)]


def _advice(expected: Sequence[str], node: Node, keys: Path) -> str:
    value = node.value
    if isinstance(value, int) and keys[-1:] == ("endpoint",):
        return f"give host:port, such as localhost:{value}"
    if "string" in expected and isinstance(value, bool | int | float):
        return "write it in quotes"
    if "map" in expected and not isinstance(value, dict):
        return "it is a block of keys"
    if "list" in expected and isinstance(value, str):
        return "write [a, b]"
    if "bool" in expected:
        return "write true or false"
    if ("int" in expected or "float" in expected) and isinstance(value, str) and value.strip("+-").isdecimal():
        return "write it without quotes"
    return ""


def _annotation(model: type[pydantic.BaseModel], keys: Path) -> Any:
    annotation: Any = model
    for key in keys:
        annotation = below(annotation, key)
    return annotation


def _meaning(model: type[pydantic.BaseModel], keys: Path) -> str:
    """Return the first sentence on a key."""
    for block in models(_annotation(model, keys[:-1])):
        if said := meaning(block, keys[-1]):
            return said.split(". ")[0].splitlines()[0].rstrip(".")
    return ""


def _secrets(node: Node, path: Path, model: type[pydantic.BaseModel]) -> list[str]:
    return [
        text
        for keys, text in node.strings()
        if is_secret((*path, *keys)) or pydantic.SecretStr in members(_annotation(model, keys))
    ]

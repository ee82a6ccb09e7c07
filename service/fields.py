"""What a configuration class expects below each key, read off its annotations.

YAML knows less than the class: that a reference stood for a *string*, that an empty block means
"with defaults", that `receivers: otlp` is a list of one. `fit` settles these before pydantic judges.
"""

from __future__ import annotations

import pathlib
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pydantic
from pydantic.fields import FieldInfo

from spanledger.service.nodes import Node

_LISTS = (list, tuple, set, frozenset, Sequence)
_MAPS = (dict, Mapping)


def members(annotation: Any) -> list[Any]:
    """Return the alternatives of a union, `Annotated` and type aliases removed; just itself otherwise."""
    while True:
        if isinstance(annotation, typing.TypeVar):
            return [Any]
        if hasattr(annotation, "__value__"):
            annotation = annotation.__value__
        elif typing.get_origin(annotation) is typing.Annotated:
            annotation = typing.get_args(annotation)[0]
        else:
            break
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        return [member for part in typing.get_args(annotation) for member in members(part)]
    return [annotation]


def is_model(member: Any) -> bool:
    """Tell whether a member is a block of named keys."""
    return isinstance(member, type) and issubclass(member, pydantic.BaseModel)


def fields(model: type[pydantic.BaseModel]) -> dict[str, FieldInfo]:
    """Return the fields of a block by the key that a configuration uses."""
    return {field.alias or name: field for name, field in model.model_fields.items()}


def below(annotation: Any, key: str) -> Any:
    """Return the annotation of the value under `key`, None if there is no such key."""
    for member in members(annotation):
        origin, arguments = typing.get_origin(member), typing.get_args(member)
        if is_model(member):
            if key in (known := fields(member)):
                return known[key].annotation
        elif member is Any or member in (*_LISTS, *_MAPS):
            return Any
        elif origin in _LISTS:
            return arguments[0]
        elif origin in _MAPS:
            return arguments[1]
    return None


def accepts_null(annotation: Any) -> bool:
    """Tell whether null is a value of its own there."""
    return any(member is Any or member is type(None) for member in members(annotation))


def models(annotation: Any) -> Iterator[type[pydantic.BaseModel]]:
    """Yield the blocks that a value may be."""
    for member in members(annotation):
        if is_model(member):
            yield member


def fit(node: Node, annotation: Any) -> Any:
    """Return the value as plain data, in the form that the annotation asks for."""
    accepted = members(annotation)
    wanted = [member for member in accepted if member is not type(None)]
    value = node.value
    if node.text is not None and all(_is_text(member) for member in wanted):
        return None if value is None and len(wanted) < len(accepted) else node.text
    if isinstance(value, dict):
        is_block = any(models(annotation))
        fitted = {}
        for name, child in value.items():
            expected = below(annotation, name)
            plain = _fit_child(child, expected)
            # An empty value is as good as none where the class has a default of its own.
            if plain is not None or not is_block or expected is None or accepts_null(expected):
                fitted[name] = plain
        return fitted
    if isinstance(value, tuple):
        return [_fit_child(child, below(annotation, "0")) for child in value]
    if isinstance(value, str) and wanted and all(typing.get_origin(member) in _LISTS for member in wanted):
        return [part.strip() for part in value.split(",") if part.strip()]
    return value


def _fit_child(node: Node, annotation: Any) -> Any:
    value = fit(node, Any if annotation is None else annotation)
    return {} if value is None and any(models(annotation)) else value


def _is_text(member: Any) -> bool:
    if typing.get_origin(member) is typing.Literal:
        return all(isinstance(choice, str) for choice in typing.get_args(member))
    return isinstance(member, type) and issubclass(member, str | pydantic.SecretStr | pathlib.PurePath)

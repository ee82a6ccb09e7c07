"""Reading override files: YAML to a `PriceBook`, with errors that say file, line, key and remedy."""

from __future__ import annotations

import difflib
from typing import Any, Final, get_args

import pydantic
import yaml

from spanledger.conventions.prices.overrides import PriceBook

_BLOCK: Final = "must be a block of keys"
_MUST_BE: Final = {
    "string_type": "must be a text: put it in quotes",
    "tuple_type": "must be a list",
    "dict_type": _BLOCK,
    "model_type": _BLOCK,
    "model_attributes_type": _BLOCK,
    "datetime_type": "must be a time such as 2026-10-01 or 2026-10-01T12:00:00Z",
}
"""What is said of a value of another kind, by pydantic's type of the error."""


class BadPrices(ValueError):  # noqa: N818 - reads as what it is
    """An override file that cannot be used; the message has a line for each thing that is wrong."""


class _Loader(yaml.SafeLoader):
    """Says where a day is that the calendar has not."""

    def construct_yaml_timestamp(self, node: yaml.ScalarNode) -> Any:
        """Read a date or a time."""
        try:
            return super().construct_yaml_timestamp(node)
        except ValueError as error:
            message = f"{node.value} is no day or time: {error}"
            raise yaml.constructor.ConstructorError(None, None, message, node.start_mark) from None


_Loader.add_constructor("tag:yaml.org,2002:timestamp", _Loader.construct_yaml_timestamp)


def read_book(text: str, name: str) -> PriceBook:
    """Read an override file. Raises `BadPrices`, which names file, line, key and remedy of every error."""
    try:
        document = yaml.load(text, Loader=_Loader)  # noqa: S506 - a SafeLoader
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise BadPrices(f"{name}: not valid YAML: {' '.join(str(error).split())}") from error
    if document is None:
        return PriceBook()
    if not isinstance(document, dict):
        raise BadPrices(f"{name}: not a list of prices: the top of the file must have keys such as `prices:`")
    try:
        return PriceBook.model_validate(document)
    except pydantic.ValidationError as error:
        node = yaml.compose(text, Loader=yaml.SafeLoader)  # again, for the lines
        lines = [_explain(found, name, node) for found in error.errors(include_url=False)]
        raise BadPrices("\n".join(lines)) from None


def _explain(error: Any, name: str, node: yaml.Node | None) -> str:
    path = tuple(error["loc"])
    message = _MUST_BE.get(error["type"]) or error["msg"].removeprefix("Value error, ")
    if error["type"] == "extra_forbidden":
        known = [field.alias or key for key, field in _fields_at(path[:-1]).items()]
        close = difflib.get_close_matches(str(path[-1]), known, 1)
        message = "unknown key" + (f"; did you mean {close[0]}?" if close else f"; known are {', '.join(known)}")
    line = _line_of(node, path)
    return f"{name}:{line}: {'::'.join(map(str, path))}: {message}"


def _fields_at(path: tuple[str | int, ...]) -> dict[str, Any]:
    """Return the fields of the block at `path`."""
    block: type[pydantic.BaseModel] = PriceBook
    for part in path:
        if isinstance(part, str) and part in block.model_fields:
            block = _block_in(block.model_fields[part].annotation) or block
    return dict(block.model_fields)


def _block_in(annotation: Any) -> type[pydantic.BaseModel] | None:
    """Return the block that a field holds, alone or in a tuple; None if it holds none."""
    if isinstance(annotation, type) and issubclass(annotation, pydantic.BaseModel):
        return annotation
    return next((block for part in get_args(annotation) if (block := _block_in(part)) is not None), None)


def _line_of(node: yaml.Node | None, path: tuple[str | int, ...]) -> int:
    """Return the line of the value at `path`, or of the nearest value above it."""
    line = 1
    for part in path:
        if isinstance(node, yaml.MappingNode):
            found = next(((key, value) for key, value in node.value if key.value == part), None)
            if found is None:
                break
            line, node = found[0].start_mark.line + 1, found[1]
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
            node = node.value[part]
            line = node.start_mark.line + 1
        else:
            break
    return line

"""deploy/values.yaml: the numbers of the rules, and how they get into them."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, Final

import yaml

_PLACE: Final = re.compile(r"<([a-z]+\.[a-z0-9_]+)>")
_PLAIN: Final = re.compile(r"[\w.:/ -]{1,200}")

Values = Mapping[str, str]
"""Each value by its name, `cost.min_runs`, as it is written into a rule."""


class BadValues(ValueError):  # noqa: N818 # a noun, as the other errors of the house
    """A file of values that cannot be used; the message says why."""


def read(text: str, defaults: Values | None = None) -> Values:
    """Return the values of a YAML file. What it leaves out is as in `defaults`, and what these do not know is an error.

    Raises `BadValues`.
    """
    try:
        document = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise BadValues(f"no YAML: {error}") from None
    if not isinstance(document, dict) or not all(isinstance(section, dict) for section in document.values()):
        raise BadValues("not sections with names and values, such as `cost:` with `min_runs: 5` below it")
    found = {
        f"{section}.{name}": _written(f"{section}.{name}", value)
        for section, values in document.items()
        for name, value in values.items()
    }
    if defaults is None:
        return found
    if unknown := sorted(found.keys() - defaults.keys()):
        raise BadValues(f"{unknown[0]}: no such value; deploy/values.yaml has all of them")
    for name, value in found.items():
        if _is_number(defaults[name]) and not _is_number(value):
            raise BadValues(f"{name}: {value!r} is no number")
        if _is_address(defaults[name]) and not _is_address(value):
            raise BadValues(f"{name}: {value!r} is no address such as {defaults[name]}")
    return {**defaults, **found}


def with_value(text: str, section: str, name: str, value: str) -> str:
    """Return a text that `read` takes with one value changed or added, and all else, comments too, as it was."""
    root: Any = yaml.compose(text, yaml.SafeLoader)
    values = _below(root, section)
    if values is None:
        return _put_in(text, root, f"{section}: {{{name}: {json.dumps(value)}}}")
    old = _below(values, name)
    if old is None:
        return _put_in(text, values, f"{name}: {json.dumps(value)}")
    return text[: old.start_mark.index] + json.dumps(value) + text[old.end_mark.index :]


def _below(mapping: yaml.MappingNode, key: str) -> Any:
    # The last of a key that is there twice is the one that counts.
    return next((value for name, value in reversed(mapping.value) if name.value == key), None)


def _put_in(text: str, mapping: yaml.MappingNode, entry: str) -> str:
    """Put an entry before the first of a mapping."""
    if not mapping.value:
        return f"{text[: mapping.start_mark.index]}{{{entry}}}{text[mapping.end_mark.index :]}"
    first = mapping.value[0][0].start_mark
    between = ", " if mapping.flow_style else "\n" + " " * first.column
    return text[: first.index] + entry + between + text[first.index :]


def _written(name: str, value: Any) -> str:
    text = str(value)
    # What is pasted into PromQL and YAML is nothing that could end there what it is pasted into.
    if isinstance(value, bool | None) or not isinstance(value, int | float | str) or not _PLAIN.fullmatch(text):
        raise BadValues(f"{name}: {text[:40]!r} is no number, duration or address")
    return text


def _is_number(text: str) -> bool:
    return re.fullmatch(r"\d+(\.\d+)?", text) is not None


def _is_address(text: str) -> bool:
    return text.startswith(("http://", "https://"))


def names_in(text: str) -> set[str]:
    """Return the names of the values that a text of a rule asks for."""
    return set(_PLACE.findall(text))


def fill(text: str, values: Values) -> str:
    """Put the values in place of `<section.name>`. Raises KeyError for a name that there is not."""
    return _PLACE.sub(lambda match: values[match[1]], text)

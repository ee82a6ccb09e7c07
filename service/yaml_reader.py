"""YAML text to `Node`s that know their line.

The dialect is the Collector's (go-yaml v3): `yes` and `on` are strings, `0123` is octal, a date is a
string. Composed from events instead of by PyYAML's own constructors, because those follow YAML 1.1,
keep the last of two equal keys in silence, recurse without a limit and write aliases out without one.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Final, NoReturn

import yaml

from spanledger.service.nodes import MAX_DEPTH, MAX_SIZE, ConfigError, Node, Path, Place, Scalar

MAX_BYTES = 1024 * 1024
"""Size of one source."""

_CONTAINER_SIZE: Final = 16
_UTF8_ADVICE: Final = "save the file as UTF-8"
_TAG: Final = "tag:yaml.org,2002:"
_NULLS: Final = frozenset({"", "~", "null", "Null", "NULL"})
_BOOLS: Final = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_INT: Final = re.compile(r"[-+]?(?:0[xX][0-9a-fA-F_]+|0[oO]?[0-7_]*|0[bB][01_]+|[1-9][0-9_]*)")
_FLOAT: Final = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_FLOATS: Final = {
    **dict.fromkeys((".inf", ".Inf", ".INF", "+.inf", "+.Inf", "+.INF"), math.inf),
    **dict.fromkeys(("-.inf", "-.Inf", "-.INF"), -math.inf),
    **dict.fromkeys((".nan", ".NaN", ".NAN"), math.nan),
}
_TAG_HANDLE: Final = re.compile(r"(?<=tag handle) .*")


def read_yaml(text: str | bytes, source: str, at: Place | None = None) -> Node | None:
    """Read one YAML document; None for an empty one.

    `at` replaces every place, for text that has no lines of its own to show. Raises `ConfigError` for the
    first thing that is not YAML, and `DuplicateKeys` when that is all that is wrong.
    """
    text = _decode(text, source, at)
    composer = _Composer(text, source, at)
    try:
        node = composer.document()
    except yaml.MarkedYAMLError as error:
        raise composer.error(_describe(error), error.problem_mark or error.context_mark, _advice(error)) from None
    except yaml.reader.ReaderError as error:
        line, column = text.count("\n", 0, error.position) + 1, error.position - text.rfind("\n", 0, error.position)
        message = f"cannot parse YAML: the character U+{int(error.character):04X} is not allowed"
        raise ConfigError((), at or Place(source, line, column), message) from None
    if composer.duplicates:
        raise DuplicateKeys(composer.duplicates)
    return node


class DuplicateKeys(Exception):  # noqa: N818
    """Keys that stand twice in one map; `errors` has one `ConfigError` for each."""

    def __init__(self, errors: list[ConfigError]) -> None:
        super().__init__("; ".join(map(str, errors)))
        self.errors = errors


def resolve_scalar(text: str) -> Scalar:
    """Return what a plain (unquoted) scalar means."""
    if text in _NULLS:
        return None
    if text in _BOOLS:
        return _BOOLS[text]
    if text in _FLOATS:
        return _FLOATS[text]
    # 400 digits are more than any float has room for; int() refuses to read far longer ones.
    if text[0] not in "+-.0123456789" or len(text) > 400:
        return text
    if _INT.fullmatch(text) and not text.endswith("_"):
        number = _integer(text.replace("_", ""))
        if number is not None and -(2**63) <= number < 2**64:
            return number
    if _FLOAT.fullmatch(text) and math.isfinite(value := float(text)):
        return value
    return text


def _integer(text: str) -> int | None:
    digits = text.lstrip("+-").lower()
    base = 10
    for prefix, prefix_base in (("0x", 16), ("0b", 2), ("0o", 8), ("0", 8)):
        if digits.startswith(prefix) and digits != "0":
            digits, base = digits[len(prefix) :], prefix_base
            break
    return (-1 if text.startswith("-") else 1) * int(digits, base) if digits else None


def _decode(text: str | bytes, source: str, at: Place | None) -> str:
    if len(text) > MAX_BYTES:
        raise ConfigError((), at or Place(source), f"more than {MAX_BYTES} bytes: this is not a configuration")
    if isinstance(text, str):
        return text.removeprefix("\ufeff")
    if text.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise ConfigError((), at or Place(source), "not UTF-8 but UTF-16", _UTF8_ADVICE)
    try:
        return text.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = text[: error.start]
        place = Place(source, before.count(b"\n") + 1, error.start - before.rfind(b"\n"))
        raise ConfigError((), at or place, f"byte 0x{text[error.start]:02x} is not UTF-8", _UTF8_ADVICE) from None


class _Composer:
    """Builds the nodes of one document from PyYAML's events."""

    def __init__(self, text: str, source: str, at: Place | None) -> None:
        self._events: Iterator[Any] = yaml.parse(text, Loader=yaml.SafeLoader)
        self._source = source
        self._at = at
        self._anchors: dict[str, tuple[Node, int]] = {}
        self.duplicates: list[ConfigError] = []

    def error(self, message: str, mark: Any, suggestion: str = "") -> ConfigError:
        return ConfigError((), self._place(mark), message, suggestion)

    def document(self) -> Node | None:
        next(self._events)  # the start of the stream
        event = next(self._events)
        if isinstance(event, yaml.StreamEndEvent):
            return None
        node, _size = self._value(next(self._events), ())
        next(self._events)  # the end of the document
        event = next(self._events)
        if not isinstance(event, yaml.StreamEndEvent):
            raise self.error("a second YAML document", event.start_mark, "give each document a --config of its own")
        return node

    def _place(self, mark: Any) -> Place:
        return self._at or Place(self._source, mark.line + 1, mark.column + 1)

    def _value(self, event: Any, path: Path) -> tuple[Node, int]:
        """Return the node that starts with `event` and its size when written out."""
        place = self._place(event.start_mark)
        if isinstance(event, yaml.AliasEvent):
            if event.anchor not in self._anchors:
                raise self.error(
                    "found an alias without its anchor", event.start_mark, "quote a value that starts with *"
                )
            node, size = self._anchors[event.anchor]
            # It is shown where it is used: that is where something may not fit.
            node = replace(node, place=place)
        elif isinstance(event, yaml.ScalarEvent):
            node, size = Node(self._scalar(event), place), len(event.value) + 1
        elif len(path) >= MAX_DEPTH:
            raise self.error(f"more than {MAX_DEPTH} levels of nesting", event.start_mark)
        else:
            container = self._list if isinstance(event, yaml.SequenceStartEvent) else self._map
            if event.tag not in (None, "!", _TAG + "seq", _TAG + "map"):
                self._refuse_tag(event)
            value, size = container(event, path)
            node = Node(value, place)
        if size > MAX_SIZE:
            raise self.error(f"more than {MAX_SIZE} characters with aliases written out", event.start_mark)
        if event.anchor and not isinstance(event, yaml.AliasEvent):
            self._anchors[event.anchor] = node, size
        return node, size

    def _list(self, _start: Any, path: Path) -> tuple[tuple[Node, ...], int]:
        items: list[Node] = []
        size = _CONTAINER_SIZE
        while not isinstance(event := next(self._events), yaml.SequenceEndEvent):
            node, node_size = self._value(event, (*path, str(len(items))))
            items.append(node)
            size += node_size
        return tuple(items), size

    def _map(self, _start: Any, path: Path) -> tuple[dict[str, Node], int]:
        values: dict[str, Node] = {}
        merged: list[Node] = []
        size = _CONTAINER_SIZE
        while not isinstance(event := next(self._events), yaml.MappingEndEvent):
            key, key_place = self._key(event), self._place(event.start_mark)
            is_merge = key == "<<" and event.style is None
            node, node_size = self._value(next(self._events), (*path, key))
            size += node_size + len(key)
            if is_merge:
                merged += node.value if isinstance(node.value, tuple) else [node]
            elif key in values:
                first = values[key].where
                where = f"line {first.line}" if first.line else "the same place"
                message = f'mapping key "{key}" already defined at {where}'
                self.duplicates.append(ConfigError((*path, key), key_place, message, "keep one of the two"))
            else:
                values[key] = node.under(key_place)
        for node in merged:
            if not isinstance(node.value, dict):
                raise ConfigError(path, node.place, "<< takes a map, or a list of maps")
            values = {**node.value, **values}
        return values, size

    def _key(self, event: Any) -> str:
        if not isinstance(event, yaml.ScalarEvent) or not event.value:
            raise self.error("a key must be a name", event.start_mark, "quote a value that holds braces or a colon")
        return self._text(event)

    def _scalar(self, event: Any) -> Scalar:
        text = self._text(event)
        plain, _quoted = event.implicit
        if event.tag is None or event.tag == "!":
            return resolve_scalar(text) if plain and event.tag is None else text
        if event.tag == _TAG + "str":
            return text
        value = resolve_scalar(text)
        kinds = {"null": type(None), "bool": bool, "int": int, "float": int | float}
        kind = kinds.get(event.tag.removeprefix(_TAG))
        if kind is None:
            self._refuse_tag(event)
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            raise self.error("the value is not what its tag says", event.start_mark)
        return value

    def _text(self, event: Any) -> str:
        text: str = event.value
        try:
            # "\\ud83d\\ude00" is how JSON writes one character; half of it is none.
            return text if text.isascii() else text.encode("utf-16", "surrogatepass").decode("utf-16")
        except UnicodeDecodeError:
            raise self.error("a character that is half of a surrogate pair", event.start_mark) from None

    def _refuse_tag(self, event: Any) -> NoReturn:
        raise self.error(
            "a tag (!…) that configurations do not have", event.start_mark, "quote a value that starts with !"
        )


def _describe(error: yaml.MarkedYAMLError) -> str:
    # The one message that quotes more than a character: of a secret, perhaps, that only lacks its quotes.
    problem = _TAG_HANDLE.sub("", error.problem or "this is not YAML")
    return f"cannot parse YAML: {problem}{f' {error.context}' if error.context else ''}"


def _advice(error: yaml.MarkedYAMLError) -> str:
    problem = error.problem or ""
    if r"'\t'" in problem:
        return "indent with spaces, never with tabs"
    if "mapping values are not allowed" in problem or "could not find expected ':'" in problem:
        return "check the indentation, and quote a value that holds ': '"
    if "cannot start any token" in problem:
        return "quote a value that starts with a special character"
    if "expected <block end>" in problem:
        return "check the indentation"
    return ""

"""JSON as spans carry it: read within a budget, or left alone with a mark that says why.

Text that should be JSON may be cut by an attribute limit, encoded twice, the `repr` of Python objects, or a
placeholder of a redaction. None of it raises; a `Reader` belongs to one span and counts what it spends.
"""

from __future__ import annotations

import base64
import contextlib
import json
import math
import re
from typing import Any, Final, Literal, TypeAlias

from spanledger.conventions.content import python_repr
from spanledger.conventions.nesting import is_deeper

Json: TypeAlias = Any
"""A value that `json.dumps` takes: no bytes, no NaN, no lone surrogates, at most `MAX_DEPTH` deep."""

Mark: TypeAlias = Literal["cut", "gap", "limit", "redacted", "unparsable"]
"""Why content is not whole.

`cut`: text ended early or says so; `gap`: indices or required fields are missing; `limit`: more than we read;
`redacted`: a placeholder stands for the content; `unparsable`: it is not what its place promises.
"""

MAX_CHARS: Final = 2_000_000
"""Characters of JSON that are parsed for one span; more is marked `limit`. Parsing them takes about 20 ms."""
MAX_NODES: Final = 30_000
"""Values, by a rough count from above, that are parsed for one span."""
MAX_DEPTH: Final = 48

_REPR_COST: Final = 30
"""A character of a Python repr is read by a loop of ours and counts as so many of JSON."""

_PLACEHOLDERS: Final = frozenset({"__REDACTED__", "<REDACTED>", "[REDACTED]", "<elided>"})
_CUT: Final = "...[TRUNCATED"
_CUT_TAIL: Final = 80
"""Where in a text `_CUT` is looked for: it comes last, followed by the original length."""

_LONE_SURROGATE: Final = re.compile(r"\\u[dD][89abAB]..(?!\\u[dD][c-fC-F])|(?<!\\u[dD][89abAB]..)\\u[dD][c-fC-F]")
_BETWEEN_ITEMS: Final = re.compile(r"[\s,]*")


def _number(text: str) -> float | str:
    value = float(text)
    return value if math.isfinite(value) else text


# NaN, Infinity and 1e999 have no JSON: they stay visible as text.
_DECODER: Final = json.JSONDecoder(parse_float=_number, parse_constant=str)

_Failure: TypeAlias = Literal["cut", "limit", "unparsable"]


class _NotJson(Exception):  # noqa: N818 - reads as the condition it is
    """The text holds no JSON that we read; never leaves this module."""

    def __init__(self, why: _Failure) -> None:
        super().__init__(why)
        self.why: _Failure = why


class Reader:
    """Reads the values of one span within a budget, and remembers what was not whole."""

    __slots__ = ("_chars", "_marks", "_nodes")

    def __init__(self) -> None:
        self._chars = MAX_CHARS
        self._nodes = MAX_NODES
        self._marks: set[Mark] = set()

    @property
    def marks(self) -> tuple[Mark, ...]:
        """What was not whole so far, sorted."""
        return tuple(sorted(self._marks)) if self._marks else ()

    def mark(self, name: Mark) -> None:
        """Remember that something is not whole."""
        self._marks.add(name)

    def take(self, chars: int) -> bool:
        """Pay for JSON that is parsed elsewhere; False (marked) when the budget does not allow it."""
        if chars > self._chars:
            self._marks.add("limit")
            return False
        self._chars -= chars
        return True

    def said(self, text: str) -> bool:
        """Tell whether `text` is content: not empty and not a placeholder, which is marked."""
        if not text:
            return False
        if len(text) <= 12 and text in _PLACEHOLDERS:
            self._marks.add("redacted")
            return False
        if _CUT in text[-_CUT_TAIL:]:
            self._marks.add("cut")
        return True

    def text(self, value: Json) -> str | None:
        """Return the text of a scalar; None for what is no text or no content."""
        if isinstance(value, str):
            return value if self.said(value) else None
        if isinstance(value, bool | int | float):
            return json.dumps(value)
        return None

    def document(self, value: Json) -> Json:
        """Return what ought to be a list or an object, from JSON or as it came; None when it is not (marked).

        Of a list that was cut, the items that are complete are returned.
        """
        if not isinstance(value, str):
            return self.plain(value)
        if not self.said(value):
            return None
        try:
            return self._decode_nested(value)
        except _NotJson as error:
            if error.why == "unparsable" and (rewritten := self._from_repr(value)) is not None:
                with contextlib.suppress(_NotJson):
                    return self._decode(rewritten)
            self.mark(error.why)
            return self._complete_items(value) if error.why == "cut" else None

    def arguments(self, value: Json) -> Json:
        """Return the arguments of a tool call: an object if they parse as one, else the text (marked)."""
        return self._structured(value, expected=True)

    def response(self, value: Json) -> Json:
        """Return what a tool answered: structured if it parses as an object or list, else the text."""
        return self._structured(value, expected=False)

    def looks_structured(self, value: Json) -> Json:
        """Return the list or object that a text holds; None for any other text, which is no fault."""
        if not isinstance(value, str):
            return self.plain(value) if isinstance(value, list | dict) else None
        if value[:1] not in ("[", "{"):
            return None
        try:
            return self._decode(value)
        except _NotJson:
            return None

    def plain(self, value: Json) -> Json:
        """Return an OTLP value as JSON; None when it is too deep or too large (marked)."""
        if value is None or isinstance(value, str | bool | int):
            return value
        try:
            self._spend(value)
        except _NotJson as error:
            self.mark(error.why)
            return None
        return _plain(value)

    def _structured(self, value: Json, *, expected: bool) -> Json:
        if not isinstance(value, str):
            return self.plain(value)
        if not self.said(value):
            return None
        first = value.lstrip()[:1]
        if first not in ("{", "[", '"'):
            if expected:
                self.mark("unparsable")
            return value
        try:
            return self._decode_nested(value)
        except _NotJson as error:
            if error.why == "unparsable" and (rewritten := self._from_repr(value)) is not None:
                with contextlib.suppress(_NotJson):
                    return self._decode(rewritten)
            if expected or error.why != "unparsable":
                self.mark(error.why)
            return value

    def _decode_nested(self, text: str) -> Json:
        """Decode JSON that may hold its JSON in a string, as exporters that encode twice write it."""
        found = self._decode(text)
        for _ in range(2):
            if not isinstance(found, str) or found.lstrip()[:1] not in ("{", "["):
                break
            try:
                found = self._decode(found)
            except _NotJson:
                break
        return found

    def _from_repr(self, text: str) -> str | None:
        if "'" not in text or len(text) * _REPR_COST > self._chars:
            return None
        self._chars -= len(text) * _REPR_COST
        return python_repr.to_json(text)

    def _decode(self, text: str) -> Json:
        if len(text) > self._chars:
            raise _NotJson("limit")
        openers = text.count("{") + text.count("[")
        nodes = openers + text.count(",")
        if nodes > self._nodes:
            raise _NotJson("limit")
        self._chars -= len(text)
        self._nodes -= nodes
        if _CUT in text[-_CUT_TAIL:]:
            raise _NotJson("cut")
        try:
            value = _parse(text)
        except json.JSONDecodeError as error:
            raise _NotJson(_why(error, text)) from None
        except (ValueError, RecursionError):
            # A number of thousands of digits, or brackets nested beyond the interpreter's stack.
            raise _NotJson("limit") from None
        if openers > MAX_DEPTH and is_deeper(value, MAX_DEPTH):
            raise _NotJson("limit")
        if "\\u" in text and _LONE_SURROGATE.search(text):
            value = _without_lone_surrogates(value)
        return value

    def _complete_items(self, text: str) -> list[Json] | None:
        start = text.find("[")
        if start < 0 or text[:start].strip():
            return None
        items: list[Json] = []
        at = start + 1
        while True:
            match = _BETWEEN_ITEMS.match(text, at)
            at = match.end() if match else at
            try:
                item, at = _DECODER.raw_decode(text, at)
            except (ValueError, RecursionError):
                break
            # A number or word may itself be cut: only what has its own end is complete.
            if not isinstance(item, dict | list):
                break
            items.append(item)
        if not items or is_deeper(items, MAX_DEPTH):
            return None
        return _without_lone_surrogates(items) if _LONE_SURROGATE.search(text) else items

    def _spend(self, value: Json) -> None:
        if is_deeper(value, MAX_DEPTH):
            raise _NotJson("limit")
        level = [value]
        while level:
            self._nodes -= len(level)
            if self._nodes < 0:
                raise _NotJson("limit")
            level = [inner for outer in level for inner in _inside(outer)]


def _parse(text: str) -> Json:
    # `raw_decode` takes half the time of `decode` on short texts, but minds no space around the value.
    if not text[:1].isspace():
        value, end = _DECODER.raw_decode(text)
        if end == len(text):
            return value
    return _DECODER.decode(text)


def _why(error: json.JSONDecodeError, text: str) -> _Failure:
    ended_early = error.msg.startswith("Unterminated string") or error.pos >= len(text.rstrip()) - 4
    return "cut" if ended_early else "unparsable"


def _inside(value: Json) -> list[Json]:
    if isinstance(value, dict):
        return list(value.values())
    return value if isinstance(value, list) else []


def _plain(value: Json) -> Json:
    if isinstance(value, dict):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_plain(inner) for inner in value]
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value


def _without_lone_surrogates(value: Json) -> Json:
    # Half a surrogate pair cannot be encoded as UTF-8, so it could not be exported.
    text = json.dumps(value, ensure_ascii=False)
    return json.loads(text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace"))

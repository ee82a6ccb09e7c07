"""The `repr` of plain Python values as JSON: some exporters stringify dicts that way.

Read a token at a time, for `ast.literal_eval` can be made to exhaust memory or the stack.
"""

from __future__ import annotations

import json
import re
from typing import Final

_REPR_TOKEN: Final = re.compile(
    r"\s*(?:(?P<close>[\])}])|(?P<mark>[\[({,:])"
    r"|(?P<text>'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\")"
    r"|(?P<number>-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?)|(?P<word>True|False|None)\b)",
    re.DOTALL,
)
_SPELLED: Final = {"True": "true", "False": "false", "None": "null", "(": "[", ")": "]"}
_ENCODE: Final = json.JSONEncoder().encode
_ESCAPE: Final = re.compile(r"\\(x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|.)", re.DOTALL)
_ESCAPED: Final = {"n": "\n", "r": "\r", "t": "\t", "\\": "\\", "'": "'", '"': '"'}


def to_json(text: str) -> str | None:
    """Return the JSON for the `repr` of dicts, lists, tuples and scalars; None for text that is no such thing.

    Brackets are not matched here: who decodes the result finds out.
    """
    out: list[str] = []
    at, end = 0, len(text.rstrip())
    while at < end:
        match = _REPR_TOKEN.match(text, at)
        if match is None:
            return None
        at = match.end()
        kind = match.lastgroup
        assert kind is not None
        token = match[kind]
        if kind == "text":
            said = token[1:-1]
            out.append(_ENCODE(_ESCAPE.sub(_unescape, said) if "\\" in said else said))
        elif kind == "number":
            out.append(token)
        else:
            if kind == "close" and out and out[-1] == ",":
                out.pop()
            out.append(_SPELLED.get(token, token))
    return "".join(out)


def _unescape(match: re.Match[str]) -> str:
    escape = match.group(1)
    if len(escape) == 1:
        return _ESCAPED.get(escape, match.group())
    code = int(escape[1:], 16)
    return chr(code) if code < 0xD800 or 0xDFFF < code <= 0x10FFFF else "\ufffd"

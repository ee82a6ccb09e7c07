"""Attribute values as their conventions want them, out of what instrumentations really send.

Each function returns the value in its right type, the very same object when nothing had to change,
or None when the attribute says nothing: empty text, "None", "null", -1 where a count belongs, or a value
of a type that cannot mean it.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from typing import Final, TypeAlias
from urllib.parse import urlsplit

from spanledger.conventions import semconv
from spanledger.conventions.nesting import loads
from spanledger.conventions.values import MAX_INT64, Value

Coerce: TypeAlias = Callable[[Value], Value]

MAX_JSON_CHARS: Final = 256 * 1024
"""Longer JSON is not parsed: reading facts must not hold up the loop."""

MAX_EXACT: Final = 2**53
"""Counts beyond this are not counts; doubles cannot hold them exactly."""

_ABSENT: Final = frozenset({"", "None", "none", "null", "undefined", "<not specified>", "-1"})
_QUOTED: Final = re.compile(r"""'([^']{1,200})'|"([^"]{1,200})\"""")
_WORD: Final = re.compile(r"[\w/.+-]{1,64}")
_WHOLE: Final = re.compile(r"[+-]?[0-9]{1,16}(\.0{1,6})?")
_REAL: Final = re.compile(r"[+-]?([0-9]{1,20}(\.[0-9]{0,20})?|\.[0-9]{1,20})([eE][+-]?[0-9]{1,3})?")


def text(value: Value) -> str | None:
    """Read text, or an integer id as text."""
    if isinstance(value, str):
        return None if value in _ABSENT else value
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return None


def integer(value: Value) -> int | None:
    """Read a whole number; -1 means absent."""
    if isinstance(value, bool):
        return None
    if isinstance(value, str):
        value = value.strip()
        if not _WHOLE.fullmatch(value):
            return None
        value = float(value) if "." in value else int(value)
    if isinstance(value, float):
        if not math.isfinite(value) or not value.is_integer() or abs(value) > MAX_EXACT:
            return None
        value = int(value)
    return value if isinstance(value, int) and value != -1 and abs(value) <= MAX_INT64 else None


def number(value: Value) -> float | None:
    """Read a finite double."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, int) and not isinstance(value, bool):
        return float(value) if abs(value) <= MAX_EXACT else None
    if isinstance(value, str) and _REAL.fullmatch(value.strip()):
        return number(float(value))
    return None


def ticks(value: Value) -> float | None:
    """Read dollars in xAI's unit, of which 10^10 are one (docs.x.ai/developers/cost-tracking)."""
    count = number(value)
    return None if count is None else count / 1e10


def flag(value: Value) -> bool | None:
    """Read a boolean, or the words and numbers for one."""
    if isinstance(value, bool):
        return value
    if isinstance(value, str):
        return {"true": True, "1": True, "false": False, "0": False}.get(value.strip().lower())
    return bool(value) if isinstance(value, int) and value in {0, 1} else None


def texts(value: Value) -> list[Value] | None:
    """Read a list of strings; also from a JSON list, the `repr` of a list or tuple, or one string."""
    if isinstance(value, str):
        if value in _ABSENT:
            return None
        if value[0] not in "[(":
            return [value]
        return list(_listed(value)) or None
    if not isinstance(value, list) or not value:
        return None
    if all(isinstance(item, str) and item for item in value):
        return value
    return [item for item in value if isinstance(item, str) and item] or None


def _listed(value: str) -> list[str]:
    parsed = parse_json(value)
    if isinstance(parsed, list):
        return [item for item in parsed if isinstance(item, str) and item]
    return [single or double for single, double in _QUOTED.findall(value[:4096])]


def present(value: Value) -> Value:
    """Take anything but an empty value."""
    return None if value is None or value in ("", [], {}) else value


def count(value: Value) -> Value:
    """Read a count; one that is none is taken as it came: `tokens.py` judges it and names what it drops."""
    if type(value) is int:
        return None if value == -1 else value
    if value == -1 or (isinstance(value, str) and value.strip() in _ABSENT):
        return None
    whole = integer(value)
    return value if whole is None else whole


def output_type(value: Value) -> str | None:
    """Read a well-known `gen_ai.output.type` out of a response format or MIME type."""
    known = text(value)
    if known is not None and known[0] == "{":
        schema = parse_json(known)
        known = text(schema.get("type")) if isinstance(schema, dict) else None
    if known is None or not _WORD.fullmatch(known):
        return None
    return _OUTPUT_TYPES.get(known, known)


_OUTPUT_TYPES: Final = {
    "json_object": "json",
    "json_schema": "json",
    "application/json": "json",
    "text/plain": "text",
}


def host(value: Value) -> str | None:
    """Read the host of a URL, or of `host:port`."""
    return _address(value)[0]


def address(value: Value) -> str | None:
    """Read a server's address: a host, or the host of the URL that some write instead."""
    known = text(value)
    return host(known) if known is not None and "://" in known else known


def port(value: Value) -> int | None:
    """Read the port of a URL; None when it does not name one."""
    return _address(value)[1]


def _address(value: Value) -> tuple[str | None, int | None]:
    url = text(value)
    if url is None or len(url) > 2048:
        return None, None
    try:
        parts = urlsplit(url if "//" in url else f"//{url}")
        return parts.hostname, parts.port
    except ValueError:  # a port that is no number, a broken IPv6 address
        return None, None


def milliseconds(value: Value) -> float | None:
    """Read milliseconds as seconds."""
    known = number(value)
    return None if known is None else known / 1000


def unquoted(value: Value) -> str | None:
    """Read text, or the text that a JSON string holds: some encode every value."""
    if isinstance(value, str) and value[:1] == '"' and len(value) <= MAX_JSON_CHARS:
        value = parse_json(value)
    return text(value)


def matching(pattern: re.Pattern[str], chars: int = 65_536) -> Callable[[Value], str | None]:
    """Return a coercion to what the first group of `pattern` finds in the first `chars` characters of a text."""

    def found(value: Value) -> str | None:
        match = pattern.search(value, 0, chars) if isinstance(value, str) else None
        return None if match is None else match[1]

    return found


def parse_json(value: Value) -> Value:
    """Return parsed JSON; None when `value` is no text, too long, nested too deep or not JSON."""
    if not isinstance(value, str) or len(value) > MAX_JSON_CHARS:
        return None
    try:
        parsed: Value = loads(value)
        if "\\u" in value:  # an escape may stand for half a character, which no OTLP string can hold
            parsed = json.loads(json.dumps(parsed, ensure_ascii=False).encode(errors="replace"))
    except ValueError:
        return None
    return parsed


_BY_TYPE: Final[dict[str, Coerce]] = {
    "string": text,
    "int": integer,
    "double": number,
    "bool": flag,
    "string[]": texts,
}


def model(value: Value) -> str | None:
    """Read the name of a model; Micrometer and CrewAI have words for none."""
    return None if value in ("unknown", "unknown_model") else text(value)


def error_type(value: Value) -> str | None:
    """Read the type of an error, of which some write `<class 'openai.RateLimitError'>`."""
    said = text(value)
    return said[8:-2] if said is not None and said.startswith("<class '") and said.endswith("'>") else said


_BY_NAME: Final[dict[str, Coerce]] = {
    "gen_ai.request.model": model,
    "gen_ai.response.model": model,
    "gen_ai.output.type": output_type,
    "server.port": integer,
    "server.address": address,
    "error.type": error_type,
    "user.id": text,
    "jsonrpc.request.id": text,
}


def coercion_of(attribute: str) -> Coerce:
    """Return how to read values of a current attribute name."""
    if attribute in _BY_NAME:
        return _BY_NAME[attribute]
    return _BY_TYPE.get(semconv.TYPES.get(attribute, {}).get("latest", ""), present)

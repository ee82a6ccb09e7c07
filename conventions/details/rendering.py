"""Content as text for people and for search, bounded in bytes, with a mark where it was cut."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from spanledger.conventions.details.history import INSTRUCTING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from spanledger.conventions.content.parse import Json
    from spanledger.conventions.content.parts import Message, Part

CUT: Final = " …[cut]"
_CUT_BYTES: Final = len(CUT.encode())

_ENCODER: Final = json.JSONEncoder(ensure_ascii=False)


def as_text(value: Json) -> str:
    """Return text as it is, any other JSON value as JSON."""
    return value if isinstance(value, str) else _ENCODER.encode(value)


def bounded(lines: Iterable[str], max_bytes: int) -> str | None:
    """Return `lines` as one text of at most `max_bytes` of UTF-8; None when there is none.

    Reads no more lines than needed.
    """
    taken: list[str] = []
    chars = 0
    for line in lines:
        taken.append(line[: max_bytes + 1])
        chars += len(taken[-1]) + 1
        if chars > max_bytes + 1:
            break
    text = "\n".join(taken)
    data = text.encode("utf-8", "replace")
    if len(data) > max_bytes:
        text = data[: max(max_bytes - _CUT_BYTES, 0)].decode("utf-8", "ignore") + CUT
        return text if max_bytes >= _CUT_BYTES else None
    return text or None


def new_input(messages: Sequence[Message]) -> Iterator[str]:
    """Yield what is new to the model in this call: what came after its last answer, a line a part.

    What is before that was in the calls before, so keeping it again would make content quadratic. Where
    there is no answer yet, that is everything, instructions included.
    """
    start = 0
    for index, message in enumerate(messages):
        if message["role"] == "assistant":
            start = index + 1
    for message in messages[start:] or messages[-1:]:
        speaker = "system" if message["role"] in INSTRUCTING else message["role"]
        for part in message["parts"]:
            yield f"{speaker}: {part_text(part)}"


def answered(messages: Iterable[Message]) -> Iterator[str]:
    """Yield what a model answered, a line a part; requests look like calls."""
    for message in messages:
        for part in message["parts"]:
            yield part_text(part)


def part_text(part: Part) -> str:
    """Return one part of a message as text; of data and files only that they are there."""
    kind = part.get("type")
    if kind == "text":
        return as_text(part.get("content", ""))
    if kind == "tool_call":
        return f"{as_text(part.get('name', ''))}({as_text(part.get('arguments') or {})})"
    if kind == "tool_call_response":
        found = part.get("response", part.get("result"))
        return "" if found is None else as_text(found)
    if kind == "reasoning":
        return f"[reasoning] {as_text(part.get('content', ''))}"
    return f"[{kind}]"

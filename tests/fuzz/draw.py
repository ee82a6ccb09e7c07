"""Bytes of a fuzzer as choices: numbers, texts and attribute values that a structured target is made of.

atheris has the same in its FuzzedDataProvider, but the corpus is also played where atheris is not installed.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any, Final, TypeVar

from opentelemetry.proto.common.v1.common_pb2 import AnyValue

_T = TypeVar("_T")

HOSTILE: Final = (
    "", "\x00", "\ud800", "None", "nan", "-1", "1e999", "9" * 40, "[]", "{}", '"', "{" * 90, "[" * 3000, '{"a": ' * 200,
    "('x',)", "\u202e", "</script>", '{"model": "gpt-4o", "usage": {"input_tokens": -5}}', "gpt-4o", "openai", "chat",
    "execute_tool", "invoke_agent", '[{"role": "user", "parts": [{"type": "text", "content": "x"}]}]', "tool_calls",
    '["stop"]', "__other__", "x" * 5000, "2026-11-20T08:00:00Z", "http://h:99999/", "[::1", "\n# HELP x\n", 'a"b\\c',
)  # fmt: skip
NUMBERS: Final = (0, 1, -1, 2, 7, 255, 1000, 10**6, 2**31, 2**53 + 1, 2**63 - 1, -(2**63), 10**18, 1_700_000_000)


class Draw:
    """Takes what is asked for off the front of the bytes; when they are used up, everything is the least there is."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    @property
    def left(self) -> int:
        """How many bytes are not used yet."""
        return max(0, len(self._data) - self._at)

    def raw(self, size: int) -> bytes:
        """Return up to `size` bytes as they are."""
        taken = self._data[self._at : self._at + size]
        self._at += size
        return taken

    def rest(self) -> bytes:
        """Return all that is left."""
        return self.raw(self.left)

    def number(self, below: int) -> int:
        """Return 0 <= n < `below`."""
        return int.from_bytes(self.raw(1 if below <= 256 else 4), "little") % below

    def flag(self) -> bool:
        """Return yes or no."""
        return self.number(2) == 1

    def pick(self, choices: Sequence[_T]) -> _T:
        """Return one of `choices`."""
        return choices[self.number(len(choices))]

    def integer(self) -> int:
        """Return a number of 64 bits, most often an awkward one."""
        chosen = self.number(len(NUMBERS) + 2)
        return NUMBERS[chosen] if chosen < len(NUMBERS) else struct.unpack("<q", self.raw(8).ljust(8, b"\0"))[0]

    def real(self) -> float:
        """Return any double; NaN and the infinities are some."""
        return float(struct.unpack("<d", self.raw(8).ljust(8, b"\0"))[0])

    def text(self) -> str:
        """Return a text, half of the time one that has hurt somebody."""
        if self.flag():
            return self.pick(HOSTILE)
        return self.raw(self.number(64)).decode("utf-8", "replace")

    def plain(self, depth: int = 0) -> Any:
        """Return JSON."""
        match self.number(9 if depth < 5 else 6):
            case 0:
                return None
            case 1:
                return self.flag()
            case 2:
                return self.integer()
            case 3:
                return self.real()
            case 4 | 5:
                return self.text()
            case 6:
                return [self.plain(depth + 1) for _ in range(self.number(4))]
            case _:
                return {self.text(): self.plain(depth + 1) for _ in range(self.number(4))}

    def any_value(self, depth: int = 0) -> AnyValue:
        """Return a value of an attribute, one that no decoder would have made included."""
        made = AnyValue()
        match self.number(9 if depth < 5 else 6):
            case 0:
                pass
            case 1:
                made.bool_value = self.flag()
            case 2:
                made.int_value = self.integer()
            case 3:
                made.double_value = self.real()
            case 4:
                made.string_value = self.text().encode("utf-8", "replace").decode()
            case 5:
                made.bytes_value = self.raw(self.number(32))
            case 6 | 7:
                made.array_value.values.extend(self.any_value(depth + 1) for _ in range(self.number(4)))
            case _:
                for _ in range(self.number(4)):
                    pair = made.kvlist_value.values.add(key=self.text().encode("utf-8", "replace").decode())
                    pair.value.CopyFrom(self.any_value(depth + 1))
        return made

"""Large JSON texts, read one value at a time.

`json.loads` of a whole body would hold Python's global lock for a second or more, whichever thread
calls it. `JsonReader` walks the outer objects and arrays itself and gives the C scanner only one inner
value at a time, so that the lock is free in between. A value that the scanner cannot take (nested too
deep, a number of thousands of digits, too large) is passed over, and its neighbours are read.
"""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterator
from typing import Any, Final

from spanledger.conventions.nesting import TooDeep, is_too_deep, loads
from spanledger.processor.component import Rejected

MAX_VALUE_CHARS = 8 * 1024 * 1024
"""A larger value is passed over: the scanner would hold the lock for longer than about 50 ms."""
MAX_VALUE_TOKENS = 100_000
"""A value of more than a MiB may have this many strings, objects and arrays, for the same reason."""

_CHUNK = 64 * 1024
_UNMEASURED_CHARS = 1024 * 1024

_BLANK: Final = re.compile(r"[ \t\n\r]*+")
_MARK: Final = re.compile(r'["\[\]{}]')
_TO_QUOTE: Final = re.compile(r'[^"\\]*+(?:\\.[^"\\]*+)*+"', re.DOTALL)
_AFTER_SCALAR: Final = re.compile(r"[,\]}\s]")
_BACKSLASHES: Final = re.compile(r"\\*+\Z")

_decode: Final = json.JSONDecoder().raw_decode


class Unreadable(ValueError):  # noqa: N818 - reads as the condition it is
    """One value cannot be read; the reader stands behind it and goes on."""


class JsonReader:
    """A place in a JSON text. Bytes that are not UTF-8 read as U+FFFD.

    `members` and `elements` stop at each inner value; the caller takes it with `value`, `members` or
    `elements` before going on. All raise `Rejected` when the text is not JSON.
    """

    def __init__(self, body: bytes) -> None:
        self._body = memoryview(body)
        self._read = 0
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._text = ""
        self._at = 0
        self._passed = 0

    def peek(self) -> str:
        """Return the next character that is not blank, "" at the end of the text."""
        while True:
            blank = _BLANK.match(self._text, self._at)
            self._at = blank.end() if blank else self._at
            if self._at < len(self._text) or not self._fill(_CHUNK):
                return self._text[self._at : self._at + 1]

    def members(self) -> Iterator[str]:
        """Walk an object: stop before each value and yield its key."""
        self._expect("{")
        if self._take("}"):
            return
        while True:
            if self.peek() != '"':
                raise self._error("a key in quotes")
            key: str = self.value()
            self._expect(":")
            yield key
            if self._take("}"):
                return
            self._expect(",")

    def elements(self) -> Iterator[None]:
        """Walk an array: stop before each value."""
        self._expect("[")
        if self._take("]"):
            return
        while True:
            yield
            if self._take("]"):
                return
            self._expect(",")

    def value(self) -> Any:
        """Return the next value as `json.loads` would. Raises `Unreadable` after passing over it."""
        self.peek()
        while True:
            try:
                value, end = _decode(self._text, self._at)
            except json.JSONDecodeError:
                # Wrong, or cut off by the end of what is decoded so far.
                seen = len(self._text) - self._at
                if seen >= _UNMEASURED_CHARS:
                    return self._large_value()
                if not self._fill(max(min(seen, _UNMEASURED_CHARS - seen), _CHUNK)):
                    raise self._error("a value") from None
            except RecursionError:
                self.pass_over()
                raise Unreadable("nested too deep") from None
            except ValueError:
                self.pass_over()
                raise Unreadable("with a number of too many digits") from None
            else:
                # A number may go on behind the end of what is decoded so far: 1|2, 1.|5, 1e+|2.
                if isinstance(value, int | float) and len(self._text) - end <= 2 and self._fill(_CHUNK):
                    continue
                start, self._at = self._at, end
                if is_too_deep(value, self._text, start, end):
                    raise Unreadable("nested too deep")
                return value

    def finish(self) -> None:
        """Raise `Rejected` unless only blanks are left."""
        if self.peek():
            raise self._error("the end of the text")

    def _large_value(self) -> Any:
        text = self.pass_over()
        if text is None:
            raise Unreadable("that is too large")
        try:
            return loads(text)
        except TooDeep:
            raise Unreadable("nested too deep") from None
        except ValueError as error:
            raise Rejected(f"the body is not JSON: {error}") from None

    def pass_over(self) -> str | None:
        """Move behind the next value; return its text unless it is too large to be read."""
        if self._text[self._at] not in '"[{':
            self._pass_over_scalar()
            return None
        position = self._at
        depth = tokens = 0
        in_string = False
        kept = True
        while True:
            found = (_TO_QUOTE.match if in_string else _MARK.search)(self._text, position)
            if found is None:
                position = len(self._text)
                if in_string and (slashes := _BACKSLASHES.search(self._text)):
                    # An escape stays whole.
                    position -= len(slashes[0]) % 2
                kept = kept and position - self._at <= MAX_VALUE_CHARS
                if not kept:
                    self._at = position
                gone = self._at
                if not self._fill(_CHUNK):
                    raise self._error("the end of a value")
                position -= gone
                continue
            position = found.end()
            if in_string:
                in_string = False
            else:
                tokens += 1
                kept = kept and tokens <= MAX_VALUE_TOKENS
                mark = found[0]
                if mark == '"':
                    in_string = True
                    continue
                depth += 1 if mark in "[{" else -1
            if depth == 0:
                text = self._text[self._at : position] if kept else None
                self._at = position
                return text

    def _pass_over_scalar(self) -> None:
        while (found := _AFTER_SCALAR.search(self._text, self._at)) is None:
            self._at = len(self._text)
            if not self._fill(_CHUNK):
                return
        self._at = found.start()

    def _fill(self, size: int) -> bool:
        """Decode `size` more bytes and forget what is behind; False at the end of the body."""
        if self._read >= len(self._body):
            return False
        chunk = self._body[self._read : self._read + size]
        self._read += len(chunk)
        more = self._decoder.decode(chunk, self._read >= len(self._body))
        self._text = self._text[self._at :] + more
        self._passed += self._at
        self._at = 0
        return True

    def _take(self, mark: str) -> bool:
        if self.peek() != mark:
            return False
        self._at += 1
        return True

    def _expect(self, mark: str) -> None:
        if not self._take(mark):
            raise self._error(f"'{mark}'")

    def _error(self, expected: str) -> Rejected:
        return Rejected(f"the body is not JSON of the right shape: expected {expected} at character "
                        f"{self._passed + self._at}")  # fmt: skip

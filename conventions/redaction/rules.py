"""What is looked for, and what becomes of it."""

from __future__ import annotations

import hashlib
import hmac
import json
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Literal

from spanledger.conventions.nesting import loads
from spanledger.conventions.redaction.detectors import Entity, find
from spanledger.conventions.redaction.patterns import spans

MASK: Final = "****"
"""The Collector's."""
HashFunction = Literal["md5", "sha1", "sha3", "hmac-sha256", "hmac-sha512"]

Found = Counter[str]
"""Entity -> how often: an `Entity`, `blocked_value`, `blocked_key` or `key`."""

_MAX_DEPTH: Final = 64
_LEAST_CARD: Final = 10**12


def hashing(function: HashFunction, key: str = "") -> Callable[[str], str]:
    """Return what makes a hash of a text, in hexadecimal."""
    makers: dict[str, Callable[[bytes], Any]] = {
        "md5": hashlib.md5, "sha1": hashlib.sha1, "sha3": hashlib.sha3_256,
        "hmac-sha256": lambda text: hmac.new(key.encode(), text, "sha256"),
        "hmac-sha512": lambda text: hmac.new(key.encode(), text, "sha512"),
    }  # fmt: skip
    make = makers[function]
    return lambda text: str(make(text.encode("utf-8", "surrogatepass")).hexdigest())


@dataclass(frozen=True, slots=True)
class Redactor:
    """Applies rules to values. It changes what it finds and nothing else: numbers, booleans and structure stay."""

    entities: tuple[Entity, ...] = ()
    blocked_values: tuple[re.Pattern[str], ...] = ()
    allowed_values: tuple[re.Pattern[str], ...] = ()
    blocked_keys: tuple[re.Pattern[str], ...] = ()
    hashed: Callable[[str], str] | None = None
    """What is put in the place of what was found; None for a mask."""

    def key_is_blocked(self, key: str) -> bool:
        """Tell whether whatever is under a key is to go."""
        return any(True for pattern in self.blocked_keys for _ in spans(pattern, key))

    def text(self, text: str, found: Found) -> str:
        """Return a text without what should not be kept. JSON in it is taken apart, and stays JSON."""
        if text[:1] in "{[" and text[-1:] in "}]" and len(text) > 1:
            try:
                document = loads(text)
            except ValueError:
                return self._plain(text, found)
            before = found.total()
            changed = self.value(document, found)
            if found.total() == before:
                return text
            return json.dumps(changed, ensure_ascii=False, separators=(",", ":"))
        return self._plain(text, found)

    def value(self, value: Any, found: Found, depth: int = 0) -> Any:
        """Return plain data without what should not be kept. Too deep for us is as good as blocked."""
        if isinstance(value, str):
            return self.text(value, found) if depth < _MAX_DEPTH else self._gone(value, "blocked_value", found)
        if isinstance(value, int | float) and not isinstance(value, bool):
            return self.number(value, found)
        if depth >= _MAX_DEPTH and isinstance(value, dict | list):
            return self._gone(json.dumps(value), "blocked_value", found)
        if isinstance(value, dict):
            return {
                self._plain(key, found): self.blocked(item, found)
                if self.key_is_blocked(key)
                else self.value(item, found, depth + 1)
                for key, item in value.items()
            }
        if isinstance(value, list):
            return [self.value(item, found, depth + 1) for item in value]
        return value

    def number(self, value: int | float, found: Found) -> int | float | str:
        """Return a number, or what stands for it where it is one of a card."""
        if "cards" in self.entities and isinstance(value, int) and value >= _LEAST_CARD:
            text = str(value)[:32]
            if any(True for _ in find("cards", text)):
                return self._gone(text, "cards", found)
        return value

    def blocked(self, value: Any, found: Found) -> str:
        """Return what stands for whatever is under a blocked key."""
        text = value if isinstance(value, str) else json.dumps(value, default=str)
        if text == MASK:
            return MASK
        return self._gone(text, "blocked_key", found)

    def _gone(self, text: str, entity: str, found: Found) -> str:
        found[entity] += 1
        return self.hashed(text) if self.hashed is not None else MASK

    def _plain(self, text: str, found: Found) -> str:
        if len(text) < 4 or any(True for pattern in self.allowed_values for _ in spans(pattern, text)):
            return text
        places: list[tuple[int, int, str]] = [
            (*span, entity) for entity in self.entities for span in find(entity, text)
        ]
        places += [(*span, "blocked_value") for pattern in self.blocked_values for span in spans(pattern, text)]
        if not places:
            return text
        parts, end = [], 0
        for start, stop, entity in _merged(places):
            said = text[start:stop]
            parts.append(text[end:start])
            parts.append(said if not said.strip("*") else self._gone(said, entity, found))
            end = stop
        parts.append(text[end:])
        return "".join(parts)


def _merged(places: list[tuple[int, int, str]]) -> list[tuple[int, int, str]]:
    """Return places that do not overlap: two that do are one, and go by the name of the first."""
    merged: list[tuple[int, int, str]] = []
    for start, stop, entity in sorted(places, key=lambda one: (one[0], -one[1])):
        if merged and start < merged[-1][1]:
            first, last, name = merged[-1]
            merged[-1] = first, max(last, stop), name
        else:
            merged.append((start, stop, entity))
    return merged

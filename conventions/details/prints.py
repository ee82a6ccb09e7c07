"""Fingerprints of content: equal content has an equal digest, like content shares shingles.

Digests are keyed, so that nobody without the key can tell whether a known text was said. Canonical content
has sorted keys, numbers by value (1 is 1.0) and no space around texts. Shingles are pairs of neighbouring
words; of many the 64 least are kept, from which `similar` estimates the share that two texts have in common
(a k-minimum-values sketch: Bar-Yossef et al., "Counting distinct elements in a data stream", 2002).
"""

from __future__ import annotations

import re
import zlib
from hashlib import blake2b
from heapq import nsmallest
from typing import TYPE_CHECKING, Final

from spanledger.conventions.detail import Print

if TYPE_CHECKING:
    from spanledger.conventions.content import Json
    from spanledger.conventions.detail import Digest

MAX_CHARS: Final = 16_384
"""Of longer text the two ends and the length count."""
MAX_WORDS: Final = 256
"""Words of each end of a text that are looked at for shingles."""
MAX_SHINGLES: Final = 64
MAX_REMEMBERED: Final = 65_536
"""Digests of parts of messages: about 7 MB."""

_WORD: Final = re.compile(rb"[0-9a-z]+")
_MAX_EXACT: Final = 2**53


class Printer:
    """Makes digests and prints with one key (at most 64 bytes are used)."""

    __slots__ = ("_key", "_plus", "_times", "parts")

    def __init__(self, key: bytes) -> None:
        self._key = key[:64]
        self.parts: dict[int, Digest] = {}
        """Python's hash of a part of a message -> its digest: each call repeats the parts of those before it.
        The hash is keyed too, and forgotten with the process; no content is kept."""
        secret = blake2b(b"shingles", digest_size=16, key=self._key).digest()
        self._times = int.from_bytes(secret[:8], "big") | 1
        self._plus = int.from_bytes(secret[8:], "big")

    def digest(self, text: str) -> Digest:
        """Return 64 bits that only this key makes of `text`."""
        data = clipped(text).encode("utf-8", "surrogatepass")
        return int.from_bytes(blake2b(data, digest_size=8, key=self._key).digest(), "big")

    def remember(self, key: int, text: str) -> Digest:
        """Return the digest of `text`, and know it by `key` from now on."""
        if len(self.parts) >= MAX_REMEMBERED:
            self.parts.clear()
        made = self.parts[key] = self.digest(text)
        return made

    def exact(self, text: str) -> Digest:
        """Return the digest of a text of any length, all of which counts."""
        data = text.encode("utf-8", "surrogatepass")
        return int.from_bytes(blake2b(data, digest_size=8, key=self._key).digest(), "big")

    def print(self, value: Json) -> Print:
        """Return the fingerprint of any JSON value; of a text it is that of the text itself."""
        text = value.strip() if isinstance(value, str) else canonical(value)
        return Print(self.digest(text), self._shingles(text), len(text))

    def _shingles(self, text: str) -> frozenset[int]:
        # Letters outside ASCII become words of their own, which is what scripts without spaces need.
        data = clipped(text).lower().encode("ascii", "backslashreplace")
        words = _WORD.findall(data)
        if len(words) > 2 * MAX_WORDS:
            words = words[:MAX_WORDS] + words[-MAX_WORDS:]
        # A checksum tells shingles apart, the secret line it is put on hides which they were.
        times, plus = self._times, self._plus
        pairs = map(zlib.crc32, map(b" ".join, zip([b"", *words], words, strict=False)))
        hashes = {(pair * times + plus) >> 24 & 0xFFFFFFFF for pair in pairs}
        return frozenset(hashes if len(hashes) <= MAX_SHINGLES else nsmallest(MAX_SHINGLES, hashes))


def similar(one: Print, other: Print) -> float:
    """Return how much two texts have in common: the share of word pairs that are in both, 0 to 1.

    Exact for texts of up to 64 different pairs, an estimate (standard error about 0.06) beyond that.
    """
    if one.digest == other.digest:
        return 1.0
    if not one.shingles or not other.shingles:
        return 0.0
    least = nsmallest(MAX_SHINGLES, one.shingles | other.shingles)
    both = one.shingles & other.shingles
    return sum(shingle in both for shingle in least) / len(least)


def canonical(value: Json) -> str:
    """Return a text that is the same for equal JSON values, and for no others."""
    return value.strip() if isinstance(value, str) else ascii(_ordered(value))


def _ordered(value: Json) -> object:
    if isinstance(value, str):
        return value.strip()
    if isinstance(value, dict):
        return tuple(sorted((key, _ordered(inner)) for key, inner in value.items()))
    if isinstance(value, list):
        return [_ordered(inner) for inner in value]
    if isinstance(value, float) and value.is_integer() and abs(value) < _MAX_EXACT:
        return int(value)
    return value


def clipped(text: str) -> str:
    """Return `text`, or of a long one both ends and the length."""
    if len(text) <= MAX_CHARS:
        return text
    half = MAX_CHARS // 2
    return f"{text[:half]}\0{len(text)}\0{text[-half:]}"

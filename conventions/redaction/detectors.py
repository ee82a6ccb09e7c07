"""Finds what should not be kept, by its form and where there is one by its checksum.

Every repeat has a limit and no two neighbouring ones match the same, so that a hostile text takes no longer than
any other. The forms of keys are those that their issuers publish.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Final, Literal, get_args

Entity = Literal["secrets", "emails", "cards", "phones", "ips"]
ENTITIES: Final[tuple[Entity, ...]] = get_args(Entity)

Span = tuple[int, int]
"""Start and end in a text."""

_SECRETS: Final = re.compile(
    r"-----BEGIN [A-Z ]{0,40}PRIVATE KEY-----[A-Za-z0-9+/=\s\\:,.-]{0,16384}"
    r"|(?<![A-Za-z0-9])(?:"
    r"(?:AKIA|ASIA|ABIA|ACCA)[A-Z0-9]{16}(?![A-Za-z0-9])"
    r"|gh[pousr]_[A-Za-z0-9]{36,255}|github_pat_[A-Za-z0-9_]{22,255}|glpat-[A-Za-z0-9_-]{20,100}"
    r"|sk-[A-Za-z0-9_-]{20,255}|[sr]k_(?:live|test)_[A-Za-z0-9]{10,255}"
    r"|xox[abeoprs]-[A-Za-z0-9-]{10,255}|AIza[A-Za-z0-9_-]{35}|ya29\.[A-Za-z0-9_-]{20,2048}"
    r"|hf_[A-Za-z0-9]{30,100}|npm_[A-Za-z0-9]{36}|pypi-[A-Za-z0-9_-]{50,512}|lsv2_[a-z]{2}_[a-f0-9]{32}_[a-f0-9]{10}"
    r"|eyJ[A-Za-z0-9_-]{8,4096}\.[A-Za-z0-9_-]{8,8192}\.[A-Za-z0-9_-]{8,2048}"
    r")"
)
_HINTS: Final = (
    "PRIVATE KEY", "AKIA", "ASIA", "ABIA", "ACCA", "ghp_", "gho_", "ghu_", "ghs_", "ghr_", "github_pat_", "glpat-",
    "sk-", "sk_", "rk_", "xox", "AIza", "ya29.", "hf_", "npm_", "pypi-", "lsv2_", "eyJ",
)  # fmt: skip
_SHORTEST: Final = 18
"""Characters of a key, at least."""
_NAMES: Final = ("bearer", "basic", "key", "secret", "passw", "token")
_NAMED: Final = re.compile(
    r"(?<![a-z0-9])(?:bearer[ \t]{1,4}|basic[ \t]{1,4}"
    r"|(?:api[_-]?key|access[_-]?key|client[_-]?secret|secret[_-]?key|password|passwd|auth[_-]?token|access[_-]?token)"
    r"[\"']{0,2}[ \t]{0,4}[:=][ \t]{0,4}[\"']?(?:bearer[ \t]{1,4}|basic[ \t]{1,4})?)"
    r"(?P<secret>[A-Za-z0-9._~+/=!@#$%^&-]{6,4096})",
    re.IGNORECASE,
)
"""What something is called tells that it is one; a mask is none."""
_IN_URL: Final = re.compile(r"://[^\s/:@]{1,128}:(?P<secret>[^\s/@*]{3,256})@")
_EMAIL: Final = re.compile(
    r"(?<![A-Za-z0-9._%+-])[A-Za-z0-9._%+-]{1,64}@[A-Za-z0-9](?:[A-Za-z0-9-]{0,62}\.){1,8}[A-Za-z]{2,24}(?![A-Za-z0-9-])"
)
_CARD: Final = re.compile(r"(?<![A-Za-z0-9.,_-])[2-6](?:[ -]?\d){12,18}(?![A-Za-z0-9_])")
_PHONE: Final = re.compile(
    r"(?<![\w.+-])(?:\+\d{1,3}(?:[ .-]?\(?\d{1,4}\)?){2,6}|\(\d{3}\) ?\d{3}-\d{4}|\d{3}-\d{3}-\d{4})(?![\w-])"
)
_IPV4: Final = re.compile(r"(?<![\w.])\d{1,3}(?:\.\d{1,3}){3}(?![\w.])")
_IPV6: Final = re.compile(r"(?<![\w:.])[0-9A-Fa-f]{0,4}(?::[0-9A-Fa-f]{0,4}){2,7}(?![\w:.])")


def find(entity: Entity, text: str) -> Iterator[Span]:
    """Yield where a text has one, in order; they do not overlap within one kind of form."""
    return _FINDERS[entity](text)


def _secrets(text: str) -> Iterator[Span]:
    # Most texts have none of these words, and to look for them takes a tenth of the time.
    if len(text) >= _SHORTEST and any(hint in text for hint in _HINTS):
        for match in _SECRETS.finditer(text):
            yield match.span()
    lower = text.lower()
    if any(name in lower for name in _NAMES):
        for match in _NAMED.finditer(text):
            yield match.span("secret")
    if "://" in text and "@" in text:
        for match in _IN_URL.finditer(text):
            yield match.span("secret")


def _emails(text: str) -> Iterator[Span]:
    if "@" in text:
        for match in _EMAIL.finditer(text):
            yield match.span()


def _cards(text: str) -> Iterator[Span]:
    for match in _CARD.finditer(text):
        if _luhn([int(digit) for digit in match[0] if digit.isdigit()]):
            yield match.span()


def _luhn(digits: list[int]) -> bool:
    """Check the last digit, as ISO/IEC 7812-1 has it."""
    doubled = [digit * 2 - 9 * (digit > 4) for digit in digits[-2::-2]]
    return len(set(digits)) > 1 and (sum(digits[::-2]) + sum(doubled)) % 10 == 0


def _phones(text: str) -> Iterator[Span]:
    for match in _PHONE.finditer(text):
        if 8 <= sum(character.isdigit() for character in match[0]) <= 15:  # E.164
            yield match.span()


def _ips(text: str) -> Iterator[Span]:
    for form in (_IPV4, _IPV6):
        for match in form.finditer(text):
            try:
                ipaddress.ip_address(match[0])
            except ValueError:
                continue
            yield match.span()


_FINDERS: Final[Mapping[Entity, Callable[[str], Iterator[Span]]]] = {
    "secrets": _secrets, "emails": _emails, "cards": _cards, "phones": _phones, "ips": _ips,
}  # fmt: skip

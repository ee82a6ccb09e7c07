"""What counts as a secret in a configuration, and how it is kept out of messages and print-config."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, Final

import pydantic

from spanledger.service.nodes import Path

MASK: Final = "[REDACTED]"

_SECRET_KEY: Final = re.compile(
    r"(password|passwd|passphrase|secret|token|credentials?|authorization|cookie|dsn|apikey|(^|_)(key|pass|pwd|auth))$"
)
_USERINFO: Final = re.compile(r"(?<=://)[^/@\s]+@")
_QUERY: Final = re.compile(r"(://[^\s?'\"]*\?)[^\s'\"]+")
_PYDANTIC_MASK: Final = str(pydantic.SecretStr("-"))
_PART: Final = 4
"""Characters of a secret that tell something about it."""


def is_secret(path: Path) -> bool:
    """Tell whether a string at `path` is to be kept from view, judged by its keys alone.

    `key_file` and `token_path` name files, and are none.
    """
    names = [name.lower().replace("-", "_") for name in path if not name.isdecimal()]
    return bool(names) and ("headers" in names[:-1] or bool(_SECRET_KEY.search(names[-1])))


def masked(value: Any, path: Path = ()) -> Any:
    """Return a dumped configuration without its secrets: by type, by key, and user, password and query of URLs."""
    if isinstance(value, dict):
        return {name: masked(child, (*path, str(name))) for name, child in value.items()}
    if isinstance(value, list):
        return [masked(child, (*path, str(position))) for position, child in enumerate(value)]
    if not isinstance(value, str):
        return value
    if value == _PYDANTIC_MASK or (value and is_secret(path)):
        return MASK
    return _without_secrets(value)


def scrubbed(message: str, secrets: Iterable[str]) -> str:
    """Return a message without any of `secrets`; without a word of it where it quotes a part of one."""
    for secret in secrets:
        message = message.replace(secret, MASK) if len(secret) > 1 else message
        if any(secret[start : start + _PART] in message for start in range(len(secret) - _PART + 1)):
            return f"the value is not accepted; why cannot be shown without showing {MASK}"
    return _without_secrets(message)


def _without_secrets(text: str) -> str:
    """Return a text whose URLs have neither user and password nor what stands in their queries."""
    return _QUERY.sub(r"\1" + MASK, _USERINFO.sub(MASK + "@", text))

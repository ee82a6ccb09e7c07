"""JetBrains Koog 1.1, Kotlin and Java. It speaks the conventions, under a scope that is the application's name.

An agent has an id and no name; one that nobody gave is a random UUID, and names nothing. There is no attribute for the
cache or for reasoning.
"""

from __future__ import annotations

import re
from typing import Final

from spanledger.conventions import coerce
from spanledger.conventions.dialect import AGENT_NAME, MAX_NAME_CHARS, Dialect, Facts
from spanledger.conventions.values import Value

_ID: Final = "gen_ai.agent.id"
_RANDOM: Final = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


def _complete(facts: Facts) -> None:
    if facts.kind == "agent":
        facts.offer_found(AGENT_NAME, _ID, _name)


def _name(agent: Value) -> str | None:
    given = coerce.text(agent)
    return None if given is None or _RANDOM.fullmatch(given) else given[:MAX_NAME_CHARS]


DIALECT: Final = Dialect(
    name="koog",
    source="https://github.com/JetBrains/koog",
    scopes=("ai.koog",),
    evidence=("koog.",),
    complete=_complete,
)

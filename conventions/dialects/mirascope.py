"""Mirascope 2.x (`mirascope.ops`): its calls, beside the functions that were traced.

It speaks the conventions but for the parts of a count, which stand in JSON of its own; a traced function repeats that
of the call in it. A model's id ends in the API of OpenAI's that is asked.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from spanledger.conventions import coerce
from spanledger.conventions.dialect import REQUEST_MODEL, RESPONSE_MODEL, STRUCTURAL, Dialect, Facts
from spanledger.conventions.values import Value

_USAGE: Final = "mirascope.response.usage"
_APIS: Final = (":completions", ":responses")
_PARTS: Final = {
    "gen_ai.usage.cache_read.input_tokens": "cache_read_tokens",
    "gen_ai.usage.cache_write.input_tokens": "cache_write_tokens",
    "gen_ai.usage.reasoning.output_tokens": "reasoning_tokens",
}


def _complete(facts: Facts) -> None:
    if facts.kind != "llm":
        return
    for target in (REQUEST_MODEL, RESPONSE_MODEL):
        model = facts.text(target)
        if model is not None and model.endswith(_APIS):
            facts.correct(target, target, model.rpartition(":")[0])
    for target, read in _READ.items():
        facts.offer_found(target, _USAGE, read)


@dataclass(frozen=True, slots=True)
class _Part:
    """Reads a part of a count."""

    name: str

    def __call__(self, usage: Value) -> Value:
        said = coerce.parse_json(usage)
        # It fills in 0 for what a provider does not tell.
        return (coerce.count(said.get(self.name)) or None) if isinstance(said, dict) else None


_READ: Final = {target: _Part(name) for target, name in _PARTS.items()}

DIALECT: Final = Dialect(
    name="mirascope",
    source="https://github.com/Mirascope/mirascope",
    scopes=("mirascope",),
    evidence=("mirascope.",),
    kinds={"mirascope.type": {"trace": STRUCTURAL}},
    complete=_complete,
)

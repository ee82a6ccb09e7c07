"""TanStack AI (`@tanstack/ai` 0.58, `otelMiddleware`), whose spans are made by the application's own tracer.

It speaks the conventions. The span around all turns of a `chat` names no operation and sums their tokens up;
Anthropic's input counts are passed on without the cache.
"""

from __future__ import annotations

from typing import Final

from spanledger.conventions.dialect import Dialect, Facts, Kinded

_TURNS: Final = "tanstack.ai.iterations"


def _complete(facts: Facts) -> None:
    facts.emitter = "@tanstack/ai"
    if _TURNS in facts.attributes:
        facts.kind, facts.operation = Kinded("agent", "invoke_agent")


DIALECT: Final = Dialect(
    name="tanstack_ai",
    source="https://github.com/TanStack/ai",
    scopes=("@tanstack/ai",),
    evidence=("tanstack.ai.",),
    complete=_complete,
)

"""NVIDIA NeMo Guardrails 0.24 (`tracing` with the `OpenTelemetry` adapter).

It speaks the conventions, but the operation of a model call is the task that the call was made for: `general`,
`self_check_input`. A call that was answered out of its cache says so. A request that failed makes no spans.
"""

from __future__ import annotations

from typing import Final

from spanledger.conventions.dialect import REQUEST_MODEL, STRUCTURAL, Dialect, Facts, Kinded

_REQUEST: Final = Kinded("workflow", "invoke_workflow")
_GENERATING: Final = ("generation", "dialog")
"""What is not there to hold anything back; no set: it may be a list."""


def _rail(facts: Facts) -> Kinded:
    return STRUCTURAL if facts.attributes.get("rail.type") in _GENERATING else Kinded("guardrail")


def _complete(facts: Facts) -> None:
    if facts.kind == "other" and (REQUEST_MODEL in facts.values or "gen_ai.usage.input_tokens" in facts.values):
        facts.kind, facts.operation = Kinded("llm", "chat")
    if facts.kind == "llm" and facts.attributes.get("llm.cache.hit") is True:
        facts.unbilled = "cache_hit"


DIALECT: Final = Dialect(
    name="nemo_guardrails",
    source="https://github.com/NVIDIA/NeMo-Guardrails",
    scopes=("nemo_guardrails",),
    names={"guardrails.request": _REQUEST, "guardrails.rail": _rail, "guardrails.action": STRUCTURAL},
    operations={"guardrails": _REQUEST},
    complete=_complete,
)

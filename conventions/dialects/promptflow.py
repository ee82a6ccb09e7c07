"""Microsoft Prompt flow (`promptflow-tracing` 1.18), which Azure's evaluators are traced with.

A call's answer stands whole in `output`, and there alone what was cached and reasoned; of a stream it is the list of
its chunks. A `Tool` is a node of a flow that no model asked for. `__computed__.*` are sums over descendants.
"""

from __future__ import annotations

from typing import Final

from spanledger.conventions import coerce
from spanledger.conventions.dialect import (
    MODEL_CALLS,
    REQUEST_MODEL,
    RESPONSE_ID,
    RESPONSE_MODEL,
    STRUCTURAL,
    Dialect,
    Facts,
    Kinded,
)
from spanledger.conventions.provider_usage import offer_usage_found, usage_within
from spanledger.conventions.values import Value

_INPUTS: Final = "inputs"
_OUTPUT: Final = "output"


def _complete(facts: Facts) -> None:
    if facts.kind not in MODEL_CALLS:
        return
    facts.offer_found(REQUEST_MODEL, _INPUTS, _model)
    facts.offer_found(RESPONSE_MODEL, _OUTPUT, _model)
    facts.offer_found(RESPONSE_ID, _OUTPUT, _id)
    offer_usage_found(facts, _OUTPUT, usage_within)


def _model(said: Value) -> str | None:
    return _text(said, "model")


def _id(said: Value) -> str | None:
    return _text(said, "id")


def _text(said: Value, name: str) -> str | None:
    found = coerce.parse_json(said)
    if isinstance(found, list) and found:
        found = found[-1]
    return coerce.text(found.get(name)) if isinstance(found, dict) else None


DIALECT: Final = Dialect(
    name="promptflow",
    source="https://github.com/microsoft/promptflow/tree/main/src/promptflow-tracing",
    scopes=("promptflow",),
    kinds={
        "span_type": {
            "LLM": Kinded("llm", "chat"),
            "Embedding": Kinded("embedding", "embeddings"),
            "Retrieval": Kinded("retrieval", "retrieval"),
            "Flow": Kinded("workflow", "invoke_workflow"),
            "Function": STRUCTURAL,
            "Tool": STRUCTURAL,
        },
    },
    content={
        _INPUTS: ("gen_ai.input.messages", "gen_ai.tool.definitions"),
        _OUTPUT: ("gen_ai.output.messages",),
    },
    complete=_complete,
)

"""Guardrails AI 0.11 (`guardrails-ai`): a guard around model calls, and the validators of their answers.

A call has OpenInference's words for tokens and messages, without its kind. The model stands only in what is printed
of the client that was called.
"""

from __future__ import annotations

import re
from typing import Final

from spanledger.conventions.dialect import REQUEST_MODEL, STRUCTURAL, Dialect, Facts, Kinded
from spanledger.conventions.values import Value

_TYPE: Final = "guardrails/guard"
_MODEL: Final = re.compile(
    r"""\{"args": ?\["\{'init_args': \[[^\]]{0,256}\], 'init_kwargs': \{[^{}]{0,512}?'model': '([^'\\]{1,256})'"""
)


def _complete(facts: Facts) -> None:
    if facts.kind == "llm":
        facts.offer_found(REQUEST_MODEL, "input.value", _model)


def _model(called: Value) -> str | None:
    found = _MODEL.match(called) if isinstance(called, str) else None
    return None if found is None else found[1]


DIALECT: Final = Dialect(
    name="guardrails_ai",
    source="https://github.com/guardrails-ai/guardrails/tree/main/guardrails/telemetry",
    scopes=("guardrails-ai",),
    kinds={
        "type": {
            _TYPE: Kinded("workflow", "invoke_workflow"),
            f"{_TYPE}/step": STRUCTURAL,
            f"{_TYPE}/step/call": Kinded("llm", "chat"),
            f"{_TYPE}/step/validator": Kinded("guardrail"),
        },
    },
    names={"call": Kinded("llm", "chat")},  # a streamed one says no more than that
    content={
        "llm.input_messages.": ("gen_ai.input.messages", "gen_ai.system_instructions"),
        "llm.output_messages.": ("gen_ai.output.messages",),
    },
    complete=_complete,
)

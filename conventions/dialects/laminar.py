"""Laminar: SDK 0.8 for Python and its forks of OpenLLMetry's instrumentations.

Spans that an application makes itself have a type of their own. `gen_ai.output.messages` is the provider's list of
choices here. Paths and association properties stand on every span of a request.
"""

from __future__ import annotations

from typing import Final

from spanledger.conventions import coerce
from spanledger.conventions.dialect import (
    CONVERSATION_ID,
    FINISH_REASONS,
    SERVER_ADDRESS,
    STRUCTURAL,
    TOOL_NAME,
    USER_ID,
    Dialect,
    Facts,
    Kinded,
)
from spanledger.conventions.span_attributes import MAX_ITEMS
from spanledger.conventions.values import Value

_TYPE: Final = "lmnr.span.type"
_ANSWERS: Final = "gen_ai.output.messages"
_STREAM_OF_GEMINI: Final = "gemini.generate_content_stream"
_COUNTS: Final = ("gen_ai.usage.input_tokens", "gen_ai.usage.output_tokens", "@total_tokens")
_PROPERTIES: Final = "lmnr.association.properties."


def _model_call(facts: Facts) -> Kinded:
    if "embed" in facts.span.name.lower()[:256]:
        return Kinded("embedding", "embeddings")
    return Kinded("llm", "chat")


def _complete(facts: Facts) -> None:
    if facts.kind == "tool":
        facts.offer_span_name(TOOL_NAME)
    elif facts.kind == "llm":
        facts.offer(FINISH_REASONS, _ANSWERS, facts.find(_ANSWERS, _finish_reasons))
        if facts.attributes.get(_TYPE) == "CACHED":
            facts.unbilled = "cache_hit"
        if facts.span.name == _STREAM_OF_GEMINI:
            _forget_sums(facts)


def _forget_sums(facts: Facts) -> None:
    """Forget the output where it is the sum over the chunks of an answer, each of which counts those before it too.

    The total is that of the first chunk and the sum. So the sum of one chunk alone, which is right, is in it twice.
    """
    known, output, total = (facts.values.get(target) for target in _COUNTS)
    if not (type(known) is type(output) is type(total) is int and total == known + 2 * output):
        facts.forget("gen_ai.usage.output_tokens")
    facts.forget("@total_tokens")


def _finish_reasons(answers: Value) -> Value:
    """Return the reasons of all choices; None where not each has one."""
    choices = coerce.parse_json(answers)
    if not isinstance(choices, list) or not 0 < len(choices) <= MAX_ITEMS:
        return None
    reasons = [coerce.text(choice.get("finish_reason")) if isinstance(choice, dict) else None for choice in choices]
    known: list[Value] = [reason for reason in reasons if reason is not None]
    return known if len(known) == len(reasons) else None


DIALECT: Final = Dialect(
    name="laminar",
    source="https://github.com/lmnr-ai/lmnr-python",
    scopes=("lmnr", "@lmnr-ai/"),
    evidence=(_TYPE, "lmnr.span.input", "lmnr.span.output"),
    kinds={
        _TYPE: {
            "LLM": _model_call,
            "CACHED": _model_call,
            "TOOL": Kinded("tool", "execute_tool"),
            "EVALUATOR": Kinded("evaluation"),
            "HUMAN_EVALUATOR": Kinded("evaluation"),
            "DEFAULT": STRUCTURAL,
        }
    },
    sources={
        CONVERSATION_ID: (_PROPERTIES + "session_id",),
        USER_ID: (_PROPERTIES + "user_id",),
        SERVER_ADDRESS: (("gen_ai.request.base_url", coerce.host),),
        "server.port": (("gen_ai.request.base_url", coerce.port),),
    },
    content={
        "lmnr.span.input": ("gen_ai.tool.call.arguments",),
        "lmnr.span.output": ("gen_ai.tool.call.result",),
    },
    complete=_complete,
)

"""Haystack 2.x and 3.x through `opentelemetry-haystack`, under its own scope or any other.

There is no `gen_ai.*` at all: model, counts and finish reasons stand in the replies, JSON of which the last message
has its `meta`. A component of a pipeline is known by its class alone. An agent has a component around it and steps
within, which are structure.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from spanledger.conventions import coerce
from spanledger.conventions.dialect import (
    FINISH_REASONS,
    MODEL_CALLS,
    RESPONSE_MODEL,
    STRUCTURAL,
    TOOL_CALL_ID,
    TOOL_NAME,
    Choose,
    Dialect,
    Facts,
    Kinded,
)
from spanledger.conventions.provider_usage import offer_usage_found
from spanledger.conventions.span_attributes import MAX_ITEMS
from spanledger.conventions.values import Value

_TYPE: Final = "haystack.component.type"
_ANSWERS: Final = ("haystack.agent.step.llm.output", "haystack.component.output")

_ENDINGS: Final = (
    ("ChatGenerator", Kinded("llm", "chat")),
    ("Generator", Kinded("llm", "text_completion")),
    ("Embedder", Kinded("embedding", "embeddings")),
    ("Retriever", Kinded("retrieval", "retrieval")),
)


def _component(facts: Facts) -> Kinded:
    name = facts.attributes.get(_TYPE)
    if not isinstance(name, str):
        return STRUCTURAL
    return next((kinded for ending, kinded in _ENDINGS if name.endswith(ending)), STRUCTURAL)


_NAMES: Final[dict[str, Kinded | Choose]] = {
    "haystack.agent.run": Kinded("agent", "invoke_agent"),
    "haystack.pipeline.run": Kinded("workflow", "invoke_workflow"),
    "haystack.async_pipeline.run": Kinded("workflow", "invoke_workflow"),
    "haystack.agent.step.tool": Kinded("tool", "execute_tool"),
    "haystack.agent.step.llm": Kinded("llm", "chat"),
    "haystack.component.run": _component,
    "haystack.chat_generator.run": _component,  # within a router, ranker or extractor, or one of several tried in turn
    "haystack.agent.step": STRUCTURAL,
    "haystack.agent.hook": STRUCTURAL,
}


def _complete(facts: Facts) -> None:
    attributes = facts.attributes
    if not facts.told and (known := _NAMES.get(facts.span.name)) is not None:
        # Applications give their own tracer to Haystack, and with it any scope.
        facts.kind, facts.operation = known if isinstance(known, Kinded) else known(facts)
        facts.told = True
    if facts.kind == "tool":
        facts.failed = facts.failed or attributes.get("haystack.tool.error") is True
    elif facts.kind in MODEL_CALLS:
        for key in _ANSWERS:
            if key in attributes:
                _read_answer(facts, key)


def _read_answer(facts: Facts, key: str) -> None:
    for number in range(min(facts.find(key, _count) or 0, MAX_ITEMS)):
        offer_usage_found(facts, key, _Usage(number))
    facts.offer_found(RESPONSE_MODEL, key, _model)
    facts.offer_found(FINISH_REASONS, key, _reasons)


@dataclass(frozen=True, slots=True)
class _Usage:
    """Finds the usage of one of the answers."""

    number: int

    def __call__(self, answer: Value) -> Value:
        metas = _metas(answer)
        usage = metas[self.number].get("usage") if self.number < len(metas) else None
        return usage if isinstance(usage, dict) else None


def _count(answer: Value) -> int:
    return len(_metas(answer))


def _model(answer: Value) -> str | None:
    return next((known for meta in _metas(answer) if (known := coerce.text(meta.get("model"))) is not None), None)


def _reasons(answer: Value) -> list[Value] | None:
    reasons = (coerce.text(meta.get("finish_reason")) for meta in _metas(answer))
    reason = next((reason for reason in reasons if reason is not None), None)
    return None if reason is None else [reason]


def _metas(answer: Value) -> Sequence[dict[str, Value]]:
    return _last_metas(answer) if isinstance(answer, str) and len(answer) <= coerce.MAX_JSON_CHARS else ()


@lru_cache(maxsize=1)
def _last_metas(answer: str) -> Sequence[dict[str, Value]]:
    """Return what a generator or embedder says of its answers: with each reply, in a list, or once.

    Several facts are read from them one after another.
    """
    parsed = coerce.parse_json(answer)
    if not isinstance(parsed, dict):
        return []
    replies, beside = parsed.get("replies"), parsed.get("meta")
    found = [reply.get("meta") for reply in replies if isinstance(reply, dict)] if isinstance(replies, list) else []
    found += beside if isinstance(beside, list) else [beside]
    return [meta for meta in found if isinstance(meta, dict)]


DIALECT: Final = Dialect(
    name="haystack",
    source="https://github.com/deepset-ai/haystack",
    scopes=("haystack",),
    evidence=("haystack.",),
    names=_NAMES,
    sources={TOOL_NAME: ("haystack.tool.name",), TOOL_CALL_ID: ("haystack.tool.call.id",)},
    content={
        "haystack.agent.step.llm.input": ("gen_ai.input.messages", "gen_ai.tool.definitions"),
        "haystack.agent.step.llm.output": ("gen_ai.output.messages",),
        "haystack.agent.step.tool.input": ("gen_ai.tool.call.arguments",),
        "haystack.agent.step.tool.output": ("gen_ai.tool.call.result",),
        "haystack.component.input": ("gen_ai.input.messages", "gen_ai.retrieval.query.text"),
        "haystack.component.output": ("gen_ai.output.messages", "gen_ai.retrieval.documents"),
    },
    complete=_complete,
)

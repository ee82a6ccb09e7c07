"""Monocle 0.8 (`monocle_apptrace`, of the LF AI & Data Foundation).

There is no `gen_ai.*` at all. Who took part in a span is a list of `entity.N` with a name and a type each, and what a
call counted stands in its event `metadata`. A call through a framework has another span below it for the provider's
client, `inference.modelapi`, which says nothing. Anthropic's input counts are passed on without the cache; those that
are read out of the sessions of coding agents have it, and another word for it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Final

from spanledger.conventions import coerce
from spanledger.conventions.dialect import (
    AGENT_NAME,
    FINISH_REASONS,
    MODEL_CALLS,
    PROVIDER,
    REQUEST_MODEL,
    STRUCTURAL,
    TOOL_NAME,
    WORKFLOW_NAME,
    Dialect,
    Facts,
    Kinded,
)
from spanledger.conventions.providers import provider_of
from spanledger.conventions.values import Value, attributes_of

if TYPE_CHECKING:
    from opentelemetry.proto.trace.v1.trace_pb2 import Span

_COUNTS: Final = "metadata"
_OF_SESSIONS: Final = "cache_read_tokens"
_NAMES: Final = {
    "gen_ai.usage.input_tokens": ("prompt_tokens", "input_tokens"),
    "gen_ai.usage.output_tokens": ("completion_tokens", "output_tokens"),
    "@total_tokens": ("total_tokens",),
    "gen_ai.usage.cache_read.input_tokens": ("cache_read_input_tokens", _OF_SESSIONS),
    "gen_ai.usage.cache_write.input_tokens": ("cache_creation_input_tokens", "cache_creation_tokens"),
    "gen_ai.usage.reasoning.output_tokens": ("reasoning_tokens",),
}
_MAX_ENTITIES: Final = 8


def _complete(facts: Facts) -> None:
    if facts.kind in MODEL_CALLS:
        _read_call(facts)
    elif facts.kind == "tool":
        facts.offer(TOOL_NAME, "entity.1.name", coerce.text(facts.attributes.get("entity.1.name")))
    if facts.kind in ("agent", "tool"):
        facts.offer(AGENT_NAME, *_of_type(facts, "agent."))


def _read_call(facts: Facts) -> None:
    facts.offer(REQUEST_MODEL, *_of_type(facts, "model."))
    served = coerce.text(facts.attributes.get("entity.1.type")) or ""
    if served.startswith("inference."):
        facts.offer(PROVIDER, "entity.1.type", provider_of(served.removeprefix("inference.")))
    if facts.find_in_span(_is_of_session):
        facts.emitter = "monocle_apptrace@session"
    for target, names in _NAMES.items():
        facts.offer_found_in_span(target, _COUNTS, _READ[names])
    facts.offer_found_in_span(FINISH_REASONS, _COUNTS, _reason)


def _of_type(facts: Facts, prefix: str) -> tuple[str, str | None]:
    """Return where the name of the first entity of a type stands, and the name."""
    for at in range(1, _MAX_ENTITIES + 1):
        said = facts.attributes.get(f"entity.{at}.type")
        if isinstance(said, str) and said.startswith(prefix):
            key = f"entity.{at}.name"
            return key, coerce.text(facts.attributes.get(key))
    return "", None


def _said(span: Span, name: str) -> Iterator[Value]:
    for event in span.events:
        if event.name == _COUNTS:
            yield attributes_of(event.attributes).get(name)


def _is_of_session(span: Span) -> bool:
    return any(value is not None for value in _said(span, _OF_SESSIONS))


def _reason(span: Span) -> list[Value] | None:
    reason = next((known for value in _said(span, "finish_reason") if (known := coerce.text(value))), None)
    return None if reason is None else [reason]


def _count(names: tuple[str, ...]) -> Callable[[Span], Value]:
    def read(span: Span) -> int | None:
        counts = (coerce.count(value) for name in names for value in _said(span, name))
        return next((count for count in counts if type(count) is int), None)

    return read


_READ: Final = {names: _count(names) for names in _NAMES.values()}

DIALECT: Final = Dialect(
    name="monocle",
    source="https://github.com/monocle2ai/monocle",
    scopes=("monocle_apptrace",),
    kinds={
        "span.type": {
            "inference": Kinded("llm", "chat"),
            "inference.framework": Kinded("llm", "chat"),
            "embedding": Kinded("embedding", "embeddings"),
            "retrieval": Kinded("retrieval", "retrieval"),
            "agentic.invocation": Kinded("agent", "invoke_agent"),
            "agentic.tool.invocation": Kinded("tool", "execute_tool"),
            "agentic.mcp.invocation": Kinded("tool", "execute_tool"),
            "workflow": Kinded("workflow", "invoke_workflow"),
            "agentic.turn": STRUCTURAL,
            "inference.modelapi": STRUCTURAL,
        },
    },
    sources_by_kind={"workflow": {WORKFLOW_NAME: ("workflow.name",)}},
    complete=_complete,
)

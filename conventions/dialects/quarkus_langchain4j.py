"""LangChain4j on Quarkus (`quarkus-langchain4j` 1.x, with `quarkus-opentelemetry`).

The scope is that of all spans of Quarkus, so a method of an AI service is known by its name, and a call by its name and
a model: a name alone may be anybody's. A failure is an event alone, and the status says nothing. It tells no provider,
no cache and no reasoning.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from spanledger.conventions.dialect import (
    AGENT_NAME,
    MAX_NAME_CHARS,
    REQUEST_MODEL,
    Dialect,
    Facts,
    Kinded,
)

if TYPE_CHECKING:
    from opentelemetry.proto.trace.v1.trace_pb2 import Span

_CALL: Final = "completion "
_SERVICE: Final = "langchain4j.aiservices."


def _complete(facts: Facts) -> None:
    if facts.kind == "other" and facts.span.name.startswith(_CALL) and REQUEST_MODEL in facts.values:
        facts.kind, facts.operation = Kinded("llm", "chat")
    if facts.kind == "other":
        return  # of somebody else: the web, a database
    if facts.find_in_span(_has_exception):
        facts.failed = True
    if facts.kind == "agent" and facts.span.name.startswith(_SERVICE):
        service = facts.span.name.removeprefix(_SERVICE).rpartition(".")[0]
        facts.offer(AGENT_NAME, "", service[:MAX_NAME_CHARS] or None)


def _has_exception(span: Span) -> bool:
    return any(event.name == "exception" for event in span.events)


DIALECT: Final = Dialect(
    name="quarkus_langchain4j",
    source="https://github.com/quarkiverse/quarkus-langchain4j",
    scopes=("io.quarkus.opentelemetry",),
    names={_SERVICE: Kinded("agent", "invoke_agent")},
    complete=_complete,
)

"""Spring AI 1.x and 2.x, through Micrometer: every value is text, and one without a value is `none`.

What is not a call of a model says `framework` for its operation and `spring_ai` for its provider; `spring.ai.kind`
tells what it is. Anthropic's and Bedrock's input counts are passed on without the cache. The scope is Spring Boot's:
with its 3.x runs Spring AI 1.x, where calls beside each other tell a running total.
"""

from __future__ import annotations

from typing import Final

from spanledger.conventions.dialect import (
    CONVERSATION_ID,
    OPERATION,
    PROVIDER,
    STRUCTURAL,
    TOOL_CALL_ID,
    TOOL_NAME,
    Dialect,
    Facts,
    Kinded,
)

_KIND: Final = "spring.ai.kind"
_TOOL: Final = "spring.ai.tool."


def _vector_store(facts: Facts) -> Kinded:
    asks = facts.attributes.get("db.operation.name") == "query"
    return Kinded("retrieval", "retrieval") if asks else STRUCTURAL


def _complete(facts: Facts) -> None:
    attributes = facts.attributes
    # The operation `framework` says nothing and comes first.
    if attributes.get(_KIND) == "tool_call" and facts.kind == "other":
        facts.kind, facts.operation = Kinded("tool", "execute_tool")
    if attributes.get(OPERATION) == "image":
        facts.offer("gen_ai.output.type", OPERATION, "image")
    if attributes.get("gen_ai.system") == "spring_ai" or facts.text(PROVIDER) == "spring_ai":
        facts.forget(PROVIDER)


DIALECT: Final = Dialect(
    name="spring_ai",
    source="https://github.com/spring-projects/spring-ai",
    scopes=("org.springframework.boot",),
    evidence=("spring.ai.",),
    accumulates="3.",
    operations={"image": Kinded("llm", "generate_content")},
    kinds={_KIND: {"vector_store": _vector_store, "tool_call": Kinded("tool", "execute_tool"), "advisor": STRUCTURAL}},
    sources={
        CONVERSATION_ID: ("spring.ai.chat.client.conversation.id",),
        TOOL_NAME: (_TOOL + "definition.name",),
        TOOL_CALL_ID: (_TOOL + "call.id",),
        "gen_ai.tool.description": (_TOOL + "definition.description",),
    },
    content={
        _TOOL + "call.arguments": ("gen_ai.tool.call.arguments",),
        _TOOL + "call.result": ("gen_ai.tool.call.result",),
        "db.vector.query.content": ("gen_ai.retrieval.query.text",),
    },
    complete=_complete,
)

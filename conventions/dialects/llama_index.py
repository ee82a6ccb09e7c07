"""LlamaIndex's own tracing (`llama-index-observability-otel` 0.1 to 0.7). With `genai_enabled` it speaks `otel`.

A span is a method: its name is `Class.method`, in older releases with an id behind it. Nearly all that is known of it
stands in its events. Of a model's answer little is told and often nothing, its tokens only where the provider's answer
is flattened as well. A call goes through several methods, each with a span; only the one with the start event asks.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from spanledger.conventions import coerce, semconv
from spanledger.conventions.dialect import (
    AGENT_NAME,
    MODEL_CALLS,
    PROVIDER,
    REQUEST_MODEL,
    RESPONSE_ID,
    RESPONSE_MODEL,
    STRUCTURAL,
    TOOL_CALL_ID,
    TOOL_NAME,
    Dialect,
    Facts,
    Kinded,
)
from spanledger.conventions.provider_usage import offer_usage
from spanledger.conventions.providers import provider_of
from spanledger.conventions.values import attributes_of

if TYPE_CHECKING:
    from spanledger.conventions.values import Attributes, Value

_NAME: Final = re.compile(r"(\w{1,100})\.(\w{1,100}?)(?:-[0-9a-f-]{36})?$")
_STARTS: Final = {
    "LLMChatStartEvent": Kinded("llm", "chat"),
    "LLMCompletionStartEvent": Kinded("llm", "text_completion"),
    "EmbeddingStartEvent": Kinded("embedding", "embeddings"),
    "RetrievalStartEvent": Kinded("retrieval", "retrieval"),
}
_RUNS: Final = frozenset(("run", "arun", "chat", "achat", "stream_chat", "astream_chat"))
_CALLS: Final = frozenset(("call", "acall", "__call__"))
_AGENTS: Final = ("Agent", "AgentRunner", "AgentWorkflow")
_MODEL_KEYS: Final = ("model_dict.model_name", "model_dict.model")
_ANSWER: Final = "response.raw."
_USAGE: Final = "response.raw.usage."
_PROVIDERS: Final = frozenset(semconv.MEMBERS[PROVIDER])
_EVENTS: Final = 64
_STEP: Final = "llamaindex.step.input_summary"
_tool_name = coerce.matching(re.compile(r"^ToolCall\(tool_name='([^'\\]{1,128})'"))
_tool_id = coerce.matching(re.compile(r", tool_id='([\w.:-]{1,128})'\)$"))


def _method(facts: Facts) -> Kinded:
    for event in facts.span.events[:_EVENTS]:
        if event.name in _STARTS:
            return _STARTS[event.name]
    found = _NAME.match(facts.span.name)
    if found is None:
        return STRUCTURAL
    owner, method = found[1], found[2]
    if owner.endswith("Tool") and method in _CALLS:
        return Kinded("tool", "execute_tool")
    if owner.endswith(_AGENTS) and method in _RUNS:
        return Kinded("agent", "invoke_agent")
    if owner.endswith("Workflow") and method == "run":
        return Kinded("workflow", "invoke_workflow")
    return STRUCTURAL


def _complete(facts: Facts) -> None:
    for event in facts.span.events[:_EVENTS]:
        said = attributes_of(event.attributes)
        if facts.kind in MODEL_CALLS:
            _read_call(facts, said)
        elif facts.kind == "tool":
            facts.offer(TOOL_NAME, "", coerce.text(said.get("tool.name", said.get("tool_name"))))
        elif facts.kind == "agent":
            facts.offer(AGENT_NAME, "", coerce.text(said.get("current_agent_name")))
    if facts.kind == "tool":
        facts.offer_found(TOOL_NAME, _STEP, _tool_name)
        facts.offer_found(TOOL_CALL_ID, _STEP, _tool_id)
    if facts.kind in MODEL_CALLS and (found := _NAME.match(facts.span.name)):
        # The class is the client of a provider, or one that an application wrote.
        provider = provider_of(found[1].removesuffix("Embedding").removesuffix("Responses"))
        facts.offer(PROVIDER, "", provider if provider in _PROVIDERS else None)


def _read_call(facts: Facts, said: Attributes) -> None:
    for key in _MODEL_KEYS:
        facts.offer(REQUEST_MODEL, "", coerce.text(said.get(key)))
    facts.offer("gen_ai.request.temperature", "", coerce.number(said.get("model_dict.temperature")))
    facts.offer("gen_ai.request.max_tokens", "", coerce.integer(said.get("model_dict.max_tokens")))
    facts.offer(RESPONSE_MODEL, "", coerce.text(said.get(_ANSWER + "model")))
    facts.offer(RESPONSE_ID, "", coerce.text(said.get(_ANSWER + "id")))
    usage: dict[str, Value] = {}
    for key, value in said.items():
        if key.startswith(_USAGE):
            head, _, leaf = key[len(_USAGE) :].rpartition(".")
            inner = usage.setdefault(head, {}) if head else usage
            if isinstance(inner, dict):
                inner[leaf] = value
    if usage:
        offer_usage(facts, "", usage)


DIALECT: Final = Dialect(
    name="llama_index",
    source="https://github.com/run-llama/llama_index/tree/main/llama-index-integrations/observability/llama-index-observability-otel",
    scopes=("llamaindex.opentelemetry.tracer",),
    evidence=("llamaindex.",),
    any_name=_method,
    complete=_complete,
)

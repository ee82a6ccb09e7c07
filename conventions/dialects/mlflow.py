"""MLflow 2.14 to 3.17.2, exported over OTLP. With `MLFLOW_ENABLE_OTEL_GENAI_SEMCONV` it speaks `otel` instead.

Every `mlflow.*` value is JSON, text included: `"CHAT_MODEL"` has its quotes. `mlflow.llm.model` is the model that
answered, once it has; the model that was asked stands in the request. `mlflow.chat.tokenUsage` leaves out what
providers say about reasoning and writes to the cache, which the answer itself has.
"""

from __future__ import annotations

import re
from typing import Final

from spanledger.conventions import coerce
from spanledger.conventions.answers import offer_grounding, offer_tier, tier_within
from spanledger.conventions.dialect import (
    AGENT_NAME,
    CONVERSATION_ID,
    COST,
    MODEL_CALLS,
    PROVIDER,
    REQUEST_MODEL,
    RESPONSE_ID,
    RESPONSE_MODEL,
    STRUCTURAL,
    TOOL_NAME,
    USER_ID,
    WORKFLOW_NAME,
    Choose,
    Dialect,
    Facts,
    Kinded,
)
from spanledger.conventions.provider_usage import offer_usage_found, usage_object, usage_within
from spanledger.conventions.providers import provider_of
from spanledger.conventions.values import Value

_TYPE: Final = "mlflow.spanType"
_INPUTS: Final = "mlflow.spanInputs"
_OUTPUTS: Final = "mlflow.spanOutputs"
_USAGE: Final = "mlflow.chat.tokenUsage"
_MODEL: Final = "mlflow.llm.model"
_TIER: Final = "service_tier"
_PROGRAM: Final = ".forward"
"""Of DSPy's programs the outermost tells the tokens of all calls, which tell none, and only they name a model."""

_RUNNER: Final = re.compile(r"AgentRunner\.run(_sync|_streamed)?(_\d+)?")
_MEMORY: Final = re.compile(r"search|retriev|recall|query", re.IGNORECASE)
_model_in: Final = coerce.matching(re.compile(r'"model(?:_name|_id|Id)?": ?"([\w.:/@-]{1,256})"'))
_id_in: Final = coerce.matching(re.compile(r'^\{"id": ?"([\w.:-]{1,256})"'))
_CHARS: Final = 65_536
"""Of requests and answers, what is searched for these."""


def _model_call(facts: Facts) -> Kinded:
    return Kinded("llm", "text_completion") if facts.find(_INPUTS, _is_prompt) else Kinded("llm", "chat")


def _is_prompt(request: Value) -> bool:
    return isinstance(request, str) and '"messages"' not in request[:_CHARS] and '"prompt' in request[:_CHARS]


def _agent(facts: Facts) -> Kinded:
    """Tell an agent from what runs agents, of OpenAI's Agents SDK; LlamaIndex's of that name are agents."""
    return STRUCTURAL if _RUNNER.fullmatch(facts.span.name) else Kinded("agent", "invoke_agent")


def _memory(facts: Facts) -> Kinded:
    return Kinded("memory", "search_memory") if _MEMORY.search(facts.span.name[:256]) else Kinded("memory")


def _quoted(kinds: dict[str, Kinded | Choose]) -> dict[str, Kinded | Choose]:
    return {spelled: kinded for kind, kinded in kinds.items() for spelled in (f'"{kind}"', kind)}


def _complete(facts: Facts) -> None:
    if facts.kind == "tool":
        name = coerce.unquoted(facts.attributes.get("name"))
        if name is not None and facts.span.name.endswith(f".{name}"):  # of DSPy's tools the class stands before it
            facts.offer(TOOL_NAME, "name", name)
        facts.offer_span_name(TOOL_NAME)
    elif facts.kind == "agent":
        facts.offer_span_name(AGENT_NAME)
    elif facts.kind == "workflow":
        facts.offer_span_name(WORKFLOW_NAME)
    elif facts.kind in MODEL_CALLS:
        _read_call(facts)
    if facts.kind not in MODEL_CALLS and facts.span.name.endswith(_PROGRAM):
        offer_usage_found(facts, _USAGE)


def _read_call(facts: Facts) -> None:
    attributes = facts.attributes
    asked = coerce.unquoted(attributes.get("model"))
    if asked is None:
        asked = facts.find(_INPUTS, _model_in)
    named = coerce.unquoted(attributes.get(_MODEL))
    facts.offer(REQUEST_MODEL, "model" if "model" in attributes else _INPUTS, asked)
    facts.offer(REQUEST_MODEL, _MODEL, named)
    if named != facts.text(REQUEST_MODEL):
        facts.offer(RESPONSE_MODEL, _MODEL, named)
    served = coerce.unquoted(attributes.get("mlflow.llm.provider"))
    if served is not None:
        facts.offer(PROVIDER, "mlflow.llm.provider", provider_of(served))
    # The answer first: it is the fuller one.
    facts.offer_found(RESPONSE_ID, _OUTPUTS, _id_in)
    offer_usage_found(facts, _OUTPUTS, usage_within)
    offer_usage_found(facts, _USAGE)
    _read_price(facts)
    for name in ("temperature", "top_p", "max_tokens", "seed", "stream"):
        if name in attributes:
            target = f"gen_ai.request.{name}"
            facts.offer(target, name, coerce.coercion_of(target)(attributes[name]))


def _read_price(facts: Facts) -> None:
    """Read what else decides the price, off the answer, or off the request where that is all there is."""
    asked = coerce.unquoted(facts.attributes.get(_TIER))
    if (tier := facts.find(_OUTPUTS, tier_within)) is not None:
        offer_tier(facts, _OUTPUTS, tier)
    elif asked is not None:
        offer_tier(facts, _TIER, asked)
    offer_grounding(facts, _OUTPUTS)


def _cost(value: Value) -> Value:
    details = usage_object(value)
    return None if details is None else coerce.number(details.get("total_cost"))


DIALECT: Final = Dialect(
    name="mlflow",
    source="https://github.com/mlflow/mlflow",
    scopes=("mlflow",),
    evidence=(_TYPE, _INPUTS, _OUTPUTS, _USAGE),
    kinds={
        _TYPE: _quoted({
            "LLM": _model_call,
            "CHAT_MODEL": Kinded("llm", "chat"),
            "EMBEDDING": Kinded("embedding", "embeddings"),
            "RETRIEVER": Kinded("retrieval", "retrieval"),
            "TOOL": Kinded("tool", "execute_tool"),
            "AGENT": _agent,
            "WORKFLOW": Kinded("workflow", "invoke_workflow"),
            "MEMORY": _memory,
            "GUARDRAIL": Kinded("guardrail"),
            "EVALUATOR": Kinded("evaluation"),
            "CHAIN": STRUCTURAL,
        })
    },
    sources={
        COST: (("mlflow.llm.cost", _cost),),
        CONVERSATION_ID: (("mlflow.trace.session", coerce.unquoted),),
        USER_ID: (("mlflow.trace.user", coerce.unquoted),),
    },
    content={
        _INPUTS: (
            "gen_ai.input.messages", "gen_ai.system_instructions", "gen_ai.tool.call.arguments",
            "gen_ai.retrieval.query.text",
        ),
        _OUTPUTS: ("gen_ai.output.messages", "gen_ai.tool.call.result", "gen_ai.retrieval.documents"),
        "mlflow.chat.tools": ("gen_ai.tool.definitions",),
    },
    complete=_complete,
    lends={"LM.__call__": _MODEL},
)  # fmt: skip

"""OpenInference (Arize): semantic-conventions 0.1.42, instrumentations for Python and JavaScript.

Traps, each with a test: `llm.model_name` is the model that answered, once it has; the model that was
asked stands in `llm.invocation_parameters`. `CHAIN` is structural, but the root of a graph or crew is a
workflow. `RERANKER` is no retrieval.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from spanledger.conventions import coerce
from spanledger.conventions.answers import (
    ANSWER_CHARS,
    offer_grounding,
    offer_tier,
    offer_who_answered,
    tier_within,
)
from spanledger.conventions.beeai import is_around, is_event, read_event
from spanledger.conventions.dialect import (
    AGENT_NAME,
    CONVERSATION_ID,
    COST,
    DATA_SOURCES,
    FINISH_REASONS,
    MAX_NAME_CHARS,
    MODEL_CALLS,
    OPENED,
    PROVIDER,
    REQUEST_MODEL,
    RESPONSE_ID,
    RESPONSE_MODEL,
    SERVICE_TIER,
    STRUCTURAL,
    TOOL_CALL_ID,
    TOOL_NAME,
    USAGE,
    USER_ID,
    Dialect,
    Facts,
    Kinded,
)
from spanledger.conventions.emitters import at_boundary
from spanledger.conventions.langchain import is_from_cache, named_node
from spanledger.conventions.provider_usage import offer_usage_found, usage_within
from spanledger.conventions.providers import provider_of, provider_of_model, provider_of_pair
from spanledger.conventions.tool_results import is_failed_result
from spanledger.conventions.values import Value

_KIND: Final = "openinference.span.kind"
_CACHE_READS: Final = "gen_ai.usage.cache_read.input_tokens"
_CACHE_WRITES: Final = "gen_ai.usage.cache_write.input_tokens"
_REASONING: Final = "gen_ai.usage.reasoning.output_tokens"
_INVOCATION: Final = ("llm.invocation_parameters", "embedding.invocation_parameters")
# What a provider answered stands in the output, whole or inside what a framework made of it. Quotes within
# texts are escaped there, so a prompt that speaks of these keys is not taken for them.
_MODEL_ID: Final = re.compile(r'\{"modelId": ?"([\w.:/-]{1,512})"')
_ANSWERED_BY_CLAUDE: Final = re.compile(
    r'\{(?:"(?:id|type|role)": ?"[\w-]{1,256}", ?){0,3}"model": ?"([\w.:/@-]{1,256})"'
)
_CACHE_WRITE: Final = re.compile(r'"input_token_details": ?\{[^{}]{0,256}?"cache_creation": ?([0-9]{1,15})[,}]')
_ANSWER: Final = "output.value"
_METADATA: Final = "metadata"
_FREE: Final = ("open_page", "find_in_page", "find", "open")  # no set: it may be a list
"""What a call of OpenAI's web search may do beside searching."""
_UNFINISHED: Final = re.compile(r'"stop_reason": ?null[,}]')
_FINISHED: Final = re.compile(r'"(?:stop|finish)_reason": ?"')
_FOR_5M: Final = re.compile(r'"ephemeral_5m_input_tokens": ?([0-9]{1,9})[,}]')
_FOR_1H: Final = re.compile(r'"ephemeral_1h_input_tokens": ?([0-9]{1,9})[,}]')
_AGENT: Final = re.compile(r'"lc_agent_name": ?"([^"\\]{1,128})"')
_AGENT_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")
"""Span names that an application gave an agent; instrumentations use those of methods, or several words."""
_BEDROCK: Final = "@arizeai/openinference-instrumentation-bedrock"
_BEEAI: Final = "openinference.instrumentation.beeai"
_SMOLAGENTS: Final = "openinference.instrumentation.smolagents"
_LLAMA_INDEX: Final = "openinference.instrumentation.llama_index"
_HAYSTACK: Final = "openinference.instrumentation.haystack"
_OPENS_STREAM: Final = re.compile(r".*\.a?stream_(?:chat|complete)\w*", re.DOTALL)
_USAGE_IN_META: Final = re.compile(r"""'usage': (\{(?:[^{}"]|\{[^{}"]*\}){0,1024}\})""")
_NO_RESET: Final = re.compile(r'(?<!\\)"reset": ?false')
_CURRENT_AGENT: Final = re.compile(r"current_agent_name='([^'\\]{1,128})'\)")
_END_CHARS: Final = 512
_VECTOR: Final = "embedding.embeddings.0.embedding.vector"
_PROMPTS: Final = frozenset({"llm.prompts", "llm.prompts.0.prompt.text", "llm.choices.0.completion.text"})
_BY_AGENTS: Final = MODEL_CALLS | {"agent", "tool", "retrieval"}
_VARIABLES: Final = "llm.prompt_template.variables"

_NO_CALLS: Final = ("._prepare_chat_with_tools", ".count_tokens")
"""LlamaIndex puts the arguments of a call together, the call is its own span; Anthropic counts a prompt for nothing."""

# Frameworks whose outermost CHAIN is a whole run. A chain of LangChain alone is not one.
_OPENAI_AGENTS: Final = (
    "openinference.instrumentation.openai_agents",
    "@arizeai/openinference-instrumentation-openai-agents",
)
_LISTS_TOOLS: Final = "mcp_tools"
"""What OpenAI's SDK asks a server before each turn; its instrumentation for JavaScript calls that a tool."""
_RUNS: Final = ("openinference.instrumentation.crewai", *_OPENAI_AGENTS)
_GRAPHS: Final = ("openinference.instrumentation.langchain", "@arizeai/openinference-instrumentation-langchain")

_PARAMETERS: Final[Mapping[str, tuple[str, ...]]] = {
    "gen_ai.request.max_tokens": ("max_tokens", "max_completion_tokens", "max_output_tokens"),
    "gen_ai.request.temperature": ("temperature",),
    "gen_ai.request.top_p": ("top_p",),
    "gen_ai.request.top_k": ("top_k",),
    "gen_ai.request.seed": ("seed",),
    "gen_ai.request.frequency_penalty": ("frequency_penalty",),
    "gen_ai.request.presence_penalty": ("presence_penalty",),
    "gen_ai.request.stop_sequences": ("stop", "stop_sequences"),
    "gen_ai.request.choice.count": ("n", "candidate_count"),
    "gen_ai.request.stream": ("stream",),
    "gen_ai.request.reasoning.level": ("reasoning_effort",),
}
_NESTED: Final = (
    ("gen_ai.request.reasoning.level", ("reasoning", "effort")),
    ("gen_ai.output.type", ("response_format", "type")),
    ("gen_ai.output.type", ("text", "format", "type")),
)
_SETTINGS: Final = (
    "id", "model", "model_name", "service_tier", "model_impl", "provider",
    *(name for names in _PARAMETERS.values() for name in names), *(path[0] for _, path in _NESTED),
)  # fmt: skip
"""All that is looked at of the parameters."""
_PREVIOUS: Final = "gen_ai.request.previous_response.id"


def _model_call(facts: Facts) -> Kinded:
    if facts.span.name.endswith(_NO_CALLS) or is_around(facts):
        return STRUCTURAL
    attributes = facts.attributes
    if not _PROMPTS.isdisjoint(attributes.at):
        return Kinded("llm", "text_completion")
    return Kinded("llm", "chat")


def _decision(facts: Facts) -> Kinded:
    """See a model call in a decision that counts tokens."""
    counted = "decision.token_count.input" in facts.attributes or "decision.token_count.output" in facts.attributes
    return Kinded("llm", "chat") if counted else STRUCTURAL


def _chain(facts: Facts) -> Kinded:
    agent = facts.find(_METADATA, _agent_named)
    if agent is not None and agent == facts.span.name:
        return Kinded("agent", "invoke_agent")  # other parts of an agent name it too
    if facts.span.parent_span_id:
        return STRUCTURAL
    if _at_any(facts, _RUNS):
        return Kinded("workflow", "invoke_workflow")
    if _at_any(facts, _GRAPHS) and _is_graph(facts):
        return Kinded("workflow", "invoke_workflow")
    return STRUCTURAL


def _at_any(facts: Facts, scopes: tuple[str, ...]) -> bool:
    return any(at_boundary(facts.scope, scope) for scope in scopes)


def _is_graph(facts: Facts) -> bool:
    return facts.span.name == "LangGraph" or bool(facts.find(_METADATA, _tells_graph))


def _agent_named(metadata: Value) -> str | None:
    found = _AGENT.search(metadata) if isinstance(metadata, str) else None
    return None if found is None else found[1]


def _tells_graph(metadata: Value) -> bool:
    return isinstance(metadata, str) and ("langgraph" in metadata or '"langchain_create_agent"' in metadata)


def _complete(facts: Facts) -> None:
    # LangChain's run metadata, which also names the thread and the agent.
    facts.offer_found(CONVERSATION_ID, _METADATA, _conversation)
    if facts.kind in _BY_AGENTS:
        facts.offer_found(AGENT_NAME, _METADATA, _agent)
    if facts.kind == "agent":
        facts.offer_found(AGENT_NAME, _METADATA, _graph_node)
        if at_boundary(facts.scope, _SMOLAGENTS) and facts.find("input.value", _goes_on):
            for target in USAGE:
                facts.forget(target)
    read_event(facts)
    if facts.kind == "tool" and facts.find(_ANSWER, is_failed_result):
        facts.failed = True
    if facts.kind == "agent" and at_boundary(facts.scope, _SMOLAGENTS):
        facts.offer(AGENT_NAME, "", facts.span.name.removesuffix(".run")[:MAX_NAME_CHARS] or None)
    elif facts.kind == "agent" and _AGENT_NAME.fullmatch(facts.span.name) and not _at_any(facts, _OPENAI_AGENTS):
        facts.offer_span_name(AGENT_NAME)  # agents of OpenAI's SDK say theirs; a trace has whatever it was called
    elif facts.span.name.endswith(".run_agent_step"):
        _read_agent_setup(facts)
    if _VARIABLES in facts.attributes.at:
        facts.offer_variables(_VARIABLES)
    if facts.kind in MODEL_CALLS:
        _read_call(facts)
    elif facts.kind == "tool" and TOOL_NAME not in facts.values:
        name = facts.span.name.removesuffix(".__call__")
        facts.offer(TOOL_NAME, "", name if name and len(name) <= 128 and " " not in name else None)


def _agent_or_answer(facts: Facts) -> Kinded:
    # BeeAI's agents have names; an answer that one of them gives is a span of that kind too.
    if (at_boundary(facts.scope, _BEEAI) and "agent.name" not in facts.attributes) or is_event(facts):
        return STRUCTURAL
    # Whatever has `agent` in its name is one to the instrumentation of LangChain, a function that finds one too.
    if facts.find(_METADATA, _is_plumbing):
        return STRUCTURAL
    return Kinded("agent", "invoke_agent")


def _tool_call(facts: Facts) -> Kinded:
    lists = facts.span.name == _LISTS_TOOLS and _at_any(facts, _OPENAI_AGENTS)
    return STRUCTURAL if lists or is_around(facts) else Kinded("tool", "execute_tool")


def _goes_on(arguments: Value) -> bool:
    """Tell whether an agent of smolagents goes on from its last run: it then reports the tokens of both."""
    return isinstance(arguments, str) and _NO_RESET.search(arguments) is not None


def _read_agent_setup(facts: Facts) -> None:
    """Find the agent whose turn it is where LlamaIndex's workflows print it, at the end of what they set up."""
    facts.offer_found(AGENT_NAME, "input.value", _current_agent)


def _current_agent(setup: Value) -> str | None:
    found = _CURRENT_AGENT.search(setup, max(0, len(setup) - _END_CHARS)) if isinstance(setup, str) else None
    return None if found is None else found[1]


def _read_call(facts: Facts) -> None:
    attributes = facts.attributes
    if at_boundary(facts.scope, _LLAMA_INDEX) and _OPENS_STREAM.fullmatch(facts.span.name):
        facts.offer(OPENED, "", True)
    if PROVIDER not in facts.values:
        serves, speaks = coerce.text(attributes.get("llm.provider")), coerce.text(attributes.get("llm.system"))
        facts.offer_found(PROVIDER, _METADATA, _seller)
        facts.offer(PROVIDER, "llm.provider" if serves else "llm.system", provider_of_pair(serves, speaks))
    if "llm.cost.prompt" in attributes:
        facts.offer_sum(COST, "llm.cost.prompt", "llm.cost.completion")
    if _VECTOR in attributes.at:
        dimensions = len(attributes.message(_VECTOR).array_value.values)
        facts.offer("gen_ai.embeddings.dimension.count", _VECTOR, dimensions or None)
    tier: str | None = None
    named = coerce.text(attributes.get("llm.model_name"))
    if at_boundary(facts.scope, _BEDROCK):
        # `llm.model_name` is cut out of the id by its dots: of an inference profile it is the vendor.
        facts.offer_found(REQUEST_MODEL, "input.value", _model_id)
        if named == attributes.get("llm.system"):
            named = None
            facts.offer_found(RESPONSE_MODEL, _ANSWER, _claude)
    asked: Value = None
    for key in _INVOCATION:
        alike = facts.find(key, _alike)
        parameters = _settings(attributes.get(key) if alike is None else alike)
        if parameters is None:
            continue
        model = coerce.text(parameters.get("model")) or coerce.text(parameters.get("model_name"))
        if str(parameters.get("id", "")).startswith("resp_"):  # the Responses API repeats the request in its answer
            facts.offer_found(RESPONSE_ID, key, _id_of_answer)
            facts.offer(RESPONSE_MODEL, key, model)
        else:
            asked = model
        tier = tier or coerce.text(parameters.get("service_tier"))
        if "model_impl" in parameters:
            # OpenAI's Agents SDK with a model of another SDK: `llm.system` is `openai` there, whoever serves it.
            served = coerce.text(parameters.get("provider"))
            facts.correct(PROVIDER, key, provider_of(served) if served else provider_of_model(named or ""))
        _read_parameters(facts, key, parameters)
        facts.offer_found(_PREVIOUS, key, _id_of_previous)
    if asked is not None and named is not None and facts.text(REQUEST_MODEL) == named:
        facts.correct(REQUEST_MODEL, "llm.invocation_parameters", asked)  # a converter took the one that answered
    facts.offer(REQUEST_MODEL, "llm.invocation_parameters", asked)
    if asked is not None and named != asked:
        facts.offer(RESPONSE_MODEL, "llm.model_name", named)
    if named != facts.text(RESPONSE_MODEL):
        facts.offer(REQUEST_MODEL, "llm.model_name", named)
    _read_answer(facts)
    if tier is not None and facts.find(_ANSWER, tier_within) is None:  # what was asked for is not always given
        offer_tier(facts, "llm.invocation_parameters", tier, "request")
    if "llm.finish_reason" in attributes.at and facts.values.get(FINISH_REASONS) == ["stop"]:
        # Converters write `stop` where they do not know.
        facts.correct(FINISH_REASONS, "llm.finish_reason", coerce.texts(attributes["llm.finish_reason"]))


def _model_id(request: Value) -> str | None:
    """Find the model of a request of Bedrock's Converse."""
    if not isinstance(request, str):
        return None
    found = _MODEL_ID.match(request)
    if found is not None:
        return found[1]
    said = coerce.parse_json(request)
    return coerce.text(said.get("modelId")) if isinstance(said, dict) else None


def _claude(answer: Value) -> str | None:
    found = _ANSWERED_BY_CLAUDE.match(answer) if isinstance(answer, str) else None
    return None if found is None else found[1]


def _read_answer(facts: Facts) -> None:
    """Find what no attribute says in the provider's own answer."""
    offer_who_answered(facts, _ANSWER)
    if facts.find(_ANSWER, is_from_cache):
        facts.unbilled = "cache_hit"
    facts.offer_found(_CACHE_WRITES, _ANSWER, _cache_write)
    if SERVICE_TIER not in facts.values and (tier := facts.find(_ANSWER, tier_within)) is not None:
        offer_tier(facts, _ANSWER, tier, "response")
    if at_boundary(facts.scope, _HAYSTACK):
        offer_usage_found(facts, _ANSWER, _usage_of_haystack)
    if any(target not in facts.values and facts.find(_ANSWER, counts) for target, counts in _DETAILED):
        offer_usage_found(facts, _ANSWER, usage_within)
    facts.offer_found("@web_search", _ANSWER, _searches)
    facts.offer_found("@file_search", _ANSWER, _file_searches)
    if facts.find(_ANSWER, _is_unfinished) or (FINISH_REASONS not in facts.values and facts.find(_ANSWER, _is_cut)):
        facts.forget_beginning()
    offer_grounding(facts, _ANSWER)
    if facts.find(_ANSWER, _is_in_words_of_anthropic):
        facts.offer_found("@cache_write_5m", _ANSWER, _written_for_5m)
        facts.offer_found("@cache_write_1h", _ANSWER, _written_for_1h)


@dataclass(frozen=True, slots=True)
class _Says:
    """Tells whether one of the words stands in an answer."""

    words: tuple[str, ...]

    def __call__(self, answer: Value) -> bool:
        return isinstance(answer, str) and any(word in answer for word in self.words)


_DETAILED: Final = (
    (_CACHE_READS, _Says(("cached_tokens", "cache_read_input_tokens", "cacheReadInputTokens"))),
    (_CACHE_WRITES, _Says(("cache_write_tokens", "cache_creation_input_tokens", "cacheWriteInputTokens"))),
    (_REASONING, _Says(("reasoning_tokens", "thinking_tokens"))),
    ("gen_ai.usage.image.output_tokens", _Says(('"modality":"IMAGE"', '"modality": "IMAGE"'))),
    (SERVICE_TIER, _Says(("ON_DEMAND_FLEX", "ON_DEMAND_PRIORITY"))),
)
"""What older instrumentations leave in the answer, and providers' words for it."""


def _usage_of_haystack(answer: Value) -> Value:
    """Return the usage in the JSON of an embedder, or in the `repr` of a generator's last message; None without one."""
    if not isinstance(answer, str) or (at := answer.rfind("_meta={")) < 0:
        return usage_within(answer)
    found = _USAGE_IN_META.search(answer, at)
    return None if found is None else found[1]


def _cache_write(answer: Value) -> int | None:
    found = _CACHE_WRITE.search(answer, 0, ANSWER_CHARS) if isinstance(answer, str) else None
    return None if found is None else int(found[1])


def _searches(answer: Value) -> int | None:
    """Return how many searches of OpenAI's are charged; 0 where its tool did nothing but what is free."""
    found = _items(answer, "web_search_call")
    actions = [action for item in found if isinstance(action := item.get("action"), dict)]
    return len(found) - sum(action.get("type") in _FREE for action in actions) if found else None


def _file_searches(answer: Value) -> int | None:
    return len(_items(answer, "file_search_call")) or None


def _items(answer: Value, kind: str) -> list[Mapping[str, Value]]:
    """Return the items of a type in an answer of OpenAI's; of those with one id the last, for events repeat them."""
    found: dict[object, Mapping[str, Value]] = {}
    level = [coerce.parse_json(answer)] if isinstance(answer, str) and kind in answer else []
    while level:
        inside: list[Value] = []
        for outer in level:
            if isinstance(outer, dict):
                if outer.get("type") == kind:
                    found[coerce.text(outer.get("id")) or len(found)] = outer
                inside += outer.values()
            elif isinstance(outer, list):
                inside += outer
        level = inside
    return [*found.values()]


def _is_unfinished(answer: Value) -> bool:
    """Tell whether a stream of Anthropic broke off: it says why it ended with the last of its tokens."""
    if not isinstance(answer, str) or "_input_tokens" not in answer or _UNFINISHED.search(answer) is None:
        return False
    return _FINISHED.search(answer) is None  # else it is of an event before the last, of vLLM or a tool's argument


def _is_cut(answer: Value) -> bool:
    """Tell whether a stream of Gemini broke off: what it tells of the output until then grows."""
    if not isinstance(answer, str) or '"candidates_token_count"' not in answer:
        return False
    return '"candidates":' in answer and '"finish_reason"' not in answer


def _is_in_words_of_anthropic(answer: Value) -> bool:
    return isinstance(answer, str) and "_input_tokens" in answer


def _written_for_5m(answer: Value) -> int | None:
    return _written_for(_FOR_5M, answer)


def _written_for_1h(answer: Value) -> int | None:
    return _written_for(_FOR_1H, answer)


def _written_for(lifetime: re.Pattern[str], answer: Value) -> int | None:
    found = lifetime.search(answer, max(0, len(answer) - ANSWER_CHARS)) if isinstance(answer, str) else None
    return None if found is None else int(found[1])


def _settings(parameters: Value) -> dict[str, Value] | None:
    said = coerce.parse_json(parameters)
    return {name: said[name] for name in _SETTINGS if name in said} if isinstance(said, dict) else None


def _alike(parameters: Value) -> str | None:
    """Return the settings without what is never the same twice, where an id of a response is among them; as JSON."""
    if not isinstance(parameters, str) or '"resp_' not in parameters or (settings := _settings(parameters)) is None:
        return None
    return json.dumps(settings | {"id": str(settings.get("id", ""))[:5]})


def _id_of_answer(parameters: Value) -> str | None:
    said = coerce.parse_json(parameters)
    return coerce.text(said.get("id")) if isinstance(said, dict) else None


def _id_of_previous(parameters: Value) -> str | None:
    if not isinstance(parameters, str) or '"previous_response_id"' not in parameters:
        return None
    said = coerce.parse_json(parameters)
    return coerce.text(said.get("previous_response_id")) if isinstance(said, dict) else None


def _read_parameters(facts: Facts, key: str, parameters: Mapping[str, Value]) -> None:
    for target, names in _PARAMETERS.items():
        for name in names:
            if name in parameters:
                facts.offer(target, key, coerce.coercion_of(target)(parameters[name]))
    for target, (first, *path) in _NESTED:
        value = parameters.get(first)
        if isinstance(value, dict):
            for step in path:
                value = value.get(step) if isinstance(value, dict) else None
            facts.offer(target, key, coerce.coercion_of(target)(value))


def _conversation(metadata: Value) -> str | None:
    said = _metadata(metadata)
    names = ("session_id", "thread_id", "conversation_id")
    return next((known for name in names if (known := coerce.text(said.get(name))) is not None), None)


def _agent(metadata: Value) -> str | None:
    return coerce.text(_metadata(metadata).get("lc_agent_name"))


def _graph_node(metadata: Value) -> str | None:
    path = _name_space(metadata)
    return None if path is None else named_node(path, MAX_NAME_CHARS)


def _is_plumbing(metadata: Value) -> bool:
    """Tell whether a run is a part of a ready-made agent that says no name."""
    path = _name_space(metadata)
    return path is not None and named_node(path, MAX_NAME_CHARS) is None and _agent(metadata) is None


def _name_space(metadata: Value) -> str | None:
    said = _metadata(metadata)
    return coerce.text(said.get("langgraph_checkpoint_ns")) or coerce.text(said.get("langgraph_node"))


def _seller(metadata: Value) -> str | None:
    """Return who serves a model, as LangChain has it: OpenInference has one word for Google's two services."""
    served = coerce.text(_metadata(metadata).get("ls_provider"))
    return provider_of(served) if served is not None and served.startswith("google") else None


def _metadata(value: Value) -> Mapping[str, Value]:
    return _last_metadata(value) if isinstance(value, str) and len(value) <= coerce.MAX_JSON_CHARS else {}


@lru_cache(maxsize=1)
def _last_metadata(text: str) -> Mapping[str, Value]:
    """Several facts are read from it one after another."""
    said = coerce.parse_json(text)
    return said if isinstance(said, dict) else {}


DIALECT: Final = Dialect(
    name="openinference",
    source="https://github.com/Arize-ai/openinference",
    scopes=("openinference", "openinference-core", "@arizeai/openinference-instrumentation", "@arizeai/openinference"),
    evidence=(_KIND,),
    kinds={
        _KIND: {
            "LLM": _model_call,
            "EMBEDDING": Kinded("embedding", "embeddings"),
            "RETRIEVER": Kinded("retrieval", "retrieval"),
            "TOOL": _tool_call,
            "AGENT": _agent_or_answer,
            "CHAIN": _chain,
            "DECISION": _decision,
            "GUARDRAIL": Kinded("guardrail"),
            "EVALUATOR": Kinded("evaluation"),
        },
    },
    sources={
        PROVIDER: ("decision.provider",),
        REQUEST_MODEL: ("llm.request.model_name", "embedding.model_name", "decision.model_name", "reranker.model_name"),
        RESPONSE_MODEL: ("llm.response.model_name",),
        RESPONSE_ID: ("llm.response.id",),
        FINISH_REASONS: ("llm.finish_reason",),
        "gen_ai.usage.input_tokens": ("llm.token_count.prompt", "decision.token_count.input"),
        "gen_ai.usage.output_tokens": ("llm.token_count.completion", "decision.token_count.output"),
        _CACHE_READS: (
            "llm.token_count.prompt_details.cache_read",
            "llm.token_count.prompt_details.cache_input",
            "metadata.usage.cached_prompt_tokens",  # BeeAI
        ),
        _CACHE_WRITES: ("llm.token_count.prompt_details.cache_write", "metadata.usage.cached_creation_tokens"),
        _REASONING: ("llm.token_count.completion_details.reasoning",),
        "gen_ai.usage.audio.input_tokens": ("llm.token_count.prompt_details.audio",),
        "gen_ai.usage.audio.output_tokens": ("llm.token_count.completion_details.audio",),
        "@total_tokens": ("llm.token_count.total",),
        COST: ("llm.cost.total",),
        TOOL_NAME: ("tool.name",),
        "gen_ai.tool.description": ("tool.description",),
        TOOL_CALL_ID: ("tool_call.id", "tool.id"),
        AGENT_NAME: ("agent.name",),
        USER_ID: ("llm.user",),
        "gen_ai.prompt.version": ("llm.prompt_template.version",),
        "gen_ai.prompt.name": ("prompt.id",),
    },
    # An agent's model is that of the calls that it sums up, where they have no spans of their own.
    sources_by_kind={
        "agent": {AGENT_NAME: ("graph.node.name", "graph.node.id"), REQUEST_MODEL: ("llm.model_name",)},
        "retrieval": {"gen_ai.data_source.id": DATA_SOURCES},
    },
    content={
        "llm.input_messages.": ("gen_ai.input.messages", "gen_ai.system_instructions"),
        "llm.output_messages.": ("gen_ai.output.messages",),
        "llm.prompts.": ("gen_ai.input.messages",),
        "llm.choices.": ("gen_ai.output.messages",),
        "llm.function_call": ("gen_ai.output.messages",),
        "llm.tools.": ("gen_ai.tool.definitions",),
        "retrieval.documents.": ("gen_ai.retrieval.documents",),
        "tool.parameters": ("gen_ai.tool.call.arguments",),
        "input.value": ("gen_ai.tool.call.arguments", "gen_ai.retrieval.query.text"),
        "output.value": ("gen_ai.tool.call.result",),
    },
    complete=_complete,
)

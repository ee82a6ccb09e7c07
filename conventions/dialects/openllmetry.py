"""OpenLLMetry (Traceloop): semconv-ai 0.5.1, instrumentations and SDK 0.40 to 0.62 for Python, 0.27 for JS.

Newer releases write the current names, older ones flattened prompts, `prompt_tokens` and capitalised
`gen_ai.system`. The SDK stamps the workflow's name and the association properties on *every* span of a
request, HTTP ones included.
"""

from __future__ import annotations

import re
from typing import Final

from spanledger.conventions import coerce
from spanledger.conventions.dialect import (
    AGENT_NAME,
    CONVERSATION_ID,
    DATA_SOURCES,
    FINISH_REASONS,
    MODEL_CALLS,
    OPERATION,
    PROVIDER,
    REQUEST_MODEL,
    RESPONSE_ID,
    RESPONSE_MODEL,
    STRUCTURAL,
    TOOL_CALL_ID,
    TOOL_NAME,
    USER_ID,
    WORKFLOW_NAME,
    Dialect,
    Facts,
    Kinded,
)
from spanledger.conventions.providers import provider_of
from spanledger.conventions.tool_results import is_failed_result
from spanledger.conventions.values import Value

_INSTRUMENTED: Final = (
    "agno", "alephalpha", "anthropic", "bedrock", "chromadb", "cohere", "crewai", "google_generativeai", "groq",
    "lancedb", "langchain", "llamaindex", "marqo", "mcp", "milvus", "mistralai", "ollama", "openai", "openai_agents",
    "pinecone", "qdrant", "replicate", "sagemaker", "together", "transformers", "voyageai", "watsonx", "weaviate",
    "writer",
)  # fmt: skip
_PROPERTIES: Final = "traceloop.association.properties."
_VARIABLES: Final = "traceloop.prompt.template_variables"
_OUTPUT: Final = "traceloop.entity.output"
_WORKFLOW: Final = "traceloop.workflow.name"
_GRAPHS: Final = ("CompiledStateGraph", "CompiledGraph", "LangGraph")  # no set: it may be a list
_TOOL_MESSAGE: Final = re.compile(r'"ToolMessage"\],"kwargs":\{')
_TOOL_CALL_ID: Final = re.compile(r'[{,]"tool_call_id": ?"([^"\\]{1,200})"')
_TOOL_NAME: Final = re.compile(r'[{,]"name": ?"([^"\\]{1,128})"')
_END_CHARS: Final = 4_096
"""From the end of a message: its content comes first."""
_SPEAKER: Final = re.compile(
    r'"AIMessage(?:Chunk)?"\],"kwargs":\{(?:"id":"[^"]{0,200}",)?(?:"name":"([^"\\]{1,128})")?'
)
_OUTPUT_CHARS: Final = 262_144
_COMPLETING: Final = re.compile(r"claude-(?:v?[12](?:\D|$)|instant)")


def _completion(facts: Facts) -> Kinded:
    """See a chat in what the Anthropic instrumentation before 0.48 calls a completion."""
    model = facts.text(REQUEST_MODEL) or ""
    if facts.span.name.endswith((".chat", ".converse")) or ("claude-" in model and not _COMPLETING.search(model)):
        return Kinded("llm", "chat")
    return Kinded("llm", "text_completion")


def _of_bedrock(facts: Facts) -> Kinded:
    """See a call in a command about a model."""
    model = facts.text(REQUEST_MODEL)
    if model is None:
        return STRUCTURAL
    return Kinded("embedding", "embeddings") if "embed" in model else Kinded("llm", "chat")


def _task(facts: Facts) -> Kinded:
    """See the tool in a step of LlamaIndex's workflows, where the only other span of it is of its class."""
    return Kinded("tool", "execute_tool") if "tool.name" in facts.attributes else STRUCTURAL


def _complete(facts: Facts) -> None:
    if facts.kind == "tool" and _OUTPUT in facts.attributes.at:
        _read_tool_message(facts)
        if facts.find(_OUTPUT, is_failed_result):
            facts.failed = True
    elif facts.kind == "other" and _is_graph(facts):
        facts.kind, facts.operation = Kinded("workflow", "invoke_workflow")
        _read_speaker(facts)
    elif facts.kind == "other" and facts.attributes.get(OPERATION) == "realtime" and REQUEST_MODEL in facts.values:
        facts.kind, facts.operation = Kinded("llm", "chat")  # the answer; without a model it is a stretch of its sound
    if facts.kind in ("agent", "workflow") and (facts.text(AGENT_NAME) or "").startswith("Runnable"):
        facts.kind, facts.operation = Kinded("workflow", "invoke_workflow")  # a chain that no agent is around
        facts.forget(AGENT_NAME)
        facts.offer(WORKFLOW_NAME, _WORKFLOW, coerce.text(facts.attributes.get(_WORKFLOW)))
    if _VARIABLES in facts.attributes.at:
        facts.offer_variables(_VARIABLES)
    if facts.kind in MODEL_CALLS and PROVIDER not in facts.values:
        served: Value = facts.attributes.get(_PROPERTIES + "ls_provider")
        if isinstance(served, str):
            facts.offer(PROVIDER, _PROPERTIES + "ls_provider", provider_of(served))


def _is_graph(facts: Facts) -> bool:
    """Tell a graph from all else that the JavaScript instrumentation of LangChain calls a workflow: any runnable."""
    attributes = facts.attributes
    return attributes.get(OPERATION) == "workflow" and attributes.get("traceloop.workflow.name") in _GRAPHS


def _read_speaker(facts: Facts) -> None:
    """Find the agent that a graph is, if all its answers have one name: LangChain's agents put theirs on each."""
    facts.offer_found(AGENT_NAME, _OUTPUT, _speaker)


def _speaker(answer: Value) -> str | None:
    names = {found[1] for found in _SPEAKER.finditer(answer, 0, _OUTPUT_CHARS)} if isinstance(answer, str) else set()
    return names.pop() if len(names) == 1 else None


def _read_tool_message(facts: Facts) -> None:
    """Find the tool's name and call where LangChain for JavaScript has them: the entity is named after a class."""
    facts.correct_found(TOOL_CALL_ID, _OUTPUT, _tool_call_id)
    facts.correct_found(TOOL_NAME, _OUTPUT, _tool_name)


def _tool_call_id(answer: Value) -> str | None:
    return _in_tool_message(answer, _TOOL_CALL_ID)


def _tool_name(answer: Value) -> str | None:
    return _in_tool_message(answer, _TOOL_NAME)


def _in_tool_message(answer: Value, said: re.Pattern[str]) -> str | None:
    if not isinstance(answer, str) or not _TOOL_MESSAGE.search(answer, 0, 200):
        return None
    found = said.search(answer, max(0, len(answer) - _END_CHARS))
    return found[1] if found else None


DIALECT: Final = Dialect(
    name="openllmetry",
    source="https://github.com/traceloop/openllmetry",
    secrets=("gen_ai.headers", "llm.headers"),
    scopes=(
        "traceloop",
        "@traceloop/",
        *(f"opentelemetry.instrumentation.{library}" for library in _INSTRUMENTED),
    ),
    evidence=(
        "traceloop.span.kind",
        "traceloop.entity.name",
        "traceloop.entity.input",
        "traceloop.entity.output",
        "llm.request.type",
        "llm.usage.total_tokens",
        "gen_ai.prompt.0.role",
        "gen_ai.prompt.0.content",
        "gen_ai.completion.0.role",
        "gen_ai.completion.0.content",
    ),
    context=("traceloop.workflow.name", "traceloop.entity.path", _PROPERTIES),
    kinds={
        "traceloop.span.kind": {
            "workflow": Kinded("workflow", "invoke_workflow"),
            "agent": Kinded("agent", "invoke_agent"),
            "tool": Kinded("tool", "execute_tool"),
            "task": _task,
        },
        "llm.request.type": {
            "chat": Kinded("llm", "chat"),
            "completion": _completion,
            "embedding": Kinded("embedding", "embeddings"),
        },
    },
    # What the instrumentation of Bedrock for JavaScript says of Converse, its streams and refusals.
    names={"bedrock.completion": _of_bedrock},
    operations={
        "execute_task": STRUCTURAL,
        "handoff": STRUCTURAL,
        "guardrail": Kinded("guardrail"),
        "guardrail_check": Kinded("guardrail"),
        "workflow": STRUCTURAL,
        "llm_request": Kinded("llm", "chat"),
        "vector_db_retrieve": Kinded("retrieval", "retrieval"),
    },
    sources={
        PROVIDER: ("llm.vendor",),
        REQUEST_MODEL: ("llm.request.model",),
        RESPONSE_MODEL: ("llm.response.model",),
        RESPONSE_ID: ("llm.response.id",),
        FINISH_REASONS: ("llm.response.finish_reason", "llm.response.stop_reason"),
        "gen_ai.request.max_tokens": ("llm.request.max_tokens",),
        "gen_ai.request.temperature": ("llm.request.temperature", "llm.temperature"),
        "gen_ai.request.top_p": ("llm.request.top_p", "llm.top_p"),
        "gen_ai.request.top_k": ("llm.top_k",),
        "gen_ai.request.frequency_penalty": ("llm.frequency_penalty",),
        "gen_ai.request.presence_penalty": ("llm.presence_penalty",),
        "gen_ai.request.stop_sequences": ("llm.chat.stop_sequences",),
        "gen_ai.request.stream": ("llm.is_streaming",),
        "gen_ai.request.reasoning.level": ("llm.request.reasoning_effort",),
        "gen_ai.embeddings.dimension.count": ("llm.openai.embeddings.vector_size",),
        "gen_ai.usage.input_tokens": ("llm.usage.prompt_tokens",),
        "gen_ai.usage.output_tokens": ("llm.usage.completion_tokens",),
        "@total_tokens": ("llm.usage.total_tokens",),
        "gen_ai.prompt.name": ("traceloop.prompt.key",),
        "gen_ai.prompt.version": ("traceloop.prompt.version",),
        "gen_ai.retrieval.top_k": ("db.vector.query.top_k",),
        "jsonrpc.request.id": ("mcp.request.id",),
        CONVERSATION_ID: tuple(
            _PROPERTIES + name for name in ("session_id", "thread_id", "chat_id", "conversation_id")
        ),
        USER_ID: ("llm.user", _PROPERTIES + "user_id"),
        AGENT_NAME: (_PROPERTIES + "lc_agent_name",),
    },
    sources_by_kind={
        "agent": {AGENT_NAME: ("traceloop.entity.name",)},
        "tool": {TOOL_NAME: ("traceloop.entity.name",)},
        "workflow": {WORKFLOW_NAME: ("traceloop.workflow.name", "traceloop.entity.name")},
        "retrieval": {"gen_ai.data_source.id": DATA_SOURCES},
    },
    content={
        "gen_ai.prompt.": ("gen_ai.input.messages", "gen_ai.system_instructions"),
        "gen_ai.completion.": ("gen_ai.output.messages",),
        "llm.completions.": ("gen_ai.output.messages",),
        "llm.request.functions.": ("gen_ai.tool.definitions",),
        "gen_ai.request.tools.": ("gen_ai.tool.definitions",),
        "db.query.text": ("gen_ai.retrieval.query.text",),
        "traceloop.entity.input": ("gen_ai.tool.call.arguments", "gen_ai.retrieval.query.text"),
        "traceloop.entity.output": ("gen_ai.tool.call.result",),
        "mcp.request.argument": ("gen_ai.tool.call.arguments",),
        "mcp.response.value": ("gen_ai.tool.call.result",),
    },
    complete=_complete,
)

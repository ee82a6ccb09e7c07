"""What spans of every dialect say: the tables of the conventions, row by row."""

from __future__ import annotations

import json
from typing import Any

import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from spanledger.conventions.dialects import DIALECTS, read
from spanledger.conventions.finish_reasons import normalize
from spanledger.conventions.lookup import Tuning
from spanledger.conventions.profile import LATEST, PROFILES, Profile
from spanledger.conventions.providers import provider_at, provider_of, provider_of_model, provider_of_pair
from spanledger.conventions.reader import Reader
from spanledger.conventions.reading import Reading
from spanledger.conventions.values import Value, key_value
from spanledger.processor.batch import Resource, Scope
from tests.fakes import span

OI = "openinference.span.kind"
TL = "traceloop.span.kind"
OP = "gen_ai.operation.name"


def said(
    attributes: dict[str, Value], scope: str = "app", profile: Profile = LATEST, version: str = "", **changes: Any
) -> Reading | None:
    """Return the reading of a span with these attributes."""
    made = span(**changes)
    made.attributes.extend(key_value(key, value) for key, value in attributes.items())
    return read(Scope(scope, version), Resource({}, "shop"), made, profile)


def must(attributes: dict[str, Value], scope: str = "app", **changes: Any) -> Reading:
    """Return the reading of a span that is GenAI work."""
    reading = said(attributes, scope, **changes)
    assert reading is not None
    return reading


@pytest.mark.parametrize(
    ("scope", "attributes", "dialect"),
    [
        ("openinference.instrumentation.openai", {OI: "LLM"}, "openinference"),
        ("@arizeai/openinference-instrumentation-openai", {OI: "LLM"}, "openinference"),
        ("anything", {OI: "LLM", OP: "chat"}, "openinference"),
        ("opentelemetry.instrumentation.openai.v1", {OP: "chat"}, "openllmetry"),
        ("opentelemetry.instrumentation.openai_v2", {OP: "chat"}, "otel"),
        ("opentelemetry.instrumentation.genai.openai", {OP: "chat"}, "otel"),
        ("opentelemetry.instrumentation.crewai.instrumentation", {TL: "task"}, "openllmetry"),
        ("traceloop.tracer", {TL: "workflow"}, "openllmetry"),
        ("@traceloop/node-server-sdk", {TL: "workflow"}, "openllmetry"),
        ("anything", {"gen_ai.prompt.0.content": "hi"}, "openllmetry"),
        ("com.anthropic.sdk.python", {OP: "chat", "traceloop.workflow.name": "w"}, "anthropic_sdk"),
        ("com.anthropic.claude-platform", {OP: "chat"}, "anthropic_sdk"),
        ("anything", {OP: "chat"}, "otel"),
        ("mcp-python-sdk", {"mcp.method.name": "tools/list"}, "mcp"),
        ("anything", {"mcp.method.name": "tools/call"}, "mcp"),
    ],
)
def test_dialect_is_told_by_scope_then_by_keys(scope: str, attributes: dict[str, Value], dialect: str) -> None:
    """The scope decides; without a known one the keys do."""
    assert must(attributes, scope).dialect == dialect


@pytest.mark.parametrize(
    "attributes",
    [
        {},
        {"http.request.method": "GET", "server.address": "api.openai.com"},
        # put on every span of a request by session and association processors
        {"session.id": "s", "user.id": "u"},
        {"gen_ai.conversation.id": "c", "gen_ai.agent.name": "a", "http.request.method": "GET"},
        {"traceloop.workflow.name": "w", "traceloop.association.properties.session_id": "s", "db.system": "x"},
    ],
)
def test_spans_without_evidence_are_not_read(attributes: dict[str, Value]) -> None:
    """Neither a scope nor context alone makes a span GenAI work."""
    assert said(attributes, "openinference.instrumentation.openai") is None


@pytest.mark.parametrize(
    ("attributes", "kind", "operation"),
    [
        *(({OP: name}, "llm", name) for name in ("chat", "text_completion", "generate_content")),
        ({OP: "embeddings"}, "embedding", "embeddings"),
        ({OP: "retrieval"}, "retrieval", "retrieval"),
        ({OP: "execute_tool"}, "tool", "execute_tool"),
        ({OP: "invoke_agent"}, "agent", "invoke_agent"),
        ({OP: "invoke_workflow"}, "workflow", "invoke_workflow"),
        ({OP: "plan"}, "plan", "plan"),
        ({OP: "search_memory"}, "memory", "search_memory"),
        ({OP: "create_agent"}, "other", "create_agent"),
        ({OP: "fetch_response"}, "other", "fetch_response"),
        # a known operation wins over any dialect's kind
        ({OP: "chat", OI: "CHAIN"}, "llm", "chat"),
        ({OP: "invoke_agent", TL: "workflow"}, "agent", "invoke_agent"),
        # other words are mapped, or fall back to the dialect's kind
        ({OP: "execute_task", TL: "tool"}, "other", None),
        ({OP: "handoff", TL: "handoff"}, "other", None),
        ({OP: "llm_request"}, "llm", "chat"),
        ({OP: "vector_db_retrieve"}, "retrieval", "retrieval"),
        ({OP: "chat.completions"}, "llm", "chat"),
        ({OP: "workflow", TL: "workflow"}, "other", None),  # every runnable of LangChain in JavaScript
        ({OP: "agent_step"}, "other", None),
        ({OP: "responses"}, "llm", "chat"),
        ({OP: "Chat"}, "llm", "chat"),
        ({OI: "llm"}, "llm", "chat"),
        ({OI: "Tool"}, "tool", "execute_tool"),
        ({OI: "DECISION", "decision.token_count.input": 5}, "llm", "chat"),
        ({OI: "LLM"}, "llm", "chat"),
        ({OI: "LLM", "llm.prompts.0.prompt.text": "x"}, "llm", "text_completion"),
        ({OI: "LLM", "llm.prompts": ["x"]}, "llm", "text_completion"),
        ({OI: "EMBEDDING"}, "embedding", "embeddings"),
        ({OI: "RETRIEVER"}, "retrieval", "retrieval"),
        ({OI: "TOOL"}, "tool", "execute_tool"),
        ({OI: "AGENT"}, "agent", "invoke_agent"),
        ({OI: "CHAIN"}, "other", None),
        ({OI: "RERANKER"}, "other", None),
        ({OI: "GUARDRAIL"}, "guardrail", None),
        ({OI: "EVALUATOR"}, "evaluation", None),
        *(({OI: name}, "other", None) for name in ("PROMPT", "DECISION", "UNKNOWN", "", 7)),
        ({TL: "workflow"}, "workflow", "invoke_workflow"),
        ({TL: "agent"}, "agent", "invoke_agent"),
        ({TL: "tool"}, "tool", "execute_tool"),
        ({TL: "task"}, "other", None),
        ({TL: "unknown"}, "other", None),
        ({"llm.request.type": "chat"}, "llm", "chat"),
        ({"llm.request.type": "completion"}, "llm", "text_completion"),
        ({"llm.request.type": "completion", "gen_ai.request.model": "claude-sonnet-4-5"}, "llm", "chat"),
        ({"llm.request.type": "completion", "gen_ai.request.model": "claude-3-haiku-20240307"}, "llm", "chat"),
        ({"llm.request.type": "completion", "gen_ai.request.model": "claude-2.1"}, "llm", "text_completion"),
        ({"llm.request.type": "embedding"}, "embedding", "embeddings"),
        ({"llm.request.type": "rerank"}, "other", None),
        # satellites say nothing about the operation
        ({"gen_ai.tool.call.id": "c"}, "other", None),
        ({"gen_ai.tool.name": "t", "gen_ai.tool.call.id": "c"}, "tool", "execute_tool"),
        ({"gen_ai.request.model": "m", "gen_ai.agent.name": "a", "gen_ai.system": "openai"}, "other", None),
    ],
)
def test_kind_and_operation(attributes: dict[str, Value], kind: str, operation: str | None) -> None:
    """Every kind has its operation; structural spans have none."""
    reading = must(attributes)
    assert (reading.kind, reading.operation) == (kind, operation)
    assert reading.edits.get("spanledger.step.kind") == kind
    # a word of a dialect's own never stands as if it were the conventions'
    left = None if OP in reading.removals else reading.says(OP)
    assert left == operation
    if left != attributes.get(OP) and OP in attributes:
        assert reading.edits["spanledger.original." + OP] == attributes[OP]


@pytest.mark.parametrize(
    ("scope", "name", "parent", "metadata", "kind"),
    [
        ("openinference.instrumentation.crewai", "crew.kickoff", 0, None, "workflow"),
        ("openinference.instrumentation.crewai", "crew.kickoff", 5, None, "other"),
        ("openinference.instrumentation.langchain", "LangGraph", 0, None, "workflow"),
        ("openinference.instrumentation.langchain", "planner", 0, '{"langgraph_version": "1"}', "workflow"),
        ("openinference.instrumentation.langchain", "RunnableSequence", 0, None, "other"),
        ("openinference-core", "main", 0, None, "other"),
    ],
)
def test_only_the_root_chain_of_a_run_is_a_workflow(
    scope: str, name: str, parent: int, metadata: str | None, kind: str
) -> None:
    """A chain is structural, unless it is a whole graph or crew."""
    attributes: dict[str, Value] = {OI: "CHAIN"} | ({"metadata": metadata} if metadata else {})
    assert must(attributes, scope, name=name, parent=parent).kind == kind


@pytest.mark.parametrize(
    ("name", "attributes", "operation"),
    [
        ("chat gpt-4", {}, "chat"),
        ("text_completion davinci", {}, "text_completion"),
        ("openai.call", {"gen_ai.usage.completion_tokens": 3}, "chat"),
        ("openai.call", {}, None),
        ("chat gpt-4", {"gen_ai.tool.name": "x"}, None),
        # baggage puts the agent's name on every span; on any but a call's own it is the agent's
        ("chat gpt-4", {"gen_ai.agent.name": "x"}, "chat"),
        ("planner", {"gen_ai.agent.name": "x", "gen_ai.usage.output_tokens": 3}, None),
        # neither system nor provider, or only a framework's; the response's model alone
        ("call", {"gen_ai.system": "", "gen_ai.usage.input_tokens": 3}, "chat"),
        ("call", {"gen_ai.system": "langchain", "gen_ai.usage.output_tokens": 3}, "chat"),
        ("call", {"gen_ai.request.model": "", "gen_ai.response.model": "g", "gen_ai.usage.output_tokens": 3}, "chat"),
        ("openai.embeddings", {"gen_ai.usage.input_tokens": 3}, "embeddings"),
        ("call", {"gen_ai.request.model": "text-embedding-3-small", "gen_ai.usage.prompt_tokens": 3}, "embeddings"),
        # a dialect that says what it is knows better
        ("chat gpt-4", {TL: "task", "gen_ai.usage.output_tokens": 3}, None),
    ],
)
def test_calls_of_1_26_are_seen_without_an_operation(
    name: str, attributes: dict[str, Value], operation: str | None
) -> None:
    """System and model, and a name or tokens that say it: the operation had no attribute then."""
    reading = must({"gen_ai.system": "openai", "gen_ai.request.model": "gpt-4"} | attributes, name=name)
    assert reading.operation == operation


@pytest.mark.parametrize(
    ("value", "provider"),
    [
        ("openai", "openai"),
        ("OpenAI", "openai"),
        ("openai.responses", "openai"),
        ("openai-chat", "openai"),
        ("anthropic.messages", "anthropic"),
        ("firstParty", "anthropic"),
        ("az.ai.openai", "azure.ai.openai"),
        ("az.ai.inference", "azure.ai.inference"),
        ("AzureOpenAI", "azure.ai.openai"),
        ("azure", "azure.ai.inference"),
        ("AWS", "aws.bedrock"),
        ("amazon-bedrock", "aws.bedrock"),
        ("bedrock_converse", "aws.bedrock"),
        ("vertex_ai", "gcp.vertex_ai"),
        ("google.vertex.chat", "gcp.vertex_ai"),
        ("google-vertex", "gcp.vertex_ai"),
        ("gemini", "gcp.gemini"),
        ("google.generative-ai", "gcp.gemini"),
        ("google", "gcp.gen_ai"),
        ("gcp.gemini", "gcp.gemini"),
        ("mistral.chat", "mistral_ai"),
        ("xai", "x_ai"),
        ("moonshotai", "moonshot_ai"),
        ("watsonx", "ibm.watsonx.ai"),
        ("groq.chat", "groq"),
        ("pplx", "perplexity"),
        ("AWSBedrock", "aws.bedrock"),
        ("ChatOpenAI", "openai"),
        ("openai_chat", "openai"),
        ("text-completion-openai", "openai"),
        ("GoogleGenerativeAI", "gcp.gen_ai"),
        ("watsonx_ai", "ibm.watsonx.ai"),
        ("google_anthropic_vertex", "gcp.vertex_ai"),
        ("azure_text", "azure.ai.openai"),
        ("openrouter.chat", "openrouter"),
        ("langchain.chat", None),
        ("openrouter", "openrouter"),
        ("Together", "together"),
        ("langchain", None),
        ("crewai", None),
        ("strands-agents", None),
        ("gcp.vertex.agent", None),
        (" ", None),
        ("x" * 200, None),
    ],
)
def test_provider_values(value: str, provider: str | None) -> None:
    """Every spelling has one name; frameworks are no providers; others keep theirs in lower case."""
    assert provider_of(value) == provider


@pytest.mark.parametrize(
    ("serves", "speaks", "provider"),
    [
        ("azure", "openai", "azure.ai.openai"),
        ("azure", "mistralai", "azure.ai.inference"),
        ("aws", "anthropic", "aws.bedrock"),
        ("google", "vertexai", "gcp.vertex_ai"),
        ("google", None, "gcp.gen_ai"),
        ("google", "anthropic", "gcp.vertex_ai"),
        ("openai", "openai", "openai"),
        (None, "anthropic", "anthropic"),
        (None, None, None),
    ],
)
def test_openinference_tells_provider_and_system_apart(
    serves: str | None, speaks: str | None, provider: str | None
) -> None:
    """Who serves and whose API it is make the provider together."""
    assert provider_of_pair(serves, speaks) == provider


def test_a_framework_gives_way_to_who_really_served() -> None:
    """`langchain` is no provider: the next source counts, then the server, then a model only one has."""
    chat: dict[str, Value] = {OP: "chat", "gen_ai.provider.name": "langchain"}
    assert (
        must(chat | {"traceloop.association.properties.ls_provider": "mistralai", TL: "task"}).provider == "mistral_ai"
    )
    assert must(chat | {"server.address": "api.groq.com"}).provider == "groq"
    assert must(chat | {"gen_ai.request.model": "claude-sonnet-4-5"}).provider == "anthropic"
    assert must(chat | {"gen_ai.request.model": "gpt-oss-120b"}).provider is None
    assert must(chat | {"gen_ai.request.model": "deepseek-r1"}).provider is None
    agent = must({OP: "invoke_agent", "gen_ai.provider.name": "langchain", "gen_ai.request.model": "gpt-4o"})
    assert (agent.provider, "gen_ai.provider.name" in agent.edits) == (None, False)


def test_azure_is_told_apart_by_its_model() -> None:
    """`azure` alone does not say which of its two services; a model of OpenAI's does."""
    assert must({OP: "chat", "gen_ai.system": "azure", "gen_ai.request.model": "gpt-4o"}).provider == "azure.ai.openai"
    assert (
        must({OP: "chat", "gen_ai.system": "azure", "gen_ai.request.model": "phi-4"}).provider == "azure.ai.inference"
    )
    stated = must({OP: "chat", "gen_ai.provider.name": "azure.ai.inference", "gen_ai.request.model": "gpt-4o"})
    assert stated.provider == "azure.ai.inference"
    deployed: dict[str, Value] = {OP: "chat", "gen_ai.system": "Azure", "gen_ai.request.model": "my-deployment"}
    assert must(deployed | {"gen_ai.response.model": "gpt-4o-2024-08-06"}).provider == "azure.ai.openai"
    assert must(deployed | {"server.address": "x.openai.azure.com"}).provider == "azure.ai.openai"
    assert must(deployed).provider == "azure.ai.inference"
    paired = {OI: "LLM", "llm.provider": "azure", "llm.system": "mistralai", "llm.model_name": "gpt-4o"}
    assert must(paired).provider == "azure.ai.inference"


def test_openai_on_azure_is_told_by_its_server() -> None:
    """The client calls itself OpenAI's wherever it sends; what it said is kept."""
    attributes: dict[str, Value] = {OP: "chat", "gen_ai.provider.name": "openai", "gen_ai.request.model": "gpt-4o"}
    reading = must(attributes | {"server.address": "acme.openai.azure.com"})
    assert reading.provider == "azure.ai.openai"
    assert reading.edits["gen_ai.provider.name"] == "azure.ai.openai"
    assert reading.edits["spanledger.original.gen_ai.provider.name"] == "openai"
    assert must(attributes | {"server.address": "api.openai.com"}).provider == "openai"


def test_hosts_and_models_give_providers_away() -> None:
    """Public hosts have one owner; private ones have none."""
    assert provider_at("my.openai.azure.com") == "azure.ai.openai"
    assert provider_at("us-central1-aiplatform.googleapis.com") == "gcp.vertex_ai"
    assert provider_at("bedrock-runtime.eu-west-1.amazonaws.com") == "aws.bedrock"
    assert provider_at("127.0.0.1") is None


@pytest.mark.parametrize(
    ("model", "provider"),
    [
        ("gpt-4o-mini", "openai"),
        ("ft:gpt-4o-mini:acme::x", "openai"),
        ("o3-mini", "openai"),
        ("openai/gpt-4o", "openai"),
        ("openai:gpt-4o", "openai"),
        ("claude-sonnet-4-5", "anthropic"),
        ("anthropic/claude-sonnet-4-5", "anthropic"),
        ("us.anthropic.claude-sonnet-4-5-20250929-v1:0", "aws.bedrock"),
        ("anthropic.claude-3-haiku-20240307-v1:0", "aws.bedrock"),
        ("amazon.nova-lite-v1:0", "aws.bedrock"),
        ("bedrock/us.amazon.nova-lite-v1:0", "aws.bedrock"),
        ("arn:aws:bedrock:us-east-1:1:inference-profile/us.anthropic.claude-x", "aws.bedrock"),
        ("models/gemini-2.5-flash", "gcp.gen_ai"),
        ("gemini/gemini-2.5-flash", "gcp.gemini"),
        ("vertex_ai/gemini-2.5-pro", "gcp.vertex_ai"),
        ("publishers/google/models/gemini-2.5-flash", "gcp.vertex_ai"),
        ("azure/my-deployment", "azure.ai.openai"),
        ("azure_ai/phi-4", "azure.ai.inference"),
        ("gpt-35-turbo", "azure.ai.openai"),
        ("deepseek-chat", "deepseek"),
        ("grok-3", "x_ai"),
        ("mistral-large-latest", "mistral_ai"),
        ("command-r", "cohere"),
        ("sonar-pro", "perplexity"),
        ("groq/llama-3.3-70b-versatile", "groq"),
        ("openrouter/openai/gpt-4o", "openrouter"),
        # open weights: whoever's they are, anyone serves them
        ("llama-3.3-70b", None),
        ("gpt-oss-120b", None),
        ("openai/gpt-oss-120b", None),
        ("mistralai/Mistral-7B-Instruct-v0.3", None),
        ("mistral:7b", None),
        ("google/gemma-2-9b", None),
        ("deepseek-r1", None),
        ("", None),
        ("x" * 300, None),
    ],
)
def test_models_give_providers_away(model: str, provider: str | None) -> None:
    """By a route before the name, by how Bedrock names models, or because only their maker serves them."""
    assert provider_of_model(model) == provider


def test_current_names_win_over_older_ones_and_those_over_dialects() -> None:
    """Every generation on one span: the newest is read, and nothing of it is overwritten."""
    everything: dict[str, Value] = {
        OP: "chat",
        OI: "LLM",
        "llm.token_count.prompt": 3,
        "gen_ai.usage.prompt_tokens": 2,
        "gen_ai.usage.input_tokens": 1,
        "gen_ai.usage.output_tokens": 1,
        "gen_ai.system": "anthropic",
        "gen_ai.provider.name": "openai",
    }
    reading = must(everything)
    assert reading.usage is not None
    assert (reading.usage.input, reading.provider) == (1, "openai")
    assert set(reading.edits) == {"spanledger.dialect", "spanledger.step.kind", "spanledger.usage.basis"}
    del everything["gen_ai.usage.input_tokens"]
    assert must(everything).edits["gen_ai.usage.input_tokens"] == 2


def test_empty_values_are_absent() -> None:
    """Empty text, "None" and -1 do not hide what another source says."""
    reading = must(
        {
            OP: "chat",
            "gen_ai.request.model": "",
            "llm.request.model_name": "gpt-4o",
            "gen_ai.usage.input_tokens": -1,
            "llm.token_count.prompt": 7,
            "gen_ai.response.id": "None",
            "gen_ai.request.max_tokens": -1,
        }
    )
    assert (reading.request_model, reading.response_id) == ("gpt-4o", None)
    assert reading.usage is not None
    assert reading.usage.input == 7
    assert "gen_ai.request.max_tokens" not in reading.edits


def test_a_changed_value_is_kept_beside() -> None:
    """What a current attribute said before its value was made well-known stays on the span."""
    edits = must(
        {
            OP: "chat",
            "gen_ai.provider.name": "az.ai.openai",
            "gen_ai.response.finish_reasons": ["tool_calls"],
            "gen_ai.request.top_k": 40.0,
            "gen_ai.request.max_tokens": "512",
        }
    ).edits
    assert edits["gen_ai.provider.name"] == "azure.ai.openai"
    assert edits["spanledger.original.gen_ai.provider.name"] == "az.ai.openai"
    assert edits["gen_ai.response.finish_reasons"] == ["tool_call"]
    assert edits["spanledger.original.gen_ai.response.finish_reasons"] == ["tool_calls"]
    assert (edits["gen_ai.request.top_k"], edits["spanledger.original.gen_ai.request.top_k"]) == (40, 40.0)
    assert (edits["gen_ai.request.max_tokens"], edits["spanledger.original.gen_ai.request.max_tokens"]) == (512, "512")


def test_exclusive_input_is_converted_once() -> None:
    """Bedrock through botocore leaves the cache out: 800 + 1920 + 256; a second reading keeps it."""
    scope = "opentelemetry.instrumentation.botocore.bedrock-runtime"
    attributes: dict[str, Value] = {
        OP: "chat",
        "gen_ai.system": "aws.bedrock",
        "gen_ai.usage.input_tokens": 3000,
        "gen_ai.usage.output_tokens": 27,
        "gen_ai.usage.cache_read.input_tokens": 1920,
        "gen_ai.usage.cache_creation.input_tokens": 256,
    }
    first = must(attributes, scope)
    assert first.usage is not None
    assert (first.usage.input, first.usage.basis) == (3000 + 1920 + 256, "emitter_exclusive")
    assert first.edits["gen_ai.usage.input_tokens"] == 5176
    assert first.edits["spanledger.original.gen_ai.usage.input_tokens"] == 3000

    second = must(attributes | first.edits, scope)

    assert (second.usage, second.edits) == (first.usage, {})


@pytest.mark.parametrize(
    ("kind", "attributes"), [("agent", {OP: "invoke_agent"}), ("agent", {OI: "AGENT"}), ("other", {OI: "CHAIN"})]
)
def test_sums_are_read_and_not_written(kind: str, attributes: dict[str, Value]) -> None:
    """Usage on anything but a model call is a sum over its descendants: written once more it would count twice."""
    reading = must(attributes | {"llm.token_count.prompt": 7, "llm.token_count.completion": 1})
    assert reading.usage is not None
    assert (reading.kind, reading.aggregate, reading.usage.input) == (kind, True, 7)
    assert reading.edits["spanledger.usage.basis"] == reading.usage.basis
    assert not any(name.startswith("gen_ai.usage") for name in reading.edits)


def test_contradictions_are_told_on_the_span() -> None:
    """And again by a second sidecar, which sees the same."""
    attributes: dict[str, Value] = {
        OP: "chat", "gen_ai.usage.input_tokens": True, "gen_ai.usage.output_tokens": 5,
        "gen_ai.usage.cache_read.input_tokens": -3,
    }  # fmt: skip
    reading = must(attributes)
    assert reading.edits["spanledger.usage.conflicts"] == ["input_not_a_count", "cache_read_not_a_count"]
    assert must(attributes | reading.edits).edits == {}


@pytest.mark.parametrize(
    ("seen", "reasons"),
    [
        (["stop"], ["stop"]),
        (["end_turn"], ["stop"]),
        (["STOP"], ["stop"]),
        (["stop_sequence"], ["stop"]),
        (["max_tokens"], ["length"]),
        (["MAX_TOKENS"], ["length"]),
        (["SAFETY"], ["content_filter"]),
        (["refusal"], ["content_filter"]),
        (["tool_calls"], ["tool_call"]),
        (["tool_use"], ["tool_call"]),
        (["failed"], ["error"]),
        (["compaction"], ["compaction"]),
        (["pause_turn"], ["pause_turn"]),
        (["stop", "length"], ["stop", "length"]),
        (["stop,length"], ["stop", "length"]),
        ([""], []),
    ],
)
def test_finish_reasons(seen: list[Value], reasons: list[Value]) -> None:
    """Well-known reasons in one spelling, others as they are."""
    assert normalize(seen) == reasons


@pytest.mark.parametrize(
    "attribute",
    [
        {"gen_ai.response.finish_reasons": '["tool_calls"]'},
        {"gen_ai.response.finish_reasons": "('tool_calls',)"},
        {"gen_ai.response.finish_reason": "tool_calls"},
        {"llm.finish_reason": "tool_calls"},
        {"llm.response.finish_reason": "tool_calls"},
        {"anthropic.message.stop_reason": "tool_use"},
    ],
)
def test_finish_reasons_in_every_form(attribute: dict[str, Value]) -> None:
    """A list, JSON of one, Python's spelling of one, or a single word under an older name."""
    assert must({OP: "chat"} | attribute).edits["gen_ai.response.finish_reasons"] == ["tool_call"]


@pytest.mark.parametrize("unreadable", [-5, "x", 1.5, True, [1], 10**15])
def test_a_count_that_is_none_does_not_hide_another_source(unreadable: Value) -> None:
    """The next source counts, the conflict is named, and what the current name said is kept."""
    reading = must({OP: "chat", "gen_ai.usage.input_tokens": unreadable, "gen_ai.usage.prompt_tokens": 5})
    assert reading.usage is not None
    assert reading.usage.input == 5
    if not isinstance(unreadable, list):  # a tree where a fact belongs is not even looked at
        assert reading.usage.conflicts in {("input_not_a_count",), ()}
    assert reading.edits["gen_ai.usage.input_tokens"] == 5
    assert reading.edits["spanledger.original.gen_ai.usage.input_tokens"] == unreadable


def test_counts_that_contradict_each_other_keep_their_originals() -> None:
    """Where something does not add up, every count stays under the name that it came with, whatever is removed."""
    removing = Reader(DIALECTS, LATEST, {dialect.name: Tuning(remove_originals=True) for dialect in DIALECTS})
    agreed: dict[str, Value] = {OI: "LLM", "llm.token_count.prompt": 100, "llm.token_count.completion": 20}
    made = span()
    made.attributes.extend(key_value(key, value) for key, value in agreed.items())
    fine = removing.read("app", "", made)
    assert fine is not None
    assert "llm.token_count.prompt" in fine.removals
    made.attributes.append(key_value("llm.token_count.completion_details.reasoning", 50))
    made.attributes.append(key_value("llm.token_count.total", 120))
    contradictory = removing.read("app", "", made)
    assert contradictory is not None
    assert contradictory.usage is not None
    assert contradictory.usage.conflicts == ("reasoning_exceeds_output",)
    assert not any(key.startswith("llm.token_count.") for key in contradictory.removals)


@pytest.mark.parametrize(
    ("attributes", "target", "value"),
    [
        ({"llm.request.max_tokens": 7}, "gen_ai.request.max_tokens", 7),
        ({"llm.temperature": 0.5}, "gen_ai.request.temperature", 0.5),
        ({"llm.request.temperature": 0.5}, "gen_ai.request.temperature", 0.5),
        ({"llm.top_p": 0.5}, "gen_ai.request.top_p", 0.5),
        ({"llm.request.top_p": 0.5}, "gen_ai.request.top_p", 0.5),
        ({OI: "RERANKER", "reranker.model_name": "rerank-v3.5"}, "gen_ai.request.model", "rerank-v3.5"),
        ({"llm.vendor": "Cohere"}, "gen_ai.provider.name", "cohere"),
        ({"gen_ai.request.effort": "high"}, "gen_ai.request.reasoning.level", "high"),
        ({"gen_ai.request.embeddings.dimensions": 4}, "gen_ai.embeddings.dimension.count", 4),
        ({"az.namespace": "Microsoft.X"}, "azure.resource_provider.namespace", "Microsoft.X"),
        ({"gen_ai.usage.input_tokens": 9, "gen_ai.usage.details.cache_creation_input_tokens": 7},
         "gen_ai.usage.cache_write.input_tokens", 7),
        ({"gen_ai.usage.input_tokens": 9, "gen_ai.usage.details.cache_read_input_tokens": 7},
         "gen_ai.usage.cache_read.input_tokens", 7),
        ({"gen_ai.openai.request.response_format": '{"type": "json_schema", "json_schema": {}}'},
         "gen_ai.output.type", "json"),
        ({"gen_ai.openai.request.response_format": '{"schema": {}}'}, "gen_ai.output.type", None),
        ({"gen_ai.openai.request.response_format": "<class 'app.Answer'>"}, "gen_ai.output.type", None),
        ({"traceloop.span.kind": "task", "traceloop.prompt.template_variables": '{"city": "Oslo", "days": 3}'},
         "gen_ai.prompt.variable.days", "3"),
        ({OI: "LLM", "llm.prompt_template.variables": '{"city": "Oslo"}'}, "gen_ai.prompt.variable.city", "Oslo"),
        ({OI: "EMBEDDING", "embedding.embeddings.0.embedding.vector": [0.1] * 4},
         "gen_ai.embeddings.dimension.count", 4),
        ({OP: "retrieval", "db.collection.name": "docs"}, "gen_ai.data_source.id", "docs"),
        ({OP: "retrieval", "db.collection.name": "docs", "aws.bedrock.knowledge_base.id": "KB"},
         "gen_ai.data_source.id", "KB"),
        ({OI: "RETRIEVER", "db.collection.name": "docs"}, "gen_ai.data_source.id", "docs"),
        ({"db.collection.name": "docs"}, "gen_ai.data_source.id", None),
        ({OP: "execute_tool", "gen_ai.tool.args": '{"a":1}'}, "gen_ai.tool.call.arguments", '{"a":1}'),
        ({OP: "execute_tool", "gen_ai.tool.input": '{"a":1}'}, "gen_ai.tool.call.arguments", '{"a":1}'),
        ({OP: "execute_tool", "gen_ai.tool.output": '{"b":2}'}, "gen_ai.tool.call.result", '{"b":2}'),
        ({OI: "AGENT", "metadata": '{"langgraph_node": "planner"}'}, "gen_ai.agent.name", "planner"),
    ],
)  # fmt: skip
def test_more_names_of_the_same(attributes: dict[str, Value], target: str, value: Value) -> None:
    """Rows that no recording has: one source, one target; None where nothing may be written."""
    assert must({OP: "chat"} | attributes if OI not in attributes else attributes).edits.get(target) == value


def test_prompt_variables_are_bounded_and_never_replace_current_ones() -> None:
    """As many as a template has, none with a name that long, and only in profiles that have the attribute."""
    variables = json.dumps({f"v{number}": "x" for number in range(500)} | {"k" * 200: "x"})
    attributes: dict[str, Value] = {
        OI: "LLM", "llm.prompt_template.variables": variables, "gen_ai.prompt.variable.v1": "mine",
    }  # fmt: skip
    edits = must(attributes).edits
    assert len([name for name in edits if name.startswith("gen_ai.prompt.variable.")]) == 63
    assert "gen_ai.prompt.variable.v1" not in edits
    old = said(attributes, profile=PROFILES["1.41"])
    assert old is not None
    assert not any(name.startswith("gen_ai.prompt.variable.") for name in old.edits)


def test_openinference_that_also_writes_current_names_is_read_by_its_own() -> None:
    """Its converter takes the model that answered for the one that was asked, and `stop` for what it does not know."""
    reading = must(
        {
            OI: "LLM",
            OP: "chat",
            "gen_ai.request.model": "gpt-4o-2024-08-06",
            "gen_ai.response.finish_reasons": ["stop"],
            "llm.model_name": "gpt-4o-2024-08-06",
            "llm.invocation_parameters": '{"model": "gpt-4o"}',
            "llm.finish_reason": "length",
        }
    )
    assert (reading.request_model, reading.response_model) == ("gpt-4o", "gpt-4o-2024-08-06")
    assert reading.edits["gen_ai.request.model"] == "gpt-4o"
    assert reading.edits["spanledger.original.gen_ai.request.model"] == "gpt-4o-2024-08-06"
    assert reading.edits["gen_ai.response.finish_reasons"] == ["length"]


ANTHROPIC = (
    '{"id":"msg_1","usage":{"cache_creation":{"ephemeral_1h_input_tokens":2048,"ephemeral_5m_input_tokens":0},'
    '"cache_creation_input_tokens":2048,"cache_read_input_tokens":0,"input_tokens":2571,"output_tokens":28,'
    '"service_tier":"batch"}}'
)


@pytest.mark.parametrize(
    ("version", "counts"),
    [
        ("0.1.8", {"llm.token_count.prompt": 2571}),
        ("3.1.0", {"llm.token_count.prompt": 4619, "llm.token_count.prompt_details.cache_write": 2048}),
    ],
)
def test_anthropic_through_openinference(version: str, counts: dict[str, Value]) -> None:
    """Old releases tell only what was not cached; the answer has the rest, how long it lives, and the tier."""
    attributes: dict[str, Value] = {OI: "LLM", "llm.token_count.completion": 28, "output.value": ANTHROPIC}
    reading = must(attributes | counts, "openinference.instrumentation.anthropic", version=version)
    usage = reading.usage
    assert usage is not None
    assert (usage.input, usage.output, usage.cache_write, usage.cache_write_1h) == (4619, 28, 2048, 2048)
    assert reading.edits["gen_ai.usage.input_tokens"] == 4619
    assert (usage.conflicts, reading.service_tier) == ((), "batch")


def test_openinference_requests_and_tiers() -> None:
    """What the Responses API and Gemini nest or name otherwise."""
    parameters = (
        '{"model": "o3", "reasoning": {"effort": "high"}, "previous_response_id": "resp_0", "candidate_count": 2,'
        ' "text": {"format": {"type": "json_schema"}}, "service_tier": "flex"}'
    )
    reading = must({OI: "LLM", "llm.provider": "openai", "llm.invocation_parameters": parameters})
    assert reading.service_tier == "flex"
    assert {name: reading.edits.get(name) for name in (
        "gen_ai.request.reasoning.level", "gen_ai.request.previous_response.id", "gen_ai.request.choice.count",
        "gen_ai.output.type", "openai.request.service_tier",
    )} == {
        "gen_ai.request.reasoning.level": "high", "gen_ai.request.previous_response.id": "resp_0",
        "gen_ai.request.choice.count": 2, "gen_ai.output.type": "json", "openai.request.service_tier": "flex",
    }  # fmt: skip
    answered = '{"id":"chatcmpl-1","service_tier":"priority","usage":{}}'
    both = must({OI: "LLM", "llm.invocation_parameters": parameters, "output.value": answered})
    assert both.service_tier == "priority"
    quoted = json.dumps({"content": answered})
    assert must({OI: "LLM", "output.value": quoted}).service_tier is None


def test_openinference_models() -> None:
    """The invocation names the model that was asked, `llm.model_name` the one that answered."""
    both = must({OI: "LLM", "llm.model_name": "gpt-4o-2024-08-06", "llm.invocation_parameters": '{"model": "gpt-4o"}'})
    assert (both.request_model, both.response_model) == ("gpt-4o", "gpt-4o-2024-08-06")
    same = must({OI: "LLM", "llm.model_name": "gpt-4o", "llm.invocation_parameters": '{"model": "gpt-4o"}'})
    assert (same.request_model, same.response_model) == ("gpt-4o", None)
    alone = must({OI: "LLM", "llm.model_name": "gpt-4o"})
    assert (alone.request_model, alone.response_model) == ("gpt-4o", None)
    answered = must({OI: "LLM", "llm.invocation_parameters": '{"id": "resp_1", "model": "gpt-4o-2024-08-06"}'})
    assert (answered.response_model, answered.response_id) == ("gpt-4o-2024-08-06", "resp_1")


def test_openinference_invocation_parameters() -> None:
    """Request attributes stand in JSON; what is no number is left out."""
    parameters = '{"max_tokens": 512, "temperature": 0, "top_k": 5.0, "stop": "END", "n": null, "seed": "x"}'
    edits = must({OI: "LLM", "llm.invocation_parameters": parameters}).edits
    requested = {key.removeprefix("gen_ai.request."): value for key, value in edits.items() if "request" in key}
    assert requested == {"max_tokens": 512, "temperature": 0.0, "top_k": 5, "stop_sequences": ["END"]}


@pytest.mark.parametrize(
    ("output", "response_id"),
    [
        ('{"id":"chatcmpl-1","choices":[]}', "chatcmpl-1"),
        ('{"id": "msg_01", "content": []}', "msg_01"),
        ('{"generations": [[{"message": {"kwargs": {"id": "lc_run--1", "meta": {"id": "chatcmpl-2"', "chatcmpl-2"),
        ('{"text": "no id here"}', None),
        ("plain text", None),
    ],
)
def test_openinference_response_id(output: str, response_id: str | None) -> None:
    """The answer as it came holds the provider's id, also inside what a framework made of it."""
    assert must({OI: "LLM", "output.value": output}).response_id == response_id


@pytest.mark.parametrize(
    ("attributes", "conversation"),
    [
        ({"gen_ai.conversation.id": "c", "session.id": "s"}, "c"),
        ({"session.id": "s"}, "s"),
        ({"traceloop.association.properties.session_id": "t"}, "t"),
        ({"traceloop.association.properties.thread_id": "t"}, "t"),
        ({OI: "CHAIN", "metadata": '{"thread_id": "m"}'}, "m"),
        ({OI: "CHAIN", "metadata": "not json"}, None),
        ({}, None),
    ],
)
def test_conversations(attributes: dict[str, Value], conversation: str | None) -> None:
    """A conversation is what an attribute says, never made up."""
    reading = must({OP: "chat"} | attributes)
    assert reading.conversation_id == conversation


@pytest.mark.parametrize(
    ("attributes", "agent", "tool", "workflow"),
    [
        ({OI: "AGENT", "agent.name": "a", "graph.node.id": "n"}, "a", None, None),
        ({OI: "AGENT", "graph.node.id": "n"}, "n", None, None),
        ({OI: "CHAIN", "graph.node.id": "n"}, None, None, None),
        ({OI: "AGENT", "metadata": '{"lc_agent_name": "m"}'}, "m", None, None),
        ({OI: "TOOL", "tool.name": "t"}, None, "t", None),
        ({TL: "agent", "traceloop.entity.name": "e"}, "e", None, None),
        ({TL: "tool", "traceloop.entity.name": "e", "traceloop.workflow.name": "w"}, None, "e", None),
        ({TL: "workflow", "traceloop.entity.name": "e", "traceloop.workflow.name": "w"}, None, None, "w"),
        ({TL: "task", "traceloop.entity.name": "e", "traceloop.workflow.name": "w"}, None, None, None),
        # a list of the tools on offer is no tool's name
        ({OP: "chat", "gen_ai.tool.name": "a,b"}, None, None, None),
    ],
)
def test_names(attributes: dict[str, Value], agent: str | None, tool: str | None, workflow: str | None) -> None:
    """Names belong to spans of their kind."""
    reading = must(attributes)
    assert (reading.agent_name, reading.tool_name, reading.workflow_name) == (agent, tool, workflow)


def failing(*events: tuple[str, dict[str, Value]], code: Status.StatusCode = Status.STATUS_CODE_ERROR) -> Span:
    """Return a failed chat span with these events."""
    made = span(gen_ai__operation__name="chat")
    made.status.code = code
    for name, attributes in events:
        event = made.events.add(name=name, time_unix_nano=made.start_time_unix_nano + 250_000_000)
        event.attributes.extend(key_value(key, value) for key, value in attributes.items())
    return made


def reading_of(made: Span, scope: str = "app") -> Reading:
    """Return the reading of a span."""
    reading = read(Scope(scope, ""), Resource({}, "shop"), made)
    assert reading is not None
    return reading


def test_errors_come_from_the_attribute_then_the_exception_then_the_status() -> None:
    """A failed span without any of them keeps its error without a type."""
    exception = ("exception", {"exception.type": "TimeoutError"})
    assert reading_of(failing(exception)).edits["error.type"] == "TimeoutError"
    stated = failing(exception)
    stated.attributes.append(key_value("error.type", "rate_limit"))
    assert reading_of(stated).error_type == "rate_limit"
    answered = failing()
    answered.attributes.append(key_value("http.response.status_code", 429))
    assert reading_of(answered).error_type == "429"
    bare = reading_of(failing())
    assert (bare.error_type, "error.type" in bare.edits) == (None, False)


def test_a_handled_exception_is_no_error() -> None:
    """Without an error status an exception event says nothing about the outcome."""
    made = failing(("exception", {"exception.type": "ValueError"}), code=Status.STATUS_CODE_UNSET)
    assert reading_of(made).error_type is None


@pytest.mark.parametrize(
    ("attributes", "seconds"),
    [
        ({"gen_ai.response.time_to_first_chunk": 0.5}, 0.5),
        ({"gen_ai.client.operation.time_to_first_chunk": 0.5}, 0.5),
        ({"gen_ai.streaming.time_to_first_token": "0.5"}, 0.5),
        ({"gen_ai.response.time_to_first_chunk": -1.0}, None),
        ({"gen_ai.response.time_to_first_chunk": float("nan")}, None),
    ],
)
def test_time_to_first_chunk(attributes: dict[str, Value], seconds: float | None) -> None:
    """In seconds, whoever says it."""
    assert must({OP: "chat"} | attributes).time_to_first_chunk_s == seconds


@pytest.mark.parametrize("name", ["gen_ai.content.completion.chunk", "First Token Stream Event"])
def test_time_to_first_chunk_from_events(name: str) -> None:
    """The first such event, 250 ms after the start."""
    made = failing((name, {}), (name, {}), code=Status.STATUS_CODE_UNSET)
    assert reading_of(made).edits["gen_ai.response.time_to_first_chunk"] == 0.25


def test_the_rest_of_a_call() -> None:
    """Retries, tier, server, reported cost."""
    reading = must(
        {
            OP: "chat",
            "http.request.resend_count": 2,
            "gen_ai.openai.response.service_tier": "flex",
            "gen_ai.openai.api_base": "https://eu.api.openai.com:8443/v1/",
            "operation.cost": 0.0125,
        }
    )
    assert (reading.attempt, reading.service_tier, reading.server_address) == (3, "flex", "eu.api.openai.com")
    assert (reading.reported_cost_usd, reading.reported_cost_key) == (0.0125, "operation.cost")
    assert reading.edits["server.port"] == 8443
    assert reading.edits["openai.response.service_tier"] == "flex"


def test_older_profiles_write_older_names() -> None:
    """1.36 has `gen_ai.system`, no cache counts and `xai`; 1.41 has `cache_creation`; `top_k` was a double."""
    attributes: dict[str, Value] = {
        OI: "LLM",
        "llm.provider": "xai",
        "llm.model_name": "grok-4",
        "llm.token_count.prompt": 100,
        "llm.token_count.completion": 5,
        "llm.token_count.prompt_details.cache_write": 30,
        "llm.invocation_parameters": '{"top_k": 5}',
    }
    old, newer = said(attributes, profile=PROFILES["1.36"]), said(attributes, profile=PROFILES["1.41"])
    assert old is not None
    assert newer is not None
    assert old.edits["gen_ai.system"] == "xai"
    assert not any("cache" in name or name == "gen_ai.provider.name" for name in old.edits)
    assert newer.edits["gen_ai.provider.name"] == "x_ai"
    assert newer.edits["gen_ai.usage.cache_creation.input_tokens"] == 30
    assert newer.edits["gen_ai.request.top_k"] == 5.0
    assert isinstance(newer.edits["gen_ai.request.top_k"], float)
    assert (old.usage, old.provider) == (newer.usage, newer.provider)


def test_dialects_are_found_in_their_folder() -> None:
    """The conventions themselves come first, then the others by name."""
    names = [dialect.name for dialect in DIALECTS]
    assert names[0] == "otel"
    assert names[1:] == sorted(names[1:])
    assert {"openinference", "openllmetry"} <= set(names)

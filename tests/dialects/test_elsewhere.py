"""Instrumentations that nobody recorded for us: what their source or documentation says they write, and what is read.

One list each, with the page it was taken from.
"""

from __future__ import annotations

import json
from typing import Any, Final

import pytest

from tests.dialects.rows import Row, found

OP: Final = "gen_ai.operation.name"
MODEL: Final = "gen_ai.request.model"
PROVIDER: Final = "gen_ai.provider.name"
IN: Final = "gen_ai.usage.input_tokens"
OUT: Final = "gen_ai.usage.output_tokens"

CHAT: Final = {"kind": "llm", "operation": "chat"}
AGENT: Final = {"kind": "agent", "operation": "invoke_agent"}
TOOL: Final = {"kind": "tool", "operation": "execute_tool"}
EMBEDS: Final = {"kind": "embedding", "operation": "embeddings"}
RETRIEVES: Final = {"kind": "retrieval", "operation": "retrieval"}
NOTHING: Final = {"kind": "other", "operation": None}


def dumped(**fields: Any) -> str:
    """Return a JSON object."""
    return json.dumps(fields)


ASKED: Final = [{"role": "user", "parts": [{"type": "text", "content": "Weather in Oslo?"}]}]


# https://docs.vllm.ai/en/latest/examples/online_serving/opentelemetry, vllm/tracing/utils.py
VLLM = [
    Row("vllm.llm_engine",
        {"gen_ai.request.id": "cmpl-1", "gen_ai.usage.prompt_tokens": 100, "gen_ai.usage.completion_tokens": 20,
         "gen_ai.request.max_tokens": 64, "gen_ai.request.n": 1, "gen_ai.latency.time_in_queue": 0.00005,
         "gen_ai.latency.time_to_first_token": 0.115, "gen_ai.latency.e2e": 0.25},
        CHAT | {"input": 100, "output": 20, "time_to_first_chunk_s": 0.115, "provider": "vllm", "echo": True,
                "gen_ai.request.max_tokens": 64},
        name="llm_request"),
    Row("vllm.llm_engine", {"code.function": "load_model"}, {"kind": "not read"}, name="Model loading"),
    # since 0.2x, with OTEL_SEMCONV_STABILITY_OPT_IN=gen_ai_latest_experimental
    Row("vllm.llm_engine",
        {OP: "text_completion", MODEL: "Qwen/Qwen3-8B", "gen_ai.usage.prompt_tokens": 9, "gen_ai.latency.e2e": 1.5},
        {"kind": "llm", "operation": "text_completion", "request_model": "Qwen/Qwen3-8B", "input": 9}),
]  # fmt: skip

# https://github.com/sgl-project/sglang/blob/main/python/sglang/srt/tracing/trace.py
SGLANG = [
    Row("sglang",
        {"gen_ai.response.model": "Qwen/Qwen3-8B", "gen_ai.usage.prompt_tokens": 100, "gen_ai.usage.cached_tokens": 64,
         "gen_ai.usage.completion_tokens": 20, "gen_ai.latency.time_to_first_token": 0.2, "gen_ai.latency.e2e": 1.0},
        CHAT | {"input": 100, "cache_read": 64, "output": 20, "time_to_first_chunk_s": 0.2, "provider": "sglang",
                "response_model": "Qwen/Qwen3-8B"},
        name="Req 7f1c"),
]  # fmt: skip

# https://openrouter.ai/docs/guides/features/broadcast/otel-collector
OPENROUTER = [
    Row("openrouter",
        {PROVIDER: "OpenAI", MODEL: "openai/gpt-4.1-mini", "gen_ai.response.model": "openai/gpt-4.1-mini",
         IN: 100, "gen_ai.usage.input_tokens.cached": 64, OUT: 20, "gen_ai.usage.output_tokens.reasoning": 5,
         "gen_ai.usage.total_cost": 0.0012, "gen_ai.response.finish_reason": "stop", "session.id": "s-1",
         "gen_ai.prompt": dumped(messages=[{"role": "user", "content": "Weather in Oslo?"}])},
        CHAT | {"provider": "openai", "input": 100, "cache_read": 64, "output": 20, "reasoning": 5,
                "reported_cost_usd": 0.0012, "conversation_id": "s-1", "gen_ai.response.finish_reasons": ["stop"],
                "gen_ai.input.messages": ASKED}),
    Row("openrouter", {PROVIDER: "Amazon Bedrock", MODEL: "anthropic/claude-sonnet-4", IN: 1, OUT: 1},
        {"provider": "aws.bedrock"}),
    Row("openrouter", {PROVIDER: "Google AI Studio", MODEL: "google/gemini-2.5-flash", IN: 1, OUT: 1},
        {"provider": "gcp.gemini"}),
]  # fmt: skip

# https://developers.cloudflare.com/ai-gateway/observability/otel-integration
CLOUDFLARE = [
    Row("ai-gateway",
        {MODEL: "gpt-4o-mini", "gen_ai.model.provider": "openai", IN: 100, OUT: 20, "gen_ai.usage.cost": 0.00003,
         "gen_ai.prompt_json": json.dumps([{"role": "user", "content": "Weather in Oslo?"}]),
         "gen_ai.completion_json": dumped(choices=[{"finish_reason": "stop", "message": {
             "role": "assistant", "content": "Rain."}}])},
        CHAT | {"provider": "openai", "request_model": "gpt-4o-mini", "input": 100, "output": 20,
                "reported_cost_usd": 0.00003, "gen_ai.input.messages": ASKED,
                "gen_ai.output.messages": [{"role": "assistant", "parts": [{"type": "text", "content": "Rain."}],
                                            "finish_reason": "stop"}]}),
]  # fmt: skip

# https://develop.sentry.dev/sdk/telemetry/traces/modules/ai-agents
SENTRY = [
    Row("@sentry/node",
        {OP: "chat", "sentry.op": "gen_ai.chat", "gen_ai.system": "openai", MODEL: "gpt-4", IN: 100, OUT: 20,
         "gen_ai.usage.input_tokens.cached": 50, "gen_ai.usage.output_tokens.reasoning": 5,
         "gen_ai.usage.total_tokens": 120, "gen_ai.response.finish_reasons": '["tool_calls"]',
         "gen_ai.request.messages": json.dumps([{"role": "user", "content": "Weather in Oslo?"}]),
         "gen_ai.response.text": "Let me see.",
         "gen_ai.response.tool_calls": json.dumps([{"id": "call_1", "type": "function", "function": {
             "name": "get_weather", "arguments": '{"city":"Oslo"}'}}])},
        CHAT | {"provider": "openai", "input": 100, "cache_read": 50, "output": 20, "reasoning": 5,
                "gen_ai.response.finish_reasons": ["tool_call"], "gen_ai.input.messages": ASKED,
                "gen_ai.output.messages": [{"role": "assistant", "parts": [
                    {"type": "text", "content": "Let me see."},
                    {"type": "tool_call", "id": "call_1", "name": "get_weather", "arguments": {"city": "Oslo"}}]}]}),
    Row("@sentry/node", {"sentry.op": "gen_ai.messages", OP: "messages", MODEL: "claude-3-haiku",
                         "gen_ai.system": "anthropic", "gen_ai.request.messages": "[]"}, CHAT),
    Row("@sentry/node", {OP: "generate_text", MODEL: "gpt-4", "gen_ai.response.text": "hi"}, CHAT),
    Row("@sentry/node", {OP: "handoff", "sentry.op": "gen_ai.handoff"}, NOTHING),
    Row("@sentry/node",
        {OP: "execute_tool", "sentry.op": "gen_ai.execute_tool", "gen_ai.tool.name": "get_weather",
         "gen_ai.tool.input": '{"city":"Oslo"}', "gen_ai.tool.output": '{"temp_c":3}'},
        TOOL | {"gen_ai.tool.call.arguments": {"city": "Oslo"}, "gen_ai.tool.call.result": {"temp_c": 3}}),
    Row("@sentry/node", {"sentry.op": "http.client", "sentry.origin": "auto.http"}, {"kind": "not read"}),
]  # fmt: skip

# https://www.braintrust.dev/docs/integrations/sdk-integrations/opentelemetry; braintrust-sdk-java, -go, -ruby
BRAINTRUST = [
    Row("braintrust-java",
        {"braintrust.span_attributes": dumped(type="llm"), "braintrust.parent": "project_name:shop",
         "braintrust.metadata": dumped(provider="openai", model="gpt-4o-mini"),
         "braintrust.metrics": dumped(prompt_tokens=100, completion_tokens=20, tokens=120, prompt_cached_tokens=64,
                                      completion_reasoning_tokens=5, time_to_first_token=0.5),
         "braintrust.input_json": json.dumps([{"role": "user", "content": "Weather in Oslo?"}])},
        CHAT | {"provider": "openai", "request_model": "gpt-4o-mini", "input": 100, "cache_read": 64, "output": 20,
                "reasoning": 5, "time_to_first_chunk_s": 0.5, "gen_ai.input.messages": ASKED},
        name="Chat Completion"),
    Row("braintrust.go",
        {"braintrust.span_attributes": dumped(type="llm"), "braintrust.metadata": dumped(provider="openai",
         model="text-embedding-3-small"), "braintrust.metrics": dumped(prompt_tokens=7)},
        EMBEDS | {"input": 7}, name="Embeddings"),
    Row("braintrust",
        {"braintrust.span_attributes": dumped(type="tool"), "braintrust.input_json": dumped(city="Oslo"),
         "braintrust.output_json": dumped(temp_c=3)},
        TOOL | {"tool_name": "get_weather", "gen_ai.tool.call.arguments": {"city": "Oslo"},
                "gen_ai.tool.call.result": {"temp_c": 3}},
        name="get_weather"),
    *(Row("braintrust", {"braintrust.span_attributes": dumped(type=said)}, NOTHING)
      for said in ("task", "eval", "function", "facet")),
    Row("braintrust", {"braintrust.span_attributes": dumped(type="score")}, {"kind": "evaluation"}),
    Row("openclaw",
        {"braintrust.span_attributes.type": "llm", "braintrust.metrics.prompt_tokens": 100,
         "braintrust.metrics.completion_tokens": 20, "braintrust.metadata.model": "gpt-4o"},
        CHAT | {"input": 100, "output": 20, "request_model": "gpt-4o", "provider": "openai"}),
    Row("http", {"braintrust.parent": "project_name:shop", "http.request.method": "GET"}, {"kind": "not read"}),
]  # fmt: skip

# https://github.com/pipecat-ai/pipecat/tree/main/src/pipecat/utils/tracing
PIPECAT = [
    Row("pipecat",
        {OP: "chat", "gen_ai.system": "openai", MODEL: "gpt-4.1", IN: 100, OUT: 20, "metrics.ttfb": 0.4,
         "gen_ai.usage.cache_read_input_tokens": 64, "conversation.id": "c-1", "output": "Rain.",
         "input": json.dumps([{"role": "user", "content": "Weather in Oslo?"}])},
        CHAT | {"provider": "openai", "input": 100, "cache_read": 64, "time_to_first_chunk_s": 0.4,
                "gen_ai.input.messages": ASKED,
                "gen_ai.output.messages": [{"role": "assistant", "parts": [{"type": "text", "content": "Rain."}]}]},
        name="llm"),
    Row("pipecat.turn", {"conversation.id": "c-1", "conversation.type": "voice"},
        {"kind": "workflow", "conversation_id": "c-1"}, name="conversation"),
    Row("pipecat.turn", {"turn.number": 1, "turn.was_interrupted": False}, NOTHING, name="turn"),
    Row("pipecat", {OP: "tts", "gen_ai.system": "cartesia", "metrics.character_count": 7}, NOTHING, name="tts"),
    Row("pipecat", {OP: "stt", "gen_ai.system": "deepgram", "transcript": "hi"}, NOTHING, name="stt"),
    Row("pipecat", {OP: "llm_tool_call", "tool.function_name": "get_weather", "tool.call_id": "call_1"},
        TOOL | {"tool_name": "get_weather", "tool_call_id": "call_1"}, name="llm_tool_call"),
]  # fmt: skip

# https://learn.microsoft.com/azure/ai-foundry/how-to/develop/trace-agents-sdk; azure-ai-agents, telemetry/_utils.py
AZURE_AI_FOUNDRY = [
    Row("azure.core.tracing",
        {OP: "process_thread_run", "gen_ai.system": "az.ai.agents", "gen_ai.thread.id": "thread_1",
         "gen_ai.thread.run.id": "run_1", "gen_ai.agent.id": "asst_1", "gen_ai.response.model": "gpt-4o-mini",
         IN: 300, OUT: 40, "az.namespace": "Microsoft.CognitiveServices"},
        AGENT | {"conversation_id": "thread_1", "gen_ai.agent.id": "asst_1", "provider": "azure.ai.openai",
                 "input": 300, "output": 40, "aggregate": True}),
    Row("", {OP: "start_thread_run", "gen_ai.thread.id": "t", "gen_ai.system": "az.ai.agents"}, AGENT),
    *(Row("", {OP: said, "gen_ai.thread.id": "t", "gen_ai.system": "az.ai.agents"}, NOTHING)
      for said in ("create_thread", "create_message", "list_messages", "submit_tool_outputs", "get_thread_run",
                   "list_run_steps")),
    Row("", {OP: "create_agent", "gen_ai.system": "az.ai.agents", "gen_ai.agent.id": "a"},
        {"kind": "other", "operation": "create_agent", "provider": "azure.ai.inference"}),
    # azure-ai-projects 2.x: the Responses API under the project's endpoint
    Row("azure.ai.projects", {OP: "responses", PROVIDER: "microsoft.foundry", MODEL: "gpt-4.1", IN: 1, OUT: 1},
        CHAT | {"provider": "azure.ai.openai"}),
]  # fmt: skip

# https://github.com/langchain4j/langchain4j/tree/main/observability
LANGCHAIN4J = [
    Row("org.springframework.boot",
        {OP: "chat", "gen_ai.system": said, MODEL: "some-model", "gen_ai.response.model": "unknown"},
        {"provider": provider, "response_model": None})
    for said, provider in (
        ("OPEN_AI", "openai"), ("AZURE_OPEN_AI", "azure.ai.openai"), ("AMAZON_BEDROCK", "aws.bedrock"),
        ("GOOGLE_AI_GEMINI", "gcp.gemini"), ("GOOGLE_VERTEX_AI_GEMINI", "gcp.vertex_ai"),
        ("GOOGLE_VERTEX_AI_ANTHROPIC", "gcp.vertex_ai"), ("GOOGLE_GENAI", "gcp.gemini"),
        ("MISTRAL_AI", "mistral_ai"), ("ANTHROPIC", "anthropic"), ("OLLAMA", "ollama"), ("WATSONX", "ibm.watsonx.ai"),
        ("MICROSOFT_FOUNDRY", "azure.ai.inference"), ("COHERE", "cohere"), ("UNKNOWN", None), ("OTHER", None),
    )
]  # fmt: skip

# https://github.com/quarkiverse/quarkus-langchain4j, MetricsChatModelListener and SpanChatModelListener
QUARKUS = [
    Row("io.quarkus.opentelemetry",
        {OP: "chat", MODEL: "gpt-4o-mini", "gen_ai.request.temperature": 0.3, "gen_ai.response.id": "chatcmpl-1",
         "gen_ai.response.model": "gpt-4o-mini-2024-07-18", "gen_ai.response.finish_reasons": "STOP", IN: 100, OUT: 20,
         "gen_ai.client.estimated_cost": "0.00012USD"},
        CHAT | {"provider": "openai", "response_id": "chatcmpl-1", "input": 100,
                "gen_ai.response.finish_reasons": ["stop"]},
        name="completion gpt-4o-mini"),
]  # fmt: skip

# https://docs.langtrace.ai; langtrace-python-sdk 1.x and 3.x
LANGTRACE = [
    Row("langtrace_python_sdk.instrumentation.openai.patch",
        {"langtrace.service.type": "llm", "langtrace.service.name": "OpenAI",
         "langtrace.sdk.name": "langtrace-python-sdk", "llm.api": "/chat/completions", "llm.model": "gpt-4",
         "llm.token.counts": dumped(input_tokens=100,
         output_tokens=20, total_tokens=120),
         "llm.prompts": json.dumps([{"role": "user", "content": "Weather in Oslo?"}]),
         "llm.responses": json.dumps([{"message": {"role": "assistant", "content": "Rain."}}])},
        CHAT | {"provider": "openai", "request_model": "gpt-4", "input": 100, "output": 20,
                "gen_ai.input.messages": ASKED,
                "gen_ai.output.messages": [{"role": "assistant", "parts": [{"type": "text", "content": "Rain."}]}]}),
    Row("langtrace_python_sdk.instrumentation.openai.patch",
        {"langtrace.service.type": "llm", "langtrace.service.name": "OpenAI", OP: "chat", MODEL: "gpt-4o", IN: 9,
         OUT: 1, "gen_ai.usage.cached_tokens": 4}, CHAT | {"input": 9, "cache_read": 4}),
    Row("", {"langtrace.service.type": "llm", "langtrace.service.name": "OpenAI", "llm.model": "text-embedding-3-small",
             "llm.api": "/embeddings"}, EMBEDS),
    Row("", {"langtrace.service.type": "vectordb", "langtrace.service.name": "Pinecone", "db.operation": "query"},
        RETRIEVES),
    Row("", {"langtrace.service.type": "vectordb", "db.operation": "upsert"}, NOTHING),
    Row("", {"langtrace.service.type": "framework", "langtrace.service.name": "Langchain"}, NOTHING),
]  # fmt: skip

# https://github.com/agno-agi/agno, through openinference-instrumentation-agno
AGNO = [
    Row("openinference.instrumentation.agno",
        {"openinference.span.kind": "AGENT", "agent.name": "planner", "graph.node.id": "n1", "session.id": "s-1"},
        AGENT | {"agent_name": "planner", "conversation_id": "s-1"}, name="planner.run"),
    Row("openinference.instrumentation.agno",
        {"openinference.span.kind": "LLM", "llm.model_name": "gpt-4o", "llm.provider": "OpenAI",
         "llm.token_count.prompt": 100, "llm.token_count.completion": 20,
         "llm.token_count.prompt_details.cache_read": 5},
        CHAT | {"provider": "openai", "input": 100, "cache_read": 5}, name="OpenAIChat.invoke"),
    Row("openinference.instrumentation.agno",
        {"openinference.span.kind": "TOOL", "tool.name": "get_weather", "tool.parameters": dumped(city="Oslo")},
        TOOL | {"tool_name": "get_weather", "gen_ai.tool.call.arguments": {"city": "Oslo"}}),
]  # fmt: skip

# https://github.com/Arize-ai/openinference: -smolagents, -dspy, -instructor, -guardrails, -beeai, -portkey
OPENINFERENCE_FAMILY = [
    Row("openinference.instrumentation.smolagents",
        {"openinference.span.kind": "AGENT", "smolagents.task": "t", "smolagents.tools_names": ["a"],
         "llm.token_count.prompt": 300, "llm.token_count.completion": 40},
        AGENT | {"aggregate": True, "input": 300}, name="CodeAgent.run"),
    Row("openinference.instrumentation.smolagents", {"openinference.span.kind": "CHAIN"}, NOTHING, name="Step 1"),
    Row("openinference.instrumentation.smolagents",
        {"openinference.span.kind": "TOOL", "tool.name": "final_answer"}, TOOL, name="FinalAnswerTool"),
    Row("openinference.instrumentation.dspy",
        {"openinference.span.kind": "LLM", "llm.model_name": "openai/gpt-4o-mini", "llm.token_count.prompt": 9},
        CHAT | {"input": 9, "provider": "openai"}, name="LM.__call__"),
    Row("openinference.instrumentation.dspy", {"openinference.span.kind": "CHAIN"}, NOTHING, name="ReAct.forward"),
    Row("openinference.instrumentation.instructor", {"openinference.span.kind": "TOOL"}, TOOL, name="instructor.patch"),
    Row("openinference.instrumentation.portkey",
        {"openinference.span.kind": "LLM", "llm.model_name": "gpt-4o-mini", "llm.token_count.prompt": 9}, CHAT),
]  # fmt: skip

# https://weave-docs.wandb.ai/guides/tracking/otel; what applications send there
WEAVE = [
    Row("app", {OP: "chat", MODEL: "gpt-4o", IN: 9, OUT: 1, "wandb.thread_id": "t-1", "wandb.is_turn": True},
        CHAT | {"input": 9, "conversation_id": "t-1"}),
    Row("app", {"wandb.thread_id": "t-1", "http.request.method": "GET"}, {"kind": "not read"}),
]  # fmt: skip

# https://docs.aws.amazon.com/bedrock-agentcore/latest/devguide/observability-service-provided.html
AGENTCORE = [
    # what serves the agent, around the agent's own spans: no work of a run itself
    Row("", {"aws.operation.name": "InvokeAgentRuntime", "aws.agent.id": "a-1", "session.id": "s-1", "latency_ms": 1},
        {"kind": "not read"}, name="AgentCore.Runtime.Invoke"),
    Row("opentelemetry.instrumentation.botocore.bedrock-runtime",
        {OP: "chat", "gen_ai.system": "aws.bedrock", MODEL: "us.anthropic.claude-sonnet-4-20250514-v1:0", IN: 9, OUT: 1,
         "gen_ai.response.finish_reasons": ["tool_use"]},
        CHAT | {"provider": "aws.bedrock", "input": 9, "gen_ai.response.finish_reasons": ["tool_call"]}),
]  # fmt: skip

# https://docs.docarray / https://github.com/traceloop/go-openllmetry, openllmetry-ruby
TRACELOOP_GO = [
    Row("traceloop.tracer",
        {"llm.request.type": "chat", "llm.vendor": "OpenAI", "llm.request.model": "gpt-4o",
         "llm.response.model": "gpt-4o-2024-08-06", "llm.usage.prompt_tokens": 100,
         "llm.usage.completion_tokens": 20, "llm.usage.total_tokens": 120,
         "traceloop.workflow.name": "shop", "traceloop.association.properties.user_id": "u-1",
         "llm.prompts.0.role": "user", "llm.prompts.0.content": "Weather in Oslo?",
         "llm.completions.0.role": "assistant", "llm.completions.0.content": "Rain."},
        CHAT | {"provider": "openai", "request_model": "gpt-4o", "response_model": "gpt-4o-2024-08-06", "input": 100,
                "output": 20, "gen_ai.input.messages": ASKED}),
]  # fmt: skip

# https://cloud-docs.dify.ai (Dify's OTLP export), LoongSuite: `gen_ai.span.kind`
LOONGSUITE = [
    Row("loongsuite.instrumentation.dify",
        {"gen_ai.span.kind": "LLM", OP: "chat", "gen_ai.system": "openai", MODEL: "gpt-4o", IN: 9, OUT: 1,
         "gen_ai.session.id": "s-1", "gen_ai.user.id": "u-1"},
        CHAT | {"conversation_id": "s-1", "user_id": "u-1", "input": 9}),
    Row("loongsuite", {"gen_ai.span.kind": "CHAIN", OP: "workflow"}, NOTHING),
    Row("loongsuite", {"gen_ai.span.kind": "RETRIEVER"}, RETRIEVES),
    Row("loongsuite", {"gen_ai.span.kind": "TOOL", "gen_ai.tool.name": "t"}, TOOL | {"tool_name": "t"}),
]  # fmt: skip

# https://docs.datadoghq.com/llm_observability/instrumentation/otel_instrumentation: plain conventions
# https://docs.dynatrace.com (watsonx, through OpenLLMetry)
WATSONX = [
    Row("opentelemetry.instrumentation.watsonx",
        {"llm.request.type": "completion", "gen_ai.system": "Watsonx", MODEL: "ibm/granite-13b",
         "gen_ai.usage.prompt_tokens": 9, "gen_ai.usage.completion_tokens": 1},
        {"kind": "llm", "operation": "text_completion", "provider": "ibm.watsonx.ai", "input": 9}),
]  # fmt: skip

# https://github.com/spring-projects, https://docs.koog.ai/opentelemetry-support
KOOG = [
    Row("ai.koog.agents", {OP: "invoke_agent", PROVIDER: "koog", "gen_ai.agent.id": "a"}, AGENT | {"provider": None}),
    Row("ai.koog.agents", {OP: "chat", PROVIDER: "openai", MODEL: "gpt-4o", IN: 9, OUT: 1}, CHAT | {"input": 9}),
    Row("ai.koog.agents", {OP: "execute_tool", "gen_ai.tool.name": "t", "input.value": "{}"}, TOOL),
]  # fmt: skip

ALL: Final = {
    name: rows for name, rows in globals().items() if isinstance(rows, list) and name.isupper() and name != "ASKED"
}


@pytest.mark.parametrize(
    "row", [pytest.param(row, id=f"{name} {number}") for name, rows in ALL.items() for number, row in enumerate(rows)]
)
def test_elsewhere(row: Row) -> None:
    """What an instrumentation's documentation says it writes is read as what it is."""
    assert found(row) == row.expected

"""Where else each attribute of the conventions stands: one row a source, in every dialect."""

from __future__ import annotations

import json
from typing import Any, Final

import pytest

from tests.dialects.rows import Row, found

OP = "gen_ai.operation.name"
OI: Final = {"openinference.span.kind": "LLM"}
CHAT: Final = {OP: "chat"}
CLAUDE: Final = "com.anthropic.claude_code.tracing"


def rows(target: str, *sources: tuple[str, dict[str, Any], Any]) -> list[Any]:
    """Return a test each of: scope, attributes, the value of `target`."""
    return [
        pytest.param(Row(scope, attributes, {target: value}), id=f"{target} < {', '.join(attributes)}")
        for scope, attributes, value in sources
    ]


def same(target: str, value: Any, *keys: str, also: dict[str, Any] = CHAT) -> list[Any]:
    """Return a test each of keys that say `value` on a chat span of any scope."""
    return rows(target, *(("app", {**also, key: value}, value) for key in keys))


def dumped(**fields: Any) -> str:
    """Return a JSON object."""
    return json.dumps(fields)


TOKENS = [
    *same("input", 100, "gen_ai.usage.input_tokens", "gen_ai.usage.prompt_tokens", "llm.token_count.prompt",
          "llm.usage.prompt_tokens", "ai.usage.inputTokens", "ai.usage.promptTokens", "ai.usage.tokens",
          "decision.token_count.input"),
    *rows(
        "input",
        ("mlflow", {"mlflow.spanType": '"CHAT_MODEL"', "mlflow.chat.tokenUsage": dumped(input_tokens=100)}, 100),
        ("langfuse-sdk", {"langfuse.observation.type": "generation",
                          "langfuse.observation.usage_details": dumped(input=100, output=5, total=105)}, 100),
        ("langsmith", {"langsmith.span.kind": "llm", "langsmith.usage_metadata": dumped(input_tokens=100)}, 100),
        *(("openlit.instrumentation.openai",
           CHAT | {"gen_ai.request.stream": True, "gen_ai.response.finish_reasons": [reason],
                   "gen_ai.usage.input_tokens": 100}, count)
          for reason, count in (("completed", 100), ("stop", None))),
        ("@voltagent/core", {"span.type": "llm", "llm.usage.prompt_tokens": 100}, 100),
        ("@voltagent/core", {"entity.type": "agent", "voltagent.x": 1, "usage.prompt_tokens": 100}, 100),
        ("genkit-tracer", {"genkit:metadata:subtype": "model",
                           "genkit:output": json.dumps({"usage": {"inputTokens": 100, "outputTokens": 5}})}, 100),
    ),
    *same("output", 40, "gen_ai.usage.output_tokens", "gen_ai.usage.completion_tokens", "llm.token_count.completion",
          "llm.usage.completion_tokens", "ai.usage.outputTokens", "ai.usage.completionTokens",
          "decision.token_count.output"),
    *same("cache_read", 30, "gen_ai.usage.cache_read.input_tokens", "gen_ai.usage.cache_read_input_tokens",
          "gen_ai.usage.cached_tokens", "gen_ai.usage.details.cache_read_tokens", "gen_ai.usage.details.cached_tokens",
          "llm.token_count.prompt_details.cache_read", "llm.token_count.prompt_details.cache_input",
          "ai.usage.cachedInputTokens", "ai.usage.inputTokenDetails.cacheReadTokens",
          also=CHAT | {"gen_ai.usage.input_tokens": 100}),
    *rows(
        "cache_read",
        ("mlflow", {"mlflow.spanType": '"CHAT_MODEL"',
                    "mlflow.chat.tokenUsage": dumped(input_tokens=100, cache_read_input_tokens=30, total_tokens=105,
                                                     output_tokens=5)}, 30),
        *(("langfuse-sdk", {"langfuse.observation.type": "generation",
                            "langfuse.observation.usage_details": json.dumps({"input": 70, name: 30})}, 30)
          for name in ("input_cached_tokens", "input_cache_read", "cache_read_input_tokens")),
        ("langsmith", {"langsmith.span.kind": "llm", "langsmith.usage_metadata":
                       dumped(input_tokens=100, output_tokens=5, input_token_details={"cache_read": 30})}, 30),
        ("langsmith", {"langsmith.span.kind": "llm", "gen_ai.usage.input_tokens": 100,
                       "gen_ai.usage.input_token_details": "{'cache_read': 30, 'audio': None}"}, 30),
        ("genkit-tracer", {"genkit:metadata:subtype": "model", "genkit:output":
                           json.dumps({"usage": {"inputTokens": 100, "cachedContentTokens": 30}})}, 30),
        ("@voltagent/core", {"span.type": "llm", "llm.usage.prompt_tokens": 100, "llm.usage.cached_tokens": 30}, 30),
    ),
    *same("cache_write", 20, "gen_ai.usage.cache_write.input_tokens", "gen_ai.usage.cache_creation.input_tokens",
          "gen_ai.usage.cache_creation_input_tokens", "gen_ai.usage.cache_write_input_tokens",
          "gen_ai.usage.details.cache_write_tokens", "llm.token_count.prompt_details.cache_write",
          "ai.usage.inputTokenDetails.cacheWriteTokens", also=CHAT | {"gen_ai.usage.input_tokens": 100}),
    *rows(
        "cache_write",
        ("mlflow", {"mlflow.spanType": '"CHAT_MODEL"', "mlflow.chat.tokenUsage":
                    dumped(input_tokens=100, output_tokens=5, total_tokens=105, cache_creation_input_tokens=20)}, 20),
        *(("langfuse-sdk", {"langfuse.observation.type": "generation",
                            "langfuse.observation.usage_details": json.dumps({"input": 80, name: 20})}, 20)
          for name in ("input_cache_creation", "input_cache_write", "cache_creation_input_tokens")),
        ("langsmith", {"langsmith.span.kind": "llm", "langsmith.usage_metadata":
                       dumped(input_tokens=100, output_tokens=5, input_token_details={"cache_creation": 20})}, 20),
    ),
    *same("reasoning", 10, "gen_ai.usage.reasoning.output_tokens", "gen_ai.usage.reasoning_tokens",
          "gen_ai.usage.reasoning_output_tokens", "gen_ai.usage.details.reasoning_tokens",
          "gen_ai.usage.thoughts_token_count", "llm.token_count.completion_details.reasoning",
          "ai.usage.reasoningTokens", "ai.usage.outputTokenDetails.reasoningTokens",
          also=CHAT | {"gen_ai.usage.output_tokens": 40}),
    *rows(
        "reasoning",
        *(("langfuse-sdk", {"langfuse.observation.type": "generation",
                            "langfuse.observation.usage_details": json.dumps({"input": 80, "output": 30, name: 10})},
           10) for name in ("output_reasoning", "output_reasoning_tokens")),
        ("langsmith", {"langsmith.span.kind": "llm", "langsmith.usage_metadata":
                       dumped(input_tokens=9, output_tokens=40, output_token_details={"reasoning": 10})}, 10),
        ("genkit-tracer", {"genkit:metadata:subtype": "model", "genkit:output":
                           json.dumps({"usage": {"inputTokens": 9, "outputTokens": 30, "thoughtsTokens": 10}})}, 10),
    ),
    *same("audio_input", 7, "gen_ai.usage.audio.input_tokens", "llm.token_count.prompt_details.audio",
          "gen_ai.usage.audio_input_tokens", "gen_ai.usage.details.input_audio_tokens"),
    *same("audio_output", 7, "gen_ai.usage.audio.output_tokens", "llm.token_count.completion_details.audio",
          "gen_ai.usage.audio_output_tokens", "gen_ai.usage.details.output_audio_tokens"),
    *same("cache_write_1h", 20, "anthropic.usage.cache_creation.ephemeral_1h_input_tokens",
          "gen_ai.usage.cache_creation.1h_input_tokens", also=CHAT | {"gen_ai.usage.input_tokens": 100}),
    *rows(
        "cache_write_1h",
        ("mlflow", {"mlflow.spanType": '"CHAT_MODEL"', "mlflow.chat.tokenUsage":
                    dumped(input_tokens=100, output_tokens=5, total_tokens=105, cache_creation_input_tokens=20,
                           cache_creation_input_tokens_above_1hr=20)}, 20),
        ("langfuse-sdk", {"langfuse.observation.type": "generation",
                          "langfuse.observation.usage_details": dumped(input=80, input_cache_creation_1h=20)}, 20),
        ("ai", {"ai.operationId": "ai.generateText.doGenerate", "gen_ai.usage.input_tokens": 80,
                "ai.response.providerMetadata": json.dumps({"anthropic": {"usage": {
                    "cache_creation_input_tokens": 20, "cache_creation": {"ephemeral_1h_input_tokens": 20}}}})}, 20),
    ),
    # AI SDK 6 with a provider made for 5: what it tells apart is of an input without the cache
    *rows("input", *(
        ("ai", {"ai.operationId": "ai.generateText.doGenerate", "ai.request.headers.user-agent": "ai/6.0.3",
                "ai.usage.inputTokenDetails.cacheReadTokens": 40, "gen_ai.usage.input_tokens": told,
                "ai.response.providerMetadata": json.dumps({"anthropic": {"usage": {
                    "input_tokens": 60, "cache_read_input_tokens": 40}}})}, 100)
        for told in (60, 100)
    )),
    # sums over children stay where they are
    *rows("usage", ("pydantic-ai", {OP: "invoke_agent", "gen_ai.aggregated_usage.input_tokens": 100}, None)),
]  # fmt: skip

REQUESTS = [
    *same("request_model", "m-1", "gen_ai.request.model", "llm.request.model_name", "ai.model.id", "gen_ai.model",
          "litellm.provider.model"),
    *same("request_model", "m-1", "llm.model_name", also=OI),
    *same("request_model", "m-1", "embedding.model_name", also={"openinference.span.kind": "EMBEDDING"}),
    *rows(
        "request_model",
        ("langfuse-sdk", {"langfuse.observation.type": "generation", "langfuse.observation.model.name": "m"}, "m"),
        ("mlflow", {"mlflow.spanType": '"LLM"', "mlflow.llm.model": '"m"'}, "m"),
        (CLAUDE, {"span.type": "llm_request", "model": "m"}, "m"),
    ),
    *same("response_model", "m-2", "gen_ai.response.model", "llm.response.model_name", "llm.response.model",
          "ai.response.model"),
    *same("response_id", "r-1", "gen_ai.response.id", "ai.response.id", "llm.response.id", "gen_ai.response_id"),
    *rows(
        "response_id",
        ("litellm", {**CHAT, "litellm.call_id": "u-1", "gen_ai.response.id": "u-1"}, None),
        (CLAUDE, {"span.type": "llm_request", "gen_ai.response.id": "req_1"}, None),
    ),
    *same("gen_ai.request.max_tokens", 512, "gen_ai.request.max_completion_tokens", "ai.settings.maxOutputTokens",
          "ai.settings.maxTokens"),
    *rows(
        "gen_ai.request.max_tokens",
        *(("app", OI | {"llm.invocation_parameters": json.dumps({name: 512})}, 512)
          for name in ("max_tokens", "max_completion_tokens", "max_output_tokens")),
        ("langfuse-sdk", {"langfuse.observation.type": "generation",
                          "langfuse.observation.model.parameters": dumped(max_tokens=512)}, 512),
        ("app", CHAT | {"gen_ai.request.max_tokens": "512"}, 512),
    ),
    *(row for name, spelled, value in (
        ("temperature", "temperature", 0.5), ("top_p", "topP", 0.5), ("seed", "seed", 7),
        ("frequency_penalty", "frequencyPenalty", 0.5), ("presence_penalty", "presencePenalty", 0.5),
        ) for row in rows(
            f"gen_ai.request.{name}",
            ("app", OI | {"llm.invocation_parameters": json.dumps({name: value})}, value),
            ("langfuse-sdk", {"langfuse.observation.type": "generation",
                              "langfuse.observation.model.parameters": json.dumps({name: value})}, value),
            ("ai", CHAT | {f"ai.settings.{spelled}": value}, value),
        )),
    *same("gen_ai.request.frequency_penalty", 0.5, "llm.frequency_penalty"),
    *same("gen_ai.request.presence_penalty", 0.5, "llm.presence_penalty"),
    *same("gen_ai.request.seed", 7, "gen_ai.openai.request.seed"),
    *same("gen_ai.request.top_k", 5, "llm.top_k", "ai.settings.topK"),
    *rows("gen_ai.request.top_k", ("app", CHAT | {"gen_ai.request.top_k": 5.0}, 5)),
    *rows("gen_ai.retrieval.top_k", ("app", {OP: "retrieval", "gen_ai.request.top_k": 5.0}, 5),
          ("app", {OP: "retrieval", "db.vector.query.top_k": 5}, 5)),
    *rows(
        "gen_ai.request.stop_sequences",
        ("app", CHAT | {"llm.chat.stop_sequences": ["END"]}, ["END"]),
        ("app", OI | {"llm.invocation_parameters": dumped(stop=["END"])}, ["END"]),
        ("app", OI | {"llm.invocation_parameters": dumped(stop_sequences=["END"])}, ["END"]),
        ("@mastra/x", CHAT | {"mastra.span.type": "model_inference",
                              "gen_ai.request.stop_sequences": '["END"]'}, ["END"]),
    ),
    *same("gen_ai.request.choice.count", 2, "gen_ai.request.n", "gen_ai.request.candidate_count"),
    *same("gen_ai.request.stream", True, "gen_ai.is_streaming", "llm.is_streaming", "gen_ai.request.is_stream",
          "gen_ai.request.streaming", "langsmith.request.streaming", "litellm.request.streaming"),
    *rows("gen_ai.request.stream", ("ai", {"ai.operationId": "ai.streamText.doStream"}, True)),
    *same("gen_ai.request.reasoning.level", "high", "gen_ai.request.reasoning_effort", "llm.request.reasoning_effort",
          "gen_ai.request.effort", "gen_ai.request.thinking_level"),
    *rows(
        "gen_ai.request.reasoning.level",
        ("app", OI | {"llm.invocation_parameters": dumped(reasoning_effort="high")}, "high"),
        ("langfuse-sdk", {"langfuse.observation.type": "generation",
                          "langfuse.observation.model.parameters": dumped(reasoning_effort="high")}, "high"),
        (CLAUDE, {"span.type": "llm_request", "effort": "high"}, "high"),
    ),
    *same("gen_ai.request.previous_response.id", "resp_0", "gen_ai.request.previous_response_id"),
    *rows(
        "gen_ai.output.type",
        *(("app", CHAT | {"gen_ai.openai.request.response_format": said}, kind)
          for said, kind in (("json_object", "json"), ("json_schema", "json"), ("text", "text"))),
        ("app", CHAT | {"gen_ai.request.response_mime_type": "application/json"}, "json"),
        ("app", OI | {"llm.invocation_parameters": dumped(response_format={"type": "json_schema"})}, "json"),
    ),
    *same("openai.request.service_tier", "flex", "gen_ai.openai.request.service_tier"),
    *same("openai.response.service_tier", "flex", "gen_ai.openai.response.service_tier",
          "gen_ai.response.service_tier"),
    *same("service_tier", "flex", "openai.request.service_tier", "openai.response.service_tier",
          "gen_ai.openai.request.service_tier", "gen_ai.openai.response.service_tier"),
    *same("openai.response.system_fingerprint", "fp_1", "gen_ai.openai.response.system_fingerprint",
          "gen_ai.openai.system_fingerprint", "gen_ai.response.system_fingerprint", "gen_ai.system_fingerprint"),
    *same("gen_ai.embeddings.dimension.count", 4, "llm.openai.embeddings.vector_size", also={OP: "embeddings"}),
    *same("gen_ai.prompt.name", "greeting", "traceloop.prompt.key", "langfuse.observation.prompt.name", "prompt.id"),
    *same("gen_ai.prompt.version", "3", "traceloop.prompt.version", "langfuse.observation.prompt.version",
          "llm.prompt_template.version"),
    *rows(
        "gen_ai.prompt.variable.city",
        ("app", OI | {"llm.prompt_template.variables": dumped(city="Oslo")}, "Oslo"),
        ("app", {"traceloop.span.kind": "task", "traceloop.prompt.template_variables": dumped(city="Oslo")}, "Oslo"),
    ),
]  # fmt: skip

IDENTITIES = [
    *same("conversation_id", "c-1", "session.id", "langfuse.session.id", "mlflow.trace.session",
          "gcp.vertex.agent.session_id",
          *(f"traceloop.association.properties.{name}"
            for name in ("session_id", "thread_id", "chat_id", "conversation_id")),
          "lmnr.association.properties.session_id",
          *(f"langsmith.metadata.{name}" for name in ("session_id", "conversation_id", "thread_id")),
          "ai.telemetry.metadata.sessionId", "spring.ai.chat.client.conversation.id", "gen_ai.session.id",
          "gen_ai.thread.id", "gen_ai.agent.session_id", "anthropic.session.id", "mastra.metadata.threadId"),
    *rows(
        "conversation_id",
        *(("app", OI | {"metadata": json.dumps({name: "c-1"})}, "c-1")
          for name in ("thread_id", "session_id", "conversation_id")),
        ("mlflow", CHAT | {"mlflow.trace.session": '"c-1"'}, "c-1"),
        (CLAUDE, {"span.type": "llm_request", "session.id": "c-1", "gen_ai.conversation.id": "agent-7"}, "c-1"),
        ("@voltagent/core", {"entity.type": "agent", "voltagent.conversation_id": "c-1"}, "c-1"),
        ("crewai.telemetry.otel", CHAT | {"crewai.event_name": "x", "crewai.crew.id": "k"}, None),
        ("app", CHAT | {"crew_id": "k", "langsmith.trace.session_id": "project"}, None),
    ),
    *same("user_id", "u-1", "user.id", "langfuse.user.id", "mlflow.trace.user", "gen_ai.user", "llm.user",
          "traceloop.association.properties.user_id", "lmnr.association.properties.user_id",
          "ai.telemetry.metadata.userId", "litellm.end_user.id", "enduser.id"),
    *rows(
        "agent_name",
        ("app", {"openinference.span.kind": "AGENT", "agent.name": "planner"}, "planner"),
        ("app", {"openinference.span.kind": "AGENT", "graph.node.name": "planner"}, "planner"),
        ("app", {"openinference.span.kind": "CHAIN", "graph.node.name": "node"}, None),
        ("app", {"openinference.span.kind": "AGENT", "metadata": dumped(langgraph_node="planner")}, "planner"),
        ("app", {"traceloop.span.kind": "agent", "traceloop.entity.name": "planner"}, "planner"),
        ("ai", {"ai.operationId": "ai.generateText", "ai.telemetry.functionId": "planner"}, "planner"),
        ("ai", {"ai.operationId": "ai.generateText", "resource.name": "planner"}, "planner"),
        ("crewai.telemetry.otel", {OP: "invoke_agent", "crewai.event_name": "x", "gen_ai.agent.name": "5f2e",
                                   "crewai.agent.role": "planner"}, "planner"),
        ("@voltagent/core", {"entity.type": "agent", "voltagent.x": 1, "entity.name": "planner"}, "planner"),
        ("agentops", {"agentops.span.kind": "agent", "agent.name": "planner"}, "planner"),
        ("livekit-agents", {OP: "invoke_agent", "lk.agent_name": "planner"}, "planner"),
        # Who is so called by OTel's instrumentation of the Agents SDK may be anybody, and elsewhere is that agent.
        ("opentelemetry.instrumentation.openai_agents", {OP: "chat", "gen_ai.agent.name": "OpenAI Agent"}, None),
        ("app", {OP: "chat", "gen_ai.agent.name": "OpenAI Agent"}, "OpenAI Agent"),
    ),
    *rows(
        "gen_ai.agent.description",
        ("crewai.telemetry.otel", {OP: "invoke_agent", "crewai.event_name": "x", "crewai.agent.goal": "plan"}, "plan"),
    ),
    *rows(
        "workflow_name",
        ("app", {"traceloop.span.kind": "workflow", "traceloop.workflow.name": "trip"}, "trip"),
        ("crewai.telemetry.otel", {OP: "invoke_workflow", "crewai.event_name": "x", "crewai.crew.name": "trip"},
         "trip"),
        ("crewai.telemetry.otel", {OP: "invoke_workflow", "crewai.event_name": "x", "crewai.flow.name": "trip"},
         "trip"),
        ("agentops", {"agentops.span.kind": "workflow", "workflow.name": "trip"}, "trip"),
    ),
    *rows(
        "tool_name",
        ("app", {"openinference.span.kind": "TOOL", "tool.name": "weather"}, "weather"),
        ("ai", {"ai.operationId": "ai.toolCall", "ai.toolCall.name": "weather"}, "weather"),
        ("app", {"traceloop.span.kind": "tool", "traceloop.entity.name": "weather"}, "weather"),
        ("openlit.instrumentation.openai", CHAT | {"gen_ai.tool.name": "a, b"}, None),
        ("app", {OP: "execute_tool", "haystack.tool.name": "weather"}, "weather"),
        ("app", {OP: "execute_tool", "spring.ai.tool.definition.name": "weather"}, "weather"),
        ("app", {OP: "execute_tool", "crewai.event_name": "x", "crewai.mcp.tool_name": "weather"}, "weather"),
        (CLAUDE, {"span.type": "tool", "tool_name": "weather"}, "weather"),
        ("livekit-agents", {OP: "execute_tool", "lk.function_tool.name": "weather"}, "weather"),
        ("agentops", {"agentops.span.kind": "tool", "tool.name": "weather"}, "weather"),
    ),
    *same("tool_call_id", "call-1", "tool.id", "tool_call.id", "ai.toolCall.id", "gen_ai.tool.call_id",
          "haystack.tool.call.id", "spring.ai.tool.call.id", also={OP: "execute_tool"}),
    *rows(
        "tool_call_id",
        (CLAUDE, {"span.type": "tool", "tool_use_id": "call-1"}, "call-1"),
        ("gcp.vertex.agent", {OP: "execute_tool", "gen_ai.tool.call.id": "<not specified>"}, None),
    ),
    *rows(
        "gen_ai.data_source.id",
        *(("app", {OP: "retrieval", key: "docs"}, "docs")
          for key in ("db.collection.name", "db.namespace", "aws.bedrock.knowledge_base.id")),
    ),
    *rows(
        "gen_ai.skill.name",
        (CLAUDE, {"span.type": "tool", "skill_name": "pdf"}, "pdf"),
        ("crewai.telemetry.otel", {OP: "execute_tool", "crewai.event_name": "x", "crewai.skill.name": "pdf"}, "pdf"),
        ("gcp.vertex.agent", {OP: "execute_tool", "adk.skill.name": "pdf"}, "pdf"),
    ),
    *rows("jsonrpc.request.id", ("opentelemetry.instrumentation.mcp", {"mcp.method.name": "tools/call",
                                                                       "mcp.request.id": "7"}, "7")),
]  # fmt: skip

COSTS = rows(
    "reported_cost_usd",
    *(("app", CHAT | {key: 0.25}, 0.25) for key in (
        "gen_ai.usage.cost", "gen_ai.usage.cost.amount", "gen_ai.usage.total_cost", "operation.cost", "llm.cost.total",
        "litellm.cost.total", "gen_ai.cost.total_cost")),
    ("app", CHAT | {"gen_ai.usage.input_cost": 0.2, "gen_ai.usage.output_cost": 0.05}, 0.25),
    ("app", OI | {"llm.cost.prompt": 0.2, "llm.cost.completion": 0.05}, 0.25),
    ("langfuse-sdk", {"langfuse.observation.type": "generation",
                      "langfuse.observation.cost_details": dumped(input=0.2, output=0.05)}, 0.25),
    ("langfuse-sdk", {"langfuse.observation.type": "generation",
                      "langfuse.observation.cost_details": dumped(total=0.25)}, 0.25),
    ("mlflow", {"mlflow.spanType": '"LLM"', "mlflow.llm.cost": dumped(total_cost=0.25)}, 0.25),
    ("ai", {"ai.operationId": "ai.generateText.doGenerate",
            "ai.response.providerMetadata": json.dumps({"openrouter": {"usage": {"cost": 0.25}}})}, 0.25),
    ("ai", {"ai.operationId": "ai.generateText.doGenerate",
            "ai.response.providerMetadata": json.dumps({"gateway": {"cost": "0.25"}})}, 0.25),
)  # fmt: skip

REASONS = [
    *rows(
        "gen_ai.response.finish_reasons",
        *(("app", CHAT | {key: value}, ["tool_call"]) for key, value in (
            ("gen_ai.response.finish_reasons", ["tool_calls"]), ("gen_ai.response.finish_reasons", '["tool_calls"]'),
            ("gen_ai.response.finish_reasons", "('tool_calls',)"), ("gen_ai.response.finish_reason", "tool_calls"),
            ("gen_ai.response.stop_reason", "tool_use"), ("llm.finish_reason", "tool_calls"),
            ("llm.response.finish_reason", "tool_calls"), ("llm.response.stop_reason", "tool_use"),
            ("ai.response.finishReason", "tool-calls"), ("gen_ai.completion.0.finish_reason", "tool_calls"),
            ("anthropic.message.stop_reason", "tool_use"), ("gen_ai.finishReason", "tool-calls"),
        )),
        ("semantic_kernel.x", CHAT | {"gen_ai.response.finish_reason": "FinishReason.TOOL_CALLS"}, ["tool_call"]),
        (CLAUDE, {"span.type": "llm_request", "stop_reason": "tool_use"}, ["tool_call"]),
        *(("app", CHAT | {"gen_ai.response.finish_reasons": [seen]}, [said]) for said, spelled in {
            "stop": "stop STOP end_turn stop_sequence COMPLETE completed eos eos_token FINISH stop-sequence",
            "length": "length max_tokens MAX_TOKENS max_output_tokens model_context_window_exceeded model_length",
            "content_filter": "content_filter content-filter content_filtered guardrail_intervened refusal SAFETY"
                              " RECITATION BLOCKLIST PROHIBITED_CONTENT SPII IMAGE_SAFETY ERROR_TOXIC",
            "tool_call": "tool_calls tool_use tool-calls function_call TOOL_CALL",
            "compaction": "compaction",
            "error": "error ERROR failed cancelled MALFORMED_FUNCTION_CALL UNEXPECTED_TOOL_CALL",
        }.items() for seen in spelled.split()),
        *(("app", CHAT | {"gen_ai.response.finish_reasons": [kept]}, [kept])
          for kept in ("pause_turn", "other", "unknown", "OTHER", "new_reason")),
    ),
]  # fmt: skip

ERRORS = rows(
    "error_type",
    ("app", CHAT | {"error.type": "timeout"}, "timeout"),
    ("app", CHAT | {"error.type": "<class 'openai.RateLimitError'>"}, "openai.RateLimitError"),
    ("litellm", CHAT | {"litellm.provider.error.code": "rate_limit"}, "rate_limit"),
    ("haystack", {OP: "execute_tool", "haystack.tool.error": True}, "_OTHER"),
    ("strands.telemetry.tracer", {OP: "execute_tool", "event_loop.cycle_id": "1", "gen_ai.tool.status": "error"},
     "_OTHER"),
    ("crewai.telemetry.otel", {OP: "execute_tool", "crewai.event_name": "x", "crewai.mcp.error_type": "timeout"},
     "timeout"),
    (CLAUDE, {"span.type": "llm_request", "success": False, "status_code": 529}, "529"),
    (CLAUDE, {"span.type": "llm_request", "success": False, "error_class": "APIError"}, "APIError"),
    ("langfuse-sdk", {"langfuse.observation.type": "generation", "langfuse.observation.level": "ERROR"}, "_OTHER"),
    ("langfuse-sdk", {"langfuse.observation.type": "generation", "langfuse.observation.level": "ERROR",
                      "langfuse.observation.status_message": "Error code: 429 - slow down"}, "429"),
    ("langfuse-sdk", {"langfuse.observation.type": "generation", "langfuse.observation.level": "WARNING"}, None),
)  # fmt: skip

TIMES = rows(
    "time_to_first_chunk_s",
    ("app", CHAT | {"gen_ai.response.time_to_first_chunk": 0.5}, 0.5),
    ("app", CHAT | {"gen_ai.client.operation.time_to_first_chunk": 0.5}, 0.5),
    ("strands.telemetry.tracer", CHAT | {"event_loop.cycle_id": "1", "gen_ai.server.time_to_first_token": 500}, 0.5),
    ("openlit.instrumentation.openai", CHAT | {"gen_ai.request.stream": True,
                                               "gen_ai.server.time_to_first_token": 0.5}, 0.5),
    ("ai", CHAT | {"ai.response.msToFirstChunk": 500.0}, 0.5),
    ("ai", CHAT | {"ai.stream.msToFirstChunk": 500}, 0.5),
    ("agentops", CHAT | {"gen_ai.streaming.time_to_first_token": 0.5}, 0.5),
    ("agentops", CHAT | {"gen_ai.time_to_first_token": 0.5}, 0.5),
    (CLAUDE, {"span.type": "llm_request", "ttft_ms": 500}, 0.5),
    (CLAUDE, {"span.type": "llm_request", "first_content_ms": 500}, 0.5),
    ("app", CHAT | {"llm.response.duration.time_to_first_token": 0.5}, None),
)  # fmt: skip


@pytest.mark.parametrize("row", [*TOKENS, *REQUESTS, *IDENTITIES, *COSTS, *REASONS, *ERRORS, *TIMES])
def test_facts(row: Row) -> None:
    """What a source says is read as what it is."""
    assert found(row) == row.expected

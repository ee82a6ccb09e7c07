"""What kind of work a span is, for every value that any dialect has for it."""

from __future__ import annotations

import pytest

from tests.dialects.rows import Row, found

OP = "gen_ai.operation.name"

CHAT = ("llm", "chat")
TEXT = ("llm", "text_completion")
MAKES = ("llm", "generate_content")
EMBEDS = ("embedding", "embeddings")
RETRIEVES = ("retrieval", "retrieval")
TOOL = ("tool", "execute_tool")
AGENT = ("agent", "invoke_agent")
WORKFLOW = ("workflow", "invoke_workflow")
PLAN = ("plan", "plan")
NONE = ("other", None)

KINDS = {
    ("app", "openinference.span.kind"): {
        "LLM": CHAT, "EMBEDDING": EMBEDS, "RETRIEVER": RETRIEVES, "TOOL": TOOL, "AGENT": AGENT, "CHAIN": NONE,
        "RERANKER": NONE, "GUARDRAIL": ("guardrail", None), "EVALUATOR": ("evaluation", None), "PROMPT": NONE,
        "DECISION": NONE, "UNKNOWN": NONE,
    },
    ("app", "traceloop.span.kind"): {
        "workflow": WORKFLOW, "agent": AGENT, "tool": TOOL, "task": NONE, "unknown": NONE, "handoff": NONE,
    },
    ("app", "llm.request.type"): {
        "chat": CHAT, "completion": TEXT, "embedding": EMBEDS, "rerank": NONE, "unknown": NONE,
    },
    ("langfuse-sdk", "langfuse.observation.type"): {
        "generation": CHAT, "embedding": EMBEDS, "retriever": RETRIEVES, "tool": TOOL, "agent": AGENT, "chain": NONE,
        "span": NONE, "event": NONE, "guardrail": ("guardrail", None), "evaluator": ("evaluation", None),
    },
    ("langsmith", "langsmith.span.kind"): {
        "llm": CHAT, "embedding": EMBEDS, "retriever": RETRIEVES, "tool": TOOL, "prompt": NONE, "chain": NONE,
        "parser": NONE,
    },
    ("ai", "ai.operationId"): {
        "ai.generateText": AGENT, "ai.streamText": AGENT, "ai.generateObject": AGENT, "ai.streamObject": AGENT,
        "ai.generateText.doGenerate": CHAT, "ai.streamText.doStream": CHAT, "ai.generateObject.doGenerate": CHAT,
        "ai.streamObject.doStream": CHAT, "ai.embed": NONE, "ai.embedMany": NONE, "ai.embed.doEmbed": EMBEDS,
        "ai.embedMany.doEmbed": EMBEDS, "ai.toolCall": TOOL, "ai.rerank": NONE, "ai.rerank.doRerank": NONE,
        "ai.transcribe": NONE, "ai.generateSpeech": NONE, "ai.generateImage": NONE,
    },
    ("gen_ai", OP): {
        "invoke_agent": AGENT, "chat": CHAT, "execute_tool": TOOL, "embeddings": EMBEDS, "agent_step": NONE,
        "rerank": NONE, "ai.generateSpeech": MAKES, "ai.transcribe": MAKES, "ai.streamTranscribe": MAKES,
        "decide": NONE,
    },
    ("pydantic-ai", OP): {"chat": CHAT, "invoke_agent": AGENT, "execute_tool": TOOL},
    ("gcp.vertex.agent", OP): {
        "invoke_workflow": WORKFLOW, "invoke_agent": AGENT, "execute_tool": TOOL, "generate_content": MAKES,
        "compact_events": NONE, "handle_context_caching": NONE, "create_cache": NONE, "send_data": NONE,
        "managed_agent_interaction": AGENT,
    },
    ("strands.telemetry.tracer", OP): {
        "invoke_agent": AGENT, "chat": CHAT, "execute_tool": TOOL, "execute_event_loop_cycle": NONE,
        "memory.add": ("memory", "create_memory"), "memory.search": ("memory", "search_memory"),
        "memory.extract": NONE, "memory.inject": NONE, "invoke_swarm": WORKFLOW, "invoke_graph": WORKFLOW,
        "bidi_session": NONE, "bidi_response": NONE, "bidi_connect": NONE,
    },
    ("mlflow.tracing.provider", "mlflow.spanType"): {
        '"LLM"': CHAT, '"CHAT_MODEL"': CHAT, '"EMBEDDING"': EMBEDS, '"RETRIEVER"': RETRIEVES, '"TOOL"': TOOL,
        '"AGENT"': AGENT, '"WORKFLOW"': WORKFLOW, '"MEMORY"': ("memory", None), '"CHAIN"': NONE, '"TASK"': NONE,
        '"PARSER"': NONE, '"RERANKER"': NONE, '"GUARDRAIL"': ("guardrail", None),
        '"EVALUATOR"': ("evaluation", None), '"UNKNOWN"': NONE,
    },
    ("crewai.telemetry.otel", OP): {
        "chat": CHAT, "invoke_agent": AGENT, "execute_tool": TOOL, "invoke_workflow": WORKFLOW, "execute_task": NONE,
        "execute_method": NONE,
    },
    ("semantic_kernel.utils.telemetry", OP): {
        "chat.completions": CHAT, "chat": CHAT, "text.completions": TEXT, "text_completions": TEXT,
        "invoke_agent": AGENT, "execute_tool": TOOL,
    },
    ("litellm", OP): {
        "chat": CHAT, "embeddings": EMBEDS, "litellm.moderation": NONE, "litellm.passthrough": NONE,
        "acompletion": CHAT, "aembedding": EMBEDS, "atext_completion": TEXT, "aresponses": CHAT,
    },
    ("@mastra/otel-exporter", "mastra.span.type"): {
        "agent_run": AGENT, "model_generation": NONE, "model_step": NONE, "model_chunk": NONE, "tool_call": TOOL,
        "mcp_tool_call": TOOL, "provider_tool_call": TOOL, "workflow_run": WORKFLOW, "workflow_step": NONE,
        "workflow_conditional": NONE, "rag_embedding": EMBEDS, "memory_operation": NONE, "processor_run": NONE,
        "generic": NONE,
    },
    ("org.springframework.boot", OP): {
        "chat": CHAT, "text_completion": TEXT, "execute_tool": TOOL, "embedding": EMBEDS, "image": MAKES,
        "framework": NONE,
    },
    ("agentops", "agentops.span.kind"): {
        "llm": CHAT, "agent": AGENT, "tool": TOOL, "workflow": WORKFLOW, "session": WORKFLOW, "task": NONE,
        "operation": NONE, "chain": NONE, "text": NONE, "guardrail": ("guardrail", None), "team": NONE,
        "unknown": NONE,
    },
    ("openlit.instrumentation.openai", OP): {
        "chat": CHAT, "execute_task": NONE, "vectordb": NONE, "memory_search": ("memory", "search_memory"),
        "memory_add": ("memory", "create_memory"), "memory_update": ("memory", "update_memory"),
        "memory_delete": ("memory", "delete_memory"), "image": MAKES, "audio": MAKES, "framework": NONE,
        "agent": AGENT, "rerank": NONE,
    },
    ("lmnr.tracer", "lmnr.span.type"): {
        "LLM": CHAT, "CACHED": CHAT, "TOOL": TOOL, "EXECUTOR": NONE, "DEFAULT": NONE, "EVALUATION": NONE,
        "EVALUATOR": ("evaluation", None), "HUMAN_EVALUATOR": ("evaluation", None), "PIPELINE": NONE,
    },
    ("com.anthropic.claude_code.tracing", "span.type"): {
        f"{prefix}{kind}": expected
        for prefix in ("", "claude_code.")
        for kind, expected in {
            "llm_request": CHAT, "tool": TOOL, "interaction": AGENT, "tool.execution": NONE, "subagent.spawn": NONE,
            "hook": NONE, "compaction": NONE, "mcp.rpc": NONE, "bash.subprocess": NONE,
        }.items()
    },
    ("gemini-cli", OP): {
        "llm_call": MAKES, "agent_call": AGENT, "user_prompt": AGENT, "system_prompt": NONE,
        "schedule_tool_calls": NONE,
    },
    ("genkit-tracer", "genkit:metadata:subtype"): {
        "model": CHAT, "tool": TOOL, "embedder": EMBEDS, "retriever": RETRIEVES,
    },
    ("genkit-tracer", "genkit:type"): {"flow": WORKFLOW},
    ("@voltagent/core", "entity.type"): {
        "agent": AGENT, "tool": TOOL, "llm": CHAT, "memory": ("memory", None), "workflow": WORKFLOW,
    },
}  # fmt: skip
"""(scope, attribute) -> its value -> kind and operation."""

NAMES = {
    "pydantic-ai": {"agent run": AGENT, "running tool": TOOL, "running tool: get_weather": TOOL,
                    "running output function": TOOL, "running 2 tools": NONE},
    "gcp.vertex.agent": {"invocation": WORKFLOW, "agent_run [planner]": AGENT},
    "crewai.telemetry.otel": {
        "execute crew": WORKFLOW, "execute flow": WORKFLOW, "execute agent": AGENT, "call tool": TOOL,
        "call llm": CHAT, "query memory": ("memory", "search_memory"), "retrieve memory": ("memory", "search_memory"),
        "save memory": ("memory", "create_memory"), "query knowledge": RETRIEVES, "search knowledge": RETRIEVES,
        "agent reasoning": PLAN, "a2a delegate": AGENT,
    },
    "agent_framework": {
        "workflow.run": WORKFLOW, "workflow.build": NONE, "executor.process planner": NONE,
        "edge_group.process": NONE, "message.send": NONE,
    },
    "haystack": {
        "haystack.agent.run": AGENT, "haystack.pipeline.run": WORKFLOW, "haystack.agent.step.tool": TOOL,
        "haystack.agent.step.llm": CHAT, "haystack.agent.step": NONE, "haystack.agent.hook": NONE,
    },
    "autogen-core": {"autogen create planner": NONE, "autogen publish topic": NONE, "autogen process x": NONE},
    "livekit-agents": {"llm_request": CHAT, "function_tool": TOOL, "agent_turn": AGENT, "llm_node": NONE,
                       "tts_request": "not read"},
    "litellm": {"execute_guardrail pii": ("guardrail", None), "raw_gen_ai_request": NONE},
    "logfire.openai_agents": {
        "Agent run: 'planner'": AGENT, "Function: get_weather": TOOL, "Responses API with 'gpt-4o'": CHAT,
        "Handoff: a → b": NONE, "Guardrail 'pii' triggered=False": ("guardrail", None), "Turn 1 for agent a": NONE,
    },
    "com.anthropic.claude_code.tracing": {
        "claude_code.interaction": AGENT, "claude_code.llm_request": CHAT, "claude_code.tool": TOOL,
    },
}  # fmt: skip
"""Scope -> span name -> kind and operation."""


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        *(
            pytest.param(Row(scope, {key: value}, {"kind": 0, "operation": 0}), expected, id=f"{key}={value}")
            for (scope, key), values in KINDS.items()
            for value, expected in values.items()
        ),
        *(
            pytest.param(Row(scope, {}, {"kind": 0, "operation": 0}, name), expected, id=name)
            for scope, names in NAMES.items()
            for name, expected in names.items()
        ),
    ],
)
def test_kind_and_operation(row: Row, expected: tuple[str, str | None] | str) -> None:
    """A kind attribute, or the name where there is none, says what a span is; structure has no operation."""
    kind, operation = found(row).values()

    assert (kind if expected == "not read" else (kind, operation)) == expected


@pytest.mark.parametrize(
    ("row", "kind"),
    [
        (Row("langsmith", {"langsmith.span.kind": "retriever", OP: "embeddings"}, {"kind": 0}), "retrieval"),
        (Row("langsmith", {"langsmith.span.kind": "prompt", OP: "chat"}, {"kind": 0}), "other"),
        (Row("langsmith", {"langsmith.span.kind": "chain", OP: "chain"}, {"kind": 0}, "LangGraph"), "workflow"),
        (Row("langsmith", {"langsmith.span.kind": "chain", OP: "chain"}, {"kind": 0}, "LangGraph", "", 7), "other"),
        (Row("gcp.vertex.agent", {"gcp.vertex.agent.llm_request": '{"model": "m"}', "gcp.vertex.agent.event_id": "e"},
             {"kind": 0}, "call_llm", "1.36.1"), "other"),
        (Row("mlflow", {"mlflow.spanType": '"LLM"', "mlflow.spanInputs": '{"prompt": "x"}'}, {"operation": 0}),
         "text_completion"),
        (Row("mlflow", {"mlflow.spanType": '"MEMORY"'}, {"operation": 0}, "search_memories"), "search_memory"),
        (Row("mlflow", {"mlflow.spanType": '"AGENT"'}, {"kind": 0}, "AgentRunner.run_1"), "other"),
        (Row("mlflow", {"mlflow.spanType": '"AGENT"'}, {"kind": 0}, "AgentRunner.chat"), "agent"),
        (Row("@mastra/x", {"mastra.span.type": "model_generation", OP: "chat"}, {"kind": 0}), "llm"),
        (Row("@mastra/x", {"mastra.span.type": "model_inference", OP: "chat"}, {"kind": 0}), "llm"),
        (Row("@mastra/x", {"mastra.span.type": "model_generation", OP: "model_generation"}, {"kind": 0}), "other"),
        (Row("openlit", {OP: "vectordb", "db.operation.name": "query"}, {"kind": 0}), "retrieval"),
        (Row("spring", {"spring.ai.kind": "vector_store", "db.operation.name": "query"}, {"kind": 0}), "retrieval"),
        (Row("org.springframework.boot", {OP: "image"}, {"gen_ai.output.type": 0}), "image"),
        (Row("openlit.instrumentation.openai", {OP: "image"}, {"gen_ai.output.type": 0}), "image"),
        (Row("openlit.instrumentation.openai", {OP: "audio"}, {"gen_ai.output.type": 0}), "speech"),
        *(
            (Row("x", {"haystack.component.type": component}, {"operation": 0}, "haystack.component.run"), operation)
            for component, operation in {
                "OpenAIChatGenerator": "chat", "OpenAIGenerator": "text_completion",
                "OpenAITextEmbedder": "embeddings", "InMemoryBM25Retriever": "retrieval", "ToolInvoker": None,
                "LostInTheMiddleRanker": None, "PromptBuilder": None,
            }.items()
        ),
        (Row("pydantic-ai", {OP: "chat"}, {"kind": 0}, "logfire pending"), "llm"),
        (Row("x", {OP: "chat", "logfire.span_type": "pending_span", "gen_ai.usage.input_tokens": 3}, {"kind": 0}),
         "other"),
    ],
    ids=str,
)  # fmt: skip
def test_what_several_attributes_say_together(row: Row, kind: str | None) -> None:
    """Operations that are known to be wrong, and kinds that hang on more than one attribute."""
    assert found(row) == dict.fromkeys(row.expected, kind)

"""The OTel GenAI conventions themselves, in all their generations, as OTel's own instrumentations speak them.

Also gateways that write them with a few words of their own: OpenRouter's broadcast, Cloudflare's AI Gateway.

Versions read: opentelemetry-instrumentation-genai-* 1.3b0, -google-genai 1.3b0, -openai-v2 2.4b0,
-botocore 0.66b2, @opentelemetry/instrumentation-openai 0.21.0 and -aws-sdk 0.79.0. Also any span of an application
that writes `gen_ai.*` itself.
"""

from __future__ import annotations

import re
from typing import Final

from spanledger.conventions import coerce
from spanledger.conventions.dialect import (
    AGENT_NAME,
    CONVERSATION_ID,
    COST,
    DATA_SOURCES,
    ERROR_TYPE,
    FINISH_REASONS,
    HTTP_STATUS,
    MODEL_CALLS,
    OPERATIONS,
    PROVIDER,
    REGION,
    REPORT,
    REPORT_KEY,
    REQUEST_MODEL,
    RESENDS,
    RESPONSE_ID,
    RESPONSE_MODEL,
    SERVER_ADDRESS,
    SERVICE_TIER,
    SPEED,
    TIME_TO_FIRST_CHUNK,
    TOOL_CALL_ID,
    TOOL_NAME,
    USER_ID,
    Dialect,
    Facts,
    Kinded,
    LogEvent,
)

_INPUT_DETAILS: Final = ("input_tokens_details", "prompt_tokens_details", "input_token_details")
_OUTPUT_DETAILS: Final = ("output_tokens_details", "completion_tokens_details", "output_token_details")


def _flattened(objects: tuple[str, ...], *members: str) -> tuple[str, ...]:
    """Return the keys of an API's usage object that was written member by member, as gateways do."""
    prefixes = ("gen_ai.usage.", "llm.usage.")
    return tuple(f"{prefix}{inner}.{name}" for prefix in prefixes for inner in objects for name in members)


_RETRIEVAL_TOP_K: Final = "gen_ai.retrieval.top_k"
_JUDGES: Final = re.compile(r"gen_ai\.evaluation\.(?:name|score|label|verdict)").match
"""A span that says nothing else and has these is an evaluation at work; others only carry what was said of them."""
_REQUEST_TYPE: Final = "gen_ai.request.type"
"""AgentOps' word, and others': nobody writes it on anything but a call."""
_TYPES: Final = {
    "chat": "chat",
    "completion": "text_completion",
    "embedding": "embeddings",
    "embeddings": "embeddings",
}
_AGENTS: Final = "openai_agents"
_ANTHROPIC: Final = "opentelemetry.instrumentation.genai.anthropic"
"""It says why an answer ended. Without that, the output of a stream is what Anthropic tells when it begins."""
_AWS_SDK_OF_JS: Final = "@opentelemetry/instrumentation-aws-sdk"
_AWS: Final = ("opentelemetry.instrumentation.botocore", _AWS_SDK_OF_JS)
_COMMAND: Final = "rpc.method"
_INVOKE: Final = "InvokeModel"
_STREAM: Final = "InvokeModelWithResponseStream"
_GUESSED: Final = re.compile(r"\bcohere\.command|mistral")
"""Models whose answers tell no tokens there: AWS's instrumentations write a sixth of the characters."""
_STREAMS: Final = "gen_ai.request.stream"
_ANY_AGENT: Final = "OpenAI Agent"
"""What OTel's instrumentation of OpenAI's Agents SDK calls whoever it is, on all spans but those of agents."""
_MESSAGE_EVENTS: Final = ("gen_ai.content.", "gen_ai.user.message", "gen_ai.choice", "gen_ai.assistant.message")


def _complete(facts: Facts) -> None:
    if facts.kind == "retrieval" and "gen_ai.request.top_k" in facts.values:
        facts.offer(_RETRIEVAL_TOP_K, "gen_ai.request.top_k", facts.values["gen_ai.request.top_k"])
    if not facts.told:
        _recognize_unnamed(facts)
        if facts.kind == "other" and any(map(_JUDGES, facts.attributes)):
            facts.kind = "evaluation"
    if _AGENTS in facts.scope and facts.kind != "agent" and facts.text(AGENT_NAME) == _ANY_AGENT:
        facts.forget(AGENT_NAME)
    if facts.scope == _ANTHROPIC and facts.values.get(_STREAMS) is True and FINISH_REASONS not in facts.values:
        facts.forget_beginning()
    if facts.scope.startswith(_AWS):
        _forget_guesses(facts)
    if "gen_ai.usage.input_cost" in facts.attributes:  # Laminar's words, and others'
        facts.offer_sum(COST, "gen_ai.usage.input_cost", "gen_ai.usage.output_cost")


def _forget_guesses(facts: Facts) -> None:
    """Drop what Bedrock did not count: tokens made up from the length of texts, and the beginnings of streams."""
    command, model = str(facts.attributes.get(_COMMAND)), facts.text(REQUEST_MODEL) or ""
    if not command.startswith(_INVOKE):
        return  # `Converse` counts for all models
    if _GUESSED.search(model):
        facts.forget("gen_ai.usage.input_tokens")
        facts.forget("gen_ai.usage.output_tokens")
    elif command == _STREAM and facts.scope == _AWS_SDK_OF_JS and "anthropic." in model:
        facts.forget_beginning()  # it does not read the event with the last of the counts


def _recognize_unnamed(facts: Facts) -> None:
    """See a model call or a tool in a span that names no operation, as none did in 1.26.

    A tool has a name and no model. A call names a model, and its name starts with the operation, or it says which type
    of request it is, or it has messages or counted tokens. Agents have those too, so theirs are no calls unless the
    name says it.
    """
    known = facts.values
    models = REQUEST_MODEL in known or RESPONSE_MODEL in known
    if TOOL_NAME in known and not models:
        facts.kind, facts.operation = OPERATIONS["execute_tool"], "execute_tool"
    if TOOL_NAME in known or not models:
        return
    counted = "gen_ai.usage.output_tokens" in known or "gen_ai.usage.input_tokens" in known
    operation = facts.span.name.partition(" ")[0]
    asked = facts.attributes.get(_REQUEST_TYPE)
    if AGENT_NAME not in known and isinstance(asked, str) and asked in _TYPES:
        operation = _TYPES[asked]
    elif OPERATIONS.get(operation) not in MODEL_CALLS:
        talked = PROVIDER in known and any(e.name.startswith(_MESSAGE_EVENTS) for e in facts.span.events[:16])
        if AGENT_NAME in known or not (talked or counted):
            return
        embeds = "embed" in facts.span.name.lower() or "embed" in (facts.text(REQUEST_MODEL) or "").lower()
        operation = "embeddings" if embeds and not known.get("gen_ai.usage.output_tokens") else "chat"
    elif PROVIDER not in known and not counted:
        return
    facts.kind, facts.operation = OPERATIONS[operation], operation


DIALECT: Final = Dialect(
    name="otel",
    source="https://github.com/open-telemetry/semantic-conventions-genai",
    scopes=(
        "opentelemetry.util.genai",
        "opentelemetry.instrumentation.genai",
        "opentelemetry.instrumentation.google_genai",
        "opentelemetry.instrumentation.openai_v2",
        "opentelemetry.instrumentation.botocore",
        "@opentelemetry/instrumentation-openai",
    ),
    evidence=("gen_ai.",),
    # Put on every span of a request by baggage and session processors, HTTP and database spans included.
    context=(
        "gen_ai.agent.id",
        "gen_ai.agent.name",
        "gen_ai.agent.version",
        "gen_ai.conversation.id",
        "gen_ai.main_agent.",
        "gen_ai.workflow.name",
    ),
    operations={
        "chat.completions": Kinded("llm", "chat"),
        "text.completions": Kinded("llm", "text_completion"),
        "text_completions": Kinded("llm", "text_completion"),
        "completion": Kinded("llm", "text_completion"),
        "embedding": Kinded("embedding", "embeddings"),
        "responses": Kinded("llm", "chat"),
        "evaluate": Kinded("evaluation"),
        "evaluation": Kinded("evaluation"),
        "run_guardrail": Kinded("guardrail"),
        "apply_guardrail": Kinded("guardrail"),
    },
    sources={
        PROVIDER: ("gen_ai.system", "gen_ai.model.provider"),
        REQUEST_MODEL: ("gen_ai.model",),
        RESPONSE_ID: ("gen_ai.response_id",),
        FINISH_REASONS: (
            "gen_ai.response.finish_reason",
            "gen_ai.response.stop_reason",
            "gen_ai.finishReason",
        ),
        "gen_ai.request.max_tokens": ("gen_ai.request.max_completion_tokens",),
        "gen_ai.request.seed": ("gen_ai.openai.request.seed",),
        "gen_ai.embeddings.dimension.count": ("gen_ai.request.embeddings.dimensions",),
        "azure.resource_provider.namespace": ("az.namespace",),
        "gen_ai.request.choice.count": ("gen_ai.request.n", "gen_ai.request.candidate_count"),
        "gen_ai.request.stream": ("gen_ai.is_streaming", "gen_ai.request.is_stream", "gen_ai.request.streaming"),
        "gen_ai.request.reasoning.level": (
            "gen_ai.request.reasoning_effort",
            "gen_ai.request.thinking_level",
            "gen_ai.request.effort",
        ),
        "gen_ai.request.previous_response.id": ("gen_ai.request.previous_response_id",),
        "gen_ai.output.type": (
            "gen_ai.openai.request.response_format",
            "gen_ai.request.response_mime_type",
        ),
        "openai.request.service_tier": ("gen_ai.openai.request.service_tier",),
        "openai.response.service_tier": ("gen_ai.openai.response.service_tier", "gen_ai.response.service_tier"),
        "openai.response.system_fingerprint": (
            "gen_ai.openai.response.system_fingerprint",
            "gen_ai.openai.system_fingerprint",
            "gen_ai.response.system_fingerprint",
            "gen_ai.system_fingerprint",
        ),
        "gen_ai.usage.input_tokens": ("gen_ai.usage.prompt_tokens",),
        "gen_ai.usage.output_tokens": ("gen_ai.usage.completion_tokens",),
        "gen_ai.usage.cache_read.input_tokens": (
            "gen_ai.usage.cache_read_input_tokens",
            "gen_ai.usage.cached_tokens",
            "gen_ai.usage.input_tokens.cached",
            "gen_ai.usage.details.cache_read_tokens",
            "gen_ai.usage.details.cache_read_input_tokens",
            "gen_ai.usage.details.cached_tokens",
            "gen_ai.usage.cached_input_tokens",
            "llm.usage.cache_read_input_tokens",
            "llm.usage.cached_tokens",
            *_flattened(_INPUT_DETAILS, "cached_tokens", "cache_read", "cached"),
        ),
        "gen_ai.usage.cache_write.input_tokens": (
            "gen_ai.usage.cache_creation.input_tokens",
            "gen_ai.usage.cache_creation_input_tokens",
            "gen_ai.usage.cache_write_input_tokens",
            "gen_ai.usage.cache_write_tokens",
            "gen_ai.usage.input_tokens.cache_write",
            "gen_ai.usage.details.cache_write_tokens",
            "gen_ai.usage.details.cache_creation_input_tokens",
            "gen_ai.usage.details.cache_creation_tokens",
            "gen_ai.usage.cache_creation_tokens",
            "llm.usage.cache_creation_input_tokens",
            *_flattened(_INPUT_DETAILS, "cache_creation_tokens", "cache_write_tokens", "cache_creation", "cache_write"),
        ),
        "gen_ai.usage.reasoning.output_tokens": (
            "gen_ai.usage.reasoning_tokens",
            "gen_ai.usage.reasoning_output_tokens",
            "gen_ai.usage.output_tokens.reasoning",
            "gen_ai.usage.details.reasoning_tokens",
            "gen_ai.usage.details.thinking_tokens",
            "gen_ai.usage.details.thoughts_tokens",
            "gen_ai.usage.thoughts_token_count",
            "gen_ai.usage.thinking_tokens",
            "gen_ai.usage.output_reasoning_tokens",
            "llm.usage.reasoning_tokens",
            *_flattened(_OUTPUT_DETAILS, "reasoning_tokens", "reasoning"),
        ),
        "gen_ai.usage.audio.input_tokens": (
            "gen_ai.usage.audio_input_tokens",
            "gen_ai.usage.details.input_audio_tokens",
            "gen_ai.usage.input_audio_tokens",
            *_flattened(_INPUT_DETAILS, "audio_tokens", "audio"),
        ),
        "gen_ai.usage.audio.output_tokens": (
            "gen_ai.usage.audio_output_tokens",
            "gen_ai.usage.details.output_audio_tokens",
            "gen_ai.usage.output_audio_tokens",
            *_flattened(_OUTPUT_DETAILS, "audio_tokens", "audio"),
        ),
        "gen_ai.usage.image.input_tokens": (
            "gen_ai.usage.image_input_tokens",
            "gen_ai.usage.input_image_tokens",
            *_flattened(_INPUT_DETAILS, "image_tokens"),
        ),
        "gen_ai.usage.image.output_tokens": (
            "gen_ai.usage.image_output_tokens",
            "gen_ai.usage.output_image_tokens",
            *_flattened(_OUTPUT_DETAILS, "image_tokens"),
        ),
        "@total_tokens": ("gen_ai.usage.total_tokens",),
        "@cache_write_5m": (
            "gen_ai.usage.cache_creation.5m_input_tokens",
            "gen_ai.usage.cache_creation.ephemeral_5m_input_tokens",
        ),
        "@cache_write_1h": (
            "gen_ai.usage.cache_creation.1h_input_tokens",
            "gen_ai.usage.cache_creation.ephemeral_1h_input_tokens",
        ),
        COST: (
            "gen_ai.usage.cost",
            "gen_ai.usage.cost.amount",
            "operation.cost",
            "gen_ai.usage.total_cost",
            "litellm.cost.total",
            ("gen_ai.usage.cost_in_usd_ticks", coerce.ticks),
            ("gen_ai.usage.details.cost_in_usd_ticks", coerce.ticks),
            "gen_ai.cost.total_tokens",
        ),
        RESENDS: ("http.request.resend_count", "retry_attempts"),
        SERVICE_TIER: (
            "openai.response.service_tier",
            "gen_ai.openai.response.service_tier",
            "gen_ai.response.service_tier",
            "anthropic.response.service_tier",
            "gen_ai.service_tier",
            "openai.request.service_tier",
            "gen_ai.openai.request.service_tier",
            "gen_ai.request.service_tier",
        ),
        SPEED: ("anthropic.response.speed", "anthropic.usage.speed", "gen_ai.usage.speed", "anthropic.request.speed"),
        REGION: (
            "anthropic.usage.inference_geo",
            "anthropic.response.inference_geo",
            "gen_ai.usage.inference_geo",
            "anthropic.request.inference_geo",
            "gen_ai.request.inference_geo",
            "cloud.region",
            "aws.region",
            "gcp.vertex.location",
        ),
        "@web_search": (
            "anthropic.usage.server_tool_use.web_search_requests",
            "gen_ai.usage.server_tool_use.web_search_requests",
            "gen_ai.usage.web_search_requests",
            "gen_ai.usage.details.web_search_requests",
            "llm.token_count.prompt_details.web_search_requests",
        ),
        "@rerank_search": ("gen_ai.usage.search_units", "gen_ai.usage.details.search_units"),
        HTTP_STATUS: ("http.response.status_code", "http.status_code"),
        REPORT: (REPORT_KEY,),
        TOOL_CALL_ID: ("gen_ai.tool.call_id",),
        CONVERSATION_ID: ("session.id", "gen_ai.agent.session_id", "wandb.thread_id"),
        USER_ID: ("gen_ai.user", "enduser.id"),
        SERVER_ADDRESS: (("gen_ai.openai.api_base", coerce.host),),
        "server.port": (("gen_ai.openai.api_base", coerce.port),),
        ERROR_TYPE: (),
        TIME_TO_FIRST_CHUNK: (
            "gen_ai.client.operation.time_to_first_chunk",
            "gen_ai.streaming.time_to_first_token",
            "gen_ai.time_to_first_token",
        ),
    },
    content={
        "gen_ai.prompt": ("gen_ai.input.messages", "gen_ai.system_instructions"),
        "gen_ai.prompt_json": ("gen_ai.input.messages", "gen_ai.system_instructions"),
        "gen_ai.completion": ("gen_ai.output.messages",),
        "gen_ai.completion_json": ("gen_ai.output.messages",),
        "gen_ai.tool.args": ("gen_ai.tool.call.arguments",),
        "gen_ai.tool.input": ("gen_ai.tool.call.arguments",),
        "gen_ai.tool.output": ("gen_ai.tool.call.result",),
    },
    sources_by_kind={"retrieval": {"gen_ai.data_source.id": DATA_SOURCES}},
    # So what a sampler of traces dropped is still counted.
    events={"gen_ai.client.inference.operation.details": LogEvent(reports=Kinded("llm", "chat"), unsampled=True)},
    complete=_complete,
)

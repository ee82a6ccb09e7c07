"""Three small agent applications, each telling its story in another GenAI dialect.

* `trip-planner` (OTel GenAI conventions): a planner hands over to a researcher and a writer; a prompt
  cache is written and then read; a rate limit is retried; a reasoning model thinks.
* `support-desk` (OpenInference): an agent looks up orders; one lookup fails and is tried again.
* `code-review` (OpenLLMetry/Traceloop): a workflow with a model nobody sells, so it stays unpriced.

Times are made up and lie in the immediate past; nothing sleeps.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field

from opentelemetry import trace
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import SpanKind, Status, StatusCode
from opentelemetry.util.types import AttributeValue

SERVICES = ("trip-planner", "support-desk", "code-review")

Attributes = Mapping[str, AttributeValue]


@dataclass(slots=True)
class Stage:
    """Opens spans on a made-up clock that only moves when something takes time."""

    tracer: trace.Tracer
    random: random.Random
    now_ns: int
    spans: int = field(default=0)

    @contextmanager
    def span(self, name: str, attributes: Attributes, kind: SpanKind = SpanKind.INTERNAL) -> Iterator[trace.Span]:
        """Open a span that ends when its block does, at the stage's own time."""
        with self.tracer.start_as_current_span(
            name, kind=kind, attributes=attributes, start_time=self.now_ns, end_on_exit=False
        ) as span:
            yield span
        span.end(self.now_ns)
        self.spans += 1

    def pass_time(self, low_s: float, high_s: float) -> None:
        """Let between `low_s` and `high_s` seconds go by."""
        self.now_ns += int(self.random.uniform(low_s, high_s) * 1e9)


def play(providers: Mapping[str, TracerProvider], now_ns: int, seed: int) -> int:
    """Play every application once, ending at about `now_ns`; return the number of spans made."""
    draw = random.Random(seed)  # noqa: S311 - a story, not a secret
    begin_ns = now_ns - 60_000_000_000
    return sum(
        scene(Stage(providers[service].get_tracer(scope, version), draw, begin_ns), seed)
        for service, scope, version, scene in (
            ("trip-planner", "trip-planner.tracing", "1.4.0", _trip_planner),
            ("support-desk", "openinference.instrumentation.openai", "0.1.66", _support_desk),
            ("code-review", "opentelemetry.instrumentation.openai.v1", "0.62.4", _code_review),
        )
    )


def resource(service: str) -> Resource:
    """Return who the application says it is."""
    return Resource.create({"service.name": service, "deployment.environment.name": "demo"})


# -- trip-planner: OTel GenAI conventions --


def _trip_planner(stage: Stage, seed: int) -> int:
    conversation = f"trip-{seed:04d}"
    common: Attributes = {"gen_ai.conversation.id": conversation, "user.id": f"user-{seed % 7}"}
    with stage.span("invoke_workflow plan-trip", {**common, "gen_ai.operation.name": "invoke_workflow",
                                                  "gen_ai.workflow.name": "plan-trip"}):  # fmt: skip
        with _agent(stage, "planner", common):
            _chat(stage, common, "planner", "anthropic", "claude-sonnet-4-5", 5200, 180, cache_write=4096)
            _tool(stage, common, "planner", "search_flights", {"from": "OSL", "to": "LIS"}, "3 flights from 189 EUR")
            _chat(stage, common, "planner", "anthropic", "claude-sonnet-4-5", 5900, 240, cache_read=4096)
        with _agent(stage, "researcher", common):
            _chat(stage, common, "researcher", "openai", "gpt-5-mini", 1900, 0, error="RateLimitError", status="429")
            stage.pass_time(0.5, 1.5)
            _chat(stage, common, "researcher", "openai", "gpt-5-mini", 1900, 620, reasoning=448)
            _tool(stage, common, "researcher", "get_weather", {"city": "Lisbon"}, "21 C, sunny")
            _tool(stage, common, "researcher", "fetch_page", {"url": "https://example.org/lisbon"}, None)
            _chat(stage, common, "researcher", "openai", "gpt-5-mini", 3100, 410, reasoning=128, cache_read=1792)
        with _agent(stage, "writer", common):
            _chat(stage, common, "writer", "gcp.gemini", "gemini-2.5-flash", 2400, 900)
    return stage.spans


def _agent(stage: Stage, name: str, common: Attributes) -> AbstractContextManager[trace.Span]:
    return stage.span(
        f"invoke_agent {name}", {**common, "gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": name}
    )


def _chat(
    stage: Stage,
    common: Attributes,
    agent: str,
    provider: str,
    model: str,
    tokens_in: int,
    tokens_out: int,
    *,
    cache_read: int = 0,
    cache_write: int = 0,
    reasoning: int = 0,
    error: str = "",
    status: str = "",
) -> None:
    jitter = stage.random.randrange(0, 400)
    attributes: dict[str, AttributeValue] = {
        **common,
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": provider,
        "gen_ai.request.model": model,
        "gen_ai.agent.name": agent,
        "gen_ai.request.stream": True,
    }
    with stage.span(f"chat {model}", attributes, SpanKind.CLIENT) as span:
        stage.pass_time(0.2, 0.6)
        if error:
            span.set_attribute("error.type", error)
            span.set_status(Status(StatusCode.ERROR, f"{error}: HTTP {status}"))
            return
        span.set_attribute("gen_ai.response.time_to_first_chunk", round(stage.random.uniform(0.2, 0.6), 3))
        stage.pass_time(0.5, 3.0)
        span.set_attributes(
            {
                "gen_ai.response.model": model,
                "gen_ai.response.id": f"resp_{stage.random.getrandbits(64):016x}",
                "gen_ai.response.finish_reasons": ["stop"],
                "gen_ai.usage.input_tokens": tokens_in + jitter,
                "gen_ai.usage.output_tokens": tokens_out + jitter // 4,
            }
        )
        for key, count in (
            ("cache_read.input_tokens", cache_read),
            ("cache_creation.input_tokens", cache_write),
            ("reasoning.output_tokens", reasoning),
        ):
            if count:
                span.set_attribute(f"gen_ai.usage.{key}", count)


def _tool(
    stage: Stage, common: Attributes, agent: str, name: str, arguments: Mapping[str, str], result: str | None
) -> None:
    attributes: dict[str, AttributeValue] = {
        **common,
        "gen_ai.operation.name": "execute_tool",
        "gen_ai.tool.name": name,
        "gen_ai.tool.call.id": f"call_{stage.random.getrandbits(48):012x}",
        "gen_ai.tool.call.arguments": json.dumps(arguments),
        "gen_ai.agent.name": agent,
    }
    with stage.span(f"execute_tool {name}", attributes) as span:
        stage.pass_time(0.05, 0.8)
        if result is None:
            span.set_attribute("error.type", "timeout")
            span.set_status(Status(StatusCode.ERROR, "no answer within 10 s"))
        else:
            span.set_attribute("gen_ai.tool.call.result", result)


# -- support-desk: OpenInference --


def _support_desk(stage: Stage, seed: int) -> int:
    session = f"ticket-{seed:04d}"
    asked: Attributes = {"agent.name": "support", "session.id": session, "input.value": "Where is my order?"}
    with stage.span("support_agent", {"openinference.span.kind": "AGENT", **asked}):
        _openinference_llm(stage, session, 1480, 96, cached=1024)
        for attempt, broken in enumerate((True, False)):
            arguments = json.dumps({"order": "A-1001", "attempt": attempt})
            with stage.span("lookup_order", {"openinference.span.kind": "TOOL", "tool.name": "lookup_order",
                                             "session.id": session, "input.value": arguments}) as span:  # fmt: skip
                stage.pass_time(0.05, 0.3)
                if broken:
                    span.record_exception(ConnectionError("order database does not answer"))
                    span.set_status(Status(StatusCode.ERROR, "order database does not answer"))
                else:
                    span.set_attribute("output.value", json.dumps({"state": "shipped"}))
        _openinference_llm(stage, session, 1710, 140, cached=1408)
    return stage.spans


def _openinference_llm(stage: Stage, session: str, tokens_in: int, tokens_out: int, *, cached: int) -> None:
    jitter = stage.random.randrange(0, 300)
    attributes: dict[str, AttributeValue] = {
        "openinference.span.kind": "LLM",
        "session.id": session,
        "llm.provider": "openai",
        "llm.system": "openai",
        "llm.model_name": "gpt-4.1-mini",
        "llm.invocation_parameters": json.dumps({"temperature": 0.2}),
        "llm.input_messages.0.message.role": "user",
        "llm.input_messages.0.message.content": "Where is my order?",
        "llm.output_messages.0.message.role": "assistant",
        "llm.output_messages.0.message.content": "Let me look that up.",
        "llm.token_count.prompt": tokens_in + jitter,
        "llm.token_count.completion": tokens_out,
        "llm.token_count.total": tokens_in + jitter + tokens_out,
        "llm.token_count.prompt_details.cache_read": cached,
    }
    with stage.span("ChatCompletion", attributes):
        stage.pass_time(0.6, 2.0)


# -- code-review: OpenLLMetry / Traceloop --


def _code_review(stage: Stage, seed: int) -> int:
    workflow: Attributes = {
        "traceloop.workflow.name": "review",
        "traceloop.association.properties.session_id": f"pr-{seed:04d}",
    }
    with (
        stage.span(
            "review.workflow", {**workflow, "traceloop.span.kind": "workflow", "traceloop.entity.name": "review"}
        ),
        stage.span("reviewer.agent", {**workflow, "traceloop.span.kind": "agent", "traceloop.entity.name": "reviewer"}),
    ):
        _openllmetry_chat(stage, workflow, "openai", "gpt-4o", 4200, 380)
        with stage.span("run_linter.tool", {**workflow, "traceloop.span.kind": "tool",
                                            "traceloop.entity.name": "run_linter",
                                            "traceloop.entity.input": '{"path": "src/"}',
                                            "traceloop.entity.output": '"2 warnings"'}):  # fmt: skip
            stage.pass_time(0.3, 1.2)
        _openllmetry_chat(stage, workflow, "ollama", "house-reviewer:7b", 2600, 210)
    return stage.spans


def _openllmetry_chat(
    stage: Stage, workflow: Attributes, system: str, model: str, tokens_in: int, tokens_out: int
) -> None:
    messages: Sequence[tuple[str, str]] = (("system", "You review code."), ("user", "Please review this change."))
    attributes: dict[str, AttributeValue] = {
        **workflow,
        "llm.request.type": "chat",
        "gen_ai.system": system,
        "gen_ai.request.model": model,
        "gen_ai.response.model": model,
        "gen_ai.usage.prompt_tokens": tokens_in,
        "gen_ai.usage.completion_tokens": tokens_out,
        "llm.usage.total_tokens": tokens_in + tokens_out,
        "gen_ai.completion.0.role": "assistant",
        "gen_ai.completion.0.content": "Looks good, two remarks.",
        "gen_ai.completion.0.finish_reason": "stop",
    }
    for number, (role, content) in enumerate(messages):
        attributes[f"gen_ai.prompt.{number}.role"] = role
        attributes[f"gen_ai.prompt.{number}.content"] = content
    with stage.span(f"{system}.chat", attributes, SpanKind.CLIENT):
        stage.pass_time(0.8, 4.0)

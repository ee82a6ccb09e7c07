"""An application in trouble, so that no panel and no alert has nothing to show.

Its agents loop, ask for approval or forget to, hand work over, call a tool that nobody allows, and are judged from
outside. What they do is made up, and each run lies in the immediate past; nothing sleeps.
"""

from __future__ import annotations

import json
import random
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING

from opentelemetry.trace import SpanKind, Status, StatusCode

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from opentelemetry import trace
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.util.types import AttributeValue

MODELS = (("openai", "gpt-4.1-mini"), ("anthropic", "claude-sonnet-4-5"))


class _Clock:
    """Made-up time that only moves when something takes it."""

    def __init__(self, tracer: trace.Tracer, now_ns: int, seed: int) -> None:
        self.tracer = tracer
        self.now_ns = now_ns
        self.draw = random.Random(seed)

    @contextmanager
    def span(self, name: str, attributes: Mapping[str, AttributeValue]) -> Iterator[trace.Span]:
        with self.tracer.start_as_current_span(
            name, kind=SpanKind.CLIENT, attributes=attributes, start_time=self.now_ns, end_on_exit=False
        ) as span:
            yield span
            self.now_ns += int(self.draw.uniform(0.1, 0.9) * 1e9)
        span.end(self.now_ns)


def play(provider: TracerProvider, now_ns: int, seed: int, *, bad: bool = True) -> None:
    """Play one run; with `bad` it loops, and does what it may not."""
    clock = _Clock(provider.get_tracer("refunds.tracing", "1.0.0"), now_ns - 30_000_000_000, seed)
    user = f"user-{seed % 5}"
    common: dict[str, AttributeValue] = {
        "gen_ai.conversation.id": f"refund-{seed}",
        "user.id": user,
        "team": "payments",
    }
    with _agent(clock, common, "refunds") as root:
        _chat(clock, common, "refunds", seed)
        if seed % 3:
            _tool(clock, common, "refunds", "request_approval", seed)
        _tool(clock, common, "refunds", "refund", seed)
        with _agent(clock, common, "payments"):
            _chat(clock, common, "payments", seed)
            _tool(clock, common, "payments", "find_invoice", seed)
        if bad:
            for _ in range(6):
                _chat(clock, common, "refunds", seed)
                _tool(clock, common, "refunds", "lookup_order", 1)
            refused = seed % 2 == 0
            for _ in range(1 + refused):  # the framework tries what failed again
                _tool(clock, common, "refunds", "delete_account", seed, error=refused, call_id=f"call_{seed}_delete")
            _guardrail(clock, common, seed)
            _chat(clock, common, "refunds", seed, finish="content_filter" if seed % 4 else "refusal")
            root.set_status(Status(StatusCode.ERROR, "gave up"))
            # More tokens than the calls below tell: some call was not seen.
            root.set_attributes({"gen_ai.usage.input_tokens": 9_000, "gen_ai.usage.output_tokens": 900})
        root.add_event(
            "gen_ai.evaluation.result",
            {
                "gen_ai.evaluation.name": "helpfulness",
                "gen_ai.evaluation.score.value": clock.draw.uniform(0.2, 0.5) if bad else clock.draw.uniform(0.7, 1.0),
                "gen_ai.evaluation.score.label": "poor" if bad else "good",
            },
        )


def _agent(clock: _Clock, common: Mapping[str, AttributeValue], name: str) -> AbstractContextManager[trace.Span]:
    attributes = {**common, "gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": name}
    return clock.span(f"invoke_agent {name}", attributes)


def _guardrail(clock: _Clock, common: Mapping[str, AttributeValue], seed: int) -> None:
    """Find something, and every third time only watch."""
    attributes = {
        **common,
        "gen_ai.operation.name": "run_guardrail",
        "gen_ai.guardrail.component.name": "input check",
        "gen_ai.guardrail.verdict.type": "deny",
        "gen_ai.guardrail.action.type": "block" if seed % 3 else "allow",
        "gen_ai.guardrail.security.risk.category": "prompt_injection" if seed % 2 else "pii",
    }
    with clock.span("run_guardrail input check", attributes):
        pass


def _chat(clock: _Clock, common: Mapping[str, AttributeValue], agent: str, seed: int, *, finish: str = "stop") -> None:
    provider, model = MODELS[seed % len(MODELS)]
    attributes = {
        **common,
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": provider,
        "gen_ai.request.model": model,
        "gen_ai.response.model": model,
        "gen_ai.response.finish_reasons": [finish],
        "gen_ai.agent.name": agent,
    }
    with clock.span(f"chat {model}", attributes) as span:
        if seed % 11 == 0:
            return  # An answer that tells no tokens.
        span.set_attribute("gen_ai.usage.input_tokens", 900 + clock.draw.randrange(200))
        if seed % 11 == 5:
            return  # A stream that was broken off: nobody knows what it said.
        span.set_attribute("gen_ai.usage.output_tokens", 80 + clock.draw.randrange(40))


def _tool(
    clock: _Clock, common: Mapping[str, AttributeValue], agent: str, name: str, argument: int, *,
    error: bool = False, call_id: str = "",
) -> None:  # fmt: skip
    attributes = {
        **common,
        "gen_ai.operation.name": "execute_tool",
        "gen_ai.tool.name": name,
        "gen_ai.tool.call.id": call_id or f"call_{clock.draw.getrandbits(48):012x}",
        "gen_ai.tool.call.arguments": json.dumps({"number": argument, "to": "jane@example.org"}),
        "gen_ai.agent.name": agent,
    }
    with clock.span(f"execute_tool {name}", attributes) as span:
        if error:
            span.set_attribute("error.type", "permission_denied")
            span.set_status(Status(StatusCode.ERROR, "permission denied: not allowed"))
        else:
            span.set_attribute("gen_ai.tool.call.result", json.dumps({"done": argument}))

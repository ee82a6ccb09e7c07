"""What each instrumentation means by its token counts: facts that no span carries.

`input_tokens` of the conventions includes what was read from and written to a cache, `output_tokens`
includes reasoning. Some emitters pass on what their provider says instead, and the same attribute then
means something else. Neither provider nor library decides alone: one row per emitter, measured against
the provider's bill (tests/test_tokens.py names a recorded span for each).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, Literal

Version = tuple[int, ...]

_MAX_CHARS: Final = 256
_MIN_PREFIX: Final = 3


@dataclass(frozen=True, slots=True)
class Emitter:
    """One instrumentation, from a version on."""

    scope: str
    """Prefix of the scope name, up to a boundary."""
    input: Literal["inclusive", "exclusive"]
    """Whether input counts include the cache."""
    reasoning: Literal["in", "out"] = "in"
    """Whether output counts include reasoning."""
    since: Version = ()
    """The first version this holds for; versions before it are unknown."""
    providers: frozenset[str] = frozenset()
    """Holds only for these providers; empty for all."""


ANSWER: Final = "@answer"
"""Whose counts are read out of the provider's own answer, which `provider_usage.py` makes inclusive."""

_ANTHROPIC: Final = frozenset({"anthropic", "aws.bedrock"})

EMITTERS: Final[tuple[Emitter, ...]] = (
    # OpenTelemetry
    Emitter("opentelemetry.instrumentation.genai", "inclusive"),
    Emitter("opentelemetry.util.genai", "inclusive"),
    Emitter("opentelemetry.instrumentation.google_genai", "inclusive", since=(1,)),
    Emitter("opentelemetry.instrumentation.openai_v2", "inclusive"),
    Emitter("opentelemetry.instrumentation.botocore", "exclusive"),
    Emitter("@opentelemetry/instrumentation-openai", "inclusive"),
    # Anthropic's own SDKs
    Emitter("com.anthropic.sdk", "inclusive"),
    Emitter("com.anthropic.claude-platform", "inclusive"),
    Emitter("com.anthropic.claude_code", "exclusive"),
    # OpenInference
    Emitter("openinference.instrumentation.agno", "exclusive", providers=_ANTHROPIC),
    Emitter("openinference.instrumentation.anthropic", "inclusive", since=(0, 1, 19)),
    Emitter("openinference.instrumentation.vertexai", "inclusive", "out"),
    Emitter("openinference.instrumentation", "inclusive"),
    Emitter("@arizeai/openinference-instrumentation", "inclusive"),
    # OpenLLMetry
    Emitter("opentelemetry.instrumentation.bedrock", "exclusive"),
    Emitter("opentelemetry.instrumentation.google_generativeai", "inclusive", "out"),
    Emitter("opentelemetry.instrumentation.openai", "inclusive"),
    Emitter("opentelemetry.instrumentation.openai_agents", "inclusive"),
    Emitter("opentelemetry.instrumentation.anthropic", "inclusive", since=(0, 33)),
    Emitter("opentelemetry.instrumentation.langchain", "inclusive"),
    Emitter("opentelemetry.instrumentation.agno", "inclusive"),
    Emitter("@traceloop/instrumentation-anthropic", "exclusive"),
    Emitter("@traceloop/instrumentation-bedrock", "exclusive"),
    Emitter("@traceloop/instrumentation", "inclusive"),
    # Others
    Emitter(ANSWER, "inclusive"),
    Emitter("openlit.instrumentation.anthropic", "exclusive"),
    Emitter("openlit.instrumentation.bedrock", "exclusive"),
    Emitter("openlit.instrumentation.google_ai_studio", "inclusive", "out"),
    Emitter("openlit.instrumentation.openai", "inclusive"),
    Emitter("openlit.instrumentation.vertexai", "inclusive", "out"),
    Emitter("@openlit/instrumentation-anthropic", "exclusive"),
    Emitter("@openlit/instrumentation-bedrock", "exclusive"),
    Emitter("@openlit/instrumentation-openai", "inclusive"),
    Emitter("@openlit/instrumentation-vllm", "inclusive"),  # which takes OpenAI's client for its own
    Emitter("pydantic-ai", "inclusive"),
    Emitter("gcp.vertex.agent", "inclusive", since=(2,)),
    Emitter("litellm", "inclusive"),
    Emitter("langfuse-sdk", "inclusive"),  # once the dialect has added its buckets up
    Emitter("langsmith", "inclusive"),
    Emitter("logfire", "inclusive"),
    Emitter("mlflow", "inclusive"),
    Emitter("strands.telemetry.tracer", "inclusive"),
    Emitter("strands-agents", "exclusive", providers=_ANTHROPIC),
    Emitter("@strands-agents/sdk", "exclusive", providers=_ANTHROPIC),
    Emitter("@strands-agents/sdk", "inclusive"),
    Emitter("strands-agents", "inclusive"),
    Emitter("agent_framework", "exclusive", providers=_ANTHROPIC),
    Emitter("agent_framework", "inclusive"),
    Emitter("agentops", "exclusive", providers=_ANTHROPIC),
    Emitter("agentops", "inclusive"),
    Emitter("crewai", "inclusive"),
    Emitter("genkit-tracer", "inclusive"),  # as the dialect reads it out of the answers
    Emitter("haystack", "inclusive"),
    Emitter("@voltagent", "inclusive"),
    Emitter("semantic_kernel", "inclusive"),
    Emitter("ai@5 anthropic", "exclusive"),
    Emitter("ai@6", "inclusive"),
    Emitter("ai", "inclusive"),
    Emitter("gen_ai", "inclusive"),
    Emitter("@mastra/", "inclusive", since=(1,)),
    Emitter("mirascope", "inclusive"),
    Emitter("@tanstack/ai", "exclusive", providers=_ANTHROPIC),
    Emitter("@tanstack/ai", "inclusive"),
    Emitter("monocle_apptrace@session", "inclusive"),
    Emitter("monocle_apptrace", "exclusive", providers=_ANTHROPIC),
    Emitter("monocle_apptrace", "inclusive"),
    Emitter("lmnr", "inclusive"),
    Emitter("llamaindex.opentelemetry.tracer", "inclusive"),
    Emitter("opentelemetry.instrumentation.ag2", "inclusive"),
    Emitter("traceai_anthropic", "exclusive"),
    Emitter("traceai_bedrock", "exclusive"),
    Emitter("traceai_openai", "inclusive"),
    Emitter("gemini-cli", "inclusive", "out"),
    Emitter("codex", "inclusive"),
    Emitter("qwen-code", "inclusive"),
    Emitter("opencode", "exclusive", "out"),
    Emitter("livekit-agents", "inclusive"),
    Emitter("org.springframework.boot", "exclusive", providers=_ANTHROPIC),
    Emitter("org.springframework.boot", "inclusive"),
)


def emitter_of(scope: str, version: str, provider: str) -> Emitter | None:
    """Return the row for a scope; None when nothing is known about it."""
    # Cut before it is remembered: clients choose these.
    return _emitter_of(scope[:_MAX_CHARS], version[:_MAX_CHARS], provider[:_MAX_CHARS])


@lru_cache(1024)
def _emitter_of(scope: str, version: str, provider: str) -> Emitter | None:
    newer = ""
    for emitter in EMITTERS:
        if not at_boundary(scope, emitter.scope):
            continue
        if newer not in ("", emitter.scope):
            return None  # what holds for the family is not known of this old a member
        if emitter.providers and provider not in emitter.providers:
            continue
        if version and _version(version) < emitter.since:
            newer = emitter.scope
            continue
        return emitter
    return None


def at_boundary(scope: str, prefix: str) -> bool:
    """Tell whether `scope` is `prefix` or something below it: `a.b` and `a.b.v1`, but not `a.bc`.

    A name as short as `ai` has nothing below it: `ai.koog` is somebody else.
    """
    if len(prefix) < _MIN_PREFIX:
        return scope == prefix
    if not scope.startswith(prefix):
        return False
    rest = scope[len(prefix) :]
    return not rest or rest[0] in ".-/: " or prefix[-1] in ".-/"


def _version(text: str) -> Version:
    numbers = re.findall(r"\d{1,6}", text[:64].partition("+")[0])
    return tuple(int(number) for number in numbers[:3])

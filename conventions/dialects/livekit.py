"""LiveKit Agents 1.x, Python and JavaScript.

A model call has a span for itself, around it a node and within it one span for each attempt: only the first counts.
Speech, its detection and its synthesis are structure, and so is the session around the agent's turns. What people
said moved from `lk.*` to `lk.pii.*`.
"""

from __future__ import annotations

from typing import Final

from spanledger.conventions import coerce
from spanledger.conventions.dialect import (
    AGENT_NAME,
    MODEL_CALLS,
    STRUCTURAL,
    TIME_TO_FIRST_CHUNK,
    TOOL_CALL_ID,
    TOOL_NAME,
    Dialect,
    Facts,
    Kinded,
)
from spanledger.conventions.provider_usage import usage_object

_TOOL: Final = "lk.function_tool."
_METRICS: Final = "lk.llm_metrics"
_CACHED: Final = "gen_ai.usage.cache_read.input_tokens"


def _complete(facts: Facts) -> None:
    attributes = facts.attributes
    if facts.kind == "tool" and attributes.get(_TOOL + "is_error") is True:
        facts.failed = True
    elif facts.kind in MODEL_CALLS and (metrics := usage_object(attributes.get(_METRICS))) is not None:
        facts.offer(_CACHED, _METRICS, coerce.count(metrics.get("prompt_cached_tokens")))
        first = coerce.number(metrics.get("ttft"))
        facts.offer(TIME_TO_FIRST_CHUNK, _METRICS, first if first is not None and first >= 0 else None)


DIALECT: Final = Dialect(
    name="livekit",
    source="https://github.com/livekit/agents",
    scopes=("livekit-agents",),
    evidence=("lk.",),
    names={
        "llm_request": Kinded("llm", "chat"),
        "llm_request_run": STRUCTURAL,
        "llm_node": STRUCTURAL,
        "llm_fallback_adapter": STRUCTURAL,
        "function_tool": Kinded("tool", "execute_tool"),
        "agent_turn": Kinded("agent", "invoke_agent"),
        "agent_session": STRUCTURAL,
    },
    sources={
        TOOL_NAME: (_TOOL + "name",),
        TOOL_CALL_ID: (_TOOL + "id",),
        _CACHED: ("gen_ai.usage.input_cached_tokens",),
        "gen_ai.usage.audio.input_tokens": ("gen_ai.usage.input_audio_tokens",),
        "gen_ai.usage.audio.output_tokens": ("gen_ai.usage.output_audio_tokens",),
        TIME_TO_FIRST_CHUNK: ("lk.response.ttft",),
    },
    sources_by_kind={"agent": {AGENT_NAME: ("lk.agent_name", "lk.agent_label")}},
    content={
        f"{prefix}function_tool.{name}": (target,)
        for prefix in ("lk.", "lk.pii.")
        for name, target in (("arguments", "gen_ai.tool.call.arguments"), ("output", "gen_ai.tool.call.result"))
    },
    complete=_complete,
)

"""Codex 0.169 (`codex-rs/otel`): log events, and spans of its own functions.

Log events tell calls, tokens and tools, and no turn: that begins with `codex.user_prompt`. A request is
`codex.api_request`; what it used comes with the event `response.completed` at the end of its stream, without any place
and without a beginning. A request that fails has only the first.

Of hundreds of spans a turn (`session_task.turn`), its tools, and the handling of the last event of each answer are
work. That has the tokens, but no model: the attempt and the turn around it have one.
"""

from __future__ import annotations

from typing import Final

from spanledger.conventions import coerce
from spanledger.conventions.dialect import (
    CONVERSATION_ID,
    ERROR_TYPE,
    HTTP_STATUS,
    REQUEST_MODEL,
    RESENDS,
    STRUCTURAL,
    TIME_TO_FIRST_CHUNK,
    USER_ID,
    Dialect,
    Facts,
    Kinded,
    LogEvent,
    named,
)
from spanledger.conventions.values import Attributes

_CALL: Final = Kinded("llm", "chat")
_TOOL: Final = Kinded("tool", "execute_tool")
_ANSWERED: Final = "gen_ai.usage.input_tokens"
_COMPLETED: Final = "response.completed"
_ENDPOINTS: Final = ("/responses", "/chat/completions")


def _ended(attributes: Attributes) -> bool:
    """Tell whether a stream came to its end, good or bad; one event of many."""
    if "input_token_count" in attributes:
        return True
    return "error.message" in attributes and attributes.get("event.kind") in (None, _COMPLETED, "response.failed")


def _refused(attributes: Attributes) -> bool:
    """Tell whether a request to a model failed; one that did not has events of its answer."""
    endpoint = attributes.get("endpoint")
    if isinstance(endpoint, str) and not endpoint.startswith(_ENDPOINTS):
        return False
    status = coerce.integer(attributes.get("http.response.status_code"))
    return "error.message" in attributes or (status is not None and status >= 400)


_EVENTS: Final = {
    "codex.user_prompt": LogEvent(opens="turn"),
    "codex.api_request": LogEvent(reports=_CALL, opens="call", only=_refused),
    "codex.sse_event": LogEvent(reports=_CALL, only=_ended),
    "codex.websocket_event": LogEvent(reports=_CALL, only=_ended),
    "codex.tool_result": LogEvent(reports=_TOOL),
}


def _handled(facts: Facts) -> Kinded:
    """Tell the one event of an answer that has its tokens from all the others."""
    return _CALL if _ANSWERED in facts.attributes else STRUCTURAL


def _complete(facts: Facts) -> None:
    attributes = facts.attributes
    facts.emitter = "codex"
    facts.offer_found(CONVERSATION_ID, "conversation.id", coerce.text)
    for key in ("user.account_id", "user.email"):
        facts.offer_found(USER_ID, key, coerce.text)
    if coerce.flag(attributes.get("success")) is False:
        facts.failed = True
    if facts.kind != "llm":
        return
    facts.offer_found("gen_ai.usage.reasoning.output_tokens", "codex.usage.reasoning_output_tokens", coerce.count)
    facts.offer_found("@total_tokens", "codex.usage.total_tokens", coerce.count)
    if "error.message" in attributes:
        facts.failed = True
    status = coerce.integer(attributes.get("http.response.status_code"))
    if status is not None and status >= 400:
        facts.failed = True
        facts.offer(HTTP_STATUS, "http.response.status_code", status)
        facts.offer(ERROR_TYPE, "http.response.status_code", str(status))
    attempt = coerce.integer(attributes.get("attempt"))
    if attempt is not None and attempt > 0:  # counted from 0
        facts.offer(RESENDS, "attempt", attempt)
    first_ms = coerce.milliseconds(attributes.get("ttft_ms"))
    if isinstance(first_ms, float) and first_ms > 0:
        facts.offer(TIME_TO_FIRST_CHUNK, "ttft_ms", first_ms)


DIALECT: Final = Dialect(
    name="codex",
    source="https://github.com/openai/codex/tree/main/codex-rs/otel",
    scopes=(
        "codex",
        "codex_app_server",
        "codex_cli_rs",
        "codex_exec",
        "codex_mcp_server",
        "codex_otel",
        "codex_sdk_ts",
        "codex_tui",
        "codex_vscode",
    ),
    kinds={"codex.tool.phase": {"dispatch": _TOOL, "dispatch_and_wait": _TOOL}},
    names={
        "session_task.turn": Kinded("agent", "invoke_agent"),
        "handle_responses": _handled,
        **named(_EVENTS),
    },
    events=_EVENTS,
    lends=dict.fromkeys(
        ("try_run_sampling_request", "run_sampling_request", "model_client.stream_responses_api", "session_task.turn"),
        "model",
    ),
    run_keys=("conversation.id",),
    sources_by_kind={
        "llm": {
            REQUEST_MODEL: ("model",),
            "gen_ai.request.reasoning.level": ("codex.request.reasoning_effort",),
            "gen_ai.usage.input_tokens": ("input_token_count",),
            "gen_ai.usage.output_tokens": ("output_token_count",),
            "gen_ai.usage.cache_read.input_tokens": ("cached_token_count",),
            "gen_ai.usage.cache_write.input_tokens": ("cache_write_token_count",),
            "gen_ai.usage.reasoning.output_tokens": ("reasoning_token_count",),
            "@total_tokens": ("tool_token_count",),
        },
        "agent": {REQUEST_MODEL: ("model",)},
        "tool": {"gen_ai.tool.name": ("tool_name",), "gen_ai.tool.call.id": ("call_id",)},
    },
    content={
        "arguments": ("gen_ai.tool.call.arguments",),
        "output": ("gen_ai.tool.call.result",),
    },
    complete=_complete,
)

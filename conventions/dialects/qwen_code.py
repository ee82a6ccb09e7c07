"""Qwen Code 0.16 to 0.19 (spans and log events), which grew out of Gemini CLI.

Its spans are named as Claude Code's are and say the rest in the words of the conventions; input includes the cache and
output the thoughts, whatever the provider. A backend for traces only gets its log events as spans too, each with
the sentence of the record as its name and `log.bridge`: they are read as the records that they were.
"""

from __future__ import annotations

from typing import Final

from spanledger.conventions import coerce
from spanledger.conventions.dialect import (
    AGENT_NAME,
    CONVERSATION_ID,
    ERROR_TYPE,
    FINISH_REASONS,
    HTTP_STATUS,
    REPORT,
    REQUEST_MODEL,
    RESENDS,
    RESPONSE_ID,
    RESPONSE_MODEL,
    TIME_TO_FIRST_CHUNK,
    USER_ID,
    Choose,
    Dialect,
    Facts,
    Kinded,
    LogEvent,
    named,
)

_CALL: Final = Kinded("llm", "chat")
_TOOL: Final = Kinded("tool", "execute_tool")
_EVENTS: Final = {
    "qwen-code.user_prompt": LogEvent(opens="turn"),
    "qwen-code.api_request": LogEvent(opens="call"),
    "qwen-code.api_response": LogEvent(reports=_CALL),
    "qwen-code.api_error": LogEvent(reports=_CALL, failed=True),
    "qwen-code.tool_call": LogEvent(reports=_TOOL),
}
_BRIDGED: Final[dict[str, Kinded | Choose]] = {
    name: event.reports for name, event in _EVENTS.items() if event.reports is not None
}


def _complete(facts: Facts) -> None:
    attributes = facts.attributes
    if coerce.flag(attributes.get("log.bridge")):
        facts.offer_found(REPORT, "event.name", coerce.text)
    facts.offer_found(CONVERSATION_ID, "session.id", coerce.text)
    facts.offer_found(USER_ID, "gen_ai.user.id", coerce.text)
    if coerce.flag(attributes.get("success")) is False:
        facts.failed = True
    facts.offer_found(ERROR_TYPE, "error_type", coerce.text)
    if facts.kind == "agent":
        facts.offer(AGENT_NAME, "qwen-code.subagent.name", coerce.text(attributes.get("qwen-code.subagent.name")))
    if facts.kind != "llm":
        return
    facts.offer_found(AGENT_NAME, "subagent_name", coerce.text)
    if facts.report == "qwen-code.api_response":
        facts.forget(REQUEST_MODEL)
        facts.offer_found(RESPONSE_MODEL, "model", coerce.text)
    facts.offer_found(RESPONSE_ID, "response_id", coerce.text)
    for key in ("status_code", "error_status_code"):
        facts.offer_found(HTTP_STATUS, key, coerce.integer)
    attempt = coerce.integer(attributes.get("attempt"))
    if attempt is not None and attempt > 1:
        facts.offer(RESENDS, "attempt", attempt - 1)
    facts.offer_found(TIME_TO_FIRST_CHUNK, "ttft_ms", coerce.milliseconds)


DIALECT: Final = Dialect(
    name="qwen_code",
    source="https://github.com/QwenLM/qwen-code",
    scopes=("qwen-code",),
    evidence=("qwen-code.",),
    kinds={"event.name": _BRIDGED},
    names={
        "qwen-code.interaction": Kinded("agent", "invoke_agent"),
        "qwen-code.subagent": Kinded("agent", "invoke_agent"),
        "qwen-code.llm_request": _CALL,
        "qwen-code.tool": _TOOL,
        **named(_EVENTS),
    },
    events=_EVENTS,
    run_keys=("session.id", "prompt_id"),
    sources_by_kind={
        "llm": {
            REQUEST_MODEL: ("qwen-code.model", "model"),
            FINISH_REASONS: ("finish_reason",),
            "gen_ai.usage.input_tokens": ("input_tokens", "input_token_count"),
            "gen_ai.usage.output_tokens": ("output_tokens", "output_token_count"),
            "gen_ai.usage.cache_read.input_tokens": ("cached_input_tokens", "cached_content_token_count"),
            "gen_ai.usage.reasoning.output_tokens": ("thoughts_token_count",),
            "@total_tokens": ("total_token_count",),
        },
        "tool": {
            "gen_ai.tool.name": ("tool.name", "function_name"),
            "gen_ai.tool.call.id": ("tool.call_id", "call_id"),
        },
    },
    content={"function_args": ("gen_ai.tool.call.arguments",)},
    complete=_complete,
)

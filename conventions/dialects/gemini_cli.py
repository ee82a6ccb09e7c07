"""Gemini CLI 0.61 (spans and log events).

Its operations have names of their own. Output counts leave the thoughts out, and only the log events tell them and
what was cached. Messages are Gemini's contents under the conventions' names, cut at a length: they stay as they are.

Unless `telemetry.traces` is on, spans say only what kind of work they are, and the log events the rest: a tool's span
without a name is only a place for these.

The event of an answer says no place; that of its request, written within the span of the call, does. Each call is
also logged as `gen_ai.client.inference.operation.details`, which is read for its content only.
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
    REQUEST_MODEL,
    RESPONSE_MODEL,
    STRUCTURAL,
    TOOL_NAME,
    USER_ID,
    Dialect,
    Facts,
    Kinded,
    LogEvent,
    named,
)

_CALL: Final = Kinded("llm", "generate_content")
_TOOL: Final = Kinded("tool", "execute_tool")
_INPUT: Final = "gen_ai.usage.input_tokens"
_COUNTS: Final = ("output_token_count", "thoughts_token_count", "tool_token_count")
_EVENTS: Final = {
    "gemini_cli.user_prompt": LogEvent(opens="turn"),
    "gemini_cli.api_request": LogEvent(opens="call"),
    "gemini_cli.api_response": LogEvent(reports=_CALL),
    "gemini_cli.api_error": LogEvent(reports=_CALL, failed=True),
    "gemini_cli.tool_call": LogEvent(reports=_TOOL),
}


def _complete(facts: Facts) -> None:
    if not facts.report:
        if facts.kind == "tool" and TOOL_NAME not in facts.values:
            facts.kind, facts.operation = STRUCTURAL.kind, None
        return
    attributes = facts.attributes
    facts.offer_found(CONVERSATION_ID, "session.id", coerce.text)
    facts.offer_found(USER_ID, "user.email", coerce.text)
    facts.offer(AGENT_NAME, "", "gemini-cli")  # as its spans say
    if coerce.flag(attributes.get("success")) is False:
        facts.failed = True
    facts.offer_found(ERROR_TYPE, "error_type", coerce.text)
    if facts.kind != "llm":
        return
    if facts.report == "gemini_cli.api_response":
        facts.forget(REQUEST_MODEL)
        facts.offer_found(RESPONSE_MODEL, "model", coerce.text)
    facts.offer_found(HTTP_STATUS, "status_code", coerce.integer)
    _add_tool_results(facts)


def _add_tool_results(facts: Facts) -> None:
    """Add what a server-side tool put into the prompt, where the total shows that the input leaves it out."""
    asked = coerce.integer(facts.attributes.get("input_token_count"))
    rest = [coerce.integer(facts.attributes.get(key)) or 0 for key in _COUNTS]
    if asked is not None and rest[-1] > 0:
        total = coerce.integer(facts.attributes.get("total_token_count"))
        if total == asked + sum(rest):
            facts.correct(_INPUT, "input_token_count", asked + rest[-1])


DIALECT: Final = Dialect(
    name="gemini_cli",
    source="https://github.com/google-gemini/gemini-cli/tree/main/packages/core/src/telemetry",
    scopes=("gemini-cli",),
    operations={
        "llm_call": _CALL,
        "tool_call": _TOOL,
        "agent_call": Kinded("agent", "invoke_agent"),
        "user_prompt": Kinded("agent", "invoke_agent"),
        "system_prompt": STRUCTURAL,
        "schedule_tool_calls": STRUCTURAL,
    },
    names=named(_EVENTS),
    events=_EVENTS,
    run_keys=("session.id", "prompt_id"),
    sources_by_kind={
        "llm": {
            REQUEST_MODEL: ("model",),
            FINISH_REASONS: ("finish_reasons",),
            _INPUT: ("input_token_count",),
            "gen_ai.usage.output_tokens": ("output_token_count",),
            "gen_ai.usage.cache_read.input_tokens": ("cached_content_token_count",),
            "gen_ai.usage.reasoning.output_tokens": ("thoughts_token_count",),
            "@total_tokens": ("total_token_count",),
        },
        "tool": {"gen_ai.tool.name": ("function_name",)},
    },
    content={"function_args": ("gen_ai.tool.call.arguments",)},
    complete=_complete,
)

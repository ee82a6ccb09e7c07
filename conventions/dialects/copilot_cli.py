"""GitHub Copilot: its CLI 1.0 and SDK (scope `github.copilot`), and Copilot Chat in VS Code 1.119 (`copilot-chat`).

Both speak the conventions, with names of their own beside them: `github.copilot.*`, and the older `copilot_chat.*`.
GitHub is the provider that is named, for every model. The agent's span sums its calls up, and sub-agents' spans lie
below the tool that started them. `github.copilot.cost` counts GitHub's own units (requests, then AI credits) and not
dollars, so it is not taken for a price.

Copilot Chat logs each call as `gen_ai.client.inference.operation.details`, with less than its span has.
"""

from __future__ import annotations

from typing import Final

from spanledger.conventions import coerce
from spanledger.conventions.dialect import (
    CONVERSATION_ID,
    MODEL_CALLS,
    TIME_TO_FIRST_CHUNK,
    Dialect,
    Facts,
    Kinded,
    LogEvent,
    named,
)
from spanledger.conventions.values import Attributes

_DETAILS: Final = "gen_ai.client.inference.operation.details"


def _tells_tokens(attributes: Attributes) -> bool:
    """Tell whether the event is of a call that ended: some are only of what was asked."""
    return "gen_ai.usage.output_tokens" in attributes or "error.type" in attributes


_EVENTS: Final = {
    _DETAILS: LogEvent(reports=Kinded("llm", "chat"), only=_tells_tokens),
    "copilot_chat.tool.call": LogEvent(reports=Kinded("tool", "execute_tool")),
}


def _complete(facts: Facts) -> None:
    attributes = facts.attributes
    for key in ("github.copilot.session.id", "copilot_chat.session_id", "copilot_chat.chat_session_id"):
        facts.offer_found(CONVERSATION_ID, key, coerce.text)
    if facts.report and coerce.flag(attributes.get("success")) is False:
        facts.failed = True
    if facts.kind in MODEL_CALLS:
        for key in ("github.copilot.time_to_first_token", "copilot_chat.time_to_first_token"):
            facts.offer_found(TIME_TO_FIRST_CHUNK, key, coerce.milliseconds)
        facts.offer_found(TIME_TO_FIRST_CHUNK, "github.copilot.time_to_first_chunk", coerce.number)


DIALECT: Final = Dialect(
    name="copilot_cli",
    source="https://github.com/microsoft/vscode-copilot-chat",
    scopes=("github.copilot", "copilot-chat", "@github/copilot"),
    evidence=("github.copilot.", "copilot_chat."),
    names=named(_EVENTS),
    events=_EVENTS,
    run_keys=("gen_ai.conversation.id",),
    complete=_complete,
)

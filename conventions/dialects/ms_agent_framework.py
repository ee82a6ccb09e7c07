"""Microsoft Agent Framework: Python 1.0 to 1.23, .NET.

Speaks the conventions. Agents repeat the usage of their `chat` spans as a sum and name the framework as provider;
workflows are spans without an operation. What the Responses API goes on from stands as the conversation. Searches of
the web stand among what was answered, and nowhere else.
"""

from __future__ import annotations

from typing import Final

from spanledger.conventions import coerce
from spanledger.conventions.dialect import (
    CONVERSATION_ID,
    MODEL_CALLS,
    STRUCTURAL,
    WORKFLOW_NAME,
    Dialect,
    Facts,
    Kinded,
)
from spanledger.conventions.values import Value

_PREVIOUS: Final = "gen_ai.request.previous_response.id"
_ANSWER: Final = "gen_ai.output.messages"
_SEARCH: Final = "search_tool_call"
_FREE: Final = ("open_page", "find_in_page")  # no set: it may be a list
"""What a call of OpenAI's web search may do beside searching."""


def _complete(facts: Facts) -> None:
    if facts.find(CONVERSATION_ID, _is_response):
        facts.forget(CONVERSATION_ID)
        facts.offer_found(_PREVIOUS, CONVERSATION_ID, coerce.text)
    if facts.kind in MODEL_CALLS:
        facts.offer_found("@web_search", _ANSWER, _searches)


def _searches(answer: Value) -> int | None:
    """Return how many searches are charged; None where the answer tells of none."""
    said = coerce.parse_json(answer) if isinstance(answer, str) and _SEARCH in answer else None
    told = [one.get("parts") for one in said if isinstance(one, dict)] if isinstance(said, list) else []
    parts = [part for one in told if isinstance(one, list) for part in one if isinstance(part, dict)]
    calls = [one for one in parts if one.get("type") == _SEARCH and one.get("tool_name") == "web_search"]
    free = sum(isinstance(does := one.get("arguments"), dict) and does.get("type") in _FREE for one in calls)
    return len(calls) - free if calls else None


def _is_response(conversation: Value) -> bool:
    return isinstance(conversation, str) and conversation.startswith("resp_")


DIALECT: Final = Dialect(
    name="ms_agent_framework",
    source="https://github.com/microsoft/agent-framework",
    scopes=("agent_framework", "Microsoft.Agents.AI", "Experimental.Microsoft.Agents.AI"),
    evidence=("executor.id", "edge_group.", "agent_framework."),
    names={
        "workflow.run": Kinded("workflow", "invoke_workflow"),
        "workflow.run ": Kinded("workflow", "invoke_workflow"),
        "workflow_invoke": Kinded("workflow", "invoke_workflow"),
        "workflow.session": STRUCTURAL,  # around one or more of the above
        "workflow.build": STRUCTURAL,
        "workflow.build ": STRUCTURAL,
        "executor.process": STRUCTURAL,
        "executor.process ": STRUCTURAL,
        "edge_group.process": STRUCTURAL,
        "edge_group.process ": STRUCTURAL,
        "message.send": STRUCTURAL,
    },
    sources_by_kind={"workflow": {WORKFLOW_NAME: ("workflow.name",)}},
    complete=_complete,
)

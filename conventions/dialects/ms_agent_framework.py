"""Microsoft Agent Framework: Python 1.0 to 1.23, .NET.

Speaks the conventions. Agents repeat the usage of their `chat` spans as a sum and name the framework as provider;
workflows are spans without an operation. What the Responses API goes on from stands as the conversation.
"""

from __future__ import annotations

from typing import Final

from spanledger.conventions import coerce
from spanledger.conventions.dialect import CONVERSATION_ID, STRUCTURAL, WORKFLOW_NAME, Dialect, Facts, Kinded
from spanledger.conventions.values import Value

_PREVIOUS: Final = "gen_ai.request.previous_response.id"


def _complete(facts: Facts) -> None:
    if facts.find(CONVERSATION_ID, _is_response):
        facts.forget(CONVERSATION_ID)
        facts.offer_found(_PREVIOUS, CONVERSATION_ID, coerce.text)


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

"""AG2, that was AutoGen (0.11 and later): the conventions, and a type of span for what they have no word for.

A conversation and an agent's reply sum up the tokens and cost of their calls. Finish reasons are JSON.
"""

from __future__ import annotations

from typing import Final

from spanledger.conventions.dialect import AGENT_NAME, STRUCTURAL, WORKFLOW_NAME, Dialect, Facts, Kinded

_TYPE: Final = "ag2.span.type"
_WORKFLOW: Final = Kinded("workflow", "invoke_workflow")


def _complete(facts: Facts) -> None:
    if facts.kind == "workflow":
        facts.offer(WORKFLOW_NAME, AGENT_NAME, facts.text(AGENT_NAME))  # who opened the conversation


DIALECT: Final = Dialect(
    name="ag2",
    source="https://docs.ag2.ai/latest/docs/user-guide/tracing/opentelemetry",
    scopes=("opentelemetry.instrumentation.ag2", "ag2"),
    evidence=("ag2.",),
    kinds={
        _TYPE: {
            "conversation": _WORKFLOW,
            "multi_conversation": _WORKFLOW,
            "agent": Kinded("agent", "invoke_agent"),
            "llm": Kinded("llm", "chat"),
            "tool": Kinded("tool", "execute_tool"),
            "code_execution": Kinded("tool", "execute_tool"),
            "human_input": Kinded("human"),
        }
    },
    operations={
        "conversation": _WORKFLOW,
        "initiate_chats": _WORKFLOW,
        "execute_code": Kinded("tool", "execute_tool"),
        "await_human_input": Kinded("human"),
        "speaker_selection": STRUCTURAL,
    },
    complete=_complete,
)

"""Azure AI Foundry's clients (azure-ai-agents 1.x, azure-ai-projects, .NET alike) about agents that run in the service.

The model is called out of sight: a run of a thread is the agent at work, and its tokens are the sum of all its calls.
Everything else keeps threads and messages in order.
"""

from __future__ import annotations

from typing import Final

from spanledger.conventions.dialect import (
    CONVERSATION_ID,
    PROVIDER,
    REQUEST_MODEL,
    RESPONSE_MODEL,
    STRUCTURAL,
    Dialect,
    Facts,
    Kinded,
)
from spanledger.conventions.providers import provider_of_model

_RUN: Final = Kinded("agent", "invoke_agent")


def _complete(facts: Facts) -> None:
    if facts.text(PROVIDER) != "azure.ai.inference":
        return
    model = facts.text(RESPONSE_MODEL) or facts.text(REQUEST_MODEL)
    if model is not None and provider_of_model(model) == "openai":
        facts.correct(PROVIDER, facts.moved.get(PROVIDER, PROVIDER), "azure.ai.openai")


DIALECT: Final = Dialect(
    name="azure_ai_agents",
    source="https://github.com/Azure/azure-sdk-for-python/tree/main/sdk/ai/azure-ai-agents",
    scopes=("azure.ai.agents", "azure.ai.projects", "Azure.AI.Agents", "@azure/ai-agents"),
    evidence=("gen_ai.thread.id", "gen_ai.thread.run.", "gen_ai.run_step."),
    operations={
        "start_thread_run": _RUN,
        "process_thread_run": _RUN,
        **dict.fromkeys(
            ("create_thread", "create_message", "list_messages", "list_run_steps", "get_thread_run",
             "submit_tool_outputs", "create_conversation", "list_conversation_items"),
            STRUCTURAL,
        ),
    },
    sources={CONVERSATION_ID: ("gen_ai.thread.id",)},
    complete=_complete,
)  # fmt: skip

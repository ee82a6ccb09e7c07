"""NVIDIA NeMo Agent Toolkit 1.9 (`nvidia-nat`): OpenInference's attributes, and its own of what runs in what.

Tokens, and no more than input and output, are told where `nvidia-nat-profiler` is installed, and written as 0 where
the framework did not tell them. The provider is the name of the framework. Every span's status says OK.
"""

from __future__ import annotations

import re
from typing import Final

from spanledger.conventions import coerce
from spanledger.conventions.answers import offer_tier, tier_within
from spanledger.conventions.dialect import (
    MODEL_CALLS,
    REQUEST_MODEL,
    RESPONSE_MODEL,
    STRUCTURAL,
    TOOL_NAME,
    USAGE,
    WORKFLOW_NAME,
    Dialect,
    Facts,
    Kinded,
)

_EVENT: Final = "nat.event_type"
_FRAMEWORK: Final = "nat.framework"
_NAME: Final = "nat.subspan.name"
_ANSWER: Final = "nat.metadata"
_answered_by: Final = coerce.matching(re.compile(r'"model_name": ?"([\w.:/@-]{1,256})"'))

_TOOL: Final = Kinded("tool", "execute_tool")


def _function(facts: Facts) -> Kinded:
    """See a tool in a function of the toolkit that another one calls; frameworks report their own parts so, too."""
    attributes = facts.attributes
    called = attributes.get("nat.function.parent_name") not in (None, "root", "unknown")
    return _TOOL if called and attributes.get(_FRAMEWORK) == "unknown" else STRUCTURAL


def _complete(facts: Facts) -> None:
    if facts.attributes.get("llm.token_count.total") == 0:
        for target in USAGE:
            facts.forget(target)
    if facts.kind not in MODEL_CALLS:
        return
    answered = facts.find(_ANSWER, _answered_by)
    if answered != facts.text(REQUEST_MODEL):
        facts.offer(RESPONSE_MODEL, _ANSWER, answered)
    if (tier := facts.find(_ANSWER, tier_within)) is not None:
        offer_tier(facts, _ANSWER, tier)


DIALECT: Final = Dialect(
    name="nemo_agent_toolkit",
    source="https://github.com/NVIDIA/NeMo-Agent-Toolkit",
    scopes=("nat",),
    evidence=(_EVENT,),
    kinds={
        _EVENT: {
            "LLM_START": Kinded("llm", "chat"),
            "EMBEDDER_START": Kinded("embedding", "embeddings"),
            "RETRIEVER_START": Kinded("retrieval", "retrieval"),
            "TOOL_START": _TOOL,
            "FUNCTION_START": _function,
            "WORKFLOW_START": Kinded("workflow", "invoke_workflow"),
            "GUARDRAIL_START": Kinded("guardrail"),
            "EVALUATOR_START": Kinded("evaluation"),
            "TASK_START": STRUCTURAL,
            "CUSTOM_START": STRUCTURAL,
        }
    },
    sources_by_kind={"workflow": {WORKFLOW_NAME: (_NAME,)}, "tool": {TOOL_NAME: (_NAME,)}},
    content={"input.value": ("gen_ai.tool.call.arguments",), "output.value": ("gen_ai.tool.call.result",)},
    complete=_complete,
)

"""W&B Weave 0.54 (`weave`): its conversations, and the runs of OpenAI's Agents SDK, where `use_otel_v2` is on.

It speaks the conventions, but for what holds a run together.
"""

from __future__ import annotations

from typing import Final

from spanledger.conventions.dialect import STRUCTURAL, WORKFLOW_NAME, Dialect, Kinded

DIALECT: Final = Dialect(
    name="weave",
    source="https://github.com/wandb/weave",
    scopes=("weave.openai_agents", "weave.conversation"),
    evidence=("weave.openai_agents.",),
    names={
        "workflow ": Kinded("workflow", "invoke_workflow"),
        "guardrail ": Kinded("guardrail"),
        "handoff ": STRUCTURAL,
    },
    sources={WORKFLOW_NAME: ("weave.openai_agents.task.workflow_name",)},
)

"""How a run ended, in the words of the application.

There is no attribute for it in the conventions; these are the ones that applications and other tools write:

| attribute | written by |
|---|---|
| `spanledger.outcome` | you, if you want to be understood without a doubt |
| `gen_ai.agent.outcome`, `agent.outcome`, `run.outcome`, `task.outcome` | applications, by hand |
| `agentops.session.end_state` | AgentOps: `Success`, `Error`, `Indeterminate`, also `StatusCode.OK` |
| `gen_ai.task.status`, `task.status` | applications, by hand |

A plain `outcome` or `status` is not among them: on a span of HTTP or of a test it means something else.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from spanledger.conventions.span_attributes import by_keys

if TYPE_CHECKING:
    from collections.abc import Collection

    from spanledger.conventions.values import Attributes, Value

KEYS: Final[tuple[str, ...]] = (
    "spanledger.outcome",
    "gen_ai.agent.outcome",
    "agent.outcome",
    "run.outcome",
    "task.outcome",
    "agentops.session.end_state",
    "gen_ai.task.status",
    "task.status",
)
"""Best first."""

WORDS: Final[Mapping[str, str]] = {
    word: outcome
    for outcome, words in {
        "success": "success succeeded successful ok pass passed complete completed done resolved solved true",
        "failure": "failure fail failed error errored aborted timeout timed_out unresolved rejected false",
        "partial": "partial partially_completed partial_success incomplete",
        "unknown": "unknown unset indeterminate none",
    }.items()
    for word in words.split()
}
"""What applications call it -> the outcome of a run (`spanledger.conventions.run.Outcome`)."""


def outcome_of(attributes: Attributes) -> str:
    """Return the explicit outcome on a span; "" when there is none, or none that is understood."""
    return next((found for key in by_keys(attributes, _written) if (found := _read(attributes.get(key)))), "")


def _written(keys: Collection[str]) -> list[str]:
    return [key for key in KEYS if key in keys]


def _read(value: Value) -> str:
    if isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str) or len(value) > 64:
        return ""
    word = value.strip().lower().rpartition(".")[2].replace("-", "_").replace(" ", "_")
    return WORDS.get(word, "")

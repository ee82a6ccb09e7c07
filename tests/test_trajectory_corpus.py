"""Runs built from real captures, against what really happened.

Stacks that tell agents, tools and model calls, of each family. What the others withhold, and the whole corpus
through the running sidecar, is in tests/corpus.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from spanledger.processor.trajectory.edges import edges
from tests.corpus.captures import packed
from tests.corpus.trajectories import Workshop, compare, differences, runs_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from spanledger.conventions.step import Bridge, Step
    from spanledger.conventions.trajectory import Edge

STACKS = (
    "python/manual-latest-semconv",
    "python/otel-genai-langchain",
    "python/otel-genai-langchain-anthropic",
    "python/openinference-pydantic-ai",
    "python/openinference-openai-agents",
    "python/openllmetry-openai-agents",
    "python/traceloop-sdk",
    "python/mcp-openinference",
    "js/openai-agents-openinference",
    "js/traceloop-sdk",
)

_RETRIES = "the SDK tries again within one span"
_KILLED = {"tools": "the process was killed in the last tool"}
_ROOTLESS = {**_KILLED, "agents": "the agent's span was never sent"}
_STREAM = {"input": "no usage on streamed calls", "output": "no usage on streamed calls"}
HIDDEN = {
    "python/manual-latest-semconv/err500": {"failed_calls": _RETRIES},
    "python/manual-latest-semconv/tools3-crash": _ROOTLESS,
    "python/otel-genai-langchain/err500": {"failed_calls": _RETRIES},
    "python/otel-genai-langchain/ratelimit": {"failed_calls": _RETRIES},
    "python/otel-genai-langchain/multi": {"agents": "nodes of a graph without an agent are no spans"},
    "python/otel-genai-langchain/tools3-crash": _KILLED,
    "python/openinference-openai-agents/err500": {"failed_calls": _RETRIES},
    "python/openinference-openai-agents/tools3-crash": _ROOTLESS,
    "python/openllmetry-openai-agents/err500": {"failed_calls": _RETRIES},
    "python/traceloop-sdk/err500": {"failed_calls": _RETRIES},
    "js/openai-agents-openinference/retry429": {"failed_calls": _RETRIES},
    "js/traceloop-sdk/hard_error": dict.fromkeys(("runs", "failed_calls", "outcome"), "nothing was sent"),
    "js/traceloop-sdk/stream_tool_loop": _STREAM,
    "js/traceloop-sdk/streaming": _STREAM,
}
"""Capture -> what is not as it was, and why."""


def stitch(records: Sequence[Step | Bridge]) -> Sequence[Edge]:
    """Join traces as the connector does by default."""
    return edges(records, ("parent", "link", "tool_call_id", "mcp", "conversation", "history"), 60.0)


@pytest.fixture(scope="module")
def workshop() -> Workshop:
    """Return the stages before."""
    return Workshop()


@pytest.mark.parametrize("stack", STACKS)
def test_runs_are_what_happened(stack: str, workshop: Workshop) -> None:
    """Runs, agents, tools in order, calls, tokens and outcome; what is not told is listed with its reason."""
    found = {
        str(capture): {field for one in different.values() for field in one}
        for capture in packed(stack)
        if (different := differences(capture, workshop, stitch))
    }

    assert found == {name: set(fields) for name, fields in HIDDEN.items() if name.rpartition("/")[0] == stack}


@pytest.mark.parametrize(
    "stack", ["python/otel-genai-openai", "python/openllmetry-openai", "python/openinference-openai"]
)
def test_calls_without_a_parent_become_runs_by_their_history(stack: str, workshop: Workshop) -> None:
    """Client-only instrumentation: one trace a call, ten runs interleaved, three turns of a conversation."""
    seen = {}
    for capture in packed(stack):
        if capture.scenario in ("tools3", "conversation", "concurrent10", "parallel", "toolerror", "runaway12"):
            records = workshop.records(capture)
            told, left = compare(capture, records, runs_of(records, stitch))
            seen[capture.scenario] = ([len(one.runs) for one in told], left)

    assert seen == {scenario: ([1] * len(counts), []) for scenario, (counts, _) in seen.items()}
    assert {"tools3", "conversation", "parallel"} <= set(seen)

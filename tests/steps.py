"""Steps for tests, as a span would become them."""

from __future__ import annotations

from dataclasses import replace
from itertools import count
from typing import Any

from spanledger.conventions.reading import Cost
from spanledger.conventions.step import Step
from spanledger.conventions.usage import Usage

CALL = Step(
    trace_id=bytes(range(16)),
    span_id=bytes(range(8)),
    parent_span_id=b"",
    name="chat gpt-4o",
    start_ns=1_700_000_000_000_000_000,
    end_ns=1_700_000_001_500_000_000,
    service_name="trip",
    dialect="otel",
    kind="llm",
    operation="chat",
    status="ok",
    error_type="",
    agent_name="planner",
    provider="openai",
    model="gpt-4o",
    response_id="",
    tool_name="",
    tool_call_id="",
    workflow_name="",
    conversation_id="",
    user_id="",
    attempt=1,
    usage=Usage(input=100, output=20, cache_read=30, cache_write=10, reasoning=5),
    cost=Cost("priced", total=250_000_000),
    time_to_first_chunk_s=0.25,
    request_model="gpt-4o",
    response_model="gpt-4o-2024-08-06",
)
"""A call of 1.5 s for 0.00025 USD: 60 uncached input tokens, 15 output tokens without reasoning."""

TOOL = replace(
    CALL, kind="tool", operation="execute_tool", tool_name="search", usage=None, cost=None, time_to_first_chunk_s=None
)


_IDS = count(2**32)


def call(**changes: Any) -> Step:
    """Return `CALL` with other facts."""
    return replace(CALL, **changes)


def tool(**changes: Any) -> Step:
    """Return `TOOL` with other facts, and a span id that no other has."""
    return replace(TOOL, **{"span_id": next(_IDS).to_bytes(8, "big"), **changes})

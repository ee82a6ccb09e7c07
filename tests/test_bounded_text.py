"""Text that clients choose is cut before anything is remembered by it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from spanledger.conventions import emitters, providers
from spanledger.conventions.reading import Cost, Reading
from spanledger.conventions.step import MAX_CHARS, MAX_LINKS, make_bridge, make_step
from spanledger.processor.batch import Resource
from spanledger.processor.genai_pricing import report
from tests.fakes import span

LONG = "x" * 100_000


@pytest.mark.parametrize(
    ("ask", "memo"),
    [
        (providers.provider_of, providers._provider_of),
        (providers.provider_at, providers._provider_at),
        (providers.provider_of_model, providers._provider_of_model),
    ],
)
def test_names_too_long_to_mean_a_provider_are_not_remembered(ask: Callable[[str], str | None], memo: Any) -> None:
    """A thousand names of megabytes would fill the memory."""
    before = memo.cache_info().currsize

    assert ask(LONG) is None
    assert memo.cache_info().currsize == before


def test_instrumentations_are_remembered_by_the_start_of_their_names() -> None:
    """What follows tells nothing more."""
    misses = emitters._emitter_of.cache_info().misses
    for ending in "abc":
        emitters.emitter_of("pydantic-ai." + LONG + ending, LONG + ending, "openai")

    assert emitters._emitter_of.cache_info().misses == misses + 1


def test_step_keeps_short_texts() -> None:
    """The pages keep hundreds of steps, trajectories thousands."""
    names = dict.fromkeys(
        ("operation", "provider", "request_model", "response_model", "agent_name", "tool_name", "response_id",
         "tool_call_id", "workflow_name", "conversation_id", "user_id", "error_type"), LONG,
    )  # fmt: skip
    step = make_step(span(1, name=LONG), LONG, Reading("otel", "llm", **names))

    texts = [getattr(step, name) for name in (*names, "name", "service_name", "model")]
    assert {len(text) for text in texts} == {MAX_CHARS}


def test_bridge_keeps_a_short_name_and_few_links() -> None:
    """Whatever the span has."""
    message = span(1, name=LONG)
    for _ in range(200):
        message.links.add(trace_id=LONG.encode(), span_id=LONG.encode())
    bridge = make_bridge(message, LONG)

    assert (len(bridge.name), len(bridge.service_name), len(bridge.links)) == (MAX_CHARS, MAX_CHARS, MAX_LINKS)
    assert {(len(trace_id), len(span_id)) for trace_id, span_id in bridge.links} == {(16, 8)}


def test_ledger_is_told_short_texts() -> None:
    """It remembers calls by them."""
    call = report(Reading("otel", "llm", response_id=LONG), LONG, Resource({}, LONG), Cost("unpriced"), failed=False)

    assert {len(call.scope), len(call.service), len(call.response_id)} == {256}

"""Real captures through the connector: the same runs as from all spans at once, in whatever order they come."""

from __future__ import annotations

import random

import pytest

from spanledger.conventions.trajectory import build
from spanledger.processor.trajectory.edges import edges
from tests.assembled_runs import Bench, spans_of
from tests.corpus.captures import packed
from tests.corpus.trajectories import Workshop

STACKS = (
    "python/otel-genai-openai", "python/openinference-openai", "python/ms-agent-framework", "python/autogen-native",
    "python/google-adk",
)  # fmt: skip


@pytest.fixture(scope="module")
def workshop() -> Workshop:
    """Return the stages before."""
    return Workshop()


@pytest.mark.parametrize("stack", STACKS)
def test_the_connector_puts_together_what_belongs_together(stack: str, workshop: Workshop) -> None:
    """Requests of three spans, first in the order they came, then in any."""
    captures = list(packed(stack))
    assert captures
    for capture in captures:
        records = workshop.records(capture)
        at_once = build(records, links=edges(records, Bench().config.stitch, 60.0), completeness="complete")
        expected = sorted(
            sorted((step.trace_id, span) for step in run.steps for span in (step.span_id, *step.twins))
            for run in at_once
        )
        for seed in (None, 1):
            if seed is not None:
                random.Random(seed).shuffle(records)
            bench = Bench()
            for first in range(0, len(records), 3):
                bench.take(*records[first : first + 3])
            bench.wait(2000)

            assert sorted(spans_of([document]) for document in bench.final.values()) == expected, str(capture)

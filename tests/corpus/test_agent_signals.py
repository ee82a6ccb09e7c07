"""Coding agents as they were recorded: spans, log records and both say the same, and each call counts once."""

from __future__ import annotations

import pytest

from tests.coding_agents import play
from tests.corpus.agent_signals import BEGIN, DOCUMENT, STACKS, WAYS, captures, compare, reason, reasons, rows


@pytest.mark.parametrize("stack", STACKS)
def test_the_page_says_what_is_counted(stack: str) -> None:
    """The rows of docs/coding-agents.md, and no fact is missing without a reason."""
    page = DOCUMENT.read_text("utf-8").partition(BEGIN)[2]

    assert [row for row in rows(stack) if row not in page] == []
    assert [line for line in reasons() if line not in page] == []
    for way in WAYS:
        for name, (right, of) in compare(stack, way).items():
            assert (right < of) == (reason(stack, way, name) is not None), (way, name)


@pytest.mark.parametrize("stack", STACKS)
def test_both_signals_cost_what_the_richer_one_says(stack: str) -> None:
    """Whichever comes first."""
    for capture in captures(stack):
        costs = {way: play(WAYS[way](capture)).pico_usd for way in WAYS if way != "spans"}

        assert len(set(costs.values())) == 1, (str(capture), costs)

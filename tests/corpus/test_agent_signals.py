"""Coding agents as they were recorded: spans, log records and both say the same, and each call counts once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.coding_agents import play
from tests.corpus.agent_signals import (
    BEGIN,
    DOCUMENT,
    STACKS,
    WAYS,
    bare,
    captures,
    compare,
    reason,
    reasons,
    records,
    rows,
    seen,
    true,
)

if TYPE_CHECKING:
    from tests.corpus.captures import Capture


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


@pytest.mark.parametrize("capture", captures("js/gemini-cli"), ids=str)
def test_spans_that_say_little_add_nothing(capture: Capture) -> None:
    """The default of Gemini CLI: with `telemetry.traces` off its spans have neither model nor tokens nor tool."""
    for sent in ([*bare(capture), *records(capture)], [*records(capture), *bare(capture)]):
        assert seen(play(sent)) == true(capture)

"""However spans and log records arrive, the numbers are those of what happened."""

from __future__ import annotations

import pytest

from tests.coding_agents import Outcome, play
from tests.corpus.captures import Capture, packed
from tests.corpus.connected import recorded


def capture(stack: str, scenario: str) -> Capture:
    """Return a capture."""
    return next(one for one in packed(stack) if one.scenario == scenario)


def numbers(outcome: Outcome) -> tuple[object, ...]:
    """Return what must not depend on how it came."""
    runs = [(run["outcome"], run["totals"], len(run["steps"])) for run in outcome.runs]
    return outcome.calls, outcome.failed, outcome.tokens, outcome.pico_usd, outcome.tools, runs


@pytest.mark.parametrize(
    ("stack", "scenario"),
    [
        ("python/otel-botocore-bedrock", "tools3"),
        ("python/otel-openai-v2-legacy", "toolerror"),
        ("python/pydantic-ai-1x", "tools3-v1-logs"),
    ],
)
def test_requests_that_are_sent_again_change_nothing(stack: str, scenario: str) -> None:
    """Messages in log records among them: no id tells that one came before."""
    sent = recorded(capture(stack, scenario))
    once = numbers(play(sent))
    assert numbers(play([one for one in sent for _ in range(2)])) == once
    assert numbers(play([*sent, *sent])) == once

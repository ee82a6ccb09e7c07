"""What docs/loops.md says of precision and recall, on a cut of the runs it was measured on."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from bench.loops import PLANTS, VIEWS, Message, false_findings, is_found, load, planted
from spanledger.conventions.loops import LoopRules

RULES = LoopRules()
RUNS = load(Path(__file__).parent / "fixtures" / "loops" / "tau-bench-airline.json.xz")
GOOD: list[list[Message]] = [run["traj"] for run in RUNS if run["reward"] == 1]
OTHERS: list[list[Message]] = [run["traj"] for run in RUNS if run["reward"] != 1]

UNKNOWABLE = {
    "tool spans": frozenset[str](),
    "client only": frozenset({"near_repeat", "same_error"}),
    "no content": frozenset({"near_repeat", "no_progress", "output_repeat"}),
}
"""Rules that need results, or words, that are not there."""


@pytest.mark.parametrize("view", VIEWS)
def test_successful_runs_have_no_finding(view: str) -> None:
    """No false alarm at the defaults."""
    assert false_findings(GOOD, view, RULES) == []


def test_run_that_failed_in_a_circle_is_found() -> None:
    """It books, fails, thinks, and books the same again."""
    assert {(loop.rule, loop.subject) for _, loop in false_findings(OTHERS, "tool spans", RULES)} == {
        ("cycle", "book_reservation, think")
    }


@pytest.mark.parametrize("view", VIEWS)
def test_planted_loops_are_found(view: str) -> None:
    """All of twelve repeats, where the spans can tell; and nothing else in those runs."""
    for case in planted(GOOD[:8], random.Random(1)):
        found, elsewhere = is_found(case, view, RULES)
        assert elsewhere == 0
        if case.times == 12:
            assert found == (case.rule not in UNKNOWABLE[view]), case.rule


def test_every_rule_that_counts_is_planted() -> None:
    """Ceilings need a history."""
    assert set(PLANTS) == {
        "exact_repeat", "near_repeat", "cycle", "same_error", "no_progress", "output_repeat", "retry_storm",
    }  # fmt: skip

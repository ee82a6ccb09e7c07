"""The built-in evaluators on recorded traffic: what docs/evaluations.md says of it."""

from __future__ import annotations

import pytest

from spanledger.conventions.evaluator import PREFIX
from spanledger.conventions.run import Run
from spanledger.processor.trajectory.config import TrajectoryConfig
from spanledger.processor.trajectory.edges import edges
from tests.corpus.captures import STACKS, Capture, packed
from tests.corpus.trajectories import Workshop, groups

RECIPE = TrajectoryConfig().recipe()
REPEATS_ITSELF = "js/claude-agent-sdk/handoff"
"""Its helper looks up what its caller looks up, in spans that do not say which of the two it was."""
TOOL_FAILS = "js/codex-cli/handoff"
"""It calls a tool that Codex does not have, and is told so."""


@pytest.fixture(scope="module")
def workshop() -> Workshop:
    """Return the stages before."""
    return Workshop("metadata")


def captures(*scenarios: str) -> list[Capture]:
    """Return the captures whose scenario begins with one of these."""
    return [one for stack in STACKS for one in packed(stack) if one.scenario.startswith(scenarios)]


def runs_of(capture: Capture, workshop: Workshop) -> list[Run]:
    """Return the runs of a capture, judged."""
    records = workshop.records(capture)
    joined = edges(records, RECIPE.stitch, RECIPE.stitch_window_s)
    return [run for group in groups(records, joined) for run in RECIPE.runs(group, "complete")]


def said(run: Run, name: str) -> tuple[float | None, str | None] | None:
    """Return score and label of one evaluation; None where there is none."""
    found = (one.evaluation for one in run.evaluations if one.evaluation.name == PREFIX + name)
    return next(((one.score, one.label) for one in found), None)


def test_runaways_repeat_themselves(workshop: Workshop) -> None:
    """Wherever the calls say their arguments; though each of the calls succeeded."""
    found = {
        str(capture): (said(run, "redundant_calls"), said(run, "tool_success"))
        for capture in captures("runaway")
        for run in runs_of(capture, workshop)
    }
    judged = {name: verdict for name, (verdict, _) in found.items() if verdict is not None}
    assert len(judged) >= 20
    assert {label for _, label in judged.values()} == {"repeats"}
    assert max(score for score, _ in judged.values() if score is not None) <= 0.2
    assert {success for _, success in found.values()} <= {None, (1.0, "all_succeeded")}


def test_errors_that_were_overcome_and_errors_that_were_not(workshop: Workshop) -> None:
    """A tool that is called again and works, one that is given up, a model that cannot be reached."""
    for capture in captures("toolerror", "tool_throws", "err400", "err500"):
        for run in runs_of(capture, workshop):
            overcome, success, goal = (
                said(run, name) for name in ("recovery_after_errors", "tool_success", "goal_signal")
            )
            if success is not None and success[1] == "some_failed":
                assert overcome == (1.0, "recovered"), capture
                assert goal in (None, (1.0, "answered"), (1.0, "explicit_success")), capture
            elif success is not None and success[1] == "all_failed":
                assert overcome == (0.0, "not_recovered"), capture
            elif capture.scenario.startswith("err"):
                assert overcome in (None, (0.0, "not_recovered")), capture
                assert goal in (None, (0.0, "error"), (0.0, "explicit_failure")), capture


def test_honest_runs_are_called_honest(workshop: Workshop) -> None:
    """Tools in turn and at once, several agents, conversations, streams."""
    for capture in captures("tools3", "tool_loop", "handoff", "multi", "parallel", "conversation", "stream"):
        for run in runs_of(capture, workshop):
            if str(capture) != TOOL_FAILS:
                assert said(run, "tool_success") in (None, (1.0, "all_succeeded")), capture
                assert said(run, "recovery_after_errors") is None, capture
            assert said(run, "goal_signal") in (None, (1.0, "answered"), (1.0, "explicit_success")), capture
            if str(capture) != REPEATS_ITSELF:
                assert said(run, "redundant_calls") in (None, (1.0, "no_repeats")), capture

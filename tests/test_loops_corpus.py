"""The loop rules on recorded traffic: each runaway is found, and nothing on any other capture."""

from __future__ import annotations

import pytest

from spanledger.conventions.loops import Loop, LoopRules, find
from spanledger.conventions.step import Step
from tests.corpus.captures import STACKS, Capture, packed
from tests.corpus.trajectories import Workshop, groups

RULES = LoopRules()
SHORT = frozenset({"python/openinference-crewai", "python/semantic-kernel", "js/openai-agents-openinference"})
"""Stacks that stop their runaway before the tenth call: too few where only names are seen."""
FIRST = {"content": 3, "arguments": 5, "names": 10}
"""Basis -> calls until the first finding."""


@pytest.fixture(scope="module")
def workshop() -> Workshop:
    """Return the stages before, with digests of content."""
    return Workshop("metadata")


@pytest.fixture(scope="module")
def contentless() -> Workshop:
    """Return the same with `content: none`."""
    return Workshop("none")


def captures(runaway: bool, stacks: tuple[str, ...] = STACKS) -> list[Capture]:
    """Return the captures that are runaways, or those that are not."""
    return [capture for stack in stacks for capture in packed(stack) if ("runaway" in capture.scenario) == runaway]


def steps_of(capture: Capture, workshop: Workshop) -> list[list[Step]]:
    """Return the steps of a capture as one run, which is harder than it is, but for runs at the same time."""
    records = workshop.records(capture)
    parts = list(groups(records, ())) if "concurrent" in capture.scenario else [records]
    return [[record for record in part if isinstance(record, Step)] for part in parts]


@pytest.mark.parametrize("capture", captures(runaway=True), ids=str)
def test_runaways_are_found_early(capture: Capture, workshop: Workshop) -> None:
    """When the result of the third call is seen, and in a finding that covers all of them at the end."""
    [steps] = steps_of(capture, workshop)
    first = first_found(steps)
    assert first is not None
    # What comes of a call that no span tells of is in the next request.
    asked = all(step.kind == "llm" for step in steps if (step.trace_id, step.span_id) in first.spans)
    assert (first.rule, first.count - (asked and first.basis == "content")) == ("exact_repeat", FIRST[first.basis])
    [loop] = find(steps, RULES)
    calls = [step for step in steps if step.kind in ("tool", "llm") and step.status == "ok"]
    assert loop.count >= 5
    assert set(loop.spans) <= {(step.trace_id, step.span_id) for step in calls}
    # VoltAgent tells of all calls of an agent as one, the last: none of its cost is the loop's.
    if sum(step.cost is not None and bool(step.cost.total) for step in calls) > 1:
        assert loop.wasted_pico_usd
        assert loop.wasted_tokens


@pytest.mark.parametrize("capture", captures(runaway=True), ids=str)
def test_runaways_are_found_by_names(capture: Capture, contentless: Workshop) -> None:
    """At the tenth call where no content may be looked at."""
    [steps] = steps_of(capture, contentless)
    first = first_found(steps)
    if capture.stack in SHORT:
        assert first is None
    else:
        assert first is not None
        assert (first.basis, first.count) == ("names", 10)


@pytest.mark.parametrize("stack", STACKS)
def test_nothing_is_found_on_honest_runs(stack: str, workshop: Workshop, contentless: Workshop) -> None:
    """Whatever is in them: errors, retries, several agents, conversations, parallel tools."""
    for capture in captures(runaway=False, stacks=(stack,)):
        for shop in (workshop, contentless):
            for steps in steps_of(capture, shop):
                assert find(steps, RULES) == (), capture


def first_found(steps: list[Step]) -> Loop | None:
    """Return what is told first when spans come as they end."""
    ordered = sorted(steps, key=lambda step: step.end_ns)
    return next((loop for end in range(len(ordered)) for loop in find(ordered[: end + 1], RULES)), None)

"""The same findings in any order, and never an exception."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from spanledger.conventions.detail import Detail, Print, ToolRequest
from spanledger.conventions.loops import LoopRules, find
from spanledger.conventions.loops.rules import WINDOW
from spanledger.conventions.loops.timeline import looked_at
from spanledger.conventions.reading import Cost
from spanledger.conventions.step import Step
from spanledger.conventions.usage import Usage
from tests.steps import CALL

SMALL = st.integers(0, 3)
PRINTS = st.none() | st.builds(
    lambda n, size: Print(n, frozenset({n, n + 1, 9}), size), SMALL, st.sampled_from([3, 90])
)
DETAILS = st.none() | st.builds(
    Detail,
    requests=st.lists(st.builds(ToolRequest, st.sampled_from(["", "a", "b"]), st.sampled_from("xy"), SMALL)).map(tuple),
    history=st.lists(SMALL, max_size=4).map(tuple),
    after=st.none() | SMALL,
    asks_user=st.booleans(),
    arguments=PRINTS,
    result=PRINTS,
    output=PRINTS,
)
RULES = LoopRules(exact_repeat=2, near_repeat=2, cycle_rounds=2, same_error=2, no_progress=2, output_repeat=2,
                  retry_storm=2, names_repeat=3, unseen_extra=1, similarity=0.5, max_steps=5, max_depth=1)  # fmt: skip


@st.composite
def runs(draw: st.DrawFn, max_size: int = 24) -> list[Step]:
    """Return the steps of a run: short, full of repeats, in any order and with any times."""
    shapes = draw(st.lists(st.fixed_dictionaries({
        "kind": st.sampled_from(["tool", "llm", "agent", "retrieval"]),
        "tool_name": st.sampled_from(["x", "y", "wait"]),
        "start_ns": st.integers(0, 60), "length": st.integers(0, 4),
        "status": st.sampled_from(["ok", "ok", "error"]),
        "response_id": st.sampled_from(["", "", "r"]),
        "parent": st.integers(0, 6),
        "detail": DETAILS,
    }), max_size=max_size))  # fmt: skip
    return [_step(number, shape) for number, shape in enumerate(shapes)]


def _step(number: int, shape: dict[str, Any]) -> Step:
    return replace(
        CALL, span_id=(number + 1).to_bytes(8, "big"), parent_span_id=shape["parent"].to_bytes(8, "big"),
        kind=shape["kind"], tool_name=shape["tool_name"], start_ns=shape["start_ns"] * 10**9,
        end_ns=(shape["start_ns"] + shape["length"]) * 10**9, status=shape["status"],
        error_type="E" if shape["status"] == "error" else "", response_id=shape["response_id"],
        detail=shape["detail"], usage=Usage(10, 5), cost=Cost("priced", total=7),
    )  # fmt: skip


@given(runs(), st.randoms(use_true_random=False))
def test_order_and_duplicates_do_not_matter(steps: list[Step], random: Any) -> None:
    """Findings are a function of the set of steps."""
    shuffled = steps + steps[::2]
    random.shuffle(shuffled)
    assert find(shuffled, RULES) == find(steps, RULES)


@settings(max_examples=20)
@given(runs(max_size=12), st.integers(1, 50), st.randoms(use_true_random=False))
def test_only_the_last_steps_are_looked_at(steps: list[Step], times: int, random: Any) -> None:
    """Whatever the order in which they came."""
    long = [
        replace(step, span_id=number.to_bytes(4, "big") + step.span_id[4:], start_ns=step.start_ns + number * 10**11,
                end_ns=step.end_ns + number * 10**11)
        for number in range(times)
        for step in steps
    ]  # fmt: skip
    last = looked_at(long)[-WINDOW:]
    random.shuffle(long)
    assert find(long, RULES) == find(last, RULES)


@given(runs())
def test_findings_are_about_steps_of_the_run(steps: list[Step]) -> None:
    """Each has steps that exist, a fingerprint of its own, and no more waste than was spent."""
    loops = find(steps, RULES)
    spans = {(step.trace_id, step.span_id) for step in steps}
    assert len({loop.fingerprint for loop in loops}) == len(loops)
    for loop in loops:
        assert loop.spans
        assert spans.issuperset(loop.spans)
        assert (loop.wasted_tokens or 0) <= 15 * sum(step.kind == "llm" for step in steps)
        assert loop.count >= 2 or loop.kind == "ceiling"

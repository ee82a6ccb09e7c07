"""Traces that no tracer should send, and some do: every span is in one run, once, whatever the order they come in."""

from __future__ import annotations

import random

import pytest

from spanledger.conventions.usage import Usage
from spanledger.processor.trajectory.config import TrajectoryConfig
from spanledger.processor.trajectory.records import Record, key_of
from tests.assembled_runs import START_NS, Bench, agent, bridge, says, span_id, spans_of, step, tool, trace

_LAST_NS = 2**64 - 1
_ITSELF = (trace(1), span_id(1))


def _turn(number: int) -> int:
    return START_NS + number * 10**10


ODD: dict[str, tuple[list[Record], int]] = {
    "parents in a circle": ([agent(1, 3), tool(2, 1), agent(3, 2, agent_name="b"), step(4, 3)], 1),
    "each its own parent": ([agent(1, 1), step(2, 2, start_ns=START_NS + 1), step(3, 1)], 2),
    "calls below each other": ([step(1, 2), step(2, 1, usage=Usage(7, 1))], 1),
    "links to itself": ([says(agent(1), links=(_ITSELF, _ITSELF)), says(step(2, 1), links=(_ITSELF,))], 1),
    "times of 0": ([one(n, p, start_ns=0, end_ns=0) for one, n, p in ((step, 2, 1), (tool, 3, 1), (agent, 1, 0))], 1),
    "times at the end of all": (
        [step(2, 1, start_ns=_LAST_NS - 1, end_ns=_LAST_NS), agent(1, start_ns=_LAST_NS - 5, end_ns=_LAST_NS)], 1,
    ),
    "ends before it begins": ([step(2, 1, end_ns=START_NS - 9), tool(3, 1, end_ns=1), agent(1, end_ns=2)], 1),
    "clocks a day apart": (
        [step(2, 1, start_ns=START_NS - 86_400 * 10**9, end_ns=START_NS, service_name="far"), step(3, 1), agent(1)], 1,
    ),
    "the root never comes": ([step(number, 1) for number in range(2, 9)], 1),
    "a span's id in two traces": ([step(2, 1), agent(1), step(2, 1, 2), agent(1, 0, 2)], 2),
    "agents two hundred deep": (
        [*(agent(n, n - 1, agent_name=f"a{n}", spans=500 - 2 * n) for n in range(1, 201)), step(201, 200)], 1,
    ),
    "a thousand bridges above": ([*(bridge(n, n - 1) for n in range(2, 1_001)), step(1_001, 1_000)], 1),
    "one conversation in two hundred traces": (
        [one for n in range(1, 201) for one in (
            step(2, 1, n, conversation_id="c"), agent(1, 0, n, conversation_id="c"),
        )], 200,
    ),
    "links in a ring": (
        [says(agent(1, 0, n, start_ns=_turn(n), end_ns=_turn(n) + 10**9), links=((trace(n % 30 + 1), span_id(1)),))
         for n in range(1, 31)] + [step(2, 1, n, start_ns=_turn(n), end_ns=_turn(n) + 1) for n in range(1, 31)], 30,
    ),
}  # fmt: skip


@pytest.mark.parametrize("size", [1, 3, 1_000], ids=["one by one", "threes", "at once"])
@pytest.mark.parametrize("what", ODD)
def test_every_span_is_in_one_run(what: str, size: int) -> None:
    """The same runs in any order and any pieces, and no fault of ours."""
    spans, runs = ODD[what]
    mixed = list(spans)
    random.Random(what).shuffle(mixed)
    for order in (spans, spans[::-1], mixed):
        bench = Bench(TrajectoryConfig.model_validate({"evaluators": []}))
        for first in range(0, len(order), size):
            bench.take(*order[first : first + size])
        bench.wait(4_000)

        expected = sorted((key_of(one)[:16].hex(), one.span_id.hex()) for one in order if hasattr(one, "usage"))
        assert spans_of(bench.documents) == expected
        assert len(bench.documents) == runs
        calls = sum(one.kind == "llm" for one in order)
        assert sum(one["totals"]["llm_calls"] for one in bench.documents) == calls
        assert bench.count("spanledger_trajectory_faults_total") == 0


def test_a_root_that_comes_again_with_other_data_revises_its_run() -> None:
    """The report that ended later counts, and the run stays one."""
    bench = Bench()
    bench.take(step(2, 1), agent(1))
    bench.wait(20)
    bench.take(agent(1, agent_name="other", status="error", end_ns=START_NS + 900 * 10**9))
    bench.wait(20)

    (last,) = bench.final.values()
    assert [one["revision"] for one in bench.documents] == [1, 2]
    assert (last["agent_name"], last["outcome"], last["totals"]["llm_calls"]) == ("other", "failure", 1)

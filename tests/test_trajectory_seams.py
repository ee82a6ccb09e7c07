"""The same conversation again and again, word for word and id for id: each is a run, and is forgotten when over."""

from __future__ import annotations

import gc
from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spanledger.conventions.detail import Detail, ToolRequest
from spanledger.conventions.step import Step
from spanledger.processor.trajectory.config import TrajectoryConfig
from spanledger.processor.trajectory.group import Group
from spanledger.processor.trajectory.seams import MAX_ENDS, Seams
from tests.assembled_runs import START_NS, Bench, says, span_id, step, tool, trace

SECOND = 10**9

Conversation = Callable[[int, float], list[Step]]
"""The spans of one, by its number and when it began."""


def talk(number: int, at_s: float) -> list[Step]:
    """Return three calls, each in a trace of its own, known only by what is said in them."""
    calls = [
        says(step(1, 0, 10 * number + 1), history=(1,), after=2, asks_user=True),
        says(step(2, 0, 10 * number + 2), history=(1, 2, 3), after=4),
        says(step(3, 0, 10 * number + 3), history=(1, 2, 3, 4, 5), after=6),
    ]
    return later(calls, at_s)


def errand(number: int, at_s: float) -> list[Step]:
    """Return two calls with a tool between, in traces of their own, with the ids that a cache gives out again."""
    asks = says(
        step(1, 0, 10 * number + 1, response_id="response-1"),
        requests=(ToolRequest("call_abcdef", "search", None),), history=(1,), after=2, asks_user=True,
    )  # fmt: skip
    reads = step(3, 0, 10 * number + 3, response_id="response-2")
    return later(
        [
            asks,
            tool(2, 0, 10 * number + 2, tool_call_id="call_abcdef"),
            says(reads, answered=("call_abcdef",), history=(1, 2, 3), after=4),
        ],
        at_s,
    )


def later(spans: list[Step], at_s: float) -> list[Step]:
    """Return spans as if they had begun later."""
    by_ns = int(at_s * SECOND)
    return [replace(one, start_ns=one.start_ns + by_ns, end_ns=one.end_ns + by_ns) for one in spans]


def sizes(bench: Bench) -> list[int]:
    """Return how many traces each run has."""
    return sorted(len(document["trace_ids"]) for document in bench.final.values())


@pytest.mark.parametrize("conversation", [talk, errand])
@settings(max_examples=20, deadline=None)
@given(data=st.data(), at=st.integers(1, 6).map(lambda count: [0.0] * count) | st.sampled_from([[0, 0.7], [0, 10]]))
def test_identical_conversations_are_a_run_each_in_any_order(
    conversation: Conversation, data: st.DataObject, at: list[float]
) -> None:
    """Any number at once, or one after another, in whatever order their spans come."""
    spans = [one for number, at_s in enumerate(at) for one in conversation(number, at_s)]
    bench = Bench()
    for one in data.draw(st.permutations(spans)):
        bench.take(one)
    bench.wait(2_000)

    assert sizes(bench) == [3] * len(at)


@pytest.mark.parametrize("conversation", [talk, errand])
@pytest.mark.parametrize("apart_s", [0.0, 0.4, 1.7, 30.0])
def test_identical_conversations_are_told_and_forgotten_like_any_others(
    conversation: Conversation, apart_s: float
) -> None:
    """For long: no group grows, nothing is revised, and the indexes hold what lives."""
    config = {"settle": "5s", "late": {"remember": "20s"}}
    bench = Bench(TrajectoryConfig.model_validate(config))
    coming = sorted(
        (one for number in range(60) for one in conversation(number, number * apart_s)), key=lambda one: one.end_ns
    )
    largest = 0
    for one in coming:
        bench.wait(max(0.0, (one.end_ns - START_NS) / SECOND - bench.clock.now_s))
        bench.take(one)
        groups, _ = bench.assembly.store.everything()
        largest = max(largest, *map(len, groups))
    bench.wait(10)
    bench.wait(30)
    statistics = bench.assembly.store.statistics()

    assert sizes(bench) == [3] * 60
    assert largest == 3
    assert {document["revision"] for document in bench.documents} == {1}
    assert statistics["open"] == statistics["closed"] == 0
    assert statistics["history"] + statistics["tool_calls"] <= 4 * 1024


def test_conversation_that_was_cut_off_is_not_gone_on_with_by_the_next_of_its_kind() -> None:
    """Each step goes on from what was said last."""
    bench = Bench()
    bench.take(*talk(1, 0)[:1])
    bench.take(*talk(2, 10))
    bench.take(*talk(3, 20))
    bench.wait(1_000)

    assert sorted(document["trace_ids"] for document in bench.final.values()) == [
        sorted({one.trace_id.hex() for one in spans}) for spans in (talk(1, 0)[:1], talk(2, 0), talk(3, 0))
    ]


def test_attempt_that_failed_leaves_its_place_to_the_next() -> None:
    """In each of several conversations alike."""
    bench = Bench()
    for number in range(3):
        first, second, third = talk(number, 10 * number)
        failed = replace(
            second, span_id=span_id(9), trace_id=trace(10 * number + 9), status="error", error_type="overloaded",
            start_ns=first.end_ns, end_ns=first.end_ns + 10**8, detail=Detail(history=(1, 2, 3)),
        )  # fmt: skip
        bench.take(first, failed, second, third)
    bench.wait(1_000)

    assert sizes(bench) == [4, 4, 4]


def test_work_forks_where_only_one_leads_to_it() -> None:
    """Two calls side by side that were given the same."""
    bench = Bench()
    first, second, third = talk(1, 0)
    bench.take(first, second, replace(second, trace_id=trace(99), span_id=span_id(99)), third)
    bench.wait(1_000)

    assert sizes(bench) == [4]


def test_request_told_by_the_span_around_its_tool_is_not_that_of_another_trace() -> None:
    """The tool comes first, and a request with its id is known already."""
    bench = Bench()
    for number in range(1, 4):
        bench.take(*later([tool(2, 1, number, tool_call_id="call_abcdef")], 20 * number))
        asks = step(1, 0, number, end_ns=START_NS + 9 * SECOND)
        bench.take(*later([says(asks, requests=(ToolRequest("call_abcdef", "search", None),))], 20 * number))
        bench.wait(1)
    groups, _ = bench.assembly.store.everything()

    assert [len(group) for group in groups] == [2, 2, 2]


def test_report_of_another_instrumentation_is_that_of_its_own_time() -> None:
    """A response that was given again, from a cache, is another call."""
    bench = Bench()
    for number in range(3):
        one = step(1, 0, 10 * number + 1, response_id="response-1", dialect="otel")
        bench.take(*later([one, replace(one, trace_id=trace(10 * number + 2), dialect="vendor")], 0.2 * number))
    groups, _ = bench.assembly.store.everything()

    assert [len(group) for group in groups] == [2, 2, 2]


def test_seams_hold_no_more_than_their_limit() -> None:
    """Whatever comes: one key for ever, or ever new ones, of groups that all live."""
    one_key = Seams(2_000)
    many = Seams(2_000)
    for number in range(20_000):
        group = Group(number, 0.0, 0.0, (trace(number),))
        one = later([step(1, 0, number)], number)[0]
        for seams, key in ((one_key, 7), (many, number)):
            seams.follow((key,), one, group)
            seams.lead(key, one, group)
            assert len(seams) <= 2_001  # what came last is held anyway

    seam = one_key._seams[hash(7)]
    assert len(seam.leads) <= MAX_ENDS
    assert len(seam.waiting) <= MAX_ENDS
    assert len(many._seams) <= 2_000


def test_what_nobody_disputes_costs_two_objects() -> None:
    """One leads to a key and one goes on from it: a million open runs have several of these each."""
    seams, group, count = Seams(10_000), Group(1, 0.0, 0.0, (trace(1),)), 1_000
    one = step(1, 0, 1)
    gc.collect()
    before = len(gc.get_objects())
    for key in range(count):
        seams.lead(key, one, group)
        seams.follow((key,), one, group)

    assert len(gc.get_objects()) - before <= 2 * count + 50
    assert len(seams) == 2 * count

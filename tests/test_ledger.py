"""The ledger: every billed call once, in whatever way and order it is reported."""

from __future__ import annotations

import itertools
from dataclasses import replace
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from spanledger.conventions.ledger import COUNTED, Call, Decision, Ledger, Place
from spanledger.processor.batch import finish

LEAF = Call(
    inference=True, scope="sdk", service="trip", response_id="", family="gpt-4o", input=1000, output=100, pico_usd=7
)
AGENT = replace(LEAF, inference=False, scope="framework", family="")


def place(number: int, parent: int = 0, call: Call | None = None, trace: int = 1) -> Place:
    """Return a span; a higher number lies strictly inside a lower one."""
    return Place(
        trace.to_bytes(16, "big"), number.to_bytes(8, "big"), parent.to_bytes(8, "big") if parent else b"",
        1000 + number, 9000 - number, call,
    )  # fmt: skip


def settle(ledger: Ledger, *places: Place, now: float = 0.0) -> list[Decision]:
    """Settle one request."""
    return finish(ledger.settle(places, now))


def verdicts(*places: Place) -> list[str]:
    """Settle one request with a new ledger."""
    return [decision.verdict for decision in settle(Ledger(), *places)]


def test_a_wrapper_of_one_call_does_not_count() -> None:
    """Framework span over SDK span, with a plain span between, in any order within the request."""
    wrapper, bridge, leaf = place(1, 0, replace(LEAF, scope="framework")), place(2, 1), place(3, 2, LEAF)
    for order in itertools.permutations((wrapper, bridge, leaf)):
        found = dict(zip(order, verdicts(*order), strict=True))
        assert (found[wrapper], found[bridge], found[leaf]) == ("wraps", "none", "counts")


def test_a_wrapper_of_several_calls_does_not_count() -> None:
    """Its tokens are their sum, give or take one per cent; or those of the last."""
    leaves = [place(2, 1, LEAF), place(3, 1, replace(LEAF, input=500))]
    assert verdicts(place(1, 0, replace(LEAF, input=1510, output=200)), *leaves)[0] == "wraps"
    assert verdicts(place(1, 0, replace(LEAF, input=500)), *leaves)[0] == "wraps"
    assert verdicts(place(1, 0, replace(LEAF, input=1600, output=200)), *leaves)[0] == "counts"
    assert verdicts(place(1, 0, replace(LEAF, family="claude", input=1500, output=200)), *leaves)[0] == "counts"


def test_a_generation_of_its_own_counts_beside_the_calls_below() -> None:
    """An agent as a tool: the outer model call and the inner one are two bills."""
    assert verdicts(place(1, 0, replace(LEAF, input=3000, output=50)), place(2, 1), place(3, 2, LEAF)) == [
        "counts", "none", "counts",
    ]  # fmt: skip


def test_a_rollup_counts_only_without_calls_below() -> None:
    """Claude Agent SDK: only the agent's span has tokens."""
    assert verdicts(place(1, 0, AGENT)) == ["only_copy"]
    assert verdicts(place(1, 0, AGENT), place(2, 1, AGENT)) == ["wraps", "only_copy"]
    assert verdicts(place(1, 0, AGENT), place(2, 1), place(3, 2, LEAF)) == ["wraps", "none", "counts"]


def test_calls_without_a_price_do_not_hide_a_price_above_them() -> None:
    """A deployment's name has no price; the wrapper names the model and is priced."""
    nameless = replace(LEAF, pico_usd=None)
    assert verdicts(place(1, 0, LEAF), place(2, 1, nameless)) == ["leaf_unpriced", "counts"]
    assert verdicts(place(1, 0, nameless), place(2, 1, nameless)) == ["wraps", "counts"]
    assert verdicts(place(1, 0, replace(AGENT, pico_usd=None)), place(2, 1, nameless)) == ["wraps", "counts"]


def test_sums_are_handed_up_across_requests() -> None:
    """Children come first, their parents later, each in a request of its own."""
    ledger = Ledger()
    settle(ledger, place(4, 3, LEAF))
    settle(ledger, place(5, 3, replace(LEAF, input=400)))
    settle(ledger, place(3, 2))
    settle(ledger, place(2, 1))
    (agent,) = settle(ledger, place(1, 0, replace(AGENT, input=1400, output=200)))
    assert agent == Decision("wraps", below_pico_usd=14, below_calls=2)


def test_a_late_call_is_in_the_span_that_was_counted_with_it() -> None:
    """Parents first: what the parent was counted with is not counted again, what exceeds it is."""
    ledger = Ledger()
    assert settle(ledger, place(1, 0, replace(AGENT, input=1500, output=150)))[0].verdict == "only_copy"
    assert settle(ledger, place(2, 1, LEAF))[0].verdict == "in_parent"
    assert settle(ledger, place(3, 1, LEAF))[0].verdict == "counts"
    assert ledger.late_children == 2


def test_two_instrumentations_of_one_call_are_twins() -> None:
    """The same response id, in another trace too; the richer report is settled first."""
    one = place(1, 0, replace(LEAF, response_id="msg_1", detail=1), trace=1)
    two = place(1, 0, replace(LEAF, response_id="msg_1", detail=3, scope="native", input=999), trace=2)
    assert verdicts(one, two) == ["twin", "counts"]
    ledger = Ledger()
    assert settle(ledger, one)[0].verdict == "counts"
    assert settle(ledger, two)[0].verdict == "twin"


def test_an_id_that_comes_again_later_is_another_call() -> None:
    """Ollama has a thousand ids: another instrumentation that says one of them later speaks of its own call."""
    first = replace(LEAF, response_id="chatcmpl-7")
    later = replace(place(2, 0, replace(first, scope="other", input=900), 2), start_ns=10_000, end_ns=11_000)

    assert verdicts(place(1, 0, first), later) == ["counts", "counts"]


def test_a_call_that_tells_no_tokens_counts_once() -> None:
    """It failed, or was a stream: a wrapper of it is a wrapper, and so is one that alone tells nothing."""
    failed = replace(LEAF, input=0, output=0, pico_usd=None, failed=True)
    silent = replace(failed, failed=False)
    framework = replace(failed, scope="framework")
    assert verdicts(place(1, 0, framework), place(2, 1, failed)) == ["wraps", "counts"]
    assert verdicts(place(1, 0, replace(silent, scope="framework")), place(2, 1, LEAF)) == ["wraps", "counts"]
    assert verdicts(place(1, 0, failed), place(2, 0, failed)) == ["counts", "counts"]
    assert verdicts(place(1, 0, framework), place(2, 0, failed, trace=2)) == ["counts", "twin"]
    assert verdicts(place(1, 0, silent), place(2, 0, replace(silent, scope="framework"), trace=2)) == ["counts"] * 2


def test_a_failed_call_does_not_hide_the_tokens_of_its_agent() -> None:
    """Nor is it counted in them: it has none, and is a failure to be seen."""
    failed = replace(LEAF, input=0, output=0, pico_usd=None, failed=True)
    assert verdicts(place(1, 0, AGENT), place(2, 1, failed)) == ["only_copy", "counts"]
    ledger = Ledger()
    assert [settle(ledger, one)[0].verdict for one in (place(1, 0, AGENT), place(2, 1, failed))] == [
        "only_copy", "counts",
    ]  # fmt: skip


def test_twins_without_ids_are_known_by_tokens_and_time() -> None:
    """Another instrumentation, the same tokens, one strictly inside the other; one twin for each instrumentation."""
    outer, inner = place(1, 0, LEAF, trace=1), place(2, 0, replace(LEAF, scope="native"), trace=2)
    assert sorted(verdicts(outer, inner)) == ["counts", "twin"]
    assert verdicts(outer, place(2, 0, LEAF, trace=2)) == ["counts", "counts"]
    apart = replace(inner, start_ns=20_000, end_ns=21_000)
    assert verdicts(outer, apart) == ["counts", "counts"]
    again = place(3, 0, replace(LEAF, scope="native"), trace=3)
    assert sorted(verdicts(outer, inner, again)) == ["counts", "counts", "twin"]


def test_one_instrumentation_repeating_an_id_speaks_of_several_calls() -> None:
    """A test server that always answers with one id must not hide spend in other traces."""
    call = replace(LEAF, response_id="chatcmpl-123")
    assert verdicts(place(1, 0, call, trace=1), place(1, 0, call, trace=2)) == ["counts", "counts"]
    one, two = place(1, 0, call), replace(place(2, 0, replace(call, input=5)), start_ns=20_000, end_ns=20_001)
    assert verdicts(one, two) == ["counts", "counts"]


def test_attempts_that_were_billed_are_spend() -> None:
    """Two attempts under a span without tokens."""
    first = place(2, 1, replace(LEAF, response_id="a"))
    assert verdicts(place(1), first, place(3, 1, replace(LEAF, response_id="b"))) == ["none", "counts", "counts"]


def test_a_span_sent_again_is_repeated_only_once_it_was_acknowledged() -> None:
    """A refused request comes again and gets the same decisions; a duplicate export is marked."""
    ledger = Ledger()
    spans = [place(2, 1, LEAF), place(1, 0, AGENT)]
    first = settle(ledger, *spans)
    assert first == settle(ledger, *spans)
    ledger.acknowledge(spans)
    again = settle(ledger, *spans)
    assert [replace(decision, repeated=True) for decision in first] == again
    assert [decision.repeated for decision in settle(Ledger(), spans[0], spans[0])] == [False, True]


def test_memory_is_bounded_by_number_and_age() -> None:
    """Old spans are forgotten, and many push out the oldest."""
    ledger = Ledger(max_spans=100, max_age_s=60)
    for number in range(1, 400):
        settle(ledger, place(number, 0, replace(LEAF, response_id=f"r{number}", input=number), trace=number))
    sizes = ledger.statistics()
    assert max(sizes["spans"], sizes["responses"], sizes["shapes"]) <= 100
    settle(ledger, place(1, trace=9999), now=1000.0)
    assert ledger.statistics()["spans"] == 0


def test_hostile_trees_end() -> None:
    """Circles, spans that are their own parent, and very deep chains."""
    assert verdicts(place(1, 1, LEAF)) == ["counts"]
    assert len(verdicts(place(1, 2, LEAF), place(2, 1, replace(LEAF, input=5)))) == 2
    chain = [place(number, number - 1) for number in range(1, 3000)]
    decisions = settle(Ledger(), *chain, place(3000, 2999, LEAF))
    assert decisions[-1].verdict == "counts"
    assert decisions[0].below_calls == 1


@st.composite
def trees(draw: st.DrawFn) -> list[Place]:
    """Return a run: an agent over model calls, each perhaps wrapped, with plain spans between."""
    spans = [place(1)]
    numbers = itertools.count(2)
    total = [0, 0]
    for index in range(draw(st.integers(1, 6))):
        call = replace(
            LEAF, input=draw(st.integers(50, 10**6)), output=draw(st.integers(1, 10**5)), response_id=f"r{index}"
        )
        parent = 1
        for _ in range(draw(st.integers(0, 3))):
            number = next(numbers)
            wraps = draw(st.booleans())
            spans.append(place(number, parent, replace(call, scope=f"wrapper{number}") if wraps else None))
            parent = number
        spans.append(place(next(numbers), parent, call))
        total[0] += call.input
        total[1] += call.output
    spans[0] = replace(spans[0], call=replace(AGENT, input=total[0], output=total[1]))
    return spans


@given(trees(), st.randoms(use_true_random=False))
def test_each_call_counts_once_in_any_order_within_a_request(spans: list[Place], random: Random) -> None:
    """Leaves count, wrappers and the agent do not."""
    shuffled = list(spans)
    random.shuffle(shuffled)
    for span, decision in zip(shuffled, settle(Ledger(), *shuffled), strict=True):
        if span.call is not None:
            assert (decision.verdict in COUNTED) == (span.call.scope == "sdk")


@given(trees(), st.randoms(use_true_random=False), st.booleans())
def test_tokens_count_once_however_the_spans_arrive(spans: list[Place], random: Random, parents_first: bool) -> None:
    """One span a request, all children before their parents or all after: the tokens are counted once."""
    arriving: list[Place] = []
    waiting = list(spans)
    while waiting:
        left = {span.span_id for span in waiting}
        busy = {span.parent_id for span in waiting}
        ready = [
            span for span in waiting if (span.parent_id not in left if parents_first else span.span_id not in busy)
        ]
        arriving.append(random.choice(ready))
        waiting.remove(arriving[-1])
    ledger, counted = Ledger(), 0
    for span in arriving:
        (decision,) = settle(ledger, span)
        if decision.verdict in COUNTED and span.call is not None:
            counted += span.call.input
    assert spans[0].call is not None
    assert counted == spans[0].call.input


def test_a_deployment_name_and_the_model_behind_it_are_one_call() -> None:
    """The framework knows the deployment, the SDK's span the model that answered too."""
    inner = Call(True, "sdk", family="gpt-4o", asked="my-deployment", input=1000, output=100, pico_usd=5)
    outer = Call(True, "framework", family="my-deployment", input=1000, output=100)
    places = [
        Place(b"t" * 16, b"outer" + bytes(3), b"", 1, 10, outer),
        Place(b"t" * 16, b"inner" + bytes(3), b"outer" + bytes(3), 2, 9, inner),
    ]

    decisions = finish(Ledger().settle(places, 0.0))

    assert [decision.verdict for decision in decisions] == ["wraps", "counts"]

"""The ledger: every billed call once, in whatever way and order it is reported."""

from __future__ import annotations

import itertools
from dataclasses import replace
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spanledger.conventions.call import Call, Place
from spanledger.conventions.ledger import MONEY, TOKENS, Bill, Excess, Report
from spanledger.conventions.same_call import Knows
from spanledger.processor.accounts import MAX_TRACE_SPANS, Accounts

LEAF = Call(
    inference=True, scope="sdk", response_id="", family="gpt-4o", input=1000, output=100, pico_usd=7, pico_input=5,
    pico_output=2,
)  # fmt: skip
AGENT = replace(LEAF, inference=False, scope="framework", family="", pico_usd=9)
SILENT = replace(LEAF, input=0, output=0, pico_usd=None, pico_input=None, pico_output=None)
FAILED = replace(SILENT, failed=True)


def place(number: int, parent: int = 0, call: Call | None = None, trace: int = 1) -> Place:
    """Return a span; a higher number lies strictly inside a lower one."""
    return Place(
        trace.to_bytes(16, "big"), number.to_bytes(8, "big"), parent.to_bytes(8, "big") if parent else b"",
        1000 + number, 9000 - number, call,
    )  # fmt: skip


def told(*places: Place, accounts: Accounts | None = None, now: float = 0.0) -> list[Report]:
    """Tell of some spans; return what is known of each."""
    accounts = accounts or Accounts()
    for one in places:
        accounts.add(one, now)
    accounts.changed()
    return [accounts.of(one) or Report(one) for one in places]


def verdicts(*places: Place) -> list[str]:
    """Return what each of some spans is."""
    return [report.verdict for report in told(*places)]


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


def test_a_sum_counts_only_without_calls_below() -> None:
    """Claude Agent SDK: only the agent's span has tokens."""
    assert verdicts(place(1, 0, AGENT)) == ["only_copy"]
    assert verdicts(place(1, 0, AGENT), place(2, 1, AGENT)) == ["wraps", "only_copy"]
    assert verdicts(place(1, 0, AGENT), place(2, 1), place(3, 2, LEAF)) == ["wraps", "none", "counts"]


def test_calls_without_a_price_are_calls_and_the_price_is_that_of_what_is_above() -> None:
    """A deployment's name has no price; the wrapper names the model, or the agent's SDK knows what it paid."""
    nameless = replace(LEAF, pico_usd=None)
    wrapper, leaf = told(place(1, 0, LEAF), place(2, 1, nameless))
    assert (wrapper.bill, leaf.bill) == (Bill(money=True), Bill(call=True, tokens=True, money=True))
    assert verdicts(place(1, 0, nameless), place(2, 1, nameless)) == ["wraps", "counts"]
    assert verdicts(place(1, 0, replace(AGENT, pico_usd=None)), place(2, 1, nameless)) == ["wraps", "counts"]
    assert verdicts(place(1, 0, AGENT), place(2, 1, LEAF), place(3, 2, nameless)) == ["wraps", "prices", "counts"]
    agent, leaf = told(place(1, 0, AGENT), place(2, 1, nameless))
    assert (agent.bill, leaf.bill) == (Bill(money=True), Bill(call=True, tokens=True, money=True))
    assert verdicts(place(1, 0, AGENT), place(2, 1, nameless), place(3, 1, LEAF)) == ["wraps", "counts", "counts"]


def test_a_wrapper_tells_the_tokens_of_calls_that_tell_none() -> None:
    """A stream without usage, which the framework around it counted."""
    wrapper, leaf = told(place(1, 0, LEAF), place(2, 1, SILENT))
    assert (wrapper.verdict, wrapper.bill) == ("tells", Bill(tokens=True, money=True))
    assert leaf.bill.call
    assert verdicts(place(1, 0, LEAF), place(2, 1, FAILED), place(3, 1, SILENT)) == ["tells", "counts", "counts"]


def test_a_call_after_failed_attempts_below_it_is_a_call() -> None:
    """Only the failures have spans of their own; where the whole failed they are the call."""
    assert verdicts(place(1, 0, LEAF), place(2, 1, FAILED)) == ["counts", "counts"]
    assert verdicts(place(1, 0, replace(LEAF, failed=True)), place(2, 1, FAILED)) == ["tells", "counts"]


def test_an_answer_that_was_refused_is_a_call_beside_the_one_that_was_taken() -> None:
    """Pydantic AI's `FallbackModel` asks the next model, and one model often answers in as many tokens."""
    taken, refused = replace(LEAF, response_id="b"), replace(LEAF, response_id="a", failed=True)
    assert verdicts(place(1, 0, taken), place(2, 1, refused)) == ["counts", "counts"]
    assert verdicts(place(1, 0, taken), place(2, 1, replace(refused, response_id="b"))) == ["wraps", "counts"]
    assert verdicts(place(1, 0, replace(taken, failed=True)), place(2, 1, refused)) == ["wraps", "counts"]
    third = place(3, 1, FAILED)
    assert verdicts(place(1, 0, taken), place(2, 1, refused), third) == ["counts"] * 3
    assert verdicts(place(1, 0, replace(SILENT, response_id="b")), place(2, 1, refused)) == ["counts", "counts"]
    paid = replace(taken, knows=Knows.BILL, pico_usd=9)
    assert verdicts(place(1, 0, paid), place(2, 1, refused)) == ["counts", "counts"], "it is no copy that knows less"
    broken_off = place(2, 1, replace(refused, output=0))
    assert verdicts(place(1, 0, taken), broken_off) == ["counts", "counts"], "nor one of half the call"
    assert verdicts(place(1, 0, taken), broken_off, place(3, 1, taken)) == ["wraps", "counts", "counts"]


def test_beside_a_refused_answer_a_stream_without_usage_has_the_tokens_of_what_is_around_it() -> None:
    """Two calls, and the tokens of both."""
    taken, refused = replace(LEAF, response_id="b"), place(2, 1, replace(LEAF, response_id="a", failed=True))
    assert verdicts(place(1, 0, taken), refused, place(3, 1, SILENT)) == ["tells", "counts", "counts"]
    stream = place(3, 1, replace(SILENT, response_id="b"))
    assert verdicts(place(1, 0, taken), refused, stream) == ["counts", "counts", "twin"]


@pytest.mark.parametrize("scope", ["sdk", "gateway"])
def test_a_gateway_s_id_for_an_answer_that_failed_below_it_makes_no_second_call(scope: str) -> None:
    """LiteLLM's for one of Anthropic's, of which the last event was not waited for."""
    outer = replace(LEAF, scope=scope, family="claude", response_id="chatcmpl-38a7738d-b7eb-4ac5-a225-a315d8f82986")
    inner = replace(LEAF, family="claude", response_id="msg_0104a3f866f14a9e42b8638f", failed=True)
    assert verdicts(place(1, 0, outer), place(2, 1, inner)) == ["wraps", "counts"]
    fallback = replace(outer, family="gpt-4o")
    assert verdicts(place(1, 0, fallback), place(2, 1, inner)) == ["counts", "counts"], "another model answered"


@pytest.mark.parametrize("failed", [False, True])
def test_a_report_without_tokens_is_of_the_response_around_it_that_has_them(failed: bool) -> None:
    """An SDK's stream, perhaps cut after the last chunk, in a framework that counts for itself; nobody else's call."""
    framework = replace(LEAF, scope="framework", response_id="r")
    stream = place(2, 1, replace(SILENT, response_id="r", failed=failed))
    assert verdicts(place(1, 0, framework), stream) == ["counts", "twin"]
    other = place(3, 1, replace(LEAF, response_id="s", input=50))
    assert verdicts(place(1, 0, framework), stream, other) == ["counts", "twin", "counts"]


def test_of_two_reports_of_a_response_the_one_with_tokens_stands() -> None:
    """However little it knows of the model, and whoever began first."""
    told_of = replace(LEAF, scope="framework", family="", response_id="r", pico_usd=None)
    named = replace(SILENT, response_id="r")
    assert verdicts(place(1, 0, named), place(2, 0, told_of)) == ["twin", "counts"]
    assert verdicts(place(1, 0, told_of), place(2, 0, named)) == ["counts", "twin"]


def test_a_sum_that_is_more_than_the_calls_below_has_calls_that_nobody_saw() -> None:
    """They cost what those cost that were seen: 5 for 1000 of input, 2 for 100 of output. Once, and not again above."""
    more = replace(AGENT, input=1500, output=200)
    team, agent, _ = told(place(1, 0, more), place(2, 1, more), place(3, 2, LEAF))
    assert (team.bill, agent.bill) == (Bill(), Bill(excess=Excess(500, 100, 2 + 2)))
    (team,) = told(place(1, 0, replace(more, input=1508)), place(2, 1, more), place(3, 2, LEAF))[:1]
    assert team.bill == Bill(), "within one per cent"


def test_a_sum_that_is_less_than_the_calls_below_is_noted() -> None:
    """VoltAgent's outermost span has the last call's."""
    agent, *_ = told(place(1, 0, AGENT), place(2, 1, LEAF), place(3, 1, LEAF))
    assert (agent.verdict, agent.finding.excess, agent.finding.less) == ("wraps", None, True)


def test_calls_told_by_two_instrumentations_are_no_excess_of_nobody() -> None:
    """The sum above them is that of the calls, not of the reports."""
    spans = [place(2, 1, replace(LEAF, response_id="a")), place(3, 1, replace(LEAF, response_id="a", scope="other"))]
    agent, one, other = told(place(1, 0, replace(AGENT, input=1500, output=150)), *spans)
    assert sorted([one.verdict, other.verdict]) == ["counts", "twin"]
    assert agent.finding.excess == Excess(500, 50, 2 + 1)
    wrapper, *_ = told(place(1, 0, replace(LEAF, scope="framework", input=1500, output=200)), *spans,
                       place(4, 1, replace(LEAF, input=500)))  # fmt: skip
    assert wrapper.verdict == "wraps"


def test_nested_sums_count_once_whatever_came_first() -> None:
    """Grandparent, parent and children, one at a time."""
    for order in itertools.permutations([place(1, 0, AGENT), place(2, 1, AGENT), place(3, 2, LEAF)]):
        accounts = Accounts()
        for one in order:
            told(one, accounts=accounts)
        bills = {one.span_id[-1]: report.bill for one in order if (report := accounts.of(one)) is not None}
        assert bills == {1: Bill(), 2: Bill(), 3: Bill(call=True, tokens=True, money=True)}


def test_two_instrumentations_of_one_call_are_twins() -> None:
    """The same response id, in another trace too; the richer report stands for the call."""
    one = place(1, 0, replace(LEAF, response_id="msg_1", detail=1), trace=1)
    two = place(1, 0, replace(LEAF, response_id="msg_1", detail=3, scope="native", input=999), trace=2)
    assert verdicts(one, two) == ["twin", "counts"]
    assert verdicts(two, one) == ["counts", "twin"]


def test_an_id_that_comes_again_later_is_another_call() -> None:
    """Ollama has a thousand ids: another instrumentation that says one of them later speaks of its own call."""
    first = replace(LEAF, response_id="chatcmpl-7")
    later = replace(place(2, 0, replace(first, scope="other", input=900), 2), start_ns=10_000, end_ns=11_000)

    assert verdicts(place(1, 0, first), later) == ["counts", "counts"]


def test_a_call_that_tells_no_tokens_counts_once() -> None:
    """It failed, or was a stream: a wrapper of it is a wrapper, and so is one that alone tells nothing."""
    failed, silent, framework = FAILED, SILENT, replace(FAILED, scope="framework")
    assert verdicts(place(1, 0, framework), place(2, 1, failed)) == ["wraps", "counts"]
    assert verdicts(place(1, 0, replace(silent, scope="framework")), place(2, 1, LEAF)) == ["wraps", "counts"]
    assert verdicts(place(1, 0, failed), place(2, 0, failed)) == ["counts", "counts"]
    assert verdicts(place(1, 0, framework), place(2, 0, failed, trace=2)) == ["counts", "twin"]
    assert verdicts(place(1, 0, silent), place(2, 0, replace(silent, scope="framework"), trace=2)) == ["counts"] * 2


def test_a_failed_call_does_not_hide_the_tokens_of_its_agent() -> None:
    """Nor is it counted in them: it has none, and is a failure to be seen."""
    assert verdicts(place(1, 0, AGENT), place(2, 1, FAILED)) == ["only_copy", "counts"]


def test_twins_without_ids_are_known_by_tokens_and_time() -> None:
    """Another instrumentation, the same tokens, one strictly inside the other; one twin for each instrumentation."""
    outer, inner = place(1, 0, LEAF, trace=1), place(2, 0, replace(LEAF, scope="native"), trace=2)
    assert sorted(verdicts(outer, inner)) == ["counts", "twin"]
    assert verdicts(outer, place(2, 0, LEAF, trace=2)) == ["counts", "counts"]
    apart = replace(inner, start_ns=20_000, end_ns=21_000)
    assert verdicts(outer, apart) == ["counts", "counts"]
    again = place(3, 0, replace(LEAF, scope="native"), trace=3)
    assert sorted(verdicts(outer, inner, again)) == ["counts", "counts", "twin"]


def test_twins_of_a_coarse_clock_are_known_in_two_traces() -> None:
    """JavaScript has the beginning of a span in whole milliseconds: two of one call begin alike, or a tick apart."""
    ms = 1_000_000
    outer = replace(place(1, 0, LEAF, trace=1), start_ns=5 * ms, end_ns=82 * ms)
    inner = replace(place(2, 0, replace(LEAF, scope="native"), trace=2), start_ns=5 * ms, end_ns=82 * ms - 9)
    assert sorted(verdicts(outer, inner)) == ["counts", "twin"]
    shifted = replace(inner, start_ns=6 * ms, end_ns=83 * ms - 9)
    assert sorted(verdicts(outer, shifted)) == ["counts", "twin"]
    later = replace(inner, start_ns=7 * ms, end_ns=84 * ms - 9)
    assert verdicts(outer, later) == ["counts", "counts"]
    longer = replace(inner, start_ns=6 * ms, end_ns=83 * ms)
    assert verdicts(outer, longer) == ["counts", "counts"]


def test_of_calls_at_once_that_are_alike_each_counts_once() -> None:
    """A fan-out of one prompt, each call in a trace of its own and told twice there: what is of one trace is one."""
    spans = []
    for trace, outer, inner in ((1, (5_300, 107_100), (5_000, 106_600)), (2, (5_200, 106_700), (5_000, 106_000))):
        for number, (start, end), scope in ((1, outer, LEAF.scope), (2, inner, "native")):
            one = place(number, 0, replace(LEAF, scope=scope), trace=trace)
            spans.append(replace(one, start_ns=start * 1000, end_ns=end * 1000))
    for order in itertools.permutations(spans):
        assert sorted(verdicts(*order)) == ["counts", "counts", "twin", "twin"]


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


def test_a_span_that_comes_again_is_the_same_span() -> None:
    """From another pipeline, or exported again; but one that was announced says more when it ends."""
    accounts = Accounts()
    assert [accounts.add(place(1, 0, LEAF), 0.0) for _ in range(2)] == [
        (accounts.of(place(1)), True),
        (accounts.of(place(1)), False),
    ]
    announced, ended = replace(place(2, 0, SILENT), end_ns=0), place(2, 0, LEAF)
    for order in ((announced, ended), (ended, announced)):
        accounts = Accounts()
        (report, *_) = told(*order, accounts=accounts)
        assert (report.call, report.verdict) == (LEAF, "counts")
    again = replace(place(1, 0, LEAF), start_ns=5)
    assert verdicts(place(1, 0, LEAF), again) == ["counts", "counts"], "the id was used for another span"


def test_plain_spans_join_calls_though_they_came_first() -> None:
    """Nothing is known of their trace until a call comes."""
    accounts = Accounts()
    told(place(2, 1), place(3, 2), place(9, 0, None, 2), accounts=accounts)
    assert accounts.statistics()["traces"] == 0
    told(place(1, 0, AGENT), accounts=accounts)
    told(place(4, 3, LEAF), accounts=accounts)
    assert [one.verdict for one in told(place(1, 0, AGENT), accounts=accounts)] == ["wraps"]


def test_memory_is_bounded_by_number_and_age() -> None:
    """Old traces are forgotten, and many push out the oldest; each is told of before, so that what is held counts."""
    accounts = Accounts(max_spans=100, max_age_s=60)
    gone = []
    for number in range(1, 400):
        told(place(number, 0, replace(LEAF, response_id=f"r{number}", input=number), trace=number), accounts=accounts)
        told(place(number, trace=10_000 + number), accounts=accounts)
        gone += accounts.outgrown(0.0)
    assert max(accounts.statistics().values()) <= 200
    assert len(gone) == 299
    assert len(list(accounts.outgrown(1000.0))) == 100
    assert accounts.statistics()["calls"] == 0


def test_calls_that_look_alike_do_not_push_one_another_out_of_sight() -> None:
    """A hundred streams of one trace tell nothing but their ids; what they used comes a request later."""
    accounts = Accounts()
    silent = [replace(SILENT, scope="framework", response_id=f"r{number}") for number in range(100)]
    first = [place(2 * number, 0, call) for number, call in enumerate(silent, 1)]
    later = [
        place(2 * number + 1, 0, replace(LEAF, response_id=call.response_id)) for number, call in enumerate(silent, 1)
    ]
    told(*first, accounts=accounts)
    told(*later, accounts=accounts, now=1.0)

    found = [accounts.of(one) for one in (*first, *later)]
    assert [report.verdict for report in found if report is not None] == ["twin"] * 100 + ["counts"] * 100


def test_a_trace_without_end_begins_anew() -> None:
    """A process that never closes its root."""
    accounts = Accounts()
    told(*(place(number, 1, LEAF) for number in range(2, MAX_TRACE_SPANS + 2)), accounts=accounts)
    assert len(list(accounts.outgrown(0.0))) == 1
    assert accounts.statistics()["spans"] == 0


def test_hostile_trees_end() -> None:
    """Circles, spans that are their own parent, and very deep chains."""
    assert verdicts(place(1, 1, LEAF)) == ["counts"]
    assert len(verdicts(place(1, 2, LEAF), place(2, 1, replace(LEAF, input=5)))) == 2
    chain = [place(number, number - 1) for number in range(1, 3000)]
    *above, leaf = told(*chain, place(3000, 2999, LEAF))
    assert leaf.verdict == "counts"
    assert above[0].finding.below.calls == 1


def test_a_circle_is_cut_above_its_earliest_span_in_any_order() -> None:
    """Two equal calls that are each other's parents, with a plain span between: the first wraps the other."""
    circle = place(1, 3, LEAF), place(2, 1), place(3, 2, replace(LEAF, scope="framework"))
    for order in itertools.permutations(circle):
        found = dict(zip(order, verdicts(*order), strict=True))
        assert [found[one] for one in circle] == ["wraps", "none", "counts"]


@pytest.mark.parametrize("length", [600, 5000])
def test_a_long_circle_ends(length: int) -> None:
    """More spans than are looked at for other reasons, and more than are searched."""
    *_, last = told(*(place(number, number % length + 1, LEAF) for number in range(1, length + 1)))
    assert last.verdict in {"counts", "wraps"}


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


def test_twins_that_turn_out_to_be_two_calls_count_both() -> None:
    """One response id and equal tokens made them one; one of them is told again, with tokens of its own."""
    said = replace(LEAF, response_id="r")
    first = Place(b"t" * 16, b"a" * 8, b"", 10, 20, said)
    other = Place(b"t" * 16, b"b" * 8, b"", 30, 40, replace(said, scope="framework", pico_usd=None))
    accounts = Accounts()
    assert [one.verdict for one in told(first, other, accounts=accounts)] == ["counts", "twin"]

    accounts.add(replace(first, call=replace(said, output=70, detail=9)), 0.0)

    assert other in {one.place for one in accounts.changed()}
    assert [one.verdict for one in told(other, first, accounts=accounts)] == ["counts", "counts"]


@given(trees(), st.randoms(use_true_random=False), st.integers(1, 5))
def test_each_call_counts_once_in_any_order(spans: list[Place], random: Random, size: int) -> None:
    """Leaves count, wrappers and the agent do not, and nobody is asked for too early."""
    random.shuffle(spans)
    accounts = Accounts()
    for start in range(0, len(spans), size):
        told(*spans[start : start + size], accounts=accounts)
    for one in spans:
        report = accounts.of(one)
        assert report is not None
        if one.call is not None:
            assert (report.verdict in TOKENS) == (report.verdict in MONEY) == (one.call.scope == "sdk")


_IDS = ("", "", "a", "b", "msg_c")
_TOKENS = ((0, 0), (1000, 100), (1000, 100), (500, 50), (1500, 150), (1000, 0), (0, 100))


@st.composite
def reports(draw: st.DrawFn) -> list[Place]:
    """Return a trace of reports that may mean anything."""
    spans = []
    for number in range(1, draw(st.integers(2, 7)) + 1):
        call = None
        if draw(st.integers(0, 4)):
            tokens = draw(st.sampled_from(_TOKENS))
            call = Call(
                inference=draw(st.integers(0, 4)) > 0,
                scope=draw(st.sampled_from(["sdk", "framework"])),
                response_id=draw(st.sampled_from(_IDS)),
                family=draw(st.sampled_from(["gpt-4o", "gpt-4o", ""])),
                input=tokens[0],
                output=tokens[1],
                failed=draw(st.booleans()),
                echo=not draw(st.integers(0, 9)),
                unbilled=not draw(st.integers(0, 9)),
                knows=draw(st.sampled_from([0, 0, Knows.BILL, Knows.UNITS])),
                pico_usd=draw(st.sampled_from([None, 7, 9])) if any(tokens) else None,
            )
        one = place(number, draw(st.integers(0, number - 1)), call)
        if not draw(st.integers(0, 4)):
            one = replace(one, start_ns=(start := draw(st.integers(1000, 9000))), end_ns=start + 2000)
        spans.append(one)
    return spans


@settings(max_examples=300, deadline=None)
@given(reports(), st.randoms(use_true_random=False), st.integers(1, 3))
def test_what_was_said_of_each_report_last_is_what_it_is(spans: list[Place], random: Random, size: int) -> None:
    """Whatever changes is told of, and comes to the same as if all had been there at once, whatever the order."""
    at_once = {one.place: one.bill for one in told(*spans)}
    random.shuffle(spans)
    accounts = Accounts()
    said: dict[Report, Bill] = {}
    for start in range(0, len(spans), size):
        for one in spans[start : start + size]:
            accounts.add(one, 0.0)
        said |= {report: report.bill for report in (*accounts.changed(), *accounts.sums())}
    assert {report.place: bill for report, bill in said.items()} == {
        place: bill for place, bill in at_once.items() if place is not None and place.call is not None
    }


def test_a_deployment_name_and_the_model_behind_it_are_one_call() -> None:
    """The framework knows the deployment, the SDK's span the model that answered too."""
    inner = Call(True, "sdk", family="gpt-4o", asked="my-deployment", input=1000, output=100, pico_usd=5)
    outer = Call(True, "framework", family="my-deployment", input=1000, output=100)
    places = [
        Place(b"t" * 16, b"outer" + bytes(3), b"", 1, 10, outer),
        Place(b"t" * 16, b"inner" + bytes(3), b"outer" + bytes(3), 2, 9, inner),
    ]

    assert verdicts(*places) == ["wraps", "counts"]

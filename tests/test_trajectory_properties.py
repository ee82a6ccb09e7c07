"""What holds for any set of records."""

from __future__ import annotations

import random
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from spanledger.conventions.detail import Detail, Evaluation, Print, ToolRequest
from spanledger.conventions.reading import Cost
from spanledger.conventions.run import Run
from spanledger.conventions.run_document import canonical_bytes, document, read_document
from spanledger.conventions.step import Bridge, Step
from spanledger.conventions.trajectory import Edge, Judgement, build
from spanledger.conventions.usage import Usage
from tests.trajectory_stories import START_NS

IDS = st.integers(0, 12).map(lambda number: number.to_bytes(8, "big"))
TRACES = st.integers(1, 3).map(lambda number: number.to_bytes(16, "big"))
TIMES = st.one_of(st.just(0), st.integers(0, 40).map(lambda tick: START_NS + tick * 1_000_000))
CALLS = st.sampled_from(["", "call_1", "call_2", "call_3"])
TOKENS = st.integers(0, 1000) | st.none()
USAGES = st.none() | st.builds(Usage, TOKENS, TOKENS, TOKENS, TOKENS, reasoning=TOKENS)
COSTS = st.none() | st.builds(
    Cost,
    st.sampled_from(["priced", "unpriced", "no_usage", "conflict", "rollup"]),
    st.sampled_from(["", "wraps_calls", "twin_of_counted_call", "repeated"]),
    total=st.integers(0, 10**12) | st.none(),
)
DETAILS = st.none() | st.builds(
    Detail,
    links=st.lists(st.tuples(TRACES, IDS), max_size=2).map(tuple),
    requests=st.lists(st.builds(ToolRequest, CALLS, st.sampled_from(["search", "book"]), st.none()), max_size=2).map(
        tuple
    ),
    answered=st.lists(CALLS, max_size=2).map(tuple),
    history=st.lists(st.integers(0, 3), max_size=3).map(tuple),
    after=st.none() | st.integers(0, 3),
    asks_user=st.booleans(),
    arguments=st.none() | st.builds(Print, st.integers(0, 3), st.frozensets(st.integers(0, 5), max_size=3)),
    result=st.none() | st.builds(Print, st.integers(0, 3), st.frozensets(st.integers(0, 5), max_size=3)),
    evaluations=st.lists(
        st.builds(Evaluation, st.sampled_from(["task_success", "x"]), st.floats(0, 1)), max_size=1
    ).map(tuple),
    outcome=st.sampled_from(["", "", "success", "failure", "partial", "unknown"]),
    input=st.none() | st.sampled_from(['{"ref": "BK-9"}', "text"]),
    said=st.none() | st.sampled_from(["BK-9", ""]),
    dimensions=st.dictionaries(st.sampled_from(["team", "feature"]), st.sampled_from(["a", "b"])),
)
NAMES = st.sampled_from(["", "one", "two"])


@st.composite
def steps(draw: st.DrawFn) -> Step:
    """Draw a step of a small world, so that ids, times and names meet."""
    failed = draw(st.booleans())
    return Step(
        trace_id=draw(TRACES),
        span_id=draw(IDS),
        parent_span_id=draw(st.just(b"") | IDS),
        name=draw(NAMES),
        start_ns=draw(TIMES),
        end_ns=draw(TIMES),
        service_name=draw(NAMES),
        dialect="otel",
        kind=draw(
            st.sampled_from(["agent", "workflow", "llm", "llm", "tool", "tool", "other", "embedding", "evaluation"])
        ),
        operation="",
        status="error" if failed else "ok",
        error_type="ValueError" if failed else "",
        agent_name=draw(NAMES),
        provider="openai",
        model=draw(NAMES),
        response_id=draw(NAMES),
        tool_name=draw(NAMES),
        tool_call_id=draw(CALLS),
        workflow_name="",
        conversation_id=draw(NAMES),
        user_id=draw(NAMES),
        attempt=draw(st.integers(1, 3)),
        usage=draw(USAGES),
        cost=draw(COSTS),
        time_to_first_chunk_s=None,
        detail=draw(DETAILS),
        remote_parent=draw(st.booleans()),
    )


BRIDGES = st.builds(
    Bridge, TRACES, IDS, st.just(b"") | IDS, st.integers(1, 5), TIMES, TIMES, NAMES, NAMES, st.booleans(),
    st.lists(st.tuples(TRACES, IDS), max_size=2).map(tuple),
)  # fmt: skip
RECORDS = st.lists(steps() | BRIDGES, max_size=14)
EDGES = st.lists(
    st.builds(
        Edge, TRACES, IDS, TRACES, IDS, st.sampled_from(["link", "tool_call_id", "mcp", "history", "conversation"])
    ),
    max_size=3,
)


@settings(max_examples=200, deadline=None)
@given(RECORDS, EDGES, st.randoms(use_true_random=False))
def test_order_and_repetition_of_records_change_nothing(
    records: list[Step | Bridge], edges: list[Edge], chance: random.Random
) -> None:
    """The same set of records gives equal runs."""
    shuffled = records + chance.sample(records, chance.randint(0, len(records)))
    chance.shuffle(shuffled)

    assert build(shuffled, links=edges[::-1], completeness="idle") == build(records, links=edges, completeness="idle")


@settings(max_examples=200, deadline=None)
@given(RECORDS, EDGES)
def test_runs_are_sound(records: list[Step | Bridge], edges: list[Edge]) -> None:
    """Parents come before their children, each span is in one run at most, sums are those of the steps."""
    runs = build(records, links=edges, completeness="complete")

    # A step that only messages tell of has no span.
    spans = [(step.trace_id, step.span_id, step.started_at_ns) for run in runs for step in run.steps if step.span_id]
    assert len(spans) == len(set(spans))
    for run in runs:
        assert_sound(run)
    assert len({run.run_id for run in runs}) == len(runs)


def assert_sound(run: Run) -> None:
    """Check one run by itself."""
    assert run.steps
    for index, step in enumerate(run.steps):
        assert step.index == index
        assert step.parent is None or step.parent < index
        assert step.read_by is None or step.read_by > index
        assert step.requested_by is None or step.requested_by < index
    totals = run.totals
    costs = [step.cost_pico_usd for step in run.steps if step.cost_pico_usd is not None]
    assert totals.cost_pico_usd == (sum(costs) if costs else None)
    assert totals.llm_calls <= sum(step.kind in ("llm", "embedding") for step in run.steps)
    assert totals.tool_calls == sum(step.kind == "tool" for step in run.steps)
    assert 0 < totals.steps <= len(run.steps)
    assert totals.retries >= len(run.steps) - totals.steps
    assert sum(share.cost_pico_usd or 0 for share in run.agents) <= (totals.cost_pico_usd or 0)
    for indexes in (run.failure_chain, run.critical_path):
        assert len(set(indexes)) == len(indexes)
    assert len(run.failure_basis) == max(0, len(run.failure_chain) - 1)


@settings(max_examples=200, deadline=None)
@given(RECORDS, EDGES)
def test_documents_come_back_as_they_were(records: list[Step | Bridge], edges: list[Edge]) -> None:
    """A run, its document, and the run that is read from it."""
    judgements = [Judgement(Evaluation("late", 0.5, "pass", "why", "one", START_NS), conversation_id="one")]
    for run in build(records, links=edges, evaluations=judgements, completeness="complete", revision=2):
        again = read_document(document(run))

        assert again == run
        assert canonical_bytes(again) == canonical_bytes(run)


@settings(max_examples=100, deadline=None)
@given(RECORDS, st.data())
def test_a_span_that_is_added_takes_no_span_away(records: list[Step | Bridge], data: st.DataObject) -> None:
    """Work that was in a run is in one still, or is known to be a twin of what is."""
    late = data.draw(steps())
    before, after = build(records), build([*records, replace(late, trace_id=(9).to_bytes(16, "big"), detail=None)])

    def spans(runs: tuple[Run, ...]) -> set[tuple[str, str]]:
        return {
            (step.trace_id, span_id)
            for run in runs for step in run.steps if step.kind not in ("other", "llm", "embedding", "tool")
            for span_id in (step.span_id, *step.twins)
        }  # fmt: skip

    assert {span_id for _, span_id in spans(before)} <= {span_id for _, span_id in spans(after)}

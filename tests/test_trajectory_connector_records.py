"""Records as they wait in memory and on disk: what comes out is what went in."""

from __future__ import annotations

import marshal
from dataclasses import asdict, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spanledger.conventions.detail import Detail, Evaluation, Print, ToolRequest
from spanledger.conventions.evaluator import Usual
from spanledger.conventions.reading import Cost
from spanledger.conventions.step import Bridge, Step, altered
from spanledger.conventions.trajectory import Judgement
from spanledger.conventions.usage import Usage
from spanledger.processor.trajectory import wire
from spanledger.processor.trajectory.emitted import Emitted
from spanledger.processor.trajectory.group import Group
from spanledger.processor.trajectory.indexes import Recent
from spanledger.processor.trajectory.origins import MAX_MODELS, MAX_RESOURCE_BYTES, Origin, Origins
from spanledger.processor.trajectory.packing import HISTORY, pack, unpack
from tests.assembled_runs import step

texts = st.text(max_size=8)
ids = st.binary(min_size=8, max_size=8)
digests = st.integers(0, 2**64 - 1)
scores = st.floats(allow_nan=False)
counts = st.none() | st.integers(0, 2**40)
prints = st.builds(Print, digests, st.frozensets(st.integers(0, 2**32 - 1), max_size=64), st.integers(0, 10**6))
evaluations = st.builds(
    Evaluation, texts, st.none() | scores, st.none() | texts, st.none() | texts, texts, st.integers(0, 2**62), texts
)
details = st.builds(
    Detail,
    links=st.lists(st.tuples(ids, ids), max_size=2).map(tuple),
    requests=st.lists(st.builds(ToolRequest, texts, texts, st.none() | digests), max_size=2).map(tuple),
    answered=st.lists(texts, max_size=2).map(tuple),
    history=st.lists(digests, max_size=HISTORY).map(tuple),
    after=st.none() | digests,
    asks_user=st.booleans(),
    arguments=st.none() | prints,
    result=st.none() | prints,
    output=st.none() | prints,
    evaluations=st.lists(evaluations, max_size=2).map(tuple),
    outcome=texts,
    finish=texts,
    plan=st.none() | st.tuples(st.integers(0, 9), st.integers(0, 9)),
    results=st.lists(st.tuples(texts, digests, st.integers(0, 10**6)), max_size=2).map(tuple),
    input=st.none() | texts,
    dimensions=st.dictionaries(texts, texts, max_size=2),
)
usages = st.builds(Usage, counts, counts, counts, conflicts=st.lists(texts, max_size=2).map(tuple))
costs = st.builds(Cost, st.sampled_from(["priced", "unpriced", "rollup"]), texts, counts, price_ref=texts)
steps = st.builds(
    replace,
    st.just(step(1)),
    name=texts,
    end_ns=st.integers(0, 2**64 - 1),
    usage=st.none() | usages,
    cost=st.none() | costs,
    detail=st.none() | details,
    time_to_first_chunk_s=st.none() | scores,
    resource=st.dictionaries(texts, texts | st.integers() | st.lists(texts), max_size=2),
    remote_parent=st.booleans(),
)
bridges = st.builds(
    Bridge, ids, ids, ids, st.integers(0, 5), st.integers(0, 2**64 - 1), st.just(5), texts, texts, st.booleans(),
    st.lists(st.tuples(ids, ids), max_size=2).map(tuple), st.booleans(),
)  # fmt: skip


@settings(max_examples=50, deadline=None)
@given(records=st.lists(steps | bridges, max_size=12), pauses=st.sets(st.integers(0, 12)))
def test_packing_gives_back_what_it_took(records: list[Step | Bridge], pauses: set[int]) -> None:
    """All of it in its order, in however many pieces; resources are kept once."""
    kept, origins = group(1), Origins()
    for number, record in enumerate(records):
        key = number.to_bytes(24, "big") + (record.start_ns.to_bytes(8, "big") if number % 2 else b"")
        kept.put(key, record)
        if number in pauses:
            kept.pack(origins, 3)
    kept.pack(origins, 100)

    assert list(kept.records().values()) == records
    assert len(kept) == len(records)
    assert all(key in kept and kept.record(key) == record for key, record in kept.records().items())
    assert (b"x" * 24) not in kept
    assert len(kept.origins) <= len({wire.write_resource(one.resource) for one in records if isinstance(one, Step)})
    assert not kept.hot


def test_attributes_of_services_have_a_limit_in_bytes() -> None:
    """A hostile one has as many as it may, others with each request; small ones are kept by the thousand."""
    origins = Origins()
    kept = [origins.same({"service.name": str(number), "noise": "x" * 2**16}) for number in range(300)]

    assert [origins.together([one]) for one in kept] == [(one,) for one in kept]
    assert len(origins._alone) == len(origins._known)
    assert 200 * 2**16 < origins._bytes <= MAX_RESOURCE_BYTES
    assert origins.same(dict(kept[-1].resource)) is kept[-1]
    assert origins.same(dict(kept[0].resource)) is not kept[0]
    assert sum(len(key) for key in origins._known) == origins._bytes


def test_of_a_step_is_kept_in_what_it_differs_from_others_of_its_kind() -> None:
    """A group has its ids and counts; names are in the model, for as many services as there is room for."""
    origins, kept = Origins(), list[Origin]()
    calls = [altered(step(number), dialect="otel", agent_name="planner" * 20) for number in range(1, 20)]
    sizes = {len(pack([call], origins, kept)) for call in calls}
    others = [altered(step(2), service_name=f"shop-{number}", model="m") for number in range(2 * MAX_MODELS)]

    for one in (*calls, *others):
        assert unpack(pack([one], origins, kept), kept) == [one]
    assert max(sizes) < 140 < len(marshal.dumps([str(value) for value in asdict(calls[0]).values()]))
    assert len(kept) == 1
    assert len(origins._models) == MAX_MODELS + 1


@settings(max_examples=50, deadline=None)
@given(record=steps | bridges)
def test_the_file_gives_back_what_it_took(record: Step | Bridge) -> None:
    """The resource comes from beside."""
    resource = wire.read_resource(wire.write_resource(record.resource)) if isinstance(record, Step) else {}

    assert wire.read(wire.write(record), resource) == record


def test_the_file_has_room_for_what_was_said_of_runs() -> None:
    """And for evaluations that came by themselves."""
    said = Emitted(
        2, "ab", "shop", "planner", "success", "complete", 5, "anchor", ("x", "y"), (("l", 0.5),), ("helpful",),
        (("spanledger.tool_success", 0.5, "some_failed"), ("x", None, None)), Usual(12, 4.5),
    )  # fmt: skip
    judged = Judgement(Evaluation("helpful", 0.5), b"t" * 16, b"s" * 8)

    assert wire.read(wire.write(said), {}) == said
    assert wire.read(wire.write(judged), {}) == judged


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"_":"Poem"}', '{"_":"Usage"}', '{"_":"Step","trace_id":"xyz"}'])
def test_what_nobody_wrote_is_an_error(text: str) -> None:
    """Of a kind that is caught where the file is read."""
    with pytest.raises((ValueError, TypeError, KeyError, AttributeError)):
        wire.read(text, {})


def test_fields_of_another_release_are_left_out() -> None:
    """A file outlives an upgrade."""
    text = wire.write(step(1)).replace('{"trace_id"', '{"mood":"good","trace_id"')

    assert wire.read(text, {}) == replace(step(1), resource={})


def test_what_a_price_and_a_cost_saved_stays_apart() -> None:
    """They are equal in what they come to."""
    cost = Cost("priced", total=5, saved=1)
    for price in (cost, Cost("priced", total=5, saved=1), Cost("priced", total=5, saved=2)):
        origins: list[Origin] = []
        [kept] = unpack(pack([replace(step(1), cost=cost, price=price)], Origins(), origins), origins)

        assert isinstance(kept, Step)
        assert (kept.cost, kept.price) == (cost, price)
        assert kept.price is not None
        assert kept.price.saved == price.saved


def test_of_a_long_history_the_end_is_kept() -> None:
    """That is where the call before is."""
    long = replace(step(1), detail=Detail(history=tuple(range(64))))
    origins: list[Origin] = []
    [kept] = unpack(pack([long], Origins(), origins), origins)

    assert isinstance(kept, Step)
    assert kept.detail is not None
    assert kept.detail.history == tuple(range(64 - HISTORY, 64))


def group(number: int) -> Group:
    """Return a group."""
    return Group(number, 0, 0, ())


def test_an_index_is_bounded_and_forgets_what_was_remembered_longest() -> None:
    """And follows groups that became one."""
    index: Recent[int] = Recent(4)
    first, second, third = group(1), group(2), group(3)
    for key, one in ((1, second), (2, second), (1, first), (3, third), (4, first)):
        index.note(key, one)
    third.merged_into = first

    assert (len(index), index.find(2), index.find(1), index.find(3)) == (3, None, first, first)
    first.state = "gone"
    assert index.find(1) is None

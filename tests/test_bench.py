"""What `make bench` computes with: requests made fresh, statistics, and the table of targets."""

from __future__ import annotations

import ast
import importlib
import math
import random
import re
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from bench import profiled, soak
from bench.arithmetic import corrected, exponent, median, percentile, waiting
from bench.pages import BEGIN, END, put, quote
from bench.report import number, rows_of, table, targets
from bench.sink import walk
from bench.wires import PLACE, Mix, Wire, first_span, tag, wires
from spanledger.conventions.values import attributes_of

NOW_NS = 1_795_000_000_123_456_000
MADE = Mix("made up", spans=20, content_bytes=300, runs=10, agents=3)


def read(wire: Wire, text: bytes, now_ns: int = NOW_NS) -> list[Span]:
    """Return the spans of a request as a receiver reads them."""
    request = ExportTraceServiceRequest.FromString(wire.fresh(text, now_ns))
    return [span for group in request.resource_spans for scope in group.scope_spans for span in scope.spans]


def ids(spans: list[Span]) -> list[tuple[bytes, bytes]]:
    """Return what spans are known by."""
    return [(span.trace_id, span.span_id) for span in spans]


def test_tags_are_all_different_and_as_long_as_the_place_they_take() -> None:
    """A tag that came twice would make doubles of spans."""
    tags = {tag(number) for number in range(5000)}

    assert len(tags) == 5000
    assert {len(one) for one in tags} == {len(PLACE)}


def test_a_request_made_fresh_shares_no_id_with_another() -> None:
    """Each tag gives spans of their own, and within a mix no id comes twice."""
    made = wires(MADE)
    first = [key for wire in made for key in ids(read(wire, tag(1)))]
    second = [key for wire in made for key in ids(read(wire, tag(2)))]

    assert len(set(first + second)) == 2 * len(first)


def test_spans_of_a_trace_stay_linked_over_the_requests_they_are_in() -> None:
    """The parent of each step is the root of its run, which comes last and maybe in another request."""
    spans = [span for wire in wires(MADE) for span in read(wire, tag(7))]
    known = set(ids(spans))

    assert {len(span.trace_id) for span in spans} == {16}
    assert {len(span.span_id) for span in spans} == {8}
    assert all((span.trace_id, span.parent_span_id) in known for span in spans if span.parent_span_id)
    assert sum(not span.parent_span_id for span in spans) == MADE.runs


def test_a_run_whose_root_never_comes_is_open() -> None:
    """Its spans name a parent that is not there; without one they would be runs that have ended."""
    mix = Mix("open", spans=8, content_bytes=50, runs=4, steps=4, rooted=False)
    spans = [span for wire in wires(mix) for span in read(wire, tag(7))]
    parents = {(span.trace_id, span.parent_span_id) for span in spans}

    assert len(parents) == 4
    assert all(parent_id for _, parent_id in parents)
    assert parents.isdisjoint((span.trace_id, span.span_id) for span in spans)


def test_times_are_those_of_the_sending() -> None:
    """Spans have just ended, and last as long as they did."""
    early, late = (read(wires(MADE)[0], tag(1), now_ns) for now_ns in (NOW_NS, NOW_NS + 10**12))

    assert all(NOW_NS - 3600 * 10**9 < span.start_time_unix_nano <= span.end_time_unix_nano < NOW_NS for span in early)
    assert {b.start_time_unix_nano - a.start_time_unix_nano for a, b in zip(early, late, strict=True)} == {10**12}


def test_no_placeholder_is_left() -> None:
    """What is sent holds neither the place of a tag nor that of a time."""
    for wire in wires(MADE):
        fresh = wire.fresh(tag(3), NOW_NS)
        assert PLACE not in fresh
        assert not re.search(rb"\x00\x00\xf1\xf7", fresh)
        assert fresh.count(tag(3)) >= wire.spans


def test_a_share_of_other_spans() -> None:
    """Of five spans one is a GenAI span, the others are calls below it."""
    spans = [
        span
        for wire in wires(Mix("shared", spans=50, genai=0.2, content_bytes=50, runs=5))
        for span in read(wire, tag(1))
    ]
    genai = [span for span in spans if any(pair.key.startswith("gen_ai.") for pair in span.attributes)]

    assert len(spans) == 5 * len(genai)
    assert len(set(ids(spans))) == len(spans)


def test_requests_hold_as_many_spans_as_they_should() -> None:
    """Only the last one may have less."""
    assert [wire.spans for wire in wires(MADE)] == [20, 20, 20, 20]


def test_the_first_span_names_a_request() -> None:
    """Generator and backend call it the same, each from the bytes alone."""
    one, other = wires(MADE)[:2]

    assert first_span(one.fresh(tag(1), NOW_NS)) == first_span(one.fresh(tag(1), NOW_NS + 1))
    assert len({first_span(wire.fresh(tag(n), NOW_NS)) for wire in (one, other) for n in (1, 2)}) == 4


def test_walking_changes_nothing() -> None:
    """The ceiling of plain Python looks at everything and writes it as it was."""
    data = wires(MADE)[0].fresh(tag(1), NOW_NS)

    assert ExportTraceServiceRequest.FromString(walk(data)) == ExportTraceServiceRequest.FromString(data)


@pytest.mark.parametrize(
    ("share", "expected"), [(0.0, 1), (0.5, 50), (0.99, 99), (0.991, 100), (1.0, 100)]
)  # fmt: skip
def test_percentile_is_the_nearest_rank(share: float, expected: float) -> None:
    """No value is made up between two that were measured."""
    values = [float(value) for value in range(1, 101)]
    random.Random(1).shuffle(values)

    assert percentile(values, share) == expected


def test_nothing_measured_is_unknown() -> None:
    """And not 0."""
    assert percentile([], 0.5) is None
    assert median([None, None]) is None
    assert median([None, 3.0, 1.0]) == 2.0
    assert exponent([10], [5.0]) is None
    assert exponent([10, 100], [0.0, 5.0]) is None


@pytest.mark.parametrize("power", [0, 1, 2])
def test_exponent_tells_constant_from_linear_from_quadratic(power: int) -> None:
    """Of costs that grow with a power of the size."""
    sizes = [10.0, 100.0, 1000.0]

    found = exponent(sizes, [3.0 * size**power for size in sizes])

    assert found is not None
    assert math.isclose(found, power, abs_tol=1e-9)


def test_a_stall_is_seen_by_everything_that_was_due_meanwhile() -> None:
    """Who sleeps in a loop notices 100 ms once; a hundred others would have."""
    seen = corrected([0.0] * 900 + [0.1], 0.001)

    assert percentile(seen, 0.99) == pytest.approx(0.09, abs=0.002)
    assert percentile([0.0] * 900 + [0.1], 0.99) == 0.0


def test_who_comes_in_a_turn_waits_for_the_rest_of_it() -> None:
    """One turn of 100 ms in 10 s: one in a hundred meets it, and of those who do half wait 50 ms and more."""
    assert waiting([0.1], 10.0, 0.995) == pytest.approx(0.05, abs=1e-5)
    assert waiting([0.1], 10.0, 0.98) == pytest.approx(0.0, abs=1e-5)
    assert waiting([0.01] * 500, 10.0, 0.99) == pytest.approx(0.0098, abs=1e-5)
    assert waiting([], 10.0, 0.99) == 0.0


def test_tables_are_markdown_of_equal_width() -> None:
    """They go to docs/performance.md as they are."""
    assert list(table(("a", "b"), [("long", "1"), ("x", "22")])) == [
        "| a    | b  |",
        "|------|----|",
        "| long | 1  |",
        "| x    | 22 |",
    ]


def test_targets_compare_with_the_peers_of_the_same_run() -> None:
    """A peer that is missing makes a target unmeasured, not met."""
    sides: dict[str, Any] = {"spanledger": {"spans_per_cpu_s": 30.0}, "walk": {"spans_per_cpu_s": 60.0}}

    collector, walked = list(targets({"throughput": {"corpus, 512 a request": sides}}))[:2]

    assert (collector.met, walked.met) == (None, True)
    assert walked.wanted == "at least a third of walk: 20"


def test_what_was_not_measured_has_no_table() -> None:
    """`--only` prints what there is."""
    lines = list(rows_of({"rest": {"spanledger": {"start_s": 0.9, "start_cpu_s": 0.8, "bytes": 64 * 2**20}}}))

    assert "## At rest" in lines
    assert "## Loop lag" not in lines
    assert sum("not measured" in line for line in lines) == 4
    assert number(None) == "–"


def test_tables_take_the_place_between_the_marks() -> None:
    """Written again they are the same, and nothing else of the page changes."""
    text = f"before\n{BEGIN}\nold\n{END}\nafter\n"

    once = put(text, iter(["", "new", ""]))

    assert once == f"before\n{BEGIN}\n\nnew\n\n{END}\nafter\n"
    assert put(once, iter(["", "new", ""])) == once
    with pytest.raises(ValueError, match="no place"):
        put("before", iter(()))


@pytest.mark.parametrize("page", ["README.md", "docs/performance.md"])
def test_the_pages_have_a_place_for_the_tables(page: str) -> None:
    """Of the last run of `make bench`."""
    assert put((Path(__file__).parents[1] / page).read_text(), iter(()))


def test_the_readme_quotes_who_was_measured() -> None:
    """Fastest first, each by how many times it is ours; who was not there is not made up."""
    sides = {name: {"spans_per_cpu_s": rate} for name, rate in (("spanledger", 2000.0), ("walk", 50_000.0))}

    machine = {"load_average_1m": 0.1, "load_average_1m_at_the_end": 1.0}
    results = {"machine": machine, "command": "x", "throughput": {"corpus, 512 a request": sides}}
    rows = [line for line in quote(results) if line.startswith("|")][2:]

    assert [[cell.strip() for cell in row.split("|")[2:4]] for row in rows] == [["50,000", "25"], ["2,000", "1.00"]]


def test_captures_share_nothing() -> None:
    """Ids, answers and words of each are its own, as those of different applications are."""
    said = defaultdict(set)
    for wire in wires(Mix("recorded", scenarios="plain")):
        request = ExportTraceServiceRequest.FromString(wire.fresh(tag(1), NOW_NS))
        for group in request.resource_spans:
            instance = attributes_of(group.resource.attributes)["service.instance.id"]
            for pair in (pair for scope in group.scope_spans for span in scope.spans for pair in span.attributes):
                if pair.key in ("gen_ai.response.id", "gen_ai.conversation.id", "gen_ai.prompt.0.content"):
                    said[pair.key, pair.value.string_value].add(instance)

    assert len(said) > 30
    assert not [key for key, instances in said.items() if len(instances) > 1]


def test_condensed_soak_names_memories_that_there_are() -> None:
    """The hook in the sidecar's process would end it."""
    tree = ast.parse(soak.CONDENSED)
    (sizes,) = (node.value for node in tree.body if isinstance(node, ast.Assign))
    for module, constants in eval(ast.unparse(sizes)).items():
        known = importlib.import_module(f"spanledger.{module}")
        for constant, size in constants.items():
            there = getattr(known, constant)
            assert not isinstance(size, tuple) or len(there.__init__.__defaults__) == len(size)


def test_a_profile_is_read_by_file_function_and_line() -> None:
    """Each stack counts once for a file that is in it twice; what is no frame is passed over."""
    stacks = [
        "MainThread;run (/x/spanledger/service/flow.py:10);read (/x/spanledger/conventions/reader.py:7) 3",
        "MainThread;run (/x/spanledger/service/flow.py:10);again (/x/spanledger/service/flow.py:12) 1",
        "no stack",
    ]

    lines = [*profiled.tables(stacks)]

    assert lines[0] == "4 samples"
    assert "| conventions/reader.py | 75.0%   | 75.0%              |" in lines
    assert "| service/flow.py       | 25.0%   | 100.0%             |" in lines
    assert "| service/flow.py again      | 25.0%   |" in lines
    assert "| conventions/reader.py:7 | 75.0%   |" in lines

"""What we write is what prometheus-client's parsers read, whatever the labels are."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.metrics_core import Metric as Parsed
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from spanledger.conventions.metrics import METRICS, Label, Metric
from spanledger.exporters.prometheus.exposition import CHUNK_LINES, UNTYPED, Style, render
from spanledger.processor.metric_store import MetricTable, clean

WHO = (Label("agent", "Agent", from_data=True), Label("model", "Model", from_data=True))
COST = Metric("cost_usd_total", "counter", "Cost: \\ and\na new line.", WHO, "usd")
UPTIME = Metric("uptime_seconds", "gauge", "Uptime.", (), "seconds")
SECONDS = Metric("call_seconds", "histogram", "Duration.", WHO, "seconds", (0.5, 1.0, 2_000_000.0))
WAIT = Metric("wait_seconds", "histogram", "Waiting.", (), "seconds", (1.0,))
ROWS = (COST, UPTIME, SECONDS, WAIT)

TRACE_ID = bytes(range(16))
HOSTILE = 'quo"te \\ back\nline\x00\ud800 größe 😀 {}=,#'


def filled() -> MetricTable:
    """Return a table with one series of each kind."""
    table = MetricTable(ROWS)
    table.tick(1_700_000_000_123_000_000)
    table.counter("cost_usd_total").add(("planner", "gpt-4o"), 0.25, TRACE_ID)
    table.gauge("uptime_seconds").set((), 12.5)
    table.histogram("call_seconds").observe(("planner", "gpt-4o"), 0.75, TRACE_ID)
    table.histogram("wait_seconds").observe((), 3)
    return table


def text_of(
    table: MetricTable, style: Style | None = None, *, openmetrics: bool = False, only: tuple[str, ...] = ()
) -> str:
    """Return a whole page."""
    pieces = render(table.families(), style or Style(), openmetrics=openmetrics, only=only)
    return "".join(pieces) + ("# EOF\n" if openmetrics else "")


def parsed(page: str, *, openmetrics: bool) -> dict[str, Parsed]:
    """Return what the library reads on a page."""
    families: Iterator[Parsed] = parse_openmetrics(page) if openmetrics else parse_text(page)
    return {family.name: family for family in families}


def test_the_text_format() -> None:
    """Exactly these lines."""
    assert text_of(filled()) == (
        "# HELP cost_usd_total Cost: \\\\ and\\na new line.\n"
        "# TYPE cost_usd_total counter\n"
        'cost_usd_total{agent="planner",model="gpt-4o"} 0.25\n'
        "# HELP uptime_seconds Uptime.\n"
        "# TYPE uptime_seconds gauge\n"
        "uptime_seconds 12.5\n"
        "# HELP call_seconds Duration.\n"
        "# TYPE call_seconds histogram\n"
        'call_seconds_bucket{agent="planner",model="gpt-4o",le="0.5"} 0\n'
        'call_seconds_bucket{agent="planner",model="gpt-4o",le="1.0"} 1\n'
        'call_seconds_bucket{agent="planner",model="gpt-4o",le="2e+06"} 1\n'
        'call_seconds_bucket{agent="planner",model="gpt-4o",le="+Inf"} 1\n'
        'call_seconds_count{agent="planner",model="gpt-4o"} 1\n'
        'call_seconds_sum{agent="planner",model="gpt-4o"} 0.75\n'
        "# HELP wait_seconds Waiting.\n"
        "# TYPE wait_seconds histogram\n"
        'wait_seconds_bucket{le="1.0"} 0\n'
        'wait_seconds_bucket{le="+Inf"} 1\n'
        "wait_seconds_count 1\n"
        "wait_seconds_sum 3\n"
    )


def test_the_openmetrics_format() -> None:
    """Counters are named without `_total`, units are told, exemplars stand behind values."""
    page = text_of(filled(), openmetrics=True, only=("cost_usd", "call_seconds"))

    exemplar = '# {trace_id="000102030405060708090a0b0c0d0e0f"}'
    assert page == (
        "# HELP cost_usd Cost: \\\\ and\\na new line.\n"
        "# TYPE cost_usd counter\n"
        "# UNIT cost_usd usd\n"
        f'cost_usd_total{{agent="planner",model="gpt-4o"}} 0.25 {exemplar} 0.25 1700000000.123\n'
        "# HELP call_seconds Duration.\n"
        "# TYPE call_seconds histogram\n"
        "# UNIT call_seconds seconds\n"
        'call_seconds_bucket{agent="planner",model="gpt-4o",le="0.5"} 0\n'
        f'call_seconds_bucket{{agent="planner",model="gpt-4o",le="1.0"}} 1 {exemplar} 0.75 1700000000.123\n'
        'call_seconds_bucket{agent="planner",model="gpt-4o",le="2e+06"} 1\n'
        'call_seconds_bucket{agent="planner",model="gpt-4o",le="+Inf"} 1\n'
        'call_seconds_count{agent="planner",model="gpt-4o"} 1\n'
        'call_seconds_sum{agent="planner",model="gpt-4o"} 0.75\n'
        "# EOF\n"
    )


@pytest.mark.parametrize("openmetrics", [False, True])
def test_a_namespace_and_constant_labels_stand_on_every_series(openmetrics: bool) -> None:
    """On those without labels of their own too."""
    style = Style("acme", {"cluster": HOSTILE[:10], "zone": "b"})
    families = parsed(text_of(filled(), style, openmetrics=openmetrics), openmetrics=openmetrics)

    assert set(families) == {"acme_cost_usd", "acme_uptime_seconds", "acme_call_seconds", "acme_wait_seconds"}
    for sample in itertools.chain.from_iterable(family.samples for family in families.values()):
        assert sample.labels["cluster"] == HOSTILE[:10]
        assert sample.labels["zone"] == "b"


@pytest.mark.parametrize("openmetrics", [False, True])
def test_hostile_labels_are_read_back_as_they_were_cleaned(openmetrics: bool) -> None:
    """Quotes, backslashes, line ends, NUL and half a surrogate pair break no line."""
    table = MetricTable(ROWS)
    table.counter("cost_usd_total").add((HOSTILE, ""), 1)
    families = parsed(text_of(table, openmetrics=openmetrics), openmetrics=openmetrics)

    (sample,) = families["cost_usd"].samples
    assert sample.labels == {"agent": 'quo"te \\ backline? größe 😀 {}=,#', "model": ""}


@pytest.mark.parametrize("openmetrics", [False, True])
@given(
    st.dictionaries(
        st.tuples(st.text(st.characters(exclude_categories=())), st.text()),
        st.lists(st.floats(0, 2**53) | st.integers(0, 2**53), min_size=1, max_size=5),
        max_size=8,
    )
)
def test_whatever_is_counted_is_read_back(openmetrics: bool, observed: Mapping[tuple[str, str], list[float]]) -> None:
    """Sums, counts and cumulative buckets, in both formats."""
    table = MetricTable(ROWS)
    expected: dict[tuple[str, str], list[float]] = {}
    for labels, values in observed.items():
        expected.setdefault((clean(labels[0]), clean(labels[1])), []).extend(values)
        for value in values:
            table.counter("cost_usd_total").add(labels, value, TRACE_ID)
            table.histogram("call_seconds").observe(labels, value, TRACE_ID)
    families = parsed(text_of(table, openmetrics=openmetrics), openmetrics=openmetrics)

    costs = families["cost_usd"].samples if observed else []
    assert {(sample.labels["agent"], sample.labels["model"]): sample.value for sample in costs} == {
        labels: pytest.approx(sum(values)) for labels, values in expected.items()
    }
    for labels, values in expected.items():
        own = [
            sample
            for sample in families["call_seconds"].samples
            if (sample.labels["agent"], sample.labels["model"]) == labels
        ]
        for sample in own:
            if sample.name.endswith("_bucket"):
                assert sample.value == sum(value <= float(sample.labels["le"]) for value in values)
        assert [sample.value for sample in own if sample.name.endswith("_count")] == [len(values)]


@pytest.mark.parametrize("openmetrics", [False, True])
def test_every_row_of_the_table_is_valid(openmetrics: bool) -> None:
    """Names, units and suffixes of all our metrics, as strictly as the library's parser takes them."""
    table = MetricTable()
    for row in METRICS:
        labels = tuple(label.values[0] if label.values else "x" for label in row.labels)
        if row.type == "counter":
            table.counter(row.name).add(labels, 1, TRACE_ID)
        elif row.type == "gauge":
            table.gauge(row.name).set(labels, 1)
        else:
            table.histogram(row.name).observe(labels, 1, TRACE_ID)
    parse = parse_openmetrics if openmetrics else parse_text
    found = {(family.name, family.type): family for family in parse(text_of(table, openmetrics=openmetrics))}

    assert len(found) == len(METRICS)
    for row in METRICS:
        name = row.name.removesuffix("_total") if row.type == "counter" else row.name
        wanted = (row.name, "unknown") if openmetrics and row.name in UNTYPED else (name, row.type)
        assert found[wanted].documentation == row.help


@pytest.mark.parametrize(
    ("only", "shown"),
    [
        ("cost_usd_total", {"cost_usd"}),
        ("cost_usd", {"cost_usd"}),
        ("call_seconds_bucket", {"call_seconds"}),
        ("uptime_seconds", {"uptime_seconds"}),
        ("nothing", set()),
    ],
)
def test_families_can_be_picked_by_name(only: str, shown: set[str]) -> None:
    """By the name of the family or of one of its samples."""
    assert set(parsed(text_of(filled(), only=(only,)), openmetrics=False)) == shown


def test_families_without_series_are_left_out() -> None:
    """A page of headings would be larger than a page of numbers."""
    assert text_of(MetricTable(ROWS)) == ""


def test_pieces_are_small_and_histograms_stay_whole_while_the_table_changes() -> None:
    """Between two pieces anything may be added; buckets, sum and count of a series agree all the same."""
    table = MetricTable(ROWS, 10_000)
    seconds = table.histogram("call_seconds")
    for number in range(2000):
        seconds.observe((f"agent-{number}", ""), 1)
    pieces = []
    for piece in render(table.families(), Style(), openmetrics=False):
        pieces.append(piece)
        for number in range(2010):
            seconds.observe((f"agent-{number}", ""), 1)

    assert max(piece.count("\n") for piece in pieces) <= CHUNK_LINES + 3
    family = parsed("".join(pieces), openmetrics=False)["call_seconds"]
    whole: dict[str, set[float]] = {}
    for sample in family.samples:
        if sample.labels.get("le", "+Inf") == "+Inf":
            whole.setdefault(sample.labels["agent"], set()).add(sample.value)
    assert len(whole) == 2000
    assert all(len(values) == 1 for values in whole.values())


def test_stale_series_are_left_out() -> None:
    """Those of agents that were silent since then; the numbers about the sidecar stay."""
    table = MetricTable()
    table.tick(100)
    table.counter("spanledger_llm_retries_total").add(("s", "old", "", ""))
    table.tick(200)
    table.counter("spanledger_llm_retries_total").add(("s", "new", "", ""))
    page = "".join(render(table.families(), Style(), openmetrics=False, since_ns=150))

    assert 'agent_name="new"' in page
    assert 'agent_name="old"' not in page
    assert "spanledger_config_reloads_total" in page

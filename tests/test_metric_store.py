"""The metric table: what is added is there, whatever the labels and the values are."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spanledger.conventions.metrics import AGENT, MODEL, OTHER, SERVICE, STATUS, Label, Metric
from spanledger.processor.metric_store import (
    FORGET_AFTER_NS,
    MAX_LABEL_CHARS,
    MAX_VALUE,
    SAY_AGAIN_NS,
    SWEEP_EVERY_NS,
    MetricTable,
    clean,
    cleaned,
)

CALLS = Metric("calls_total", "counter", "Calls.", (SERVICE, AGENT, MODEL, STATUS))
SECONDS = Metric("call_seconds", "histogram", "Duration.", (SERVICE, AGENT), "seconds", (1.0, 2.0, 5.0))
OPEN = Metric("open_runs", "gauge", "Open runs.", (SERVICE, AGENT))
OUTCOMES = Metric("outcomes_total", "counter", "Outcomes.", (STATUS, Label("signal", "Signal", ("a", "b", "c"))))
INFO = Metric(
    "agent_info", "gauge", "Agents.", (SERVICE, AGENT, Label("version", "Version"), Label("framework", "Framework"))
)
QUEUE = Metric("queue_size", "gauge", "Queue.", (Label("exporter", "Exporter"),))
OVERFLOW = Metric("spanledger_series_overflow_total", "counter", "Overflow.", (Label("metric", "Metric"),))
REFUSED = Metric("spanledger_refused_values_total", "counter", "Refused.", (Label("metric", "Metric"),))
ROWS = (CALLS, SECONDS, OPEN, INFO, OUTCOMES, QUEUE, OVERFLOW, REFUSED)

MINUTE_NS = 60 * 10**9


def table(max_series: int = 100) -> MetricTable:
    """Return an empty table."""
    made = MetricTable(ROWS, max_series)
    made.tick(10**18)
    return made


def value(metrics: MetricTable, name: str, *labels: str) -> float | None:
    """Return the value of one counter; None when there is no such series."""
    cell = metrics.counter(name).get(labels)
    return None if cell is None else cell.value


def test_a_counter_adds_up() -> None:
    """Two additions to the same labels are one series."""
    metrics = table()
    calls = metrics.counter("calls_total")
    calls.add(("s", "a", "m", "ok"))
    calls.add(("s", "a", "m", "ok"), 4)

    assert value(metrics, "calls_total", "s", "a", "m", "ok") == 5
    assert len(calls) == 1


def test_adding_zero_creates_the_series() -> None:
    """An alert can see a counter before its first event."""
    metrics = table()
    metrics.counter("calls_total").add(("s", "a", "m", "error"), 0)

    assert value(metrics, "calls_total", "s", "a", "m", "error") == 0


def test_a_counter_whose_labels_are_closed_sets_is_there_from_the_start() -> None:
    """Every combination is shown as 0 before anything happened."""
    metrics = table()

    assert [cell.value for cell in metrics.counter("outcomes_total").cells()] == [0] * 6


def test_closed_sets_are_created_around_what_is_known() -> None:
    """A receiver knows its own name; the reasons to refuse are in the table."""
    metrics = table()
    metrics.counter("calls_total").zeros(service_name="s", agent_name="a", model="m")

    assert [cell.text for cell in metrics.counter("calls_total").cells()] == [
        'service_name="s",agent_name="a",model="m",status="ok"',
        'service_name="s",agent_name="a",model="m",status="error"',
    ]


def test_a_gauge_is_replaced_and_can_be_removed() -> None:
    """The last value holds, until the series is dropped."""
    queue = table().gauge("queue_size")
    queue.set(("otlp",), 3)
    queue.set(("otlp",), 1)

    assert [cell.value for cell in queue.cells()] == [1]
    queue.remove(("otlp",))
    assert queue.cells() == []


def test_a_histogram_counts_into_the_bucket_whose_bound_is_not_below() -> None:
    """A value equal to a bound belongs to it: `le` is "less or equal"."""
    seconds = table().histogram("call_seconds")
    for observed in (0.5, 1.0, 1.5, 5.0, 6.0):
        seconds.observe(("s", "a"), observed)

    (cell,) = seconds.cells()
    assert cell.counts == [2, 1, 1, 1]
    assert cell.value == 14.0


def test_other_buckets_start_anew() -> None:
    """Counts of other bounds cannot be carried over; equal bounds change nothing."""
    seconds = table().histogram("call_seconds")
    seconds.observe(("s", "a"), 3)
    seconds.set_bounds([1.0, 2.0, 5.0])
    assert len(seconds) == 1

    seconds.set_bounds([10.0])
    seconds.observe(("s", "a"), 3)

    assert [cell.counts for cell in seconds.cells()] == [[1, 0]]


@pytest.mark.parametrize("hostile", [math.nan, math.inf, -math.inf, -1, MAX_VALUE + 1, 10**400])
def test_what_is_no_measurement_is_refused_and_counted(hostile: float) -> None:
    """One NaN would make a sum NaN for ever."""
    metrics = table()
    metrics.counter("calls_total").add(("s", "a", "m", "ok"), hostile)
    metrics.histogram("call_seconds").observe(("s", "a"), hostile)

    assert metrics.counter("calls_total").cells() == []
    assert metrics.histogram("call_seconds").cells() == []
    assert value(metrics, REFUSED.name, "calls_total") == 1
    assert value(metrics, REFUSED.name, "call_seconds") == 1


def test_a_gauge_may_be_negative_but_not_infinite() -> None:
    """Only counts and sizes have a floor."""
    metrics = table()
    metrics.gauge("queue_size").set(("x",), -2)
    metrics.gauge("queue_size").set(("x",), math.inf)

    assert [cell.value for cell in metrics.gauge("queue_size").cells()] == [-2]


def test_an_unknown_name_is_an_error_at_once() -> None:
    """A number nobody declared is not silently lost."""
    with pytest.raises(KeyError):
        table().counter("no_such_total")


def test_a_family_of_another_type_is_an_error_at_once() -> None:
    """A gauge cannot be taken for a counter."""
    with pytest.raises(KeyError):
        table().counter("queue_size")


def test_two_rows_of_one_name_are_an_error() -> None:
    """A row is copied more easily than renamed."""
    with pytest.raises(ValueError, match="calls_total"):
        MetricTable((CALLS, CALLS))


def test_the_wrong_number_of_labels_is_an_error() -> None:
    """A fault of ours, told with the labels that there are."""
    with pytest.raises(ValueError, match="service_name"):
        table().counter("calls_total").add(("s",))


def test_an_exemplar_is_the_last_trace_of_the_series_and_of_the_bucket() -> None:
    """Bounded: one for a counter, one for each bucket."""
    metrics = table()
    for number in range(3):
        metrics.tick(number)
        metrics.counter("calls_total").add(("s", "a", "m", "ok"), 2, bytes([number]) * 16)
        metrics.histogram("call_seconds").observe(("s", "a"), number, bytes([number]) * 16)

    (counter,) = metrics.counter("calls_total").cells()
    (histogram,) = metrics.histogram("call_seconds").cells()
    assert counter.exemplar == (b"\2" * 16, 2, 2)
    assert histogram.exemplars == [(b"\1" * 16, 1, 1), (b"\2" * 16, 2, 2), None, None]


def test_adding_zero_is_no_example_of_anything() -> None:
    """The exemplar of the last real event stays."""
    calls = table().counter("calls_total")
    calls.add(("s", "a", "m", "ok"), 1, b"\1" * 16)
    calls.add(("s", "a", "m", "ok"), 0, b"\2" * 16)

    assert [cell.exemplar and cell.exemplar[0] for cell in calls.cells()] == [b"\1" * 16]


def test_too_many_series_are_counted_under_other() -> None:
    """What clients chose is replaced, closed sets and unknown values stay, and it is counted."""
    metrics = table(max_series=3)
    for number in range(10):
        metrics.counter("calls_total").add(("s", "", f"model-{number}", "ok"))

    assert value(metrics, "calls_total", "s", "", "model-2", "ok") == 1
    assert value(metrics, "calls_total", OTHER, "", OTHER, "ok") == 7
    assert value(metrics, OVERFLOW.name, "calls_total") == 7


def test_all_metrics_together_have_a_limit_in_lines_of_a_scrape() -> None:
    """A histogram's series is as many as its buckets, its sum and its count; one service has half."""
    metrics = MetricTable(ROWS, 1000, 100)
    seconds, calls = metrics.histogram("call_seconds"), metrics.counter("calls_total")
    for number in range(20):
        calls.add(("s", "a", f"model-{number}", "ok"))
    for number in range(20):
        seconds.observe(("s", f"agent-{number}"), 1)  # six lines each

    assert len(seconds) == (50 - 20) // 6 + 1
    assert sum(sum(cell.counts) for cell in seconds.cells()) == 20
    assert value(metrics, OVERFLOW.name, "call_seconds") == 15
    calls.add(("s", "a", "model-20", "ok"))
    calls.add(("s", "a", "model-0", "ok"))

    assert value(metrics, "calls_total", OTHER, OTHER, OTHER, "ok") == 1
    assert value(metrics, "calls_total", "s", "a", "model-0", "ok") == 2


def test_a_service_with_too_many_lines_leaves_others_their_part() -> None:
    """Whatever metrics the first one fills, the second has half of what is left."""
    metrics = MetricTable(ROWS, 1000, 100)
    for number in range(1000):
        metrics.counter("calls_total").add(("greedy", "a", f"model-{number}", "ok"))
    for number in range(4):
        metrics.histogram("call_seconds").observe(("other", f"agent-{number}"), 1)

    assert metrics.histogram("call_seconds").get(("other", "agent-2")) is not None


def test_lines_are_given_back_when_series_go() -> None:
    """Removed, forgotten, and counted into other buckets: nothing of it stays in the sum, however often."""
    metrics = MetricTable(ROWS, 1000, 1000)
    seconds, calls = metrics.histogram("call_seconds"), metrics.counter("calls_total")
    for number in range(20_000):
        metrics.tick(10**18 + number * MINUTE_NS)
        seconds.observe((f"s-{number}", "a"), 1)
        calls.add((f"s-{number}", "a", "m", "ok"))
        if number % 1000 == 0:
            seconds.set_bounds([float(number + 1)] * (1 + number % 3000 // 1000))
    shown = sum(len(cell.counts) + 2 for cell in seconds.cells()) + len(calls)

    assert shown <= 1000 + 10
    assert metrics._shared.all_lines == shown == sum(metrics._shared.lines.values())
    assert len(metrics._shared.owners) <= len(calls) + 1


def test_that_all_metrics_are_full_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    """Not once for each of a hundred metrics."""
    metrics = MetricTable(ROWS, 1000, 20)
    for number in range(30):
        metrics.counter("calls_total").add(("s", f"agent-{number}", "m", "ok"))
        metrics.histogram("call_seconds").observe(("s", f"agent-{number}"), 1)

    assert len(caplog.messages) == 1
    assert "total_series_limit" in caplog.messages[0]


def test_a_series_made_at_zero_is_no_overflow() -> None:
    """Only what counts counts as overflow."""
    metrics = table(max_series=1)
    metrics.counter("calls_total").add(("s", "a", "m", "ok"), 0)
    metrics.counter("calls_total").add(("s", "a", "n", "ok"), 0)

    assert value(metrics, "calls_total", OTHER, OTHER, OTHER, "ok") == 0
    assert value(metrics, OVERFLOW.name, "calls_total") is None


def test_known_series_go_on_when_the_metric_is_full() -> None:
    """The limit is for newcomers."""
    metrics = table(max_series=1)
    for _ in range(5):
        metrics.counter("calls_total").add(("s", "a", "m", "ok"))

    assert value(metrics, "calls_total", "s", "a", "m", "ok") == 5


def test_what_found_no_room_gets_it_when_a_series_goes() -> None:
    """Each value until then is an overflow."""
    metrics = table(max_series=2)
    calls = metrics.counter("calls_total")
    for model in ("m0", "m1", "m2", "m2"):
        calls.add(("s", "a", model, "ok"))

    assert value(metrics, "calls_total", OTHER, OTHER, OTHER, "ok") == 2
    assert value(metrics, OVERFLOW.name, "calls_total") == 2

    for model in ("m0", "m1"):
        calls.remove(("s", "a", model, "ok"))
    calls.add(("s", "a", "m2", "ok"))

    assert value(metrics, "calls_total", "s", "a", "m2", "ok") == 1
    assert value(metrics, OVERFLOW.name, "calls_total") == 2


def test_what_found_no_room_gets_it_by_a_higher_limit() -> None:
    """A reload that raises the limit holds for labels that were counted elsewhere before."""
    metrics = table(max_series=1)
    for _ in range(2):
        for model in ("m0", "m1"):
            metrics.counter("calls_total").add(("s", "a", model, "ok"))
    metrics.set_limits(10, 1000)
    metrics.counter("calls_total").add(("s", "a", "m1", "ok"))

    assert value(metrics, "calls_total", "s", "a", "m1", "ok") == 1


def test_labels_that_are_cleaned_stay_one_series() -> None:
    """Also when they come again, and when the series is made anew."""
    metrics = table()
    calls = metrics.counter("calls_total")
    for _ in range(2):
        calls.add(("s", "a\n", "m", "ok"))

    assert value(metrics, "calls_total", "s", "a", "m", "ok") == 2

    calls.remove(("s", "a", "m", "ok"))
    calls.add(("s", "a\n", "m", "ok"))

    assert value(metrics, "calls_total", "s", "a", "m", "ok") == 1


def test_labels_from_the_configuration_are_not_limited() -> None:
    """The limit is against data; an operator's own eleventh exporter is shown."""
    queue = table(max_series=2).gauge("queue_size")
    for number in range(11):
        queue.set((f"otlp/{number}",), number)

    assert len(queue) == 11


def test_a_lower_limit_keeps_what_is_there() -> None:
    """A reload with a smaller limit resets nothing."""
    metrics = table()
    for number in range(5):
        metrics.counter("calls_total").add(("s", "a", f"m{number}", "ok"))
    metrics.set_limits(2, 1000)
    metrics.counter("calls_total").add(("s", "a", "m4", "ok"))
    metrics.counter("calls_total").add(("s", "a", "m5", "ok"))

    assert value(metrics, "calls_total", "s", "a", "m4", "ok") == 2
    assert value(metrics, "calls_total", OTHER, OTHER, OTHER, "ok") == 1


def test_all_series_of_an_agent_stay_while_any_of_them_changes() -> None:
    """An error counter at 0 must not vanish while there are no errors."""
    metrics = table()
    calls = metrics.counter("calls_total")
    calls.add(("s", "a", "m", "error"), 0)
    calls.add(("s", "b", "m", "ok"))
    metrics.tick(10**18 + 10 * MINUTE_NS)
    calls.add(("s", "a", "m", "ok"))

    shown = [cell.text for cell in calls.cells(since_ns=10**18 + 5 * MINUTE_NS)]
    assert shown == [
        'service_name="s",agent_name="a",model="m",status="error"',
        'service_name="s",agent_name="a",model="m",status="ok"',
    ]


def test_what_comes_back_goes_on_from_its_old_value() -> None:
    """A job that runs every ten minutes must not look like a counter that never grows."""
    metrics = table()
    calls = metrics.counter("calls_total")
    calls.add(("s", "a", "m", "ok"), 3)
    metrics.tick(10**18 + 10 * MINUTE_NS)
    assert calls.cells(since_ns=10**18 + 5 * MINUTE_NS) == []

    calls.add(("s", "a", "m", "ok"), 3)

    assert [cell.value for cell in calls.cells(since_ns=10**18 + 5 * MINUTE_NS)] == [6]


def test_series_about_the_sidecar_never_go_stale() -> None:
    """A queue's capacity is set once."""
    metrics = table()
    metrics.gauge("queue_size").set(("otlp",), 1000)
    metrics.tick(10**18 + 1000 * MINUTE_NS)

    assert len(metrics.gauge("queue_size").cells(since_ns=10**18 + 999 * MINUTE_NS)) == 1


def test_a_full_metric_forgets_who_was_silent_for_an_hour() -> None:
    """Room is made for those who are there; all series of the silent one go."""
    metrics = table(max_series=2)
    calls, seconds = metrics.counter("calls_total"), metrics.histogram("call_seconds")
    calls.add(("s", "old", "m", "ok"))
    seconds.observe(("s", "old"), 1)
    metrics.tick(10**18 + FORGET_AFTER_NS + 1)
    calls.add(("s", "new", "m", "ok"))
    calls.add(("s", "newer", "m", "ok"))

    assert value(metrics, "calls_total", "s", "newer", "m", "ok") == 1
    assert value(metrics, "calls_total", "s", "old", "m", "ok") is None
    assert seconds.cells() == []


def test_a_full_metric_looks_for_room_only_now_and_then() -> None:
    """New labels in every span must not cost a look at everything each time."""
    metrics = table(max_series=2)
    calls = metrics.counter("calls_total")
    calls.add(("s", "old", "m", "ok"))
    calls.add(("s", "old", "n", "ok"))
    nearly_ns = 10**18 + FORGET_AFTER_NS - SWEEP_EVERY_NS // 2
    for now_ns in (nearly_ns, nearly_ns + SWEEP_EVERY_NS - 1):
        metrics.tick(now_ns)
        calls.add(("s", "new", "m", "ok"))
        assert value(metrics, "calls_total", "s", "new", "m", "ok") is None

    metrics.tick(nearly_ns + SWEEP_EVERY_NS)
    calls.add(("s", "new", "m", "ok"))

    assert value(metrics, "calls_total", "s", "new", "m", "ok") == 1


@pytest.mark.parametrize(
    ("hostile", "harmless"),
    [
        ("gpt-4o", "gpt-4o"),
        ("größe", "größe"),
        ("a\x00b\nc\x7f\x85d", "abcd"),
        ("\ud800x", "?x"),
        ("x" * 128, "x" * 128),
        ("x" * 10_000_000, "x" * 127 + "…"),
        ("\n" * 1000 + "x", ""),
        ("a\u202eb\u202ac\u2066d\u2069e", "abcde"),
    ],
)
def test_label_values_are_cleaned(hostile: str, harmless: str) -> None:
    """No control characters, valid Unicode, at most 128 characters."""
    assert clean(hostile) == harmless


@given(st.lists(st.text(st.characters(exclude_categories=()))).map(tuple))
def test_label_sets_are_cleaned_value_by_value(labels: tuple[str, ...]) -> None:
    """Though they are looked at together."""
    assert cleaned(labels) == tuple(map(clean, labels))


@given(st.text(st.characters(exclude_categories=())))
def test_any_text_becomes_a_valid_label_value(text: str) -> None:
    """Cleaning is total, bounded, and done once is done for good."""
    value = clean(text)

    assert len(value) <= MAX_LABEL_CHARS
    assert value.encode().decode() == value
    assert not set(value) & {chr(code) for code in (*range(32), *range(127, 160))}
    assert clean(value) == value


def test_one_service_cannot_take_the_room_of_another() -> None:
    """Of twice the limit a service has at most half of what the others leave."""
    metrics = table(max_series=4)
    calls = metrics.counter("calls_total")
    for service in ("hostile", "shop", "bank"):
        for number in range(50):
            calls.add((service, "a", f"m{number}", "ok"))

    owned = [cell.text.split('"')[1] for cell in calls.cells()]
    # 8 / 2; one for what overflowed; (8 - 5) / 2; (8 - 6) / 2.
    assert {name: owned.count(name) for name in owned} == {"hostile": 4, OTHER: 1, "shop": 1, "bank": 1}
    assert sum(cell.value for cell in calls.cells()) == 150


def test_overflow_is_said_once_with_metric_label_and_service(caplog: pytest.LogCaptureFixture) -> None:
    """Whoever reads the log knows where to look; again only after an hour."""
    metrics = table(max_series=3)
    calls = metrics.counter("calls_total")
    for number in range(50):
        calls.add(("shop", "a", f"m{number}", "ok"))
    (line,) = caplog.messages
    assert "calls_total" in line
    assert "'shop' has 3 series" in line
    assert "model (3)" in line

    metrics.tick(10**18 + SAY_AGAIN_NS)
    calls.add(("shop", "a", "m77", "ok"))
    assert len(caplog.messages) == 2


def test_what_an_exporter_still_shows_is_not_forgotten() -> None:
    """`metric_expiration` beyond an hour holds; 0 is for ever."""
    for shown_ns, after_ns, forgotten in (
        (2 * FORGET_AFTER_NS, FORGET_AFTER_NS + 1, False),
        (2 * FORGET_AFTER_NS, 2 * FORGET_AFTER_NS + 1, True),
        (1, FORGET_AFTER_NS - 1, False),
        (0, 1000 * FORGET_AFTER_NS, False),
    ):
        metrics = table(max_series=1)
        metrics.keep(shown_ns)
        calls = metrics.counter("calls_total")
        calls.add(("s", "old", "m", "ok"))
        metrics.tick(10**18 + after_ns)
        calls.add(("s", "new", "m", "ok"))
        assert (calls.get(("s", "old", "m", "ok")) is None) is forgotten


def test_new_buckets_leave_nothing_of_the_old_series_behind() -> None:
    """An owner that lists series which are no more would grow with every reload."""
    metrics = table()
    seconds = metrics.histogram("call_seconds")
    for bound in range(1, 20):
        seconds.set_bounds([float(bound)])
        seconds.observe(("s", "a"), 3)

    (owner,) = metrics._shared.owners.values()
    assert len(owner.series) == 1


texts = st.sampled_from(["", "a", "b", "c\n", "d" * 300, OTHER, '"', "\ud801"])


@given(
    st.lists(st.tuples(texts, texts, texts, st.sampled_from(STATUS.values), st.integers(0, 100))),
    st.integers(1, 6),
)
def test_sums_survive_the_limit(additions: Sequence[tuple[str, str, str, str, int]], max_series: int) -> None:
    """Whatever is folded: the total and the total of each closed value are right, and series are bounded."""
    metrics = table(max_series)
    calls = metrics.counter("calls_total")
    for *labels, count in additions:
        calls.add(tuple(labels), count)  # type: ignore[arg-type]

    for status in STATUS.values:
        shown = sum(cell.value for cell in calls.cells() if f'status="{status}"' in cell.text)
        assert shown == sum(count for *_, its, count in additions if its == status)
    # `__other__` or "" in each of three open labels, with each of two statuses.
    assert len(calls) <= max_series + 2**3 * 2


# -- what is known of an agent --


def told(metrics: MetricTable) -> list[tuple[str, ...]]:
    """Return the labels of the info series."""
    family = metrics.gauge("agent_info")
    assert all(cell.value == 1 for cell in family.cells())
    return list(family._cells)


def test_an_agent_has_one_info_series() -> None:
    """What is told adds up; something else takes the place of what was told before."""
    metrics = table()
    info = metrics.gauge("agent_info")
    info.tell(("s", "a", "", ""))
    info.tell(("s", "a", "1.0", ""))
    info.tell(("s", "a", "", "crewai"))
    info.tell(("s", "b", "", ""))
    assert sorted(told(metrics)) == [("s", "a", "1.0", "crewai"), ("s", "b", "", "")]
    info.tell(("s", "a", "2.0", ""))
    assert sorted(told(metrics)) == [("s", "a", "2.0", "crewai"), ("s", "b", "", "")]


def test_what_was_told_before_is_told_anew_when_something_else_took_its_place() -> None:
    """That it changed nothing then does not mean that it changes nothing now."""
    metrics = table()
    info = metrics.gauge("agent_info")
    for version in ("1.0", "", "2.0", "1.0", ""):
        info.tell(("s", "a", version, ""))
    assert told(metrics) == [("s", "a", "1.0", "")]


def test_a_guess_fills_a_gap_and_replaces_nothing() -> None:
    """Who knows better comes later, or came before."""
    metrics = table()
    info = metrics.gauge("agent_info")
    info.tell(("s", "a", "", "openai"), surely=False)
    info.tell(("s", "a", "", "crewai"))
    info.tell(("s", "a", "", "openai"), surely=False)
    assert told(metrics) == [("s", "a", "", "crewai")]


def test_the_info_of_an_agent_goes_with_the_agent() -> None:
    """And what was known is not known of the next one of that name."""
    metrics = table()
    info = metrics.gauge("agent_info")
    info.tell(("s", "a\x00", "1.0", ""))
    assert told(metrics) == [("s", "a", "1.0", "")]
    for labels in told(metrics):
        info.remove(labels)
    info.tell(("s", "a", "", "crewai"))
    assert told(metrics) == [("s", "a", "", "crewai")]
    assert len(info._told) == 1

"""Whatever comes in whatever order: nothing is lost unseen, nothing waits for ever, sums hold."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from spanledger.conventions.step import Step
from spanledger.processor.trajectory import store
from spanledger.processor.trajectory.config import TrajectoryConfig
from spanledger.processor.trajectory.records import Record
from tests.assembled_runs import Bench, agent, bridge, run, spans_of, step, tool

MAX_HOT = store.MAX_HOT
CONFIG = TrajectoryConfig.model_validate(
    {
        "idle_timeout": "60s",
        "max_duration": "300s",
        "stitch_window": "20s",
        "late": {"remember": "100s", "forget": "1000s"},
        "memory": {"max_runs": 6, "max_spans_per_run": 8, "limit_mib": 1},
    }
)


def spans(number: int) -> list[Record]:
    """Return the spans of one trace, each with another shape and cost."""
    shapes: list[list[Record]] = [
        run(number),
        [step(2, 1, number), agent(1, 0, number)],
        [step(3, 2, number), bridge(2, 1, number), agent(1, 0, number)],
        [step(3, 2, number), agent(2, 1, number, spans=3), tool(4, 1, number), agent(1, 0, number)],
        [step(1, 0, number)],
        [step(3, 2, number), bridge(2, 9, number, remote_parent=True, kind=2)],
        [bridge(2, 1, number), bridge(1, 0, number)],
        [step(n, 1, number) for n in range(2, 14)],
        [skewed(3, 2, number), bridge(2, 1, number, kind=3), agent(1, 0, number)],
        [step(3, 7, number), step(4, 8, number), agent(1, 0, number)],
    ]
    return shapes[number % len(shapes)]


def skewed(number: int, parent: int, trace_number: int) -> Step:
    """Return a call of a service whose clock is an hour ahead."""
    made = step(number, parent, trace_number, service_name="elsewhere")
    return replace(made, start_ns=made.start_ns + 3600 * 10**9, end_ns=made.end_ns + 3600 * 10**9, remote_parent=True)


class Arrivals(RuleBasedStateMachine):
    """Spans of several traces arrive, twice, late, or never, while time passes."""

    def __init__(self) -> None:
        super().__init__()
        self.bench = Bench(CONFIG)
        self.coming: list[Record] = []
        self.came: list[Record] = []
        self.traces = 0

    @rule(order=st.randoms(use_true_random=False))
    def begin(self, order: random.Random) -> None:
        """Let an agent run, and its spans be on their way."""
        self.traces += 1
        self.coming += spans(self.traces)
        order.shuffle(self.coming)

    @precondition(lambda self: self.coming)
    @rule(count=st.integers(1, 4))
    def arrive(self, count: int) -> None:
        """Take the next spans, as one request."""
        taken = [self.coming.pop() for _ in range(min(count, len(self.coming)))]
        self.came += taken
        self.bench.take(*taken)

    @precondition(lambda self: self.came)
    @rule(which=st.randoms(use_true_random=False))
    def arrive_again(self, which: random.Random) -> None:
        """Take a span once more."""
        before = self.bench.count("spanledger_trajectory_spans_total", "new")
        self.bench.take(which.choice(self.came))

        again = self.bench.count("spanledger_trajectory_spans_total", "new") - before
        assert not again or self.forgot() or self.bench.count("spanledger_trajectory_unrelated_spans_total")

    @precondition(lambda self: self.coming)
    @rule()
    def drop(self) -> None:
        """Lose a span."""
        self.coming.pop()

    @rule(seconds=st.sampled_from([0.5, 4.0, 6.0, 31.0, 61.0, 120.0]))
    def wait(self, seconds: float) -> None:
        """Let time pass."""
        self.bench.wait(seconds)

    def forgot(self) -> bool:
        """Tell whether something was counted only."""
        return bool(self.counted_only())

    def counted_only(self) -> float:
        """Return the spans that are in no run."""
        count = self.bench.count
        return sum(count("spanledger_trajectory_spans_total", became) for became in ("too_late", "over_limit"))

    @rule()
    def reload(self) -> None:
        """Change the configuration: another assembly goes on."""
        self.bench.reload()

    @rule(most=st.sampled_from([1, 5, 1_000]))
    def wait_packed(self, most: int) -> None:
        """Let at most so many records wait as they are."""
        store.MAX_HOT = most

    @invariant()
    def is_bounded(self) -> None:
        """No limit is passed, and the sizes are those of what is there."""
        known = self.bench.assembly.store
        groups = {id(group): group for group in known._traces.values()}.values()

        assert known.open_groups <= CONFIG.memory.max_runs
        assert known.size_bytes == sum(group.size_bytes for group in groups)
        assert all(group.size_bytes == group._size() for group in groups)
        assert known._hot_records == sum(len(group.hot or ()) for group in groups)
        assert all(len(group) <= CONFIG.memory.max_spans_per_run for group in groups)
        assert len(known._deadlines) <= 8 * (len(groups) + self.traces)
        assert self.bench.count("spanledger_runs_open") == known.open_groups

    @invariant()
    def nothing_waits_for_ever(self) -> None:
        """Every group that is held has a time at which it is looked at, within the timeouts."""
        now_s = self.bench.clock.now_s
        for group in self.bench.assembly.store._traces.values():
            if group.state == "open":
                assert now_s < group.touched_s + CONFIG.idle_timeout
                assert now_s < group.opened_s + CONFIG.max_duration
            assert group.queued_s <= group.due_s

    def teardown(self) -> None:
        """Close all: each step that came is in exactly one run or was counted, and metrics say the same."""
        store.MAX_HOT = MAX_HOT
        self.bench.end()
        self.bench.wait(1)
        count = self.bench.count
        final = self.bench.final.values()
        came = {(record.trace_id.hex(), record.span_id.hex()) for record in self.came if isinstance(record, Step)}
        told = spans_of(final)

        assert len(told) == len(set(told)), "a step is in two runs"
        assert set(told) <= came
        assert len(came) - len(told) <= self.counted_only()
        assert self.counted_only() or set(told) == came
        assert count("spanledger_runs_total") == len({document["run_id"] for document in self.bench.documents})
        if not count("spanledger_run_corrections_total", "cost"):
            costs = sum(document["totals"]["cost_usd"] or 0 for document in final)
            assert count("spanledger_run_cost_usd_total") == pytest.approx(costs)


Arrivals.TestCase.settings = settings(
    max_examples=25, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)
)
TestArrivals = Arrivals.TestCase


ROOMY = TrajectoryConfig.model_validate({"idle_timeout": "60s", "stitch_window": "20s"})


@settings(max_examples=40, deadline=None)
@given(order=st.randoms(use_true_random=False), size=st.integers(1, 5), pause=st.sampled_from([0.0, 0.4, 1.2]))
def test_any_order_gives_the_same_runs(order: random.Random, size: int, pause: float) -> None:
    """However spans are shuffled and split over requests, with spans after the closing among them."""
    records = [record for number in range(1, 8) for record in spans(number)]
    straight = Bench(ROOMY)
    straight.take(*records)
    straight.wait(70)
    order.shuffle(records)
    bench = Bench(ROOMY)
    while records:
        bench.take(*(records.pop() for _ in range(min(size, len(records)))))
        bench.wait(pause)
    bench.wait(70)

    def facts(one: Bench) -> list[tuple[object, ...]]:
        return sorted(
            (tuple(spans_of([run])), run["outcome"], str(run["totals"]), run["completeness"])
            for run in one.final.values()
        )

    assert facts(bench) == facts(straight)
    assert bench.count("spanledger_runs_total") == len(bench.final) + bench.count(
        "spanledger_run_corrections_total", "runs"
    )


def test_a_duplicate_that_knows_more_takes_the_place_of_the_first() -> None:
    """Some SDKs send a span when it begins and again when it ends."""
    bench = Bench(ROOMY)
    first = replace(step(2, 1), end_ns=0, usage=None, cost=None)
    bench.take(first)
    bench.take(step(2, 1), first, agent(1))
    bench.wait(6)

    (document,) = bench.documents
    assert document["totals"]["cost_usd"] == 0.00025
    assert bench.count("spanledger_trajectory_spans_total", "duplicate") == 2


@pytest.mark.parametrize("most", [1, 1_000])
def test_a_span_id_that_is_used_again_is_another_span(most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Packed or not, and told twice each."""
    monkeypatch.setattr(store, "MAX_HOT", most)
    bench = Bench(ROOMY)
    again = replace(step(2, 1), start_ns=step(3).start_ns, end_ns=step(3).end_ns)
    for record in (step(2, 1), again, step(2, 1, 2), again, step(2, 1), agent(1)):
        bench.take(record)
    bench.wait(6)

    (document,) = bench.documents
    assert document["totals"]["llm_calls"] == 2
    assert bench.count("spanledger_trajectory_spans_total", "duplicate") == 2

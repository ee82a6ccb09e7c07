"""Each billed call once, end to end: the same totals in the metrics and in the runs, in whatever way spans arrive."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import replace
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from spanledger.conventions.call import Call
from spanledger.conventions.metrics import METRICS
from spanledger.conventions.reading import Cost, StepKind
from spanledger.conventions.step import Bridge, Step
from spanledger.conventions.trajectory import build
from spanledger.conventions.usage import Usage
from spanledger.processor.batch import Delivery
from spanledger.processor.genai_metrics import GenAIMetrics, GenAIMetricsConfig
from spanledger.processor.metric_store import MetricTable
from tests.fakes import Clock, host
from tests.steps import CALL

PICO_IN, PICO_OUT = 2_500_000, 10_000_000
START = 1_700_000_000_000_000_000
Totals = tuple[float, float, float, float, float, float]
"""Calls, input and output tokens, pico-dollars; tokens and pico-dollars that nobody saw."""


def step(number: int, parent: int, kind: StepKind, call: Call | None, trace: int = 1) -> Step | Bridge:
    """Return a span; a higher number lies strictly inside a lower one."""
    ids = (trace.to_bytes(16, "big"), number.to_bytes(8, "big"), parent.to_bytes(8, "big") if parent else b"")
    times = (START + number * 1000, START + 10**9 - number * 1000)
    if kind == "other":
        return Bridge(*ids, 1, *times)
    cost = None
    if call is not None:
        cost = Cost("unpriced" if call.tells_tokens else "no_usage")
        if call.pico_usd is not None:
            cost = Cost("priced", "", call.pico_usd, call.pico_input, call.pico_output)
    told = call is not None and call.tells_tokens
    return replace(
        CALL, trace_id=ids[0], span_id=ids[1], parent_span_id=ids[2], start_ns=times[0], end_ns=times[1], kind=kind,
        operation="chat" if kind == "llm" else "invoke_agent", agent_name=f"agent {number}" if kind == "agent" else "",
        usage=Usage(call.input, call.output) if call is not None and told else None, cost=cost, price=cost, call=call,
        status="error" if call is not None and call.failed else "ok", response_id=call.response_id if call else "",
        tool_name="ask" if kind == "tool" else "", model="gpt-4o" if kind == "llm" else "",
    )  # fmt: skip


def report(inference: bool, scope: str, tokens: tuple[int, int], *, priced: bool = True, **facts: object) -> Call:
    """Return what a span tells of a call."""
    usd = (tokens[0] * PICO_IN, tokens[1] * PICO_OUT) if priced and any(tokens) else (None, None)
    total = None if usd[0] is None or usd[1] is None else usd[0] + usd[1]
    told = Call(
        inference, scope, "trip", family="gpt-4o" if inference else "", input=tokens[0], output=tokens[1],
        pico_usd=total, pico_input=usd[0], pico_output=usd[1],
    )  # fmt: skip
    return replace(told, **facts)  # type: ignore[arg-type]


_SHAPES = (
    "plain", "plain", "wrapped", "silent", "quiet wrapper", "failed", "twin", "own", "halves", "half below", "refused",
)  # fmt: skip


@st.composite
def told_stories(draw: st.DrawFn) -> tuple[list[Step | Bridge], tuple[int, int]]:
    """Draw a run, and the tokens that were spent in it: what its spans say is known to be this.

    Nested agents over calls, wrapped, twinned, retried, silent, failed, halved, refused, with more than is seen. No two
    calls have equal tokens, but for what was refused: here all lie in one another's time.
    """
    numbers = itertools.count(1)
    spans: list[Step | Bridge] = []
    boolean = st.booleans()

    def agent(parent: int, depth: int) -> tuple[int, int]:
        number = next(numbers)
        below = [0, 0]
        for _ in range(draw(st.integers(0, 3 - depth))):
            deeper = depth < 2 and draw(st.integers(0, 3)) == 0
            found = agent(number, depth + 1) if deeper else call(number)
            below = [below[0] + found[0], below[1] + found[1]]
        said = draw(st.sampled_from(["nothing", "sum", "less", "more", "more"]))
        tokens = {"less": (below[0] // 2, below[1] // 2), "more": (2 * below[0] + 500, 2 * below[1] + 70)}.get(
            said, (below[0], below[1])
        )
        told = report(False, "framework", tokens, priced=draw(boolean)) if said != "nothing" and any(tokens) else None
        spans.append(step(number, parent, "agent", told))
        return tokens if told is not None and said == "more" else (below[0], below[1])

    def call(parent: int) -> tuple[int, int]:
        shape = draw(st.sampled_from(_SHAPES))
        own = len(spans) + 1
        tokens = (own * 10_007 + draw(st.integers(1, 50)) * 101, own * 1_009 + draw(st.integers(1, 20)) * 13)
        name = f"r{len(spans)}" if draw(boolean) or shape in ("twin", "halves") else ""
        priced = draw(boolean)
        if draw(st.integers(0, 3)) == 0:
            spans.append(step(next(numbers), parent, "llm", report(True, "sdk", (0, 0), failed=True)))  # an attempt
        if draw(boolean):
            bridge = next(numbers)
            spans.append(step(bridge, parent, "other", None))
            parent = bridge
        outer = inner = parent
        if shape == "half below":
            priced = True
        if shape not in ("plain", "failed", "twin", "halves"):
            outer = next(numbers)
            inner = outer
            said = {"quiet wrapper": (0, 0), "own": (tokens[0] * 3, tokens[1] * 3)}.get(shape, tokens)
            price = shape == "half below" or draw(boolean)
            told = report(True, "framework", said, priced=price)
            if told.pico_usd is not None and draw(boolean):  # it knows more of the price
                told = replace(told, pico_usd=told.pico_usd * 2, knows=draw(st.sampled_from([1, 6, 8])))
            if shape == "refused" or (shape == "silent" and name and draw(boolean)):
                told = replace(told, response_id=name or f"taken{outer}")
            spans.append(step(outer, parent, "llm", told))
            if shape == "refused" and draw(boolean):
                spans.append(step(next(numbers), outer, "llm", report(True, "sdk", (0, 0), failed=True)))
        number = next(numbers)
        used = (0, 0) if shape in ("silent", "failed") else tokens
        if shape in ("halves", "half below"):
            used = (tokens[0], 0) if draw(boolean) else (0, tokens[1])
        failed = shape in ("failed", "refused")
        if shape == "refused":
            name = f"refused{number}"
        spans.append(
            step(number, inner, "llm", report(True, "sdk", used, priced=priced, response_id=name, failed=failed))
        )
        if shape == "twin":
            twin = report(True, "other", tokens, priced=draw(boolean), response_id=name, detail=draw(st.integers(0, 2)))
            spans.append(step(next(numbers), parent, "llm", twin))
        if shape == "halves":
            rest = report(True, "other", (tokens[0] - used[0], tokens[1] - used[1]), priced=priced, response_id=name)
            spans.append(step(next(numbers), draw(st.sampled_from([parent, number])), "llm", rest))
        factor = {"failed": 0, "own": 4, "refused": 2}.get(shape, 1)
        return tokens[0] * factor, tokens[1] * factor

    spent = agent(0, 0)
    return spans, spent


def stories() -> st.SearchStrategy[list[Step | Bridge]]:
    """Draw a run only."""
    return told_stories().map(lambda told: told[0])


def table_of(
    deliveries: Sequence[Sequence[Step | Bridge]],
    waits: Sequence[float],
    looks: bool = False,
    agent_wait: str = "0",
    settle: str = "0",
) -> MetricTable:
    """Count the spans as they arrive, and return the table when all is counted. Counters never fall."""
    clock, table = Clock(), MetricTable(METRICS)
    config = GenAIMetricsConfig(settle=settle, agent_wait=agent_wait)  # type: ignore[arg-type]
    connector = GenAIMetrics(config, host("genai_metrics", clock, table))  # type: ignore[arg-type]
    seen: dict[str, float] = {}

    async def count() -> None:
        for records, wait_s in zip(deliveries, waits, strict=True):
            clock.now_s += wait_s
            steps = tuple(one for one in records if isinstance(one, Step))
            bridges = tuple(one for one in records if isinstance(one, Bridge))
            connector.commit(Delivery("traces", b"", len(records), 0, steps, bridges))
            for family in table.families() if looks else ():
                for cell in family.cells():
                    key = f"{family.metric.name}{{{cell.text}}}"
                    if family.metric.type != "gauge":
                        assert cell.value >= seen.get(key, 0), key
                        seen[key] = cell.value
        await connector.shutdown(0.0)

    asyncio.run(count())
    assert connector.statistics()["nameless_steps"] == connector.statistics()["nameless_bytes"] == 0
    return table


def metrics_of(
    deliveries: Sequence[Sequence[Step | Bridge]], waits: Sequence[float], looks: bool = False, agent_wait: str = "0"
) -> Totals:
    """Return the totals."""
    return _totals(table_of(deliveries, waits, looks, agent_wait))


def by_agent(table: MetricTable) -> Mapping[str, float]:
    """Return all that counts by agent; what is a retry is a matter of what came first."""
    found: dict[str, float] = {}
    for family in table.families():
        labels = family.metric.label_names
        if ("agent_name" in labels or "gen_ai_agent_name" in labels) and "retries" not in family.metric.name:
            for cell in family.cells():
                if value := round(sum(getattr(cell, "counts", [cell.value])), 9):
                    found[f"{family.metric.name}{{{cell.text}}}"] = value
    return found


def _totals(table: MetricTable) -> Totals:
    def total(name: str, mark: str = "") -> float:
        return sum(cell.value - cell.owed for cell in table.counter(name)._cells.values() if mark in cell.text)

    tokens, hidden = "spanledger_llm_tokens_total", "spanledger_llm_unattributed_tokens_total"
    return (
        total("spanledger_llm_calls_total"),
        total(tokens, '"input"'),
        total(tokens, '"output"'),
        round(total("spanledger_llm_cost_usd_total") * 1e12),
        total(hidden),
        round(total("spanledger_llm_unattributed_cost_usd_total") * 1e12),
    )


def runs_of(records: Sequence[Step | Bridge]) -> Totals:
    """Return what the run documents say."""
    totals = [run.totals for run in build(records)]
    return (
        sum(one.llm_calls for one in totals),
        sum(one.input_tokens for one in totals),
        sum(one.output_tokens for one in totals),
        sum(one.cost_pico_usd or 0 for one in totals),
        sum(one.unattributed_tokens for one in totals),
        sum(one.unattributed_cost_pico_usd for one in totals),
    )


@settings(max_examples=150, deadline=None)
@given(
    stories(), st.randoms(use_true_random=False), st.integers(1, 6), st.booleans(), st.sampled_from(["0", "5s", "90s"])
)
def test_the_order_of_arrival_does_not_change_the_totals(
    spans: list[Step | Bridge], random: Random, size: int, looks: bool, agent_wait: str
) -> None:
    """In any order, in requests of any size, at any pace, twice, and with somebody looking in between."""
    at_once = metrics_of([spans], [0])
    shuffled = spans + random.sample(spans, len(spans) // 2)
    random.shuffle(shuffled)
    deliveries = [shuffled[start : start + size] for start in range(0, len(shuffled), size)]
    waits = [random.choice([0.0, 1.0, 60.0]) for _ in deliveries]
    assert metrics_of(deliveries, waits, looks, agent_wait) == at_once


@settings(max_examples=150, deadline=None)
@given(stories(), st.randoms(use_true_random=False), st.integers(1, 6))
def test_the_order_of_arrival_does_not_change_whose_calls_they_are(
    spans: list[Step | Bridge], random: Random, size: int
) -> None:
    """As long as the spans above come in time: calls, tokens, cost, durations and tools by agent."""
    at_once = by_agent(table_of([spans], [0]))
    shuffled = list(spans)
    random.shuffle(shuffled)
    deliveries = [shuffled[start : start + size] for start in range(0, len(shuffled), size)]
    settle = random.choice(["0", "5s", "90s"])
    assert by_agent(table_of(deliveries, [0.01] * len(deliveries), agent_wait="10s", settle=settle)) == at_once


@settings(max_examples=300, deadline=None)
@given(told_stories(), st.randoms(use_true_random=False))
def test_what_is_counted_is_what_was_spent(story: tuple[list[Step | Bridge], tuple[int, int]], random: Random) -> None:
    """Every token once, whoever tells of it: calls and what nobody saw of them make up the bill."""
    spans, (tokens_in, tokens_out) = story
    random.shuffle(spans)
    _, counted_in, counted_out, _, hidden, _ = metrics_of([spans], [0])
    assert counted_in + counted_out + hidden == tokens_in + tokens_out


@settings(max_examples=150, deadline=None)
@given(stories(), st.randoms(use_true_random=False))
def test_metrics_and_runs_say_the_same(spans: list[Step | Bridge], random: Random) -> None:
    """Calls, tokens, cost, and what nobody saw."""
    random.shuffle(spans)
    assert runs_of(spans) == metrics_of([spans], [0])


def sums_after(*ages_s: float, settle: str = "5s") -> list[float]:
    """Return the input tokens that are counted, at some ages of an agent whose span has just ended."""
    clock, table = Clock(), MetricTable(METRICS)
    connector = GenAIMetrics(GenAIMetricsConfig(settle=settle), host("genai_metrics", clock, table))  # type: ignore[arg-type]
    agent = step(1, 0, "agent", report(False, "framework", (100, 20)))
    assert isinstance(agent, Step)
    found = []
    began_s = agent.end_ns / 1e9
    for age_s in ages_s:
        clock.now_s = began_s + age_s
        connector.commit(Delivery("traces", b"", 1, 0, (agent,), ()))
        found.append(_totals(table)[1])
    return found


async def test_the_sum_of_calls_that_may_yet_come_is_held() -> None:
    """From its end on: what was sent later than that had time to come."""
    assert sums_after(0, 4, 5.1) == [0, 0, 100]
    assert sums_after(60) == [100]
    assert sums_after(0, settle="0s") == [100]


async def test_what_is_held_counts_at_shutdown() -> None:
    """Nothing is lost with the process."""
    clock, table = Clock(), MetricTable(METRICS)
    connector = GenAIMetrics(GenAIMetricsConfig(), host("genai_metrics", clock, table))  # type: ignore[arg-type]
    agent = step(1, 0, "agent", report(False, "framework", (100, 20)))
    assert isinstance(agent, Step)
    connector.commit(Delivery("traces", b"", 1, 0, (agent,), ()))
    assert connector.statistics()["held_traces"] == 1
    await connector.shutdown(0.0)
    assert _totals(table)[1] == 100


async def test_a_counter_that_was_read_keeps_what_is_too_much_from_what_comes_next() -> None:
    """A wrapper was read as a call; then came the call below it, and later another one."""
    clock, table = Clock(), MetricTable(METRICS)
    connector = GenAIMetrics(GenAIMetricsConfig(), host("genai_metrics", clock, table))  # type: ignore[arg-type]
    calls = table.counter("spanledger_llm_calls_total")
    seen = []
    spans = [
        step(1, 0, "llm", report(True, "framework", (100, 20))),
        step(2, 1, "llm", report(True, "sdk", (100, 20))),
        step(3, 0, "llm", report(True, "sdk", (50, 20)), trace=2),
    ]
    for one in spans:
        assert isinstance(one, Step)
        connector.commit(Delivery("traces", b"", 1, 0, (one,), ()))
        seen.append(sum(cell.value for cell in calls.cells()))
    assert seen == [1, 1, 2]
    assert sum(cell.owed for cell in calls.cells()) == 0

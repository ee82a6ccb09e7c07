"""Calls and tools that name no agent, and are counted with the name that a span above them brings later."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from spanledger.conventions.call import Call
from spanledger.conventions.metrics import METRICS
from spanledger.conventions.reading import Cost
from spanledger.conventions.step import Bridge, Step
from spanledger.conventions.usage import Usage
from spanledger.processor import ancestry
from spanledger.processor.ancestry import MAX_ABOVE, Ancestry
from spanledger.processor.batch import Delivery
from spanledger.processor.genai_metrics import GenAIMetrics, GenAIMetricsConfig
from spanledger.processor.metric_store import MetricTable
from spanledger.processor.nameless import Waiting
from tests.fakes import Clock, host
from tests.steps import CALL, TOOL

TRACE = CALL.trace_id


class Sidecar:
    """The connector, its table and a clock."""

    def __init__(self, **config: Any) -> None:
        self.clock, self.table = Clock(CALL.end_ns / 1e9), MetricTable(METRICS)
        self.connector = GenAIMetrics(GenAIMetricsConfig(**config), host("genai_metrics", self.clock, self.table))  # type: ignore[arg-type]

    def send(self, *records: Step | Bridge, after_s: float = 1.0) -> None:
        """Take a request, some time after the last one."""
        self.clock.now_s += after_s
        steps = tuple(one for one in records if isinstance(one, Step))
        bridges = tuple(one for one in records if isinstance(one, Bridge))
        self.connector.commit(Delivery("traces", b"", len(records), self.clock.time_ns(), steps, bridges))

    def pass_time(self, seconds: float) -> None:
        """Let the alarm ring."""
        self.clock.now_s += seconds
        self.connector._ring()

    def by_agent(self, name: str = "spanledger_llm_calls_total", label: str = "agent_name") -> dict[str, float]:
        """Return a counter or the observations of a histogram, by agent."""
        (family,) = (one for one in self.table.families() if one.metric.name == name)
        at = family.metric.label_names.index(label)
        found: dict[str, float] = {}
        for labels, cell in family._cells.items():
            if value := sum(getattr(cell, "counts", [cell.value])):
                found[labels[at]] = found.get(labels[at], 0) + value
        return found

    def waits(self) -> dict[str, float]:
        """Return how waits ended."""
        return self.by_agent("spanledger_agent_waits_total", "ending")

    @property
    def waiting(self) -> int:
        """The steps that wait."""
        return int(self.connector.statistics()["nameless_steps"])


def ids(number: int, parent: int = 0) -> dict[str, bytes]:
    """Return the ids of a span."""
    return {"span_id": number.to_bytes(8, "big"), "parent_span_id": parent.to_bytes(8, "big") if parent else b""}


def call(number: int, parent: int, **facts: Any) -> Step:
    """Return a priced model call that names no agent."""
    told = Call(inference=True, scope="sdk", input=100 + number, output=20)
    return replace(CALL, agent_name="", call=told, price=CALL.cost, **ids(number, parent), **facts)


def tool(number: int, parent: int, **facts: Any) -> Step:
    """Return a tool call that names no agent."""
    return replace(TOOL, **{"agent_name": "", **ids(number, parent), **facts})


def agent(number: int, parent: int = 0, **facts: Any) -> Step:
    """Return an agent without tokens of its own."""
    facts = {"agent_name": "planner", "usage": None, "cost": None, **facts}
    return replace(CALL, kind="agent", operation="invoke_agent", **ids(number, parent), **facts)


def bridge(number: int, parent: int = 0, *, remote: bool = False) -> Bridge:
    """Return a span that is no GenAI work."""
    return Bridge(TRACE, *ids(number, parent).values(), 1, CALL.start_ns, CALL.end_ns, remote_parent=remote)


async def test_calls_and_tools_are_counted_when_their_agent_comes() -> None:
    """As SDKs send it: what is below first, the agent when it has ended."""
    sidecar = Sidecar()
    sidecar.send(call(3, 1), call(4, 1, status="error", error_type="429"))
    sidecar.send(tool(5, 1))
    assert sidecar.by_agent() == sidecar.by_agent("spanledger_tool_calls_total") == {}
    assert sidecar.by_agent("spanledger_spans_total", "kind") == {"llm": 2, "tool": 1}
    sidecar.send(agent(1))

    assert sidecar.by_agent() == {"planner": 2}
    assert sidecar.by_agent("spanledger_llm_cost_usd_total") == {"planner": pytest.approx(0.0005)}
    assert sidecar.by_agent("spanledger_llm_tokens_total") == {"planner": 2 * 120}
    assert sidecar.by_agent("spanledger_tool_calls_total") == {"planner": 1}
    for name in ("spanledger_llm_duration_seconds", "spanledger_llm_time_to_first_chunk_seconds"):
        assert sidecar.by_agent(name) == {"planner": 2}
    assert sidecar.by_agent("gen_ai_execute_tool_duration_seconds", "gen_ai_agent_name") == {"planner": 1}
    assert (sidecar.waits(), sidecar.waiting) == ({"found": 3}, 0)


async def test_the_span_between_a_call_and_its_agent_may_come_first_or_last() -> None:
    """The wait goes on one span further up; a call that comes after its agent finds it."""
    sidecar = Sidecar()
    sidecar.send(call(3, 2))
    sidecar.send(bridge(2, 1))
    assert sidecar.waiting == 1
    sidecar.send(agent(1))
    assert sidecar.by_agent() == {"planner": 1}
    sidecar.send(call(4, 2))
    assert (sidecar.by_agent(), sidecar.waits()) == ({"planner": 2}, {"found": 1})

    sidecar = Sidecar()
    sidecar.send(bridge(2, 1))
    sidecar.send(agent(1))
    sidecar.send(call(3, 2))
    assert (sidecar.by_agent(), sidecar.waits()) == ({"planner": 1}, {})


async def test_a_span_on_the_way_that_names_the_agent_is_enough() -> None:
    """A framework's span of the call itself, or the tool that a call is made in: the agent may run for hours yet."""
    sidecar = Sidecar()
    sidecar.send(call(3, 2))
    sidecar.send(tool(2, 1, agent_name="planner"))
    assert sidecar.by_agent() == {"planner": 1}


async def test_the_nearest_agent_has_the_calls() -> None:
    """Also when the one above it came first."""
    sidecar = Sidecar()
    sidecar.send(call(3, 2))
    sidecar.send(agent(1))
    sidecar.send(agent(2, 1, agent_name="booker"))
    assert sidecar.by_agent() == {"booker": 1}


async def test_the_work_of_another_service_is_not_its_callers() -> None:
    """In whatever order they come: as in runs."""
    inner, outer = call(3, 1, service_name="search"), agent(1)
    for requests in ([inner, outer], [outer, inner]), ([outer], [inner]), ([inner], [outer]):
        sidecar = Sidecar()
        for request in requests:
            sidecar.send(*request)
        assert sidecar.by_agent() == {"": 1}


async def test_where_no_agent_is_above_nothing_more_is_waited_for() -> None:
    """The root has come and is none; there is no parent; the parent is in another process, or in a circle."""
    sidecar = Sidecar()
    sidecar.send(call(3, 2))
    sidecar.send(bridge(2))
    assert (sidecar.by_agent(), sidecar.waits()) == ({"": 1}, {"none": 1})

    sidecar = Sidecar()
    sidecar.send(call(3, 0), call(4, 9, remote_parent=True))
    sidecar.send(bridge(2, 9, remote=True))
    sidecar.send(call(5, 2))
    sidecar.send(bridge(6, 7), bridge(7, 6))
    sidecar.send(call(8, 6))
    assert (sidecar.by_agent(), sidecar.waits()) == ({"": 4}, {})


async def test_who_names_the_agent_is_counted_at_once() -> None:
    """Whatever is above; and so is everybody when waiting is off."""
    sidecar = Sidecar()
    sidecar.send(replace(call(3, 1), agent_name="planner"), tool(4, 1, agent_name="planner"))
    assert (sidecar.by_agent(), sidecar.waiting) == ({"planner": 1}, 0)

    sidecar = Sidecar(agent_wait="0")
    sidecar.send(call(3, 1))
    sidecar.send(agent(1))
    assert (sidecar.by_agent(), sidecar.waits()) == ({"": 1}, {})


async def test_a_call_waits_as_long_as_configured() -> None:
    """Each by itself: spans above calls may never be sent (a filter, or an SDK that exports model calls only)."""
    sidecar = Sidecar(agent_wait="1m")
    sidecar.send(call(3, 1))
    sidecar.send(call(4, 1), after_s=49)
    sidecar.pass_time(10.9)
    assert sidecar.by_agent() == {}
    sidecar.pass_time(0.1)
    assert sidecar.by_agent() == {"": 1}
    sidecar.send(agent(1), after_s=39)
    assert (sidecar.by_agent(), sidecar.waits()) == ({"": 1, "planner": 1}, {"timeout": 1, "found": 1})


async def test_the_alarm_rings_for_whatever_is_due_first() -> None:
    """A sum of calls five seconds after its end, a call after ten."""
    sidecar = Sidecar()
    sidecar.send(call(3, 1), after_s=0)
    assert sidecar.connector._alarm_s == sidecar.clock.now_s + 10
    sums = Call(inference=False, scope="framework", input=500, output=50)
    sidecar.send(replace(agent(7, agent_name=""), call=sums, price=CALL.cost, cost=CALL.cost), after_s=0)
    assert sidecar.connector._alarm_s == sidecar.clock.now_s + 5
    sidecar.pass_time(5)
    assert sidecar.connector._alarm_s == sidecar.clock.now_s + 5
    sidecar.pass_time(5)
    assert sidecar.connector._alarm is None
    await sidecar.connector.shutdown(0.0)


async def test_a_sum_of_calls_waits_for_its_calls_and_for_its_agent() -> None:
    """An unnamed agent in a named one, of which only the sum is told."""
    sums = Call(inference=False, scope="framework", input=500, output=50)
    inner = replace(agent(2, 1, agent_name=""), call=sums, usage=Usage(500, 50), cost=CALL.cost, price=CALL.cost)
    sidecar = Sidecar()
    sidecar.send(inner, after_s=0)
    sidecar.send(agent(1))
    assert sidecar.by_agent("spanledger_llm_tokens_total") == {}
    sidecar.pass_time(4)
    assert sidecar.by_agent("spanledger_llm_tokens_total") == {"planner": 550}

    sidecar = Sidecar(settle="2s")
    sidecar.send(inner, after_s=0)
    sidecar.pass_time(4)
    assert sidecar.by_agent("spanledger_llm_tokens_total") == {}
    sidecar.send(agent(1))
    assert sidecar.by_agent("spanledger_llm_tokens_total") == {"planner": 550}


async def test_what_waits_at_shutdown_is_counted() -> None:
    """Without an agent."""
    sidecar = Sidecar()
    sidecar.send(call(3, 1), tool(4, 1))
    assert await sidecar.connector.shutdown(0.0) == 0
    assert sidecar.by_agent() == sidecar.by_agent("spanledger_tool_calls_total") == {"": 1}
    assert sidecar.waits() == {"shutdown": 2}
    sidecar.send(call(5, 1))
    assert (sidecar.by_agent(), sidecar.waiting) == ({"": 2}, 0)


async def test_a_reload_hands_on_what_waits_and_what_was_counted() -> None:
    """What waits gets its agent there, what is told again counts once, and what is on its way is counted."""
    sums = Call(inference=False, scope="framework", input=500, output=50)
    told = replace(agent(9, trace_id=b"2" * 16), call=sums, usage=Usage(500, 50), price=CALL.cost, cost=CALL.cost)
    sidecar = Sidecar(agent_wait="60s", settle="60s")
    sidecar.send(call(3, 1), tool(4, 1), agent(6), replace(call(8, 7), agent_name="writer"), told)
    before, reloaded = sidecar.connector, Sidecar(agent_wait="30s")
    reloaded.clock, reloaded.table = sidecar.clock, sidecar.table
    after = reloaded.connector = GenAIMetrics(reloaded.connector._config, before._host)
    handover = after.take_over(before)
    sidecar.send(call(5, 1))
    await handover
    assert await before.shutdown(0.0) == 0
    assert (sidecar.waits(), before._alarm, reloaded.waiting) == ({}, None, 3)

    reloaded.send(agent(6), replace(call(8, 7), agent_name="writer"), agent(1))
    assert reloaded.by_agent() == {"planner": 2, "writer": 1}
    assert reloaded.by_agent("spanledger_tool_calls_total") == {"planner": 1}
    assert sum(reloaded.by_agent("gen_ai_invoke_agent_duration_seconds", "gen_ai_agent_name").values()) == 3
    assert reloaded.waits() == {"found": 3}
    reloaded.pass_time(60)
    assert reloaded.by_agent("spanledger_llm_tokens_total")["planner"] == 2 * 120 + 550
    assert await after.shutdown(0.0) == 0


async def test_a_huge_request_that_a_reload_finds_half_counted_is_counted_to_its_end() -> None:
    """By the one that goes on."""
    sidecar = Sidecar()
    sidecar.connector._count = lambda records, slice_s: False  # type: ignore[method-assign]
    sidecar.send(replace(call(3, 1), agent_name="planner"))
    del sidecar.connector.__dict__["_count"]
    before = sidecar.connector
    sidecar.connector = GenAIMetrics(before._config, before._host)
    await sidecar.connector.take_over(before)
    assert await before.shutdown(0.0) == await sidecar.connector.shutdown(0.0) == 0
    assert sidecar.by_agent() == {"planner": 1}


async def test_an_agent_that_is_told_again_with_more_is_observed_once() -> None:
    """First without tokens, then with them, and the same again."""
    sidecar = Sidecar(settle="0s")
    sums = Call(inference=False, scope="framework", input=500, output=50)
    with_tokens = replace(agent(1), call=sums, usage=Usage(500, 50), cost=CALL.cost, price=CALL.cost)
    sidecar.send(agent(1))
    sidecar.send(with_tokens)
    sidecar.send(with_tokens, agent(1, start_ns=CALL.start_ns + 1))

    assert sidecar.by_agent("gen_ai_invoke_agent_duration_seconds", "gen_ai_agent_name") == {"planner": 2}
    assert sidecar.by_agent("spanledger_llm_tokens_total") == {"planner": 550}
    assert sidecar.by_agent("spanledger_duplicate_spans_total", "service_name") == {CALL.service_name: 2}


async def test_others_run_while_a_shutdown_counts_what_waits() -> None:
    """In a reload requests are answered meanwhile."""
    sidecar = Sidecar()
    sidecar.send(*(call(number, 1) for number in range(3, 40)))
    passing, turns = sidecar.clock.monotonic, 0

    def monotonic() -> float:
        sidecar.clock.now_s += 0.001
        return passing()

    async def count() -> None:
        nonlocal turns
        while sidecar.waiting:
            turns += 1
            await asyncio.sleep(0)

    sidecar.connector._host = replace(sidecar.connector._host, monotonic=monotonic)
    counting = asyncio.create_task(count())
    await sidecar.connector.shutdown(0.0)
    await counting
    assert sidecar.by_agent() == {"": 37}
    assert turns > 10


async def test_a_fault_takes_no_more_with_it_than_its_request(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those in line behind it are counted, and what waits when it ends."""
    sidecar = Sidecar()
    sidecar.connector._count = lambda records, slice_s: False  # type: ignore[method-assign]
    sidecar.send(call(3, 1))
    sidecar.send(call(4, 2))
    del sidecar.connector.__dict__["_count"]
    learn = sidecar.connector._ancestry.learn

    def fails(*_: object) -> None:
        monkeypatch.setattr(sidecar.connector._ancestry, "learn", learn)
        raise ZeroDivisionError

    monkeypatch.setattr(sidecar.connector._ancestry, "learn", fails)
    await sidecar.connector.shutdown(0.0)
    assert (sidecar.by_agent(), sidecar.waits()) == ({"": 1}, {"shutdown": 1})
    assert sidecar.connector.statistics()["failed"] == 1
    assert sidecar.connector.statistics()["waiting_spans"] == 0


async def test_what_counts_as_a_span_only_does_not_wait() -> None:
    """A framework's own spans are many, and nothing but their number is told of them."""
    sidecar = Sidecar()
    other = replace(agent(3, 1, agent_name=""), kind="other", operation="")
    sidecar.send(other, replace(other, kind="retrieval", **ids(4, 1)))
    assert (sidecar.waiting, sidecar.by_agent("spanledger_spans_total", "kind")) == (0, {"other": 1, "retrieval": 1})


async def test_the_spans_between_may_come_one_by_one_and_meet() -> None:
    """What waits for the same span waits together: whichever was more, and whichever came first."""
    for sizes in ((1, 5), (5, 1)):
        sidecar = Sidecar()
        for middle, size in enumerate(sizes, 11):
            sidecar.send(*(call(100 * middle + number, middle) for number in range(size)))
        for number in (11, 12):
            sidecar.send(bridge(number, 10))
        sidecar.send(call(5, 10), bridge(10, 9))
        assert len(sidecar.connector._nameless._traces[TRACE]) == 1
        sidecar.send(agent(9))
        assert (sidecar.by_agent(), sidecar.waiting) == ({"planner": 7}, 0)
        assert not sidecar.connector._nameless._traces


async def test_a_call_that_is_told_again_while_it_waits_counts_once() -> None:
    """With more, with the same, or as the twin of another one that waits."""
    sidecar = Sidecar()
    first = replace(call(3, 1), call=Call(inference=True, scope="sdk"), usage=None, cost=Cost("no_usage"), price=None)
    sidecar.send(first)
    sidecar.send(call(3, 1))
    sidecar.send(call(3, 1))
    twin = Call(inference=True, scope="other", input=900, output=20, response_id="r", family="gpt-4o")
    sidecar.send(replace(call(4, 1), call=twin), replace(call(5, 1), call=replace(twin, scope="third", detail=1)))
    sidecar.send(agent(1))
    assert sidecar.by_agent() == {"planner": 2}
    assert sidecar.by_agent("spanledger_llm_cost_usd_total") == {"planner": pytest.approx(0.0005)}
    assert sidecar.by_agent("spanledger_duplicate_spans_total", "service_name") == {"trip": 1}


async def test_a_tool_told_by_framework_client_and_server_counts_once_after_its_wait() -> None:
    """Which of them is the call is decided when they come."""
    sidecar = Sidecar()
    sidecar.send(tool(5, 4))
    sidecar.send(tool(4, 3))
    sidecar.send(tool(3, 1))
    sidecar.send(agent(1))
    assert sidecar.by_agent("spanledger_tool_calls_total") == {"planner": 1}
    assert sidecar.by_agent("spanledger_tool_duration_seconds") == {"planner": 1}


async def test_a_retry_that_waits_is_one() -> None:
    """Calls leave in the order in which they came."""
    sidecar = Sidecar()
    sidecar.send(call(3, 1, status="error", error_type="429", response_model=""))
    sidecar.send(call(4, 1, start_ns=CALL.end_ns, end_ns=CALL.end_ns + 1))
    sidecar.send(agent(1))
    assert sidecar.by_agent("spanledger_llm_retries_total") == {"planner": 1}


async def test_too_many_that_wait_are_counted_oldest_first() -> None:
    """By number and by bytes."""
    sidecar = Sidecar()
    sidecar.connector._nameless = Waiting(60.0, max_steps=3)
    sidecar.send(*(call(number, 1) for number in range(3, 8)))
    assert (sidecar.by_agent(), sidecar.waiting, sidecar.waits()) == ({"": 2}, 3, {"full": 2})
    sidecar.send(agent(1))
    assert sidecar.by_agent() == {"": 2, "planner": 3}

    sidecar.connector._nameless = Waiting(60.0, max_bytes=5_000)
    sidecar.send(*(call(number, 2, model="x" * 1000) for number in range(10, 15)))
    assert sidecar.waiting == 2
    assert sidecar.connector.statistics()["nameless_bytes"] <= 5_000


async def test_what_waits_in_a_trace_that_is_forgotten_waits_on() -> None:
    """With what it was by then: an agent that runs for hours has its calls, each once."""
    sidecar = Sidecar(agent_wait="1h")
    sums = Call(inference=False, scope="framework", input=103, output=20)
    plain = replace(call(3, 2), call=Call(inference=True, scope="sdk"), usage=None, cost=Cost("no_usage"), price=None)
    sidecar.send(agent(9), plain)
    sidecar.send(call(3, 2), replace(agent(2, 1, agent_name=""), call=sums, usage=Usage(103, 20), price=CALL.cost))
    sidecar.send(replace(call(3, 1), trace_id=b"other" + bytes(11)), after_s=601)
    assert (sidecar.by_agent(), sidecar.waiting) == ({}, 4)
    assert sidecar.connector.statistics()["traces"] == 1
    sidecar.send(agent(1), after_s=601)
    assert (sidecar.by_agent(), sidecar.waits()) == ({"planner": 1}, {"found": 3})
    assert sidecar.by_agent("spanledger_llm_tokens_total") == {"planner": 120}
    assert sidecar.by_agent("spanledger_llm_cost_usd_total") == {"planner": pytest.approx(0.00025)}


def test_spans_are_remembered_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of two generations; a request is always known as a whole."""
    monkeypatch.setattr(ancestry, "GENERATION", 3)
    known = Ancestry()

    def learn(records: Sequence[Bridge]) -> None:
        known.learn([], records)

    learn([bridge(1, 0), bridge(2, 1), bridge(3, 2), bridge(4, 3)])
    assert known.above(bridge(5, 4)) == ("", "", b"")
    learn([bridge(11, 10), bridge(12, 11), bridge(13, 12)])
    assert known.above(bridge(5, 4)) == ("", "", b"")
    learn([bridge(21, 20)])
    assert known.above(bridge(5, 4)) == ("", "", (4).to_bytes(8, "big"))


def test_a_search_upwards_ends() -> None:
    """However deep a trace is."""
    known = Ancestry()
    known.learn([agent(1)], [bridge(number, number - 1) for number in range(2, 200)])
    assert known.above(bridge(500, MAX_ABOVE)) == ("planner", "trip", b"")
    assert known.above(bridge(500, MAX_ABOVE + 1)) == ("", "", b"")

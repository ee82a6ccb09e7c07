"""From steps to numbers: what is counted, what is not, and what is there at 0."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spanledger.conventions.call import Call
from spanledger.conventions.framework import framework_of
from spanledger.conventions.metrics import STATUS, TOKEN_TYPE
from spanledger.conventions.reading import Cost, Reading
from spanledger.conventions.step import Bridge, Step, make_step
from spanledger.conventions.usage import Usage
from spanledger.processor import genai_metrics
from spanledger.processor.ancestry import Ancestry
from spanledger.processor.batch import Delivery
from spanledger.processor.component import Refused
from spanledger.processor.genai_metrics import CHECK_EVERY, GenAIMetrics, GenAIMetricsConfig
from spanledger.processor.metric_store import MetricTable
from spanledger.processor.step_metrics import MAX_FAILED, Retries, by_modality, disjoint
from tests.fakes import host, span
from tests.steps import CALL, call, tool

WHO = ("trip", "planner", "openai", "gpt-4o")
RECEIVED_NS = 1_700_000_002 * 10**9


def connector(**config: Any) -> tuple[GenAIMetrics, MetricTable]:
    """Return a connector and the table it writes to."""
    table = MetricTable()
    return GenAIMetrics(GenAIMetricsConfig(**config), host("genai_metrics", numbers=table)), table  # type: ignore[arg-type]


def delivery(*steps: Step, bridges: Sequence[Bridge] = ()) -> Delivery:
    """Return a delivery of these steps."""
    return Delivery("traces", b"", len(steps) + len(bridges), RECEIVED_NS, tuple(steps), tuple(bridges))


def counted(*steps: Step, **config: Any) -> MetricTable:
    """Return the table after one delivery."""
    metrics, table = connector(**config)
    metrics.commit(delivery(*steps))
    return table


def series(table: MetricTable, name: str) -> Mapping[tuple[str, ...], float]:
    """Return the values of a counter or gauge, or the observations of a histogram, by label values."""
    (family,) = (family for family in table.families() if family.metric.name == name)
    return {labels: sum(getattr(cell, "counts", [cell.value])) for labels, cell in family._cells.items()}


def test_a_call_is_counted_with_its_siblings_at_zero() -> None:
    """The first error must be an increase from 0."""
    assert series(counted(call()), "spanledger_llm_calls_total") == {
        (*WHO, "chat", "ok", ""): 1,
        (*WHO, "chat", "error", "_OTHER"): 0,
    }


def test_siblings_that_were_dropped_are_there_again_with_the_next_call() -> None:
    """What began once is not begun with each call, but when it is gone."""
    metrics, table = connector()
    metrics.commit(delivery(call()))
    table.counter("spanledger_llm_calls_total").remove((*WHO, "chat", "error", "_OTHER"))
    table.counter("spanledger_llm_tokens_total").remove((*WHO, "cache_read"))
    metrics.commit(delivery(call()))

    assert series(table, "spanledger_llm_calls_total")[(*WHO, "chat", "error", "_OTHER")] == 0
    assert series(table, "spanledger_llm_tokens_total").keys() >= {(*WHO, kind) for kind in TOKEN_TYPE.values}


def test_a_failed_call_is_counted_by_its_error_type() -> None:
    """The type is the span's own; a call that succeeded would have none."""
    table = counted(call(status="error", error_type="429"))

    assert series(table, "spanledger_llm_calls_total")[(*WHO, "chat", "error", "429")] == 1


def test_tokens_are_disjoint_and_add_up() -> None:
    """100 in = 60 + 30 read + 10 written; 20 out = 15 + 5 reasoning."""
    assert series(counted(call()), "spanledger_llm_tokens_total") == {
        (*WHO, "input"): 60,
        (*WHO, "cache_read"): 30,
        (*WHO, "cache_write"): 10,
        (*WHO, "output"): 15,
        (*WHO, "reasoning"): 5,
    }


def test_a_call_without_usage_counts_no_tokens() -> None:
    """All series are there at 0, nothing is observed in histograms."""
    table = counted(call(usage=None, cost=Cost("no_usage")))

    assert set(series(table, "spanledger_llm_tokens_total").values()) == {0}
    assert series(table, "gen_ai_client_token_usage") == {}
    assert series(table, "gen_ai_client_inference_usage_input_tokens_total") == {}


def test_cost_is_in_dollars() -> None:
    """250,000,000 pico-dollars are 0.00025 USD."""
    table = counted(call(), call())

    assert series(table, "spanledger_llm_cost_usd_total") == {WHO: pytest.approx(0.0005)}
    assert series(table, "spanledger_llm_unpriced_tokens_total") == {("trip", "openai", "gpt-4o", "unknown_model"): 0}


def test_an_unpriced_call_has_no_cost_at_all() -> None:
    """A cost of 0 would say that it was free; its tokens say what is missing."""
    table = counted(call(cost=Cost("unpriced", "self_hosted")))

    assert series(table, "spanledger_llm_cost_usd_total") == {}
    assert series(table, "spanledger_llm_unpriced_tokens_total") == {
        ("trip", "openai", "gpt-4o", "unknown_model"): 0,
        ("trip", "openai", "gpt-4o", "self_hosted"): 120,
    }


def test_what_a_price_is_known_for_in_part_is_cost_and_told_apart() -> None:
    """It is spent, and more was: whoever adds up costs must see that."""
    metrics, table = connector()
    metrics.commit(delivery(call(), call(cost=Cost("priced", "fee_unknown", 250_000_000))))

    assert series(table, "spanledger_llm_cost_usd_total") == {WHO: pytest.approx(0.0005)}
    assert series(table, "spanledger_llm_partly_priced_cost_usd_total") == {
        ("trip", "openai", "gpt-4o", "output_unknown"): 0,
        ("trip", "openai", "gpt-4o", "fee_unknown"): pytest.approx(0.00025),
    }


def test_a_pipeline_without_pricing_has_calls_and_tokens_but_no_cost() -> None:
    """What nobody computed is unknown."""
    table = counted(call(cost=None))

    assert series(table, "spanledger_llm_calls_total")[(*WHO, "chat", "ok", "")] == 1
    assert series(table, "spanledger_llm_cost_usd_total") == {}
    assert series(table, "spanledger_llm_unpriced_tokens_total") == {}


def test_a_conflicting_cost_is_counted_as_it_was_settled() -> None:
    """Which of two prices holds is decided by pricing, not here."""
    table = counted(call(cost=Cost("conflict", "reported", total=10**12)))

    assert series(table, "spanledger_llm_cost_usd_total") == {WHO: 1.0}


@pytest.mark.parametrize("kind", ["llm", "agent"])
def test_a_wrapper_of_other_calls_counts_as_a_span_only(kind: str) -> None:
    """Its tokens are those of the calls below it."""
    table = counted(call(kind=kind, cost=Cost("rollup")))

    assert series(table, "spanledger_spans_total") == {("otel", kind): 1}
    for name in (
        "spanledger_llm_calls_total", "spanledger_llm_tokens_total", "spanledger_llm_cost_usd_total",
        "spanledger_llm_duration_seconds", "gen_ai_client_token_usage", "gen_ai_client_operation_duration_seconds",
    ):  # fmt: skip
        assert series(table, name) == {}


def test_an_agent_that_reports_for_calls_nobody_saw_counts_tokens_and_cost_but_no_call() -> None:
    """Some agents send only totals; how many calls they stand for is unknown."""
    table = counted(call(kind="agent", operation="invoke_agent"))

    assert series(table, "spanledger_llm_cost_usd_total") == {WHO: pytest.approx(0.00025)}
    assert series(table, "spanledger_llm_calls_total") == {}


def test_durations_and_first_chunks_are_observed() -> None:
    """1.5 s belongs below 2.5 s, 0.25 s below 0.3 s."""
    table = counted(call())

    duration = table.histogram("spanledger_llm_duration_seconds")
    first = table.histogram("spanledger_llm_time_to_first_chunk_seconds")
    assert [(cell.value, cell.counts[duration.bounds.index(2.5)]) for cell in duration.cells()] == [(1.5, 1)]
    assert [(cell.value, cell.counts[first.bounds.index(0.3)]) for cell in first.cells()] == [(0.25, 1)]


def test_a_span_with_reversed_times_has_no_duration() -> None:
    """It is counted; how long it took is unknown."""
    table = counted(call(end_ns=5), tool(start_ns=0))

    assert series(table, "spanledger_llm_duration_seconds") == {}
    assert series(table, "spanledger_tool_duration_seconds") == {}
    assert series(table, "spanledger_llm_calls_total")[(*WHO, "chat", "ok", "")] == 1


def test_attempts_beyond_the_first_are_retries() -> None:
    """Where the span numbers them; a first attempt makes the series at 0."""
    table = counted(call())
    assert series(table, "spanledger_llm_retries_total") == {WHO: 0}

    table = counted(call(), call(attempt=2), call(attempt=3))
    assert series(table, "spanledger_llm_retries_total") == {WHO: 1 + 2}


FAILED = call(status="error", error_type="429", response_model="", parent_span_id=b"\1" * 8)


@pytest.mark.parametrize(
    ("following", "retries"),
    [
        ({}, 1),
        ({"status": "error"}, 1),
        ({"attempt": 2}, 1),
        ({"parent_span_id": b"\2" * 8}, 0),
        ({"trace_id": b"\2" * 16}, 0),
        ({"request_model": "gpt-4o-mini"}, 0),
        ({"start_ns": FAILED.end_ns - 1}, 0),
    ],
)
def test_a_call_after_a_failed_one_is_a_retry(following: Mapping[str, Any], retries: int) -> None:
    """Of the same model under the same parent, begun after the failure; fallbacks and neighbours are none."""
    again = replace(FAILED, status="ok", start_ns=FAILED.end_ns, end_ns=FAILED.end_ns + 1)
    table = counted(FAILED, replace(again, **following))

    assert sum(series(table, "spanledger_llm_retries_total").values()) == retries


def test_priced_calls_are_counted_in_the_order_in_which_they_came() -> None:
    """What prices find out about the calls of a request is asked after all of them; a retry follows its failure."""
    failed = replace(FAILED, call=Call(inference=True, scope="sdk", failed=True), span_id=b"f" * 8)
    again = replace(failed, status="ok", start_ns=failed.end_ns, end_ns=failed.end_ns + 1, span_id=b"g" * 8)

    table = counted(failed, replace(again, call=Call(inference=True, scope="sdk", input=100, output=20)))

    assert sum(series(table, "spanledger_llm_retries_total").values()) == 1


def test_a_success_ends_the_retries() -> None:
    """The call after it is a new one."""
    again = replace(FAILED, status="ok", start_ns=FAILED.end_ns, end_ns=FAILED.end_ns + 1)
    table = counted(FAILED, again, replace(again, start_ns=again.end_ns))

    assert sum(series(table, "spanledger_llm_retries_total").values()) == 1


def test_failures_are_remembered_within_bounds() -> None:
    """An application that only fails must not fill the memory."""
    retries = Retries()
    for number in range(MAX_FAILED + 100):
        retries.count(replace(FAILED, trace_id=number.to_bytes(16, "big")))

    assert len(retries._failed) == MAX_FAILED


def test_a_call_that_came_again_is_counted_once() -> None:
    """From another pipeline, or exported again."""
    told = call(call=Call(inference=True, scope="sdk", input=100, output=20), price=CALL.cost)
    table = counted(told, told)

    assert series(table, "spanledger_llm_calls_total")[(*WHO, "chat", "ok", "")] == 1
    assert series(table, "spanledger_duplicate_spans_total") == {("trip",): 1}


def test_tools_are_counted_by_name() -> None:
    """A tool call is no model call."""
    table = counted(tool(), tool(status="error", error_type="TimeoutError"))

    assert series(table, "spanledger_tool_calls_total") == {
        ("trip", "planner", "search", "ok", ""): 1,
        ("trip", "planner", "search", "error", "_OTHER"): 0,
        ("trip", "planner", "search", "error", "TimeoutError"): 1,
    }
    assert series(table, "spanledger_tool_duration_seconds") == {("trip", "planner", "search"): 2}
    assert series(table, "gen_ai_execute_tool_duration_seconds") == {
        ("trip", "planner", "search", ""): 1,
        ("trip", "planner", "search", "TimeoutError"): 1,
    }
    assert series(table, "spanledger_llm_calls_total") == {}


def test_spans_are_counted_by_dialect_and_kind() -> None:
    """Spans that no dialect claims are `none`."""
    metrics, table = connector()
    bridge = Bridge(b"\1" * 16, b"\1" * 8, b"", 1, 1, 2)
    metrics.commit(delivery(call(), tool(dialect="openinference"), bridges=[bridge, bridge]))

    assert series(table, "spanledger_spans_total") == {
        ("none", "other"): 2,
        ("otel", "llm"): 1,
        ("openinference", "tool"): 1,
    }


def test_every_agent_has_an_info_series() -> None:
    """With what its spans say: the agent's own count for more than those of the library it calls its model with."""
    agent = call(kind="agent", agent_version="1.2.0", framework="crewai")
    table = counted(
        call(framework="openai"), agent, call(framework="openai"), tool(agent_name="booker"), call(agent_name="")
    )
    assert series(table, "spanledger_agent_info") == {
        ("trip", "planner", "1.2.0", "crewai", ""): 1,
        ("trip", "booker", "", "", ""): 1,
    }


@pytest.mark.parametrize(
    ("dialect", "scope", "expected"),
    [
        ("crewai", "crewai.telemetry", "crewai"),
        ("google_adk", "gcp.vertex.agent", "google_adk"),
        ("openinference", "openinference.instrumentation.crewai", "crewai"),
        ("openinference", "@arizeai/openinference-instrumentation-claude-agent-sdk", "claude_agent_sdk"),
        ("otel", "opentelemetry.instrumentation.openai_v2", "openai"),
        ("otel", "opentelemetry.instrumentation.genai.openai_agents", "openai_agents"),
        ("otel", "opentelemetry.instrumentation.genai", ""),
        ("openllmetry", "opentelemetry.instrumentation.openai.v1", "openai"),
        ("openllmetry", "@traceloop/instrumentation-langchain", "langchain"),
        ("logfire", "logfire.openai", "openai"),
        ("otel", "travel-app", ""),
        ("otel", "x" * 1_000_000, ""),
    ],
)
def test_the_framework_is_what_the_instrumentation_watches(dialect: str, scope: str, expected: str) -> None:
    """Or the framework whose own spans these are."""
    assert framework_of(dialect, scope) == expected


def test_the_version_of_an_agent_is_its_own_or_its_services() -> None:
    """As the span says, or else the resource."""
    reading = Reading("otel", "agent", agent_name="planner", attributes={"gen_ai.agent.version": "2"})
    resource = {"service.version": "1.0"}
    assert make_step(span(), "s", reading, resource).agent_version == "2"
    reading.attributes = {}
    assert make_step(span(), "s", reading, resource).agent_version == "1.0"
    assert make_step(span(), "s", Reading("otel", "llm"), resource).agent_version == ""


def test_the_conventions_own_metrics_of_a_call() -> None:
    """Labels and values as an instrumentation would report them, plus the service."""
    table = counted(call())
    labels = ("trip", "chat", "openai", "gpt-4o", "gpt-4o-2024-08-06")

    assert series(table, "gen_ai_client_operation_duration_seconds") == {(*labels, ""): 1}
    assert series(table, "gen_ai_client_inference_duration_seconds") == {(*labels, ""): 1}
    assert series(table, "gen_ai_client_inference_time_to_first_chunk_seconds") == {labels: 1}
    assert series(table, "gen_ai_client_token_usage") == {(*labels, "input"): 1, (*labels, "output"): 1}
    assert [cell.value for cell in table.histogram("gen_ai_client_token_usage").cells()] == [100, 20]
    usage = "gen_ai_client_inference_usage"
    assert series(table, f"{usage}_input_tokens_total") == {(*labels, "unknown"): 100}
    assert series(table, f"{usage}_cache_read_input_tokens_total") == {(*labels, "unknown"): 30}
    assert series(table, f"{usage}_cache_write_input_tokens_total") == {(*labels, "unknown"): 10}
    assert series(table, f"{usage}_output_tokens_total") == {(*labels, "unknown"): 20}
    assert series(table, f"{usage}_reasoning_output_tokens_total") == {(*labels, "unknown"): 5}


def test_an_embedding_is_a_call_but_no_inference() -> None:
    """The conventions have the inference metrics for generation only."""
    table = counted(call(kind="embedding", operation="embeddings", usage=Usage(input=7)))

    assert series(table, "spanledger_llm_calls_total")[(*WHO, "embeddings", "ok", "")] == 1
    assert len(series(table, "gen_ai_client_operation_duration_seconds")) == 1
    assert series(table, "gen_ai_client_inference_duration_seconds") == {}


def test_agents_and_workflows_have_durations() -> None:
    """Whether or not they report tokens."""
    table = counted(
        call(kind="agent", usage=None, cost=None, status="error", error_type="boom"),
        call(kind="workflow", usage=None, cost=None, workflow_name="trip-flow", span_id=b"\x07" * 8),
    )

    assert series(table, "gen_ai_invoke_agent_duration_seconds") == {("trip", "planner", "gpt-4o", "boom"): 1}
    assert series(table, "gen_ai_invoke_workflow_duration_seconds") == {("trip", "trip-flow", ""): 1}


def test_exemplars_carry_the_trace() -> None:
    """With the time at which the request came."""
    table = counted(call())

    (cost,) = table.counter("spanledger_llm_cost_usd_total").cells()
    assert cost.exemplar == (call().trace_id, pytest.approx(0.00025), RECEIVED_NS)


def test_exemplars_can_be_switched_off() -> None:
    """Then no trace id is kept anywhere."""
    table = counted(call(), tool(), exemplars=False)

    for family in table.families():
        assert not any(cell.exemplar or getattr(cell, "exemplars", None) for cell in family.cells())


async def test_the_limit_and_the_buckets_of_the_configuration_hold() -> None:
    """They are given to the table when the connector starts."""
    metrics, table = connector(series_limit=10, buckets={"spanledger_tool_duration_seconds": [1.0, 2.0]})
    await metrics.start()
    metrics.commit(delivery(*(tool(tool_name=f"tool-{number}") for number in range(30))))

    assert table.histogram("spanledger_tool_duration_seconds").bounds == (1.0, 2.0)
    assert len(series(table, "spanledger_tool_duration_seconds")) == 11
    assert series(table, "spanledger_tool_duration_seconds")[("__other__",) * 3] == 20


@pytest.mark.parametrize(
    ("config", "complaint"),
    [
        ({"buckets": {"nonsense": [1.0]}}, "no histogram of ours"),
        ({"buckets": {"spanledger_llm_duration_seconds": [2.0, 1.0]}}, "larger than the one before"),
        ({"buckets": {"spanledger_llm_duration_seconds": []}}, "1 to 60"),
        ({"buckets": {"spanledger_llm_duration_seconds": [float("inf")]}}, "1 to 60"),
        ({"series_limit": 0}, "greater than or equal to 10"),
    ],
)
def test_bad_configuration_is_told(config: Mapping[str, Any], complaint: str) -> None:
    """Before anything starts."""
    with pytest.raises(pydantic.ValidationError, match=complaint):
        GenAIMetricsConfig(**config)


async def test_a_huge_delivery_is_counted_in_turns() -> None:
    """The loop is not held up, and at shutdown nothing is left uncounted."""
    metrics, table = connector()
    seconds = itertools.count()
    metrics._host.monotonic = lambda: next(seconds)
    metrics.commit(delivery(*[call()] * 100))
    metrics.commit(delivery(call()))
    assert series(table, "spanledger_llm_calls_total")[(*WHO, "chat", "ok", "")] == CHECK_EVERY
    assert metrics.statistics()["waiting_deliveries"] == 2

    assert await metrics.shutdown(0.0) == 0

    assert series(table, "spanledger_llm_calls_total")[(*WHO, "chat", "ok", "")] == 101
    assert {"counted": 101, "failed": 0, "waiting_deliveries": 0}.items() <= metrics.statistics().items()


async def test_who_is_behind_with_counting_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    """The sender keeps what cannot be counted yet; when all is counted, it is taken."""
    monkeypatch.setattr(genai_metrics, "MAX_WAITING", 150)
    metrics, table = connector()
    seconds = itertools.count()
    metrics._host.monotonic = lambda: next(seconds)
    metrics.reserve(delivery(call()))
    for _ in range(2):
        metrics.commit(delivery(*[call()] * 100))
    with pytest.raises(Refused, match="200 spans waiting to be counted"):
        metrics.reserve(delivery(call()))

    assert await metrics.shutdown(0.0) == 0

    metrics.reserve(delivery(call()))
    assert series(table, "spanledger_llm_calls_total")[(*WHO, "chat", "ok", "")] == 200


def test_a_step_that_cannot_be_counted_takes_no_other_with_it() -> None:
    """`commit` never raises, whatever a step holds."""
    table = counted(call(model=None), call())

    assert series(table, "spanledger_uncounted_steps_total") == {(): 1}
    assert series(table, "spanledger_llm_calls_total")[(*WHO, "chat", "ok", "")] == 1


counts = st.none() | st.integers(0, 10**9)


@given(counts, counts, counts, counts, counts)
def test_disjoint_tokens_never_exceed_a_consistent_total(
    uncached: int | None, read: int | None, write: int | None, answer: int | None, reasoning: int | None
) -> None:
    """Parts and remainders add up to what the call reports."""
    usage = Usage(
        input=None if uncached is None else uncached + (read or 0) + (write or 0),
        output=None if answer is None else answer + (reasoning or 0),
        cache_read=read,
        cache_write=write,
        reasoning=reasoning,
    )
    tokens = disjoint(usage)

    assert set(tokens) <= set(TOKEN_TYPE.values)
    assert tokens.get("input") == uncached
    assert tokens.get("output") == answer
    if uncached is not None and answer is not None:
        assert sum(tokens.values()) == (usage.input or 0) + (usage.output or 0)


@pytest.mark.parametrize(
    ("total", "audio", "image", "parts"),
    [
        (10, None, None, {"unknown": 10}),
        (10, 4, None, {"text": 6, "audio": 4}),
        (10, 4, 6, {"audio": 4, "image": 6}),
        (0, 0, None, {}),
    ],
)
def test_modalities(total: int, audio: int | None, image: int | None, parts: Mapping[str, int]) -> None:
    """Text is what is left of a total that is broken down."""
    assert by_modality(total, audio, image) == parts


def test_statuses_of_steps_are_those_of_the_table() -> None:
    """What is created at 0 is the whole closed set."""
    assert {status for *_, status, _ in series(counted(tool()), "spanledger_tool_calls_total")} == set(STATUS.values)


def ids(number: int, parent: int = 0) -> dict[str, bytes]:
    """Return the ids of a span."""
    return {"span_id": number.to_bytes(8, "big"), "parent_span_id": parent.to_bytes(8, "big") if parent else b""}


@pytest.mark.parametrize("together", [True, False])
@pytest.mark.parametrize("order", [(1, 2, 3), (3, 2, 1), (2, 3, 1)])
def test_tool_call_told_by_framework_client_and_server_counts_once(order: tuple[int, ...], together: bool) -> None:
    """In one request or in three, in any order."""
    told = {1: tool(**ids(1)), 2: tool(**ids(2, parent=1)), 3: tool(**ids(3, parent=2))}
    steps = [told[number] for number in order]
    metrics, table = connector()
    for part in [steps] if together else [[step] for step in steps]:
        metrics.commit(delivery(*part))

    assert sum(series(table, "spanledger_tool_calls_total").values()) == 1


def test_tool_inside_another_tool_is_a_call_of_its_own() -> None:
    """An agent as a tool calls tools; two calls of one tool are two."""
    steps = [
        tool(**ids(1)),
        tool(**ids(2, parent=1), tool_name="inner"),
        tool(**ids(3, parent=9)),
        tool(**ids(4, parent=9)),
    ]
    assert sum(series(counted(*steps), "spanledger_tool_calls_total").values()) == 4


def test_calls_and_tools_get_the_name_of_the_agent_above_them() -> None:
    """Of the nearest one, through spans that are no work of agents."""
    agent = call(kind="agent", agent_name="planner", usage=None, cost=None, **ids(1))
    bridge = Bridge(agent.trace_id, (2).to_bytes(8, "big"), agent.span_id, 1, 0, 0)
    below = call(agent_name="", **ids(3, parent=2))
    orphan = call(agent_name="", **ids(4, parent=77))

    ancestry = Ancestry()
    ancestry.learn([below, orphan, agent], [bridge])

    assert [ancestry.above(step) for step in (below, orphan)] == [
        ("planner", "trip", b""),
        ("", "", (77).to_bytes(8, "big")),
    ]


def test_spans_in_a_circle_end_the_search() -> None:
    """Hostile, or broken."""
    one, other = call(agent_name="", **ids(1, parent=2)), call(agent_name="", **ids(2, parent=1))
    ancestry = Ancestry()
    ancestry.learn([one, other], [])
    assert ancestry.above(one) == ("", "", b"")

"""Several instrumentations that tell the same calls, end to end: tokens, calls and dollars as one bill has them."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from spanledger.conventions.values import Value, attributes_of, key_value
from tests.coding_agents import Outcome, Sent, play

OP: Final = "gen_ai.operation.name"
MODEL: Final = "gen_ai.request.model"
START_NS: Final = 1_795_003_200 * 10**9  # 2026-11-18T12:00:00Z
MS: Final = 10**6

OPENAI: Final[dict[str, Value]] = {OP: "chat", "gen_ai.provider.name": "openai", MODEL: "gpt-4o"}
"""$2.50 and $10 a million."""
CLAUDE: Final[dict[str, Value]] = {OP: "chat", "gen_ai.provider.name": "anthropic", MODEL: "claude-sonnet-4-5"}
"""$3 and $15, $0.30 what was read from the cache."""


class One(NamedTuple):
    """A span, from `start` to `end` in milliseconds."""

    number: int
    parent: int
    scope: str
    start: float
    end: float
    attributes: dict[str, Value]
    service: str = "shop"
    name: str = "work"
    version: str = ""
    trace: int = 1


def used(tokens_in: int, tokens_out: int, **facts: Value) -> dict[str, Value]:
    """Return counts, and facts under `gen_ai.` with dots for double underscores."""
    counts: dict[str, Value] = {"gen_ai.usage.input_tokens": tokens_in, "gen_ai.usage.output_tokens": tokens_out}
    return counts | {f"gen_ai.{name.replace('__', '.')}": value for name, value in facts.items()}


def sent(*spans: One) -> Sent:
    """Return a request with these spans."""
    made = ExportTraceServiceRequest()
    for one in spans:
        resource = made.resource_spans.add()
        resource.resource.attributes.append(key_value("service.name", one.service))
        scope = resource.scope_spans.add()
        scope.scope.name, scope.scope.version = one.scope, one.version
        span = scope.spans.add(
            trace_id=one.trace.to_bytes(16, "big"), span_id=one.number.to_bytes(8, "big"), name=one.name
        )
        if one.parent:
            span.parent_span_id = one.parent.to_bytes(8, "big")
        span.start_time_unix_nano = START_NS + int(one.start * MS)
        span.end_time_unix_nano = START_NS + int(one.end * MS)
        span.attributes.extend(key_value(key, value) for key, value in one.attributes.items())
    return "traces", made.SerializeToString()


def bill(outcome: Outcome) -> tuple[int, int, int, int, float]:
    """Return calls, all input, what was cached of it, all output and dollars, which metrics and runs have to share."""
    metrics = (outcome.calls, outcome.input, outcome.tokens["cache_read"], outcome.output, outcome.pico_usd / 1e12)
    names = ("llm_calls", "input_tokens", "cache_read_tokens", "output_tokens", "cost_usd")
    assert metrics == pytest.approx([outcome.totals(name) for name in names])
    return metrics


def written(outcome: Outcome) -> dict[int, dict[str, Any]]:
    """Return the attributes of the spans that were passed on, by number."""
    groups = [
        resource for data in outcome.passed for resource in ExportTraceServiceRequest.FromString(data).resource_spans
    ]
    spans = [span for resource in groups for scope in resource.scope_spans for span in scope.spans]
    return {int.from_bytes(span.span_id, "big"): dict(attributes_of(span.attributes)) for span in spans}


AGENT: Final = One(1, 0, "app", 0, 2000, {OP: "invoke_agent", "gen_ai.agent.name": "planner"})


def test_two_callbacks_of_one_framework_tell_one_call() -> None:
    """LangChain tells its handlers in one order of the beginning and of the end: neither span lies in the other."""
    graph = One(1, 0, "opentelemetry.instrumentation.langchain", 0, 2000, {OP: "invoke_workflow"})
    openllmetry = One(
        2, 1, "opentelemetry.instrumentation.langchain", 30, 1030, CLAUDE | used(9000, 100), version="0.62.4"
    )
    openinference = One(
        3, 1, "openinference.instrumentation.langchain", 30.1, 1030.1, {
            "openinference.span.kind": "LLM", "llm.model_name": "claude-sonnet-4-5-20250929",
            "llm.token_count.prompt": 9000, "llm.token_count.completion": 100,
            "llm.token_count.prompt_details.cache_read": 8000,
        }, version="0.1.80",
    )  # fmt: skip

    outcome = play([sent(graph, openllmetry, openinference)])

    assert bill(outcome) == (1, 9000, 8000, 100, 0.0069)
    assert written(outcome)[1]["spanledger.cost.rollup_usd"] == 0.0069


@pytest.mark.parametrize("order", [(0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0)])
def test_a_call_that_one_instrumentation_tells_twice_is_once_in_the_sum_above(order: tuple[int, ...]) -> None:
    """By the id of its response; the agent's own number agrees with that of its run."""
    told = OPENAI | used(1000, 100) | {"gen_ai.response.id": "chatcmpl-of-both"}
    spans = (AGENT, One(2, 1, "one", 30, 1030, told), One(3, 1, "one", 31, 1029, told))

    outcome = play([sent(*(spans[place] for place in order))])

    assert bill(outcome) == (1, 1000, 0, 100, 0.0035)
    assert written(outcome)[1]["spanledger.cost.rollup_usd"] == 0.0035


def test_calls_of_two_instrumentations_that_only_look_alike_are_two() -> None:
    """Equal tokens at another time, or at the same in another trace, are another call."""
    first = One(2, 1, "one", 30, 1030, OPENAI | used(1000, 100))
    second = One(3, 1, "other", 400, 1400, OPENAI | used(1000, 100))
    elsewhere = One(3, 0, "other", 31, 1031, OPENAI | used(1000, 100), trace=2)

    assert bill(play([sent(AGENT, first, second)])) == (2, 2000, 0, 200, 0.007)
    assert bill(play([sent(AGENT, first, elsewhere)])) == (2, 2000, 0, 200, 0.007)


@pytest.mark.parametrize(("start", "tokens"), [(21, (3000, 500)), (400, (1000, 100)), (400, (3000, 500))])
def test_answers_of_two_providers_with_one_id_are_two_calls(start: float, tokens: tuple[int, int]) -> None:
    """Small servers count their answers: only at the same time and with the same tokens is it a router's alias."""
    first = One(2, 1, "one", 20, 120, OPENAI | used(1000, 100, response__id="1"))
    second = One(3, 1, "other", start, start + 100, CLAUDE | used(*tokens, response__id="1"))

    outcome = play([sent(AGENT, first, second)])

    assert bill(outcome)[:2] == (2, 1000 + tokens[0])


def test_a_router_s_name_and_the_model_behind_it_are_one_call() -> None:
    """The framework knows what it asked for, the provider's SDK what answered: that has the price."""
    outer = One(2, 1, "framework", 20, 1000, OPENAI | {MODEL: "claude-sonnet-4-5"} | used(1000, 100))
    inner = One(3, 2, "sdk", 30, 900, OPENAI | {MODEL: "gpt-4o-mini"} | used(1000, 100))

    assert bill(play([sent(AGENT, outer, inner)])) == (1, 1000, 0, 100, 0.00021)


def test_a_wrapper_that_leaves_the_cache_out_is_still_one() -> None:
    """It says the 5,000 tokens that were not cached, the SDK below it all 7,000."""
    outer = One(2, 1, "house", 20, 1000, CLAUDE | used(5000, 100))
    inner = One(3, 2, "sdk", 30, 900, CLAUDE | used(7000, 100, usage__cache_read__input_tokens=2000))

    assert bill(play([sent(AGENT, outer, inner)])) == (1, 7000, 2000, 100, 0.0171)


def test_behind_a_proxy_s_alias_the_proxy_has_the_price() -> None:
    """The client's span left before, without one: the proxy's in the next request gets it, and the call counts once."""
    alias = OPENAI | {MODEL: "prod-claude", "server.address": "llm.internal"}
    client = One(2, 1, "opentelemetry.instrumentation.openai_v2", 20, 1000, alias | used(1000, 100, response__id="r-1"))
    server = One(3, 2, "litellm", 25, 990, {"http.request.method": "POST"}, service="proxy")
    proxy = One(4, 3, "litellm", 30, 980, CLAUDE | used(1000, 100, response__id="r-1"), service="proxy")

    outcome = play([sent(AGENT, client), sent(server, proxy)])

    assert bill(outcome) == (1, 1000, 0, 100, 0.0045)
    spans = written(outcome)
    assert spans[2]["spanledger.cost.status"] == "unpriced"
    assert (spans[4]["gen_ai.usage.cost"], spans[4]["spanledger.cost.reason"]) == (0.0045, "leaf_unpriced")


def test_an_agent_that_leaves_the_cache_out_reports_no_less_than_its_calls() -> None:
    """Its sum is in other words, and not wrong."""
    agent = AGENT._replace(attributes=AGENT.attributes | used(10_000, 200))
    calls = [
        One(
            number,
            1,
            "sdk",
            100 * number,
            100 * number + 90,
            CLAUDE | used(7000, 100, usage__cache_read__input_tokens=2000),
        )
        for number in (2, 3)
    ]

    outcome = play([sent(agent, *calls)])

    assert bill(outcome)[:4] == (2, 14_000, 4000, 200)
    assert (outcome.totals("rollups_less"), outcome.totals("rollups_more")) == (0, 0)


CACHED: Final = One(3, 2, "litellm", 30, 980, OPENAI | used(1000, 100) | {"litellm.cache_hit": True}, service="proxy")


def test_what_a_gateway_answered_from_its_cache_costs_its_client_nothing() -> None:
    """The client cannot know; its agent's sum has those tokens, too."""
    client = One(2, 1, "sdk", 20, 1000, OPENAI | used(1000, 100))
    paid = One(4, 1, "sdk", 1100, 1900, OPENAI | used(500, 50))
    agent = AGENT._replace(attributes=AGENT.attributes | used(1500, 150))

    assert bill(play([sent(AGENT, client, CACHED)]))[:4] == (0, 0, 0, 0)
    assert play([sent(agent, client, CACHED)]).totals("unattributed_tokens") == 550
    outcome = play([sent(agent, client, CACHED, paid)])
    assert bill(outcome) == (1, 500, 0, 50, 0.00175)
    assert outcome.totals("unattributed_tokens") == 0


SUM: Final = One(
    1, 0, "app", 0, 2000, {OP: "invoke_agent", "gen_ai.agent.name": "planner", MODEL: "gpt-4o"} | used(5000, 300)
)
BELOW_LOST: Final = One(9, 5, "app", 100, 900, OPENAI | used(1000, 100))


@pytest.mark.parametrize("requests", [[[SUM, BELOW_LOST]], [[BELOW_LOST], [SUM]]])
def test_a_call_below_a_lost_span_is_part_of_the_sum_around_it(requests: list[list[One]]) -> None:
    """Else its tokens would count as the call's and as the agent's. What the agent reports beyond it, nobody saw."""
    outcome = play([sent(*spans) for spans in requests])

    assert bill(outcome) == (1, 1000, 0, 100, 0.0035)
    assert outcome.totals("unattributed_tokens") == 4200
    assert written(outcome)[1]["spanledger.cost.status"] == "rollup"


def test_a_span_that_was_not_lost_but_late_takes_its_place() -> None:
    """It lies below the other agent, though its call lies within the time of this one."""
    other = SUM._replace(number=2, end=4000)
    late = One(5, 2, "app", 50, 3000, {OP: "execute_tool", "gen_ai.tool.name": "ask"})

    outcome = play([sent(SUM, other), sent(BELOW_LOST), sent(late)])

    assert outcome.calls == 1
    assert outcome.input == 5000 + 1000, "the first agent's sum is the only copy of its calls"


@pytest.mark.parametrize("first", [1, 2, 9])
def test_of_two_agents_around_a_lost_span_metrics_and_runs_mean_the_same(first: int) -> None:
    """The shorter one reports nothing: what the other sums up would count twice."""
    shorter = One(2, 0, "app", 50, 1500, {OP: "invoke_agent", "gen_ai.agent.name": "other"})
    spans = sorted((SUM, shorter, BELOW_LOST), key=lambda one: one.number != first)

    outcome = play([sent(one) for one in spans])

    assert bill(outcome) == (1, 1000, 0, 100, 0.0035)
    assert outcome.totals("unattributed_tokens") == 4200


def test_what_counts_is_in_the_run_whatever_kind_it_is() -> None:
    """A structural span that is the only copy of some tokens is a step with a cost, not a gap in the totals."""
    agent = One(1, 0, "mastra", 0, 2000, {OP: "invoke_agent", "gen_ai.agent.name": "m"})
    generation = One(2, 1, "@mastra/otel-exporter", 10, 900, {
        "mastra.span.type": "model_generation", MODEL: "gpt-4o"} | used(1000, 100), version="1.4.0")  # fmt: skip

    assert bill(play([sent(agent, generation)])) == (0, 1000, 0, 100, 0.0035)


def test_an_agent_that_goes_on_from_its_last_run_reports_no_hidden_calls() -> None:
    """Smolagents' `reset=False`: its sum is of all runs so far, and says so in the arguments of the run."""
    scope = "openinference.instrumentation.smolagents"
    agent = One(1, 0, scope, 0, 2000, {
        "openinference.span.kind": "AGENT", "input.value": '{"task": "and then?", "reset": false, "max_steps": null}',
        "llm.token_count.prompt": 9000, "llm.token_count.completion": 900, "llm.token_count.total": 9900,
    }, name="CodeAgent.run")  # fmt: skip
    call = One(2, 1, scope, 30, 1030, {
        "openinference.span.kind": "LLM", "llm.model_name": "gpt-4o",
        "llm.token_count.prompt": 1000, "llm.token_count.completion": 100,
    }, name="OpenAIServerModel.generate")  # fmt: skip

    outcome = play([sent(agent, call)])

    assert bill(outcome) == (1, 1000, 0, 100, 0.0035)
    assert outcome.totals("unattributed_tokens") == 0
    fresh = agent.attributes | {"input.value": '{"task": "say \\"reset\\": false", "reset": true}'}
    assert play([sent(agent._replace(attributes=fresh), call)]).totals("unattributed_tokens") == 8800


def test_a_client_and_its_gateway_are_one_call_though_neither_lies_below_the_other() -> None:
    """A client that is not instrumented below its SDK passes the trace of its agent on."""
    client = One(2, 1, "sdk", 20, 1000, OPENAI | used(1000, 100))
    gateway = One(3, 1, "gateway", 40, 980, OPENAI | used(1000, 100, response__id="r-1"), service="gateway")
    elsewhere = gateway._replace(parent=0, trace=2)

    for requests in ([[AGENT, client, gateway]], [[gateway], [client], [AGENT]]):
        assert bill(play([sent(*spans) for spans in requests])) == (1, 1000, 0, 100, 0.0035)
    assert bill(play([sent(AGENT, client, elsewhere)]))[:2] == (2, 2000), "another service's call of another trace"


EMBEDDING: Final[dict[str, Value]] = {
    OP: "embeddings", "gen_ai.provider.name": "openai", MODEL: "text-embedding-3-small",
    "gen_ai.usage.input_tokens": 1000,
}  # fmt: skip


@pytest.mark.parametrize(("attributes", "expected"), [(OPENAI, (1, 0, 0, 0, 0)), (EMBEDDING, (1, 1000, 0, 0, 0.00002))])
def test_calls_that_tell_no_output_are_twins_too(
    attributes: dict[str, Value], expected: tuple[int, int, int, int, float]
) -> None:
    """Streams of which nothing is known but the model, and embeddings, of two instrumentations at one time."""
    one = One(2, 1, "one", 20, 1000, attributes)
    other = One(3, 1, "other", 20.1, 1000.1, attributes)

    assert bill(play([sent(AGENT, one, other)])) == expected
    assert play([sent(AGENT, one, other._replace(scope="one"))]).calls == 2, "one instrumentation tells each call once"
    failed = other._replace(attributes=OPENAI | {"error.type": "timeout"})
    nameless = other._replace(attributes={name: value for name, value in attributes.items() if name != MODEL})
    both = play([sent(AGENT, one, failed)])
    assert (both.calls, both.failed) == (1, 1), "that one failed, this one did not"
    if attributes is OPENAI:
        assert play([sent(AGENT, one, nameless)]).calls == 2, "nothing says that they are alike"


HALF_IN: Final[dict[str, Value]] = OPENAI | {"gen_ai.usage.input_tokens": 1000, "gen_ai.response.id": "r-1"}
HALF_OUT: Final[dict[str, Value]] = OPENAI | {"gen_ai.usage.output_tokens": 100, "gen_ai.response.id": "r-1"}
WHOLE: Final = OPENAI | used(1000, 100, response__id="r-1")


@pytest.mark.parametrize("parent", [1, 2])
@pytest.mark.parametrize(
    ("first", "second"),
    [(HALF_IN, HALF_OUT), (HALF_OUT, HALF_IN), (WHOLE, HALF_OUT), (WHOLE, HALF_IN), (HALF_IN, WHOLE)],
)
def test_halves_of_one_answer_are_one_call(first: dict[str, Value], second: dict[str, Value], parent: int) -> None:
    """One span tells the input, another the output: side by side or nested, with the whole or without, in any order."""
    one = One(2, 1, "one", 20, 1000, first)
    other = One(3, parent, "other", 30, 990, second)

    for requests in ([[AGENT, one, other]], [[other], [one], [AGENT]], [[AGENT], [one], [other]]):
        assert bill(play([sent(*spans) for spans in requests])) == (1, 1000, 0, 100, 0.0035)


@pytest.mark.parametrize("scope", ["sdk", "other"])
def test_an_answer_that_is_fetched_again_is_no_call(scope: str) -> None:
    """Polling a response in the background tells its usage each time, by id or not."""
    call = One(2, 1, "sdk", 20, 200, OPENAI | used(1000, 100, response__id="resp_1"))
    polls = [
        One(number, 1, scope, 300 * number, 300 * number + 50, OPENAI | {OP: "fetch_response"} | used(1000, 100))
        for number in (3, 4)
    ]

    assert bill(play([sent(AGENT, call, *polls)])) == (1, 1000, 0, 100, 0.0035)
    assert bill(play([sent(polls[0]), sent(call), sent(polls[1]), sent(AGENT)])) == (1, 1000, 0, 100, 0.0035)


SEARCHED: Final = '[{"role": "assistant", "parts": [{"type": "server_tool_call", "name": "web_search"}]}]'


@pytest.mark.parametrize(
    ("told", "call", "usd"),
    [
        ({"openai.response.service_tier": "flex"}, OPENAI | {MODEL: "gpt-5.4"} | used(20_000, 1000), 0.0325),
        ({"litellm.cost.total": 0.003}, OPENAI | used(1000, 100), 0.003),
        ({"gen_ai.output.messages": SEARCHED}, OPENAI | {MODEL: "gpt-4.1"} | used(1000, 100), 0.0128),
        (
            {"anthropic.usage.cache_creation.ephemeral_1h_input_tokens": 9000},
            CLAUDE | used(10_000, 100, usage__cache_write__input_tokens=9000),
            0.0585,
        ),
    ],
)
@pytest.mark.parametrize("inner_parent", [1, 2])
def test_what_decides_the_price_counts_whoever_tells_it(
    told: dict[str, Value], call: dict[str, Value], usd: float, inner_parent: int
) -> None:
    """A tier, a bill, a search, an hour: on the framework's span and not on the SDK's, below it or beside it."""
    framework = One(2, 1, "framework", 20, 1000, call | told)
    sdk = One(3, inner_parent, "sdk", 30, 990, call)

    for requests in ([[AGENT, framework, sdk]], [[sdk], [framework], [AGENT]]):
        outcome = play([sent(*spans) for spans in requests])
        assert (bill(outcome)[0], bill(outcome)[4]) == pytest.approx((1, usd))
    both = play([sent(AGENT, framework, sdk._replace(attributes=call | told))])
    assert (bill(both)[0], bill(both)[4]) == pytest.approx((1, usd))


def test_the_tier_that_was_given_comes_before_the_one_that_was_asked_for() -> None:
    """The framework knows the request, the SDK below it the answer."""
    call = OPENAI | {MODEL: "gpt-5.4"} | used(20_000, 1000)
    framework = One(2, 1, "framework", 20, 1000, call | {"openai.request.service_tier": "priority"})
    sdk = One(3, 2, "sdk", 30, 990, call | {"openai.response.service_tier": "default"})

    assert bill(play([sent(AGENT, framework, sdk)])) == (1, 20_000, 0, 1000, 0.065)


def test_an_answer_of_a_realtime_session_is_a_call() -> None:
    """OpenLLMetry calls the answer and each stretch of its sound `realtime`; only the answer names a model."""
    scope = "opentelemetry.instrumentation.openai_agents"
    answer = One(
        2, 1, scope, 20, 900, {OP: "realtime", "gen_ai.system": "openai", MODEL: "gpt-realtime"} | used(100, 50)
    )
    sound = One(3, 1, scope, 30, 800, {OP: "realtime", "gen_ai.system": "openai"})

    outcome = play([sent(AGENT, answer, sound)])

    assert (outcome.calls, outcome.input, outcome.output) == (1, 100, 50)

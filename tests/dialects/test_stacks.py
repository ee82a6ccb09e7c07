"""What only a run against a model server that keeps the bill showed of a stack: one trap a test."""

from __future__ import annotations

import json
from typing import Any, Final

import pytest

from spanledger.conventions.dialects import read
from spanledger.conventions.values import key_value
from spanledger.processor.batch import Resource, Scope
from tests.dialects.rows import Row, found
from tests.fakes import span

OP: Final = "gen_ai.operation.name"
MODEL: Final = "gen_ai.request.model"
IN: Final = "gen_ai.usage.input_tokens"
OUT: Final = "gen_ai.usage.output_tokens"
CHAT: Final = {"kind": "llm", "operation": "chat"}
NOTHING: Final = {"kind": "other", "operation": None}
QUARKUS: Final = "io.quarkus.opentelemetry"
BEDROCK: Final = "@arizeai/openinference-instrumentation-bedrock"
PROFILE: Final = "us.anthropic.claude-sonnet-4-5-20250929-v1:0"


def _with_event(scope: str, name: str, attributes: dict[str, Any], event: str, **said: Any) -> Any:
    made = span(name=name)
    made.attributes.extend(key_value(key, value) for key, value in attributes.items())
    made.events.add(name=event).attributes.extend(key_value(key, value) for key, value in said.items())
    return read(Scope(scope, ""), Resource({}, "shop"), made)


@pytest.mark.parametrize("name", ["completion gpt-4o-mini", "langchain4j.aiservices.Trip.ask"])
def test_an_exception_alone_says_that_work_on_quarkus_failed(name: str) -> None:
    """It never sets a status."""
    reading = _with_event(QUARKUS, name, {MODEL: "gpt-4o-mini"}, "exception", **{"exception.type": "a.RateLimited"})

    assert reading.error_type == "a.RateLimited"


@pytest.mark.parametrize(
    ("name", "attributes", "expected"),
    [
        ("completion gpt-4o-mini", {MODEL: "gpt-4o-mini"}, CHAT | {"error_type": None}),
        ("langchain4j.aiservices.Trip.ask", {}, {"kind": "agent", "agent_name": "Trip"}),
        ("completion of an order", {"http.request.method": "POST"}, "not read"),
        ("completion of an order", {}, "not read"),
        ("chat", {MODEL: "gpt-4o-mini"}, {"kind": "other"}),
        ("POST /chat/completions", {"http.request.method": "POST"}, "not read"),
    ],
)
def test_langchain4j_on_quarkus_is_known_by_names_among_the_spans_of_all_else(
    name: str, attributes: dict[str, Any], expected: Any
) -> None:
    """The scope is that of the web server and of databases, too."""
    row = Row(QUARKUS, attributes, {"kind": "not read"} if expected == "not read" else expected, name=name)

    assert found(row) == row.expected


def test_the_span_around_tanstack_s_turns_is_an_agent_that_sums_them_up() -> None:
    """It names no operation, and has a model and tokens as a call has."""
    row = Row("my-app", {"gen_ai.system": "openai-chat", MODEL: "gpt-4o-mini", IN: 553, OUT: 71,
                         "tanstack.ai.iterations": 2},
              {"kind": "agent", "aggregate": True, "input": 553}, name="chat gpt-4o-mini")  # fmt: skip

    assert found(row) == row.expected


@pytest.mark.parametrize(("provider", "whole"), [("anthropic", 540), ("openai", 500)])
def test_tanstack_leaves_anthropic_s_cache_out(provider: str, whole: int) -> None:
    """A small cache shows in no arithmetic: its total is input and output."""
    row = Row("my-app", {OP: "chat", "gen_ai.system": provider, MODEL: "m", IN: 500, OUT: 28,
                         "tanstack.ai.iteration": 0, "gen_ai.usage.total_tokens": 528,
                         "gen_ai.usage.cache_read.input_tokens": 40},
              {"input": whole, "cache_read": 40})  # fmt: skip

    assert found(row) == row.expected


@pytest.mark.parametrize(("cached", "unbilled"), [(False, ""), (True, "cache_hit")])
def test_a_task_of_nemo_guardrails_with_a_model_is_a_call(cached: bool, unbilled: str) -> None:
    """The operation is the name of a prompt, and some calls are answered out of a cache."""
    row = Row("nemo_guardrails", {OP: "self_check_input", "gen_ai.provider.name": "openai", MODEL: "gpt-4o-mini",
                                  IN: 81, OUT: 25, "llm.cache.hit": cached},
              CHAT | {"input": 81, "unbilled": unbilled}, name="self_check_input gpt-4o-mini")  # fmt: skip

    assert found(row) == row.expected


def test_a_task_of_nemo_guardrails_that_tells_tokens_and_no_model_is_a_call() -> None:
    """Else nobody would see that it has no price."""
    row = Row("nemo_guardrails", {OP: "general", IN: 81}, {"kind": "llm", "input": 81}, name="general")

    assert found(row) == row.expected


@pytest.mark.parametrize(("kind", "expected"), [("input", "guardrail"), ("generation", "other")])
def test_a_rail_of_nemo_guardrails_that_generates_holds_nothing_back(kind: str, expected: str) -> None:
    """Colang has rails for all that happens."""
    row = Row("nemo_guardrails", {"rail.type": kind}, {"kind": expected}, name="guardrails.rail")

    assert found(row) == row.expected


def test_guardrails_ai_names_the_model_where_it_prints_the_client() -> None:
    """Of a stream it says no more than that there was a call."""
    client = "{'init_args': [], 'init_kwargs': {'stream': False, 'model': 'gpt-4o-mini', 'temperature': 0}}"
    row = Row("guardrails-ai", {"type": "guardrails/guard/step/call", "llm.token_count.prompt": 59,
                                "input.value": json.dumps({"args": [client], "kwargs": {}})},
              CHAT | {"request_model": "gpt-4o-mini", "input": 59}, name="call")  # fmt: skip

    assert found(row) == row.expected
    assert found(Row("guardrails-ai", {"input.value": "{}"}, CHAT | {"input": None}, name="call"))["kind"] == "llm"


def test_monocle_counts_in_an_event() -> None:
    """Who took part is a list of entities, in an order that depends on the framework."""
    entities = {
        "entity.1.type": "inference.anthropic", "entity.1.provider_name": "model.example",
        "entity.2.name": "claude-sonnet-4-5", "entity.2.type": "model.llm.claude-sonnet-4-5",
    }  # fmt: skip
    counts = {"prompt_tokens": 500, "completion_tokens": 28, "total_tokens": 528, "cache_read_input_tokens": 40}
    reading = _with_event(
        "monocle_apptrace", "anthropic.create", {"span.type": "inference", **entities}, "metadata", **counts
    )

    assert (reading.provider, reading.request_model) == ("anthropic", "claude-sonnet-4-5")
    assert (reading.usage.input, reading.usage.output, reading.usage.cache_read) == (540, 28, 40)


def test_monocle_counts_the_cache_to_the_input_of_a_coding_agent_s_session() -> None:
    """It adds Claude Code's up, and names the parts otherwise than Anthropic's client does."""
    counts = {"prompt_tokens": 500, "completion_tokens": 28, "total_tokens": 528, "input_tokens": 3,
              "cache_read_tokens": 400, "cache_creation_tokens": 97}  # fmt: skip
    said = {"span.type": "inference", "entity.1.type": "inference.anthropic"}

    usage = _with_event("monocle_apptrace", "claude", said, "metadata", **counts).usage

    assert (usage.input, usage.output, usage.cache_read, usage.cache_write) == (500, 28, 400, 97)


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ({"input.value": json.dumps({"modelId": PROFILE, "messages": []})}, {"request_model": PROFILE}),
        ({"input.value": json.dumps({"messages": [], "modelId": PROFILE})}, {"request_model": PROFILE}),
        ({"output.value": json.dumps({"id": "msg_1", "model": "claude-sonnet-4-5", "content": []})},
         {"request_model": None, "response_model": "claude-sonnet-4-5"}),
        ({"output.value": json.dumps({"content": [{"model": "of a tool"}]})},
         {"request_model": None, "response_model": None}),
    ],
)  # fmt: skip
def test_the_vendor_in_an_inference_profile_is_no_model(said: dict[str, Any], expected: dict[str, Any]) -> None:
    """OpenInference for JavaScript takes what stands after the first dot: `us.anthropic.claude-…`."""
    call = {"openinference.span.kind": "LLM", "llm.system": "anthropic", "llm.model_name": "anthropic"}

    assert found(Row(BEDROCK, call | said, expected)) == expected


def test_the_cache_of_bedrock_s_converse_stands_in_its_answer() -> None:
    """OpenInference for JavaScript has an attribute for the total only."""
    usage = {"inputTokens": 189, "outputTokens": 28, "totalTokens": 2393, "cacheReadInputTokens": 1920}
    call = {"openinference.span.kind": "LLM", "llm.token_count.prompt": 189, "llm.token_count.completion": 28,
            "llm.token_count.total": 2393}  # fmt: skip
    answer = {"output.value": json.dumps({"output": {}, "usage": {**usage, "cacheWriteInputTokens": 256}})}
    expected = {"input": 2365, "cache_read": 1920, "cache_write": 256, "conflicts": ()}

    assert found(Row(BEDROCK, call | answer, expected)) == expected


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ("claude-sonnet-4-5-20250929-v1:0", CHAT | {"input": None}),
        ("titan-embed-text-v2:0", {"kind": "embedding", "operation": "embeddings"}),
        ("", NOTHING),
    ],
)
def test_a_command_about_a_model_of_bedrock_is_a_call(model: str, expected: dict[str, Any]) -> None:
    """Of Converse, OpenLLMetry for JavaScript tells the model and no more: no operation, and no tokens."""
    said = {"gen_ai.provider.name": "aws.bedrock", **({MODEL: model} if model else {})}
    row = Row("@traceloop/instrumentation-bedrock", said, expected, name="bedrock.completion")

    assert found(row) == expected


def test_google_s_adk_for_java_spells_the_id_of_a_tool_call_its_own_way() -> None:
    """`gen_ai.tool_call.id`; the others say `gen_ai.tool.call.id`."""
    row = Row("gcp.vertex.agent", {OP: "execute_tool", "gen_ai.tool_call.id": "call_1"}, {"tool_call_id": "call_1"})

    assert found(row) == row.expected


@pytest.mark.parametrize(
    ("given", "name"), [("traveller", "traveller"), ("757e043f-b80b-44a9-bb85-1bca515f3342", None)]
)
def test_the_id_that_an_agent_of_koog_was_given_is_its_name(given: str, name: str | None) -> None:
    """One that it was not given is another each time."""
    row = Row("my-app", {OP: "invoke_agent", "gen_ai.agent.id": given, "koog.event.id": "1"}, {"agent_name": name})

    assert found(row) == row.expected


def test_the_parts_of_mirascope_s_counts_stand_in_json_of_its_own() -> None:
    """Its 0 may be what a provider did not tell, and its ids of models end in the API that is asked."""
    usage = {"input_tokens": 2262, "output_tokens": 16, "cache_write_tokens": 2048, "reasoning_tokens": 0}
    row = Row("mirascope.llm", {OP: "chat", MODEL: "openai/gpt-5-mini:responses", IN: 2262, OUT: 16,
                                "mirascope.response.usage": json.dumps(usage)},
              {"request_model": "openai/gpt-5-mini", "input": 2262, "cache_write": 2048,
               "reasoning": None})  # fmt: skip

    assert found(row) == row.expected


def test_a_function_that_mirascope_traces_is_no_call() -> None:
    """It repeats the usage of the call that was made in it."""
    said = {"mirascope.type": "trace", "mirascope.response.usage": json.dumps({"input_tokens": 9})}

    assert found(Row("mirascope.ops", said, NOTHING, name="trip")) == NOTHING


@pytest.mark.parametrize("streamed", [False, True])
def test_prompt_flow_has_what_was_cached_in_the_answer_alone(streamed: bool) -> None:
    """Of a stream that is the list of its chunks, and no attribute tells its tokens."""
    usage = {"prompt_tokens": 2385, "completion_tokens": 28, "total_tokens": 2413,
             "prompt_tokens_details": {"cached_tokens": 1920}}  # fmt: skip
    answer = {"id": "chatcmpl-1", "model": "gpt-4o-mini-2024-07-18", "choices": [], "usage": usage}
    output = [{"id": "chatcmpl-1", "choices": []}, answer] if streamed else answer
    told = {} if streamed else {"llm.usage.prompt_tokens": 2385, "llm.usage.completion_tokens": 28}
    said = {"span_type": "LLM", "inputs": json.dumps({"model": "gpt-4o-mini", "messages": []}),
            "output": json.dumps(output, indent=2)}  # fmt: skip
    expected = CHAT | {"request_model": "gpt-4o-mini", "response_model": "gpt-4o-mini-2024-07-18",
                       "response_id": "chatcmpl-1", "input": 2385, "output": 28, "cache_read": 1920}  # fmt: skip

    assert found(Row("promptflow", said | told, expected, name="openai_chat")) == expected


@pytest.mark.parametrize("kind", ["Function", "Tool"])
def test_a_node_of_prompt_flow_is_no_call_whatever_it_sums_up(kind: str) -> None:
    """A sum of its calls stands on each function around them."""
    said = {"span_type": kind, "__computed__.cumulative_token_count.total": 4628}

    assert found(Row("promptflow", said, NOTHING, name="trip")) == NOTHING

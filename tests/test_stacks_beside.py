"""Instrumentations beside one another, whose spans do not lie within each other as calls do: told once all the same."""

from __future__ import annotations

import json
from typing import Any, Final

import pytest

from spanledger.conventions.values import Value
from tests.coding_agents import Outcome, play
from tests.test_stacks_together import AGENT, CLAUDE, MODEL, OP, OPENAI, One, bill, sent, used, written

NATIVE: Final = CLAUDE | used(
    2114, 28, response__id="msg_1", usage__cache_write__input_tokens=2048, usage__cache_read__input_tokens=0
)
"""What Anthropic's SDK tells of the call that others tell without its cache."""
NATIVE_BILL: Final = (1, 2114, 0, 28, 0.008298)
SDK: Final = "com.anthropic.sdk.python"
PRIORITY: Final[dict[str, Value]] = {"openai.response.service_tier": "priority"}
WEATHER: Final[dict[str, Value]] = {OP: "execute_tool", "gen_ai.tool.name": "get_weather"}
STEP: Final = "haystack.agent.step.llm"
TRIED: Final = "haystack.chat_generator.run"


def told(outcome: Outcome) -> list[tuple[str, str]]:
    """Return kind and name of the steps of all runs but agents."""
    steps = [step for run in outcome.runs for step in run["steps"]]
    return [(step["kind"], step["tool_name"] or step["name"]) for step in steps if step["kind"] != "agent"]


def test_a_call_without_its_cache_beside_the_sdk_s_own_is_one() -> None:
    """AgentOps makes no context of a stream's span, so that the SDK's is its sibling."""
    native = One(2, 1, SDK, 21, 99, NATIVE)
    beside = One(3, 1, "anthropic", 20, 100, CLAUDE | used(66, 28))

    assert bill(play([sent(AGENT, native, beside)])) == NATIVE_BILL


def test_a_call_without_what_was_written_to_its_cache_beside_the_sdk_s_own_is_one() -> None:
    """Monocle tells what was read from a cache and not what was written, in a trace of its own."""
    read, wrote = {"usage__cache_read__input_tokens": 1920}, {"usage__cache_write__input_tokens": 256}
    native = One(2, 0, SDK, 21, 99, CLAUDE | used(2365, 28, **read, **wrote))
    beside = One(3, 0, "monocle_apptrace", 20, 100, CLAUDE | used(189, 28, **read), trace=2)

    outcome = play([sent(native), sent(beside)])

    assert (outcome.calls, outcome.input, outcome.tokens["cache_write"]) == (1, 2365, 256)


def test_a_note_of_a_stream_s_answer_is_the_call_that_ended_just_before() -> None:
    """Logfire logs it in a trace of its own, when the stream and the span of the SDK have ended."""
    asked = One(1, 0, "logfire.anthropic", 20, 60, CLAUDE, name="Message with {request_data[model]!r}")
    native = One(2, 1, SDK, 21, 100, NATIVE)
    answer = CLAUDE | used(2114, 28) | {
        "gen_ai.usage.raw": json.dumps({"input_tokens": 66, "output_tokens": 28, "cache_creation_input_tokens": 2048}),
    }  # fmt: skip
    note = One(3, 0, "logfire.anthropic", 108, 108, answer, name="streaming response from {request_data[model]!r}")

    assert bill(play([sent(asked, note._replace(trace=2)), sent(native)])) == NATIVE_BILL
    assert bill(play([sent(native), sent(asked, note._replace(trace=2))])) == NATIVE_BILL
    late = note._replace(start=5000, end=5000, trace=2)
    assert bill(play([sent(asked, native, late)]))[0] == 2


def test_a_note_of_a_stream_that_broke_off_is_the_call_that_was_left() -> None:
    """Both tell the input. What Logfire has of the output is what Anthropic's first event says."""
    native = One(2, 1, SDK, 21, 100, CLAUDE | {"gen_ai.usage.input_tokens": 66, "gen_ai.response.id": "msg_1"})
    answer = CLAUDE | used(66, 1) | {"gen_ai.output.messages": '[{"role":"assistant","parts":[]}]'}
    note = One(3, 1, "logfire.anthropic", 108, 108, answer, name="streaming response from {request_data[model]!r}")

    assert bill(play([sent(AGENT, native, note)]))[:4] == (1, 66, 0, 0)


def test_a_call_whose_caller_is_told_under_other_ids_stays_in_its_run() -> None:
    """LangSmith's SDK 0.14 exports spans with other ids than those of the context that Anthropic's SDK is called in."""
    run = One(1, 0, "langsmith", 0, 300, {"langsmith.span.kind": "chain"}, name="traveller")
    tool = One(3, 1, "langsmith", 110, 120, {"langsmith.span.kind": "tool"}, name="get_weather")
    told_of = One(2, 1, "langsmith", 20, 100, {"langsmith.span.kind": "llm"} | NATIVE, name="ChatAnthropic")
    native = One(9, 8, SDK, 21, 99, NATIVE, trace=2)
    for requests in ((sent(native), sent(run, told_of, tool)), (sent(run, told_of, tool), sent(native))):
        outcome = play([*requests])

        assert bill(outcome) == NATIVE_BILL
        assert [told(outcome), len(outcome.runs)] == [
            [("other", "traveller"), ("llm", "ChatAnthropic"), ("tool", "get_weather")], 1,
        ]  # fmt: skip


def test_a_wrapper_that_saw_the_beginning_of_a_stream_only_is_a_wrapper() -> None:
    """The first event of Anthropic's stream tells the input and one token of output."""
    wrapper = One(2, 1, "anthropic", 20, 100, CLAUDE | used(66, 1))
    native = One(3, 2, SDK, 21, 99, NATIVE)

    assert bill(play([sent(AGENT, wrapper, native)])) == NATIVE_BILL


def _chat(number: int, scope: str, start: float, end: float, *, parent: int = 1, tokens: int = 100) -> One:
    return One(number, parent, scope, start, end, OPENAI | used(1000, tokens))


def _embedding(number: int, scope: str, start: float, end: float, trace: int = 1) -> One:
    asked: dict[str, Value] = {OP: "embeddings", MODEL: "text-embedding-3-small", "gen_ai.usage.input_tokens": 8}
    return One(number, 1, scope, start, end, asked | {"gen_ai.provider.name": "openai"}, trace=trace)


@pytest.mark.parametrize(
    "spans",
    [
        pytest.param((_chat(2, "one", 10, 1010), _chat(3, "one", 10, 1010)), id="fan-out of equal prompts"),
        pytest.param((_chat(2, "one", 10, 1010), _chat(3, "one", 300, 900)), id="hedged"),
        pytest.param(
            (
                _chat(2, "one", 10, 1010), _chat(3, "other", 11, 1009), _chat(4, "one", 300, 900),
                _chat(5, "other", 301, 899),
            ),
            id="hedged, each told by two",
        ),
        pytest.param((_chat(2, "one", 10, 1010), _chat(3, "one", 20, 900, parent=2, tokens=400)), id="below, longer"),
        pytest.param(
            (
                One(2, 1, "framework", 10, 2000, OPENAI | used(1000, 100) | PRIORITY),
                _chat(3, "one", 20, 500, parent=2), _chat(4, "one", 600, 1900, parent=2),
            ),
            id="attempts below one that knows the tier",
        ),
        pytest.param((_chat(2, "one", 10, 10), _chat(3, "other", 400, 900)), id="of no length, before the other"),
        pytest.param((_embedding(2, "one", 10, 60), _embedding(3, "one", 11, 61)), id="parts of a batch"),
        pytest.param((_embedding(2, "one", 10, 60), _embedding(3, "other", 60, 60)), id="one after the other, in 1 ms"),
        pytest.param((_embedding(2, "one", 10, 60), _embedding(3, "other", 20, 30, trace=2)), id="of two requests"),
    ],
)  # fmt: skip
def test_calls_that_are_alike_by_chance_are_two(spans: tuple[One, ...]) -> None:
    """What makes two reports one has to be more than may be so of two calls at one time."""
    for each in (spans, spans[::-1]):
        outcome = play([sent(AGENT), *map(sent, each)])

        assert outcome.calls == outcome.totals("llm_calls") == 2


def test_anthropic_s_usage_that_was_flattened_is_not_counted_twice() -> None:
    """Langfuse's handler lays the lifetimes of written tokens beside their sum."""
    usage = {
        "cache_creation_input_tokens": 2048, "cache_read_input_tokens": 0, "input": 66, "output": 28,
        "cache_creation_ephemeral_1h_input_tokens": 0, "cache_creation_ephemeral_5m_input_tokens": 2048,
    }  # fmt: skip
    prefix = "langfuse.observation."
    generation: dict[str, Value] = {
        prefix + "type": "generation", prefix + "model.name": "claude-sonnet-4-5-20250929",
        prefix + "usage_details": json.dumps(usage), prefix + "metadata.ls_model_name": '"claude-sonnet-4-5"',
        prefix + "metadata.ls_provider": '"anthropic"', prefix + "metadata.lc_agent_name": '"traveller"',
    }  # fmt: skip
    outer = One(2, 1, "langfuse-sdk", 20, 100, generation, version="5.0.4", name="ChatAnthropic")

    alone = play([sent(AGENT, outer)])
    assert bill(alone) == NATIVE_BILL
    says = written(alone)[2]
    assert (says["gen_ai.request.model"], says["gen_ai.agent.name"]) == ("claude-sonnet-4-5", "traveller")
    assert bill(play([sent(AGENT, outer, One(3, 2, SDK, 21, 99, NATIVE))])) == NATIVE_BILL


LANGFUSE_TOOL: Final[dict[str, Value]] = {
    "langfuse.observation.type": "tool", "langfuse.observation.metadata.tool_call_id": '"call_1"',
}  # fmt: skip
OPENINFERENCE_TOOL: Final[dict[str, Value]] = {"openinference.span.kind": "TOOL", "tool.name": "get_weather"}


@pytest.mark.parametrize("first", [2, 3])
def test_two_callbacks_tell_one_tool(first: int) -> None:
    """Neither lies in the other, and only one says which call it is."""
    one = One(2, 1, "langfuse-sdk", 20, 21.5, LANGFUSE_TOOL, name="get_weather")
    other = One(3, 1, "openinference.instrumentation.langchain", 20.2, 21.6, OPENINFERENCE_TOOL, name="get_weather")
    spans = (one, other) if first == 2 else (other, one)

    outcome = play([sent(spans[0]), sent(spans[1], AGENT)])

    assert outcome.tools == {"get_weather": 1}
    assert told(outcome) == [("tool", "get_weather")]
    assert outcome.totals("tool_calls") == 1


def test_a_client_names_a_tool_with_its_server_and_the_server_does_not() -> None:
    """One below the other they are one call, in the numbers as in the run."""
    client = One(2, 1, "agents", 10, 90, WEATHER | {"gen_ai.tool.name": "mcp__travel__get_weather"})
    server = One(3, 2, "mcp", 20, 80, WEATHER)

    for each in ([sent(AGENT, client, server)], [sent(server), sent(AGENT, client)]):
        outcome = play(each)
        assert sum(outcome.tools.values()) == outcome.totals("tool_calls") == 1


def test_tools_that_run_side_by_side_are_told_once_each() -> None:
    """Two calls of one tool at the same time, each told by two callbacks, are two."""
    pairs: list[One] = []
    for number, start in ((2, 20.0), (4, 20.1)):
        pairs += [
            One(number, 1, "langfuse-sdk", start, 25, {"langfuse.observation.type": "tool"}, name="get_weather"),
            One(number + 1, 1, "openinference.instrumentation.langchain", start, 25.1, OPENINFERENCE_TOOL),
        ]

    outcome = play([sent(AGENT, *pairs)])

    assert outcome.tools == {"get_weather": 2}
    assert outcome.totals("tool_calls") == 2


def test_tools_of_one_dialect_or_of_another_moment_are_all_counted() -> None:
    """A tool that is called again is no other report of the first call."""
    openinference = "openinference.instrumentation.langchain"
    again = [One(number, 1, openinference, 20, 25, OPENINFERENCE_TOOL) for number in (2, 3)]
    later = One(4, 1, "own", 40, 45, WEATHER)

    assert play([sent(AGENT, *again, later)]).totals("tool_calls") == 3


def test_two_callbacks_tell_one_failure_though_one_hears_of_it_late() -> None:
    """The beginning is told to both at once, the error after it was handled elsewhere."""
    failed: dict[str, Any] = {"error.type": "BadRequestError"}
    one = One(2, 1, "one", 20, 80, OPENAI | failed)
    other = One(3, 1, "other", 20.3, 120, OPENAI | failed)

    outcome = play([sent(AGENT, one, other)])

    assert (outcome.calls, outcome.failed) == (0, 1)
    assert outcome.totals("llm_calls_failed") == 1


def messages(*parts: dict[str, Value], role: str = "assistant") -> dict[str, Value]:
    """Return a message."""
    return {"role": role, "parts": list(parts)}


ASKED: Final = messages({"type": "text", "content": "Weather?"}, role="user")


def asks(call_id: str) -> dict[str, Value]:
    """Return an answer that asks for the weather."""
    return messages({"type": "tool_call", "id": call_id, "name": "get_weather", "arguments": {"city": "Oslo"}})


def given(call_id: str) -> dict[str, Value]:
    """Return the result."""
    return messages({"type": "tool_call_response", "id": call_id, "response": "3C"}, role="tool")


@pytest.mark.parametrize("item_id", ["call_1", "fc_1"])
def test_a_tool_is_known_from_messages_by_its_call_or_by_its_item(item_id: str) -> None:
    """OpenLLMetry names a call of the Responses API after its item in the answer, and after the call in the input."""
    first = One(2, 1, "own", 20, 40, OPENAI | used(100, 10) | {
        "gen_ai.input.messages": json.dumps([ASKED]), "gen_ai.output.messages": json.dumps([asks(item_id)]),
    })  # fmt: skip
    second = One(3, 1, "own", 50, 60, OPENAI | used(150, 10) | {
        "gen_ai.input.messages": json.dumps([ASKED, asks("call_1"), given("call_1")]),
    })  # fmt: skip

    outcome = play([sent(AGENT, first, second)])

    assert outcome.totals("tool_calls") == 1
    assert told(outcome)[1] == ("tool", "get_weather")


def test_the_tokens_of_dspy_s_call_have_the_model_of_the_span_below_them() -> None:
    """MLflow writes them to the outermost program, and each value as JSON."""
    usage: dict[str, Value] = {"mlflow.chat.tokenUsage": '{"input_tokens": 208, "output_tokens": 36}'}
    call = One(2, 1, "mlflow.tracing.provider", 20, 80, {
        "mlflow.spanType": '"CHAT_MODEL"', "mlflow.llm.model": '"openai/gpt-4o-mini"',
    }, name="LM.__call__")  # fmt: skip
    predict = One(1, 0, "mlflow.tracing.provider", 10, 90, usage | {"mlflow.spanType": '"LLM"'}, name="Predict.forward")
    react = predict._replace(attributes=usage | {"mlflow.spanType": '"AGENT"'}, name="ReAct.forward")

    priced, summed_up = play([sent(call, predict)]), play([sent(call, react)])

    assert bill(priced) == (1, 208, 0, 36, 0.0000528)
    assert (summed_up.calls, summed_up.input, summed_up.runs[0]["totals"]["input_tokens"]) == (1, 208, 208)


def test_a_generator_of_haystack_that_stepped_in_is_one_call_beside_the_one_that_failed() -> None:
    """The answer stands on the span around those that were tried in turn."""
    answer = {"replies": [{"meta": {"model": "gpt-4o-mini", "usage": {"prompt_tokens": 244, "completion_tokens": 28}}}]}
    around = One(1, 0, "app", 10, 90, {"haystack.agent.step.llm.output": json.dumps(answer)}, name=STEP)
    tried: dict[str, Value] = {"haystack.component.type": "OpenAIChatGenerator"}
    first = One(2, 1, "app", 11, 20, tried | {"error.type": "NotFound"}, name=TRIED)

    outcome = play([sent(first, One(3, 1, "app", 21, 89, tried, name=TRIED), around)])

    assert (outcome.calls, outcome.failed, outcome.input, outcome.runs[0]["outcome"]) == (1, 1, 244, "success")


@pytest.mark.parametrize("tokens", [{}, {"llm.token_count.prompt": 350, "llm.token_count.completion": 16}])
def test_a_stream_that_was_asked_for_when_the_span_of_llama_index_had_ended_is_its_call(
    tokens: dict[str, Value],
) -> None:
    """Its span ends with the function, which asks the model once somebody reads. Each call is its own, in any order."""
    scopes = ("openinference.instrumentation.llama_index", "openinference.instrumentation.openai")
    call: dict[str, Value] = {"openinference.span.kind": "LLM", "llm.model_name": "gpt-4o-mini"} | tokens
    streams = [
        span
        for number, begun in ((2, 20), (4, 120))
        for span in (
            One(number, 1, scopes[0], begun, begun + 1, call, name="OpenAI.astream_chat"),
            One(number + 1, 1, scopes[1], begun + 2, begun + 80, call, name="ChatCompletion"),
        )
    ]
    for spans in (streams, streams[::-1]):
        outcome = play([sent(AGENT, *spans)])

        assert (outcome.calls, outcome.input) == (2, 700 if tokens else 0)
        assert len(told(outcome)) == 2

    elsewhere = streams[1]._replace(start=19_000, end=20_000)
    assert play([sent(AGENT, streams[0], elsewhere)]).calls == 2

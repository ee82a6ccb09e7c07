"""What a span or a log record says that joins it to others, case by case."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from typing import Any

import pytest
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from spanledger.conventions.content.parse import Reader as JsonReader
from spanledger.conventions.detail import ContentMode, Detail, Evaluation, ToolRequest
from spanledger.conventions.details import Details, evaluation_of, extends, merged, similar
from spanledger.conventions.details.history import MAX_LINKS, MAX_PARTS, chained, heard, unchained
from spanledger.conventions.details.prints import MAX_SHINGLES, Printer, canonical
from spanledger.conventions.details.rendering import CUT
from spanledger.conventions.dialects import read
from spanledger.conventions.profile import LATEST, PROFILES
from spanledger.conventions.reading import Reading
from spanledger.conventions.safety.concern import Concern
from spanledger.conventions.span_attributes import Keys
from spanledger.conventions.values import Value, any_value, key_value
from spanledger.processor.batch import Resource, Scope
from tests.fakes import span

KEY = b"a secret of the process"
CHAT: dict[str, Value] = {"gen_ai.operation.name": "chat"}
TOOL: dict[str, Value] = {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "search"}
AGENT: dict[str, Value] = {"gen_ai.operation.name": "invoke_agent"}
PRINTER = Printer(KEY)


def made(attributes: dict[str, Value], **changes: Any) -> Span:
    """Return a span with these attributes."""
    result = span(**changes)
    result.attributes.extend(key_value(key, value) for key, value in attributes.items())
    return result


def reading_of(of: Span, profile: str = LATEST.name) -> Reading:
    """Return the reading of a span that is GenAI work."""
    reading = read(Scope("app", ""), Resource({}, "shop"), of, PROFILES[profile])  # type: ignore[index]
    assert reading is not None
    return reading


def detail(attributes: dict[str, Value], mode: ContentMode = "metadata", **options: Any) -> Detail:
    """Return the detail of a span with these attributes."""
    of = made(attributes)
    return Details(mode, KEY, **options).read(of, reading_of(of), {"team": "red", "tier": 3})


def user(text: str) -> dict[str, Any]:
    """Return a message of the user."""
    return {"role": "user", "parts": [{"type": "text", "content": text}]}


def said(text: str) -> dict[str, Any]:
    """Return an answer in words."""
    return {"role": "assistant", "parts": [{"type": "text", "content": text}]}


def calls(*requests: tuple[str, str, Any]) -> dict[str, Any]:
    """Return an answer that asks for tools: (id, name, arguments)."""
    parts = [{"type": "tool_call", "id": i, "name": name, "arguments": given} for i, name, given in requests]
    return {"role": "assistant", "parts": parts}


def result(call_id: str, response: Any, role: str = "tool") -> dict[str, Any]:
    """Return what a tool answered."""
    return {"role": role, "parts": [{"type": "tool_call_response", "id": call_id, "response": response}]}


def call(asked: list[dict[str, Any]], told: list[dict[str, Any]], **more: Value) -> dict[str, Value]:
    """Return the attributes of a model call in current words."""
    return {
        **CHAT,
        "gen_ai.input.messages": json.dumps(asked),
        "gen_ai.output.messages": json.dumps(told),
        **{key.replace("__", "."): value for key, value in more.items()},
    }


ASK = user("Weather in Oslo?")
WANT = calls(("call_1", "get_weather", {"city": "Oslo", "days": 1}))
FIRST = detail(call([ASK], [WANT]))


def test_requests_name_each_tool_call_with_a_digest_of_its_arguments() -> None:
    """Ids and names come as they are; arguments that mean the same have one digest."""
    other = detail(call([ASK], [calls(("call_9", "get_weather", '{"days": 1.0, "city": " Oslo "}'))]))
    assert FIRST.requests == (ToolRequest("call_1", "get_weather", other.requests[0].arguments),)


def test_a_call_that_a_stream_tells_in_pieces_is_one() -> None:
    """ADK repeats a call of LiteLLM with every piece of the stream, without arguments until it has all of them."""
    piece = calls(("call_1", "get_weather", None))
    another = calls(("call_2", "get_weather", None))
    assert detail(call([ASK], [piece, piece, WANT])) == FIRST
    assert [one.id for one in detail(call([ASK], [another, WANT])).requests] == ["call_2", "call_1"]


@pytest.mark.parametrize(
    "history",
    [
        pytest.param([ASK, WANT, result("call_1", "3C")], id="plain"),
        pytest.param([{"role": "system", "parts": ASK["parts"]}, ASK, WANT, result("call_1", "3C")], id="instructions"),
        pytest.param([ASK, WANT, result("call_1", "3C", role="user")], id="result as user"),
        pytest.param([user("  Weather in Oslo?\n"), WANT, result("call_1", "3C")], id="space"),
        pytest.param([ASK, calls(("fc_1", "get_weather", {"days": 1, "city": "Oslo"}))], id="another id"),
        pytest.param([ASK, {**WANT, "finish_reason": "stop", "name": "bob"}, said("so"), ASK], id="names and reasons"),
        pytest.param(
            [ASK, {"role": "assistant", "parts": [{"type": "reasoning", "content": "hm"}, *WANT["parts"]]}],
            id="reasoning",
        ),
    ],
)
def test_next_call_has_the_last_one_in_its_history(history: list[dict[str, Any]]) -> None:
    """However the answer comes back in the next request, the chain goes on."""
    later = detail(call(history, [said("3C")]))
    assert FIRST.after in later.history
    assert extends(later, FIRST)
    assert not extends(FIRST, later)


@pytest.mark.parametrize(
    "history",
    [
        pytest.param([user("Weather in Rome?"), WANT, result("call_1", "3C")], id="asked otherwise"),
        pytest.param([ASK, calls(("call_1", "get_weather", {"city": "Rome"})), result("call_1", "3C")], id="arguments"),
        pytest.param([ASK, calls(("call_1", "get_time", WANT["parts"][0]["arguments"]))], id="another tool"),
        pytest.param([WANT, result("call_1", "3C")], id="trimmed"),
        pytest.param([ASK], id="a retry"),
        pytest.param([], id="nothing"),
    ],
)
def test_another_conversation_does_not_go_on(history: list[dict[str, Any]]) -> None:
    """What was said otherwise, or not at all, is another history."""
    assert not extends(detail(call(history, [said("3C")])), FIRST)


def test_two_runs_that_ask_the_same_are_told_apart_by_ids() -> None:
    """The answers have one digest, the ids of their tool calls do not; after the results the chains differ."""
    other = detail(call([ASK], [calls(("call_2", "get_weather", {"city": "Oslo", "days": 1}))]))
    assert FIRST.after == other.after
    later = detail(call([ASK, WANT, result("call_1", "3C")], [said("3C")]))
    assert extends(later, FIRST)
    assert not extends(later, other)


def test_a_repeated_call_has_the_same_history() -> None:
    """So a retry is recognised."""
    assert detail(call([ASK], [])).history == FIRST.history


def test_an_answer_of_which_nothing_is_said_is_followed_all_the_same() -> None:
    """Some emitters leave tool calls out of both the answer and the next request."""
    silent = {"role": "assistant", "parts": [{"type": "text", "content": ""}]}
    first = detail(call([ASK], [silent]))
    later = detail(call([ASK, silent, {"role": "tool", "parts": [{"type": "text", "content": "3C"}]}], [said("3C")]))
    assert extends(later, first)


def test_a_failed_call_is_followed_by_nothing() -> None:
    """Without an answer there is nothing to go on from."""
    assert detail({**CHAT, "gen_ai.input.messages": json.dumps([ASK])}).after is None


def test_of_several_choices_the_first_goes_on() -> None:
    """The others are not in any history."""
    both = call([ASK], [said("warm"), said("cold")], gen_ai__request__choice__count=2)
    assert extends(detail(call([ASK, said("warm"), ASK], [])), detail(both))


@pytest.mark.parametrize(
    ("history", "answered", "asks_user"),
    [
        pytest.param([ASK], (), True, id="first turn"),
        pytest.param([ASK, said("3C"), user("And Rome?")], (), True, id="second turn"),
        pytest.param([ASK, WANT, result("call_1", "3C")], ("call_1",), False, id="tool result"),
        pytest.param([ASK, WANT, result("call_1", "3C", "user")], ("call_1",), False, id="tool result by the user"),
        pytest.param([ASK, WANT, result("call_1", "3C"), user("hurry")], ("call_1",), False, id="with a remark"),
        pytest.param([ASK, WANT, user('{"temp": 3}')], ("call_1",), False, id="result told as text"),
        pytest.param([ASK, WANT, result("fc_7", "3C")], ("fc_7", "call_1"), False, id="two ids of a call"),
        pytest.param([ASK, said("3C")], (), False, id="nothing new"),
        pytest.param([], (), False, id="nothing"),
    ],
)
def test_turns_and_results(history: list[dict[str, Any]], answered: tuple[str, ...], asks_user: bool) -> None:
    """A turn begins where the user speaks and no tool answers."""
    found = detail(call(history, [said("ok")]))
    assert (found.answered, found.asks_user) == (answered, asks_user)


def test_history_keeps_its_last_links() -> None:
    """Long conversations are joined by their ends."""
    asked = [user(f"message {number}") for number in range(3 * MAX_LINKS)]
    first = detail(call(asked, [said("ok")]))
    later = detail(call([*asked, said("ok"), ASK], [said("yes")]))
    assert len(first.history) == len(later.history) == MAX_LINKS
    assert extends(later, first)


def test_a_history_too_long_to_read_has_no_chain() -> None:
    """Half a chain would be the chain of another conversation."""
    messages = [user("x")] * (MAX_PARTS + 1)
    assert heard(messages, PRINTER, JsonReader()).chain is None


def test_content_that_was_cut_has_no_chain() -> None:
    """No next call extends what is cut, and two cut calls are not the same call."""
    whole = call([ASK, said("x" * 50), ASK], [WANT])
    cut = {**whole, "gen_ai.input.messages": str(whole["gen_ai.input.messages"])[:90]}
    found = detail(cut)
    assert (found.history, found.after) == ((), None)
    assert [request.id for request in found.requests] == ["call_1"]


def test_links_of_a_chain_tell_its_parts() -> None:
    """`unchained` is the inverse of `chained` from the beginning."""
    parts = [5, 2**64 - 1, 0, 77]
    assert unchained(chained(0, parts)) == parts


def test_what_was_remembered_changes_nothing() -> None:
    """Parts of different kinds that look the same to a careless memo keep their own digests."""
    parts = [
        {"type": "text", "content": "{'a': 1}"},
        {"type": "tool_call", "id": [], "name": "user", "arguments": {"a": 1}},
        {"type": "tool_call", "id": "user", "name": {}, "arguments": "{'a': 1}"},
        {"type": "tool_call_response", "id": "user", "response": "{'a': 1}"},
        {"type": "tool_call_response", "id": "user", "response": {"a": 1}},
        {"type": "tool_call_response", "id": [], "response": {"a": 1}},
    ]
    asked = [[{"role": "user", "parts": [part]}] for part in parts]
    warm = Details("metadata", KEY)
    digests = set()
    for messages in asked + asked[::-1]:
        of = made(call(messages, [said("ok")]))
        found = warm.read(of, reading_of(of), {})
        assert found == detail(call(messages, [said("ok")]))
        digests.add(found.history)
    assert len(digests) == len(parts)


def test_content_in_shapes_of_dialects_says_the_same() -> None:
    """The chain is of what was said, not of how it was written."""
    flattened: dict[str, Value] = {
        "openinference.span.kind": "LLM",
        "llm.input_messages.0.message.role": "user",
        "llm.input_messages.0.message.content": "Weather in Oslo?",
        "llm.output_messages.0.message.role": "assistant",
        "llm.output_messages.0.message.tool_calls.0.tool_call.id": "call_1",
        "llm.output_messages.0.message.tool_calls.0.tool_call.function.name": "get_weather",
        "llm.output_messages.0.message.tool_calls.0.tool_call.function.arguments": '{"city": "Oslo", "days": 1}',
    }
    found = detail(flattened)
    assert (found.history, found.after, found.requests) == (FIRST.history, FIRST.after, FIRST.requests)


def test_provider_shapes_under_current_names_are_read() -> None:
    """Some emitters put the provider's messages where the conventions want theirs."""
    asked = [{"role": "user", "content": "Weather in Oslo?"}]
    assert detail({**CHAT, "gen_ai.input.messages": json.dumps(asked)}).history == FIRST.history


def test_older_profiles_have_the_same_details() -> None:
    """What is joined does not depend on the names that are written."""
    of = made({**call([ASK], [WANT])})
    assert Details("metadata", KEY).read(of, reading_of(of, "1.36"), {}).after == FIRST.after


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ({"a": 1, "b": [1.0, "x "]}, {"b": [1, "x"], "a": 1.0}, True),
        ({"a": True}, {"a": 1}, False),
        ({"a": "1"}, {"a": 1}, False),
        ({"a": None}, {}, False),
        ([1, 2], [2, 1], False),
        ({"n": 1e300}, {"n": 1e300}, True),
    ],
)
def test_canonical_json(one: Any, other: Any, same: bool) -> None:
    """Keys in order, numbers by value, texts without space around them."""
    assert (canonical(one) == canonical(other)) is same


def test_prints_are_keyed() -> None:
    """Another key makes other digests and other shingles."""
    one, other = Printer(b"1").print("the secret word"), Printer(b"2").print("the secret word")
    assert one.digest != other.digest
    assert not one.shingles & other.shingles


LONG = " ".join(f"word{number} and" for number in range(300))


@pytest.mark.parametrize(
    ("one", "other", "least", "most"),
    [
        pytest.param("find a flight to Oslo", "find a flight to Oslo", 1, 1, id="equal"),
        pytest.param("find a flight to Oslo today", "find a flight to Oslo please", 0.6, 0.9, id="one word"),
        pytest.param({"q": "flights Oslo", "page": 1}, {"q": "flights Oslo", "page": 2}, 0.3, 0.9, id="arguments"),
        pytest.param("find a flight", "book the hotel", 0, 0, id="different"),
        pytest.param("", "x", 0, 0, id="empty"),
        pytest.param(LONG, LONG + " end", 0.85, 1, id="long"),
        pytest.param("天気を調べてください", "天気を調べてくれますか", 0.3, 0.9, id="without spaces"),
    ],
)
def test_similarity(one: Any, other: Any, least: float, most: float) -> None:
    """Shared pairs of words, from both sides alike."""
    a, b = PRINTER.print(one), PRINTER.print(other)
    assert len(a.shingles) <= MAX_SHINGLES
    assert least <= similar(a, b) <= most
    assert similar(a, b) == similar(b, a)


def test_tools_have_prints_of_arguments_and_result() -> None:
    """A result that is JSON counts as what it holds."""
    one = detail(
        {**TOOL, "gen_ai.tool.call.arguments": '{"q": "x", "n": 1}', "gen_ai.tool.call.result": '{"hits": []}'}
    )
    other = detail(
        {**TOOL, "gen_ai.tool.call.arguments": '{"n":1.0,"q":"x"}', "gen_ai.tool.call.result": '{"hits":[]}'}
    )
    assert one.arguments is not None
    assert one.result is not None
    assert (one.arguments, one.result) == (other.arguments, other.result)


def test_a_record_of_a_call_is_its_arguments_and_result() -> None:
    """OpenLLMetry has LangChain's under the current names, whose ids and steps are never the same twice."""
    one, other = (
        detail({
            **TOOL,
            "gen_ai.tool.call.arguments": f'{{"input_str": "x", "inputs": {{"q": "x"}}, "metadata": {{"step": {n}}}}}',
            "gen_ai.tool.call.result": f'{{"output": {{"kwargs": {{"content": "3C", "id": {n}}}, "lc": 1}}}}',
        })
        for n in (1, 2)
    )  # fmt: skip
    plain = detail({**TOOL, "gen_ai.tool.call.arguments": '{"q": "x"}', "gen_ai.tool.call.result": "3C"})
    assert (one.arguments, one.result) == (other.arguments, other.result) == (plain.arguments, plain.result)
    odd = detail({**TOOL, "gen_ai.tool.call.arguments": '{"input_str": "x", "page": 1}'})
    assert odd.arguments not in (None, one.arguments)


PROMPT = "You plan trips. Today is {}. Session {}. Be brief."


def test_fingerprint_of_instructions_forgets_dates_and_ids() -> None:
    """It changes with the instructions, not with the day."""

    def prompt(text: str) -> int | None:
        return detail(call([{"role": "system", "parts": [{"type": "text", "content": text}]}, ASK], [WANT])).prompt

    monday = prompt(PROMPT.format("Monday, March 2, 2026", "7f3c2a10-11aa"))
    assert monday is not None
    assert monday == prompt(PROMPT.format("Tuesday, April 14, 2026 10:00 UTC", "ab12cd"))
    assert monday != prompt(PROMPT.replace("brief", "verbose").format("Monday, March 2, 2026", "7f3c2a10-11aa"))


def test_fingerprint_of_instructions_given_apart_is_the_same() -> None:
    """Where the instructions stand makes no difference."""
    apart = detail(call([ASK], [WANT], gen_ai__system_instructions='[{"type": "text", "content": "Be brief."}]'))
    inside = detail(call([{"role": "system", "parts": [{"type": "text", "content": "Be brief."}]}, ASK], [WANT]))
    assert apart.prompt is not None
    assert apart.prompt == inside.prompt


def test_fingerprints_of_an_agent_are_the_same_in_every_process() -> None:
    """All that is said in conversations has another digest in each."""
    attributes = call([{"role": "system", "parts": [{"type": "text", "content": "Be brief."}]}, ASK], [WANT])
    of = span(**attributes, gen_ai__tool__definitions='[{"name": "search"}]')
    one, other = (Details("metadata", key).read(of, reading_of(of), {}) for key in (KEY, b"another secret"))
    assert (one.prompt, one.tools) == (other.prompt, other.tools)
    assert None not in (one.prompt, one.tools)
    assert one.history != other.history


def test_fingerprint_of_tools_is_by_name_and_schema() -> None:
    """Order, wording and spelling of the JSON do not count."""

    def tools(*definitions: dict[str, Any], indent: int | None = None) -> int | None:
        return detail({**CHAT, "gen_ai.tool.definitions": json.dumps(definitions, indent=indent)}).tools

    schema = {"type": "object", "properties": {"q": {"type": "string"}}}
    one = {"type": "function", "name": "search", "description": "Search", "parameters": schema}
    two = {"type": "function", "name": "fetch", "parameters": {"type": "object"}}
    assert tools(one, two) == tools(two, {**one, "description": "Look up"}, indent=1) is not None
    assert tools(one, two) != tools(one)
    assert tools(one) != tools({**one, "parameters": {"type": "object"}})


def test_modes_keep_what_they_promise() -> None:
    """`none` has ids only, `metadata` no text, `full` has it."""
    attributes = call([ASK], [said("Cold."), WANT], gen_ai__agent__outcome="completed")
    none, metadata, full = (detail(attributes, mode) for mode in ("none", "metadata", "full"))
    assert none == Detail(requests=(ToolRequest("call_1", "get_weather", None),), asks_user=True, outcome="success")
    assert metadata.output is not None
    assert metadata.history
    assert "Oslo" not in repr(metadata)
    assert "Cold" not in repr(metadata)
    assert full.input == "user: Weather in Oslo?"
    assert full.said == 'Cold.\nget_weather({"city": "Oslo", "days": 1})'
    assert replace(full, input=None, said=None) == metadata


def test_full_input_is_what_is_new() -> None:
    """What was said before is with the calls before."""
    found = detail(call([ASK, WANT, result("call_1", {"temp": 3})], [said("3C")]), "full")
    assert found.input == 'tool: {"temp": 3}'


def test_full_content_of_tools_and_agents() -> None:
    """Tools keep arguments and result, agents what they were asked and answered."""
    tool = detail({**TOOL, "gen_ai.tool.call.arguments": '{"q": "é"}', "gen_ai.tool.call.result": "ok"}, "full")
    assert (tool.input, tool.said) == ('{"q": "é"}', "ok")
    agent = detail({**call([ASK], [said("3C")]), **AGENT}, "full")
    assert (agent.input, agent.said, agent.history) == ("user: Weather in Oslo?", "3C", ())


def test_full_content_is_cut_with_a_mark() -> None:
    """No more bytes than configured, the mark included, and no half characters."""
    found = detail(call([user("é" * 500)], [said("x" * 500)]), "full", max_content_bytes=64)
    for text in (found.input, found.said):
        assert text is not None
        assert text.endswith(CUT)
        assert 60 <= len(text.encode()) <= 64


def test_dimensions_come_from_the_span_then_its_resource() -> None:
    """Texts, numbers and flags; what is absent is absent."""
    found = detail({**CHAT, "team": "blue", "vip": True}, dimensions=("team", "tier", "vip", "absent"))
    assert found.dimensions == {"team": "blue", "tier": "3", "vip": "true"}


def test_links_are_kept() -> None:
    """As (trace id, span id)."""
    of = made(CHAT)
    of.links.add(trace_id=b"t" * 16, span_id=b"s" * 8)
    assert Details("none", KEY).read(of, reading_of(of), {}).links == ((b"t" * 16, b"s" * 8),)


def test_previous_response_is_kept() -> None:
    """Where the provider keeps the history, calls name each other."""
    assert detail({**CHAT, "gen_ai.request.previous_response_id": "resp_1"}).previous_response_id == "resp_1"


@pytest.mark.parametrize(
    ("attributes", "outcome"),
    [
        ({"gen_ai.agent.outcome": "success"}, "success"),
        ({"gen_ai.agent.outcome": "human_handoff"}, ""),
        ({"agent.outcome": " Failed "}, "failure"),
        ({"agentops.session.end_state": "StatusCode.OK"}, "success"),
        ({"agentops.session.end_state": "Indeterminate"}, "unknown"),
        ({"run.outcome": "timed out"}, "failure"),
        ({"task.outcome": False}, "failure"),
        ({"spanledger.outcome": "partial", "agent.outcome": "ok"}, "partial"),
        ({"outcome": "success"}, ""),
        ({}, ""),
    ],
)
def test_explicit_outcomes(attributes: dict[str, Value], outcome: str) -> None:
    """The words of applications, as the outcome of a run."""
    assert detail({**AGENT, **attributes}).outcome == outcome


JUDGED: dict[str, Value] = {
    "gen_ai.evaluation.name": "Relevance",
    "gen_ai.evaluation.score.value": 0.75,
    "gen_ai.evaluation.score.label": "relevant",
    "gen_ai.evaluation.explanation": "On topic.",
    "gen_ai.response.id": "resp_1",
}
RELEVANT = Evaluation("Relevance", 0.75, "relevant", "On topic.", "resp_1", 7)


def record(name: str, attributes: dict[str, Value], body: Value = None, at_ns: int = 7) -> LogRecord:
    """Return a log record with this event name."""
    found = LogRecord(event_name=name, time_unix_nano=at_ns, trace_id=b"t" * 16, span_id=b"s" * 8)
    found.attributes.extend(key_value(key, value) for key, value in attributes.items())
    if body is not None:
        found.body.CopyFrom(any_value(body))
    return found


@pytest.mark.parametrize(
    ("log", "expected"),
    [
        pytest.param(record("gen_ai.evaluation.result", JUDGED), RELEVANT, id="attributes"),
        pytest.param(record("gen_ai.evaluation.result", {}, JUDGED), RELEVANT, id="body"),
        pytest.param(record("gen_ai.evaluation.result", {}, json.dumps(JUDGED)), RELEVANT, id="body as JSON"),
        pytest.param(record("", {"event.name": "gen_ai.evaluation.result", **JUDGED}), RELEVANT, id="older name"),
        pytest.param(
            record("gen_ai.evaluation.fluency", {"gen_ai.evaluation.score": 4}),
            Evaluation("fluency", 4.0, at_ns=7),
            id="name of the evaluator in the event's",
        ),
        pytest.param(
            record("gen_ai.evaluation.result", {"gen_ai.evaluation.name": "bias", "gen_ai.evaluation.verdict": "no"}),
            Evaluation("bias", None, "no", at_ns=7),
            id="verdict",
        ),
        pytest.param(record("gen_ai.evaluation.result", {"gen_ai.evaluation.name": "x"}), None, id="says nothing"),
        pytest.param(record("gen_ai.choice", JUDGED), None, id="another event"),
        pytest.param(record("", JUDGED), None, id="no event"),
    ],
)
def test_evaluations_in_logs(log: LogRecord, expected: Evaluation | None) -> None:
    """By event name, in attributes or the body."""
    assert evaluation_of(log) == expected
    found = Details("metadata", KEY).detail_of_log(log)
    assert (found is not None and bool(found[2].evaluations)) is (expected is not None)


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        pytest.param({**CHAT, **JUDGED}, (RELEVANT,), id="as a span"),
        pytest.param(
            {**CHAT, "eval.toxicity.score": 0.1, "eval.toxicity.label": "clean", "eval.bias.label": "none?"},
            (Evaluation("toxicity", 0.1, "clean", at_ns=7), Evaluation("bias", None, "none?", at_ns=7)),
            id="written onto it",
        ),
        pytest.param(
            {"openinference.span.kind": "EVALUATOR", "output.value": '{"score": 1, "label": "ok", "explanation": "y"}'},
            (Evaluation("judge", 1.0, "ok", "y", at_ns=7),),
            id="a judge at work",
        ),
        pytest.param(
            {"openinference.span.kind": "EVALUATOR", "output.value": "0.5"},
            (Evaluation("judge", 0.5, at_ns=7),),
            id="a number",
        ),
        pytest.param({"openinference.span.kind": "EVALUATOR", "output.value": "long " * 50}, (), id="prose"),
        pytest.param({**CHAT, "eval.x": 1, "eval.y.other": 2, "evaluation": 3}, (), id="something else"),
        pytest.param(
            {
                **CHAT,
                "annotations.0.annotation.name": "correct", "annotations.0.annotation.score": 1,
                "annotations.1.annotation.name": "tone", "annotations.1.annotation.label": "kind",
                "annotations.1.annotation.explanation": "y", "annotations.2.annotation.name": "says nothing",
                "trace.evaluations.0.evaluation.name": "done", "trace.evaluations.0.evaluation.score": 0.5,
            },
            (Evaluation("correct", 1.0, at_ns=7), Evaluation("tone", None, "kind", "y", at_ns=7),
             Evaluation("done", 0.5, at_ns=7)),
            id="OpenInference's annotations, of the span and of the trace",
        ),
        pytest.param(
            {"langfuse.observation.type": "evaluator", "langfuse.observation.output": "0.8"},
            (Evaluation("judge", 0.8, at_ns=7),),
            id="Langfuse's evaluator",
        ),
        pytest.param(
            {"mlflow.spanType": '"EVALUATOR"', "mlflow.spanOutputs": '{"value": "yes", "rationale": "y"}'},
            (Evaluation("judge", None, "yes", "y", at_ns=7),),
            id="MLflow's evaluator",
        ),
        pytest.param(
            {"lmnr.span.type": "EVALUATOR", "lmnr.span.output": "0.9"}, (Evaluation("judge", 0.9, at_ns=7),),
            id="Laminar's evaluator",
        ),
        pytest.param(
            {"genkit:metadata:subtype": "evaluator",
             "genkit:output": '[{"testCaseId": "1", "evaluation": {"score": true, "reason": "y"}}]'},
            (Evaluation("judge", 1.0, None, "y", at_ns=7),),
            id="Genkit's evaluator",
        ),
        pytest.param(
            {**CHAT, "braintrust.scores": '{"accuracy": 0.25, "style": null}'},
            (Evaluation("accuracy", 0.25, at_ns=7),),
            id="Braintrust's scores",
        ),
        pytest.param(
            {**CHAT, "ai.observability.eval_root.metric_name": "grounded", "ai.observability.eval_root.score": 0.5},
            (Evaluation("grounded", 0.5, at_ns=7),),
            id="TruLens' result",
        ),
        pytest.param(
            {
                **CHAT, "case_name": "paris", "scores": '{"accuracy": {"value": 0.5, "reason": "y"}}',
                "labels": '{"tone": {"value": "kind"}}', "assertions": '{"short": {"value": true}}',
            },
            (Evaluation("accuracy", 0.5, None, "y", at_ns=7), Evaluation("tone", None, "kind", at_ns=7),
             Evaluation("short", 1.0, "true", at_ns=7)),
            id="a case of Pydantic Evals",
        ),
        pytest.param({**CHAT, "scores": '{"accuracy": {"value": 1}}'}, (), id="anybody's scores"),
        pytest.param({**CHAT, **JUDGED, "gen_ai.evaluation.name": "spanledger.x"}, (), id="another sidecar's"),
    ],
)  # fmt: skip
def test_evaluations_on_spans(attributes: dict[str, Value], expected: tuple[Evaluation, ...]) -> None:
    """As the conventions and everybody else write them."""
    of = made(attributes, name="judge")
    of.end_time_unix_nano = 7
    assert Details("full", KEY).read(of, reading_of(of), {}).evaluations == expected


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        pytest.param({"eval.tone.score": 0.5}, (Evaluation("tone", 0.5, at_ns=7),), id="written onto it"),
        pytest.param({"http.method": "GET"}, (), id="none"),
    ],
)
def test_evaluations_on_other_spans_by_keys_that_were_read_before(
    attributes: dict[str, Value], expected: tuple[Evaluation, ...]
) -> None:
    """As without."""
    of = made(attributes)
    of.end_time_unix_nano = 7
    keys = Keys({key: at for at, key in enumerate(attributes)})
    details = Details("full", KEY)
    assert details.evaluations_on(of) == details.evaluations_on(of, keys) == expected


def test_evaluations_in_span_events() -> None:
    """Each once, however often it is told; the judge's words only where content is kept."""
    of = made(CHAT)
    for _ in range(2):
        event = of.events.add(name="gen_ai.evaluation.result", time_unix_nano=7)
        event.attributes.extend(key_value(key, value) for key, value in JUDGED.items())
    assert Details("full", KEY).read(of, reading_of(of), {}).evaluations == (RELEVANT,)
    assert Details("metadata", KEY).read(of, reading_of(of), {}).evaluations == (replace(RELEVANT, explanation=None),)


def logged(*records: LogRecord, mode: ContentMode = "metadata") -> Detail:
    """Return what these records say together."""
    details = Details(mode, KEY)
    together = Detail()
    for each in records:
        found = details.detail_of_log(each)
        assert found is not None
        assert found[:2] == (b"t" * 16, b"s" * 8)
        together = merged(together, found[2])
    return together


CALLED = {
    "id": "call_1",
    "type": "function",
    "function": {"name": "get_weather", "arguments": '{"city":"Oslo","days":1}'},
}
EVENTS = (
    record("gen_ai.system.message", {}, {"content": "Be brief."}),
    record("gen_ai.user.message", {}, {"content": "Weather in Oslo?"}),
    record("gen_ai.choice", {}, {"index": 0, "finish_reason": "tool_calls", "message": {"tool_calls": [CALLED]}}),
)


def test_records_of_one_message_each_say_what_a_span_would() -> None:
    """The chain is the same as if the messages stood on the span."""
    instructed = [{"role": "system", "parts": [{"type": "text", "content": "Be brief."}]}, ASK]
    assert replace(logged(*EVENTS), single=False) == detail(call(instructed, [WANT]))


def test_records_go_on_for_the_next_call() -> None:
    """History by history, record by record."""
    again = (
        *EVENTS[:2],
        record("gen_ai.assistant.message", {}, {"tool_calls": [CALLED]}),
        record("gen_ai.tool.message", {}, {"id": "call_1", "content": "3C"}),
        record("gen_ai.choice", {}, {"index": 0, "message": {"content": "3C"}}),
    )
    later = logged(*again, mode="full")
    assert extends(later, logged(*EVENTS))
    assert (later.answered, later.asks_user) == (("call_1",), False)
    assert later.input is not None
    assert later.input.endswith("tool: 3C")


def test_a_span_that_has_its_content_is_not_completed_by_records() -> None:
    """What stands on the span is known; the records repeat it."""
    assert replace(merged(FIRST, logged(*EVENTS)), prompt=None) == FIRST


def test_a_record_of_the_whole_call_completes_a_span_whose_content_was_cut() -> None:
    """Log records are not subject to the span's limits."""
    log = record(
        "gen_ai.client.inference.operation.details",
        {"gen_ai.input.messages": json.dumps([ASK]), "gen_ai.output.messages": json.dumps([WANT])},
    )
    found = merged(replace(FIRST, history=(), after=None), logged(log))
    assert found == FIRST


def test_merged_keeps_evaluations_of_both_once() -> None:
    """A record that comes twice counts once."""
    one = Detail(evaluations=(RELEVANT,), dimensions={"team": "red"}, outcome="success")
    late = Detail(evaluations=(RELEVANT, replace(RELEVANT, name="x")), dimensions={"team": "no", "tier": "1"})
    found = merged(one, late)
    assert [evaluation.name for evaluation in found.evaluations] == ["Relevance", "x"]
    assert (found.dimensions, found.outcome) == ({"team": "red", "tier": "1"}, "success")


def test_the_last_results_of_a_history_are_what_came_back() -> None:
    """Of the last round only; each with the id it names."""
    first = [ASK, calls(("a", "search", {"q": 1})), result("a", "old")]
    second = calls(("b", "search", {"q": 2}), ("c", "search", {"q": 3}))
    asked = [*first, second, result("b", {"hits": [1]}), result("c", "none")]
    found = detail(call(asked, [said("done")])).results
    assert [(name, size) for name, _, size in found] == [("b", len(canonical({"hits": [1]}))), ("c", 4)]
    again = detail(call([*asked[:-1], result("c", " none ")], [said("done")])).results
    assert [one[1] for one in again] == [one[1] for one in found]
    assert detail(call([*asked, said("done"), ASK], [said("more")])).results == ()
    assert detail(call(asked, [said("done")]), "none").results == ()


def test_why_an_answer_ended() -> None:
    """As the attribute says, or the message; a refusal is one whatever the reason."""
    assert detail(call([ASK], [said("x")], gen_ai__response__finish_reasons=["length"])).finish == "length"
    assert detail(call([ASK], [{**said("x"), "finish_reason": "content_filter"}])).finish == "content_filter"
    refused = {"role": "assistant", "parts": [{"type": "refusal", "content": "No."}], "finish_reason": "stop"}
    assert detail(call([ASK], [refused])).finish == "refusal"
    assert detail(call([ASK], [said("x")])).finish == ""


@pytest.mark.parametrize(
    ("name", "arguments", "expected"),
    [
        (
            "TodoWrite",
            {"todos": [{"content": "a", "status": "completed"}, {"content": "b", "status": "pending"}]},
            (1, 2),
        ),
        ("write_todos", {"todos": [{"description": "a", "status": "cancelled"}, {"status": "completed"}]}, (1, 1)),
        ("update_plan", {"explanation": "x", "plan": [{"step": "a", "status": "in_progress"}]}, (0, 1)),
        ("task_tracker", {"command": "plan", "task_list": [{"title": "a", "status": "done"}]}, (1, 1)),
        ("task_tracker", {"command": "view"}, None),
        ("update_plan", {"plan": [{"step": "a", "status": "lost"}]}, None),
        ("update_plan", {"plan": [{"status": "cancelled"}]}, None),
        ("update_plan", {"plan": ["a", "b"]}, None),
        ("create_orders", {"orders": [{"status": "pending"}]}, None),
    ],
)
def test_plans_that_are_kept_with_a_tool(name: str, arguments: Any, expected: tuple[int, int] | None) -> None:
    """How many items are done and how many there are, whoever's tool it is; no words of it."""
    attributes: dict[str, Value] = {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": name}
    attributes["gen_ai.tool.call.arguments"] = json.dumps(arguments)
    assert detail(attributes).plan == expected
    assert detail(attributes, "none").plan is None


def test_merged_minds_every_field() -> None:
    """A field that is added to `Detail` is not forgotten: merging with nothing changes nothing."""
    whole = replace(
        FIRST,
        links=((b"t", b"s"),),
        answered=("i",),
        arguments=PRINTER.print(1),
        result=PRINTER.print(2),
        output=PRINTER.print("x"),
        prompt=1,
        tools=2,
        evaluations=(RELEVANT,),
        outcome="success",
        input="a",
        said="b",
        dimensions={"a": "b"},
        previous_response_id="r",
        single=True,
        context=(b"t", b"s"),
        finish="stop",
        plan=(1, 2),
        node="n",
        delegate="d",
        concerns=(Concern("guardrail", "personal_data", "warning"),),
        given=FIRST.requests,
        results=(("i", 1, 2),),
    )
    assert all(getattr(whole, slot.name) for slot in fields(Detail))
    assert merged(whole, Detail()) == whole == merged(Detail(), whole)
    assert merged(Detail(), Detail()) == Detail()

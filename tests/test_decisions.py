"""What was decided about one span holds for others: they read the same as if nothing had been remembered."""

from __future__ import annotations

import gc
import json
from dataclasses import fields
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from spanledger.conventions import coerce
from spanledger.conventions.dialect import (
    CONVERSATION_ID,
    REQUEST_MODEL,
    RESPONSE_ID,
    TIME_TO_FIRST_CHUNK,
    Dialect,
    Facts,
    Kinded,
)
from spanledger.conventions.dialects import DIALECTS
from spanledger.conventions.lookup import Lookup
from spanledger.conventions.profile import LATEST
from spanledger.conventions.reader import Reader
from spanledger.conventions.reading import Reading
from spanledger.conventions.shape import MAX_CHARS, MAX_MISSES, Shapes
from spanledger.conventions.span_attributes import SpanAttributes
from spanledger.conventions.values import Value, key_value
from spanledger.conventions.witness import WatchedDict, WatchedSpan
from spanledger.processor.genai_normalizer import apply
from tests.fakes import span
from tests.golden_spans import CASES, spans_of
from tests.test_normalizer_properties import NAMES, SCALARS, SCOPES, TREES

REMEMBERING = Reader(DIALECTS)
"""One for all examples, so that what they leave behind meets the next ones."""
FORGETFUL = Reader(DIALECTS, remember=False)

LITTLE = st.one_of(
    st.sampled_from(["chat", "openai", "gpt-4o", "stop", "a", "", "-1", "7", "None"]), st.integers(-1, 9)
)
LOOKED_INTO = st.sampled_from([
    '{"id": "resp_1", "model": "gpt-4o", "usage": {"input_tokens": 3, "output_tokens": 2}}',
    '{"id": "resp_2", "model": "gpt-4o-mini", "usage": {"input_tokens": 3, "cache_read_input_tokens": 5}}',
    '{"input_tokens": 7, "output_tokens": 1, "cache_creation_input_tokens": 2}',
    '{"input_tokens": 9, "output_tokens": 1, "cache_creation_input_tokens": 2}',
    '{"prompt_tokens": 7, "completion_tokens": 1, "cost_in_usd_ticks": 5, "speed": "fast"}',
    '{"input": 4, "output": 2, "total": 6}', '{"input": 4, "input_cached_tokens": 1}',
    '{"thread_id": "t1", "lc_agent_name": "planner"}', '{"session_id": "s", "langgraph_node": "a"}',
    '{"raw": {"id": "x", "usage": {"prompt_tokens": 7}}, "finishReason": "stop"}',
    '{"lc": 1, "id": ["ToolMessage"],"kwargs":{"name": "f", "tool_call_id": "c1"}}',
    "2026-01-02T03:04:05.5Z", "resp_a", "resp_b",
])  # fmt: skip
VALUES = st.one_of(LITTLE, LITTLE, LOOKED_INTO, SCALARS, TREES)


def said(reading: Reading | None, subject: Span) -> object:
    """Return all that a reading says and what becomes of its span."""
    if reading is None:
        return None
    known: dict[str, Any] = {slot.name: getattr(reading, slot.name) for slot in fields(Reading)}
    del known["ready"]
    known["attributes"] = list(reading.attributes.items())
    for name in ("edits", "echo_edits"):
        known[name] = list(known[name].items())
    apply(subject, reading)
    return repr((known, list(reading.attributes.items()), subject.SerializeToString()))


def told_twice(scope: str, version: str, wire: bytes) -> None:
    """Assert that both readers say the same of a span."""
    one, other = Span.FromString(wire), Span.FromString(wire)
    expected = said(FORGETFUL.read(scope, version, other), other)
    assert expected == said(REMEMBERING.read(scope, version, one), one)


def test_recorded_spans_read_the_same_again() -> None:
    """Every golden span, again and again, and between others of its kind."""
    recorded = [(scope, version, made.SerializeToString()) for case in CASES for scope, version, made in spans_of(case)]
    for _ in range(3):
        for scope, version, wire in recorded:
            told_twice(scope, version, wire)


@st.composite
def alike(draw: st.DrawFn) -> tuple[str, list[Span]]:
    """Draw a scope and spans with the same keys, most of whose values are the same too."""
    keys = draw(st.lists(NAMES, max_size=10))
    common = [draw(VALUES) for _ in keys]
    made = []
    for _ in range(draw(st.integers(3, 6))):
        one = span(
            name=draw(st.sampled_from(["chat x", "LangGraph", "embed", "planner"])), parent=draw(st.integers(0, 1))
        )
        own = draw(st.sets(st.integers(0, 9), max_size=3))
        for at, key in enumerate(keys):
            one.attributes.append(key_value(key, draw(VALUES) if at in own else common[at]))
        one.status.code = draw(st.sampled_from([0, 0, 1, 2]))
        for name in draw(
            st.lists(st.sampled_from(["exception", "gen_ai.choice", "First Token Stream Event"]), max_size=2)
        ):
            event = one.events.add(name=name, time_unix_nano=draw(st.sampled_from([0, 2 * 10**18])))
            event.attributes.append(key_value("exception.type", draw(LITTLE)))
        made.append(one)
    return draw(st.sampled_from(SCOPES)), made


@given(alike())
@settings(max_examples=200, deadline=None)
def test_spans_that_are_alike_read_as_if_each_were_the_first(subjects: tuple[str, list[Span]]) -> None:
    """What differs between them is read on each, whether or not a decision depended on it."""
    scope, spans = subjects
    for one in spans:
        told_twice(scope, "1.0", one.SerializeToString())


def _id_within(content: Value) -> str | None:
    return content[:4] if isinstance(content, str) else None


def _is_long(content: Value) -> bool:
    return isinstance(content, str) and len(content) > 2 * MAX_CHARS


def _complete(facts: Facts) -> None:
    facts.offer_found(RESPONSE_ID, "text", _id_within)
    if facts.find("text", _is_long):
        facts.offer(REQUEST_MODEL, "text", "large")


def test_content_of_which_a_part_matters_does_not_stand_in_the_way() -> None:
    """A dialect that finds an id in an answer decides about all answers at once."""
    reader = Reader((
        *DIALECTS[:1],
        Dialect(name="own", evidence=("kind",), kinds={"kind": {"x": Kinded("llm", "chat")}}, complete=_complete),
    ))  # fmt: skip
    for number in range(1000, 1020):
        for size, model in ((1, None), (3 * MAX_CHARS, "large")):
            reading = reader.read("app", "", span(kind="x", text=f"{number}" + "." * size))
            assert reading is not None
            assert (f"{number}", model) == (reading.response_id, reading.request_model)
    assert reader.statistics() == {"shapes": 1, "decisions": 2}


def test_of_an_answer_on_a_span_of_laminar_only_its_reasons_matter() -> None:
    """It is never the same twice."""
    reader = Reader(DIALECTS, content=False)
    for number in range(20):
        answers = json.dumps([{"finish_reason": "stop", "message": {"content": f"{number}"}}])
        attributes = {"lmnr.span.type": "LLM", "gen_ai.output.messages": answers}
        assert reader.read("lmnr", "", span(**attributes)) is not None
    assert reader.statistics() == {"shapes": 1, "decisions": 1}


def _compare(facts: Facts) -> None:
    facts.correct_found(CONVERSATION_ID, "own.session", coerce.text)
    facts.offer_found_in_span(TIME_TO_FIRST_CHUNK, "", _length)
    if facts.is_found(RESPONSE_ID, "own.call", coerce.text):
        facts.forget(RESPONSE_ID)
    if facts.find_known("gen_ai.usage.input_tokens", _is_even):
        facts.offer(REQUEST_MODEL, "", "even")


def _length(subject: Span) -> float:
    return (subject.end_time_unix_nano - subject.start_time_unix_nano) / 1e9


def _is_even(count: Value) -> bool:
    return isinstance(count, int) and count % 2 == 0


def test_ids_times_and_counts_do_not_stand_in_the_way_of_what_is_decided_by_them() -> None:
    """Only the answer to what was asked of them matters: whether two are the same, whether one is even."""
    own = Dialect(name="own", evidence=("kind",), kinds={"kind": {"x": Kinded("llm", "chat")}}, complete=_compare)
    reader = Reader((*DIALECTS[:1], own))
    for number in range(100):
        called, counted = f"call {number % 3 and number}", number // 2
        subject = span(
            kind="x",
            **{
                "gen_ai.response.id": f"call {number}",
                "own.call": called,
                "session.id": f"c{number}",
                "own.session": f"c{number // 2 * 2}",
                "gen_ai.usage.input_tokens": counted,
            },
        )
        subject.end_time_unix_nano = subject.start_time_unix_nano + number * 10**9
        reading = reader.read("app", "", subject)
        assert reading is not None
        assert reading.response_id == (None if called == f"call {number}" else f"call {number}")
        assert reading.conversation_id == f"c{number // 2 * 2}"
        assert reading.time_to_first_chunk_s == number
        assert reading.request_model == ("even" if counted % 2 == 0 else None)
        assert reading.usage is not None
        assert reading.usage.input == counted
    assert reader.statistics()["decisions"] <= 8


def _look(facts: Facts) -> None:
    facts.offer_found("gen_ai.usage.input_tokens", "count", coerce.count)
    assert "gen_ai.usage.input_tokens" in facts.values
    facts.correct(REQUEST_MODEL, "", f"{facts.values['gen_ai.usage.input_tokens']!r}")


def test_values_that_only_compare_equal_are_told_apart() -> None:
    """One is no truth and no float, where somebody looks at it."""
    own = Dialect(name="own", evidence=("kind",), kinds={"kind": {"x": Kinded("llm", "chat")}}, complete=_look)
    reader = Reader((*DIALECTS[:1], own))
    for value in (1, True, 1, True, 2, 1):
        reading = reader.read("app", "", span(kind="x", count=value))
        assert reading is not None
        assert reading.request_model == repr(value)


def test_a_long_value_that_comes_again_is_known_by_its_digest() -> None:
    """Such as the parameters of a request, with all tools."""
    reader = Reader(DIALECTS)
    scope = "openinference.instrumentation.openai"
    for number in range(40):
        parameters = json.dumps({"model": f"gpt-{number % 2}", "tools": ["x" * 2 * MAX_CHARS]})
        told = {"openinference.span.kind": "LLM", "llm.invocation_parameters": parameters}
        reading = reader.read(scope, "", span(**told))
        assert reading is not None
        assert reading.request_model == f"gpt-{number % 2}"
    assert reader.statistics()["decisions"] == 2


def test_what_does_not_come_again_is_not_remembered() -> None:
    """A shape whose spans all differ in what decides is no longer remembered, and still read."""
    reader = Reader(DIALECTS)
    for number in range(3 * MAX_MISSES):
        reading = reader.read(
            "app", "", span(**{"gen_ai.operation.name": "chat", "gen_ai.request.model": f"m{number}"})
        )
        assert reading is not None
        assert reading.request_model == f"m{number}"
    assert reader.statistics()["decisions"] <= MAX_MISSES


def test_no_number_of_key_sets_makes_it_grow() -> None:
    """Keys that a client makes up push out what was not used for long, and no more than two generations are kept."""
    shapes = Shapes(Lookup(DIALECTS, LATEST, {}), max_bytes=100_000)
    largest = 0
    for number in range(20_000):
        keys = ("gen_ai.operation.name", f"made.up.{number}")
        for _ in range(2):
            shapes.of("app", "", keys)
        shapes.of("app", "", ("gen_ai.operation.name",)).came = True
        largest = max(largest, shapes.statistics()["shapes"]) if number % 100 == 0 else largest
    assert 10 < largest < 200
    assert shapes.of("app", "", ("gen_ai.operation.name",)).came  # it was in use all the time


def test_a_span_with_too_many_keys_is_not_kept() -> None:
    """It is read like any other."""
    reader = Reader(DIALECTS)
    attributes: dict[str, Value] = {f"key.{number}": 1 for number in range(600)}
    for _ in range(3):
        assert reader.read("app", "", span(**{"gen_ai.operation.name": "chat", **attributes})) is not None
    assert reader.statistics() == {"shapes": 0, "decisions": 0}


def test_looking_at_a_value_is_noted_in_whatever_way() -> None:
    """Asking whether a key is there is not looking; copying is looking at all."""
    seen: set[str] = set()
    watched = WatchedDict({"a": 1, "b": 2}, seen)
    assert "a" in watched
    assert [*watched] == ["a", "b"]
    assert seen == set()
    looks = [
        lambda: watched.get("a"), lambda: watched["a"], lambda: watched.setdefault("a", 0),
        lambda: {**watched}, lambda: dict(watched), lambda: watched | {}, lambda: {} | watched,
        lambda: watched == {}, watched.copy, watched.items, watched.values, lambda: watched.update(a=3),
        lambda: watched.__setitem__("a", 3), lambda: watched.pop("a"),
    ]  # fmt: skip
    for look in looks:
        seen.clear()
        look()
        assert "a" in seen


def test_fields_of_a_span_are_noted() -> None:
    """But for the code of its status, and that it has no events."""
    seen: set[str] = set()
    subject = span()
    watched = WatchedSpan(subject, seen)
    assert (watched.status.code, len(watched.events)) == (0, 0)
    assert seen == set()
    subject.events.add(name="x", time_unix_nano=1)
    assert [event.name for event in watched.events[:3]] == ["x"]
    assert seen == {"events"}
    _ = watched.events[0].time_unix_nano, watched.status.message, watched.start_time_unix_nano
    assert seen == {"events", "events.time_unix_nano", "status.message", "start_time_unix_nano"}


def test_a_decision_does_not_keep_the_span_it_was_made_of() -> None:
    """Content that passes by is freed, however much was decided on the way."""
    reader = Reader(DIALECTS)

    def held() -> int:
        gc.collect()
        return sum(isinstance(item, SpanAttributes) for item in gc.get_objects())

    before = held()
    for number in range(3):
        attributes: dict[str, Value] = {"gen_ai.operation.name": "chat", "gen_ai.request.model": f"m{number}"}
        assert reader.read("app", "", span(**attributes)) is not None
    assert reader.statistics()["decisions"] == 2
    assert held() == before

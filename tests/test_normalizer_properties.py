"""What holds for any span at all, however hostile."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from spanledger.conventions.dialects import DIALECTS
from spanledger.conventions.lookup import ORIGINAL, Lookup, Tuning
from spanledger.conventions.profile import LATEST, PROFILES
from spanledger.conventions.reader import Reader
from spanledger.conventions.values import Value, attributes_of, key_value
from spanledger.processor.genai_normalizer import apply
from tests.fakes import span

KEYS = sorted(Lookup(DIALECTS, LATEST, {}).entries)
SCOPES = ["app", *(scope for dialect in DIALECTS for scope in dialect.scopes)]
WORDS = sorted(
    {value for dialect in DIALECTS for table in dialect.kinds.values() for value in table}
    | {value for dialect in DIALECTS for value in dialect.operations}
    | {"chat", "invoke_agent", "execute_tool", "embeddings", "openai", "azure", "langchain", "gpt-4o", "None", "-1"}
    | {"tool_calls", "end_turn", '["stop"]', "('stop',)", "http://h:99999/", "[::1", '{"id": "resp_1", "top_k": 1e99}'}
    | {'{"model": "\\ud800", "n": 12345678901234567890}', "emitter_exclusive", "spec", "llm", "agent", "nonsense"}
)
NUMBERS = st.one_of(st.integers(-(2**63), 2**63 - 1), st.integers(-3, 5000), st.floats())
SCALARS = st.one_of(
    st.sampled_from(WORDS), st.text(max_size=20), NUMBERS, st.booleans(), st.none(), st.binary(max_size=9)
)
TREES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=5), inner, max_size=3)),
    max_leaves=6,
)
NAMES = st.one_of(
    st.sampled_from(KEYS),
    st.sampled_from(["llm.input_messages.0.message.content", "gen_ai.prompt.0.content", "gen_ai.completion.0.role"]),
    st.text(max_size=12),
)
ATTRIBUTES = st.dictionaries(NAMES, TREES, max_size=14)
PROFILE_NAMES = st.sampled_from(sorted(PROFILES))
TUNINGS = st.dictionaries(
    st.sampled_from([dialect.name for dialect in DIALECTS]), st.builds(Tuning, st.booleans(), st.booleans())
)


def made(attributes: dict[str, Value], failed: bool = False) -> Span:
    """Return a span with these attributes."""
    result = span(name="chat x")
    result.attributes.extend(key_value(key, value) for key, value in attributes.items())
    if failed:
        result.status.code = 2
        result.events.add(name="exception").attributes.append(key_value("exception.type", "E"))
    return result


def same(one: Any, other: Any) -> bool:
    """Tell whether two values are alike; NaN is."""
    return repr(one) == repr(other)


SERVED: dict[str, Value] = {
    "ai.model.id": "m",
    "ai.usage.promptTokens": "none",
    "gen_ai.latency.time_to_first_token": 0.1,
}
"""A model call as an inference server's keys make it, with a count that is none."""


@given(ATTRIBUTES, st.sampled_from(SCOPES), PROFILE_NAMES, TUNINGS, st.booleans())
@example(SERVED, "logfire.openai", "1.36", {}, False)
@example(SERVED, "app", "1.36", {}, False)
@settings(max_examples=400, deadline=None)
def test_a_second_reading_finds_nothing_to_do(
    attributes: dict[str, Value], scope: str, profile: str, tunings: dict[str, Tuning], failed: bool
) -> None:
    """Whatever was written, reading it again writes nothing and removes nothing."""
    reader = Reader(DIALECTS, PROFILES[profile], tunings)
    subject = made(attributes, failed)
    first = reader.read(scope, "1.0", subject)
    if first is None:
        return
    apply(subject, first)
    subject = Span.FromString(subject.SerializeToString())
    second = reader.read(scope, "1.0", subject)

    assert second is not None
    assert (second.edits, second.removals) == ({}, [])
    assert (second.kind, second.operation, second.dialect) == (first.kind, first.operation, first.dialect)


@given(ATTRIBUTES, st.sampled_from(SCOPES), PROFILE_NAMES)
@settings(max_examples=300, deadline=None)
def test_nothing_is_overwritten_without_being_kept(attributes: dict[str, Value], scope: str, profile: str) -> None:
    """Every attribute that came is there afterwards, as it was or as an original."""
    subject = made(attributes)
    before = attributes_of(subject.attributes)
    reading = Reader(DIALECTS, PROFILES[profile]).read(scope, "", subject)
    if reading is None:
        return
    apply(subject, reading)
    after = attributes_of(subject.attributes)

    assert set(reading.removals) <= {"gen_ai.operation.name"}
    for key, value in before.items():
        ours = key.startswith("spanledger.")
        assert ours or ORIGINAL + key in before or same(after.get(ORIGINAL + key, after.get(key)), value)


@given(ATTRIBUTES, st.sampled_from(SCOPES), TUNINGS)
@settings(max_examples=300, deadline=None)
def test_what_is_removed_is_still_said(attributes: dict[str, Value], scope: str, tunings: dict[str, Tuning]) -> None:
    """The facts of a span are the same with and without its originals."""
    removing = {dialect.name: Tuning(remove_originals=True) for dialect in DIALECTS}
    subject = made(attributes)
    first = Reader(DIALECTS, LATEST, removing).read(scope, "", subject)
    if first is None:
        return
    apply(subject, first)
    second = Reader(DIALECTS, LATEST, tunings).read(scope, "", subject)

    assert second is not None
    assert second.kind == first.kind
    for fact in ("operation", "request_model", "response_model", "response_id", "agent_name", "conversation_id"):
        if not any(tuning.overwrite for tuning in tunings.values()):
            assert getattr(second, fact) == getattr(first, fact)


@pytest.mark.parametrize(
    "key", ["gen_ai.usage.input_tokens", "gen_ai.response.finish_reasons", "llm.token_count.prompt"]
)
def test_deep_and_wide_values_are_survived(key: str) -> None:
    """A tree where a number belongs is no number."""
    deep: Value = "x"
    for _ in range(40):
        deep = [deep]
    wide: Value = [1] * 30_000
    for value in (deep, wide, {"a": deep}):
        reading = Reader(DIALECTS).read("app", "", made({"gen_ai.operation.name": "chat", key: value}))
        assert reading is not None


def test_duplicate_keys_count_last() -> None:
    """Of two attributes of one name the last is read, and replaced where that is needed."""
    subject = made({"gen_ai.operation.name": "chat", "gen_ai.provider.name": "anthropic"})
    subject.attributes.append(key_value("gen_ai.provider.name", "OpenAI"))
    reader = Reader(DIALECTS)
    reading = reader.read("app", "", subject)
    assert reading is not None
    assert reading.provider == "openai"
    apply(subject, reading)
    again = reader.read("app", "", subject)
    assert again is not None
    assert (again.provider, again.edits) == ("openai", {})


def test_hostile_spans_take_no_longer_than_their_size(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trees and repeated keys where a fact belongs are not followed: no value of theirs is decoded."""
    decoded: list[int] = []
    monkeypatch.setattr("spanledger.conventions.span_attributes.decode", lambda message: decoded.append(1))
    subject = span()
    for number in range(1000):
        subject.attributes.append(key_value("gen_ai.response.finish_reasons", [["x"]] * 100))
        subject.attributes.append(key_value(f"gen_ai.usage.{number}", {"a": [number] * 10}))
    subject.attributes.append(key_value("gen_ai.request.stop_sequences", ["x"] * 10_000))
    assert Reader(DIALECTS).read("app", "", subject) is not None
    assert decoded == []

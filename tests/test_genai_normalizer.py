"""The stage that applies readings to a batch."""

from __future__ import annotations

from typing import Any

import pydantic
import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from spanledger.conventions.reader import Reader
from spanledger.conventions.values import attributes_of, key_value
from spanledger.processor.batch import MAX_ITEM_BYTES, PAUSE_EVERY, Batch, decode, finish
from spanledger.processor.genai_normalizer import MAX_ATTRIBUTES, GenaiNormalizer, GenaiNormalizerConfig
from tests.fakes import Clock, Numbers, host, request, span

CHAT = {"gen_ai__operation__name": "chat", "gen_ai__usage__prompt_tokens": 5, "gen_ai__system": "openai"}
OPENINFERENCE = {"openinference__span__kind": "LLM", "llm__finish_reason": "tool_calls", "llm__model_name": "gpt-4o"}


def normalize(
    *spans: Span, config: dict[str, Any] | None = None, numbers: Numbers | None = None, scope: str = "test"
) -> Batch:
    """Return a batch of these spans after the stage."""
    batch = finish(decode("traces", request(*spans, scope=scope).SerializeToString(), 1))
    stage = GenaiNormalizer(GenaiNormalizerConfig.model_validate(config or {}), host(numbers=numbers))
    for _ in stage.process(batch):
        pass
    return batch


def attributes(batch: Batch, index: int = 0) -> dict[str, Any]:
    """Return the attributes of one span of the batch."""
    return dict(attributes_of(batch.groups[0].items[index].attributes))


def test_genai_spans_are_read_and_rewritten() -> None:
    """The batch has the reading, the span has the attributes, and the span is to be serialised anew."""
    batch = normalize(span(1, **CHAT))

    group = batch.groups[0]
    assert group.readings[0] is not None
    assert group.readings[0].usage is not None
    assert group.readings[0].usage.input == 5
    assert group.changed == {0}
    written = attributes(batch)
    assert written["gen_ai.usage.input_tokens"] == 5
    assert written["gen_ai.provider.name"] == "openai"
    assert written["gen_ai.usage.prompt_tokens"] == 5
    assert written["spanledger.dialect"] == "otel"
    assert written["spanledger.step.kind"] == "llm"
    assert written["spanledger.usage.basis"] == "spec"


def test_other_spans_leave_as_they_came() -> None:
    """A span of no dialect has no reading, and the request is the bytes that came."""
    batch = normalize(span(1, http__request__method="GET", session__id="s"))

    group = batch.groups[0]
    assert group.readings == [None]
    assert {index: [*keys.at] for index, keys in group.keys.items()} == {0: ["http.request.method", "session.id"]}
    assert finish(batch.serialize()) == batch.wire


def test_readings_go_on_saying_what_the_span_said() -> None:
    """`Reading.attributes` are those that came, also after the span was edited."""
    config = {"remove_originals": True}
    batch = normalize(span(1, **CHAT, gen_ai__response__finish_reasons=["end_turn"]), config=config)

    reading = batch.groups[0].readings[0]
    assert reading is not None
    assert reading.attributes["gen_ai.response.finish_reasons"] == ["end_turn"]
    assert reading.attributes["gen_ai.usage.prompt_tokens"] == 5
    assert attributes(batch)["gen_ai.response.finish_reasons"] == ["stop"]


def test_originals_go_when_asked_and_their_wording_stays() -> None:
    """A fact under its current name needs no second one; a value that was mapped is kept."""
    config = {"sources": [{"name": "openinference", "remove_originals": True}]}
    written = attributes(normalize(span(1, **OPENINFERENCE, llm__token_count__total=9), config=config))

    assert "openinference.span.kind" not in written
    assert "llm.finish_reason" not in written
    assert written["gen_ai.response.finish_reasons"] == ["tool_call"]
    assert written["spanledger.original.gen_ai.response.finish_reasons"] == "tool_calls"
    assert written["llm.token_count.total"] == 9, "it has no other name, so it must stay"


def test_only_indexed_keys_are_flattened_content() -> None:
    """`gen_ai.prompt.0.content` became a message; `gen_ai.prompt.variable.city` is another thing."""
    prompt = {
        "gen_ai__prompt__0__role": "user",
        "gen_ai__prompt__0__content": "hi",
        "gen_ai__prompt__variable__city": "Oslo",
    }
    written = attributes(normalize(span(1, **CHAT, **prompt), config={"remove_originals": True}))
    assert "gen_ai.input.messages" in written
    assert "gen_ai.prompt.0.content" not in written
    assert written["gen_ai.prompt.variable.city"] == "Oslo"


def test_originals_of_other_dialects_stay() -> None:
    """`remove_originals` of one dialect is not that of another."""
    config = {"sources": [{"name": "openllmetry", "remove_originals": True}]}
    assert "llm.finish_reason" in attributes(normalize(span(1, **OPENINFERENCE), config=config))


def test_overwrite_prefers_the_dialect() -> None:
    """The dialect's value is written over the current one, which is kept."""
    config = {"sources": [{"name": "openinference", "overwrite": True}]}
    batch = normalize(
        span(1, **OPENINFERENCE, gen_ai__request__model="alias", llm__request__model_name="real"), config=config
    )

    assert attributes(batch)["gen_ai.request.model"] == "real"
    assert attributes(batch)["spanledger.original.gen_ai.request.model"] == "alias"


def test_a_dialect_of_your_own() -> None:
    """Scopes, mappings and values in the configuration are all that one needs."""
    own = {
        "name": "acme",
        "scopes": ["acme.llm"],
        "mappings": {
            "acme.type": "gen_ai.operation.name",
            "acme.vendor": "gen_ai.system",
            "acme.in": "gen_ai.usage.input_tokens",
            "acme.team": "team.name",
        },
        "value_mappings": {"gen_ai.operation.name": {"model": "chat"}, "gen_ai.provider.name": {"A": "anthropic"}},
    }
    made = span(1, acme__type="model", acme__vendor="A", acme__in="12", acme__team=7)
    batch = normalize(made, config={"sources": [own]}, scope="acme.llm.v2")

    reading = batch.groups[0].readings[0]
    assert reading is not None
    assert (reading.dialect, reading.kind, reading.operation, reading.provider) == ("acme", "llm", "chat", "anthropic")
    assert reading.usage is not None
    assert reading.usage.input == 12
    assert attributes(batch)["team.name"] == 7


@pytest.mark.parametrize(
    ("source", "problem"),
    [
        ({"name": "Bad Name"}, "no name for a dialect"),
        ({"name": "openinference", "scopes": ["x"]}, "built in"),
        ({"name": "acme"}, "needs mappings"),
        ({"name": "openinference", "remove_orginals": True}, "remove_orginals"),
    ],
)
def test_wrong_sources_are_refused(source: dict[str, Any], problem: str) -> None:
    """Each with what is wrong."""
    with pytest.raises(pydantic.ValidationError, match=problem):
        GenaiNormalizerConfig.model_validate({"sources": [source]})


def test_a_source_is_listed_once() -> None:
    """Two entries for one dialect would contradict each other."""
    with pytest.raises(pydantic.ValidationError, match="listed twice"):
        GenaiNormalizerConfig.model_validate({"sources": [{"name": "otel"}, {"name": "otel"}]})


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({}, None),
        ({"overwrite_schema_url": True}, b"https://opentelemetry.io/schemas/gen-ai-dev/1.42.0-dev"),
        ({"overwrite_schema_url": True, "semconv": "1.41"}, b"https://opentelemetry.io/schemas/1.41.1"),
    ],
)
def test_the_schema_url_changes_only_when_asked(config: dict[str, Any], expected: bytes | None) -> None:
    """And then only of scopes where something was written."""
    batch = normalize(span(1, **CHAT), config=config)
    assert batch.groups[0].schema_url == (expected.decode() if expected else None)
    assert normalize(span(1), config=config).groups[0].schema_url is None


def test_span_names_are_rewritten_only_when_asked() -> None:
    """The conventions' name, with the old one beside it; a second time changes nothing."""
    made = span(1, name="ChatCompletion", **CHAT, gen_ai__request__model="gpt-4o")
    assert normalize(made).groups[0].items[0].name == "ChatCompletion"

    batch = normalize(made, config={"rewrite_span_names": True})
    renamed = batch.groups[0].items[0]
    assert renamed.name == "chat gpt-4o"
    assert attributes(batch)["spanledger.original.name"] == "ChatCompletion"
    assert normalize(renamed, config={"rewrite_span_names": True}).groups[0].changed == set()


def test_content_can_be_left_unwritten() -> None:
    """Without content the messages stay where they are."""
    flattened = {"gen_ai__prompt__0__role": "user", "gen_ai__prompt__0__content": "hi"}
    made = span(1, **CHAT, **flattened)
    assert "gen_ai.input.messages" in attributes(normalize(made))
    assert "gen_ai.input.messages" not in attributes(normalize(made, config={"content": False}))


def test_spans_that_are_too_large_are_passed_unread() -> None:
    """Counted by reason, and not held up for."""
    numbers = Numbers()
    wide = span(1, **CHAT)
    wide.attributes.extend(key_value(f"k{number}", 1) for number in range(MAX_ATTRIBUTES))
    long = span(2, **CHAT, text="x" * MAX_ITEM_BYTES)
    batch = normalize(wide, long, numbers=numbers)

    assert batch.groups[0].readings == [None, None]
    assert numbers.values[("spanledger_unread_spans_total", "too_many_attributes")] == 1
    assert numbers.values[("spanledger_unread_spans_total", "oversized")] == 1
    assert finish(batch.serialize()) == batch.wire


class Broken(Reader):
    """A reader with a fault of ours in it."""

    with_content_only = False

    def read_as(self, *arguments: Any, content: bool = True, **rest: Any) -> Any:
        """Fail on spans named `broken`."""
        if arguments[2].name == "broken" and (content or not self.with_content_only):
            raise RuntimeError("secret prompt")
        return super().read_as(*arguments, content=content, **rest)


@pytest.mark.parametrize("with_content_only", [True, False])
def test_a_fault_of_ours_costs_one_span_at_most(
    with_content_only: bool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The fault is counted, logged once without data, and its neighbours are read; first its content is given up."""
    monkeypatch.setattr("spanledger.processor.genai_normalizer.Reader", Broken)
    monkeypatch.setattr(Broken, "with_content_only", with_content_only)
    numbers = Numbers()
    broken = [span(number, name="broken", **CHAT) for number in (1, 2)]
    batch = normalize(*broken, span(3, **CHAT), numbers=numbers, scope="openinference.instrumentation.x")

    readings = batch.groups[0].readings
    assert [reading is not None for reading in readings] == [with_content_only, with_content_only, True]
    errors = numbers.values[("spanledger_normalizer_errors_total", "openinference")]
    assert errors == (2 if with_content_only else 4)
    assert numbers.values[("spanledger_unread_spans_total", "error")] == (0 if with_content_only else 2)
    assert len(caplog.messages) == 1
    assert "secret" not in caplog.text


def test_the_stage_pauses() -> None:
    """A long batch lets others run between its spans."""
    batch = finish(decode("traces", request(*(span(n, **CHAT) for n in range(1, 200))).SerializeToString(), 1))
    stage = GenaiNormalizer(GenaiNormalizerConfig(), host(clock=Clock()))
    assert sum(1 for _ in stage.process(batch)) == 199 // PAUSE_EVERY

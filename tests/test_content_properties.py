"""Whatever a span holds, its content is valid or left out, and the order of its attributes says nothing."""

from __future__ import annotations

import copy
import json
from dataclasses import asdict
from typing import Any, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spanledger.conventions.content import Content, Event, messages_of, valid_messages
from spanledger.conventions.content.log_records import content_of, join
from spanledger.conventions.content.parse import Mark
from spanledger.conventions.content.reading import PLACES
from tests.content_schema import check_content

_WORDS = (
    "user", "assistant", "tool", "text", "reasoning", "tool_use", "tool_result", "image_url", "file", "function_call",
    "__REDACTED__", "data:image/png;base64,AAAA", "https://example.org/a.png", '{"a": 1}', "{'a': None}", '{"a": "cut',
    '[{"type": "text", "text": "hi"}]', '"\\ud800"', "[1e999, NaN]", "human", "blob", "server_tool_use", "compaction",
)  # fmt: skip
_KEYS = (
    "role", "content", "parts", "type", "text", "id", "name", "arguments", "input", "function", "tool_calls",
    "tool_call_id", "messages", "choices", "message", "finish_reason", "toolUse", "functionCall", "inlineData",
    "kwargs", "data", "source", "image_url", "url", "system", "tools", "output", "generations", "thinking", "summary",
    "response", "server_tool_call", "modality", "uri", "file_id", "parameters", "document", "toolResult",
    "functionResponse", "lc", "blocks", "block_type", "tool_kwargs", "tool_name", "additional_kwargs",
)  # fmt: skip

text = st.one_of(st.sampled_from(_WORDS), st.text(max_size=12))
json_values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-5, 10**20), st.floats(), text),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.dictionaries(st.sampled_from(_KEYS), inner, min_size=1, max_size=5)
    ),
    max_leaves=12,
)
otlp_values = st.one_of(text, json_values, st.binary(max_size=4), json_values.map(json.dumps))
"""What an attribute can hold: also JSON in text, and floats that have no JSON."""

_LISTS = (
    "llm.input_messages", "llm.output_messages", "gen_ai.prompt", "gen_ai.completion", "llm.prompts", "llm.choices",
    "llm.tools", "llm.request.functions", "gen_ai.request.tools", "retrieval.documents", "llm.completions",
    "gen_ai.input.messages", "gen_ai.output.messages", "gen_ai.tool.definitions",
)  # fmt: skip
_RESTS = (
    "message.role", "message.content", "message.content.0", "message.content.1", "message.name", "message.tool_call_id",
    "message.tool_calls.0.tool_call.id", "message.tool_calls.0.tool_call.function.name", "message.function_call_name",
    "message.tool_calls.1.tool_call.function.arguments", "message.function_call_arguments_json", "function.0",
    "message.contents.0.message_content.type", "message.contents.0.message_content.text",
    "message.contents.1.message_content.image.image.url", "message.contents.1.message_content.type",
    "message.contents.1.tool_call.function.name", "message.contents.x.message_content.audio.audio.url",
    "role", "content", "tool_call_id", "tool_calls.0.id", "tool_calls.0.name", "tool_calls.0.arguments", "reasoning",
    "finish_reason", "prompt.text", "completion.text", "tool.json_schema", "tool.name", "name", "parameters",
    "document.id", "document.score", "document.content", "document.metadata", "", "tool_calls.", "contents.",
)  # fmt: skip
_INDICES = ("0", "1", "2", "9", "10", "007", "-1", "1000000000", "x", "", "٣", "²")
flattened_keys = st.builds(
    "{}.{}.{}".format, st.sampled_from(_LISTS), st.sampled_from(_INDICES), st.sampled_from(_RESTS)
)
whole_keys = st.sampled_from(
    sorted(
        {"llm.function_call", "gen_ai.prompt."}
        | {k for p in PLACES.values() for keys in asdict(p).values() for k in keys}
    )
)
attributes = st.dictionaries(st.one_of(flattened_keys, whole_keys), otlp_values, max_size=12)
events = st.lists(
    st.builds(
        Event,
        st.sampled_from(
            (
                "gen_ai.system.message", "gen_ai.user.message", "gen_ai.assistant.message", "gen_ai.tool.message",
                "gen_ai.choice", "gen_ai.content.prompt", "gen_ai.content.completion", "exception",
                "gen_ai.client.inference.operation.details", "LLMChatStartEvent", "LLMChatEndEvent",
            )
        ),
        st.dictionaries(
            st.sampled_from(
                (
                    "content", "role", "message", "tool_calls", "index", "finish_reason", "id", "name", "gen_ai.prompt",
                    "gen_ai.completion", "gen_ai.input.messages", "gen_ai.output.messages", "gen_ai.tool.definitions",
                    "gen_ai.system_instructions", "gen_ai.response.finish_reasons",
                )
            ),
            otlp_values,
            max_size=5,
        ),
    ),
    max_size=4,
)  # fmt: skip
dialects = st.sampled_from((*PLACES, "otel", "nobody's"))
kinds = st.sampled_from(("llm", "tool", "retrieval", "embedding", "agent", "other"))


def assert_sound(content: Content) -> None:
    """Check that what is said is valid, and that marks come from their closed set, sorted."""
    check_content(content)
    assert valid_messages(content.input_messages or [])
    assert valid_messages(content.output_messages or [])
    assert list(content.marks) == sorted(set(content.marks))
    assert set(content.marks) <= set(get_args(Mark))


@settings(max_examples=400, deadline=None)
@given(dialects, attributes, events, kinds)
def test_any_span_reads_as_valid_content(dialect: str, found: dict[str, Any], told: list[Event], kind: Any) -> None:
    """Nothing in attributes or events raises or gets through as an invalid message; the span stays as it was."""
    before = copy.deepcopy((repr(found), repr(told)))
    assert_sound(messages_of(dialect, found, told, kind))
    assert before == (repr(found), repr(told))


@settings(max_examples=200, deadline=None)
@given(dialects, attributes, kinds, st.randoms(use_true_random=False))
def test_order_of_attributes_does_not_matter(dialect: str, found: dict[str, Any], kind: Any, random: Any) -> None:
    """The same attributes in another order are the same content."""
    items = list(found.items())
    random.shuffle(items)
    assert repr(messages_of(dialect, found, (), kind)) == repr(messages_of(dialect, dict(items), (), kind))


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(("gen_ai.user.message", "gen_ai.choice", "other")), otlp_values), max_size=4))
def test_any_log_records_join_to_valid_content(records: list[tuple[str, Any]]) -> None:
    """Bodies of any kind read as valid content, alone and together."""
    said = [content for name, body in records if (content := content_of(name, body, {})) is not None]
    assert_sound(join(said))


@settings(max_examples=200, deadline=None)
@given(json_values, st.sampled_from(("input.value", "output.value")))
def test_truncation_never_raises_and_never_invents(value: Any, key: str) -> None:
    """Text cut at any length is content, or nothing with a mark."""
    text = json.dumps({"messages": [{"role": "user", "content": value}]})
    for length in {len(text) // 3, len(text) // 2, len(text) - 1}:
        content = messages_of("openinference", {key: text[:length]}, (), "llm")
        assert_sound(content)
        assert content.input_messages is None
        assert {"cut", "unparsable"} & set(content.marks)


@pytest.mark.parametrize("kind", ["llm", "tool", "retrieval", "other"])
def test_a_span_without_content_says_nothing(kind: Any) -> None:
    """None means that the span does not say, and is not an empty history."""
    assert messages_of("openinference", {"llm.model_name": "m", "gen_ai.prompt.name": "n"}, (), kind) == Content()

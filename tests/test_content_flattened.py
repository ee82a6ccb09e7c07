"""Content spread over indexed attribute keys, in both flattenings."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spanledger.conventions.content import messages_of
from spanledger.conventions.content.flattened import MAX_INDEX, MAX_KEYS
from tests.content_schema import check_content

IN = "llm.input_messages"
CALL = {"type": "tool_call", "id": "c1", "name": "get_weather", "arguments": {"city": "Oslo"}}
TABLE: dict[str, tuple[dict[str, Any], list[dict[str, Any]]]] = {
    "text": (
        {f"{IN}.0.message.role": "user", f"{IN}.0.message.content": "Hi", f"{IN}.0.message.name": "ann"},
        [{"role": "user", "parts": [{"type": "text", "content": "Hi"}], "name": "ann"}],
    ),
    "system message stays in the history": (
        {f"{IN}.0.message.role": "system", f"{IN}.0.message.content": "Be brief."},
        [{"role": "system", "parts": [{"type": "text", "content": "Be brief."}]}],
    ),
    "tool call": (
        {
            f"{IN}.0.message.role": "assistant",
            f"{IN}.0.message.tool_calls.0.tool_call.id": "c1",
            f"{IN}.0.message.tool_calls.0.tool_call.function.name": "get_weather",
            f"{IN}.0.message.tool_calls.0.tool_call.function.arguments": '{"city": "Oslo"}',
        },
        [{"role": "assistant", "parts": [CALL]}],
    ),
    "tool call listed twice, among the contents and beside them": (
        {
            f"{IN}.0.message.role": "assistant",
            f"{IN}.0.message.tool_calls.0.tool_call.id": "c1",
            f"{IN}.0.message.tool_calls.0.tool_call.function.name": "get_weather",
            f"{IN}.0.message.contents.0.message_content.type": "reasoning",
            f"{IN}.0.message.contents.0.message_content.text": "Look it up.",
            f"{IN}.0.message.contents.0.message_content.signature": "Eqo",
            f"{IN}.0.message.contents.1.message_content.type": "tool_use",
            f"{IN}.0.message.contents.1.tool_call.id": "c1",
            f"{IN}.0.message.contents.1.tool_call.function.name": "get_weather",
            f"{IN}.0.message.contents.1.tool_call.function.arguments": '{"city": "Oslo"}',
        },
        [{"role": "assistant", "parts": [{"type": "reasoning", "content": "Look it up."}, CALL]}],
    ),
    "legacy function call": (
        {
            f"{IN}.0.message.role": "assistant",
            f"{IN}.0.message.function_call_name": "get_weather",
            f"{IN}.0.message.function_call_arguments_json": '{"city": "Oslo"}',
        },
        [{"role": "assistant", "parts": [{k: v for k, v in CALL.items() if k != "id"}]}],
    ),
    "legacy function call beside the list": (
        {
            f"{IN}.0.message.role": "assistant",
            f"{IN}.0.message.function_call_name": "get_weather",
            f"{IN}.0.message.function_call_arguments_json": '{"city": "Oslo"}',
            f"{IN}.0.message.tool_calls.0.tool_call.id": "c1",
            f"{IN}.0.message.tool_calls.0.tool_call.function.name": "get_weather",
            f"{IN}.0.message.tool_calls.0.tool_call.function.arguments": '{"city": "Oslo"}',
        },
        [{"role": "assistant", "parts": [CALL]}],
    ),
    "tool response": (
        {f"{IN}.0.message.role": "tool", f"{IN}.0.message.tool_call_id": "c1", f"{IN}.0.message.content": '{"c": 3}'},
        [{"role": "tool", "parts": [{"type": "tool_call_response", "id": "c1", "response": {"c": 3}}]}],
    ),
    "tool response of AutoGen": (
        {f"{IN}.0.message.role": "function", f"{IN}.0.function.0": '{"name": "w", "content": "3C", "call_id": "c1"}'},
        [{"role": "tool", "parts": [{"type": "tool_call_response", "id": "c1", "response": "3C"}]}],
    ),
    "images and audio": (
        {
            f"{IN}.0.message.role": "user",
            f"{IN}.0.message.contents.0.message_content.type": "image",
            f"{IN}.0.message.contents.0.message_content.image.image.url": "data:image/png;base64,iVBO",
            f"{IN}.0.message.contents.1.message_content.type": "image",
            f"{IN}.0.message.contents.1.message_content.image.image.url": "https://example.org/a.png",
            f"{IN}.0.message.contents.2.message_content.type": "audio",
            f"{IN}.0.message.contents.2.message_content.audio.audio.url": "data:audio/wav;base64,UklG",
            f"{IN}.0.message.contents.10.message_content.type": "text",
            f"{IN}.0.message.contents.10.message_content.text": "What are they?",
        },
        [
            {
                "role": "user",
                "parts": [
                    {"type": "blob", "modality": "image", "content": "iVBO", "mime_type": "image/png"},
                    {"type": "uri", "modality": "image", "uri": "https://example.org/a.png"},
                    {"type": "blob", "modality": "audio", "content": "UklG", "mime_type": "audio/wav"},
                    {"type": "text", "content": "What are they?"},
                ],
            }
        ],
    ),
    "content as a list of texts": (
        {f"{IN}.0.message.role": "user", f"{IN}.0.message.content.0": "a", f"{IN}.0.message.content.10": "c",
         f"{IN}.0.message.content.9": "b"},
        [{"role": "user", "parts": [{"type": "text", "content": text} for text in "abc"]}],
    ),
    "OpenLLMetry": (
        {
            "gen_ai.prompt.0.role": "user",
            "gen_ai.prompt.0.content": '[{"type": "text", "text": "See"}, {"type": "image_url", "image_url": {"url": "http://x/y.png"}}]',
            "gen_ai.prompt.1.role": "assistant",
            "gen_ai.prompt.1.tool_calls.0.id": "c1",
            "gen_ai.prompt.1.tool_calls.0.name": "get_weather",
            "gen_ai.prompt.1.tool_calls.0.arguments": '{"city": "Oslo"}',
            "gen_ai.prompt.2.role": "tool",
            "gen_ai.prompt.2.content": "3C",
            "gen_ai.prompt.2.tool_call_id": "c1",
        },
        [
            {
                "role": "user",
                "parts": [
                    {"type": "text", "content": "See"},
                    {"type": "uri", "modality": "image", "uri": "http://x/y.png"},
                ],
            },
            {"role": "assistant", "parts": [CALL]},
            {"role": "tool", "parts": [{"type": "tool_call_response", "id": "c1", "response": "3C"}]},
        ],
    ),
    "JSON that a user wrote is text": (
        {"gen_ai.prompt.0.role": "user", "gen_ai.prompt.0.content": '[{"city": "Oslo"}]'},
        [{"role": "user", "parts": [{"type": "text", "content": '[{"city": "Oslo"}]'}]}],
    ),
    "prompts of a text completion": (
        {"llm.prompts.0.prompt.text": "Once", "llm.prompts.1.prompt.text": "Twice"},
        [{"role": "user", "parts": [{"type": "text", "content": text}]} for text in ("Once", "Twice")],
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", TABLE)
def test_flattened_input(case: str) -> None:
    """Each flattening gives the messages that were flattened, and nothing is missing."""
    attributes, expected = TABLE[case]
    content = messages_of("openinference", attributes, (), "llm")
    assert expected == content.input_messages
    assert content.marks == ()
    check_content(content)


def test_completions_carry_their_finish_reasons() -> None:
    """The message has the schema's word, the list what the provider said, one for each choice."""
    content = messages_of(
        "openllmetry",
        {
            "gen_ai.completion.1.content": "B",
            "gen_ai.completion.1.finish_reason": "max_tokens",
            "gen_ai.completion.0.content": "A",
            "gen_ai.completion.0.role": "assistant",
            "gen_ai.completion.0.finish_reason": "end_turn",
        },
        (),
        "llm",
    )
    assert content.output_messages == [
        {"role": "assistant", "parts": [{"type": "text", "content": "A"}], "finish_reason": "stop"},
        {"role": "assistant", "parts": [{"type": "text", "content": "B"}], "finish_reason": "length"},
    ]
    assert content.finish_reasons == ["end_turn", "max_tokens"]


def test_a_finish_reason_that_is_missing_is_not_invented() -> None:
    """With a reason for one of two choices, a list by choice cannot be given."""
    attributes = {"gen_ai.completion.0.finish_reason": "stop", "gen_ai.completion.1.content": "B"}
    assert messages_of("openllmetry", attributes, (), "llm").finish_reasons is None


def test_indices_sort_as_numbers() -> None:
    """Message 10 comes after message 9, in whatever order the keys are."""
    attributes = {f"{IN}.{index}.message.{word}": text for index in (10, 2, 0, 9, 1, 3, 4, 5, 6, 7, 8)
                  for word, text in (("content", str(index)), ("role", "user"))}  # fmt: skip
    content = messages_of("openinference", attributes, (), "llm")
    assert [str(index) for index in range(11)] == [m["parts"][0]["content"] for m in content.input_messages or []]
    assert content.marks == ()


def test_dropped_oldest_keys_leave_a_gap() -> None:
    """An attribute limit takes the first messages and the role of the next: the rest stays, marked."""
    content = messages_of(
        "openinference",
        {
            f"{IN}.4.message.content": "lost its role",
            f"{IN}.5.message.tool_call_id": "c1",
            f"{IN}.5.message.content": "3C",
            f"{IN}.6.message.tool_calls.0.tool_call.function.arguments": "{}",
        },
        (),
        "llm",
    )
    assert content.input_messages == [
        {"role": "unknown", "parts": [{"type": "text", "content": "lost its role"}]},
        {"role": "tool", "parts": [{"type": "tool_call_response", "id": "c1", "response": "3C"}]},
        {"role": "assistant", "parts": [{"type": "tool_call_without_name", "arguments": {}}]},
    ]
    assert content.marks == ("gap",)


@pytest.mark.parametrize("index", ["-1", "007", "x", "", "1.5", "٣", "1e3"])
def test_indices_that_are_none_are_nobodys(index: str) -> None:
    """Only numbers as a program writes them are indices."""
    content = messages_of("openinference", {f"{IN}.{index}.message.role": "user", f"{IN}.0.message.role": "user"})
    assert len(content.input_messages or []) == 1


@pytest.mark.parametrize("index", [MAX_INDEX, 10**9, "9" * 5000])
def test_huge_indices_cost_nothing(index: int | str) -> None:
    """An index is never a length."""
    content = messages_of("openinference", {f"{IN}.{index}.message.role": "user", f"{IN}.0.message.role": "user"})
    assert len(content.input_messages or []) == 1
    assert content.marks == ("limit",)


def test_the_number_of_keys_is_bounded() -> None:
    """More keys than anyone means are not all read, and that is said."""
    content = messages_of("openinference", {f"{IN}.{n}.message.role": "user" for n in range(MAX_KEYS + 1)})
    assert len(content.input_messages or []) == MAX_KEYS
    assert content.marks == ("limit",)


def test_redacted_content_is_not_content() -> None:
    """Placeholders leave a message without the part that they stand for."""
    content = messages_of(
        "openinference",
        {
            f"{IN}.0.message.role": "user",
            f"{IN}.0.message.content": "__REDACTED__",
            f"{IN}.1.message.role": "user",
            f"{IN}.1.message.contents.0.message_content.type": "image",
            f"{IN}.1.message.contents.0.message_content.image.image.url": "__REDACTED__",
            "input.value": "__REDACTED__",
        },
        (),
        "llm",
    )
    assert content.input_messages == [{"role": "user", "parts": []}, {"role": "user", "parts": []}]
    assert content.marks == ("redacted",)


WEATHER = {"type": "object", "properties": {"city": {"type": "string"}}}
ABOUT = {"name": "w", "description": "d"}


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "function", "function": {**ABOUT, "parameters": WEATHER}},
        {"type": "function", **ABOUT, "parameters": WEATHER},
        {**ABOUT, "input_schema": WEATHER},
        {"toolSpec": {**ABOUT, "inputSchema": {"json": WEATHER}}},
        {"functionDeclarations": [{**ABOUT, "parameters": WEATHER}]},
    ],
)
def test_tool_schemas_of_any_provider_are_the_same(schema: dict[str, Any]) -> None:
    """OpenAI, Anthropic, Bedrock and Gemini define a function the same way."""
    content = messages_of("openinference", {"llm.tools.0.tool.json_schema": json.dumps(schema)}, (), "llm")
    assert content.tool_definitions == [{"type": "function", **ABOUT, "parameters": WEATHER}]
    check_content(content)


@pytest.mark.parametrize(
    ("prefix", "words"),
    [
        ("llm.tools.0.", ("tool.name", "tool.description", "tool.json_schema")),
        ("llm.request.functions.0.", ("name", "description", "parameters")),
        ("gen_ai.request.tools.0.", ("name", "description", "parameters")),
    ],
)
def test_flattened_tools(prefix: str, words: tuple[str, ...]) -> None:
    """Name, description and schema may be attributes of their own."""
    values = ("w", "d", json.dumps(WEATHER))
    content = messages_of("openllmetry", {prefix + word: value for word, value in zip(words, values, strict=True)})
    assert content.tool_definitions == [{"type": "function", **ABOUT, "parameters": WEATHER}]


def test_a_providers_own_tool_keeps_its_type() -> None:
    """A tool that is no function is a definition of its own type."""
    schema = {"type": "web_search_20250305", "name": "web_search", "max_uses": 3}
    content = messages_of("openinference", {"llm.tools.0.tool.json_schema": json.dumps(schema)}, (), "llm")
    assert content.tool_definitions == [schema]


def test_documents_of_a_retrieval() -> None:
    """Ids are text and scores numbers; what the conventions leave open is kept."""
    prefix = "retrieval.documents"
    content = messages_of(
        "openinference",
        {
            "input.value": "winter in Oslo",
            f"{prefix}.0.document.id": 7,
            f"{prefix}.0.document.score": "0.5",
            f"{prefix}.0.document.content": "Bring wool.",
            f"{prefix}.0.document.metadata": '{"source": "guide"}',
            f"{prefix}.1.document.score": float("nan"),
        },
        (),
        "retrieval",
    )
    assert content.retrieval_query == "winter in Oslo"
    assert content.retrieval_documents == [
        {"id": "7", "score": 0.5, "content": "Bring wool.", "metadata": {"source": "guide"}},
        {},
    ]
    check_content(content)


words = st.text(min_size=1, max_size=20).filter(lambda text: text.strip() and text[0] not in '[{" \n\t_<')
objects = st.dictionaries(words, st.one_of(words, st.integers(), st.booleans()), max_size=3)
said = st.one_of(
    st.builds(lambda content: {"type": "text", "content": content}, words),
    st.builds(lambda content: {"type": "reasoning", "content": content}, words),
)
calls = st.builds(
    lambda number, name, arguments: {"type": "tool_call", "id": f"c{number}", "name": name, "arguments": arguments},
    st.integers(0, 10**6),
    words,
    objects,
)
speech = st.builds(
    lambda role, text, called: {"role": role, "parts": text + called},
    st.sampled_from(("system", "user", "assistant", "developer")),
    st.lists(said, max_size=3, unique_by=lambda part: part["content"]),
    st.lists(calls, max_size=3, unique_by=lambda part: part["id"]),
)
responses = st.builds(
    lambda number, response: {"type": "tool_call_response", "id": f"c{number}", "response": response},
    st.integers(0, 10**6),
    st.one_of(words, objects),
)
answers = responses.map(lambda part: {"role": "tool", "parts": [part]})


def flatten(messages: list[dict[str, Any]]) -> dict[str, str]:
    """Return messages as OpenInference's instrumentations flatten them."""
    flat: dict[str, str] = {}
    for index, message in enumerate(messages):
        prefix = f"{IN}.{index}.message"
        flat[f"{prefix}.role"] = message["role"]
        for number, part in enumerate(message["parts"]):
            if part["type"] == "tool_call_response":
                answer = part["response"]
                flat[f"{prefix}.tool_call_id"] = part["id"]
                flat[f"{prefix}.content"] = answer if isinstance(answer, str) else json.dumps(answer)
            elif part["type"] == "tool_call":
                flat[f"{prefix}.tool_calls.{number}.tool_call.id"] = part["id"]
                flat[f"{prefix}.tool_calls.{number}.tool_call.function.name"] = part["name"]
                flat[f"{prefix}.tool_calls.{number}.tool_call.function.arguments"] = json.dumps(part["arguments"])
            else:
                flat[f"{prefix}.contents.{number}.message_content.type"] = part["type"]
                flat[f"{prefix}.contents.{number}.message_content.text"] = part["content"]
    return flat


@given(st.lists(st.one_of(speech, answers), min_size=1, max_size=12))
def test_flattened_messages_come_back(messages: list[dict[str, Any]]) -> None:
    """Messages that are flattened and read again are equal, and nothing is marked."""
    content = messages_of("openinference", flatten(messages), (), "llm")
    assert messages == content.input_messages
    assert content.marks == ()

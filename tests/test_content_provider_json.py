"""What model APIs and frameworks serialise, recognised by shape."""

from __future__ import annotations

from typing import Any

import pytest

from spanledger.conventions.content import Content
from spanledger.conventions.content.parse import Reader
from spanledger.conventions.content.provider_json import Conversation, conversation
from spanledger.conventions.content.provider_parts import parts_of
from spanledger.conventions.content.tools import arguments_of, result_of
from tests.content_schema import check_content, check_part

HI = {"type": "text", "content": "Hi"}
CALL = {"type": "tool_call", "id": "c1", "name": "get_weather", "arguments": {"city": "Oslo"}}
ANSWER = {"type": "tool_call_response", "id": "c1", "response": "3C"}
THOUGHT = {"type": "reasoning", "content": "Look it up."}
PNG = {"type": "blob", "modality": "image", "content": "iVBO", "mime_type": "image/png"}
LINK = {"type": "uri", "modality": "image", "uri": "https://x/a.png"}

PARTS: list[tuple[str, Any, list[dict[str, Any]]]] = [
    ("text", "Hi", [HI]),
    ("texts", ["Hi", {"type": "text", "text": "Hi"}], [HI, HI]),
    ("openai responses text", {"type": "output_text", "text": "Hi", "annotations": []}, [HI]),
    ("openai assistants text", {"type": "text", "text": {"value": "Hi"}}, [HI]),
    ("openai image", {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBO", "detail": "low"}}, [PNG]),
    ("openai responses image", {"type": "input_image", "image_url": "https://x/a.png"}, [LINK]),
    (
        "openai audio",
        {"type": "input_audio", "input_audio": {"data": "UklG", "format": "wav"}},
        [{"type": "blob", "modality": "audio", "content": "UklG", "mime_type": "audio/wav"}],
    ),
    (
        "openai file",
        {"type": "file", "file": {"file_id": "f1"}},
        [{"type": "file", "modality": "document", "file_id": "f1"}],
    ),
    ("openai refusal", {"type": "refusal", "refusal": "No."}, [{"type": "refusal", "content": "No."}]),
    (
        "openai reasoning",
        {"type": "reasoning", "id": "r1", "summary": [{"type": "summary_text", "text": "Look it up."}]},
        [THOUGHT],
    ),
    (
        "openai call",
        {"type": "function_call", "id": "fc1", "call_id": "c1", "name": "get_weather", "arguments": '{"city": "Oslo"}'},
        [CALL],
    ),
    ("openai answer", {"type": "function_call_output", "call_id": "c1", "output": "3C"}, [ANSWER]),
    (
        "openai server tool",
        {"type": "web_search_call", "id": "w1", "status": "completed"},
        [
            {
                "type": "server_tool_call",
                "id": "w1",
                "name": "web_search",
                "server_tool_call": {"type": "web_search", "status": "completed"},
            }
        ],
    ),
    ("anthropic call", {"type": "tool_use", "id": "c1", "name": "get_weather", "input": {"city": "Oslo"}}, [CALL]),
    (
        "anthropic answer",
        {"type": "tool_result", "tool_use_id": "c1", "content": [{"type": "text", "text": "3C"}]},
        [ANSWER],
    ),
    ("anthropic thought", {"type": "thinking", "thinking": "Look it up.", "signature": "Eq"}, [THOUGHT]),
    (
        "anthropic hidden thought",
        {"type": "redacted_thinking", "data": "Eq"},
        [{"type": "redacted_thinking", "data": "Eq"}],
    ),
    (
        "anthropic image",
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "iVBO"}},
        [PNG],
    ),
    ("anthropic image by url", {"type": "image", "source": {"type": "url", "url": "https://x/a.png"}}, [LINK]),
    (
        "anthropic text document",
        {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "Hi"}},
        [HI],
    ),
    (
        "anthropic server tool",
        {"type": "server_tool_use", "id": "s1", "name": "web_search", "input": {"query": "Oslo"}},
        [
            {
                "type": "server_tool_call",
                "id": "s1",
                "name": "web_search",
                "server_tool_call": {"type": "web_search", "input": {"query": "Oslo"}},
            }
        ],
    ),
    (
        "anthropic server answer",
        {"type": "web_search_tool_result", "tool_use_id": "s1", "content": []},
        [
            {
                "type": "server_tool_call_response",
                "id": "s1",
                "server_tool_call_response": {"type": "web_search_tool_result", "content": []},
            }
        ],
    ),
    ("gemini", [{"text": "Look it up.", "thought": True}, {"text": "Hi"}], [THOUGHT, HI]),
    ("gemini call", {"functionCall": {"id": "c1", "name": "get_weather", "args": {"city": "Oslo"}}}, [CALL]),
    (
        "gemini answer",
        {"function_response": {"id": "c1", "name": "w", "response": {"result": "3C"}}},
        [{"type": "tool_call_response", "id": "c1", "response": {"result": "3C"}}],
    ),
    ("gemini data", {"inlineData": {"mimeType": "image/png", "data": "iVBO"}}, [PNG]),
    (
        "gemini file",
        {"file_data": {"mime_type": "video/mp4", "file_uri": "gs://b/v.mp4"}},
        [{"type": "uri", "modality": "video", "uri": "gs://b/v.mp4", "mime_type": "video/mp4"}],
    ),
    ("bedrock call", {"toolUse": {"toolUseId": "c1", "name": "get_weather", "input": {"city": "Oslo"}}}, [CALL]),
    ("bedrock answer", {"toolResult": {"toolUseId": "c1", "status": "success", "content": [{"text": "3C"}]}}, [ANSWER]),
    (
        "bedrock json",
        {"toolResult": {"toolUseId": "c1", "content": [{"json": {"c": 3}}]}},
        [{"type": "tool_call_response", "id": "c1", "response": {"c": 3}}],
    ),
    ("bedrock thought", {"reasoningContent": {"reasoningText": {"text": "Look it up.", "signature": "Eq"}}}, [THOUGHT]),
    ("bedrock image", {"image": {"format": "png", "source": {"bytes": "iVBO"}}}, [PNG]),
    (
        "bedrock cache point",
        {"cachePoint": {"type": "default"}},
        [{"type": "cachePoint", "cachePoint": {"type": "default"}}],
    ),
    (
        "ai sdk call",
        {"type": "tool-call", "toolCallId": "c1", "toolName": "get_weather", "input": {"city": "Oslo"}},
        [CALL],
    ),
    ("ai sdk answer", {"type": "tool-result", "toolCallId": "c1", "output": {"type": "text", "value": "3C"}}, [ANSWER]),
    ("ai sdk file", {"type": "file", "data": "iVBO", "mediaType": "image/png"}, [PNG]),
    ("ai sdk image", {"type": "image", "image": "https://x/a.png"}, [LINK]),
    ("langchain call", {"type": "tool_call", "id": "c1", "name": "get_weather", "args": {"city": "Oslo"}}, [CALL]),
    ("ours", [HI, CALL, ANSWER, THOUGHT, PNG, LINK], [HI, CALL, ANSWER, THOUGHT, PNG, LINK]),
    ("unknown type", {"type": "hologram", "beam": 3}, [{"type": "hologram", "beam": 3}]),
    ("only calls itself a blob", {"type": "blob"}, [{"type": "unknown_blob"}]),
    ("redacted", [{"type": "text", "text": "<REDACTED>"}], []),
]


@pytest.mark.parametrize(("content", "expected"), [row[1:] for row in PARTS], ids=[row[0] for row in PARTS])
def test_parts(content: Any, expected: list[dict[str, Any]]) -> None:
    """Each provider's part is the convention's part, or is kept under a type of its own."""
    parts = parts_of(content, Reader())
    assert expected == parts
    for part in parts:
        check_part(part)


USER = {"role": "user", "parts": [HI]}
ASKED = {"role": "assistant", "parts": [CALL]}
TOLD = {"role": "tool", "parts": [ANSWER]}
OPENAI_CALL = {"id": "c1", "type": "function", "function": {"name": "get_weather", "arguments": '{"city": "Oslo"}'}}
LANGCHAIN = ["langchain", "schema", "messages"]

HISTORIES: list[tuple[str, Any, list[dict[str, Any]]]] = [
    ("text", "Hi", [USER]),
    (
        "openai",
        [
            {"role": "user", "content": "Hi"},
            {"role": "assistant", "content": None, "tool_calls": [OPENAI_CALL]},
            {"role": "tool", "tool_call_id": "c1", "content": "3C"},
        ],
        [USER, ASKED, TOLD],
    ),
    (
        "openai functions",
        {"messages": [{"role": "assistant", "function_call": {"name": "f", "arguments": "{}"}}]},
        [{"role": "assistant", "parts": [{"type": "tool_call", "name": "f", "arguments": {}}]}],
    ),
    (
        "openai responses",
        {
            "input": [
                {"role": "user", "content": [{"type": "input_text", "text": "Hi"}]},
                {"type": "function_call", "call_id": "c1", "name": "get_weather", "arguments": '{"city": "Oslo"}'},
                {"type": "function_call_output", "call_id": "c1", "output": "3C"},
            ]
        },
        [USER, ASKED, TOLD],
    ),
    ("openai completions", {"prompt": "Hi", "model": "m"}, [USER]),
    (
        "anthropic",
        {
            "messages": [
                {"role": "user", "content": "Hi"},
                {
                    "role": "assistant",
                    "content": [{"type": "tool_use", "id": "c1", "name": "get_weather", "input": {"city": "Oslo"}}],
                },
                {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "c1", "content": "3C"}]},
            ]
        },
        [USER, ASKED, {"role": "user", "parts": [ANSWER]}],
    ),
    (
        "gemini",
        {
            "contents": [
                {"role": "user", "parts": [{"text": "Hi"}]},
                {
                    "role": "model",
                    "parts": [{"functionCall": {"id": "c1", "name": "get_weather", "args": {"city": "Oslo"}}}],
                },
            ]
        },
        [USER, ASKED],
    ),
    ("gemini text", {"contents": "Hi"}, [USER]),
    (
        "bedrock",
        {
            "messages": [
                {"role": "user", "content": [{"text": "Hi"}]},
                {
                    "role": "assistant",
                    "content": [{"toolUse": {"toolUseId": "c1", "name": "get_weather", "input": {"city": "Oslo"}}}],
                },
            ]
        },
        [USER, ASKED],
    ),
    (
        "langchain constructors",
        {
            "messages": [
                [
                    {
                        "lc": 1,
                        "type": "constructor",
                        "id": [*LANGCHAIN, "HumanMessage"],
                        "kwargs": {"content": "Hi", "type": "human"},
                    },
                    {
                        "lc": 1,
                        "type": "constructor",
                        "id": [*LANGCHAIN, "AIMessage"],
                        "kwargs": {
                            "content": "",
                            "tool_calls": [{"id": "c1", "name": "get_weather", "args": {"city": "Oslo"}}],
                        },
                    },
                    {
                        "lc": 1,
                        "type": "constructor",
                        "id": [*LANGCHAIN, "ToolMessage"],
                        "kwargs": {"content": "3C", "tool_call_id": "c1", "name": "get_weather"},
                    },
                ]
            ]
        },
        [USER, ASKED, {**TOLD, "name": "get_weather"}],
    ),
    ("langchain data", [{"type": "human", "data": {"content": "Hi", "type": "human"}}], [USER]),
    (
        "langchain dump",
        [{"type": "human", "content": "Hi"}, {"type": "tool", "content": "3C", "tool_call_id": "c1"}],
        [USER, TOLD],
    ),
    ("langchain pairs", {"messages": [["user", "Hi"], ["human", "Hi"]]}, [USER, USER]),
    ("ours", [USER, ASKED, TOLD], [USER, ASKED, TOLD]),
    ("loose parts", [{"type": "text", "text": "Hi"}], [USER]),
    ("nothing", {"temperature": 1}, []),
]


@pytest.mark.parametrize(("document", "expected"), [row[1:] for row in HISTORIES], ids=[row[0] for row in HISTORIES])
def test_histories(document: Any, expected: list[dict[str, Any]]) -> None:
    """Requests of every API are the same history."""
    found = conversation(document, "user", Reader())
    assert expected == found.messages
    check_content(Content(input_messages=found.messages))


SAID = {"role": "assistant", "parts": [HI], "finish_reason": "stop"}
ANSWERS: list[tuple[str, Any, str]] = [
    (
        "openai",
        {"choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "Hi"}}]},
        "stop",
    ),
    ("openai completions", {"choices": [{"finish_reason": "stop", "text": "Hi"}]}, "stop"),
    (
        "openai responses",
        {
            "status": "completed",
            "output": [{"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "Hi"}]}],
        },
        "completed",
    ),
    (
        "anthropic",
        {
            "role": "assistant",
            "type": "message",
            "content": [{"type": "text", "text": "Hi"}],
            "stop_reason": "end_turn",
        },
        "end_turn",
    ),
    (
        "gemini",
        {"candidates": [{"content": {"role": "model", "parts": [{"text": "Hi"}]}, "finishReason": "STOP"}]},
        "STOP",
    ),
    (
        "bedrock",
        {"output": {"message": {"role": "assistant", "content": [{"text": "Hi"}]}}, "stopReason": "end_turn"},
        "end_turn",
    ),
    (
        "langchain",
        {
            "generations": [
                [
                    {
                        "text": "Hi",
                        "generation_info": {"finish_reason": "stop"},
                        "message": {"id": [*LANGCHAIN, "AIMessage"], "kwargs": {"content": "Hi"}},
                    }
                ]
            ]
        },
        "stop",
    ),
]


@pytest.mark.parametrize(("document", "reason"), [row[1:] for row in ANSWERS], ids=[row[0] for row in ANSWERS])
def test_answers(document: Any, reason: str) -> None:
    """Answers of every API are the same message; the reason is kept as it was spelled, too."""
    found = conversation(document, "assistant", Reader())
    assert found == Conversation(messages=[SAID], finish_reasons=[reason])


@pytest.mark.parametrize(
    "document",
    [
        {"system": "Be brief.", "messages": []},
        {"system": [{"type": "text", "text": "Be brief."}, {"cachePoint": {}}], "messages": []},
        {"instructions": "Be brief.", "input": []},
        {"config": {"system_instruction": {"parts": [{"text": "Be brief."}]}}, "contents": []},
    ],
)
def test_instructions_are_text_from_where_they_stand_apart(document: Any) -> None:
    """Only what a request gives apart from its history is an instruction."""
    assert conversation(document, "user", Reader()).instructions == [{"type": "text", "content": "Be brief."}]


def test_the_repr_of_classes_is_no_message() -> None:
    """Text in place of messages stays out, and is marked."""
    reader = Reader()
    assert conversation({"messages": ["ChatMessage(role=<MessageRole.USER>)"]}, "user", reader).messages == []
    assert reader.marks == ("unparsable",)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ('{"city": "Oslo"}', {"city": "Oslo"}),
        ('{"kwargs": {"city": "Oslo"}}', {"city": "Oslo"}),
        ('{"args": [], "kwargs": {"city": "Oslo"}}', {"city": "Oslo"}),
        ('{"args": [1], "kwargs": {}}', {"args": [1], "kwargs": {}}),
        ('{"input_str": "{\'city\': \'Oslo\'}", "tags": ["seq:step:1"], "metadata": {}}', {"city": "Oslo"}),
    ],
)
def test_arguments_come_out_of_call_records(value: str, expected: Any) -> None:
    """What frameworks record around a call is not what the tool was called with."""
    assert expected == arguments_of(value, Reader())


TOOL_MESSAGE = {
    "lc": 1,
    "type": "constructor",
    "id": [*LANGCHAIN, "ToolMessage"],
    "kwargs": {"content": "3C", "type": "tool"},
}


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("3C", "3C"),
        ('"3C"', "3C"),
        ('"{\\"c\\": 3}"', {"c": 3}),
        ({"output": TOOL_MESSAGE, "kwargs": {"color": "green"}}, "3C"),
        ({"type": "tool", "data": {"content": '{"c": 3}', "tool_call_id": "c1"}}, {"c": 3}),
        ({"type": "text", "text": "3C"}, "3C"),
        ([{"type": "text", "text": "3C"}], "3C"),
        (
            [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}],
            [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}],
        ),
        ({"id": "1", "name": "w", "response": {"result": "3C"}}, {"result": "3C"}),
        ({"blocks": [], "tool_name": "w", "raw_output": "3C"}, "3C"),
    ],
)
def test_results_come_out_of_what_carries_them(value: Any, expected: Any) -> None:
    """The message, block or event around an answer is not the answer."""
    assert expected == result_of(value, Reader())

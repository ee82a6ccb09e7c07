"""What Microsoft's Agent Framework says in its messages only."""

from __future__ import annotations

import json
from typing import Any, Final

import pytest

from spanledger.conventions.dialects import read
from spanledger.conventions.values import key_value
from spanledger.processor.batch import Resource, Scope
from tests.fakes import span

SEARCH: Final = {"type": "search_tool_call", "tool_name": "web_search", "arguments": {"type": "search", "query": "a"}}
OPENED: Final = SEARCH | {"arguments": {"type": "open_page", "url": "https://a.example"}}


@pytest.mark.parametrize(
    ("parts", "units"),
    [
        ([SEARCH, {"type": "search_tool_result", "tool_name": "web_search"}, SEARCH], (("web_search", 2),)),
        ([SEARCH, OPENED], (("web_search", 1),)),
        ([SEARCH | {"arguments": '{"query": "a"}'}], (("web_search", 1),)),  # Anthropic's
        ([OPENED], None),
        ([SEARCH | {"tool_name": "file_search"}], None),
        ([{"type": "text", "content": "search_tool_call"}, "search_tool_call"], None),
        ("search_tool_call", None),
    ],
)
def test_searches_among_messages_are_charged(parts: Any, units: Any) -> None:
    """Those that searched, and not what else the tool did."""
    made = span(name="chat gpt-5-mini")
    said = json.dumps([{"role": "assistant", "parts": parts}, "search_tool_call"])
    attributes = {"gen_ai.operation.name": "chat", "gen_ai.request.model": "gpt-5-mini", "gen_ai.output.messages": said}
    made.attributes.extend(key_value(key, value) for key, value in attributes.items())

    reading = read(Scope("agent_framework", "1.23.0"), Resource({}, "shop"), made)

    assert reading is not None
    assert (reading.units or None) == units

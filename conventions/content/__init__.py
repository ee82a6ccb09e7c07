"""Prompts, answers, tools and documents of a span as the messages of the OTel GenAI conventions.

Instrumentations write the same content in a dozen shapes. Each shape has a module that any dialect may
use: `flattened.py` (indices in attribute keys), `provider_json.py` and `provider_parts.py` (what model
APIs and frameworks serialise), `tools.py`, `documents.py`, `span_events.py`, `log_records.py`. They build
their result with `parts.py` and read JSON with `parse.py`; `reading.py` chooses among them for one span,
and has a table with a row for each dialect that keeps documents in attributes of its own. Everything is
pure and bounded.
"""

from __future__ import annotations

from spanledger.conventions.content.parse import Json
from spanledger.conventions.content.parts import valid_messages
from spanledger.conventions.content.reading import Places, messages_of, places_of
from spanledger.conventions.content.record import Content, Event
from spanledger.conventions.content.span_events import is_content

__all__ = ["Content", "Event", "Json", "Places", "is_content", "messages_of", "places_of", "valid_messages"]

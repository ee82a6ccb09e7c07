"""Prompts, answers, tools and documents of a span as the messages of the OTel GenAI conventions.

Instrumentations write the same content in a dozen shapes. Each shape has a module that any dialect may
use: `flattened.py` (indices in attribute keys), `provider_json.py` (what model APIs and frameworks
serialise), `span_events.py`, `log_records.py`; all of them build their result with `parts.py` and read
JSON with `parse.py`. Everything is pure and bounded.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from spanledger.conventions.values import Attributes

if TYPE_CHECKING:
    from spanledger.conventions.reading import StepKind

Json: TypeAlias = Any
"""A value that `json.dumps` takes."""


@dataclass(frozen=True, slots=True)
class Event:
    """A span event, as far as content is concerned."""

    name: str
    attributes: Attributes


@dataclass(frozen=True, slots=True)
class Content:
    """What a span says, JSON-ready and valid by the schemas of the conventions; None where it says nothing."""

    input_messages: list[dict[str, Json]] | None = None
    output_messages: list[dict[str, Json]] | None = None
    system_instructions: list[dict[str, Json]] | None = None
    tool_definitions: list[dict[str, Json]] | None = None
    tool_arguments: Json = None
    """An object wherever the span's text parses as one, else the text."""
    tool_result: Json = None
    retrieval_documents: list[dict[str, Json]] | None = None
    retrieval_query: str | None = None
    finish_reasons: list[str] | None = None
    """One for each choice, as the provider spelled them."""
    marks: tuple[str, ...] = ()
    """What is not whole: `cut`, `gap`, `redacted`, `unparsable`, `limit`; each at most once, sorted."""


def messages_of(
    dialect: str, attributes: Attributes, events: Sequence[Event] = (), kind: StepKind = "other"
) -> Content:
    """Return the content of one span.

    `dialect` only narrows where to look; what is found is recognised by its shape.
    Attributes that already have their current name are not read.
    """
    return Content()

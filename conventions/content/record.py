"""What content a span holds: the result of this package, and the events it reads."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from operator import attrgetter
from typing import Any, Final

from spanledger.conventions.content.parse import Json
from spanledger.conventions.content.parts import Message, Part
from spanledger.conventions.record import record
from spanledger.conventions.values import Attributes


@record(frozen=True, slots=True)
class Event:
    """A span event, as far as content is concerned."""

    name: str
    attributes: Attributes


@record(frozen=True, slots=True)
class Content:
    """What a span says, JSON-ready and valid by the schemas of the conventions; None where it says nothing."""

    input_messages: list[Message] | None = None
    output_messages: list[Message] | None = None
    system_instructions: list[Part] | None = None
    """Text parts of instructions that were given apart from the history."""
    tool_definitions: list[dict[str, Json]] | None = None
    tool_arguments: Json = None
    """An object wherever what the span holds is one or parses as one, else the text."""
    tool_result: Json = None
    retrieval_documents: list[dict[str, Json]] | None = None
    retrieval_query: str | None = None
    finish_reasons: list[str] | None = None
    """One for each choice, as the provider spelled them."""
    marks: tuple[str, ...] = ()
    """What is not whole, sorted: see `parse.Mark`."""

    def over(self, other: Content) -> Content:
        """Return this content, completed by `other` where this one says nothing."""
        said = [own if own is not None else more for own, more in zip(_fields_of(self), _fields_of(other), strict=True)]
        said[_MARKS] = tuple(sorted({*self.marks, *other.marks}))
        return Content(*said)


_NAMES: Final = tuple(part.name for part in fields(Content))
_MARKS: Final = _NAMES.index("marks")
_fields_of: Final[Callable[[Content], tuple[Any, ...]]] = attrgetter(*_NAMES)

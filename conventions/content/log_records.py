"""Messages out of log records: what instrumentations of 2025 and the current `details` event log.

A record belongs to the span of its trace and span id; who holds both joins them: `content_of` reads one
record, `join` puts together those of one span, in the order they were logged.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from spanledger.conventions.content.parse import Reader
from spanledger.conventions.content.record import Content
from spanledger.conventions.content.span_events import CHOICE, DETAILS, MESSAGES, choice_from, details_of, message_from
from spanledger.conventions.values import Attributes, Value


def content_of(name: str, body: Value, attributes: Attributes) -> Content | None:
    """Return what one log record says about the call of its span; None when it is none about content.

    `name` is the record's event name, or its attribute `event.name` in emitters older than that field.
    """
    reader = Reader()
    if name == DETAILS:
        said = details_of({**body, **attributes} if isinstance(body, dict) else attributes, reader)
        return replace(said, marks=reader.marks)
    # Bodies are structured; where they are text, it is the content.
    fields = {**attributes, **body} if isinstance(body, dict) else {**attributes, "content": body}
    if name in MESSAGES:
        message = message_from(name, fields, reader)
        return Content(input_messages=[message], marks=reader.marks)
    if name == CHOICE:
        _, message, reason = choice_from(fields, 0, reader)
        return Content(output_messages=[message], finish_reasons=[reason] if reason else None, marks=reader.marks)
    return None


def join(records: Iterable[Content]) -> Content:
    """Put together what the records of one span say, in the order they were logged."""
    joined = Content()
    for said in records:
        joined = replace(
            said.over(joined),
            input_messages=[*(joined.input_messages or ()), *(said.input_messages or ())] or None,
            output_messages=[*(joined.output_messages or ()), *(said.output_messages or ())] or None,
            finish_reasons=[*(joined.finish_reasons or ()), *(said.finish_reasons or ())] or None,
        )
    return joined

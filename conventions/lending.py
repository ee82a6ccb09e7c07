"""Models of calls that name none, from the spans around them.

Codex's spans, and MLflow's of DSPy, have the tokens of a call in one place and its model in others. Children are sent
before their parents, and a turn in several requests; so the model of a trace's last call is remembered, within bounds.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Final

from spanledger.conventions import coerce
from spanledger.conventions.values import TooLarge, value_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from opentelemetry.proto.trace.v1.trace_pb2 import Span

MAX_TRACES: Final = 4_096
MAX_UP: Final = 16
"""Spans above a call that are asked."""


class Lending:
    """What the spans of dialects with `Dialect.lends` say of the calls below them. One owner."""

    def __init__(self) -> None:
        self._last: OrderedDict[bytes, str] = OrderedDict()

    def models(self, spans: Sequence[Span | None], lends: Mapping[str, str], wanting: Sequence[int]) -> dict[int, str]:
        """Return the models of the spans at the positions `wanting`; `lends` is span name -> the attribute to read."""
        parents: dict[bytes, bytes] = {}
        said: dict[bytes, str] = {}
        for span in spans:
            if span is None:
                continue
            key = span.trace_id + span.span_id
            parents[key] = span.trace_id + span.parent_span_id
            if (name := lends.get(span.name)) is not None and (model := _read(span, name)) is not None:
                said[key] = model
                self._note(span.trace_id, model)
        found: dict[int, str] = {}
        for at in wanting:
            span = spans[at]
            assert span is not None
            key = span.trace_id + span.span_id
            for _ in range(MAX_UP):
                key = parents.get(key, b"")
                if not key or key in said:
                    break
            model = said.get(key) or self._last.get(span.trace_id)
            if model is not None:
                found[at] = model
        return found

    def _note(self, trace_id: bytes, model: str) -> None:
        self._last[trace_id] = model
        self._last.move_to_end(trace_id)
        if len(self._last) > MAX_TRACES:
            self._last.popitem(last=False)


def _read(span: Span, key: str) -> str | None:
    for pair in span.attributes:
        if pair.key == key:
            try:
                return coerce.unquoted(value_of(pair.value, 1))
            except TooLarge:
                return None
    return None

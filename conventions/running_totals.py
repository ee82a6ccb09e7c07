"""The own tokens of calls that tell a running total.

Spring AI 1.x asks the model again, with the results of the tools, inside one request of the application, and each
answer has the tokens of all answers before it too (spring-projects/spring-ai#1800; 2.0 tells each its own, #6411).
Their spans lie beside each other. A history only grows, so a call has at least the input of the one before it: where
what is left is less, it was no total. The last call of each parent is remembered, within bounds.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

    from opentelemetry.proto.trace.v1.trace_pb2 import Span

    from spanledger.conventions.usage import Usage

MAX_PARENTS: Final = 4_096


@dataclass(frozen=True, slots=True)
class _Last:
    """The last call below a parent: what it told, and what of it is its own."""

    span_id: bytes
    start_ns: int
    input: int
    output: int
    own: Usage


class RunningTotals:
    """What calls of dialects with `Dialect.accumulates` told. One owner."""

    def __init__(self) -> None:
        self._last: OrderedDict[bytes, _Last] = OrderedDict()

    def own(self, calls: Sequence[tuple[Span, Usage]]) -> dict[int, Usage]:
        """Return the own tokens of the calls of a request that told a total, by position.

        They may be in any order: Java's SDK sorts what it sends by nothing.
        """
        found: dict[int, Usage] = {}
        for at in sorted(range(len(calls)), key=lambda at: calls[at][0].start_time_unix_nano):
            span, usage = calls[at]
            own = self._own(span, usage)
            if own is not usage:
                found[at] = own
        return found

    def _own(self, span: Span, usage: Usage) -> Usage:
        if usage.input is None or usage.output is None or not span.parent_span_id:
            return usage
        key = span.trace_id + span.parent_span_id
        last = self._last.pop(key, None)
        start_ns, own = span.start_time_unix_nano, usage
        if last is not None and last.span_id == span.span_id:  # it was sent again
            own = last.own
        elif last is not None and last.start_ns < start_ns and _goes_on(last, usage.input, usage.output):
            own = replace(usage, input=usage.input - last.input, output=usage.output - last.output)
        self._last[key] = _Last(span.span_id, start_ns, usage.input, usage.output, own)
        if len(self._last) > MAX_PARENTS:
            self._last.popitem(last=False)
        return own


def _goes_on(last: _Last, tokens_in: int, tokens_out: int) -> bool:
    return tokens_out > last.output and tokens_in - last.input >= (last.own.input or 0) > 0

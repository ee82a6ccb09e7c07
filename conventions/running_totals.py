"""The own tokens of calls that tell a running total.

Spring AI 1.x asks the model again, with the results of the tools, inside one request of the application, and each
answer has the tokens of all answers before it too (spring-projects/spring-ai#1800; 2.0 tells each its own, #6411).
Their spans lie beside each other, and so do those of an application that asks a model twice by itself. It is one loop
where the call before asked for a tool or one ran since, and had ended. A history only grows, so a call has at least
the input of the one before it: where what is left is less, it was no total. The last calls of each parent are
remembered, within bounds.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

    from opentelemetry.proto.trace.v1.trace_pb2 import Span

    from spanledger.conventions.usage import Usage

MAX_PARENTS: Final = 4_096
MAX_CALLS: Final = 8
"""Below a parent: the last that came, for what a client was told to send again comes once more."""


class Told(NamedTuple):
    """A call of a model, or a tool that ran."""

    span: Span
    usage: Usage | None
    """What it told; None for a tool."""
    asks: bool
    """It may have asked for a tool, as far as is known."""


@dataclass(frozen=True, slots=True)
class _Call:
    """A call below a parent: what it told, and what of it is its own."""

    span_id: bytes
    start_ns: int
    end_ns: int
    input: int
    output: int
    asks: bool
    own: Usage


class RunningTotals:
    """What calls of dialects with `Dialect.accumulates` told. One owner."""

    def __init__(self) -> None:
        self._calls: OrderedDict[bytes, tuple[_Call, ...]] = OrderedDict()
        """By parent, in order of time."""

    def own(self, told: Sequence[Told]) -> dict[int, Usage]:
        """Return the own tokens of the calls of a request that told a total, by position.

        They may be in any order: Java's SDK sorts what it sends by nothing.
        """
        found: dict[int, Usage] = {}
        for at in sorted(range(len(told)), key=lambda at: told[at].span.start_time_unix_nano):
            span, usage, asks = told[at]
            if not span.parent_span_id:
                continue
            if usage is None:
                self._ran(span)
            elif (own := self._own(span, usage, asks=asks)) != usage:
                found[at] = own
        return found

    def _own(self, span: Span, usage: Usage, *, asks: bool) -> Usage:
        if usage.input is None or usage.output is None:
            return usage
        key, start_ns = _key(span), span.start_time_unix_nano
        calls = self._calls.pop(key, ())
        own = next((call.own for call in calls if call.span_id == span.span_id), None)
        if own is None:  # it was not sent before
            own = usage
            last = next((call for call in reversed(calls) if call.start_ns < start_ns), None)
            if last is not None and last.asks and last.end_ns <= start_ns and _goes_on(last, usage.input, usage.output):
                own = replace(usage, input=usage.input - last.input, output=usage.output - last.output)
            call = _Call(span.span_id, start_ns, span.end_time_unix_nano, usage.input, usage.output, asks, own)
            calls = tuple(sorted((*calls, call), key=lambda call: call.start_ns))[-MAX_CALLS:]
        self._calls[key] = calls
        if len(self._calls) > MAX_PARENTS:
            self._calls.popitem(last=False)
        return own

    def _ran(self, tool: Span) -> None:
        """Note that a tool ran after the last call of its parent: not every model says that it asked for one."""
        calls = self._calls.get(_key(tool), ())
        if calls and calls[-1].start_ns < tool.start_time_unix_nano:
            self._calls[_key(tool)] = (*calls[:-1], replace(calls[-1], asks=True))


def _key(span: Span) -> bytes:
    return span.trace_id + span.parent_span_id


def _goes_on(last: _Call, tokens_in: int, tokens_out: int) -> bool:
    return tokens_out > last.output and tokens_in - last.input >= (last.own.input or 0) > 0

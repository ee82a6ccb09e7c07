"""Work that is told twice, as a span and as a log record, on its way into the metrics.

A model call is decided by `genai_pricing`: the second report of it is a twin, or says more than the first and
supersedes it. A counter that was read cannot be taken back, so the first report waits until the metrics are read:
until then it can be replaced. After that only what the second one says beyond it is added.

A tool call has no price and so no decision. Each kind of report tells each call once, so there were as many calls
as the kind with the most reports told.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

    from spanledger.conventions.step import Step

MAX_WAITING: Final = 4_096
"""Calls that wait for a richer report. The first ones are counted to make room."""
MAX_SHOWN: Final = 8_192
"""Calls that were counted and may still be superseded."""
MAX_TOOLS: Final = 8_192

_SPAN: Final = "span"


class Waiting:
    """Calls that were told once and may be told again. One owner."""

    def __init__(self) -> None:
        self._waiting: OrderedDict[bytes, Step] = OrderedDict()
        self._shown: OrderedDict[bytes, Step] = OrderedDict()

    def __len__(self) -> int:
        return len(self._waiting)

    def hold(self, step: Step) -> Step | None:
        """Let a call wait; return one that has to be counted to make room."""
        self._waiting[step.trace_id + step.span_id] = step
        return self._show(*self._waiting.popitem(last=False)) if len(self._waiting) > MAX_WAITING else None

    def replaced(self, step: Step) -> Step | None:
        """Return the call that `step` supersedes if it still waits; it does no more."""
        return self._waiting.pop(step.supersedes, None)

    def shown(self, step: Step) -> Step | None:
        """Return the call that `step` supersedes if it was counted; `step` is what was counted from now on."""
        before = self._shown.pop(step.supersedes, None)
        self._show(step.trace_id + step.span_id, step)
        return before

    def release(self) -> Iterator[Step]:
        """Yield all that waits, to be counted: somebody is about to look."""
        while self._waiting:
            yield self._show(*self._waiting.popitem(last=False))

    def _show(self, key: bytes, step: Step) -> Step:
        self._shown[key] = step
        if len(self._shown) > MAX_SHOWN:
            self._shown.popitem(last=False)
        return step


@dataclass(slots=True)
class _Told:
    reports: Counter[str] = field(default_factory=Counter)
    """By kind of report."""
    nameless: set[str] = field(default_factory=set)
    """Kinds of reports that do not say the id of the call."""


class RetoldTools:
    """Tells which reports of tools are of calls that no other kind of report told before. One owner."""

    def __init__(self) -> None:
        self._told: OrderedDict[tuple[str, ...], _Told] = OrderedDict()

    def is_new(self, step: Step) -> bool:
        """Tell whether a tool call was not told before."""
        source = step.report or _SPAN
        who = (step.dialect, step.service_name, step.conversation_id)
        named = self._of(*who, "name", step.tool_name)
        if not step.tool_call_id:
            named.nameless.add(source)
        if step.tool_call_id:
            new = _grows(self._of(*who, "id", step.tool_call_id).reports, source)
            if not new or not named.nameless - {source}:
                named.reports[source] += 1
                return new
        return _grows(named.reports, source)

    def _of(self, *key: str) -> _Told:
        told = self._told.get(key)
        if told is None:
            told = self._told[key] = _Told()
            if len(self._told) > MAX_TOOLS:
                self._told.popitem(last=False)
        else:
            self._told.move_to_end(key)
        return told


def _grows(reports: Counter[str], source: str) -> bool:
    """Add a report; tell whether no other kind of report told as many."""
    reports[source] += 1
    return all(reports[source] > told for other, told in reports.items() if other != source)

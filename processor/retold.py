"""Tool calls that are told twice, as a span and as a log record.

A tool call has no price and so the ledger does not know it. Each kind of report tells each call once, so there were
as many calls as the kind with the most reports told.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from spanledger.conventions.step import Step

MAX_TOOLS: Final = 8_192

_SPAN: Final = "span"


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
        # Records may come by another way than spans, and under another service's name: a session has an id of its own.
        who = (step.dialect, step.conversation_id, "" if step.conversation_id else step.service_name)
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

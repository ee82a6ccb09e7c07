"""Keeps the reports of calls, linked into their trees as spans come in, for as long as more of them may come.

`spanledger.conventions.ledger` says what each report is; this knows which reports there are. Memory is bounded by
spans and age, trace by trace: what is forgotten can only make a report count that came minutes after its twin.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Final

from spanledger.conventions.ledger import Report
from spanledger.conventions.same_call import MAX_APART_NS, are_one, names_of, teller_of, twins

if TYPE_CHECKING:
    from spanledger.conventions.call import Place
    from spanledger.conventions.same_call import Name

MAX_SPANS: Final = 32_768
MAX_TRACE_SPANS: Final = 8_192
"""A trace with more is forgotten and begins anew."""
MAX_AGE_S: Final = 600.0
_MAX_ALIKE: Final = 32
"""Calls of one response id, or of equal tokens, that are compared with a new one: the last."""


@dataclass(slots=True)
class _Trace:
    """What is known of one trace."""

    touched_s: float
    reports: dict[bytes, Report] = field(default_factory=dict)
    """By span id; those that only join others among them."""
    missing: dict[Report, None] = field(default_factory=dict)
    """Spans that are known from their children only: still to come, or lost."""
    sums: list[Report] = field(default_factory=list)
    """Those that tell of several calls."""


class Accounts:
    """The memory of what was reported. One owner; time comes with each call."""

    def __init__(self, max_spans: int = MAX_SPANS, max_age_s: float = MAX_AGE_S) -> None:
        self._max_spans = max_spans
        self._max_age_s = max_age_s
        self._traces: OrderedDict[bytes, _Trace] = OrderedDict()
        self._plain: OrderedDict[bytes, dict[bytes, Place]] = OrderedDict()
        """Spans of traces that no call is known of."""
        self._spans = 0
        self._plain_spans = 0
        self._alike: dict[Name, dict[str, list[Report]]] = {}
        """Calls by what twins have in common, and by their instrumentation."""
        self._changed: dict[Report, None] = {}
        self._sums: dict[Report, None] = {}
        self._full: list[bytes] = []

    def statistics(self) -> dict[str, int]:
        """Return the sizes of the memory."""
        return {"spans": self._spans + self._plain_spans, "traces": len(self._traces), "calls": len(self._alike)}

    def add(self, place: Place, now_s: float) -> tuple[Report, bool] | None:
        """Take a span. Return its report, and whether it says anything new; None while its trace has no call."""
        trace = self._traces.get(place.trace_id)
        if trace is None:
            if place.call is None:
                self._keep_plain(place)
                return None
            trace = self._traces[place.trace_id] = _Trace(now_s)
            for plain in self._plain.pop(place.trace_id, {}).values():
                self._plain_spans -= 1
                self._link(trace, plain)
        if trace.touched_s != now_s:
            trace.touched_s = now_s
            self._traces.move_to_end(place.trace_id)
        found = self._link(trace, place)
        if len(trace.reports) == MAX_TRACE_SPANS:
            self._full.append(place.trace_id)
        return found

    def of(self, place: Place) -> Report | None:
        """Return the report of a span; None where none is kept."""
        trace = self._traces.get(place.trace_id)
        if trace is None:
            return None
        report = trace.reports.get(place.span_id)
        if report is not None and report.place is not None and report.place.start_ns != place.start_ns:
            return trace.reports.get(place.span_id + place.start_ns.to_bytes(8, "big"))
        return report

    def twins(self, report: Report) -> list[Report]:
        """Return the other reports of a call that stands."""
        place = report.place
        return [
            one
            for name, others in self._namesakes(report)
            for one in others
            if one.twin_of is report and one.place is not None and place is not None and are_one(name, one.place, place)
        ]

    def changed(self) -> list[Report]:
        """Return the calls whose verdict may be another one than when this was asked last, in the order they came."""
        affected: dict[Report, None] = {}
        compared: set[Report] = set()  # not all that are affected were: some are twins of those that were
        while self._changed:
            report, _ = self._changed.popitem()
            affected[report] = None
            compared.add(report)
            for echo in report.finding.echoes:
                if echo not in compared:
                    self._changed[echo] = None
            self._compare(report, affected)
        return [*reversed(affected)]  # the last one was looked at first

    def sums(self) -> list[Report]:
        """Return the sums of calls that may be other ones than when this was asked last."""
        sums, self._sums = list(self._sums), {}
        return sums

    def outgrown(self, now_s: float) -> Iterator[bytes]:
        """Yield each trace that is about to be forgotten."""
        while self._full:
            trace_id = self._full.pop()
            yield trace_id
            self._forget(trace_id)
        while self._traces:
            trace_id, trace = next(iter(self._traces.items()))
            if self._spans <= self._max_spans and now_s - trace.touched_s <= self._max_age_s:
                return
            yield trace_id
            self._forget(trace_id)

    # -- the tree --

    def _link(self, trace: _Trace, place: Place) -> tuple[Report, bool]:
        key = place.span_id
        report = trace.reports.get(key)
        if report is not None and report.place is not None and report.place.start_ns != place.start_ns:
            key += place.start_ns.to_bytes(8, "big")  # the id was used again, by another span
            report = trace.reports.get(key)
        if report is None:
            report = trace.reports[key] = Report(place)
            self._spans += 1
        elif report.place is None:
            report.say(place)
            del trace.missing[report]
            self._move(report, None)
        else:
            if not _says_more(place, report.place):
                return report, False
            is_sum = place.call is not None and not place.call.inference and report.call is None
            report.say(place)  # it was announced before, or told with less
            self._touch(report)
            if is_sum:
                self._add_sum(trace, report)
            return report, True
        if place.parent_id and place.parent_id != place.span_id:
            above = trace.reports.get(place.parent_id)
            if above is None:
                above = trace.reports[place.parent_id] = Report()
                trace.missing[above] = None
                self._spans += 1
            self._hang(trace, report, above)
        self._touch(report)
        if place.call is not None and not place.call.inference:
            self._add_sum(trace, report)
        return report, True

    def _hang(self, trace: _Trace, report: Report, above: Report) -> None:
        circle = above.path_up_to(report) if report.children else []
        if circle and circle[-1] is not report:  # too deep to know
            return
        moved = [one for one in circle if one in trace.missing and one.parent is not None]
        for one in moved:  # it was thought to lie below what is below it
            self._move(one, None)
        if circle and not moved:  # ids that contradict each other: cut above the earliest, as in a run
            first = min(circle, key=_beginning)
            if first is report:
                return
            self._move(first, None)
        report.hang(above)
        if trace.sums:
            if above in trace.missing:
                self._extend_missing(trace, above, report)
            for one in moved:
                self._place_missing(one, trace.sums[-_MAX_ALIKE:])

    # -- spans that are missing: what is below one goes below the shortest sum around it, as in a run. Children are sent
    # before their parents, so what has not come when a sum has is likely lost; if it comes yet, it goes to its place.

    def _add_sum(self, trace: _Trace, report: Report) -> None:
        trace.sums.append(report)
        for missing in list(islice(reversed(trace.missing), _MAX_ALIKE)):
            self._place_missing(missing, [report])

    def _extend_missing(self, trace: _Trace, missing: Report, child: Report) -> None:
        """Look again around a missing span that has one more child. One that was in nothing still is."""
        if missing.parent is None and len(missing.children) > 1:
            return
        if missing.parent is None or not _lies_in(child, missing.parent):
            self._move(missing, None)
            self._place_missing(missing, trace.sums[-_MAX_ALIKE:])

    def _place_missing(self, missing: Report, sums: Sequence[Report]) -> None:
        around = missing.parent
        for report in sums:
            if around is not None and _length(around) < _length(report):
                continue
            if all(_lies_in(child, report) for child in missing.children):
                around = report if all(one is not missing for one in report.above()) else around
        if around is not missing.parent:
            self._move(missing, around)

    def _move(self, report: Report, parent: Report | None) -> None:
        if report.parent is not None:
            # What they lie in is another now, which they may have repeated.
            self._changed |= {one: None for one in report.finding.told.reports if one.call and one.call.inference}
            self._touch(report.parent)
            report.leave()
        if parent is not None:
            report.hang(parent)
            self._touch(parent)

    def _touch(self, report: Report) -> None:
        for touched in report.touch():
            call = touched.call
            if call is not None and call.inference:
                self._changed[touched] = None
            else:
                self._sums[touched] = None

    # -- twins --

    def _compare(self, report: Report, affected: dict[Report, None]) -> None:
        """Find out anew which of the reports like this one are twins."""
        alike: dict[Report, None] = {}
        if report.names:
            # Those that were like it before it said more: they may be no longer.
            alike.update(dict.fromkeys(self._neighbours(report, report.listed)))
            self._unlist(report)
        if report.standing:
            self._list(report)
            alike.update(dict.fromkeys(self._neighbours(report, report.place)))
        report.twin_of = None
        if not alike:
            return
        alike[report] = None
        waiting = list(alike)
        while waiting:
            one = waiting.pop()
            for other in self._neighbours(one, one.place):
                if other not in alike:
                    alike[other] = None
                    waiting.append(other)
        places = {one.place: one for one in alike if one.names and one.place is not None}
        found = twins(places)
        for place, one in places.items():
            better = found.get(place)
            twin_of = None if better is None else places[better]
            if one.twin_of is not twin_of:
                one.twin_of = twin_of
                affected[one] = None

    def _neighbours(self, report: Report, place: Place | None) -> list[Report]:
        """Return the calls that may be told by this report, too, when it says what `place` does."""
        if place is None:
            return []
        first, last = sorted((place.start_ns, place.end_ns))
        earliest, latest = first - MAX_APART_NS, last + MAX_APART_NS
        found: list[Report] = []
        for name, others in self._namesakes(report):
            by_tokens = name[0] == "tokens"
            for one in others:
                other = one.place
                if other is None or one is report:
                    continue
                # Of equal tokens nearly all are of another moment, and those `are_one` never finds to be one.
                if by_tokens and (
                    (other.end_ns < earliest and other.start_ns < earliest)
                    or (other.start_ns > latest and other.end_ns > latest)
                ):
                    continue
                if are_one(name, other, place):
                    found.append(one)
        return found

    def _namesakes(self, report: Report) -> Iterator[tuple[Name, list[Report]]]:
        """Yield each name of a call with those who may tell of it again under that name; it may be among them."""
        for name, own in report.names.items():
            tellers = self._alike[name]
            if len(tellers) == 1 and (own or len(tellers[own]) == 1):
                continue
            for teller, others in tellers.items():
                if teller != own or not own:
                    yield name, others

    def _list(self, report: Report) -> None:
        call, place = report.call, report.place
        assert call is not None
        assert place is not None
        # Kept, for it may say more of itself before it is taken out again.
        report.names = {name: teller_of(name, call) for name in names_of(place)}
        report.listed = report.place
        for name, teller in report.names.items():
            alike = self._alike.setdefault(name, {}).setdefault(teller, [])
            alike.append(report)
            if len(alike) > _MAX_ALIKE:
                # By its other names it can be found yet: many calls of a trace tell nothing, each of them has its id.
                oldest = alike.pop(0)
                oldest.names = {other: own for other, own in oldest.names.items() if other != name}

    def _unlist(self, report: Report) -> None:
        for name, teller in report.names.items():
            tellers = self._alike[name]
            alike = tellers[teller]
            alike.remove(report)
            if not alike:
                del tellers[teller]
                if not tellers:
                    del self._alike[name]
        report.names = {}
        report.listed = None

    # -- memory --

    def _keep_plain(self, place: Place) -> None:
        spans = self._plain.setdefault(place.trace_id, {})
        self._plain_spans += place.span_id not in spans
        spans[place.span_id] = place
        while self._plain_spans > self._max_spans:
            _, gone = self._plain.popitem(last=False)
            self._plain_spans -= len(gone)

    def _forget(self, trace_id: bytes) -> None:
        trace = self._traces.pop(trace_id, None)
        if trace is None:
            return
        self._spans -= len(trace.reports)
        for report in trace.reports.values():
            if report.call is not None:
                self._unlist(report)
                self._changed.pop(report, None)
                self._sums.pop(report, None)
            # A tree refers to itself, up and down and in what was found: let go of it now, not at the next collection.
            report.parent = report.twin_of = report.found = None
            report.children = ()


def _length(report: Report) -> tuple[int, int, bytes]:
    place = report.place
    return (place.end_ns - place.start_ns, place.start_ns, place.span_id) if place is not None else (0, 0, b"")


def _beginning(report: Report) -> tuple[int, int, bytes]:
    place = report.place
    return (place.start_ns, max(place.start_ns, place.end_ns), place.span_id) if place is not None else (0, 0, b"")


def _lies_in(report: Report, around: Report) -> bool:
    inner, outer = report.place, around.place
    if inner is None or outer is None:
        return False
    return 0 < outer.start_ns <= inner.start_ns <= inner.end_ns <= outer.end_ns


def _says_more(place: Place, known: Place) -> bool:
    return _fullness(place) > _fullness(known)


def _fullness(place: Place) -> tuple[bool, bool, bool, int, int]:
    call = place.call
    if call is None:
        return False, False, False, 0, place.end_ns
    return True, call.tells_tokens, call.pico_usd is not None, call.detail, place.end_ns

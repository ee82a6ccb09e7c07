"""Which of the reports that speak of the same model calls are bills: each billed call counts once.

Frameworks, SDKs and agents all report a call. What a report is follows from the call it tells of and from what
the spans below it tell, and from nothing else: not from the order in which they came, nor from the clock. So
whoever learns of one more span asks again, and gets what he would have got had it come first.

For a model call (`Call.inference`), by what is below it:

* nothing: it counts;
* calls whose numbers it repeats, as their sum or as the last of them: it wraps them;
* the same, and none of them has a price while this has: it has their price;
* calls that tell no tokens: it has their tokens, they are the calls. One of its own response is an echo of it;
* attempts that failed where it did not, without tokens or with another response that was refused: it stands for an
  attempt of its own;
* the same, but for what decides the price, of which it knows more: it is the call, unless two of one instrumentation
  are the same;
* the other half of its numbers: it has this one, that the other, and they are one call; a half of what it has whole is
  an echo of it;
* other numbers: it counts, too (an agent as a tool, sampling through MCP);
* the same, answered without a model, as by a gateway from its cache: nobody is billed for it either.

For a sum of calls (on an agent, a workflow, a tool):

* nothing below tells tokens: it is the only copy;
* else it wraps. What it tells beyond that is `Excess`: calls that nobody saw.

And where two reports are of one call though none lies below the other, the better one counts (`same_call.twins`).
An echo repeats the call of the span around it, which knows more.

`Report`s are linked by whoever keeps them: `processor.accounts` as spans come in, `conventions.trajectory` where
the whole tree is there.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

from spanledger.conventions.record import record
from spanledger.conventions.same_call import (
    begins,
    complements,
    is_half,
    is_refused,
    knows_more,
    leaves_to,
    near,
    repeats_half,
    same_call,
    same_model,
    same_numbers,
    twins,
)

if TYPE_CHECKING:
    from spanledger.conventions.call import Call, Place
    from spanledger.conventions.same_call import Name

Verdict = Literal["counts", "tells", "only_copy", "prices", "wraps", "twin", "in_parent", "none"]
"""`in_parent` is never found, only told to a span that leaves: one above it has left before with its cost."""

TOKENS: Final = frozenset({"counts", "tells", "only_copy"})
"""Whose tokens are billed. Only `counts` is a call besides."""
MONEY: Final = TOKENS | {"prices"}
"""Whose price is billed."""

_MAX_LISTED: Final = 64
"""Reports below a span that are looked at one by one; of more only the sums are."""
_MAX_UP: Final = 512
_MAX_DEPTH: Final = 4_096
"""Spans above one that are searched for a circle; what would lie deeper is put at the top."""
_NEAR: Final = 100
"""What a sum tells beyond the calls below it by less than one part in this many is another way of counting."""


@record(frozen=True, slots=True)
class Excess:
    """Tokens of a sum that no call below it has, and what they cost at the price of those calls."""

    input: int
    output: int
    pico_usd: int | None


class Told(NamedTuple):
    """What a span and all below it tell, each call once but for twins."""

    calls: int = 0
    failures: int = 0
    """Calls among them that failed."""
    telling: int = 0
    """Reports among them that tell tokens."""
    priced: int = 0
    split: int = 0
    """Priced ones whose price is known by input and output."""
    input: int = 0
    output: int = 0
    pico_usd: int = 0
    pico_input: int = 0
    pico_output: int = 0
    reports: tuple[Report, ...] = ()
    """Those that are behind the sums, up to `_MAX_LISTED` of them."""
    more: bool = False
    """There are more than are listed."""

    @staticmethod
    def together(parts: Sequence[Told]) -> Told:
        """Return the sum of what several tell."""
        if len(parts) < 2:
            return parts[0] if parts else _NOTHING
        calls = failures = telling = priced = split = tokens_in = tokens_out = usd = usd_in = usd_out = 0
        reports: list[Report] = []
        more = False
        for part in parts:
            calls += part.calls
            failures += part.failures
            telling += part.telling
            priced += part.priced
            split += part.split
            tokens_in += part.input
            tokens_out += part.output
            usd += part.pico_usd
            usd_in += part.pico_input
            usd_out += part.pico_output
            more = more or part.more
            if not more:
                reports += part.reports
        if more or len(reports) > _MAX_LISTED:
            reports, more = [], True
        return Told(
            calls, failures, telling, priced, split, tokens_in, tokens_out, usd, usd_in, usd_out, tuple(reports), more
        )


_NOTHING: Final = Told()


class Bill(NamedTuple):
    """What is counted of a report."""

    call: bool = False
    tokens: bool = False
    money: bool = False
    excess: Excess | None = None


NO_BILL: Final = Bill()


class Finding(NamedTuple):
    """What one report is, as far as its tree tells."""

    verdict: Verdict
    told: Told
    """What it and all below it tell."""
    below: Told = _NOTHING
    """What the spans below it tell."""
    excess: Excess | None = None
    """What it tells beyond the calls below it."""
    less: bool = False
    """It is a sum that tells less than the calls below it."""
    echoes: tuple[Report, ...] = ()
    """The reports below that may repeat this call."""
    several: bool = False
    """It knows more of a call below it, but two that are alike are there: of which of them, nobody can tell."""


_NO_CALL: Final = Finding("none", _NOTHING)


class Report:
    """A span in the tree of its calls. Owned by one keeper, who links it."""

    __slots__ = ("call", "children", "found", "kept", "listed", "names", "parent", "place", "twin_of")

    def __init__(self, place: Place | None = None) -> None:
        self.place = place
        """None for a span that is known from its children only."""
        self.call = place.call if place is not None else None
        self.parent: Report | None = None
        self.children: list[Report] | tuple[()] = ()
        self.found: Finding | None = None
        """None until somebody looks."""
        self.twin_of: Report | None = None
        """The call that this one is another report of; set by the keeper, who knows of all."""
        self.names: Mapping[Name, str] = {}
        """By which the keeper finds its twins, each with who told of it when it was put there."""
        self.listed: Place | None = None
        """What the span said of itself when it was put there."""
        self.kept: object = None
        """Whatever the keeper remembers of it."""

    def say(self, place: Place) -> None:
        """Note what the span itself says, now that it is known."""
        self.place = place
        self.call = place.call

    @property
    def finding(self) -> Finding:
        """Return what it is, by itself and by what is below it."""
        return self.found or _find(self)

    @property
    def standing(self) -> bool:
        """Tell whether it stands for a call, as far as its tree knows: its twins may lie elsewhere."""
        call = self.call
        return call is not None and call.inference and self.finding.verdict in TOKENS and not self._repeats(call)

    @property
    def verdict(self) -> Verdict:
        """Return what it is."""
        verdict, call = self.finding.verdict, self.call
        if call is None or verdict not in TOKENS or not call.inference:
            return verdict
        if self.twin_of is None:
            return "twin" if self._repeats(call) else verdict
        other = self.twin_of.call
        return "tells" if other is not None and complements(call, other) else "twin"

    @property
    def bill(self) -> Bill:
        """Return what is counted of it."""
        verdict = self.verdict
        if verdict == "none" and self.finding.excess is None:
            return NO_BILL
        return Bill(verdict == "counts", verdict in TOKENS, verdict in MONEY, self.finding.excess)

    def above(self) -> Iterator[Report]:
        """Yield the spans above, the nearest first."""
        report = self.parent
        for _ in range(_MAX_UP):
            if report is None:
                return
            yield report
            report = report.parent

    def path_up_to(self, top: Report) -> list[Report]:
        """Return this and the spans above it, up to one of them; [] where that is none of them.

        Where there are more than `_MAX_DEPTH`, those: nobody knows, and a circle that is not seen is followed for ever.
        """
        path: list[Report] = []
        report: Report | None = self
        while report is not None and len(path) < _MAX_DEPTH:
            path.append(report)
            if report is top:
                return path
            report = report.parent
        return path if report is not None else []

    def hang(self, parent: Report) -> None:
        """Put it below another, unless that may make a circle. `touch` it if somebody has looked before."""
        if parent is self or (self.children and parent.path_up_to(self)):
            return
        self.parent = parent
        if isinstance(parent.children, list):
            parent.children.append(self)
        else:
            parent.children = [self]  # most spans have none: not worth a list each

    def leave(self) -> None:
        """Take it from below its parent. `touch` that one if somebody has looked before."""
        if self.parent is not None and isinstance(self.parent.children, list):
            self.parent.children.remove(self)
        self.parent = None

    def touch(self) -> list[Report]:
        """Forget what was found of it and of all above it; return those that tell of calls and were looked at."""
        touched = []
        report: Report | None = self
        while report is not None and (report.found is not None or report is self):
            report.found = None
            if report.call is not None:
                touched.append(report)
            report = report.parent
        return touched

    def _repeats(self, call: Call) -> bool:
        """Tell whether the nearest call around it is the one that it echoes, or any says the same, and more."""
        if not call.echo:
            # Hardly any does: what is found of those above is asked last, for it may have to be found yet.
            return any(
                around.inference and _stands_for(around, call) and _stands_for(around, call, above.finding.several)
                for above in self.above()
                if (around := above.call) is not None
            )
        around = next((above for one in self.above() if (above := one.call) is not None and above.inference), None)
        return around is not None and same_call(around, call)


def _find(report: Report) -> Finding:
    """Look at a report and all below it, children first and without recursion: trees may be deep."""
    if not report.children:
        report.found = found = _judge(report)
        return found
    waiting = [report]
    while waiting:
        top = waiting[-1]
        unknown = [child for child in top.children if child.found is None]
        if unknown:
            waiting += unknown
            continue
        waiting.pop()
        if top.found is None:
            top.found = _judge(top)
    assert report.found is not None
    return report.found


def _judge(report: Report) -> Finding:
    """Find out what one report is, from what its children tell."""
    below = _NOTHING
    if report.children:
        tells = [child.found.told for child in report.children if child.found is not None]
        below = Told.together([told for told in tells if told is not _NOTHING])
    call = report.call
    if call is None:
        return _NO_CALL if below is _NOTHING else Finding("none", below, below)
    if call.inference:
        return _judge_call(report, call, below)
    if call.unbilled:
        return Finding("none", _with_free(report, below), below)
    free = _unbilled(below)
    if not below.telling and free is _NOTHING:
        return Finding("only_copy", _with(report, call, below), below)
    excess, less = _excess(call, once(below), free)
    told = below
    if excess is not None:
        told = Told.together([told, Told(input=excess.input, output=excess.output)])
    if call.pico_usd is None or below.priced or free is not _NOTHING:
        return Finding("wraps", told, below, excess, less)
    return Finding("prices", Told.together([told, _price(call)]), below, excess, less)


def _judge_call(report: Report, call: Call, below: Told) -> Finding:
    if below is _NOTHING and not call.unbilled:
        return Finding("counts", _with(report, call, below, is_call=True), below)
    echoes = tuple([
        one
        for one in below.reports
        if (inner := one.call) is not None
        and (inner.echo or not (inner.input and inner.output) or call.knows & ~inner.knows)
    ])  # fmt: skip
    scopes = [one.call.scope for one in echoes if one.call is not None and knows_more(call, one.call)]
    several = len(set(scopes)) < len(scopes)
    if any(_echoes(one, call, several) for one in echoes):
        below = _without_echoes(call, below, several)
    if call.unbilled:
        return Finding("none", _with_free(report, below), below, echoes=echoes)
    verdict = _of_call(call, below)
    told = below
    if verdict in TOKENS:
        told = _with(report, call, below, is_call=verdict == "counts")
    elif verdict == "prices":
        told = Told.together([below, _price(call)])
    return Finding(verdict, told, below, echoes=echoes, several=several)


def _with_free(report: Report, below: Told) -> Told:
    """Return what is told below, and a report that nobody is billed for."""
    return Told.together([below, Told(reports=(report,))])


def _unbilled(below: Told) -> Told:
    """Return the tokens below a span that nobody is billed for."""
    free = [one.call for one in below.reports if one.call is not None and one.call.unbilled]
    return Told(input=sum(one.input for one in free), output=sum(one.output for one in free)) if free else _NOTHING


def _of_call(call: Call, below: Told) -> Verdict:
    calls = [one.call for one in below.reports if one.call is not None]
    if any(one.unbilled and same_call(call, one) for one in calls):
        return "wraps"
    if not below.calls and not below.telling:
        return "counts"
    refused = sum(one.tells_tokens and is_refused(one, call) for one in calls)
    if (call.tells_tokens or refused) and _all_failed_before(call, below):
        return "counts"
    if not call.tells_tokens:
        return "wraps"
    if below.telling == refused:
        return "tells"
    if not _explained(call, below):
        return "counts"
    return "prices" if call.pico_usd is not None and not below.priced else "wraps"


def _all_failed_before(call: Call, below: Told) -> bool:
    """Tell whether all calls below one are attempts that failed, and it did not."""
    if call.failed or below.more:
        return not call.failed and below.failures == below.calls
    calls = [one.call for one in below.reports if one.call is not None and not one.call.unbilled]
    return all(is_refused(one, call) if one.tells_tokens else one.failed for one in calls)


def _with(report: Report, call: Call, below: Told, *, is_call: bool = False) -> Told:
    """Return what is told below, and a report besides."""
    price = call.pico_usd
    split = price is not None and call.pico_input is not None and call.pico_output is not None
    own = Told(
        int(is_call),
        int(is_call and call.failed and not call.tells_tokens),
        int(call.tells_tokens),
        int(price is not None),
        int(split),
        call.input,
        call.output,
        price or 0,
        (call.pico_input or 0) if split else 0,
        (call.pico_output or 0) if split else 0,
        (report,),
    )
    return own if below is _NOTHING else Told.together([below, own])


def _price(call: Call) -> Told:
    split = call.pico_input is not None and call.pico_output is not None
    return Told(
        priced=1, split=int(split), pico_usd=call.pico_usd or 0,
        pico_input=call.pico_input or 0, pico_output=call.pico_output or 0,
    )  # fmt: skip


def _without_echoes(call: Call, below: Told, several: bool) -> Told:
    """Leave out those that repeat this very call."""
    kept = [one for one in below.reports if not _echoes(one, call, several)]
    own = [
        _with(one, one.call, _NOTHING, is_call=one.finding.verdict == "counts")
        for one in kept
        if one.call is not None and not one.call.unbilled
    ]
    free = [one for one in kept if one.call is not None and one.call.unbilled]
    return Told.together([*own, Told(reports=tuple(free))])


def _echoes(report: Report, around: Call, several: bool) -> bool:
    call = report.call
    if call is None:
        return False
    return same_call(around, call) if call.echo else _stands_for(around, call, several)


def _stands_for(around: Call, inner: Call, several: bool = False) -> bool:
    return leaves_to(around, inner) or repeats_half(around, inner) or (not several and knows_more(around, inner))


def _explained(call: Call, below: Told) -> bool:
    """Tell whether the calls below a span are what it reports: their sum, or the last of them."""
    calls = [one.call for one in below.reports if one.call is not None and not is_refused(one.call, call)]
    if is_half(call) and any(complements(call, one) for one in calls):
        return False
    if call.response_id and any(one.response_id == call.response_id for one in calls):
        return True
    # Whatever a router called the model: no two answers below one another have the same numbers by chance.
    if call.input and call.output and any((one.input, one.output) == (call.input, call.output) for one in calls):
        return True
    related = [one for one in calls if same_model(call, one)]
    if any(same_numbers(call, one) or begins(call, one) for one in related):
        return True
    if not related and not below.more:
        return False
    return any(near(call.input, sums.input) and near(call.output, sums.output) for sums in (below, once(below)))


def once(below: Told) -> Told:
    """Return what is told without the twins among the reports."""
    calls = [one.call for one in below.reports if one.call is not None]
    ids = [call.response_id for call in calls if call.response_id]
    if len(calls) < 2 or (len({call.scope for call in calls}) < 2 and len(set(ids)) == len(ids)):
        return below
    places = {
        one.place: one
        for one in below.reports
        if one.place is not None and one.place.call is not None and not one.place.call.unbilled
    }
    doubled = twins([place for place in places if place.call is not None and place.call.inference])
    if not doubled:
        return below
    again = [
        Told(calls=1)
        if better.call is not None and complements(one.call, better.call)
        else _with(places[one], one.call, _NOTHING, is_call=True)
        for one, better in doubled.items()
        if one.call is not None
    ]
    more = Told.together(again)
    return Told(
        below.calls - more.calls,
        below.failures - more.failures,
        below.telling - more.telling,
        below.priced - more.priced,
        below.split - more.split,
        below.input - more.input,
        below.output - more.output,
        below.pico_usd - more.pico_usd,
        below.pico_input - more.pico_input,
        below.pico_output - more.pico_output,
    )


def _excess(call: Call, under: Told, free: Told) -> tuple[Excess | None, bool]:
    """Return what a sum tells beyond what is below it, billed or not, and whether it tells less."""
    tokens_in, tokens_out = call.input - under.input - free.input, call.output - under.output - free.output
    if free.input + free.output and tokens_in <= 0 and tokens_out <= 0:
        return None, tokens_in + free.input < 0 or tokens_out + free.output < 0  # some leave them out, and some do not
    least_in, least_out = under.input // _NEAR, under.output // _NEAR
    if tokens_in < -least_in or tokens_out < -least_out:
        cached = sum(one.call.cached for one in under.reports if one.call is not None)
        return None, not (near(call.input, under.input - cached) and near(call.output, under.output))
    if tokens_in <= least_in and tokens_out <= least_out:
        return None, False
    hidden_in, hidden_out = max(0, tokens_in), max(0, tokens_out)
    return Excess(hidden_in, hidden_out, _like(hidden_in, hidden_out, under)), False


def _like(hidden_in: int, hidden_out: int, seen: Told) -> int | None:
    """Return what hidden tokens cost at the average price of those that were seen."""
    tokens = seen.input + seen.output
    if not seen.priced or not tokens:
        return None
    if seen.split != seen.priced:
        return seen.pico_usd * (hidden_in + hidden_out) // tokens
    cost_in = seen.pico_input * hidden_in // seen.input if seen.input else 0
    return cost_in + (seen.pico_output * hidden_out // seen.output if seen.output else 0)

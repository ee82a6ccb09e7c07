"""Which reports are of one call, though none lies below the other: told by two instrumentations, or told twice.

Two reports may be one when they have a name in common (`names_of`) and what that name stands for agrees:

* `response`: the id of the response, at the same time or with the same tokens. Of two models that have nothing in
  common in their names (a router's, and whose it was) both has to be so;
* `request`, `log`: its dialect tells a call as a span and as a log record. An id in common is enough, else the
  tokens, the time and whatever both say have to agree. They need not say as much: Gemini CLI's spans leave thoughts
  out of the output, Codex's name no model. They are of one service, session or trace: records may come by another
  way than spans, and under another service's name or none;
* `tokens`: equal tokens, or a failure, of two instrumentations, one within the other's time, or both at nearly the
  same in one trace, for callbacks are told of the end in the order in which they were told of the beginning; a tick of
  JavaScript's clock may part them. Or one is a note of no length, written when a stream had ended, as Logfire's are;
  or one ended when a stream was opened, as LlamaIndex's do, and the other began then.
  One of them may leave out what was cached, as `same_numbers` has it. They are of one service, as far as both say, or
  of one trace, as a client and its gateway are; of one trace if they tell an input only. Calls that tell nothing are
  so in one trace, where both name the model.

Some tell half of a call, its input or its output. `repeats_half` says which of them a report around it has whole, and
`complements` which of two have the halves of one; `leaves_to` is of those that tell nothing of it. What decides the
price (`Knows`) may be told by the report around only, which then stands for the call: `knows_more`.

`twins` pairs them off: the best report stands for the call, and each other way of telling it takes part once.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from spanledger.conventions.call import Call, Place

Name = tuple[str | int | bytes, ...]
"""A kind of likeness, and what is alike."""

MAX_APART_NS: Final = 1_000_000_000
"""Between the ends of two reports of one call: a record is written a moment before or after the span has ended."""
_NEAR: Final = 100
"""A difference of less than one part in this many is another way of counting, not another call."""
_SHIFTED: Final = 20
"""Two times that begin and end within one part in this many of the shorter are one."""
_TICK_NS: Final = 1_000_000
"""JavaScript knows the beginning of a span to a millisecond, and counts from there to its end."""
_FIRST_TOKENS: Final = 32
"""Anthropic's first event of a stream tells the output until then: one token, now and then some more."""
_KIND: Final = re.compile(r"[a-z]{3,}(?=[-_])")


class Knows:
    """What decides a price, beside model and tokens. Who tells none of it has the usual price.

    Bits of a plain integer: those of an `IntFlag` take 2.5 us to put together.
    """

    BILL: Final = 1
    """What somebody was charged."""
    TIER: Final = 2
    SPECIAL: Final = 4
    """The tier is another than the usual one."""
    LIFETIME: Final = 8
    """How long what was written to a cache lives; some tell it of nothing, which decides nothing."""
    UNITS: Final = 16
    """Searches and the like."""


_DECIDE: Final = Knows.BILL | Knows.SPECIAL | Knows.LIFETIME | Knows.UNITS


def names_of(place: Place) -> tuple[Name, ...]:
    """Return what a call can be known by again, the surest first."""
    names: list[Name] = []
    call = place.call
    if call is None:
        return ()
    if call.response_id:
        names.append(("response", call.response_id))
    if call.kin:
        for who in (call.service, place.trace_id, *([call.session] if call.session else ())):
            names += [("request", call.kin, who, one) for one in (call.request_id, call.response_id) if one]
            names.append(("log", call.kin, who, call.input))
    if call.tells_tokens:
        # An input alone, as of embeddings, is alike by chance: only within a trace does it tell anything.
        where = (place.trace_id,) if is_half(call) else ()
        names.append(("tokens", *where, call.input, call.output))
        if (bare := _uncached(call)) is not None:
            names.append(("tokens", *where, bare, call.output))
    else:
        names.append(("tokens", place.trace_id))
        if call.failed:
            names.append(("tokens", call.service))
    return tuple(names)


def teller_of(name: Name, call: Call) -> str:
    """Return who tells of a call, where each teller tells it once; "" where one may say so again."""
    return "" if name[0] == "response" else call.scope if name[0] == "tokens" else call.report or "span"


def are_one(name: Name, one: Place, other: Place) -> bool:
    """Tell whether two reports that have a name in common are of one call."""
    return _ALIKE[name[0]](one, other)


def twins(places: Iterable[Place]) -> dict[Place, Place]:
    """Return for each report of a call that another tells better, that other. Depends on the set, not on its order."""
    named = {place: all_names for place in places if (all_names := names_of(place))}
    if not _any_in_common(named.values()):
        return {}
    ranked = sorted(named, key=_rank)
    found: dict[Place, Place] = {}
    for kind in _ALIKE:
        told_by: dict[Place, set[str]] = {}
        if kind == "tokens":  # many calls at once may be alike, each in a trace: what lies together belongs together
            _pair_off(kind, ranked, named, found, told_by, in_trace=True)
        _pair_off(kind, ranked, named, found, told_by)
    return {place: _stands_for(better, found) for place, better in found.items()}


def _pair_off(
    kind: str | int | bytes,
    ranked: Sequence[Place],
    named: Mapping[Place, Sequence[Name]],
    found: dict[Place, Place],
    told_by: dict[Place, set[str]],
    *,
    in_trace: bool = False,
) -> None:
    """Put the reports that one before them tells better into `found`, by one kind of names."""
    standing: dict[Name, list[Place]] = {}
    for place in ranked:
        names = [name for name in named[place] if name[0] == kind]
        if place in found or not names or place.call is None:
            continue
        teller = teller_of(names[0], place.call)
        tellers = told_by.setdefault(place, {teller})
        others = [
            other
            for name in names
            for other in standing.get(name, ())
            if (not teller or tellers.isdisjoint(told_by[other]))
            and (not in_trace or other.trace_id == place.trace_id)
            and _ALIKE[kind](other, place)
        ]
        if others:
            other = found[place] = min(others, key=lambda one: _apart(one, place)) if teller else others[0]
            told_by[other] |= tellers
        else:
            for name in names:
                standing.setdefault(name, []).append(place)


def _stands_for(place: Place, found: Mapping[Place, Place]) -> Place:
    while place in found:
        place = found[place]
    return place


def _any_in_common(named: Iterable[Sequence[Name]]) -> bool:
    """Tell whether two have the same name: of most calls there is one report, and no need to look further."""
    seen: set[Name] = set()
    for names in named:
        if not seen.isdisjoint(names):
            return True
        seen.update(names)
    return False


def same_call(above: Call, below: Call) -> bool:
    """Tell whether a span and one below it tell of one call."""
    if above.response_id and above.response_id == below.response_id:
        return True
    if is_refused(below, above):
        return False
    close = near(above.input, below.input) and near(above.output, below.output)
    return same_model(above, below) and (close or same_numbers(above, below))


def is_refused(below: Call, above: Call) -> bool:
    """Tell whether a call below another is an answer that was refused: the next one may well have its tokens.

    Ids of one kind are those of two answers. One of another kind may be a gateway's for the same answer: LiteLLM's is
    `chatcmpl-` before what Anthropic calls `msg_`, and who no longer listens to a stream lets it fail.
    """
    if not below.failed or above.failed or not _differ(above.response_id, below.response_id):
        return False
    return _kind_of(above.response_id) == _kind_of(below.response_id) or not same_model(above, below)


def _kind_of(response_id: str) -> str:
    """Return the letters before an id; "" where there are none."""
    found = _KIND.match(response_id)
    return found.group() if found is not None else ""


def is_half(call: Call) -> bool:
    """Tell whether a report tells an input or an output, and not both."""
    return (call.input > 0) != (call.output > 0)


def leaves_to(around: Call, inner: Call) -> bool:
    """Tell whether a report tells no tokens of a response, and one around it does."""
    return around.tells_tokens and not inner.tells_tokens and around.response_id == inner.response_id != ""


def repeats_half(around: Call, inner: Call) -> bool:
    """Tell whether a report of half a call lies in one of the whole call, at a price if it has one."""
    if not is_half(inner) or not (around.input and around.output) or (around.pico_usd is None and inner.pico_usd):
        return False
    if is_refused(inner, around):
        return False
    told = inner.input in (0, around.input) and inner.output in (0, around.output)
    return told and (same_model(around, inner) or around.response_id == inner.response_id != "")


def knows_more(around: Call, inner: Call) -> bool:
    """Tell whether a report around one of the same call knows all that this knows of its price, and more."""
    if not around.knows or around.pico_usd in (None, inner.pico_usd) or is_refused(inner, around):
        return False
    more = around.knows & ~inner.knows & _DECIDE
    if inner.knows & Knows.TIER:
        more &= ~Knows.SPECIAL  # which was asked for, perhaps, and another one given
    if not more or (inner.knows & ~around.knows & _DECIDE and not more & Knows.BILL):
        return False
    if not inner.input or not inner.output or (around.input, around.output) != (inner.input, inner.output):
        return False
    return same_model(around, inner) or around.response_id == inner.response_id != ""


def complements(one: Call, other: Call) -> bool:
    """Tell whether two reports of one response have a half of it each."""
    halves = is_half(one) and is_half(other) and (one.input > 0) != (other.input > 0)
    return halves and one.response_id == other.response_id != ""


def same_numbers(one: Call, other: Call) -> bool:
    """Tell whether two reports have the same counts, or would have if neither left out what was cached.

    Some tell what was read from a cache and leave out what was written to it. That what was neither is alike is not
    enough: of many calls it is the same few tokens.
    """
    if one.output != other.output:
        return False
    if one.input == other.input or _uncached(one) == other.input or one.input == _uncached(other):
        return True
    return one.input - one.written == other.input - other.written and 0 in (one.written, other.written)


def begins(above: Call, below: Call) -> bool:
    """Tell whether a report is of a stream's beginning, where Anthropic tells all of the input and hardly an output."""
    hardly = 0 < above.output < below.output and above.output <= _FIRST_TOKENS
    return hardly and 0 < above.input in (below.input, _uncached(below))


def _uncached(call: Call) -> int | None:
    """Return the input that one reports who leaves the cache out; None where there was no such."""
    return call.input - call.cached if 0 < call.cached < call.input else None


def same_model(one: Call, other: Call) -> bool:
    """Tell whether two calls may be of one model; a span that does not say its model contradicts nobody."""
    if not one.family or not other.family:
        return True
    return any(
        mine.startswith(theirs) or theirs.startswith(mine)
        for mine in (one.family, one.asked)
        for theirs in (other.family, other.asked)
        if mine and theirs
    )


def near(one: int, other: int) -> bool:
    """Tell whether two counts are within 1 % of each other."""
    return abs(one - other) * _NEAR <= max(one, other)


def _rank(place: Place) -> tuple[bool | int | bytes, ...]:
    """Order reports of one call, the best first: money before tokens, the whole before a half, then the earlier."""
    call = place.call
    assert call is not None
    return (
        call.pico_usd is None,
        not call.tells_tokens,
        is_half(call),
        -(call.knows & _DECIDE & ~Knows.SPECIAL).bit_count(),
        -(call.knows & ~Knows.SPECIAL).bit_count(),
        not call.family,
        -call.detail,
        place.start_ns,
        place.trace_id,
        place.span_id,
    )


def _same_response(one: Place, other: Place) -> bool:
    """Own servers repeat ids (Ollama has a thousand): who says one again speaks of one response within a trace only."""
    a, b = one.call, other.call
    if a is None or b is None or (a.scope == b.scope and one.trace_id != other.trace_id):
        return False
    overlap = one.start_ns < other.end_ns and other.start_ns < one.end_ns
    if same_model(a, b):
        return overlap or (a.input, a.output) == (b.input, b.output)
    # Small servers count their answers, each from one: two of them need more than that in common.
    return overlap and (not (a.tells_tokens and b.tells_tokens) or (a.input, a.output) == (b.input, b.output))


def _told_again(one: Place, other: Place) -> bool:
    return one.call is not None and other.call is not None and one.call.report != other.call.report


def _told_alike(one: Place, other: Place) -> bool:
    a, b = one.call, other.call
    return (
        a is not None
        and b is not None
        and a.report != b.report
        and not _differ(a.request_id, b.request_id)
        and not _differ(a.response_id, b.response_id)
        and not _differ(a.session, b.session)
        and a.failed == b.failed
        and not _outputs(a).isdisjoint(_outputs(b))
        and same_model(a, b)
        and _apart(one, other) <= MAX_APART_NS
    )


def _same_tokens(one: Place, other: Place) -> bool:
    # Time first: many calls may have equal tokens, and nearly all are of another moment.
    outer, inner = sorted((one, other), key=lambda place: (place.start_ns, -place.end_ns))
    a, b = one.call, other.call
    if a is None or b is None or a.scope == b.scope or (a.response_id and b.response_id):
        return False
    if not _at_one_time(inner, outer):
        return False
    if _differ(a.service, b.service) and one.trace_id != other.trace_id:
        return False
    if not a.tells_tokens and (a.failed != b.failed or not (a.failed or (a.family and b.family))):
        return False
    return (not a.tells_tokens or same_numbers(a, b)) and same_model(a, b)


_ALIKE: Final[Mapping[str | int | bytes, Callable[[Place, Place], bool]]] = {
    "response": _same_response, "request": _told_again, "log": _told_alike, "tokens": _same_tokens,
}  # fmt: skip


def _outputs(call: Call) -> set[int]:
    """Return what the output may be said to be: some leave reasoning out and do not say how much it was."""
    return {call.output, call.output - call.reasoning}


def _differ(one: str, other: str) -> bool:
    return bool(one and other) and one != other


def _at_one_time(inner: Place, outer: Place) -> bool:
    return (
        _inside(inner, outer)
        or _shifted(inner, outer)
        or _noted(inner, outer)
        or _follows(inner, outer)
        or _fail_together(inner, outer)
    )


def _inside(inner: Place, outer: Place) -> bool:
    return 0 < outer.start_ns <= inner.start_ns <= inner.end_ns < outer.end_ns


def _noted(note: Place, earlier: Place) -> bool:
    """Tell whether one is a note of no length, which a stream's is, made about when the other ended."""
    if note.call is None or earlier.call is None or (is_half(note.call) and not earlier.call.response_id):
        return False  # embeddings are no streams, and their answers have no ids
    made = 0 < earlier.start_ns < note.start_ns == note.end_ns
    return made and earlier.end_ns > 0 and _apart(note, earlier) <= MAX_APART_NS


def _shifted(later: Place, earlier: Place) -> bool:
    lasts, lasted = later.end_ns - later.start_ns, earlier.end_ns - earlier.start_ns
    apart, most = later.start_ns - earlier.start_ns, min(lasts, lasted) // _SHIFTED
    if later.trace_id != earlier.trace_id:  # inside it but for the clock
        return lasts < lasted and apart <= _TICK_NS <= most
    return 0 < most >= max(apart, abs(later.end_ns - earlier.end_ns))


def _follows(later: Place, earlier: Place) -> bool:
    """Tell whether one ended when it had opened a stream, which is asked for when somebody reads from it."""
    opened = earlier.call is not None and earlier.call.opened
    return opened and 0 <= later.start_ns - earlier.end_ns <= MAX_APART_NS


def _fail_together(later: Place, earlier: Place) -> bool:
    """Tell whether two failures began together: callbacks may be told of one long after the other."""
    if later.call is None or not later.call.failed or later.call.tells_tokens or later.trace_id != earlier.trace_id:
        return False
    shorter = min(later.end_ns - later.start_ns, earlier.end_ns - earlier.start_ns)
    return later.start_ns - earlier.start_ns <= shorter // _SHIFTED


def _apart(one: Place, other: Place) -> int:
    """Return the time between the ends of two reports; 0 where one says none."""
    return abs(one.end_ns - other.end_ns) if one.end_ns and other.end_ns else 0

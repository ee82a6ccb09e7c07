"""The rules that count repeats until something new happens.

New is a successful call that was not made before, or one that says something else than before: polling a job
that moves on is no loop, nor is running the same tests after each change. A call that fails is nothing new.
What a person says starts everything anew (`turn`).
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, Final, Literal

from spanledger.conventions.details import similar
from spanledger.conventions.details.prints import MAX_SHINGLES
from spanledger.conventions.loops.timeline import Act, Call, asked_alike

if TYPE_CHECKING:
    from spanledger.conventions.detail import Digest, Print
    from spanledger.conventions.loops.findings import Findings, Place
    from spanledger.conventions.loops.rules import Basis, LoopRules
    from spanledger.conventions.loops.timeline import Signature, Timeline

MAX_CLUSTERS: Final = 8
"""Different texts that a new one is compared with."""
_SIZES: Final = 0.8
"""Texts that are nearly the same are nearly as long."""

_Counted = Literal["exact_repeat", "near_repeat", "same_error", "no_progress", "output_repeat"]


@dataclass(slots=True)
class Streak:
    """Repeats of one thing."""

    places: list[Place] = field(default_factory=list)
    last_seen: bool = True
    """What came of the last is known."""
    seen: bool = True
    """What came of each before it is known."""

    @property
    def first(self) -> Act | Call | None:
        """The first of them."""
        return self.places[0][1] if self.places else None

    @property
    def last(self) -> Act | Call | None:
        """The last of them."""
        return self.places[-1][1] if self.places else None

    def append(self, place: Place, seen: bool = True) -> None:
        """Add a repeat."""
        self.places.append(place)
        self.seen = self.seen and self.last_seen
        self.last_seen = seen

    def goes_on_with(self, act: Act) -> bool:
        """Tell whether an act is a repeat: asked for by a later answer than the last, and not at the same time."""
        last = self.last
        return last is None or (act.round != last.round and (act.asked or act.step.start_ns >= last.step.end_ns))


class Streaks:
    """Counts repeats over the events of one agent, in order."""

    def __init__(self, line: Timeline, rules: LoopRules, findings: Findings) -> None:
        self._line = line
        self._rules = rules
        self._findings = findings
        self._turn = 0
        self._clear()

    def _clear(self) -> None:
        self._made: set[Signature] = set()
        """Calls that succeeded."""
        self._known: set[tuple[Signature, object]] = set()
        """Calls and what came of them."""
        self._results: set[Digest] = set()
        self._exact: dict[Signature, Streak] = {}
        self._near: dict[str, list[Streak]] = {}
        self._same_result: dict[tuple[str, Digest], Streak] = {}
        self._answered: dict[Digest, set[Signature]] = {}
        """Result -> calls that count as having it."""
        self._errors: dict[tuple[str, str, Digest | None], Streak] = {}
        self._names = Streak()
        self._answers: list[Streak] = []

    def see(self, place: Place) -> None:
        """Take the next event."""
        event = place[1]
        if event.turn != self._turn:
            self._turn = event.turn
            self._clear()
        if isinstance(event, Call):
            self._see_call(place, event)
        else:
            self._see_act(place, event)

    def _see_act(self, place: Place, act: Act) -> None:
        if act.failed:
            self._count_error(place, act)
        else:
            for name in [one for one in self._errors if one[0] == act.tool]:
                del self._errors[name]
        if self._rules.is_polling(act.tool):
            return
        if act.arguments is None:
            if not act.failed:
                self._forget()  # it may have been new
            self._count_name(place, act)
            return
        self._names = Streak()
        new = self._is_new(act)
        if act.result is not None and not act.failed:
            self._count_result(place, act, act.result.digest)
        cluster = self._near_to(act, act.arguments)
        if new:
            self._forget()
            if cluster is not None:
                self._near[act.tool] = [cluster]
        self._count_exact(place, act)
        self._count_near(place, act, cluster)

    def _forget(self) -> None:
        """Begin to count anew, after progress."""
        self._exact.clear()
        self._near.clear()
        self._errors.clear()
        self._answers.clear()

    def _is_new(self, act: Act) -> bool:
        """Tell whether a call made progress, and remember it."""
        if act.failed:
            return False
        known = act.signature in self._made
        self._made.add(act.signature)
        if act.outcome is None:
            return not known
        said = (act.signature, act.outcome)
        if said in self._known:
            return False
        self._known.add(said)
        return True

    def _count_exact(self, place: Place, act: Act) -> None:
        streak = self._exact.setdefault(act.signature, Streak())
        if streak.goes_on_with(act):
            streak.append(place, act.outcome is not None)
            self._judge("exact_repeat", self._rules.exact_repeat, act.tool, act.signature, streak)

    def _near_to(self, act: Act, arguments: Print) -> Streak | None:
        for streak in self._near.get(act.tool, ()):
            first = streak.first
            if (
                isinstance(first, Act)
                and first.arguments is not None
                and _alike(first.arguments, arguments, self._rules.similarity)
                and _same_outcome(first, act, self._rules.similarity)
            ):
                return streak
        return None

    def _count_near(self, place: Place, act: Act, cluster: Streak | None) -> None:
        if act.arguments is None or not act.arguments.shingles or not self._rules.near_repeat:
            return
        if cluster is None:
            clusters = self._near.setdefault(act.tool, [])
            clusters.append(Streak([place], act.outcome is not None))
            del clusters[:-MAX_CLUSTERS]
            return
        first, last = cluster.first, cluster.last
        if not isinstance(first, Act) or not isinstance(last, Act) or last.signature == act.signature:
            return
        if cluster.goes_on_with(act):
            cluster.append(place, act.outcome is not None)
            self._judge("near_repeat", self._rules.near_repeat, act.tool, first.signature, cluster)

    def _count_result(self, place: Place, act: Act, digest: Digest) -> None:
        if digest not in self._results:
            self._results.add(digest)
            self._same_result.clear()
            self._answered.clear()
        if act.result is None or act.result.size < self._rules.no_progress_min_chars:
            return
        streak = self._same_result.setdefault((act.tool, digest), Streak())
        if streak.goes_on_with(act) and act.signature not in self._answered.setdefault(digest, set()):
            self._answered[digest].add(act.signature)
            streak.append(place)
            self._judge("no_progress", self._rules.no_progress, act.tool, (act.tool, digest), streak)

    def _count_error(self, place: Place, act: Act) -> None:
        said = act.result.digest if act.result is not None else None
        identity = (act.tool, act.step.error_type, said)
        streak = self._errors.setdefault(identity, Streak())
        if streak.goes_on_with(act):
            streak.append(place, said is not None or act.arguments is not None)
            self._judge("same_error", self._rules.same_error, act.tool, identity, streak)

    def _count_name(self, place: Place, act: Act) -> None:
        """Count calls in a row of which nothing is known but the tool."""
        before = self._names.last
        if isinstance(before, Act) and not (before.tool == act.tool and self._asked_alike([before, act])):
            self._names = Streak()
        if self._names.goes_on_with(act):
            self._names.append(place)
            self._note("exact_repeat", act.tool, act.tool, self._names, self._rules.names_repeat, "names")

    def _asked_alike(self, acts: Sequence[Act]) -> bool:
        return asked_alike(acts, self._line, self._rules.names_tokens)

    def _see_call(self, place: Place, call: Call) -> None:
        output = call.detail.output
        if call.step.status == "error" or output is None or output.size < self._rules.output_min_chars:
            return
        for streak in self._answers:
            first, last = streak.first, streak.last
            if (
                isinstance(first, Call)
                and isinstance(last, Call)
                and first.detail.output is not None
                and _alike(first.detail.output, output, self._rules.similarity)
                and _goes_on(call, last)
            ):
                streak.append(place)
                identity = (call.step.model, first.detail.output.digest)
                rules = self._rules
                self._judge("output_repeat", rules.output_repeat, call.step.model, identity, streak)
                return
        self._answers.append(Streak([place]))
        del self._answers[:-MAX_CLUSTERS]

    def _judge(self, rule: _Counted, count: int, subject: str, identity: Hashable, streak: Streak) -> None:
        if streak.seen and count:
            # What comes of the last may not be known yet, for it was asked for just now.
            if streak.last_seen or len(streak.places) > count:
                self._note(rule, subject, identity, streak, count, "content")
            return
        threshold = count + self._rules.unseen_extra if count else 0
        unseen: Basis = "names" if rule == "same_error" else "arguments"
        self._note(rule, subject, identity, streak, threshold, unseen)

    def _note(
        self, rule: _Counted, subject: str, identity: Hashable, streak: Streak, threshold: int, basis: Basis
    ) -> None:
        places = streak.places
        if 0 < threshold <= len(places) and not waits(places, self._line, self._rules):
            self._findings.add(rule, subject, identity, places, threshold, basis)


def waits(places: Sequence[Place], line: Timeline, rules: LoopRules) -> bool:
    """Tell whether the pauses between repeats are long, or grow as of somebody who backs off: the last three."""
    pauses = [_pause_s(one, other, line) for one, other in pairwise(places[-4:])]
    if pauses and line.spending and min(pauses) >= rules.pause_s:
        return True
    if len(pauses) < 2 or pauses[0] <= 0 or pauses[-1] < rules.backoff_min_s:
        return False
    return all(later >= earlier * rules.backoff_factor for earlier, later in pairwise(pauses))


def _pause_s(one: Place, other: Place, line: Timeline) -> float:
    """Return the seconds between two events in which no model was at work: how long that takes is chance."""
    pause_ns = other[1].step.start_ns - one[1].step.end_ns
    for event in line.events[one[0] + 1 : other[0]]:
        if isinstance(event, Call) and event.step is not one[1].step:
            pause_ns -= event.step.end_ns - event.step.start_ns
    return pause_ns / 1e9


def _alike(one: Print, other: Print, similarity: float) -> bool:
    if one.digest == other.digest:
        return True
    if min(one.size, other.size) < _SIZES * max(one.size, other.size):
        return False
    # Most pairs have so little in common that the estimate, which sorts, need not be made.
    common = len(one.shingles & other.shingles)
    if common < similarity * min(MAX_SHINGLES, len(one.shingles) + len(other.shingles) - common):
        return False
    return similar(one, other) >= similarity


def _same_outcome(one: Act, other: Act, similarity: float) -> bool:
    if one.failed or other.failed:
        return one.failed and other.failed and one.step.error_type == other.step.error_type
    if one.result is None or other.result is None:
        return one.result is other.result
    return _alike(one.result, other.result, similarity)


def _goes_on(later: Call, earlier: Call) -> bool:
    """Tell whether a call goes on with the conversation of an earlier one."""
    if earlier.detail.after is not None and later.detail.history:
        return earlier.detail.after in later.detail.history
    one, other = earlier.step, later.step
    if later.detail.previous_response_id:
        return later.detail.previous_response_id == one.response_id
    return bool(one.parent_span_id) and (one.trace_id, one.parent_span_id) == (other.trace_id, other.parent_span_id)

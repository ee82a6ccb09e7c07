"""Loops, storms and lack of progress while a run is open.

Of each group that is busy is known how often anything came (`Counts`): in most nothing came often enough, and their
steps are not looked at. The rules look at the last steps of the others together, which is quick and may mix runs that
share a trace. So what they find is looked at again run by run before it is told. How far a group has come, for
ceilings, is in its counters.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

from spanledger.conventions.loops import Loop, LoopRules, Progress, ceilings, find, progress_of
from spanledger.conventions.loops.counts import Counts
from spanledger.conventions.step import Step, duration_s
from spanledger.conventions.trajectory.tree import RUNNERS
from spanledger.processor.trajectory.histories import Histories
from spanledger.processor.trajectory.recipe import parts_of, runs_of
from spanledger.processor.trajectory.records import key_of

if TYPE_CHECKING:
    from spanledger.conventions.run import Run
    from spanledger.processor.trajectory.group import Group
    from spanledger.processor.trajectory.records import Key

KINDS: Final = frozenset({"llm", "tool", "retrieval"})
MAX_STEPS: Final = 128
"""The last of a group that are looked at."""
MAX_KEPT_STEPS: Final = 4_096
"""Steps of all groups that are kept unpacked for the next look."""
MAX_BUSY: Final = 16_384
"""Groups whose counts are kept."""
MAX_FOUND: Final = 512
SMALL: Final = 200
"""Records of a group up to which it is taken apart into its runs at once."""
_AGAIN: Final = 1.25
"""What a group has and none of its runs, a loop or a ceiling, is looked for again when there is so much more of it."""
_MAX_REFUTED: Final = 256


@dataclass(frozen=True, slots=True)
class Found:
    """A loop that is new, or has gone on since it was told."""

    loop: Loop
    run_id: str
    before: Loop | None


@dataclass(slots=True)
class Loops:
    """Looks for loops in groups that got steps."""

    rules: LoopRules
    histories: Histories
    _busy: OrderedDict[bytes, _Busy] = field(default_factory=OrderedDict)
    """First trace of a group -> what is known of it."""
    _unpacked: OrderedDict[bytes, _Busy] = field(default_factory=OrderedDict)
    """Those of them that have their steps."""
    _kept: int = 0
    """How many steps these are."""
    _found: OrderedDict[bytes, tuple[frozenset[Key], tuple[Loop, ...]]] = field(default_factory=OrderedDict)
    """First trace of a group -> what was found in these steps, before they were added to it."""

    def look(self, group: Group, new: Sequence[Step]) -> list[Found]:
        """Return what is new in an open group after these steps were added to it, and remember that it was told."""
        busy = self._busy_of(group, new)
        told = group.told or {}
        news = [loop for loop in self._repeats(group, busy) if _is_news(loop, told) and busy.may_hold(loop)]
        if news:
            found = self._by_run(group, busy)
            busy.refute(loop for loop in news if _is_news(loop, group.told or {}))
            return found
        if group.work >= busy.look_at and any(_is_news(loop, told) for loop in self._passed(group, busy)):
            found = self._by_run(group, busy)
            if not found:
                busy.look_at = _AGAIN * group.work
            return found
        return []

    def marked(self, group: Group | None, new: Sequence[Step]) -> Mapping[Key, Loop]:
        """Return which of some steps that are yet to come to a group would be part of a loop, and of which."""
        trace_id = group.traces[0] if group is not None else new[0].trace_id
        busy = self._busy_of(group, ()) if group is not None else None
        counts = Counts.of(new) if busy is None else busy.counts.plus(Counts.of(new))
        if not counts.may_repeat(self.rules):
            self._found.pop(trace_id, None)
            return {}
        steps = dict(self._steps_of(group, busy)) if group is not None and busy is not None else {}
        steps.update({key_of(step): step for step in new if step.kind in KINDS})
        _cut(steps)
        loops = find(steps.values(), self.rules)
        self._found[trace_id] = (frozenset(steps), loops)
        if len(self._found) > MAX_FOUND:
            self._found.popitem(last=False)
        return {trace_id + span_id: loop for loop in reversed(loops) for trace_id, span_id in loop.spans}

    def found_in(self, trace_id: bytes) -> bool:
        """Tell whether `marked` found anything the last time, in the group whose first trace this is."""
        return bool(self._found.get(trace_id, (frozenset(), ()))[1])

    def forget(self, group: Group) -> None:
        """Give up what is kept of a group that was closed."""
        self._forget(group.traces[0])

    def _forget(self, trace_id: bytes) -> _Busy | None:
        if self._unpacked.pop(trace_id, None) is not None:
            self._kept -= len(self._busy[trace_id].steps or ())
        return self._busy.pop(trace_id, None)

    def _repeats(self, group: Group, busy: _Busy) -> tuple[Loop, ...]:
        if not busy.counts.may_repeat(self.rules):
            return ()
        steps = self._steps_of(group, busy)
        keys, loops = self._found.pop(group.traces[0], (None, ()))
        return loops if keys == frozenset(steps) else find(steps.values(), self.rules)

    def _passed(self, group: Group, busy: _Busy) -> tuple[Loop, ...]:
        """Return the ceilings that a group would have passed if it were one run, its agents all above one another."""
        progress = Progress(
            steps=group.work,
            depth=group.runners,
            duration_s=duration_s(group.began_ns, group.ended_ns),
            agent_name=group.label[1],
            trace_id=group.traces[0],
            started_at_ns=group.began_ns,
            ended_at_ns=group.ended_ns,
        )
        usual = self.histories.usual(group.label)
        if not ceilings(self.rules, progress, usual):
            return ()  # so it mostly is, and nothing need be unpacked for it
        last = next(reversed(self._steps_of(group, busy)), None)
        return ceilings(self.rules, replace(progress, last=(last[:16], last[16:24]) if last else None), usual)

    def _busy_of(self, group: Group, new: Sequence[Step]) -> _Busy:
        """Return what is known of a group, these steps among it."""
        trace_id = group.traces[0]
        busy = self._busy.get(trace_id)
        if busy is None or (busy.traces != len(group.traces) and len(self._busy) >= MAX_BUSY):
            self._forget(trace_id)
            busy = self._busy[trace_id] = _Busy(len(group.traces))
            busy.counts.add(record for record in group.records().values() if isinstance(record, Step))
            if len(self._busy) > MAX_BUSY:
                self._forget(next(iter(self._busy)))
            return busy
        self._busy.move_to_end(trace_id)
        if busy.traces != len(group.traces):
            self._unite(group, busy)
        busy.counts.add(new)
        if busy.steps is not None:
            self._keep(busy, {key_of(step): step for step in new if step.kind in KINDS})
        return busy

    def _unite(self, group: Group, busy: _Busy) -> None:
        """Take what is known of groups that became part of this one; of others all steps are among the new ones."""
        for trace_id in group.traces[busy.traces :]:
            other = self._forget(trace_id)
            if other is None:
                continue
            busy.counts = busy.counts.plus(other.counts)
            if busy.steps is not None and other.steps is not None:
                self._keep(busy, other.steps)
            elif busy.steps is not None:
                self._kept -= len(busy.steps)
                del self._unpacked[group.traces[0]]
                busy.steps = None
        busy.traces, busy.look_at, busy.refuted = len(group.traces), 0, None

    def _keep(self, busy: _Busy, more: Mapping[Key, Step]) -> None:
        """Add to the last steps of a group."""
        assert busy.steps is not None
        self._kept -= len(busy.steps)
        busy.steps.update(more)
        _cut(busy.steps)
        self._kept += len(busy.steps)

    def _steps_of(self, group: Group, busy: _Busy) -> dict[Key, Step]:
        """Return the last steps of a group that rules look at."""
        trace_id = group.traces[0]
        if busy.steps is None:
            records = list(group.records().items())[-2 * MAX_STEPS :]
            busy.steps = {key: record for key, record in records if isinstance(record, Step) and record.kind in KINDS}
            _cut(busy.steps)
            self._unpacked[trace_id] = busy
            self._kept += len(busy.steps)
        self._unpacked.move_to_end(trace_id)
        while self._kept > MAX_KEPT_STEPS and len(self._unpacked) > 1:
            _, other = self._unpacked.popitem(last=False)
            self._kept -= len(other.steps or ())
            other.steps = None
        return busy.steps

    def _by_run(self, group: Group, busy: _Busy) -> list[Found]:
        seen: list[tuple[str, tuple[Loop, ...]]]
        if len(group) <= SMALL:
            records = group.records().values()
            parts = parts_of(records)
            seen = [(run_id, find(steps, self.rules)) for run_id, steps in parts]
            if self._passed(group, busy) and any(self._may_pass(group, steps) for _, steps in parts):
                seen = [(run.run_id, self._all(group, run, steps)) for run, steps in runs_of(records)]
        elif group.tops + len(group.missing or ()) == 1:
            passed = [loop for loop in self._passed(group, busy) if loop.rule != "depth_ceiling"]
            seen = [("", (*find(self._steps_of(group, busy).values(), self.rules), *passed))]
        else:
            return []  # taking it apart takes too long now; its runs say it when they are closed
        told = dict(group.told or {})
        found = []
        for run_id, loops in seen:
            for loop in loops:
                if _is_news(loop, told):
                    found.append(Found(loop, run_id, told.get(loop.fingerprint)))
                    told[loop.fingerprint] = loop
        group.told = told
        return found

    def _may_pass(self, group: Group, steps: Sequence[Step]) -> bool:
        """Tell whether the run of these steps may have passed a ceiling of any of its agents."""
        progress = Progress(
            steps=len(steps),
            depth=sum(step.kind in RUNNERS for step in steps),
            duration_s=duration_s(
                min((step.start_ns for step in steps), default=0), max((step.end_ns for step in steps), default=0)
            ),
        )
        labels = {group.label, *((step.service_name, step.agent_name) for step in steps)}
        return any(ceilings(self.rules, progress, self.histories.usual(label)) for label in labels)

    def _all(self, group: Group, run: Run, steps: Sequence[Step]) -> tuple[Loop, ...]:
        history = self.histories.usual((run.service_name, run.agent_name)) or self.histories.usual(group.label)
        return *find(steps, self.rules), *ceilings(self.rules, progress_of(run), history)


@dataclass(slots=True)
class _Busy:
    """What is known of a group."""

    traces: int
    """How many it had."""
    counts: Counts = field(default_factory=Counts)
    steps: dict[Key, Step] | None = None
    """Its last steps, unpacked; None until anything came often enough, and after a while again."""
    look_at: float = 0
    """How large the group has to be to be taken apart for a ceiling."""
    refuted: dict[str, int] | None = None
    """Fingerprint of what the group has and none of its runs -> the count then."""

    def may_hold(self, loop: Loop) -> bool:
        """Tell whether one of the runs may have what the group has."""
        return loop.count >= _AGAIN * (self.refuted or {}).get(loop.fingerprint, 0)

    def refute(self, loops: Iterable[Loop]) -> None:
        """Note what none of the runs had enough of."""
        known = self.refuted if self.refuted is not None and len(self.refuted) < _MAX_REFUTED else {}
        self.refuted = {**known, **{loop.fingerprint: loop.count for loop in loops}}


def _cut(steps: dict[Key, Step]) -> None:
    for key in list(steps)[:-MAX_STEPS]:
        del steps[key]


def _is_news(loop: Loop, told: Mapping[str, Loop]) -> bool:
    """Tell whether a loop is to be told: once, when it becomes critical, and each time it has doubled."""
    before = told.get(loop.fingerprint)
    return (
        before is None or loop.count >= 2 * before.count or (loop.severity, before.severity) == ("critical", "warning")
    )

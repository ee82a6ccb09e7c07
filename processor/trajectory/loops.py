"""Loops, storms and lack of progress while a run is open.

The rules look at the steps of a group together, which is quick and may mix runs that share a trace. So what
they find is looked at again run by run before it is told. The last steps of groups that are busy are kept
unpacked; how far a group has come, for ceilings, is in its counters.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from spanledger.conventions.loops import Loop, LoopRules, Progress, ceilings, find, progress_of
from spanledger.conventions.step import Step, duration_s
from spanledger.processor.trajectory.histories import Histories
from spanledger.processor.trajectory.recipe import runs_of
from spanledger.processor.trajectory.records import key_of

if TYPE_CHECKING:
    from spanledger.processor.trajectory.group import Group
    from spanledger.processor.trajectory.records import Key

KINDS: Final = frozenset({"llm", "tool", "retrieval"})
MAX_STEPS: Final = 128
"""The last of a group that are looked at."""
MAX_KEPT_STEPS: Final = 2_000
MAX_FOUND: Final = 512
SMALL: Final = 200
"""Records of a group up to which it is taken apart into its runs at once."""
_AGAIN: Final = 1.25
"""A ceiling that the group has passed and none of its runs is looked for again when there is so much more."""


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
    _steps: OrderedDict[int, _Busy] = field(default_factory=OrderedDict)
    _kept: int = 0
    """Steps in `_steps`."""
    _found: OrderedDict[bytes, tuple[frozenset[Key], tuple[Loop, ...]]] = field(default_factory=OrderedDict)
    """First trace of a group -> what was found in these steps, before they were added to it."""

    def look(self, group: Group, new: Iterable[Step]) -> list[Found]:
        """Return what is new in an open group after these steps were added to it, and remember that it was told."""
        busy = self._steps_of(group, new)
        told = group.told or {}
        if any(_is_news(loop, told) for loop in self._repeats(group, busy.steps)):
            return self._by_run(group, busy)
        if group.work >= busy.look_at and any(_is_news(loop, told) for loop in self._passed(group, busy)):
            found = self._by_run(group, busy)
            if not found:
                busy.look_at = _AGAIN * group.work
            return found
        return []

    def marked(self, group: Group | None, new: Sequence[Step]) -> Mapping[Key, Loop]:
        """Return which of some steps that are yet to come to a group would be part of a loop, and of which."""
        steps = dict(self._steps_of(group, ()).steps) if group is not None else {}
        steps.update({key_of(step): step for step in new if step.kind in KINDS})
        if len(steps) < self._least():
            return {}
        _cut(steps)
        loops = find(steps.values(), self.rules)
        self._found[group.traces[0] if group is not None else new[0].trace_id] = (frozenset(steps), loops)
        if len(self._found) > MAX_FOUND:
            self._found.popitem(last=False)
        return {trace_id + span_id: loop for loop in reversed(loops) for trace_id, span_id in loop.spans}

    def found_in(self, trace_id: bytes) -> bool:
        """Tell whether `marked` found anything the last time, in the group whose first trace this is."""
        return bool(self._found.get(trace_id, (frozenset(), ()))[1])

    def forget(self, group: Group) -> None:
        """Give up what is kept of a group that was closed."""
        busy = self._steps.pop(group.number, None)
        if busy is not None:
            self._kept -= len(busy.steps)

    def _least(self) -> int:
        """Return how many steps anything can be found in."""
        counts = (self.rules.exact_repeat, self.rules.same_error, self.rules.output_repeat, self.rules.near_repeat)
        return min((count for count in counts if count > 0), default=3)

    def _repeats(self, group: Group, steps: Mapping[Key, Step]) -> tuple[Loop, ...]:
        if len(steps) < self._least():
            return ()
        keys, loops = self._found.pop(group.traces[0], (None, ()))
        return loops if keys == frozenset(steps) else find(steps.values(), self.rules)

    def _passed(self, group: Group, busy: _Busy) -> tuple[Loop, ...]:
        """Return the ceilings that a group would have passed if it were one run, its agents all above one another."""
        last = next(reversed(busy.steps), None)
        progress = Progress(
            steps=group.work,
            depth=group.runners,
            duration_s=duration_s(group.began_ns, group.ended_ns),
            agent_name=group.label[1],
            trace_id=group.traces[0],
            last=(last[:16], last[16:24]) if last is not None else None,
            started_at_ns=group.began_ns,
            ended_at_ns=group.ended_ns,
        )
        return ceilings(self.rules, progress, self.histories.usual(group.label))

    def _steps_of(self, group: Group, new: Iterable[Step]) -> _Busy:
        """Return the last steps of a group that rules look at, these among them."""
        busy = self._steps.get(group.number)
        if busy is None or busy.traces != len(group.traces):  # it was joined with another
            self.forget(group)
            records = list(group.records().items())[-2 * MAX_STEPS :]
            steps = {key: record for key, record in records if isinstance(record, Step) and record.kind in KINDS}
            busy = self._steps[group.number] = _Busy(len(group.traces), steps)
            self._kept += len(steps)
        self._kept -= len(busy.steps)
        busy.steps.update({key_of(step): step for step in new if step.kind in KINDS})
        _cut(busy.steps)
        self._kept += len(busy.steps)
        self._steps.move_to_end(group.number)
        while self._kept > MAX_KEPT_STEPS and len(self._steps) > 1:
            self._kept -= len(self._steps.popitem(last=False)[1].steps)
        return busy

    def _by_run(self, group: Group, busy: _Busy) -> list[Found]:
        seen: list[tuple[str, tuple[Loop, ...]]]
        if len(group) <= SMALL:
            usual = self.histories.usual
            seen = []
            for run, steps in runs_of(group.records().values()):
                history = usual((run.service_name, run.agent_name)) or usual(group.label)
                seen.append((run.run_id, (*find(steps, self.rules), *ceilings(self.rules, progress_of(run), history))))
        elif group.tops + len(group.missing or ()) == 1:
            passed = [loop for loop in self._passed(group, busy) if loop.rule != "depth_ceiling"]
            seen = [("", (*find(busy.steps.values(), self.rules), *passed))]
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


@dataclass(slots=True)
class _Busy:
    """The last steps of a group, unpacked."""

    traces: int
    """How many traces the group had."""
    steps: dict[Key, Step]
    look_at: float = 0
    """How large the group has to be to be taken apart for a ceiling."""


def _cut(steps: dict[Key, Step]) -> None:
    for key in list(steps)[:-MAX_STEPS]:
        del steps[key]


def _is_news(loop: Loop, told: Mapping[str, Loop]) -> bool:
    """Tell whether a loop is to be told: once, when it becomes critical, and each time it has doubled."""
    before = told.get(loop.fingerprint)
    return (
        before is None or loop.count >= 2 * before.count or (loop.severity, before.severity) == ("critical", "warning")
    )

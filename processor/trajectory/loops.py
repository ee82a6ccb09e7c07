"""Loops, storms and lack of progress while a run is open.

The rules look at the steps of a group together, which is quick and may mix runs that share a trace. So what
they find is looked at again run by run before it is told. The last steps of groups that are busy are kept
unpacked.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

from spanledger.conventions.loops import History, Loop, LoopRules, find
from spanledger.conventions.step import Step
from spanledger.conventions.trajectory import build
from spanledger.processor.trajectory.packing import unpack
from spanledger.processor.trajectory.records import key_of

if TYPE_CHECKING:
    from spanledger.conventions.run import Run
    from spanledger.processor.trajectory.group import Group, Label
    from spanledger.processor.trajectory.records import Key, Record

KINDS: Final = frozenset({"llm", "tool", "retrieval"})
MAX_STEPS: Final = 128
"""The last of a group that are looked at."""
MAX_KEPT_STEPS: Final = 10_000
MAX_FOUND: Final = 512
SMALL: Final = 200
"""Records of a group up to which it is taken apart into its runs at once."""

_RUNS_KNOWN: Final = 256
_RUNS_NEEDED: Final = 50
_MAX_AGENTS: Final = 1_000


class Histories:
    """How long, deep and large the last runs of each agent were."""

    def __init__(self) -> None:
        self._runs: OrderedDict[Label, deque[tuple[int, int, float]]] = OrderedDict()
        self._known: dict[Label, History] = {}

    def add(self, run: Run) -> None:
        """Take a run that was closed."""
        label = (run.service_name, run.agent_name)
        runs = self._runs.setdefault(label, deque(maxlen=_RUNS_KNOWN))
        runs.append((run.totals.steps, run.totals.max_depth, run.duration_s or 0.0))
        self._runs.move_to_end(label)
        self._known.pop(label, None)
        if len(self._runs) > _MAX_AGENTS:
            self._known.pop(self._runs.popitem(last=False)[0], None)

    def of(self, label: Label) -> History | None:
        """Return the 99th percentiles of an agent; None where too few of its runs were seen."""
        runs = self._runs.get(label)
        if runs is None or len(runs) < _RUNS_NEEDED:
            return None
        if label not in self._known:
            steps, depths, durations = (sorted(values) for values in zip(*runs, strict=True))
            place = (len(runs) * 99) // 100
            self._known[label] = History(steps[place], depths[place], durations[place])
        return self._known[label]


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
    histories: Histories = field(default_factory=Histories)
    _steps: OrderedDict[int, _Busy] = field(default_factory=OrderedDict)
    _kept: int = 0
    """Steps in `_steps`."""
    _found: OrderedDict[bytes, tuple[frozenset[Key], tuple[Loop, ...]]] = field(default_factory=OrderedDict)
    """First trace of a group -> what was found in these steps, before they were added to it."""

    def look(self, group: Group, new: Iterable[Step]) -> list[Found]:
        """Return what is new in an open group after these steps were added to it, and remember that it was told."""
        steps = self._steps_of(group, new)
        if len(steps) < self._least():
            return []
        keys, loops = self._found.pop(group.traces[0], (None, ()))
        if keys != steps.keys():
            loops = find(list(steps.values()), self.rules, self.histories.of(group.label))
        told = group.told or {}
        return self._by_run(group, list(steps.values())) if any(_is_news(loop, told) for loop in loops) else []

    def marked(self, group: Group | None, new: Sequence[Step]) -> set[Key]:
        """Return which of some steps that are yet to come to a group would be part of a loop."""
        steps = dict(self._steps_of(group, ())) if group is not None else {}
        steps.update({key_of(step): step for step in new if step.kind in KINDS})
        if len(steps) < self._least():
            return set()
        _cut(steps)
        history = self.histories.of(group.label) if group is not None else None
        loops = find(list(steps.values()), self.rules, history)
        self._found[group.traces[0] if group is not None else new[0].trace_id] = (frozenset(steps), loops)
        if len(self._found) > MAX_FOUND:
            self._found.popitem(last=False)
        return {trace_id + span_id for loop in loops for trace_id, span_id in loop.spans}

    def forget(self, group: Group) -> None:
        """Give up what is kept of a group that was closed."""
        busy = self._steps.pop(group.number, None)
        if busy is not None:
            self._kept -= len(busy.steps)

    def _least(self) -> int:
        """Return how many steps anything can be found in."""
        if self.rules.max_steps is not None:
            return 1
        counts = (self.rules.exact_repeat, self.rules.same_error, self.rules.output_repeat, self.rules.near_repeat)
        return min((count for count in counts if count > 0), default=3)

    def _steps_of(self, group: Group, new: Iterable[Step]) -> dict[Key, Step]:
        """Return the last steps of a group that rules look at, these among them."""
        busy = self._steps.get(group.number)
        if busy is None or busy.traces != len(group.traces):  # it was joined with another
            self.forget(group)
            last = list(group.packed.items())[-2 * MAX_STEPS :]
            records = ((key, unpack(packed, group.resources)) for key, packed in last)
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
        return busy.steps

    def _by_run(self, group: Group, last: list[Step]) -> list[Found]:
        runs: list[tuple[str, list[Step]]]
        if len(group.packed) <= SMALL:
            runs = runs_of([unpack(packed, group.resources) for packed in group.packed.values()])
        elif group.tops + len(group.missing) == 1:
            runs = [("", last)]
        else:
            return []  # taking it apart takes too long now; its runs say it when they are closed
        told = dict(group.told or {})
        found = []
        for run_id, steps in runs:
            for loop in find(steps, self.rules, self.histories.of(group.label)):
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


def _cut(steps: dict[Key, Step]) -> None:
    for key in list(steps)[:-MAX_STEPS]:
        del steps[key]


def with_findings(
    runs: Iterable[Run], records: Iterable[Record], rules: LoopRules | None, told: Iterable[Loop] = ()
) -> tuple[Run, ...]:
    """Return runs with what is found in them. Of `told` those count that depend on other runs: ceilings."""
    if rules is None:
        return tuple(runs)
    by_span = {(one.trace_id.hex(), one.span_id.hex()): one for one in records if isinstance(one, Step)}
    ceilings = [loop for loop in told if loop.kind == "ceiling"]
    return tuple(_with_findings(run, steps_of(run, by_span), rules, ceilings) for run in runs)


def _with_findings(run: Run, steps: Sequence[Step], rules: LoopRules, ceilings: Iterable[Loop]) -> Run:
    loops = {loop.fingerprint: loop for loop in find(steps, rules)}
    indexes = {
        (bytes.fromhex(one.trace_id), bytes.fromhex(span_id)): one.index
        for one in run.steps
        for span_id in (one.span_id, *one.twins)
    }
    loops.update({loop.fingerprint: loop for loop in ceilings if any(span in indexes for span in loop.spans)})
    if not loops:
        return run
    return replace(run, findings=(*run.findings, *(loop.finding(indexes) for loop in loops.values())))


def runs_of(records: Collection[Record]) -> list[tuple[str, list[Step]]]:
    """Return the steps of each run of a group, with the run's id."""
    by_span = {(one.trace_id.hex(), one.span_id.hex()): one for one in records if isinstance(one, Step)}
    return [(run.run_id, steps_of(run, by_span)) for run in build(records)]


def steps_of(run: Run, by_span: dict[tuple[str, str], Step]) -> list[Step]:
    """Return the steps of a run as they came, other reports of the same work included."""
    spans = ((one.trace_id, span_id) for one in run.steps for span_id in (one.span_id, *one.twins))
    return [by_span[span] for span in spans if span in by_span]


def _is_news(loop: Loop, told: dict[str, Loop]) -> bool:
    """Tell whether a loop is to be told: once, when it becomes critical, and each time it has doubled."""
    before = told.get(loop.fingerprint)
    return (
        before is None or loop.count >= 2 * before.count or (loop.severity, before.severity) == ("critical", "warning")
    )

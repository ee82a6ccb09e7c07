"""What the last runs of each agent were like: what a run under way or just closed is compared with."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterable, Mapping, Sequence
from statistics import median
from typing import TYPE_CHECKING, Final

from spanledger.conventions.evaluator import Usual
from spanledger.conventions.loops import History, progress_of

if TYPE_CHECKING:
    from spanledger.conventions.run import Run
    from spanledger.processor.trajectory.group import Label

RUNS_KNOWN: Final = 256
"""The last of an agent that are remembered."""
RUNS_NEEDED: Final = 50
"""Before there is a 99th percentile."""
MAX_AGENTS: Final = 1_000
_MAX_LEADERS: Final = 8

Successes = Mapping["Label", tuple[int, ...]]
"""Agent -> the steps of its successful runs. Never changed: it may be read in another thread."""


class Histories:
    """Remembers closed runs by their agents, for as long as the process lives."""

    def __init__(self) -> None:
        self._sizes: OrderedDict[Label, deque[tuple[int, int, float]]] = OrderedDict()
        """Agent -> spans, depth and seconds of its runs."""
        self._usual: dict[Label, tuple[float, float, float]] = {}
        self._successes: Successes = {}
        self._leaders: OrderedDict[Label, dict[Label, None]] = OrderedDict()
        """Agent -> the agents in whose runs it took part: before the root comes, it is all that is known of a run."""

    def add(self, run: Run) -> None:
        """Take a run that was closed."""
        label = (run.service_name, run.agent_name)
        sizes = self._sizes.setdefault(label, deque(maxlen=RUNS_KNOWN))
        progress = progress_of(run)
        sizes.append((progress.steps, progress.depth, progress.duration_s or 0.0))
        self._sizes.move_to_end(label)
        self._usual.pop(label, None)
        if run.outcome == "success" and run.completeness == "complete":
            known = self._successes.get(label, ())[1 - RUNS_KNOWN :]
            self._successes = {**self._successes, label: (*known, run.totals.steps)}
        for share in run.agents:
            self._follow((run.service_name, share.name), label)
        if len(self._sizes) > MAX_AGENTS:
            self._forget(self._sizes.popitem(last=False)[0])

    def usual(self, label: Label) -> History | None:
        """Return the 99th percentiles of an agent; None where too few of its runs were seen.

        Of an agent that has none of its own, the largest of those in whose runs it takes part; while nobody has said
        which agent of a service it is, the largest of the service's agents.
        """
        own: Iterable[Label] = [label]
        if not label[1]:
            own = [other for other in self._sizes if other[0] == label[0]]
        elif label not in self._sizes:
            own = self._leaders.get(label, ())
        known = [found for other in own if (found := self._of(other)) is not None]
        return History(*map(max, zip(*known, strict=True))) if known else None

    def successes(self) -> Successes:
        """Return the successful runs of all agents, as of now."""
        return self._successes

    def _of(self, label: Label) -> tuple[float, float, float] | None:
        sizes = self._sizes.get(label)
        if sizes is None or len(sizes) < RUNS_NEEDED:
            return None
        if label not in self._usual:
            spans, depths, durations = (sorted(values) for values in zip(*sizes, strict=True))
            place = (len(sizes) * 99) // 100
            self._usual[label] = spans[place], depths[place], durations[place]
        return self._usual[label]

    def _follow(self, agent: Label, leader: Label) -> None:
        if agent == leader:
            return
        leaders = self._leaders.setdefault(agent, {})
        if len(leaders) < _MAX_LEADERS:
            leaders[leader] = None
        self._leaders.move_to_end(agent)
        if len(self._leaders) > MAX_AGENTS:
            self._leaders.popitem(last=False)

    def _forget(self, label: Label) -> None:
        self._usual.pop(label, None)
        self._successes = {other: runs for other, runs in self._successes.items() if other != label}


def usual_of(steps: Sequence[int]) -> Usual | None:
    """Return what an agent's successful runs were like, given their steps."""
    return Usual(len(steps), median(steps)) if steps else None

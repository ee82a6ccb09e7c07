"""Steps whose agent is not known yet: they wait for the spans above them, each for a bounded time.

An agent's span is sent when the agent has ended, mostly in a later request than its calls. What waits is not counted
meanwhile: a counter that was seen under one name cannot be moved to another.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Final, Literal

from spanledger.conventions.step import altered

if TYPE_CHECKING:
    from spanledger.conventions.ledger import Bill, Report
    from spanledger.conventions.step import Bridge, Step

MAX_STEPS: Final = 20_000
MAX_BYTES: Final = 32 << 20

_STEP_BYTES: Final = 1_024
"""What a waiting step takes without its texts, about."""

Ending = Literal["found", "none", "timeout", "full", "shutdown"]
"""How a wait ended: an agent was found, or no span above names one; or nobody knows what would have come."""


@dataclass(slots=True, eq=False)
class Below:
    """The steps that wait for the same span."""

    missing: bytes
    """It has to come before more is known of those above."""
    steps: dict[Nameless, None]
    """A set that keeps its order."""


@dataclass(slots=True, eq=False)
class Nameless:
    """A step that waits."""

    step: Step
    is_work: bool
    """It counts as work of its own, and not only for what it tells of others."""
    report: Report | None
    """What the ledger has of it."""
    since_s: float
    below: Below
    size: int
    agent: str = ""
    """Whose it is, when that was found."""
    bill: Bill | None = None
    """What is counted of it, when the ledger has forgotten it."""


class Waiting:
    """The steps that wait. One owner; time comes with each call. A step leaves once: whoever takes it counts it."""

    def __init__(self, wait_s: float, max_steps: int = MAX_STEPS, max_bytes: int = MAX_BYTES) -> None:
        self._wait_s = wait_s
        self._max_steps = max_steps
        self._max_bytes = max_bytes
        self._traces: dict[bytes, dict[bytes, Below]] = {}
        """Trace id -> missing span id -> steps below it."""
        self._steps: OrderedDict[Nameless, None] = OrderedDict()
        """In the order they came."""
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._steps)

    @property
    def is_open(self) -> bool:
        """Tell whether anything is to wait."""
        return self._wait_s > 0

    def wait_for(self, wait_s: float) -> None:
        """Let what waits, and what is yet to come, wait for so long; nothing more waits with 0."""
        self._wait_s = wait_s

    @property
    def size_bytes(self) -> int:
        """What all that waits takes, about."""
        return self._bytes

    def add(self, step: Step, is_work: bool, report: Report | None, missing: bytes, now_s: float) -> Nameless:
        """Let a step wait for a span of its trace."""
        step = altered(
            step, detail=None, resource={}, name="", response_id="", tool_call_id="", conversation_id="", user_id=""
        )
        trace = self._traces.setdefault(step.trace_id, {})
        below = trace.get(missing) or trace.setdefault(missing, Below(missing, {}))
        nameless = Nameless(step, is_work, report, now_s, below, _size(step))
        self._steps[nameless] = below.steps[nameless] = None
        self._bytes += nameless.size
        return nameless

    def awaited(self, records: Iterable[Step | Bridge]) -> Iterator[Step | Bridge]:
        """Yield those of the spans that steps wait for. These may be taken or moved meanwhile."""
        traces = self._traces
        for record in records:
            trace = traces.get(record.trace_id)
            if trace is not None and record.span_id in trace:
                yield record

    def move(self, trace_id: bytes, span_id: bytes, missing: bytes) -> None:
        """Let those that waited for a span, which has come, go on waiting for one further up."""
        trace = self._traces[trace_id]
        moved, there = trace.pop(span_id), trace.get(missing)
        if there is not None:
            # There may be thousands below a span, and many spans above them: each step joins the fewest others.
            fewer, moved = sorted((there, moved), key=lambda below: len(below.steps))
            for nameless in fewer.steps:
                nameless.below = moved
            moved.steps.update(fewer.steps)
        moved.missing = missing
        trace[missing] = moved

    def take(self, trace_id: bytes, span_id: bytes) -> list[Nameless]:
        """Take the steps that wait for this span."""
        return [self._taken(one) for one in list(self._traces[trace_id][span_id].steps)]

    def of(self, trace_id: bytes) -> Iterator[Nameless]:
        """Yield the steps of a trace. None may be taken meanwhile."""
        return chain.from_iterable(below.steps for below in self._traces.get(trace_id, {}).values())

    def take_due(self, now_s: float) -> Iterator[Nameless]:
        """Take those that waited for long enough, the oldest first."""
        while (due_s := self.next_due_s()) is not None and due_s <= now_s:
            yield self._taken(next(iter(self._steps)))

    def take_surplus(self) -> Iterator[Nameless]:
        """Take the oldest, as long as there are too many."""
        while len(self) > self._max_steps or self._bytes > self._max_bytes:
            yield self._taken(next(iter(self._steps)))

    def take_all(self) -> Iterator[Nameless]:
        """Take everything, the oldest first."""
        while self:
            yield self._taken(next(iter(self._steps)))

    def next_due_s(self) -> float | None:
        """Return when `take_due` has something to do; None while nothing waits."""
        return next(iter(self._steps)).since_s + self._wait_s if self._steps else None

    def _taken(self, nameless: Nameless) -> Nameless:
        del self._steps[nameless]
        self._bytes -= nameless.size
        trace_id = nameless.step.trace_id
        trace = self._traces[trace_id]
        below = nameless.below
        del below.steps[nameless]
        if not below.steps:
            del trace[below.missing]
            if not trace:
                del self._traces[trace_id]
        return nameless


def _size(step: Step) -> int:
    texts = (
        step.service_name, step.operation, step.error_type, step.provider, step.model, step.tool_name,
        step.workflow_name, step.request_model, step.response_model,
    )  # fmt: skip
    return _STEP_BYTES + sum(map(len, texts))

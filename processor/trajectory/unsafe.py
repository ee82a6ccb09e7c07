"""What went through although somebody found it unsafe is counted at once: a run may go on for hours.

Whose step it is and what a call below says too is only known for certain when the run is closed. So the first finding
of each category is counted before, where the step itself names its agent; the others are when the run is closed.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Final

from spanledger.conventions.tallies import SAFETY

if TYPE_CHECKING:
    from spanledger.conventions.run import Run
    from spanledger.conventions.step import Step
    from spanledger.processor.metric_store import MetricStore
    from spanledger.processor.trajectory.group import Group

MAX_TRACES: Final = 10_000
MAX_OF_TRACE: Final = 64


class Unsafe:
    """Counts findings of open runs, and knows which when they are closed. One owner; memory goes with the traces."""

    def __init__(self, table: MetricStore) -> None:
        self._findings = table.counter(SAFETY)
        self._counted: OrderedDict[bytes, set[tuple[str, ...]]] = OrderedDict()
        """Trace -> labels of what was counted of it before its run was closed."""

    def note(self, group: Group, step: Step, *, quiet: bool = False) -> None:
        """Take a step that is new. `quiet`: it was counted in a former life of the process."""
        if step.detail is None or not step.detail.concerns:
            return
        if group.state != "open" or not step.agent_name or step.service_name != group.label[0]:
            return
        for one in step.detail.concerns:
            if one.severity == "critical":
                labels = step.service_name, step.agent_name, one.category, one.severity
                if self._is_first(step.trace_id, labels) and not quiet:
                    self._findings.add(labels, 1, step.trace_id)

    def left(self, run: Run, labels: Sequence[str], amount: int) -> int:
        """Return how much of what a closed run says under these labels is still to be counted."""
        for trace_id in run.trace_ids:
            counted = self._counted.get(bytes.fromhex(trace_id))
            if amount > 0 and counted is not None and tuple(labels) in counted:
                counted.discard(tuple(labels))
                amount -= 1
        return amount

    def forget(self, traces: Iterable[bytes]) -> None:
        """Give up what is known of traces that are gone."""
        for trace_id in traces:
            self._counted.pop(trace_id, None)

    def _is_first(self, trace_id: bytes, labels: tuple[str, ...]) -> bool:
        known = self._counted.setdefault(trace_id, set())
        if labels in known or len(known) >= MAX_OF_TRACE:
            return False  # what is not counted now is counted when the run is closed
        known.add(labels)
        while len(self._counted) > MAX_TRACES:
            self._counted.popitem(last=False)
        return True

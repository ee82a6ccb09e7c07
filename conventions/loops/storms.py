"""The same request failing again and again within a short time, without a pause that grows."""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable, Iterable
from typing import TYPE_CHECKING

from spanledger.conventions.loops.streaks import waits
from spanledger.conventions.loops.timeline import Act

if TYPE_CHECKING:
    from spanledger.conventions.loops.findings import Findings, Place
    from spanledger.conventions.loops.rules import Basis, LoopRules
    from spanledger.conventions.loops.timeline import Call, Timeline


def find_storms(events: Iterable[Place], line: Timeline, rules: LoopRules, findings: Findings) -> None:
    """Look for storms of an agent's model and tool calls; a success ends one."""
    if rules.retry_storm <= 0:
        return
    window_ns = int(rules.retry_window_s * 1e9)
    failures: dict[tuple[Hashable, ...], deque[Place]] = {}
    for number, event in events:
        identity = _request(event)
        if identity is None:
            continue
        if event.step.status != "error":
            failures.pop(identity, None)
            continue
        recent = failures.setdefault(identity, deque())
        if recent and event.step.start_ns < recent[-1][1].step.end_ns:
            continue
        recent.append((number, event))
        while event.step.start_ns - recent[0][1].step.start_ns > window_ns:
            recent.popleft()
        if len(recent) >= rules.retry_storm and not waits(list(recent), line, rules):
            subject = event.tool if isinstance(event, Act) else event.step.model
            basis: Basis = "arguments" if identity[-1] is not None else "names"
            findings.add("retry_storm", subject, identity, list(recent), rules.retry_storm, basis)


def _request(event: Act | Call) -> tuple[Hashable, ...] | None:
    """Return what makes two requests the same: their content, or else their place and target; None if unknown."""
    step = event.step
    if isinstance(event, Act):
        return ("tool", *event.signature) if event.arguments is not None and not event.asked else None
    if event.detail.history:
        return ("model", step.request_model, event.detail.history[-1])
    return ("model", step.request_model or step.model, step.trace_id, step.parent_span_id, None)

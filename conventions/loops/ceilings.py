"""Runs that grow beyond what their agent is known for, or beyond a fixed limit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from spanledger.conventions.loops.found import Loop, fingerprint

if TYPE_CHECKING:
    from spanledger.conventions.loops.found import Span
    from spanledger.conventions.loops.rules import LoopRules, Rule
    from spanledger.conventions.run import Run


@dataclass(frozen=True, slots=True)
class History:
    """The 99th percentiles of an agent's earlier runs; None where there are too few of them."""

    steps: float | None = None
    depth: float | None = None
    duration_s: float | None = None


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a run has come."""

    steps: int = 0
    """Its spans, other reports of the same work included: what is a twin of what is known only at the end."""
    depth: int = 0
    """Agents and workflows above one another."""
    duration_s: float | None = None
    agent_name: str = ""
    trace_id: bytes = b""
    """Of its first step: what tells it from other runs under way, whatever is known of its agent by then."""
    last: Span | None = None
    """The last step so far."""
    started_at_ns: int = 0
    ended_at_ns: int = 0


def progress_of(run: Run) -> Progress:
    """Return how far a run has come."""
    spans = [step for step in run.steps if step.span_id]
    if not spans:
        return Progress()
    first, last = spans[0], spans[-1]
    return Progress(
        steps=sum(1 + len(step.twins) for step in spans),
        depth=run.totals.max_depth,
        duration_s=run.duration_s,
        agent_name=run.agent_name,
        trace_id=bytes.fromhex(first.trace_id),
        last=(bytes.fromhex(last.trace_id), bytes.fromhex(last.span_id)),
        started_at_ns=run.started_at_ns,
        ended_at_ns=run.started_at_ns + int((run.duration_s or 0) * 1e9),
    )


def ceilings(rules: LoopRules, progress: Progress, history: History | None = None) -> tuple[Loop, ...]:
    """Return the ceilings that a run has passed; a fixed one comes before the agent's own."""
    known = history or History()
    factor = rules.ceiling_factor
    limits: tuple[tuple[Rule, float | None, float | None, float | None], ...] = (
        ("depth_ceiling", progress.depth, rules.max_depth, known.depth),
        ("duration_ceiling", progress.duration_s, rules.max_duration_s, known.duration_s),
        ("steps_ceiling", progress.steps, rules.max_steps, known.steps),
    )
    found = []
    for rule, value, fixed, usual in limits:
        limit = fixed if fixed is not None else usual * factor if usual is not None else None
        if value is None or limit is None or value <= limit:
            continue
        found.append(
            Loop(
                rule=rule,
                severity="warning",
                subject=progress.agent_name,
                fingerprint=fingerprint(rule, progress.trace_id),
                spans=(progress.last,) if progress.last is not None else (),
                count=int(value),
                threshold=limit,
                basis="names",
                agent_name=progress.agent_name,
                started_at_ns=progress.started_at_ns,
                ended_at_ns=progress.ended_at_ns,
            )
        )
    return tuple(found)

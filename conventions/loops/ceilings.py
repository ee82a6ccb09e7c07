"""Runs that grow beyond what their agent is known for, or beyond a fixed limit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from spanledger.conventions.loops.found import Loop, fingerprint, span_of
from spanledger.conventions.loops.timeline import key

if TYPE_CHECKING:
    from collections.abc import Sequence

    from spanledger.conventions.loops.found import Span
    from spanledger.conventions.loops.rules import LoopRules, Rule
    from spanledger.conventions.step import Step

_RUNNERS = frozenset({"agent", "workflow"})


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
    depth: int = 0
    """Agents and workflows above one another."""
    duration_s: float | None = None
    agent_name: str = ""
    last: Span | None = None
    """The last step so far."""
    started_at_ns: int = 0
    ended_at_ns: int = 0


def progress_of(steps: Sequence[Step]) -> Progress:
    """Return how far the run of these steps has come."""
    spans = {span_of(step): step for step in sorted(steps, key=key)}
    if not spans:
        return Progress()
    ordered = list(spans.values())
    timed = [step for step in ordered if step.duration_s is not None]
    started = min((step.start_ns for step in timed), default=0)
    ended = max((step.end_ns for step in timed), default=0)
    return Progress(
        steps=len(ordered),
        depth=_depth(spans),
        duration_s=(ended - started) / 1e9 if timed else None,
        agent_name=next((step.agent_name for step in ordered if step.agent_name), ""),
        last=span_of(ordered[-1]),
        started_at_ns=started,
        ended_at_ns=ended,
    )


def _depth(spans: dict[Span, Step]) -> int:
    depths: dict[Span, int] = {}
    for span in spans:
        path: list[Span] = []
        current = span
        while current in spans and current not in depths and len(path) <= len(spans):
            path.append(current)
            depths[current] = 0  # a circle ends here
            current = current[0], spans[current].parent_span_id
        depth = depths.get(current, 0)
        for above in reversed(path):
            depth += spans[above].kind in _RUNNERS
            depths[above] = depth
    return max(depths.values(), default=0)


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
                fingerprint=fingerprint(rule, progress.agent_name),
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

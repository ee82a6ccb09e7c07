"""A finding, and what it cost: the steps that repeat, and the model calls that did nothing but ask for them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

from spanledger.conventions.loops.timeline import Act
from spanledger.conventions.run import Finding

if TYPE_CHECKING:
    from spanledger.conventions.loops.rules import Basis, Rule
    from spanledger.conventions.loops.timeline import Call, Timeline
    from spanledger.conventions.run import Severity
    from spanledger.conventions.step import Step

Span = tuple[bytes, bytes]
"""Trace id and span id."""

_KINDS: Mapping[str, str] = {
    "retry_storm": "storm",
    "steps_ceiling": "ceiling",
    "depth_ceiling": "ceiling",
    "duration_ceiling": "ceiling",
}
KINDS = frozenset({"loop", *_KINDS.values()})
"""Of findings that are loops."""
_OF_CALLS = frozenset({"output_repeat", "retry_storm"})
_CRITICAL = 3
"""Times the threshold."""


@dataclass(frozen=True, slots=True)
class Loop:
    """One finding. Money in pico-dollars; None where no wasted call has a price."""

    rule: Rule
    severity: Severity
    subject: str
    """What tool, model or pair of tools it is about."""
    fingerprint: str
    """Of rule, subject and digests: the same loop has the same while the process lives. Says nothing of content."""
    spans: tuple[Span, ...]
    """The steps, in order; the model calls that asked, where tools have no spans."""
    count: int
    """Repeats, the first one included; rounds of a cycle; for a ceiling what was reached."""
    threshold: float
    basis: Basis
    agent_name: str = ""
    wasted_tokens: int | None = None
    wasted_pico_usd: int | None = None
    started_at_ns: int = 0
    ended_at_ns: int = 0

    @property
    def kind(self) -> str:
        """`loop`, `storm` or `ceiling`."""
        return _KINDS.get(self.rule, "loop")

    @property
    def wasted_usd(self) -> float | None:
        """The waste in dollars."""
        return None if self.wasted_pico_usd is None else self.wasted_pico_usd / 1e12

    def finding(self, indexes: Mapping[Span, int]) -> Finding:
        """Return the finding of a run document; `indexes` says where each span is in its run."""
        steps = dict.fromkeys(indexes[span] for span in self.spans if span in indexes)
        return Finding(self.kind, self.rule, self.severity, tuple(steps), self.detail())

    def detail(self) -> dict[str, Any]:
        """Return what there is to say beyond kind, rule, severity and steps."""
        return {
            "subject": self.subject,
            "fingerprint": self.fingerprint,
            "count": self.count,
            "threshold": self.threshold,
            "basis": self.basis,
            "wasted_tokens": self.wasted_tokens,
            "wasted_usd": self.wasted_usd,
            "first_span_id": self.spans[0][1].hex() if self.spans else None,
            "last_span_id": self.spans[-1][1].hex() if self.spans else None,
        }


@dataclass(slots=True, eq=False)
class Repeats:
    """What a rule found of one subject so far, in one streak or several."""

    rule: Rule
    subject: str
    identity: object
    threshold: int
    basis: Basis
    period: int = 1
    members: dict[int, Act | Call] = field(default_factory=dict)
    """By their place in the timeline."""
    firsts: set[int] = field(default_factory=set)
    """Rounds that are not wasted: each streak has a first one."""


def fingerprint(rule: str, identity: object) -> str:
    """Return a name for what a finding is about."""
    return blake2b(repr((rule, identity)).encode("utf-8", "replace"), digest_size=8).hexdigest()


def span_of(step: Step) -> Span:
    """Return the ids of a step."""
    return step.trace_id, step.span_id


def loop_of(found: Repeats, line: Timeline) -> Loop:
    """Return the finding, with what it cost."""
    members = [found.members[place] for place in sorted(found.members)]
    steps = list({span_of(member.step): member.step for member in members}.values())
    count = len(members) // found.period
    tokens, cost = _waste(found, line)
    return Loop(
        rule=found.rule,
        severity="critical" if count >= _CRITICAL * found.threshold else "warning",
        subject=found.subject,
        fingerprint=fingerprint(found.rule, found.identity),
        spans=tuple(map(span_of, steps)),
        count=count,
        threshold=found.threshold,
        basis=found.basis,
        agent_name=next((step.agent_name for step in steps if step.agent_name), ""),
        wasted_tokens=tokens,
        wasted_pico_usd=cost,
        started_at_ns=steps[0].start_ns,
        ended_at_ns=max(step.end_ns for step in steps),
    )


def _waste(found: Repeats, line: Timeline) -> tuple[int | None, int | None]:
    """Return tokens and money of the model calls that were made again for nothing."""
    rounds = _wasted_rounds(found, line)
    tokens: int | None = None
    cost: int | None = None
    for call in line.spending:
        step = call.step
        if call.round not in rounds or (step.cost is not None and step.cost.status == "rollup"):
            continue
        if step.usage is not None and step.usage.known:
            tokens = (tokens or 0) + (step.usage.input or 0) + (step.usage.output or 0)
        if step.cost is not None and step.cost.total is not None:
            cost = (cost or 0) + step.cost.total
    return tokens, cost


def _wasted_rounds(found: Repeats, line: Timeline) -> set[int]:
    """Return the rounds after the first in which nothing but the repeats was done."""
    rounds = {member.round for member in found.members.values()} - found.firsts
    if found.rule in _OF_CALLS:
        return rounds
    return rounds - {
        event.round for place, event in enumerate(line.events) if isinstance(event, Act) and place not in found.members
    }

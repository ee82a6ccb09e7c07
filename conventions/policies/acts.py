"""What a step does, as far as a policy may have a say in it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Final

from spanledger.conventions.subject import Subject, subject_of_step

if TYPE_CHECKING:
    from spanledger.conventions.policies.policy import Action, Approval
    from spanledger.conventions.run import Run, RunStep

_REFUSED: Final = re.compile(
    r"denied|deny|block|forbid|forbidden|permission|not_?allowed|reject|unauthori[sz]ed|sandbox|guardrail|policy"
    r"|cancelled_by_user|user_?(?:cancel|abort)",
    re.IGNORECASE,
)
"""Error types of a tool that was not let run."""


@dataclass(frozen=True, slots=True)
class Act:
    """One step, in the eyes of a policy. Text is "" where the step is not about it."""

    key: bytes
    """Trace id and span id."""
    agent_name: str
    subject: Subject
    kind: str = ""
    tool_name: str = ""
    action: Action = "executed"
    """Of the tool."""
    asks: tuple[str, ...] = ()
    """Tools that a model's answer asks for."""
    model: str = ""
    provider: str = ""
    delegate: str = ""
    """The agent that work is handed to."""
    started_ns: int = 0
    index: int = -1
    """Its place in the run; -1 while that is not known."""
    keys: tuple[bytes, ...] = field(default=(), compare=False)
    """Other reports of the same step."""

    def approves(self, evidence: Sequence[str]) -> Approval | None:
        """Return what a person said here; None where nobody was asked."""
        return approval_of(self.kind, self.tool_name, self.action, evidence)


def approval_of(kind: str, tool_name: str, action: Action, evidence: Sequence[str]) -> Approval | None:
    """Return what a person said in a step; None where nobody was asked."""
    name = tool_name.lower()
    if kind == "human" or (kind == "tool" and any(fnmatchcase(name, glob) for glob in evidence)):
        return "granted" if action == "executed" else "denied"
    return None


def action_of(status: str, error_type: str | None) -> Action:
    """Return how far a tool call came. One that failed was let run, unless its error says that it was not."""
    return "blocked" if status == "error" and error_type and _REFUSED.search(error_type[:256]) else "executed"


def acts_of(run: Run) -> list[Act]:
    """Return what the steps of a run do, in order of their start."""
    takers: dict[int, str] = {handoff.step: handoff.taker for handoff in run.handoffs}
    givers: dict[int, str] = {handoff.step: handoff.giver for handoff in run.handoffs}
    told: Counter[bytes] = Counter()
    return [act for step in run.steps for act in _acts(run, step, takers, givers, told)]


def _acts(
    run: Run, step: RunStep, takers: dict[int, str], givers: dict[int, str], told: Counter[bytes]
) -> Iterator[Act]:
    trace_id = bytes.fromhex(step.trace_id)
    span = bytes.fromhex(step.span_id) or _told(run, step, told)
    keys = tuple(trace_id + bytes.fromhex(twin) for twin in step.twins)
    agent = step.agent_name or run.agent_name
    if step.index in takers:  # the giver's act, though the step is the taker's
        giver = Subject((givers[step.index],), run.service_name, run.user_id or "", dimensions=run.dimensions)
        yield Act(
            trace_id + span + b" handoff", givers[step.index], giver, delegate=takers[step.index],
            started_ns=step.started_at_ns, index=step.index,
        )  # fmt: skip
    if step.kind not in ("tool", "llm", "embedding", "human"):
        return
    subject = subject_of_step(run, step)
    own = Subject((agent,), subject.service_name, subject.user_id, subject.provider, subject.model, run.dimensions)
    called = step.kind in ("llm", "embedding") and step.cost_status != "rollup"
    yield Act(
        trace_id + span,
        agent,
        own,
        step.kind,
        tool_name=step.tool_name or step.name if step.kind == "tool" else "",
        action=action_of(step.status, step.error_type),
        asks=step.asks if called else (),
        model=step.model or "" if called else "",
        provider=step.provider or "" if called else "",
        started_ns=step.started_at_ns,
        index=step.index,
        keys=keys,
    )


def _told(run: Run, step: RunStep, told: Counter[bytes]) -> bytes:
    """Return a name for a tool that no span reports, the same in every revision: the call that asked, and which."""
    asker = run.steps[step.requested_by].span_id if step.requested_by is not None else ""
    name = f"told {asker} {step.tool_call_id or ''} {step.tool_name or step.name}".encode("utf-8", "replace")
    told[name] += 1
    return name + b" %d" % told[name]

"""Policies: every step is held against them once, as soon as it is known whose it is.

Spans come children first, and mostly only an agent's own span names it. So a step waits until the span of an agent
above it has come; what is left, and what only a whole run shows, such as who handed work to whom, is looked at when
the run is closed, and with each revision.
"""

from __future__ import annotations

from bisect import insort
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Annotated, Final

import pydantic

from spanledger.conventions.policies import (
    APPROVAL_TOOLS,
    Act,
    ApprovalRule,
    Names,
    Policy,
    Ruling,
    acts_of,
    rule,
)
from spanledger.conventions.policies.acts import action_of
from spanledger.conventions.step import Step
from spanledger.conventions.subject import Subject
from spanledger.processor.component import Settings
from spanledger.processor.retold import RetoldTools
from spanledger.processor.step_metrics import ToolCalls
from spanledger.processor.trajectory import events
from spanledger.processor.trajectory.matching import Match

if TYPE_CHECKING:
    from spanledger.conventions.run import Run
    from spanledger.processor.component import Host
    from spanledger.processor.trajectory.group import Label
    from spanledger.processor.trajectory.outbox import Outbox
    from spanledger.processor.trajectory.records import Record

MAX_POLICIES: Final = 200
MAX_TRACES: Final = 50_000
_ACTIONS: Final = ("attempted", "executed", "blocked")
_JUDGED: Final = frozenset({"tool", "llm", "embedding", "human"})
_OWNERS: Final = ("agent_name", "service_name")
_MAX_ASKED: Final = 4_096
_MAX_UP: Final = 512

_Globs = list[Annotated[str, pydantic.Field(min_length=1, max_length=256)]]


class NamesConfig(Settings):
    """What is allowed, and what is not. Globs; a case matters."""

    allow: _Globs | None = None
    """Only these; without the key, everything that `deny` does not name."""
    deny: _Globs = pydantic.Field(default_factory=list)
    """Not these, whatever `allow` says."""

    @pydantic.model_validator(mode="after")
    def _says_something(self) -> NamesConfig:
        if self.allow is None and not self.deny:
            raise ValueError("neither allow nor deny is there: everything would be allowed")
        return self

    def names(self) -> Names:
        """Return them as a rule."""
        return Names(None if self.allow is None else tuple(self.allow), tuple(self.deny))


class ApprovalConfig(Settings):
    """What a person has to approve first."""

    tools: _Globs = pydantic.Field(min_length=1)
    """Tools that need it."""
    within_steps: Annotated[int, pydantic.Field(ge=1, le=1_000)] = 10
    """How many steps before the call the approval may lie: calls of models and tools."""
    evidence: _Globs = pydantic.Field(default_factory=lambda: list(APPROVAL_TOOLS))
    """Tools (globs, in lower case) whose success is an approval; a step of the kind `human` is one too."""


class PolicyConfig(Settings):
    """What some agents may do. Violations are counted and told of; nothing is held back."""

    name: str = pydantic.Field(min_length=1, max_length=128)
    """What it is called in metrics and events."""
    match: Match = pydantic.Field(default_factory=dict)
    """Globs that all have to fit, as for budgets; `agent_name` is who does it. Empty for everybody."""
    tools: NamesConfig | None = None
    """Tools that may be asked for and called."""
    models: NamesConfig | None = None
    """Models that may be called, by the name that answered."""
    providers: NamesConfig | None = None
    """Providers that may be called, such as `openai` or `aws.bedrock`."""
    delegation: NamesConfig | None = None
    """Agents that work may be handed to. Looked at when a run is closed."""
    approval: ApprovalConfig | None = None

    @pydantic.model_validator(mode="after")
    def _rules(self) -> PolicyConfig:
        if not any((self.tools, self.models, self.providers, self.delegation, self.approval)):
            raise ValueError(
                f"policy {self.name!r} has no rule: give it tools, models, providers, delegation or approval"
            )
        return self

    def policy(self) -> Policy:
        """Return the policy."""
        names = (self.tools, self.models, self.providers, self.delegation)
        tools, models, providers, delegation = (one.names() if one is not None else None for one in names)
        needed = self.approval
        approval = (
            None
            if needed is None
            else ApprovalRule(tuple(needed.tools), needed.within_steps, tuple(needed.evidence))
        )  # fmt: skip
        return Policy(self.name, self.match, tools, models, providers, delegation, approval)


@dataclass(slots=True)
class _Trace:
    """What is known of one trace."""

    above: dict[bytes, tuple[bytes, str]] = field(default_factory=dict)
    """Span id -> the span above it, and the agent that it names."""
    waiting: dict[bytes, list[Act]] = field(default_factory=dict)
    """Span id that has not come -> acts below it whose agent it may know."""
    judged: set[bytes] = field(default_factory=set)
    """Keys of acts that were held against the policies."""
    asked: set[str] = field(default_factory=set)
    """Ids of tool calls that a model has asked for: the next call may tell of them again."""
    course: list[tuple[int, bytes, Act]] = field(default_factory=list)
    """Acts in order of their start, where approvals count."""


class Compliance:
    """Holds steps against policies. One owner; memory goes with the traces."""

    def __init__(self, policies: Sequence[Policy], host: Host, outbox: Outbox) -> None:
        self._policies = policies
        self._host = host
        self._outbox = outbox
        self._window = max((one.approval.within_steps for one in policies if one.approval is not None), default=0)
        self._traces: OrderedDict[bytes, _Trace] = OrderedDict()
        self._told = ToolCalls()
        self._retold = RetoldTools()
        self._evaluations = host.metrics.counter("spanledger_policy_evaluations_total")
        self._violations = host.metrics.counter("spanledger_policy_violations_total")

    def see(self, label: Label) -> None:
        """Create the series of an agent, but for those of its tools: so that its first violation is an increase."""
        subject = Subject((label[1],), label[0])
        for policy in self._policies:
            if subject.fits({name: glob for name, glob in policy.match.items() if name in _OWNERS}):
                for rule_name in ("models", "providers", "delegation"):
                    if getattr(policy, rule_name) is not None:
                        self._zero((policy.name, rule_name, *label, ""))

    def note(self, record: Record, *, quiet: bool = False) -> None:
        """Take a span of a run under way, or one that came late. `quiet`: it was told of before."""
        trace = self._traces.get(record.trace_id)
        if trace is None:
            trace = self._traces[record.trace_id] = _Trace()
            if len(self._traces) > MAX_TRACES:
                self._traces.popitem(last=False)
        agent = record.agent_name if isinstance(record, Step) else ""
        trace.above.setdefault(record.span_id, (record.parent_span_id, agent))
        if isinstance(record, Step) and record.kind in _JUDGED:
            act = self._act(trace, record)
            if act is not None:
                self._place(trace, record.span_id, act, quiet=quiet)
        for act in trace.waiting.pop(record.span_id, ()):
            self._place(trace, record.span_id, act, quiet=quiet)

    def close(self, run: Run) -> None:
        """Take what a closed run says beyond its steps, and steps of which nothing said until now whose they are."""
        acts = acts_of(run)
        for place, act in enumerate(acts):
            trace = self._traces.setdefault(act.key[:16], _Trace())
            if trace.judged.isdisjoint((act.key, *act.keys)):
                trace.judged.add(act.key)
                self._judge(act, acts[max(0, place - self._window) : place], run.run_id)
        for trace_id in run.trace_ids:
            if (known := self._traces.get(bytes.fromhex(trace_id))) is not None:
                known.waiting.clear()

    def forget(self, traces: Iterable[bytes]) -> None:
        """Give up what is known of traces that are gone."""
        for trace_id in traces:
            self._traces.pop(trace_id, None)

    # -- whose it is --

    def _act(self, trace: _Trace, step: Step) -> Act | None:
        """Return what a step does; None if it was told before, or only wraps what others tell."""
        key = step.trace_id + step.span_id
        if key in trace.judged:
            return None
        asks: tuple[str, ...] = ()
        if step.kind == "tool":
            if not self._told.is_new(step, None) or (step.retold and not self._retold.is_new(step)):
                trace.judged.add(key)
                return None
        elif step.kind != "human":
            if step.cost is not None and step.cost.status == "rollup":
                return None
            asks = tuple(self._asks(trace, step))
        called = step.kind in ("llm", "embedding")
        return Act(
            key, step.agent_name, _subject(step, step.agent_name), step.kind,
            tool_name=step.tool_name or step.name if step.kind == "tool" else "",
            action=action_of(step.status, step.error_type), asks=asks,
            model=step.model if called else "", provider=step.provider if called else "", started_ns=step.start_ns,
        )  # fmt: skip

    def _asks(self, trace: _Trace, step: Step) -> Iterator[str]:
        for request in step.detail.requests if step.detail is not None else ():
            if request.id and request.id in trace.asked:
                continue
            if request.id and len(trace.asked) < _MAX_ASKED:
                trace.asked.add(request.id)
            if request.name:
                yield request.name

    def _place(self, trace: _Trace, span_id: bytes, act: Act, *, quiet: bool) -> None:
        """Judge an act if its agent is known by now; else let it wait for the span above that may name one."""
        if not act.agent_name:
            for _ in range(_MAX_UP):
                above, agent = trace.above[span_id]
                if agent:
                    act = replace(act, agent_name=agent, subject=replace(act.subject, agents=(agent,)))
                    break
                if not above or above == span_id:
                    return  # nobody above: its run says it when it is closed
                if above not in trace.above:
                    trace.waiting.setdefault(above, []).append(act)
                    return
                span_id = above
            else:
                return
        trace.judged.add(act.key)
        before: list[Act] = []
        if self._window:
            entry = (act.started_ns, act.key, act)
            place = sum(one[:2] < entry[:2] for one in trace.course[-4 * self._window :])
            cut = max(0, len(trace.course) - 4 * self._window) + place
            before = [one[2] for one in trace.course[max(0, cut - self._window) : cut]]
            insort(trace.course, entry, key=lambda one: one[:2])
        if not quiet:
            self._judge(act, before, "")

    # -- telling --

    def _judge(self, act: Act, before: Sequence[Act], run_id: str) -> None:
        service_name = act.subject.service_name
        for ruling in rule(self._policies, act, before):
            who = (ruling.policy, ruling.rule, service_name, act.agent_name, ruling.tool_name)
            self._zero(who)
            self._evaluations.add((*who, ruling.action), 1, act.key[:16])
            if not ruling.allowed:
                self._violations.add((*who, ruling.action), 1, act.key[:16])
                self._tell(ruling, service_name, run_id)

    def _zero(self, who: tuple[str, ...]) -> None:
        if self._violations.get((*who, _ACTIONS[-1])) is not None:
            return
        for action in _ACTIONS:
            self._evaluations.add((*who, action), 0)
            self._violations.add((*who, action), 0)

    def _tell(self, ruling: Ruling, service_name: str, run_id: str) -> None:
        self._outbox.put(service_name, events.violated(ruling, run_id, self._host.clock_ns()))


def _subject(step: Step, agent_name: str) -> Subject:
    said = step.detail.dimensions if step.detail is not None else {}
    return Subject((agent_name,), step.service_name, step.user_id, step.provider, step.model, said)

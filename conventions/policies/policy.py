"""A policy, and what it says of an act."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Final, Literal

if TYPE_CHECKING:
    from spanledger.conventions.policies.acts import Act

PolicyRule = Literal["tools", "models", "providers", "delegation", "approval"]
Action = Literal["attempted", "executed", "blocked"]
"""A model asked for it; it was done, well or not; it was refused, by a sandbox, a guardrail or a person."""
Approval = Literal["granted", "denied", "missing"]

APPROVAL_TOOLS: Final = (
    "*approval*", "approve_*", "request_approv*", "request_confirm*", "user_confirm*", "ask_user*", "ask_human*",
    "askuserquestion", "human_input*", "get_human*", "human_in_the_loop*",
)  # fmt: skip
"""Tools that ask a person, by their names in lower case."""


@dataclass(frozen=True, slots=True)
class Names:
    """Globs. What `deny` names is not allowed, nor what `allow` does not name, unless that is None."""

    allow: tuple[str, ...] | None = None
    deny: tuple[str, ...] = ()

    def allows(self, name: str) -> bool:
        """Tell whether a name is allowed."""
        if any(fnmatchcase(name, glob) for glob in self.deny):
            return False
        return self.allow is None or any(fnmatchcase(name, glob) for glob in self.allow)


@dataclass(frozen=True, slots=True)
class ApprovalRule:
    """Tools that a person has to approve, at most so many steps before."""

    tools: tuple[str, ...]
    within_steps: int
    evidence: tuple[str, ...] = APPROVAL_TOOLS


@dataclass(frozen=True, slots=True)
class Policy:
    """What some agents may do. None for what it says nothing of."""

    name: str
    match: Mapping[str, str] = field(default_factory=dict)
    tools: Names | None = None
    models: Names | None = None
    providers: Names | None = None
    delegation: Names | None = None
    """Agents that work may be handed to."""
    approval: ApprovalRule | None = None


@dataclass(frozen=True, slots=True)
class Ruling:
    """What one rule of a policy says of one act."""

    policy: str
    rule: PolicyRule
    act: Act
    subject: str
    """The tool, model, provider or agent."""
    action: Action
    allowed: bool

    @property
    def tool_name(self) -> str:
        """The tool, where it is about one."""
        return self.subject if self.rule in ("tools", "approval") else ""


def window_of(policies: Sequence[Policy]) -> int:
    """Return how many acts before one have to be known to judge it."""
    return max((one.approval.within_steps for one in policies if one.approval is not None), default=0)


def rule(policies: Sequence[Policy], act: Act, before: Sequence[Act]) -> Iterator[Ruling]:
    """Yield what every rule that is about an act says of it.

    `before` are the acts of the run that began earlier, the last `window_of` of them or more.
    """
    for policy in policies:
        if act.subject.fits(policy.match):
            yield from _rule(policy, act, before)


def _rule(policy: Policy, act: Act, before: Sequence[Act]) -> Iterator[Ruling]:
    if act.tool_name:
        yield from _rule_tool(policy, act, act.tool_name, act.action, before)
    for asked in act.asks:
        yield from _rule_tool(policy, act, asked, "attempted", before)
    said: tuple[tuple[PolicyRule, Names | None, str], ...] = (
        ("models", policy.models, act.model),
        ("providers", policy.providers, act.provider),
        ("delegation", policy.delegation, act.delegate),
    )
    for kind, names, name in said:
        if names is not None and name:
            yield Ruling(policy.name, kind, act, name, "executed", names.allows(name))


def _rule_tool(
    policy: Policy, act: Act, tool_name: str, action: Action, before: Sequence[Act]
) -> Iterator[Ruling]:  # fmt: skip
    if policy.tools is not None:
        yield Ruling(policy.name, "tools", act, tool_name, action, policy.tools.allows(tool_name))
    needed = policy.approval
    # What was asked for may be approved between the answer and the call: only the call can lack it.
    if needed is None or action == "attempted" or not any(fnmatchcase(tool_name, glob) for glob in needed.tools):
        return
    last = before[-needed.within_steps :]
    approved = action == "blocked" or any(one.approves(needed.evidence) == "granted" for one in last)
    yield Ruling(policy.name, "approval", act, tool_name, action, approved)

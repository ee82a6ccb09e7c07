"""Who does each step of a run, and by what that is known.

* `span`: the step's own span names its agent.
* `above`: it is the work of what lies above it, in the same service, or reported by that too (a gateway's call).
* `delegated`: it lies below a tool that hands work to the agent which its arguments name.
* `asked`: it is a tool that the model of this agent asked for, and lies beside that call.
* `service`: the work lies in another service than the agent that called it, which names no agent of its own: it
  goes by the name of that service, and not by its caller's.
* `node`: several nodes of one graph call models, so each is an agent of its team.
* `around`: nothing names an agent, and the span around the work has a name like one: that of an unnamed agent or
  workflow, or the smallest around the whole run.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from spanledger.conventions.step import Bridge

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from spanledger.conventions.trajectory.order import Placed
    from spanledger.conventions.trajectory.tree import Node

_NAME: Final = re.compile(r"(?!invoke_agent$)[A-Za-z][A-Za-z0-9_-]{1,63}")
"""Names as agents have them: no sentences, no paths, no methods of classes, and not that of the operation."""
_ACTOR: Final = re.compile(r"agent|assistant|copilot|crew|team|bot(?![a-z])", re.IGNORECASE)
_RUNNABLES: Final = re.compile(
    r"Runnable\w*|\w*StateGraph|LangGraph|Chain|main|handler|invocation|step|request|run|call|stream|(call_)?model(_request)?|tools"
)
_NODE: Final = "agent"
"""What LangGraph's ready-made agents call their node that asks the model; whose tools it has is one of that name."""
_INTERNAL: Final = frozenset({0, 1})
"""Span kinds of what neither is called nor calls over a border."""


def name_agents(steps: Sequence[Placed], requested_by: Mapping[int, int], top: Node | None) -> None:
    """Fill in the agent of each step.

    `requested_by`: tool -> the call that asked for it. `top`: the span that the run is the work of, if there is one.
    """
    for step in steps:  # parents come first, and who asked before what was asked for
        above = steps[step.parent] if step.parent is not None else None
        _inherit(step, above)
        asker = steps[requested_by[step.index]] if step.index in requested_by else None
        if asker is not None and asker.agent and asker.parent == step.parent and step.agent_basis in (None, "above"):
            step.agent, step.agent_basis = asker.agent, "asked"
    _name_team(steps)
    if not any(step.agent for step in steps) and (name := _name_around(steps, top)):
        for step in steps:
            step.agent, step.agent_basis = name, "around"


def _inherit(step: Placed, above: Placed | None) -> None:
    if step.step.agent_name:
        step.agent, step.agent_basis = step.step.agent_name, "span"
    elif step.is_runner and _names_actor(step.step.workflow_name or step.step.name):
        step.agent, step.agent_basis = step.step.workflow_name or step.step.name, "around"
    elif named := _structure_above(step.node, above.node if above is not None else None):
        step.agent, step.agent_basis = named, "above"
    elif above is None:
        return
    elif above.detail is not None and above.detail.delegate:
        step.agent, step.agent_basis = above.detail.delegate, "delegated"
    elif not above.agent:
        return
    elif step.step.service_name in (above.step.service_name, "") or _is_reported_by(above.step.service_name, step):
        step.agent, step.agent_basis = above.agent, "service" if above.agent_basis == "service" else "above"
    else:
        step.agent, step.agent_basis = step.step.service_name, "service"


def _is_reported_by(service: str, step: Placed) -> bool:
    """Tell whether a service reports a step, too: a call through a gateway is its caller's."""
    return any(twin.step is not None and twin.step.service_name == service for twin in step.node.twins)


def _names_actor(name: str) -> bool:
    return _NAME.fullmatch(name) is not None and _ACTOR.search(name) is not None


def _structure_above(node: Node, step: Node | None) -> str:
    """Return the agent that a span between a step and the one above it names, the nearest first."""
    for above in node.ancestors():
        if above is step:
            return ""
        if above.step is not None and above.step.kind == "other" and above.step.agent_name:
            return above.step.agent_name
    return ""


def _name_team(steps: Sequence[Placed]) -> None:
    """Name the members of a team by their nodes, where a graph has several that call models."""
    members = {_member(step) for step in steps if step.step.kind == "llm"} - {""}
    if len(members) < 2:
        return
    for step in steps:
        node = step.detail.node if step.detail is not None else ""
        if node in members and step.agent_basis != "span":
            step.agent, step.agent_basis = node, "node"


def _member(call: Placed) -> str:
    if call.agent_basis == "span":
        return call.agent
    return call.detail.node if call.detail is not None else ""


def _name_around(steps: Sequence[Placed], top: Node | None) -> str:
    """Return the name of the smallest span around all steps that has a name like an agent's."""
    common: list[Node] | None = None
    calls = {step.step.name for step in steps if step.is_call}
    has_tools = any(step.step.kind == "tool" for step in steps)
    for step in steps:
        if not (step.is_call or step.step.kind == "tool") or not step.step.span_id:
            continue
        path = list(step.node.ancestors())
        kept = set(path)
        common = path if common is None else [node for node in common if node in kept]
    for node in common or ():
        record = node.record
        if isinstance(record, Bridge):  # an application has spans for many things
            named = record.kind in _INTERNAL and _names_actor(record.name)
        else:
            named = record.kind in _AROUND and _NAME.fullmatch(record.name) is not None
        if record.name == _NODE and node.parent is not None and not has_tools:
            named = False
        if named and record.name not in calls and not _RUNNABLES.fullmatch(record.name):  # what tries a call again
            return record.name
        if node is top:
            break
    return ""


_AROUND: Final = frozenset({"agent", "workflow", "other"})

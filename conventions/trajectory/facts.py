"""What a run is called, whom it belongs to, and who gave work to whom."""

from __future__ import annotations

from hashlib import blake2b
from typing import TYPE_CHECKING, Final, Literal

from spanledger.conventions.details.delegates import hands_over
from spanledger.conventions.run import Handoff, RunEvaluation

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from spanledger.conventions.trajectory.edges import Judgement
    from spanledger.conventions.trajectory.order import Placed
    from spanledger.conventions.trajectory.tree import Key, Node

TextField = Literal["conversation_id", "user_id", "service_name", "workflow_name"]

_MAX_HANDOFFS: Final = 256
_OWN: Final = frozenset({"span", "above", "asked", "node"})
"""How an agent's name is known that is its own."""


def said(steps: Sequence[Placed], name: TextField) -> str:
    """Return what the topmost step says that says anything, of equals the first; "" for nothing."""
    best, depth = "", None
    for step in steps:
        if (text := getattr(step.step, name)) and (depth is None or step.depth < depth):
            best, depth = text, step.depth
    return best


def agent_of(steps: Sequence[Placed]) -> str:
    """Return the agent that a run is called by: the outermost that has a name, else its workflow.

    What only a caller, a service or the span around names comes after what is named by itself, and whom a workflow
    asked by a tool of its own after that workflow.
    """
    named = [step for step in steps if step.agent]
    runners = (step for step in named if step.is_runner and step.agent_basis in _OWN)
    first = min(runners, key=lambda step: step.depth, default=None) or next(
        (step for step in named if step.agent_basis in _OWN), None
    )
    if first is not None:
        return _asking_workflow(steps, first) or first.agent
    around = next((step.agent for step in named if step.agent_basis == "around"), "")
    return around or said(steps, "workflow_name")


def _asking_workflow(steps: Sequence[Placed], agent: Placed) -> str:
    """Return the workflow whose tool an agent is the work of; "" where there is none."""
    is_asked, place = False, agent.parent
    while place is not None:
        above = steps[place]
        is_asked = is_asked or above.step.kind == "tool"
        if is_asked and above.step.workflow_name:
            return above.step.workflow_name
        place = above.parent
    return ""


def dimensions_of(steps: Sequence[Placed]) -> dict[str, str]:
    """Return the run's value of each dimension: the topmost, of equals the first."""
    found: dict[str, str] = {}
    saying = [step for step in steps if step.detail is not None and step.detail.dimensions]
    for step in sorted(saying, key=lambda step: step.depth):
        if step.detail is not None:
            for name, value in step.detail.dimensions.items():
                found.setdefault(name, value)
    return dict(sorted(found.items()))


def fingerprints_of(steps: Sequence[Placed]) -> dict[str, str]:
    """Return agent -> a digest of the instructions, tools and model of its first call that says any of them."""
    found: dict[str, str] = {}
    for step in steps:
        detail = step.detail
        if step.agent in found or not step.agent or not step.is_call or detail is None:
            continue
        if detail.prompt is not None or detail.tools is not None:
            what = f"{detail.prompt}|{detail.tools}|{step.step.request_model or step.step.model}"
            found[step.agent] = blake2b(what.encode("utf-8", "replace"), digest_size=8).hexdigest()
    return dict(sorted(found.items()))


def handoffs_of(steps: Sequence[Placed]) -> tuple[Handoff, ...]:
    """Return who gave work to whom: agents below agents, and named agents one after the other below one parent.

    A tool that hands work to an agent counts where that agent has no step of its own below it.
    """
    found: list[Handoff] = []
    before: dict[int | None, Placed] = {}
    begun = {step.parent for step in steps if step.is_runner}
    for step in steps:
        delegate = step.detail.delegate if step.detail is not None else ""
        if delegate and step.step.kind == "tool" and step.index not in begun and step.agent != delegate:
            kind: Literal["delegation", "handoff"] = "handoff" if hands_over(step.step.tool_name) else "delegation"
            found.append(Handoff(step.agent, delegate, step.index, kind))
        if not step.is_runner or not step.step.agent_name:
            continue
        parent = steps[step.parent] if step.parent is not None else None
        above = parent.agent if parent is not None and parent.agent_basis != "around" else ""
        last = before.get(step.parent)
        if above and above != step.agent:
            found.append(Handoff(above, step.agent, step.index, "delegation"))
        elif last is not None and last.agent != step.agent and last.end <= step.start:
            found.append(Handoff(last.agent, step.agent, step.index, "handoff"))
        before[step.parent] = step
    return tuple(found[:_MAX_HANDOFFS])


def evaluations_of(
    steps: Sequence[Placed], given: Iterable[Judgement], traces: frozenset[bytes], session: str
) -> tuple[RunEvaluation, ...]:
    """Return the evaluations of a run: of its spans, and of those given apart the ones that are about it.

    A span that only evaluates judges its parent, or with none above it the run, unless it says that it judges
    another. What names a response judges that; what names a span judges its step, or the step above it; what names
    only a conversation judges the run.
    """
    given = tuple(given)
    if not given and not any(step.detail is not None and step.detail.evaluations for step in steps):
        return ()
    by_response: dict[str, int] = {}
    by_span: dict[Key, int] = {}
    for step in steps:
        if step.step.response_id and step.step.kind != "evaluation":
            by_response.setdefault(step.step.response_id, step.index)
        for node in (step.node, *step.node.twins):
            if node.record.span_id:
                by_span.setdefault(node.key, step.index)
            _claim_structure(node, step.index, by_span)
    found: dict[RunEvaluation, None] = {}
    for step in steps:
        for evaluation in step.detail.evaluations if step.detail is not None else ():
            about: int | None = step.parent if step.step.kind == "evaluation" else step.index
            if evaluation.response_id in by_response:
                found[RunEvaluation(evaluation, by_response[evaluation.response_id], "response_id")] = None
            elif about is not None or not (evaluation.response_id or evaluation.conversation_id not in ("", session)):
                found[RunEvaluation(evaluation, about, "parent")] = None
    own = {one.evaluation for one in found}
    for judgement in given:
        evaluation = judgement.evaluation
        if not judgement.trace_id and evaluation in own:
            continue  # it came on a span of this very run
        span = by_span.get((judgement.trace_id, judgement.span_id))
        if evaluation.response_id in by_response:
            found[RunEvaluation(evaluation, by_response[evaluation.response_id], "response_id")] = None
        elif span is not None:
            found[RunEvaluation(evaluation, span, "parent")] = None
        elif judgement.trace_id in traces and judgement.trace_id:
            found[RunEvaluation(evaluation, None, "parent")] = None
        elif session and judgement.conversation_id == session and not evaluation.response_id:
            found[RunEvaluation(evaluation, None, "conversation")] = None
    return tuple(sorted(found, key=_rank))


def _claim_structure(node: Node, index: int, by_span: dict[Key, int]) -> None:
    """Let spans below a step that are no steps themselves lead to it."""
    waiting = [child for child in node.children if child.step is None or child.step.kind == "other"]
    while waiting:
        child = waiting.pop()
        by_span.setdefault(child.key, index)
        waiting.extend(one for one in child.children if one.step is None or one.step.kind == "other")


def _rank(one: RunEvaluation) -> tuple[int, int, str, str]:
    return -1 if one.step is None else one.step, one.evaluation.at_ns, one.evaluation.name, repr(one)

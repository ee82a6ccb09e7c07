"""The last resort: reports of one piece of work that only their time joins.

An MCP server reports a tool, or the library below an instrumentation a failed call, in a trace of its own, with no
id that the other side knows. It is the work of the one other span that is about the same and lies around it.
Where two could be meant, equal arguments decide; where they do not, nobody knows. What is about the same as nothing
else is work of the agent that was running around it in its service, if that was only one and has no work of its
own: then what it did is in other traces, for its instrumentation lost the context.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeAlias

from spanledger.conventions.detail import Digest
from spanledger.conventions.same_tool import bare
from spanledger.conventions.step import Step
from spanledger.conventions.trajectory.tree import RUNNERS
from spanledger.processor.trajectory.group import is_loose

Likeness: TypeAlias = tuple[str, str, int, int]
"""What two reports of one piece of work have in common: service, what it is, tokens in and out."""


@dataclass(frozen=True, slots=True)
class Work:
    """A span by what tells whether another is about the same."""

    trace_id: bytes
    span_id: bytes
    start_ns: int
    end_ns: int
    dialect: str
    """Of tools "": both sides may be instrumented alike."""
    alone: bool
    arguments: Digest | None


def likeness(step: Step) -> Likeness | None:
    """Return what another report of `step` would have in common with it; None where its ids say enough, or nothing.

    A tool is known by its bare name, for client and server are two services; a call of a model by its tokens, or
    that it failed, in one service.
    """
    if step.kind == "tool":
        return ("", bare(step.tool_name), 0, 0) if step.tool_name else None
    if step.kind != "llm" or step.response_id:
        return None
    tokens = (step.usage.input or 0, step.usage.output or 0) if step.usage is not None else (0, 0)
    if not any(tokens) and step.status != "error":
        return None
    return step.service_name, step.status, *tokens


def running(step: Step) -> Likeness | None:
    """Return by what the run of an agent is found that lies around a span which stands alone; None for others."""
    runs = step.kind in RUNNERS and not step.parent_span_id
    return (step.service_name, "running", 0, 0) if runs or is_loose(step) else None


def work_of(step: Step) -> Work:
    """Return what tells whether another span is about the same."""
    detail = step.detail
    return Work(
        step.trace_id, step.span_id, step.start_ns, step.end_ns, "" if step.kind == "tool" else step.dialect,
        is_loose(step), detail.arguments.digest if detail is not None and detail.arguments is not None else None,
    )  # fmt: skip


def holder(inner: Work, others: Iterable[Work]) -> Work | None:
    """Return the one of those alike that `inner` is the work of; None where there is none, or no telling."""
    around = [other for other in others if _lies_around(other, inner)]
    equal = [other for other in around if inner.arguments is not None and other.arguments == inner.arguments]
    found = equal or around
    return found[0] if len(found) == 1 else None


def runners_around(inner: Work, others: Iterable[Work]) -> list[Work]:
    """Return the runs that lie around `inner`."""
    return [
        other
        for other in others
        if other.trace_id != inner.trace_id and other.start_ns <= inner.start_ns and inner.end_ns <= other.end_ns
    ]


def is_work(step: Step) -> bool:
    """Tell whether a step is what agents do, not an agent or structure."""
    return step.kind != "other" and step.kind not in RUNNERS


def _lies_around(outer: Work, inner: Work) -> bool:
    reported_twice = not outer.alone if not inner.dialect else outer.dialect != inner.dialect
    return (
        reported_twice
        and outer.trace_id != inner.trace_id
        and outer.start_ns <= inner.start_ns
        and inner.end_ns <= outer.end_ns
    )

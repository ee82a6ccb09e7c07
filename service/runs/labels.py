"""The words for runs and steps that several commands use."""

from __future__ import annotations

from typing import TYPE_CHECKING

from spanledger.service.runs.amounts import count

if TYPE_CHECKING:
    from spanledger.conventions.run import RunStep
    from spanledger.service.runs.terminal import Style, Terminal

OUTCOMES: dict[str, tuple[str, Style]] = {
    "success": ("success", "good"),
    "failure": ("error", "bad"),
    "partial": ("finding", "warn"),
}


def step_name(step: RunStep) -> str:
    """Return what a step is called after its kind: its tool, its agent, or what was asked of a model."""
    if step.kind == "tool":
        return step.tool_name or step.name
    if step.kind == "agent":
        return step.agent_name or step.name
    # "chat gpt-4o-mini": the model has a column of its own.
    return step.name.removesuffix(step.model or "").rstrip() or step.name


def label(step: RunStep, terminal: Terminal) -> str:
    """Return a step's kind and name, fit to be shown."""
    return f"{step.kind} {terminal.safe(step_name(step))}".rstrip()


def tokens(step: RunStep, terminal: Terminal) -> str:
    """Return a step's tokens, `input→output`; "" when it says nothing about them."""
    if step.usage is None or (step.usage.input is None and step.usage.output is None):
        return ""
    return f"{count(step.usage.input)}{terminal.glyph('arrow')}{count(step.usage.output)}"


def outcome(name: str, terminal: Terminal) -> str:
    """Return an outcome with its sign, in its colour."""
    sign, style = OUTCOMES.get(name, ("", ""))
    return terminal.paint(f"{terminal.glyph(sign)} {name}" if sign else terminal.safe(name), style)


def short(run_id: str, terminal: Terminal, width: int = 12) -> str:
    """Return as much of a run's id as names it among many."""
    return terminal.safe(run_id)[:width]

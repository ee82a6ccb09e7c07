"""`spanledger runs step`: a run as it stood at one step. Pure.

An agent is told what came before by its own history: what it asked models and tools, and what the agents it
called came back with. So that is what counts as seen; steps inside other agents are not.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from spanledger.conventions.run import Run, RunStep
from spanledger.service.runs.amounts import PICO, count, many, seconds
from spanledger.service.runs.labels import label, tokens
from spanledger.service.runs.show import cost, heading
from spanledger.service.runs.terminal import Style, Terminal, pieces

CONTENT_LINES: Final = 12
"""Lines of content shown of a step, unless all is asked for."""

CONTENT_CHARS: Final = 1500


@dataclass(frozen=True, slots=True)
class Sums:
    """What a run had come to by the end of a step, by the order of starts."""

    llm_calls: int = 0
    tool_calls: int = 0
    errors: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cost_pico_usd: int | None = None


@dataclass(frozen=True, slots=True)
class Moment:
    """A step with what was before it and what came of it."""

    step: RunStep
    seen: tuple[RunStep, ...]
    """Ended before this step began, in the same agent or as its direct sub-agent."""
    elsewhere: int
    """Steps before this one that belong to other agents."""
    asked_by: RunStep | None
    """Tools: the model call that wanted it."""
    led_to: tuple[RunStep, ...]
    """Model calls: the tools it asked for. Agents: the steps directly below. Tools: who read the result."""
    before: Sums
    after: Sums


def at(run: Run, index: int) -> Moment:
    """Return the run as it stood at step `index`."""
    step = run.steps[index]
    agents = [_agent_of(run.steps, one) for one in run.steps]
    mine = agents[index]
    earlier = [one for one in run.steps[:index] if _ended_by(one, step)]
    seen = tuple(
        one
        for one in earlier
        if (one.kind not in {"agent", "workflow"} and agents[one.index] == mine)
        or (one.kind == "agent" and one.parent is not None and agents[one.parent] == mine)
    )
    led_to: tuple[RunStep, ...]
    if step.kind == "tool":
        led_to = (run.steps[step.read_by],) if step.read_by is not None else ()
    elif step.kind in {"agent", "workflow"}:
        led_to = tuple(one for one in run.steps if one.parent == index)
    else:
        led_to = tuple(one for one in run.steps if one.requested_by == index)
    return Moment(
        step,
        seen,
        len(earlier) - len(seen),
        run.steps[step.requested_by] if step.requested_by is not None else None,
        led_to,
        sums(run.steps[:index]),
        sums(run.steps[: index + 1]),
    )


def sums(steps: Sequence[RunStep]) -> Sums:
    """Add up steps; what a parent says of its children's calls is not counted again."""
    own = [step for step in steps if step.cost_status != "rollup"]
    calls = [step for step in own if step.kind in {"llm", "embedding"}]
    priced = [step.cost_pico_usd for step in own if step.cost_pico_usd is not None]
    return Sums(
        llm_calls=sum(step.kind == "llm" for step in own),
        tool_calls=sum(step.kind == "tool" for step in own),
        errors=sum(step.status == "error" and step.kind in {"llm", "tool"} for step in own),
        input_tokens=sum(step.usage.input or 0 for step in calls if step.usage),
        output_tokens=sum(step.usage.output or 0 for step in calls if step.usage),
        cost_pico_usd=sum(priced) if priced else None,
    )


def _agent_of(steps: Sequence[RunStep], step: RunStep) -> int | None:
    """Return the agent or workflow step that a step belongs to; itself for one of those."""
    current: RunStep | None = step
    for _ in range(len(steps) + 1):
        if current is None or current.kind in {"agent", "workflow"}:
            break
        current = steps[current.parent] if current.parent is not None else None
    return current.index if current is not None else None


def _ended_by(one: RunStep, step: RunStep) -> bool:
    if one.duration_s is None or not one.started_at_ns or not step.started_at_ns:
        # Without times the order of the steps is all there is.
        return one.kind not in {"agent", "workflow"}
    return one.started_at_ns + int(one.duration_s * 1e9) <= step.started_at_ns


def lines(run: Run, index: int, terminal: Terminal, *, full: bool = False) -> Iterator[str]:
    """Yield the moment of step `index`. With `full`, content is not cut."""
    moment = at(run, index)
    step = moment.step
    dot = f" {terminal.glyph('dot')} "
    yield next(iter(heading(run, terminal)))
    offset = (step.started_at_ns - run.started_at_ns) / 1e9 if step.started_at_ns and run.started_at_ns else None
    where = [
        f"step {index} of 0{terminal.glyph('none')}{len(run.steps) - 1}",
        terminal.paint(label(step, terminal), "bold"),
        terminal.safe(step.model or ""),
        f"in {terminal.safe(step.agent_name)}" if step.agent_name and step.kind != "agent" else "",
        f"+{seconds(offset)}, took {seconds(step.duration_s)}" if offset is not None else "",
        f"attempt {step.attempt}" if step.attempt > 1 else "",
        terminal.paint(f"{terminal.glyph('error')} {terminal.safe(step.error_type or 'error')}", "bad")
        if step.status == "error"
        else "",
    ]
    yield dot.join(filter(None, where))
    yield from _sums(moment, terminal)

    yield from _title("had seen", terminal)
    if moment.seen:
        for one in moment.seen:
            yield from _brief(run, one, terminal, full=full)
    else:
        yield "  nothing of this run"
    if moment.elsewhere:
        yield terminal.paint(f"  and {many(moment.elsewhere, 'step')} of other agents, not of this one", "dim")
    if moment.asked_by is not None:
        basis = " (by order and name)" if step.requested_basis == "order_and_name" else ""
        yield f"  asked for by {moment.asked_by.index} {label(moment.asked_by, terminal)}{basis}"

    yield from _title("was given", terminal)
    yield from _content(step.input, terminal, full=full, nothing=_not_kept(run))
    yield from _title("came back with" if step.kind == "tool" else "decided", terminal)
    if step.asks:
        yield f"  to call {', '.join(terminal.safe(name, 60) for name in step.asks[:20])}"
    yield from _content(step.output, terminal, full=full, nothing="" if step.asks else _not_kept(run))
    if moment.led_to:
        yield from _title("which was read by" if step.kind == "tool" else "which led to", terminal)
        for one in moment.led_to:
            yield from _brief(run, one, terminal, full=full)


def _title(text: str, terminal: Terminal) -> Iterator[str]:
    yield ""
    yield terminal.paint(text, "bold")


def _sums(moment: Moment, terminal: Terminal) -> Iterator[str]:
    after, before = moment.after, moment.before
    spent = (after.cost_pico_usd or 0) - (before.cost_pico_usd or 0)
    parts = [
        many(after.llm_calls, "model call"),
        many(after.tool_calls, "tool call"),
        f"{after.errors} failed" if after.errors else "",
        f"{count(after.input_tokens)} tokens in, {count(after.output_tokens)} out",
        terminal.money(after.cost_pico_usd) + (f" ({terminal.money(spent)} of it here)" if spent else ""),
    ]
    yield "by then: " + ", ".join(filter(None, parts))


def _not_kept(run: Run) -> str:
    if any(step.input is not None or step.output is not None for step in run.steps):
        return "nothing that was recorded"
    return "not kept: set the trajectory connector's content to full to keep what was said"


def _brief(run: Run, step: RunStep, terminal: Terminal, *, full: bool) -> Iterator[str]:
    style: Style = "bad" if step.status == "error" else ""
    error = (
        f"{terminal.glyph('error')} {terminal.safe(step.error_type or 'error', 60)}" if step.status == "error" else ""
    )
    facts = "  ".join(
        filter(None, (error, seconds(step.duration_s), tokens(step, terminal), cost(run, step, terminal)))
    )
    yield f"  {terminal.paint(f'{step.index} {label(step, terminal)}', style)}  {terminal.paint(facts, 'dim')}"
    told = (("got", step.input), ("gave", step.output)) if step.kind == "tool" else (("said", step.output),)
    for word, content in told:
        if content:
            yield from _content(content, terminal, full=full, word=word, at_most=3)


def _content(
    content: str | None,
    terminal: Terminal,
    *,
    full: bool,
    nothing: str = "",
    word: str = "",
    at_most: int = CONTENT_LINES,
) -> Iterator[str]:
    """Yield content of others, line by line, so much of it as fits."""
    if not content:
        if nothing:
            yield terminal.paint(f"  {nothing}", "dim")
        return
    indent = "      " if word else "  "
    lead = f"{word}: " if word else ""
    room = max(20, terminal.width - len(indent) - len(lead))
    limit = len(content) if full else CONTENT_CHARS
    shown = 0
    for raw in _readable(content[:limit]).split("\n"):
        for piece in pieces(terminal.safe(raw, len(raw)), room):
            if shown >= at_most and not full:
                break
            yield f"{indent}{lead if not shown else ' ' * len(lead)}{piece}"
            shown += 1
    left = len(content) - limit
    if left > 0 or (shown >= at_most and not full):
        note = f"{terminal.glyph('cut')} {count(len(content))} characters in all; --full shows them"
        yield terminal.paint(f"{indent}{note}", "dim")


def _readable(content: str) -> str:
    """Return tabs as blanks: they are no danger, and escaped they are hard to read."""
    return content.replace("\r\n", "\n").replace("\t", "    ")


def as_json(run: Run, index: int) -> dict[str, Any]:
    """Return the moment as a JSON object."""
    moment = at(run, index)
    return {
        "run_id": run.run_id,
        "step": index,
        "is": _plain(moment.step),
        "had_seen": [_plain(one) for one in moment.seen],
        "steps_elsewhere": moment.elsewhere,
        "asked_by": None if moment.asked_by is None else moment.asked_by.index,
        "led_to": [one.index for one in moment.led_to],
        "before": _plain_sums(moment.before),
        "after": _plain_sums(moment.after),
    }


def _plain(step: RunStep) -> dict[str, Any]:
    return {
        "index": step.index,
        "kind": step.kind,
        "name": step.name,
        "agent_name": step.agent_name,
        "tool_name": step.tool_name,
        "model": step.model,
        "status": step.status,
        "error_type": step.error_type,
        "attempt": step.attempt,
        "duration_s": step.duration_s,
        "cost_usd": None if step.cost_pico_usd is None else step.cost_pico_usd / PICO,
        "input": step.input,
        "output": step.output,
    }


def _plain_sums(sums: Sums) -> Mapping[str, Any]:
    return {
        "llm_calls": sums.llm_calls,
        "tool_calls": sums.tool_calls,
        "errors": sums.errors,
        "input_tokens": sums.input_tokens,
        "output_tokens": sums.output_tokens,
        "cost_usd": None if sums.cost_pico_usd is None else sums.cost_pico_usd / PICO,
    }

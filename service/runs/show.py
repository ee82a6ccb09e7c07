"""`spanledger runs show`: one run as a tree with times, cost and marks. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from spanledger.conventions.run import Run, RunStep
from spanledger.service.runs.amounts import count, many, moment, seconds
from spanledger.service.runs.labels import label, outcome, tokens
from spanledger.service.runs.table import Cell, Column, render
from spanledger.service.runs.terminal import Style, Terminal
from spanledger.service.runs.tree import branches, parallel

_BAR_MIN, _BAR_MAX = 10, 24
_BAR_FROM_WIDTH = 110
_STYLE: Mapping[str, Style] = {"agent": "bold", "workflow": "bold", "tool": "mark"}


def lines(run: Run, events: Sequence[Mapping[str, Any]], terminal: Terminal) -> Iterator[str]:
    """Yield everything that is known of `run`; `events` are findings that came by themselves."""
    yield from heading(run, terminal)
    yield ""
    if run.steps:
        yield from _steps(run, events, terminal)
    else:
        yield "no steps"
    yield from _agents(run, terminal)
    yield from _tools(run, terminal)
    yield from _handoffs(run, terminal)
    yield from _failure(run, terminal)
    yield from _findings(run, events, terminal)
    yield from _evaluations(run, terminal)


def heading(run: Run, terminal: Terminal) -> Iterator[str]:
    """Yield who ran, when, how it went and what it came to."""
    dot = f" {terminal.glyph('dot')} "
    totals = run.totals
    name = terminal.safe(run.agent_name or run.service_name or "run")
    basis = f" (by {run.outcome_basis})" if run.outcome_basis != "none" else ""
    service = f" of {terminal.safe(run.service_name)}" if run.service_name and run.agent_name else ""
    yield (
        f"{terminal.paint(name, 'bold')}{service}{dot}{outcome(run.outcome, terminal)}{basis}{dot}{run.completeness}"
    )
    failed = totals.llm_calls_failed + totals.tool_calls_failed
    facts = [
        many(totals.steps or len(run.steps), "step"),
        many(totals.llm_calls, "model call"),
        many(totals.tool_calls, "tool call"),
        f"{failed} failed" if failed else "",
        f"{totals.retries} retried" if totals.retries else "",
    ]
    when = [f"{moment(run.started_at_ns)} UTC", seconds(run.duration_s), ", ".join(filter(None, facts))]
    yield from wrapped(when, dot, terminal.width)
    cached = f" ({count(totals.cache_read_tokens)} cached)" if totals.cache_read_tokens else ""
    thought = f" ({count(totals.reasoning_tokens)} reasoning)" if totals.reasoning_tokens else ""
    unpriced = f" + {many(totals.unpriced_calls, 'call')} not or only partly priced" if totals.unpriced_calls else ""
    hidden = totals.unattributed_cost_pico_usd
    beyond = f" + {terminal.money(hidden)} that agents report beyond their calls" if hidden else ""
    yield (
        f"{count(totals.input_tokens)} tokens in{cached}, {count(totals.output_tokens)} out{thought}"
        f"{dot}{terminal.paint(terminal.money(totals.cost_pico_usd), 'bold')}{unpriced}{beyond}"
    )
    ids = [f"run {terminal.safe(run.run_id)}"]
    ids += [f"revision {run.revision}"] if run.revision > 1 else []
    ids += [f"session {terminal.safe(run.session_id, 60)}"] if run.session_id else []
    ids += [f"user {terminal.safe(run.user_id, 60)}"] if run.user_id else []
    ids += [f"{terminal.safe(name, 40)} {terminal.safe(value, 60)}" for name, value in run.dimensions.items()]
    if run.trace_ids and run.trace_ids != (run.run_id,):
        more = f" and {len(run.trace_ids) - 1} more" if len(run.trace_ids) > 1 else ""
        ids.append(f"trace {terminal.safe(run.trace_ids[0])}{more}")
    yield from (terminal.paint(line, "dim") for line in wrapped(ids, dot, terminal.width))


def wrapped(parts: Sequence[str], between: str, width: int) -> Iterator[str]:
    """Yield `parts` joined into lines no longer than `width`, as long as each part fits."""
    line = ""
    for part in parts:
        if line and len(line) + len(between) + len(part) > width:
            yield line
            line = ""
        line += (between if line else "") + part
    if line:
        yield line


def found_at(run: Run, events: Sequence[Mapping[str, Any]]) -> frozenset[int]:
    """Return the steps that some finding is about."""
    spans = {event.get("span_id") for event in events} - {None, ""}
    named = {index for finding in run.findings for index in finding.steps}
    return frozenset(named | {step.index for step in run.steps if not spans.isdisjoint((step.span_id, *step.twins))})


def _steps(run: Run, events: Sequence[Mapping[str, Any]], terminal: Terminal) -> Iterator[str]:
    found, side_by_side = found_at(run, events), parallel(run.steps)
    # Room for bars only where the rest does not suffer.
    bar = min(_BAR_MAX, max(_BAR_MIN, terminal.width // 8)) if terminal.width >= _BAR_FROM_WIDTH else 0
    columns = (
        Column("#", right=True),
        Column("at", right=True),
        Column("took", right=True),
        Column(""),
        Column("step", at_least=20),
        Column("model", at_least=10, leaves=2),
        Column("tokens", right=True, leaves=1),
        Column("cost", right=True),
        Column("marks", at_least=8),
    )
    rows = []
    signs: set[str] = set()
    for step, descent in branches(run.steps):
        marks = marks_of(step, step.index in found, step.index in side_by_side)
        signs.update(marks)
        rows.append(
            (
                Cell(str(step.index), "dim"),
                Cell(_offset(run, step)),
                Cell(seconds(step.duration_s)),
                Cell(_bar(run, step, bar, terminal) if bar else "", "mark" if step.critical else "dim"),
                Cell(_indent(descent, terminal) + label(step, terminal), _style(step)),
                Cell(terminal.safe(step.model or ""), "dim"),
                Cell(tokens(step, terminal)),
                Cell(cost(run, step, terminal)),
                Cell(_marks(step, marks, terminal), "bad" if step.status == "error" else "warn"),
            )
        )
    yield from render(columns, rows, terminal)
    words = {"error": "error", "retry": "retry", "parallel": "in parallel", "critical": "critical path",
             "finding": "finding"}  # fmt: skip
    legend = [f"{terminal.glyph(sign)} {word}" for sign, word in words.items() if sign in signs]
    if any(is_partly_priced(run, step) for step in run.steps):
        legend.append("+? only a part has a price: it cost more")
    if legend:
        yield terminal.paint("  ".join(legend), "dim")


def cost(run: Run, step: RunStep, terminal: Terminal) -> str:
    """Return what a step cost; why nothing is known of a model call that has no price."""
    if step.cost_pico_usd is None:
        return "unpriced" if step.cost_status == "unpriced" else ""
    return terminal.money(step.cost_pico_usd) + ("+?" if is_partly_priced(run, step) else "")


def is_partly_priced(run: Run, step: RunStep) -> bool:
    """Tell whether the cost of a model call is known for its input or its output only: each has both.

    Unless the run knows of no such call: then it is what the provider or the application told, and that is whole.
    """
    usage = step.usage
    if (
        not run.totals.unpriced_calls
        or step.kind != "llm"
        or step.cost_status != "priced"
        or step.cost_pico_usd is None
        or usage is None
    ):
        return False
    return usage.input is None or usage.output is None


def marks_of(step: RunStep, found: bool, side_by_side: bool) -> list[str]:
    """Return the names of the signs behind a step."""
    held = (
        ("error", step.status == "error"),
        ("retry", step.attempt > 1),
        ("parallel", side_by_side),
        ("critical", step.critical),
        ("finding", found),
    )
    return [sign for sign, holds in held if holds]


def _marks(step: RunStep, signs: Sequence[str], terminal: Terminal) -> str:
    said = [terminal.glyph(sign) + (str(step.attempt) if sign == "retry" else "") for sign in signs]
    if step.error_type:
        said.append(terminal.safe(step.error_type, 40))
    return " ".join(said)


def _style(step: RunStep) -> Style:
    return "bad" if step.status == "error" else _STYLE.get(step.kind, "")


def _offset(run: Run, step: RunStep) -> str:
    if not run.started_at_ns or not step.started_at_ns:
        return ""
    offset = (step.started_at_ns - run.started_at_ns) / 1e9
    return ("-" if offset < 0 else "+") + seconds(abs(offset))


def _indent(descent: Sequence[bool], terminal: Terminal) -> str:
    if not descent:
        return ""
    above = "".join("   " if last else terminal.glyph("line") for last in descent[:-1])
    return above + terminal.glyph("last" if descent[-1] else "branch")


def _bar(run: Run, step: RunStep, width: int, terminal: Terminal) -> str:
    """Return when in the run a step ran, as a bar."""
    if not run.duration_s or step.duration_s is None or not step.started_at_ns:
        return ""
    start = (step.started_at_ns - run.started_at_ns) / 1e9 / run.duration_s
    first = min(max(int(start * width), 0), width - 1)
    last = min(max(round((start + step.duration_s / run.duration_s) * width), first + 1), width)
    return " " * first + terminal.glyph("bar") * (last - first)


def _agents(run: Run, terminal: Terminal) -> Iterator[str]:
    if len(run.agents) < 2:
        return
    known = [agent.cost_pico_usd or 0 for agent in run.agents]
    rows = [
        (
            Cell(terminal.safe(agent.name or "(no agent)"), "bold"),
            Cell(count(agent.llm_calls)),
            Cell(count(agent.tool_calls)),
            Cell(f"{count(agent.input_tokens)}{terminal.glyph('arrow')}{count(agent.output_tokens)}"),
            Cell(terminal.money(agent.cost_pico_usd)),
            Cell(f"{100 * (agent.cost_pico_usd or 0) / sum(known):.0f}%" if sum(known) else ""),
        )
        for agent in run.agents
    ]
    columns = (Column("agent", at_least=12), Column("calls", right=True), Column("tools", right=True),
               Column("tokens", right=True), Column("cost", right=True), Column("share", right=True))  # fmt: skip
    yield ""
    yield from render(columns, rows, terminal)


def _tools(run: Run, terminal: Terminal) -> Iterator[str]:
    if not run.tools:
        return
    rows = [
        (Cell(terminal.safe(tool.name), "mark"), Cell(count(tool.tool_calls)), Cell(terminal.money(tool.cost_pico_usd)))
        for tool in run.tools
    ]
    columns = (
        Column("tool", at_least=12),
        Column("calls", right=True),
        Column("model cost of its results", right=True),
    )
    yield ""
    yield from render(columns, rows, terminal)


def _handoffs(run: Run, terminal: Terminal) -> Iterator[str]:
    if not run.handoffs:
        return
    yield ""
    yield terminal.paint("who gave work to whom", "bold")
    for one in run.handoffs:
        arrow = terminal.glyph("arrow")
        kind = terminal.paint(f"({one.kind})", "dim")
        yield f"  {terminal.safe(one.giver)} {arrow} {terminal.safe(one.taker)} at step {one.step} {kind}"


def _failure(run: Run, terminal: Terminal) -> Iterator[str]:
    if not run.failure_chain:
        return
    yield ""
    yield terminal.paint("how it failed, cause first", "bold")
    for position, index in enumerate(run.failure_chain):
        step = run.steps[index]
        why = run.failure_basis[position - 1] if 0 < position <= len(run.failure_basis) else ""
        error = (
            f" {terminal.glyph('error')} {terminal.safe(step.error_type or 'error')}" if step.status == "error" else ""
        )
        through = f"  ({terminal.safe(why, 40)})" if why else ""
        arrow = f"{terminal.glyph('arrow')} " if position else "  "
        yield f"  {arrow}{index} {label(step, terminal)}{terminal.paint(error, 'bad')}{terminal.paint(through, 'dim')}"


def _findings(run: Run, events: Sequence[Mapping[str, Any]], terminal: Terminal) -> Iterator[str]:
    told = {(finding.kind, finding.rule) for finding in run.findings}
    # The early notice of what the document says itself is not told twice.
    others = [event for event in events if (_kind(event), event.get("rule")) not in told]
    if not run.findings and not others:
        return
    sign = terminal.glyph("finding")
    yield ""
    yield terminal.paint("findings", "bold")
    for finding in run.findings:
        where = f": {_numbers(finding.steps)}" if finding.steps else ""
        facts = ", ".join(
            f"{terminal.safe(str(k), 40)} {_fact(v, terminal)}" for k, v in list(finding.detail.items())[:8]
        )
        name = f"{terminal.safe(finding.kind, 40)} {terminal.safe(finding.rule, 60)}"
        yield f"  {terminal.paint(sign, 'warn')} {name} ({finding.severity}){where}" + (f"; {facts}" if facts else "")
    for event in others:
        rule = terminal.safe(str(event.get("rule") or ""), 60)
        severity = terminal.safe(str(event.get("severity") or "finding"), 20)
        at = terminal.safe(str(event.get("at") or ""), 19)
        yield f"  {terminal.paint(sign, 'warn')} {terminal.safe(str(event.get('event')), 60)} {rule} ({severity}) {at}"


def _kind(event: Mapping[str, Any]) -> str:
    return str(event.get("event") or "").removeprefix("spanledger.").split(".", 1)[0]


def _fact(value: Any, terminal: Terminal) -> str:
    if isinstance(value, list):
        return ", ".join(terminal.safe(str(item), 40) for item in value[:10])
    return f"{value:.6g}" if isinstance(value, float) else terminal.safe(str(value), 80)


def _numbers(steps: Sequence[int]) -> str:
    shown = ", ".join(map(str, steps[:20]))
    return f"step{'' if len(steps) == 1 else 's'} {shown}" + (f" and {len(steps) - 20} more" if len(steps) > 20 else "")


def _evaluations(run: Run, terminal: Terminal) -> Iterator[str]:
    if not run.evaluations:
        return
    rows = []
    for judged in run.evaluations:
        one = judged.evaluation
        rows.append(
            (
                Cell(terminal.safe(one.name, 60)),
                Cell("" if one.score is None else f"{one.score:.4g}"),
                Cell(terminal.safe(one.label or "", 40)),
                Cell("run" if judged.step is None else f"step {judged.step}"),
                Cell(judged.basis, "dim"),
                Cell(terminal.safe(one.explanation or "", 120), "dim"),
            )
        )
    columns = (Column("evaluation", at_least=12), Column("score", right=True), Column("label"), Column("of"),
               Column("by"), Column("why", at_least=10))  # fmt: skip
    yield ""
    yield from render(columns, rows, terminal)

"""`spanledger runs diff`: a comparison as lines. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from spanledger.conventions.run import Run, RunStep
from spanledger.service.runs.amounts import count, many, moment, seconds, usd
from spanledger.service.runs.compare import TOTALS, Difference, Pair, first
from spanledger.service.runs.labels import label, outcome, short
from spanledger.service.runs.table import Cell, Column, render
from spanledger.service.runs.terminal import Style, Terminal

CONTEXT: Final = 2
"""Equal steps shown around those that differ."""


def lines(a: Run, b: Run, pairs: Sequence[Pair], terminal: Terminal, *, every: bool = False) -> Iterator[str]:
    """Yield the comparison. With `every`, equal steps are not left out."""
    for name, run in (("A", a), ("B", b)):
        agent = terminal.safe(run.agent_name or run.service_name)
        said = [
            short(run.run_id, terminal, 32),
            agent,
            moment(run.started_at_ns),
            outcome(run.outcome, terminal),
        ]
        yield f"{terminal.paint(name, 'bold')}  " + f" {terminal.glyph('dot')} ".join(filter(None, said))
    yield ""
    yield from _verdict(pairs, terminal)
    yield ""
    yield from _steps(pairs, terminal, every=every)
    yield ""
    yield from _totals(a, b, terminal)


def _verdict(pairs: Sequence[Pair], terminal: Terminal) -> Iterator[str]:
    position, path = first(pairs), first(pairs, path=True)
    if position is None:
        yield f"no difference: the same {many(len(pairs), 'step')}"
        return
    yield f"first difference   {_what(pairs[position], terminal)}"
    if path is None:
        yield "the same steps     in the same order; only how they went differs"
    elif path != position:
        yield f"first other step   {_what(pairs[path], terminal)}"


def _what(pair: Pair, terminal: Terminal) -> str:
    if pair.a is None or pair.b is None:
        step, run = (pair.b, "B") if pair.a is None else (pair.a, "A")
        assert step is not None
        return f"step {step.index} of {run}, {label(step, terminal)}: only in {run}"
    number = f"step {pair.a.index}" + (f" of A, {pair.b.index} of B" if pair.a.index != pair.b.index else "")
    told = "; ".join(_told(one, terminal) for one in pair.differences)
    return f"{number}, {label(pair.a, terminal)}: {told}"


def _told(one: Difference, terminal: Terminal) -> str:
    return f"{one.aspect} {terminal.safe(one.a, 40)} {terminal.glyph('arrow')} {terminal.safe(one.b, 40)}"


def _steps(pairs: Sequence[Pair], terminal: Terminal, *, every: bool) -> Iterator[str]:
    differing = [i for i, pair in enumerate(pairs) if not pair.equal]
    shown = set(range(len(pairs))) if every else {
        i for at in differing for i in range(max(0, at - CONTEXT), min(len(pairs), at + CONTEXT + 1))
    }  # fmt: skip
    here = first(pairs)
    columns = (Column("", at_least=1), Column("A", right=True), Column("", at_least=12), Column("B", right=True),
               Column("", at_least=12), Column("difference", at_least=16))  # fmt: skip
    rows: list[tuple[Cell, ...]] = []
    skipped = 0
    for i, pair in enumerate(pairs):
        if i not in shown:
            skipped += 1
            continue
        if skipped:
            rows.append(_gap(skipped, terminal))
            skipped = 0
        rows.append(_row(pair, terminal, first_of_all=i == here))
    if skipped:
        rows.append(_gap(skipped, terminal))
    yield from render(columns, rows, terminal)


def _gap(skipped: int, terminal: Terminal) -> tuple[Cell, ...]:
    text = f"{terminal.glyph('cut')} {many(skipped, 'equal step')}"
    return Cell(""), Cell(""), Cell(text, "dim"), Cell(""), Cell(""), Cell("")


def _row(pair: Pair, terminal: Terminal, *, first_of_all: bool) -> tuple[Cell, ...]:
    if pair.a is None or pair.b is None:
        sign, style, told = ("+", "good", "only in B") if pair.a is None else ("-", "bad", "only in A")
    elif pair.differences:
        style = "warn" if pair.same_path else "bad"
        sign, told = "~", "; ".join(_told(one, terminal) for one in pair.differences)
    else:
        sign, style, told = "", "", ""
    if first_of_all:
        told = f"{terminal.glyph('here')} {told}"
    return (
        Cell(sign, _style(style)),
        *_side(pair.a, terminal, style),
        *_side(pair.b, terminal, style),
        Cell(told, _style(style)),
    )


def _side(step: RunStep | None, terminal: Terminal, style: str) -> tuple[Cell, Cell]:
    if step is None:
        return Cell(""), Cell("")
    name = "  " * min(step.depth, 6) + label(step, terminal)
    sign = f" {terminal.glyph('error')}" if step.status == "error" else ""
    return Cell(str(step.index), "dim"), Cell(name + sign, _style(style))


def _style(name: str) -> Style:
    styles: dict[str, Style] = {"good": "good", "bad": "bad", "warn": "warn"}
    return styles.get(name, "")


def _totals(a: Run, b: Run, terminal: Terminal) -> Iterator[str]:
    rows = [_total("outcome", a.outcome, b.outcome, "" if a.outcome == b.outcome else terminal.glyph("here"))]
    if a.duration_s is not None or b.duration_s is not None:
        rows.append(
            _total("duration", seconds(a.duration_s), seconds(b.duration_s),
                   _seconds_more(a.duration_s, b.duration_s, terminal))
        )  # fmt: skip
    for name in TOTALS:
        left, right = getattr(a.totals, name), getattr(b.totals, name)
        if left or right:
            rows.append(_total(name.replace("_", " "), count(left), count(right), _more(right - left, terminal)))
    left, right = a.totals.cost_pico_usd, b.totals.cost_pico_usd
    if left is not None or right is not None:
        rows.append(_total("cost", usd(left), usd(right), _money_more(left, right, terminal)))
    columns = (Column("totals"), Column("A", right=True), Column("B", right=True),
               Column(f"B {terminal.glyph('minus')} A", right=True))  # fmt: skip
    yield from render(columns, rows, terminal)


def _total(name: str, a: str, b: str, more: str) -> tuple[Cell, ...]:
    return Cell(name), Cell(a), Cell(b), Cell(more, "warn")


def _more(by: int, terminal: Terminal) -> str:
    return "" if not by else f"+{by:,}" if by > 0 else f"{terminal.glyph('minus')}{-by:,}"


def _seconds_more(a: float | None, b: float | None, terminal: Terminal) -> str:
    if a is None or b is None or a == b:
        return ""
    return ("+" if b > a else terminal.glyph("minus")) + seconds(abs(b - a))


def _money_more(a: int | None, b: int | None, terminal: Terminal) -> str:
    if a is None or b is None or a == b:
        return ""
    return ("+" if b > a else terminal.glyph("minus")) + usd(abs(b - a))

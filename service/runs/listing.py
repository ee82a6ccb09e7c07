"""`spanledger runs list`: a line for each run. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from itertools import pairwise
from typing import Any

from spanledger.conventions.run_document import timestamp
from spanledger.exporters.run_store.reader import Listed
from spanledger.service.runs.amounts import count, moment, pico, seconds
from spanledger.service.runs.labels import OUTCOMES
from spanledger.service.runs.table import Cell, Column, render
from spanledger.service.runs.terminal import Terminal

_SHORTEST_ID = 12

_COLUMNS = (
    Column("run", at_least=_SHORTEST_ID),
    Column("started (UTC)"),
    Column("agent", at_least=8),
    Column("outcome"),
    Column("took", right=True, leaves=3),
    Column("steps", right=True, leaves=2),
    Column("calls", right=True, leaves=4),
    Column("tools", right=True, leaves=5),
    Column("tokens", right=True, leaves=1),
    Column("cost", right=True),
    Column("marks", at_least=8),
)


def lines(runs: Sequence[Listed], terminal: Terminal) -> Iterator[str]:
    """Yield the table."""
    width = unique_prefix([run.columns.run_id for run in runs])
    rows = []
    for run in runs:
        columns = run.columns
        sign, style = OUTCOMES.get(columns.outcome, ("none", "dim"))
        agent = columns.agent_name or columns.service_name
        rows.append(
            (
                Cell(terminal.safe(columns.run_id[:width]), "mark"),
                Cell(moment(columns.started_ns)),
                Cell(terminal.safe(agent), "bold"),
                Cell(f"{terminal.glyph(sign)} {terminal.safe(columns.outcome, 12)}", style),
                Cell(seconds(columns.duration_s)),
                Cell(count(columns.steps)),
                Cell(count(columns.llm_calls)),
                Cell(count(columns.tool_calls)),
                Cell(count(columns.input_tokens + columns.output_tokens)),
                Cell(terminal.money(pico(columns.cost_usd)) + ("+?" if columns.unpriced_calls else "")),
                Cell(_marks(run, terminal), "warn"),
            )
        )
    yield from render(_COLUMNS, rows, terminal)
    words = {"error": "failed calls", "retry": "retries", "finding": "findings"}
    said = "".join(row[-1].text for row in rows)
    used = [f"{terminal.glyph(sign)} {word}" for sign, word in words.items() if terminal.glyph(sign) in said]
    if any(run.columns.unpriced_calls for run in runs):
        used.append("+? calls not or only partly priced")
    if used:
        yield terminal.paint("  ".join(used), "dim")


def unique_prefix(ids: Sequence[str]) -> int:
    """Return how many characters tell all of `ids` apart, at least enough for a short name."""
    width = _SHORTEST_ID
    ordered = sorted(set(ids))
    for one, next_one in pairwise(ordered):
        same = next((i for i, (a, b) in enumerate(zip(one, next_one, strict=False)) if a != b), len(one))
        width = max(width, same + 1)
    return width


def as_json(run: Listed) -> dict[str, Any]:
    """Return a run as a JSON object."""
    values = asdict(run.columns)
    started = values.pop("started_ns")
    return {
        "run_id": values.pop("run_id"),
        "revision": values.pop("revision"),
        "started_at": None if started is None else timestamp(started),
        **values,
        "findings": run.findings,
    }


def _marks(run: Listed, terminal: Terminal) -> str:
    counts = (
        ("error", run.columns.errors),
        ("retry", run.columns.retries),
        ("finding", run.findings),
    )
    said = [f"{terminal.glyph(sign)}{number}" for sign, number in counts if number]
    if run.columns.completeness not in {"complete", ""}:
        said.append(terminal.safe(run.columns.completeness, 12))
    return " ".join(said)

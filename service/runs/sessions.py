"""`spanledger runs sessions`: a line for each session, or one of them with its runs in order. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from spanledger.conventions.run_document import timestamp, usd
from spanledger.service.runs import amounts, listing
from spanledger.service.runs.labels import OUTCOMES
from spanledger.service.runs.table import Cell, Column, render

if TYPE_CHECKING:
    from spanledger.exporters.run_store.reader import Listed, Session
    from spanledger.service.runs.terminal import Terminal

_COLUMNS = (
    Column("session", at_least=12),
    Column("runs", right=True),
    Column("first (UTC)", leaves=2),
    Column("last (UTC)"),
    Column("agents", at_least=8),
    Column("outcomes"),
    Column("tokens", right=True, leaves=1),
    Column("cost", right=True),
)
_WORDS = ("success", "failure", "partial", "unknown")


def lines(sessions: Sequence[Session], terminal: Terminal) -> Iterator[str]:
    """Yield the table."""
    rows = []
    for session in sessions:
        worst = next((word for word in ("failure", "partial", "success") if word in session.outcomes), "")
        rows.append(
            (
                Cell(terminal.safe(session.session_id, 60), "mark"),
                Cell(amounts.count(session.runs)),
                Cell(amounts.moment(session.first_ns)),
                Cell(amounts.moment(session.last_ns)),
                Cell(terminal.safe(", ".join(session.agents)), "bold"),
                Cell(_outcomes(session, terminal), OUTCOMES.get(worst, ("", ""))[1]),
                Cell(amounts.count(session.input_tokens + session.output_tokens)),
                Cell(_cost(session, terminal)),
            )
        )
    yield from render(_COLUMNS, rows, terminal)


def show(session: Session, runs: Sequence[Listed], terminal: Terminal) -> Iterator[str]:
    """Yield what the session comes to, and its runs, the first one first."""
    dot = f" {terminal.glyph('dot')} "
    yield terminal.paint(f"session {terminal.safe(session.session_id)}", "bold")
    agents = terminal.safe(", ".join(session.agents))
    said = [amounts.many(session.runs, "run"), _outcomes(session, terminal), agents]
    yield dot.join(filter(None, said))
    took = None
    if session.first_ns is not None and session.last_ns is not None:
        took = (session.last_ns - session.first_ns) / 1e9
    times = f"{amounts.moment(session.first_ns)} to {amounts.moment(session.last_ns)} UTC"
    yield dot.join((times, amounts.seconds(took)))
    tokens = f"{amounts.count(session.input_tokens)} tokens in, {amounts.count(session.output_tokens)} out"
    failed = f"{amounts.many(session.errors, 'failed call')}" if session.errors else ""
    yield dot.join(filter(None, (tokens, _cost(session, terminal), failed)))
    yield ""
    yield from listing.lines(runs, terminal)


def as_json(session: Session) -> dict[str, Any]:
    """Return a session as a JSON object."""
    return {
        "session_id": session.session_id,
        "runs": session.runs,
        "first_at": None if session.first_ns is None else timestamp(session.first_ns),
        "last_at": None if session.last_ns is None else timestamp(session.last_ns),
        "agents": list(session.agents),
        "outcomes": {word: session.outcomes.get(word, 0) for word in _WORDS},
        "input_tokens": session.input_tokens,
        "output_tokens": session.output_tokens,
        "cost_usd": usd(session.cost_pico_usd),
        "unpriced_calls": session.unpriced_calls,
        "errors": session.errors,
    }


def whole(session: Session, runs: Sequence[Listed]) -> dict[str, Any]:
    """Return a session with its runs, the first one first."""
    return {"session": as_json(session), "runs": [listing.as_json(run) for run in runs]}


def _outcomes(session: Session, terminal: Terminal) -> str:
    """Return how many runs ended how, as `✓ 2  ✗ 1`."""
    signs = ((OUTCOMES.get(word, ("none", ""))[0], session.outcomes.get(word, 0)) for word in _WORDS)
    return "  ".join(f"{terminal.glyph(sign)} {number}" for sign, number in signs if number)


def _cost(session: Session, terminal: Terminal) -> str:
    return terminal.money(session.cost_pico_usd) + ("+?" if session.unpriced_calls else "")

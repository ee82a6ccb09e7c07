"""`spanledger runs verify`: whether everything is as it was stored."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from spanledger.exporters.run_store.chain import Entry, Mark
from spanledger.exporters.run_store.filter import StoreError
from spanledger.exporters.run_store.reader import RunReader
from spanledger.service.runs.amounts import many
from spanledger.service.runs.terminal import Terminal


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that is not as it was stored."""

    entry: int
    run_id: str | None
    """The run whose document the entry is, where that can still be told."""
    problem: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """What verification found."""

    runs: int
    findings: int
    base: Mark
    head: Mark
    problems: tuple[Problem, ...]


def verify(reader: RunReader, entries: Iterator[Entry], expected: bytes | None) -> Verdict:
    """Check the whole store; `entries` are its entries, `expected` a hash that was noted earlier."""
    kinds: Counter[str] = Counter()

    def counted() -> Iterator[Entry]:
        for entry in entries:
            kinds[str(entry.kind)] += 1
            yield entry

    breaks = list(reader.breaks(counted(), expected))
    problems = tuple(Problem(one.seq, _owner(reader, one.seq), one.problem) for one in breaks)
    return Verdict(kinds["run"], kinds["finding"], reader.base(), reader.head(), problems)


def lines(verdict: Verdict, terminal: Terminal) -> Iterator[str]:
    """Yield the verdict."""
    for one in verdict.problems:
        owner = f" (run {terminal.safe(one.run_id)})" if one.run_id else ""
        yield f"{terminal.paint(terminal.glyph('error'), 'bad')} {terminal.safe(one.problem)}{owner}"
    if verdict.problems:
        yield f"not verified: {many(len(verdict.problems), 'problem')}"
        return
    sign = terminal.paint(terminal.glyph("success"), "good")
    kept = f"{many(verdict.runs, 'run document')} and {many(verdict.findings, 'finding')}"
    yield f"{sign} {kept}: all as they were stored"
    if verdict.base.seq:
        yield f"  entries up to {verdict.base.seq:,} were pruned, and the chain says so itself"
    yield f"  entry {verdict.head.seq:,} ends the chain: {verdict.head.hash.hex()}"


def as_json(verdict: Verdict) -> dict[str, Any]:
    """Return the verdict as a JSON object."""
    return {
        "ok": not verdict.problems,
        "runs": verdict.runs,
        "findings": verdict.findings,
        "pruned_through": verdict.base.seq,
        "head": {"entry": verdict.head.seq, "hash": verdict.head.hash.hex()},
        "problems": [{"entry": one.entry, "run_id": one.run_id, "problem": one.problem} for one in verdict.problems],
    }


def _owner(reader: RunReader, seq: int) -> str | None:
    with contextlib.suppress(StoreError):
        run_id = reader.document(seq).get("run_id")
        return run_id if isinstance(run_id, str) else None
    return None

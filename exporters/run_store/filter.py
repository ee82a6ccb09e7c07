"""Which runs are wanted, as a condition in SQL."""
# ruff: noqa: S608 - the conditions are put together from our own words; what others say is a parameter

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

NEWEST: Final = (
    "NOT EXISTS (SELECT 1 FROM runs AS later WHERE later.run_id = runs.run_id AND later.revision > runs.revision)"
    " AND NOT EXISTS (SELECT 1 FROM replaced AS r WHERE r.run_id = runs.run_id AND r.seq > runs.seq)"
)
"""Holds for the newest revision of each run that did not turn out to be part of another one."""

_TERM: Final = re.compile(r'"([^"]*)"|(\S+)')


class StoreError(Exception):
    """The store cannot be read, or has not what was asked for; the message is for people."""


class NoSuchRun(StoreError):  # noqa: N818 - reads as the condition it is
    """No run, or more than one, is what was asked for."""


@dataclass(frozen=True, slots=True)
class Filter:
    """Which runs are wanted; None is any. Names may have wildcards (`*`, `?`), capitals do not matter."""

    agent: str | None = None
    service: str | None = None
    session: str | None = None
    outcome: str | None = None
    min_cost_usd: float | None = None
    finding: str | None = None
    """A kind (`loop`), a rule (`exact_repeat`) or a severity; `*` for any finding at all."""
    since_ns: int | None = None
    until_ns: int | None = None
    text: str | None = None
    """Words that must all occur; `"words in a row"`, `begin*`."""


def where(wanted: Filter) -> tuple[str, list[object]]:
    """Return a condition on the table `runs`, and its parameters."""
    terms = [NEWEST]
    parameters: list[object] = []

    def add(term: str, *values: object) -> None:
        terms.append(term)
        parameters.extend(values)

    if wanted.agent is not None:
        add(f"EXISTS (SELECT 1 FROM run_agents AS a WHERE a.seq = runs.seq AND {_like('a.name')})",
            *_pattern(wanted.agent))  # fmt: skip
    if wanted.service is not None:
        add(_like("service_name"), *_pattern(wanted.service))
    if wanted.session is not None:
        add("session_id = ?", wanted.session)
    if wanted.outcome is not None:
        add("outcome = ?", wanted.outcome)
    if wanted.min_cost_usd is not None:
        add("cost_usd >= ?", wanted.min_cost_usd)
    if wanted.since_ns is not None:
        add("started_ns >= ?", wanted.since_ns)
    if wanted.until_ns is not None:
        add("started_ns < ?", wanted.until_ns)
    if wanted.finding is not None:
        named = " AND (? = '*' OR f.kind = ? OR f.rule = ? OR f.severity = ?)"
        add("(EXISTS (SELECT 1 FROM run_findings AS f WHERE f.seq = runs.seq" + named + ")"
            " OR EXISTS (SELECT 1 FROM findings AS f WHERE f.run_id = runs.run_id" + named + ")"
            " OR EXISTS (SELECT 1 FROM run_traces AS t JOIN findings AS f USING (trace_id)"
            " WHERE t.seq = runs.seq AND f.run_id = ''" + named + "))", *[wanted.finding] * 12)  # fmt: skip
    if wanted.text is not None:
        add("runs.seq IN (SELECT rowid FROM words WHERE words MATCH ?)", match(wanted.text))
    return " AND ".join(terms), parameters


def match(text: str) -> str:
    """Return an FTS5 expression for words that must all occur. `StoreError` when there are none.

    Nothing in `text` is an operator, but for a `*` at the end of a word and double quotes around several.
    """
    terms = []
    for phrase, word in _TERM.findall(text.replace("\0", " ")):
        begins = not phrase and word.endswith("*")
        term = phrase or word.rstrip("*")
        if any(c.isalnum() for c in term):
            terms.append(f'"{term.replace(chr(34), chr(34) * 2)}"' + ("*" if begins else ""))
    if not terms:
        raise StoreError(f"there is no word to look for in {text!r}")
    return " AND ".join(terms)


def _like(column: str) -> str:
    # A name may itself have brackets in it, which mean something to GLOB.
    return f"(lower({column}) = ? OR lower({column}) GLOB ?)"


def _pattern(text: str) -> tuple[str, str]:
    lowered = "".join(c.lower() if c.isascii() else c for c in text)
    return lowered, lowered

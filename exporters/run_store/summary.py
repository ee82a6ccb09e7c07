"""What is known of a run without reading its document: the columns of the table `runs`, and the words to find it by.

Pure. A change here changes what the tables say of documents that are already stored: it needs a new schema
version that fills them anew (`schema.py`).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any, Final

MAX_TEXT: Final = 500
"""Characters kept of a name or an id."""

MAX_WORDS: Final = 256 * 1024
"""Characters of content that can be searched in one run; what comes after is stored but not found."""

MAX_NAMES: Final = 200
"""Agents, traces and findings of one run that it can be found by."""

_MAX_INT: Final = 2**63 - 1


@dataclass(frozen=True, slots=True)
class RunColumns:
    """One row of `runs`. None is unknown."""

    run_id: str
    revision: int
    service_name: str
    agent_name: str
    session_id: str | None
    user_id: str | None
    outcome: str
    completeness: str
    started_ns: int | None
    duration_s: float | None
    steps: int
    llm_calls: int
    tool_calls: int
    errors: int
    """Model and tool calls that failed."""
    retries: int
    input_tokens: int
    output_tokens: int
    cost_usd: float | None
    unpriced_calls: int


COLUMNS: Final = tuple(column.name for column in fields(RunColumns))


@dataclass(frozen=True, slots=True)
class Words:
    """The text that full-text search looks at."""

    names: str
    errors: str
    content: str


@dataclass(frozen=True, slots=True)
class RunSummary:
    """A run's columns, and the lists it is found by."""

    columns: RunColumns
    agents: tuple[str, ...]
    traces: tuple[str, ...]
    findings: tuple[tuple[str, str, str], ...]
    """(kind, rule, severity) of each."""
    words: Words


def summarize(document: Mapping[str, Any]) -> RunSummary:
    """Summarise a run document. ValueError when it does not say which run it is; all else may be absent."""
    run_id, revision = document.get("run_id"), document.get("revision")
    if not isinstance(run_id, str) or not run_id or len(run_id) > MAX_TEXT:
        raise ValueError("the document has no usable run_id")
    if not isinstance(revision, int) or isinstance(revision, bool) or not 0 <= revision <= _MAX_INT:
        raise ValueError("the document has no usable revision")
    totals = _mapping(document.get("totals"))
    columns = RunColumns(
        run_id=encodable(run_id),
        revision=revision,
        service_name=_text(document.get("service_name")) or "",
        agent_name=_text(document.get("agent_name")) or "",
        session_id=_text(document.get("session_id")),
        user_id=_text(document.get("user_id")),
        outcome=_text(document.get("outcome")) or "unknown",
        completeness=_text(document.get("completeness")) or "",
        started_ns=time_ns(document.get("started_at")),
        duration_s=_real(document.get("duration_s")),
        steps=_count(totals.get("steps")),
        llm_calls=_count(totals.get("llm_calls")),
        tool_calls=_count(totals.get("tool_calls")),
        errors=_count(totals.get("llm_calls_failed")) + _count(totals.get("tool_calls_failed")),
        retries=_count(totals.get("retries")),
        input_tokens=_count(totals.get("input_tokens")),
        output_tokens=_count(totals.get("output_tokens")),
        cost_usd=_real(totals.get("cost_usd")),
        unpriced_calls=_count(totals.get("unpriced_calls")),
    )
    steps = list(_mappings(document.get("steps")))
    agents = [columns.agent_name, *(_text(agent.get("name")) for agent in _mappings(document.get("agents")))]
    agents += [_text(step.get("agent_name")) for step in steps]
    traces = [_text(trace) for trace in _list(document.get("trace_ids"))]
    findings = [
        tuple(_text(finding.get(key)) or "" for key in ("kind", "rule", "severity"))
        for finding in _mappings(document.get("findings"))
    ]
    return RunSummary(
        columns,
        _distinct(agents),
        _distinct(traces),
        tuple(dict.fromkeys((kind, rule, severity) for kind, rule, severity in findings[:MAX_NAMES])),
        _words(document, steps),
    )


def time_ns(value: Any) -> int | None:
    """Read an RFC 3339 time with up to nine digits of a second as nanoseconds; None when it is none."""
    if not isinstance(value, str) or len(value) > 40:
        return None
    try:
        # `datetime` knows microseconds only, so the fraction is read apart.
        whole, dot, rest = value.partition(".")
        digits = rest[: len(rest) - len(rest.lstrip("0123456789"))]
        at = datetime.fromisoformat(whole + rest[len(digits) :] if dot else value)
        seconds = int(at.timestamp()) if at.tzinfo else None
    except (ValueError, OverflowError):
        return None
    if seconds is None or not 0 <= seconds <= _MAX_INT // 10**9 - 1:
        return None
    return seconds * 10**9 + int(digits[:9].ljust(9, "0") if dot else 0)


def encodable(text: str) -> str:
    """Return `text` as the file can hold it: half a character (a lone surrogate) becomes a question mark."""
    return text if text.isascii() else text.encode(errors="replace").decode()


def _words(document: Mapping[str, Any], steps: list[Mapping[str, Any]]) -> Words:
    names = [document.get(key) for key in ("service_name", "agent_name", "session_id", "user_id", "outcome")]
    names += [step.get(key) for step in steps for key in ("name", "agent_name", "tool_name", "model", "provider")]
    errors = [step.get("error_type") for step in steps]
    errors += [finding.get("rule") for finding in _mappings(document.get("findings"))]
    content = (step.get(key) for step in steps for key in ("input", "output"))
    return Words(_joined(_distinct(map(_text, names), None)), _joined(_distinct(map(_text, errors), None)),
                 _joined(_bounded(content)))  # fmt: skip


def _bounded(texts: Iterator[Any]) -> Iterator[str]:
    left = MAX_WORDS
    for text in texts:
        if isinstance(text, str) and text:
            if left <= 0:
                return
            yield encodable(text[:left])
            left -= len(text)


def _joined(texts: Any) -> str:
    return "\n".join(texts)[:MAX_WORDS].replace("\0", " ")


def _distinct(texts: Any, limit: int | None = MAX_NAMES) -> tuple[str, ...]:
    return tuple(dict.fromkeys(text for text in texts if text))[:limit]


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _mappings(value: Any) -> Iterator[Mapping[str, Any]]:
    return (item for item in _list(value) if isinstance(item, dict))


def _text(value: Any) -> str | None:
    return encodable(value[:MAX_TEXT]) if isinstance(value, str) and value else None


def _count(value: Any) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _MAX_INT // 4 else 0


def _real(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        real = float(value)
    except OverflowError:
        return None
    return real if math.isfinite(real) else None

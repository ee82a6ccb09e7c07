"""Runs and findings as OTLP log records, on the trace and span they are about."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord, SeverityNumber

from spanledger.conventions.run_document import root_attributes
from spanledger.conventions.values import Value, key_value

if TYPE_CHECKING:
    from spanledger.conventions.loops import Loop
    from spanledger.conventions.run import Run, Severity

RUN_CLOSED: Final = "spanledger.run.closed"
RUN_REPLACED: Final = "spanledger.run.replaced"
LOOP_DETECTED: Final = "spanledger.loop.detected"

_SEVERITIES: Final[Mapping[Severity, tuple[str, str]]] = {
    "info": ("SEVERITY_NUMBER_INFO", "INFO"),
    "warning": ("SEVERITY_NUMBER_WARN", "WARN"),
    "critical": ("SEVERITY_NUMBER_ERROR", "ERROR"),
}


def closed(run: Run, document: bytes, now_ns: int) -> LogRecord:
    """Return the event of a run that was closed, or of its next revision; the document is its body."""
    said = {
        **root_attributes(run),
        "spanledger.run.revision": run.revision,
        "gen_ai.agent.name": run.agent_name or None,
        "gen_ai.conversation.id": run.session_id,
    }
    severity: Severity = "warning" if run.outcome == "failure" else "info"
    record = event(RUN_CLOSED, said, severity, now_ns, *_place(run))
    ended_ns = run.started_at_ns + int((run.duration_s or 0) * 1e9)
    record.time_unix_nano = ended_ns if run.started_at_ns > 0 else now_ns
    record.body.string_value = document.decode()
    return record


def replaced(run_id: str, run: Run, now_ns: int) -> LogRecord:
    """Return the event that a run, reported before, turned out to be part of another one."""
    said: dict[str, Value] = {"spanledger.run.id": run_id, "spanledger.run.replaced_by": run.run_id}
    return event(RUN_REPLACED, said, "info", now_ns, *_place(run))


def looped(loop: Loop, run_id: str, now_ns: int) -> LogRecord:
    """Return the event of a loop, on its last step."""
    said: dict[str, Value] = {
        "spanledger.run.id": run_id or None,
        "spanledger.loop.rule": loop.rule,
        "spanledger.loop.kind": loop.kind,
        "spanledger.loop.severity": loop.severity,
        "spanledger.loop.subject": loop.subject or None,
        "spanledger.loop.fingerprint": loop.fingerprint,
        "spanledger.loop.count": loop.count,
        "spanledger.loop.threshold": float(loop.threshold),
        "spanledger.loop.basis": loop.basis,
        "spanledger.loop.first_span_id": loop.spans[0][1].hex() if loop.spans else None,
        "spanledger.loop.last_span_id": loop.spans[-1][1].hex() if loop.spans else None,
        "spanledger.loop.wasted_tokens": loop.wasted_tokens,
        "spanledger.loop.wasted_cost_usd": loop.wasted_usd,
        "gen_ai.agent.name": loop.agent_name or None,
    }
    return event(LOOP_DETECTED, said, loop.severity, now_ns, *(loop.spans[-1] if loop.spans else (b"", b"")))


def event(
    name: str, said: Mapping[str, Value], severity: Severity, now_ns: int, trace_id: bytes = b"", span_id: bytes = b""
) -> LogRecord:
    """Return an event; attributes that are None are left out."""
    number, text = _SEVERITIES[severity]
    return LogRecord(
        time_unix_nano=now_ns,
        observed_time_unix_nano=now_ns,
        severity_number=SeverityNumber.Value(number),
        severity_text=text,
        event_name=name,
        trace_id=trace_id,
        span_id=span_id,
        attributes=[key_value(key, value) for key, value in said.items() if value is not None],
    )


def _place(run: Run) -> tuple[bytes, bytes]:
    """Return the trace and span that stand for a run: its root, or else its first step."""
    first = next((step for step in run.steps if step.span_id == run.root_span_id), run.steps[0] if run.steps else None)
    return (bytes.fromhex(first.trace_id), bytes.fromhex(first.span_id)) if first is not None else (b"", b"")

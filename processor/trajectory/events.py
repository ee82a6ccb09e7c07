"""Runs and findings as OTLP log records, on the trace and span they are about."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord, SeverityNumber

from spanledger.conventions.run_document import root_attributes
from spanledger.conventions.values import Value, add_attributes

if TYPE_CHECKING:
    from spanledger.conventions.policies import Ruling
    from spanledger.conventions.run import Finding, Run, RunEvaluation, Severity
    from spanledger.conventions.safety.findings import Noted

RUN_CLOSED: Final = "spanledger.run.closed"
RUN_REPLACED: Final = "spanledger.run.replaced"
LOOP_DETECTED: Final = "spanledger.loop.detected"
EVALUATED: Final = "gen_ai.evaluation.result"
AGENT_CHANGED: Final = "spanledger.agent.changed"
BUDGET_BREACHED: Final = "spanledger.budget.breached"
POLICY_VIOLATION: Final = "spanledger.policy.violation"
SAFETY_FINDING: Final = "spanledger.safety.finding"

_LOOP: Final = (
    "subject", "fingerprint", "count", "threshold", "basis", "first_span_id", "last_span_id", "wasted_tokens",
)  # fmt: skip

_BUDGET: Final = ("level", "per", "period", "limit_usd", "spent_usd", "steps", "tool_calls")

_MAX_NS: Final = 2**64 - 1
"""A span may say that it ended then, and a duration is a float."""

_SEVERITIES: Final[Mapping[Severity, tuple[SeverityNumber.ValueType, str]]] = {
    "info": (SeverityNumber.SEVERITY_NUMBER_INFO, "INFO"),
    "warning": (SeverityNumber.SEVERITY_NUMBER_WARN, "WARN"),
    "critical": (SeverityNumber.SEVERITY_NUMBER_ERROR, "ERROR"),
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
    record = event(RUN_CLOSED, said, severity, now_ns, *place_of(run))
    ended_ns = run.started_at_ns + int((run.duration_s or 0) * 1e9)
    record.time_unix_nano = min(ended_ns, _MAX_NS) if run.started_at_ns > 0 else now_ns
    record.body.string_value = document.decode()
    return record


def replaced(run_id: str, run: Run, now_ns: int) -> LogRecord:
    """Return the event that a run, reported before, turned out to be part of another one."""
    said: dict[str, Value] = {"spanledger.run.id": run_id, "spanledger.run.replaced_by": run.run_id}
    return event(RUN_REPLACED, said, "info", now_ns, *place_of(run))


def looped(finding: Finding, agent_name: str, run_id: str, now_ns: int, place: tuple[bytes, bytes]) -> LogRecord:
    """Return the event of a loop, on its last step."""
    detail = finding.detail
    said: dict[str, Value] = {
        "spanledger.run.id": run_id or None,
        "spanledger.loop.rule": finding.rule,
        "spanledger.loop.kind": finding.kind,
        "spanledger.loop.severity": finding.severity,
        "spanledger.loop.wasted_cost_usd": detail.get("wasted_usd"),
        **{f"spanledger.loop.{name}": detail.get(name) for name in _LOOP},
        "gen_ai.agent.name": agent_name or None,
    }
    return event(LOOP_DETECTED, said, finding.severity, now_ns, *place)


def breached(finding: Finding, run_id: str, now_ns: int, place: tuple[bytes, bytes]) -> LogRecord:
    """Return the event that a limit of a budget was reached, on the step that did it."""
    detail = finding.detail
    said: dict[str, Value] = {
        "spanledger.run.id": run_id or None,
        "spanledger.budget.name": detail.get("budget"),
        "spanledger.budget.rule": finding.rule,
        "spanledger.budget.severity": finding.severity,
        **{f"spanledger.budget.{name}": detail.get(name) for name in _BUDGET},
    }
    return event(BUDGET_BREACHED, said, finding.severity, now_ns, *place)


def violated(ruling: Ruling, run_id: str, now_ns: int) -> LogRecord:
    """Return the event that a step does what a policy does not allow."""
    severity: Severity = "critical" if ruling.action == "executed" else "warning"
    said: dict[str, Value] = {
        "spanledger.run.id": run_id or None,
        "spanledger.policy.name": ruling.policy,
        "spanledger.policy.rule": ruling.rule,
        "spanledger.policy.severity": severity,
        "spanledger.policy.subject": ruling.subject,
        "spanledger.policy.action": ruling.action,
        "gen_ai.agent.name": ruling.act.agent_name or None,
        "gen_ai.tool.name": ruling.tool_name or None,
    }
    return event(POLICY_VIOLATION, said, severity, now_ns, ruling.act.key[:16], ruling.act.key[16:24])


def unsafe(run: Run, noted: Noted, now_ns: int) -> LogRecord:
    """Return the event of what a step says of safety."""
    said: dict[str, Value] = {
        "spanledger.run.id": run.run_id,
        "spanledger.safety.category": noted.category,
        "spanledger.safety.severity": noted.severity,
        "spanledger.safety.source": noted.source,
        "gen_ai.agent.name": noted.agent_name or None,
    }
    return event(SAFETY_FINDING, said, noted.severity, now_ns, *place_of(run, noted.step))


def evaluated(run: Run, judged: RunEvaluation, now_ns: int) -> LogRecord:
    """Return the event of a built-in evaluation, as the conventions have it, on the root of its run."""
    evaluation = judged.evaluation
    said: dict[str, Value] = {
        "gen_ai.evaluation.name": evaluation.name,
        "gen_ai.evaluation.score.value": evaluation.score,
        "gen_ai.evaluation.score.label": evaluation.label,
        "gen_ai.evaluation.explanation": evaluation.explanation,
        "gen_ai.agent.name": run.agent_name or None,
        "gen_ai.conversation.id": run.session_id,
        "spanledger.run.id": run.run_id,
        "spanledger.run.revision": run.revision,
    }
    return event(EVALUATED, said, "info", now_ns, *place_of(run))


def agent_changed(run: Run, agent_name: str, fingerprint: str, before: str, now_ns: int) -> LogRecord:
    """Return the event that an agent has another prompt, other tools or another model than in its runs before."""
    said: dict[str, Value] = {
        "gen_ai.agent.name": agent_name,
        "spanledger.agent.fingerprint": fingerprint,
        "spanledger.agent.fingerprint.before": before,
        "spanledger.run.id": run.run_id,
    }
    return event(AGENT_CHANGED, said, "info", now_ns, *place_of(run))


def event(
    name: str, said: Mapping[str, Value], severity: Severity, now_ns: int, trace_id: bytes = b"", span_id: bytes = b""
) -> LogRecord:
    """Return an event; attributes that are None are left out."""
    number, text = _SEVERITIES[severity]
    record = LogRecord(
        time_unix_nano=now_ns,
        observed_time_unix_nano=now_ns,
        severity_number=number,
        severity_text=text,
        event_name=name,
        trace_id=trace_id,
        span_id=span_id,
    )
    add_attributes(record.attributes, {key: value for key, value in said.items() if value is not None})
    return record


def place_of(run: Run, index: int | None = None) -> tuple[bytes, bytes]:
    """Return the trace and span of a step, or of what stands for the run: its root, or else its first step."""
    if index is not None:
        step = run.steps[index]
    elif run.steps:
        step = next((one for one in run.steps if one.span_id == run.root_span_id), run.steps[0])
    else:
        return b"", b""
    return bytes.fromhex(step.trace_id), bytes.fromhex(step.span_id)

"""Write runs: the document, its canonical bytes and digest, the attributes of a root span."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from functools import lru_cache
from hashlib import sha256
from math import isfinite
from typing import TYPE_CHECKING, Any, Final

from spanledger.conventions.run import SCHEMA

if TYPE_CHECKING:
    from collections.abc import Sequence

    from spanledger.conventions.run import (
        Completeness,
        Finding,
        Outcome,
        Run,
        RunEvaluation,
        RunStep,
        RunTotals,
        RunUsage,
        Share,
    )
    from spanledger.conventions.values import Value

_PICO: Final = 10**12
_MAX_NS: Final = 253_402_300_800 * 10**9
"""The first nanosecond of the year 10000."""


def document(run: Run) -> dict[str, Any]:
    """Return a run as the JSON object of its contract."""
    return {**head(run), "steps": [_step(step) for step in run.steps]}


def head(run: Run) -> dict[str, Any]:
    """Return the same without the steps."""
    return {
        "schema": SCHEMA,
        "run_id": run.run_id,
        "revision": run.revision,
        "trace_ids": list(run.trace_ids),
        "session_id": run.session_id,
        "user_id": run.user_id,
        "service_name": run.service_name,
        "agent_name": run.agent_name,
        "root_span_id": run.root_span_id,
        "started_at": timestamp(run.started_at_ns),
        "duration_s": run.duration_s,
        "outcome": run.outcome,
        "outcome_basis": run.outcome_basis,
        "completeness": run.completeness,
        "totals": _totals(run.totals),
        "agents": [_share(share) for share in run.agents],
        "tools": [_share(share) for share in run.tools],
        "dimensions": dict(run.dimensions),
        "by_dimension": {name: [_share(share) for share in shares] for name, shares in run.by_dimension.items()},
        "findings": [_finding(finding) for finding in run.findings],
        "evaluations": [_evaluation(evaluation) for evaluation in run.evaluations],
        "failure_chain": list(run.failure_chain),
        "failure_basis": list(run.failure_basis),
        "critical_path": list(run.critical_path),
        "handoffs": [
            {"from": handoff.giver, "to": handoff.taker, "step": handoff.step, "kind": handoff.kind}
            for handoff in run.handoffs
        ],
        "fingerprints": dict(run.fingerprints),
    }


def canonical_bytes(run: Run) -> bytes:
    """Return the document as bytes that are equal for equal runs: sorted keys, no blanks, UTF-8."""
    text = json.dumps(document(run), sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return text.encode("utf-8", "backslashreplace")


def digest(run: Run) -> str:
    """Return the SHA-256 of `canonical_bytes`, as hex."""
    return sha256(canonical_bytes(run)).hexdigest()


def root_attributes(run: Run) -> dict[str, Value]:
    """Return what is written onto the root span of a run; nothing for what is unknown."""
    rules = dict.fromkeys(finding.rule for finding in run.findings)
    return roll_up(run.run_id, run.totals, run.outcome, run.completeness, list(rules))


def roll_up(
    run_id: str, totals: RunTotals, outcome: Outcome, completeness: Completeness, findings: Sequence[str] = ()
) -> dict[str, Value]:
    """Return the same from its parts; `findings` are the rules of what was found."""
    attributes: dict[str, Value] = {
        "spanledger.run.id": run_id,
        "spanledger.run.cost_usd": usd(totals.cost_pico_usd),
        "spanledger.run.input_tokens": totals.input_tokens,
        "spanledger.run.output_tokens": totals.output_tokens,
        "spanledger.run.llm_calls": totals.llm_calls,
        "spanledger.run.tool_calls": totals.tool_calls,
        "spanledger.run.retries": totals.retries,
        "spanledger.run.outcome": outcome,
        "spanledger.run.completeness": completeness,
        "spanledger.run.findings": [*findings] or None,
    }
    return {name: value for name, value in attributes.items() if value is not None}


def timestamp(ns: int) -> str:
    """Return nanoseconds since the epoch as `2026-11-20T08:00:00.000000000Z`. Times out of range are cut to it."""
    seconds, rest = divmod(min(max(ns, 0), _MAX_NS - 1), 10**9)
    return f"{_to_the_second(seconds)}.{rest:09d}Z"


@lru_cache(maxsize=1024)
def _to_the_second(seconds: int) -> str:
    # The library's own conversion goes through floats on some platforms.
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}"


def usd(pico: int | None) -> float | None:
    """Return pico-dollars as dollars."""
    return None if pico is None else pico / _PICO


def _totals(totals: RunTotals) -> dict[str, Any]:
    return {
        "steps": totals.steps,
        "llm_calls": totals.llm_calls,
        "llm_calls_failed": totals.llm_calls_failed,
        "tool_calls": totals.tool_calls,
        "tool_calls_failed": totals.tool_calls_failed,
        "retries": totals.retries,
        "max_depth": totals.max_depth,
        "input_tokens": totals.input_tokens,
        "output_tokens": totals.output_tokens,
        "cache_read_tokens": totals.cache_read_tokens,
        "cache_write_tokens": totals.cache_write_tokens,
        "reasoning_tokens": totals.reasoning_tokens,
        "cost_usd": usd(totals.cost_pico_usd),
        "unpriced_calls": totals.unpriced_calls,
        "unattributed_cost_usd": usd(totals.unattributed_cost_pico_usd),
        "unattributed_tokens": totals.unattributed_tokens,
        "rollups_less": totals.rollups_less,
        "rollups_more": totals.rollups_more,
    }


def _share(share: Share) -> dict[str, Any]:
    return {
        "name": share.name,
        "llm_calls": share.llm_calls,
        "tool_calls": share.tool_calls,
        "input_tokens": share.input_tokens,
        "output_tokens": share.output_tokens,
        "cost_usd": usd(share.cost_pico_usd),
    }


def _finding(finding: Finding) -> dict[str, Any]:
    return {
        "kind": finding.kind,
        "rule": finding.rule,
        "severity": finding.severity,
        "steps": list(finding.steps),
        "detail": dict(finding.detail),
    }


def _evaluation(one: RunEvaluation) -> dict[str, Any]:
    evaluation = one.evaluation
    return {
        "name": evaluation.name,
        "score": evaluation.score if evaluation.score is not None and isfinite(evaluation.score) else None,
        "label": evaluation.label,
        "explanation": evaluation.explanation,
        "response_id": evaluation.response_id or None,
        "at": timestamp(evaluation.at_ns) if evaluation.at_ns > 0 else None,
        "step": one.step,
        "basis": one.basis,
    }


def _step(step: RunStep) -> dict[str, Any]:
    return {
        "index": step.index,
        "span_id": step.span_id or None,
        "trace_id": step.trace_id,
        "parent": step.parent,
        "basis": step.basis,
        "kind": step.kind,
        "name": step.name,
        "agent_name": step.agent_name,
        "agent_basis": step.agent_basis,
        "tool_name": step.tool_name,
        "tool_call_id": step.tool_call_id,
        "provider": step.provider,
        "model": step.model,
        "started_at": timestamp(step.started_at_ns),
        "duration_s": step.duration_s,
        "status": step.status,
        "error_type": step.error_type,
        "attempt": step.attempt,
        "usage": None if step.usage is None else _usage(step.usage),
        "cost_usd": usd(step.cost_pico_usd),
        "cost_status": step.cost_status,
        "requested_by": step.requested_by,
        "requested_basis": step.requested_basis,
        "read_by": step.read_by,
        "depth": step.depth,
        "branch": step.branch,
        "critical": step.critical,
        "twins": list(step.twins),
        "asks": list(step.asks),
        "input": step.input,
        "output": step.output,
    }


def _usage(usage: RunUsage) -> dict[str, Any]:
    return {
        "input_tokens": usage.input,
        "output_tokens": usage.output,
        "cache_read_tokens": usage.cache_read,
        "cache_write_tokens": usage.cache_write,
        "reasoning_tokens": usage.reasoning,
    }

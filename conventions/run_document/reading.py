"""Read documents back into runs, strictly."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from spanledger.conventions.detail import Evaluation
from spanledger.conventions.reading import CostStatus, StepKind
from spanledger.conventions.run import (
    SCHEMA,
    AgentBasis,
    Completeness,
    EdgeBasis,
    Finding,
    Handoff,
    Outcome,
    OutcomeBasis,
    Run,
    RunEvaluation,
    RunStep,
    RunTotals,
    RunUsage,
    Severity,
    Share,
)
from spanledger.conventions.run_document.strict_json import BadDocument, Object

if TYPE_CHECKING:
    from collections.abc import Mapping


def read_document(data: Mapping[str, Any]) -> Run:
    """Return the run of a document. Raises `BadDocument` for what is not of this schema."""
    top = Object(data, "")
    if top.text("schema") != SCHEMA:
        raise BadDocument(f"schema is {data.get('schema')!r:.60}, and {SCHEMA!r} is what can be read")
    listed = top.objects("steps")
    steps = tuple(_read_step(one, index, len(listed)) for index, one in enumerate(listed))
    return Run(
        run_id=top.text("run_id"),
        revision=top.count("revision"),
        trace_ids=top.texts("trace_ids"),
        session_id=top.maybe_text("session_id"),
        user_id=top.maybe_text("user_id"),
        service_name=top.text("service_name"),
        agent_name=top.text("agent_name"),
        root_span_id=top.maybe_text("root_span_id"),
        started_at_ns=top.time("started_at"),
        duration_s=top.maybe_number("duration_s"),
        outcome=top.word("outcome", Outcome),
        outcome_basis=top.word("outcome_basis", OutcomeBasis),
        completeness=top.word("completeness", Completeness),
        totals=_read_totals(top.object("totals")),
        steps=steps,
        agents=tuple(map(_read_share, top.objects("agents"))),
        tools=tuple(map(_read_share, top.objects("tools", ()))),
        dimensions=top.text_map("dimensions"),
        findings=tuple(_read_finding(one, len(steps)) for one in top.objects("findings")),
        evaluations=tuple(_read_evaluation(one, len(steps)) for one in top.objects("evaluations")),
        failure_chain=top.indexes("failure_chain", len(steps)),
        failure_basis=top.texts("failure_basis", ()),
        critical_path=top.indexes("critical_path", len(steps), ()),
        fingerprints=top.text_map("fingerprints"),
        by_dimension={
            name: tuple(map(_read_share, shares)) for name, shares in top.object("by_dimension", {}).lists_of_objects()
        },
        handoffs=tuple(
            Handoff(one.text("from"), one.text("to"), one.index("step", len(steps)), one.word("kind", _HandoffKind))
            for one in top.objects("handoffs", ())
        ),
    )


_HandoffKind = Literal["delegation", "handoff"]
_Status = Literal["ok", "error"]
_RequestedBasis = Literal["tool_call_id", "order_and_name"]
_EvaluationBasis = Literal["parent", "response_id", "conversation", "builtin"]


def _read_totals(totals: Object) -> RunTotals:
    return RunTotals(
        steps=totals.count("steps"),
        llm_calls=totals.count("llm_calls"),
        llm_calls_failed=totals.count("llm_calls_failed"),
        tool_calls=totals.count("tool_calls"),
        tool_calls_failed=totals.count("tool_calls_failed"),
        retries=totals.count("retries"),
        max_depth=totals.count("max_depth"),
        input_tokens=totals.count("input_tokens"),
        output_tokens=totals.count("output_tokens"),
        cache_read_tokens=totals.count("cache_read_tokens"),
        cache_write_tokens=totals.count("cache_write_tokens"),
        reasoning_tokens=totals.count("reasoning_tokens"),
        cost_pico_usd=totals.pico("cost_usd"),
        unpriced_calls=totals.count("unpriced_calls"),
        unattributed_cost_pico_usd=totals.pico("unattributed_cost_usd") or 0,
        unattributed_tokens=totals.count("unattributed_tokens", 0),
        rollups_less=totals.count("rollups_less", 0),
        rollups_more=totals.count("rollups_more", 0),
    )


def _read_share(share: Object) -> Share:
    return Share(
        share.text("name"),
        share.count("llm_calls"),
        share.count("tool_calls"),
        share.count("input_tokens", 0),
        share.count("output_tokens", 0),
        share.pico("cost_usd"),
    )


def _read_finding(finding: Object, count: int) -> Finding:
    return Finding(
        finding.text("kind"),
        finding.text("rule"),
        finding.word("severity", Severity),
        finding.indexes("steps", count),
        dict(finding.object("detail").data),
    )


def _read_evaluation(one: Object, count: int) -> RunEvaluation:
    return RunEvaluation(
        Evaluation(
            one.text("name"),
            one.maybe_number("score"),
            one.maybe_text("label"),
            one.maybe_text("explanation"),
            one.maybe_text("response_id") or "",
            one.time("at") if one.data.get("at") is not None else 0,
        ),
        one.maybe_index("step", count),
        one.word("basis", _EvaluationBasis, "parent"),
    )


def _read_step(step: Object, position: int, count: int) -> RunStep:
    if step.count("index") != position:
        raise BadDocument(f"{step.path}.index is {step.data['index']}: steps are numbered from 0 in their order")
    return RunStep(
        index=position,
        span_id=step.maybe_text("span_id") or "",
        trace_id=step.maybe_text("trace_id") or "",
        parent=step.maybe_index("parent", position),
        basis=step.word("basis", EdgeBasis),
        kind=step.word("kind", StepKind),
        name=step.text("name"),
        agent_name=step.maybe_text("agent_name"),
        tool_name=step.maybe_text("tool_name"),
        tool_call_id=step.maybe_text("tool_call_id"),
        provider=step.maybe_text("provider"),
        model=step.maybe_text("model"),
        started_at_ns=step.time("started_at"),
        duration_s=step.maybe_number("duration_s"),
        status=step.word("status", _Status),
        error_type=step.maybe_text("error_type"),
        attempt=step.count("attempt"),
        usage=_read_usage(step.object("usage")) if step.data.get("usage") is not None else None,
        cost_pico_usd=step.pico("cost_usd"),
        cost_status=step.maybe_word("cost_status", CostStatus),
        requested_by=step.maybe_index("requested_by", count),
        requested_basis=step.maybe_word("requested_basis", _RequestedBasis),
        read_by=step.maybe_index("read_by", count),
        depth=step.count("depth", 0),
        branch=step.count("branch", 0),
        critical=step.flag("critical"),
        twins=step.texts("twins", ()),
        asks=step.texts("asks", ()),
        input=step.maybe_text("input"),
        output=step.maybe_text("output"),
        agent_basis=step.maybe_word("agent_basis", AgentBasis),
    )


def _read_usage(usage: Object) -> RunUsage:
    return RunUsage(
        usage.maybe_count("input_tokens"),
        usage.maybe_count("output_tokens"),
        usage.maybe_count("cache_read_tokens"),
        usage.maybe_count("cache_write_tokens"),
        usage.maybe_count("reasoning_tokens"),
    )

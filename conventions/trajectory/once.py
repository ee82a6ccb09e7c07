"""Who is billed, decided over the whole group: what had come when a span passed must not matter.

A span is told what it costs as it passes, by what has come until then. A run is looked at when its spans are there:
the rules of the ledger, told of all of them, give the same answer in whatever order they came. A report of a call
that is counted in another group keeps what it was told.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from spanledger.conventions.call import Call, Place
from spanledger.conventions.ledger import MONEY, Report
from spanledger.conventions.same_call import twins
from spanledger.conventions.step import Step, altered
from spanledger.conventions.trajectory.tree import CALLS, RUNNERS, walk
from spanledger.conventions.verdicts import FETCHED, REASONS, SUM_OF_CALLS, decided

if TYPE_CHECKING:
    from collections.abc import Sequence

    from spanledger.conventions.trajectory.tree import Node

_ELSEWHERE: Final = Report()
"""The twin of a call that is counted in another group."""


def bill(roots: Sequence[Node]) -> None:
    """Find out what each node is billed for (`Node.report`, `Node.bill`), and give its step the cost that follows."""
    nodes = list(walk(roots))
    for node in nodes:  # parents come first
        record = node.record
        call = call_of(record) if isinstance(record, Step) else None
        node.report = Report(Place(record.trace_id, record.span_id, b"", record.start_ns, record.end_ns, call))
        if node.parent is not None and node.parent.report is not None:
            node.report.hang(node.parent.report)
    reports = {report.place: report for node in nodes if (report := node.report) is not None and report.standing}
    for place, better in twins(place for place in reports if place is not None).items():
        reports[place].twin_of = reports[better]
    keys: set[bytes] | None = None
    for node in nodes:
        step, report = node.record, node.report
        if not isinstance(step, Step) or report is None:
            continue
        if _was_told_twin(step) and report.verdict in MONEY:
            keys = keys or {node.record.trace_id + node.record.span_id for node in nodes}
            if step.same_as not in keys:
                report.twin_of = _ELSEWHERE
        node.bill = report.bill
        node.step = _with_cost(step, report)


def call_of(step: Step) -> Call | None:
    """Return what a step tells of a call: what it told when it was priced, or else as far as it is known."""
    if step.call is not None:
        return step.call
    is_call, cost = step.kind in CALLS, step.cost
    if cost is not None and ((is_call and cost.status == "rollup") or cost == FETCHED):
        return None
    usage = step.usage
    if not is_call and (usage is None or not usage.known):
        return None
    return Call(
        inference=is_call,
        scope=step.dialect,
        service=step.service_name,
        response_id=step.response_id,
        input=(usage.input or 0) if usage is not None else 0,
        output=(usage.output or 0) if usage is not None else 0,
        failed=step.status == "error",
        pico_usd=cost.total if cost is not None else None,
        pico_input=cost.input if cost is not None else None,
        pico_output=cost.output if cost is not None else None,
        kin=step.dialect if step.retold else "",
        report=step.report,
        session=step.conversation_id,
        reasoning=(usage.reasoning or 0) if usage is not None else 0,
        cached=(usage.cache_read or 0) + (usage.cache_write or 0) if usage is not None else 0,
        written=usage.cache_write or 0 if usage is not None else 0,
    )


def _with_cost(step: Step, report: Report) -> Step:
    call, price = report.call, step.price or step.cost
    cost = step.cost
    if call is None:
        if step.kind in RUNNERS and cost in (None, SUM_OF_CALLS):
            cost = SUM_OF_CALLS if report.finding.below.calls else None
    elif report.twin_of is not _ELSEWHERE and price is not None and (price.status != "rollup" or price == SUM_OF_CALLS):
        cost = decided(price, report.verdict)
    return step if step.cost is cost or step.cost == cost else altered(step, cost=cost)


def _was_told_twin(step: Step) -> bool:
    return step.same_as != b"" and step.cost is not None and step.cost.reason == REASONS["twin"]

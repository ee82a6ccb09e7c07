"""Who is billed, decided anew over the whole group: what had come when a span passed must not matter.

The ledger decides about a span by what came before it, so that metrics can be counted in passing. A run is looked
at when its spans are there; the same ledger, told of all of them at once, gives the same answer in whatever order
they came. What says nothing about it (`Step.call`) keeps the cost that it came with, and so does a report of a call
that is counted in another group.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from spanledger.conventions.ledger import COUNTED, Ledger, Place
from spanledger.conventions.step import Bridge, Step
from spanledger.conventions.verdicts import REASONS, SUM_OF_CALLS, decided

if TYPE_CHECKING:
    from collections.abc import Sequence

    from spanledger.conventions.ledger import Call, Decision

_RUNNERS: Final = frozenset({"agent", "workflow"})


def billed_once(records: Iterable[Step | Bridge]) -> list[Step | Bridge]:
    """Return the records of a group, each once, with the costs that follow from all of them."""
    ranked = sorted(records, key=lambda one: (one.start_ns, one.end_ns, one.trace_id, one.span_id))
    if not any(isinstance(one, Step) and one.call is not None for one in ranked):
        return ranked
    work = Ledger(len(ranked) + 1).settle([_place(one) for one in ranked], 0.0)
    while True:
        try:
            next(work)
        except StopIteration as done:
            return _apply(ranked, done.value)


def _place(record: Step | Bridge) -> Place:
    call = record.call if isinstance(record, Step) else None
    return Place(record.trace_id, record.span_id, record.parent_span_id, record.start_ns, record.end_ns, call)


def _apply(ranked: Sequence[Step | Bridge], decisions: Sequence[Decision]) -> list[Step | Bridge]:
    pairs = list(zip(ranked, decisions, strict=True))
    freed = [
        one.call
        for one, decision in pairs
        if isinstance(one, Step) and one.call is not None and _counted(one) and decision.verdict not in COUNTED
    ]
    return [_with_cost(one, decision, freed) for one, decision in pairs]


def _with_cost(record: Step | Bridge, decision: Decision, freed: Sequence[Call]) -> Step | Bridge:
    """Return a record with its cost. `freed` are calls that were counted in passing, and are not any more."""
    if isinstance(record, Bridge):
        return record
    if record.call is None or record.price is None:
        if record.kind not in _RUNNERS or record.cost not in (None, SUM_OF_CALLS):
            return record
        cost = SUM_OF_CALLS if decision.below_calls else None
    elif decision.verdict in COUNTED and _is_twin(record) and not any(_may_be_one(record.call, one) for one in freed):
        return record  # the twin that is counted lies in another group
    else:
        cost = decided(record.price, decision.verdict)
    return record if record.cost == cost else replace(record, cost=cost)


def _counted(step: Step) -> bool:
    return step.cost is not None and (step.cost.status != "rollup" or step.cost.reason == "repeated")


def _is_twin(step: Step) -> bool:
    return step.cost is not None and step.cost.reason == REASONS["twin"]


def _may_be_one(one: Call, other: Call) -> bool:
    if one.response_id and one.response_id == other.response_id:
        return True
    return (one.input, one.output) == (other.input, other.output)

"""From the records of a group to its runs, phase by phase."""

from __future__ import annotations

from typing import TYPE_CHECKING

from spanledger.conventions.run import Run, RunStep
from spanledger.conventions.trajectory import skew, twins
from spanledger.conventions.trajectory.agents import name_agents
from spanledger.conventions.trajectory.calls import Attempts, Joins, count_attempts, join
from spanledger.conventions.trajectory.facts import (
    agent_of,
    dimensions_of,
    evaluations_of,
    fingerprints_of,
    handoffs_of,
    said,
)
from spanledger.conventions.trajectory.failure import chain
from spanledger.conventions.trajectory.once import bill as bill_once
from spanledger.conventions.trajectory.order import arrange
from spanledger.conventions.trajectory.outcome import TERMINAL_TOOLS, decide, last_failure
from spanledger.conventions.trajectory.paths import branches, critical_path
from spanledger.conventions.trajectory.runs import divide
from spanledger.conventions.trajectory.stitch import attach, edges_of
from spanledger.conventions.trajectory.told import add_told_tools
from spanledger.conventions.trajectory.tree import plant, walk
from spanledger.conventions.trajectory.usage import by_agent, by_dimension, by_tool, settle, shown, total

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Mapping, Sequence

    from spanledger.conventions.reading import CostStatus
    from spanledger.conventions.run import Completeness, Outcome
    from spanledger.conventions.step import Bridge, Step
    from spanledger.conventions.trajectory.edges import Edge, Judgement
    from spanledger.conventions.trajectory.order import Placed
    from spanledger.conventions.trajectory.runs import Draft
    from spanledger.conventions.trajectory.tree import Key, Node
    from spanledger.conventions.trajectory.usage import Bill


def build(
    records: Iterable[Step | Bridge],
    *,
    links: Sequence[Edge] = (),
    evaluations: Iterable[Judgement] = (),
    completeness: Completeness = "open",
    revision: int = 1,
    terminal_tools: Mapping[str, Outcome] = TERMINAL_TOOLS,
) -> tuple[Run, ...]:
    """Return the runs of one connected group of records, in order of time.

    The same set of records gives equal runs, in whatever order and however often they come. `links` are joins
    between traces beyond what the spans' own links say. `completeness` is why the group is looked at; a run whose
    root never came says `rootless` where the reason is `complete` or `idle`.
    """
    work = building(
        records, links=links, evaluations=evaluations, completeness=completeness, revision=revision,
        terminal_tools=terminal_tools,
    )  # fmt: skip
    while True:
        try:
            next(work)
        except StopIteration as done:
            runs: tuple[Run, ...] = done.value
            return runs


def building(
    records: Iterable[Step | Bridge],
    *,
    links: Sequence[Edge] = (),
    evaluations: Iterable[Judgement] = (),
    completeness: Completeness = "open",
    revision: int = 1,
    terminal_tools: Mapping[str, Outcome] = TERMINAL_TOOLS,
) -> Generator[None, None, tuple[Run, ...]]:
    """Do the same with pauses, for large groups: some ten for a run, of 5 ms or so for each thousand records."""
    drafts = yield from dividing(records, links)
    given = tuple(evaluations)
    runs = []
    for draft in drafts:
        yield
        runs.append((yield from _run(draft, given, completeness, revision, terminal_tools)))
    return tuple(runs)


def dividing(records: Iterable[Step | Bridge], links: Sequence[Edge] = ()) -> Generator[None, None, list[Draft]]:
    """Find out with pauses which records are one run, and nothing more of it: half the work of `building`."""
    roots = plant(records)
    yield
    skew.correct(roots)
    by_key: dict[Key, Node] = {}
    for node in walk(roots):
        by_key.setdefault(node.key, node)
    edges = edges_of(by_key.values(), links)
    roots = attach(roots, by_key, edges)
    bill_once(roots)
    yield
    roots = twins.merge(roots)
    yield
    return divide(roots, by_key, edges)


def _run(
    draft: Draft,
    given: Sequence[Judgement],
    completeness: Completeness,
    revision: int,
    terminal_tools: Mapping[str, Outcome],
) -> Generator[None, None, Run]:
    add_told_tools(draft)
    steps = arrange(draft)
    yield
    joins = join(steps)
    name_agents(steps, joins.requested_by, draft.root)
    attempts, bill = count_attempts(steps), settle(steps)
    session = said(steps, "conversation_id")
    traces = frozenset(node.record.trace_id for node in walk(draft.tops))
    root = next((step.index for step in steps if step.node is draft.root), None)
    evaluations = evaluations_of(steps, given, traces, session)
    if draft.rootless and completeness in ("complete", "idle"):
        completeness = "rootless"
    outcome, outcome_basis = decide(
        steps, attempts, joins, evaluations, terminal_tools, root,
        ended=completeness != "open", rootless=draft.rootless,
    )  # fmt: skip
    failure_chain, failure_basis = ((), ()) if outcome != "failure" else chain(
        steps, joins, last_failure(steps, attempts, joins)
    )  # fmt: skip
    yield
    path = critical_path(steps)
    start, end = _times(draft, steps)
    return Run(
        run_id=draft.name,
        revision=revision,
        trace_ids=tuple(sorted(trace_id.hex() for trace_id in traces)),
        session_id=session or None,
        user_id=said(steps, "user_id") or None,
        service_name=said(steps, "service_name"),
        agent_name=agent_of(steps),
        root_span_id=draft.root.record.span_id.hex() if draft.root is not None else None,
        started_at_ns=start,
        duration_s=(end - start) / 1e9 if end >= start > 0 else None,
        outcome=outcome,
        outcome_basis=outcome_basis,
        completeness=completeness,
        totals=total(steps, bill, attempts),
        steps=_run_steps(steps, joins, attempts, bill, frozenset(path)),
        agents=by_agent(steps, bill),
        tools=by_tool(steps, bill, joins),
        dimensions=dimensions_of(steps),
        evaluations=evaluations,
        failure_chain=failure_chain,
        failure_basis=failure_basis,
        critical_path=tuple(path),
        fingerprints=fingerprints_of(steps),
        by_dimension=by_dimension(steps, bill),
        handoffs=handoffs_of(steps),
    )


def _times(draft: Draft, steps: Sequence[Placed]) -> tuple[int, int]:
    """Return when a run began and ended: as its root says, else as the clocks of its steps do."""
    root = draft.root
    if root is not None and root.step is not None:
        # A wrapper whose call stands for it began before that and ended after it.
        around = next((above for above in reversed([*root.ancestors()]) if twins.resolve(above) is root), root).record
        if 0 < around.start_ns <= around.end_ns:
            return around.start_ns, around.end_ns
    started = [step.start for step in steps if step.start > 0]
    return min(started, default=0), max((step.end for step in steps), default=0)


def _run_steps(
    steps: Sequence[Placed], joins: Joins, attempts: Attempts, bill: Bill, critical: frozenset[int]
) -> tuple[RunStep, ...]:
    branch = branches(steps)
    return tuple(
        RunStep(
            index=one.index,
            span_id=one.step.span_id.hex(),
            trace_id=one.step.trace_id.hex(),
            parent=one.parent,
            basis=one.basis,
            kind="other" if one.node.hidden else one.step.kind,
            name=one.step.name,
            agent_name=one.agent or None,
            tool_name=one.step.tool_name or None,
            tool_call_id=one.step.tool_call_id or None,
            provider=one.step.provider or None,
            model=one.step.model or None,
            started_at_ns=one.step.start_ns,
            duration_s=one.step.duration_s,
            status=one.step.status,
            error_type=one.step.error_type or None,
            attempt=attempts.number.get(one.index, 1),
            usage=shown(one),
            cost_pico_usd=_cost(one, bill),
            cost_status=_cost_status(one, bill),
            requested_by=joins.requested_by.get(one.index),
            requested_basis=joins.basis(one.index),
            read_by=joins.read_by.get(one.index),
            depth=one.depth,
            branch=branch[one.index],
            critical=one.index in critical,
            twins=tuple(sorted([twin.record.span_id.hex() for twin in one.node.twins])) if one.node.twins else (),
            asks=tuple([request.name for request in one.detail.requests]) if one.detail is not None else (),
            input=one.detail.input if one.detail is not None else None,
            output=one.detail.said if one.detail is not None else None,
            agent_basis=one.agent_basis,
            concerns=one.detail.concerns if one.detail is not None else (),
        )
        for one in steps
    )


def _cost(step: Placed, bill: Bill) -> int | None:
    own = bill.own.get(step.index)
    return own.pico if own is not None else None


def _cost_status(step: Placed, bill: Bill) -> CostStatus | None:
    if step.step.cost is None:
        return None
    return step.step.cost.status if step.index in bill.own else "rollup"

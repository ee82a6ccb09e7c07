"""What a run used, each billed call once: in all, by agent, by tool, by dimension.

Money and tokens belong to the leaves. `conventions.ledger` says which reports count, and what agents report beyond
the calls below them: calls that nobody saw (`unattributed`). One that reports less is wrong, and noted.

A tool's share is what its result induced: the cost of the model call that read it first, split evenly among the
results that this call read.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from spanledger.conventions.run import RunTotals, RunUsage, Share
from spanledger.conventions.step import Step

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from spanledger.conventions import ledger
    from spanledger.conventions.trajectory.calls import Attempts, Joins
    from spanledger.conventions.trajectory.order import Placed
    from spanledger.conventions.usage import Usage


@dataclass(slots=True)
class Sum:
    """What was added up. `pico` is None until something had a price."""

    input: int = 0
    output: int = 0
    cache_read: int = 0
    cache_write: int = 0
    reasoning: int = 0
    pico: int | None = None
    pico_input: int | None = None
    pico_output: int | None = None
    unpriced: int = 0
    partly_priced: int = 0

    @property
    def tokens(self) -> int:
        """Return all tokens."""
        return self.input + self.output

    def add(self, other: Sum) -> None:
        """Add another sum."""
        self.input += other.input
        self.output += other.output
        self.cache_read += other.cache_read
        self.cache_write += other.cache_write
        self.reasoning += other.reasoning
        self.unpriced += other.unpriced
        self.partly_priced += other.partly_priced
        self.pico = _plus(self.pico, other.pico)
        self.pico_input = _plus(self.pico_input, other.pico_input)
        self.pico_output = _plus(self.pico_output, other.pico_output)


def _plus(one: int | None, other: int | None) -> int | None:
    return one if other is None else other if one is None else one + other


@dataclass(slots=True)
class Bill:
    """What each step is billed for, and what no step is."""

    own: dict[int, Sum] = field(default_factory=dict)
    """By step: what counts."""
    calls: set[int] = field(default_factory=set)
    """The steps that are calls of a model which count as one, and here."""
    unattributed: Sum = field(default_factory=Sum)
    less: int = 0
    """Agents that report less than the calls below them."""
    more: int = 0


def settle(steps: Sequence[Placed]) -> Bill:
    """Decide what each step is billed for: what the ledger says of all reports of it."""
    bill = Bill()
    for step in steps:
        for node in (step.node, *step.node.twins):
            report, record, counted = node.report, node.record, node.bill
            if report is None or not isinstance(record, Step):
                continue
            if counted.call and step.is_call:
                bill.calls.add(step.index)
            own = _billed(record, counted)
            if own is not None and (known := bill.own.setdefault(step.index, own)) is not own:
                known.add(own)
            if (excess := counted.excess) is not None:
                bill.unattributed.add(Sum(excess.input, excess.output, pico=excess.pico_usd))
                bill.more += 1
            bill.less += report.finding.less
        whole = bill.own.get(step.index)
        if whole is not None and whole.pico is not None:
            whole.unpriced = 0
    return bill


def _billed(step: Step, bill: ledger.Bill) -> Sum | None:
    """Return what one report is billed for; None for nothing."""
    if not (bill.tokens or bill.money):
        return None
    counted = _sum(step.usage if bill.tokens else None)
    cost = step.price or step.cost
    if cost is not None and cost.status != "rollup":
        counted.pico, counted.pico_input, counted.pico_output = cost.total, cost.input, cost.output
        counted.unpriced = int(cost.status == "unpriced")
        counted.partly_priced = int(cost.is_partial)
    return counted


def _sum(usage: Usage | None) -> Sum:
    if usage is None:
        return Sum()
    return Sum(
        usage.input or 0, usage.output or 0, usage.cache_read or 0, usage.cache_write or 0, usage.reasoning or 0
    )  # fmt: skip


def total(steps: Sequence[Placed], bill: Bill, attempts: Attempts) -> RunTotals:
    """Add up a run."""
    whole = Sum()
    for own in bill.own.values():
        whole.add(own)
    calls = [step for step in steps if step.index in bill.calls]
    tools = [step for step in steps if step.step.kind == "tool"]
    return RunTotals(
        steps=len(steps) - len(attempts.follows),
        llm_calls=len(calls),
        llm_calls_failed=sum(step.step.status == "error" for step in calls),
        tool_calls=len(tools),
        tool_calls_failed=sum(step.step.status == "error" for step in tools),
        retries=attempts.retries,
        max_depth=max((step.depth + step.is_runner for step in steps), default=0),
        input_tokens=whole.input,
        output_tokens=whole.output,
        cache_read_tokens=whole.cache_read,
        cache_write_tokens=whole.cache_write,
        reasoning_tokens=whole.reasoning,
        cost_pico_usd=whole.pico,
        unpriced_calls=whole.unpriced + whole.partly_priced,
        unattributed_cost_pico_usd=bill.unattributed.pico or 0,
        unattributed_tokens=bill.unattributed.tokens,
        rollups_less=bill.less,
        rollups_more=bill.more,
    )


@dataclass(slots=True)
class _Part:
    llm_calls: int = 0
    tool_calls: int = 0
    used: Sum = field(default_factory=Sum)

    def take(self, step: Placed, bill: Bill) -> None:
        self.llm_calls += step.index in bill.calls
        self.tool_calls += step.step.kind == "tool"
        if (own := bill.own.get(step.index)) is not None:
            self.used.add(own)

    def share(self, name: str) -> Share:
        used = self.used
        return Share(name, self.llm_calls, self.tool_calls, used.input, used.output, used.pico)


def by_agent(steps: Sequence[Placed], bill: Bill) -> tuple[Share, ...]:
    """Return what each named agent had, in order of appearance."""
    return _shares(steps, bill, [step.agent for step in steps])


def by_dimension(steps: Sequence[Placed], bill: Bill) -> dict[str, tuple[Share, ...]]:
    """Return what each value of each dimension had. A step without a value has that of its parent."""
    if not any(step.detail is not None and step.detail.dimensions for step in steps):
        return {}
    values: list[Mapping[str, str]] = []
    for step in steps:
        above = values[step.parent] if step.parent is not None else {}
        own = step.detail.dimensions if step.detail is not None else {}
        values.append({**above, **own} if own else above)
    names = sorted({name for value in values for name in value})
    return {name: _shares(steps, bill, [value.get(name, "") for value in values]) for name in names}


def _shares(steps: Sequence[Placed], bill: Bill, names: Sequence[str]) -> tuple[Share, ...]:
    parts: dict[str, _Part] = {}
    for step, name in zip(steps, names, strict=True):
        if name:
            if (part := parts.get(name)) is None:
                part = parts[name] = _Part()
            part.take(step, bill)
    return tuple(part.share(name) for name, part in parts.items())


def by_tool(steps: Sequence[Placed], bill: Bill, joins: Joins) -> tuple[Share, ...]:
    """Return the calls of each tool, and what its results induced, in order of appearance."""
    parts: dict[str, _Part] = {}
    read: dict[int, list[int]] = {}
    for step in steps:
        if step.step.kind == "tool":
            parts.setdefault(step.step.tool_name or step.step.name, _Part()).tool_calls += 1
            if (reader := joins.read_by.get(step.index)) is not None:
                read.setdefault(reader, []).append(step.index)
    for reader, results in sorted(read.items()):
        own = bill.own.get(reader)
        names = [steps[index].step.tool_name or steps[index].step.name for index in results]
        for name in dict.fromkeys(names):
            parts[name].llm_calls += 1
        if own is not None:
            for place, name in enumerate(names):
                parts[name].used.add(_split(own, place, len(names)))
    return tuple(part.share(name) for name, part in parts.items())


def _split(whole: Sum, place: int, parts: int) -> Sum:
    """Return one of `parts` shares that add up to the whole; the first ones have what is left over."""

    def part(amount: int) -> int:
        return amount // parts + (place < amount % parts)

    pico = None if whole.pico is None else part(whole.pico)
    return Sum(part(whole.input), part(whole.output), pico=pico)


def shown(step: Placed) -> RunUsage | None:
    """Return a step's own report of tokens, as the document has it."""
    usage = step.step.usage
    if usage is None:
        return None
    return RunUsage(usage.input, usage.output, usage.cache_read, usage.cache_write, usage.reasoning)

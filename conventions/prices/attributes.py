"""The attributes that a cost becomes, and the way back.

`gen_ai.usage.cost` is the one that backends read. Everything else is ours, so that no backend takes an
amount of money for a count of tokens, as some do with any number under `gen_ai.usage`.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final, Literal, get_args

from spanledger.conventions.reading import Cost, CostStatus

if TYPE_CHECKING:
    from spanledger.conventions.values import Attributes

COST: Final = "gen_ai.usage.cost"
PREFIX: Final = "spanledger.cost."

Spelling = Literal[
    "operation.cost", "llm.cost", "gen_ai.cost", "gen_ai.usage.total_cost", "gen_ai.usage.cost.amount",
    "langfuse.observation.cost_details",
]  # fmt: skip
"""Where tools read a cost: Logfire, OpenInference, Sentry, AgentOps, the proposal for OTel, Langfuse."""

_STATUSES: Final = frozenset(get_args(CostStatus))


def attributes_of(cost: Cost, computed: int | None = None, below: int = 0) -> dict[str, str | float]:
    """Return what to write on a span.

    `computed` is our own amount where a reported one counts, `below` the sum of the calls below a
    roll-up; both in pico-dollars.
    """
    attributes: dict[str, str | float] = {PREFIX + "status": cost.status}
    if cost.reason:
        attributes[PREFIX + "reason"] = cost.reason
    if cost.status == "rollup":
        if below:
            attributes[PREFIX + "rollup_usd"] = below / 1e12
        return attributes
    if cost.total_usd is None:
        return attributes
    attributes[COST] = attributes[PREFIX + "total_usd"] = cost.total_usd
    for name, amount in (("input_usd", cost.input), ("output_usd", cost.output), ("computed_usd", computed)):
        if amount is not None:
            attributes[PREFIX + name] = amount / 1e12
    if cost.price_ref:
        attributes[PREFIX + "price_ref"] = cost.price_ref
    return attributes


def restored(attributes: Attributes) -> Cost | None:
    """Return the cost that a sidecar wrote on the span before, None if none did."""
    status = attributes.get(PREFIX + "status")
    if not isinstance(status, str) or status not in _STATUSES:
        return None

    def amount(name: str) -> int | None:
        value = attributes.get(PREFIX + name)
        return round(value * 1e12) if isinstance(value, float) and 0 <= value < 1e9 else None

    reason, ref = attributes.get(PREFIX + "reason"), attributes.get(PREFIX + "price_ref")
    return Cost(
        status,  # type: ignore[arg-type]  # one of _STATUSES
        reason[:64] if isinstance(reason, str) else "",
        amount("total_usd"),
        amount("input_usd"),
        amount("output_usd"),
        ref[:256] if isinstance(ref, str) else "",
    )


def spelled(spelling: Spelling, cost: Cost) -> dict[str, str | float]:
    """Return a cost under the names that another tool reads; nothing where there is no amount."""
    total = cost.total_usd
    if total is None or cost.status == "rollup":
        return {}
    sides = {} if cost.input is None or cost.output is None else {"in": cost.input / 1e12, "out": cost.output / 1e12}
    if spelling == "llm.cost":
        named = {"llm.cost.prompt": sides["in"], "llm.cost.completion": sides["out"]} if sides else {}
        return {**named, "llm.cost.total": total}
    if spelling == "gen_ai.cost":
        named = {"gen_ai.cost.input_tokens": sides["in"], "gen_ai.cost.output_tokens": sides["out"]} if sides else {}
        return {**named, "gen_ai.cost.total_tokens": total}
    if spelling == "gen_ai.usage.cost.amount":
        source = "provider" if cost.reason == "reported" else "local"
        return {spelling: total, "gen_ai.usage.cost.currency": "USD", "gen_ai.usage.cost.source": source}
    if spelling == "langfuse.observation.cost_details":
        details = {"input": sides["in"], "output": sides["out"]} if sides else {}
        return {spelling: json.dumps({**details, "total": total})}
    return {spelling: total}

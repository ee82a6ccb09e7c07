"""How a run came to fail: the steps from the cause to the failure, cause first.

The failed step is where the error began: below a failed agent the last failed step that nothing dealt with.
From there

* up: the steps above it that failed with it (`error_propagation`);
* back, one step at a time, while there is a cause to be found:
  the same error of the same tool or model before (`repeated_error`: the first time it came up),
  an earlier result or decision that a value in the arguments comes from (`data`),
  for a model call the failed tool whose result it read (`data`),
  for a tool the model call that asked for it (`tool_call_id`, `order_and_name`).

A value comes from the earliest step in whose result or answer it is found, unless the user said it first. Where
content is not kept, a result has its part in the arguments if it shares half of their pairs of words.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from spanledger.conventions.trajectory.calls import Joins
    from spanledger.conventions.trajectory.order import Placed

_MAX_LINKS: Final = 32
_MAX_VALUES: Final = 32
_MAX_LOOKED_AT: Final = 2_000
"""Steps that are searched for where a value comes from."""
_VALUE: Final = re.compile(r'"((?:[^"\\]|\\.){3,200})"(?!\s*:)|(?<![\w.])(-?\d[\d.]{2,30})(?![\w.])')
"""Texts and numbers of JSON, keys left out; what is shorter is found anywhere."""


def chain(steps: Sequence[Placed], joins: Joins, last: int | None) -> tuple[tuple[int, ...], tuple[str, ...]]:
    """Return the chain and the reason of each of its links. `last` is the failure that nothing dealt with."""
    failed = _origin(steps, last)
    if failed is None:
        return (), ()
    path = [failed]
    reasons: list[str] = []
    above = list(_above(steps[failed], steps))
    seen = {failed, *above}
    for _ in range(_MAX_LINKS):
        found = next(((cause, why) for cause, why in _causes(steps[path[-1]], steps, joins) if cause not in seen), None)
        if found is None:
            break
        path.append(found[0])
        reasons.append(found[1])
        seen.add(found[0])
    path.reverse()
    reasons.reverse()
    propagated = [index for index in above if steps[index].step.status == "error"][:_MAX_LINKS]
    path += propagated
    reasons += ["error_propagation"] * len(propagated)
    return tuple(path), tuple(reasons)


def _origin(steps: Sequence[Placed], last: int | None) -> int | None:
    """Return the step where the error of a run began: the last failed one with no failed step below it."""
    failing = [step for step in steps if step.step.status == "error"]
    if not failing:
        return None
    with_failed_child = {step.parent for step in failing}
    leaves = [step for step in failing if step.index not in with_failed_child]
    if last is not None:
        below = [step for step in leaves if step.index == last or last in set(_above(step, steps))]
        leaves = below or leaves
    return max(leaves, key=lambda step: (step.end, step.index)).index


def _above(step: Placed, steps: Sequence[Placed]) -> Iterator[int]:
    parent = step.parent
    while parent is not None:
        yield parent
        parent = steps[parent].parent


def _causes(step: Placed, steps: Sequence[Placed], joins: Joins) -> Iterator[tuple[int, str]]:
    """Yield what may have led to a step, the most telling first; always earlier steps."""
    if step.step.status == "error" and (first := _first_like(step, steps)) is not None:
        yield first, "repeated_error"
    if step.step.kind == "tool":
        source = _source(step, steps)
        if source is not None:
            yield source, "data"
        if step.step.status == "error" and (asked := joins.requested_by.get(step.index)) is not None:
            yield asked, joins.basis(step.index) or "order_and_name"
    elif step.is_call:
        read = [tool for tool, reader in joins.read_by.items() if reader == step.index]
        failed = [tool for tool in read if steps[tool].step.status == "error" and tool < step.index]
        if failed:
            yield max(failed), "data"


def _first_like(step: Placed, steps: Sequence[Placed]) -> int | None:
    name = _signature(step)
    first = next(other for other in steps if other.step.status == "error" and _signature(other) == name)
    return first.index if first.index < step.index else None


def _signature(step: Placed) -> tuple[str, str, str, str]:
    return step.step.kind, step.step.tool_name or step.step.model, step.step.error_type, step.agent


def _source(tool: Placed, steps: Sequence[Placed]) -> int | None:
    """Return the earliest step that a value in a tool's arguments comes from; None where it cannot be told."""
    detail = tool.detail
    if detail is None:
        return None
    earlier = [step for step in steps[max(0, tool.index - _MAX_LOOKED_AT) : tool.index] if step.end <= tool.start]
    if detail.input is not None:
        return _source_of_values(detail.input, earlier)
    if detail.arguments is None or not detail.arguments.shingles:
        return None
    wanted = detail.arguments.shingles
    for step in reversed(earlier):
        result = step.detail.result if step.detail is not None and step.step.kind == "tool" else None
        if result is not None and 2 * len(wanted & result.shingles) >= len(wanted):
            return step.index
    return None


def _source_of_values(arguments: str, earlier: Sequence[Placed]) -> int | None:
    """Return where the value came up that the model took over last: results before decisions of the same time."""
    sources = []
    for text, number in _VALUE.findall(arguments)[:_MAX_VALUES]:
        value = text or number
        for step in earlier:
            detail = step.detail
            if detail is None:
                continue
            if step.is_call and detail.input is not None and value in detail.input:
                break  # it was there before any step: the user or the application said it
            if detail.said is not None and value in detail.said:
                sources.append(step.index)
                break
    return max(sources, default=None)

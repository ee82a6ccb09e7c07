"""Two runs side by side: which steps stand for each other, and where the two first differ. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Any, Final, Literal

from spanledger.conventions.run import Run, RunStep, RunTotals
from spanledger.service.runs.amounts import PICO, usd

MAX_ALIGNED: Final = 4_000_000
"""Pairs of steps that are looked at to align two runs; longer ones are compared position by position."""

Aspect = Literal["kind", "name", "model", "arguments", "result", "status", "attempt", "tokens", "cost"]

PATH: Final[tuple[Aspect, ...]] = ("kind", "name", "model", "arguments", "status", "attempt")
"""What makes a step another step; the rest is how it went."""

TOTALS: Final = (
    "steps",
    "llm_calls",
    "llm_calls_failed",
    "tool_calls",
    "tool_calls_failed",
    "retries",
    "max_depth",
    "input_tokens",
    "output_tokens",
    "cache_read_tokens",
    "reasoning_tokens",
    "unpriced_calls",
)


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing that two steps do not have in common, as text; content by the beginning of its sha256."""

    aspect: Aspect
    a: str
    b: str


@dataclass(frozen=True, slots=True)
class Pair:
    """Steps that stand for each other; None where a run has no such step."""

    a: RunStep | None
    b: RunStep | None
    differences: tuple[Difference, ...] = ()

    @property
    def equal(self) -> bool:
        """Whether nothing is different."""
        return self.a is not None and self.b is not None and not self.differences

    @property
    def same_path(self) -> bool:
        """Whether both did the same, however it went."""
        return self.a is not None and self.b is not None and not any(d.aspect in PATH for d in self.differences)


def compare(a: Run, b: Run) -> tuple[Pair, ...]:
    """Return the steps of both runs, aligned in order."""
    return tuple(
        Pair(one, other, tuple(differences(one, other)) if one is not None and other is not None else ())
        for one, other in _aligned(a.steps, b.steps)
    )


def first(pairs: Sequence[Pair], *, path: bool = False) -> int | None:
    """Return the position of the first pair that differs; with `path` the first that did something else.

    How an agent ended and what it came to follows from the steps below it, so it is looked at last.
    """
    differing = [i for i, pair in enumerate(pairs) if not (pair.same_path if path else pair.equal)]
    return next((i for i in differing if not _follows(pairs[i])), differing[0] if differing else None)


def _follows(pair: Pair) -> bool:
    return (
        pair.a is not None
        and pair.b is not None
        and pair.a.kind in {"agent", "workflow"}
        and all(d.aspect in {"status", "result", "tokens", "cost"} for d in pair.differences)
    )


def differences(a: RunStep, b: RunStep) -> Iterator[Difference]:
    """Yield what two steps do not have in common. What one of them does not say is no difference."""
    seen: tuple[tuple[Aspect, Any, Any], ...] = (
        ("kind", a.kind, b.kind),
        ("name", _name(a), _name(b)),
        ("model", a.model, b.model),
        ("arguments", digest(a.input), digest(b.input)),
        ("status", _status(a), _status(b)),
        ("attempt", a.attempt, b.attempt),
        ("result", digest(a.output), digest(b.output)),
        ("tokens", _tokens(a), _tokens(b)),
        ("cost", _usd(a), _usd(b)),
    )
    for aspect, left, right in seen:
        if left is not None and right is not None and left != right:
            yield Difference(aspect, str(left), str(right))


def digest(content: str | None) -> str | None:
    """Return the beginning of the sha256 of content; None without any."""
    return None if content is None else hashlib.sha256(content.encode("utf-8", "surrogatepass")).hexdigest()[:8]


def totals(run: RunTotals) -> dict[str, float | None]:
    """Return what is compared of the totals."""
    sums: dict[str, float | None] = {name: getattr(run, name) for name in TOTALS}
    return {**sums, "cost_usd": None if run.cost_pico_usd is None else run.cost_pico_usd / PICO}


def as_json(a: Run, b: Run, pairs: Sequence[Pair]) -> dict[str, Any]:
    """Return the comparison as a JSON object."""
    position, path = first(pairs), first(pairs, path=True)
    return {
        "a": a.run_id,
        "b": b.run_id,
        "equal": position is None,
        "first_difference": None if position is None else _plain(pairs[position]),
        "first_other_path": None if path is None else _plain(pairs[path]),
        "totals": {"a": totals(a.totals), "b": totals(b.totals)},
        "duration_s": {"a": a.duration_s, "b": b.duration_s},
        "outcome": {"a": a.outcome, "b": b.outcome},
        "steps": [_plain(pair) for pair in pairs],
    }


def _plain(pair: Pair) -> dict[str, Any]:
    return {
        "a": None if pair.a is None else pair.a.index,
        "b": None if pair.b is None else pair.b.index,
        "differences": {d.aspect: [d.a, d.b] for d in pair.differences},
    }


def _aligned(a: Sequence[RunStep], b: Sequence[RunStep]) -> Iterator[tuple[RunStep | None, RunStep | None]]:
    keys_a, keys_b = [_key(step) for step in a], [_key(step) for step in b]
    # What both begin with needs no search; most runs of one agent begin alike.
    head = 0
    while head < min(len(a), len(b)) and keys_a[head] == keys_b[head]:
        head += 1
    yield from zip(a[:head], b[:head], strict=True)
    if (len(a) - head) * (len(b) - head) > MAX_ALIGNED:
        yield from _side_by_side(a[head:], b[head:])
        return
    matcher = SequenceMatcher(None, keys_a[head:], keys_b[head:], autojunk=False)
    for _, from_a, to_a, from_b, to_b in matcher.get_opcodes():
        yield from _side_by_side(a[head + from_a : head + to_a], b[head + from_b : head + to_b])


def _side_by_side(
    a: Sequence[RunStep], b: Sequence[RunStep]
) -> Iterator[tuple[RunStep | None, RunStep | None]]:  # fmt: skip
    """Yield steps of one kind as one in place of the other, and the rest each by itself."""
    for i in range(max(len(a), len(b))):
        one, other = (a[i] if i < len(a) else None), (b[i] if i < len(b) else None)
        if one is not None and other is not None and one.kind != other.kind:
            yield one, None
            yield None, other
        else:
            yield one, other


def _key(step: RunStep) -> tuple[str, str, int]:
    return step.kind, _name(step), step.depth


def _name(step: RunStep) -> str:
    if step.kind == "tool" and step.tool_name:
        return step.tool_name
    if step.kind == "agent" and step.agent_name:
        return step.agent_name
    return step.name


def _status(step: RunStep) -> str:
    return f"{step.status} {step.error_type or ''}".strip()


def _tokens(step: RunStep) -> str | None:
    return None if step.usage is None else f"{step.usage.input}/{step.usage.output}"


def _usd(step: RunStep) -> str | None:
    return None if step.cost_pico_usd is None else usd(step.cost_pico_usd)

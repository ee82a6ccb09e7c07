"""What the sidecar says of a capture, against what really happened."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, TypeVar

if TYPE_CHECKING:
    from spanledger.conventions.values import Attributes
    from tests.backend import Received
    from tests.corpus.captures import Capture, TrueCall

Field = Literal[
    "calls", "failed_calls", "input", "output", "cache_read", "cache_write", "reasoning", "model", "cost"
]  # fmt: skip
FIELDS: Final[tuple[Field, ...]] = (
    "calls", "failed_calls", "input", "output", "cache_read", "cache_write", "reasoning", "model", "cost",
)  # fmt: skip
TOKENS: Final = ("input", "output", "cache_read", "cache_write", "reasoning")

Verdict = Literal["right", "absent", "understated", "overstated", "requested", "other"]
"""`absent`: nothing was seen of what there was. `requested`: not the model that answered, but the one that was
asked for, at least for some calls. `other`: another model."""

RIGHT: Final = "right"

_CALLS: Final = frozenset({"llm", "embedding"})
_RUN: Final = re.compile(r"(?:RUN=|\(ref:)([\w./-]*\w)")
MODEL: Final = "model "
"""Before the name of a model, in numbers of its calls."""
_PICO: Final = 10**12

Price = Callable[["TrueCall"], int | None]
"""What a call costs in pico-dollars, from its true tokens; None for a model without a price."""


@dataclass(frozen=True, slots=True)
class SeenCall:
    """A span whose usage counts, as the sidecar delivered it. None is unknown."""

    kind: str
    ok: bool
    start_ns: int
    response_id: str
    request_model: str
    response_model: str
    provider: str
    tokens: Mapping[str, int | None]
    cost: int | None
    """Pico-dollars."""
    cost_status: str
    run: str = ""
    """The run that its text names; "" where that names none, or several."""

    @property
    def model(self) -> str:
        """The model that answered, or else the one that was asked; "" for neither."""
        return self.response_model or self.request_model

    @property
    def is_call(self) -> bool:
        """Tell whether it is a call of a model, and not an agent that alone knows its calls' tokens."""
        return self.kind in _CALLS


_TOKEN_KEYS: Final = {
    "input": ("gen_ai.usage.input_tokens", "llm.token_count.prompt"),
    "output": ("gen_ai.usage.output_tokens", "llm.token_count.completion"),
    "cache_read": ("gen_ai.usage.cache_read.input_tokens", "llm.token_count.prompt_details.cache_read"),
    "cache_write": ("gen_ai.usage.cache_write.input_tokens", "llm.token_count.prompt_details.cache_write"),
    "reasoning": ("gen_ai.usage.reasoning.output_tokens", "llm.token_count.completion_details.reasoning"),
}
"""The current name, which each model call must have, and for sums over calls also where they were found."""


def seen_calls(spans: Iterable[Received]) -> list[SeenCall]:
    """Return what counts, by time: every model call that is not a wrapper of another, and lone sums."""
    calls = [_seen(one) for one in spans if one.attributes.get("spanledger.cost.status") not in {None, "rollup"}]
    return sorted(calls, key=lambda call: call.start_ns)


def _seen(one: Received) -> SeenCall:
    attributes = one.attributes
    cost = attributes.get("gen_ai.usage.cost")
    kind = _text(attributes, "spanledger.step.kind")
    names = slice(1 if kind in _CALLS else None)
    return SeenCall(
        kind=kind,
        ok=one.span.status.code != 2 and "error.type" not in attributes,
        start_ns=one.span.start_time_unix_nano,
        response_id=_text(attributes, "gen_ai.response.id"),
        request_model=_text(attributes, "gen_ai.request.model"),
        response_model=_text(attributes, "gen_ai.response.model"),
        provider=_text(attributes, "gen_ai.provider.name"),
        tokens={name: _count(attributes, keys[names]) for name, keys in _TOKEN_KEYS.items()},
        cost=round(cost * _PICO) if isinstance(cost, float) else None,
        cost_status=_text(attributes, "spanledger.cost.status"),
        run=_run(attributes),
    )


def _run(attributes: Attributes) -> str:
    """Return the run that the prompts of a span are marked with."""
    found = {run for value in attributes.values() if isinstance(value, str) for run in _RUN.findall(value)}
    return found.pop() if len(found) == 1 else ""


def _text(attributes: Attributes, key: str) -> str:
    value = attributes.get(key, "")
    assert isinstance(value, str), f"{key} is {value!r}"
    return value


def _count(attributes: Attributes, keys: Sequence[str]) -> int | None:
    for key in keys:
        value = attributes.get(key)
        assert value is None or type(value) is int, f"{key} is {value!r}"
        if value is not None:
            return value
    return None


Pair = tuple["TrueCall | None", SeenCall | None]

_K = TypeVar("_K")


def pair(truth: Sequence[TrueCall], seen: Sequence[SeenCall]) -> list[Pair]:
    """Put together what is the same call: by response id, else by its tokens, else by its place in time.

    What is left has None at the other side: a call that was not seen, or one that never was.
    """
    true, left, pairs = list(truth), list(seen), list[Pair]()

    def match(of_truth: Callable[[TrueCall], _K | None], of_seen: Callable[[SeenCall], _K | None]) -> None:
        waiting: dict[_K, list[TrueCall]] = {}
        for call in true:
            if (key := of_truth(call)) is not None:
                waiting.setdefault(key, []).append(call)
        for one in tuple(left):
            key = of_seen(one)
            if key is not None and waiting.get(key):
                call = waiting[key].pop(0)
                true.remove(call)
                left.remove(one)
                pairs.append((call, one))

    match(lambda call: call.response_id or None, lambda one: one.response_id or None)
    match(
        lambda call: (call.input, call.output) if call.ok else None,
        lambda one: (one.tokens["input"], one.tokens["output"]) if one.ok else None,
    )
    match(lambda call: call.ok, lambda one: one.ok)
    return pairs + [(call, None) for call in true] + [(None, one) for one in left]


@dataclass(frozen=True, slots=True)
class Comparison:
    """One field of one run."""

    field: Field
    run: str
    expected: int | Counter[str]
    """A count, pico-dollars, or models."""
    seen: int | Counter[str] | None
    verdict: Verdict


def compare(capture: Capture, seen: Sequence[SeenCall], price: Price) -> Iterator[Comparison]:
    """Compare every field of every run. Calls that never were go to the run `?`."""
    pairs = pair(capture.calls, [one for one in seen if one.is_call])
    sums = [one for one in seen if not one.is_call]
    only_run = capture.runs[0] if len(capture.runs) == 1 else ""
    runs = dict.fromkeys((*capture.runs, *(["?"] if any(true is None for true, _ in pairs) else [])))
    for run in runs:
        of_run = [(true, one) for true, one in pairs if (true.run if true else "?") == run]
        yield from _compare_run(run, of_run, [one for one in sums if (only_run or one.run) == run], price)


def compare_counted(capture: Capture, numbers: Mapping[str, float], price: Price) -> Iterator[Comparison]:
    """Compare what `/metrics` grew by, for stacks that tell a call on a span and in a log record: neither has it all.

    `numbers` are those of `Played`; there token types are disjoint.
    """
    run = "?"
    seen = {name: round(numbers.get(name, 0)) for name in ("calls", "failed_calls", *TOKENS)}
    seen["input"] += seen["cache_read"] + seen["cache_write"]
    seen["output"] += seen["reasoning"]
    for field, ok in (("calls", True), ("failed_calls", False)):
        yield _numbers(field, run, sum(call.ok is ok for call in capture.calls), seen[field])
    for name in TOKENS:
        yield _numbers(name, run, sum(getattr(call, name) for call in capture.calls), seen[name] or None)
    good = [call for call in capture.calls if call.ok]
    models = Counter({key.removeprefix(MODEL): round(n) for key, n in numbers.items() if key.startswith(MODEL) and n})
    answered = Counter(call.response_model for call in good)
    verdict: Verdict = "other"
    if models == answered:
        verdict = "right"
    elif not models:
        verdict = "absent"
    elif set(models) <= {call.request_model for call in good} | set(answered):
        verdict = "requested"
    yield Comparison("model", run, answered, models, verdict)
    prices = [amount for call in good if (amount := price(call)) is not None]
    cost = round(numbers.get("cost_usd", 0) * _PICO)
    yield _numbers("cost", run, sum(prices), cost or None, off_by=_PICO // 10**9)


def _compare_run(run: str, pairs: Sequence[Pair], sums: Sequence[SeenCall], price: Price) -> Iterator[Comparison]:
    true = [call for call, _ in pairs if call is not None]
    calls = [one for _, one in pairs if one is not None]
    for field, ok in (("calls", True), ("failed_calls", False)):
        yield _numbers(field, run, sum(call.ok is ok for call in true), sum(one.ok is ok for one in calls))
    for name in TOKENS:
        counts = [count for one in (*calls, *sums) if (count := one.tokens[name]) is not None]
        yield _numbers(name, run, sum(getattr(call, name) for call in true), sum(counts) if counts else None)
    yield _models(run, [(call, one) for call, one in pairs if call is not None and call.ok])
    prices = [amount for call in true if call.ok and (amount := price(call)) is not None]
    costs = [one.cost for one in (*calls, *sums) if one.cost is not None]
    yield _numbers("cost", run, sum(prices), sum(costs) if costs else None, off_by=_PICO // 10**9)


def _numbers(field: Field, run: str, expected: int, seen: int | None, off_by: int = 0) -> Comparison:
    verdict: Verdict
    if abs((seen or 0) - expected) <= off_by:
        verdict = "right"
    elif not seen:
        verdict = "absent"
    else:
        verdict = "understated" if seen < expected else "overstated"
    return Comparison(field, run, expected, seen, verdict)


def _models(run: str, pairs: Sequence[tuple[TrueCall, SeenCall | None]]) -> Comparison:
    expected = Counter(call.response_model for call, _ in pairs)
    seen = Counter(one.model for _, one in pairs if one is not None and one.model)
    verdict: Verdict = "other"
    if seen == expected:
        verdict = "right"
    elif not seen:
        verdict = "absent"
    elif all(one is None or one.model in {"", call.response_model} for call, one in pairs):
        verdict = "understated"
    elif all(one is None or one.model in {"", call.response_model, call.request_model} for call, one in pairs):
        verdict = "requested"
    return Comparison("model", run, expected, seen, verdict)


def finding(runs: Sequence[Comparison]) -> str:
    """Return what is to be said of a field of a capture: `right`, `absent`, `18 of 30`, ...

    Counts are said as numbers; costs are not, for prices change; another model is named.
    """
    differing = [one for one in runs if one.verdict != "right"]
    verdicts = {one.verdict for one in differing}
    if not differing:
        return RIGHT
    if verdicts == {"requested"} or (verdicts == {"absent"} and not any(one.seen for one in runs)):
        return differing[0].verdict
    if isinstance(differing[0].expected, Counter):
        names = sorted({name for one in differing if isinstance(one.seen, Counter) for name in one.seen})
        return ", ".join(names) if "other" in verdicts else "understated"
    if differing[0].field == "cost":
        return "overstated" if _sum(runs, "seen") > _sum(runs, "expected") else "understated"
    return f"{_sum(runs, 'seen')} of {_sum(runs, 'expected')}"


def _sum(runs: Iterable[Comparison], side: Literal["seen", "expected"]) -> int:
    return sum(value for one in runs if isinstance(value := getattr(one, side), int))

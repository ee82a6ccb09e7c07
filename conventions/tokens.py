"""From the token counts of a span to comparable ones.

The rule, first hit wins:

1. the span was settled before: its `spanledger.usage.basis` says that its counts are inclusive;
2. arithmetic: cached tokens exceed the input, or the total is input + output + cache;
3. what is known of the emitter (emitters.py);
4. the conventions: inclusive.

A side that nobody tells is what the total has beyond the other; embeddings have an input and nothing else.

Never the provider's name: the same emitter family is inclusive for one provider and exclusive for the
next. A breakdown that cannot be is dropped and named, the total it breaks down stays.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, TypeGuard

from spanledger.conventions.emitters import Emitter
from spanledger.conventions.usage import Usage
from spanledger.conventions.values import Value

COUNTS: Final = (
    "input", "output", "total", "cache_read", "cache_write", "cache_write_5m", "cache_write_1h", "reasoning",
    "audio_input", "audio_output", "audio_cache_read", "image_input", "image_output",
    "image_cache_read",
)  # fmt: skip
"""What a span may say, under our names."""

MAX_COUNT: Final = 10**9
"""No call has more: a larger number is a broken counter, a time or an id."""

BASES: Final = frozenset(
    rule + side + suffix
    for rule in ("cache_exceeds_input", "total", "emitter_inclusive", "emitter_exclusive", "spec")
    for side in ("", "+from_total")
    for suffix in ("", "+reasoning")
)
"""Every value of `spanledger.usage.basis`. `+from_total`: input or output was not told, and is what the total has
beyond the other. `+reasoning`: the output came without reasoning, which was added."""

# A part, the whole that it may not exceed, and what it is called when it does.
_PARTS: Final = (
    ("cache_write_1h", "cache_write", "cache_write_1h_exceeds_cache_write"),
    ("audio_input", "input", "audio_exceeds_input"),
    ("image_input", "input", "image_exceeds_input"),
    ("audio_output", "output", "audio_exceeds_output"),
    ("image_output", "output", "image_exceeds_output"),
    ("audio_cache_read", "cache_read", "audio_exceeds_cache_read"),
    ("image_cache_read", "cache_read", "image_exceeds_cache_read"),
)


_RARE: Final = frozenset(part for part, _, _ in _PARTS)


def usage_of(
    raw: Mapping[str, Value],
    emitter: Emitter | None = None,
    *,
    reasoning_beside: bool = False,
    cache_in_total: bool = False,
    thoughts_in_total: bool = False,
    only_input: bool = False,
    settled: str = "",
) -> Usage | None:
    """Return the usage of one span; None when it says nothing about tokens.

    `raw` maps names of `COUNTS` to what the span holds, as `coerce.count` reads it. `reasoning_beside`:
    the server bills reasoning beside the output (xAI). `cache_in_total`: what a total has beyond input and output
    is cached input (Anthropic, Bedrock). `thoughts_in_total`: what it has beyond input and output is reasoning that was
    not told (Gemini). `only_input`: the operation has no output that is counted (embeddings). `settled` is the span's
    own basis, "" if it has none.
    """
    conflicts: list[str] = []
    counts: dict[str, int] = {}
    for name, value in raw.items():
        if type(value) is int and 0 <= value <= MAX_COUNT:
            counts[name] = value
        elif value is not None and value != -1:
            conflicts.append(f"{name}_not_a_count")
    if not counts and not conflicts:
        return None
    basis = settled
    if not settled:
        _sum_cache_writes(counts)
        beside = reasoning_beside or (emitter is not None and emitter.reasoning == "out")
        from_total = _take_untold_side(counts, beside=beside, only_input=only_input)
        basis = _include_cache(counts, emitter)
        if cache_in_total and _include_unnamed_cache(counts):
            basis = "total"
            conflicts.append("cache_not_told")
        if from_total:
            basis += "+from_total"
        untold = thoughts_in_total and not counts.get("reasoning")
        if _include_reasoning(counts, beside, conflicts, guess=emitter is None or untold):
            basis += "+reasoning"
    _drop_impossible(counts, conflicts)
    counts.pop("total", None)
    counts.pop("cache_write_5m", None)
    return Usage(**counts, basis=basis, conflicts=tuple(conflicts))


def is_count(value: Value) -> TypeGuard[int]:
    """Tell whether a value can be the tokens of one call."""
    return type(value) is int and 0 <= value <= MAX_COUNT


def _sum_cache_writes(counts: dict[str, int]) -> None:
    # LangChain says 0 where it tells how long they last.
    if not counts.get("cache_write") and ("cache_write_5m" in counts or "cache_write_1h" in counts):
        counts["cache_write"] = counts.get("cache_write_5m", 0) + counts.get("cache_write_1h", 0)


def _take_untold_side(counts: dict[str, int], *, beside: bool, only_input: bool) -> bool:
    """Give the side that is not told what the total has beyond the other; tell whether there was anything.

    No call has an input of 0: where a total tells more, it was not told either.
    """
    known, output = counts.get("input"), counts.get("output")
    if counts.get("cache_read") or counts.get("cache_write"):
        return False  # nobody knows whether the total has it
    rest = counts.get("total", 0) - (known or 0) - (output or 0) - (counts.get("reasoning", 0) if beside else 0)
    if rest <= 0 or (known and (output is not None or only_input)) or (output is None and not known and not only_input):
        return False
    counts["output" if known else "input"] = rest
    return True


def _include_cache(counts: dict[str, int], emitter: Emitter | None) -> str:
    """Make `input` inclusive; return the rule that said what it was."""
    known = counts.get("input")
    cached = counts.get("cache_read", 0) + counts.get("cache_write", 0)
    if known is not None and cached > known:
        rule = "cache_exceeds_input"
    elif cached and known is not None and counts.get("total") == known + counts.get("output", 0) + cached:
        rule = "total"
    elif emitter is not None:
        rule = f"emitter_{emitter.input}"
    else:
        return "spec"
    if rule != "emitter_inclusive" and known is not None:
        counts["input"] = known + cached
    return rule


def _include_unnamed_cache(counts: dict[str, int]) -> bool:
    """Take what only the total knows of for cached input; tell whether there was any."""
    known, output, total = counts.get("input"), counts.get("output"), counts.get("total")
    if known is None or output is None or total is None or total <= known + output:
        return False
    if counts.get("cache_read") or counts.get("cache_write") or counts.get("reasoning"):
        return False
    counts["input"] = total - output
    return True


def _include_reasoning(counts: dict[str, int], beside: bool, conflicts: list[str], *, guess: bool) -> bool:
    """Make `output` include reasoning; tell whether it did not before. `guess` what nobody tells but the total.

    The total decides where there is one: what is in it beyond input and output is reasoning. (With
    Gemini it may also be the result of server-side tools, at the same or a lower price.)
    """
    output = counts.get("output")
    if output is None:
        return False
    reasoning = counts.get("reasoning", 0)
    total = counts.get("total")
    beyond = 0 if total is None or "input" not in counts else total - counts["input"] - output
    if beyond > 0:
        if reasoning != beyond and not beside and (reasoning or not guess):
            conflicts.append("total_exceeds_sum")
            return False
        counts["reasoning"] = max(reasoning, beyond)
        counts["output"] = output + counts["reasoning"]
        return True
    if reasoning and (total is None or beyond < 0) and (beside or reasoning > output):
        counts["output"] = output + reasoning
        return True
    return False


def _drop_impossible(counts: dict[str, int], conflicts: list[str]) -> None:
    known = counts.get("input")
    if known is not None and counts.get("cache_read", 0) + counts.get("cache_write", 0) > known:
        conflicts.append("cache_exceeds_input")
        for name in ("cache_read", "cache_write", "cache_write_1h", "audio_cache_read", "image_cache_read"):
            counts.pop(name, None)
    output = counts.get("output")
    if output is not None and counts.get("reasoning", 0) > output:
        conflicts.append("reasoning_exceeds_output")
        counts.pop("reasoning")
    if _RARE.isdisjoint(counts):
        return
    for part, whole, name in _PARTS:
        if part in counts and whole in counts and counts[part] > counts[whole]:
            conflicts.append(name)
            counts.pop(part)

"""The token counts of one span: where they stand, how they are meant, and what to take where one is none."""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from spanledger.conventions import coerce
from spanledger.conventions.dialect import MODEL_CALLS, USAGE
from spanledger.conventions.emitters import Emitter, emitter_of
from spanledger.conventions.lookup import BASIS, Lookup
from spanledger.conventions.providers import provider_at
from spanledger.conventions.record import record
from spanledger.conventions.tokens import BASES, is_count, usage_of

if TYPE_CHECKING:
    from spanledger.conventions.dialect import Facts
    from spanledger.conventions.reading import Reading
    from spanledger.conventions.span_attributes import SpanAttributes
    from spanledger.conventions.usage import Usage
    from spanledger.conventions.values import Value

_TOTALS_WITH_CACHE: Final = frozenset({"anthropic", "aws.bedrock"})
"""Providers whose input leaves the cache out and whose total does not."""

Corrections = Mapping[str, tuple[str, int]]
"""Target -> the key of a source that says a count where the best one says none, and the count."""


@record(frozen=True, slots=True)
class Counting:
    """How the counts of a span are meant."""

    emitter: Emitter | None
    reasoning_beside: bool
    """The server bills reasoning beside the output (xAI)."""
    cache_in_total: bool
    thoughts_in_total: bool
    only_input: bool
    """The operation has no output that is counted."""
    settled: str
    """The basis that was written when the counts were made inclusive before; "" if they were not."""


def counting_of(facts: Facts, reading: Reading) -> Counting:
    """Return how the counts of a span are meant."""
    settled: Value = ""
    # What a sum of calls says is left as it came.
    if BASIS in facts.attributes.at and not facts.aggregate and facts.kind in MODEL_CALLS:
        settled = facts.attributes[BASIS]
    server = reading.server_address
    return Counting(
        emitter_of(facts.emitter or facts.scope, facts.version, reading.provider or ""),
        reading.provider == "x_ai" or (server is not None and provider_at(server) == "x_ai"),
        reading.provider in _TOTALS_WITH_CACHE,
        "gemini" in (reading.model or ""),
        facts.kind == "embedding",
        settled if isinstance(settled, str) and settled in BASES else "",
    )


def settled_counts(facts: Facts, lookup: Lookup) -> dict[str, Value]:
    """Return target -> what stands under the names that were written, whatever else is preferred."""
    found: dict[str, Value] = {}
    for target in USAGE:
        if target not in facts.values:
            continue  # not told, or forgotten
        for key in (target, lookup.names.get(target)):
            value = coerce.count(facts.attributes.get(key)) if key is not None else None
            if value is not None:
                found[target] = value
    return found


def count(
    raw: MutableMapping[str, Value], counting: Counting, attributes: SpanAttributes, lookup: Lookup
) -> tuple[Usage | None, Corrections]:
    """Return the usage of a span, and what had to be taken from a worse source. `raw` is by name of `tokens.COUNTS`."""
    usage = _usage(raw, counting)
    corrections: Corrections = {}
    if usage is not None and usage.conflicts and (corrections := _look_further(raw, attributes, lookup)):
        noted = usage.conflicts
        usage = _usage({**raw, **{USAGE[target]: value for target, (_, value) in corrections.items()}}, counting)
        if usage is not None:
            usage = replace(usage, conflicts=tuple(dict.fromkeys((*noted, *usage.conflicts))))
    return usage, corrections


def _usage(raw: Mapping[str, Value], counting: Counting) -> Usage | None:
    return usage_of(
        raw,
        counting.emitter,
        reasoning_beside=counting.reasoning_beside,
        cache_in_total=counting.cache_in_total,
        thoughts_in_total=counting.thoughts_in_total,
        only_input=counting.only_input,
        settled=counting.settled,
    )


def _look_further(raw: Mapping[str, Value], attributes: SpanAttributes, lookup: Lookup) -> Corrections:
    """Find the next best source of each count that is none."""
    better: dict[str, tuple[str, int]] = {}
    for target, name in USAGE.items():
        if name not in raw or is_count(raw[name]):
            continue
        ranked = sorted(
            (slot.rank, key) for key in attributes.at for slot in lookup.entry(key).slots if slot.target == target
        )
        for _, key in ranked:
            value = coerce.count(attributes[key])
            if is_count(value):
                better[target] = (key, value)
                break
    return better

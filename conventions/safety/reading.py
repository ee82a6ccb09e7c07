"""Reads concerns off a span, or off a log record that belongs to one. Never raises because of data."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from spanledger.conventions.nesting import loads
from spanledger.conventions.safety.concern import SEVERITIES, Concern
from spanledger.conventions.safety.words import (
    ERRORS,
    FAILED,
    FINISH_REASONS,
    JUDGED,
    PASSED,
    TRIPWIRES,
    VERDICTS,
    bare,
    category_of,
    word,
)
from spanledger.conventions.span_attributes import by_keys
from spanledger.conventions.values import attributes_of

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping

    from opentelemetry.proto.trace.v1.trace_pb2 import Span

    from spanledger.conventions.reading import Reading
    from spanledger.conventions.safety.concern import Category, SafetySeverity, Source
    from spanledger.conventions.values import Attributes, Value

MAX_CONCERNS: Final = 32
"""Of one span."""
MAX_EVENTS: Final = 512
_MAX_FILTER_CHARS: Final = 65_536
_MAX_DEPTH: Final = 8
_MAX_NODES: Final = 2_000

EVENTS: Final = frozenset(
    {
        "gen_ai.guardrail.result", "gen_ai.guardrail.security.finding", "gen_ai.security.finding",
        "microsoft.security.finding",
    }
)  # fmt: skip
"""Span events and log records of guardrails."""
_NAMESPACES: Final = ("gen_ai.guardrail.", "gen_ai.security.", "microsoft.security.")
_VERDICTS: Final = (
    *(
        f"{namespace}{name}"
        for namespace in _NAMESPACES
        for name in ("verdict.type", "policy.decision.type", "decision.type")
    ),
    "litellm.guardrail.status",
)
_ACTION: Final = "gen_ai.guardrail.action.type"
_TRACELOOP: Final = "gen_ai.guardrail.status"
_TRIGGERED: Final = ("gen_ai.guardrail.triggered", "guardrail.triggered", "openai_agents.triggered", "triggered")
"""Yes or no; on spans that are guardrails by their kind."""
_RISKS: Final = tuple(
    f"{namespace}{name}" for namespace in _NAMESPACES for name in ("security.risk.category", "risk.category")
)
_RISK_SEVERITIES: Final = tuple(
    f"{namespace}{name}" for namespace in _NAMESPACES for name in ("security.risk.severity", "risk.severity")
)
_NAMES: Final = (
    "gen_ai.guardrail.component.name", "gen_ai.guardrail.name", "litellm.guardrail.name", "guardrail.name",
    "openai_agents.name", "name",
)  # fmt: skip
_FILTERS: Final = frozenset(
    {
        "gen_ai.prompt.prompt_filter_results", "gen_ai.completion.0.content_filter_results",
        "microsoft.foundry.content_filter.results",
    }
)  # fmt: skip
"""Azure OpenAI's results, as OpenLLMetry and Azure AI Foundry write them."""
_WHY: Final = re.compile(r"finish_?reason|stop_?reason", re.IGNORECASE)
_WORDS: Final = re.compile(r"[A-Za-z][A-Za-z_-]{2,40}")
_FILTERED: Final = frozenset({"content_filter", "refusal"})


def concerns_of(span: Span, reading: Reading, finish: str = "") -> tuple[Concern, ...]:
    """Return what a span says of safety. `finish` is why its answer ended, in the words of the message schema."""
    found: list[Concern] = []
    if reading.kind == "llm":
        if finish in _FILTERED or _filtered(reading.says("gen_ai.response.finish_reasons")):
            found.append(_of_end(finish, reading.attributes))
        for key in by_keys(reading.attributes, _filters):
            found += _of_filter(reading.attributes.get(key))
        if reading.error_type and bare(reading.error_type) in ERRORS:
            found.append(Concern("content_filter", "unspecified", "warning"))
    if reading.error_type and bare(reading.error_type) in TRIPWIRES:
        found.append(Concern("guardrail", _about(reading.attributes, reading.kind == "guardrail"), "warning"))
    elif reading.kind == "guardrail" and (decided := _of_guardrail(reading.attributes)) is not None:
        found.append(decided)
    for event in span.events[:MAX_EVENTS] if span.events else ():
        if event.name in EVENTS and (said := concern_of_event(attributes_of(event.attributes))) is not None:
            found.append(said)
    return distinct(found) if found else ()


def _filters(keys: Collection[str]) -> list[str]:
    return sorted(_FILTERS.intersection(keys))


def concern_of_event(said: Attributes) -> Concern | None:
    """Return what a guardrail's event or log record says; None where nothing was found, or its verdict is not known."""
    severity = _decided(said)
    if severity is None and _first(said, _VERDICTS) is None:
        risk = _first(said, _RISKS)
        # A finding without a verdict was reported and not acted upon, as far as anybody says.
        severity = "critical" if risk is not None else None
    if severity == "critical" and word(_first(said, _RISK_SEVERITIES) or "") in ("none", "info", "low"):
        severity = "info"
    return None if severity is None else Concern("guardrail", _about(said, named=True), severity)


def category_judged(name: str, label: str | None) -> Category | None:
    """Return what an evaluation says is not safe; None for any that is not about safety by name, or is content."""
    category = JUDGED.get(word(name.rpartition(".")[2]))
    return category if category is not None and label is not None and word(label) in FAILED else None


def distinct(concerns: Iterable[Concern]) -> tuple[Concern, ...]:
    """Return the worst concern of each source and category.

    One that says not what it is about adds nothing to those of its source that do.
    """
    worst: dict[tuple[Source, Category], SafetySeverity] = {}
    for one in concerns:
        known = worst.get((one.source, one.category))
        if known is None or SEVERITIES.index(one.severity) > SEVERITIES.index(known):
            worst[one.source, one.category] = one.severity
    telling = {source for source, category in worst if category != "unspecified"}
    kept = [
        Concern(source, category, severity)
        for (source, category), severity in worst.items()
        if category != "unspecified" or source not in telling
    ]
    return tuple(sorted(kept, key=lambda one: (one.source, one.category))[:MAX_CONCERNS])


def _filtered(reasons: Value) -> bool:
    """Tell whether any further answer ended so; `finish` is that of the first."""
    return (
        isinstance(reasons, list)
        and len(reasons) > 1
        and any(reason in _FILTERED for reason in reasons if isinstance(reason, str))
    )


def _of_end(finish: str, attributes: Attributes) -> Concern:
    """Read the reason in the provider's own words: those of the conventions do not say what it was about."""
    said: list[Category] = []
    for key, value in attributes.items():
        if _WHY.search(key):
            texts = value if isinstance(value, list) else [value]
            for text in texts[:8]:
                if isinstance(text, str):
                    words = (word(one.removeprefix("FinishReason.")) for one in _WORDS.findall(text[:256]))
                    said += [FINISH_REASONS[one] for one in words if one in FINISH_REASONS]
    category = next((one for one in said if one not in ("unspecified", "refusal")), None)
    if category is None:
        category = "refusal" if finish == "refusal" or "refusal" in said else "unspecified"
    return Concern("finish_reason", category, "info" if category == "refusal" else "warning")


def _of_guardrail(attributes: Attributes) -> Concern | None:
    severity = _decided(attributes)
    if severity is None and _first(attributes, _VERDICTS) is None:
        tripped = any(attributes.get(key) in (True, "true", "True") for key in _TRIGGERED)
        tripped = tripped or word(_first(attributes, (_TRACELOOP,)) or "") == "failed"
        severity = "warning" if tripped else None
    return None if severity is None else Concern("guardrail", _about(attributes, named=True), severity)


def _decided(said: Attributes) -> SafetySeverity | None:
    severity = VERDICTS.get(word(_first(said, _VERDICTS) or ""))
    action = word(_first(said, (_ACTION,)) or "")
    if severity is not None and action in PASSED:
        return "critical"
    return VERDICTS.get(action, severity) if severity is not None else None


def _about(said: Attributes, named: bool) -> Category:
    risk = _first(said, _RISKS)
    about = category_of(risk) if risk is not None else "unspecified"
    name = _first(said, _NAMES) if named and about == "unspecified" else None
    return about if name is None else category_of(name)


def _first(said: Attributes, keys: Iterable[str]) -> str | None:
    return next((value for key in keys if isinstance(value := said.get(key), str) and value), None)


def _of_filter(results: Value) -> list[Concern]:
    if isinstance(results, str):
        if len(results) > _MAX_FILTER_CHARS:
            return []
        try:
            results = loads(results)
        except ValueError:
            return []
    nodes = _nodes(results)
    found = [Concern("content_filter", category_of(name), done) for name, node in nodes if (done := _done(node))]
    if not found and any(node.get("blocked") is True for _, node in nodes):
        found.append(Concern("content_filter", "unspecified", "warning"))
    return found


def _done(node: Mapping[str, Value]) -> SafetySeverity | None:
    """Say what a filter did with a category: Azure lets `medium` and `high` through only where it is told to."""
    if "filtered" not in node and "detected" not in node:
        return None
    if node.get("filtered") is True:
        return "warning"
    return "critical" if node.get("detected") is True or node.get("severity") in ("medium", "high") else None


def _nodes(value: Value) -> list[tuple[str, dict[str, Value]]]:
    """Return the objects in a value with the name that each stands under."""
    found: list[tuple[str, dict[str, Value]]] = []
    waiting: list[tuple[str, Value, int]] = [("", value, 0)]
    while waiting and len(found) < _MAX_NODES:
        name, one, depth = waiting.pop()
        if isinstance(one, dict):
            found.append((name, one))
        if isinstance(one, dict | list) and depth < _MAX_DEPTH:
            waiting.extend((key, item, depth + 1) for key, item in _items(name, one))
    return found


def _items(name: str, value: dict[str, Value] | list[Value]) -> Iterator[tuple[str, Value]]:
    pairs = value.items() if isinstance(value, dict) else ((name, item) for item in value)
    for count, (key, item) in enumerate(pairs):
        if count >= _MAX_NODES:
            return
        yield str(key), item


__all__ = ["EVENTS", "category_judged", "concern_of_event", "concerns_of", "distinct"]

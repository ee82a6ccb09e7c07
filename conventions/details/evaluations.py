"""Evaluations, wherever applications and judges write them.

* The conventions have a log record or span event `gen_ai.evaluation.result`, with
  `gen_ai.evaluation.{name,score.value,score.label,explanation}` and the `gen_ai.response.id` of what is judged.
  Emitters without events put the same attributes on a span. OpenLIT adds `gen_ai.evaluation.verdict`.
* Azure AI Foundry's samples log events `gen_ai.evaluation.<evaluator>` with `gen_ai.evaluation.score`.
* Arize and Phoenix write `eval.<name>.{score,label,explanation}` onto the span that is judged, and OpenInference
  has spans of kind EVALUATOR, whose output is the verdict: a number, a label or an object of both.
"""

from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from spanledger.conventions import coerce
from spanledger.conventions.detail import Evaluation
from spanledger.conventions.values import TooLarge, attributes_of, value_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord
    from opentelemetry.proto.trace.v1.trace_pb2 import Span

    from spanledger.conventions.reading import Reading
    from spanledger.conventions.values import Attributes, Value

RESULT: Final = "gen_ai.evaluation.result"
PREFIX: Final = "gen_ai.evaluation."

MAX_EVALUATIONS: Final = 64
"""Of one span; and as many events of a span are looked at times eight."""
MAX_NAME_CHARS: Final = 200
MAX_EXPLANATION_CHARS: Final = 2_000

_NAMES: Final = ("gen_ai.evaluation.name", "gen_ai.evaluator.name")
_SCORES: Final = ("gen_ai.evaluation.score.value", "gen_ai.evaluation.score")
_LABELS: Final = ("gen_ai.evaluation.score.label", "gen_ai.evaluation.label", "gen_ai.evaluation.verdict")
_EXPLANATIONS: Final = ("gen_ai.evaluation.explanation",)
_FIELDS: Final = frozenset({"score", "label", "explanation"})
_MAX_VERDICT_CHARS: Final = 16_384
_MAX_LABEL_CHARS: Final = 64


def evaluation_of(record: LogRecord, *, explained: bool = True) -> Evaluation | None:
    """Return the evaluation that a log record is; None when it is none. `explained`: keep the judge's words."""
    name = record.event_name
    if not name:
        # Older emitters have the name of the event among its attributes.
        name = next((pair.value.string_value for pair in record.attributes[:64] if pair.key == "event.name"), "")
    if not name.startswith(PREFIX):
        return None
    held = _object(_body(record))
    at_ns = record.time_unix_nano or record.observed_time_unix_nano
    return _read(name, {**held, **attributes_of(record.attributes)}, at_ns, explained=explained)


def evaluations_of(span: Span, reading: Reading, *, explained: bool = True) -> tuple[Evaluation, ...]:
    """Return the evaluations that a span holds, in its events, as itself, or written onto it."""
    found: dict[Evaluation, None] = {}
    for event in span.events[: MAX_EVALUATIONS * 8] if span.events else ():
        if event.name.startswith(PREFIX):
            made = _read(event.name, attributes_of(event.attributes), event.time_unix_nano, explained=explained)
            if made is not None:
                found[made] = None
    attributes = reading.attributes
    about = [key for key in attributes if key.startswith(("gen_ai.evaluation.", "eval."))]
    if about:
        if any(key.startswith(PREFIX) for key in about):
            made = _read(span.name, attributes, span.end_time_unix_nano, explained=explained)
            if made is not None:
                found[made] = None
        for made in _written_on(about, attributes, span.end_time_unix_nano, explained=explained):
            found[made] = None
    elif reading.kind == "evaluation" and not found:
        made = _verdict(span, attributes, explained=explained)
        if made is not None:
            found[made] = None
    return tuple(found)[:MAX_EVALUATIONS]


def _read(event_name: str, held: Attributes, at_ns: int, *, explained: bool) -> Evaluation | None:
    score, label = _first_number(held, _SCORES), _first_text(held, _LABELS)
    if score is None and label is None:
        return None
    named = "" if event_name == RESULT or not event_name.startswith(PREFIX) else event_name.removeprefix(PREFIX)
    return Evaluation(
        name=_first_text(held, _NAMES) or named[:MAX_NAME_CHARS] or "unnamed",
        score=score,
        label=label,
        explanation=_first_text(held, _EXPLANATIONS, MAX_EXPLANATION_CHARS) if explained else None,
        response_id=_first_text(held, ("gen_ai.response.id",)) or "",
        at_ns=at_ns,
    )


def _written_on(keys: list[str], attributes: Attributes, at_ns: int, *, explained: bool) -> Iterator[Evaluation]:
    """Read `eval.<name>.score` and its like."""
    made: dict[str, Evaluation] = {}
    for key in keys:
        head, _, field = key.rpartition(".")
        name = head.removeprefix("eval.")
        if not head.startswith("eval.") or not name or field not in _FIELDS or len(made) >= MAX_EVALUATIONS:
            continue
        known = made.get(name) or Evaluation(name[:MAX_NAME_CHARS], at_ns=at_ns)
        value = attributes.get(key)
        if field == "score":
            made[name] = replace(known, score=_number(value))
        elif field == "label":
            made[name] = replace(known, label=_text(value))
        elif explained:
            made[name] = replace(known, explanation=_text(value, MAX_EXPLANATION_CHARS))
    for evaluation in made.values():
        if evaluation.score is not None or evaluation.label is not None:
            yield evaluation


def _verdict(span: Span, attributes: Attributes, *, explained: bool) -> Evaluation | None:
    """Read a span that is a judge at work: its output is what it says."""
    output = attributes.get("output.value")
    held = _object(output)
    score = _first_number(held, ("score", "value"))
    label = _first_text(held, ("label", "verdict", "result"))
    if not held:
        score = _number(output)
        said = _text(output, _MAX_LABEL_CHARS + 1) if score is None else None
        # A longer text is the judge's prose, not its label.
        label = said if said is not None and len(said) <= _MAX_LABEL_CHARS else None
    score = score if score is not None else _first_number(attributes, ("metadata.score",))
    label = label or _first_text(attributes, ("metadata.label",))
    if score is None and label is None:
        return None
    name = _first_text(held, ("name",)) or _first_text(attributes, ("metadata.evaluator_name",))
    why = _first_text(held, ("explanation", "reason"), MAX_EXPLANATION_CHARS) if explained else None
    return Evaluation(name or span.name[:MAX_NAME_CHARS] or "unnamed", score, label, why, "", span.end_time_unix_nano)


def _body(record: LogRecord) -> Value:
    try:
        return value_of(record.body)
    except TooLarge:
        return None


def _object(value: Value) -> Attributes:
    if isinstance(value, str) and value[:1] == "{" and len(value) <= _MAX_VERDICT_CHARS:
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            return {}
    return value if isinstance(value, dict) else {}


def _first_number(held: Attributes, keys: tuple[str, ...]) -> float | None:
    return next((found for key in keys if (found := _number(held.get(key))) is not None), None)


def _first_text(held: Attributes, keys: tuple[str, ...], max_chars: int = MAX_NAME_CHARS) -> str | None:
    return next((found for key in keys if (found := _text(held.get(key), max_chars)) is not None), None)


def _number(value: Value) -> float | None:
    if isinstance(value, bool):
        return float(value)
    if not isinstance(value, int | float | str):
        return None
    found = coerce.number(value)
    return found if isinstance(found, float) and math.isfinite(found) else None


def _text(value: Value, max_chars: int = MAX_NAME_CHARS) -> str | None:
    if isinstance(value, bool):
        return "true" if value else "false"
    found = coerce.text(value)
    return None if found is None else found[:max_chars]

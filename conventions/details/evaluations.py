"""Evaluations, wherever applications and judges write them.

* The conventions have a log record or span event `gen_ai.evaluation.result`, with
  `gen_ai.evaluation.{name,score.value,score.label,explanation}` and the `gen_ai.response.id` of what is judged.
  Emitters without events put the same attributes on a span. OpenLIT adds `gen_ai.evaluation.verdict`, Bedrock
  AgentCore the `session.id` of what is judged, TruLens the event on a span that links to what is judged.
* Azure AI Foundry's samples log events `gen_ai.evaluation.<evaluator>` with `gen_ai.evaluation.score`.
* Arize and Phoenix write `eval.<name>.{score,label,explanation}` onto the span that is judged; OpenInference has
  `annotations.<n>.annotation.{name,score,label,explanation}` there, or `evaluations.<n>.evaluation.*`, both also with
  `trace.` or `session.` before them (https://arize-ai.github.io/openinference/spec/feedback/annotations.html).
* Judges at work are spans whose output is the verdict: a number, a label or an object of both. OpenInference, MLflow
  and Laminar call them EVALUATOR, Langfuse and Genkit `evaluator`.
* Braintrust's scorers have a JSON object of names and scores in `braintrust.scores`, TruLens
  `ai.observability.eval_root.{metric_name,score}`, Pydantic Evals objects of results in `scores`, `labels` and
  `assertions` on the span of a case.

Scores that go to their backend by an API of its own are on no span: Langfuse's scores, LangSmith's feedback, MLflow's
assessments, Phoenix's annotations, DeepEval's and Ragas' metrics. What another sidecar evaluated (`spanledger.*`) is
judged here anew.
"""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Final

from spanledger.conventions import coerce
from spanledger.conventions.detail import Evaluation
from spanledger.conventions.nesting import loads
from spanledger.conventions.span_attributes import by_keys
from spanledger.conventions.values import TooLarge, attributes_of, value_of

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord
    from opentelemetry.proto.trace.v1.trace_pb2 import Span

    from spanledger.conventions.span_attributes import Keys
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
_FIELDS: Final = frozenset({"name", "score", "label", "explanation"})
_CONVERSATIONS: Final = ("gen_ai.conversation.id", "session.id")
_BUILT_IN: Final = "spanledger."
_INDEXED: Final = re.compile(
    r"(?:trace\.|session\.)?(?:annotations\.(\d{1,6})\.annotation|evaluations\.(\d{1,6})\.evaluation)\.(\w+)"
)
_WRITTEN: Final = (PREFIX, "eval.", "annotations.", "evaluations.", "trace.", "session.", "braintrust.scores", "ai.obs")
"""Keys that begin otherwise hold no evaluation."""
_ROOT: Final = "ai.observability.eval_root."
_CASE: Final = ("scores", "labels", "assertions")
_OUTPUTS: Final = (
    "output.value", "langfuse.observation.output", "mlflow.spanOutputs", "lmnr.span.output", "genkit:output",
    "gcp.vertex.agent.data", "traceloop.entity.output",
)  # fmt: skip
"""What a judge at work says, by dialect."""
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


def evaluations_on(span: Span, keys: Keys | None = None, *, explained: bool = True) -> tuple[Evaluation, ...]:
    """Return the evaluations that a span holds which is no GenAI work itself, as far as anybody knows.

    `keys` are its own, where somebody has read them: looking at them again is most of what this takes.
    """
    if not (_written([pair.key for pair in span.attributes]) if keys is None else by_keys(keys, _written)):
        return tuple(_in_events(span, explained=explained)) if span.events else ()
    return evaluations_of(span, attributes_of(span.attributes), explained=explained)


def evaluations_of(
    span: Span, attributes: Attributes, *, judge: bool = False, explained: bool = True
) -> tuple[Evaluation, ...]:
    """Return the evaluations that a span holds, in its events, as itself, or written onto it.

    `judge`: it is a judge at work, so that its output may be the verdict.
    """
    found: dict[Evaluation, None] = {}
    if span.events:
        found.update(dict.fromkeys(_in_events(span, explained=explained)))
    about = by_keys(attributes, _written)
    if about or "case_name" in attributes:
        found.update(dict.fromkeys(_on_span(span, about, attributes, explained=explained)))
    if judge and not found and (verdict := _verdict(span, attributes, explained=explained)) is not None:
        return (verdict,)
    return tuple(found)[:MAX_EVALUATIONS]


def _in_events(span: Span, *, explained: bool) -> Iterator[Evaluation]:
    for event in span.events[: MAX_EVALUATIONS * 8]:
        if event.name.startswith(PREFIX):
            made = _read(event.name, attributes_of(event.attributes), event.time_unix_nano, explained=explained)
            if made is not None:
                yield made


def _on_span(span: Span, about: list[str], attributes: Attributes, *, explained: bool) -> Iterator[Evaluation]:
    """Read what stands on a span: what it is itself, or what was written onto it. `about` are the keys that say so."""
    at_ns = span.end_time_unix_nano
    if any(key.startswith(PREFIX) for key in about):
        made = _read(span.name, attributes, at_ns, explained=explained)
        if made is not None:
            yield made
    if about:
        yield from _written_on(about, attributes, at_ns, explained=explained)
        for name, score in _object(attributes.get("braintrust.scores")).items():
            yield from _scored(name, score, at_ns)
        yield from _scored(_first_text(attributes, (f"{_ROOT}metric_name",)), attributes.get(f"{_ROOT}score"), at_ns)
    if "case_name" in attributes:
        for key in _CASE:
            for name, result in list(_object(attributes.get(key)).items())[:MAX_EVALUATIONS]:
                yield from _result(name, result, at_ns, explained=explained)


def _written(keys: Collection[str]) -> list[str]:
    return [key for key in keys if key.startswith(_WRITTEN)]


def _read(event_name: str, held: Attributes, at_ns: int, *, explained: bool) -> Evaluation | None:
    score, label = _first_number(held, _SCORES), _first_text(held, _LABELS)
    name = _first_text(held, _NAMES) or ""
    if (score is None and label is None) or name.startswith(_BUILT_IN):
        return None
    named = "" if event_name == RESULT or not event_name.startswith(PREFIX) else event_name.removeprefix(PREFIX)
    return Evaluation(
        name=name or named[:MAX_NAME_CHARS] or "unnamed",
        score=score,
        label=label,
        explanation=_first_text(held, _EXPLANATIONS, MAX_EXPLANATION_CHARS) if explained else None,
        response_id=_first_text(held, ("gen_ai.response.id",)) or "",
        at_ns=at_ns,
        conversation_id=_first_text(held, _CONVERSATIONS) or "",
    )


def _written_on(keys: list[str], attributes: Attributes, at_ns: int, *, explained: bool) -> Iterator[Evaluation]:
    """Read `eval.<name>.score` and its like, and `annotations.<n>.annotation.score` and its like."""
    found: dict[str, dict[str, Value]] = {}
    for key in keys:
        head, _, name = key.rpartition(".")
        if not (head.startswith("eval.") and head != "eval.") and _INDEXED.fullmatch(key) is None:
            continue
        if name in _FIELDS and (head in found or len(found) < MAX_EVALUATIONS):
            found.setdefault(head, {})[name] = attributes.get(key)
    for head, said in found.items():
        score, label = _number(said.get("score")), _text(said.get("label"))
        why = _text(said.get("explanation"), MAX_EXPLANATION_CHARS) if explained else None
        named = head.removeprefix("eval.") if head.startswith("eval.") else _text(said.get("name")) or "unnamed"
        if score is not None or label is not None:
            yield Evaluation(named[:MAX_NAME_CHARS], score, label, why, at_ns=at_ns)


def _scored(name: str | None, value: Value, at_ns: int) -> Iterator[Evaluation]:
    score = _number(value)
    if name and score is not None:
        yield Evaluation(name[:MAX_NAME_CHARS], score, at_ns=at_ns)


def _result(name: str, said: Value, at_ns: int, *, explained: bool) -> Iterator[Evaluation]:
    """Read one result of Pydantic Evals: a number, a label or a truth, with a reason."""
    value = said.get("value") if isinstance(said, dict) else said
    score = _number(value)
    label = _text(value) if score is None or isinstance(value, bool) else None
    why = _text(said.get("reason"), MAX_EXPLANATION_CHARS) if explained and isinstance(said, dict) else None
    if score is not None or label is not None:
        yield Evaluation(name[:MAX_NAME_CHARS], score, label, why, at_ns=at_ns)


def _verdict(span: Span, attributes: Attributes, *, explained: bool) -> Evaluation | None:
    """Read a span that is a judge at work: its output is what it says."""
    output = next((attributes[key] for key in _OUTPUTS if key in attributes), None)
    held = _judgement(output)
    score = _first_number(held, ("score", "value"))
    label = _first_text(held, ("label", "verdict", "result")) or (_text(held.get("value")) if score is None else None)
    if not held:
        score = _number(_bare(output))
        said = _text(_bare(output), _MAX_LABEL_CHARS + 1) if score is None else None
        # A longer text is the judge's prose, not its label.
        label = said if said is not None and len(said) <= _MAX_LABEL_CHARS else None
    score = score if score is not None else _first_number(attributes, ("metadata.score",))
    label = label or _first_text(attributes, ("metadata.label",))
    if score is None and label is None:
        return None
    name = _first_text(held, ("name",)) or _first_text(attributes, ("metadata.evaluator_name",))
    why = _first_text(held, ("explanation", "reason", "rationale"), MAX_EXPLANATION_CHARS) if explained else None
    return Evaluation(
        name or span.name[:MAX_NAME_CHARS] or "unnamed",
        score,
        label,
        why,
        _first_text(attributes, ("gen_ai.response.id",)) or "",
        span.end_time_unix_nano,
        _first_text(attributes, _CONVERSATIONS) or "",
    )


def _judgement(output: Value) -> Attributes:
    """Return the object that a judge's output is, or that is in it: Genkit's evaluators answer for a list of cases."""
    held = _parsed(output)
    if isinstance(held, list) and len(held) == 1:
        held = held[0]
    if isinstance(held, dict) and isinstance(held.get("evaluation"), dict):
        held = held["evaluation"]
    return held if isinstance(held, dict) else {}


def _bare(output: Value) -> Value:
    """Return a text out of its quotation marks in JSON."""
    return output[1:-1] if isinstance(output, str) and len(output) > 2 and output[0] == output[-1] == '"' else output


def _body(record: LogRecord) -> Value:
    try:
        return value_of(record.body)
    except TooLarge:
        return None


def _object(value: Value) -> Attributes:
    held = _parsed(value)
    return held if isinstance(held, dict) else {}


def _parsed(value: Value) -> Value:
    if isinstance(value, str) and value[:1] in ("{", "[") and len(value) <= _MAX_VERDICT_CHARS:
        try:
            return loads(value)  # type: ignore[no-any-return]
        except ValueError:
            return None
    return value


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

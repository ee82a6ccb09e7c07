"""Log records as what the run store keeps: run documents and findings. Pure.

A closed run is a log record with the event name `spanledger.run.closed` and the run document as its body,
as JSON text or as a key-value list. `spanledger.run.replaced` says that a run turned out to be part of another.
A finding is any other record whose event name begins with `spanledger.`. Whatever they say was chosen by
somebody else: what is read here is bounded and may be absent.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Final

from google.protobuf.message import DecodeError
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord
from opentelemetry.proto.resource.v1.resource_pb2 import Resource

from spanledger.conventions.nesting import loads
from spanledger.conventions.run import SCHEMA
from spanledger.conventions.run_document import timestamp
from spanledger.conventions.values import TooLarge, Value, attributes_of, value_of
from spanledger.exporters.run_store.chain import Kind
from spanledger.exporters.run_store.summary import MAX_TEXT, RunSummary, encodable, summarize
from spanledger.processor.batch import Outline

RUN_CLOSED: Final = "spanledger.run.closed"
RUN_REPLACED: Final = "spanledger.run.replaced"
PREFIX: Final = "spanledger."
FINDING_SCHEMA: Final = "spanledger.finding/1"
REPLACED_SCHEMA: Final = "spanledger.replaced/1"

_SEVERITY: Final = {"INFO": "info", "WARN": "warning", "ERROR": "critical", "FATAL": "critical"}

MAX_NODES: Final = 2_000_000
"""Values in a document that comes as a key-value list; its size in bytes is bounded by the request's."""

REST_EVERY: Final = 512
"""Objects of a document that are read between two rests; they take less than a millisecond."""


@dataclass(frozen=True, slots=True)
class RunRecord:
    """A run document, ready to be stored."""

    body: str
    summary: RunSummary
    kind: ClassVar[Kind] = "run"


@dataclass(frozen=True, slots=True)
class ReplacedRecord:
    """The news that a run turned out to be part of another one, ready to be stored."""

    body: str
    run_id: str
    replaced_by: str
    kind: ClassVar[Kind] = "replaced"


@dataclass(frozen=True, slots=True)
class FindingSummary:
    """What findings are looked up by. Ids are hexadecimal, "" where the record had none."""

    event: str
    kind: str
    """The second word of the event name: `loop`, `policy`, `budget`, `safety`."""
    rule: str
    severity: str
    run_id: str
    trace_id: str
    span_id: str
    at_ns: int


@dataclass(frozen=True, slots=True)
class FindingRecord:
    """A finding, ready to be stored."""

    body: str
    summary: FindingSummary
    kind: ClassVar[Kind] = "finding"

    @property
    def digest(self) -> bytes:
        """What tells this finding from others."""
        return hashlib.sha256(self.body.encode()).digest()


Record = RunRecord | ReplacedRecord | FindingRecord


@dataclass(slots=True)
class Records:
    """What was in a request."""

    kept: list[Record] = field(default_factory=list)
    ignored: int = 0
    """Records of others."""
    invalid: Counter[str] = field(default_factory=Counter)
    """Records that should have been run documents, by what is wrong with them."""


def read(data: bytes, rest: Callable[[], object] = lambda: None) -> Records:
    """Read a serialised `ExportLogsServiceRequest`, and call `rest` now and then while a document is large.

    Never raises because of data. Where an event loop runs beside this thread, `rest` leaves it the interpreter: half
    of it, which it has while both want it, is less than it needs, and what came late would stay late. In C alone,
    5,000 steps would keep it waiting for 20 ms at once.
    """
    found = Records()
    for service_name, wire in _records(data):
        try:
            record = LogRecord.FromString(wire)
        except DecodeError:
            found.ignored += 1
            continue
        event = record.event_name or _event_attribute(record)
        if event == RUN_CLOSED:
            try:
                found.kept.append(run_record(*_document(record, rest)))
            except ValueError as error:
                found.invalid[_why(error)] += 1
        elif event == RUN_REPLACED:
            try:
                found.kept.append(_replaced(record))
            except ValueError as error:
                found.invalid[str(error)] += 1
        elif event.startswith(PREFIX):
            found.kept.append(_finding(record, event, service_name))
        else:
            found.ignored += 1
    return found


def run_record(document: Any, text: str | None = None) -> RunRecord:
    """Return a document ready to be stored, as `text` if that is how it came; ValueError when it is none."""
    if not isinstance(document, dict) or document.get("schema") != SCHEMA:
        raise ValueError(f"the body is no {SCHEMA} document")
    summary = summarize(document)
    return RunRecord(text if text is not None else canonical(document), summary)


def canonical(document: Mapping[str, Any]) -> str:
    """Return JSON on one line, its keys in the order they came in. This is what is hashed and exported."""
    text = json.dumps(document, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    try:
        text.encode()
    except UnicodeEncodeError:
        # Half a character, out of an escape in JSON: only another escape can say it.
        text = json.dumps(document, separators=(",", ":"))
    return text


def _records(data: bytes) -> Iterator[tuple[str, bytes]]:
    for resource in Outline.FromString(data).resources:
        name = _service_name(resource.resource)
        for scope in resource.scopes:
            for wire in scope.items:
                yield name, wire


def _service_name(wire: bytes) -> str:
    try:
        name = attributes_of(Resource.FromString(wire).attributes).get("service.name")
    except DecodeError:
        return ""
    return name if isinstance(name, str) else ""


def _event_attribute(record: LogRecord) -> str:
    # Before OTLP had the field, the name was an attribute.
    for pair in record.attributes:
        if pair.key == "event.name":
            return pair.value.string_value
    return ""


def _document(record: LogRecord, rest: Callable[[], object]) -> tuple[Any, str | None]:
    """Return the body as a document, and the text that is kept of it if it can be kept as it came."""
    if record.body.WhichOneof("value") != "string_value":
        return value_of(record.body, MAX_NODES), None
    text = record.body.string_value
    # Exports are a document a line. Line breaks in JSON are only between its parts.
    one_line = "\n" not in text and "\r" not in text
    return loads(text, parse_constant=_no_number, object_hook=_resting(rest)), text if one_line else None


def _resting(rest: Callable[[], object]) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """Return what is called with each object that is read, and returns it."""
    objects = itertools.count(1)

    def hook(read: dict[str, Any]) -> dict[str, Any]:
        if not next(objects) % REST_EVERY:
            rest()
        return read

    return hook


def _no_number(name: str) -> Any:
    raise ValueError(f"{name} is no number in JSON")


def _why(error: Exception) -> str:
    return "the body is not JSON" if isinstance(error, json.JSONDecodeError) else str(error)


def _replaced(record: LogRecord) -> ReplacedRecord:
    said = _Said(attributes_of(record.attributes), {}, "run")
    run_id, replaced_by = said.text("id"), said.text("replaced_by")
    if not run_id or not replaced_by:
        raise ValueError("the event does not say which run was replaced by which")
    body = canonical({"schema": REPLACED_SCHEMA, "run_id": run_id, "replaced_by": replaced_by})
    return ReplacedRecord(body, run_id, replaced_by)


def _finding(record: LogRecord, event: str, service_name: str) -> FindingRecord:
    attributes = attributes_of(record.attributes)
    body: Value
    try:
        body = value_of(record.body)
    except TooLarge:
        body = None
    kind = event.removeprefix(PREFIX).split(".", 1)[0]
    said = _Said(attributes, _parsed(body), kind)
    summary = FindingSummary(
        event=event[:200],
        kind=kind[:200],
        rule=said.text("rule") or said.text("name") or said.text("category"),
        severity=said.text("severity") or _SEVERITY.get(record.severity_text, record.severity_text[:200].lower()),
        run_id=said.text("run_id") or said.text("run.id"),
        trace_id=record.trace_id.hex(),
        span_id=record.span_id.hex(),
        at_ns=min(record.time_unix_nano or record.observed_time_unix_nano, 2**63 - 1),
    )
    document = {
        "schema": FINDING_SCHEMA,
        "event": summary.event,
        "rule": summary.rule,
        "severity": summary.severity,
        "at": timestamp(summary.at_ns),
        "run_id": summary.run_id or None,
        "trace_id": summary.trace_id or None,
        "span_id": summary.span_id or None,
        "service_name": service_name,
        "attributes": _plain(attributes),
        "body": _plain(body),
    }
    return FindingRecord(canonical(document), summary)


def _parsed(body: Value) -> Mapping[str, Any]:
    if isinstance(body, str) and body[:1] == "{":
        try:
            body = loads(body)
        except ValueError:
            return {}
    return body if isinstance(body, dict) else {}


def _plain(value: Any) -> Any:
    """Return what JSON can say: bytes as hexadecimal, numbers that are none as text."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value


@dataclass(frozen=True, slots=True)
class _Said:
    """Looks a word up: as attribute `spanledger.KIND.WORD`, `spanledger.WORD` or `WORD`, then in the body."""

    attributes: Mapping[str, Value]
    body: Mapping[str, Any]
    kind: str

    def text(self, word: str) -> str:
        for place, name in (
            (self.attributes, f"{PREFIX}{self.kind}.{word}"),
            (self.attributes, f"{PREFIX}finding.{word}"),
            (self.attributes, f"{PREFIX}{word}"),
            (self.attributes, word),
            (self.body, word),
        ):
            if isinstance(value := place.get(name), str) and value:
                return encodable(value[:MAX_TEXT])
        return ""

"""Golden files of dialects: one folder per case, OTLP/JSON in, normalised spans and what was read out."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from opentelemetry.proto.logs.v1.logs_pb2 import LogsData
from opentelemetry.proto.trace.v1.trace_pb2 import Span, TracesData

from spanledger.conventions.dialects import DIALECTS
from spanledger.conventions.log_reports import LogReports
from spanledger.conventions.lookup import ORIGINAL
from spanledger.conventions.profile import PROFILES, ProfileName
from spanledger.conventions.reader import Reader
from spanledger.conventions.reading import Reading
from spanledger.conventions.values import attributes_of
from spanledger.processor.genai_normalizer import apply
from spanledger.receivers.otlp.json_codec import to_protobuf

FOLDER = Path(__file__).parent / "golden"
CASES = sorted(str(path.parent.relative_to(FOLDER)) for path in FOLDER.glob("*/*/input.json"))
INTERNAL = {"attributes", "call", "content", "cost", "echo_edits", "edits", "price", "ready", "removals"}


def spans_of(case: str) -> Iterator[tuple[str, str, Span]]:
    """Yield (scope, version, span) of a case, each time anew; of log records the spans that they stand for."""
    data = (FOLDER / case / "input.json").read_bytes()
    if b'"resourceLogs"' in data:
        yield from reports_of(data)
        return
    wire, rejected = to_protobuf("traces", data)
    assert not rejected
    for resource in TracesData.FromString(wire).resource_spans:
        for group in resource.scope_spans:
            for span in group.spans:
                yield group.scope.name, group.scope.version, span


def reports_of(data: bytes) -> Iterator[tuple[str, str, Span]]:
    """Yield (scope, version, span) of what log records in OTLP/JSON report."""
    wire, rejected = to_protobuf("logs", data)
    assert not rejected
    reader, reports = Reader(DIALECTS), LogReports(DIALECTS)
    for resource in LogsData.FromString(wire).resource_logs:
        for group in resource.scope_logs:
            for record in group.log_records:
                report = reports.read(record, group.scope.name, reader.dialect_of(group.scope.name), "service")
                if report is not None:
                    yield report.scope, group.scope.version, report.span


def facts(reading: Reading) -> dict[str, Any]:
    """Return what a reading says, without what it does not."""
    said: dict[str, Any] = {}
    for field in fields(reading):
        value = getattr(reading, field.name)
        if field.name not in INTERNAL and value not in (None, "", b"", False, ()):
            said[field.name] = value
    if reading.usage is not None:
        said["usage"] = {name: value for name, value in asdict(reading.usage).items() if value not in (None, ())}
    return said


def normalized(case: str, profile: ProfileName = "latest") -> list[dict[str, Any]]:
    """Return for each span of a case what it said and which attributes are new or say something else."""
    reader = Reader(DIALECTS, PROFILES[profile])
    result = []
    for scope, version, span in spans_of(case):
        before = attributes_of(span.attributes)
        reading = reader.read(scope, version, span)
        if reading is None:
            result.append({"span": span.name, "reading": None})
            continue
        apply(span, reading)
        after = attributes_of(span.attributes)
        changed = {key: value for key, value in after.items() if key not in before or before[key] != value}
        gone = {key for key in before if key not in after and ORIGINAL + key not in after}
        assert all("headers" in key for key in gone), gone
        result.append({"span": span.name, "reading": facts(reading), "written": dict(sorted(changed.items()))})
    return result


def text(result: list[dict[str, Any]]) -> str:
    """Return a result as it stands in the golden file."""
    return json.dumps(result, indent=1, ensure_ascii=False) + "\n"

"""Requests of real instrumentations, changed as the fuzzer says: nearly right is what reaches deepest."""

from __future__ import annotations

from typing import Any

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.fuzz.bodies import requests
from tests.fuzz.draw import Draw

KEYS = (
    "gen_ai.operation.name", "gen_ai.provider.name", "gen_ai.request.model", "gen_ai.response.model",
    "gen_ai.usage.cost", "gen_ai.usage.input_tokens", "gen_ai.usage.output_tokens",
    "gen_ai.usage.cache_read.input_tokens",
    "gen_ai.tool.name", "gen_ai.tool.call.id", "gen_ai.tool.call.arguments",
    "gen_ai.agent.name", "gen_ai.conversation.id",
    "gen_ai.input.messages", "gen_ai.output.messages", "gen_ai.response.finish_reasons", "gen_ai.prompt.0.content",
    "llm.input_messages.0.message.content", "openinference.span.kind", "traceloop.span.kind", "error.type",
    "gen_ai.response.id", "gen_ai.evaluation.score.value", "server.address", "session.id", "service.name", "team",
)  # fmt: skip


def traces(draw: Draw) -> bytes:
    """Return an `ExportTraceServiceRequest`."""
    message = ExportTraceServiceRequest.FromString(draw.pick(requests("traces")))
    spans = [span for one in message.resource_spans for scope in one.scope_spans for span in scope.spans]
    for _ in range(min(draw.number(24), draw.left)):
        span = spans[draw.number(len(spans))]
        match draw.number(12):
            case 0 | 1 | 2 | 3:
                _attribute(span, draw)
            case 4:
                span.parent_span_id = draw.pick((b"", span.span_id, spans[0].span_id, spans[-1].span_id, b"\1" * 8))
            case 5:
                other = spans[draw.number(len(spans))]
                span.trace_id = other.trace_id
                if draw.flag():
                    span.span_id = other.span_id
            case 6:
                span.start_time_unix_nano = draw.integer() % 2**64
            case 7:
                span.end_time_unix_nano = draw.integer() % 2**64
            case 8:
                span.status.code = draw.number(5)
                span.status.message = draw.text().encode("utf-8", "replace").decode()
            case 9:
                span.name = draw.text().encode("utf-8", "replace").decode()
                span.kind = draw.number(9)
            case 10:
                event = span.events.add(
                    name=draw.pick(
                        ("exception", "gen_ai.choice", "gen_ai.user.message", "gen_ai.evaluation.result", "x")
                    )
                )
                _attribute(event, draw)
            case _:
                link = span.links.add(trace_id=spans[draw.number(len(spans))].trace_id, span_id=b"\2" * draw.number(9))
                _attribute(link, draw)
    heads = message.resource_spans[draw.number(len(message.resource_spans))]
    if draw.flag():
        _attribute(heads.resource, draw)
    if draw.flag() and heads.scope_spans:
        heads.scope_spans[0].scope.name = draw.text().encode("utf-8", "replace").decode()
    return message.SerializeToString()


def logs(draw: Draw) -> bytes:
    """Return an `ExportLogsServiceRequest`."""
    message = ExportLogsServiceRequest.FromString(draw.pick(requests("logs")))
    records = [record for one in message.resource_logs for scope in one.scope_logs for record in scope.log_records]
    for _ in range(min(draw.number(24), draw.left)):
        record = records[draw.number(len(records))]
        match draw.number(6):
            case 0 | 1 | 2:
                _attribute(record, draw)
            case 3:
                record.body.CopyFrom(draw.any_value())
            case 4:
                record.event_name = draw.text().encode("utf-8", "replace").decode()
                record.time_unix_nano = draw.integer() % 2**64
            case _:
                record.trace_id, record.span_id = draw.pick(((b"", b""), (b"\1" * 16, b"\1" * 8), (b"\1" * 16, b"")))
    return message.SerializeToString()


def _attribute(owner: Any, draw: Draw) -> None:
    """Change, rename, drop or add one attribute."""
    pairs = owner.attributes
    what = draw.number(4)
    if what == 0 or not pairs:
        pairs.add(key=draw.pick(KEYS)).value.CopyFrom(draw.any_value())
        return
    at = draw.number(len(pairs))
    if what == 1:
        pairs[at].value.CopyFrom(draw.any_value())
    elif what == 2:
        pairs[at].key = draw.pick((draw.pick(KEYS), pairs[draw.number(len(pairs))].key))
    else:
        del pairs[at]

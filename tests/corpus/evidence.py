"""Where a number stands in a raw capture: the proof that an instrumentation told it, or did not."""

from __future__ import annotations

import functools
import json
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Final

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from spanledger.conventions.values import attributes_of, value_of

if TYPE_CHECKING:
    from opentelemetry.proto.metrics.v1.metrics_pb2 import Metric
    from opentelemetry.proto.trace.v1.trace_pb2 import Span

    from spanledger.conventions.values import Value
    from tests.corpus.captures import Capture


_USAGE: Final = re.compile("token|usage", re.IGNORECASE)


def spans(capture: Capture) -> Iterator[Span]:
    """Yield every span that was sent."""
    for data in capture.requests("traces"):
        for resource in ExportTraceServiceRequest.FromString(data).resource_spans:
            for scope in resource.scope_spans:
                yield from scope.spans


def said(capture: Capture) -> Iterator[tuple[str, Value]]:
    """Yield all that stands in a capture: attributes of spans and their events, log records, and sums of metrics.

    Of a log record `log:<attribute>` and `log:body`, of a metric `metric:<name>` and its attributes.
    """
    for span in spans(capture):
        for attributes in (span.attributes, *(event.attributes for event in span.events)):
            yield from attributes_of(attributes).items()
    for data in capture.requests("logs"):
        for logs in ExportLogsServiceRequest.FromString(data).resource_logs:
            for record in (record for scope in logs.scope_logs for record in scope.log_records):
                yield "log:body", value_of(record.body)
                yield from ((f"log:{key}", value) for key, value in attributes_of(record.attributes).items())
    for data in capture.requests("metrics"):
        for metrics in ExportMetricsServiceRequest.FromString(data).resource_metrics:
            for metric in (metric for scope in metrics.scope_metrics for metric in scope.metrics):
                yield from _of_metric(metric)


def _of_metric(metric: Metric) -> Iterator[tuple[str, Value]]:
    place = f"metric:{metric.name}"
    for point in (*metric.sum.data_points, *metric.gauge.data_points):
        yield place, point.as_int or point.as_double
        yield from ((f"{place} {key}", value) for key, value in attributes_of(point.attributes).items())
    for histogram in (*metric.histogram.data_points, *metric.exponential_histogram.data_points):
        yield place, histogram.sum
        yield from ((f"{place} {key}", value) for key, value in attributes_of(histogram.attributes).items())


def ids(capture: Capture) -> list[tuple[bytes, bytes, bytes, str]]:
    """Return trace id, span id, parent and name of every span that was sent."""
    return [(span.trace_id, span.span_id, span.parent_span_id, span.name) for span in spans(capture)]


@functools.lru_cache(1)
def numbers(capture: Capture) -> Mapping[int, set[str]]:
    """Return the whole numbers that may be token counts, and where: `attribute`, `attribute#path.in.json`."""
    found: defaultdict[int, set[str]] = defaultdict(set)
    for key, value in said(capture):
        for path, number in _numbers(value, key):
            if _USAGE.search(path):
                found[number].add(path)
    return found


def texts(text: str, capture: Capture) -> set[str]:
    """Return the places in which a text stands."""
    return {key for key, value in said(capture) if text in str(value)}


def _numbers(value: Value, path: str) -> Iterator[tuple[str, int]]:
    if isinstance(value, bool) or value is None:
        return
    if isinstance(value, int):
        yield path, value
    elif isinstance(value, float):
        if value.is_integer():
            yield path, int(value)
    elif isinstance(value, str):
        yield from _in_text(value, path)
    elif isinstance(value, list):
        for item in value:
            yield from _numbers(item, path)
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _numbers(item, f"{path}.{key}")


def _in_text(text: str, path: str) -> Iterator[tuple[str, int]]:
    if text.isdecimal():
        yield path, int(text)
    elif text[:1] in {"{", "["}:
        try:
            parsed = json.loads(text)
        except ValueError:
            return
        yield from _numbers(parsed, path if "#" in path else f"{path}#")

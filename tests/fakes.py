"""Fakes that many tests share: a clock that stands still, numbers that remember, sinks that obey."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from spanledger.conventions.values import Value, key_value
from spanledger.processor.batch import Delivery
from spanledger.processor.component import ComponentId, Host, Passive, Refused


@dataclass
class Clock:
    """Time that moves only when told."""

    now_s: float = 1_700_000_000.0

    def monotonic(self) -> float:
        """Return seconds."""
        return self.now_s

    def time_ns(self) -> int:
        """Return nanoseconds since the epoch."""
        return int(self.now_s * 1e9)


@dataclass
class Numbers:
    """A metric store that keeps (name, labels) -> value, for any name."""

    values: Counter[tuple[str, ...]] = field(default_factory=Counter)
    before_reading: list[Callable[[], None]] = field(default_factory=list)
    removals: int = 0

    def counter(self, name: str) -> NumbersOf:
        """Return a family."""
        return NumbersOf(self, name)

    gauge = histogram = counter

    def total(self, name: str) -> float:
        """Return the sum over all series of a metric."""
        return sum(value for key, value in self.values.items() if key[0] == name)


@dataclass
class NumbersOf:
    """One family of `Numbers`."""

    store: Numbers
    name: str

    def add(self, labels: tuple[str, ...], value: float = 1, trace_id: bytes | None = None) -> None:
        """Count."""
        self.store.values[(self.name, *labels)] += value  # type: ignore[assignment]

    def set(self, labels: tuple[str, ...], value: float) -> None:
        """Replace."""
        self.store.values[(self.name, *labels)] = value  # type: ignore[assignment]

    def get(self, labels: tuple[str, ...]) -> None:
        """Know no series: whoever asks whose it is may take it."""

    def remove(self, labels: tuple[str, ...]) -> None:
        """Drop one series."""
        self.store.values.pop((self.name, *labels), None)

    def observe(self, labels: tuple[str, ...], value: float, trace_id: bytes | None = None) -> None:
        """Count an observation."""
        self.store.values[(self.name, *labels)] += 1


def host(name: str = "fake", clock: Clock | None = None, numbers: Numbers | None = None, **changes: Any) -> Host:
    """Return a host on a clock that stands still."""
    clock = clock or Clock()
    return Host(
        id=ComponentId.parse(name),
        metrics=numbers or Numbers(),  # type: ignore[arg-type]
        log=logging.getLogger(f"spanledger.test.{name}"),
        clock_ns=clock.time_ns,
        monotonic=clock.monotonic,
        **changes,
    )


@dataclass
class FakeSink(Passive):
    """A sink with room for `room` deliveries."""

    room: int = 1000
    reserved: int = 0
    taken: list[Delivery] = field(default_factory=list)

    def reserve(self, delivery: Delivery) -> None:
        """Hold room."""
        if self.reserved + len(self.taken) >= self.room:
            raise Refused("fake sink is full")
        self.reserved += 1

    def commit(self, delivery: Delivery) -> None:
        """Take."""
        self.reserved -= 1
        self.taken.append(delivery)

    def release(self, delivery: Delivery) -> None:
        """Give the room back."""
        self.reserved -= 1


def span(number: int = 1, parent: int = 0, trace: int = 1, name: str = "", **attributes: Value) -> Span:
    """Return a span; `__` in an attribute's name stands for a dot."""
    return Span(
        trace_id=trace.to_bytes(16, "big"),
        span_id=number.to_bytes(8, "big"),
        parent_span_id=parent.to_bytes(8, "big") if parent else b"",
        name=name or f"span {number}",
        kind=Span.SPAN_KIND_INTERNAL,
        start_time_unix_nano=1_700_000_000_000_000_000 + number,
        end_time_unix_nano=1_700_000_001_000_000_000 - number,
        attributes=[key_value(key.replace("__", "."), value) for key, value in attributes.items()],
    )


def request(
    *spans: Span, scope: str = "test", version: str = "1", resource: Mapping[str, Value] | None = None
) -> ExportTraceServiceRequest:
    """Return an export request with one resource and one scope."""
    message = ExportTraceServiceRequest()
    group = message.resource_spans.add()
    for key, value in (resource or {"service.name": "shop"}).items():
        group.resource.attributes.append(key_value(key, value))
    scope_spans = group.scope_spans.add()
    scope_spans.scope.name = scope
    scope_spans.scope.version = version
    scope_spans.spans.extend(spans)
    return message

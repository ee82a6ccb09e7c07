"""The runs that the connector tells of a capture: its requests through a pipeline, on a clock that stands still.

Everything is as in the running sidecar but the sockets: the flow of a request, the processors, the connector, and the
logs pipeline that the documents of closed runs go to.
"""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from spanledger.conventions.run_document import read_document
from spanledger.conventions.values import attributes_of
from spanledger.processor.batch import decode, finish
from spanledger.processor.component import Passive
from spanledger.processor.genai_normalizer import GenaiNormalizer, GenaiNormalizerConfig
from spanledger.processor.genai_pricing import GenaiPricing, GenaiPricingConfig
from spanledger.processor.metric_store import MetricTable
from spanledger.processor.trajectory.config import TrajectoryConfig
from spanledger.processor.trajectory.connector import Trajectory
from spanledger.service.flow import Intake, Pipeline, Stage
from tests.fakes import Clock, host

if TYPE_CHECKING:
    import random

    from spanledger.conventions.run import Run
    from spanledger.conventions.step import Bridge, Step
    from spanledger.processor.batch import Batch, Delivery, Signal
    from tests.corpus.captures import Capture

Sent = tuple["Signal", bytes]
"""An export request of a signal."""

_FOR_EVER_S: Final = 3_000.0
"""Longer than any run is waited for."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the connector told."""

    runs: list[Run]
    """The last revision of each, by time."""
    records: list[Step | Bridge]
    """What the spans were read as, in the order they came."""
    numbers: MetricTable


class Connection:
    """The stages of a pipeline into a connector; each `play` is another life of them."""

    def __init__(self, config: TrajectoryConfig | None = None) -> None:
        self._config = config or TrajectoryConfig(content="full")
        self._normalizer = GenaiNormalizer(GenaiNormalizerConfig(), host("genai_normalizer"))

    def play(self, sent: Sequence[Sent], pause_s: float = 0.0) -> Outcome:
        """Send requests, with a pause after each, and wait until all runs are closed."""
        return asyncio.run(self._play(sent, pause_s))

    async def _play(self, sent: Sequence[Sent], pause_s: float) -> Outcome:
        clock, table, told, seen = Clock(), MetricTable(), _Told(), _Seen()
        around: dict[str, Any] = {"clock": clock, "numbers": table}
        pricing = GenaiPricing(GenaiPricingConfig(), host("genai_pricing", **around))
        await pricing.start()
        connector = Trajectory(self._config, host("trajectory", **around))
        connector._details = connector._details_with(b"corpus")  # digests are those of the pure build
        connector.consumers = {"logs": told}

        stages = tuple(Stage(one, lambda _n: None, lambda _n: None) for one in (self._normalizer, pricing))
        traces = Pipeline("traces", "traces", stages, (seen, connector), connector)
        logs = Pipeline("logs", "logs", stages, (seen, connector), connector)
        intakes = {one.signal: Intake((one,), deque(maxlen=1), clock.monotonic) for one in (traces, logs)}

        async def wait(seconds: float) -> None:
            clock.now_s += seconds
            while await connector.work() == 0:
                pass

        for signal, data in sent:
            await intakes[signal](finish(decode(signal, data, clock.time_ns())))
            await wait(pause_s)
        await wait(_FOR_EVER_S)
        assert await connector.shutdown(clock.now_s + 60) == 0
        runs = [read_document(document) for document in told.final.values()]
        return Outcome(sorted(runs, key=lambda run: (run.started_at_ns, run.run_id)), seen.records, table)


class _Told:
    """The logs pipeline: the last revision of each run, without those that became part of another."""

    def __init__(self) -> None:
        self.final: dict[str, Any] = {}

    async def __call__(self, batch: Batch) -> None:
        for group in batch.groups:
            for record in group.items:
                said = attributes_of(record.attributes)
                if record.event_name == "spanledger.run.closed":
                    self.final[str(said["spanledger.run.id"])] = json.loads(record.body.string_value)
                elif record.event_name == "spanledger.run.replaced":
                    del self.final[str(said["spanledger.run.id"])]


class _Seen(Passive):
    """A sink that keeps what spans were read as."""

    def __init__(self) -> None:
        self.records: list[Step | Bridge] = []

    def reserve(self, delivery: Delivery) -> None:
        """Hold nothing."""

    def release(self, delivery: Delivery) -> None:
        """Do nothing."""

    def commit(self, delivery: Delivery) -> None:
        """Keep."""
        self.records += (*delivery.steps, *delivery.bridges)


def recorded(capture: Capture) -> list[Sent]:
    """Return the requests as they came; the logs after the spans, for a recording keeps each signal by itself."""
    return [*_requests(capture, "traces"), *_requests(capture, "logs")]


def backwards(capture: Capture) -> list[Sent]:
    """Return the logs, and then the spans with the last request first."""
    return [*_requests(capture, "logs"), *reversed(_requests(capture, "traces"))]


def shuffled(capture: Capture, order: random.Random) -> list[Sent]:
    """Return a request for each span in some order, with the logs in theirs between them.

    What log records say of one call is one message after the other: that order is their own.
    """
    logs = _requests(capture, "logs")
    sent: list[Sent | None] = [("traces", one) for _, data in _requests(capture, "traces") for one in _spans(data)]
    sent += [None] * len(logs)
    order.shuffle(sent)
    return [one or logs.pop(0) for one in sent]


def _requests(capture: Capture, signal: Signal) -> list[Sent]:
    return [(signal, data) for data in capture.requests(signal)]


def _spans(data: bytes) -> Iterator[bytes]:
    whole = ExportTraceServiceRequest.FromString(data)
    for resource in whole.resource_spans:
        for scope in resource.scope_spans:
            for span in scope.spans:
                request = ExportTraceServiceRequest()
                single = request.resource_spans.add()
                single.CopyFrom(resource)
                del single.scope_spans[:]
                alone = single.scope_spans.add()
                alone.CopyFrom(scope)
                del alone.spans[:]
                alone.spans.append(span)
                yield request.SerializeToString()

"""The sidecar's pipelines without sockets and without time: what `spanledger run` makes of a request."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
import logging
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from spanledger.conventions.run_document import read_document
from spanledger.exporters.run_store import records
from spanledger.processor.batch import Signal, decode, finish
from spanledger.processor.component import Refused, Rejected
from spanledger.processor.metric_store import MetricTable
from spanledger.service.config import Config, load
from spanledger.service.flow import Intake
from spanledger.service.graph import Graph, Surroundings, build
from tests.fakes import Clock, FakeSink

CONFIG = """
receivers: {otlp: {protocols: {grpc: {endpoint: "127.0.0.1:0"}}}}
processors:
  redaction: {allow_all_keys: true, detect: [secrets, emails, cards], blocked_values: ["4[0-9]{15}"]}
  genai_normalizer:
    sources: [{name: house, evidence: [house.kind], mappings: {house.kind: gen_ai.operation.name}}]
  genai_pricing: {catalog: {refresh_interval: 0s}}
connectors:
  genai_metrics: {}
  trajectory:
    content: full
    settle: 1s
    dimensions: [team]
    budgets: [{name: all, per: run, soft_usd: 0.001, hard_usd: 0.002}]
    policies: [{name: safe, tools: {deny: ["delete_*"]}}]
exporters: {debug: {}}
service:
  pipelines:
    traces: &all
      receivers: [otlp]
      processors: [redaction, genai_normalizer, genai_pricing]
      exporters: [genai_metrics, trajectory, debug]
    logs: *all
    logs/runs: {receivers: [trajectory], exporters: [debug]}
    metrics/own: {receivers: [genai_metrics, trajectory], exporters: [debug]}
"""


@functools.cache
def configuration(text: str = CONFIG) -> Config:
    """Return a configuration, read once."""
    return load(["fuzz.yaml"], [], {}, read=lambda _name: text.encode())


@dataclass
class Bench:
    """One sidecar. `sent` and `told` keep what would leave it."""

    table: MetricTable
    clock: Clock
    intakes: dict[Signal, Intake]
    sent: FakeSink
    told: FakeSink
    trajectory: Any

    async def take(self, signal: Signal, wire: bytes) -> bool:
        """Take a request; False when it is not one."""
        try:
            batch = finish(decode(signal, wire, self.clock.time_ns()))
        except Rejected:
            return False
        try:
            await self.intakes[signal](batch)
        except Refused:
            return False
        return True

    async def end(self) -> None:
        """Close every run and hand it on."""
        await self.trajectory.work()
        self.clock.now_s += 2.0
        self.trajectory.assembly.close_all()
        while await self.trajectory.work() == 0:
            pass
        await self.trajectory.shutdown(self.clock.now_s + 1.0)

    def documents(self) -> list[dict[str, Any]]:
        """Return the run documents that were told; each of them reads strictly, and the store takes it."""
        found = []
        for delivery in self.told.taken:
            kept = records.read(delivery.data)
            assert not kept.invalid, kept.invalid
            for record in kept.kept:
                if isinstance(record, records.RunRecord):
                    document = json.loads(record.body, parse_constant=_no_constant)
                    read_document(document)
                    found.append(document)
        return found


def _no_constant(name: str) -> None:
    raise AssertionError(f"a run document has {name} in it")


class _Faults(logging.Handler):
    """What the sidecar survives and logs with its traceback is a finding all the same."""

    def emit(self, record: logging.LogRecord) -> None:
        """Raise it."""
        if record.exc_info and record.exc_info[1] is not None:
            raise AssertionError(record.getMessage()) from record.exc_info[1]


@contextlib.contextmanager
def raised_faults() -> Iterator[None]:
    """Raise what the sidecar would survive, as long as this is entered."""
    log, handler = logging.getLogger("spanledger"), _Faults()
    log.addHandler(handler)
    try:
        yield
    finally:
        log.removeHandler(handler)


@functools.cache
def _processors() -> tuple[MetricTable, Graph]:
    """Return processors that all benches share, for making them takes long; what they remember is prices."""
    table = MetricTable()
    graph = build(configuration(), Surroundings(table, None))  # type: ignore[arg-type]
    for key, node in list(graph.nodes.items()):
        if node.id.type == "genai_pricing":
            asyncio.run(node.component.start())
        elif node.kind != "processor":
            del graph.nodes[key]
    return table, graph


def bench() -> Bench:
    """Return a new sidecar that knows nothing yet."""
    clock, table = Clock(), MetricTable()
    surroundings = Surroundings(table, None, clock.time_ns, clock.monotonic, deque(maxlen=8))  # type: ignore[arg-type]
    graph = build(configuration(), surroundings, _processors()[1])
    sent, told = FakeSink(), FakeSink()
    for name, pipeline in graph.pipelines.items():
        sink = told if name == "logs/runs" else sent
        graph.pipelines[name] = replace(pipeline, sinks=(*pipeline.sinks[:-1], sink))
    graph.connect(surroundings)
    receiver = next(node.component for node in graph.nodes.values() if node.kind == "receiver")
    trajectory = next(node.component for node in graph.nodes.values() if node.id.type == "trajectory")
    return Bench(table, clock, receiver.consumers, sent, told, trajectory)


def faults() -> float:
    """Return how many spans and steps a stage failed on so far; it counts them and goes on."""
    return sum(
        cell.value
        for family in _processors()[0].families()
        if family.metric.name in {"spanledger_normalizer_errors_total", "spanledger_uncounted_steps_total"}
        for cell in family.cells(0)
    )

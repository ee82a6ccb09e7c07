"""An assembly of runs on a clock that stands still, and the spans of small runs."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord

from spanledger.conventions.detail import Detail
from spanledger.conventions.reading import Cost
from spanledger.conventions.step import Bridge, Step
from spanledger.processor.metric_store import MetricTable
from spanledger.processor.trajectory.assembly import Assembly
from spanledger.processor.trajectory.config import TrajectoryConfig
from spanledger.processor.trajectory.records import Record
from spanledger.processor.trajectory.reports import compose
from tests.fakes import Clock, host
from tests.steps import call

START_NS = 1_700_000_000 * 10**9

Document = Mapping[str, Any]


@dataclass
class Told:
    """An outbox that keeps what it is given."""

    records: list[LogRecord] = field(default_factory=list)

    def put(self, service_name: str, record: LogRecord) -> None:
        """Keep."""
        self.records.append(record)


@dataclass
class Bench:
    """An assembly with everything around it."""

    config: TrajectoryConfig = field(default_factory=TrajectoryConfig)
    clock: Clock = field(default_factory=Clock)
    table: MetricTable = field(default_factory=MetricTable)
    told: Told = field(default_factory=Told)

    def __post_init__(self) -> None:
        """Make the assembly."""
        self._host = host("trajectory", self.clock, self.table)  # type: ignore[arg-type]
        self.assembly = Assembly(self.config, self._host, self.told, None)  # type: ignore[arg-type]

    def take(self, *records: Record) -> None:
        """Give spans, as one request."""
        self.assembly.take(records)
        self.settle()

    def wait(self, seconds: float) -> None:
        """Let time pass and do what is due then."""
        self.clock.now_s += seconds
        self.settle()

    def settle(self) -> None:
        """Do all that is due now."""
        while True:
            wait_s = self.assembly.turn()
            while self.assembly.large:
                group, reason = self.assembly.large.popleft()
                snapshot = self.assembly.snapshot(group, reason)
                self.assembly.publish(group, reason, snapshot, compose(snapshot))
            if wait_s != 0:
                return

    def reload(self) -> None:
        """Let another assembly go on, as a reload does."""
        before, self.assembly = self.assembly, Assembly(self.config, self._host, self.told, None)  # type: ignore[arg-type]
        deque(self.assembly.restore(before.give_up()), maxlen=0)
        self.settle()

    def end(self) -> None:
        """Close everything, as the end of the process does."""
        self.assembly.close_all()
        self.settle()

    @property
    def documents(self) -> list[Document]:
        """Return the run documents that were told, oldest first."""
        return documents_of(self.told.records)

    @property
    def final(self) -> dict[str, Document]:
        """Return the last revision of each run by its id, without those that became part of another."""
        runs: dict[str, Document] = {}
        for record in self.told.records:
            said = {pair.key: pair.value.string_value for pair in record.attributes}
            if record.event_name == "spanledger.run.closed":
                runs[said["spanledger.run.id"]] = json.loads(record.body.string_value)
            elif record.event_name == "spanledger.run.replaced":
                del runs[said["spanledger.run.id"]]
        return runs

    def count(self, name: str, *labels: str) -> float:
        """Return the sum of a counter, gauge or histogram over the series whose first label values are these."""
        return total(self.table, name, *labels)


def documents_of(records: Iterable[LogRecord]) -> list[Document]:
    """Return the run documents among some log records."""
    return [json.loads(one.body.string_value) for one in records if one.event_name == "spanledger.run.closed"]


def total(table: MetricTable, name: str, *labels: str) -> float:
    """Return the sum of a counter, gauge or histogram over the series whose first label values are these."""
    (family,) = (family for family in table.families() if family.metric.name == name)
    cells = family._cells.items()
    return sum(sum(getattr(cell, "counts", (cell.value,))) for key, cell in cells if key[: len(labels)] == labels)


def trace(number: int) -> bytes:
    """Return a trace id."""
    return number.to_bytes(16, "big")


def span_id(number: int) -> bytes:
    """Return a span id."""
    return number.to_bytes(8, "big")


def step(number: int, parent: int = 0, trace_number: int = 1, **changes: Any) -> Step:
    """Return a model call with ids from numbers, one second after the other; changes as in `tests.steps.call`."""
    facts: dict[str, Any] = {
        "trace_id": trace(trace_number),
        "span_id": span_id(number),
        "parent_span_id": span_id(parent) if parent else b"",
        "start_ns": START_NS + number * 10**9,
        "end_ns": START_NS + number * 10**9 + 5 * 10**8,
        "service_name": "shop",
    }
    if changes.get("kind", "llm") != "llm":
        facts.update(usage=None, cost=None, model="", provider="", operation="")
    return call(**{**facts, **changes})


def agent(number: int, parent: int = 0, trace_number: int = 1, spans: int = 100, **changes: Any) -> Step:
    """Return an agent's span that lasts as long as `spans` steps."""
    facts = {"kind": "agent", "operation": "invoke_agent", "end_ns": START_NS + (number + spans) * 10**9}
    return step(number, parent, trace_number, **{**facts, **changes})


def tool(number: int, parent: int = 0, trace_number: int = 1, **changes: Any) -> Step:
    """Return a tool call."""
    return step(
        number, parent, trace_number, **{"kind": "tool", "operation": "execute_tool", "tool_name": "search", **changes}
    )


def bridge(number: int, parent: int = 0, trace_number: int = 1, **changes: Any) -> Bridge:
    """Return a span that is no GenAI work."""
    made = Bridge(
        trace(trace_number),
        span_id(number),
        span_id(parent) if parent else b"",
        1,
        START_NS + number * 10**9,
        START_NS + number * 10**9 + 10**9,
        "GET /",
        "shop",
    )
    return replace(made, **changes)


def run(trace_number: int = 1, first: int = 1) -> list[Record]:
    """Return an agent with two model calls and a tool between them, children first."""
    return [
        step(first + 1, first, trace_number),
        tool(first + 2, first, trace_number),
        step(first + 3, first, trace_number, cost=Cost("priced", total=1_000_000_000)),
        agent(first, 0, trace_number),
    ]


def says(record: Step, **facts: Any) -> Step:
    """Return the same step with facts in its detail."""
    return replace(record, detail=replace(record.detail or Detail(), **facts))


def spans_of(documents: Iterable[Document]) -> list[tuple[str, str]]:
    """Return (trace id, span id) of all steps of some documents, sorted, other reports of the same work included."""
    return sorted(
        (one["trace_id"], span)
        for document in documents
        for one in document["steps"]
        for span in (one["span_id"], *one["twins"])
        if span  # a tool may have none
    )

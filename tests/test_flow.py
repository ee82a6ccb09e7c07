"""One request from its bytes to its sinks, without sockets: the twelve steps in miniature."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Generator
from typing import Any

import pytest

from spanledger.conventions.reading import Cost, Reading
from spanledger.conventions.usage import Usage
from spanledger.processor.batch import Batch, decode, finish
from spanledger.processor.component import Passive, Refused
from spanledger.service.flow import Intake, Pipeline, Stage
from tests.fakes import Clock, FakeSink, request, span


class Naming(Passive):
    """A processor that reads every span named `chat` and renames it."""

    def process(self, batch: Batch) -> Generator[None, None, None]:
        """Fill in a reading, edit the span."""
        for group in batch.groups:
            for index, item in enumerate(group.items):
                if item.name == "chat":
                    group.readings[index] = Reading(
                        "otel", "llm", "chat", "openai", "gpt-4o", usage=Usage(10, 2), cost=Cost("priced", total=5)
                    )
                    item.name = "chat gpt-4o"
                    group.changed.add(index)
                yield


class Refusing(Passive):
    """A processor that takes nothing."""

    def process(self, batch: Batch) -> None:
        """Refuse."""
        raise Refused("no")


def stage(processor: Any, passed: list[int] | None = None) -> Stage:
    """Return a stage that notes how many items went in and came out."""
    counted = [] if passed is None else passed
    return Stage(processor, counted.append, counted.append)


def intake(*pipelines: Pipeline) -> Intake:
    """Return an intake on a clock that stands still."""
    return Intake(pipelines, deque(maxlen=10), Clock().monotonic)


def batch_of(*names: str) -> Batch:
    """Return a decoded request of spans with these names."""
    spans = [span(number, name=name) for number, name in enumerate(names, 1)]
    return finish(decode("traces", request(*spans).SerializeToString(), 7))


async def test_request_is_processed_serialised_once_and_given_to_every_sink() -> None:
    """Both sinks get the very same delivery."""
    first, second = FakeSink(), FakeSink()

    await intake(Pipeline("traces", "traces", (stage(Naming()),), (first, second)))(batch_of("chat", "GET /"))

    assert first.taken[0] is second.taken[0]
    delivery = first.taken[0]
    assert (delivery.items, delivery.received_ns) == (2, 7)
    assert [(step.kind, step.model, step.usage) for step in delivery.steps] == [("llm", "gpt-4o", Usage(10, 2))]
    assert [bridge.span_id[-1] for bridge in delivery.bridges] == [2]
    names = [item.name for item in finish(decode("traces", delivery.data, 0)).groups[0].items]
    assert names == ["chat gpt-4o", "GET /"]


async def test_no_sink_takes_anything_when_one_has_no_room() -> None:
    """All or nothing, over all pipelines."""
    roomy, full, other = FakeSink(), FakeSink(room=0), FakeSink()
    take = intake(Pipeline("traces", "traces", (), (other,)), Pipeline("traces/2", "traces", (), (roomy, full)))

    with pytest.raises(Refused, match="full"):
        await take(batch_of("chat"))

    for sink in (roomy, full, other):
        assert (sink.reserved, sink.taken) == (0, [])


async def test_refusing_processor_keeps_the_request_from_every_pipeline() -> None:
    """Nothing was reserved before."""
    sink = FakeSink()
    take = intake(
        Pipeline("traces", "traces", (), (sink,)), Pipeline("traces/2", "traces", (stage(Refusing()),), (sink,))
    )

    with pytest.raises(Refused):
        await take(batch_of("chat"))

    assert sink.taken == []


async def test_pipelines_do_not_see_each_others_edits() -> None:
    """Each pipeline after the first reads the request anew."""
    named, plain = FakeSink(), FakeSink()
    await intake(
        Pipeline("traces", "traces", (stage(Naming()),), (named,)), Pipeline("traces/raw", "traces", (), (plain,))
    )(batch_of("chat"))

    names = [
        [item.name for item in finish(decode("traces", sink.taken[0].data, 0)).groups[0].items]
        for sink in (named, plain)
    ]
    assert names == [["chat gpt-4o"], ["chat"]]


async def test_empty_request_is_accepted_and_goes_nowhere() -> None:
    """As in the Collector."""
    sink = FakeSink(room=0)

    await intake(Pipeline("traces", "traces", (), (sink,)))(batch_of())

    assert sink.taken == []


async def test_recent_steps_are_kept_for_the_pages() -> None:
    """And only so many."""
    take = intake(Pipeline("traces", "traces", (stage(Naming()),), (FakeSink(),)))
    for _ in range(12):
        await take(batch_of("chat"))

    assert len(take.recent) == 10


async def test_connectors_begin_when_the_answer_is_on_its_way() -> None:
    """What they do is no part of the promise; but the loop hears of nothing new before they have begun."""
    exporter, connector = FakeSink(), FakeSink()
    take = intake(Pipeline("traces", "traces", (), (exporter,), connectors=(connector,)))

    await take(batch_of("chat"))
    at_the_answer = len(exporter.taken), len(connector.taken), connector.reserved
    await asyncio.sleep(0)

    assert at_the_answer == (1, 0, 1)
    assert connector.taken == exporter.taken


async def test_a_connector_without_room_refuses_the_request() -> None:
    """It is asked before the answer, and the exporters keep nothing."""
    exporter, connector = FakeSink(), FakeSink(room=0)
    take = intake(Pipeline("traces", "traces", (), (exporter,), connectors=(connector,)))

    with pytest.raises(Refused, match="full"):
        await take(batch_of("chat"))
    await asyncio.sleep(0)

    assert (exporter.reserved, exporter.taken, connector.taken) == (0, [], [])

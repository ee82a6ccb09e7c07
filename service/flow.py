"""The way of one request: prepare it in each pipeline, reserve room everywhere, then commit everywhere.

A request is acknowledged when every exporter of every pipeline took it, and refused when one of them, or a connector,
has no room or no disk. Between the first `reserve` and the last `commit` only the writing to disk awaits, where
a queue has a `storage`; the commits themselves are made at once, so that nobody sees half a delivery. What connectors
make of it is no part of the promise: they begin when the answer is on its way.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from spanledger.conventions.step import make_bridge, make_step
from spanledger.processor.batch import PAUSE_EVERY, Delivery, decode
from spanledger.processor.turns import Turns, Working

if TYPE_CHECKING:
    from collections.abc import Coroutine, Generator

    from spanledger.conventions.step import Bridge, Step
    from spanledger.conventions.trajectory import Judgement
    from spanledger.processor.batch import Batch, Signal
    from spanledger.processor.component import Durable, Processor, Sink, Trajectories

log = logging.getLogger("spanledger.service")

SLICE_S = 0.002
"""Seconds of work on one request before other requests get their turn."""


@dataclass(frozen=True, slots=True)
class Stage:
    """A processor in its pipeline, with the counters of what goes in and what comes out."""

    processor: Processor
    incoming: Callable[[int], None]
    outgoing: Callable[[int], None]


@dataclass(frozen=True, slots=True)
class Pipeline:
    """A configured pipeline with its running components."""

    name: str
    signal: Signal
    stages: tuple[Stage, ...]
    sinks: tuple[Sink, ...]
    """What answers for a request: it is acknowledged when each of them has taken it."""
    trajectories: Trajectories | None = None
    """The sink that wants more on each step, if there is one."""
    durable: tuple[Durable, ...] = ()
    """Those of the sinks that write to disk before a request is acknowledged."""
    connectors: tuple[Sink, ...] = ()
    """What makes numbers and runs of a request; they are asked for room as well, and begin when it is answered."""


@dataclass(slots=True)
class Intake:
    """Where a receiver puts the batches of one signal: the `Consume` of the component contract."""

    pipelines: Sequence[Pipeline]
    recent: deque[Step] = field(default_factory=lambda: deque(maxlen=256))
    """The last steps, for the diagnostic pages."""
    monotonic: Callable[[], float] = time.monotonic
    working: Working = field(default_factory=Working)

    async def __call__(self, batch: Batch) -> None:
        """Take `batch` into every pipeline, or raise and leave no trace of it."""
        prepared: list[tuple[Delivery, Pipeline]] = []
        turns = Turns(SLICE_S, self.monotonic, self.working, len(batch.wire))
        for number, pipeline in enumerate(self.pipelines):
            # Processors edit in place, so each pipeline after the first reads the request anew.
            own = await turns.run(decode(batch.signal, batch.wire, batch.received_ns)) if number else batch
            prepared.append((await prepare(pipeline, own, turns), pipeline))
        await transfer([(delivery, pipeline) for delivery, pipeline in prepared if delivery.items])
        self.recent.extend(prepared[0][0].steps)


async def prepare(pipeline: Pipeline, batch: Batch, turns: Turns) -> Delivery:
    """Run the processors and serialise once. Raises what a processor raises."""
    for stage in pipeline.stages:
        stage.incoming(batch.items())
        work = stage.processor.process(batch)
        if work is not None:
            await turns.run(work)
        stage.outgoing(batch.items())
    return await turns.run(deliver(batch, pipeline.trajectories))


def deliver(batch: Batch, trajectories: Trajectories | None = None) -> Generator[None, None, Delivery]:
    """Freeze a processed batch: its steps and bridges, and its bytes."""
    steps: list[Step] = []
    bridges: list[Bridge] = []
    judgements: list[Judgement] = []
    for group in batch.work:
        resource = group.resource
        for count, (span, reading) in enumerate(zip(group.items, group.readings, strict=True), 1):
            if reading is not None:
                detail = trajectories.detail(span, reading, resource) if trajectories is not None else None
                steps.append(
                    make_step(span, resource.service_name, reading, resource.attributes, detail, group.scope.name)
                )
            elif span is not None:
                bridges.append(make_bridge(span, resource.service_name))
                if trajectories is not None and batch.signal == "traces":
                    judgements += trajectories.judgements(span, group.keys.get(count - 1))
            if count % PAUSE_EVERY == 0:
                yield
    if batch.signal == "traces" and trajectories is not None:
        yield from trajectories.annotate(batch, steps, bridges)
    resources = len(batch.outline.resources)
    data = yield from batch.serialize()
    return Delivery(
        batch.signal, data, batch.items(), batch.received_ns, tuple(steps), tuple(bridges), resources,
        tuple(judgements),
    )  # fmt: skip


async def transfer(prepared: Sequence[tuple[Delivery, Pipeline]]) -> None:
    """Reserve room in every sink, write what is to be on disk, then commit to all; on the first refusal undo it."""
    reserved: list[tuple[Delivery, Sink]] = []
    try:
        for delivery, pipeline in prepared:
            for sink in (*pipeline.sinks, *pipeline.connectors):
                sink.reserve(delivery)
                reserved.append((delivery, sink))
        await _keep([sink.keep(delivery) for delivery, pipeline in prepared for sink in pipeline.durable])
    except BaseException:
        for delivery, sink in reserved:
            sink.release(delivery)
        raise
    for delivery, pipeline in prepared:
        for sink in pipeline.sinks:
            _commit(sink, delivery)
        for connector in pipeline.connectors:
            # The loop comes to it when the answer is on its way, and before it hears of anything new: whoever has been
            # answered and asks for numbers gets those of his request.
            asyncio.get_running_loop().call_soon(_commit, connector, delivery)


def _commit(sink: Sink, delivery: Delivery) -> None:
    try:
        sink.commit(delivery)
    except Exception:
        # A fault of ours. The others have taken the request, so it is acknowledged all the same.
        log.exception("%s failed to take a request of %d items", type(sink).__name__, delivery.items)


async def _keep(writing: Sequence[Coroutine[Any, Any, None]]) -> None:
    """Wait until all is written; raise the first failure when none is under way any more."""
    if writing:
        for outcome in await asyncio.gather(*writing, return_exceptions=True):
            if isinstance(outcome, BaseException):
                raise outcome

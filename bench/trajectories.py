"""What runs cost while they are open: memory by step, time by span, and how long the event loop is held up.

    python bench/trajectories.py [memory|time|open|stalls|all] [--runs N]

The spans are OTLP requests with the content of a small tool-using agent, and go through the normaliser, the
pricing and `trajectory` as in the default configuration. `memory` counts what is freed with the store, and
compares it with the store's own estimate. `--no-content` leaves prompts, answers and arguments out.
"""

from __future__ import annotations

import asyncio
import gc
import json
import sys
import time
import tracemalloc
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from spanledger.conventions.values import Value, key_value
from spanledger.processor.batch import Batch, decode
from spanledger.processor.genai_normalizer import GenaiNormalizer, GenaiNormalizerConfig
from spanledger.processor.genai_pricing import GenaiPricing, GenaiPricingConfig
from spanledger.processor.metric_store import MetricTable
from spanledger.processor.trajectory.config import TrajectoryConfig
from spanledger.processor.trajectory.connector import Trajectory
from spanledger.processor.trajectory.store import Store
from spanledger.processor.turns import paced
from spanledger.service.flow import SLICE_S, Intake, Pipeline, Stage
from spanledger.service.garbage import settle
from tests.fakes import host

TRACED = 5_000
"""Runs up to which memory is traced, which is exact and slow."""
START_NS = 1_700_000_000 * 10**9
CONTENT = {
    "gen_ai.input.messages", "gen_ai.output.messages", "gen_ai.tool.call.arguments", "gen_ai.tool.call.result",
}  # fmt: skip
WORDS = (
    "the",
    "weather",
    "in",
    "Paris",
    "tomorrow",
    "is",
    "mild",
    "with",
    "some",
    "rain",
    "and",
    "wind",
    "from",
    "west",
)


@dataclass
class Clock:
    """The real one, with time that can be skipped."""

    skipped_s: float = 0.0

    def monotonic(self) -> float:
        """Return seconds."""
        return time.monotonic() + self.skipped_s

    def time_ns(self) -> int:
        """Return nanoseconds since the epoch."""
        return time.time_ns() + int(self.skipped_s * 1e9)


def said(run: int, number: int, words: int) -> str:
    """Return some text that is not that of other runs."""
    return " ".join(f"{WORDS[(run + i) % len(WORDS)]}{(run * number + i) % 97}" for i in range(words))


def a_span(run: int, number: int, kind: str) -> Span:
    """Return a step of an agent: a model call or a tool call."""
    if kind == "agent":
        facts: dict[str, Value] = {"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": "planner"}
    elif kind == "tool":
        facts = {
            "gen_ai.operation.name": "execute_tool",
            "gen_ai.tool.name": "get_weather",
            "gen_ai.tool.call.id": f"call_{run:08x}{number:04x}",
            "gen_ai.agent.name": "planner",
            "gen_ai.tool.call.arguments": json.dumps({"city": "Paris", "day": number, "run": run}),
            "gen_ai.tool.call.result": said(run, number, 60),
        }
    else:
        message = {"role": "user", "parts": [{"type": "text", "content": said(run, number, 80)}]}
        call = {"type": "tool_call", "id": f"call_{run:08x}{number + 1:04x}", "name": "get_weather", "arguments": {}}
        answer = {"role": "assistant", "parts": [{"type": "text", "content": said(run, number, 40)}, call]}
        facts = {
            "gen_ai.operation.name": "chat",
            "gen_ai.provider.name": "openai",
            "gen_ai.request.model": "gpt-4o",
            "gen_ai.response.model": "gpt-4o-2024-08-06",
            "gen_ai.response.id": f"chatcmpl-{run:08x}{number:08x}",
            "gen_ai.agent.name": "planner",
            "gen_ai.conversation.id": f"conversation-{run}",
            "gen_ai.usage.input_tokens": 800 + number,
            "gen_ai.usage.output_tokens": 90,
            "gen_ai.usage.cache_read.input_tokens": 512,
            "gen_ai.input.messages": json.dumps([message]),
            "gen_ai.output.messages": json.dumps([answer]),
        }
    span = Span(
        trace_id=(run + 1).to_bytes(16, "big"),
        span_id=(number + 1).to_bytes(8, "big"),
        parent_span_id=(1).to_bytes(8, "big") if number else b"",
        name={"agent": "invoke_agent planner", "tool": "execute_tool get_weather", "llm": "chat gpt-4o"}[kind],
        start_time_unix_nano=START_NS + number * 10**9,
        end_time_unix_nano=START_NS + (number * 10**9 + 5 * 10**8 if number else 10**13),
    )
    content = "--no-content" not in sys.argv
    span.attributes.extend(key_value(key, value) for key, value in facts.items() if content or key not in CONTENT)
    return span


def requests(runs: range, steps: range, size: int = 512) -> Iterator[bytes]:
    """Yield requests of `size` spans with these steps of these runs; step 0 is the root."""
    spans = (
        a_span(run, number, "agent" if not number else "tool" if number % 2 == 0 else "llm")
        for run in runs
        for number in steps
    )
    while True:
        request = ExportTraceServiceRequest()
        group = request.resource_spans.add()
        group.resource.attributes.append(key_value("service.name", "trip"))
        scope = group.scope_spans.add()
        scope.scope.name = "opentelemetry.instrumentation.openai"
        for span in spans:
            scope.spans.append(span)
            if len(scope.spans) == size:
                break
        if not scope.spans:
            return
        yield request.SerializeToString()


@dataclass
class Bed:
    """The pipeline."""

    connector: Trajectory
    intake: Intake
    clock: Clock
    documents: list[int]

    async def send(self, wire: bytes) -> None:
        """Take one request."""
        await self.intake(await paced(decode("traces", wire, time.time_ns()), SLICE_S, time.monotonic))


async def bed(**config: object) -> Bed:
    """Return a pipeline as the default configuration has it."""
    clock, table = Clock(), MetricTable()
    surroundings = {"clock": clock, "numbers": table}
    connector = Trajectory(
        TrajectoryConfig.model_validate({"idle_timeout": "1h", **config}),
        host("trajectory", **surroundings),  # type: ignore[arg-type]
    )
    processors = (
        GenaiNormalizer(GenaiNormalizerConfig(), host("genai_normalizer", **surroundings)),  # type: ignore[arg-type]
        GenaiPricing(GenaiPricingConfig(), host("genai_pricing", **surroundings)),  # type: ignore[arg-type]
    )
    for component in (*processors, connector):
        await component.start()
    settle()  # as the service does
    stages = tuple(Stage(one, lambda _n: None, lambda _n: None) for one in processors)
    pipeline = Pipeline("traces", "traces", stages, (connector,), connector)
    documents: list[int] = []

    async def consume(batch: Batch) -> None:
        records = [record for group in batch.groups for record in group.items]
        documents.extend(1 for record in records if record is None or record.event_name == "spanledger.run.closed")

    connector.consumers = {"logs": consume}
    return Bed(connector, Intake((pipeline,), deque(maxlen=1)), clock, documents)


async def memory(runs: int) -> None:
    """Keep many runs open, with four steps each and no root yet."""
    steps = range(1, 5)
    one = await bed(memory={"max_runs": 2 * runs, "limit_mib": 65536})
    traced = runs <= TRACED
    gc.collect()
    if traced:
        tracemalloc.start()
    before = resident()
    for wire in requests(range(runs), steps):
        await one.send(wire)
    while one.connector.assembly.waiting_spans:  # noqa: ASYNC110
        await asyncio.sleep(0)
    store = one.connector.assembly.store
    estimate, opened = store.size_bytes, store.open_groups
    gc.collect()
    measured = resident() - before
    if traced:
        with_store, _ = tracemalloc.get_traced_memory()
        one.connector.assembly.store = store = Store(TrajectoryConfig())
        gc.collect()
        measured = with_store - tracemalloc.get_traced_memory()[0]
        tracemalloc.stop()
    count = runs * len(steps)
    how = "freed with the store" if traced else "growth of the process"
    size = f"{measured / 2**20:.0f} MiB, {measured / count:.0f} bytes a step"
    print(f"{opened} open runs of {len(steps)} steps: {size} ({how})")
    print(f"the store's estimate: {estimate / 2**20:.0f} MiB, {estimate / count:.0f} bytes a step")
    started = time.thread_time()
    gc.collect()
    print(f"a full garbage collection takes {(time.thread_time() - started) * 1e3:.0f} ms")


def resident() -> int:
    """Return the resident memory of this process in bytes."""
    with open("/proc/self/statm") as statm:  # noqa: PTH123
        return int(statm.read().split()[1]) * 4096


def timed_parts(connector: Trajectory) -> dict[str, float]:
    """Return what grows by the CPU seconds that each part of the connector takes."""
    parts = {"annotate": 0.0, "commit": 0.0, "turn": 0.0, "detail": 0.0}

    def timed(part: str, work: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: object) -> Any:
            started = time.thread_time()
            result = work(*args)
            parts[part] += time.thread_time() - started
            return result

        return call

    def timed_steps(part: str, work: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: object) -> Any:
            steps = work(*args)
            step = timed(part, lambda: next(steps, steps))
            while step() is not steps:
                yield

        return call

    for part in ("commit", "detail"):
        setattr(connector, part, timed(part, getattr(connector, part)))
    connector.annotate = timed_steps("annotate", connector.annotate)  # type: ignore[method-assign]
    connector.assembly.turn = timed("turn", connector.assembly.turn)  # type: ignore[method-assign]
    return parts


async def speed(runs: int) -> None:
    """Time each part of what a span costs, runs opening and closing all the time."""
    one = await bed(settle="1s")
    wires = list(requests(range(runs), range(9)))
    spans = runs * 9
    parts = timed_parts(one.connector)
    started = time.thread_time()
    for wire in wires:
        await one.send(wire)
        one.clock.skipped_s += 0.2
        await asyncio.sleep(0)
    one.clock.skipped_s += 100
    await one.connector.shutdown(one.clock.monotonic() + 60)
    took = time.thread_time() - started
    print(
        f"{spans} spans in {len(wires)} requests, {len(one.documents)} runs: {took / spans * 1e6:.0f} us a span in all"
    )
    print(", ".join(f"{part} {seconds / spans * 1e6:.1f} us" for part, seconds in parts.items()), "a span")


async def arriving(name: str, size: int, wires: Iterator[bytes], **config: object) -> None:
    """Time each part of what a span costs while runs are open, requests coming a few at a time."""
    one = await bed(**config)
    parts, spans = timed_parts(one.connector), 0
    for wire in wires:
        await one.send(wire)
        spans += size
        one.clock.skipped_s += 0.03
        await asyncio.sleep(0)
    print(f"{name}:", ", ".join(f"{part} {spent / spans * 1e6:.1f} us" for part, spent in parts.items()), "a span")


async def stalls(size: int) -> None:
    """Close a run of many steps while a task looks at how late the loop is."""
    one = await bed(settle="1s", memory={"max_spans_per_run": size + 10})
    worst = {"": 0.0}
    phase = [""]

    async def watch() -> None:
        while True:
            started = time.perf_counter()
            await asyncio.sleep(0.001)
            late = time.perf_counter() - started - 0.001
            worst[phase[0]] = max(worst.get(phase[0], 0.0), late)

    spans, root, other = (list(requests(*which)) for which in (
        (range(1), range(1, size)), (range(1), range(1)), (range(1, 2), range(1)),
    ))  # fmt: skip
    watcher = asyncio.create_task(watch())
    await asyncio.sleep(0.05)
    phase[0] = "taking the spans"
    for wire in spans:
        await one.send(wire)
        await asyncio.sleep(0.002)
    phase[0] = "taking the root"
    for wire in root:
        await one.send(wire)
    await asyncio.sleep(0.05)
    phase[0] = "closing"
    one.clock.skipped_s += 10
    started = time.perf_counter()
    await one.send(other[0])  # anything wakes it
    while not one.documents:  # noqa: ASYNC110
        await asyncio.sleep(0.002)
    took = time.perf_counter() - started
    await asyncio.sleep(0.05)
    watcher.cancel()
    await one.connector.shutdown(one.clock.monotonic() + 60)
    print(f"a run of {size} steps: document after {took * 1e3:.0f} ms; the loop was late by at most")
    for name, late in worst.items():
        print(f"    {late * 1e3:.1f} ms while {name or 'idle'}")


def main() -> None:
    what = next((word for word in sys.argv[1:] if not word.startswith("-")), "all")
    runs = int(sys.argv[sys.argv.index("--runs") + 1]) if "--runs" in sys.argv else 20_000
    if what in ("memory", "all"):
        asyncio.run(memory(runs))
    if what in ("time", "all"):
        asyncio.run(speed(min(runs, 2_000)))
    if what in ("open", "all"):
        long = requests(range(1), range(1, 5_001), 50)
        asyncio.run(arriving("one run of 5,000 steps", 50, long, memory={"max_spans_per_run": 6_000}))
        many = (wire for number in range(1, 5) for wire in requests(range(10_000), range(number, number + 1), 64))
        asyncio.run(arriving("10,000 runs of 4 steps", 64, many))
    if what in ("stalls", "all"):
        asyncio.run(stalls(5_000))


if __name__ == "__main__":
    main()

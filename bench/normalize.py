"""What each stage of the hot path costs per GenAI span, on the captures that the tests have.

    python bench/normalize.py [FOLDER] [--spans N] [--rounds N] [--profile STAGE]

The spans are the GenAI spans of every stack below FOLDER (tests/fixtures/corpus): archives of captures, or files
`*.traces.binpb[.gz]`. N of them make a request. Each stage is the component of the default pipeline; `content` is
what converting prompts and answers adds to `normalise`, `unremembered` is `normalise` where no decision is used
again. Every round has other ids, times, token counts and contents. Times are CPU time of this process, the
shortest of some rounds.
"""

from __future__ import annotations

import argparse
import asyncio
import cProfile
import gc
import pstats
import re
import time
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Final, TypeVar

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans

from bench.corpus import CORPUS, captures, requests_of
from spanledger.conventions.decision import PASSED
from spanledger.conventions.dialect import COST, TIME_TO_FIRST_CHUNK
from spanledger.conventions.dialects import DIALECTS
from spanledger.conventions.lookup import Lookup
from spanledger.conventions.profile import LATEST
from spanledger.conventions.reader import Reader
from spanledger.conventions.step import make_step
from spanledger.processor.batch import Batch, Delivery, decode, finish
from spanledger.processor.genai_metrics import GenAIMetrics, GenAIMetricsConfig
from spanledger.processor.genai_normalizer import GenaiNormalizer, GenaiNormalizerConfig
from spanledger.processor.genai_pricing import GenaiPricing, GenaiPricingConfig
from spanledger.processor.metric_store import MetricTable
from spanledger.processor.trajectory.config import TrajectoryConfig
from spanledger.processor.trajectory.connector import Trajectory
from tests.fakes import host

HOUR_NS: Final = 3600 * 10**9

_T = TypeVar("_T")


def genai_spans(folder: Path) -> Iterator[tuple[ResourceSpans, ScopeSpans]]:
    """Yield each GenAI span in a scope of its own, beside the resource it belongs to."""
    reader = Reader(DIALECTS, content=False)
    for _, capture in captures(folder):
        for request in requests_of(capture):
            for resource in request.resource_spans:
                for group in resource.scope_spans:
                    for span in group.spans:
                        if reader.read(group.scope.name, group.scope.version, span) is not None:
                            yield resource, ScopeSpans(scope=group.scope, spans=[span], schema_url=group.schema_url)


def requests(folder: Path, spans: int) -> list[bytes]:
    """Return requests of `spans` GenAI spans; neighbours of the same sender and scope share their heads."""
    made: list[bytes] = []
    request, count = ExportTraceServiceRequest(), 0
    for resource, group in genai_spans(folder):
        last = request.resource_spans[-1] if request.resource_spans else None
        if last is None or last.resource != resource.resource:
            last = request.resource_spans.add(resource=resource.resource, schema_url=resource.schema_url)
        if last.scope_spans and last.scope_spans[-1].scope == group.scope:
            last.scope_spans[-1].spans.extend(group.spans)
        else:
            last.scope_spans.add().CopyFrom(group)
        count += 1
        if count == spans:
            made.append(request.SerializeToString())
            request, count = ExportTraceServiceRequest(), 0
    if count:
        made.append(request.SerializeToString())
    return made


_LOOKUP: Final = Lookup(DIALECTS, LATEST, {})
_IDS: Final = frozenset(PASSED) - {COST, TIME_TO_FIRST_CHUNK}
_ID_KEYS: Final = (".call_id", ".openai.id", "request_id", "session.id", "tool_use_id")
_COUNT: Final = re.compile(r'("(?!max)\w*(?:okens?|[cC]ount)": ?)(\d{1,9})')
_ANY_COUNT: Final = re.compile(r'("\w*": ?)(\d{1,9})')


def an_hour_later(wire: bytes, number: int) -> bytes:
    """Return a request with the calls of another hour: other traces, times, ids and counts, a space in each content.

    All counts grow alike, so that what they say of each other stays.
    """
    request = ExportTraceServiceRequest.FromString(wire)
    for span in (span for resource in request.resource_spans for group in resource.scope_spans for span in group.spans):
        span.trace_id = bytes([number]) + span.trace_id[1:]
        span.start_time_unix_nano += number * HOUR_NS
        span.end_time_unix_nano += number * HOUR_NS
        for pair in span.attributes:
            value, entry = pair.value.string_value, _LOOKUP.entry(pair.key)
            if "okens" in pair.key and "max" not in pair.key and pair.value.int_value > 0:
                pair.value.int_value *= number + 1
            if "oken" in value or ("usage" in pair.key and value[:1] == "{"):
                count = _ANY_COUNT if "usage" in pair.key.lower() else _COUNT
                value = count.sub(lambda found: f"{found[1]}{int(found[2]) * (number + 1)}", value)
                pair.value.string_value = value
            if entry.content and len(value) > 40:
                pair.value.string_value += " " * number
            elif value and (_IDS & {slot.target for slot in entry.slots} or pair.key.endswith(_ID_KEYS)):
                pair.value.string_value += str(number)
    return request.SerializeToString()


class Stopwatch:
    """CPU time by stage; one stage can be profiled."""

    def __init__(self, profiled: str | None) -> None:
        self.spent_ns: Counter[str] = Counter()
        self.profile = cProfile.Profile()
        self._profiled = profiled

    def time(self, stage: str, work: Callable[[], _T]) -> _T:
        """Do `work` and add its time to `stage`."""
        if stage == self._profiled:
            return self.profile.runcall(work)
        began = time.process_time_ns()
        done = work()
        self.spent_ns[stage] += time.process_time_ns() - began
        return done


def all_of(normalizer: GenaiNormalizer, batch: Batch) -> None:
    """Normalise a whole batch."""
    for _ in normalizer.process(batch):
        pass


class Pipeline:
    """The components of the default pipeline."""

    def __init__(self) -> None:
        self._host = host(numbers=MetricTable())  # type: ignore[arg-type]
        self._plain = GenaiNormalizer(GenaiNormalizerConfig(content=False), self._host)
        self._forgetful = GenaiNormalizer(GenaiNormalizerConfig(content=False), self._host)
        self._forgetful._reader = Reader(DIALECTS, content=False, remember=False)  # noqa: SLF001 - not for operators
        self._normalizer = GenaiNormalizer(GenaiNormalizerConfig(), self._host)
        self._trajectory = Trajectory(TrajectoryConfig(), self._host)
        self._pricing = GenaiPricing(GenaiPricingConfig(), self._host)
        self._metrics = GenAIMetrics(GenAIMetricsConfig(), self._host)

    async def start(self) -> None:
        """Load the prices."""
        await self._pricing.start()
        await self._metrics.start()

    async def shutdown(self) -> None:
        """End what was started."""
        await self._pricing.shutdown(0.0)

    def pass_through(self, wire: bytes, watch: Stopwatch) -> None:
        """Take one request all the way."""
        for stage, normalizer in (("unremembered", self._forgetful), ("normalise", self._plain)):
            batch = finish(decode("traces", wire, 0))
            watch.time(stage, partial(all_of, normalizer, batch))
        batch = watch.time("decode", lambda: finish(decode("traces", wire, 0)))
        watch.time("content", partial(all_of, self._normalizer, batch))
        watch.time("price", lambda: list(self._pricing.process(batch)))
        details = watch.time(
            "detail",
            lambda: [
                self._trajectory.detail(span, reading, group.resource)
                for group in batch.groups
                for span, reading in zip(group.items, group.readings, strict=True)
                if reading
            ],
        )
        steps = watch.time(
            "step",
            lambda: [
                make_step(span, group.resource.service_name, reading, group.resource.attributes, None)
                for group in batch.groups
                for span, reading in zip(group.items, group.readings, strict=True)
                if reading
            ],
        )
        assert len(steps) == len(details)
        data = watch.time("serialise", lambda: finish(batch.serialize()))
        watch.time("metrics", lambda: self._metrics.commit(Delivery("traces", data, len(steps), 0, tuple(steps))))


async def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", nargs="?", type=Path, default=CORPUS)
    parser.add_argument("--spans", type=int, default=64, help="GenAI spans in a request")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--profile", metavar="STAGE", help="show where the time of a stage goes")
    parser.add_argument("--lines", type=int, default=40, help="lines of the profile")
    chosen = parser.parse_args()
    recorded = requests(chosen.folder, chosen.spans)
    wires = recorded
    spans = sum(finish(decode("traces", wire, 0)).count for wire in wires)
    best: dict[str, float] = {}
    pipeline, watch = Pipeline(), Stopwatch(None)
    await pipeline.start()
    for number in range(chosen.rounds + 2):
        watch = Stopwatch(chosen.profile if number > 1 else None)
        wires = [an_hour_later(wire, number) for wire in recorded]
        gc.collect()
        gc.freeze()  # as the sidecar does once it runs
        for wire in wires:
            pipeline.pass_through(wire, watch)
        if number > 1:  # the first rounds makes everything acquainted
            for stage, spent_ns in watch.spent_ns.items():
                best[stage] = min(best.get(stage, float("inf")), spent_ns / spans / 1e3)
    await pipeline.shutdown()
    if chosen.profile:
        pstats.Stats(watch.profile).sort_stats("tottime").print_stats(chosen.lines)
        return
    best["content"] -= best["normalise"]
    print(f"{spans} GenAI spans of {sum(map(len, wires)) / spans:.0f} bytes, {len(wires)} requests; us of CPU per span")
    for stage, us in best.items():
        print(f"{stage:30}{us:8.1f}")
    print(f"{'normalise and price':30}{best['normalise'] + best['price']:8.1f}")
    print(f"{'normalise, content and price':30}{best['normalise'] + best['content'] + best['price']:8.1f}")


if __name__ == "__main__":
    asyncio.run(main())

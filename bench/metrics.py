"""How fast the metric table is, beside prometheus-client on the same machine in the same run.

    python bench/metrics.py

Prints nanoseconds per addition, and milliseconds, bytes and the longest piece of a scrape.
"""

from __future__ import annotations

import gc
import itertools
import time
from collections.abc import Callable

import prometheus_client
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics

from spanledger.conventions.metrics import AGENT, MODEL, PROVIDER, SECONDS_CALL, SERVICE, STATUS, Metric
from spanledger.exporters.prometheus.exposition import Style, render
from spanledger.processor.metric_store import MetricTable

LABELS = (SERVICE, AGENT, PROVIDER, MODEL, STATUS)
NAMES = tuple(label.name for label in LABELS)
CALLS = Metric("calls_total", "counter", "Calls.", LABELS)
SECONDS = Metric("call_seconds", "histogram", "Duration.", LABELS, "seconds", SECONDS_CALL)
TRACE_ID = bytes(range(16))


def main() -> None:
    """Measure and print."""
    prometheus_client.disable_created_metrics()
    print(f"{'one call':38}{'ours':>10}{'library':>10}{'ratio':>8}")
    labels = ("trip-agent", "planner", "openai", "gpt-4o", "ok")
    table = MetricTable((CALLS, SECONDS), 1_000_000)
    registry = prometheus_client.CollectorRegistry()
    calls, seconds = table.counter(CALLS.name), table.histogram(SECONDS.name)
    counter = prometheus_client.Counter("calls", "Calls.", NAMES, registry=registry)
    histogram = prometheus_client.Histogram("call_seconds", "Duration.", NAMES, registry=registry, buckets=SECONDS_CALL)
    exemplar = {"trace_id": TRACE_ID.hex()}
    compare("add", lambda: calls.add(labels), lambda: counter.labels(*labels).inc())
    compare(
        "add with an exemplar",
        lambda: calls.add(labels, 1, TRACE_ID),
        lambda: counter.labels(*labels).inc(1, exemplar),
    )
    compare("observe", lambda: seconds.observe(labels, 7.0), lambda: histogram.labels(*labels).observe(7.0))
    compare(
        "observe with an exemplar",
        lambda: seconds.observe(labels, 7.0, TRACE_ID),
        lambda: histogram.labels(*labels).observe(7.0, exemplar),
    )
    for services in (1_000, 100_000):
        crowded(services)
    print(f"\n{'scrape':38}{'ours':>10}{'library':>10}{'ratio':>8}{'bytes':>12}{'longest piece':>15}")
    for count in (1_000, 10_000, 100_000):
        scrape("counters", count, histograms=False)
        scrape("histograms", count, histograms=True)


def compare(what: str, ours: Callable[[], object], library: Callable[[], object]) -> None:
    """Print the time of one call of each, in nanoseconds."""
    mine, theirs = nanoseconds(ours), nanoseconds(library)
    print(f"{what:38}{mine:7.0f} ns{theirs:7.0f} ns{theirs / mine:7.1f}x")


def crowded(services: int) -> None:
    """Print the time of an addition that finds no room for a series of its own, by one service after the other."""
    calls = MetricTable((CALLS,), 10).counter(CALLS.name)
    told = itertools.cycle([(f"service-{number}", "planner", "openai", "gpt-4o", "ok") for number in range(services)])
    mine = nanoseconds(lambda: calls.add(next(told)))
    print(f"{f'add without room, {services:,} services':38}{mine:7.0f} ns")


def nanoseconds(call: Callable[[], object], times: int = 100_000) -> float:
    """Return the best of five means, in CPU time."""
    best = float("inf")
    for _ in range(5):
        start = time.process_time_ns()
        for _ in range(times):
            call()
        best = min(best, (time.process_time_ns() - start) / times)
    return best


def scrape(what: str, lines: int, *, histograms: bool) -> None:
    """Print the time of a scrape with about `lines` series, in both formats."""
    sets = lines // (len(SECONDS_CALL) + 3) if histograms else lines
    table = MetricTable((CALLS, SECONDS), 1_000_000)
    registry = prometheus_client.CollectorRegistry()
    metric = (
        prometheus_client.Histogram("call_seconds", "Duration.", NAMES, registry=registry, buckets=SECONDS_CALL)
        if histograms
        else prometheus_client.Counter("calls", "Calls.", NAMES, registry=registry)
    )
    for number in range(sets):
        labels = ("trip-agent", f"agent-{number % 50}", "openai", f"model-{number}", "ok")
        if isinstance(metric, prometheus_client.Histogram):
            table.histogram(SECONDS.name).observe(labels, number % 97)
            metric.labels(*labels).observe(number % 97)
        else:
            table.counter(CALLS.name).add(labels, number)
            metric.labels(*labels).inc(number)
    for openmetrics in (False, True):
        gc.collect()
        library = generate_openmetrics if openmetrics else prometheus_client.generate_latest
        start = time.perf_counter()
        library(registry)
        theirs = time.perf_counter() - start
        pieces, longest = [], 0.0
        begin = start = time.perf_counter()
        for piece in render(table.families(), Style(), openmetrics=openmetrics):
            pieces.append(piece.encode())
            longest = max(longest, time.perf_counter() - start)
            start = time.perf_counter()
        mine = time.perf_counter() - begin
        size = sum(map(len, pieces))
        name = f"{lines:,} {what}, {'OpenMetrics' if openmetrics else 'text'}"
        times = f"{mine * 1e3:7.1f} ms{theirs * 1e3:7.1f} ms{theirs / mine:7.1f}x"
        print(f"{name:38}{times}{size:12,}{longest * 1e3:12.2f} ms")


if __name__ == "__main__":
    main()

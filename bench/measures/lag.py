"""How late the event loop is while things happen beside the requests, at half of the load that it can take."""

from __future__ import annotations

import contextlib
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

from bench.arithmetic import corrected, percentile, waiting
from bench.bed import Bed
from bench.measures.throughput import SMALL
from bench.sides import ROOT, Place, Running, sink, spanledger
from bench.watched import EVERY_S, lateness, turns
from bench.wires import Mix
from tests.processes import http_get

PRICES: Final = "litellm.zip"
MANY: Final = Mix(
    "model calls of 500 agents", content_bytes=100, steps=4, rooted=False, connections=1, runs=500, agents=500
)
LONG: Final = Mix("a run of 5,000 steps", content_bytes=100, connections=1, runs=1, agents=1, steps=4_990)


def lag(bed: Bed) -> dict[str, Any]:
    """Measure one phase after the other on one sidecar."""
    file = bed.directory / "lateness"
    place = bed.place("lag")
    place.directory.mkdir(parents=True)
    prices = place.directory / PRICES
    shutil.copy(ROOT / "conventions" / "prices" / PRICES, prices)
    phases: dict[str, tuple[float, float]] = {}
    elsewhere = Place(bed.directory / "slow", "", bed.others)
    with (
        sink("drop", 2.0)(elsewhere) as slow,
        spanledger("spanledger-troubled", watched=file, environment={"BENCH_SLOW_SINK": slow.grpc})(place) as running,
    ):
        bed.load(running.grpc, SMALL, bed.seconds(3.0, 1.5))
        sent = bed.load(running.grpc, SMALL, bed.seconds(3.0, 1.5))
        rate = sent.requests / sent.seconds / 2
        bed.load(running.grpc, MANY, 60.0, most_requests=4)
        for name, doing in {
            "requests only, one backend slow": contextlib.nullcontext,
            "scrapes": lambda: _again(lambda: _scrape(running), 0.5),
            "a run of 5,000 steps closes": lambda: _again(lambda: _long(bed, running), 60.0),
            "the catalogue changes": lambda: _again(lambda: _rewrite(prices), 1.0),
        }.items():
            began = time.monotonic()
            with doing():
                bed.load(running.grpc, SMALL, bed.seconds(8.0, 2.5), rate=rate)
            phases[name] = began, time.monotonic()
    results: dict[str, Any] = {"requests_per_s": rate}
    for name, (began, ended) in phases.items():
        late = corrected(lateness(file, began, ended), EVERY_S)
        results[name] = {
            "p50_s": percentile(late, 0.5),
            "p99_s": percentile(late, 0.99),
            "most_s": max(late),
            "cpu_p99_s": waiting(turns(file, began, ended), ended - began, 0.99),
        }
    return results


@contextlib.contextmanager
def _again(action: Callable[[], object], every_s: float) -> Iterator[None]:
    """Do something now and each `every_s` beside the block."""
    end = threading.Event()

    def act() -> None:
        while not end.is_set():
            action()
            end.wait(every_s)

    thread = threading.Thread(target=act)
    thread.start()
    try:
        yield
    finally:
        end.set()
        thread.join()


def _scrape(running: Running) -> None:
    http_get(running.prometheus, "/metrics", timeout_s=60.0)


def _long(bed: Bed, running: Running) -> None:
    bed.load(running.grpc, LONG, 60.0, most_requests=10)


def _rewrite(prices: Path) -> None:
    """Put the same prices there as another file."""
    other = prices.with_suffix(".new")
    other.write_bytes(prices.read_bytes())
    other.replace(prices)

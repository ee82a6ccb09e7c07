"""How cost grows with open runs, series and attributes: each ten and a hundred times as many.

An exponent of 1 is linear: ten times as many cost ten times as much. What a span costs should not depend on how
many runs are open or how many series there are (0); with its attributes it may grow in proportion (1).
"""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any, Final

from bench import machine
from bench.arithmetic import exponent
from bench.bed import LATER_S, Bed
from bench.measures.throughput import MAIN, measure
from bench.sides import Running, spanledger
from bench.wires import Mix
from tests.processes import http_get

OPEN: Final = Mix("open runs of four steps", content_bytes=600, runs=500, steps=4, rooted=False, connections=1)
STEPS: Final = OPEN.steps
AGENTS: Final = Mix("model calls of many agents", content_bytes=100, steps=4, rooted=False, connections=1)
PROBE: Final = replace(MAIN, name="what a span costs", connections=4)
FEW: Final = Mix("what a span costs, of two agents", content_bytes=600, agents=2, connections=4)
"""The corpus has thousands of series itself."""
FORMATS: Final = {
    "text": "text/plain",
    "openmetrics": "application/openmetrics-text; version=1.0.0",
}


def open_runs(bed: Bed) -> dict[str, Any]:
    """Keep more and more runs open."""
    counts = (100, 2_000) if bed.quick else (500, 5_000, 50_000)
    rows: list[dict[str, Any]] = []
    with spanledger()(bed.place("open-runs")) as running:
        _acquaint(bed, running)
        opened = 0
        for count in counts:
            # What the spans of the last measurement left behind is not counted.
            before, earlier = machine.resident_bytes(running.pid), opened
            added = replace(OPEN, runs=min(OPEN.runs, count - opened))
            while opened < count:
                requests = -(-added.runs * STEPS // OPEN.spans)
                sent = bed.load(running.grpc, added, 600.0, most_requests=requests)
                opened += sent.spans // STEPS
                if not sent.spans:
                    raise RuntimeError(f"open runs are refused: {sent.errors}")
            machine.quiet(running.pid, LATER_S, 120.0)
            grown = machine.resident_bytes(running.pid) - before
            rows.append(
                {
                    "open_runs": opened,
                    "bytes_per_thousand_runs": grown / (opened - earlier) * 1000,
                    "bytes_per_open_step": grown / (opened - earlier) / STEPS,
                    **_cost(bed, running),
                }
            )
    return {"rows": rows, "exponent": _exponent(rows, "open_runs")}


def series(bed: Bed) -> dict[str, Any]:
    """Have more and more series, and scrape them."""
    wanted = (1_000, 5_000) if bed.quick else (1_000, 10_000, 100_000)
    rows: list[dict[str, Any]] = []
    with spanledger()(bed.place("series")) as running:
        bed.load(running.grpc, FEW, bed.seconds(4.0, 1.5))
        few = _lines(running)
        _agents(bed, running, FEW.agents + 1)
        each = _lines(running) - few
        for count in wanted:
            _agents(bed, running, FEW.agents + max(1, round((count - few) / each)))
            scrapes = {name: _scrape(running, accept) for name, accept in FORMATS.items()}
            rows.append({"series": _lines(running), **scrapes, **_cost(bed, running, FEW)})
    return {
        "rows": rows,
        "exponent": _exponent(rows, "series"),
        "scrape_exponent": exponent([row["series"] for row in rows], [row["text"]["seconds"] for row in rows]),
    }


def attributes(bed: Bed) -> dict[str, Any]:
    """Send spans with more and more attributes."""
    rows: list[dict[str, Any]] = []
    with spanledger()(bed.place("attributes")) as running:
        _acquaint(bed, running)
        for count in (10, 100) if bed.quick else (10, 100, 1_000):
            mix = replace(PROBE, name=f"{count} more attributes", attributes=count, spans=64)
            bed.load(running.grpc, mix, 2.0)
            rows.append({"attributes": count, **_cost(bed, running, mix)})
    return {"rows": rows, "exponent": _exponent(rows, "attributes")}


def _acquaint(bed: Bed, running: Running) -> None:
    for mix in (PROBE, replace(OPEN, rooted=True, runs=100)):
        bed.load(running.grpc, mix, bed.seconds(4.0, 1.5))
    machine.quiet(running.pid, LATER_S, 60.0)


def _cost(bed: Bed, running: Running, mix: Mix = PROBE) -> dict[str, float | None]:
    """Return what a span costs now."""
    measured = measure(bed, running, mix, bed.seconds(4.0, 1.5))
    rate = measured.spans_per_cpu_s
    return {"us_per_span": 1e6 / rate if rate else None}


def _exponent(rows: list[dict[str, Any]], size: str) -> float | None:
    known = [row for row in rows if row["us_per_span"]]
    return exponent([row[size] for row in known], [row["us_per_span"] for row in known])


def _agents(bed: Bed, running: Running, count: int) -> None:
    """Send a run of each of `count` agents."""
    mix = replace(AGENTS, runs=count, agents=count)
    requests = -(-count * STEPS // mix.spans)
    bed.load(running.grpc, mix, 600.0, most_requests=requests)
    machine.quiet(running.pid, LATER_S, 60.0)


def _lines(running: Running) -> int:
    text = http_get(running.prometheus, "/metrics", FORMATS["text"], 60.0)[1]
    return sum(bool(line) and line[0] != "#" for line in text.split("\n"))


def _scrape(running: Running, accept: str) -> dict[str, float]:
    """Return the shortest of three scrapes, in CPU seconds of the sidecar and of time, and its size."""
    taken: list[tuple[float, float, int]] = []
    for _ in range(3):
        began, used = time.perf_counter(), machine.cpu_s(running.pid)
        _, text = http_get(running.prometheus, "/metrics", accept, 60.0)
        taken.append((time.perf_counter() - began, machine.cpu_s(running.pid) - used, len(text.encode())))
    seconds, cpu_s, size = min(taken)
    return {"seconds": seconds, "cpu_s": cpu_s, "bytes": size}

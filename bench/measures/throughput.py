"""Spans a second and spans for each second of CPU, side by side."""

from __future__ import annotations

import contextlib
from collections import defaultdict
from dataclasses import asdict, dataclass
from typing import Any, Final

from bench import machine
from bench.arithmetic import median
from bench.bed import LATER_S, Bed
from bench.sides import Running, Side, otelcol, phoenix, rotel, sink, spanledger
from bench.wires import Mix

MAIN: Final = Mix("corpus, 512 a request")
SMALL: Final = Mix("corpus, 10 a request", spans=10)
OTHERS: Final = (
    SMALL,
    Mix("corpus, 10 a request, 1 connection", spans=10, connections=1),
    Mix("corpus, 10 a request, 64 connections", spans=10, connections=64),
    Mix("plain calls, 512 a request", scenarios="plain"),
    Mix("streaming, 512 a request", scenarios="stream"),
    Mix("20 % GenAI, 512 a request", genai=0.2),
    Mix("prompts of 2 kB, 512 a request", content_bytes=2_000),
    Mix("prompts of 50 kB, 10 a request", content_bytes=50_000, spans=10),
)
SIDES: Final[dict[str, Side]] = {
    "bare": sink("drop"),
    "walk": sink("walk"),
    "rotel": rotel,
    "otelcol": otelcol(),
    "otelcol, redaction": otelcol("otelcol-redaction"),
    "phoenix": phoenix,
    "spanledger": spanledger(),
    "spanledger, redaction": spanledger("spanledger-redaction"),
}
COMPARED: Final = ("walk", "otelcol", "spanledger")
"""On every mix; the others only on the first."""
QUICK: Final = ("bare", "walk", "rotel", "otelcol", "spanledger")
DELIVERS: Final = {"rotel": 1, "otelcol": 2, "otelcol, redaction": 2, "spanledger": 2, "spanledger, redaction": 2}
"""How many copies of each span a side hands on."""
PHOENIX_REQUESTS: Final = 4


@dataclass(frozen=True, slots=True)
class Measured:
    """One repetition."""

    spans: int
    spans_per_s: float
    spans_per_cpu_s: float | None
    """None when it used too little CPU to be seen."""
    cpu_share: float
    """Of the time in which was sent: near 1 means that the core was the limit, not the load generator."""
    delivered: float | None
    """Share of the spans that came to the backend, None for a side that sends nothing on."""
    errors: dict[str, int]
    drained: bool
    """Whether it came to rest afterwards; if not, work is left that is not in the numbers."""


def measure(bed: Bed, running: Running, mix: Mix, seconds: float, most_requests: int = 0) -> Measured:
    """Send for some seconds and count the CPU until the side is through with it."""
    before, used = bed.counts()["spans"], machine.cpu_s(running.pid)
    sent = bed.load(running.grpc, mix, seconds, most_requests=most_requests)
    busy_s = machine.cpu_s(running.pid) - used
    drained = machine.quiet(running.pid, LATER_S if running.name in ("spanledger", "otelcol") else 0.2, 60.0)
    used_s = machine.cpu_s(running.pid) - used
    copies = DELIVERS.get(running.name)
    return Measured(
        sent.spans,
        sent.spans / sent.seconds,
        sent.spans / used_s if used_s else None,
        busy_s / sent.seconds,
        (bed.counts()["spans"] - before) / sent.spans / copies if copies and sent.spans else None,
        sent.errors,
        drained,
    )


def throughput(bed: Bed) -> dict[str, Any]:
    """Measure all sides on the main mix, taking turns, and those compared on the others."""
    results: dict[str, dict[str, list[Measured]]] = {}
    with contextlib.ExitStack() as stack:
        running: dict[str, Running] = {}
        for name, side in SIDES.items():
            if bed.quick and name not in QUICK:
                bed.missing[name] = "left out by --quick"
            elif (one := bed.start(stack, name, side)) is not None:
                running[name] = one
        mixes = (MAIN,) if bed.quick else (MAIN, *OTHERS)
        for mix in mixes:
            chosen = {name: one for name, one in running.items() if mix is MAIN or name in COMPARED}
            results[mix.name] = _turns(bed, chosen, mix)
    with contextlib.ExitStack() as stack:
        gzip = {
            name: one
            for name in ("rotel", "otelcol", "spanledger")
            if not bed.quick and (one := bed.start(stack, name, SIDES[name], "gzip")) is not None
        }
        if gzip:
            results[f"{MAIN.name}, exporters with gzip"] = _turns(bed, gzip, MAIN)
    return {
        mix: {name: {**_medians(repetitions), "repetitions": [asdict(one) for one in repetitions]}
              for name, repetitions in sides.items()}
        for mix, sides in results.items()
    }  # fmt: skip


def _turns(bed: Bed, running: dict[str, Running], mix: Mix) -> dict[str, list[Measured]]:
    """Measure each side some times, after a round in which all get to know the spans."""
    found: defaultdict[str, list[Measured]] = defaultdict(list)
    is_main = mix is MAIN and len(running) > len(COMPARED)
    repetitions = 3 if is_main and not bed.quick else 1
    for number in range(repetitions + 1):
        for name, one in running.items():
            most = PHOENIX_REQUESTS if name == "phoenix" else 0
            if number == 0 and name == "phoenix":
                continue
            measured = measure(bed, one, mix, bed.seconds(4.0 if is_main else 3.0, 1.5), most)
            if number:
                found[name].append(measured)
    return found


def _medians(repetitions: list[Measured]) -> dict[str, float | None]:
    keys = ("spans_per_s", "spans_per_cpu_s", "cpu_share", "delivered")
    return {key: median([getattr(one, key) for one in repetitions]) for key in keys}

"""How soon the sidecar is there, and what it takes up when nothing happens."""

from __future__ import annotations

from typing import Any

from bench import machine
from bench.arithmetic import median
from bench.bed import Bed
from bench.sides import Missing, Side, default, otelcol


def rest(bed: Bed) -> dict[str, Any]:
    """Start the sidecar as `spanledger run` does, and a Collector, some times each."""
    results: dict[str, Any] = {}
    for name, side in (("spanledger", default), ("otelcol", otelcol())):
        try:
            _start(bed, name, side)  # once for the bytecode, which an installed package has on disk
            started = [_start(bed, name, side) for _ in range(2 if bed.quick else 5)]
        except Missing as missing:
            bed.missing[name] = str(missing)
            continue
        results[name] = {key: median([one[key] for one in started]) for key in started[0]}
    return results


def _start(bed: Bed, name: str, side: Side) -> dict[str, float | None]:
    with side(bed.place(f"rest-{name}")) as running:
        # CPU time does not depend on what else the machine does.
        cpu_s = machine.cpu_s(running.pid)
        machine.quiet(running.pid, 1.0, 20.0)
        return {
            "start_s": running.start_s,
            "start_cpu_s": cpu_s,
            "bytes": machine.resident_bytes(running.pid),
            **machine.resident_shares(running.pid),
        }

"""What a request waits for its answer, and until it is at the backend, at half of what a side can take."""

from __future__ import annotations

import contextlib
from typing import Any, Final

from bench.arithmetic import percentile
from bench.bed import Bed
from bench.measures.throughput import MAIN, SIDES, SMALL
from bench.sides import Running
from bench.wires import Mix

SHARES: Final = {"p50_s": 0.5, "p99_s": 0.99}


def latency(bed: Bed) -> dict[str, Any]:
    """Measure the sidecar at half its load, the bare server at the same rate, and a Collector at half of its own."""
    results: dict[str, Any] = {}
    with contextlib.ExitStack() as stack:
        names = ("spanledger", "bare", "otelcol")
        running = {name: one for name in names if (one := bed.start(stack, name, SIDES[name])) is not None}
        for mix in (SMALL,) if bed.quick else (SMALL, MAIN):
            rates = {name: _half(bed, one, mix) for name, one in running.items()}
            rates["bare"] = rates["spanledger"]
            sides = {name: _wait(bed, one, mix, rates[name]) for name, one in running.items()}
            added = {key: sides["spanledger"][key] - sides["bare"][key] for key in SHARES}
            results[mix.name] = {**sides, "added": added}
    return results


def _half(bed: Bed, running: Running, mix: Mix) -> float:
    """Return half of the requests a second that a side takes, once it knows the spans."""
    bed.load(running.grpc, mix, bed.seconds(3.0, 1.5))
    sent = bed.load(running.grpc, mix, bed.seconds(3.0, 1.5))
    return sent.requests / sent.seconds / 2


def _wait(bed: Bed, running: Running, mix: Mix, rate: float) -> dict[str, Any]:
    bed.counts()
    sent = bed.load(running.grpc, mix, bed.seconds(12.0, 3.0), rate=rate)
    arrived = bed.counts()["arrived"]
    through = [arrived[span] - due for span, due in sent.due.items() if span in arrived]
    return {
        "requests_per_s": rate,
        **{key: percentile(sent.latencies_s, share) for key, share in SHARES.items()},
        # Of requests that were not put together anew, and of those that came before the last answer.
        "backend": {key: percentile(through, share) for key, share in SHARES.items()},
        "backend_requests": len(through),
        "errors": sent.errors,
    }

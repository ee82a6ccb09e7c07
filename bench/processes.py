"""Several processes on one machine: some in front that work on spans, one behind them for numbers and runs.

    python -m bench.processes [--seconds S] [--skip rate|sums] [--only LAYOUT]

Those in front normalise, price and send on, those of `bench/peers/spanledger-front.yaml`, and one of
`spanledger-behind.yaml` takes what they made of the spans. First the load is as much as they take: CPU by
span, and the spans a second that the busiest process takes when each has a core. Then the corpus is sent once, ten
spans a request, each request to the next process that takes any, so that the spans of a run come to several: what is
counted, and what the backend is told of money. Beside it one process that does everything, and two that do and share
nothing.
"""

from __future__ import annotations

import argparse
import contextlib
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import cycle
from pathlib import Path
from typing import Final

import grpc
from prometheus_client.parser import text_string_to_metric_families

from bench import machine
from bench.bed import LATER_S, Bed
from bench.measures.throughput import MAIN, SMALL
from bench.report import table
from bench.sides import Running, spanledger
from bench.sink import EXPORT, OPTIONS
from bench.wires import tag, wires
from tests.backend import Backend
from tests.processes import http_get

SUMS: Final = {
    "spanledger_llm_calls_total": "model calls",
    "spanledger_llm_cost_usd_total": "their cost, USD",
    "spanledger_llm_tokens_total": "their tokens",
    "spanledger_tool_calls_total": "tool calls",
    "spanledger_runs_total": "runs",
    "spanledger_run_cost_usd_total": "cost of runs, USD",
}
ON_SPANS: Final = "cost on spans, USD"
ROOTS: Final = "roots with a roll-up"
COST: Final = "gen_ai.usage.cost"
SETTLED_S: Final = 11.0
"""Calls whose agent never comes are counted after ten seconds (`genai_metrics::agent_wait`)."""
ROLLED_UP: Final = "spanledger.run.id"


LAYOUTS: Final = {"one": (1, False), "one in front": (1, True), "two in front": (2, True), "two apart": (2, False)}
"""How many take requests, and whether there is one behind them; if not, each does everything."""


@dataclass(frozen=True, slots=True)
class Layout:
    """Some processes: where to send, and who shows the numbers."""

    takers: tuple[Running, ...]
    behind: tuple[Running, ...]

    @property
    def all(self) -> tuple[Running, ...]:
        """Return each once."""
        return (*self.takers, *self.behind)


@contextlib.contextmanager
def layout(bed: Bed, name: str, backend: str) -> Iterator[Layout]:
    """Start the processes of one of `LAYOUTS`."""
    takers, has_behind = LAYOUTS[name]
    directory = bed.directory / f"{name.replace(' ', '-')}-{backend.rpartition(':')[2]}"
    place = replace(bed.place(""), sink=backend, core=bed.core | bed.others)
    places = [replace(place, directory=directory / str(number)) for number in range(takers)]
    with contextlib.ExitStack() as stack:
        side, behind = spanledger(), tuple[Running, ...]()
        if has_behind:
            last = replace(place, directory=directory / "behind")
            behind = (stack.enter_context(spanledger(base="spanledger-behind")(last)),)
            side = spanledger(base="spanledger-front", environment={"BENCH_BEHIND": behind[0].grpc})
        yield Layout(tuple(stack.enter_context(side(one)) for one in places), behind)


def rate(bed: Bed, name: str, seconds: float) -> Sequence[str]:
    """Return a row: CPU by span where it comes in, behind and in all, in microseconds, and what the busiest can take.

    Not by the clock: those in front answer for what waits in their queues for the one behind.
    """
    with layout(bed, name, bed.backend) as running:
        addresses = ",".join(one.grpc for one in running.takers)
        bed.load(addresses, MAIN, seconds)
        _come_to_rest(running)
        before = {one.pid: machine.cpu_s(one.pid) for one in running.all}
        sent = bed.load(addresses, MAIN, seconds)
        _come_to_rest(running)
        us = {one.pid: 1e6 * (machine.cpu_s(one.pid) - before[one.pid]) / sent.spans for one in running.all}
    behind = sum(us[one.pid] for one in running.behind)
    whole = sum(us.values())
    most = 1e6 / max(us.values())
    return [*(f"{value:.0f}" for value in (whole - behind, behind, whole)), f"{most:,.0f}"]


def sums(bed: Bed, name: str) -> Counter[str]:
    """Return what is counted of the corpus, each request sent to the next process that takes any."""
    with Backend() as backend, layout(bed, name, backend.endpoint) as running:
        channels = [grpc.insecure_channel(one.grpc, OPTIONS) for one in running.takers]
        exports: list[Callable[..., bytes]] = [channel.unary_unary(EXPORT) for channel in channels]
        for export, request in zip(cycle(exports), wires(SMALL), strict=False):
            export(request.fresh(tag(1), time.time_ns()), timeout=60.0)
        for channel in channels:
            channel.close()
        _come_to_rest(running, SETTLED_S)
        found = Counter[str]()
        for one in running.behind or running.takers:
            for family in text_string_to_metric_families(http_get(one.prometheus, "/metrics")[1]):
                for metric, _, value, *_ in family.samples:
                    if metric in SUMS:
                        found[SUMS[metric]] += value  # type: ignore[assignment]
        for span in backend.spans():  # two exporters send to it
            found[ON_SPANS] += float(span.attributes.get(COST) or 0.0) / 2  # type: ignore[assignment, arg-type]
            found[ROOTS] += (ROLLED_UP in span.attributes) / 2  # type: ignore[assignment]
    return found


def _come_to_rest(running: Layout, least_s: float = LATER_S) -> None:
    for one in running.all:
        machine.quiet(one.pid, least_s, 60.0)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m bench.processes", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=6.0, help="of each load")
    parser.add_argument("--skip", choices=("rate", "sums"))
    parser.add_argument("--only", action="append", choices=LAYOUTS)
    chosen = parser.parse_args()
    layouts = chosen.only or list(LAYOUTS)
    with tempfile.TemporaryDirectory(prefix="bench-") as directory, Bed(Path(directory), quick=True).open() as bed:
        if chosen.skip != "rate":
            rows = [(name, *rate(bed, name, chosen.seconds)) for name in layouts]
            print(
                *table(("", "us/span where it comes in", "behind", "in all", "spans/s at most"), rows),
                sep="\n",
                flush=True,
            )
        if chosen.skip != "sums":
            found = {name: sums(bed, name) for name in layouts}
            rows = [
                (what, *(f"{of[what]:,.3f}" for of in found.values())) for what in (*SUMS.values(), ON_SPANS, ROOTS)
            ]
            print("", *table(("", *found), rows), sep="\n")


if __name__ == "__main__":
    main()

"""What each memory of the sidecar takes when it has all that it may have: `python -m bench.memories`.

Each is filled to its limit with what a hostile client would send it, names of usual lengths, and measured with
tracemalloc. Memories with a limit in bytes show how their estimate compares. Prints a table for docs/reliability.md.
"""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from spanledger.conventions.call import Call, Place
from spanledger.conventions.detail import Detail
from spanledger.processor.accounts import MAX_SPANS, Accounts
from spanledger.processor.metric_store import MAX_LINES, MetricTable
from spanledger.processor.step_metrics import MAX_TOLD, ToolCalls
from spanledger.processor.trajectory.config import TrajectoryConfig
from spanledger.processor.trajectory.group import Group
from spanledger.processor.trajectory.joins import Joins
from spanledger.processor.trajectory.store import MAX_SUMMARIES, Store
from tests.assembled_runs import agent, span_id, step, tool, trace

MIB = 2**20


def counters() -> tuple[Any, str]:
    """Fill the metric table with counters, each with an exemplar."""
    table = MetricTable(max_series=MAX_LINES)
    table.tick(10**18)
    family = table.counter("spanledger_llm_retries_total")
    for number in range(MAX_LINES // 32):
        for model in range(32):
            family.add((f"service-{number}", f"agent-{number}", "openai", f"gpt-4o-{model}"), 1, trace(number))
    return table, f"{len(family):,} counters"


def histograms() -> tuple[Any, str]:
    """Fill it with histograms, an exemplar in each bucket."""
    table = MetricTable(max_series=MAX_LINES)
    table.tick(10**18)
    family = table.histogram("spanledger_run_duration_seconds")
    lines = len(family.bounds) + 3
    for number in range(MAX_LINES // lines):
        labels = (f"service-{number}", f"agent-{number}")
        for bound in (*family.bounds, family.bounds[-1] * 2):
            family.observe(labels, bound, trace(number))
    return table, f"{len(family):,} histograms of {lines} lines"


def accounts() -> tuple[Any, str]:
    """Fill the memory of reported calls: traces of eight spans, four of them model calls."""
    memory = Accounts()
    for number in range(2 * MAX_SPANS // 8):
        for each in range(8):
            response = f"response-{number}-{each}"
            call = Call(True, "openai", f"service-{number}", response, "gpt-4o", input=9, output=each)
            place = Place(trace(number), span_id(each + 1), span_id(each), 0, 10, call if each % 2 else None)
            found = memory.add(place, 0.0)
            if found is not None and each % 2:
                found[0].kept = replace(step(1, 0, number), detail=None)
        for _ in memory.changed(), memory.sums(), list(memory.outgrown(0.0)):
            pass
    for number in range(2 * MAX_SPANS):
        memory.add(Place(trace(10**6 + number // 8), span_id(number), b"", 0, 10), 0.0)
    return memory, f"{memory.statistics()['spans']:,} spans"


def tools() -> tuple[Any, str]:
    """Fill the memory of tool calls that were told."""
    memory = ToolCalls()
    for number in range(2 * MAX_TOLD):
        memory.is_new(replace(tool(1, 2, number), tool_call_id=f"call_{number:024}"), None)
    return memory, f"{MAX_TOLD:,} calls"


def indexes() -> tuple[Any, str]:
    """Fill what joins the spans of traces, every run still open. The runs themselves are counted elsewhere."""
    joins = Joins(TrajectoryConfig().stitch, 60.0, 4 * TrajectoryConfig().memory.max_runs)
    for number in range(100_000):
        group = GROUPS[number % len(GROUPS)]
        said = Detail(after=number, history=(number,))
        call = replace(step(1, 0, number), conversation_id=f"c-{number}", response_id=f"response-{number}")
        for record in (replace(call, detail=said), replace(tool(2, 1, number), tool_call_id=f"call_{number:024}")):
            list(joins.partners(record, group, 0.0))
            joins.remember(record, group)
        joins.await_trace(trace(number), group)
    return joins, f"{sum(joins.statistics().values()):,} keys, and as many that are not counted"


def runs() -> tuple[Any, str]:
    """Fill the store of runs with runs of twenty spans."""
    store = Store(TrajectoryConfig.model_validate({"memory": {"limit_mib": 16}}))
    number = 0
    while store.size_bytes < 15 * MIB:
        number += 1
        for each in range(2, 21):
            store.add(step(each, 1, number, response_id=f"response-{number}-{each}", resource={}), float(number) / 1e6)
        store.add(agent(1, 0, number), float(number) / 1e6)
    return store, f"{number:,} runs of 20 spans, {store.size_bytes / MIB:.0f} MiB by its own estimate"


def summaries() -> tuple[Any, str]:
    """Fill the memory of traces whose runs are forgotten."""
    store = Store(TrajectoryConfig())
    for number in range(MAX_SUMMARIES):
        store.was_closed(trace(number), 0.0, 0.0)
    return store, f"{MAX_SUMMARIES:,} traces"


GROUPS = [Group(number, 0.0, 0.0, (trace(number),)) for number in range(20_000)]

MEMORIES: tuple[Callable[[], tuple[Any, str]], ...] = (
    counters, histograms, accounts, tools, indexes, runs, summaries,
)  # fmt: skip


def main() -> None:
    """Measure and print."""
    print("| memory | filled with | MiB |\n|---|---|--:|")
    for fill in MEMORIES:
        gc.collect()
        tracemalloc.start()
        kept, what = fill()
        gc.collect()
        size, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        print(f"| {fill.__name__} | {what} | {size / MIB:.1f} |", flush=True)
        del kept


if __name__ == "__main__":
    main()

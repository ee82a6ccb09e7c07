"""The whole way of a request: redact, normalise, price, count, put together, show, for nearly right spans and logs."""

from __future__ import annotations

import asyncio
import re

from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse

from spanledger.exporters.prometheus.exposition import Style, render
from spanledger.processor.batch import decode, finish
from tests.fuzz import mutation
from tests.fuzz.draw import Draw
from tests.fuzz.service import Bench, bench, faults, raised_faults

_LABELS = r'\{(?:[a-zA-Z_][a-zA-Z0-9_]*="(?:[^"\\\n]|\\[\\"n])*",?)*\}'
_LINE = re.compile(
    rf"(?:# (?:HELP|TYPE|UNIT) .*|[a-zA-Z_:][a-zA-Z0-9_:]*(?:{_LABELS})? \S+(?: # {_LABELS} \S+ \S+)?)\n"
)
_PARSED = {
    "spanledger_llm_calls_total",
    "spanledger_tool_calls_total",
    "spanledger_spans_total",
    "spanledger_runs_total",
}


def fuzz(data: bytes) -> None:
    """Play up to three requests; what leaves decodes, runs read strictly, `/metrics` parses, no stage failed."""
    draw = Draw(data)
    before = faults()
    made = bench()
    with raised_faults():
        asyncio.run(_play(made, draw))
    assert faults() == before, "a stage failed on an item and passed it on"
    for delivery in made.sent.taken:
        left = finish(decode(delivery.signal, delivery.data, 0))
        assert (left.items(), left.rejected.total()) == (delivery.items, 0)
    for document in made.documents():
        assert all(value is None or value >= 0 for value in document["totals"].values()), document["totals"]
    _exposition(made)


async def _play(made: Bench, draw: Draw) -> None:
    for _ in range(1 + draw.number(3)):
        if draw.flag() and draw.flag():
            await made.take("logs", mutation.logs(draw))
        else:
            await made.take("traces", mutation.traces(draw))
        if draw.flag():
            made.clock.now_s += draw.number(100)
            await made.trajectory.work()
        if not draw.left:
            break
    await made.end()


def _exposition(made: Bench) -> None:
    """Check every line by the grammar, and the families of counters with Prometheus' own parser, which is slow."""
    families = [family for family in made.table.families() if len(family)]
    for openmetrics in (False, True):
        text = "".join(render(families, Style(), openmetrics=openmetrics))
        assert all(_LINE.fullmatch(line) for line in text.splitlines(keepends=True)), text
    few = [family for family in families if family.metric.name in _PARSED]
    list(parse("".join(render(few, Style(), openmetrics=True)) + "# EOF\n"))

"""Pipeline: whether the sidecar itself is well, and whether anything was lost on the way."""

from __future__ import annotations

from typing import Final

from spanledger.service.assets.dashboards.panel import Board, Limits, Panel, Query, Row
from spanledger.service.assets.dashboards.series import INTERVAL, RANGE, happened, own
from spanledger.service.assets.dashboards.shared import RATIO, SECONDS, graph, sheet, stat

GONE: Final = "No sidecar is scraped"
UPTIME: Final = own("otelcol_process_uptime_seconds")
BYTES: Final = "bytes"
PER_SECOND: Final = "cps"
LOST: Final = Limits("1", "1", "what was accepted must not get lost")


def _added(name: str, by: str = "", matchers: str = "") -> str:
    """Return what was counted in the time range: 0 for what has not happened, nothing without a sidecar."""
    if by:
        return f"topk(20, {happened(own(name, matchers), by)} > 0)"
    return f"{happened(own(name, matchers))}\nor 0 * sum({UPTIME})"


def _speed(name: str, by: str = "", matchers: str = "") -> str:
    """Return how fast something is counted, a second; 0 for what has not happened while there is a sidecar."""
    if by:
        ranked = f"sum by ({by}) (increase({own(name, matchers)}[{RANGE}] @ end()))"
        return f"sum by ({by}) (rate({own(name, matchers)}[{INTERVAL}]))\nand on ({by}) topk(20, {ranked})"
    return f"sum(rate({own(name, matchers)}[{INTERVAL}]))\nor 0 * sum({UPTIME})"


def _now(name: str, by: str = "instance") -> str:
    return f"topk(20, max by ({by}) ({own(name)}))"


def _total(title: str, says: str, *names: str, limits: Limits | None = LOST) -> Panel:
    expr = "\n+ ".join(f"({_added(name)})" for name in names)
    return stat(title, says, expr, empty=GONE, limits=limits, decimals=0)


NOW: Final = Row(
    "In this time range",
    (
        stat(
            "Sidecars",
            "Sidecars that are scraped at this moment, of those chosen.",
            f"count({UPTIME})",
            empty=GONE,
            decimals=0,
        ),
        _total("Spans taken", "Spans that were accepted.", "otelcol_receiver_accepted_spans_total", limits=None),
        _total(
            "Spans refused",
            "Spans that were not taken: the sender has them still and tries again, or they were bad.",
            "otelcol_receiver_refused_spans_total",
            limits=Limits(
                "1",
                "panels.refused_red",
                "some are refused whenever a queue is full; many are an outage for the sender",
            ),
        ),
        _total(
            "Lost",
            "Items that were accepted and then lost, and those left out of a request.",
            "spanledger_dropped_items_total",
            "spanledger_rejected_items_total",
        ),
        _total(
            "Dead letters",
            "Requests that a destination refused for good, kept on disk or not.",
            "spanledger_dead_letters_total",
        ),
        _total(
            "Overflow",
            "Values counted under `__other__` because a metric had all its series.",
            "spanledger_series_overflow_total",
            limits=Limits("1", "1", "labels that overflow hide which agent it was"),
        ),
        stat(
            "Queue",
            "The fullest queue of an exporter, of its capacity.",
            f"max({own('otelcol_exporter_queue_size')} / {own('otelcol_exporter_queue_capacity')})",
            RATIO,
            empty="No exporter with a queue",
            limits=Limits(
                "panels.queue_amber",
                "pipeline.queue_ratio",
                "a full queue refuses new requests; the alert fires at <pipeline.queue_ratio>",
            ),
        ),
        stat(
            "Lag",
            "How late the event loop was at the most in the time range.",
            f"max(max_over_time({own('spanledger_loop_lag_seconds')}[{RANGE}]))",
            SECONDS,
            empty=GONE,
            limits=Limits(
                "panels.lag_amber_s",
                "pipeline.lag_s",
                "all requests wait that long; the alert fires at <pipeline.lag_s> s",
            ),
        ),
    ),
)

IN: Final = Row(
    "In",
    (
        graph(
            "Spans a second",
            "Taken, refused, and failed by an error of our own.",
            Query(_speed("otelcol_receiver_accepted_spans_total"), "accepted"),
            Query(_speed("otelcol_receiver_refused_spans_total"), "refused"),
            Query(_speed("otelcol_receiver_failed_spans_total"), "failed"),
            unit=PER_SECOND,
            empty=GONE,
            width=8,
            colors={"accepted": "green", "refused": "orange", "failed": "red"},
        ),
        graph(
            "Requests refused a second",
            "By reason: `memory` and `queue_full` are overload, `undecodable` is bad data.",
            Query(_speed("spanledger_refused_requests_total", "reason"), "{{reason}}"),
            unit=PER_SECOND,
            empty="No request was refused",
            width=8,
        ),
        graph(
            "Time to answer",
            "From a request's last byte to its answer, P50 and P99.",
            *(
                Query(
                    f"histogram_quantile({q}, sum by (le) "
                    f"(rate({own('spanledger_request_duration_seconds', suffix='_bucket')}[{INTERVAL}])))",
                    f"P{round(100 * q)}",
                    exemplar=False,
                )
                for q in (0.5, 0.99)
            ),
            unit=SECONDS,
            empty="No requests",
            width=8,
        ),
        graph(
            "Spans a second by dialect",
            "What they were read as; `none` is what no dialect claims.",
            Query(_speed("spanledger_spans_total", "dialect"), "{{dialect}}"),
            unit=PER_SECOND,
            stacked=True,
            empty="No spans",
            width=8,
        ),
        graph(
            "Told twice, late, without parent, a second",
            "Calls that were told again and counted once, spans after the end of their run, and steps whose parent "
            "never came.",
            Query(_speed("spanledger_duplicate_spans_total"), "told twice"),
            Query(_speed("spanledger_late_spans_total"), "late"),
            Query(_speed("spanledger_orphan_spans_total"), "without parent"),
            unit=PER_SECOND,
            empty=GONE,
            width=8,
        ),
        sheet(
            "Not understood",
            "Spans that passed without being read, in the time range.",
            {"reason": "Reason"},
            {"Spans": _added("spanledger_unread_spans_total", "reason")},
            width=4,
            empty="All spans were read",
        ),
        sheet(
            "Faults of dialects",
            "Spans that a dialect failed on; they passed unchanged. Please report them.",
            {"dialect": "Dialect"},
            {"Spans": _added("spanledger_normalizer_errors_total", "dialect")},
            width=4,
            empty="No dialect failed",
        ),
    ),
)

OUT: Final = Row(
    "Out",
    (
        graph(
            "Spans delivered a second",
            "What destinations took, by exporter.",
            Query(_speed("otelcol_exporter_sent_spans_total", "exporter"), "{{exporter}}"),
            unit=PER_SECOND,
            empty="No exporter of spans",
            width=8,
        ),
        graph(
            "Not delivered a second",
            "Spans dropped after all tries, and those that found a queue full.",
            Query(_speed("otelcol_exporter_send_failed_spans_total"), "dropped"),
            Query(_speed("otelcol_exporter_enqueue_failed_spans_total"), "queue full"),
            Query(_speed("spanledger_exporter_retries_total"), "requests sent again"),
            unit=PER_SECOND,
            empty=GONE,
            width=8,
            colors={"dropped": "red", "queue full": "orange", "requests sent again": "blue"},
        ),
        graph(
            "Queues",
            "Requests waiting, by exporter, of the queue's capacity.",
            Query(
                f"topk(20, max by (instance, exporter, data_type) ({own('otelcol_exporter_queue_size')} / "
                f"{own('otelcol_exporter_queue_capacity')}))",
                "{{instance}} {{exporter}} {{data_type}}",
            ),
            unit=RATIO,
            most=1,
            empty="No exporter with a queue",
            width=8,
            limits=Limits(
                "panels.queue_amber",
                "pipeline.queue_ratio",
                "a full queue refuses new requests; the alert fires at <pipeline.queue_ratio>",
            ),
        ),
        sheet(
            "Lost",
            "Items that were accepted and then lost, in the time range, and why.",
            {"exporter": "Exporter", "signal": "Signal", "reason": "Reason"},
            {"Items": _added("spanledger_dropped_items_total", "exporter, signal, reason")},
            width=8,
            empty="Nothing was lost",
        ),
        sheet(
            "Dead letters",
            "Requests that a peer refused for good, and what became of them, in the time range.",
            {"exporter": "Exporter", "outcome": "Outcome"},
            {"Requests": _added("spanledger_dead_letters_total", "exporter, outcome")},
            width=8,
            empty="No dead letters",
        ),
        graph(
            "Run store",
            "Size of what is stored, by sidecar and exporter.",
            Query(_now("spanledger_run_store_bytes", "instance, exporter"), "{{instance}} {{exporter}}"),
            unit=BYTES,
            empty="No run store",
            width=8,
        ),
    ),
)

RUNS: Final = Row(
    "Runs being put together",
    (
        graph(
            "Runs under way", "By sidecar.", Query(_now("spanledger_runs_open"), "{{instance}}"), empty=GONE, width=6
        ),
        graph(
            "Waited for their agent, a second",
            "Calls and tools that named no agent, by how their wait ended: `found` an agent above them, `none` is "
            "there, or they were counted without one: `timeout`, `full`, `shutdown`.",
            Query(_speed("spanledger_agent_waits_total", "ending"), "{{ending}}"),
            unit=PER_SECOND,
            empty="All named their agent",
            width=6,
            colors={"found": "green", "timeout": "orange", "full": "red", "shutdown": "purple"},
        ),
        graph(
            "Runs closed a second",
            "By what closed them: `root` is a run that ended; `evicted` and limits cut runs short.",
            Query(_speed("spanledger_runs_closed_total", "reason"), "{{reason}}"),
            unit=PER_SECOND,
            stacked=True,
            colors={"root": "green"},
            empty="No run was closed",
            width=6,
        ),
        graph(
            "Memory of runs",
            "Estimated size of the runs that are kept.",
            Query(_now("spanledger_trace_store_bytes"), "{{instance}}"),
            unit=BYTES,
            empty=GONE,
            width=6,
        ),
    ),
)

PROCESS: Final = Row(
    "The process",
    (
        graph(
            "Memory",
            "Resident memory of the process.",
            Query(_now("otelcol_process_memory_rss_bytes"), "{{instance}}"),
            unit=BYTES,
            empty=GONE,
            width=6,
        ),
        graph(
            "Processor",
            "Share of one core.",
            Query(_speed("otelcol_process_cpu_seconds_total", "instance"), "{{instance}}"),
            unit=RATIO,
            empty=GONE,
            width=6,
        ),
        graph(
            "Lag",
            "How late the event loop last was.",
            Query(_now("spanledger_loop_lag_seconds"), "{{instance}}"),
            unit=SECONDS,
            empty=GONE,
            width=6,
            limits=Limits(
                "panels.lag_amber_s",
                "pipeline.lag_s",
                "all requests wait that long; the alert fires at <pipeline.lag_s> s",
            ),
        ),
        sheet(
            "Prices",
            "Age of the price data in use, by source: since a file was changed, or since the last dated price of a "
            "list.",
            {"source": "Source"},
            {"Age": _now("spanledger_price_data_age_seconds", "source")},
            unit="s",
            width=6,
            empty="No pricing",
        ),
    ),
)

BOARD: Final = Board(
    "pipeline",
    "Pipeline",
    "Whether the sidecar itself is well: what came in, what went out, what was lost, and how hard it works.",
    (NOW, IN, OUT, RUNS, PROCESS),
)

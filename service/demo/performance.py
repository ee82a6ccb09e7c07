"""Play the workload at a running sidecar, and show what the sidecar made of it."""

from __future__ import annotations

import asyncio
import itertools
import sys
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, TextIO

import aiohttp
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from prometheus_client.parser import text_string_to_metric_families

from spanledger.service.demo import workload

if TYPE_CHECKING:
    from spanledger.service.sidecar import Sidecar

ROUND_EVERY_S = 5.0


class DemoFailed(Exception):  # noqa: N818
    """The demo could not do what it shows; the message says what to change."""


async def perform(sidecar: Sidecar, *, once: bool, out: TextIO = sys.stdout) -> None:
    """Play rounds of the workload until cancelled, or a single one, and print what came of them."""
    addresses = listening(sidecar)
    if "otlp" not in addresses or "metrics" not in addresses:
        raise DemoFailed("the demo needs an otlp receiver with gRPC and a prometheus exporter in the configuration")

    async def show() -> None:
        print(summary(await _scrape(addresses["metrics"])), file=out)
        print(where_to_look(addresses), file=out, flush=True)

    await play_at(addresses["otlp"], once=once, show=show, out=out)


async def play_at(
    endpoint: str, *, once: bool, show: Callable[[], Awaitable[None]] | None = None, out: TextIO = sys.stdout
) -> None:
    """Play rounds over OTLP/gRPC at whatever listens at `endpoint`; `show` what came of the first."""
    exporters = {name: _Exporter(endpoint=endpoint, insecure=True) for name in workload.SERVICES}
    providers = {name: _provider(name, exporter) for name, exporter in exporters.items()}
    try:
        for seed in itertools.count(1):
            spans = await asyncio.to_thread(_round, providers, seed)
            if not all(exporter.delivers for exporter in exporters.values()):
                raise DemoFailed(
                    f"{endpoint} did not take the spans: is it HOST:PORT of an OTLP/gRPC receiver, no TLS?"
                )
            if seed == 1:
                print(f"Played {spans} spans of {len(providers)} agent applications over OTLP/gRPC.\n", file=out)
            if seed == 1 and show is not None:
                await show()
            if once:
                return
            if seed == 1:
                print(f"Playing another round every {ROUND_EVERY_S:.0f} s. Ctrl-C ends it.", file=out, flush=True)
            await asyncio.sleep(ROUND_EVERY_S)
    finally:
        await asyncio.to_thread(_close, providers)


def listening(sidecar: Sidecar) -> Mapping[str, str]:
    """Return the addresses that are open, by what they are for."""
    found: dict[str, str] = {}
    for component, statistics in sidecar.statistics().items():
        kind = component.partition(":")[2].partition("/")[0]
        for name, key in _ADDRESSES.get(kind, {}).items():
            if statistics[key]:
                found.setdefault(name, statistics[key][0])
    return found


_ADDRESSES: Mapping[str, Mapping[str, str]] = {
    "otlp": {"otlp": "grpc_addresses", "otlp_http": "http_addresses"},
    "prometheus": {"metrics": "addresses"},
    "health_check": {"health": "addresses"},
    "zpages": {"zpages": "addresses"},
}
"""Component type -> what it is for -> where its statistics have it."""


class _Exporter(OTLPSpanExporter):
    """Remembers whether what it was given has been taken: the SDK itself only logs that."""

    delivers = True

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        result = super().export(spans)
        self.delivers = result is SpanExportResult.SUCCESS
        return result


def _provider(service: str, exporter: SpanExporter) -> TracerProvider:
    provider = TracerProvider(resource=workload.resource(service), shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(exporter))
    return provider


def _round(providers: Mapping[str, TracerProvider], seed: int) -> int:
    spans = workload.play(providers, time.time_ns(), seed)
    for service, provider in providers.items():
        if not provider.force_flush(10_000):
            raise DemoFailed(f"the spans of {service} were not delivered within 10 s")
    return spans


def _close(providers: Mapping[str, TracerProvider]) -> None:
    for provider in providers.values():
        provider.shutdown()


async def _scrape(address: str) -> str:
    async with aiohttp.ClientSession() as session, session.get(f"http://{address}/metrics") as answer:
        return await answer.text()


def summary(exposition: str) -> str:
    """Return a table of calls, tokens and money by agent and model, read from a scrape."""
    rows: dict[tuple[str, str, str], dict[str, float]] = {}
    tools: dict[str, list[float]] = {}
    for family in text_string_to_metric_families(exposition):
        for sample in family.samples:
            labels = sample.labels
            key = (labels.get("service_name", ""), labels.get("agent_name", "") or "-", labels.get("model", ""))
            if sample.name == "spanledger_llm_calls_total":
                _add(rows, key, "errors" if labels["status"] == "error" else "calls", sample.value)
            elif sample.name == "spanledger_llm_tokens_total":
                _add(rows, key, labels["token_type"], sample.value)
            elif sample.name == "spanledger_llm_cost_usd_total":
                _add(rows, key, "usd", sample.value)
            elif sample.name == "spanledger_tool_calls_total" and sample.value:
                counts = tools.setdefault(labels["tool_name"], [0, 0])
                counts[0] += sample.value
                counts[1] += sample.value if labels["status"] == "error" else 0
    columns = ("service", "agent", "model", "calls", "failed", "input", "cached", "output", "thinking", "USD")
    table = [columns, *(_row(key, counts) for key, counts in sorted(rows.items()))]
    total = sum(counts.get("usd", 0.0) for counts in rows.values())
    used = ", ".join(
        f"{name} x{calls:.0f}" + (f" ({failed:.0f} failed)" if failed else "")
        for name, (calls, failed) in sorted(tools.items())
    )
    return f"{_aligned(table)}\n\nTotal ${total:.6f}. Tools: {used}.\n"


def _add(rows: dict[tuple[str, str, str], dict[str, float]], key: tuple[str, str, str], name: str, by: float) -> None:
    counts = rows.setdefault(key, {})
    counts[name] = counts.get(name, 0.0) + by


def _row(key: tuple[str, str, str], counts: Mapping[str, float]) -> tuple[str, ...]:
    def number(*names: str) -> str:
        return f"{sum(counts.get(name, 0.0) for name in names):,.0f}"

    spent = counts.get("usd", 0.0)
    return (
        *key,
        number("calls", "errors"),
        number("errors"),
        number("input", "cache_read", "cache_write"),
        number("cache_read"),
        number("output", "reasoning"),
        number("reasoning"),
        f"{spent:.6f}" if spent else "unpriced",
    )


def _aligned(table: Iterable[tuple[str, ...]]) -> str:
    rows = list(table)
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if column < 3 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    )


def where_to_look(addresses: Mapping[str, str]) -> str:
    """Return what is open where."""
    lines = [("send spans to", f"{addresses['otlp']} (OTLP/gRPC)")]
    if "otlp_http" in addresses:
        lines.append(("", f"http://{addresses['otlp_http']}/v1/traces (OTLP/HTTP)"))
    for name, path in (("metrics", "/metrics"), ("health", "/"), ("zpages", "/debug/tracez")):
        if name in addresses:
            lines.append((name, f"http://{addresses[name]}{path}"))
    return "\n".join(f"  {name:<14} {where}" for name, where in lines) + "\n"

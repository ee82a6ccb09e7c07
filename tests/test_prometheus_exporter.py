"""Scrapes over a real socket."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import socket
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import aiohttp
import pydantic
import pytest
from aiohttp import web
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from spanledger.exporters.prometheus import exporter as module
from spanledger.exporters.prometheus.exporter import PrometheusConfig, PrometheusExporter, only_own_metrics
from spanledger.processor.authorities import default_context
from spanledger.processor.component import REGISTRY, ComponentId, PipelineView, Registration
from spanledger.processor.genai_metrics import GenAIMetrics
from spanledger.processor.metric_store import MetricTable
from spanledger.processor.settings import TLSServer
from tests.certificates import make_certificates
from tests.fakes import Clock, host

PROMETHEUS_ACCEPTS = (
    "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,"
    "application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,"
    "text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
)
"""What Prometheus 3.5 sends."""


@contextlib.asynccontextmanager
async def serving(table: MetricTable | None = None, clock: Clock | None = None, **config: Any) -> AsyncIterator[str]:
    """Run an exporter and yield its URL."""
    clock = clock or Clock()
    surroundings = host("prometheus", clock, table or filled(clock))  # type: ignore[arg-type]
    exporter = PrometheusExporter(PrometheusConfig(endpoint="127.0.0.1:0", **config), surroundings)
    await exporter.start()
    try:
        (address,) = exporter.statistics()["addresses"]
        yield f"http://{address}"
    finally:
        assert await exporter.shutdown(0.0) == 0


def filled(clock: Clock) -> MetricTable:
    """Return a table with a call in it."""
    table = MetricTable()
    table.tick(clock.time_ns())
    table.counter("spanledger_llm_cost_usd_total").add(("trip", "planner", "openai", "gpt-4o"), 0.5, bytes(range(16)))
    return table


async def get(url: str, method: str = "GET", **headers: str) -> tuple[int, Mapping[str, str], bytes]:
    """Return status, headers and the body as sent."""
    async with (
        aiohttp.ClientSession(auto_decompress=False) as session,
        session.request(method, url, headers=headers, skip_auto_headers=("Accept-Encoding", "Accept")) as response,
    ):
        return response.status, response.headers, await response.read()


async def test_a_plain_reader_gets_the_text_format() -> None:
    """With the numbers of the process behind ours, and no exemplars."""
    async with serving() as url:
        status, headers, body = await get(f"{url}/metrics")

    assert status == 200
    assert headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    families = {family.name: family for family in parse_text(body.decode())}
    assert families["spanledger_llm_cost_usd"].samples[0].value == 0.5
    assert families["python_info"].samples
    assert families["process_resident_memory_bytes"].samples[0].value > 0
    assert b"trace_id" not in body


async def test_prometheus_gets_openmetrics_with_exemplars() -> None:
    """One page, ended once."""
    async with serving() as url:
        _, headers, body = await get(f"{url}/metrics", Accept=PROMETHEUS_ACCEPTS)

    assert headers["Content-Type"] == "application/openmetrics-text; version=1.0.0; charset=utf-8"
    families = {family.name: family for family in parse_openmetrics(body.decode())}
    (sample,) = families["spanledger_llm_cost_usd"].samples
    assert sample.exemplar is not None
    assert sample.exemplar.labels == {"trace_id": bytes(range(16)).hex()}
    assert families["python_gc_collections"].samples
    assert body.count(b"# EOF") == 1


async def test_openmetrics_can_be_switched_off() -> None:
    """As in the Collector's exporter."""
    async with serving(enable_open_metrics=False) as url:
        _, headers, _ = await get(f"{url}/metrics", Accept=PROMETHEUS_ACCEPTS)

    assert headers["Content-Type"].startswith("text/plain; version=0.0.4")


@pytest.mark.parametrize("accept", ["", PROMETHEUS_ACCEPTS])
async def test_a_page_is_compressed_when_that_is_accepted(accept: str) -> None:
    """The same page, smaller."""
    async with serving() as url:
        _, headers, body = await get(f"{url}/metrics", Accept=accept, **{"Accept-Encoding": "deflate, gzip;q=1.0"})

    assert headers["Content-Encoding"] == "gzip"
    assert b"spanledger_llm_cost_usd_total{" in gzip.decompress(body)


async def test_families_can_be_picked() -> None:
    """`name[]`, more than once; the numbers of the process too."""
    async with serving() as url:
        _, _, body = await get(f"{url}/metrics?name[]=spanledger_llm_cost_usd_total&name[]=process_cpu_seconds_total")

    assert [family.name for family in parse_text(body.decode())] == ["spanledger_llm_cost_usd", "process_cpu_seconds"]


async def test_head_answers_without_a_page() -> None:
    """For checks that only want to know."""
    async with serving() as url:
        status, _, body = await get(f"{url}/metrics", "HEAD")

    assert (status, body) == (200, b"")


@pytest.mark.parametrize(
    ("path", "method", "status", "says"),
    [
        ("/", "GET", 200, b'href="/metrics"'),
        ("/metric", "GET", 404, b"/metrics"),
        ("/../etc/passwd", "GET", 404, b"/metrics"),
        ("/metrics", "POST", 405, b""),
    ],
)
async def test_other_paths_lead_to_the_metrics(path: str, method: str, status: int, says: bytes) -> None:
    """Whoever mistypes finds the way."""
    async with serving() as url:
        answered, _, body = await get(url + path, method)

    assert answered == status
    assert says in body


async def test_series_expire_with_their_agent() -> None:
    """And are back, with their value, when it is."""
    clock = Clock()
    table = filled(clock)
    async with serving(table, clock, metric_expiration="10m") as url:
        clock.now_s += 599
        assert b"planner" in (await get(f"{url}/metrics"))[2]
        clock.now_s += 2
        assert b"planner" not in (await get(f"{url}/metrics"))[2]
        table.tick(clock.time_ns())
        table.counter("spanledger_llm_cost_usd_total").add(("trip", "planner", "openai", "gpt-4o"), 0.5)
        assert b'model="gpt-4o"} 1.0\n' in (await get(f"{url}/metrics"))[2]


async def test_series_can_be_shown_for_ever() -> None:
    """`metric_expiration: 0`."""
    clock = Clock()
    async with serving(filled(clock), clock, metric_expiration="0s") as url:
        clock.now_s += 1e6
        assert b"planner" in (await get(f"{url}/metrics"))[2]


async def test_others_run_while_a_large_page_is_written() -> None:
    """A scrape gives way between pieces, and what is added meanwhile breaks nothing."""
    clock = Clock()
    clock.monotonic = lambda: next(ticks)  # type: ignore[method-assign]
    ticks = iter(range(10**9))
    table = MetricTable(max_series=20_000)
    table.tick(clock.time_ns())
    counter = table.counter("spanledger_llm_retries_total")
    for number in range(5000):
        counter.add(("s", "a", "p", f"m{number}"))
    turns = 0

    async def ingest() -> None:
        nonlocal turns
        while True:
            turns += 1
            counter.add(("s", "a", "p", f"new{turns}"))
            await asyncio.sleep(0)

    async with serving(table, clock) as url:
        ingesting = asyncio.create_task(ingest())
        _, _, body = await get(f"{url}/metrics?name[]=spanledger_llm_retries_total")
        ingesting.cancel()

    assert len(next(iter(parse_text(body.decode()))).samples) >= 5000
    assert turns > 5


async def test_too_many_scrapes_at_once_are_turned_away(monkeypatch: pytest.MonkeyPatch) -> None:
    """Readers who do not read cannot pile up."""
    monkeypatch.setattr(module, "MAX_SCRAPES", 0)
    async with serving() as url:
        status, headers, _ = await get(f"{url}/metrics")

    assert (status, headers["Retry-After"]) == (503, "1")


async def test_a_reader_who_does_not_read_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """He holds no place for ever, and half a page does not end as if it were whole."""
    monkeypatch.setattr(module, "SCRAPE_TIMEOUT_S", 0.0)  # up when the page first waits for its reader
    clock = Clock()
    table = MetricTable(max_series=100_000, max_lines=1_000_000)
    table.tick(clock.time_ns())
    for number in range(100_000):
        table.counter("spanledger_llm_retries_total").add(("s", "a", "p", f"m{number}"))
    exporter = PrometheusExporter(PrometheusConfig(endpoint="127.0.0.1:0"), host("prometheus", clock, table))  # type: ignore[arg-type]
    await exporter.start()
    address, port = exporter.statistics()["addresses"][0].split(":")
    reader, writer = await asyncio.open_connection(address, int(port), limit=1024)
    writer.write(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert await reader.readline() == b"HTTP/1.1 200 OK\r\n"

    body = b""
    with contextlib.suppress(ConnectionError):
        body = await reader.read()

    assert not body.endswith(b"0\r\n\r\n")
    assert exporter._scraping == 0
    assert exporter.statistics()["scrapes"] == 0
    writer.close()
    await exporter.shutdown(0.0)


async def test_a_reader_who_goes_away_is_no_error(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A scrape that took Prometheus too long would be a traceback in the log, each time."""

    async def gone(self: web.StreamResponse, _data: bytes) -> None:
        assert self._req is not None
        assert self._req.transport is not None
        self._req.transport.abort()
        raise aiohttp.ClientConnectionResetError("Cannot write to closing transport")

    async with serving() as url:
        with monkeypatch.context() as patch:
            patch.setattr(web.StreamResponse, "write", gone)
            with pytest.raises(aiohttp.ClientError):
                await get(f"{url}/metrics")
        assert (await get(f"{url}/metrics"))[0] == 200

    assert caplog.text == ""


async def test_https(tmp_path: Path) -> None:
    """With a client certificate demanded: who has none is turned away."""
    files = make_certificates(tmp_path)
    tls = {"cert_file": str(files.server), "key_file": str(files.server_key), "client_ca_file": str(files.ca)}
    context = default_context(ca_file=str(files.ca))
    async with serving(tls=tls) as url, aiohttp.ClientSession() as session:
        address = url.replace("http://", "https://") + "/metrics"
        with pytest.raises(aiohttp.ClientError):
            await session.get(address, ssl=context)
        context.load_cert_chain(files.client, files.client_key)
        async with session.get(address, ssl=context) as response:
            assert response.status == 200


async def test_missing_certificates_are_told_plainly() -> None:
    """Which files, and why not."""
    config = PrometheusConfig(tls=TLSServer(cert_file="/none.pem", key_file="/none.key"))
    with pytest.raises(OSError, match=r"cannot use /none\.pem with /none\.key: .*No such file"):
        await PrometheusExporter(config, host()).start()


async def test_a_taken_port_is_told_plainly() -> None:
    """Where, and what to do."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        config = PrometheusConfig(endpoint=f"127.0.0.1:{taken.getsockname()[1]}")
        with pytest.raises(
            OSError, match=r"endpoint 127\.0\.0\.1:\d+: address already in use.*set exporters::\S+::endpoint"
        ):
            await PrometheusExporter(config, host()).start()


async def test_it_may_be_stopped_without_having_been_started() -> None:
    """As every component."""
    assert await PrometheusExporter(PrometheusConfig(), host()).shutdown(0.0) == 0


@pytest.mark.parametrize(
    ("config", "complaint"),
    [
        ({"namespace": "1x"}, "does not begin with a digit"),
        ({"const_labels": {"model": "x"}}, "already"),
        ({"const_labels": {"le": "x"}}, "already"),
        ({"const_labels": {"__x": "x"}}, "no __ in front"),
        ({"const_labels": {"a b": "x"}}, "letters, digits"),
        ({"metric_expiration": 5}, "missing unit"),
        ({"resource_to_telemetry_conversion": {"enabled": True}}, "resource attributes are no labels"),
        ({"nonsense": 1}, "nonsense"),
    ],
)
def test_bad_configuration_is_told(config: Mapping[str, Any], complaint: str) -> None:
    """Before anything starts."""
    with pytest.raises(pydantic.ValidationError, match=complaint):
        PrometheusConfig(**config)


def pipeline(**receivers: Registration) -> PipelineView:
    """Return a metrics pipeline that ends here."""
    sources = {ComponentId.parse(id_): registration for id_, registration in receivers.items()}
    return PipelineView("metrics", "metrics", sources, {}, {})


def test_the_sidecars_own_metrics_may_come_here() -> None:
    """From the connector that makes them."""
    own = REGISTRY.of("connector")["genai_metrics"]

    assert own.factory is GenAIMetrics
    assert only_own_metrics(pipeline(genai_metrics=own)) is None


def test_foreign_metrics_may_not_come_here() -> None:
    """Told when the configuration is checked, with what to do instead."""
    own = REGISTRY.of("connector")["genai_metrics"]
    foreign = Registration("receiver", PrometheusConfig, "otlp", PrometheusExporter, ("metrics",), "alpha", "")

    assert "receiver `otlp`" in str(only_own_metrics(pipeline(genai_metrics=own, otlp=foreign)))

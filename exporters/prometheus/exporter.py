"""Answers scrapes with what is in the metric table."""

from __future__ import annotations

import asyncio
import re
import zlib
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Any, Final

import pydantic
from aiohttp import web
from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, choose_encoder, gzip_accepted
from prometheus_client.openmetrics.exposition import CONTENT_TYPE_LATEST as CONTENT_TYPE_OPENMETRICS
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics

from spanledger.conventions.metrics import METRICS
from spanledger.exporters.prometheus.exposition import Style, render
from spanledger.processor.auth import AuthServer, server_auth
from spanledger.processor.component import ComponentConfig, Host, PipelineView, register
from spanledger.processor.listen import Served, WebServer
from spanledger.processor.settings import Duration, HostPort, TLSServer

if TYPE_CHECKING:
    from collections.abc import Collection

    from spanledger.processor.batch import Delivery

SLICE_S: Final = 0.002
"""Seconds of writing before requests get their turn."""

MAX_SCRAPES: Final = 8
"""Scrapes answered at once; a server or two, and people."""

SCRAPE_TIMEOUT_S: Final = 30.0
"""Prometheus gives up after 10 seconds unless told otherwise."""

_PAGE: Final = """<!doctype html><html lang="en"><meta charset="utf-8"><title>spanledger</title>
<h1>spanledger</h1><p><a href="/metrics">Metrics</a></p></html>
"""
_NAME: Final = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
_ELSEWHERE: Final = {
    "resource_to_telemetry_conversion": "series carry `service_name`; other resource attributes are no labels here",
    "send_timestamps": "what is scraped is the value of that moment",
    "add_metric_suffixes": "names are fixed (docs/metrics.md)",
    "translation_strategy": "names are fixed (docs/metrics.md)",
}


class PrometheusConfig(ComponentConfig):
    """Configuration of `prometheus`."""

    endpoint: HostPort = "localhost:9464"
    """`host:port` to answer scrapes on, at `/metrics`."""
    tls: TLSServer | None = None
    """Speak HTTPS, and demand client certificates where `client_ca_file` is set."""
    auth: AuthServer | None = None
    """Answer only those whom an extension knows."""
    namespace: str = ""
    """Put before every name of ours. The dashboards and rules that come with spanledger need it empty."""
    const_labels: dict[str, str] = pydantic.Field(default_factory=dict)
    """Labels with a fixed value on every series of ours."""
    metric_expiration: Annotated[Duration, pydantic.Field(ge=0)] = 300.0
    """How long an agent's series are shown after the last of them changed; 0 for ever. What comes back
    goes on from its old value. Longer than the pause between two runs of an agent is better for alerts."""
    enable_open_metrics: bool = True
    """Answer in OpenMetrics, exemplars included, to a scraper that asks for it (Prometheus does)."""

    @pydantic.model_validator(mode="before")
    @classmethod
    def _known_elsewhere(cls, data: Any) -> Any:
        for key, why in _ELSEWHERE.items():
            if isinstance(data, dict) and key in data:
                raise ValueError(f"`{key}` of the Collector's exporter has no place here: {why}; remove it")
        return data

    @pydantic.field_validator("namespace")
    @classmethod
    def _name(cls, namespace: str) -> str:
        if namespace and not _NAME.fullmatch(namespace):
            raise ValueError("a namespace has letters, digits and underscores and does not begin with a digit")
        return namespace

    @pydantic.field_validator("const_labels")
    @classmethod
    def _free(cls, labels: dict[str, str]) -> dict[str, str]:
        taken = {"le"}.union(*(row.label_names for row in METRICS))
        for name in labels:
            if not _NAME.fullmatch(name) or name.startswith("__"):
                raise ValueError(f"label name {name[:100]!r}: letters, digits and underscores, and no __ in front")
            if name in taken:
                raise ValueError(f"label {name!r} is one that metrics have already; choose another name")
        return labels


def only_own_metrics(pipeline: PipelineView) -> str | None:
    """Say what is wrong with a pipeline that leads foreign metrics here."""
    foreign = [str(id_) for id_, source in pipeline.receivers.items() if source.kind != "connector"]
    if not foreign:
        return None
    return (
        f"exporter `prometheus` shows the sidecar's own metrics and cannot show those of receiver `{foreign[0]}`: "
        "feed this pipeline from connector `genai_metrics`, and send received metrics to an `otlp` exporter"
    )


@register("exporter", "prometheus", config=PrometheusConfig, signals=("metrics",), check=only_own_metrics)
class PrometheusExporter(Served):
    """Serves all metrics at /metrics, in the Prometheus text format and in OpenMetrics with exemplars."""

    def __init__(self, config: PrometheusConfig, host: Host) -> None:
        self._config = config
        self._host = host
        self._style = Style(config.namespace, config.const_labels)
        self._process = CollectorRegistry(auto_describe=True)
        ProcessCollector(registry=self._process)
        PlatformCollector(registry=self._process)
        GCCollector(registry=self._process)
        self._scraping = 0
        self._scrapes = 0
        app = web.Application()
        app.router.add_get("/metrics", self._scrape)
        app.router.add_get("/", _front)
        app.router.add_get("/{elsewhere:.*}", _elsewhere)
        auth = server_auth(config.auth, host.extensions)
        self._server = WebServer(app, config.endpoint, f"exporters::{host.id}::endpoint", config.tls, auth=auth)

    async def start(self) -> None:
        """Listen; raises OSError that says where and what to do."""
        await super().start()
        self._host.metrics.keep(int(self._config.metric_expiration * 1e9))

    def statistics(self) -> Mapping[str, Any]:
        """Return where it listens and what it answered."""
        return {
            **super().statistics(),
            "scrapes": self._scrapes,
            "series": sum(len(family) for family in self._host.metrics.families()),
        }

    def reserve(self, delivery: Delivery) -> None:
        """Hold nothing: connectors write to the table, not to this exporter."""

    def commit(self, delivery: Delivery) -> None:
        """Do nothing."""

    def release(self, delivery: Delivery) -> None:
        """Do nothing."""

    async def _scrape(self, request: web.Request) -> web.StreamResponse:
        if self._scraping >= MAX_SCRAPES:
            raise web.HTTPServiceUnavailable(text="too many scrapes at once\n", headers={"Retry-After": "1"})
        self._scraping += 1
        try:
            async with asyncio.timeout(SCRAPE_TIMEOUT_S):
                response = await self._answer(request)
        except TimeoutError:
            # Half a page must not look like a page.
            if request.transport is not None:
                request.transport.abort()
            raise web.HTTPServiceUnavailable from None
        except ConnectionResetError:
            # Whoever asked has gone: nobody hears an answer, and nothing went wrong here.
            raise web.HTTPServiceUnavailable from None
        finally:
            self._scraping -= 1
        self._scrapes += 1
        return response

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        accepted = choose_encoder(request.headers.get("Accept", ""))[1]
        openmetrics = self._config.enable_open_metrics and accepted.startswith("application/openmetrics-text")
        headers = {
            "Content-Type": CONTENT_TYPE_OPENMETRICS if openmetrics else CONTENT_TYPE_PLAIN_0_0_4,
            "Vary": "Accept, Accept-Encoding",
        }
        # Level 1 takes a twentieth of the time of the usual 9, for twice the size.
        packer = zlib.compressobj(1, wbits=31) if gzip_accepted(request.headers.get("Accept-Encoding", "")) else None
        if packer is not None:
            headers["Content-Encoding"] = "gzip"
        response = web.StreamResponse(headers=headers)
        await response.prepare(request)
        if request.method == "HEAD":
            return response
        until = self._host.monotonic() + SLICE_S
        for piece in self._pieces(openmetrics, request.query.getall("name[]", ())):
            # Waits for a slow reader: the page is never in memory as a whole.
            await response.write(packer.compress(piece) if packer else piece)
            if self._host.monotonic() >= until:
                # Anything may be added to the table meanwhile; see `render`.
                await asyncio.sleep(0)
                until = self._host.monotonic() + SLICE_S
        await response.write_eof(packer.flush() if packer else b"")
        return response

    def _pieces(self, openmetrics: bool, only: Collection[str]) -> Iterator[bytes]:
        expiration_ns = int(self._config.metric_expiration * 1e9)
        since_ns = self._host.clock_ns() - expiration_ns if expiration_ns else 0
        families = self._host.metrics.families()
        for piece in render(families, self._style, openmetrics=openmetrics, since_ns=since_ns, only=only):
            yield piece.encode()
        process = self._process.restricted_registry(only) if only else self._process
        # Ends with the `# EOF` of OpenMetrics.
        yield generate_openmetrics(process) if openmetrics else generate_latest(process)  # type: ignore[no-untyped-call]


async def _front(_request: web.Request) -> web.Response:
    return web.Response(text=_PAGE, content_type="text/html")


async def _elsewhere(_request: web.Request) -> web.Response:
    return web.Response(status=404, text="not found; the metrics are at /metrics\n")

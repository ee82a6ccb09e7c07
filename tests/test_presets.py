"""Presets of backends: whole and valid, exact on the wire, silent about their secrets."""

from __future__ import annotations

import asyncio
import base64
import logging
import re
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import grpc
import pytest
import yaml
from aiohttp import web
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

from spanledger.__main__ import main
from spanledger.exporters.otlp import OtlpConfig
from spanledger.exporters.otlp_http import OtlpHttpConfig
from spanledger.processor.batch import SIGNALS
from spanledger.processor.metric_store import MetricTable
from spanledger.service import presets
from spanledger.service.config import Config, InvalidConfig, load
from spanledger.service.sidecar import Sidecar
from tests.fakes import request, span
from tests.processes import free_ports

SECRET = "hush-5b1f9c"
"""Every secret of every backend."""
BASIC = base64.b64encode(f"me:{SECRET}".encode()).decode()
BEARER = {"Authorization": f"Bearer {SECRET}"}


@dataclass(frozen=True)
class Expected:
    """What the documentation of a backend asks for."""

    environ: Mapping[str, str]
    """What the user sets; without any of it the configuration is refused."""
    urls: Mapping[str, str]
    """Where each signal goes."""
    headers: Mapping[str, str]
    encoding: str | None = "gzip"


def everywhere(base: str) -> dict[str, str]:
    """Return the addresses of all signals below one."""
    return {signal: f"{base}/v1/{signal}" for signal in SIGNALS}


HTTP = {
    "langfuse": Expected(
        {"LANGFUSE_PUBLIC_KEY": "me", "LANGFUSE_SECRET_KEY": SECRET},
        {"traces": "https://cloud.langfuse.com/api/public/otel/v1/traces"},
        {"Authorization": f"Basic {BASIC}", "x-langfuse-ingestion-version": "4"},
    ),
    "langsmith": Expected(
        {"LANGSMITH_API_KEY": SECRET},
        {"traces": "https://api.smith.langchain.com/otel/v1/traces"},
        {"x-api-key": SECRET, "Langsmith-Project": "default"},
    ),
    "phoenix": Expected({}, {"traces": "http://localhost:6006/v1/traces"}, {"Authorization": "Bearer none"}),
    "braintrust": Expected(
        {"BRAINTRUST_API_KEY": SECRET, "BRAINTRUST_PARENT": "project_name:agents"},
        {"traces": "https://api.braintrust.dev/otel/v1/traces"},
        {**BEARER, "x-bt-parent": "project_name:agents"},
    ),
    "agentops": Expected(
        {"AGENTOPS_TOKEN_FILE": "token.txt"}, {"traces": "https://otlp.agentops.ai/v1/traces"}, BEARER
    ),
    "galileo": Expected(
        {"GALILEO_API_KEY": SECRET, "GALILEO_PROJECT": "agents"},
        {"traces": "https://api.galileo.ai/otel/traces"},
        {"Galileo-API-Key": SECRET, "project": "agents", "logstream": "default"},
        None,
    ),
    "maxim": Expected(
        {"MAXIM_API_KEY": SECRET, "MAXIM_LOG_REPO_ID": "repository"},
        {"traces": "https://api.getmaxim.ai/v1/otel"},
        {"x-maxim-api-key": SECRET, "x-maxim-repo-id": "repository"},
        None,
    ),
    "openlit": Expected({"OPENLIT_ENDPOINT": "http://openlit:4318"}, everywhere("http://openlit:4318"), {}),
    "mlflow": Expected(
        {"MLFLOW_EXPERIMENT_ID": "0"}, {"traces": "http://localhost:5000/v1/traces"}, {"x-mlflow-experiment-id": "0"}
    ),
    "datadog": Expected(
        {"DD_API_KEY": SECRET},
        {"traces": "https://otlp.datadoghq.com/v1/traces", "logs": "https://otlp.datadoghq.com/v1/logs"},
        {"dd-api-key": SECRET, "dd-otlp-source": "llmobs"},
    ),
    "honeycomb": Expected(
        {"HONEYCOMB_API_KEY": SECRET}, everywhere("https://api.honeycomb.io"), {"x-honeycomb-team": SECRET}
    ),
    "grafana-cloud": Expected(
        {
            "GRAFANA_CLOUD_OTLP_ENDPOINT": "https://otlp-gateway-prod-eu-west-0.grafana.net/otlp",
            "GRAFANA_CLOUD_INSTANCE_ID": "me",
            "GRAFANA_CLOUD_API_KEY": SECRET,
        },
        everywhere("https://otlp-gateway-prod-eu-west-0.grafana.net/otlp"),
        {"Authorization": f"Basic {BASIC}"},
    ),
    "signoz": Expected(
        {"SIGNOZ_ENDPOINT": "https://ingest.eu.signoz.cloud:443"},
        everywhere("https://ingest.eu.signoz.cloud:443"),
        {"signoz-ingestion-key": "none"},
    ),
}
GRPC = {
    "tempo": Expected({"TEMPO_ENDPOINT": "tempo:4317"}, {"traces": "tempo:4317"}, {"x-scope-orgid": "anonymous"}),
    "jaeger": Expected({"JAEGER_ENDPOINT": "jaeger:4317"}, {"traces": "jaeger:4317"}, {}),
}
ALL = {**HTTP, **GRPC}
OPTIONAL = {
    "phoenix": ({"PHOENIX_API_KEY": SECRET}, BEARER),
    "signoz": ({"SIGNOZ_INGESTION_KEY": SECRET}, {"signoz-ingestion-key": SECRET}),
    "honeycomb": ({}, {"x-honeycomb-team": SECRET}),
}


@pytest.fixture(autouse=True)
def _token_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "token.txt").write_text(f"{SECRET}\n")


# --- the configuration ----------------------------------------------------------------------------


def test_every_backend_has_a_preset_and_a_test() -> None:
    """Those that issue 6 names, and no others unnoticed."""
    assert set(presets.names()) == set(ALL)


@pytest.mark.parametrize("name", ALL)
def test_preset_is_valid_once_its_variables_are_set(name: str) -> None:
    """Without a warning: everything that it defines is used, and nothing else falls out of the pipelines."""
    config = load(["default:", f"preset:{name}"], [], ALL[name].environ)
    plain = load(["default:"], [], {})

    assert config.warnings == plain.warnings
    for id_, pipeline in plain.pipelines.items():
        assert set(pipeline.exporters) <= set(config.pipelines[id_].exporters)
    assert config.pipelines.keys() == plain.pipelines.keys()


@pytest.mark.parametrize("name", ALL)
def test_file_laid_over_the_default_configuration_is_the_same(name: str) -> None:
    """A copy of a preset works like the preset: its lists are those of today's default."""
    as_preset = load(["default:", f"preset:{name}"], [], ALL[name].environ)
    as_file = load(["default:", presets.file(name)], [], ALL[name].environ)

    assert as_file.as_dict() == as_preset.as_dict()


@pytest.mark.parametrize("name", ALL)
def test_missing_variables_are_errors_that_name_them(name: str) -> None:
    """All at once, each with what it is; one set to nothing is missing too."""
    required = ALL[name].environ
    for environ in ({}, dict.fromkeys(required, "")):
        if not required:
            load(["default:", f"preset:{name}"], [], environ)
            continue
        with pytest.raises(InvalidConfig) as raised:
            load(["default:", f"preset:{name}"], [], environ)
        assert raised.value.warnings == ()
        named = [re.findall(r'"(\w+)" is not set', error.message) for error in raised.value.errors]
        assert all(named), raised.value.errors
        assert {variable for variables in named for variable in variables} == set(required)
        assert all(error.suggestion for error in raised.value.errors)


def test_presets_do_not_push_each_other_out() -> None:
    """Each is added, alone to the default configuration; the same one twice is there once."""
    sources = ["preset:phoenix", "preset:jaeger", "preset:phoenix"]
    config = load(sources, [], {"JAEGER_ENDPOINT": "jaeger:4317"})

    (traces,) = (pipeline for id_, pipeline in config.pipelines.items() if str(id_) == "traces")
    assert [str(id_) for id_ in traces.exporters] == [
        "genai_metrics", "trajectory", "debug", "otlp_http/phoenix", "otlp/jaeger"
    ]  # fmt: skip


def test_unknown_preset_is_an_error_with_a_suggestion() -> None:
    """The nearest name, or all of them."""
    with pytest.raises(InvalidConfig) as raised:
        load(["default:", "preset:langfus", "preset:x"], [], {})
    near, far = (str(error) for error in raised.value.errors)
    assert "no preset of that name" in near
    assert "langfuse" in near
    assert ", ".join(presets.names()) in far


def test_preset_leaves_out_what_the_configuration_below_does_not_have() -> None:
    """No `debug`, no `logs`: only what the preset itself defines is added, to pipelines that are there."""
    own = """
    receivers: {otlp: {protocols: {http: {}}}}
    exporters: {file: {path: spans.jsonl}}
    service: {pipelines: {traces: {receivers: [otlp], exporters: [file]}}}
    """
    config = load(
        [f"yaml:{own}", "preset:langfuse", "preset:openlit"], [], HTTP["langfuse"].environ | HTTP["openlit"].environ
    )

    assert config.as_dict()["service"]["pipelines"] == {
        "traces": {
            "receivers": ["otlp"],
            "processors": [],
            "exporters": ["file", "otlp_http/langfuse", "otlp_http/openlit"],
        }
    }
    assert [str(id_) for id_ in config.service.extensions] == ["basicauth/langfuse"]


@pytest.mark.parametrize("name", ALL)
def test_preset_goes_where_the_documentation_says(name: str) -> None:
    """Scheme, host and path of each signal that it is listed for, and of no other."""
    config = load(["default:", f"preset:{name}"], [], ALL[name].environ)

    assert dict(addresses(config)) == ALL[name].urls


@pytest.mark.parametrize("name", ALL)
def test_preset_says_where_it_comes_from_and_what_was_tried(name: str) -> None:
    """An address, the day it was read, and what was run; every variable is explained."""
    text = Path(presets.file(name)).read_text()
    comment = " ".join(line.lstrip("# ") for line in text.splitlines() if line.startswith("#"))

    assert re.search(r"From https://\S+", comment)
    assert re.search(r"read 20\d\d-\d\d-\d\d", comment)
    assert re.search(r"Run for real: make|tested\.", comment)
    assert all(variable in comment for variable in re.findall(r"\$\{env:(\w+)", text))


def test_documentation_has_every_preset_and_variable() -> None:
    """docs/backends.md is the list that people read."""
    page = (Path(__file__).parents[1] / "docs" / "backends.md").read_text()
    for name in presets.names():
        assert f"preset:{name}" in page
        for variable in re.findall(r"\$\{env:(\w+)", Path(presets.file(name)).read_text()):
            assert variable in page, f"{name}: {variable}"


def addresses(config: Config) -> Iterator[tuple[str, str]]:
    """Yield each signal that goes to an OTLP exporter with its address."""
    for id_, pipeline in config.pipelines.items():
        if str(id_) in SIGNALS:
            for exporter in pipeline.exporters:
                component = config.exporters.get(exporter)
                if component and isinstance(component.config, OtlpHttpConfig):
                    yield id_.signal, component.config.url(id_.signal)
                elif component and isinstance(component.config, OtlpConfig):
                    yield id_.signal, component.config.endpoint


# --- the wire -------------------------------------------------------------------------------------


@dataclass
class FakeBackend:
    """Requests that came, and how the first was answered: as if a key was wrong."""

    address: str = ""
    requests: dict[str, list[Mapping[str, str]]] = field(default_factory=dict)
    """Headers by path."""
    came: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def take(self, path: str, headers: Mapping[str, str]) -> bool:
        """Keep a request; False for the first."""
        async with self.came:
            self.requests.setdefault(path, []).append(headers)
            self.came.notify_all()
            return sum(map(len, self.requests.values())) > 1

    async def wait(self, path: str, count: int) -> Mapping[str, str]:
        """Return the headers of the request number `count` to `path`."""
        async with self.came:
            await asyncio.wait_for(self.came.wait_for(lambda: len(self.requests.get(path, ())) >= count), 10.0)
        return self.requests[path][count - 1]


@pytest.fixture
async def backend() -> AsyncIterator[FakeBackend]:
    """Yield an OTLP/HTTP server."""
    made = FakeBackend()

    async def answer(taken: web.Request) -> web.Response:
        await taken.read()
        taken_whole = await made.take(taken.path, taken.headers)
        return web.Response(status=200 if taken_whole else 401, content_type="application/x-protobuf")

    app = web.Application()
    app.router.add_post("/{path:.*}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    made.address = f"http://{host}:{port}"
    yield made
    await runner.cleanup()


def base(http: int, zpages: int) -> str:
    """Return a configuration that takes everything and hands it to nobody yet."""
    pipeline = {"receivers": ["otlp"], "exporters": ["debug"]}
    tree = {
        "receivers": {"otlp": {"protocols": {"http": {"endpoint": f"127.0.0.1:{http}"}}}},
        "exporters": {"debug": {}},
        "extensions": {"zpages": {"endpoint": f"127.0.0.1:{zpages}"}},
        "service": {"extensions": ["zpages"], "pipelines": dict.fromkeys(SIGNALS, pipeline)},
    }
    return f"yaml:{yaml.safe_dump(tree)}"


def redirected(config: Config, to: str) -> str:
    """Return what sends every OTLP/HTTP exporter to another host, the paths unchanged."""
    keys = ("endpoint", "traces_endpoint", "logs_endpoint", "metrics_endpoint")
    changes = {
        str(id_): {key: to + urlsplit(url).path for key in keys if (url := getattr(component.config, key))}
        for id_, component in config.exporters.items()
        if isinstance(component.config, OtlpHttpConfig)
    }
    return f"yaml:{yaml.safe_dump({'exporters': changes})}"


@asynccontextmanager
async def running(sources: list[str], environ: Mapping[str, str]) -> AsyncIterator[None]:
    """Run a sidecar in this process."""
    sidecar = Sidecar(load(sources, [], environ), MetricTable())
    await sidecar.start()
    try:
        yield
    finally:
        await sidecar.stop()


def messages() -> dict[str, bytes]:
    """Return a request of each signal."""
    logs = ExportLogsServiceRequest()
    logs.resource_logs.add().scope_logs.add().log_records.add().body.string_value = "hello"
    metrics = ExportMetricsServiceRequest()
    metric = metrics.resource_metrics.add().scope_metrics.add().metrics.add(name="requests")
    metric.gauge.data_points.add(as_int=1)
    return {
        "traces": request(span(1)).SerializeToString(),
        "logs": logs.SerializeToString(),
        "metrics": metrics.SerializeToString(),
    }


async def send(session: aiohttp.ClientSession, port: int, signal: str) -> None:
    """Send one request to the sidecar."""
    headers = {"Content-Type": "application/x-protobuf"}
    url = f"http://127.0.0.1:{port}/v1/{signal}"
    async with session.post(url, data=messages()[signal], headers=headers) as answer:
        assert answer.status == 200, await answer.text()


@contextmanager
def listening(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Hear everything that is logged, however unimportant."""
    with caplog.at_level(logging.DEBUG):
        yield


@pytest.mark.parametrize(
    ("name", "more", "headers"),
    [
        *((name, {}, expected.headers) for name, expected in HTTP.items()),
        *((name, *OPTIONAL[name]) for name in OPTIONAL),
    ],
)
async def test_headers_reach_the_wire_and_secrets_nothing_else(
    name: str,
    more: Mapping[str, str],
    headers: Mapping[str, str],
    backend: FakeBackend,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Path, type, compression and headers as documented; neither logs, pages nor print-config have a secret."""
    expected, environ = HTTP[name], {**HTTP[name].environ, **more}
    port, zpages = free_ports(2)
    sources = [base(port, zpages), f"preset:{name}"]
    sources.append(redirected(load(sources, [], environ), backend.address))
    with listening(caplog):
        async with running(sources, environ), aiohttp.ClientSession() as session:
            await send(session, port, "traces")
            await backend.wait(urlsplit(expected.urls["traces"]).path, 1)
            for signal, url in expected.urls.items():
                await send(session, port, signal)
                came = await backend.wait(urlsplit(url).path, 2 if signal == "traces" else 1)
                assert came["Content-Type"] == "application/x-protobuf"
                assert came.get("Content-Encoding") == expected.encoding
                assert headers.items() <= {key: came.get(key) for key in headers}.items()
                assert ("x-honeycomb-dataset" in came) == (name == "honeycomb" and signal == "metrics")
            pages = [
                await (await session.get(f"http://127.0.0.1:{zpages}/debug/{page}")).text()
                for page in ("servicez", "pipelinez", "tracez", "tasks")
            ]
    for variable, value in environ.items():
        monkeypatch.setenv(variable, value)
    assert main(["print-config", *(word for source in sources for word in ("--config", source))]) == 0
    printed = capsys.readouterr()

    assert "401" in caplog.text
    for text in (caplog.text, *pages, printed.out, printed.err):
        assert SECRET not in text
        assert BASIC not in text


@pytest.mark.parametrize("name", GRPC)
async def test_metadata_reaches_the_wire_over_grpc(name: str) -> None:
    """Compressed, with the headers of the preset."""
    came: asyncio.Queue[dict[str, Any]] = asyncio.Queue()

    async def export(_: bytes, context: grpc.aio.ServicerContext[bytes, bytes]) -> bytes:
        came.put_nowait(dict(context.invocation_metadata() or ()))
        return b""

    server = grpc.aio.server()
    handlers = {"Export": grpc.unary_unary_rpc_method_handler(export)}
    service = "opentelemetry.proto.collector.trace.v1.TraceService"
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, handlers),))
    there = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    port, zpages = free_ports(2)
    environ = dict.fromkeys(GRPC[name].environ, f"127.0.0.1:{there}")
    async with running([base(port, zpages), f"preset:{name}"], environ), aiohttp.ClientSession() as session:
        await send(session, port, "traces")
        metadata = await asyncio.wait_for(came.get(), 10.0)
    await server.stop(None)

    assert GRPC[name].headers.items() <= metadata.items()

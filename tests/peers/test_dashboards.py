"""Every query of every dashboard, asked of a real Prometheus that scrapes a sidecar with a fleet behind it."""

from __future__ import annotations

import contextlib
import math
import re
import time
from typing import TYPE_CHECKING, Any, Final

import grpc
import pytest
import yaml
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Span
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from spanledger.service.demo import workload
from tests.backend import SERVICES, Backend, Failure
from tests.corpus.captures import packed
from tests.deploy.grafana_json import DASHBOARDS, DEPLOY, Asked, asked, load, one_of, resolved, substituted, windows
from tests.peers import troubled
from tests.peers.conftest import PEERS, installed
from tests.peers.servers import Prometheus, prometheus
from tests.peers.week import backfill, openmetrics
from tests.sidecar import Sidecar, to_backend

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

ROUNDS: Final = 12
RANGE_S, STEP_S, SCRAPE_S = 60, 1, 1
STACKS: Final = ("python/langfuse-v5", "python/openinference-langchain", "python/pydantic-ai", "js/claude-code")
"""Of the corpus: traces of three dialects, and log records."""

AGENTS: Final = (
    ("trip-planner", "planner"), ("support-desk", "support"), ("code-review", "reviewer"), ("refunds", "refunds"),
)  # fmt: skip
TOOLS: Final = (("refunds", "refunds", "refund"), ("support-desk", "support", "lookup_order"))
SCORES: Final = ("spanledger.goal_signal", "helpfulness")

ONLY_IF_BROKEN: Final = {
    "spanledger-pipeline: Faults of dialects A": "an error of ours, which no input is known to cause",
}
"""Queries that return nothing on a good day."""

TRAJECTORY: Final[dict[str, Any]] = {
    "settle": "500ms",
    "settle_remote": "1s",
    "idle_timeout": "5s",
    "dimensions": [{"name": "user", "from": "user.id"}, "team"],
    "slo": {"latency": {"*": "10s"}, "evaluations": {"*": {"spanledger.goal_signal": 0.8, "helpfulness": 0.7}}},
    "budgets": [
        {"name": "everything", "per": "day", "soft_usd": 0.001, "hard_usd": 5},
        {"name": "refunds", "match": {"agent_name": "refunds"}, "per": "hour", "hard_usd": 0.01},
        {"name": "each-run", "per": "run", "hard_usd": 1},
    ],
    "policies": [
        {"name": "research-tools", "match": {"agent_name": "researcher"}, "tools": {"allow": ["get_weather"]}},
        {"name": "models", "models": {"deny": ["house-*"]}},
        {"name": "ask-first", "approval": {"tools": ["refund"]}},
        {"name": "no-deleting", "tools": {"deny": ["delete_*"]}},
    ],
}


def configuration(sidecar: Sidecar, backend: str) -> dict[str, Any]:
    """Return a configuration with everything that dashboards show: budgets, policies, objectives, dimensions, disks."""
    config = sidecar.config({"otlp": to_backend(backend, sending_queue={"storage": "file_storage"})})
    config["connectors"]["trajectory"] = TRAJECTORY
    config["exporters"]["run_store"] = {"directory": str(sidecar.directory / "runs")}
    config["extensions"]["file_storage"] = {"directory": str(sidecar.directory / "queue")}
    config["processors"]["redaction"] = {"allow_all_keys": True, "detect": ["emails"]}
    service = config["service"]
    for signal in ("traces", "logs"):
        service["pipelines"][signal]["processors"].insert(0, "redaction")
    service["extensions"].append("file_storage")
    service["pipelines"]["traces"]["exporters"].append("trajectory")
    service["pipelines"]["logs"]["exporters"].append("trajectory")
    service["pipelines"]["logs/runs"] = {"receivers": ["trajectory"], "exporters": ["run_store"]}
    service["pipelines"]["metrics/own"]["receivers"].append("trajectory")
    return config


def rules(directory: Path) -> list[Path]:
    """Return the shipped rules, evaluated every second."""
    written = []
    for path in sorted((DEPLOY / "prometheus").glob("*.rules.yaml")):
        document = yaml.safe_load(path.read_text())
        for group in document["groups"]:
            group["interval"] = "1s"
        copied = directory / path.name
        copied.write_text(yaml.safe_dump(document, sort_keys=False))
        written.append(copied)
    return written


def play(address: str) -> Iterator[None]:
    """Play the demo, the application in trouble and captures of the corpus, a round at a time."""

    def provider(service: str) -> TracerProvider:
        made = TracerProvider(resource=workload.resource(service), shutdown_on_exit=False)
        made.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=address, insecure=True)))
        return made

    demo = {service: provider(service) for service in workload.SERVICES}
    refunds = provider("refunds")
    with grpc.insecure_channel(address) as channel:
        for number in range(1, ROUNDS + 1):
            workload.play(demo, time.time_ns(), number)
            troubled.play(refunds, time.time_ns(), number)
            for one in (*demo.values(), refunds):
                one.force_flush()
            if number % 3 == 1:
                _send_captures(channel, STACKS[number // 3])
            yield
    for one in (*demo.values(), refunds):
        one.shutdown()


def _send_captures(channel: grpc.Channel, stack: str) -> None:
    for capture in packed(stack):
        for signal, (service, _, response) in SERVICES.items():
            export = channel.unary_unary(f"/{service}/Export", response_deserializer=response.FromString)
            for request in capture.requests(signal):
                with contextlib.suppress(grpc.RpcError):
                    export(request, timeout=30.0)


@pytest.fixture(scope="module", params=["prometheus", "prometheus-newest"])
def fleet(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """Return a Prometheus with a week behind it, the shipped rules, and a fleet that it has watched for a while."""
    if request.param == "prometheus-newest" and not (PEERS / request.param).exists():
        pytest.skip("no newest Prometheus: tests/peers/install.sh says why")
    binaries = installed(request.param, "usr", "bin")
    directory = tmp_path_factory.mktemp("fleet")
    (directory / "sidecar").mkdir()
    sidecar = Sidecar(directory / "sidecar")
    backfill(binaries / "promtool", directory, openmetrics(time.time(), AGENTS, TOOLS, SCORES))
    with Backend() as backend, contextlib.ExitStack() as stack:
        sidecar.start(configuration(sidecar, backend.endpoint))
        stack.callback(sidecar.process.kill)
        server = stack.enter_context(
            prometheus(binaries / "prometheus", directory, sidecar.prometheus, rules(directory))
        )
        scrapes = 'sum(count_over_time(up{job="spanledger"}[1h]))'
        server.process.wait_until(lambda: server.value(scrapes))
        for number, _ in enumerate(play(sidecar.grpc), 1):
            if number == ROUNDS // 2:
                _annoy(sidecar, backend)
            before = server.value(scrapes) or 0
            server.process.wait_until(lambda before=before: (server.value(scrapes) or 0) > before + 1)
        server.process.wait_until(lambda: (server.value("sum(increase(spanledger_runs_total[1m]))") or 0) > ROUNDS)
        yield server


def _annoy(sidecar: Sidecar, backend: Backend) -> None:
    """Make the sidecar refuse, give up on, and not read something."""
    backend.failures.append(Failure(grpc.StatusCode.INVALID_ARGUMENT))
    crowded = Span(
        trace_id=b"c" * 16, span_id=b"c" * 8, name="crowded", start_time_unix_nano=1, end_time_unix_nano=2,
        attributes=[KeyValue(key=f"key-{number}") for number in range(2000)],
    )  # fmt: skip
    request = ExportTraceServiceRequest(resource_spans=[ResourceSpans(scope_spans=[ScopeSpans(spans=[crowded])])])
    with grpc.insecure_channel(sidecar.grpc) as channel:
        for sent in (request.SerializeToString(), b"\xff\xff\xff"):
            with contextlib.suppress(grpc.RpcError):
                channel.unary_unary(f"/{SERVICES['traces'][0]}/Export")(sent, timeout=10.0)


def answers(server: Prometheus, query: Asked, values: dict[str, str]) -> tuple[list[dict[str, str]], list[float]]:
    """Return the labels of the series that a query returns, and all values."""
    expr = substituted(query.expr, {**values, **windows(RANGE_S, STEP_S, SCRAPE_S)})
    now = time.time()
    if query.instant:
        found = server.query(expr)
        return [dict(labels) for labels in found], list(found.values())
    matrix = server.over(expr, now - RANGE_S, now, STEP_S)
    return [series["metric"] for series in matrix], [float(value) for series in matrix for _, value in series["values"]]


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
def test_every_query_returns_data(path: Path, fleet: Prometheus) -> None:
    """With all agents chosen there is something in every panel, named by labels that it has."""
    dashboard = load(path)
    values = resolved(dashboard, lambda selector, label: fleet.label_values(label, selector))
    silent, unnamed, endless = [], [], []

    for query in asked(dashboard):
        labels, numbers = answers(fleet, query, values)
        if not labels or all(map(math.isnan, numbers)):
            silent += [] if query.annotation or query.where in ONLY_IF_BROKEN else [query.where]
        wanted = set(re.findall(r"\{\{(\w+)\}\}", query.legend))
        unnamed += [query.where] if wanted - set().union(*labels) and labels else []
        endless += [query.where] if len(labels) > 250 else []

    assert (silent, unnamed, endless) == ([], [], [])


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
def test_one_agent_can_be_chosen(path: Path, fleet: Prometheus) -> None:
    """Each variable narrows the next, and with one value of each no query fails."""
    dashboard = load(path)

    def first(_: Any, found: Sequence[str]) -> str:
        assert found
        return one_of([found[-1]])

    values = resolved(dashboard, lambda selector, label: fleet.label_values(label, selector), first)
    returned = [bool(answers(fleet, query, values)[0]) for query in asked(dashboard)]

    assert any(returned)


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
def test_points_lead_to_traces(path: Path, fleet: Prometheus) -> None:
    """Queries that ask for exemplars get some, with a trace id."""
    dashboard = load(path)
    values = resolved(dashboard, lambda selector, label: fleet.label_values(label, selector))
    now = time.time()

    for query in asked(dashboard):
        if query.exemplar:
            expr = substituted(query.expr, {**values, **windows(RANGE_S, STEP_S, SCRAPE_S)})
            found = fleet.exemplars(expr, now - 3600, now)
            assert found, query.where
            assert all("trace_id" in exemplar["labels"] for exemplar in found)


def test_a_change_of_an_agent_is_marked(fleet: Prometheus) -> None:
    """All agents were others a few minutes ago, and one says its instructions: it is known to differ."""
    dashboard = load(DASHBOARDS[0])
    (change,) = [query for query in asked(dashboard) if query.where.endswith("Agent changed")]

    labels, _ = answers(fleet, change, resolved(dashboard, lambda s, label: fleet.label_values(label, s)))

    assert {(one["service_name"], one["agent_name"]) for one in labels} == {("code-review", "reviewer")}
    assert all(one["fingerprint"] not in {"", "before"} for one in labels)

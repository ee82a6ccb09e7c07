"""Every query of every dashboard, asked of a real Prometheus that scrapes a sidecar with a fleet behind it."""

from __future__ import annotations

import contextlib
import math
import re
import time
from dataclasses import dataclass
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
from tests.peers import rule_data, troubled
from tests.peers.conftest import PEERS, installed
from tests.peers.servers import Prometheus, prometheus
from tests.peers.week import backfill, openmetrics
from tests.sidecar import Sidecar, to_backend

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

pytestmark = pytest.mark.timeout(600)  # the fleet is played for a minute and more

ROUNDS: Final = 12
SCRAPE_S: Final = 1
POINTS: Final = 60
"""Of a graph."""
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
        {"name": "refunds", "match": {"agent_name": "refunds"}, "per": "hour", "hard_usd": 0.05},
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


def shipped(name: str) -> list[dict[str, Any]]:
    """Return the rules of a shipped file."""
    document = yaml.safe_load((DEPLOY / "prometheus" / f"{name}.rules.yaml").read_text())
    return [rule for group in document["groups"] for rule in group["rules"]]


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
                send_captures(channel, STACKS[number // 3])
            yield
    for one in (*demo.values(), refunds):
        one.shutdown()


def send_captures(channel: grpc.Channel, stack: str) -> None:
    """Send everything that was recorded of a stack of the corpus."""
    for capture in packed(stack):
        for signal, (service, _, response) in SERVICES.items():
            export = channel.unary_unary(f"/{service}/Export", response_deserializer=response.FromString)
            for request in capture.requests(signal):
                with contextlib.suppress(grpc.RpcError):
                    export(request, timeout=30.0)


@dataclass(frozen=True, slots=True)
class Fleet:
    """A Prometheus that has watched a fleet, and when: all is asked for one moment, however long asking takes."""

    server: Prometheus
    began_s: float
    now_s: float

    @property
    def windows(self) -> dict[str, str]:
        """Return Grafana's own variables for the time that was watched."""
        return windows(self.range_s, self.step_s, SCRAPE_S)

    @property
    def range_s(self) -> int:
        """Return how long it was watched."""
        return math.ceil(self.now_s - self.began_s)

    @property
    def step_s(self) -> int:
        """Return what is between two points of a graph."""
        return max(1, self.range_s // POINTS)

    def resolved(self, dashboard: dict[str, Any], *choose: Any) -> dict[str, str]:
        """Return what the variables of a dashboard stand for."""
        return resolved(dashboard, lambda selector, label: self.server.label_values(label, selector), *choose)


@pytest.fixture(scope="module", params=["prometheus", "prometheus-newest"])
def fleet(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
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
        began_s = time.time()
        for number, _ in enumerate(play(sidecar.grpc), 1):
            if number == ROUNDS // 2:
                annoy(sidecar, backend)
            before = server.value(scrapes) or 0
            server.process.wait_until(lambda before=before: (server.value(scrapes) or 0) > before + 1)
        server.process.wait_until(lambda: (server.value("sum(increase(spanledger_runs_total[10m]))") or 0) > ROUNDS)
        # Gauges are not there for a moment after a scrape that took too long.
        server.process.wait_until(lambda: server.value("up") == 1 and server.query("spanledger_model_price_usd"))
        yield Fleet(server, began_s, time.time())


def annoy(sidecar: Sidecar, backend: Backend) -> None:
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


def answers(fleet: Fleet, query: Asked, values: dict[str, str]) -> tuple[list[dict[str, str]], list[float]]:
    """Return the labels of the series that a query returns, and all values."""
    expr = substituted(query.expr, {**values, **fleet.windows})
    if query.instant:
        found = fleet.server.query(expr, fleet.now_s)
        return [dict(labels) for labels in found], list(found.values())
    matrix = fleet.server.over(expr, fleet.began_s, fleet.now_s, fleet.step_s)
    return [series["metric"] for series in matrix], [float(value) for series in matrix for _, value in series["values"]]


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
def test_every_query_returns_data(path: Path, fleet: Fleet) -> None:
    """With all agents chosen there is something in every panel, named by labels that it has."""
    dashboard = load(path)
    values = fleet.resolved(dashboard)
    silent, unnamed, endless = [], [], []

    for query in asked(dashboard):
        labels, numbers = answers(fleet, query, values)
        if not labels or all(map(math.isnan, numbers)):
            silent += [] if query.annotation else [query.where]
        wanted = set(re.findall(r"\{\{(\w+)\}\}", query.legend))
        unnamed += [query.where] if wanted - set().union(*labels) and labels else []
        endless += [query.where] if len(labels) > 250 else []

    assert (silent, unnamed, endless) == ([one for one in ONLY_IF_BROKEN if one.startswith(dashboard["uid"])], [], [])


def test_every_recording_rule_records_something(fleet: Fleet) -> None:
    """What panels and alerts share is there for this fleet, each expression by itself."""
    silent = [rule["record"] for rule in shipped("recording") if not fleet.server.query(rule["expr"], fleet.now_s)]

    assert silent == []


def test_every_alert_has_something_to_look_at(fleet: Fleet) -> None:
    """Each series that an alert reads is there, so its silence means that all is well; a list says why some are not."""
    silent: dict[str, list[str]] = {}
    for rule in shipped("alerts"):
        for selector in rule_data.selectors(rule["expr"]):
            if not fleet.server.query(f"last_over_time({selector}[{fleet.range_s}s])", fleet.now_s):
                silent.setdefault(selector, []).append(rule["alert"])

    assert set(silent) == set(rule_data.ONLY_IF_BROKEN), silent


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
def test_one_agent_can_be_chosen(path: Path, fleet: Fleet) -> None:
    """Each variable narrows the next, and with one value of each no query fails."""
    dashboard = load(path)

    def first(_: Any, found: Sequence[str]) -> str:
        assert found
        return one_of([found[-1]])

    values = fleet.resolved(dashboard, first)
    returned = [bool(answers(fleet, query, values)[0]) for query in asked(dashboard)]

    assert any(returned)


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
def test_points_lead_to_traces(path: Path, fleet: Fleet) -> None:
    """Queries that ask for exemplars get some, with a trace id."""
    dashboard = load(path)
    values = fleet.resolved(dashboard)

    for query in asked(dashboard):
        if query.exemplar:
            expr = substituted(query.expr, {**values, **fleet.windows})
            found = fleet.server.exemplars(expr, fleet.began_s, fleet.now_s)
            assert found, query.where
            assert all("trace_id" in exemplar["labels"] for exemplar in found)


def test_a_change_of_an_agent_is_marked(fleet: Fleet) -> None:
    """All agents were others a few minutes ago, and one says its instructions: it is known to differ."""
    dashboard = load(DASHBOARDS[0])
    (change,) = [query for query in asked(dashboard) if query.where.endswith("Agent changed")]

    labels, _ = answers(fleet, change, fleet.resolved(dashboard))

    assert {(one["service_name"], one["agent_name"]) for one in labels} == {("code-review", "reviewer")}
    assert all(one["fingerprint"] not in {"", "before"} for one in labels)

"""Several replicas behind the Collector's `load_balancing` exporter: totals, and what a change of replicas costs.

`pytest -m peers tests/peers/test_collectors_replicas.py -s` prints what docs/scaling.md quotes.
"""

from __future__ import annotations

import os
import subprocess
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from spanledger.conventions.values import key_value
from tests.backend import Backend
from tests.peers.load import SPANS_PER_REQUEST, START_NS, Load, send
from tests.peers.otelcol import QUICK_RETRY
from tests.processes import free_ports
from tests.sidecar import Sidecar, to_backend, with_runs, with_storage

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from tests.peers.conftest import NewCollector

CONSUMERS = 10
"""Requests that a Collector's exporter works on at a time."""
CALL_USD = 100 * 0.15e-6 + 10 * 0.60e-6
"""What one call of `load.request` costs."""


class Replica:
    """A sidecar with a disk, and a backend that nobody else sends to."""

    def __init__(self, directory: Path, host: str, port: int) -> None:
        directory.mkdir()
        self.directory = directory
        self.host = host
        self.backend = Backend()
        self.sidecar = Sidecar(directory, host)
        self.sidecar.grpc = f"{host}:{port}"

    def config(self, idle_timeout: str = "15m") -> dict[str, Any]:
        """Return its configuration: queue, runs and open runs on disk."""
        exporter = to_backend(self.backend.endpoint, sending_queue={"storage": "file_storage"})
        config = with_storage(self.sidecar.config({"otlp": exporter}), self.directory / "queues")
        config["connectors"]["genai_metrics"] = {"agent_wait": "1s"}  # of a split trace, one half never sees its agent
        return with_runs(config, self.directory, idle_timeout=idle_timeout)

    def spans(self) -> list[tuple[bytes, bytes]]:
        """Return trace and span id of everything that it sent on."""
        return [(one.span.trace_id, one.span.span_id) for one in self.backend.spans()]


class Fleet:
    """Four replicas, each at an address of its own, all at the same port."""

    def __init__(self, directory: Path) -> None:
        (self.port,) = free_ports(1)
        hosts = [f"127.0.0.{number}" for number in range(2, 6)]
        self.replicas = [Replica(directory / host, host, self.port) for host in hosts]

    def __getitem__(self, number: int) -> Replica:
        return self.replicas[number]

    def start(self) -> None:
        """Let those run that do not, and forget what all of them sent on before."""
        for replica in self.replicas:
            if not hasattr(replica.sidecar, "process") or replica.sidecar.process.popen.poll() is not None:
                replica.sidecar.start(replica.config())
            self._settle(replica)
            replica.backend.clear()

    def _settle(self, replica: Replica) -> None:
        """Wait until it has sent on what an earlier test left."""
        sidecar = replica.sidecar
        sidecar.process.wait_until(lambda: sidecar.total("otelcol_exporter_queue_size") == 0)

    def end(self) -> None:
        """End everything."""
        for replica in self.replicas:
            if hasattr(replica.sidecar, "process"):
                replica.sidecar.process.kill()
            replica.backend.stop()

    def balanced(self, numbers: Sequence[int], isolated: bool = False) -> dict[str, Any]:
        """Return the exporter that spreads traces over these replicas, as `balanced` has it."""
        addresses = [self[number].sidecar.grpc for number in numbers]
        return balanced({"static": {"hostnames": addresses}}, isolated)

    def arrived(self) -> Counter[bytes]:
        """Return how often each span was sent on by any replica."""
        return Counter(span_id for replica in self.replicas for _, span_id in replica.spans())

    def total(self, name: str, **labels: str) -> float:
        """Return the sum of a metric over all replicas."""
        return sum(replica.sidecar.total(name, **labels) for replica in self.replicas)


def balanced(resolver: dict[str, Any], isolated: bool = False) -> dict[str, Any]:
    """Return an exporter that spreads traces over the replicas that `resolver` finds, as deploy/collector/replicas.

    `isolated` is the other way: a queue in memory for each replica.
    """
    patience = QUICK_RETRY if isolated else {**QUICK_RETRY, "max_elapsed_time": "1s"}
    waiting = {"sending_queue": {"enabled": isolated}, "retry_on_failure": patience}
    return {
        "load_balancing": {
            "routing_key": "traceID",
            "resolver": resolver,
            "protocol": {"otlp": {"timeout": "30s", "tls": {"insecure": True}, **waiting}},
            "retry_on_failure": {**QUICK_RETRY, "max_elapsed_time": "0s"},
            "sending_queue": {"enabled": True, "storage": "file_storage"},
        }
    }


@pytest.fixture(scope="module")
def all_replicas(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """Make the replicas, once."""
    made = Fleet(tmp_path_factory.mktemp("fleet"))
    yield made
    made.end()


@pytest.fixture
def fleet(collector_binary: Path, all_replicas: Fleet) -> Fleet:
    """Lend four running replicas whose backends have nothing; their counters go on from test to test."""
    assert collector_binary
    all_replicas.start()
    return all_replicas


def only_traces(config: dict[str, Any]) -> dict[str, Any]:
    """Leave the pipeline of traces; `traceID` says nothing about metrics."""
    config["service"]["pipelines"] = {"traces": config["service"]["pipelines"]["traces"]}
    return config


def test_one_replica_is_killed_and_one_added_under_load(new_collector: NewCollector, fleet: Fleet) -> None:
    """Everything acknowledged arrives; each replica's numbers are those of the spans that it took, each once."""
    first = new_collector("first")
    first.start(only_traces(first.config(fleet.balanced([0, 1, 2]))))
    calls, tokens, dollars = (
        "spanledger_llm_calls_total", "spanledger_llm_tokens_total", "spanledger_llm_cost_usd_total"
    )  # fmt: skip
    before = [[replica.sidecar.total(name) for name in (calls, tokens, dollars)] for replica in fleet.replicas]

    with Load(first.grpc, clients=2, pause_s=0.02).running() as load:
        load.wait_for(60)
        scraped = fleet[0].sidecar.total(calls) - before[0][0]
        fleet[0].sidecar.process.kill()
        load.wait_for(30)
        first.reload(only_traces(first.config(fleet.balanced([1, 2, 3]))))
        load.wait_for(60)
    fleet[0].sidecar.start(fleet[0].config())  # Its disk has what it had acknowledged and not sent on.

    first.process.wait_until(lambda: load.acknowledged <= set(fleet.arrived()))
    killed = fleet[0].sidecar
    killed.process.wait_until(lambda: killed.total("otelcol_exporter_queue_size") == 0)
    for replica, (calls_before, tokens_before, dollars_before) in zip(fleet.replicas[1:], before[1:], strict=True):
        mine = set(replica.spans())
        assert replica.sidecar.total(calls) - calls_before == len(mine)
        assert replica.sidecar.total(tokens) - tokens_before == 110 * len(mine)
        assert replica.sidecar.total(dollars) - dollars_before == pytest.approx(CALL_USD * len(mine), abs=1e-9)
    took = len(fleet[0].spans())
    assert 0 < scraped <= took
    twice = sum(count - 1 for count in fleet.arrived().values())
    print(
        f"\n{len(load.acknowledged)} spans acknowledged, none lost, {twice} twice; of {took} spans that the killed "
        f"replica took, {took - int(scraped)} came after its last scrape"
    )
    # What the killed one was working on was sent again to another.
    assert twice <= CONSUMERS * SPANS_PER_REQUEST


CALLS = 4
TRACES = 300


def part(
    trace_ids: Sequence[bytes], steps: range, with_root: bool, service_name: str = "load"
) -> ExportTraceServiceRequest:
    """Return some model calls of each trace, and the agent that made them all."""
    made = ExportTraceServiceRequest()
    resource = made.resource_spans.add()
    resource.resource.attributes.append(key_value("service.name", service_name))
    spans = resource.scope_spans.add().spans
    for trace_id in trace_ids:
        for step in steps:
            span = spans.add(trace_id=trace_id, span_id=bytes([step + 1]) + trace_id[:7], parent_span_id=trace_id[:8])
            span.name = "chat gpt-4o-mini"
            span.start_time_unix_nano = START_NS + step * 1_000_000
            span.end_time_unix_nano = span.start_time_unix_nano + 500_000
            for key, value in (
                ("gen_ai.operation.name", "chat"),
                ("gen_ai.provider.name", "openai"),
                ("gen_ai.request.model", "gpt-4o-mini"),
                ("gen_ai.response.id", f"{trace_id.hex()}-{step}"),
                ("gen_ai.usage.input_tokens", 100),
                ("gen_ai.usage.output_tokens", 10),
            ):
                span.attributes.append(key_value(key, value))
        if with_root:
            root = spans.add(trace_id=trace_id, span_id=trace_id[:8], name="invoke_agent planner")
            root.start_time_unix_nano, root.end_time_unix_nano = START_NS - 1, START_NS + CALLS * 1_000_000
            root.attributes.append(key_value("gen_ai.operation.name", "invoke_agent"))
            root.attributes.append(key_value("gen_ai.agent.name", "planner"))
    return made


def test_what_a_change_of_replicas_costs(new_collector: NewCollector, fleet: Fleet) -> None:
    """Traces under way that belong to another replica now end up as two runs; sums over replicas stay right."""
    first = new_collector("first")
    own = "of this test"
    split_in_all = 0
    first.start(only_traces(first.config(fleet.balanced([0, 1, 2]))))
    for change, after in (("3 replicas to 4", [0, 1, 2, 3]), ("4 replicas to 3", [1, 2, 3])):
        for replica in fleet.replicas:
            replica.backend.clear()
        trace_ids = [os.urandom(16) for _ in range(TRACES)]
        send(first.grpc, part(trace_ids, range(CALLS // 2), with_root=False, service_name=own))
        first.process.wait_until(lambda: len(fleet.arrived()) == TRACES * (CALLS // 2))
        first.reload(only_traces(first.config(fleet.balanced(after))))
        send(first.grpc, part(trace_ids, range(CALLS // 2, CALLS), with_root=True, service_name=own))
        first.process.wait_until(lambda: len(fleet.arrived()) == TRACES * (CALLS + 1))
        places = Counter(trace_id for replica in fleet.replicas for trace_id in {trace for trace, _ in replica.spans()})
        split = sum(count == 2 for count in places.values())
        print(f"\n{change}: {split} of {TRACES} traces under way are split")
        # Consistent hashing: a quarter of the routes move, give or take how even the hashes of so few are.
        assert 0.05 * TRACES < split < 0.6 * TRACES
        split_in_all += split

    def runs(kind: str) -> float:
        return fleet.total("spanledger_runs_total", completeness=kind, service_name=own)

    first.process.wait_until(lambda: runs("complete") == 2 * TRACES)
    for replica in fleet.replicas:  # What has no root is closed when it was silent for long.
        replica.sidecar.write(replica.config(idle_timeout="1s"))
        replica.sidecar.reload()
    first.process.wait_until(lambda: runs("rootless") == split_in_all)
    first.process.wait_until(lambda: fleet.total("spanledger_llm_calls_total", service_name=own) == 2 * TRACES * CALLS)
    for name in ("spanledger_llm_cost_usd_total", "spanledger_run_cost_usd_total"):
        spent = fleet.total(name, service_name=own)
        assert spent == pytest.approx(2 * TRACES * CALLS * CALL_USD, abs=1e-9), name


@pytest.mark.parametrize("isolated", [False, True], ids=["queue-on-disk", "queue-for-each-replica"])
def test_a_replica_that_comes_back_gets_what_is_its(new_collector: NewCollector, fleet: Fleet, isolated: bool) -> None:
    """Requests of many traces, one replica away for a while: nothing is lost, and the numbers have each call once."""
    first = new_collector("first")
    first.start(only_traces(first.config(fleet.balanced([0, 1, 2], isolated))))
    others = [replica.sidecar for replica in fleet.replicas[1:]]
    counted_before = sum(sidecar.total("spanledger_llm_calls_total") for sidecar in others)
    fleet[0].sidecar.process.kill()
    for _ in range(4 * CONSUMERS):
        send(first.grpc, part([os.urandom(16) for _ in range(20)], range(CALLS), with_root=True))
    sent = 4 * CONSUMERS * 20 * (CALLS + 1)
    if isolated:
        first.process.wait_until(lambda: len(fleet.arrived()) > sent / 3)
    else:  # All who could send wait for the one that is away.
        first.process.wait_until(lambda: first.total("otelcol_exporter_in_flight_requests") == CONSUMERS)
    others_got = len(fleet.arrived())

    fleet[0].sidecar.start(fleet[0].config())
    first.process.wait_until(lambda: len(fleet.arrived()) == sent)
    first.process.wait_until(lambda: first.total("otelcol_exporter_in_flight_requests") == 0)

    twice = fleet.arrived().total() - sent
    print(f"\n{sent} spans; the others got {others_got} while one replica was away; none lost, {twice} sent again")
    assert not (isolated and twice)
    calls = {span for replica in fleet.replicas[1:] for span in replica.spans() if span[1] != span[0][:8]}
    assert sum(sidecar.total("spanledger_llm_calls_total") for sidecar in others) - counted_before == len(calls)


@pytest.mark.parametrize("isolated", [False, True], ids=["queue-on-disk", "queue-for-each-replica"])
def test_a_replica_that_never_comes_back(new_collector: NewCollector, fleet: Fleet, isolated: bool) -> None:
    """Taken off the list, what waited for it goes to the others; from a queue in memory it is lost."""
    first = new_collector("first")
    first.start(only_traces(first.config(fleet.balanced([0, 1, 2], isolated))))
    fleet[0].sidecar.process.kill()
    for _ in range(4 * CONSUMERS):
        send(first.grpc, part([os.urandom(16) for _ in range(20)], range(CALLS), with_root=True))
    sent = 4 * CONSUMERS * 20 * (CALLS + 1)
    waiting = {"exporter": "load_balancing", "data_type": "traces"}
    if isolated:
        first.process.wait_until(lambda: first.total("otelcol_exporter_queue_size", **waiting) == 0)

    first.reload(only_traces(first.config(fleet.balanced([1, 2], isolated))))

    if isolated:
        lost = sent - len(fleet.arrived())
        assert lost > 0
    else:
        first.process.wait_until(lambda: len(fleet.arrived()) == sent)
        lost = 0
    print(f"\n{sent} spans, {lost} lost, {fleet.arrived().total() - len(fleet.arrived())} sent again")


WITH_HOSTS = (
    "unshare",
    "--mount",
    "--map-root-user",
    "sh",
    "-c",
    'mount --bind "$1" /etc/hosts && shift && exec "$@"',
    "-",
)
"""A command that runs another with a file of its own in the place of /etc/hosts."""


def test_a_name_in_dns_follows_the_replicas_without_a_restart(
    new_collector: NewCollector, fleet: Fleet, tmp_path: Path
) -> None:
    """A replica that is added gets its share, and what one that is taken away did not take goes to others."""
    if subprocess.run([*WITH_HOSTS[:3], "true"], capture_output=True, check=False).returncode:
        pytest.skip("needs the right to make a mount namespace")
    hosts = tmp_path / "hosts"

    def listed(numbers: Sequence[int]) -> None:
        hosts.write_text("".join(f"{fleet[number].host} fleet.test\n" for number in numbers))

    def some(requests: int) -> int:
        for _ in range(requests):
            send(first.grpc, part([os.urandom(16) for _ in range(20)], range(CALLS), with_root=True))
        return requests * 20 * (CALLS + 1)

    def all_there() -> bool:
        return len(fleet.arrived()) == sent

    listed([0, 1, 2])
    first = new_collector("first", (*WITH_HOSTS, str(hosts)))
    by_name = {"dns": {"hostname": "fleet.test", "port": str(fleet.port), "interval": "100ms"}}
    first.start(only_traces(first.config(balanced(by_name))))
    sent = some(5)
    first.process.wait_until(all_there)
    assert not fleet[3].spans()

    listed([0, 1, 2, 3])
    while not fleet[3].spans():
        sent += some(1)
        first.process.wait_until(all_there)

    fleet[0].sidecar.process.kill()  # With nothing on its disk: it does not come back here.
    sent += some(2 * CONSUMERS)
    listed([1, 2, 3])
    first.process.wait_until(all_there)

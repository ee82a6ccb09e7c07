"""Kafka between sidecars and Collectors: a real broker, real Collectors, processes that are killed."""

from __future__ import annotations

import itertools
import os
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from confluent_kafka import Message, Producer
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.backend import Backend
from tests.certificates import make_certificates
from tests.peers.broker import QUIET, Broker, broker
from tests.peers.conftest import PEERS, installed
from tests.peers.load import SPANS_PER_REQUEST, Load, ids_of, request, send
from tests.peers.test_collectors import log_line, old_call, points, post
from tests.peers.test_collectors_samples import Stage
from tests.sidecar import Sidecar, to_backend, with_storage

if TYPE_CHECKING:
    from tests.peers.conftest import NewCollector

ENCODINGS = ["otlp_proto", "otlp_json"]
SIGNALS = ("traces", "logs", "metrics")
QUICK = {"initial_interval": "50ms", "max_interval": "200ms"}

StartWith = Callable[[dict[str, Any]], Sidecar]


@pytest.fixture(scope="session")
def libs() -> Path:
    """Return the jars of the broker; skips when there was no Java or Maven to get them with."""
    if not (PEERS / "kafka").exists():
        pytest.skip("no Kafka: tests/peers/install.sh gets it, which needs Java and Maven")
    return installed("kafka", "libs")


@pytest.fixture(scope="session")
def shared(libs: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """Run one broker for all tests that leave it as it is: each has topics of its own."""
    with broker(libs, tmp_path_factory.mktemp("broker")) as one:
        one.start()
        yield one


@pytest.fixture
def own(libs: Path, tmp_path: Path) -> Iterator[Broker]:
    """Run a broker that the test may stop."""
    with broker(libs, tmp_path / "broker") as one:
        one.start()
        yield one


@pytest.fixture
def tag(request: pytest.FixtureRequest) -> str:
    """Return a name for the topics and groups of one test."""
    return f"{request.node.originalname[5:25]}-{os.urandom(3).hex()}"


@pytest.fixture
def sidecar(tmp_path: Path) -> Iterator[Callable[[], Sidecar]]:
    """Lend sidecars that are started by the test; none is left at the end."""
    lent: list[Sidecar] = []

    def lend() -> Sidecar:
        (directory := tmp_path / f"sidecar-{len(lent) + 1}").mkdir()
        lent.append(Sidecar(directory))
        return lent[-1]

    yield lend
    for one in lent:
        if hasattr(one, "process"):
            one.process.kill()


def writes(side: Sidecar, where: Broker, topic: str, **settings: Any) -> dict[str, Any]:
    """Return a configuration that writes what comes by OTLP to `topic`-traces and so on."""
    signals = {signal: {"topic": f"{topic}-{signal}", **settings.pop(signal, {})} for signal in SIGNALS}
    return side.config({"kafka": {"brokers": [where.address], "retry_on_failure": QUICK, **signals, **settings}})


def reads(side: Sidecar, where: Broker, topic: str, exporter: dict[str, Any], **settings: Any) -> dict[str, Any]:
    """Return a configuration that takes those topics as group `topic` and sends to an OTLP backend."""
    config = side.config({"otlp": exporter})
    signals = {signal: {"topics": [f"{topic}-{signal}"], **settings.pop(signal, {})} for signal in SIGNALS}
    config["receivers"]["kafka"] = {
        "brokers": [where.address],
        "group_id": topic,
        "initial_offset": "earliest",
        "error_backoff": QUICK,
        **signals,
        **settings,
    }
    for pipeline in config["service"]["pipelines"].values():
        if "otlp" in pipeline["receivers"]:
            pipeline["receivers"].append("kafka")
    return config


def collector_kafka(where: Broker, topic: str, encoding: str, key: str) -> dict[str, Any]:
    """Return what a Collector's kafka exporter and receiver have in common; `key` is `topic` or `topics`."""
    names = {signal: f"{topic}-{signal}" if key == "topic" else [f"{topic}-{signal}"] for signal in SIGNALS}
    return {
        "brokers": [where.address],
        **{signal: {key: name, "encoding": encoding} for signal, name in names.items()},
    }


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_what_a_collector_writes_is_understood(
    shared: Broker,
    tag: str,
    encoding: str,
    new_collector: NewCollector,
    sidecar: Callable[[], Sidecar],
    backend: Backend,
) -> None:
    """Collector's exporter, broker, our receiver: all three signals arrive, model calls priced."""
    shared.topics(*(f"{tag}-{signal}" for signal in SIGNALS))
    side = sidecar()
    side.start(reads(side, shared, tag, to_backend(backend.endpoint), **{s: {"encoding": encoding} for s in SIGNALS}))
    first = new_collector("first")
    first.start(first.config({"kafka": collector_kafka(shared, tag, encoding, "topic")}))

    for path, message in (("/v1/traces", old_call()), ("/v1/logs", log_line()), ("/v1/metrics", points())):
        assert post(first.http, path, message) == 200
    side.process.wait_until(lambda: all(backend.requests(signal) for signal in SIGNALS))

    (span,) = backend.spans()
    assert span.attributes["gen_ai.provider.name"] == "openai"
    assert span.attributes["gen_ai.usage.cost"] == pytest.approx(0.00021, abs=1e-9)
    # The Collector writes the fields of a message the other way round.
    (logs,), (metrics,) = backend.requests("logs"), backend.requests("metrics")
    lines = ExportLogsServiceRequest.FromString(logs).resource_logs[0].scope_logs[0].log_records
    assert list(lines) == list(log_line().resource_logs[0].scope_logs[0].log_records)
    measured = ExportMetricsServiceRequest.FromString(metrics).resource_metrics[0].scope_metrics[0].metrics
    for metric in measured:
        for point in metric.exponential_histogram.data_points:
            # Go writes the empty message too.
            point.ClearField("negative")
    assert list(measured) == list(points().resource_metrics[0].scope_metrics[0].metrics)
    assert side.total("otelcol_receiver_accepted_spans_total", receiver="kafka", transport="kafka") == 1


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_what_we_write_is_understood_by_a_collector(
    shared: Broker, tag: str, encoding: str, new_collector: NewCollector, sidecar: Callable[[], Sidecar]
) -> None:
    """Our exporter, broker, Collector's receiver: the same as over OTLP."""
    shared.topics(*(f"{tag}-{signal}" for signal in SIGNALS))
    last, direct = new_collector("last"), new_collector("direct")
    config = last.config()
    config["receivers"]["kafka"] = {
        **collector_kafka(shared, tag, encoding, "topics"),
        "group_id": tag,
        "initial_offset": "earliest",
    }
    for pipeline in config["service"]["pipelines"].values():
        pipeline["receivers"] = ["kafka"]
    last.start(config)
    direct.start(direct.config())
    side = sidecar()
    settings = {signal: {"encoding": encoding} for signal in SIGNALS}
    config = writes(side, shared, tag, **settings, partition_traces_by_id=True)
    config["exporters"]["otlp"] = to_backend(direct.grpc)
    for pipeline in config["service"]["pipelines"].values():
        if "kafka" in pipeline["exporters"]:
            pipeline["exporters"].append("otlp")
    side.start(config)

    for path, message in (("/v1/traces", old_call()), ("/v1/logs", log_line()), ("/v1/metrics", points())):
        assert post(side.http, path, message) == 200
    for one in (last, direct):
        received = one.received
        one.process.wait_until(
            lambda received=received: received.spans() and received.records() and len(received.metrics()) == 5
        )

    assert last.received.spans() == direct.received.spans()
    assert last.received.records() == direct.received.records()
    assert last.received.metrics() == direct.received.metrics()


def many_traces(count: int) -> ExportTraceServiceRequest:
    """Return one request with two spans of each of `count` traces, the second ones after all first ones."""
    made = ExportTraceServiceRequest()
    spans = made.resource_spans.add().scope_spans.add().spans
    ids = [os.urandom(16) for _ in range(count)]
    for trace_id in ids * 2:
        spans.add(trace_id=trace_id, span_id=os.urandom(8), name="step", start_time_unix_nano=1, end_time_unix_nano=2)
    return made


def spans_by_trace(messages: list[Message]) -> dict[bytes, set[tuple[int, bytes]]]:
    """Return the partition and key of the messages that have spans of each trace."""
    found: dict[bytes, set[tuple[int, bytes]]] = {}
    for message in messages:
        for resource in ExportTraceServiceRequest.FromString(message.value() or b"").resource_spans:
            for scope in resource.scope_spans:
                for span in scope.spans:
                    found.setdefault(span.trace_id, set()).add((message.partition() or 0, message.key() or b""))
    return found


def test_a_trace_is_in_the_partition_where_a_collector_puts_it(
    shared: Broker, tag: str, new_collector: NewCollector, sidecar: Callable[[], Sidecar]
) -> None:
    """One message for each trace, keyed by its id, in the partition that the Collector's hash chooses."""
    shared.topics(f"{tag}-traces", f"{tag}-collector", partitions=8)
    side, first = sidecar(), new_collector("first")
    side.start(writes(side, shared, tag, partition_traces_by_id=True))
    other = collector_kafka(shared, tag, "otlp_proto", "topic") | {"traces": {"topic": f"{tag}-collector"}}
    first.start(first.config({"kafka": {**other, "partition_traces_by_id": True}}))

    message = many_traces(100)
    assert post(side.http, "/v1/traces", message) == post(first.http, "/v1/traces", message) == 200

    ours = spans_by_trace(shared.messages(f"{tag}-traces", 100, 8))
    theirs = spans_by_trace(shared.messages(f"{tag}-collector", 100, 8))
    assert len(ours) == 100
    assert all(places == {(next(iter(places))[0], trace.hex().encode())} for trace, places in ours.items())
    assert ours == theirs
    assert len({partition for ((partition, _),) in ours.values()}) == 8


class Group:
    """Sidecars that write to a topic and sidecars of one group that read it and send to one backend."""

    def __init__(self, where: Broker, tag: str, lend: Callable[[], Sidecar], backend: Backend) -> None:
        self.where, self.tag, self.backend = where, tag, backend
        self._lend = lend
        self._arrived: Counter[bytes] = Counter()
        self._read = 0
        where.topics(*(f"{tag}-{signal}" for signal in SIGNALS), partitions=4)

    def writer(self, directory: Path, **settings: Any) -> Sidecar:
        """Start a sidecar whose queue to the broker is on disk."""
        side = self._lend()
        queue = {"storage": "file_storage", "queue_size": 10000}
        config = writes(side, self.where, self.tag, partition_traces_by_id=True, sending_queue=queue, **settings)
        side.start(with_storage(config, directory))
        return side

    def reader(self, directory: Path, **settings: Any) -> Sidecar:
        """Start a member of the group whose queue to the backend is on disk, in `directory`."""
        side = self._lend()
        queue = {"storage": "file_storage", "queue_size": 10000}
        exporter = to_backend(self.backend.endpoint, sending_queue=queue)
        settings = {"session_timeout": "6s", "heartbeat_interval": "500ms", **settings}
        side.start(with_storage(reads(side, self.where, self.tag, exporter, **settings), directory))
        return side

    def arrived(self) -> Counter[bytes]:
        """Return how often each span is at the backend."""
        requests = self.backend.requests()
        for data in requests[self._read :]:
            self._arrived.update(ids_of("traces", data))
        self._read = len(requests)
        return self._arrived

    def assert_all_arrive(self, wanted: set[bytes], side: Sidecar) -> int:
        """Wait until every wanted span is at the backend; return how many more came than that."""
        side.process.wait_until(lambda: wanted <= self.arrived().keys(), timeout_s=120.0)
        arrived = self.arrived()
        return sum(arrived.values()) - len(arrived)


@pytest.mark.timeout(400)
def test_nothing_is_lost_when_a_member_is_killed_and_another_joins(
    shared: Broker, tag: str, sidecar: Callable[[], Sidecar], backend: Backend, tmp_path: Path
) -> None:
    """Two readers under load; one is killed with what it has accepted, one joins, the killed one comes back."""
    group = Group(shared, tag, sidecar, backend)
    writer = group.writer(tmp_path / "writer")
    first, second = group.reader(tmp_path / "first"), group.reader(tmp_path / "second")
    with Load(writer.grpc, clients=2, pause_s=0.02).running() as load:
        load.wait_for(100)
        for side in (first, second):
            side.process.wait_until(lambda side=side: side.total("otelcol_receiver_accepted_spans_total") > 0)
        second.process.kill()
        load.wait_for(50)
        third = group.reader(tmp_path / "third")
        third.process.wait_until(lambda: third.total("otelcol_receiver_accepted_spans_total") > 0)
        load.wait_for(100)
        # What the killed one had accepted is in its file.
        again = group.reader(tmp_path / "second")
        load.wait_for(100)
    again_spans = group.assert_all_arrive(load.acknowledged, first)

    assert not load.errors
    print(f"{len(load.acknowledged)} spans acknowledged, 0 lost, {again_spans} came twice")
    # A kill leaves what was accepted in the last second of commits, or was in flight to the backend, to come again.
    assert again_spans < len(load.acknowledged) // 2
    for side in (first, third, again, writer):
        assert side.process.stop() == 0


def test_static_members_with_range_have_all_signals_of_a_trace_together(
    shared: Broker, tag: str, sidecar: Callable[[], Sidecar], backend: Backend
) -> None:
    """Partitions of one number in all topics are one sidecar's, so traces and logs with one key meet."""
    shared.topics(*(f"{tag}-{signal}" for signal in SIGNALS), partitions=7)
    # "pod" is the beginning of another name, and a signal stands between the two in the alphabet.
    names = ("pod", "pod-m", "a")
    static = {"group_rebalance_strategies": ["range"]}
    sides = [sidecar() for _ in names]
    for side, name in zip(sides, names, strict=True):
        config = reads(side, shared, tag, to_backend(backend.endpoint), group_instance_id=name, **static)
        side.start(config)

    def settled() -> dict[str, dict[str, set[int]]] | None:
        found: dict[str, dict[str, set[int]]] = {name: {signal: set() for signal in SIGNALS} for name in names}
        for member, places in shared.assigned(tag).items():
            signal, _, name = member.partition("-")
            found[name][signal] = {number for _, number in places}
        return found if all(sum(len(one[signal]) for one in found.values()) == 7 for signal in SIGNALS) else None

    sides[0].process.wait_until(lambda: (found := settled()) and all(found[name]["traces"] for name in names))
    sides[0].process.wait_until(
        lambda: (found := settled()) and all(one["traces"] == one["logs"] == one["metrics"] for one in found.values())
    )
    for side in sides:
        assert side.process.stop() == 0


@pytest.mark.timeout(400)
def test_a_broker_that_restarts_under_load_loses_nothing(
    own: Broker, tag: str, sidecar: Callable[[], Sidecar], backend: Backend, tmp_path: Path
) -> None:
    """Killed and started again: the writer keeps what it cannot write, the reader goes on where it was."""
    group = Group(own, tag, sidecar, backend)
    writer, reader = group.writer(tmp_path / "writer", timeout="2s"), group.reader(tmp_path / "reader")
    with Load(writer.grpc, clients=2, pause_s=0.02).running() as load:
        load.wait_for(100)
        own.process.stop()
        load.wait_for(100)
        own.start()
        load.wait_for(100)
        own.process.kill()
        load.wait_for(50)
        own.start()
        load.wait_for(50)
    again = group.assert_all_arrive(load.acknowledged, reader)

    assert not load.errors
    print(f"{len(load.acknowledged)} spans acknowledged, 0 lost, {again} came twice")
    assert reader.process.stop() == 0
    assert writer.process.stop() == 0


def test_an_offset_is_committed_only_after_acceptance(
    shared: Broker, tag: str, sidecar: Callable[[], Sidecar], backend: Backend, tmp_path: Path
) -> None:
    """What finds no room in the queue is not committed; a kill then, and it comes again at the next start."""
    shared.topics(*(f"{tag}-{signal}" for signal in SIGNALS), partitions=1)
    producer = Producer({"bootstrap.servers": shared.address, **QUIET})
    wanted: set[bytes] = set()
    for number in range(50):
        made, ids = request(number)
        wanted |= ids
        producer.produce(f"{tag}-traces", made.SerializeToString())
    producer.flush(30)
    # Nothing is answered: two requests are in flight, two in line, all four on disk; the fifth finds no room.
    backend.gate.clear()
    queue = {"num_consumers": 2, "queue_size": 4, "storage": "file_storage"}
    exporter = to_backend(backend.endpoint, sending_queue=queue)
    commit = {"session_timeout": "6s", "autocommit": {"interval": "50ms"}}
    side = sidecar()
    side.start(with_storage(reads(side, shared, tag, exporter, **commit), tmp_path / "queue"))
    place = (f"{tag}-traces", 0)
    side.process.wait_until(lambda: shared.committed(tag).get(place) == 4)
    side.process.wait_until(lambda: side.total("spanledger_kafka_messages_total", outcome="retried") > 3)
    side.process.wait_until(lambda: side.total("spanledger_kafka_lag_messages") == 46)
    assert shared.committed(tag)[place] == 4
    side.process.kill()
    backend.gate.set()

    again = sidecar()
    again.start(with_storage(reads(again, shared, tag, exporter, **commit), tmp_path / "queue"))
    again.process.wait_until(lambda: shared.committed(tag).get(place) == 50)
    assert again.process.stop() == 0

    arrived = Counter(itertools.chain.from_iterable(ids_of("traces", data) for data in backend.requests()))
    assert arrived.keys() == wanted
    # The two that were on their way when it was killed may have come before.
    assert sum(arrived.values()) - len(arrived) <= 2 * SPANS_PER_REQUEST


def test_partitions_that_are_paused_and_resumed_pass_over_nothing(
    shared: Broker, tag: str, sidecar: Callable[[], Sidecar], backend: Backend
) -> None:
    """Ten times more than may be in hand, while the queue has room for little: each message once."""
    shared.topics(*(f"{tag}-{signal}" for signal in SIGNALS), partitions=2)
    producer = Producer({"bootstrap.servers": shared.address, **QUIET})
    wanted: set[bytes] = set()
    for number in range(200):
        made, ids = request(number)
        wanted |= ids
        made.resource_spans[0].scope_spans[0].spans[0].name = "x" * 50_000
        producer.produce(f"{tag}-traces", made.SerializeToString())
    producer.flush(30)
    backend.gate.clear()
    exporter = to_backend(backend.endpoint, sending_queue={"num_consumers": 2, "queue_size": 8})
    side = sidecar()
    side.start(reads(side, shared, tag, exporter, max_in_flight_mib=1))
    side.process.wait_until(lambda: side.total("spanledger_kafka_messages_total", outcome="retried") > 3)
    backend.gate.set()
    side.process.wait_until(
        lambda: wanted <= set(itertools.chain.from_iterable(ids_of("traces", data) for data in backend.requests()))
    )

    assert len(backend.requests()) == 200
    assert side.process.stop() == 0
    assert sum(shared.committed(tag).values()) == 200


def test_a_message_that_nobody_can_read_is_set_aside(
    shared: Broker, tag: str, sidecar: Callable[[], Sidecar], backend: Backend
) -> None:
    """It goes to the dead-letter topic with the reason, and those behind it are taken."""
    shared.topics(*(f"{tag}-{signal}" for signal in SIGNALS), f"{tag}-dead", partitions=1)
    producer = Producer({"bootstrap.servers": shared.address, **QUIET})
    made, ids = request(1)
    producer.produce(f"{tag}-traces", b"\xff\xffsecret", key=b"its key")
    producer.produce(f"{tag}-traces", None)
    producer.produce(f"{tag}-traces", made.SerializeToString())
    producer.flush(30)
    side = sidecar()
    side.start(reads(side, shared, tag, to_backend(backend.endpoint), dead_letter_topic=f"{tag}-dead"))
    side.process.wait_until(backend.requests)

    (letter,) = shared.messages(f"{tag}-dead", 1, 1)
    assert (letter.key(), letter.value()) == (b"its key", b"\xff\xffsecret")
    headers = dict(letter.headers() or ())
    assert headers["spanledger.reason"] == b"undecodable"
    assert headers["spanledger.topic"] == f"{tag}-traces".encode()
    assert {one.span.span_id for one in backend.spans()} == ids
    assert side.total("spanledger_kafka_messages_total", outcome="set_aside") == 1
    assert side.process.stop() == 0
    assert "secret" not in side.process.log()
    assert shared.committed(tag)[f"{tag}-traces", 0] == 3


@pytest.mark.parametrize(
    ("mechanism", "mutual"), [("PLAIN", False), ("SCRAM-SHA-512", False), (None, True)], ids=["plain", "scram", "mtls"]
)
def test_brokers_that_ask_who_we_are(
    libs: Path,
    tmp_path: Path,
    tag: str,
    mechanism: str | None,
    mutual: bool,
    sidecar: Callable[[], Sidecar],
    backend: Backend,
) -> None:
    """TLS with a private authority, and a password or a certificate of ours; nothing of it is in the log."""
    (folder := tmp_path / "certificates").mkdir()
    files = make_certificates(folder)
    chain = folder / "broker.pem"
    chain.write_bytes(_pkcs8(files.server_key) + files.server.read_bytes())
    settings = {
        "listener.security.protocol.map": f"CLIENT:{'SASL_SSL' if mechanism else 'SSL'},CONTROLLER:PLAINTEXT",
        "ssl.keystore.type": "PEM",
        "ssl.keystore.location": str(chain),
        "ssl.truststore.type": "PEM",
        "ssl.truststore.location": str(files.ca),
        "ssl.client.auth": "required" if mutual else "none",
    }
    formatting: list[str] = []
    tls = {"ca_file": str(files.ca)}
    client: dict[str, Any] = {"security.protocol": "ssl", "ssl.ca.location": str(files.ca)}
    secure: dict[str, Any] = {"tls": tls}
    if mutual:
        tls |= {"cert_file": str(files.client), "key_file": str(files.client_key)}
        client |= {"ssl.certificate.location": str(files.client), "ssl.key.location": str(files.client_key)}
    if mechanism:
        login = "plain.PlainLoginModule" if mechanism == "PLAIN" else "scram.ScramLoginModule"
        listener = f"listener.name.client.{mechanism.lower()}.sasl.jaas.config"
        users = ' user_sidecar="open sesame"' if mechanism == "PLAIN" else ""
        settings |= {
            "sasl.enabled.mechanisms": mechanism,
            "sasl.mechanism.inter.broker.protocol": mechanism,
            listener: f"org.apache.kafka.common.security.{login} required "
            f'username="sidecar" password="open sesame"{users};',
        }
        if mechanism != "PLAIN":
            formatting = ["--add-scram", f"{mechanism}=[name=sidecar,password=open sesame]"]
        sasl = {"mechanism": mechanism, "username": "sidecar", "password": "open sesame"}
        secure["auth"] = {"sasl": sasl}
        client |= {"security.protocol": "sasl_ssl", **{f"sasl.{key}": value for key, value in sasl.items()}}
    with broker(libs, tmp_path / "broker", settings, formatting) as where:
        where.start(**client)
        where.topics(*(f"{tag}-{signal}" for signal in SIGNALS))
        writer, reader = sidecar(), sidecar()
        writer.start(writes(writer, where, tag, **secure))
        reader.start(reads(reader, where, tag, to_backend(backend.endpoint), **secure))
        made, ids = request(1)
        send(writer.grpc, made)
        reader.process.wait_until(backend.requests)
        assert {one.span.span_id for one in backend.spans()} == ids
        for side in (writer, reader):
            assert side.process.stop() == 0
            assert "sesame" not in side.process.log()


def _pkcs8(key: Path) -> bytes:
    """Return a key in the only form that Java reads."""
    command = ["openssl", "pkcs8", "-topk8", "-nocrypt", "-in", str(key)]
    return subprocess.run(command, check=True, capture_output=True).stdout


@pytest.mark.parametrize("compression", ["gzip", "snappy", "lz4", "zstd"])
@pytest.mark.parametrize("encoding", ENCODINGS)
def test_a_request_above_the_limit_is_split_until_it_fits(
    shared: Broker, tag: str, compression: str, encoding: str, sidecar: Callable[[], Sidecar], backend: Backend
) -> None:
    """Ours is a megabyte; the topic's is a fifth of it, which only the broker says. Compressed in every way."""
    shared.topics(f"{tag}-logs", f"{tag}-metrics")
    shared.topics(f"{tag}-traces", **{"max.message.bytes": "200000"})
    writer, reader = sidecar(), sidecar()
    writer.start(writes(writer, shared, tag, traces={"encoding": encoding}, producer={"compression": compression}))
    reader.start(reads(reader, shared, tag, to_backend(backend.endpoint), traces={"encoding": encoding}))
    big = ExportTraceServiceRequest()
    spans = big.resource_spans.add().scope_spans.add().spans
    wanted = {os.urandom(8) for _ in range(60)}
    for span_id in wanted:
        span = spans.add(trace_id=b"t" * 16, span_id=span_id, start_time_unix_nano=1, end_time_unix_nano=2)
        # Random, so that no compression makes it fit.
        span.attributes.add(key="prompt").value.string_value = os.urandom(10_000).hex()
    send(writer.grpc, big)
    reader.process.wait_until(lambda: {one.span.span_id for one in backend.spans()} == wanted)

    assert len(backend.spans()) == 60
    assert not any("spanledger.shortened" in one.attributes for one in backend.spans())
    assert writer.total("otelcol_exporter_sent_spans_total", exporter="kafka") == 60
    assert writer.total("spanledger_dropped_items_total") == 0


def test_a_trace_that_is_too_long_for_its_topic_is_split_and_no_other_is_sent_again(
    shared: Broker, tag: str, sidecar: Callable[[], Sidecar], backend: Backend, tmp_path: Path
) -> None:
    """Of a request with five traces the brokers refuse one; what they took is not written a second time."""
    shared.topics(f"{tag}-logs", f"{tag}-metrics")
    shared.topics(f"{tag}-traces", partitions=1, **{"max.message.bytes": "200000"})
    writer, reader = sidecar(), sidecar()
    on_disk = {"sending_queue": {"storage": "file_storage"}, "partition_traces_by_id": True}
    writer.start(with_storage(writes(writer, shared, tag, **on_disk), tmp_path / "queue"))
    reader.start(reads(reader, shared, tag, to_backend(backend.endpoint)))
    whole = ExportTraceServiceRequest()
    spans = whole.resource_spans.add().scope_spans.add().spans
    for trace, count in enumerate((2, 30, 2, 2, 2)):
        for _ in range(count):
            span = spans.add(trace_id=bytes([trace + 1]) * 16, span_id=os.urandom(8), start_time_unix_nano=1)
            span.attributes.add(key="prompt").value.string_value = os.urandom(10_000).hex()
    send(writer.grpc, whole)
    wanted = {span.span_id for span in spans}
    reader.process.wait_until(lambda: {one.span.span_id for one in backend.spans()} == wanted)

    assert len(backend.spans()) == len(wanted)
    keys = Counter(message.key() for message in shared.messages(f"{tag}-traces", 4 + 4, 1))
    assert sorted(keys.values()) == [1, 1, 1, 1, 4]
    assert writer.total("otelcol_exporter_sent_spans_total", exporter="kafka") == len(wanted)
    assert writer.total("spanledger_dropped_items_total") == 0
    for side in (writer, reader):
        assert side.process.stop() == 0


def test_the_sample_pair_works_as_it_is(
    shared: Broker, collector_binary: Path, tmp_path: Path, backend: Backend
) -> None:
    """deploy/collector/kafka: the Collector writes, the sidecar reads, counts and sends on."""
    shared.topics("otlp_spans", "otlp_logs")
    (directory := tmp_path / "samples").mkdir()
    stage = Stage(collector_binary, directory)
    try:
        last = stage.spanledger("kafka/spanledger.yaml", KAFKA=shared.address, BACKEND=backend.endpoint)
        first = stage.collector("kafka/collector.yaml", KAFKA=shared.address)
        made, ids = request(1)
        send(first.endpoints["OTLP_GRPC"], made)
        last.process.wait_until(backend.requests)
        assert {one.span.span_id for one in backend.spans()} == ids
        last.process.wait_until(lambda: last.total("spanledger_llm_calls_total") == SPANS_PER_REQUEST)
        assert [one.process.stop() for one in (first, last)] == [0, 0]
    finally:
        for one in stage.started:
            one.process.kill()

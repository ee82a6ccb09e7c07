"""The kafka exporter: messages, keys, and what a failure means; on a client library that does as it is told."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pydantic
import pytest
from confluent_kafka import KafkaError, KafkaException
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from spanledger.exporters.answer import Divided, Permanent, Retryable, TooLarge
from spanledger.exporters.kafka.config import KafkaExporterConfig
from spanledger.exporters.kafka.exporter import KafkaExporter
from spanledger.exporters.kafka.messages import Part, by_trace, parts_of
from spanledger.exporters.kafka.outcome import verdict
from spanledger.processor import kafka
from spanledger.processor.batch import Delivery
from spanledger.processor.kafka_producer import Failure, Record
from tests.fakes import Numbers, host, request, span
from tests.kafka_fakes import FakeProducer


def delivery(data: bytes, items: int = 1) -> Delivery:
    """Return a request of spans."""
    return Delivery("traces", data, items, 0)


@asynccontextmanager
async def exporter(
    outcome: Callable[[str, bytes], Any] = lambda _topic, _value: None, **settings: Any
) -> AsyncIterator[tuple[KafkaExporter, FakeProducer]]:
    """Run an exporter without a queue before it."""
    made: list[FakeProducer] = []

    def make(told: dict[str, Any]) -> FakeProducer:
        made.append(FakeProducer(told, outcome))
        return made[-1]

    one = KafkaExporter(KafkaExporterConfig(**settings), host("kafka", numbers=Numbers()), make=make)
    await one.start()
    yield one, made[0]
    await one.shutdown(one.host.monotonic() + 1)


async def test_a_request_is_one_message_without_a_key() -> None:
    """The bytes as they are, in the Collector's topic, with the headers of the configuration."""
    data = request(span(1)).SerializeToString()
    async with exporter(record_headers=[{"name": "team", "value": "agents"}]) as (one, client):
        assert await one.push(delivery(data)) is None
    assert client.produced == [
        {"topic": "otlp_spans", "value": data, "key": None, "headers": [("team", b"agents")]},
    ]
    assert client.purged


async def test_json_has_hexadecimal_ids() -> None:
    """The encoding of OTLP/JSON, as the Collector's `otlp_json`."""
    data = request(span(1, trace=255)).SerializeToString()
    async with exporter(traces={"encoding": "otlp_json", "topic": "t"}) as (one, client):
        await one.push(delivery(data))
    (message,) = client.produced
    assert message["topic"] == "t"
    assert json.loads(message["value"])["resourceSpans"][0]["scopeSpans"][0]["spans"][0]["traceId"] == "00" * 15 + "ff"


async def test_each_trace_is_a_message_with_its_id_as_key() -> None:
    """Spans of two traces, mixed."""
    data = request(span(1, trace=1), span(2, trace=2), span(3, trace=1)).SerializeToString()
    async with exporter(partition_traces_by_id=True) as (one, client):
        await one.push(delivery(data, 3))
    assert [message["key"] for message in client.produced] == [b"0" * 31 + b"1", b"0" * 31 + b"2"]
    first, second = (ExportTraceServiceRequest.FromString(message["value"]) for message in client.produced)
    assert [one.span_id[-1] for one in first.resource_spans[0].scope_spans[0].spans] == [1, 3]
    assert [one.span_id[-1] for one in second.resource_spans[0].scope_spans[0].spans] == [2]
    assert first.resource_spans[0].resource == second.resource_spans[0].resource


@given(st.lists(st.lists(st.lists(st.integers(1, 4), max_size=4), max_size=3), max_size=3))
def test_splitting_keeps_every_span_with_its_resource_and_scope(shape: list[list[list[int]]]) -> None:
    """Each span is in the part of its trace, once, under the resource and scope it was under."""
    made = ExportTraceServiceRequest()
    wanted = set()
    number = 0
    for r, scopes in enumerate(shape):
        resource = made.resource_spans.add(schema_url=f"r{r}")
        for s, traces in enumerate(scopes):
            scope = resource.scope_spans.add(schema_url=f"s{s}")
            scope.scope.name = f"{r}.{s}"
            for trace in traces:
                number += 1
                scope.spans.append(span(number, trace=trace))
                wanted.add((trace, number, f"r{r}", f"{r}.{s}"))
    parts = list(by_trace("traces", made.SerializeToString()))

    found = [
        (int(key or b"0", 16), int.from_bytes(one.span_id), resource.schema_url, scope.scope.name)
        for key, data, _ in parts
        for resource in ExportTraceServiceRequest.FromString(data).resource_spans
        for scope in resource.scope_spans
        for one in scope.spans
    ]
    assert len(found) == len(wanted)
    assert set(found) == wanted
    assert sum(items for _, _, items in parts) == len(wanted)
    keys = [key for key, _, _ in parts]
    assert len(keys) == len(set(keys))


def test_records_without_a_trace_share_a_message_without_a_key() -> None:
    """Log records by trace id; one that does not decode is like one without a trace."""
    made = ExportLogsServiceRequest()
    scope = made.resource_logs.add().scope_logs.add()
    for trace_id in (b"", b"t" * 16, bytes(16)):
        scope.log_records.add(trace_id=trace_id).body.string_value = "line"
    data = made.SerializeToString()
    config = KafkaExporterConfig(partition_logs_by_trace_id=True)
    parts = parts_of(config, Delivery("logs", data, 3, 0))
    assert {part.record.key: part.items for part in parts} == {None: 2, b"74" * 16: 1}
    for part in parts:
        (resource,) = ExportLogsServiceRequest.FromString(part.record.value).resource_logs
        assert len(resource.scope_logs[0].log_records) == part.items


def test_spans_whose_trace_id_is_all_zeros_have_no_key() -> None:
    """An invalid id is none; as a key it would put all of them into one partition."""
    data = request(span(1, trace=0), span(2, trace=2)).SerializeToString()
    assert [key for key, _, _ in by_trace("traces", data)] == [None, b"0" * 31 + b"2"]


def failed(code: int, size: int = 10, data_bytes: int = 0, items: int = 1) -> tuple[Part, Failure]:
    """Return a message of `size` bytes, and that it failed."""
    error = KafkaError(code)
    part = Part(Record("t", b"x" * size), b"x" * (data_bytes or size), items)
    return part, Failure(part.record, error.code(), error.name(), error.str())


def alone(code: int, size: int = 10, data_bytes: int = 0) -> Exception:
    """Return what it means for a request that its only message failed."""
    part, failure = failed(code, size, data_bytes)
    return verdict(delivery(part.data), [part], [failure], 1_000_000)


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (KafkaError._MSG_TIMED_OUT, Retryable),
        (KafkaError._QUEUE_FULL, Retryable),
        (KafkaError._ALL_BROKERS_DOWN, Retryable),
        (KafkaError.NOT_LEADER_FOR_PARTITION, Retryable),
        (KafkaError.NOT_ENOUGH_REPLICAS, Retryable),
        (KafkaError.UNKNOWN_TOPIC_OR_PART, Retryable),
        (KafkaError.TOPIC_AUTHORIZATION_FAILED, Retryable),
        (KafkaError._AUTHENTICATION, Retryable),
        (KafkaError.INVALID_RECORD, Permanent),
        (KafkaError.TOPIC_EXCEPTION, Permanent),
        (KafkaError.POLICY_VIOLATION, Permanent),
        (KafkaError.MSG_SIZE_TOO_LARGE, TooLarge),
        (KafkaError.RECORD_LIST_TOO_LARGE, TooLarge),
    ],
)
def test_only_what_is_about_the_message_itself_is_permanent(code: int, kind: type) -> None:
    """What somebody can put right, data waits for."""
    error = alone(code)
    assert type(error) is kind
    assert error.error_type == KafkaError(code).name()


def test_the_limit_is_ours_where_it_is_known_and_half_where_only_the_broker_knows_it() -> None:
    """In JSON a message is longer than the request, and the limit is given in bytes of the request."""
    ours = alone(KafkaError.MSG_SIZE_TOO_LARGE, 3_000_000)
    assert isinstance(ours, TooLarge)
    assert ours.limit_bytes == 1_000_000 - 512
    json_too = alone(KafkaError.MSG_SIZE_TOO_LARGE, 3_000_000, 1_000_000)
    assert isinstance(json_too, TooLarge)
    assert json_too.limit_bytes == (1_000_000 - 512) // 3
    theirs = alone(KafkaError.MSG_SIZE_TOO_LARGE, 600_000)
    assert isinstance(theirs, TooLarge)
    assert theirs.limit_bytes == 300_000 - 512


def test_what_is_about_one_message_is_said_of_that_one() -> None:
    """What will pass stays together, and what the brokers have is not sent again."""
    taken, _ = failed(0)
    large, too_large = failed(KafkaError.MSG_SIZE_TOO_LARGE, 20)
    late, timed_out = failed(KafkaError._MSG_TIMED_OUT, 30)
    full, queue_full = failed(KafkaError._QUEUE_FULL, 40)
    whole = delivery(b"x" * 100, 4)

    error = verdict(whole, [taken, large, late, full], [queue_full, too_large, timed_out], 1_000_000)
    assert isinstance(error, Divided)
    assert [(one.size, one.items) for one in error.rest] == [(20, 1), (70, 2)]
    assert isinstance(verdict(whole, [late, full], [queue_full, timed_out], 1_000_000), Retryable)


async def settled(outcome: Callable[[str, bytes], Any]) -> tuple[FakeProducer, Numbers]:
    """Send three traces until each has its verdict; return the client and what was counted."""
    made: list[FakeProducer] = []
    numbers = Numbers()

    def make(told: dict[str, Any]) -> FakeProducer:
        made.append(FakeProducer(told, outcome))
        return made[-1]

    async def at_once(_delay_s: float, _wake: Any) -> None:
        return None

    config = KafkaExporterConfig(partition_traces_by_id=True)
    one = KafkaExporter(config, host("kafka", numbers=numbers), make=make, wait=at_once)
    await one.start()
    whole = delivery(request(span(1, trace=1), span(2, trace=2), span(3, trace=3)).SerializeToString(), 3)
    one.reserve(whole)
    one.commit(whole)
    await one.shutdown(one.host.monotonic() + 20)
    return made[0], numbers


async def test_only_the_messages_that_failed_are_sent_again() -> None:
    """One of three times out twice, and one is refused for good; each trace is written once and counted once."""
    attempts: Counter[bytes] = Counter()

    def outcome(_topic: str, value: bytes) -> Any:
        (resource,) = ExportTraceServiceRequest.FromString(value).resource_spans
        trace = resource.scope_spans[0].spans[0].trace_id[-1:]
        attempts[trace] += 1
        if trace == b"\2" and attempts[trace] < 3:
            return KafkaError(KafkaError._MSG_TIMED_OUT)
        # What the library says at once, and what the broker says.
        return KafkaException(KafkaError(KafkaError.INVALID_RECORD)) if trace == b"\3" else None

    client, numbers = await settled(outcome)

    assert attempts == {b"\1": 1, b"\2": 3, b"\3": 2}
    assert [message["key"][-1:] for message in client.produced] == [b"1", b"2", b"2", b"2"]
    assert numbers.values["otelcol_exporter_sent_spans_total", "kafka"] == 2
    assert numbers.values["spanledger_dropped_items_total", "kafka", "traces", "permanent"] == 1


async def test_a_failure_is_raised_when_every_message_has_its_verdict() -> None:
    """One of three traces times out, and the library has no room for another."""
    verdicts: dict[bytes, Any] = {}
    data = request(span(1, trace=1), span(2, trace=2), span(3, trace=3)).SerializeToString()
    for (_, part, _), outcome in zip(
        by_trace("traces", data), [None, KafkaError(KafkaError._MSG_TIMED_OUT), BufferError("full")], strict=True
    ):
        verdicts[part] = outcome
    async with exporter(lambda _topic, value: verdicts[value], partition_traces_by_id=True) as (one, _client):
        with pytest.raises(Divided, match=r"_MSG_TIMED_OUT|_QUEUE_FULL") as raised:
            await one.push(delivery(data, 3))
    (rest,) = raised.value.rest
    found = ExportTraceServiceRequest.FromString(rest.data).resource_spans
    assert [one.trace_id[-1] for resource in found for one in resource.scope_spans[0].spans] == [2, 3]
    assert rest.items == 2


def test_the_clients_settings_are_those_of_the_configuration() -> None:
    """All replicas, the Collector's hash, and the library's own limits where it has some."""
    made = KafkaExporterConfig(brokers="a:1, b:2", timeout="3s", producer={"compression": "zstd"}).librdkafka()  # type: ignore[arg-type]
    assert made["bootstrap.servers"] == "a:1,b:2"
    expected = {"acks": -1, "partitioner": "fnv1a_random", "message.timeout.ms": 3000, "compression.type": "zstd"}
    assert {key: made[key] for key in expected} == expected
    assert made["security.protocol"] == "plaintext"
    secure = KafkaExporterConfig(
        tls=None,
        auth={"sasl": {"mechanism": "SCRAM-SHA-512", "username": "u", "password": "p"}},  # type: ignore[arg-type]
        producer={"required_acks": 1},  # type: ignore[arg-type]
    )
    assert secure.librdkafka()["security.protocol"] == "sasl_ssl"
    assert secure.librdkafka()["acks"] == 1
    assert "'p'" not in repr(secure)


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"protocol_version": "2.0.0"}, "negotiated"),
        ({"topic_from_attribute": "x"}, "do not come from data"),
        ({"record_partitioner": {"round_robin": None}}, "no notice of keys"),
        ({"auth": {"kerberos": {}}}, "SASL SCRAM"),
        ({"auth": {"sasl": {"mechanism": "PLAIN", "username": "u", "password": ""}}}, "password is required"),
        ({"tls": {"server_name_override": "x"}}, "name of the broker"),
        ({"brokers": []}, "at least 1"),
        ({"brokers": ["kafka://a:1"]}, "not host:port"),
        ({"traces": {"encoding": "jaeger_proto"}}, "otlp_proto"),
        ({"partition_logs_by_resource_attributes": True}, "hash"),
    ],
)
def test_what_is_not_available_is_refused_with_the_reason(settings: dict[str, Any], why: str) -> None:
    """Keys of the Collector's that mean nothing here."""
    with pytest.raises(pydantic.ValidationError, match=why):
        KafkaExporterConfig(**settings)


def test_all_mistakes_are_told_at_once() -> None:
    """A key that is not available hides no other mistake, and has a place of its own."""
    with pytest.raises(pydantic.ValidationError) as raised:
        KafkaExporterConfig(protocol_version="1", bork=1, timeout="x")  # type: ignore[call-arg, arg-type]
    assert {error["loc"][0] for error in raised.value.errors()} == {"protocol_version", "bork", "timeout"}


def test_without_the_library_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Said when the configuration is checked, not when the first message comes."""
    monkeypatch.setattr(kafka, "_PACKAGE", "confluent_kafka_that_is_not_there")
    with pytest.raises(pydantic.ValidationError, match=r"pip install 'spanledger\[kafka\]'"):
        KafkaExporterConfig()

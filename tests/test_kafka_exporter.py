"""The kafka exporter: messages, keys, and what a failure means; on a client library that does as it is told."""

from __future__ import annotations

import json
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

from spanledger.exporters.answer import Permanent, Retryable, TooLarge
from spanledger.exporters.kafka.config import KafkaExporterConfig
from spanledger.exporters.kafka.exporter import KafkaExporter
from spanledger.exporters.kafka.messages import by_trace, records
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
        for key, data in parts
        for resource in ExportTraceServiceRequest.FromString(data).resource_spans
        for scope in resource.scope_spans
        for one in scope.spans
    ]
    assert len(found) == len(wanted)
    assert set(found) == wanted
    keys = [key for key, _ in parts]
    assert len(keys) == len(set(keys))


def test_records_without_a_trace_share_a_message_without_a_key() -> None:
    """Log records by trace id; one that does not decode is like one without a trace."""
    made = ExportLogsServiceRequest()
    scope = made.resource_logs.add().scope_logs.add()
    for trace_id in (b"", b"t" * 16, bytes(16)):
        scope.log_records.add(trace_id=trace_id).body.string_value = "line"
    parts = dict(by_trace("logs", made.SerializeToString()))
    assert {key: len(ExportLogsServiceRequest.FromString(data).resource_logs) for key, data in parts.items()} == {
        None: 1,
        b"74" * 16: 1,
    }
    config = KafkaExporterConfig(partition_logs_by_trace_id=True)
    assert len(records(config, "logs", made.SerializeToString())) == 2


def failure(code: int, size: int = 10) -> Failure:
    """Return what became of a message."""
    error = KafkaError(code)
    return Failure(Record("t", b"x" * size), error.code(), error.name(), error.str())


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
    error = verdict([failure(code), failure(KafkaError._MSG_TIMED_OUT)], 100, 1_000_000)
    assert type(error) is kind
    assert error.error_type == KafkaError(code).name()


def test_the_limit_is_ours_where_it_is_known_and_half_where_only_the_broker_knows_it() -> None:
    """In JSON a message is longer than the request, and the limit is given in bytes of the request."""
    ours = verdict([failure(KafkaError.MSG_SIZE_TOO_LARGE, 3_000_000)], 3_000_000, 1_000_000)
    assert isinstance(ours, TooLarge)
    assert ours.limit_bytes == 1_000_000 - 512
    json_too = verdict([failure(KafkaError.MSG_SIZE_TOO_LARGE, 3_000_000)], 1_000_000, 1_000_000)
    assert isinstance(json_too, TooLarge)
    assert json_too.limit_bytes == (1_000_000 - 512) // 3
    theirs = verdict([failure(KafkaError.MSG_SIZE_TOO_LARGE, 600_000)], 600_000, 1_000_000)
    assert isinstance(theirs, TooLarge)
    assert theirs.limit_bytes == 300_000 - 512


async def test_a_failure_is_raised_when_every_message_has_its_verdict() -> None:
    """One of two traces times out, and the library refuses a third at once."""
    verdicts: dict[bytes, Any] = {}
    data = request(span(1, trace=1), span(2, trace=2), span(3, trace=3)).SerializeToString()
    for (key, part), outcome in zip(
        by_trace("traces", data), [None, KafkaError(KafkaError._MSG_TIMED_OUT), BufferError("full")], strict=True
    ):
        assert key
        verdicts[part] = outcome
    async with exporter(lambda _topic, value: verdicts[value], partition_traces_by_id=True) as (one, _client):
        with pytest.raises(Retryable, match=r"_MSG_TIMED_OUT|_QUEUE_FULL"):
            await one.push(delivery(data, 3))
        verdicts = dict.fromkeys(verdicts, KafkaException(KafkaError(KafkaError.MSG_SIZE_TOO_LARGE)))
        with pytest.raises(TooLarge):
            await one.push(delivery(data, 3))


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

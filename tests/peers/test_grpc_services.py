"""What grpcurl and load balancers ask a gRPC server: its services, their messages, its health."""

from __future__ import annotations

from typing import TYPE_CHECKING

import grpc
import pytest
from google.protobuf import json_format
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

from tests.sidecar import to_backend

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.backend import Backend
    from tests.peers.conftest import Start

OTLP = "opentelemetry.proto.collector"
SERVICES = (f"{OTLP}.trace.v1.TraceService", f"{OTLP}.logs.v1.LogsService", f"{OTLP}.metrics.v1.MetricsService")


@pytest.fixture
def channel(start: Start, backend: Backend) -> Iterator[grpc.Channel]:
    """Return a connection to a running sidecar."""
    with grpc.insecure_channel(start({"otlp": to_backend(backend.endpoint)}).grpc) as connected:
        yield connected


def test_reflection_lists_the_services(channel: grpc.Channel) -> None:
    """All three OTLP services, the health service and reflection itself."""
    listed = set(ProtoReflectionDescriptorDatabase(channel).get_services())

    assert listed >= {*SERVICES, "grpc.health.v1.Health", "grpc.reflection.v1alpha.ServerReflection"}


def test_a_span_written_as_json_can_be_sent_by_reflection_alone(channel: grpc.Channel, backend: Backend) -> None:
    """As grpcurl does: learn the messages from the server, read JSON into them, call."""
    pool = DescriptorPool(ProtoReflectionDescriptorDatabase(channel))
    method = pool.FindServiceByName(SERVICES[0]).FindMethodByName("Export")
    request = GetMessageClass(method.input_type)()
    span = {"traceId": "AQEBAQEBAQEBAQEBAQEBAQ==", "spanId": "AgICAgICAgI=", "name": "by reflection"}
    json_format.ParseDict({"resourceSpans": [{"scopeSpans": [{"spans": [span]}]}]}, request)

    call = channel.unary_unary(
        f"/{SERVICES[0]}/Export",
        request_serializer=lambda message: message.SerializeToString(),
        response_deserializer=GetMessageClass(method.output_type).FromString,
    )
    answer = call(request, timeout=10)

    assert not answer.HasField("partial_success")
    backend.wait(lambda seen: [one.span.name for one in seen.spans()] == ["by reflection"])


@pytest.mark.parametrize("service", ["", *SERVICES])
def test_health_says_serving(channel: grpc.Channel, service: str) -> None:
    """For the server as a whole and for each service."""
    stub = health_pb2_grpc.HealthStub(channel)

    answer = stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=10)

    assert answer.status == health_pb2.HealthCheckResponse.SERVING

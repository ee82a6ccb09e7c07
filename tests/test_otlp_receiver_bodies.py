"""The otlp receiver and the bodies it gets: compressed, too large, bombs, JSON, hostile."""

from __future__ import annotations

import asyncio
import base64
import gzip
import json
import tracemalloc
import zlib
from collections.abc import AsyncIterator

import grpc
import pytest
import zstandard
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

from spanledger.receivers.otlp.intake import Body
from tests.otlp_receiver import JSON, PROTOBUF, running, trace_request

MIB = 1024 * 1024
BODY = trace_request(100).SerializeToString()


def raw_deflate(data: bytes) -> bytes:
    """Return a deflate stream without the zlib header, as some clients send it."""
    stream = zlib.compressobj(wbits=-15)
    return stream.compress(data) + stream.flush()


@pytest.mark.parametrize(
    ("encoding", "body"),
    [
        ("identity", BODY),
        ("gzip", gzip.compress(BODY)),
        ("GZIP", gzip.compress(BODY[:50]) + gzip.compress(BODY[50:])),
        ("deflate", zlib.compress(BODY)),
        ("deflate", raw_deflate(BODY)),
        ("zlib", zlib.compress(BODY)),
        ("zstd", zstandard.compress(BODY)),
    ],
)
async def test_http_content_encodings(encoding: str, body: bytes) -> None:
    """Every encoding a Collector exporter offers is taken, apart from snappy."""
    async with running() as otlp:
        status, _, _ = await otlp.post(body, headers={**PROTOBUF, "Content-Encoding": encoding})

        assert (status, len(otlp.spans())) == (200, 100)


@pytest.mark.parametrize("compression", list(grpc.Compression))
async def test_grpc_compressions(compression: grpc.Compression) -> None:
    """What gRPC compresses is inflated by us."""
    async with running() as otlp:
        await otlp.export(BODY, compression=compression)

        assert len(otlp.spans()) == 100


async def test_request_that_only_looks_like_zlib_is_taken() -> None:
    """A request may lead with an unknown field whose first bytes are those of zlib; it is still a request."""
    unknown = bytes([0x78, 0x01])
    async with running() as otlp:
        await otlp.export(unknown + BODY)

        assert len(otlp.spans()) == 100


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "zstd"])
async def test_truncated_compressed_body_is_refused(encoding: str) -> None:
    """Half a compressed body is 400, never half of the spans."""
    whole = {"gzip": gzip.compress, "deflate": zlib.compress, "zstd": zstandard.compress}[encoding](BODY)
    async with running() as otlp:
        status, _, _ = await otlp.post(whole[: len(whole) // 2], headers={**PROTOBUF, "Content-Encoding": encoding})

        assert (status, otlp.taken) == (400, [])


async def test_limit_holds_before_and_after_decompression() -> None:
    """One byte over the limit is RESOURCE_EXHAUSTED without RetryInfo, or 413; the limit itself is taken."""
    limit = 1 * MIB
    request = trace_request(1)
    request.resource_spans[0].scope_spans[0].spans[0].name = "x" * (limit - 100)
    request.resource_spans[0].scope_spans[0].spans[0].name += "x" * (limit - request.ByteSize())
    fits = request.SerializeToString()
    request.resource_spans[0].scope_spans[0].spans[0].name += "x"
    over = request.SerializeToString()
    assert (len(fits), len(over)) == (limit, limit + 1)
    async with running(
        grpc_options={"max_recv_msg_size_mib": 1}, http_options={"max_request_body_size": limit}
    ) as otlp:
        for compression in grpc.Compression:
            await otlp.export(fits, compression=compression)
            with pytest.raises(grpc.aio.AioRpcError) as raised:
                await otlp.export(over, compression=compression)
            assert raised.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
            assert "google.rpc.retryinfo-bin" not in dict(raised.value.trailing_metadata() or ())
        for encoding, encode in (("identity", bytes), ("gzip", gzip.compress), ("zstd", zstandard.compress)):
            headers = {**PROTOBUF, "Content-Encoding": encoding}
            assert (await otlp.post(encode(fits), headers=headers))[0] == 200
            status, response, _ = await otlp.post(encode(over), headers=headers)
            assert (status, response.headers.get("Retry-After")) == (413, None)
        assert len(otlp.taken) == 6


async def test_bombs_cost_no_more_memory_than_the_limit() -> None:
    """256 MiB of zeros in a quarter of a MiB are refused after the limit is reached, on both protocols."""
    step = zlib.compressobj(9, wbits=31)
    bomb = b"".join([*(step.compress(bytes(MIB)) for _ in range(256)), step.flush()])
    assert len(bomb) < MIB // 2
    async with running(
        grpc_options={"max_recv_msg_size_mib": 4}, http_options={"max_request_body_size": 4 * MIB}, max_in_flight_mib=4
    ) as otlp:
        tracemalloc.start()
        try:
            status, _, _ = await otlp.post(bomb, headers={**PROTOBUF, "Content-Encoding": "gzip"})
            with pytest.raises(grpc.aio.AioRpcError) as raised:
                # Sent as it is: the receiver tells the compression by the first bytes.
                await otlp.export(bomb)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()

        assert status == 413
        assert raised.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
        # The bomb itself on both sides, and twice the limit while parts are joined.
        assert peak < 6 * len(bomb) + 3 * 4 * MIB


async def test_body_of_100_mb_is_refused_while_it_comes() -> None:
    """A body over the limit is not collected, whether it says its length or not."""

    async def endless() -> AsyncIterator[bytes]:
        for _ in range(100):
            yield bytes(MIB)

    async with running(http_options={"max_request_body_size": 2 * MIB}) as otlp:
        assert (await otlp.post(bytes(100 * MIB)))[0] == 413
        assert (await otlp.post(endless()))[0] == 413
        assert otlp.in_flight()[1] == 0


async def test_chunked_body_with_expect_continue_is_taken() -> None:
    """A body without a length, sent after 100 Continue, is one request."""

    async def parts() -> AsyncIterator[bytes]:
        for start in range(0, len(BODY), 1000):
            yield BODY[start : start + 1000]

    async with (
        running() as otlp,
        otlp.session.post(otlp.http_url + "/v1/traces", data=parts(), headers=PROTOBUF, expect100=True) as response,
    ):
        assert (response.status, len(otlp.spans())) == (200, 100)


async def test_ten_thousand_tiny_requests() -> None:
    """Many small requests are all answered and leave nothing in flight; one in ten comes over a socket."""
    body = trace_request(1).SerializeToString()

    async def read(_permit: object) -> Body:
        return Body(body, "sniff")

    async with running() as otlp:
        intake = otlp.receiver.intake

        async def send() -> None:
            for number in range(200):
                if number % 10:
                    await intake.take("traces", "grpc", MIB, read)
                else:
                    await otlp.export(body)

        await asyncio.gather(*(send() for _ in range(50)))

        assert len(otlp.taken) == 10_000
        assert otlp.in_flight() == (0, 0)


async def test_bad_utf8_takes_no_neighbour_with_it() -> None:
    """A span that is not UTF-8 is left out of a protobuf request; in JSON the bad bytes are replaced."""
    request = trace_request(3)
    request.resource_spans[0].scope_spans[0].spans[1].name = "MARK"
    async with running() as otlp:
        answer = await otlp.export(request.SerializeToString().replace(b"MARK", b"M\xff\xfeK"))
        body = b'{"resourceSpans":[{"scopeSpans":[{"spans":[%b,%b]}]}]}' % (
            b'{"traceId":"%032x","spanId":"%016x","name":"M\xff\xfeK"}' % (1, 1),
            b'{"traceId":"%032x","spanId":"%016x","name":"cut \\ud83d"}' % (1, 2),
        )
        await otlp.post(body, headers=JSON)

        assert ExportTraceServiceResponse.FromString(answer).partial_success.rejected_spans == 1
        assert otlp.spans() == ["span 0", "span 2", "M��K", "cut �"]


@pytest.mark.parametrize("depth", [10, 60, 1_000, 20_000])
async def test_deep_nesting_is_taken_or_left_out(depth: int) -> None:
    """AnyValue within AnyValue: what protobuf reads is taken, deeper is left out, neighbours stay."""
    value = b""
    for _ in range(depth):
        # AnyValue.array_value = 5, ArrayValue.values = 1
        value = delimited(b"\x2a", delimited(b"\x0a", value))
    attribute = delimited(b"\x4a", delimited(b"\x0a", b"deep") + delimited(b"\x12", value))
    good = trace_request(1).resource_spans[0].scope_spans[0].spans[0].SerializeToString()
    scope = delimited(b"\x12", good) + delimited(b"\x12", good + attribute)
    nested = '{"arrayValue":{"values":[' * depth + "{}" + "]}}" * depth
    span = '{"traceId":"%032x","spanId":"%016x","name":"%s","attributes":[%s]}'
    spans = ",".join((span % (1, 1, "deep", f'{{"key":"a","value":{nested}}}'), span % (1, 2, "flat", "")))
    async with running() as otlp:
        await otlp.export(delimited(b"\x0a", delimited(b"\x12", scope)))
        status, _, _ = await otlp.post(f'{{"resourceSpans":[{{"scopeSpans":[{{"spans":[{spans}]}}]}}]}}', headers=JSON)

        assert status == 200
        assert len(otlp.taken[0].groups[0].items) == (2 if depth == 10 else 1)
        assert otlp.spans()[-1] == "flat"
        assert ("deep" in otlp.spans()) == (depth == 10)


def delimited(key: bytes, payload: bytes) -> bytes:
    """Return a length-delimited protobuf field."""
    size = len(payload)
    length = bytearray()
    while size >= 0x80:
        length.append(size & 0x7F | 0x80)
        size >>= 7
    return key + bytes(length) + bytes([size]) + payload


async def test_request_of_millions_of_parts_is_refused() -> None:
    """Empty messages by the million are refused before protobuf builds them."""
    for body in (
        b"\x0a\x00" * 200_000,
        delimited(b"\x0a", b"\x12\x00" * 200_000),
        delimited(b"\x0a", delimited(b"\x12", b"\x12\x00" * 1_100_000)),
    ):
        async with running() as otlp:
            status, _, raw = await otlp.post(body)

            assert status == 400
            assert b"send it in parts" in raw


async def test_odd_values_are_taken_as_they_are() -> None:
    """Duplicate keys, NaN, negative and enormous numbers, times in the future or reversed: not ours to judge."""
    request = ExportTraceServiceRequest()
    span = (
        request.resource_spans.add()
        .scope_spans.add()
        .spans.add(trace_id=b"t" * 16, span_id=b"s" * 8, start_time_unix_nano=2**64 - 1, end_time_unix_nano=1)
    )
    for number in (-1, 2**63 - 1, -(2**63)):
        span.attributes.add(key="gen_ai.usage.input_tokens").value.int_value = number
    span.attributes.add(key="nan").value.double_value = float("nan")
    wire = request.SerializeToString()
    async with running() as otlp:
        await otlp.export(wire)

        assert otlp.taken[0].wire == wire
        assert otlp.taken[0].groups[0].items[0].SerializeToString() == span.SerializeToString()


async def test_json_request_means_the_same_as_protobuf() -> None:
    """Hex ids in any case, numbers as text or number, enums as number or name, both spellings of keys."""
    document = {
        "resource_spans": [
            {
                "resource": {"attributes": [{"key": "service.name", "value": {"stringValue": "shop"}}]},
                "scopeSpans": [
                    {
                        "scope": {"name": "test", "unknown": {"a": [1]}},
                        "spans": [
                            {
                                "traceId": "0AF7651916CD43DD8448EB211C80319C",
                                "spanId": "b7ad6b7169203331",
                                "parentSpanId": "",
                                "name": "chat",
                                "kind": "SPAN_KIND_CLIENT",
                                "startTimeUnixNano": "1700000000000000000",
                                "end_time_unix_nano": 1700000001000000000,
                                "status": {"code": 2},
                                "futureField": [{"x": 1}],
                                "attributes": [
                                    {"key": "i", "value": {"intValue": "7"}},
                                    {"key": "j", "value": {"intValue": -7}},
                                    {"key": "d", "value": {"doubleValue": "NaN"}},
                                    {"key": "b", "value": {"bytesValue": base64.b64encode(b"\xff\x00").decode()}},
                                    {"key": "n", "value": None},
                                ],
                            }
                        ],
                    }
                ],
            }
        ]
    }
    async with running() as otlp:
        status, _, raw = await otlp.post(json.dumps(document), headers=JSON)

        assert (status, raw) == (200, b"{}")
        span = otlp.taken[0].groups[0].items[0]
        assert span.trace_id.hex() == "0af7651916cd43dd8448eb211c80319c"
        assert (span.span_id.hex(), span.parent_span_id, span.kind, span.status.code) == ("b7ad6b7169203331", b"", 3, 2)
        assert span.end_time_unix_nano - span.start_time_unix_nano == 10**9
        values = [attribute.value for attribute in span.attributes]
        assert [value.WhichOneof("value") for value in values] == [
            "int_value", "int_value", "double_value", "bytes_value", None,
        ]  # fmt: skip
        assert (values[0].int_value, values[1].int_value, values[3].bytes_value) == (7, -7, b"\xff\x00")
        assert otlp.taken[0].groups[0].resource.service_name == "shop"

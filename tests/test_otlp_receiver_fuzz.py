"""No bytes bring the receiver down: whatever comes is taken, or refused as the client's mistake."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import zlib

import grpc
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from spanledger.processor import outline_limit
from spanledger.processor.batch import Outline, Signal, finish
from spanledger.processor.component import Rejected
from spanledger.receivers.otlp.admission import Admission
from spanledger.receivers.otlp.bare_path import signal_of
from spanledger.receivers.otlp.compression import HTTP_ENCODINGS, TooLarge, grpc_encoding, inflate
from spanledger.receivers.otlp.intake import Body, Intake
from tests.fakes import Numbers, host
from tests.otlp_receiver import trace_request

WHOLE = trace_request(5).SerializeToString()
COMPRESS = {"identity": bytes, "gzip": gzip.compress, "deflate": zlib.compress, "zlib": zlib.compress,
            "zstd": zstandard.compress}  # fmt: skip
LIMIT = 4096

mangled = st.builds(
    lambda start, end, middle: WHOLE[:start] + middle + WHOLE[end:],
    st.integers(0, len(WHOLE)), st.integers(0, len(WHOLE)), st.binary(max_size=20),
)  # fmt: skip


@settings(max_examples=300)
@given(
    st.binary(max_size=300) | mangled | mangled.map(gzip.compress),
    st.sampled_from(["traces", "logs", "metrics", None]),
    st.sampled_from([*HTTP_ENCODINGS, "sniff"]),
    st.booleans(),
)
def test_any_body_is_taken_or_refused_as_bad(data: bytes, signal: Signal | None, encoding: str, as_json: bool) -> None:
    """Never an internal error, and nothing stays in flight."""

    async def run() -> grpc.StatusCode:
        numbers = Numbers()
        admission = Admission(1_000_000)
        admission.open()
        intake = Intake(host("otlp", numbers=numbers), admission)

        async def consume(_batch: object) -> None:
            return

        async def read(_permit: object) -> Body:
            return Body(data, encoding, as_json)

        intake.consumers = {"traces": consume, "logs": consume, "metrics": consume}
        _, answer = await intake.take(signal, "http", LIMIT, read)
        await intake.close()
        assert (admission.requests, admission.bytes) == (0, 0)
        return answer.code

    assert asyncio.run(run()) in {
        grpc.StatusCode.OK,
        grpc.StatusCode.INVALID_ARGUMENT,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
    }


@given(st.binary(max_size=200), st.sampled_from(HTTP_ENCODINGS))
def test_no_bytes_bring_the_codecs_down(body: bytes, encoding: str) -> None:
    """Any bytes inflate, or are damaged, or too large."""
    with contextlib.suppress(Rejected):
        assert len(inflate(encoding, body, 100)) <= 100


@given(st.binary(max_size=2000), st.sampled_from(HTTP_ENCODINGS), st.data())
def test_compressed_bodies_come_back_whole_or_not_at_all(body: bytes, encoding: str, data: st.DataObject) -> None:
    """A cut body is never taken for a shorter one; the limit is exact."""
    whole = COMPRESS[encoding](body)
    # The limit is on both sizes: a body that compression makes larger is as large as that.
    needed = max(len(whole), len(body))
    assert inflate(encoding, whole, needed) == body
    if needed:
        with pytest.raises(TooLarge):
            inflate(encoding, whole, needed - 1)
    if encoding != "identity":
        cut = whole[: data.draw(st.integers(1, len(whole) - 1))]
        with pytest.raises(Rejected):
            inflate(encoding, cut, needed)


@given(st.binary(min_size=1, max_size=500))
def test_grpc_encoding_is_told_by_the_first_bytes(body: bytes) -> None:
    """What gRPC may have compressed is recognised, and a request is not mistaken for it."""
    assert grpc_encoding(gzip.compress(body)) == "gzip"
    assert grpc_encoding(zlib.compress(body)) == "deflate"
    assert grpc_encoding(b"\x0a" + body) == "identity"


@given(st.binary(max_size=200) | mangled)
def test_counting_parts_never_fails_and_never_refuses_a_small_request(body: bytes) -> None:
    """What is malformed is left to protobuf."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(outline_limit, "_UNCHECKED_BYTES", 0)
        finish(outline_limit.check_parts(body))


@given(st.lists(st.lists(st.integers(0, 4), max_size=3), max_size=3))
def test_counted_parts_are_those_protobuf_finds(shape: list[list[int]]) -> None:
    """One part more than allowed is refused, exactly as many as allowed are not."""
    outline = Outline()
    for scopes in shape:
        resource = outline.resources.add(resource=b"\x0a\x02ab", schema_url=b"x")
        for items in scopes:
            resource.scopes.add(scope=b"\x0a\x01a", items=[b"\x12\x00"] * items)
    groups = len(shape) + sum(len(scopes) for scopes in shape)
    items = sum(sum(scopes) for scopes in shape)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(outline_limit, "_UNCHECKED_BYTES", -1)
        patch.setattr(outline_limit, "MAX_GROUPS", groups)
        patch.setattr(outline_limit, "MAX_ITEMS", items)
        finish(outline_limit.check_parts(outline.SerializeToString()))
        for name, limit in (("MAX_GROUPS", groups - 1), ("MAX_ITEMS", items - 1)):
            if limit >= 0:
                patch.setattr(outline_limit, name, limit)
                with pytest.raises(Rejected, match="send it in parts"):
                    finish(outline_limit.check_parts(outline.SerializeToString()))


@given(st.binary(max_size=200) | mangled, st.booleans())
def test_bare_path_always_finds_a_signal(body: bytes, as_json: bool) -> None:
    """Content that tells nothing counts as traces."""
    assert finish(signal_of(body, as_json)) in {"traces", "logs", "metrics"}

"""What backends answer: Retry-After, RetryInfo, partial success, and the texts of errors, which go to the log."""

from __future__ import annotations

import math

import grpc
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status

from spanledger.exporters.answer import partial_success, partial_success_json
from spanledger.exporters.otlp import failure
from spanledger.exporters.otlp_http import describe, retry_after
from spanledger.processor.batch import SIGNALS
from tests.fuzz.draw import Draw

_CODES = tuple(grpc.StatusCode)


def fuzz(data: bytes) -> None:
    """Check that a delay is a number of seconds that can be waited for, and a text is one printable line."""
    draw = Draw(data)
    signal, code = draw.pick(SIGNALS), draw.pick(_CODES)
    info = RetryInfo()
    info.retry_delay.seconds = draw.integer()
    info.retry_delay.nanos = draw.integer() % 2**31
    wrapped = Status()
    wrapped.details.add().Pack(info)
    text = draw.text()
    rest = draw.rest()
    for trailing in (
        [("grpc-status-details-bin", rest)], [("google.rpc.retryinfo-bin", rest)], [("grpc-status-details-bin", "x")],
        [("grpc-status-details-bin", wrapped.SerializeToString())],
        [("google.rpc.retryinfo-bin", info.SerializeToString())],
    ):  # fmt: skip
        error = failure(code, text, trailing)
        assert _waitable(getattr(error, "throttle_s", 0.0))
        assert str(error).isprintable()
    assert _waitable(retry_after(rest.decode("latin-1"), 1_700_000_000 * 10**9))
    for found in (partial_success(signal, rest), partial_success_json(signal, rest)):
        assert found is None or found.rejected >= 0
    for media_type in ("application/x-protobuf", "application/json", "text/html"):
        assert describe(media_type, rest, draw.text()).isprintable()


def _waitable(delay_s: float) -> bool:
    return math.isfinite(delay_s) and delay_s >= 0

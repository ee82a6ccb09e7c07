"""Which outcome becomes which answer, in one table for both transports.

==================================  ==========================  ====================================
outcome                             gRPC                        HTTP
==================================  ==========================  ====================================
taken, also partly or empty         OK, partial_success         200, same media type as the request
`Refused`, `ShuttingDown`           UNAVAILABLE + RetryInfo     503 + Retry-After
`Rejected` (does not decode)        INVALID_ARGUMENT            400
`TooLarge` (over the size limit)    RESOURCE_EXHAUSTED          413
`NoPipeline` (signal not taken)     UNIMPLEMENTED               404
`Unauthenticated`                   UNAUTHENTICATED             401
anything else (our mistake)         INTERNAL                    500
==================================  ==========================  ====================================

The HTTP body of an error is a `google.rpc.Status` in the media type of the request. RESOURCE_EXHAUSTED
never carries RetryInfo and overload never uses it: Collectors drop data on it. RetryInfo goes out in
two trailers, because Go, Java and the Collector read the one and the Python SDK the other.
Source: opentelemetry-proto docs/specification.md; the Collector's otlpreceiver internal/errors.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import grpc
from google.protobuf import json_format
from google.protobuf.duration_pb2 import Duration
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceResponse
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceResponse
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from spanledger.processor.auth import Unauthenticated
from spanledger.processor.component import PipelineError, Refused, Rejected
from spanledger.receivers.otlp.compression import TooLarge

if TYPE_CHECKING:
    from google.protobuf.message import Message

    from spanledger.processor.batch import Signal

MAX_RETRY_DELAY_S: Final = 2.0
"""Longer, and the Python SDK's ten seconds are over before it has tried again twice."""

_MAX_MESSAGE_CHARS = 1024
"""gRPC puts the message into a trailer, and clients limit those to 8 KiB in all."""

_RESPONSE: Final[dict[Signal, tuple[type[Message], str]]] = {
    "traces": (ExportTraceServiceResponse, "rejected_spans"),
    "logs": (ExportLogsServiceResponse, "rejected_log_records"),
    "metrics": (ExportMetricsServiceResponse, "rejected_data_points"),
}


class NoPipeline(PipelineError):  # noqa: N818 - reads as the condition it is
    """No pipeline takes this signal from this receiver."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What the client is told."""

    code: grpc.StatusCode
    http_status: int
    reason: str = ""
    """Why it was refused, for `spanledger_refused_requests_total`; empty when it was taken."""
    message: str = ""
    retry_after_s: float | None = None
    rejected: int = 0
    """Items left out of a request that was taken."""


CANCELLED: Final = Answer(grpc.StatusCode.CANCELLED, 499, "cancelled", "the client went away")
"""What becomes of a request whose client does not wait; nobody hears it."""


def taken(rejected: int = 0, why: str = "") -> Answer:
    """Return the answer to a request that was taken, all but `rejected` items of it."""
    return Answer(grpc.StatusCode.OK, 200, message=why[:_MAX_MESSAGE_CHARS], rejected=rejected)


def answer_to(error: Exception) -> Answer:
    """Return the answer to a request that ended in `error`. An error of ours tells nothing of itself."""
    message = str(error)[:_MAX_MESSAGE_CHARS]
    match error:
        case Refused(retry_after_s=wished, reason=reason):
            delay_s = min(max(1.0 if wished is None else wished, 0.0), MAX_RETRY_DELAY_S)
            return Answer(grpc.StatusCode.UNAVAILABLE, 503, reason, message, delay_s)
        case TooLarge():
            return Answer(grpc.StatusCode.RESOURCE_EXHAUSTED, 413, "too_large", message)
        case Rejected():
            return Answer(grpc.StatusCode.INVALID_ARGUMENT, 400, "undecodable", message)
        case NoPipeline():
            return Answer(grpc.StatusCode.UNIMPLEMENTED, 404, "unsupported", message)
        case Unauthenticated():
            return Answer(grpc.StatusCode.UNAUTHENTICATED, 401, "unauthenticated", message)
        case _:
            return Answer(grpc.StatusCode.INTERNAL, 500, "internal", "internal error")


def response(signal: Signal, answer: Answer) -> Message:
    """Return the `Export<Signal>ServiceResponse`; `partial_success` is unset when all was taken."""
    made: Any
    made, rejected_field = _RESPONSE[signal][0](), _RESPONSE[signal][1]
    if answer.rejected or answer.message:
        setattr(made.partial_success, rejected_field, answer.rejected)
        made.partial_success.error_message = answer.message
    whole: Message = made
    return whole


def status(answer: Answer) -> Status:
    """Return the error as `google.rpc.Status`, with RetryInfo when a retry is wanted."""
    made = Status(code=answer.code.value[0], message=answer.message)
    if answer.retry_after_s is not None:
        made.details.add().Pack(_retry_info(answer.retry_after_s))
    return made


def trailers(answer: Answer) -> tuple[tuple[str, bytes], ...]:
    """Return the gRPC trailers of an error."""
    if answer.retry_after_s is None:
        return ()
    return (
        ("grpc-status-details-bin", status(answer).SerializeToString()),
        ("google.rpc.retryinfo-bin", _retry_info(answer.retry_after_s).SerializeToString()),
    )


def retry_after(answer: Answer) -> str | None:
    """Return the Retry-After header: whole seconds, at least one."""
    return None if answer.retry_after_s is None else str(max(1, math.ceil(answer.retry_after_s)))


def encode(message: Message, as_json: bool) -> bytes:
    """Return a response or status in the media type of the request."""
    if as_json:
        return json_format.MessageToJson(message, indent=None).encode()
    return message.SerializeToString()


def _retry_info(delay_s: float) -> RetryInfo:
    delay = Duration()
    delay.FromNanoseconds(round(delay_s * 1e9))
    return RetryInfo(retry_delay=delay)

"""What a peer's answer means for the data that was sent.

A push returns None or a `PartialSuccess`, or raises::

    SendError
    ├── Retryable    not now; wait at least `throttle_s` when the peer said so
    ├── Permanent    never; the same request would fail again
    ├── TooLarge     not at this size; send it in parts
    └── Divided      some of it was taken, or what is true of some is not of the rest; send only `rest`
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceResponse
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceResponse
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from spanledger.conventions.nesting import loads

if TYPE_CHECKING:
    from collections.abc import Sequence

    from spanledger.processor.batch import Delivery, Signal


class SendError(Exception):
    """A request was not taken. `error_type` is a metric label and comes from a closed set."""

    def __init__(self, message: str, error_type: str) -> None:
        super().__init__(message)
        self.error_type = error_type


class Retryable(SendError):  # noqa: N818 - reads as the condition it is
    """It may work later; `throttle_s` is the peer's own wish, 0 without one."""

    def __init__(self, message: str, error_type: str, throttle_s: float = 0.0) -> None:
        super().__init__(message, error_type)
        self.throttle_s = throttle_s


class Permanent(SendError):  # noqa: N818
    """It will never work."""


class TooLarge(SendError):  # noqa: N818
    """The peer takes only smaller messages; at most `limit_bytes`, None when it did not say."""

    def __init__(self, message: str, error_type: str, limit_bytes: int | None = None) -> None:
        super().__init__(message, error_type)
        self.limit_bytes = limit_bytes


class Divided(SendError):  # noqa: N818
    """What is in none of `rest` the peer has; each of `rest` has a verdict of its own to come."""

    def __init__(self, message: str, error_type: str, rest: Sequence[Delivery]) -> None:
        super().__init__(message, error_type)
        self.rest = rest


@dataclass(frozen=True, slots=True)
class PartialSuccess:
    """The peer took the request but not all its items; by the protocol never sent again."""

    rejected: int
    message: str


_RESPONSE: Final[dict[Signal, Any]] = {
    "traces": ExportTraceServiceResponse,
    "logs": ExportLogsServiceResponse,
    "metrics": ExportMetricsServiceResponse,
}
_REJECTED: Final[dict[Signal, str]] = {
    "traces": "rejected_spans",
    "logs": "rejected_log_records",
    "metrics": "rejected_data_points",
}
_REJECTED_JSON: Final[dict[Signal, str]] = {
    "traces": "rejectedSpans",
    "logs": "rejectedLogRecords",
    "metrics": "rejectedDataPoints",
}


def partial_success(signal: Signal, wire: bytes) -> PartialSuccess | None:
    """Read a protobuf `Export<Signal>ServiceResponse`; None when all was taken, or it does not decode."""
    if not wire:
        return None
    try:
        partial = _RESPONSE[signal].FromString(wire).partial_success
    except DecodeError:
        return None
    return _partial(getattr(partial, _REJECTED[signal]), partial.error_message)


def partial_success_json(signal: Signal, text: bytes) -> PartialSuccess | None:
    """Read the same response in its JSON form, whose 64-bit numbers are strings or numbers."""
    try:
        partial = loads(text)["partialSuccess"]
        return _partial(int(partial.get(_REJECTED_JSON[signal], 0)), str(partial.get("errorMessage", "")))
    except (ValueError, LookupError, TypeError, AttributeError, OverflowError):
        return None


def _partial(rejected: int, message: str) -> PartialSuccess | None:
    # No items but a message is a warning of the peer, and a success.
    return PartialSuccess(max(0, rejected), message) if rejected > 0 or message else None

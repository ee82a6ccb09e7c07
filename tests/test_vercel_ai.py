"""What the AI SDK says that a recorded span does not show."""

from __future__ import annotations

import math

from opentelemetry.proto.trace.v1.trace_pb2 import Span

from spanledger.conventions.dialects import DIALECTS
from spanledger.conventions.reader import Reader
from spanledger.conventions.values import key_value


def test_not_a_number_is_no_count() -> None:
    """Streams of 4.0 that are told no tokens have NaN there."""
    span = Span(name="ai.streamText.doStream", trace_id=b"t" * 16, span_id=b"s" * 8)
    for key, value in (
        ("ai.operationId", "ai.streamText.doStream"),
        ("ai.usage.promptTokens", math.nan),
        ("gen_ai.usage.input_tokens", math.nan),
        ("gen_ai.usage.output_tokens", math.nan),
    ):
        span.attributes.append(key_value(key, value))

    reading = Reader(DIALECTS).read("ai", "", span)

    assert reading is not None
    assert reading.kind == "llm"
    assert reading.usage is None

"""What the demo says when it cannot show anything."""

from __future__ import annotations

import io

import pytest
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace.export import SpanExportResult

from spanledger.service.demo.performance import DemoFailed, play_at


@pytest.mark.parametrize("result", SpanExportResult)
async def test_spans_that_nobody_took_were_not_played(
    result: SpanExportResult, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The SDK only logs that; the demo says where it played, and fails."""
    monkeypatch.setattr(OTLPSpanExporter, "export", lambda *_: result)
    out = io.StringIO()
    if result is SpanExportResult.SUCCESS:
        await play_at("localhost:1", once=True, out=out)
        assert out.getvalue().startswith("Played 23 spans")
    else:
        with pytest.raises(DemoFailed, match="localhost:1 did not take the spans"):
            await play_at("localhost:1", once=True, out=out)
        assert out.getvalue() == ""

"""Applications on real OpenTelemetry SDKs export to the sidecar; a backend receives what they sent."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.peers.client import CACHE_READ, CALL_USD, CALLS, INPUT, OUTPUT, SPANS, Application, Protocol, exporter
from tests.sidecar import Sidecar, to_backend, total

if TYPE_CHECKING:
    from tests.backend import Backend
    from tests.peers.conftest import Start

RUNS = 25


def assert_priced(backend: Backend, sidecar: Sidecar, service_name: str) -> None:
    """Every model call at the backend is normalised and priced, and the metrics say the same."""
    calls = [one.attributes for one in backend.spans() if one.attributes["gen_ai.operation.name"] == "chat"]
    assert len(calls) == RUNS * CALLS
    for attributes in calls:
        assert attributes["spanledger.step.kind"] == "llm"
        assert attributes["spanledger.cost.status"] == "priced"
        assert attributes["gen_ai.usage.cost"] == pytest.approx(CALL_USD, abs=1e-12)
        assert attributes["gen_ai.usage.input_tokens"] == INPUT
    tools = [one for one in backend.spans() if one.attributes["gen_ai.operation.name"] == "execute_tool"]
    assert {one.attributes["spanledger.step.kind"] for one in tools} == {"tool"}
    assert len(tools) == RUNS

    # The rest of a large request is counted a moment after its answer.
    sidecar.process.wait_until(lambda: sidecar.total("spanledger_tool_calls_total", service_name=service_name) >= RUNS)
    sidecar.process.wait_until(
        lambda: sidecar.total("spanledger_llm_calls_total", service_name=service_name) >= RUNS * CALLS
    )
    series = sidecar.scrape()
    assert total(series, "spanledger_llm_calls_total", service_name=service_name, status="ok") == RUNS * CALLS
    assert total(series, "spanledger_tool_calls_total", service_name=service_name) == RUNS
    spent = total(series, "spanledger_llm_cost_usd_total", service_name=service_name)
    assert spent == pytest.approx(RUNS * CALLS * CALL_USD, abs=1e-9)
    tokens = {
        kind: total(series, "spanledger_llm_tokens_total", service_name=service_name, token_type=kind)
        for kind in ("input", "cache_read", "output")
    }
    expected = {"input": INPUT - CACHE_READ, "cache_read": CACHE_READ, "output": OUTPUT}
    assert tokens == {kind: RUNS * CALLS * count for kind, count in expected.items()}


@pytest.mark.parametrize("compression", ["none", "gzip"])
@pytest.mark.parametrize("protocol", ["grpc", "http/protobuf"])
def test_python_sdk(start: Start, backend: Backend, protocol: Protocol, compression: str) -> None:
    """The Python SDK over gRPC and HTTP, plain and compressed: each span arrives once, priced."""
    sidecar = start({"otlp": to_backend(backend.endpoint)})
    address = sidecar.grpc if protocol == "grpc" else sidecar.http
    application = Application(exporter(protocol, address, "gzip" if compression == "gzip" else "none"))

    application.run(RUNS)
    application.close()
    backend.wait(lambda seen: len(seen.spans()) >= RUNS * SPANS)

    arrived = [(one.span.trace_id.hex(), one.span.span_id.hex()) for one in backend.spans()]
    assert len(arrived) == len(set(arrived))
    assert set(arrived) == application.sent
    assert_priced(backend, sidecar, "python-agent")


@pytest.mark.parametrize("compression", ["none", "gzip"])
@pytest.mark.parametrize("protocol", ["grpc", "http/protobuf", "http/json"])
def test_node_sdk(start: Start, backend: Backend, node_modules: Path, protocol: str, compression: str) -> None:
    """The Node.js SDK over gRPC, HTTP/protobuf and HTTP/JSON: each span arrives once, priced."""
    sidecar = start({"otlp": to_backend(backend.endpoint)})
    address = sidecar.grpc if protocol == "grpc" else sidecar.http

    sent = subprocess.run(
        ["node", Path(__file__).parent / "node" / "send.cjs", protocol, address, str(RUNS), compression],
        env={**os.environ, "NODE_PATH": str(node_modules)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert sent.returncode == 0, sent.stderr
    backend.wait(lambda seen: len(seen.spans()) >= RUNS * SPANS)

    arrived = [(one.span.trace_id.hex(), one.span.span_id.hex()) for one in backend.spans()]
    assert len(arrived) == len(set(arrived)) == RUNS * SPANS
    assert {trace_id for trace_id, _ in arrived} == set(json.loads(sent.stdout))
    assert_priced(backend, sidecar, "node-agent")
    failed = sidecar.total("spanledger_tool_calls_total", status="error", error_type="LookupError")
    assert failed == RUNS

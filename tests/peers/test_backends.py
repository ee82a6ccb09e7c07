"""Two backends at once, one of them Phoenix: what one of them does is no concern of the other."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import grpc
import pytest

from tests.backend import Failure
from tests.peers.client import CALL_USD, CALLS, SPANS, Application, exporter
from tests.peers.load import SPANS_PER_REQUEST, assert_exactly_once, request, send
from tests.sidecar import to_backend

if TYPE_CHECKING:
    from tests.peers.conftest import NewBackend, Start
    from tests.peers.servers import Phoenix

RUNS = 20


def test_phoenix_and_a_backend_that_fails_each_get_every_span_once(
    start: Start, new_backend: NewBackend, phoenix_server: Phoenix
) -> None:
    """Neither UNAVAILABLE, nor throttling, nor a closed port loses or doubles a span, here or at Phoenix."""
    failing = new_backend()
    failing.failures.extend([Failure(grpc.StatusCode.UNAVAILABLE)] * 3)
    failing.failures.extend([Failure(grpc.StatusCode.RESOURCE_EXHAUSTED, retry_delay_s=0.05)] * 3)
    sidecar = start({"otlp/phoenix": to_backend(phoenix_server.grpc), "otlp/failing": to_backend(failing.endpoint)})
    application = Application(exporter("grpc", sidecar.grpc))
    application.run(RUNS)
    application.flush()
    failing.wait(lambda seen: len(seen.spans()) >= RUNS * SPANS and not seen.failures)
    failing.stop()

    # The port is closed now: Phoenix goes on, the other's spans wait.
    application.run(RUNS)
    application.close()
    mine = {trace_id for trace_id, _ in application.sent}

    def at_phoenix() -> list[tuple[str, str]]:
        contexts = [span["context"] for span in phoenix_server.spans()]
        return [(one["trace_id"], one["span_id"]) for one in contexts if one["trace_id"] in mine]

    phoenix_server.process.wait_until(lambda: len(at_phoenix()) >= 2 * RUNS * SPANS)
    assert sidecar.total("otelcol_exporter_queue_size", exporter="otlp/failing") > 0

    recovered = new_backend(failing.port)
    recovered.wait(lambda seen: len(seen.spans()) >= RUNS * SPANS)
    arrived = [(one.span.trace_id.hex(), one.span.span_id.hex()) for one in (*failing.spans(), *recovered.spans())]
    assert sorted(arrived) == sorted(application.sent)
    assert sorted(at_phoenix()) == sorted(application.sent)


@pytest.mark.parametrize("protocol", ["otlp", "otlp_http"])
def test_phoenix_shows_our_attributes(start: Start, phoenix_server: Phoenix, protocol: str) -> None:
    """Its API has the cost, the dialect and the price of each model call, in the same tree."""
    exporters = {
        "otlp": to_backend(phoenix_server.grpc),
        "otlp_http": {"endpoint": f"http://{phoenix_server.address}"},
    }
    sidecar = start({protocol: exporters[protocol]})
    application = Application(exporter("grpc", sidecar.grpc))
    trace_ids = set(application.run(RUNS))
    application.close()

    def spans() -> list[dict[str, Any]]:
        return [span for span in phoenix_server.spans() if span["context"]["trace_id"] in trace_ids]

    phoenix_server.process.wait_until(lambda: len(spans()) >= RUNS * SPANS)
    calls = [span for span in spans() if span["name"] == "chat gpt-4o-mini"]
    assert len(calls) == RUNS * CALLS
    for span in calls:
        attributes = span["attributes"]
        assert attributes["gen_ai.usage.cost"] == pytest.approx(CALL_USD, abs=1e-12)
        assert attributes["spanledger.cost.status"] == "priced"
        assert attributes["spanledger.step.kind"] == "llm"
        assert attributes["spanledger.dialect"] == "otel"
        assert "gpt-4o-mini" in attributes["spanledger.cost.price_ref"]
        assert span["parent_id"] is not None


def test_a_backend_that_hangs_slows_nobody(start: Start, new_backend: NewBackend) -> None:
    """While one backend has not answered anything, the other has everything and the scrape counts it."""
    quick, hanging = new_backend(), new_backend()
    hanging.gate.clear()
    sidecar = start(
        {"otlp/quick": to_backend(quick.endpoint), "otlp/hanging": to_backend(hanging.endpoint, timeout="60s")}
    )
    expected: set[bytes] = set()
    for number in range(100):
        message, span_ids = request(number)
        send(sidecar.grpc, message)
        expected |= span_ids
    sent = "otelcol_exporter_sent_spans_total"
    sidecar.process.wait_until(lambda: sidecar.total(sent, exporter="otlp/quick") == len(expected))

    assert hanging.requests() == []
    assert sidecar.total(sent, exporter="otlp/hanging") == 0
    assert sidecar.total("spanledger_llm_calls_total", service_name="load") == len(expected)
    assert_exactly_once(quick, expected)

    hanging.gate.set()
    hanging.wait(lambda seen: len(seen.spans()) >= len(expected))
    assert_exactly_once(hanging, expected)


def test_a_full_queue_refuses_the_request_for_all_backends(start: Start, new_backend: NewBackend) -> None:
    """A request is at both backends or at none: after the retry of a refused one, each has it once."""
    quick, hanging = new_backend(), new_backend()
    hanging.gate.clear()
    small = {"num_consumers": 1, "queue_size": 2}
    sidecar = start(
        {
            "otlp/quick": to_backend(quick.endpoint),
            "otlp/hanging": to_backend(hanging.endpoint, timeout="60s", sending_queue=small),
        }
    )
    taken: set[bytes] = set()
    for number in range(2):
        message, span_ids = request(number)
        send(sidecar.grpc, message)
        taken |= span_ids
    refused, span_ids = request(2)
    with pytest.raises(grpc.RpcError) as error:
        send(sidecar.grpc, refused)

    assert error.value.code() is grpc.StatusCode.UNAVAILABLE
    trailers = {key for key, _ in error.value.trailing_metadata()}
    assert trailers >= {"grpc-status-details-bin", "google.rpc.retryinfo-bin"}
    quick.wait(lambda seen: len(seen.spans()) >= len(taken))
    assert sidecar.total("spanledger_llm_calls_total", service_name="load") == len(taken)

    hanging.gate.set()
    sidecar.process.wait_until(lambda: sidecar.total("otelcol_exporter_queue_size", exporter="otlp/hanging") == 0)
    send(sidecar.grpc, refused)
    for one in (quick, hanging):
        one.wait(lambda seen: len(seen.spans()) >= 3 * SPANS_PER_REQUEST)
        assert_exactly_once(one, taken | span_ids)
    assert sidecar.total("spanledger_llm_calls_total", service_name="load") == 3 * SPANS_PER_REQUEST

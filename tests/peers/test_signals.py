"""SIGTERM and SIGHUP to the real process, while clients are sending."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import TYPE_CHECKING

import grpc

from tests.backend import Backend
from tests.peers.load import Load, assert_exactly_once, request, send
from tests.processes import answers
from tests.sidecar import Sidecar, to_backend

if TYPE_CHECKING:
    from tests.peers.conftest import NewBackend, Start

RELOADS = "spanledger_config_reloads_total"


def test_sigterm_under_load_delivers_all_that_was_acknowledged(start: Start, backend: Backend) -> None:
    """What clients had an OK for is at the backend once, what they had none for is not; the exit code is 0."""
    sidecar = start({"otlp": to_backend(backend.endpoint)})

    with Load(sidecar.grpc).running() as load:
        load.wait_for(50)
        code = sidecar.process.stop()

    assert code == 0, sidecar.process.log()
    # gRPC itself cancels calls that come while the port closes. OTLP says to send again on either.
    assert set(load.errors) <= {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED}
    assert not load.unanswered & {one.span.span_id for one in backend.spans()}
    assert_exactly_once(backend, load.acknowledged)


def test_sigterm_waits_for_a_backend_that_is_slow(start: Start, backend: Backend) -> None:
    """What a slow backend has not taken yet is delivered before the process ends."""
    sidecar = start({"otlp": to_backend(backend.endpoint, timeout="30s")})
    backend.gate.clear()
    expected: set[bytes] = set()
    for number in range(20):
        message, span_ids = request(number)
        send(sidecar.grpc, message)
        expected |= span_ids

    sidecar.process.signal(signal.SIGTERM)
    sidecar.process.wait_until(lambda: not answers(sidecar.health, "/"))
    backend.gate.set()

    assert sidecar.process.wait() == 0, sidecar.process.log()
    assert_exactly_once(backend, expected)


def test_sigterm_with_a_dead_backend_says_what_is_lost(tmp_path: Path) -> None:
    """The deadline ends the wait; lost spans are said and the exit code is not 0."""
    with Backend() as gone:
        endpoint = gone.endpoint
    sidecar = Sidecar(tmp_path)
    sidecar.start(sidecar.config({"otlp": to_backend(endpoint)}), ("service.shutdown_timeout=1s",))
    send(sidecar.grpc, request(0)[0])

    assert sidecar.process.stop() == 1
    assert "10" in sidecar.process.log()
    assert "lost" in sidecar.process.log()


def test_sighup_with_a_wrong_configuration_changes_nothing(start: Start, backend: Backend) -> None:
    """The reload is counted as failed, the log says where the fault is, and spans flow as before."""
    exporters = {"otlp": to_backend(backend.endpoint)}
    sidecar = start(exporters)
    wrong = sidecar.config(exporters)
    wrong["exporters"]["otlp"]["endpiont"] = "127.0.0.1:1"
    sidecar.write(wrong)

    with Load(sidecar.grpc).running() as load:
        load.wait_for(10)
        sidecar.process.signal(signal.SIGHUP)
        sidecar.process.wait_until(lambda: sidecar.total(RELOADS, result="failed") == 1)
        load.wait_for(10)

    assert not load.errors
    assert "exporters::otlp" in sidecar.process.log()
    assert "endpiont" in sidecar.process.log()
    backend.wait(lambda seen: len(seen.spans()) >= len(load.acknowledged))
    assert_exactly_once(backend, load.acknowledged)


def test_sighup_with_a_taken_port_puts_the_old_configuration_back(start: Start, backend: Backend) -> None:
    """A configuration that is right but cannot start leaves the old one running."""
    exporters = {"otlp": to_backend(backend.endpoint)}
    sidecar = start(exporters)
    impossible = sidecar.config(exporters)
    impossible["extensions"]["zpages"]["endpoint"] = backend.endpoint
    sidecar.write(impossible)

    sidecar.process.signal(signal.SIGHUP)
    sidecar.process.wait_until(lambda: sidecar.total(RELOADS, result="failed") == 1)

    message, span_ids = request(0)
    send(sidecar.grpc, message)
    backend.wait(lambda seen: len(seen.spans()) >= len(span_ids))
    assert_exactly_once(backend, span_ids)


def test_sighup_adds_a_backend_without_losing_a_span(start: Start, new_backend: NewBackend) -> None:
    """Clients notice nothing; the first backend has every span once, the second those since the reload."""
    first, second = new_backend(), new_backend()
    exporters = {"otlp": to_backend(first.endpoint)}
    sidecar = start(exporters)

    with Load(sidecar.grpc).running() as load:
        load.wait_for(20)
        sidecar.write(sidecar.config({**exporters, "otlp/second": to_backend(second.endpoint)}))
        sidecar.process.signal(signal.SIGHUP)
        sidecar.process.wait_until(lambda: sidecar.total(RELOADS, result="ok") == 1)
        before = set(load.acknowledged)
        load.wait_for(20)
        since = load.acknowledged - before

    assert not load.errors
    assert sidecar.process.stop() == 0, sidecar.process.log()
    assert_exactly_once(first, load.acknowledged)
    assert_exactly_once(second, since)


def test_sighup_moves_everything_to_another_backend(start: Start, new_backend: NewBackend) -> None:
    """Replacing the exporter under load: each acknowledged span is at one of the two, once."""
    first, second = new_backend(), new_backend()
    sidecar = start({"otlp": to_backend(first.endpoint)})

    with Load(sidecar.grpc).running() as load:
        load.wait_for(20)
        sidecar.write(sidecar.config({"otlp": to_backend(second.endpoint)}))
        sidecar.process.signal(signal.SIGHUP)
        sidecar.process.wait_until(lambda: sidecar.total(RELOADS, result="ok") == 1)
        load.wait_for(20)

    assert set(load.errors) <= {grpc.StatusCode.UNAVAILABLE}
    assert sidecar.process.stop() == 0, sidecar.process.log()
    arrived = [one.span.span_id for one in (*first.spans(), *second.spans())]
    assert len(arrived) == len(set(arrived))
    assert load.acknowledged <= set(arrived)

"""A real sidecar with its queue on disk, ended while its backend is away."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from tests.backend import Backend
from tests.fakes import span
from tests.processes import free_ports
from tests.sidecar import Sidecar, to_backend, with_storage
from tests.test_trajectory_connector_kill import send


@pytest.mark.parametrize("killed", [True, False], ids=["killed", "stopped"])
def test_everything_acknowledged_is_delivered_after_a_restart(tmp_path: Path, *, killed: bool) -> None:
    """Two lives of one sidecar; the backend is there in the second."""
    (port,) = free_ports(1)
    sidecar = Sidecar(tmp_path)
    exporter = to_backend(f"127.0.0.1:{port}", sending_queue={"storage": "file_storage"})
    config = with_storage(sidecar.config({"otlp": exporter}), tmp_path / "queues")
    try:
        sidecar.start(config)
        for number in range(1, 31):
            send(sidecar.http, span(number))
        if killed:
            sidecar.process.kill()
        else:
            assert sidecar.process.stop() == 0
        with Backend(port) as backend:
            sidecar.start(config)
            send(sidecar.http, span(31))
            backend.wait(lambda taken: len({one.span.span_id for one in taken.spans()}) == 31)
            assert len(backend.spans()) == 31, "the backend was away: nothing can have come twice"
            assert sidecar.total("otelcol_receiver_accepted_spans_total") == 1, "what was counted is not counted again"
            assert sidecar.process.stop() == 0
    finally:
        sidecar.process.kill()


def test_reload_hands_the_queue_over(tmp_path: Path) -> None:
    """Other settings of an exporter whose backend is away: its successor sends what is on disk."""
    (port,) = free_ports(1)
    sidecar = Sidecar(tmp_path)
    exporter = to_backend(f"127.0.0.1:{port}", sending_queue={"storage": "file_storage"})
    config = with_storage(sidecar.config({"otlp": exporter}), tmp_path / "queues")
    try:
        sidecar.start(config)
        for number in range(1, 11):
            send(sidecar.http, span(number))
        exporter["timeout"] = "7s"
        sidecar.write(config)
        sidecar.process.signal(signal.SIGHUP)
        sidecar.process.wait_until(lambda: "reloaded" in sidecar.process.log())
        with Backend(port) as backend:
            send(sidecar.http, span(11))
            backend.wait(lambda taken: len({one.span.span_id for one in taken.spans()}) == 11)
            assert sidecar.process.stop() == 0
    finally:
        sidecar.process.kill()

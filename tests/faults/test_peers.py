"""Backends and clients that are slow, half open, gone, or cut the connection."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import TYPE_CHECKING

import grpc
import pytest

from tests.backend import Backend, Failure
from tests.faults.account import Arrivals
from tests.faults.lives import dropped, ending, stored
from tests.faults.wire import Wire
from tests.peers.load import Load, request
from tests.processes import free_ports
from tests.sidecar import Sidecar, to_backend, with_storage

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.faults.account import Accounts


def one_byte_at_a_time(wire: Wire) -> None:
    wire.bytes_at_once = 1


def answers_after_the_timeout(wire: Wire) -> None:
    wire.answers_after_s = 1.5


def half_open(wire: Wire) -> None:
    wire.silent = True


def resets_after_some_bytes(wire: Wire) -> None:
    wire.resets_after = 5_000


TROUBLES = (one_byte_at_a_time, answers_after_the_timeout, half_open, resets_after_some_bytes)


@pytest.mark.parametrize("storage", [False, True], ids=["memory", "disk"])
@pytest.mark.parametrize("trouble", TROUBLES, ids=lambda trouble: trouble.__name__)
def test_backend_in_trouble(
    tmp_path: Path, accounts: Accounts, rounds: int, trouble: Callable[[Wire], None], *, storage: bool
) -> None:
    """Under load, good and bad in turn. A healthy backend beside it is kept up all the time."""
    sidecar = Sidecar(tmp_path)
    with Backend() as backend, Backend() as healthy, Wire(backend.port) as wire, ending(sidecar):
        exporter = stored if storage else to_backend
        config = sidecar.config({
            "otlp": exporter(wire.endpoint, timeout="1s"), "otlp/healthy": to_backend(healthy.endpoint)
        })  # fmt: skip
        sidecar.start(with_storage(config, tmp_path / "queues"))
        arrivals = Arrivals([backend])
        load = Load(sidecar.grpc, clients=2, pause_s=0.01)
        with load.running():
            for _ in range(rounds):
                load.wait_for(10)
                trouble(wire)
                load.wait_for(40)
                kept_up = Arrivals([healthy])
                kept_up.wait_for(set(load.acknowledged), sidecar.process)
                wire.bytes_at_once, wire.answers_after_s, wire.resets_after, wire.silent = None, 0.0, None, False
                wire.cut()
        arrivals.wait_for(load.acknowledged, sidecar.process)
        assert sidecar.process.stop() == 0, sidecar.process.log()
        fault = f"backend: {trouble.__name__.replace('_', ' ')} ({'queue on disk' if storage else 'queue in memory'})"
        accounts.settle_load(fault, load, arrivals, times=rounds)
    assert not load.repeated


@pytest.mark.parametrize(
    ("sizer", "size"), [("requests", 40), ("items", 400), ("bytes", 100_000)], ids=["requests", "items", "bytes"]
)
def test_backend_that_is_away_for_long_fills_a_bounded_queue(
    tmp_path: Path, accounts: Accounts, sizer: str, size: int
) -> None:
    """The queue fills to its limit and not beyond, clients are told to come again, and nothing is lost."""
    (port,) = free_ports(1)
    sidecar = Sidecar(tmp_path)
    with ending(sidecar):
        exporter = stored(f"127.0.0.1:{port}", queue={"sizer": sizer, "queue_size": size})
        sidecar.start(with_storage(sidecar.config({"otlp": exporter}), tmp_path / "queues"))
        load = Load(sidecar.grpc, clients=4, pause_s=0.005)
        with load.running():
            load.wait_for_errors(200)
            largest = sidecar.total("otelcol_exporter_queue_size", exporter="otlp")
            assert size * 0.9 <= largest <= size
            with Backend(port) as backend:
                arrivals = Arrivals([backend])
                load.wait_for(100)
                load.stop()
                arrivals.wait_for(load.acknowledged, sidecar.process)
                assert sidecar.process.stop() == 0
        row = accounts.settle_load(f"backend away, queue limited to {size} {sizer}", load, arrivals,
                                   notes=f"{sum(load.errors.values())} refusals")  # fmt: skip
        assert row.duplicated == 0
    assert not load.repeated, "refused was refused: nothing of it was taken"


def test_backend_that_is_away_for_long_fills_a_bounded_disk(tmp_path: Path, accounts: Accounts) -> None:
    """An hour's worth of requests against a file of 4 MiB: it stays below its limit, and all of it is sent later."""
    (port,) = free_ports(1)
    sidecar = Sidecar(tmp_path)
    with ending(sidecar):
        exporter = stored(f"127.0.0.1:{port}", queue={"queue_size": 1_000_000})
        config = with_storage(sidecar.config({"otlp": exporter}), tmp_path / "queues", max_size_mib=4)
        sidecar.start(config)
        load = Load(sidecar.grpc, clients=4)
        with load.running():
            load.wait_for_errors(50)
            used = sidecar.total("spanledger_queue_storage_bytes")
            assert used <= 4 * 2**20
            with Backend(port) as backend:
                arrivals = Arrivals([backend])
                load.wait_for(50)
                load.stop()
                arrivals.wait_for(load.acknowledged, sidecar.process)
                assert sidecar.process.stop() == 0
                notes = f"{used / 2**20:.1f} MiB used, {sum(load.errors.values())} refusals"
                accounts.settle_load("backend away, file limited to 4 MiB", load, arrivals, notes=notes)
    assert not load.repeated


def test_backend_that_refuses_and_fails_at_random(tmp_path: Path, accounts: Accounts, rounds: int) -> None:
    """Every retryable answer there is, between good ones: retried, delivered once."""
    codes = [getattr(grpc.StatusCode, name) for name in ("UNAVAILABLE", "ABORTED", "DEADLINE_EXCEEDED", "DATA_LOSS")]
    sidecar = Sidecar(tmp_path)
    with Backend() as backend, ending(sidecar):
        sidecar.start(sidecar.config({"otlp": to_backend(backend.endpoint)}))
        load = Load(sidecar.grpc, clients=3, signals=("traces", "logs", "metrics"), pause_s=0.01)
        with load.running():
            for _ in range(rounds):
                backend.failures.extend(Failure(code, 0.05) for code in codes * 5)
                load.wait_for(60)
        assert sidecar.process.stop() == 0
        row = accounts.settle_load(
            "backend answers with errors that may pass", load, Arrivals([backend]), times=20 * rounds
        )
    assert row.duplicated == 0


def test_clients_that_go_away_in_the_middle(tmp_path: Path, accounts: Accounts, rounds: int) -> None:
    """Half requests over HTTP and gRPC, cut with a reset: nothing of them arrives, and others are served as before."""
    sidecar = Sidecar(tmp_path)
    broken: set[bytes] = set()
    times = 50 * rounds
    with Backend() as backend, ending(sidecar):
        sidecar.start(sidecar.config({"otlp": to_backend(backend.endpoint)}))
        load = Load(sidecar.grpc, clients=2, pause_s=0.01)
        with load.running():
            for number in range(times):
                message, ids = request(number)
                body = message.SerializeToString()
                broken |= ids
                head = (
                    f"POST /v1/traces HTTP/1.1\r\nhost: x\r\ncontent-type: application/x-protobuf\r\n"
                    f"content-length: {len(body)}\r\n\r\n"
                ).encode()
                for address, start in ((sidecar.http, head), (sidecar.grpc, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")):
                    host, port = address.rsplit(":", 1)
                    with socket.create_connection((host, int(port))) as client:
                        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
                        client.sendall(start + body[: number * len(body) // times])
            load.wait_for(20)
        arrivals = Arrivals([backend])
        arrivals.wait_for(load.acknowledged, sidecar.process)
        assert not dropped(sidecar)
        assert sidecar.process.stop() == 0
        assert not broken & arrivals.look().keys()
        row = accounts.settle_load(
            "clients cut in the middle of a request (HTTP, gRPC)", load, arrivals, times=2 * times
        )
    assert not load.errors
    assert row.duplicated == 0

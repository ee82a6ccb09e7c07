"""SIGTERM and SIGHUP under load, memory that is short, and what a backend refuses for good."""

from __future__ import annotations

import os
import re
import resource
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import grpc
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from spanledger.conventions.values import key_value
from tests.backend import Backend, Failure
from tests.faults.account import Arrivals
from tests.faults.lives import dropped, ending, stored
from tests.faults.test_kill import told
from tests.faults.wire import Wire
from tests.peers.load import SPANS_PER_REQUEST, Load, request, send
from tests.sidecar import Sidecar, to_backend, with_runs, with_storage

if TYPE_CHECKING:
    from tests.faults.account import Accounts

RELOADS = "spanledger_config_reloads_total"


def test_sigterm_under_load_with_a_slow_backend_in_memory(tmp_path: Path, accounts: Accounts) -> None:
    """Within the grace period: delivered, or said to be lost, to the last item."""
    sidecar = Sidecar(tmp_path)
    with Backend() as backend, Wire(backend.port) as wire, ending(sidecar):
        exporter = to_backend(wire.endpoint, sending_queue={"num_consumers": 2})
        sidecar.start(sidecar.config({"otlp": exporter}), ("service.shutdown_timeout=3s",))
        wire.answers_after_s = 0.3
        load = Load(sidecar.grpc, clients=4)
        with load.running():
            load.wait_for(200)
            code = sidecar.process.stop()
        lost = int(re.findall(r"stopped after [\d.]+ s, (\d+) items lost", sidecar.process.log())[-1])
        row = accounts.settle_load("SIGTERM under load, slow backend, queue in memory, 3 s of grace", load,
                                   Arrivals([backend]), dropped={"shutdown": lost})  # fmt: skip
    assert code == (1 if lost else 0)
    assert lost, "the backend was to be too slow"
    assert row.delivered > 0


def test_process_that_is_stopped_for_a_while(tmp_path: Path, accounts: Accounts, rounds: int) -> None:
    """SIGSTOP in the middle of everything, as a debugger or a paused machine does, for longer than a push may take."""
    sidecar = Sidecar(tmp_path)
    with Backend() as backend, ending(sidecar):
        exporter = stored(f"127.0.0.1:{backend.port}", timeout="1s")
        sidecar.start(with_storage(sidecar.config({"otlp": exporter}), tmp_path / "queues"))
        load = Load(sidecar.grpc, clients=4, pause_s=0.005)
        with load.running():
            for _ in range(rounds):
                load.wait_for(30)
                sidecar.process.signal(signal.SIGSTOP)
                load.rest(3.0)
                sidecar.process.signal(signal.SIGCONT)
                load.wait_for(30)
        arrivals = Arrivals([backend])
        arrivals.wait_for(load.acknowledged, sidecar.process)
        assert sidecar.process.stop() == 0, sidecar.process.log()
        accounts.settle_load("process stopped for 3 s (SIGSTOP, SIGCONT) under load", load, arrivals, times=rounds)


def test_process_without_file_descriptors(tmp_path: Path, accounts: Accounts) -> None:
    """None is left while new clients come: those that are connected go on, and the others are served when there are."""
    sidecar = Sidecar(tmp_path)
    with Backend() as backend, ending(sidecar):
        exporter = stored(f"127.0.0.1:{backend.port}")
        sidecar.start(with_storage(sidecar.config({"otlp": exporter}), tmp_path / "queues"))
        process = sidecar.process.popen.pid
        # By another name, for channels to one address share a connection.
        names = sidecar.grpc, sidecar.grpc.replace("127.0.0.1", "localhost")
        before, late = (Load(name, clients=3, pause_s=0.005) for name in names)
        with before.running():
            before.wait_for(30)
            usual = resource.prlimit(process, resource.RLIMIT_NOFILE)
            resource.prlimit(process, resource.RLIMIT_NOFILE, (1, usual[1]))
            with late.running():
                before.wait_for(100)
                assert not late.acknowledged
                resource.prlimit(process, resource.RLIMIT_NOFILE, usual)
                late.wait_for(30)
        arrivals = Arrivals([backend])
        arrivals.wait_for(before.acknowledged | late.acknowledged, sidecar.process)
        assert sidecar.process.stop() == 0, sidecar.process.log()
        what = "no file descriptors are left"
        accounts.settle_load(f"{what}: clients from before", before, arrivals)
        accounts.settle_load(f"{what}: clients that came then", late, arrivals)


def test_sigterm_under_load_with_a_slow_backend_on_disk(tmp_path: Path, accounts: Accounts) -> None:
    """What is not sent within the grace period stays on disk; nothing is lost."""
    sidecar = Sidecar(tmp_path)
    with Backend() as backend, Wire(backend.port) as wire, ending(sidecar):
        config = with_storage(sidecar.config({"otlp": stored(wire.endpoint)}), tmp_path / "queues")
        config["service"]["shutdown_timeout"] = "3s"
        sidecar.start(config)
        wire.answers_after_s = 0.3
        load = Load(sidecar.grpc, clients=4)
        with load.running():
            load.wait_for(200)
            assert sidecar.process.stop() == 0, sidecar.process.log()
        wire.answers_after_s = 0.0
        sidecar.start(config)
        arrivals = Arrivals([backend])
        arrivals.wait_for(load.acknowledged, sidecar.process)
        assert sidecar.process.stop() == 0
        accounts.settle_load("SIGTERM under load, slow backend, queue on disk", load, arrivals)


def open_run(address: str, number: int) -> set[bytes]:
    """Send a run of 1,000 steps whose root does not come; return the ids of its spans."""
    trace_id, root = os.urandom(16), os.urandom(8)
    taken: set[bytes] = set()
    message = ExportTraceServiceRequest()
    for _ in range(100):
        part, ids = request(number)
        taken |= ids
        message.resource_spans.extend(part.resource_spans)
    for group in message.resource_spans:
        for span in group.scope_spans[0].spans:
            span.trace_id, span.parent_span_id = trace_id, root
    send(address, message)
    return taken


@pytest.mark.parametrize("storage", [False, True], ids=["memory", "disk"])
def test_sigterm_while_large_runs_are_open(tmp_path: Path, accounts: Accounts, *, storage: bool) -> None:
    """It takes no longer than it may; runs it has no time for are said to be lost, or told after the next start."""
    sidecar = Sidecar(tmp_path)
    with Backend() as backend, ending(sidecar):
        exporter = (stored if storage else to_backend)(backend.endpoint)
        config = with_runs(with_storage(sidecar.config({"otlp": exporter}), tmp_path / "queues"), tmp_path)
        if storage:
            config["exporters"]["run_store"]["sending_queue"] = {"storage": "file_storage", "num_consumers": 1}
        else:
            del config["connectors"]["trajectory"]["storage"]
        sidecar.start(config, ("service.shutdown_timeout=1s",))
        steps = set().union(*(open_run(sidecar.grpc, number) for number in range(20)))
        load = Load(sidecar.grpc, clients=4)
        with load.running():
            load.wait_for(200)
            code = sidecar.process.stop()
        ((took_s, lost),) = re.findall(r"stopped after ([\d.]+) s, (\d+) items lost", sidecar.process.log())
        assert float(took_s) < 5, "one large run more than there is time for, on a busy machine"
        arrivals = Arrivals([backend])
        accounts.settle_load("SIGTERM under load, large runs are open: the spans", load, arrivals)
        in_runs = told(tmp_path / "runs")
        assert len(in_runs) < len(steps), "there was to be too little time"
        if not storage:
            # Each request of the load is a run of its own, and no run is told in part.
            untold = len(steps - in_runs.keys()) / 1000 + len(load.acknowledged - in_runs.keys()) / SPANS_PER_REQUEST
            assert (code, int(lost)) == (1, untold)
            return
        assert (code, int(lost)) == (0, 0)
        sidecar.start(config, ("service.shutdown_timeout=45s",))
        assert sidecar.process.stop() == 0, sidecar.process.log()
        fault = "SIGTERM under load, 20 runs of 1,000 steps open, restart: steps in the run store"
        row = accounts.settle(fault, steps | load.acknowledged, [told(tmp_path / "runs")])
        assert row.duplicated == 0


@pytest.mark.parametrize("storage", [False, True], ids=["memory", "disk"])
def test_reloads_under_load(tmp_path: Path, accounts: Accounts, rounds: int, *, storage: bool) -> None:
    """Other settings of exporter, connector and receiver in turn: nothing is lost and nothing comes twice."""
    sidecar = Sidecar(tmp_path)
    times = 6 * rounds
    with Backend() as backend, ending(sidecar):
        exporter = (stored if storage else to_backend)(backend.endpoint)
        config = with_storage(sidecar.config({"otlp": exporter}), tmp_path / "queues")
        sidecar.start(config)
        load = Load(sidecar.grpc, clients=3, signals=("traces", "logs", "metrics"), pause_s=0.01)
        with load.running():
            for number in range(times):
                if number % 3 == 0:
                    exporter["timeout"] = f"{5 + number}s"
                elif number % 3 == 1:
                    config["connectors"]["genai_metrics"] = {"series_limit": 1000 + number}
                else:
                    config["receivers"]["otlp"]["protocols"]["http"]["max_request_body_size"] = 20_000_000 + number
                sidecar.write(config)
                sidecar.process.signal(signal.SIGHUP)
                sidecar.process.wait_until(lambda wanted=number + 1: sidecar.total(RELOADS) == wanted)  # type: ignore[misc]
                load.wait_for(10)
        assert sidecar.total(RELOADS, result="failed") == 0, sidecar.process.log()
        arrivals = Arrivals([backend])
        arrivals.wait_for(load.acknowledged, sidecar.process)
        assert sidecar.process.stop() == 0, sidecar.process.log()
        fault = f"SIGHUP with other settings under load (queue {'on disk' if storage else 'in memory'})"
        row = accounts.settle_load(fault, load, arrivals, times=times)
    assert row.duplicated == 0


def large(number: int) -> tuple[bytes, bytes]:
    """Return a request of one span of 1 MiB, and its id."""
    message, _ = request(number)
    spans = message.resource_spans[0].scope_spans[0].spans
    del spans[1:]
    spans[0].attributes.append(key_value("text", f"{number:07d} " * 2**17))
    return message.SerializeToString(), spans[0].span_id


def test_memory_stays_within_its_limit_in_a_burst(tmp_path: Path, accounts: Accounts, rounds: int) -> None:
    """Large requests and a backend that takes none of them: refused before memory is short, then all delivered."""
    sidecar = Sidecar(tmp_path)
    limit_mib = 400
    taken: set[bytes] = set()
    refused: list[grpc.StatusCode] = []
    with Backend() as backend, ending(sidecar):
        config = sidecar.config({"otlp": to_backend(backend.endpoint, timeout="60s")})
        config["processors"]["memory_limiter"] = {
            "check_interval": "100ms", "limit_mib": limit_mib, "spike_limit_mib": 100
        }  # fmt: skip
        config["service"]["pipelines"]["traces"]["processors"].insert(0, "memory_limiter")
        sidecar.start(config)
        backend.gate.clear()

        def burst(first: int) -> None:
            with grpc.insecure_channel(sidecar.grpc) as channel:
                export = channel.unary_unary("/opentelemetry.proto.collector.trace.v1.TraceService/Export")
                for number in range(first, first + 120 * rounds):
                    data, span_id = large(number)
                    try:
                        export(data, timeout=30.0)
                    except grpc.RpcError as error:
                        refused.append(error.code())
                    else:
                        taken.add(span_id)

        clients = [threading.Thread(target=burst, args=(number * 10_000,)) for number in range(4)]
        for client in clients:
            client.start()
        for client in clients:
            client.join()
        status = Path(f"/proc/{sidecar.process.popen.pid}/status").read_text()
        peak_mib = int(re.findall(r"VmHWM:\s+(\d+) kB", status)[0]) // 1024
        backend.gate.set()
        arrivals = Arrivals([backend])
        arrivals.wait_for(taken, sidecar.process)
        assert sidecar.process.stop() == 0
        fault = f"burst of {480 * rounds} MiB at memory_limiter::limit_mib {limit_mib}"
        notes = f"peak of resident memory {peak_mib} MiB, {len(refused)} refusals"
        accounts.settle(fault, taken, [arrivals.look()], notes=notes)
    assert set(refused) == {grpc.StatusCode.UNAVAILABLE}
    assert peak_mib < limit_mib + 50


def test_poison_becomes_a_dead_letter_and_is_replayed(tmp_path: Path, accounts: Accounts, rounds: int) -> None:
    """Requests that the backend refuses for good stand in nobody's way; later they are sent after all."""
    times = 20 * rounds
    sidecar = Sidecar(tmp_path)
    with Backend() as backend, ending(sidecar):
        config = with_storage(sidecar.config({"otlp": stored(backend.endpoint)}), tmp_path / "queues")
        sidecar.start(config)
        backend.failures.extend([Failure(grpc.StatusCode.INVALID_ARGUMENT)] * times)
        load = Load(sidecar.grpc, clients=3, pause_s=0.01)
        with load.running():
            load.wait_for(times + 40)
        sidecar.process.wait_until(lambda: sidecar.total("spanledger_dead_letters") == times)
        assert dropped(sidecar) == {"permanent": times * 10}
        sidecar.process.kill()
        sidecar.start(
            sidecar_config := with_storage(sidecar.config({"otlp": stored(backend.endpoint)}), tmp_path / "queues")
        )
        del sidecar_config
        listed = dlq(tmp_path, "list")
        assert listed.count("INVALID_ARGUMENT") == times, listed
        dlq(tmp_path, "replay", "--all")
        arrivals = Arrivals([backend])
        arrivals.wait_for(load.acknowledged, sidecar.process)
        assert sidecar.process.stop() == 0
        accounts.settle_load(
            "requests refused for good, kill -9, `spanledger dlq replay --all`", load, arrivals, times=times
        )


def dlq(tmp_path: Path, *arguments: str) -> str:
    """Run `spanledger dlq`."""
    command = [sys.executable, "-m", "spanledger", "dlq", *arguments, "--directory", str(tmp_path / "queues")]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout

"""Hours condensed into minutes: what a sidecar holds and how it answers while everything around it changes.

    python -m bench.soak [--minutes N] [--rate RUNS_A_SECOND] [--condensed] [--out FILE]

Every recorded run of tests/fixtures/corpus is sent again and again as a run of its own, over OTLP/gRPC. Each is of
another session and user; every second one names services, agents, tools and models that nobody has seen before, which
is what a hostile client does to Prometheus. Meanwhile `/metrics` is scraped, the configuration is reloaded, and the
backend comes and goes, with the queue on disk. Runs are remembered for a few seconds, not hours, so that all that is to
be forgotten is forgotten many times over. Prints what was seen every ten seconds and a summary, in JSON.

Memory is flat when it does not grow in the last third. Each memory has a limit (`python -m bench.memories`), and until
the last of them is full it grows; let it run for half an hour. With `--condensed` the process has a sixteenth of most
of them, which is full in minutes.
"""

from __future__ import annotations

import argparse
import json
import random
import signal
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from bench.corpus import captures, requests_of
from spanledger.conventions.values import key_value
from tests.backend import Backend
from tests.processes import free_ports, http_get
from tests.sidecar import Sidecar, to_backend, total, with_runs, with_storage

SAMPLE_S = 10.0
BACKEND_UP_S, BACKEND_DOWN_S = 45.0, 15.0
RELOAD_S = 30.0
MIB = 2**20

CHOSEN_BY_CLIENTS = ("gen_ai.agent.name", "gen_ai.tool.name", "gen_ai.request.model", "gen_ai.response.model")

# Runs in the sidecar's process: how long each collection of garbage held everything up, by the clock and by its CPU.
COLLECTIONS = """
import gc, json, os, time
seen = {"collections": [0, 0, 0], "longest_s": [0.0] * 3, "longest_cpu_s": [0.0] * 3, "total_s": 0.0}
began = cpu = 0.0
def watch(phase, info):
    global began, cpu
    if phase == "start":
        began, cpu = time.perf_counter(), time.thread_time()
        return
    took, worked, generation = time.perf_counter() - began, time.thread_time() - cpu, info["generation"]
    seen["collections"][generation] += 1
    seen["longest_s"][generation] = round(max(seen["longest_s"][generation], took), 4)
    seen["longest_cpu_s"][generation] = round(max(seen["longest_cpu_s"][generation], worked), 4)
    seen["total_s"] += took
    if generation:
        with open(os.environ["SOAK_COLLECTIONS"], "w") as file:
            json.dump(seen, file)
if "SOAK_COLLECTIONS" in os.environ:
    gc.callbacks.append(watch)
"""

# The same for its memories: a sixteenth of each, a tenth of the time.
CONDENSED = """
import importlib.abc, importlib.machinery, os, sys
SIZES = {
    "processor.accounts": {"Accounts": (2048, 60.0)},
    "processor.model_prices": {"_MAX_SHOWN": 256},
    "processor.retold": {"MAX_TOOLS": 512},
    "processor.step_metrics": {"MAX_TOLD": 512, "MAX_TRACES": 64, "MAX_BEGUN": 256, "MAX_FAILED": 64},
    "processor.trajectory.governance": {"_MAX_SEEN": 640},
    "processor.trajectory.histories": {"MAX_AGENTS": 64},
    "processor.trajectory.loops": {"MAX_KEPT_STEPS": 256, "MAX_BUSY": 1024, "MAX_FOUND": 32},
    "processor.trajectory.origins": {"_MAX_RESOURCES": 256},
    "processor.trajectory.run_metrics": {"_MAX_SEEN": 640},
    "processor.trajectory.telling": {"_MAX_AGENTS": 64},
    "processor.trajectory.unsafe": {"MAX_TRACES": 640},
    "conventions.lending": {"MAX_TRACES": 256},
    "conventions.log_reports": {"MAX_CONVERSATIONS": 256},
    "conventions.lookup": {"MAX_LEARNED": 1024},
    "conventions.prices.engine": {"MEMO_SIZE": 256},
    "conventions.shape": {"Shapes": (2**20,)},
}
class Condensing(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        sizes = SIZES.get(name.removeprefix("spanledger."))
        spec = importlib.machinery.PathFinder.find_spec(name, path) if sizes else None
        if spec is not None:
            execute = spec.loader.exec_module
            def condensed(module):
                execute(module)
                for constant, size in sizes.items():
                    known = getattr(module, constant)
                    if isinstance(size, tuple):
                        assert len(known.__init__.__defaults__) == len(size), constant
                        known.__init__.__defaults__ = size
                    else:
                        setattr(module, constant, size)
            spec.loader.exec_module = condensed
        return spec
if "SOAK_CONDENSED" in os.environ:
    sys.meta_path.insert(0, Condensing())
"""


def runs(seed: int) -> Iterator[list[ExportTraceServiceRequest]]:
    """Yield the requests of one run after another, for ever; each has ids of its own and ends now."""
    recorded = [[*requests_of(data)] for _, data in captures()]
    recorded = [one for one in recorded if one]
    draw = random.Random(seed)
    number = 0
    while True:
        draw.shuffle(recorded)
        for one in recorded:
            number += 1
            yield anew(one, draw, number, hostile=number % 2 == 0)


def anew(
    recorded: list[ExportTraceServiceRequest], draw: random.Random, number: int, *, hostile: bool
) -> list[ExportTraceServiceRequest]:
    """Return a copy of a run as if it had just ended: other ids, times, session and user."""
    mask_trace, mask_span = draw.randbytes(16), draw.randbytes(8)
    copies = [ExportTraceServiceRequest.FromString(one.SerializeToString()) for one in recorded]
    spans = [span for copy in copies for r in copy.resource_spans for s in r.scope_spans for span in s.spans]
    late_ns = time.time_ns() - max((span.end_time_unix_nano for span in spans), default=0)
    for span in spans:
        span.trace_id = _masked(span.trace_id, mask_trace)
        span.span_id = _masked(span.span_id, mask_span)
        span.parent_span_id = _masked(span.parent_span_id, mask_span)
        for link in span.links:
            link.trace_id, link.span_id = _masked(link.trace_id, mask_trace), _masked(link.span_id, mask_span)
        span.start_time_unix_nano = max(0, span.start_time_unix_nano + late_ns)
        span.end_time_unix_nano = max(0, span.end_time_unix_nano + late_ns)
        for attribute in span.attributes:
            if attribute.key in {"gen_ai.conversation.id", "session.id", "user.id"}:
                attribute.value.string_value = f"{attribute.value.string_value[:20]}-{number}"
            elif hostile and attribute.key in CHOSEN_BY_CLIENTS:
                attribute.value.string_value = f"{attribute.value.string_value[:20]}-{draw.getrandbits(64):x}"
    for copy in copies:
        for resource in copy.resource_spans:
            if hostile:
                resource.resource.attributes.append(key_value("service.name", f"service-{draw.getrandbits(64):x}"))
    return copies


def _masked(value: bytes, mask: bytes) -> bytes:
    return bytes(a ^ b for a, b in zip(value, mask, strict=False))


class Client(threading.Thread):
    """Sends runs at a steady rate; what is refused is sent again a moment later, a few times."""

    def __init__(self, address: str, rate: float, seed: int) -> None:
        super().__init__(daemon=True)
        self._address, self._rate, self._seed = address, rate, seed
        self.stopping = threading.Event()
        self.sent_spans = self.sent_runs = self.refused = self.given_up = 0

    def run(self) -> None:
        """Send until told to stop."""
        due = time.monotonic()
        with grpc.insecure_channel(self._address) as channel:
            export = channel.unary_unary("/opentelemetry.proto.collector.trace.v1.TraceService/Export")
            for run in runs(self._seed):
                for message in run:
                    self._send(export, message)
                self.sent_runs += 1
                due = max(due + 1 / self._rate, time.monotonic() - 1.0)
                if self.stopping.wait(max(0.0, due - time.monotonic())):
                    return

    def _send(self, export: Any, message: ExportTraceServiceRequest) -> None:
        data = message.SerializeToString()
        for _ in range(20):
            try:
                export(data, timeout=10.0)
            except grpc.RpcError:
                self.refused += 1
                if self.stopping.wait(0.2):
                    return
            else:
                self.sent_spans += sum(len(s.spans) for r in message.resource_spans for s in r.scope_spans)
                return
        self.given_up += 1


class Pulse(threading.Thread):
    """Asks the health check ten times a second: what holds the loop up holds its answer up."""

    def __init__(self, address: str) -> None:
        super().__init__(daemon=True)
        self._address = address
        self.stopping = threading.Event()
        self.took_s: list[float] = []

    def run(self) -> None:
        """Ask until told to stop."""
        while not self.stopping.wait(0.1):
            began = time.perf_counter()
            http_get(self._address, "/", timeout_s=60.0)
            self.took_s.append(time.perf_counter() - began)


def configuration(sidecar: Sidecar, port: int, directory: Path, *, condensed: bool) -> dict[str, Any]:
    """Return everything a sidecar does, with memories short enough to be emptied many times."""
    exporter = to_backend(f"127.0.0.1:{port}", sending_queue={"storage": "file_storage", "queue_size": 100_000})
    config = with_storage(sidecar.config({"otlp": exporter}), directory / "queues", max_size_mib=64)
    with_runs(config, directory, settle="1s", settle_remote="2s", idle_timeout="10s",
              late={"remember": "20s", "forget": "40s"})  # fmt: skip
    config["exporters"]["run_store"]["max_size_mib"] = 64
    config["exporters"]["prometheus"]["metric_expiration"] = "2m"
    if condensed:
        config["connectors"]["genai_metrics"] = {"total_series_limit": 10_000}
        config["exporters"]["run_store"]["max_size_mib"] = 4
        config["connectors"]["trajectory"]["memory"] = {"max_spans_per_run": 320}
    config["processors"]["memory_limiter"] = {"check_interval": "1s", "limit_mib": 1024}
    config["service"]["pipelines"]["traces"]["processors"].insert(0, "memory_limiter")
    config["service"]["pipelines"]["metrics/own"]["receivers"].append("trajectory")
    return config


def sample(sidecar: Sidecar, directory: Path, client: Client, since_s: float) -> dict[str, Any]:
    """Return what the sidecar holds now."""
    pid = sidecar.process.popen.pid
    status = dict(
        line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines() if ":" in line
    )  # fmt: skip
    series = sidecar.scrape()
    sizes = {path.name: path.stat().st_size for path in directory.rglob("*") if path.is_file()}
    return {
        "at_s": round(time.monotonic() - since_s, 1),
        "rss_mib": round(int(status["VmRSS"].split()[0]) / 1024, 1),
        "threads": int(status["Threads"]),
        "descriptors": len([*Path(f"/proc/{pid}/fd").iterdir()]),
        "series": len(series),
        "series_overflow": total(series, "spanledger_series_overflow_total"),
        "runs_open": total(series, "spanledger_runs_open"),
        "runs_closed": total(series, "spanledger_runs_total"),
        "queue_requests": total(series, "otelcol_exporter_queue_size", exporter="otlp"),
        "queue_file_mib": round(sum(n for name, n in sizes.items() if ".queue" in name) / MIB, 1),
        "run_store_mib": round(sum(n for name, n in sizes.items() if name.startswith("runs.sqlite3")) / MIB, 1),
        "open_runs_file_mib": round(sum(n for name, n in sizes.items() if name.startswith("open-runs.db")) / MIB, 1),
        "lag_s": total(series, "spanledger_loop_lag_seconds"),
        "dropped": total(series, "spanledger_dropped_items_total"),
        "sent_spans": client.sent_spans,
        "sent_runs": client.sent_runs,
        "refused_requests": client.refused,
        "given_up_requests": client.given_up,
    }


def slope(samples: list[dict[str, Any]], key: str) -> float:
    """Return how `key` grows in the last third of `samples`, per hour (least squares)."""
    third = samples[len(samples) * 2 // 3 :]
    if len(third) < 3:
        return 0.0
    line = statistics.linear_regression([one["at_s"] for one in third], [one[key] for one in third])
    return round(line.slope * 3600, 2)


def summary(samples: list[dict[str, Any]], pulse: list[float], collections: dict[str, Any]) -> dict[str, Any]:
    """Return what matters of a soak."""
    ordered = sorted(pulse)
    bounded = ("series", "runs_open", "queue_requests", "queue_file_mib", "run_store_mib", "open_runs_file_mib",
               "threads", "descriptors", "rss_mib")  # fmt: skip
    last = samples[-1]
    return {
        "minutes": round(last["at_s"] / 60, 1),
        "spans": last["sent_spans"],
        "runs": last["sent_runs"],
        "refused_requests": last["refused_requests"],
        "given_up_requests": last["given_up_requests"],
        "dropped": last["dropped"],
        "largest": {key: max(one[key] for one in samples) for key in bounded},
        "last": {key: last[key] for key in bounded},
        "growth_an_hour_in_the_last_third": {key: slope(samples, key) for key in bounded},
        "health_answer_s": {
            "p50": round(ordered[len(ordered) // 2], 4),
            "p99": round(ordered[len(ordered) * 99 // 100], 4),
            "max": round(ordered[-1], 4),
        },
        "garbage_collections": collections,
    }


def soak(minutes: float, rate: float, *, condensed: bool = False) -> dict[str, Any]:
    """Run it; return every sample and the summary."""
    (port,) = free_ports(1)
    with tempfile.TemporaryDirectory(prefix="soak-") as name:
        directory = Path(name)
        (directory / "hook").mkdir()
        (directory / "hook" / "sitecustomize.py").write_text(COLLECTIONS + CONDENSED)
        counted = directory / "collections.json"
        environment = {"PYTHONPATH": str(directory / "hook"), "SOAK_COLLECTIONS": str(counted)}
        if condensed:
            environment["SOAK_CONDENSED"] = "1"
        sidecar = Sidecar(directory, environment=environment)
        config = configuration(sidecar, port, directory / "data", condensed=condensed)
        sidecar.start(config)
        client, pulse = Client(sidecar.grpc, rate, seed=1), Pulse(sidecar.health)
        backend: Backend | None = Backend(port)
        samples: list[dict[str, Any]] = []
        began = time.monotonic()
        change_backend, reload = began + BACKEND_UP_S, began + RELOAD_S
        try:
            client.start()
            pulse.start()
            while (now := time.monotonic()) < began + minutes * 60:
                if now >= change_backend:
                    if backend is not None:
                        backend.stop()
                    backend = None if backend is not None else Backend(port)
                    change_backend = time.monotonic() + (BACKEND_DOWN_S if backend is None else BACKEND_UP_S)
                if now >= reload:
                    reload = now + RELOAD_S
                    config["exporters"]["otlp"]["timeout"] = f"{5 + len(samples) % 5}s"
                    sidecar.write(config)
                    sidecar.process.signal(signal.SIGHUP)
                if backend is not None:
                    backend.clear()
                samples.append(sample(sidecar, directory / "data", client, began))
                print(json.dumps(samples[-1]), flush=True)
                client.stopping.wait(max(0.0, SAMPLE_S - (time.monotonic() - now)))
            for thread in (client, pulse):
                thread.stopping.set()
                thread.join()
            collections = json.loads(counted.read_text())
            code = sidecar.process.stop()
        finally:
            if backend is not None:
                backend.stop()
            sidecar.process.kill()
        log = sidecar.process.log()
        return {
            "summary": {**summary(samples, pulse.took_s, collections), "exit_code": code,
                        "tracebacks": log.count("Traceback")},
            "samples": samples,
            "log_tail": log[-4000:],
        }  # fmt: skip


def main() -> None:
    """Run the soak of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=20.0, help="how long (default 20)")
    parser.add_argument("--rate", type=float, default=20.0, help="runs a second (default 20)")
    parser.add_argument("--condensed", action="store_true", help="a sixteenth of each memory")
    parser.add_argument("--out", type=Path, help="write all samples here")
    args = parser.parse_args()
    result = soak(args.minutes, args.rate, condensed=args.condensed)
    if args.out:
        args.out.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result["summary"], indent=1))
    sys.exit(result["summary"]["exit_code"])


if __name__ == "__main__":
    main()

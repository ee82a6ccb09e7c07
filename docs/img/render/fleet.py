"""Play the fleet of the pictures, and write their bundles: `python -m docs.img.render.fleet DIRECTORY [SECONDS]`.

It takes the time that the pictures show; after more than half of it an application gets into trouble. From the root of
the repository, with the peers that `tests/peers/install.sh prometheus-newest` installs.
"""

from __future__ import annotations

import sys
import time
from contextlib import ExitStack
from pathlib import Path

import grpc
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from docs.img.render import bundle
from spanledger.service.demo import workload
from tests.backend import Backend
from tests.peers import test_dashboards as watched
from tests.peers import troubled
from tests.peers.conftest import installed
from tests.peers.servers import prometheus
from tests.peers.week import backfill, openmetrics
from tests.sidecar import Sidecar

PAUSE_S = 4
CORPUS_EVERY = 30
"""Rounds between two stacks of the corpus."""


def main(directory: Path, seconds: int) -> None:
    """Play for a while, then ask for everything that the pictures show."""
    for name in ("sidecar", "bundles"):
        (directory / name).mkdir(parents=True)
    binaries = installed("prometheus-newest", "usr", "bin")
    history = openmetrics(time.time(), watched.AGENTS, watched.TOOLS, watched.SCORES)
    backfill(binaries / "promtool", directory, history)
    sidecar = Sidecar(directory / "sidecar")
    with Backend() as backend, ExitStack() as stack:
        sidecar.start(watched.configuration(sidecar, backend.endpoint))
        stack.callback(sidecar.process.kill)
        rules = watched.rules(directory)
        server = stack.enter_context(prometheus(binaries / "prometheus", directory, sidecar.prometheus, rules))
        _play(sidecar, backend, seconds)
        bundle.main(f"http://{server.address}", directory / "bundles", seconds)


def _play(sidecar: Sidecar, backend: Backend, seconds: int) -> None:
    demo = {service: _provider(service, sidecar.grpc) for service in workload.SERVICES}
    refunds = _provider("refunds", sidecar.grpc)
    began_s, number, annoyed = time.time(), 0, False
    with grpc.insecure_channel(sidecar.grpc) as channel:
        while (passed := (time.time() - began_s) / seconds) < 1:
            number += 1
            workload.play(demo, time.time_ns(), number)
            troubled.play(refunds, time.time_ns(), number, bad=passed > 0.55)
            for one in (*demo.values(), refunds):
                one.force_flush()
            if number % CORPUS_EVERY == 1:
                watched.send_captures(channel, watched.STACKS[number // CORPUS_EVERY % len(watched.STACKS)])
            if passed > 0.6 and not annoyed:
                watched.annoy(sidecar, backend)
                annoyed = True
            time.sleep(PAUSE_S)


def _provider(service: str, address: str) -> TracerProvider:
    made = TracerProvider(resource=workload.resource(service), shutdown_on_exit=False)
    made.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=address, insecure=True)))
    return made


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 780)

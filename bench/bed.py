"""What every measure uses: the cores, the requests on disk, a backend, and sending a load."""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import grpc

from bench import machine
from bench.load import Job, Sent
from bench.sides import ROOT, Missing, Place, Running, Side, sink
from bench.sink import COUNTS
from bench.wires import Mix, wires

LATER_S = 2.0
"""Runs and traces wait a second until they are closed; so much later nothing waits any more."""


@dataclass(slots=True)
class Bed:
    """One run of the benchmarks."""

    directory: Path
    quick: bool
    backend: str = ""
    """Address of the sink that everything is sent on to."""
    core: frozenset[int] = frozenset()
    """Of what is measured."""
    others: frozenset[int] = frozenset()
    """Of everything else."""
    missing: dict[str, str] = field(default_factory=dict)
    """Peers that are not there, and why."""
    _next_tag: int = 0
    _wires: dict[Mix, Path] = field(default_factory=dict)

    @contextlib.contextmanager
    def open(self) -> Iterator[Bed]:
        """Keep everything of ours off the core of what is measured, and run the backend."""
        core, others = machine.cores()
        self.core, self.others = frozenset(core), frozenset(others)
        machine.pin(os.getpid(), others)
        with sink("count")(Place(self.directory / "backend", "", self.others)) as backend:
            self.backend = backend.grpc
            yield self

    def place(self, name: str, compression: str = "none") -> Place:
        """Return where a side runs."""
        return Place(self.directory / name, self.backend, self.core, compression)

    def seconds(self, full: float, quick: float) -> float:
        """Return how long to measure."""
        return quick if self.quick else full

    def load(self, address: str, mix: Mix, seconds: float, *, rate: float = 0.0, most_requests: int = 0) -> Sent:
        """Send a mix and wait until it is sent; `rate` is in requests a second, 0 for as many as are taken."""
        job = Job(address, str(self.file(mix)), self._next_tag, mix.connections, seconds, rate, most_requests)
        done = subprocess.run(
            [sys.executable, "-m", "bench.load", json.dumps(asdict(job))], cwd=ROOT, capture_output=True, check=False
        )
        if done.returncode:
            raise RuntimeError(f"the load generator failed: {done.stderr.decode(errors='replace')[-2000:]}")
        sent = Sent(**json.loads(done.stdout))
        self._next_tag = sent.next_tag
        return sent

    def file(self, mix: Mix) -> Path:
        """Return the file with the requests of a mix; made when first asked for."""
        content = replace(mix, name="", connections=1)
        if content not in self._wires:
            path = self.directory / f"wires-{len(self._wires)}.pickle"
            path.write_bytes(pickle.dumps(wires(mix)))
            self._wires[content] = path
        return self._wires[content]

    def counts(self) -> dict[str, Any]:
        """Return what the backend took since it started, and what arrived when since it was last asked."""
        with grpc.insecure_channel(self.backend, [("grpc.max_receive_message_length", -1)]) as channel:
            answer: dict[str, Any] = json.loads(channel.unary_unary(COUNTS)(b"", timeout=60))
        return answer

    def start(self, stack: contextlib.ExitStack, name: str, side: Side, compression: str = "none") -> Running | None:
        """Start a side until the stack is closed; None, and a note, when it is not there."""
        try:
            return stack.enter_context(side(self.place(name.replace(" ", "-"), compression)))
        except Missing as missing:
            self.missing[name] = str(missing)
            return None

"""kill -9 at any moment."""

from __future__ import annotations

import contextlib
import json
import random
import sqlite3
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spanledger.exporters.run_store.schema import FILE_NAME
from tests.backend import Backend
from tests.faults.account import Arrivals
from tests.faults.lives import ending, own_address, stored
from tests.peers.load import Load
from tests.sidecar import Sidecar, with_runs, with_storage

if TYPE_CHECKING:
    from tests.faults.account import Accounts

ROUNDS = 6


def test_kill_in_a_loop_under_load(tmp_path: Path, accounts: Accounts, rounds: int) -> None:
    """All signals to two backends, one of which fails now and then: what was acknowledged is at both."""
    draw = random.Random(6)
    sidecar = Sidecar(tmp_path, own_address())
    with Backend() as first, Backend() as second, ending(sidecar):
        config = with_storage(
            sidecar.config({"otlp": stored(first.endpoint), "otlp/second": stored(second.endpoint)}),
            tmp_path / "queues",
        )
        sidecar.start(config)
        load = Load(sidecar.grpc, clients=6, signals=("traces", "logs", "metrics"), pause_s=0.01)
        arrivals = Arrivals([first]), Arrivals([second])
        with load.running():
            for _ in range(ROUNDS * rounds):
                load.wait_for(1)
                second.gate.clear()
                load.wait_for(draw.randrange(1, 60))
                sidecar.process.kill()
                second.gate.set()
                sidecar.start(config)
        for each in arrivals:
            each.wait_for(load.acknowledged, sidecar.process)
        assert sidecar.process.stop() == 0
        accounts.settle(
            "kill -9 under load, three signals to two backends",
            load.acknowledged, [each.look() for each in arrivals], times=ROUNDS * rounds, repeated=load.repeated,
        )  # fmt: skip


def test_kill_in_a_loop_leaves_every_run_once(tmp_path: Path, accounts: Accounts, rounds: int) -> None:
    """Each trace is one run, with all its calls, told once, whenever the process was killed."""
    draw = random.Random(7)
    sidecar = Sidecar(tmp_path, own_address())
    with Backend() as backend, ending(sidecar):
        config = with_runs(
            with_storage(sidecar.config({"otlp": stored(backend.endpoint)}), tmp_path / "queues"), tmp_path
        )
        config["exporters"]["run_store"]["sending_queue"] = {
            "storage": "file_storage", "num_consumers": 1, "queue_size": 64 * 2**20, "sizer": "bytes"
        }  # fmt: skip
        sidecar.start(config)
        load = Load(sidecar.grpc, clients=4, pause_s=0.02)
        with load.running():
            for _ in range(ROUNDS * rounds):
                load.wait_for(draw.randrange(1, 60))
                sidecar.process.kill()
                sidecar.start(config)
        arrivals = Arrivals([backend])
        arrivals.wait_for(load.acknowledged, sidecar.process)
        sidecar.process.wait_until(lambda: not load.acknowledged - told(tmp_path / "runs").keys())
        assert sidecar.process.stop() == 0
        accounts.settle_load("kill -9 under load, with runs: the spans", load, arrivals, times=ROUNDS * rounds)
    runs = told(tmp_path / "runs")
    accounts.settle(
        "kill -9 under load, with runs: steps in the run store", load.acknowledged, [runs], times=ROUNDS * rounds
    )
    assert set(runs.values()) == {1}


def told(directory: Path) -> Counter[bytes]:
    """Return span id -> how many stored runs have it, each in its newest revision."""
    newest: dict[str, dict[str, Any]] = {}
    with contextlib.closing(sqlite3.connect(f"file:{directory / FILE_NAME}?mode=ro", uri=True)) as store:
        for (body,) in store.execute("SELECT body FROM entries WHERE kind = 'run' ORDER BY seq"):
            document = json.loads(body)
            newest[document["run_id"]] = document
    return Counter(bytes.fromhex(step["span_id"]) for run in newest.values() for step in run["steps"])

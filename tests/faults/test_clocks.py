"""Wall clocks that jump, as every part of the sidecar sees them; nothing but stamps and prices may follow them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from tests.backend import Backend
from tests.faults.account import Arrivals
from tests.faults.lives import ending, stored
from tests.faults.test_kill import told
from tests.peers.load import Load
from tests.sidecar import Sidecar, with_runs, with_storage

if TYPE_CHECKING:
    from tests.faults.account import Accounts

JUMPS = ("-3600", "3600", "-63072000", "94608000", "0")
"""Seconds: an hour back and forth, two years back, three ahead."""

# Runs before anything of ours is imported. (libfaketime also bends the waiting of gRPC's own threads, which then hang.)
HOOK = """
import os, time
real, where = time.time_ns, os.environ["CLOCK_IS_OFF_BY"]
def now():
    with open(where) as file:
        return real() + int(file.read() or 0) * 10**9
time.time_ns, time.time = now, lambda: now() / 1e9
"""


def test_clock_that_jumps(tmp_path: Path, accounts: Accounts, rounds: int) -> None:
    """Hours and years, forth and back, under load: retries, queues, runs and retention go on."""
    said = tmp_path / "off"
    said.write_text("0")
    hook = tmp_path / "hook"
    hook.mkdir()
    (hook / "sitecustomize.py").write_text(HOOK)
    environment = {"PYTHONPATH": str(hook), "CLOCK_IS_OFF_BY": str(said)}
    sidecar = Sidecar(tmp_path, environment=environment)
    with Backend() as backend, ending(sidecar):
        config = with_storage(sidecar.config({"otlp": stored(backend.endpoint)}), tmp_path / "queues")
        config = with_runs(config, tmp_path)
        # What the clock says is old is pruned: three years ahead that is everything.
        config["exporters"]["run_store"]["max_age"] = "0s"
        sidecar.start(config)
        load = Load(sidecar.grpc, clients=2, pause_s=0.02)
        with load.running():
            for jump in JUMPS * rounds:
                later = tmp_path / "later"
                later.write_text(jump)
                later.replace(said)
                load.wait_for(15)
        arrivals = Arrivals([backend])
        arrivals.wait_for(load.acknowledged, sidecar.process)
        sidecar.process.wait_until(lambda: not load.acknowledged - told(tmp_path / "runs").keys())
        assert sidecar.process.stop() == 0, sidecar.process.log()
        assert "Traceback" not in sidecar.process.log()
        row = accounts.settle_load("wall clock jumps by hours and years (in the process)", load, arrivals,
                                   times=len(JUMPS) * rounds)  # fmt: skip
        accounts.settle("wall clock jumps: steps in the run store", load.acknowledged, [told(tmp_path / "runs")])
    assert row.duplicated == 0
    assert not load.errors

"""A network between the sidecar and its backend that loses packets, is slow, or is cut for a while."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.backend import Backend
from tests.faults.account import Arrivals
from tests.faults.lives import ending, stored
from tests.faults.networks import network
from tests.peers.load import Load
from tests.sidecar import Sidecar, with_storage

if TYPE_CHECKING:
    from tests.faults.account import Accounts

# One after the other: a network namespace keeps the mounts that it finds.
pytestmark = pytest.mark.xdist_group("mounts")


def test_network_that_loses_packets(tmp_path: Path, accounts: Accounts, rounds: int) -> None:
    """Clients and backend are both behind it; a tenth of the packets is lost, each way."""
    with network() as net, Backend(host=net.outside) as backend:
        sidecar = Sidecar(tmp_path, net.inside, net.wrapper)
        with ending(sidecar):
            sidecar.start(with_storage(sidecar.config({"otlp": stored(backend.endpoint)}), tmp_path / "queues"))
            net.lose(10)
            load = Load(sidecar.grpc, clients=3, signals=("traces", "logs", "metrics"))
            with load.running():
                load.wait_for(60 * rounds, 120.0)
                net.heal()
            arrivals = Arrivals([backend])
            arrivals.wait_for(load.acknowledged, sidecar.process)
            assert sidecar.process.stop() == 0
            accounts.settle_load("network loses 10 % of the packets each way, and is slow", load, arrivals,
                                 notes=net.means)  # fmt: skip


def test_network_that_is_cut(tmp_path: Path, accounts: Accounts, rounds: int) -> None:
    """Packets vanish without a word, requests time out, and everything arrives when the network is back."""
    with network() as net, Backend(host=net.outside) as backend:
        sidecar = Sidecar(tmp_path, net.inside, net.wrapper)
        with ending(sidecar):
            config = sidecar.config({"otlp": stored(backend.endpoint, timeout="1s")})
            sidecar.start(with_storage(config, tmp_path / "queues"))
            load = Load(sidecar.grpc, clients=3)
            with load.running():
                for _ in range(2 * rounds):
                    load.wait_for(30)
                    net.part()
                    # Long enough that requests under way are given up on both sides and come again.
                    load.rest(4.0)
                    net.heal()
                load.wait_for(30, 120.0)
            arrivals = Arrivals([backend])
            arrivals.wait_for(load.acknowledged, sidecar.process)
            assert sidecar.process.stop() == 0
            accounts.settle_load("network is cut in silence for 4 s", load, arrivals, times=2 * rounds,
                                 notes="nftables")  # fmt: skip

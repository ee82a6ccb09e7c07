"""Disks that are full, that go read-only, and files that are broken."""

from __future__ import annotations

import random
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.backend import Backend
from tests.faults.account import Arrivals
from tests.faults.disks import MIB, ext4, fail, fill, free, tmpfs
from tests.faults.lives import ending, stored
from tests.faults.test_kill import told
from tests.peers.load import Load
from tests.processes import free_ports
from tests.sidecar import Sidecar, with_runs, with_storage

if TYPE_CHECKING:
    from tests.faults.account import Accounts, Row

# One after the other: a network namespace keeps the mounts that it finds.
pytestmark = pytest.mark.xdist_group("mounts")


def everything(sidecar: Sidecar, port: int, data: Path, **storage: Any) -> dict[str, Any]:
    """Return a configuration with all that we keep on disk below `data`: queues, open runs, runs."""
    config = with_storage(sidecar.config({"otlp": stored(f"127.0.0.1:{port}")}), data / "queues", **storage)
    return with_runs(config, data)


def settle(
    accounts: Accounts, what: str, where: str, load: Load, sidecar: Sidecar, port: int, data: Path, **row: Any
) -> Row:
    """Give the sidecar its backend, end both sides, and compare what was acknowledged with what came, runs too."""
    with Backend(port) as backend:
        load.stop()
        arrivals = Arrivals([backend])
        arrivals.wait_for(load.acknowledged, sidecar.process)
        sidecar.process.wait_until(lambda: not load.acknowledged - told(data / "runs").keys())
        assert sidecar.process.stop() == 0, sidecar.process.log()
        settled = accounts.settle_load(what + where, load, arrivals, **row)
    accounts.settle(f"{what}: steps in the run store", load.acknowledged, [told(data / "runs")])
    return settled


def test_disk_that_is_full_refuses_and_goes_on(tmp_path: Path, accounts: Accounts, rounds: int) -> None:
    """Somebody else fills the disk while the backend is away: refused meanwhile, and nothing acknowledged is lost."""
    (port,) = free_ports(1)
    sidecar = Sidecar(tmp_path)
    refusals = 0
    with tmpfs(tmp_path / "disk", 64) as disk, ending(sidecar):
        sidecar.start(everything(sidecar, port, disk))
        load = Load(sidecar.grpc, clients=3, pause_s=0.005)
        with load.running():
            for _ in range(rounds):
                load.wait_for(30)
                ballast = fill(disk)
                refusals += load.wait_for_errors(50)
                ballast.unlink()
                load.wait_for(30)
            more = {"times": rounds, "notes": f"{refusals} refusals"}
            row = settle(accounts, "disk full under load", " (tmpfs of 64 MiB)", load, sidecar, port, disk, **more)
    assert row.duplicated == 0
    assert not load.repeated


def test_disk_that_is_nearly_full_keeps_its_last_room(tmp_path: Path, accounts: Accounts, rounds: int) -> None:
    """What is refused again and again does not eat what is left, which the queues, runs and open runs all rely on."""
    (port,) = free_ports(1)
    sidecar = Sidecar(tmp_path)
    refusals = 0
    with tmpfs(tmp_path / "disk", 64) as disk, ending(sidecar):
        config = everything(sidecar, port, disk)
        config["exporters"]["run_store"]["sending_queue"] = {"storage": "file_storage"}
        sidecar.start(config)
        load = Load(sidecar.grpc, clients=3, pause_s=0.005)
        with load.running():
            for _ in range(rounds):
                load.wait_for(30)
                ballast = fill(disk, leave=15 * MIB)
                refusals += load.wait_for_errors(500)
                assert free(disk) >= 10 * MIB
                ballast.unlink()
                load.wait_for(30)
            what, where = "disk nearly full under load", " (tmpfs of 64 MiB, 15 MiB left)"
            more = {"times": rounds, "notes": f"{refusals} refusals"}
            settle(accounts, what, where, load, sidecar, port, disk, **more)


def test_disk_that_is_full_at_the_start_is_no_crash_loop(tmp_path: Path, accounts: Accounts) -> None:
    """With requests and runs of an earlier life on it: it starts, refuses, and goes on when there is room."""
    (port,) = free_ports(1)
    sidecar = Sidecar(tmp_path)
    with tmpfs(tmp_path / "disk", 64) as disk, ending(sidecar):
        config = everything(sidecar, port, disk)
        sidecar.start(config)
        load = Load(sidecar.grpc, clients=3, pause_s=0.005)
        with load.running():
            load.wait_for(30)
            sidecar.process.kill()
            ballast = fill(disk)
            sidecar.start(config)
            load.wait_for_errors(20)
            ballast.unlink()
            load.wait_for(30)
            settle(accounts, "kill -9, and the disk is full at the next start", "", load, sidecar, port, disk)
    assert not list(disk.rglob("*.broken-*"))


def test_disk_that_goes_read_only(tmp_path: Path, accounts: Accounts, rounds: int) -> None:
    """ext4 finds an error and is read-only: refused from then on; after the disk is mounted again all is there."""
    what = "disk goes read-only under load (ext4 with an error), all with fsync, restart"
    for number in range(rounds):
        (port,) = free_ports(1)
        (place := tmp_path / str(number)).mkdir()
        sidecar = Sidecar(place)
        # Without fsync, what the kernel had not written when it gave the disk up is gone, as with a power failure.
        config = everything(sidecar, port, place / "disk", fsync=True)
        config["connectors"]["trajectory"]["storage_fsync"] = True
        config["exporters"]["run_store"] |= {"synchronous": "full", "sending_queue": {"storage": "file_storage"}}
        with ending(sidecar):
            with ext4(place / "image", place / "disk", 64) as disk, ending(sidecar):
                sidecar.start(config)
                load = Load(sidecar.grpc, clients=3, pause_s=0.005)
                with load.running():
                    load.wait_for(30)
                    fail(disk)
                    load.wait_for_errors(50)
                    sidecar.process.kill()
                    # A container that is restarted on such a disk: it starts, and refuses.
                    sidecar.start(config)
                    load.stop()
                assert sidecar.process.stop() == 0, sidecar.process.log()
            with ext4(place / "image", place / "disk", 64) as disk, ending(sidecar):
                sidecar.start(config)
                settle(accounts, what, "", load, sidecar, port, disk)


def test_files_that_are_taken_away_under_load(tmp_path: Path, accounts: Accounts, rounds: int) -> None:
    """Somebody moves the queues and open runs away, and the process is killed a moment later: nothing is missing."""
    (port,) = free_ports(1)
    sidecar = Sidecar(tmp_path)
    data = tmp_path / "disk"
    with ending(sidecar):
        config = everything(sidecar, port, data)
        sidecar.start(config)
        load = Load(sidecar.grpc, clients=3, pause_s=0.005)
        with load.running():
            for number in range(rounds):
                load.wait_for(30)
                for name in ("queues", "state"):
                    (data / name).rename(tmp_path / f"{name} {number}")
                load.wait_for(30)
                sidecar.process.kill()
                sidecar.start(config)
            settle(accounts, "files of queue and open runs moved away under load, kill -9", "", load, sidecar, port,
                   data, times=rounds)  # fmt: skip


DAMAGES = ("truncated", "garbage at the beginning", "garbage in the middle", "empty")


def damage(path: Path, how: str) -> None:
    """Break a closed file."""
    data = bytearray(path.read_bytes())
    noise = random.Random(path.name).randbytes(8192)
    if how == "truncated":
        data = data[: len(data) // 2 + 100]
    elif how == "garbage at the beginning":
        data[:4096] = noise[:4096]
    elif how == "garbage in the middle":
        for start in range(8192, len(data) - 4096, 12288):
            data[start : start + 4096] = noise[:4096]
    else:
        data = bytearray(b"")
    path.write_bytes(data)


@pytest.mark.parametrize("how", DAMAGES)
def test_broken_files_are_kept_aside(tmp_path: Path, accounts: Accounts, how: str) -> None:
    """Queue, open runs and run store, all broken between two lives: reported, kept, and everything goes on."""
    (port,) = free_ports(1)
    sidecar = Sidecar(tmp_path)
    data = tmp_path / "disk"
    with ending(sidecar):
        config = everything(sidecar, port, data)
        sidecar.start(config)
        load = Load(sidecar.grpc, clients=2)
        with load.running():
            load.wait_for(100)
        sidecar.process.stop()
        files = [*data.rglob("*.queue"), *data.rglob("open-runs.db"), *data.rglob("runs.sqlite3")]
        assert len(files) == 3
        for path in files:
            damage(path, how)
        with Backend(port) as backend:
            sidecar.start(config)
            before = sidecar.process.log()
            later = Load(sidecar.grpc, clients=2)
            with later.running():
                later.wait_for(20)
            arrivals = Arrivals([backend])
            arrivals.wait_for(later.acknowledged, sidecar.process)
            sidecar.process.wait_until(lambda: not later.acknowledged - told(data / "runs").keys())
            assert sidecar.process.stop() == 0
            aside = [*data.rglob("*.broken-*"), *data.rglob("*.aside-*")]
            kept = [path.name for path in aside if not path.name.endswith(("-wal", "-shm"))]
            accounts.settle_load(f"queue, open runs and run store on disk: {how}; what came after", later, arrivals,
                                 notes=f"{len(kept)} of 3 files put aside")  # fmt: skip
    if how != "empty":
        assert len(kept) == 3, (kept, before)

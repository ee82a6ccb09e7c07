"""Servers as processes of their own: ports, a log, and waiting without sleeping."""

from __future__ import annotations

import contextlib
import http.client
import itertools
import os
import random
import signal
import socket
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

STOP_TIMEOUT_S = 60.0


def _own_ports() -> Iterator[int]:
    """Yield the ports of this test worker, each once in a long while.

    Each worker has a share of its own, so that two tests never give one port to two servers. The shares are below
    the range from which outgoing connections get theirs, so that no connection of another test takes one.
    """
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    share = range(15000 + worker % 8 * 2000, 17000 + worker % 8 * 2000)
    return itertools.cycle(random.SystemRandom().sample(share, len(share)))


_OWN_PORTS = _own_ports()


def free_ports(count: int) -> list[int]:
    """Return ports of the loopback interface that nobody has and that were not given before."""
    ports: list[int] = []
    while len(ports) < count:
        port = next(_OWN_PORTS)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            ports.append(port)
    return ports


def http_get(address: str, path: str, accept: str = "*/*", timeout_s: float = 10.0) -> tuple[int, str]:
    """Return the status and text of one GET."""
    connection = http.client.HTTPConnection(address, timeout=timeout_s)
    try:
        connection.request("GET", path, headers={"Accept": accept})
        response = connection.getresponse()
        return response.status, response.read().decode()
    finally:
        connection.close()


def answers(address: str, path: str) -> bool:
    """Tell whether a GET is answered 200 now."""
    with contextlib.suppress(OSError, http.client.HTTPException):
        return http_get(address, path)[0] == 200
    return False


class Process:
    """A running command whose output goes to a file."""

    def __init__(self, command: Sequence[str | Path], log: Path, env: Mapping[str, str] | None = None) -> None:
        self.log_path = log
        with log.open("ab") as output:
            self.popen = subprocess.Popen(
                [str(part) for part in command], stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=env
            )

    def log(self) -> str:
        """Return what it wrote so far."""
        return self.log_path.read_text(errors="replace")

    def wait_until(self, holds: Callable[[], object], timeout_s: float = 60.0) -> None:
        """Return when `holds()` is true. Fails with the log when time is up or the process ends."""
        deadline = time.monotonic() + timeout_s
        while not holds():
            # Waiting for the process to end is the pause between two looks.
            with contextlib.suppress(subprocess.TimeoutExpired):
                code = self.popen.wait(0.02)
                raise AssertionError(f"the process ended with exit code {code}:\n{self.log()}")
            if time.monotonic() > deadline:
                raise AssertionError(f"not true within {timeout_s} s; the log:\n{self.log()}")

    def signal(self, number: signal.Signals) -> None:
        """Send a signal."""
        self.popen.send_signal(number)

    def stop(self) -> int:
        """Send SIGTERM and return the exit code."""
        if self.popen.poll() is None:
            self.signal(signal.SIGTERM)
        return self.wait()

    def wait(self) -> int:
        """Return the exit code; kill it and fail when it does not end."""
        try:
            return self.popen.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"still running after {STOP_TIMEOUT_S} s:\n{self.log()}") from None

    def kill(self) -> None:
        """End it at once."""
        self.popen.kill()
        self.popen.wait()

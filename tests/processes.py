"""Servers as processes of their own: ports, a log, and waiting without sleeping."""

from __future__ import annotations

import contextlib
import http.client
import random
import signal
import socket
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

STOP_TIMEOUT_S = 60.0


def free_ports(count: int) -> list[int]:
    """Return ports of the loopback interface that nobody has.

    They are below the range from which outgoing connections get theirs, so that no connection of
    another test takes one before its server does.
    """
    with contextlib.ExitStack() as held:
        ports: list[int] = []
        while len(ports) < count:
            port = random.SystemRandom().randrange(15000, 32000)
            probe = held.enter_context(socket.socket())
            with contextlib.suppress(OSError):
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

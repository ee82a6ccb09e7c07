"""Networks of our own: a namespace behind a virtual cable that loses packets, is slow, or is cut (root only).

Loss and delay are the kernel's `netem` where it has that; else packets are dropped by nftables, and delay comes from
a bottleneck (`tbf`) that packets queue in front of.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass(frozen=True)
class Network:
    """A namespace, the address of a process in it, and our own address as that sees it."""

    namespace: str
    inside: str
    outside: str
    netem: bool

    @property
    def wrapper(self) -> tuple[str, ...]:
        """The command that runs another one inside."""
        return ("ip", "netns", "exec", self.namespace)

    @property
    def means(self) -> str:
        """How packets are lost here."""
        return "netem" if self.netem else "nftables and tbf"

    def lose(self, percent: int) -> None:
        """Lose packets in both directions, and make the rest slow."""
        self.heal()
        if self.netem:
            for device in ("ours", "theirs"):
                self._tc(device, "netem", "loss", f"{percent}%", "delay", "20ms")
            return
        self._drop(f"numgen random mod 100 < {percent} ")
        for device in ("ours", "theirs"):
            self._tc(device, "tbf", "rate", "20mbit", "burst", "16kb", "latency", "200ms")

    def part(self) -> None:
        """Lose every packet, in silence: nobody is told that the other is gone."""
        self.heal()
        self._drop("")

    def heal(self) -> None:
        """Be a network again."""
        for device in ("ours", "theirs"):
            _run(*self._at(device), "tc", "qdisc", "del", "dev", self._name(device), "root", check=False)
        _run(*self.wrapper, "nft", "flush", "ruleset", check=False)

    def _drop(self, condition: str) -> None:
        _run(*self.wrapper, "nft", "add table inet faults")
        for hook in ("input", "output"):
            _run(*self.wrapper, "nft", f"add chain inet faults {hook} {{ type filter hook {hook} priority 0; }}")
            device = "iifname" if hook == "input" else "oifname"
            _run(*self.wrapper, "nft", f"add rule inet faults {hook} {device} {self._name('theirs')} {condition}drop")

    def _tc(self, device: str, *discipline: str) -> None:
        _run(*self._at(device), "tc", "qdisc", "replace", "dev", self._name(device), "root", *discipline)

    def _at(self, device: str) -> tuple[str, ...]:
        return self.wrapper if device == "theirs" else ()

    def _name(self, device: str) -> str:
        return f"{self.namespace}{device[0]}"


@contextlib.contextmanager
def network() -> Iterator[Network]:
    """Make a network; skip the test with the reason where that cannot be."""
    if os.geteuid() != 0:
        pytest.skip("needs root, to make a network namespace")
    for tool, package in (("ip", "iproute2"), ("tc", "iproute2"), ("nft", "nftables")):
        if not shutil.which(tool):
            pytest.skip(f"needs {tool} (Debian: {package})")
    number = os.getpid() % 64_000
    net = f"10.{200 + number // 16_000}.{number // 64 % 250}"
    first = number % 64 * 4
    name = f"sl{number}"
    ours, theirs = f"{name}o", f"{name}t"
    inside, outside = f"{net}.{first + 2}", f"{net}.{first + 1}"
    made = _run("ip", "netns", "add", name, check=False)
    if made.returncode:
        pytest.skip(f"cannot make a network namespace here: {made.stderr.strip()}")
    try:
        _run("ip", "link", "add", ours, "type", "veth", "peer", "name", theirs, "netns", name)
        _run("ip", "address", "add", f"{outside}/30", "dev", ours)
        _run("ip", "link", "set", ours, "up")
        in_it = ("ip", "-n", name)
        _run(*in_it, "address", "add", f"{inside}/30", "dev", theirs)
        _run(*in_it, "link", "set", theirs, "up")
        _run(*in_it, "link", "set", "lo", "up")
        tried = _run("tc", "qdisc", "replace", "dev", ours, "root", "netem", "delay", "1ms", check=False)
        one = Network(name, inside, outside, netem=tried.returncode == 0)
        one.heal()
        yield one
    finally:
        _run("ip", "netns", "delete", name, check=False)
        _run("ip", "link", "delete", ours, check=False)


def _run(*command: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert not check or done.returncode == 0, (command, done.stderr)
    return done

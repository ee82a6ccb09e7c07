"""Small filesystems of our own, for tests that may mount (root); others are skipped and say why."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

MIB = 2**20


def _run(*command: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False)


@contextlib.contextmanager
def tmpfs(directory: Path, size_mib: int) -> Iterator[Path]:
    """Mount a filesystem in memory of `size_mib` on `directory`."""
    with _mounted(directory, "-t", "tmpfs", "-o", f"size={size_mib}m", "tmpfs"):
        yield directory


@contextlib.contextmanager
def ext4(image: Path, directory: Path, size_mib: int) -> Iterator[Path]:
    """Mount an ext4 filesystem in the file `image` (made if it is not there) that goes read-only at an error."""
    if not shutil.which("mkfs.ext4"):
        pytest.skip("needs mkfs.ext4 (Debian: e2fsprogs)")
    if not image.exists():
        with image.open("wb") as file:
            file.truncate(size_mib * MIB)
        made = _run("mkfs.ext4", "-q", "-F", image)
        assert made.returncode == 0, made.stderr
    with _mounted(directory, "-o", "loop,errors=remount-ro", image):
        yield directory


def fail(directory: Path) -> None:
    """Let the ext4 filesystem at `directory` find an error, as with a bad disk: it is read-only from now on."""
    device = Path(_run("findmnt", "-n", "-o", "SOURCE", directory).stdout.strip()).name
    Path(f"/sys/fs/ext4/{device}/trigger_fs_error").write_text("a fault on purpose")


def free(directory: Path) -> int:
    """Return the bytes that are free on the filesystem."""
    disk = os.statvfs(directory)
    return disk.f_bavail * disk.f_frsize


def fill(directory: Path, leave: int = 0) -> Path:
    """Write a file until there is no more room left on the filesystem than that; return it."""
    ballast = directory / "ballast"
    with ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while not leave or free(directory) > leave:
            file.write(bytes(64 * 1024))
    return ballast


@contextlib.contextmanager
def _mounted(directory: Path, *arguments: str | Path) -> Iterator[None]:
    if os.geteuid() != 0:
        pytest.skip("needs root, to mount a small filesystem")
    directory.mkdir(parents=True, exist_ok=True)
    mounted = _run("mount", *arguments, directory)
    if mounted.returncode:
        pytest.skip(f"cannot mount here: {mounted.stderr.strip()}")
    try:
        yield
    finally:
        unmounted = _run("umount", directory)
        if unmounted.returncode:
            _run("umount", "--lazy", directory)

"""What an extension that keeps data on disk gives to the components that use it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True, slots=True)
class StorageFile:
    """The file of one component; it is the component that opens it."""

    path: Path
    owner: str
    """Whose it is, such as `exporter/otlp/backend`; written into the file for those who look at it."""
    fsync: bool = False
    """Whether what is acknowledged has to outlive a power failure."""
    max_bytes: int | None = None
    """Size at which nothing more is written; None for as much as the disk has."""
    max_dead_bytes: int = 64 * 2**20
    """Room for dead letters, within `max_bytes`."""


class Storage(Protocol):
    """An extension that `offers` storage."""

    def file_of(self, owner: str) -> StorageFile:
        """Return where component `owner`, such as `exporter/otlp/backend`, keeps its data."""
        ...

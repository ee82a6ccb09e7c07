"""Where queues live on disk, for `sending_queue::storage`."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Final

import pydantic

from spanledger.processor.component import ComponentConfig, Passive, register
from spanledger.processor.storage import StorageFile

if TYPE_CHECKING:
    from spanledger.processor.component import Host

_PLAIN: Final = re.compile(r"[^0-9A-Za-z_.-]+")


class FileStorageConfig(ComponentConfig):
    """Where and how much; `directory`, `create_directory` and `fsync` are the Collector's. The files are our own."""

    directory: Annotated[str, pydantic.Field(min_length=1)] = "./spanledger-data/queues"
    """Directory of the files, one for each exporter."""
    create_directory: bool = True
    """Make the directory when it is missing; when false that is an error."""
    fsync: bool = False
    """When false what is acknowledged outlives the process, however it ends; when true a power failure as well."""
    max_size_mib: Annotated[int, pydantic.Field(ge=0)] = 1024
    """Size of each file, in MiB, at which requests are refused; 0 for as much as the disk has."""
    max_dead_letters_mib: Annotated[int, pydantic.Field(ge=0)] = 64
    """Room for what a peer refuses for good, in MiB of each file; the oldest goes first. 0 keeps none."""


@register("extension", "file_storage", config=FileStorageConfig, signals=(), stability="alpha")
class FileStorage(Passive):
    """Keeps the queues of exporters on disk, so that what is acknowledged survives the process."""

    offers: ClassVar[frozenset[str]] = frozenset({"storage"})

    def __init__(self, config: FileStorageConfig, host: Host) -> None:
        self._config = config
        self._directory = Path(config.directory)

    async def start(self) -> None:
        """Look for the directory."""
        if not self._config.create_directory and not self._directory.is_dir():
            raise ValueError(f"directory: {self._directory} is not there; create it, or set create_directory: true")

    def file_of(self, owner: str) -> StorageFile:
        """Return where a component, such as `exporter/otlp/backend`, keeps its data."""
        config = self._config
        return StorageFile(
            self._directory / file_name(owner),
            owner,
            fsync=config.fsync,
            max_bytes=config.max_size_mib * 2**20 or None,
            max_dead_bytes=config.max_dead_letters_mib * 2**20,
        )


def file_name(owner: str) -> str:
    """Return the name of a component's file: readable, and not the same for two components."""
    plain = _PLAIN.sub("_", owner)[:100]
    return f"{plain}-{hashlib.sha256(owner.encode()).hexdigest()[:8]}.queue"

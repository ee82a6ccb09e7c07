"""Telemetry into a file: OTLP as JSON lines, or as protobuf."""

from __future__ import annotations

import errno
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import pydantic
import zstandard

from spanledger.exporters.answer import PartialSuccess, Permanent, Retryable
from spanledger.exporters.otlp_json import to_json
from spanledger.exporters.output_file import Framing, OutputFile, Rotation, frame
from spanledger.exporters.queue import QueueConfig
from spanledger.exporters.retry import RetryConfig
from spanledger.exporters.sender import Sender
from spanledger.processor.batch import SIGNALS, Delivery
from spanledger.processor.component import ComponentConfig, Host, Settings, register

_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG})
"""What waiting does not mend: holding the data back would only stop the other exporters too."""

_QUEUE: Final = QueueConfig(num_consumers=1)
_RETRY: Final = RetryConfig.model_validate(
    {"initial_interval": "100ms", "max_interval": "1s", "max_elapsed_time": "5s"}
)

_Count = Annotated[int, pydantic.Field(ge=0)]


class RotationConfig(Settings):
    """When to begin a new file and which old ones to keep."""

    max_megabytes: Annotated[int, pydantic.Field(gt=0)] = 100
    """Size at which a file is put aside, in MiB."""
    max_days: _Count = 0
    """Days to keep files put aside; 0 for no limit."""
    max_backups: _Count = 100
    """Number of files put aside to keep; 0 for no limit."""
    localtime: bool = False
    """Write local time instead of UTC into the names of files put aside."""

    def limits(self) -> Rotation:
        """Return the same in bytes."""
        return Rotation(self.max_megabytes * 1024 * 1024, self.max_days, self.max_backups, self.localtime)


class FileConfig(ComponentConfig):
    """Where and how to write; keys of the Collector's file exporter (contrib)."""

    path: Annotated[str, pydantic.Field(min_length=1)]
    """File to write, relative to the working directory."""
    format: Literal["json", "proto"] = "json"
    """`json`: a request in OTLP/JSON on each line. `proto`: serialised requests, 4 bytes of length before each."""
    compression: Literal["zstd", "none", ""] = ""
    """`zstd`: each record is compressed by itself, and `zstdcat` shows what would be in the plain file."""
    append: bool = False
    """Add to an existing file. When false it is emptied when the sidecar first opens it, not by a reload, unless
    `rotation` is set."""
    rotation: RotationConfig | None = None
    """Begin a new file at a size; off when this key is missing."""
    create_directory: bool = False
    """Create the directory of `path` when it is missing."""

    @pydantic.field_validator("rotation", mode="before")
    @classmethod
    def _given_but_empty(cls, value: Any) -> Any:
        # `rotation:` with nothing below it asks for rotation with its defaults.
        return {} if value is None else value

    @pydantic.model_validator(mode="after")
    def _together(self) -> FileConfig:
        if self.append and self.compression == "zstd":
            raise ValueError("append and compression do not go together: a record that a crash cut would hide the rest")
        return self


@register("exporter", "file", config=FileConfig, signals=SIGNALS)
class FileExporter(Sender):
    """Writes traces, logs and metrics to a file."""

    def __init__(self, config: FileConfig, host: Host, **chain: Any) -> None:
        super().__init__(host, _QUEUE, _RETRY, 0, **chain)
        self._config = config
        self._framing: Framing = "line" if config.format == "json" else "length"
        compressed = config.compression == "zstd"
        self._compress = zstandard.ZstdCompressor().compress if compressed else None
        self._file = OutputFile(
            Path(config.path),
            "opaque" if compressed else self._framing,
            append=config.append,
            rotation=config.rotation.limits() if config.rotation is not None else None,
        )

    async def connect(self) -> None:
        """Open the file."""
        try:
            await self.in_thread(self._open)
        except OSError as error:
            hint = "; set create_directory: true to create its directory" if error.errno == errno.ENOENT else ""
            raise ValueError(f"path: cannot write {self._config.path}: {error.strerror}{hint}") from error

    async def disconnect(self) -> None:
        """Close the file."""
        await self.in_thread(self._file.close)

    async def push(self, delivery: Delivery) -> PartialSuccess | None:
        """Write one record."""
        try:
            unreadable = await self.to_its_end(self._write, delivery)
        except OSError as error:
            kind = errno.errorcode.get(error.errno or 0, "OSError")
            message = f"cannot write {self._config.path}: {error.strerror}"
            raise Permanent(message, kind) if error.errno in _FULL else Retryable(message, kind) from error
        return PartialSuccess(unreadable, "not written: items that have no JSON form") if unreadable else None

    def _open(self) -> None:
        if self._config.create_directory:
            self._file.path.parent.mkdir(parents=True, exist_ok=True)
        self._file.open()

    def _write(self, delivery: Delivery) -> int:
        record, unreadable = delivery.data, 0
        if self._config.format == "json":
            text, unreadable = to_json(delivery.signal, record)
            record = text.encode()
        record = frame(record, self._framing)
        if self._compress is not None:
            record = self._compress(record)
        self._file.write(record, datetime.fromtimestamp(self.host.clock_ns() / 1e9, UTC))
        return unreadable

"""What a configuration needs of its machine: files that it names, directories that it writes to, ports.

Asked before a start fails on the first of them, and by `spanledger validate`, which may run on another machine than the
sidecar: there it is worth a warning.
"""

from __future__ import annotations

import errno
import os
import stat
import typing
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from spanledger.processor.component import Settings
from spanledger.processor.listen import bind
from spanledger.processor.settings import HostPort
from spanledger.service.graph import components

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo

    from spanledger.service.config import Config

_HOST_PORT: Final = typing.get_args(HostPort)[1]
_READ: Final = frozenset({"file", "filename", "issuer_ca_path"})
"""Keys of files that are read, beside those that end in `_file` and those that a component yields itself."""
_WRITTEN: Final = frozenset({"directory", "storage"})


def lacking(config: Config) -> list[str]:
    """Return what running components name and cannot have here: files to read, directories to write to."""
    found: list[str] = []
    for path, settings in _running(config).items():
        found += (why for _, why in unreadable(settings, path))
        found += unwritable(settings, path)
    return found


def misread(config: Config) -> list[str]:
    """Return what is wrong inside of the files that running components name."""
    return [problem for settings in _running(config).values() for problem in settings.misread()]


def _running(config: Config) -> dict[str, Settings]:
    """Return the configuration of each component that runs, by where it stands; that of processors once."""
    return {f"{kind}s::{resolved.id}": resolved.config for kind, resolved, _ in components(config)}


def unreadable(config: Settings, path: str) -> Iterator[tuple[str, str]]:
    """Yield the files below a block of configuration at `path` that cannot be read, each with its key and why."""
    own = frozenset(config.files())
    for key, name, _info, value in _leaves(config, path):
        if not isinstance(value, str) or not value:
            continue
        if (value in own or name.endswith("_file") or name in _READ) and (why := _unreadable(value)):
            yield value, f"{key}: cannot read {value}: {why}"


def unwritable(config: Settings, path: str) -> Iterator[str]:
    """Yield the directories below a block of configuration that cannot be written to, nor made."""
    makes = getattr(config, "create_directory", True)
    for key, name, _info, value in _leaves(config, path):
        if not isinstance(value, str) or not value:
            continue
        is_file = name == "path" and hasattr(config, "create_directory")
        if name not in _WRITTEN and not is_file:
            continue
        directory = Path(value).parent if is_file else Path(value)
        if why := _unwritable(directory, makes=makes):
            yield f"{key}: cannot write to {directory}: {why}"


async def busy(config: Settings, path: str) -> list[tuple[str, str]]:
    """Return which ports below a block of configuration cannot be had, each with its key and why."""
    found: list[tuple[str, str]] = []
    for key, _name, info, value in _leaves(config, path):
        if _HOST_PORT in info.metadata and isinstance(value, str):
            try:
                probes = await bind(value, key)
            except OSError as error:
                found.append((value, error.strerror or str(error)))
            else:
                for probe in probes:
                    probe.close()
    return found


def _leaves(config: Settings, path: str) -> Iterator[tuple[str, str, FieldInfo, Any]]:
    """Yield each value that is no block: its whole key, its name, its field, and itself; those of lists one by one."""
    for name, info in type(config).model_fields.items():
        key = f"{path}::{info.alias or name}"
        value = getattr(config, name)
        below: Iterable[tuple[str, Any]] = ((key, value),)
        if isinstance(value, dict | list | tuple):
            items = value.items() if isinstance(value, dict) else enumerate(value)
            below = ((f"{key}::{place}", one) for place, one in items)
        for place, one in below:
            if isinstance(one, Settings):
                yield from _leaves(one, place)
            else:
                yield place, name, info, one


def _unreadable(file: str) -> str:
    # Not opened: it may be a pipe, which waits for its other end.
    try:
        is_directory = stat.S_ISDIR(Path(file).stat().st_mode)
    except (OSError, ValueError) as error:
        return getattr(error, "strerror", None) or str(error)
    if is_directory:
        return os.strerror(errno.EISDIR)
    return "" if os.access(file, os.R_OK) else os.strerror(errno.EACCES)


def _unwritable(directory: Path, *, makes: bool) -> str:
    if not _exists(directory) and not makes:
        return "there is no such directory, and create_directory is off"
    there = next((one for one in (directory, *directory.absolute().parents) if _exists(one)), directory)
    if not there.is_dir():
        return f"{there} is a file"
    return "" if os.access(there, os.W_OK | os.X_OK) else f"no permission to write to {there}"


def _exists(path: Path) -> bool:
    # Path.exists raises where a directory on the way may not be looked into, or a name is too long.
    return os.path.exists(path)  # noqa: PTH110

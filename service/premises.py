"""What a configuration needs of its machine: files that it names, directories that it writes to, ports.

Asked before a start fails on the first of them, and by `spanledger validate`, which may run on another machine than the
sidecar: there what is missing is worth a warning, and what is in the way an error.
"""

from __future__ import annotations

import errno
import os
import pathlib
import stat
import typing
from collections.abc import Container, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from spanledger.processor.component import KINDS, Settings
from spanledger.processor.listen import bind
from spanledger.processor.settings import HostPort

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo

    from spanledger.service.config import Config
    from spanledger.service.nodes import Path

_HOST_PORT: Final = typing.get_args(HostPort)[1]
_READ: Final = frozenset({"file", "filename", "issuer_ca_path"})
"""Keys of files that are read, beside those that end in `_file` and those that a component yields itself."""
_WRITTEN: Final = frozenset({"directory", "storage"})
_IN_THE_WAY: Final = frozenset({errno.EISDIR, errno.ENOTDIR})
"""Errors of a file or directory that stands where the other one is wanted: no machine is to have that."""


@dataclass(frozen=True, slots=True)
class Lack:
    """A file or directory that a configuration names and cannot have on this machine."""

    path: Path
    name: str
    """As the configuration names it."""
    message: str
    is_wrong: bool = False
    """Whether something else has that place, so that it is a mistake and not just another machine."""

    def __str__(self) -> str:
        return f"{'::'.join(self.path)}: {self.message}"


def lacking(config: Config) -> Iterator[Lack]:
    """Yield what running components name and cannot have here: files to read, directories to write to."""
    for path, settings in _running(config):
        yield from unreadable(settings, path)
        yield from _unwritable(settings, path)


def misread(config: Config) -> Iterator[str]:
    """Yield what is wrong inside of the files that running components name, a line for each."""
    for _, settings in _running(config):
        for problems in settings.misread():
            yield from problems.splitlines()


def _running(config: Config) -> Iterator[tuple[Path, Settings]]:
    """Yield where each running component stands, and its configuration; a processor of several pipelines once."""
    for kind in KINDS:
        for id_, component in config.used(kind).items():
            yield (f"{kind}s", str(id_)), component.config


def unreadable(config: Settings, path: Path) -> Iterator[Lack]:
    """Yield the files below a block of configuration at `path` that cannot be read."""
    own = frozenset(config.files())
    for keys, name, _info, value in _leaves(config, path):
        if not isinstance(value, str) or not value:
            continue
        if (value in own or name.endswith("_file") or name in _READ) and (error := _reading_fails(value)):
            why = error.strerror or str(error)
            yield Lack(keys, value, f"cannot read {value}: {why}", error.errno in _IN_THE_WAY)


def _unwritable(config: Settings, path: Path) -> Iterator[Lack]:
    """Yield the directories below a block of configuration that cannot be written to, nor made."""
    makes = getattr(config, "create_directory", True)
    for keys, name, _info, value in _leaves(config, path):
        if not isinstance(value, str) or not value:
            continue
        is_file = name == "path" and hasattr(config, "create_directory")
        if name not in _WRITTEN and not is_file:
            continue
        directory = pathlib.Path(value).parent if is_file else pathlib.Path(value)
        if error := _writing_fails(directory, makes=makes):
            yield Lack(keys, value, f"cannot write to {directory}: {error.strerror}", error.errno in _IN_THE_WAY)


async def busy(config: Settings, path: Path, ours: Container[str] = ()) -> list[tuple[str, str]]:
    """Return which ports below a block of configuration cannot be had, each with its key and why.

    Not those that are `ours` to give: of which others only have to let go.
    """
    found: list[tuple[str, str]] = []
    for keys, address in _addresses(config, path):
        if _port(address) in ours:
            continue
        try:
            probes = await bind(address, "::".join(keys))
        except OSError as error:
            found.append((address, error.strerror or str(error)))
        else:
            for probe in probes:
                probe.close()
    return found


def ports(config: Settings) -> Iterator[str]:
    """Yield the ports that a component with this configuration listens on."""
    for _, address in _addresses(config, ()):
        yield _port(address)


def _addresses(config: Settings, path: Path) -> Iterator[tuple[Path, str]]:
    for keys, _name, info, value in _leaves(config, path):
        if _HOST_PORT in info.metadata and isinstance(value, str):
            yield keys, value


def _port(address: str) -> str:
    return address.rpartition(":")[2]


def _leaves(config: Settings, path: Path) -> Iterator[tuple[Path, str, FieldInfo, Any]]:
    """Yield each value that is no block: its keys, its name, its field, and itself; those of lists one by one."""
    for name, info in type(config).model_fields.items():
        keys = (*path, info.alias or name)
        value = getattr(config, name)
        below: Iterable[tuple[Path, Any]] = ((keys, value),)
        if isinstance(value, dict | list | tuple):
            items = value.items() if isinstance(value, dict) else enumerate(value)
            below = (((*keys, str(place)), one) for place, one in items)
        for place, one in below:
            if isinstance(one, Settings):
                yield from _leaves(one, place)
            else:
                yield place, name, info, one


def _reading_fails(file: str) -> OSError | None:
    # Not opened: it may be a pipe, which waits for its other end.
    try:
        is_directory = stat.S_ISDIR(pathlib.Path(file).stat().st_mode)
    except OSError as error:
        return error
    except ValueError as error:
        return OSError(errno.EINVAL, str(error))
    if is_directory:
        return OSError(errno.EISDIR, os.strerror(errno.EISDIR))
    return None if os.access(file, os.R_OK) else OSError(errno.EACCES, os.strerror(errno.EACCES))


def _writing_fails(directory: pathlib.Path, *, makes: bool) -> OSError | None:
    if not _exists(directory) and not makes:
        return OSError(errno.ENOENT, "there is no such directory, and create_directory is off")
    there = next((one for one in (directory, *directory.absolute().parents) if _exists(one)), directory)
    if not there.is_dir():
        return OSError(errno.ENOTDIR, f"{there} is a file")
    if not os.access(there, os.W_OK | os.X_OK):
        return OSError(errno.EACCES, f"no permission to write to {there}")
    return None


def _exists(path: pathlib.Path) -> bool:
    # Path.exists raises where a directory on the way may not be looked into, or a name is too long.
    return os.path.exists(path)  # noqa: PTH110

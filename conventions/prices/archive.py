"""Price lists as they are kept: JSON by seller in one zip file, read when a seller is first asked for.

Of seventy sellers an application pays two or three, and the rows of the others would take up more memory than all that
is done with prices.
"""

from __future__ import annotations

import io
import json
import struct
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from decimal import Decimal
from importlib import resources
from typing import Any, Final

from spanledger.conventions.prices.override_file import BadPrices

_ABOUT: Final = "about.json"

MAX_BYTES: Final = 64 * 2**20
"""Of everything in a file that somebody else may have made, unpacked."""

UNREADABLE: Final = (
    zipfile.BadZipFile, zlib.error, struct.error, EOFError, OSError, ValueError, RuntimeError, KeyError, TypeError
)  # fmt: skip
"""What reading a file raises that is no archive, or a broken one."""

_NO_DAY: Final = (1980, 1, 1, 0, 0, 0)
"""The first that the format knows: the same rows are the same bytes."""


class Archive(Mapping[str, Any]):
    """The rows that were packed, by seller. Each access reads them anew; safe in any thread."""

    def __init__(self, data: bytes) -> None:
        """Look at what there is. Raises one of `UNREADABLE`, as reading may."""
        self._data = data
        with self._open() as file:
            members = file.infolist()
        if any(member.compress_type != zipfile.ZIP_DEFLATED or member.flag_bits & 1 for member in members):
            raise ValueError("packed in another way than by the script that makes these files")
        if sum(member.file_size for member in members) > MAX_BYTES:
            raise ValueError(f"larger than {MAX_BYTES} bytes, which no price list is")
        self._names = frozenset(m.filename.removesuffix(".json") for m in members if m.filename != _ABOUT)
        self.about: Mapping[str, Any] = self._read(_ABOUT)
        """What the list is."""

    def __getitem__(self, name: str) -> Any:
        if name not in self._names:
            raise KeyError(name)
        return self._read(f"{name}.json")

    def __contains__(self, name: object) -> bool:
        return name in self._names

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._names))

    def __len__(self) -> int:
        return len(self._names)

    def _open(self) -> zipfile.ZipFile:
        return zipfile.ZipFile(io.BytesIO(self._data))

    def _read(self, member: str) -> Any:
        with self._open() as file:
            return json.loads(file.read(member), parse_float=Decimal)


def shipped(name: str) -> Archive:
    """Return a file that comes with spanledger. Raises `BadPrices` at once if any of it is broken."""
    try:
        data = resources.files("spanledger.conventions.prices").joinpath(name).read_bytes()
        with zipfile.ZipFile(io.BytesIO(data)) as file:
            broken = file.testzip()
        if broken is not None:
            raise ValueError(f"{broken} is not what was packed")
        return Archive(data)
    except UNREADABLE as error:
        raise BadPrices(f"{name}: is damaged, install spanledger anew: {' '.join(str(error).split())[:200]}") from error


def packed(about: Mapping[str, Any], rows: Mapping[str, Any]) -> bytes:
    """Return the file: what the list is, and the rows of each seller, of which none is called `about`."""
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as file:
        for name, value in ((_ABOUT, about), *((f"{seller}.json", rows[seller]) for seller in sorted(rows))):
            member = zipfile.ZipInfo(name, _NO_DAY)
            member.compress_type = zipfile.ZIP_DEFLATED
            text = json.dumps(value, default=_number, sort_keys=True, separators=(",", ":"))
            file.writestr(member, text, compresslevel=9)
    return made.getvalue()


def _number(value: object) -> float:
    assert isinstance(value, Decimal)
    return float(round(value, 12))
